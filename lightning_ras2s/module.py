"""The LightningModule: a network, a loss, metrics, optimizer and schedule."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_ras2s.baselines import BASELINES
from lightning_ras2s.evaluation import Row, mean, scene_rows
from lightning_ras2s.losses import WeightedLoss
from lightning_ras2s.metrics import METRICS, SceneTable
from lightning_ras2s.schedules import Schedule, cosine_factor, paper_factor

Batch = dict[str, Any]


class NonFiniteLossError(RuntimeError):
    """Training has diverged; the message names the step and what to change."""


class HSIDenoiser(L.LightningModule):
    """Trains and evaluates a denoising network.

    Batches are dicts with ``noisy`` and ``clean`` [N, B, H, W], ``index`` [N] and N strings each in
    ``name`` and ``case``. The defaults are the recipe of the released weights: L1, Adam with rate
    1e-3 and betas (0.9, 0.99), reduced in steps.

    Args:
        network: Maps [N, B, H, W] noisy to the same shape denoised.
        loss: A weighted sum of losses, e.g. ``l2 + 0.001*sam``; see ``losses.parse_loss``.
        learning_rate: Adam's initial rate.
        schedule: ``paper`` (in steps, by epoch), ``cosine`` (by training step) or ``constant``.
        warmup_steps: Steps over which ``cosine`` rises to the initial rate.
        baselines: Further rows of the test's table, by their names in ``baselines.BASELINES``.

    Raises:
        ValueError: If the loss cannot be read, or the schedule or a baseline is unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: str = "l1",
        learning_rate: float = 1e-3,
        schedule: Schedule = "paper",
        warmup_steps: int = 0,
        baselines: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network"])
        self.network = network
        self.loss = WeightedLoss(loss)
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        for baseline in baselines:
            if baseline not in BASELINES:
                raise ValueError(
                    f"unknown baseline {baseline!r}; there are: {', '.join(BASELINES)}"
                )
        self.baselines = list(baselines)
        self.table = SceneTable()

    @property
    def methods(self) -> list[str]:
        """The methods of the test's table, in its order."""
        return ["Noisy", *self.baselines, type(self.network).__name__]

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoises [N, B, H, W]."""
        return self.network(noisy)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch of patches.

        Raises:
            NonFiniteLossError: If the loss is NaN or Inf.
        """
        loss = self._step(batch, "train")[1]
        if not torch.isfinite(loss):
            pairs = ", ".join(f"{n} ({c})" for n, c in zip(batch["name"], batch["case"]))
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            raise NonFiniteLossError(
                f"the loss is {loss.item()} at step {self.global_step}, on patches of {pairs}; the "
                f"learning rate is {rate:g}: lower model.learning_rate, raise model.warmup_steps "
                "or set trainer.gradient_clip_val"
            )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Denoises validation scenes and notes their metrics."""
        denoised, _ = self._step(batch, "val")
        self._note(batch, len(self.methods) - 1, denoised)
        return denoised

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Denoises test scenes and notes the metrics of every method."""
        denoised, _ = self._step(batch, "test")
        images = [batch["noisy"], *(BASELINES[b](batch["noisy"]) for b in self.baselines), denoised]
        for method, image in enumerate(images):
            self._note(batch, method, image)
        return denoised

    def _step(self, batch: Batch, stage: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
        """What all stages do: denoise a batch and log its loss."""
        denoised = self(batch["noisy"])
        loss = self.loss(denoised, batch["clean"])
        if stage == "train":
            self.log("train/loss", loss, prog_bar=True, batch_size=len(denoised))
        return denoised, loss

    def _note(self, batch: Batch, method: int, image: Tensor) -> None:
        keys = torch.stack([batch["index"], torch.full_like(batch["index"], method)], dim=1)
        values = torch.stack([metric(image, batch["clean"]) for metric in METRICS.values()], dim=1)
        self.table.update(keys, values)

    def on_validation_epoch_end(self) -> None:
        """Logs the means over all validation scenes, and those of each noise case."""
        self._log_means("val", self.trainer.val_dataloaders)

    def on_test_epoch_end(self) -> None:
        """Logs the same of the test, and keeps all its rows in ``evaluation``."""
        self.evaluation = self._log_means("test", self.trainer.test_dataloaders)

    def _log_means(self, stage: str, loader: Any) -> list[Row]:
        rows = scene_rows(loader.dataset.items, self.methods, *self.table.compute())
        self.table.reset()
        ours = [row for row in rows if row["method"] == self.methods[-1]]
        cases = {row["noise_case"] for row in ours}
        groups = {stage: ours}
        if len(cases) > 1:
            groups |= {f"{stage}/{c}": [r for r in ours if r["noise_case"] == c] for c in cases}
        for name, group in groups.items():
            for metric in METRICS:
                self.log(f"{name}/{metric}", mean(group, metric), prog_bar=metric == "psnr_db")
        return rows

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with the released betas, and the schedule."""
        optimizer = torch.optim.Adam(self.parameters(), self.learning_rate, betas=(0.9, 0.99))
        if self.schedule == "constant":
            return optimizer
        if self.schedule == "paper":
            return [optimizer], [LambdaLR(optimizer, paper_factor)]
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, cosine_factor(self.warmup_steps, steps))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]
