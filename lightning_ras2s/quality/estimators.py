"""Two published estimators of the noise of each band.

* *Spectral regression*: what the other bands do not predict of a band (Roger, Arnold 1996,
  doi:10.1080/01431169608948750; Bioucas-Dias, Nascimento 2008, doi:10.1109/TGRS.2008.918089), less
  what the noise of those adds: as factor analysis has it, a scene is few factors and noise of each
  band's own. Where that is more than the finest details of the residual have, the rest is scene.
* *Homogeneous blocks*: the most frequent standard deviation of small blocks (Gao 1993, Remote
  Sensing of Environment 43). Texture makes it too large; spectra do not matter.
"""

import math
from dataclasses import dataclass

import numpy as np

from lightning_ras2s.quality.defects import LEAST, LIGHT, spread

BLOCK = 6  # pixels of a block's side
EDGE = 1.1  # times the largest eigenvalue that noise alone would have
NEIGHBOURS = 10  # bands either side, of scenes of too few pixels
FEWEST = 3  # bands, for regression
ROUNDS = 30  # of factor analysis


@dataclass(frozen=True)
class Regression:
    """Each band's regression on the others."""

    residual: np.ndarray  # [B, H, W], as large as the noise would be if nothing were fitted
    covariance: np.ndarray  # [B, B]
    variance: np.ndarray  # [B] of the residual
    pixels: int

    @classmethod
    def of(cls, cube: np.ndarray, usable: np.ndarray) -> "Regression":
        """Of a cube [B, H, W] at its usable pixels, [H, W] bool; elsewhere there is no residual."""
        values, pixels = cube[:, usable], int(usable.sum())
        centred = values - values.mean(1, keepdims=True)
        gram = centred @ centred.T
        weights, fitted = _weights(gram, pixels)
        variance = np.einsum("ij,jk,ik->i", weights, gram, weights) / np.maximum(pixels - fitted, 1)
        residual = weights @ centred
        residual *= np.sqrt(pixels / np.maximum(pixels - fitted, 1))[:, None]
        image = np.full(cube.shape, np.nan)
        image[:, usable] = residual
        return cls(image, gram / pixels, np.maximum(variance, LEAST**2), pixels)

    def noise(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Sigma [B], the eigenvalues in its units, and how many are above the noise."""
        if len(self.covariance) < FEWEST:
            return np.full(len(self.covariance), np.nan), np.ones(0), 0
        own = _factor_analysis(self.covariance, self.variance, self.pixels)
        details = _finest(self.residual) ** 2 - (self.variance - own)
        details = np.maximum(details, 0.1 * own)
        is_scene = (own - details > 0.1 * (own + self.variance)) & (own > (2 * LIGHT) ** 2)
        sigma = np.sqrt(np.where(is_scene, details, own))
        scale = 1 / np.sqrt(own)
        values = np.linalg.eigvalsh(self.covariance * scale[:, None] * scale)[::-1]
        return sigma, values, int((values > _edge(len(values), self.pixels)).sum())


def _weights(gram: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """What makes the residuals [B, B], and how many numbers were fitted for each, [B]."""
    bands = len(gram)
    gram = gram + 1e-12 * max(np.trace(gram) / bands, LEAST**2) * np.eye(bands)
    if pixels > 4 * bands:
        precision = np.linalg.inv(gram)
        return precision / precision.diagonal()[:, None], np.full(bands, bands)
    weights, fitted = np.eye(bands), np.zeros(bands)
    reach = min(NEIGHBOURS, (pixels // 4 - 1) // 2)
    for band in range(bands):
        near = [b for b in range(max(0, band - reach), min(bands, band + reach + 1)) if b != band]
        weights[band, near] = -np.linalg.solve(gram[np.ix_(near, near)], gram[near, band])
        fitted[band] = len(near)
    return weights, fitted


def _edge(bands: int, pixels: int) -> float:
    """The largest eigenvalue that noise alone would have, and some more (Marchenko, Pastur)."""
    return EDGE * (1 + math.sqrt(bands / pixels)) ** 2


def _factor_analysis(covariance: np.ndarray, start: np.ndarray, pixels: int) -> np.ndarray:
    """The variance of what each band has of its own [B]: iterated principal factors."""
    own = start
    for _ in range(ROUNDS):
        scale = 1 / np.sqrt(own)
        values, vectors = np.linalg.eigh(covariance * scale[:, None] * scale)
        factors = values > _edge(len(own), pixels)
        common = own * (vectors[:, factors] ** 2 @ (values[factors] - 1))
        found = np.clip(covariance.diagonal() - common, 0.3 * own, start)
        if np.abs(found / own - 1).max() < 1e-3:
            return found
        own = found
    return own


def _finest(residual: np.ndarray) -> np.ndarray:
    """Sigma by the differences along both diagonals, which hold the least of a scene, [B]."""
    if min(residual.shape[1:]) < 2:
        return np.full(len(residual), np.inf)
    near, far = residual[:, :-1, :-1] + residual[:, 1:, 1:], residual[:, 1:, :-1]
    return spread(((near - far - residual[:, :-1, 1:]) / 2).reshape(len(residual), -1))


def by_blocks(cube: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Sigma [B], by the standard deviations of blocks around a plane: the densest of them.

    Args:
        cube: [B, H, W].
        usable: [H, W] bool; blocks that hold other pixels are left out.
    """
    bands = len(cube)
    whole = _blocks(usable[None])[0].all(1)
    if whole.sum() < 4:
        return np.full(bands, np.nan)
    blocks = _blocks(cube)[:, whole]
    slopes = np.indices((BLOCK, BLOCK)).reshape(2, -1)
    plane = np.linalg.qr(np.stack([np.ones(BLOCK**2), *slopes], 1))[0]
    found = np.empty(bands)
    for number, band in enumerate(blocks):
        rest = band - band @ plane @ plane.T
        deviations = np.sort(np.sqrt((rest**2).sum(1) / (BLOCK**2 - 3)))
        some = max(3, len(deviations) // 4)
        logs = np.log(np.maximum(deviations, LEAST))
        start = np.argmin(logs[some - 1 :] - logs[: len(logs) - some + 1])
        found[number] = np.median(deviations[start : start + some])
    return found


def _blocks(cube: np.ndarray) -> np.ndarray:
    """The whole blocks of each band, [B, N, BLOCK^2]."""
    bands, height, width = cube.shape
    down, across = height // BLOCK, width // BLOCK
    whole = cube[:, : down * BLOCK, : across * BLOCK]
    blocks = whole.reshape(bands, down, BLOCK, across, BLOCK).swapaxes(2, 3)
    return blocks.reshape(bands, down * across, BLOCK**2)
