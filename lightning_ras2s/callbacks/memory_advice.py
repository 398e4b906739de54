"""What to lower when a training does not fit into the memory."""

import os
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from rich.filesize import decimal

from lightning_ras2s.networks import RAS2S

# Floats that a training step of RAS2S with 14 channels holds at its peak for each pixel: so many,
# and so many for each band. Measured, by the kernels of the CPU and in plain torch operations,
# without and with gradient checkpointing (docs/scaling.md).
FLOATS = {
    ("cpu", False): (0, 790),
    ("cpu", True): (6500, 88),
    ("other", False): (0, 1030),
    ("other", True): (11000, 109),
}
CHANNELS = 14
INFERENCE_FLOATS = 34  # for each pixel and band, without gradients (README, Speed)


@dataclass(frozen=True)
class TrainingBatch:
    """What one device computes in a training step of RAS2S.

    Attributes:
        patches: N.
        bands: B.
        size: H and W.
        channels: Of the network.
        checkpointing: Whether it computes again what the backward pass needs.
        device: ``cpu`` or another.
    """

    patches: int
    bands: int
    size: int
    channels: int
    checkpointing: bool
    device: str

    @property
    def bytes(self) -> int:
        """About what it takes in single precision, besides weights."""
        fixed, by_band = FLOATS["cpu" if self.device == "cpu" else "other", self.checkpointing]
        floats = (fixed + by_band * self.bands) * self.channels / CHANNELS
        return int(4 * floats * self.patches * self.size**2)

    def advice(self, available: int) -> str:
        """What takes how much, and what would take less.

        Args:
            available: Bytes of the device.
        """
        halves = {
            "data.batch_size": replace(self, patches=max(1, self.patches // 2)),
            "data.patch_size": replace(self, size=max(1, self.size // 2)),
            "data.patch_bands": replace(self, bands=max(1, self.bands // 2)),
        }
        options = [
            f"{name} ({decimal(less.bytes)} with half of it)" for name, less in halves.items()
        ]
        again = replace(self, checkpointing=True)
        instead = (
            ""
            if self.checkpointing
            else f", or set model.network.gradient_checkpointing=true ({decimal(again.bytes)})"
        )
        return (
            f"A step with {self.patches} patches of {self.bands} x {self.size} x {self.size} on "
            f"this device takes about {decimal(self.bytes)}; it has {decimal(available)}. Lower "
            f"{', '.join(options[:-1])} or {options[-1]}{instead}."
        )


class MemoryAdvice(L.Callback):
    """Adds to an error for want of memory what it was that took it, and what to lower."""

    def __init__(self) -> None:
        self._scene: tuple[str, torch.Size] | None = None  # name and shape of the one denoised

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Notes which scene is next."""
        self._scene = batch["name"][0], batch["noisy"].shape[1:]

    on_test_batch_start = on_validation_batch_start

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Adds a note to the error; of other networks than RAS2S there is no estimate."""
        if not is_out_of_memory(exception):
            return
        if not trainer.training:
            exception.add_note(self._scene_advice(trainer, pl_module.network))
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        network = pl_module.network
        if not isinstance(network, RAS2S):
            exception.add_note("Lower data.batch_size, data.patch_size or data.patch_bands.")
            return
        batch = TrainingBatch(
            data.batch_size // trainer.world_size,
            data.patch_shape.bands,
            data.patch_shape.height,
            network.channels,
            network.gradient_checkpointing,
            trainer.strategy.root_device.type,
        )
        exception.add_note(batch.advice(_memory(trainer.strategy.root_device)))

    def _scene_advice(self, trainer: L.Trainer, network: Any) -> str:
        """Of a scene that is denoised as a whole; of networks like RAS2S with an estimate."""
        instead = (
            "Cut it into smaller scenes, leave +S out (model.methods=[identity]), or take a device "
            "with more memory (trainer.accelerator=cpu)."
        )
        if self._scene is None:
            return f"A scene does not fit into the memory. {instead}"
        name, (bands, height, width) = self._scene
        said = f"The scene {name} has {bands} x {height} x {width} values"
        if isinstance(network, RAS2S):
            floats = INFERENCE_FLOATS * network.channels / CHANNELS
            took = decimal(int(4 * floats * bands * height * width))
            has = decimal(_memory(trainer.strategy.root_device))
            said += f" and takes about {took} on this device, which has {has}"
        return f"{said}. {instead}"


def is_out_of_memory(exception: BaseException) -> bool:
    """Whether a device or the machine has had no memory left."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(exception, MemoryError | torch.OutOfMemoryError) or (
        isinstance(exception, RuntimeError) and any(w in str(exception) for w in words)
    )


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
