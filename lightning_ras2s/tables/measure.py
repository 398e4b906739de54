"""One method on one scene: its figures, seconds and memory, and what is shown of its result."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.memory import PeakMemory
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.runs.record import processor
from lightning_ras2s.tables.cells import Cell

Denoiser = Callable[[Tensor], Tensor]
Item = Mapping[str, Any]
SIDE = 96  # pixels of the crop that is shown, at most
WARM_UP = 16  # bands, rows and columns of it


@dataclass(frozen=True)
class Result:
    """What a method made of a scene, [B, H, W], in how many seconds and bytes of memory."""

    image: Tensor
    seconds: float
    memory: int | None


def warm_up(item: Item, denoiser: Denoiser) -> None:
    """A small part of a scene, so that what is compiled and imported once counts for no scene."""
    with torch.inference_mode():
        denoiser(item["noisy"][None, :WARM_UP, :WARM_UP, :WARM_UP])


def denoise(item: Item, denoiser: Denoiser) -> Result:
    """A method without +S on the ``noisy`` [B, H, W] of an item."""
    return _timed(lambda: denoiser(item["noisy"][None])[0].float(), item["noisy"].device)


def refine_result(item: Item, result: Result) -> Result:
    """+S behind it; the seconds and the memory are those of both."""
    own = _timed(
        lambda: refine(item["noisy"], result.image, item.get("valid"))[0], result.image.device
    )
    known = [memory for memory in (result.memory, own.memory) if memory is not None]
    return Result(own.image, result.seconds + own.seconds, max(known, default=None))


def _timed(work: Callable[[], Tensor], device: torch.device) -> Result:
    memory, start = PeakMemory(device), time.perf_counter()
    with torch.inference_mode():
        image = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    if not torch.isfinite(image).all():
        raise ArithmeticError("its result is not finite")
    return Result(image, seconds, memory.taken())


def filled_in(cell: Cell, item: Item, result: Result) -> Cell:
    """The cell with the figures of a result."""
    clean, valid = item["clean"][None], item.get("valid")
    masks = None if valid is None else valid[None]
    found = {name: metric(result.image[None], clean, masks) for name, metric in METRICS.items()}
    return replace(
        cell,
        metrics={name: value.item() for name, value in found.items()},
        seconds=result.seconds,
        memory=result.memory,
        device=_words(result.image.device),
        threads=torch.get_num_threads(),
    )


@dataclass(frozen=True)
class View:
    """What is shown of a scene, the same of every method's result.

    Attributes:
        band: Among the noisier half of the bands, the one that varies most.
        rows: Of the crop about the middle.
        columns: Likewise.
    """

    band: int
    rows: slice
    columns: slice

    @classmethod
    def of(cls, item: Item) -> "View":
        """Of a noisy and a clean cube."""
        noisy, clean = item["noisy"].flatten(1), item["clean"].flatten(1)
        noise = (noisy - clean).square().mean(1)
        varies = torch.where(noise >= noise.quantile(0.5), clean.var(1, correction=0), -1.0)
        return cls(int(varies.argmax()), *map(_middle, item["clean"].shape[1:]))

    def __call__(self, image: Tensor) -> dict[str, np.ndarray]:
        """The ``crop`` [h, w] of a cube [B, H, W], and the ``spectrum`` [B] of its middle pixel."""
        _, height, width = image.shape
        parts = {
            "crop": image[self.band, self.rows, self.columns],
            "spectrum": image[:, height // 2, width // 2],
        }
        return {name: part.half().cpu().numpy() for name, part in parts.items()}

    def of_clean(self, item: Item) -> dict[str, np.ndarray]:
        """The same of the clean cube, with the number of the band, and wavelengths in nm."""
        more = {"band": np.array(self.band)}
        if "wavelengths" in item:
            more["wavelengths"] = np.asarray(item["wavelengths"], np.float32)
        return self(item["clean"]) | more


def _middle(size: int) -> slice:
    side = min(SIDE, size)
    start = (size - side) // 2
    return slice(start, start + side)


def _words(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor()
