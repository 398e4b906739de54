"""Which values of a cube are measurements, and which only stand for "nothing here"."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

SAMPLE = 100_000  # values looked at before all of them are
MOST_SENTINELS = 4  # of a file
HUGE = 1e19  # beyond it nothing is measured


class Sentinel(NamedTuple):
    """A number that alone sets the range of a cube.

    Attributes:
        value: The number.
        times: How often it comes.
        nearest: The measurement next to it.
        is_masked: Whether it is taken for "nothing here": a number that is customary for that, or
            one that fills whole pixels. Another one may be a defect of the sensor.
    """

    value: float
    times: int
    nearest: float
    is_masked: bool


def find_valid(
    values: np.ndarray,
    nodata: Sequence[float] = (),
    mask: np.ndarray | None = None,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> np.ndarray | None:
    """Where a cube holds measurements: finite, not ``nodata``, not masked and within limits.

    Args:
        values: [B, H, W] of any real type.
        nodata: Numbers that stand for nothing. They are compared in the type of the values.
        mask: [H, W] or [B, H, W], True where it is valid; None for all.
        limits: Smallest and largest value that are valid.

    Returns:
        None where everything is valid; [H, W] where the same pixels are in all bands, else
        [B, H, W].
    """
    numbers = [n for value in nodata if (n := in_type(value, values.dtype)) is not None]
    is_float = values.dtype.kind == "f"
    is_limited = limits != (-np.inf, np.inf)
    if not numbers and not is_float and mask is None and not is_limited:
        return None
    valid: np.ndarray | None = None
    for index, band in enumerate(values):
        good = np.isfinite(band) if is_float else np.ones(band.shape, bool)
        for number in numbers:
            good &= band != number
        if is_limited:
            good &= (band >= limits[0]) & (band <= limits[1])
        if valid is None and not good.all():
            valid = np.ones(values.shape, bool)
        if valid is not None:
            valid[index] = good
    return _reduced(valid, mask)


def _reduced(valid: np.ndarray | None, mask: np.ndarray | None) -> np.ndarray | None:
    """Both masks together, as one of [H, W] where that says it all."""
    if mask is not None and not mask.all():
        valid = mask if valid is None else valid & mask
    if valid is None:
        return None
    if valid.ndim == 3 and all(np.array_equal(band, valid[0]) for band in valid[1:]):
        return valid[0].copy()
    return valid


def in_type(value: float, dtype: np.dtype) -> np.generic | None:
    """A number in another type; None where that cannot hold it, or it is NaN, which is found so."""
    if np.isnan(value):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    limits = np.iinfo(dtype)
    if value != round(value) or not limits.min <= value <= limits.max:
        return None
    return dtype.type(int(value))


def valid_range(
    values: np.ndarray, valid: np.ndarray | None = None, bad_bands: Sequence[int] = ()
) -> tuple[float, float] | None:
    """Smallest and largest measurement outside of the bad bands; None without any."""
    extremes = [
        (band.min(), band.max()) for band in measurements(values, valid, bad_bands) if band.size
    ]
    if not extremes:
        return None
    return float(min(low for low, _ in extremes)), float(max(high for _, high in extremes))


def measurements(
    values: np.ndarray, valid: np.ndarray | None, bad_bands: Sequence[int]
) -> Iterator[np.ndarray]:
    """The valid values of each band that is not bad; without a mask, the finite ones."""
    for index, band in enumerate(values):
        if index in bad_bands:
            continue
        if valid is not None:
            yield band[valid if valid.ndim == 2 else valid[index]]
        elif band.dtype.kind == "f" and not np.isfinite(band).all():
            yield band[np.isfinite(band)]
        else:
            yield band


def find_sentinel(
    values: np.ndarray, valid: np.ndarray | None = None, bad_bands: Sequence[int] = ()
) -> Sentinel | None:
    """An isolated extreme that alone sets the range of the measurements.

    Its distance to the nearest other value is larger than the range of all others; of a negative
    number that is customary for "nothing here", such as -9999, a quarter of it, or, where no other
    is negative, a twentieth.

    Args:
        values: [B, H, W].
        valid: As `find_valid` gives it.
        bad_bands: Left out.
    """
    limits = valid_range(values, valid, bad_bands)
    if limits is None or limits[0] == limits[1]:
        return None
    sample = _sample(values, valid, bad_bands, *limits)
    bulk = (sample.min(), sample.max()) if sample.size else (np.nan, np.nan)
    for extreme, seen in zip(limits, bulk, strict=True):
        customary = is_customary(extreme, values.dtype)
        needed = 0.25 if customary and extreme < 0 else 1.0
        if customary and extreme < 0 <= bulk[0]:
            needed = 0.05
        # All values lie at least as close to the extreme, and spread at least as far.
        if abs(float(seen) - extreme) <= needed * (float(bulk[1]) - float(bulk[0])):
            continue
        low, high, times, most = np.inf, -np.inf, 0, 0
        for band in measurements(values, valid, bad_bands):
            others = band[band != extreme]
            times += band.size - others.size
            most = max(most, band.size - others.size)
            if others.size:
                low = min(low, float(others.min()))
                high = max(high, float(others.max()))
        nearest = low if extreme < low else high
        if low < high and abs(nearest - extreme) > needed * (high - low):
            bands = len(values) - len(bad_bands)
            whole_pixels = bands > 1 and times == most * bands and times > bands
            return Sentinel(extreme, times, nearest, customary or whole_pixels)
    return None


def describe_sentinel(found: Sentinel) -> str:
    """What to tell of it, with the option that says otherwise."""
    told = f"the number {found.value:g} ({found.times} times, nearest other value "
    told += f"{found.nearest:g}) alone sets the range: "
    if found.is_masked:
        return f"{told}taken as nodata; say nodata='none' if it is a measurement"
    return f"{told}say nodata={found.value:g} if it stands for nothing"


def _sample(
    values: np.ndarray,
    valid: np.ndarray | None,
    bad_bands: Sequence[int],
    low: float,
    high: float,
) -> np.ndarray:
    """Some of the measurements, without the extremes."""
    step = max(1, values.size // SAMPLE)
    parts = [band.ravel()[::step] for band in measurements(values, valid, bad_bands)]
    sample = np.concatenate(parts)
    return sample[(sample != low) & (sample != high)]


def is_customary(value: float, dtype: np.dtype) -> bool:
    """Whether a number is used for "nothing here": -9999 and the like, or an end of its type."""
    if abs(value) >= HUGE:
        return True
    digits = f"{abs(value):.0f}"
    if value == round(value) and len(digits) >= 3 and set(digits) == {"9"}:
        return True
    ends = {-32768.0, -32767.0, 32767.0, 65535.0, -2147483648.0, -2147483647.0, 2147483647.0}
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        ends |= {float(limits.max)} | ({float(limits.min)} if limits.min else set())
    return value in ends
