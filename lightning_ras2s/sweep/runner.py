"""Runs a sweep without W&B: agents that take trials from the shared study and train them."""

import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState
from rich.console import Console

from lightning_ras2s.sweep import devices, results
from lightning_ras2s.sweep.definition import as_shown, fill_command, short_names
from lightning_ras2s.sweep.study import EPOCHS, PROBLEM, PROCESS, SharedStudy
from lightning_ras2s.sweep.training import LOG, Training

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Runner:
    """Runs trials until there are enough.

    Args:
        study: Hands them out.
        agents: How many to train at once; each has a GPU of its own, as far as there are some.
        console: Where to tell of them.
    """

    def __init__(self, study: SharedStudy, agents: int, console: Console) -> None:
        self.study, self.agents, self.console = study, agents, console
        self.metric = study.config["metric"]["name"]
        self.names = short_names(study.space)
        self.stop = threading.Event()

    def run(self) -> None:
        """Runs the agents; a signal stops them, and their trials are handed out again later."""
        with _set_by_signals(self.stop), ThreadPoolExecutor(self.agents) as pool:
            list(pool.map(self._work, devices.shares(self.agents)))

    def _work(self, environment: Mapping[str, str]) -> None:
        try:
            while not self.stop.is_set() and (trial := self.study.next_trial()):
                self._tell(trial, "training")
                self._train(trial, environment)
                results.write(self.study)
        except BaseException:
            self.stop.set()
            raise

    def _train(self, trial: Trial, environment: Mapping[str, str]) -> None:
        command = fill_command(self.study.config, trial.params)
        try:
            training = Training(command, self.study.run_dir(trial), self.metric, environment)
        except OSError as error:
            self._fail(trial, f"it cannot be started: {error}")
            return
        try:
            trial.set_user_attr(PROCESS, training.process.pid)
            pruned = self._follow(trial, training)
            training.end()
            self._finish(trial, training, pruned)
        except UpdateFinishedTrialError:
            self._tell(trial, "given up: it was taken for lost, and is tried again elsewhere")
        finally:
            training.end()

    def _follow(self, trial: Trial, training: Training) -> bool:
        """Reports each validation to the end; True if it is to be stopped because of one."""
        seen = 0
        while True:
            ended = training.has_ended()
            pruned = False
            for _, value in training.validations()[seen:]:
                seen += 1
                pruned |= self.study.report(trial, seen, value)
            if ended:
                return False
            if pruned or self.stop.is_set():
                return pruned

    def _finish(self, trial: Trial, training: Training, pruned: bool) -> None:
        """Notes the trial's end; its value is the best validation's, as in ``best.ckpt``."""
        study, validations = self.study.study, training.validations()
        best = self.study.best_of(value for _, value in validations)
        if validations:
            trial.set_user_attr(EPOCHS, validations[-1][0])
        if self.stop.is_set() and not pruned and not training.has_finished():
            self.study.release(trial)
            self._tell(trial, "interrupted; it is tried again when the sweep goes on")
        elif best is None or (training.has_failed() and not pruned):
            self._fail(trial, f"{training.problem()} (all of it: {training.run_dir / LOG})")
        elif pruned:
            study.tell(trial, state=TrialState.PRUNED)
            self._tell(trial, f"stopped early, {self.metric} {best:.6g}")
        else:
            study.tell(trial, best)
            self._tell(trial, f"finished, {self.metric} {best:.6g}")

    def _fail(self, trial: Trial, problem: str) -> None:
        trial.set_user_attr(PROBLEM, problem)
        self.study.study.tell(trial, state=TrialState.FAIL)
        self._tell(trial, f"failed: {problem}")

    def _tell(self, trial: Trial, news: str) -> None:
        point = ", ".join(f"{self.names[k]}={as_shown(v)}" for k, v in trial.params.items())
        self.console.print(f"trial {trial.number} ({point}): {news}")


@contextmanager
def _set_by_signals(event: threading.Event) -> Iterator[None]:
    """Has the signals that end a program set an event instead, but for those that it ignores."""

    def handler(number: int, frame: FrameType | None) -> None:
        event.set()

    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
