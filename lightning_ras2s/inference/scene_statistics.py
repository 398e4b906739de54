"""What a scene tells about its noise and its spectra, in passes over some of it at a time.

One over the bands, for their medians, and one over the pixels, for sums of products: the whole
scene need never be in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_ras2s.inference.noise_estimate import (
    FEW,
    BandNoise,
    find_outliers,
    look_at_bands,
    ridge,
    sigma_from_other_bands,
    without_offsets,
)
from lightning_ras2s.memory import give_back_memory

PART = 2**20  # values that are looked at together
APART, SHORT_RANGE = 4, 0.25  # bands apart, and how much less correlated they are if noise is
ALL = slice(None)


@dataclass(frozen=True)
class Cubes:
    """The cubes, and the windows in which they are gone through."""

    noisy: Tensor  # [B, P]
    pilot: Tensor  # [B, P], the denoised cube
    reference: Tensor  # [B, P], what is held for clean by now
    outliers: Tensor  # [B, P] bool
    missing: Tensor | None  # [B, P] bool
    size: tuple[int, int]

    @property
    def bands(self) -> int:
        """B."""
        return len(self.noisy)

    @property
    def pixels(self) -> int:
        """P."""
        return self.size[0] * self.size[1]

    def some_bands(self) -> Iterator[slice]:
        """Windows of bands, with all their pixels."""
        return _parts(self.bands, max(1, PART // self.pixels))

    def some_pixels(self) -> Iterator[slice]:
        """Windows of pixels, with all their bands."""
        return _parts(self.pixels, max(1, PART // self.bands))

    def part(self, *where: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        """Noisy, reference and missing values of some bands or pixels; missing ones are filled."""
        y, reference = self.noisy[where].float(), self.reference[where]
        if self.missing is None:
            return y, reference, None
        missing = self.missing[where]
        return torch.where(missing, reference, y), reference, missing


def _parts(length: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, length)) for at in range(0, length, step))


@dataclass(frozen=True)
class Factors:
    """A cube as mean and directions times coefficients: its products cost little."""

    mean: Tensor  # [B, 1]
    directions: Tensor  # [B, K]
    coefficients: Tensor  # [K, P]

    def cube(self, window: slice) -> Tensor:
        """Its spectra in a window, [B, p]."""
        return torch.addmm(self.mean, self.directions, self.coefficients[:, window])


@dataclass(frozen=True)
class Noise:
    """The noise of all bands; [B, 1]."""

    bands: BandNoise
    sigma: Tensor
    kept: Tensor  # share of a band's values that are no outliers
    plain: Tensor  # bool: no stripes, hardly an outlier, nothing clipped
    columns: Tensor  # [P], of the pixels
    correlation: Tensor | None  # [B, B] between the bands; None if they have noise of their own

    @property
    def is_correlated(self) -> bool:
        """Whether neighbouring bands share it."""
        return self.correlation is not None


@dataclass(frozen=True)
class Moments:
    """Sums over the pixels that hold a valid value."""

    mean: Tensor  # [B, 1] of the reference
    reference: Tensor  # [B, B] float64, covariance; later ones as the data correct it
    residual: Tensor  # [B, B] float64, mean products of what noisy and reference differ
    pixels: int
    off: Tensor  # [B, 1], by what the data say that the mean is off


def look(scene: Cubes, factors: Factors | None, before: Noise | None) -> tuple[Noise, Moments]:
    """One look at the noise, in two passes.

    Args:
        scene: Its outliers are written.
        factors: Those of its reference, if it has any.
        before: What an earlier look has found.
    """
    chunks, means = [], []
    for some in scene.some_bands():
        y, reference, missing = scene.part(some)
        first = None if before is None else before.bands.first_sigma[some]
        chunks.append(look_at_bands(y, reference, missing, first, scene.size))
        means.append(reference.mean(1, keepdim=True))
        if scene.pixels >= PART:
            give_back_memory()
    bands, centre = BandNoise.of(chunks), torch.cat(means)
    columns = torch.arange(scene.pixels, device=centre.device) % scene.size[1]
    dimensions = scene.bands if factors is None else len(factors.coefficients)
    total = _Products(dimensions, scene.bands, centre.device)
    clear = _Clear(0 if factors is None else dimensions, scene.bands, centre.device)
    for window in scene.some_pixels():
        y, reference, missing = scene.part(ALL, window)
        outliers = find_outliers(y, reference, missing, bands, columns[window])
        scene.outliers[:, window] = outliers
        data = without_offsets(y, reference, outliers, bands, columns[window])
        residual = (data - reference).masked_fill_(outliers, 0)
        inner = reference - centre if factors is None else factors.coefficients[:, window]
        there = slice(None) if missing is None else ~missing.all(0)
        total.add(inner[:, there], residual[:, there], outliers[:, there])
        clear.add(inner, residual, ~outliers & _is_clear(y, bands, columns[window]))
    kept = (total.kept / total.pixels).float()
    plain = (kept > 0.9) & bands.even
    correlation = _correlation(total.outer / total.pixels, plain)
    if not (_is_short_ranged(correlation, plain) if before is None else before.is_correlated):
        gram = total.of_centred_data(factors)
        others = sigma_from_other_bands(gram, total.pixels) / kept.clamp_min(0.1).sqrt()
        lower = torch.minimum(bands.sigma, torch.maximum(others, 0.02 * bands.sigma))
        noise = Noise(bands, torch.where(plain, lower, bands.sigma), kept, plain, columns, None)
    else:
        noise = Noise(bands, bands.sigma, kept, plain, columns, correlation)
    mean, covariance = total.sum / total.pixels, total.covariance()
    if factors is None:
        mean = centre + mean
    else:
        directions = factors.directions.double()
        mean = factors.mean + directions @ mean
        directions = directions + clear.directions(covariance, noise.sigma)
        covariance = directions @ covariance @ directions.T
    residual, off = total.outer / total.pixels, clear.mean(noise.sigma)
    return noise, Moments(mean.float(), covariance, residual, total.pixels, off)


def _is_clear(y: Tensor, bands: BandNoise, columns: Tensor) -> Tensor:
    """Values whose mean is that of the scene: of no striped column, no end, nothing clipped."""
    even = (bands.offsets[:, columns] == 0) & (y != 0) & (y != 1)
    return even & ~(bands.clipped[0] | bands.clipped[1] | bands.counted)


def _correlation(residual: Tensor, plain: Tensor) -> Tensor:
    """Of the residuals of plain bands, [B, B]; of others, that of white noise."""
    scale = residual.diagonal().clamp_min(1e-20).rsqrt() * plain[:, 0]
    found = scale[:, None] * residual * scale
    return found.fill_diagonal_(1)


def _is_short_ranged(correlation: Tensor, plain: Tensor) -> bool:
    """Whether noise is correlated between neighbouring bands, as resampling or a sensor make it.

    The errors of a denoiser are, too; but they follow the spectra, over many bands.
    """
    if len(correlation) <= 2 * APART:
        return False

    def typical(lag: int) -> Tensor:
        both = (plain[lag:] & plain[:-lag])[:, 0]
        pairs = correlation.diagonal(lag)[both]
        return pairs.median() if len(pairs) else pairs.new_zeros(())

    return bool(typical(1) - typical(APART) > SHORT_RANGE)


class _Products:
    """Sums over pixels of what the reference's coefficients and the residual are."""

    def __init__(self, coefficients: int, bands: int, device: torch.device) -> None:
        def zeros(rows: int, columns: int) -> Tensor:
            return torch.zeros(rows, columns, dtype=torch.float64, device=device)

        self.pixels = 0
        self.kept = zeros(bands, 1)
        self.sum, self.residual_sum = zeros(coefficients, 1), zeros(bands, 1)
        self.inner = zeros(coefficients, coefficients)
        self.cross = zeros(coefficients, bands)
        self.outer = zeros(bands, bands)

    def add(self, coefficients: Tensor, residual: Tensor, outliers: Tensor) -> None:
        """Those of some more pixels."""
        a, r = coefficients.double(), residual.double()
        self.pixels += outliers.shape[1]
        self.kept += (~outliers).sum(1, keepdim=True)
        self.sum += a.sum(1, keepdim=True)
        self.residual_sum += r.sum(1, keepdim=True)
        self.inner += a @ a.T
        self.cross += a @ r.T
        self.outer += r @ r.T

    def covariance(self) -> Tensor:
        """Of the coefficients, [K, K]."""
        shift = self.sum / self.pixels
        return self.inner / self.pixels - shift @ shift.T

    def of_centred_data(self, factors: Factors | None) -> Tensor:
        """The products of the data's bands, each less its mean, [B, B]; outliers are filled in."""
        inner = self.pixels * self.covariance()
        cross = self.cross - self.sum @ self.residual_sum.T / self.pixels
        if factors is not None:
            directions = factors.directions.double()
            inner, cross = directions @ inner @ directions.T, directions @ cross
        mean = self.residual_sum / self.pixels
        return inner + cross + cross.T + self.outer - self.pixels * mean @ mean.T


