"""A training that ends when its time, or its number of patches, is used up."""

import csv
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import default_collate

from datamodules.atomic_write import atomic_write
from datamodules.base import HSIDataModule
from lightning_ras2s.metrics import mpsnr
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.schedules import half_cosine

CURVE = "budget.csv"
COLUMNS = ("seconds", "patches", "psnr_db")
POINTS = 20  # of the curve
WARM_UP = 3  # steps, in which kernels are compiled and memory is taken
SIDE = 64  # pixels of the crops that are looked at


class TrainingBudget(L.Callback):
    """Ends a training, lowers its rates to that end, and notes how good it is on the way.

    The time is that of the steps and of the loading between them, not of what is looked at, nor of
    the first three steps of a process, in which kernels are compiled. The optimizer's rates fall by
    half a cosine from what they are at the start; ``model.schedule`` has to be ``constant``.
    ``budget.csv`` in the run's folder tells, at 20 points and at the start, the PSNR on a crop of
    each validation scene, in the middle of its bands: as many as patches have, so that networks of
    a fixed number of bands are seen as the others are.

    Args:
        minutes: Of training.
        patches: Or so many of them; with both, what comes first.

    Raises:
        ValueError: If there is neither, or one is not above 0.
    """

    def __init__(self, minutes: float | None = None, patches: int | None = None) -> None:
        given = [value for value in (minutes, patches) if value is not None]
        if not given or min(given) <= 0:
            raise ValueError(f"minutes is {minutes} and patches {patches}; give one, above 0")
        self.minutes, self.patches = minutes, patches
        self.seconds, self.seen = 0.0, 0
        self.curve: list[tuple[float, int, float]] = []
        self._rates: list[float] = []
        self._mark, self._steps = 0.0, 0  # of this process
        self._crops: list[tuple[Tensor, Tensor]] = []

    @property
    def share(self) -> float:
        """What is used up of it."""
        used = [0.0]
        if self.minutes is not None:
            used.append(self.seconds / (60 * self.minutes))
        if self.patches is not None:
            used.append(self.seen / self.patches)
        return max(used)

    def state_dict(self) -> dict[str, Any]:
        """What is used up, and the curve."""
        return {"seconds": self.seconds, "patches": self.seen, "curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on there."""
        self.seconds, self.seen = state_dict["seconds"], state_dict["patches"]
        self.curve = [tuple(point) for point in state_dict["curve"]]

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Notes the rates, and how good the network is before all training."""
        if pl_module.schedule != "constant":
            raise UserError(
                f"model.schedule is {pl_module.schedule}: a budget lowers the rates itself; set "
                "constant"
            )
        self._rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
        self._crops = list(_crops(trainer.datamodule))  # type: ignore[attr-defined]
        if not self.curve:
            self._look(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts it again: a validation is no training."""
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets the rates."""
        factor = half_cosine(self.share)
        for group, rate in zip(trainer.optimizers[0].param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Counts, looks now and then, and ends it."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._steps += 1
        if self._steps > WARM_UP:
            self.seconds += time.perf_counter() - self._mark
        self.seen += len(batch["index"]) * trainer.world_size
        if self.share * POINTS >= len(self.curve) or self.share >= 1:
            self._look(trainer, pl_module)
        if self.share >= 1:
            trainer.should_stop = True
        self._mark = time.perf_counter()

    @torch.no_grad()
    def _look(self, trainer: L.Trainer, pl_module: Any) -> None:
        pl_module.network.eval()
        values = [
            mpsnr(pl_module.network(noisy.to(pl_module.device)).cpu().float(), clean)
            for noisy, clean in self._crops
        ]
        pl_module.network.train()
        self.curve.append((self.seconds, self.seen, torch.cat(values).mean().item()))
        if trainer.is_global_zero:
            self._write(Path(trainer.default_root_dir) / CURVE)

    def _write(self, path: Path) -> None:
        with atomic_write(path) as aside, aside.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self.curve])


def _crops(data: HSIDataModule) -> Any:
    """The noisy and the clean [1, B, H, W] of each validation scene, as on the device."""
    for number in range(len(data.val_set)):
        batch = default_collate([data.val_set[number]])
        batch = data.on_after_batch_transfer(batch, 0)
        if "clean" not in batch:
            continue
        bands, _, _ = data.patch_shape
        sizes = (bands, SIDE, SIDE)
        pair = (batch["noisy"], batch["clean"])
        yield tuple(x[(slice(None), *map(_middle, x.shape[1:], sizes))] for x in pair)


def _middle(size: int, wanted: int) -> slice:
    length = min(size, wanted)
    start = (size - length) // 2
    return slice(start, start + length)
