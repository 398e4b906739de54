"""The folder of a run: where each of its files is, what they say, and how a new one is made."""

import csv
import json
import math
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from io import StringIO
from itertools import chain, count
from pathlib import Path
from typing import Any

import yaml

from lightning_ras2s.evaluation import MEAN, Row
from lightning_ras2s.methods import METHODS
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.runs.alive import is_held

FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
RUNS = Path("runs")  # holds a folder for each experiment

CONFIG, RECORD = "config.yaml", "run.json"  # either makes a folder a run
METRICS_FILE, EVALUATION, REPORT = "metrics.csv", "evaluation.csv", "report.html"
TRACEBACK = "traceback.txt"
CHECKPOINTS, PICTURES, INSPECTOR = "checkpoints", "pictures", "inspector"
DENOISED, WANDB = "denoised", "wandb"
SWEEPS = "sweeps"  # below RUNS
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"

RECORDS = (RECORD, CONFIG)
RESULTS = (METRICS_FILE, EVALUATION)
PARTS = {CHECKPOINTS, PICTURES, INSPECTOR, DENOISED, WANDB}  # not runs, and can be large
TIME = "%Y-%m-%d_%H-%M-%S"
NAMES = ("dataset", "noise_case", "method", "scene")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, read when asked. What is missing or half written is empty, never an error.

    Args:
        path: The folder.
    """

    path: Path

    # Where things are

    @property
    def config_file(self) -> Path:
        """The whole configuration."""
        return self.path / CONFIG

    @property
    def record_file(self) -> Path:
        """What was run, on what, and how it ended."""
        return self.path / RECORD

    @property
    def evaluation_file(self) -> Path:
        """The rows of the test's table."""
        return self.path / EVALUATION

    @property
    def report_file(self) -> Path:
        """The run's page."""
        return self.path / REPORT

    @property
    def traceback_file(self) -> Path:
        """Where the error came from that ended it."""
        return self.path / TRACEBACK

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def wandb(self) -> Path:
        """What W&B keeps."""
        return self.path / WANDB

    @property
    def is_run(self) -> bool:
        """Whether a run has begun in it."""
        return any((self.path / name).is_file() for name in RECORDS)

    @property
    def weights(self) -> Path | None:
        """The best checkpoint, or else the last; None without any."""
        names = [self.checkpoints / name for name in (BEST, LAST, PREVIOUS)]
        return next((path for path in names if path.is_file()), None)

    def discard(self) -> None:
        """Removes it, and the folders of its experiment and of all runs where they are empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            for above in self.path.parents:
                if RUNS.name not in above.parts:
                    break
                above.rmdir()

    # What they say

    @cached_property
    def record(self) -> dict[str, Any]:
        """``run.json``: what was run, on what, and how it ended."""
        try:
            record = json.loads(self._text(RECORD))
        except (ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}

    @cached_property
    def config(self) -> str:
        """``config.yaml``."""
        return self._text(CONFIG)

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of ``metrics.csv``, each with the columns that it has a number for."""
        return [
            {name: float(cell) for name, cell in row.items() if _is_number(cell)}
            for row in self._rows(METRICS_FILE)
        ]

    @cached_property
    def evaluation(self) -> list[Row]:
        """The rows of ``evaluation.csv``; a metric that is not a number is nan."""
        return [
            {name: row[name] for name in NAMES}
            | {m: float(row[m]) if _is_number(row.get(m)) else math.nan for m in METRICS}
            for row in self._rows(EVALUATION)
            if all(row.get(name) for name in NAMES)
        ]

    @property
    def means(self) -> list[Row]:
        """The rows of the evaluation that are means over scenes."""
        return [row for row in self.evaluation if row["scene"] == MEAN]

    @property
    def scenes(self) -> list[Row]:
        """The rows of the evaluation that are not means."""
        return [row for row in self.evaluation if row["scene"] != MEAN]

    @property
    def method(self) -> str:
        """The run's own network, as the evaluation calls it; empty without one."""
        last = self.scenes[-1]["method"] if self.scenes else ""  # as runs were written once
        return str(self.record.get("method") or last)

    @property
    def best_validation(self) -> dict[str, float]:
        """The row of ``metrics.csv`` with the highest finite validation PSNR; empty without any."""
        rows = [row for row in self.metrics if math.isfinite(row.get("val/psnr_db", math.nan))]
        return max(rows, key=lambda row: row["val/psnr_db"], default={})

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return str(self.record.get("experiment") or self.path.absolute().parent.name)

    @property
    def status(self) -> str:
        """running, finished, stopped, failed or, of one that was killed, dead.

        Empty for a run that kept no record.
        """
        status = str(self.record.get("status") or "")
        return "dead" if status == "running" and not is_held(self.config_file) else status

    @property
    def started(self) -> datetime | None:
        """When it started, by its record or by the folder's name."""
        if started := _time(self.record.get("started")):
            return started
        try:
            return _time(datetime.strptime(self.path.name, TIME).isoformat())
        except ValueError:
            return None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        started, finished = _time(self.record.get("started")), _time(self.record.get("finished"))
        if started is None or finished is None:
            return None
        return finished.timestamp() - started.timestamp()

    @property
    def changes(self) -> list[str]:
        """The options that were given on the command line, such as ``model.regions=5``."""
        try:
            words = shlex.split(str(self.record.get("command") or ""))
        except ValueError:
            return []
        options = [word.removeprefix("--") for word in words if word.startswith("--")]
        hidden = ("run_dir=", "weights=", "config=", "resume=", "model.network.path=")
        return [option for option in options if "=" in option and not option.startswith(hidden)]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What ``config.yaml`` says, as plain values; empty if it cannot be read."""
        with suppress(yaml.YAMLError, RecursionError):
            settings = yaml.load(self.config, Loader=FAST)
            return settings if isinstance(settings, dict) else {}
        return {}

    @property
    def weights_used(self) -> str:
        """Whose weights were tested: the package's, a checkpoint's, or those trained here."""
        path = self.settings.get("ckpt_path")
        with suppress(KeyError, TypeError):
            path = path or self.settings["model"]["network"]["init_args"]["path"]
        if isinstance(path, str) and path:
            return f"{path} (of the package)" if path in METHODS else _below_runs(Path(path), 1)
        return f"{self.weights.name} of this run" if self.weights else ""

    @property
    def name(self) -> str:
        """Its place below the folder of all runs, as far as its path tells."""
        return _below_runs(self.path.absolute(), 2)

    @property
    def kind(self) -> str:
        """training, evaluation, sweep or denoising (of scenes that nobody knows clean)."""
        words = str(self.record.get("command") or "").split()
        if SWEEPS in self.path.parts:
            return "sweep"
        if "fit" in words:
            return "training"
        if (self.path / DENOISED).is_dir() and not self.evaluation:
            return "denoising"
        return "evaluation" if {"test", "validate"} & set(words) else ""

    @property
    def commit(self) -> str:
        """The Git commit that was run."""
        return str(self.record.get("git_commit") or "")

    @property
    def pictures(self) -> list[Path]:
        """``pictures/<stage>/<topic>_<name>.png``."""
        return sorted(self.path.glob(f"{PICTURES}/*/*.png"))

    @property
    def inspectors(self) -> list[Path]:
        """``inspector/*.html``."""
        return sorted(self.path.glob(f"{INSPECTOR}/*.html"))

    @property
    def changed(self) -> int:
        """When the newest of the files that a report shows was written, in ns."""
        files = [self.path / name for name in (*RECORDS, *RESULTS)]
        files += [self.path / PICTURES, self.path / INSPECTOR]
        files += [*self.pictures, *self.inspectors]
        return max((file.stat().st_mtime_ns for file in files if file.exists()), default=0)

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        text = self._text(name)
        whole = text[: text.rfind("\n") + 1]  # the last line may still be being written
        with suppress(csv.Error):  # what is behind it is not read
            yield from csv.DictReader(StringIO(whole, newline=""))


def _below_runs(path: Path, otherwise: int) -> str:
    """A path from the folder of all runs on; its last parts, if it leads elsewhere."""
    after = [place for place, part in enumerate(path.parts) if part == RUNS.name]
    return "/".join(path.parts[after[-1] + 1 :] if after else path.parts[-otherwise:])


def names_for(folder: Path) -> Iterator[Path]:
    """A folder's name, then the same with _2, _3, ... behind it."""
    return chain([folder], (folder.with_name(f"{folder.name}_{n}") for n in count(2)))


def make_folder(wanted: Path) -> Path:
    """Makes a new folder of this name or, where it is taken, of the next one.

    Of two runs that begin at once, each has its own.
    """
    for folder in names_for(wanted):
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise AssertionError  # the names do not end


def find_runs(folder: Path) -> list[RunFolder]:
    """All runs in a folder at any depth, the newest first; each once, though links lead to it."""
    runs, seen = [], set()
    for path, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        is_run = any(name in files for name in RECORDS)
        skipped = PARTS if is_run else {WANDB}
        folders[:] = [name for name in folders if name not in skipped]
        if is_run:
            runs.append(RunFolder(Path(path)))
    return sorted(runs, key=_start, reverse=True)


def _start(run: RunFolder) -> tuple[float, str]:
    started = run.started
    return (started.timestamp() if started else run.changed / 1e9, str(run.path))


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        time.timestamp()  # of the years 1 and 9999, some have none
    except (TypeError, ValueError, OverflowError):
        return None
    return time
