"""Indian Pines: the real AVIRIS scene that comes with the ``tensorly`` package."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from datamodules.atomic_write import atomic_write
from datamodules.base import HSIDataModule
from datamodules.collection import data_root
from datamodules.scene import Scene

COLUMNS = {"train": slice(0, 89), "val": slice(89, 113), "test": slice(113, 145)}
FULL_CROP = slice(8, 136)
DAMAGED = 0x0A  # what every byte 0x0D has become
LOST = 0x0300  # of a value whose high byte was 0x0D
RANK, ROUNDS = 6, 40


class IndianPines(HSIDataModule):
    """Indian Pines (Baumgardner et al. 2015, doi:10.4231/R7RX991C): 200 bands of 145 x 145 pixels.

    AVIRIS, June 1992, 400 to 2500 nm, 20 water absorption bands removed; CC BY 3.0. Nothing is
    downloaded. The whole scene is scaled to [0, 1] by its smallest and largest value.

    The file that everyone has is damaged: every byte 0x0D has become 0x0A, so that 2.8 % of the
    values, in 84 bands, are 768 too low. `repair` puts them right, once; the result is kept below
    ``DATA_ROOT``. Figures in the literature are of the damaged file.

    Args:
        protocol: ``repaired`` trains on columns 0 to 88, validates on 89 to 112 and tests on 113 to
            144 of the repaired scene; ``as_published`` does so on the file as it comes; ``full``
            tests on rows and columns 8 to 135 of the whole scene as published, as for weights that
            have never seen it, and has no training split.
        **options: Those of HSIDataModule.
    """

    name = "indian_pines"

    def __init__(
        self, protocol: Literal["repaired", "as_published", "full"] = "repaired", **options: Any
    ) -> None:
        super().__init__(**options)
        self.protocol = protocol

    def scenes(self, split: str) -> list[Scene]:
        """The block of ``split``, or under protocol ``full`` the crop for the test only."""
        whole = load_scene(repaired=self.protocol == "repaired")
        if self.protocol != "full":
            # Each block has a name of its own, as its noise follows from it.
            block = whole.crop(columns=COLUMNS[split])
            return [replace(block, name=f"{self.name}_{split}")]
        return [whole.crop(FULL_CROP, FULL_CROP)] if split == "test" else []


def load_scene(repaired: bool = False) -> Scene:
    """The whole scene [200, 145, 145], scaled to [0, 1], with its wavelengths in nm."""
    from tensorly.datasets import load_indian_pines

    data = load_indian_pines()
    cube = np.asarray(data.tensor).transpose(2, 0, 1)  # rows, columns, bands in the file
    if repaired:
        cube = _repaired_once(cube.astype(np.uint16))
    return Scene.from_raw("indian_pines", cube, np.array(data.ticks[1]))


def _repaired_once(published: np.ndarray) -> np.ndarray:
    """The repaired scene, kept below ``DATA_ROOT`` where that can be written."""
    digest = hashlib.sha256(published.tobytes()).hexdigest()
    place = data_root() / IndianPines.name / "prepared" / f"repaired-{digest[:12]}.npy"
    with suppress(OSError, ValueError):  # not there yet, or damaged: made again
        kept = np.load(place)
        if kept.shape == published.shape and kept.dtype == published.dtype:
            return kept
    cube = repair(published)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as aside, aside.open("wb") as file:
            np.save(file, cube)
    return cube


def repair(published: np.ndarray) -> np.ndarray:
    """Tells which values with a high byte 0x0A had 0x0D, and are 768 too low.

    They begin as linear regressions on the two adjacent bands say, and are then taken, again and
    again, from an approximation of low rank about the mean spectrum, kept between the two that are
    possible; in the end each becomes the nearer one. Low bytes cannot be told: an error of 3.

    Args:
        published: [B, H, W], uint16.

    Returns:
        Likewise, repaired.
    """
    low = published.reshape(len(published), -1).astype(np.float64)
    doubtful = low.astype(np.uint16) >> 8 == DAMAGED
    high = low + LOST * doubtful
    values = _from_neighbours(low, doubtful).clip(low, high)
    for _ in range(ROUNDS):
        mean = values.mean(axis=1, keepdims=True)
        centred = values - mean
        basis = np.linalg.eigh(centred @ centred.T)[1][:, -RANK:]
        guess = basis @ (basis.T @ centred) + mean
        values = np.where(doubtful, guess.clip(low, high), low)
    raised = doubtful & (values - low > high - values)
    return (published + LOST * raised.reshape(published.shape)).astype(np.uint16)


def _from_neighbours(values: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """Doubtful values by regression on the bands beside, the better fitting one weighing more."""
    result = values.copy()
    for band in np.flatnonzero(doubtful.any(axis=1)):
        guess, weights = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        for beside in (band - 1, band + 1):
            if not 0 <= beside < len(values):
                continue
            known = ~doubtful[band] & ~doubtful[beside]
            if known.sum() < 2 or np.ptp(values[beside][known]) == 0:
                continue
            slope, start = np.polyfit(values[beside][known], values[band][known], 1)
            line = slope * values[beside] + start
            weight = 1 / (np.var(values[band][known] - line[known]) + 1)
            usable = ~doubtful[beside]
            guess[usable] += weight * line[usable]
            weights[usable] += weight
        there = doubtful[band] & (weights > 0)
        result[band][there] = guess[there] / weights[there]
    return result
