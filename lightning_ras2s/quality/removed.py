"""What was removed: whether it looks like noise, or like the scene."""

from dataclasses import dataclass

import numpy as np

from lightning_ras2s.quality.defects import LEAST, line_offsets, spread
from lightning_ras2s.quality.noise import NoiseReport

LAGS = 8  # pixels, or bands
FEW = 0.2  # share of the bands
BEYOND = 4  # sigmas, above which a value is a defect, and not looked at
ALIKE = 0.1  # correlation, above which what was removed is no white noise
PICTURED, EDGES = 0.2, 0.2  # correlations, above which it holds some of the scene
SURVIVES = 1.5  # times what independent noise leaves when bands are averaged


@dataclass(frozen=True)
class Removed:
    """Tests of what was removed, without whole lines' offsets and values that stand out.

    Attributes:
        sigma: Its standard deviation in each band, of a range of 0 to 1, [B].
        of_noise: The same, of the noise before: 1 if as much was taken as there was, [B].
        down: Correlation with the pixel 1, 2, ... rows below, median over the bands.
        across: With the pixel 1, 2, ... columns to the right.
        spectral: With the band 1, 2, ... farther.
        edges: Of its size, mean over the bands, with the size of the scene's gradient.
        survives: Variance of its mean over the bands, in sigmas, of that of independent noise.
        averaged_alike: Correlation of that mean with the next pixels.
        averaged: That mean, [H, W].
    """

    sigma: np.ndarray
    of_noise: np.ndarray
    down: np.ndarray
    across: np.ndarray
    spectral: np.ndarray
    edges: float
    survives: float
    averaged_alike: float
    averaged: np.ndarray

    @property
    def is_white_in_space(self) -> bool:
        """Whether neighbouring pixels are hardly alike."""
        return max(self.down[:1].sum(), self.across[:1].sum()) < ALIKE

    @property
    def is_white_in_spectrum(self) -> bool:
        """Whether neighbouring bands are hardly alike."""
        return not self.spectral.size or self.spectral[0] < ALIKE

    @property
    def is_pictured(self) -> bool:
        """Whether a picture is left when the bands are averaged.

        Noise that the bands share also survives that, but as noise.
        """
        return self.survives > SURVIVES and self.averaged_alike > PICTURED

    @property
    def holds_scene(self) -> bool:
        """Whether edges show in it, or a picture is left when the bands are averaged."""
        return self.is_pictured or self.edges > EDGES


def measure_removed(
    noisy: np.ndarray, denoised: np.ndarray, before: NoiseReport, valid: np.ndarray | None = None
) -> Removed:
    """Looks at what a denoiser has taken.

    Args:
        noisy: [B, H, W] floating, its range 0 to 1, finite.
        denoised: Likewise.
        before: The noise of the noisy scene. Bands that have many dead values are not looked at if
            there are others: where a value is dead, what replaces it is the scene's.
        valid: [B, H, W] bool, values that count.
    """
    removed = noisy.astype(np.float64) - denoised
    if valid is not None:
        removed[~valid] = 0
    for axis in (1, 2):
        profile, found = line_offsets(removed, axis)
        removed -= np.where(found, profile, 0)
    bands = len(removed)
    size = np.maximum(spread(removed.reshape(bands, -1)), LEAST)
    white = removed / size[:, None, None]
    there = np.abs(white) < BEYOND
    if valid is not None:
        there &= valid
    white[~there] = 0
    scale = np.sqrt((white**2).sum((1, 2)) / np.maximum(there.sum((1, 2)), 1))
    white /= np.maximum(scale, LEAST)[:, None, None]
    used = size > 2 * LEAST
    if (used & before.is_whole).mean() > FEW:
        used &= before.is_whole
    if not used.any():
        nothing = np.zeros(0)
        flat = np.zeros(noisy.shape[1:])
        return Removed(0 * size, 0 * size, nothing, nothing, nothing, 0.0, 1.0, 0.0, flat)
    of_noise = size / np.maximum(before.sigma, LEAST)
    white, there = white[used], there[used]
    number = there.sum(0)
    averaged = white.sum(0) / np.sqrt(np.maximum(number, 1))  # 1 if the bands are independent
    return Removed(
        size,
        of_noise,
        _alike(white, there, 1),
        _alike(white, there, 2),
        _alike_bands(white, there),
        _edges(np.abs(white).sum(0) / np.maximum(number, 1), denoised.mean(0), number > 0),
        float((averaged[number > 0] ** 2).mean()) if (number > 0).any() else 1.0,
        float(np.mean([_alike(averaged[None], (number > 0)[None], a)[:1].sum() for a in (1, 2)])),
        averaged,
    )


def _alike(white: np.ndarray, there: np.ndarray, axis: int) -> np.ndarray:
    """Correlations with the values farther along an axis, median over the bands."""
    found = []
    for lag in range(1, min(LAGS, white.shape[axis] - 1) + 1):
        values, kept = (np.moveaxis(each, axis, 0) for each in (white, there))
        both = kept[lag:] & kept[:-lag]
        one, other = (np.where(both, each, 0) for each in (values[lag:], values[:-lag]))
        power = np.sqrt((one**2).sum((0, 2)) * (other**2).sum((0, 2)))
        found.append(np.median((one * other).sum((0, 2)) / np.maximum(power, LEAST)))
    return np.array(found)


def _alike_bands(white: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Correlations with the bands farther, medians."""
    bands = len(white)
    values, kept = white.reshape(bands, -1), there.reshape(bands, -1)
    products = values @ values.T / np.maximum(kept.astype(float) @ kept.T, 1)
    return np.array(
        [np.median(products.diagonal(lag)) for lag in range(1, min(LAGS, bands - 1) + 1)]
    )


def _edges(size: np.ndarray, scene: np.ndarray, there: np.ndarray) -> float:
    """The correlation of the size of what was removed with the scene's gradient."""
    if min(scene.shape) < 3:
        return 0.0
    gradient = np.hypot(*np.gradient(scene))
    pair = np.stack([size[there], np.minimum(gradient, np.quantile(gradient, 0.99))[there]])
    return float(np.corrcoef(pair)[0, 1]) if (pair.std(1) > 0).all() else 0.0
