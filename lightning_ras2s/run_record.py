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

FILE = "run.json"
SOFTWARE = ("torch", "lightning", "torchmetrics", "wandb", "numpy")


def start(run_dir: Path, command: str, trainer: L.Trainer) -> dict[str, Any]:
    """Writes the record of a run that begins, and returns it.

    Args:
        run_dir: The run's folder; its parent is named after the experiment.
        command: The command line.
        trainer: Tells the hardware, the data and the run of W&B.
    """
    record = {
        "experiment": run_dir.absolute().parent.name,
        "command": command,
        "process": os.getpid(),
        "started": _now(),
        "finished": None,
        "status": "running",
        "error": None,
        "git_commit": git_commit(),
        "hardware": hardware(trainer),
        "software": {"python": platform.python_version()} | {p: version(p) for p in SOFTWARE},
        "data": data_facts(trainer),
        "wandb": _wandb_run(trainer),
    }
    _write(run_dir / FILE, record)
    return record


def update(run_dir: Path, **facts: Any) -> None:
    """Puts facts into the record of a run; without a record it does nothing."""
    path = run_dir / FILE
    if path.is_file():
        _write(path, json.loads(path.read_text()) | facts)


def is_own(run_dir: Path) -> bool:
    """Whether this very process has begun the run: not an earlier one, nor another rank."""
    path = run_dir / FILE
    return path.is_file() and json.loads(path.read_text()).get("process") == os.getpid()


def finish(run_dir: Path, status: str, error: str | None = None) -> None:
    """Notes how a run has ended, and when: finished, stopped (by a signal) or failed."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=2))
    aside.replace(path)
