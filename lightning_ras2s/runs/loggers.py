"""Loggers that a full disk, or a service that is away, cannot make end a training."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs.best_effort import best_effort, warn_once
from lightning_ras2s.runs.folder import METRICS_FILE


class MetricsFile(CSVLogger):
    """``metrics.csv``, where a training that goes on writes on.

    A row is written when it is logged. What a killed training logged after its last checkpoint is
    replaced as the same steps come again.

    Args:
        save_dir: The run's folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> "_Table":
        """Writes the file."""
        if self._experiment is None:
            self._experiment = _Table(Path(self.log_dir, METRICS_FILE))  # type: ignore[assignment]
        return self._experiment  # type: ignore[return-value]

    def log_hyperparams(self, params: Any = None) -> None:
        """Does nothing: ``config.yaml`` holds them."""


Row = Mapping[str, Any]


class _Table:
    """A CSV file that grows by rows, and now and then by columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        self.waiting: list[Row] = []  # to be written
        self._size = 0  # bytes of what was written; 0 where nothing was since the start

    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int) -> None:
        """Adds a row; the first also keeps the rows in the file, up to where it comes again."""
        if not (self._size or self.waiting):
            again = partial(_comes_again, metrics.keys() - {"epoch"}, step)
            self.waiting += takewhile(lambda row: not again(row), _read(self.path))
        values = {k: v.item() if isinstance(v, Tensor) else v for k, v in metrics.items()}
        self.waiting.append(values | {"step": step})

    def save(self) -> None:
        """Writes what waits; where that fails, it goes on waiting."""
        if not self.waiting:
            return
        with best_effort(f"{self.path} cannot be written"):
            columns = sorted({*self.columns}.union(*self.waiting))
            if self._size and columns == self.columns:
                self._append(_text(columns, self.waiting))
            else:  # aside, so that a kill leaves the old file
                rows = [*(_read(self.path) if self._size else []), *self.waiting]
                self._rewrite(_text(columns, rows, header=True))
            self.columns, self.waiting = columns, []

    def _append(self, text: bytes) -> None:
        with self.path.open("r+b") as file:
            file.truncate(self._size)  # what an attempt before could not write in full
            file.seek(self._size)
            file.write(text)
        self._size += len(text)

    def _rewrite(self, text: bytes) -> None:
        with atomic_write(self.path) as aside:
            aside.write_bytes(text)
        self._size = len(text)


def _comes_again(columns: Set[str], step: int, row: Row) -> bool:
    """Whether a row in the file was logged at this step with one of these columns, or later."""
    return float(row["step"]) > step or (
        float(row["step"]) == step and any(row.get(column) for column in columns)
    )


def _text(columns: Sequence[str], rows: Iterable[Row], header: bool = False) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _read(path: Path) -> list[Row]:
    """The rows of a file, without a last one that was not written to its end."""
    if not path.is_file():
        return []
    text = path.read_text()
    whole = io.StringIO(text[: text.rfind("\n") + 1])
    return [row for row in csv.DictReader(whole) if row.get("step")]


class Wandb(WandbLogger):
    """W&B's logger, for which no training ends: it goes offline where there is no connection.

    Where W&B cannot be had at all, one warning says so, and nothing is logged there.

    Args:
        project: W&B's project.
        save_dir: The run's folder.
        kwargs: Further arguments of ``wandb.init``.
    """

    def __init__(
        self, project: str = "lightning_ras2s", save_dir: str = ".", **kwargs: Any
    ) -> None:
        self._experiment: Any
        try:
            super().__init__(project=project, save_dir=save_dir, **kwargs)
        except ModuleNotFoundError as error:  # then Lightning's has nothing that it needs
            warn_once(f"W&B keeps no logs ({error}); the run goes on")
            self._experiment = _DummyExperiment()
            self._prefix, self._save_dir = "", save_dir
            self._log_model, self._checkpoint_callbacks = False, {}
            self._project_name = self._name = self._id = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of W&B."""
        if self._experiment is None:
            self._experiment = _DummyExperiment()  # unless it can be had
            with best_effort("W&B keeps no logs", Exception):
                self._experiment = self._begun()
        return self._experiment

    def _begun(self) -> Any:
        import wandb

        options = {name: value for name, value in self._wandb_init.items() if value is not None}
        run: Any = wandb.run
        if run is None:
            Path(str(self._save_dir)).mkdir(parents=True, exist_ok=True)
            try:
                run = wandb.init(**options)
            except wandb.Error as error:
                said = next(iter(str(error).splitlines()), "")
                warn_once(f"W&B cannot be reached, keeps the run on disk ({said}); the run goes on")
                wandb.teardown()
                wandb.setup(wandb.Settings(mode="offline"))
                run = wandb.init(**options)
        if hasattr(run, "define_metric"):  # not one that is switched off
            run.define_metric("trainer/global_step")
            run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Logs the configuration, or warns."""
        if isinstance(self.experiment, _DummyExperiment):
            return
        with best_effort("W&B takes no configuration", Exception):
            super().log_hyperparams(params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers, or warns."""
        with best_effort("W&B takes no numbers", Exception):
            super().log_metrics(metrics, step)


def wandb_loggers(loggers: Iterable[Logger]) -> list[WandbLogger]:
    """Those of W&B, without one that W&B cannot be had for; none begins its run because of this."""
    return [
        logger
        for logger in loggers
        if isinstance(logger, WandbLogger)
        and not isinstance(getattr(logger, "_experiment", None), _DummyExperiment)
    ]
