"""How many patches a second the training takes."""

import time
from typing import Any

import lightning as L


class Throughput(L.Callback):
    """Logs ``train/samples_per_sec``: of all devices together, over the steps between two logs.

    Lightning's own monitor waits for the GPU after each step, so that its queue runs empty. This
    one reads the clock where the loggers wait for it anyway.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._patches = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._restart()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts it again: a validation is no training."""
        self._restart()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts, and logs at every ``log_every_n_steps``-th step."""
        self._patches += len(batch["index"]) * trainer.world_size
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            rate = self._patches / (time.perf_counter() - self._start)
            pl_module.log("train/samples_per_sec", rate, batch_size=len(batch["index"]))
            self._restart()

    def _restart(self) -> None:
        self._start, self._patches = time.perf_counter(), 0
