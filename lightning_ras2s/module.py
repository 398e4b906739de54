"""The LightningModule: a network, a loss, metrics, optimizer and schedule."""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.random_streams import derive_seed
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


class Step(NamedTuple):
    """A training step whose loss and gradient are not yet looked at, to wait for no device."""

    number: int
    epoch: int
    batch_idx: int
    batch: Batch  # what names its patches
    values: tuple[Tensor, Tensor]  # the loss, and the norm of the gradient

    def problem(self, loss: float, norm: float) -> str:
        """What is not finite, and on which patches."""
        what = (
            f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        )
        patches = zip(*(self.batch[key] for key in ("index", "name", "case")), strict=True)
        named = ", ".join(f"{int(index)} of {name} ({case})" for index, name, case in patches)
        return (
            f"{what} at step {self.number} (epoch {self.epoch}, batch {self.batch_idx}), on "
            f"patches {named}"
        )


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
        compile_steps: Compile what the network does band by band.
        cuda_graphs: Replay whole passes on a GPU.
        max_skips: Steps whose loss or gradient is not finite are skipped: they leave the weights
            as they are. So many of them in a row end the training.

    Raises:
        ValueError: If the loss cannot be read, a baseline is unknown, ``test_bands`` is negative
            or ``max_skips`` less than 1.
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
        max_skips: int = 10,
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
        if max_skips < 1:
            raise ValueError(f"max_skips is {max_skips}; give at least 1")
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
        self.max_skips = max_skips
        self.skipped, self.skipped_in_a_row = 0, 0  # steps
        self._norm = torch.zeros(())  # of the last step's gradient
        self._unchecked: list[Step] = []

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

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes what a network draws, such as dropout, follow from seed, step and process alone.

        So a training that goes on draws the same.
        """
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        torch.manual_seed(derive_seed(seed, self.global_step, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The loss of a batch of patches."""
        loss = self.loss(self(batch["noisy"]), batch["clean"])
        # The processes have equally many patches: the mean of their losses is that of the batch.
        self.log("train/loss", loss, batch_size=count_patches(batch), sync_dist=True)
        # Where the loss is not finite the gradient shall not be, on any device: all skip the step.
        finite = torch.where(loss.detach().isfinite(), 1.0, torch.nan)
        return {"loss": loss * finite, "value": loss.detach()}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Logs the norm of all gradients together, before they are clipped.

        Where it is not finite, Adam is told to do nothing, on the device itself.
        """
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self._norm = torch.nn.utils.get_total_norm(gradients)
        self.log("train/grad_norm", self._norm)
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = (~self._norm.isfinite()).float()  # type: ignore[attr-defined]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips as Lightning does, and also where bf16 meets a fused optimizer.

        Lightning refuses that for the sake of a scaler, which is in ``16-mixed`` alone.
        """
        if self._is_scaled or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            plugin = self.trainer.precision_plugin
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Looks at the losses now and then.

        A training that ends by its number of steps is validated, and so kept, as one that ends by
        epochs.

        Raises:
            NonFiniteLossError: If too many steps in a row have been skipped.
        """
        facts = {key: batch[key] for key in ("index", "name", "case")}
        step = Step(
            self.global_step - 1,
            self.current_epoch,
            batch_idx,
            facts,
            (outputs["value"], self._norm),
        )
        self._unchecked.append(step)
        if len(self._unchecked) >= self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._check_steps()
            if self.skipped:
                self.log("train/skipped_steps", float(self.skipped))
        if self.trainer.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True

    def on_validation_start(self) -> None:
        """Looks at the last steps, before the weights are judged and kept."""
        self._check_steps()

    def on_train_epoch_end(self) -> None:
        """Likewise, where no validation has come between."""
        self._check_steps()

    def _check_steps(self) -> None:
        """Waits for the device, so it is not done at every step."""
        steps, self._unchecked = self._unchecked, []
        values = [torch.stack(pair) for pair in zip(*(step.values for step in steps), strict=True)]
        for step, loss, norm in zip(steps, *(v.tolist() for v in values), strict=True):
            if math.isfinite(loss) and math.isfinite(norm):
                self.skipped_in_a_row = 0
                continue
            self.skipped += 1
            if self._is_scaled and math.isfinite(loss):
                continue  # the scaler is looking for its scale
            self.skipped_in_a_row += 1
            problem = step.problem(loss, norm)
            if self.skipped_in_a_row == self.max_skips:
                rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
                raise NonFiniteLossError(
                    f"{problem}, with learning rate {rate:g}, the last of {self.max_skips} such "
                    "steps in a row: lower model.learning_rate, raise model.warmup_steps or set "
                    "trainer.gradient_clip_val"
                )
            rank_zero_warn(f"skipped a step: {problem}")

    @property
    def _is_scaled(self) -> bool:
        """Whether the loss is multiplied, for half precision to hold the gradient."""
        return self.trainer.precision == "16-mixed"

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the counts of skipped steps."""
        self._check_steps()
        checkpoint["skipped"] = {"all": self.skipped, "in_a_row": self.skipped_in_a_row}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on counting."""
        counts = checkpoint.get("skipped", {"all": 0, "in_a_row": 0})
        self.skipped, self.skipped_in_a_row = counts["all"], counts["in_a_row"]

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
        # A fused step can be skipped on the device. In half precision the scaler skips steps, and
        # Lightning clips no gradients of a fused optimizer there.
        optimizer = torch.optim.Adam(
            self.parameters(),
            self.learning_rate,
            betas=(0.9, 0.99),
            fused=not self._is_scaled,
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
