"""The LightningModule: a network, a loss, metrics, optimizer and schedule."""

import math
import os
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from datamodules.base import HSIDataModule
from datamodules.random_streams import derive_seed
from lightning_ras2s.evaluation import Row, SceneRows, mean
from lightning_ras2s.graphs import GraphedNetwork
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.inference.whole_cubes import whole_cubes
from lightning_ras2s.losses import WeightedLoss
from lightning_ras2s.methods import REFINED, Method, find, key_of, method_of, refined, select
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.record import git_commit
from lightning_ras2s.scene_checks import check_bands, check_sizes
from lightning_ras2s.schedules import Schedule, cosine_factor, paper_factor, step_factor
from lightning_ras2s.weights import NETWORK, facts_of

Batch = dict[str, Any]
OWN = "network"  # among methods: that of the run
MakeOptimizer = Callable[[Iterable[nn.Parameter], float], Optimizer]
"""Parameters and a learning rate -> their optimizer. One that can be ``fused`` takes that, too."""


def released_adam(
    parameters: Iterable[nn.Parameter], learning_rate: float, **options: Any
) -> Optimizer:
    """Adam with the betas of the released code."""
    return torch.optim.Adam(parameters, learning_rate, betas=(0.9, 0.99), **options)


def count_patches(batch: Batch) -> int:
    """The number of patches, or scenes, in a batch."""
    return len(batch["index"])


