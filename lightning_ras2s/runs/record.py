"""``run.json``: what was run, on what, and how it ended."""

import json
import os
import platform
import shutil
import subprocess
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning as L
import torch

from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.folder import RUNS, RunFolder
from lightning_ras2s.runs.loggers import wandb_loggers

SOFTWARE = ("torch", "lightning", "torchmetrics", "wandb", "numpy")


def start(
    run: RunFolder,
    experiment: str,
    command: str,
    trainer: L.Trainer,
    going_on: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the record of a run that begins, or goes on, and returns it.

    Args:
        run: The run.
        experiment: Its name.
        command: The command line.
        trainer: Tells the hardware, the data and the run of W&B.
        going_on: From which checkpoint and step it goes on, and with which overrides.
    """
    before = read(run) if going_on else {}
    record = {
        "experiment": before.get("experiment", experiment),
        "command": before.get("command", command),
        "started": before.get("started", _now()),
        "resumed": before.get("resumed", []),
        "finished": None,
        "status": "running",
        "error": None,
        "git_commit": git_commit(),
        "hardware": hardware(trainer),
        "software": {"python": platform.python_version()} | {p: _version(p) for p in SOFTWARE},
        "data": data_facts(trainer),
        "method": _method(trainer),
        "wandb": _wandb_run(trainer),
    }
    if going_on:
        again = {"time": _now(), "command": command} | going_on
        record["resumed"] = [*record["resumed"], again]
    _write(run, record)
    return record


def read(run: RunFolder) -> dict[str, Any]:
    """The record of a run as it is now; empty without one."""
    return RunFolder(run.path).record


def note_latest(run: RunFolder) -> None:
    """Makes a training the one that ``RESUME=last`` means, if it lies below ``runs``."""
    experiment = run.path.absolute().parent
    if experiment.parent.name == RUNS.name:
        with atomic_write(_pointer(experiment)) as aside:
            aside.write_text(run.path.name)


def latest(experiment: Path) -> RunFolder | None:
    """The training of an experiment that was begun last; None if it is not there, or none was.

    Args:
        experiment: ``runs/<experiment>``.
    """
    pointer = _pointer(experiment)
    path = experiment / pointer.read_text() if pointer.is_file() else None
    return RunFolder(path) if path is not None and path.is_dir() else None


def _pointer(experiment: Path) -> Path:
    """The file with the name of the run begun last; the times of runs are those of a clock."""
    return experiment.with_name(f"{experiment.name}.latest")


def update(run: RunFolder, **facts: Any) -> None:
    """Puts facts into the record of a run; without a record it does nothing."""
    if record := read(run):
        _write(run, record | facts)


def finish(run: RunFolder, status: str, error: str | None = None) -> None:
    """Notes how a run has ended, and when: finished, stopped (by a signal) or failed."""
    with best_effort(f"{run.path}: its end is not noted"):
        update(run, status=status, error=error, finished=_now())


def hardware(trainer: L.Trainer) -> dict[str, str | int | float]:
    """The device that computes, how many of them, and the machine around it."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "device": name,
        "devices": trainer.world_size,
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory, 1),
        "precision": str(trainer.precision),
    }


def data_facts(trainer: L.Trainer) -> dict[str, str | int]:
    """The dataset and its number of scenes in each split that was opened."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    facts: dict[str, str | int] = {"name": data.name}
    if hasattr(data, "train_set"):
        facts["train_scenes"] = data.train_set.scene_count
    for split in ("val", "test"):
        if hasattr(data, f"{split}_set"):
            items = getattr(data, f"{split}_set").items
            facts[f"{split}_scenes"] = len({(item.dataset, item.scene) for item in items})
    return facts


def git_commit() -> str | None:
    """The commit of the working directory, with ``-dirty`` behind it if there are changes."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def _method(trainer: L.Trainer) -> str | None:
    """The label of the run's own network, as in its evaluation."""
    module = getattr(trainer, "lightning_module", None)
    method = getattr(module, "method", None)
    return None if method is None else method.label


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _wandb_run(trainer: L.Trainer) -> dict[str, str | None] | None:
    for logger in wandb_loggers(trainer.loggers):
        run = logger.experiment
        return None if getattr(run, "disabled", False) else {"id": run.id, "url": run.url}
    return None


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write(run: RunFolder, record: dict[str, Any]) -> None:
    with atomic_write(run.record_file) as aside:
        aside.write_text(json.dumps(record, indent=2))