class _Clear:
    """What clear values say of the reference: by how much its means and directions are off.

    That is regression of what they differ on the coefficients, as far as the noise lets it be told:
    as in a Wiener filter, the energy of what is off is measured over all bands.
    """

    def __init__(self, coefficients: int, bands: int, device: torch.device) -> None:
        def zeros(rows: int, columns: int) -> Tensor:
            return torch.zeros(rows, columns, dtype=torch.float64, device=device)

        self.count, self.sum = zeros(bands, 1), zeros(bands, 1)
        self.coefficients, self.cross = zeros(coefficients, bands), zeros(coefficients, bands)

    def add(self, coefficients: Tensor, residual: Tensor, clear: Tensor) -> None:
        """The values of some more pixels: [K, p], [B, p], and which of these are clear, [B, p]."""
        r = torch.where(clear, residual, 0).double()
        self.count += clear.sum(1, keepdim=True)
        self.sum += r.sum(1, keepdim=True)
        if len(self.cross):
            a = coefficients.double()
            self.coefficients += a @ clear.double().T
            self.cross += a @ r.T

    def mean(self, sigma: Tensor) -> Tensor:
        """By how much the means are off, [B, 1]; sigma is that of the noise, [B, 1]."""
        found = self.sum / self.count.clamp_min(1)
        return self._likely(found, sigma.double().square() / self.count.clamp_min(1)).float()

    def directions(self, covariance: Tensor, sigma: Tensor) -> Tensor:
        """By how much the directions of coefficients of a covariance [K, K] are off, [B, K]."""
        count = self.count.clamp_min(1)
        precision = torch.linalg.inv(covariance + ridge(covariance))
        cross = (self.cross.T - self.coefficients.T * (self.sum / count)) / count
        variance = sigma.double().square() / count * precision.diagonal()
        return self._likely(cross @ precision, variance)

    def _likely(self, found: Tensor, variance: Tensor) -> Tensor:
        enough = self.count >= FEW
        bands = enough.sum().clamp_min(1)
        energy = torch.where(enough, found.square() - variance, 0).sum(0, keepdim=True) / bands
        energy = energy.clamp_min(1e-20)
        return torch.where(enough, found * energy / (energy + variance), 0)
