"""What is no noise of every value, but a defect: dead lines and pixels, stripes."""

import math

import numpy as np

FAR = 6  # sigmas, that a value must be off to be dead
ALONE = 3  # times as far off as its neighbouring bands
LINE = 0.9  # share of a line's values that are one and the same if it is dead
MANY, MOST_CROWDS = 0.002, 4  # share of a band that one number has if it is dead; such numbers
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


def line_offsets(residual: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Medians along the lines of an axis, kept as such; their RMS in sigmas; which stand out."""
    profile = np.median(residual, axis, keepdims=True)
    bands, length = len(residual), residual.shape[axis]
    sigma = _sigma_of(residual)
    error = 1.2533 * sigma / math.sqrt(length)  # of a median
    lines = profile.reshape(bands, -1)
    scatter = spread(lines - np.median(lines, 1, keepdims=True))
    excess = np.sqrt(np.maximum(0, scatter**2 - 1.2 * error**2))
    limit = np.maximum(5 * error + 5 * excess, LIGHT)
    beyond = np.maximum(0, (lines**2).mean(1) - error**2)
    found = np.abs(profile) > limit[:, None, None]
    return profile, np.sqrt(beyond) / sigma, found


def _sigma_of(residual: np.ndarray) -> np.ndarray:
    """Of residuals [B, H, W], of which most may be 0, as those of counts are."""
    values = residual.reshape(len(residual), -1)
    least = 0.2 * np.sqrt((values**2).mean(1))
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
    return 1.4826 * np.median(np.abs(values), -1)
