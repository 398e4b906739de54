"""A training of seconds, as a process of its own, that is struck and goes on."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from tests.cubes import FOLDER

HOUSE = Path(__file__).parents[2]
OPTIONS = (
    *FOLDER,
    "--model.network.zero_start=false",
    "--data.patches_per_epoch=80",
    "--data.batch_size=8",
    "--trainer.max_epochs=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_model_summary=false",
)
MEASURED = ("cost/", "train/samples_per_sec")  # columns that differ from run to run


class Training:
    """A run in a folder that holds the cubes.

    Args:
        folder: The working directory.
        name: Of the run's folder in it.
        num_workers: Of the loaders.
        devices: Processes.
    """

    def __init__(self, folder, name, num_workers=0, devices=1):
        self.folder, self.run = folder, folder / name
        self.extra = (f"--data.num_workers={num_workers}", f"--trainer.devices={devices}")
        self.output = ""

    def begin(self, *options, fault=None, rank=0, wrapper=()):
        """Starts the process; with a fault, it is struck as tests/faults/driver.py says."""
        environment = os.environ | {
            "PYTHONPATH": str(HOUSE),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": os.environ.get("WANDB_MODE", "disabled"),
            "DATA_ROOT": str(self.folder / "data"),
            "FAULT": fault or "",
            "FAULT_RANK": str(rank),
        }
        module = "tests.faults.driver" if fault else "lightning_ras2s"
        files = [f"-c={HOUSE}/experiments/{name}.yaml" for name in ("defaults", "folder")]
        return subprocess.Popen(
            [
                *wrapper,
                *(sys.executable, "-m", module, "fit"),
                *(word for file in files for word in file.split("=", 1)),
                *options,
                *OPTIONS,
                *self.extra,
                f"--run_dir={self.run}",
            ],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def end(self, process):
        """Waits for its end; gives the exit code."""
        self.output, _ = process.communicate(timeout=300)
        return process.returncode

    def fit(self, **options):
        """Trains from the beginning."""
        return self.end(self.begin(**options))

    def go_on(self, **options):
        """Goes on with the run."""
        return self.end(self.begin(f"--resume={self.run}", **options))

    @property
    def checkpoints(self):
        """The names in the folder of the checkpoints."""
        return {path.name for path in (self.run / "checkpoints").iterdir()}

    def result(self):
        """All that a training leaves that follows from its seed."""
        last = torch.load(self.run / "checkpoints/last.ckpt", weights_only=True)
        with (self.run / "metrics.csv").open() as file:
            rows = [
                {k: v for k, v in row.items() if v and not k.startswith(MEASURED)}
                for row in csv.DictReader(file)
            ]
        return {
            "weights": {name: w.tolist() for name, w in last["state_dict"].items()},
            "adam": str(last["optimizer_states"]),
            "rates": str(last["lr_schedulers"]),
            "best": last["callbacks"],
            "logged": [row for row in rows if row.keys() - {"epoch", "step"}],
            "evaluation": (self.run / "evaluation.csv").read_text(),
        }


def kill(process):
    """Kills a process and all that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
