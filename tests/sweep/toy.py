"""Sweeps of the fake training, and what they leave."""

import csv
import sys
from pathlib import Path

import yaml

FAKE = Path(__file__).with_name("fake_training.py")
GRID = {"x": {"values": [1, 2, 3, 4]}}


def put(folder, parameters=GRID, goal="maximize", **changes):
    """Writes a sweep file."""
    config = {
        "method": "grid",
        "metric": {"name": "val/score", "goal": goal},
        "parameters": parameters,
        "command": ["${env}", "${interpreter}", str(FAKE), "${args}"],
    } | changes
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}))
    return str(path)


def command(*arguments):
    """The command line of a runner in a process of its own."""
    return [sys.executable, "-m", "lightning_ras2s.sweep", *arguments]


def rows(folder=Path("runs/sweeps/toy")):
    """The rows of sweep.csv."""
    with (folder / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


def points(*states, folder=Path("runs/sweeps/toy"), name="x"):
    """A parameter of the trials in some states, in their order."""
    return [row[name] for row in rows(folder) if row["state"] in (states or ("finished",))]
