"""``FAULT="SIGKILL training_step 13" python -m tests.faults.driver fit ...``: the command, struck.

The fault comes at the n-th call of a place, in the process of rank ``FAULT_RANK`` (0).
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import datamodules.samples
from lightning_ras2s import HSIDenoiser, cli
from lightning_ras2s.runs import checkpoints


def strike_at(owner, name, fault, number):
    """Lets the n-th call of a function begin with the fault."""
    function, calls = getattr(owner, name), iter(range(1, 1 << 30))

    def struck(*args, **kwargs):
        if next(calls) == number:
            fault(*args)
        return function(*args, **kwargs)

    setattr(owner, name, struck)


def send(signum):
    """A signal to this process itself."""
    return lambda *args: os.kill(os.getpid(), signum)


def write_half(file_number):
    """Leaves half of the file behind and dies."""
    os.truncate(file_number, os.fstat(file_number).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def jump_clock(*args):
    """Sets the clock of the day back by a day, for this process."""
    import time

    real = time.time
    time.time = lambda: real() - 86400


def fill_disk(*args):
    """Fills the disk of the run's folder."""
    run_dir = sys.argv[-1].removeprefix("--run_dir=")
    with Path(run_dir, "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def kill_wandb(*args):
    """Kills W&B's own process."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if "wandb" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)


PLACES = {
    "training_step": (HSIDenoiser, "training_step"),
    "validation_step": (HSIDenoiser, "validation_step"),
    "test_step": (HSIDenoiser, "test_step"),
    "written": (checkpoints.os, "fsync"),  # the checkpoint, without its name
    "renaming": (Path, "replace"),
    "reading": (datamodules.samples, "note"),
}


def main():
    """Runs the command with the fault that ``FAULT`` describes."""
    what, place, number = os.environ["FAULT"].split()
    if os.environ.get("LOCAL_RANK", "0") == os.environ.get("FAULT_RANK", "0"):
        faults = {
            "half": write_half,
            "clock": jump_clock,
            "full": fill_disk,
            "wandb": kill_wandb,
        }
        fault = faults.get(what) or send(signal.Signals[what])
        strike_at(*PLACES[place], fault, int(number))
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
