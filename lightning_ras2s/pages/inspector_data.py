"""What the inspector's page holds of a scene: as whole numbers, and cropped where it is too big."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightning_ras2s.metrics import band_psnr

LIMIT = 25e6  # bytes of a page
FRAME = 1.75e6  # bytes of a page without pictures: those of Bokeh
BASE64 = 4 / 3
PERCENTILES = (1, 99)  # of a band: its black and white
LARGEST_DIFFERENCE = 99.5  # percentile of the cube: the end of the scale of differences


@dataclass(frozen=True)
class Quantised:
    """A cube as whole numbers: ``low + step * codes``, off by half a step at most.

    Each band has its own range, so that an outlier coarsens no other. The highest code is what is
    not a number; infinite values are the ends of the band's range.

    Attributes:
        codes: [B, H, W].
        low: What code 0 stands for, [B].
        step: From one code to the next, [B].
    """

    codes: np.ndarray
    low: np.ndarray
    step: np.ndarray

    @classmethod
    def of(cls, cube: np.ndarray, dtype: type[np.unsignedinteger]) -> "Quantised":
        """Spreads the codes of ``dtype`` over the range of each band's finite values."""
        cube, unknown = cube.astype(np.float64), np.iinfo(dtype).max
        of_band: dict[str, Any] = {"axis": (1, 2), "keepdims": True, "where": np.isfinite(cube)}
        low, high = cube.min(initial=np.inf, **of_band), cube.max(initial=-np.inf, **of_band)
        low, high = np.where(low <= high, (low, high), 0.0)  # else the band has no finite value
        step = (high - low) / (unknown - 1)
        codes = ((cube.clip(low, high) - low) / np.where(step > 0, step, 1)).round()
        codes[np.isnan(cube)] = unknown
        return cls(codes.astype(dtype), low.ravel(), step.ravel())

    def decode(self) -> np.ndarray:
        """The cube, float64."""
        values = self.low[:, None, None] + self.step[:, None, None] * self.codes
        return np.where(self.codes == np.iinfo(self.codes.dtype).max, np.nan, values)


@dataclass(frozen=True)
class SceneData:
    """A scene as its page shows it.

    Attributes:
        shape: [B, H, W] of the whole scene.
        rows: Those of the whole scene that are shown.
        columns: Likewise.
        cubes: noisy, denoised and, where there is one, clean: [B, rows, columns].
        masks: The regions of these pixels, uint8, by the name of the branch.
        psnr: Of noisy and denoised, in dB, [B], over the whole scene; empty without clean.
        limits: Black and white of each band, [2, B].
        largest_difference: The end of the scale of denoised from clean, or noisy from denoised.
    """

    shape: tuple[int, ...]
    rows: range
    columns: range
    cubes: dict[str, Quantised]
    masks: dict[str, np.ndarray]
    psnr: dict[str, np.ndarray]
    limits: np.ndarray
    largest_difference: float

    @classmethod
    def of(cls, images: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> "SceneData":
        """Takes of images and masks [B, H, W] what fits into a page."""
        shape = images["noisy"].shape
        dtype, rows, columns = what_fits(shape, len(images), len(masks))
        part = np.s_[:, rows.start : rows.stop, columns.start : columns.stop]
        cubes = {name: Quantised.of(image[part], dtype) for name, image in images.items()}
        shown = {name: cube.decode() for name, cube in cubes.items()}
        if "clean" in images:
            pair = shown["denoised"], shown["clean"]
        else:
            pair = shown["noisy"], shown.get("denoised", shown["noisy"])
        difference = np.abs(pair[0] - pair[1])
        return cls(
            shape,
            rows,
            columns,
            cubes,
            {name: mask[part].astype(np.uint8) for name, mask in masks.items()},
            psnr_by_band(images),
            np.transpose([_percentiles(band, PERCENTILES) for band in pair[1]]),
            float(_percentiles(difference, LARGEST_DIFFERENCE)),
        )

    @property
    def has_unknown(self) -> bool:
        """Whether a value that is shown is not a number."""
        return any(np.isnan(cube.decode()).any() for cube in self.cubes.values())


def _percentiles(values: np.ndarray, ranks: float | tuple[float, ...]) -> np.ndarray:
    """Of those values that are numbers; 0 if none is."""
    known = values[~np.isnan(values)]
    return np.percentile(known if known.size else 0.0, ranks)


def what_fits(
    shape: tuple[int, ...], images: int, masks: int
) -> tuple[type[np.unsignedinteger], range, range]:
    """The finest codes, and the most rows and columns about the centre, of a page below LIMIT.

    Args:
        shape: [B, H, W] of the scene.
        images: How many cubes there are.
        masks: How many masks, of a byte a value.
    """
    bands, height, width = shape
    room = (LIMIT - FRAME) / BASE64

    def pixel(code: int) -> int:
        """Bytes: of the cubes and masks, and of the pictures of a band."""
        return bands * (images * code + masks) + (images + 1) * 4 + 1

    if height * width * pixel(2) <= room:
        return np.uint16, range(height), range(width)
    share = min(1.0, room / (height * width * pixel(1)))
    rows = max(1, int(height * share**0.5))
    columns = min(width, int(room / (rows * pixel(1))))
    return np.uint8, _centre(rows, height), _centre(columns, width)


def _centre(kept: int, length: int) -> range:
    start = (length - kept) // 2
    return range(start, start + kept)


def psnr_by_band(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The PSNR of noisy and denoised, in dB, [B]; nothing without clean."""
    if "clean" not in images:
        return {}
    cubes = {name: torch.from_numpy(image)[None] for name, image in images.items()}
    return {
        name: band_psnr(cubes[name], cubes["clean"])[0].numpy() for name in ("noisy", "denoised")
    }
