"""The range of a noisy cube, which a denoiser is to see as 0 to 1."""

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

from datamodules.file_facts import FileFacts
from datamodules.scene import DataError

WINDOW = 5  # pixels of the median's sides: impulses and dead lines do not get through
TAIL = 1e-3  # share of a band's medians that may lie beyond either end
CROWD = 2e-3  # share of the cube that one value holds if it is a dead, clipped or saturated one
NEAR = 0.35  # of the range, within which an end is such a value
ZERO = 0.25  # of the range, within which the low end is zero, as that of physical quantities
ENOUGH, STRIP = 2**19, 32  # pixels of a band; rows
REMEMBERED = 2**20  # different values
BELOW, ABOVE = 0.08, 0.25  # of the range, at most, for the detail that medians smooth away


class Range(NamedTuple):
    """The values that are seen as 0 and as 1."""

    low: float
    high: float


def find_range(cube: np.ndarray, valid: np.ndarray | None = None) -> Range:
    """The range of the scene in a noisy cube, not that of its noise; see `RangeFinder`.

    Args:
        cube: [B, H, W], numbers of any kind.
        valid: [B, H, W] bool, those that count; the others must hold something harmless.

    Raises:
        ValueError: If no value counts.
    """
    finder = RangeFinder()
    for number, band in enumerate(cube):
        finder.add(band, None if valid is None else valid[number])
    return finder.range()


def range_of_file(file: FileFacts, name: str) -> Range:
    """The numbers of a file that are 0 and 1 in its physical units, such as reflectance.

    Args:
        file: What it says.
        name: Whose file it is, for the error.

    Raises:
        DataError: If the file declares no scale.
    """
    if file.scale_factor is None and file.add_offset is None:
        raise DataError(
            f"{name}: declares no scale factor; leave out --scale=file, or give the lowest and the "
            "highest value"
        )
    factor, offset = file.scale_factor or 1.0, file.add_offset or 0.0
    ends = -offset / factor, (1 - offset) / factor
    return Range(min(ends), max(ends))


class RangeFinder:
    """Finds the range of a scene, band after band.

    It is taken from the 5 x 5 medians of each band, less what noise alone makes of their extremes,
    with room for detail. Where many values near an end are one and the same, as dead and saturated
    ones are, that is the end; and a low end near zero is zero.
    """

    def __init__(self) -> None:
        self._ends: list[tuple[float, float, float]] = []
        self._extremes = (math.inf, -math.inf)
        self._crowds = _Crowds()

    def add(self, band: np.ndarray, valid: np.ndarray | None = None) -> None:
        """Looks at a band [H, W], of a large one at strips of rows.

        What does not count must hold something harmless.
        """
        band, valid = _strips(band), None if valid is None else _strips(valid)
        values = band if valid is None else band[valid]
        if not values.size:
            return
        ends = _ends(band, valid)
        assert ends is not None
        self._ends.append(ends)
        low, high = self._extremes
        self._extremes = min(low, float(values.min())), max(high, float(values.max()))
        self._crowds.add(values)

    def range(self) -> Range:
        """What is seen as 0 and as 1.

        Raises:
            ValueError: If no value counts.
        """
        if not self._ends:
            raise ValueError("no value of the cube counts: all are NaN, infinite or masked")
        low, high = min(pair[0] for pair in self._ends), max(pair[1] for pair in self._ends)
        noise = float(np.median([pair[2] for pair in self._ends]))
        if high <= low:  # flat, but for noise
            low, high = self._extremes
        if high <= low:
            return Range(low, low + 1.0)
        size, crowds = high - low, self._crowds.found()
        lower = 0.0 if abs(low) <= ZERO * size else low - BELOW * size
        upper = high + min(ABOVE * size, 0.05 * size + 10 * noise)
        return Range(
            _nearest(low, crowds, NEAR * size, otherwise=lower),
            _nearest(high, crowds, NEAR * size, otherwise=upper),
        )


def _strips(band: np.ndarray) -> np.ndarray:
    """All rows, or evenly spaced strips of so many that about ``ENOUGH`` pixels are in them."""
    height, width = band.shape
    count = max(1, ENOUGH // (STRIP * width))
    if height <= 2 * count * STRIP:
        return band
    starts = np.linspace(0, height - STRIP, count).astype(int)
    return np.concatenate([band[start : start + STRIP] for start in starts])


def _nearest(end: float, crowds: list[float], reach: float, otherwise: float) -> float:
    near = [value for value in crowds if abs(value - end) <= reach]
    return min(near, key=lambda value: abs(value - end), default=otherwise)


def _ends(band: np.ndarray, valid: np.ndarray | None) -> tuple[float, float, float] | None:
    """Lowest and highest medians of a band, less what its noise adds to them; and the noise."""
    values = band.astype(np.float32)
    medians = ndimage.median_filter(values, size=WINDOW, mode="reflect")
    inside = slice(None) if valid is None else valid
    if not medians[inside].size:
        return None
    spread = 1.4826 * np.median(np.abs(values - medians)[inside])  # of the noise
    of_median = 1.2533 * spread / WINDOW
    beyond = -float(ndtri(TAIL)) * of_median
    low, high = np.quantile(medians[inside], (TAIL, 1 - TAIL))
    return float(low + beyond), float(high - beyond), float(spread)


class _Crowds:
    """Values that far more of a cube holds than their like, counted band after band."""

    def __init__(self) -> None:
        self._values, self._counts = np.empty(0), np.empty(0, np.int64)
        self._total, self._forgotten = 0, 0

    def add(self, values: np.ndarray) -> None:
        """Counts; of very many different values the rarest are forgotten."""
        found, counts = np.unique(values, return_counts=True)
        together = np.concatenate([self._values, found])
        self._values, place = np.unique(together, return_inverse=True)
        weights = np.concatenate([self._counts, counts])
        self._counts = np.bincount(place, weights).astype(np.int64)
        self._total += int(counts.sum())
        if len(self._values) > REMEMBERED:
            often = self._counts > 0.05 * CROWD * self._total
            self._forgotten += int((~often).sum())
            self._values, self._counts = self._values[often], self._counts[often]

    def found(self) -> list[float]:
        """The values of crowds."""
        usual = max(1.0, self._total / max(1, len(self._values) + self._forgotten))
        many = self._counts > max(CROWD * self._total, 10 * usual)
        return [float(value) for value in self._values[many] if math.isfinite(value)]


def fill_band(band: np.ndarray, there: np.ndarray) -> np.ndarray:
    """A band [H, W] with the nearest valid value where there is none."""
    if there.all():
        return np.asarray(band)
    nearest = ndimage.distance_transform_edt(~there, return_distances=False, return_indices=True)
    return np.asarray(band)[tuple(nearest)]


def take_off(band: np.ndarray, removed: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """A band less what was removed; whole numbers are rounded and kept in their range."""
    clean = band.astype(np.float64) - removed
    if band.dtype.kind in "iu":
        limits = np.iinfo(band.dtype)
        clean = np.clip(np.rint(clean), limits.min, np.nextafter(float(limits.max) + 1, 0))
    changed = removed != 0  # large integers have no float64 of their own
    if valid is not None:
        changed &= valid
    result = band.copy()
    result[changed] = clean[changed].astype(band.dtype)
    return result
