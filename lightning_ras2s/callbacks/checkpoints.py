"""The checkpoints of a training, and its end when it is told to stop."""

import math
import signal
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from datamodules.atomic_write import PART
from lightning_ras2s.runs.folder import BEST, LAST, PREVIOUS
from lightning_ras2s.runs.signals import Agreement, Stopped, StopRequest, Wish


class Checkpoints(Checkpoint):
    """Keeps the best weights and the state of the training, so that it can go on exactly.

    ``best.ckpt`` is the best by a metric of the validation. ``last.ckpt`` is written every few
    minutes, before and after each validation, and when SIGTERM or Ctrl-C comes, which end the
    training after its step; ``previous.ckpt`` is the one before it. A checkpoint that cannot be
    written is a warning, and the training goes on.

    Args:
        folder: Where they go.
        monitor: The metric.
        mode: Whether its highest or its lowest value is the best.
        every_n_minutes: Between two writings of ``last.ckpt`` within an epoch.
        every_n_steps: Likewise, in training steps; 0 leaves it to the minutes.

    Raises:
        ValueError: If one of the two is negative.
    """

    def __init__(
        self,
        folder: str,
        monitor: str = "val/psnr_db",
        mode: Literal["max", "min"] = "max",
        every_n_minutes: float = 10.0,
        every_n_steps: int = 0,
    ) -> None:
        if every_n_minutes < 0 or every_n_steps < 0:
            raise ValueError(
                f"every_n_minutes is {every_n_minutes} and every_n_steps {every_n_steps}; give "
                "positive numbers, or 0 steps for none"
            )
        self.folder, self.monitor, self.mode = Path(folder), monitor, mode
        self.every_n_minutes, self.every_n_steps = every_n_minutes, every_n_steps
        self.best_model_score: float | None = None
        self._request = StopRequest()
        self._agreement = Agreement()
        self._agreed = Wish.GO_ON
        self._saved_at = time.monotonic()  # no clock of the day: those are set
        self._saved_step = 0
        self._last_is_whole = False
        self._owes_validation = False

    @property
    def best_model_path(self) -> str:
        """The best checkpoint; empty where there is none, as Lightning has it."""
        path = self.folder / BEST
        return str(path) if self.best_model_score is not None and path.is_file() else ""

    def state_dict(self) -> dict[str, Any]:
        """The best score so far, and of what."""
        return {
            "best_model_score": self.best_model_score,
            "monitor": self.monitor,
            "mode": self.mode,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Likewise; in another folder, or by another metric, the best is still to come."""
        before = (state_dict.get("monitor", self.monitor), state_dict.get("mode", self.mode))
        if before != (self.monitor, self.mode):
            rank_zero_info(f"{BEST} is chosen anew: by {self.monitor}, no more by {before[0]}")
        elif (self.folder / BEST).is_file():
            self.best_model_score = state_dict["best_model_score"]

    # When to write

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes what a killed training was writing."""
        self._agreement = Agreement()
        self._last_is_whole = trainer.ckpt_path == str(self.folder / LAST)
        if trainer.is_global_zero:
            for part in self.folder.glob(f"*{PART}"):
                part.unlink()

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Signals are ours from here on."""
        self._request.at_once = True
        self._request.listen()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise, where no sanity check came before."""
        self._request.at_once = False
        self._request.listen()
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ends a training that is to stop: the step before is saved and logged."""
        self._stop_if_agreed(trainer)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Writes ``last.ckpt`` where it is time, or somebody has asked to stop."""
        wish = Wish.SAVE if self._is_due(trainer) else Wish.GO_ON
        if self._request.signum is not None:
            wish = Wish.STOP
        self._agreed = max(self._agreed, self._agreement(wish))
        if self._agreed and _is_between_steps(trainer):
            self._save_last(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes ``last.ckpt``; a training that goes on from it begins with this validation."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._request.listen()
            self._request.at_once = True
        elif not trainer.sanity_checking:
            if not trainer.should_stop:  # a training that has reached its end would not go on
                self._owes_validation = True
                self._save_last(trainer)
                self._owes_validation = False
                self._stop_if_agreed(trainer)
            self._request.at_once = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the best and the last."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._request.at_once = False
            self._save_best(trainer)
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the last where no validation has come at the end of the epoch."""
        if self._saved_step != trainer.global_step:
            self._save_last(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A test has nothing to be saved: it ends at once."""
        self._request.listen()
        self._request.at_once = True
        if self._request.signum is not None:
            raise Stopped(self._request.signum)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Tells the processes that Lightning has launched to end too."""
        kill = getattr(trainer.strategy.launcher, "kill", None)
        if isinstance(exception, Stopped) and self._request.at_once and kill is not None:
            kill(signal.SIGTERM)

    def _is_due(self, trainer: L.Trainer) -> bool:
        """The first process looks at the time, all count their steps."""
        if self.every_n_steps:
            return trainer.global_step % self.every_n_steps == 0
        return (
            trainer.is_global_zero
            and time.monotonic() - self._saved_at >= 60 * self.every_n_minutes
        )

    def _stop_if_agreed(self, trainer: L.Trainer) -> None:
        if self._agreed == Wish.STOP:
            rank_zero_info(
                f"Stopped after step {trainer.global_step}; make train RESUME={self.folder.parent} "
                "goes on"
            )
            raise Stopped(self._request.signum or signal.SIGTERM)

    # Writing

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Notes whether a validation is still to be done.

        Lightning takes it for done unless one of its batches has begun and not ended.
        """
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
        done = batches["completed"]
        begun = done + self._owes_validation
        batches |= {"ready": begun, "started": begun, "processed": done}

    def _save_best(self, trainer: L.Trainer) -> None:
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise ValueError(f"no metric {self.monitor!r} to choose by; there are: {known}")
        score = float(trainer.callback_metrics[self.monitor])
        before = self.best_model_score
        if before is None or self._is_better(score, before):
            self.best_model_score = score
            if not self._save(trainer, BEST):
                self.best_model_score = before

    def _is_better(self, score: float, than: float) -> bool:
        if math.isnan(score) or math.isnan(than):
            return not math.isnan(score)
        return score > than if self.mode == "max" else score < than

    def _save_last(self, trainer: L.Trainer) -> None:
        """Writes ``last.ckpt``, and keeps the one before."""
        last = self.folder / LAST
        if trainer.is_global_zero and self._last_is_whole and last.is_file():
            last.replace(self.folder / PREVIOUS)
        self._last_is_whole = self._save(trainer, LAST)
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        if self._agreed == Wish.SAVE:
            self._agreed = Wish.GO_ON

    def _save(self, trainer: L.Trainer, name: str) -> bool:
        """Whether it was written, as far as this process knows: the first one writes."""
        try:
            trainer.save_checkpoint(self.folder / name, weights_only=False)
        except OSError as error:
            rank_zero_warn(
                f"{self.folder / name} cannot be written ({error}); the training goes on and tries "
                "again later. Free some space, or the work since the last one is lost if it ends."
            )
            trainer.strategy.barrier()  # where the others wait after each writing
            return False
        return True


def _is_between_steps(trainer: L.Trainer) -> bool:
    """Whether a checkpoint here holds all that was done: a whole step, and no validation due.

    Before a validation ``on_validation_start`` writes it, at the end of an epoch
    ``on_train_epoch_end``.
    """
    batches = trainer.fit_loop.batch_idx + 1
    since_validation = batches
    if trainer.check_val_every_n_epoch is None:
        since_validation = trainer.fit_loop.total_batch_idx + 1
    every = trainer.val_check_batch
    return (
        batches % trainer.accumulate_grad_batches == 0
        and batches < trainer.num_training_batches
        and not (every and since_validation % every == 0)
        and trainer.global_step != trainer.max_steps
        and not trainer.should_stop
    )
