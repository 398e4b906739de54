"""What is no noise of every value, but a defect: dead lines and pixels, stripes."""

import math
import warnings

import numpy as np

FAR = 6  # sigmas, that a value must be off to be dead
ALONE = 3  # times as far off as its neighbouring bands
LINE = 0.9  # share of a line's values that are one and the same if it is dead
MANY, MOST_CROWDS = 0.01, 4  # share of a band that one number has if it is dead; such numbers
LIGHT = 0.002  # of the range: stripes weaker than this are not reported
LEAST = 1e-6  # of the range


def find_dead(band: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns [W] and rows [H] of one number, and values [H, W] that far too many have."""
    lines = []
    for axis in (0, 1):
        same = band == np.median(band, axis, keepdims=True)
        dead = (same.mean(axis) >= LINE) & (there.mean(axis) > 0.5)
        others = np.isin(band, band[same & np.expand_dims(dead, axis)]) & ~np.expand_dims(
            dead, axis
        )
        lines.append(dead & (others.mean() < 0.1 * (1 - dead.mean())))
    columns, rows = lines
    spikes = np.zeros(band.shape, bool)
    rest = there & ~columns & ~rows[:, None]
    for value in _crowds(band, rest):
        spikes |= rest & (band == value)
    return columns, rows, spikes


def _crowds(band: np.ndarray, there: np.ndarray) -> list[float]:
    """Numbers that many more values have than have the numbers next to them, as dead pixels do.

    Those that lie side by side are a place. The lowest and the highest number may be those of dark
    or saturated pixels: they count only if they differ from their neighbours far more than
    neighbours do.
    """
    values = band[there]
    numbers, counts = np.unique(values, return_counts=True)
    pairs = there[:, 1:] & there[:, :-1]
    left, right = band[:, :-1][pairs], band[:, 1:][pairs]
    found = []
    for place in np.flatnonzero(counts > max(MANY * len(values), 10)) if len(numbers) > 1 else ():
        beside = np.r_[counts[max(0, place - 8) : place], counts[place + 1 : place + 9]]
        if counts[place] <= max(30 * np.median(beside), 3 * beside.max(initial=0)):
            continue
        one, other = left == numbers[place], right == numbers[place]
        if (one & other).sum() >= (one ^ other).sum():
            continue
        if place in (0, len(numbers) - 1):
            edges, usual = (np.abs(left - right)[some] for some in (one ^ other, ~one & ~other))
            if not edges.size or np.median(edges) < ALONE * np.median(usual if usual.size else 0):
                continue
        found.append(float(numbers[place]))
    return found if len(found) <= MOST_CROWDS else []


def find_stripes(
    cube: np.ndarray, residual: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets of whole lines, which two looks find.

    Where few bands have them, they stand out of what the other bands predict. Where all have, the
    others predict them, too; but they differ from the lines beside, and from band to band.

    Args:
        cube: [B, H, W].
        residual: What the other bands do not predict of it; NaN where nothing counts.
        axis: 1 for columns, 2 for rows.

    Returns:
        The offsets, 0 where there is none, with ``axis`` of length 1; the striping index [B], their
        RMS in sigmas; and how many there are, [B].
    """
    profile, stands_out = line_offsets(residual, axis)
    details = np.where(
        np.isnan(residual), np.nan, _unlike_neighbours(cube.astype(np.float32), 3 - axis)
    )
    beside, differs = line_offsets(details, axis, firm=7, across_bands=True)
    offsets = np.where(differs, beside, np.where(stands_out, profile, 0))
    sigma = _sigma_of(residual)
    error = _error_of_median(residual, axis)
    power = (np.where(differs, beside, profile) ** 2).mean((1, 2)) - error**2
    return offsets, np.sqrt(np.maximum(power, 0)) / sigma, (offsets != 0).sum((1, 2))


def line_offsets(
    residual: np.ndarray, axis: int, firm: float = 5, across_bands: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The medians along lines, and which of them chance and their like do not explain.

    Args:
        residual: [B, H, W]; NaN where nothing counts.
        axis: That of the medians; it has length 1 in what comes back.
        firm: How many standard errors a line must be off.
        across_bands: Of the medians, only what neighbouring bands do not have.
    """
    profile = np.nan_to_num(median(residual, axis, keepdims=True))
    error = _error_of_median(residual, axis)
    if across_bands:
        profile, error = _unlike_neighbours(profile, 0), error * math.sqrt(1.25)
    lines = profile.reshape(len(profile), -1)
    scatter = spread(lines - np.median(lines, 1, keepdims=True))
    excess = np.sqrt(np.maximum(0, scatter**2 - 1.2 * error**2))
    limit = np.maximum(firm * (error + excess), LIGHT)
    return profile, np.abs(profile) > limit[:, None, None]


def _unlike_neighbours(values: np.ndarray, axis: int) -> np.ndarray:
    """Less the median of the two on either side along an axis; 0 if there are too few."""
    count = values.shape[axis]
    if count < 5:
        return np.zeros_like(values)
    order = np.arange(-2, count + 2)
    order = np.minimum(np.abs(order), 2 * (count - 1) - order)
    a, b, c, d = (values.take(order[2 + step :][:count], axis) for step in (-2, -1, 1, 2))
    low, high = (
        np.minimum(np.minimum(a, b), np.minimum(c, d)),
        np.maximum(np.maximum(a, b), np.maximum(c, d)),
    )
    return values - (a + b + c + d - low - high) / 2  # the mean of the two in the middle


def _error_of_median(residual: np.ndarray, axis: int) -> np.ndarray:
    return 1.2533 * _sigma_of(residual) / math.sqrt(residual.shape[axis])


def _sigma_of(residual: np.ndarray) -> np.ndarray:
    """Of residuals [B, H, W], of which most may be 0, as those of counts are."""
    values = residual.reshape(len(residual), -1)
    least = 0.2 * np.sqrt(np.nanmean(values**2, 1))
    return np.maximum(spread(values), np.maximum(least, LEAST))


def stand_out(residual: np.ndarray) -> np.ndarray:
    """Values that are far off, and much farther than the neighbouring bands are there."""
    size = np.abs(residual) / _sigma_of(residual)[:, None, None]
    far = size > FAR
    far[1:] &= size[1:] > ALONE * size[:-1]
    far[:-1] &= size[:-1] > ALONE * size[1:]
    return far


def spread(values: np.ndarray) -> np.ndarray:
    """1.4826 times the median size along the last axis."""
    return 1.4826 * median(np.abs(values), -1)


def median(values: np.ndarray, axis: int, keepdims: bool = False) -> np.ndarray:
    """Without what is NaN; NaN where nothing else is."""
    if not np.isnan(values).any():
        return np.median(values, axis, keepdims=keepdims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # lines of NaN alone
        return np.nanmedian(values, axis, keepdims=keepdims)
