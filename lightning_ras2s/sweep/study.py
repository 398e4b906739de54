"""The trials of a sweep: an Optuna study in a folder that any number of runners share."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from lightning_ras2s.sweep import space
from lightning_ras2s.sweep.definition import Config, SweepError, goal, variables
from lightning_ras2s.sweep.training import LOG, kill_orphan

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
LOST_AFTER_S = 120.0  # without a sign of life, on another machine
RUNNER, PROCESS, EPOCHS, PROBLEM = "runner", "process", "epochs", "problem"
SWEEP = "sweep"


class SharedStudy:
    """Hands out trials and keeps their results.

    A trial fails with a ``problem``. One that fails without has lost its runner, which was stopped
    or killed, and its parameters are handed out again.

    Args:
        config: The sweep.
        folder: Holds ``study.log`` and the trials' folders.
        count: How many finished trials there shall be in all; None for the whole grid.

    Raises:
        SweepError: If the sweep cannot be run here, or the folder holds another one.
    """

    def __init__(self, config: Config, folder: Path, count: int | None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.folder = config, folder
        self.space = space.search_space(config)
        self.grid = space.grid(self.space) if config["method"] == "grid" else []
        pruner = space.pruner(config)
        self.last_cut = space.last_cut(config)
        self.count = self._wanted(count)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock("study"):
            self.study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(folder / "study.log"))),
                pruner=pruner,
                study_name=SWEEP,
                direction=goal(config),
                load_if_exists=True,
            )
            self._check_same()
            self._hand_out_lost()
            self._hand_out_missing()
        self._failed_before = {trial.number for trial in self._failed()}

    def _wanted(self, count: int | None) -> int:
        if count is None and not self.grid:
            raise SweepError(
                f"a {self.config['method']} sweep never ends; say COUNT, such as COUNT=20"
            )
        if self.grid:
            return min(count or len(self.grid), len(self.grid))
        return count or 0

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Keeps all other runners out, also those on other machines."""
        lock = JournalFileOpenLock(str(self.folder / name))
        lock.acquire()
        try:
            yield
        finally:
            with suppress(RuntimeError):  # after half a minute others take it for abandoned
                lock.release()

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in the given states, by default all that were ever begun."""
        begun = tuple(state for state in TrialState if state != TrialState.WAITING)
        return self.study.get_trials(deepcopy=False, states=states or begun)

    def run_dir(self, trial: Trial | FrozenTrial) -> Path:
        """The trial's folder."""
        return self.folder / f"trial-{trial.number:04d}"

    def _check_same(self) -> None:
        """Holds the sweep to the one that was begun in this folder."""
        ours = {**self.config, "environment": variables(self.config)}
        ours.pop("run_cap", None)
        ours = json.loads(json.dumps(ours))
        theirs = self.study.user_attrs.get(SWEEP)
        if theirs is None:
            self.study.set_user_attr(SWEEP, ours)
        elif ours != theirs:
            keys = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
            raise SweepError(
                f"{self.folder} holds a sweep that was begun with another {', '.join(keys)}; "
                "give this one another, FOLDER=... (--folder=...), or remove that one"
            )

    def _hand_out_lost(self) -> None:
        """Has the trials of runners that are gone tried again."""
        for trial in self.trials(TrialState.RUNNING):
            if not self._is_alive(trial):
                kill_orphan(trial.user_attrs.get(PROCESS, 0), self.run_dir(trial))
                self.release(trial)

    def release(self, trial: Trial | FrozenTrial) -> None:
        """Gives up a trial for another runner to try."""
        self.study.tell(trial.number, state=TrialState.FAIL)
        self.study.enqueue_trial(trial.params)

    def _is_alive(self, trial: FrozenTrial) -> bool:
        """Whether a runner still looks after a trial."""
        host, pid = trial.user_attrs.get(RUNNER, ("", 0))
        if not host or (host == socket.gethostname() and not _exists(pid)):
            return False
        with suppress(FileNotFoundError):
            return time.time() - (self.run_dir(trial) / LOG).stat().st_mtime < LOST_AFTER_S
        return False

    def _hand_out_missing(self) -> None:
        """Queues the points of a grid that are not there, or have failed."""
        there = [
            trial.system_attrs.get("fixed_params", trial.params)
            for trial in self.trials(*FINISHED, TrialState.RUNNING, TrialState.WAITING)
        ]
        for point in self.grid:
            if point not in there:
                self.study.enqueue_trial(point)

    def _failed(self) -> list[FrozenTrial]:
        return [t for t in self.trials(TrialState.FAIL) if PROBLEM in t.user_attrs]

    def in_vain(self) -> str | None:
        """Why there is no best trial; None if there is one, or one may still come."""
        if self.trials(TrialState.COMPLETE, TrialState.RUNNING):
            return None
        if self.trials(TrialState.PRUNED):
            others = " or failed" if self._failed() else ""
            return f"every trial was stopped early{others}, so there is no best.yaml"
        return f"every trial failed; see {self.folder}/trial-*/{LOG}" if self._failed() else None

    def next_trial(self) -> Trial | None:
        """Begins a trial; None if there are enough, counting those that have failed just now."""
        with self.lock("study"):
            self._hand_out_lost()
            failed = [t for t in self._failed() if t.number not in self._failed_before]
            taken = len(self.trials(*FINISHED, TrialState.RUNNING)) + len(failed)
            waiting = self.trials(TrialState.WAITING)
            if taken >= self.count or (self.grid and not waiting):
                return None
            drawn = [t for t in self.trials() if "fixed_params" not in t.system_attrs]
            self.study.sampler = space.sampler(self.config, len(drawn))
            trial = self.study.ask(self.space)
            trial.set_user_attr(RUNNER, (socket.gethostname(), os.getpid()))
            self.run_dir(trial).mkdir(exist_ok=True)
            (self.run_dir(trial) / LOG).touch()
        return trial

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Notes a validation, ``step`` counting them from 1; True if the trial shall be stopped."""
        trial.report(value, step)
        return step < self.last_cut and trial.should_prune()

    def best_of(self, values: Any) -> float | None:
        """The best of some values, in the sense of the sweep's goal; None if there is no number."""
        numbers = [value for value in values if value == value]
        if not numbers:
            return None
        return max(numbers) if goal(self.config) == "maximize" else min(numbers)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
