"""``run.json``: what was run, on what, and how it ended."""

import json
import os
import platform
import shutil
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger

from lightning_ras2s.unessential import unessential
from lightning_ras2s.whole_files import written_aside

FILE = "run.json"
RUNS = "runs"  # holds a folder for each experiment
SOFTWARE = ("torch", "lightning", "torchmetrics", "wandb", "numpy")


def start(
    run_dir: Path, command: str, trainer: L.Trainer, checkpoint: str | None = None
) -> dict[str, Any]:
    """Writes the record of a run that begins, or goes on, and returns it.

    Args:
        run_dir: The run's folder; its parent is named after the experiment.
        command: The command line.
        trainer: Tells the hardware, the data and the run of W&B.
        checkpoint: What it goes on from.
    """
    before = read(run_dir)
    record = {
        "experiment": run_dir.absolute().parent.name,
        "command": before.get("command", command),
        "process": os.getpid(),
        "started": before.get("started", _now()),
        "resumed": before.get("resumed", []),
        "finished": None,
        "status": "running",
        "error": None,
        "git_commit": git_commit(),
        "hardware": hardware(trainer),
        "software": {"python": platform.python_version()} | {p: version(p) for p in SOFTWARE},
        "data": data_facts(trainer),
        "wandb": _wandb_run(trainer),
    }
    if before:
        going_on = {"time": _now(), "checkpoint": checkpoint, "command": command}
        record["resumed"] = [*record["resumed"], going_on]
    _write(run_dir / FILE, record)
    if run_dir.absolute().parents[1].name == RUNS:
        with written_aside(_pointer(run_dir.absolute().parent)) as aside:
            aside.write_text(run_dir.name)
    return record


def read(run_dir: Path) -> dict[str, Any]:
    """The record of a run; empty without one."""
    path = run_dir / FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def latest(experiment: Path) -> Path | None:
    """The run of an experiment that was begun last; None if it is not there any more, or none was.

    Args:
        experiment: ``runs/<experiment>``.
    """
    pointer = _pointer(experiment)
    run_dir = experiment / pointer.read_text() if pointer.is_file() else None
    return run_dir if run_dir is not None and run_dir.is_dir() else None


def _pointer(experiment: Path) -> Path:
    """The file with the name of the run begun last; the times of runs are those of a clock."""
    return experiment.with_name(f"{experiment.name}.latest")


def update(run_dir: Path, **facts: Any) -> None:
    """Puts facts into the record of a run; without a record it does nothing."""
    if record := read(run_dir):
        _write(run_dir / FILE, record | facts)


def is_own(run_dir: Path) -> bool:
    """Whether this very process has begun the run: not an earlier one, nor another rank."""
    return read(run_dir).get("process") == os.getpid()


def finish(run_dir: Path, status: str, error: str | None = None) -> None:
    """Notes how a run has ended, and when: finished, stopped (by a signal) or failed."""
    with unessential(f"{run_dir}: its end is not noted"):
        update(run_dir, status=status, error=error, finished=_now())


def hardware(trainer: L.Trainer) -> dict[str, str | int | float]:
    """The device that computes, how many of them, and the machine around it."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "device": name,
        "devices": trainer.world_size,
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory, 1),
        "precision": str(trainer.precision),
    }


def data_facts(trainer: L.Trainer) -> dict[str, str | int]:
    """The dataset and its number of scenes in each split that was opened."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    facts: dict[str, str | int] = {"name": data.name}
    if hasattr(data, "train_set"):
        facts["train_scenes"] = len({scene.name for scene in data.train_set.scenes})
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _wandb_run(trainer: L.Trainer) -> dict[str, str | None] | None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            return None if run.disabled else {"id": run.id, "url": run.url}
    return None


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _write(path: Path, record: dict[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=2))
