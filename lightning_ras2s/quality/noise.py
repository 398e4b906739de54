"""How noisy a scene is, and what kinds of noise there are."""

from dataclasses import dataclass

import numpy as np

from lightning_ras2s.inference.scaling import fill_band
from lightning_ras2s.quality.defects import LEAST, find_dead, find_stripes, spread, stand_out
from lightning_ras2s.quality.estimators import FEWEST, Regression, by_blocks

APART = 4  # bands, and how much less alike they are if noise is shared
STEPS = 8  # classes of brightness


@dataclass(frozen=True)
class NoiseReport:
    """The noise of a scene whose range is 0 to 1; arrays have a value for each of its B bands.

    Attributes:
        spectral: Standard deviation by spectral regression, NaN for fewer than 3 bands.
        blocks: Standard deviation by homogeneous blocks, NaN for sides under ``BLOCK`` pixels.
        signal: Mean.
        column_stripes: Striping index along columns: RMS of the offsets of whole columns, of sigma.
        row_stripes: Likewise, along rows.
        striped_columns: How many columns are offset so far that chance does not explain it.
        striped_rows: Likewise.
        dead_columns: How many hold one and the same number.
        dead_rows: Likewise.
        dead_pixels: How many stand out of their band and of the neighbouring bands.
        dead_share: The same as a share of the band.
        shared: How much more alike the noise of neighbouring bands is than of bands four apart.
        brightness: Classes of brightness, the mean of each.
        by_brightness: Sigma in them, of sigma in all; grows if noise grows with the signal.
        eigenvalues: Of the scene's covariance in units of the noise, descending; noise has 1.
        dimensions: How many stand above the noise.
    """

    spectral: np.ndarray
    blocks: np.ndarray
    signal: np.ndarray
    column_stripes: np.ndarray
    row_stripes: np.ndarray
    striped_columns: np.ndarray
    striped_rows: np.ndarray
    dead_columns: np.ndarray
    dead_rows: np.ndarray
    dead_pixels: np.ndarray
    dead_share: np.ndarray
    shared: float
    brightness: np.ndarray
    by_brightness: np.ndarray
    eigenvalues: np.ndarray
    dimensions: int

    @property
    def sigma(self) -> np.ndarray:
        """By spectral regression; by blocks where there is none."""
        return np.where(np.isfinite(self.spectral), self.spectral, self.blocks)

    @property
    def is_whole(self) -> np.ndarray:
        """Whether a band has no dead line and hardly a dead value, [B]."""
        return (self.dead_share < 0.01) & (self.dead_columns + self.dead_rows == 0)

    @property
    def growth(self) -> float:
        """Sigma of bright pixels over sigma of dark ones; 1 where nothing is known."""
        if not self.by_brightness.size:
            return 1.0
        return float(self.by_brightness[-2] / max(self.by_brightness[1], LEAST))


def measure_noise(cube: np.ndarray, valid: np.ndarray | None = None) -> NoiseReport:
    """Measures the noise of a scene.

    Args:
        cube: [B, H, W] floating, its range 0 to 1, finite.
        valid: [B, H, W] bool, values that count.
    """
    bands = len(cube)
    there = np.ones(cube.shape, bool) if valid is None else valid.copy()
    usable = usable_pixels(there)
    dead_columns, dead_rows, dead_pixels = (np.zeros(bands, int) for _ in range(3))
    filled = np.empty(cube.shape)
    for number, band in enumerate(cube):
        lines, across, spikes = find_dead(band, there[number])
        dead_columns[number], dead_rows[number] = lines.sum(), across.sum()
        dead_pixels[number] = spikes.sum()
        there[number] &= ~(spikes | lines | across[:, None])
        filled[number] = fill_band(band, there[number]) if there[number].any() else 0
    blocks = by_blocks(filled, usable)
    regression = Regression.of(filled, usable)
    columns, column_index, column_count = find_stripes(filled, regression.residual, 1)
    rows, row_index, row_count = find_stripes(filled, regression.residual, 2)
    residual = regression.residual - columns - rows
    outliers = stand_out(residual) & there
    dead_pixels += outliers.sum((1, 2))
    if bands >= FEWEST:  # once more, without what would spoil the other bands' prediction
        cleaned = filled - columns - rows - np.where(outliers, residual, 0)
        regression = Regression.of(cleaned, usable)
        residual = regression.residual
    spectral, eigenvalues, dimensions = regression.noise()
    there &= usable
    brightness, by_brightness = _by_brightness(filled - residual, residual, there)
    return NoiseReport(
        spectral,
        blocks,
        filled[:, usable].mean(1),
        column_index,
        row_index,
        column_count,
        row_count,
        dead_columns,
        dead_rows,
        dead_pixels,
        dead_pixels / cube[0].size,
        _shared(np.where(usable, filled, np.nan)),
        brightness,
        by_brightness,
        eigenvalues,
        dimensions,
    )


def usable_pixels(valid: np.ndarray) -> np.ndarray:
    """Pixels [H, W] of which all bands count; where these are few, of which any does."""
    whole, some = np.asarray(valid.all(0)), np.asarray(valid.any(0))
    return whole if 2 * whole.sum() >= some.sum() else some


def _shared(cube: np.ndarray) -> float:
    """How much more alike the finest details of neighbouring bands are than of distant ones."""
    bands = len(cube)
    if bands <= 2 * APART or min(cube.shape[1:]) < 2:
        return 0.0
    details = cube[:, :-1, :-1] + cube[:, 1:, 1:] - cube[:, 1:, :-1] - cube[:, :-1, 1:]
    details = details.reshape(bands, -1)
    details = details[:, ~np.isnan(details[0])]
    if not details.size:
        return 0.0
    details = np.clip(details / np.maximum(spread(details), LEAST)[:, None], -4, 4)
    details /= np.sqrt((details**2).mean(1, keepdims=True)).clip(LEAST)
    alike = [np.median((details[lag:] * details[:-lag]).mean(1)) for lag in (1, APART)]
    return float(alike[0] - alike[1])


def _by_brightness(
    predicted: np.ndarray, residual: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The brightness of classes of as many pixels, and sigma in them of sigma in all; medians."""
    brightness, relative = [], []
    for bright, rest, kept in zip(predicted, residual, there, strict=True):
        bright, rest = bright[kept], rest[kept]
        if len(bright) < 32 * STEPS:
            continue
        classes = np.array_split(np.argsort(bright, kind="stable"), STEPS)
        whole = max(float(spread(rest)), LEAST)
        brightness.append([bright[some].mean() for some in classes])
        relative.append([spread(rest[some]) / whole for some in classes])
    if not brightness:
        return np.zeros(0), np.zeros(0)
    return np.median(brightness, 0), np.median(relative, 0)
