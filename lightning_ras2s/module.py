"""The LightningModule: a network, a loss, metrics, optimizer and schedule."""

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_ras2s.baselines import BASELINES
from lightning_ras2s.evaluation import Row, mean, scene_rows
from lightning_ras2s.graphs import GraphedNetwork
from lightning_ras2s.losses import WeightedLoss
from lightning_ras2s.metrics import METRICS, SceneTable
from lightning_ras2s.schedules import Schedule, cosine_factor, paper_factor

Batch = dict[str, Any]


def count_patches(batch: Batch) -> int:
    """The number of patches, or scenes, in a batch."""
    return len(batch["index"])


class NonFiniteLossError(RuntimeError):
    """Training has diverged; the message names the step and what to change."""


class HSIDenoiser(L.LightningModule):
    """Trains and evaluates a denoising network.

    Batches are dicts with ``noisy`` and ``clean`` [N, B, H, W], ``index`` [N] and N strings each in
    ``name`` and ``case``. A scene without ``clean`` is denoised and not measured. The defaults are
    the recipe of the released weights: L1, Adam with rate 1e-3 and betas (0.9, 0.99), reduced in
    steps.

    Args:
        network: Maps [N, B, H, W] noisy to the same shape denoised.
        loss: A weighted sum of losses, e.g. ``l2 + 0.001*sam``; see ``losses.parse_loss``.
        learning_rate: Adam's initial rate.
        schedule: ``paper`` (in steps, by epoch), ``cosine`` (by training step) or ``constant``.
        warmup_steps: Steps over which ``cosine`` rises to the initial rate.
        baselines: Further rows of the test's table, by their names in ``baselines.BASELINES``.
        test_bands: If not 0, the test has another row for the network: the scene cut into windows
            of that many bands, as it was trained on, beside the whole sequence at once.

    Raises:
        ValueError: If the loss cannot be read, a baseline is unknown, or ``test_bands`` negative.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: str = "l1",
        learning_rate: float = 1e-3,
        schedule: Schedule = "paper",
        warmup_steps: int = 0,
        baselines: Sequence[str] = (),
        test_bands: int = 0,
        compile_steps: bool = False,
        cuda_graphs: bool = False,
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
        if test_bands < 0:
            raise ValueError(f"test_bands is {test_bands}; give a number of bands, or 0 for none")
        if compile_steps:
            if not hasattr(network, "compile_steps"):
                raise ValueError(
                    f"compile_steps: {type(network).__name__} has no steps to compile; leave it out"
                )
            network.compile_steps(dynamic=False)  # type: ignore[operator]
        self._graphs = GraphedNetwork(network) if cuda_graphs else None
        self.baselines = list(baselines)
        self.test_bands = test_bands
        self.table = SceneTable()
        self._unchecked: list[tuple[int, list[str], list[str], Tensor]] = []

    @property
    def methods(self) -> list[str]:
        """The methods of the test's table, in its order; the network's is the last."""
        network = type(self.network).__name__
        windowed = [f"{network}, {self.test_bands}-band windows"] if self.test_bands else []
        return ["Noisy", *self.baselines, *windowed, network]

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoises [N, B, H, W]."""
        return self.network(noisy) if self._graphs is None else self._graphs(noisy)

    def denoise_windows(self, noisy: Tensor, bands: int) -> Tensor:
        """Denoises [N, B, H, W] in windows of ``bands`` bands; the last one ends at the last band.

        Where that one overlaps the window before it, its bands are the ones kept.
        """
        denoised = torch.empty_like(noisy)
        for start in range(0, noisy.shape[1], bands):
            window = slice(max(0, min(start, noisy.shape[1] - bands)), start + bands)
            denoised[:, window] = self(noisy[:, window])
        return denoised

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch of patches."""
        loss = self.loss(self(batch["noisy"]), batch["clean"])
        self.log("train/loss", loss, batch_size=count_patches(batch))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Checks the losses now and then.

        A training that ends by its number of steps is validated, and so kept, as one that ends by
        epochs.

        Raises:
            NonFiniteLossError: If the loss of a step since the last look is NaN or Inf.
        """
        self._unchecked.append(
            (self.global_step - 1, batch["name"], batch["case"], outputs["loss"])
        )
        if len(self._unchecked) >= self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._check_losses()
        if self.trainer.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True

    def on_validation_start(self) -> None:
        """Checks the losses of the last steps, before the weights are judged and kept."""
        self._check_losses()

    def on_train_epoch_end(self) -> None:
        """Likewise, where no validation has come between."""
        self._check_losses()

    def _check_losses(self) -> None:
        """Waits for the device, so it is not done at every step."""
        steps, self._unchecked = self._unchecked, []
        losses = torch.stack([loss for *_, loss in steps]).tolist() if steps else []
        for (step, names, cases, _), loss in zip(steps, losses, strict=True):
            if not math.isfinite(loss):
                rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
                pairs = zip(names, cases, strict=True)
                raise NonFiniteLossError(
                    f"the loss is {loss} at step {step}, on patches of "
                    f"{', '.join(f'{name} ({case})' for name, case in pairs)}, with learning rate "
                    f"{rate:g}: lower model.learning_rate, raise model.warmup_steps or set "
                    "trainer.gradient_clip_val"
                )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the norm of all gradients together, before they are clipped."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("train/grad_norm", torch.nn.utils.get_total_norm(gradients))

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Denoises validation scenes and notes their metrics."""
        denoised = self(batch["noisy"])
        self._note(batch, len(self.methods) - 1, denoised)
        return denoised

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Denoises test scenes and notes the metrics of every method."""
        noisy = batch["noisy"]
        denoised = self(noisy)
        if "clean" not in batch:
            return denoised
        images = [noisy, *(BASELINES[baseline](noisy) for baseline in self.baselines)]
        if self.test_bands:
            images.append(self.denoise_windows(noisy, self.test_bands))
        for method, image in enumerate([*images, denoised]):
            self._note(batch, method, image)
        return denoised

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
        if not self.table.update_called:
            return []
        rows = scene_rows(loader.dataset.items, self.methods, *self.table.compute())
        self.table.reset()
        ours = [row for row in rows if row["method"] == self.methods[-1]]
        cases = list(dict.fromkeys(row["noise_case"] for row in ours))
        groups = {stage: ours}
        if len(cases) > 1:
            groups |= {f"{stage}/{c}": [r for r in ours if r["noise_case"] == c] for c in cases}
        for name, group in groups.items():
            for metric in METRICS:
                self.log(f"{name}/{metric}", mean(group, metric), prog_bar=metric == "psnr_db")
        return rows

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with the released betas, and the schedule."""
        optimizer = torch.optim.Adam(
            self.parameters(), self.learning_rate, betas=(0.9, 0.99), foreach=True
        )
        if self.schedule == "constant":
            return optimizer
        if self.schedule == "paper":
            scheduler, interval = LambdaLR(optimizer, paper_factor), "epoch"
        else:
            steps = self.trainer.estimated_stepping_batches
            if steps == float("inf"):
                raise ValueError("schedule cosine needs an end: trainer.max_epochs or max_steps")
            factor = cosine_factor(self.warmup_steps, int(steps))
            scheduler, interval = LambdaLR(optimizer, factor), "step"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval},
        }