class NonFiniteLossError(UserError):
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
    ``dataset``, ``name`` and ``case``. A scene without ``clean`` is denoised and not measured. The
    defaults are the recipe of the released weights: L1, Adam with rate 1e-3 and betas (0.9, 0.99),
    reduced in steps.

    Args:
        network: Maps [N, B, H, W] noisy to the same shape denoised.
        loss: A weighted sum of losses, e.g. ``l2 + 0.001*sam``; see ``losses.parse_loss``.
        learning_rate: The optimizer's initial rate.
        optimizer: Makes it of parameters and rate; in YAML a class and its other options.
        schedule: ``paper`` (in steps, by epoch), ``cosine`` (by training step) or ``constant``; or
            factors of the initial rate by the epoch from which on they hold, as {30: 0.1}.
        warmup_steps: Steps over which ``cosine`` rises to the initial rate.
        methods: The rows of the test's table beside the noisy scene: keys and groups of
            ``methods.METHODS``, each also with ``+s``; ``network`` is that of the run, whatever it
            is. By default the network, and the network with +S.
        compile_steps: Compile what the network does band by band.
        cuda_graphs: Replay whole passes on a GPU.
        max_skips: Steps whose loss or gradient is not finite are skipped: they leave the weights
            as they are. So many of them in a row end the training.

    Raises:
        ValueError: If the loss cannot be read, a method is unknown or needs weights that are not
            here, the network has no steps to compile or cannot be captured, or ``max_skips`` is
            less than 1.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: str = "l1",
        learning_rate: float = 1e-3,
        optimizer: MakeOptimizer = released_adam,
        schedule: Schedule = "paper",
        warmup_steps: int = 0,
        methods: Sequence[str] | None = None,
        compile_steps: bool = False,
        cuda_graphs: bool = False,
        max_skips: int = 10,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network", "optimizer"])
        self.network = network
        self.loss = WeightedLoss(loss)
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.make_optimizer = optimizer
        self.method = method_of(network)
        self.methods = self._chosen(methods)
        self._labels = [method.label for method in self.methods]
        if max_skips < 1:
            raise ValueError(f"max_skips is {max_skips}; give at least 1")
        if compile_steps:
            if not hasattr(network, "compile_steps"):
                raise ValueError(
                    f"compile_steps: {type(network).__name__} has no steps to compile; leave it out"
                )
            network.compile_steps(dynamic=False)  # type: ignore[operator]
        if cuda_graphs and not (self.method.capturable and self.method.static_graph):
            raise ValueError(
                f"cuda_graphs: {self.method.label} does not compute the same at each step; leave "
                "it out"
            )
        self._graphs = GraphedNetwork(network) if cuda_graphs else None
        self.rows = SceneRows()
        self.max_skips = max_skips
        self.skipped, self.skipped_in_a_row = 0, 0  # steps
        self._norm = torch.zeros(())  # of the last step's gradient
        self._unchecked: list[Step] = []
        self._asked: list[dict[str, Any]] = []  # options of each group of parameters

    def _chosen(self, names: Sequence[str] | None) -> list[Method]:
        """The methods of the test's table, in its order; the network itself is always there."""
        own = self.method
        both = {OWN: own, OWN + REFINED: refined(own)}
        known = both | {method.key: method for method in both.values()}  # also of no class of ours
        chosen = {"identity": find("identity")}
        for name in both if names is None else names:
            key = key_of(name)
            found = [known[key]] if key in known else select([name])
            chosen |= {method.key: method for method in found}
        for method in chosen.values():
            if method.kind == "network" and method.base != own.key:
                raise ValueError(
                    f"methods: {method.label} needs weights, and the network of this run is "
                    f"{own.label}: name that one ({own.key}), or methods without weights"
                )
        return list((chosen if own.key in chosen else chosen | {own.key: own}).values())

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoises [N, B, H, W]."""
        return self.network(noisy) if self._graphs is None else self._graphs(noisy)

    def denoise(self, noisy: Tensor) -> Tensor:
        """Denoises [N, B, H, W] of any number of bands, by windows if the network needs them."""
        return whole_cubes(self, self.method)(noisy)

    def setup(self, stage: str) -> None:
        """Checks, before anything is trained, what else would fail hours later.

        Raises:
            DataError: If a scene to come cannot be denoised or measured.
            UserError: If ``cuda_graphs`` meets accumulated gradients.
        """
        if self._graphs is not None and self.trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"model.cuda_graphs with trainer.accumulate_grad_batches="
                f"{self.trainer.accumulate_grad_batches}: it has not been seen that the gradients "
                "of replayed passes add up; leave one of the two out"
            )
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, HSIDataModule):
            check_sizes(data)
            if stage == "fit":
                check_bands(self.network, self.method, data)

    def on_fit_start(self) -> None:
        """Says what is trained."""
        weights = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        rank_zero_info(f"{self.method.label}: {weights:,} weights")

    def on_train_start(self) -> None:
        """Follows the configuration, also where a checkpoint has brought other rates and options.

        Without an override they are the same. Optimizers that a subclass configures are its own.
        """
        if not self._asked:
            return
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        scheduler: Any = self.lr_schedulers()
        factor = 1.0
        if scheduler is not None:
            scheduler.base_lrs = [asked["lr"] for asked in self._asked]
            factor = scheduler.lr_lambdas[0](scheduler.last_epoch)
        for group, asked in zip(optimizer.param_groups, self._asked, strict=True):
            group |= asked | {"lr": asked["lr"] * factor}
            if scheduler is not None:
                group["initial_lr"] = asked["lr"]
        if scheduler is not None:
            scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes what a network draws follow from seed and step: what goes on draws the same.

        What it draws of torch, such as dropout, is another in each process; what it draws of
        Python's ``random`` holds for the batch of all.
        """
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        torch.manual_seed(derive_seed(seed, self.global_step, self.global_rank))
        random.seed(derive_seed(seed, self.global_step))

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

        Where it is not finite the step is skipped: a fused optimizer is told to do nothing, on the
        device itself; another one gets no gradients.
        """
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self._norm = torch.nn.utils.get_total_norm(gradients)
        self.log("train/grad_norm", self._norm)
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = (~self._norm.isfinite()).float()  # type: ignore[attr-defined]
        elif not self._is_scaled and not self._norm.isfinite():
            optimizer.zero_grad(set_to_none=True)

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
        """Keeps the counts of skipped steps, and says whose weights they are."""
        self._check_steps()
        checkpoint[NETWORK] = facts_of(self.network) | {"git_commit": self._commit}
        checkpoint["skipped"] = {"all": self.skipped, "in_a_row": self.skipped_in_a_row}

    @cached_property
    def _commit(self) -> str | None:
        """What is trained; git is asked once, not at each checkpoint."""
        return git_commit()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on counting."""
        counts = checkpoint.get("skipped", {"all": 0, "in_a_row": 0})
        self.skipped, self.skipped_in_a_row = counts["all"], counts["in_a_row"]

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Denoises validation scenes and notes their metrics.

        Returns:
            [N, B, H, W] by the label of the network.
        """
        denoised = self.denoise(batch["noisy"])
        if "clean" in batch:
            self._note(batch, self.method, denoised)
        return {self.method.label: denoised}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Denoises test scenes by every method, and notes their metrics where clean ones are known.

        Returns:
            [N, B, H, W] by the label of the method, in the order of the test's table.
        """
        noisy, images = batch["noisy"], {}
        results = {self.method.key: self.denoise(noisy)}  # without +S
        for method in self.methods:
            if method.base not in results:
                results[method.base] = whole_cubes(method.load(), method)(noisy)
            image = results[method.base]
            if method.refined and image.isfinite().all():
                masks = batch.get("valid", [None] * len(noisy))
                cubes = zip(noisy, image, masks, strict=True)
                image = torch.stack([refine(*cube)[0] for cube in cubes])
            if "clean" in batch:
                self._note(batch, method, image)
            images[method.label] = image
        return images

    def _note(self, batch: Batch, method: Method, image: Tensor) -> None:
        clean, valid = batch["clean"], batch.get("valid")
        values = torch.stack([metric(image, clean, valid) for metric in METRICS.values()], dim=1)
        self.rows.add(batch, self._labels.index(method.label), method.label, values)

    def on_validation_epoch_end(self) -> None:
        """Logs the means over all validation scenes, and those of each noise case."""
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        """Logs the same of the test, and keeps all its rows in ``evaluation``."""
        self.evaluation = self._log_means("test")

    def _log_means(self, stage: str) -> list[Row]:
        rows = self.rows.gather()
        if not rows:
            return []
        ours = [row for row in rows if row["method"] == self.method.label]
        cases = list(dict.fromkeys(row["noise_case"] for row in ours))
        groups = {stage: ours}
        if len(cases) > 1:
            groups |= {f"{stage}/{c}": [r for r in ours if r["noise_case"] == c] for c in cases}
        for name, group in groups.items():
            for metric in METRICS:
                self.log(f"{name}/{metric}", mean(group, metric), prog_bar=metric == "psnr_db")
        return rows

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and the schedule of its rate."""
        optimizer = self.make_optimizer(self.parameters(), self.learning_rate)
        # A fused step can be skipped on the device. In half precision the scaler skips steps, and
        # Lightning clips no gradients of a fused optimizer there.
        undecided = [optimizer.defaults.get(way, "no") is None for way in ("fused", "foreach")]
        if all(undecided) and not self._is_scaled:
            optimizer = self.make_optimizer(self.parameters(), self.learning_rate, fused=True)  # type: ignore[call-arg]
        self._asked = [
            {name: value for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        if self.schedule == "constant":
            return optimizer
        if self.schedule != "cosine":
            by_epoch = paper_factor if self.schedule == "paper" else step_factor(self.schedule)
            scheduler, interval = LambdaLR(optimizer, by_epoch), "epoch"
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
