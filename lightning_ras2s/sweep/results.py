"""What a sweep leaves: its table, a page to look at, and the best configuration."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs.folder import RunFolder
from lightning_ras2s.sweep import parallel
from lightning_ras2s.sweep.definition import as_shown, as_text, goal, short_names
from lightning_ras2s.sweep.study import EPOCHS, PROBLEM, SharedStudy

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.RUNNING: "running",
}
TABLE, PAGE, BEST = "sweep.csv", "parallel.html", "best.yaml"


def write(study: SharedStudy) -> None:
    """Writes ``sweep.csv``, and with a finished trial ``parallel.html`` and ``best.yaml``.

    Each file is replaced at once: who reads it, or is killed, never has half of it.
    """
    with study.lock("results"):
        trials = ranked(study)
        _put(study.folder / TABLE, _csv(study, trials))
        if not trials or trials[0].state != TrialState.COMPLETE:
            return
        _put(
            study.folder / PAGE,
            parallel.page(study.config, study.space, study.trials(TrialState.COMPLETE)),
        )
        config = RunFolder(study.run_dir(trials[0])).config_file
        if config.is_file():
            told = f"# trial {trials[0].number}: {metric(study)} {trials[0].value}\n"
            _put(study.folder / BEST, told + config.read_text())


def _put(path: Path, text: str) -> None:
    with atomic_write(path) as aside:
        aside.write_text(text)


def metric(study: SharedStudy) -> str:
    """The name of what is searched for."""
    return study.config["metric"]["name"]


def ranked(study: SharedStudy) -> list[FrozenTrial]:
    """All trials: finished ones, best first; then those stopped early; then the others."""
    order = [*STATES, TrialState.FAIL]
    sign = -1 if goal(study.config) == "maximize" else 1

    def key(trial: FrozenTrial) -> tuple[int, float, int]:
        value = value_of(study, trial)
        return order.index(trial.state), 0 if value is None else sign * value, trial.number

    return sorted(study.trials(), key=key)


def value_of(study: SharedStudy, trial: FrozenTrial) -> float | None:
    """The best validation of a trial so far."""
    return study.best_of(trial.intermediate_values.values())


def state_of(trial: FrozenTrial) -> str:
    """The state in words; a trial that was interrupted is tried again under another number."""
    if trial.state == TrialState.FAIL:
        return "failed" if PROBLEM in trial.user_attrs else "interrupted"
    return STATES[trial.state]


def _csv(study: SharedStudy, trials: Iterable[FrozenTrial]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(study.space)
    writer.writerow(["number", "state", "value", *names, "run_dir", "epochs", "seconds"])
    for trial in sorted(trials, key=lambda trial: trial.number):
        seconds = trial.duration.total_seconds() if trial.duration else ""
        parameters = [as_text(trial.params[n]) if n in trial.params else "" for n in names]
        row = [trial.number, state_of(trial), value_of(study, trial), *parameters]
        writer.writerow([*row, study.run_dir(trial), trial.user_attrs.get(EPOCHS), seconds])
    return text.getvalue()


def screen_table(study: SharedStudy) -> Table:
    """The trials, best first, for the terminal."""
    table = Table(title=f"{study.config.get('name', 'sweep')}: best validation of each trial")
    table.add_column("Trial", justify="right")
    table.add_column(metric(study), justify="right")
    names = short_names(study.space)
    for name in names.values():
        table.add_column(name, justify="right")
    for column in ("Epochs", "Time (s)", "State"):
        table.add_column(column, justify="left" if column == "State" else "right")
    for trial in ranked(study):
        value = value_of(study, trial)
        parameters = [as_shown(trial.params.get(name, "")) for name in names]
        time = f"{trial.duration.total_seconds():.0f}" if trial.duration else ""
        shown = "" if value is None else f"{value:.4f}"
        epochs = str(trial.user_attrs.get(EPOCHS, ""))
        table.add_row(str(trial.number), shown, *parameters, epochs, time, state_of(trial))
    return table
