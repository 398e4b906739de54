"""+S: a step after any denoiser that makes its result better, without training.

The spectra of a scene lie near a subspace of few dimensions. It is learned from the denoised cube
and from what stands out of the noise in the difference; means and directions are corrected by the
data; each pixel's noisy spectrum is fitted in it without its outliers; the images of coefficients
are smoothed with the denoised cube's as pilot.
Relative: FastHyDe (Zhuang, Bioucas-Dias 2018: a denoiser on the images of a subspace).

Cubes are gone through in parts, some bands or some pixels at a time, and what is kept between is
made by one function: with tensors that lie in files, a scene may be larger than the memory.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_ras2s.inference.noise_estimate import without_offsets
from lightning_ras2s.inference.scene_statistics import ALL, Cubes, Factors, Moments, Noise, look
from lightning_ras2s.inference.wiener import smooth

ROUNDS = 3
SMALLEST_SIDE, FEWEST_BANDS = 8, 3  # below, there is nothing to learn from
REPEATS = 4
DIMENSIONS, MOST = 8, 64  # of the reference, and in all
PRIOR = 0.05  # weight of the denoised cube in the fit of a pixel
STRONG_PRIOR = 1.0  # the same where the noise is correlated, and so as smooth as spectra are
MANY = 24  # dimensions, above which masked values are filled in rather than left out
LITTLE = 0.008  # noise below this share of the range: not refined again
LEFT_IN = 0.002  # noise below this share of the range is left in
OUTSIDE = 1 / 3  # share of the denoised cube outside the subspace that is given back, at most
HIDDEN = 0.3  # of the scene outside the subspace, as a share of the error expected in it
OF_SUBSPACE = 1.6  # times the square error that is expected in it: see `Uncertainty`

New = Callable[..., Tensor]


@dataclass(frozen=True)
class Learned:
    """What a refinement found out about a scene of B bands and H x W pixels.

    Attributes:
        sigma: Standard deviation of the noise of each band, [B], on the cube's scale.
        offsets: Of each band's columns, as stripes have them, [B, W].
        outliers: Dead, saturated, impulsive and missing values, left out, [B, H, W] bool.
        subspace: Orthonormal directions of the spectra in units of sigma, [B, K].
        put_back: Share of the difference to the noisy cube that went back into each band, [B].
        counted: Bands of few different values, as of photons, [B] bool.
        uncertainty: The predicted standard error of every value.
    """

    sigma: Tensor
    offsets: Tensor
    outliers: Tensor
    subspace: Tensor
    put_back: Tensor
    counted: Tensor
    uncertainty: "Uncertainty"


@torch.no_grad()
def refine(
    noisy: Tensor,
    denoised: Tensor,
    valid: Tensor | None = None,
    repeats: int = REPEATS,
    new: New = torch.empty,
) -> tuple[Tensor, Learned | None]:
    """Refines a denoised cube.

    Args:
        noisy: [B, H, W] floating, on the scale on which it was denoised: its range is 0 to 1.
        denoised: [B, H, W], what a denoiser made of it, finite.
        valid: [B, H, W] or [H, W] bool, the noisy values that count. NaN and infinite ones do not.
        repeats: How often at most; the result is the next one's denoised cube, while that helps.
        new: Makes the tensors that are kept, called as ``torch.empty`` is.

    Returns:
        The refined cube [B, H, W] float32, finite also where noisy values are missing, and what was
        learned. A cube of fewer than 3 bands, or of a side under 8 pixels, comes back as it was
        denoised, with None.

    Raises:
        ValueError: If the shapes differ or are not [B, H, W], ``denoised`` is not finite, or
            ``repeats`` is less than 1.
    """
    _check(noisy, denoised, valid, repeats)
    bands, height, width = noisy.shape
    if bands < FEWEST_BANDS or min(height, width) < SMALLEST_SIDE:
        return denoised.float(), None
    scene = Cubes(
        noisy=noisy.flatten(1),
        pilot=denoised.flatten(1),
        reference=new(bands, height * width, dtype=torch.float32, device=noisy.device),
        outliers=new(bands, height * width, dtype=torch.bool, device=noisy.device),
        missing=_missing(noisy, valid, new),
        size=(height, width),
    )
    learned = _refine_once(scene, ROUNDS, OUTSIDE, new)
    for _ in range(repeats - 1):
        if learned.sigma.median() < LITTLE or learned.counted.any():
            break  # each time something is lost, and here it would not be made up for
        pilot = new(*scene.reference.shape, dtype=torch.float32, device=noisy.device)
        scene = replace(scene, pilot=pilot.copy_(scene.reference))
        learned = _refine_once(scene, 1, 1.0, new)
    return scene.reference.view(noisy.shape), learned


def _check(noisy: Tensor, denoised: Tensor, valid: Tensor | None, repeats: int) -> None:
    if noisy.shape != denoised.shape or noisy.ndim != 3:
        raise ValueError(
            f"refine: noisy {list(noisy.shape)} and denoised {list(denoised.shape)} must both be "
            "of one shape [B, H, W]"
        )
    if valid is not None and valid.shape not in (noisy.shape, noisy.shape[1:]):
        raise ValueError(
            f"refine: valid {list(valid.shape)} must be [B, H, W] or [H, W], as the cube is: "
            f"{list(noisy.shape)}"
        )
    if repeats < 1:
        raise ValueError(f"refine: repeats is {repeats}; give at least 1")
    if not all(bool(band.isfinite().all()) for band in denoised):
        raise ValueError(
            "refine: the denoised cube has values that are not finite; fill those of the noisy one "
            "before it is denoised"
        )


def _missing(noisy: Tensor, valid: Tensor | None, new: New) -> Tensor | None:
    """The values that do not count, [B, P] bool; None if all do."""
    gaps = [not bool(band.isfinite().all()) for band in noisy]
    if valid is None and not any(gaps):
        return None
    missing = new(len(noisy), noisy[0].numel(), dtype=torch.bool, device=noisy.device)
    for number, band in enumerate(noisy):
        there = band.isfinite()
        if valid is not None:
            there &= valid if valid.ndim == 2 else valid[number]
        missing[number] = ~there.flatten()
    return missing


def _refine_once(scene: Cubes, rounds: int, outside: float, new: New) -> Learned:
    """Leaves the refined cube in ``scene.reference``.

    Args:
        scene: Its pilot is refined.
        rounds: Of noise, subspace, fit and smoothing.
        outside: Share of the pilot outside the subspace that is given back, at most.
        new: Makes the tensors that are kept.
    """
    for window in scene.some_pixels():
        scene.reference[:, window] = scene.pilot[:, window].float()
    noise, pilot = look(scene, None, None)
    shift = pilot.off
    fit, factors, risk = _denoise(scene, noise, pilot, pilot, shift, new)
    for _ in range(rounds - 1):
        noise, moments = look(scene, factors, noise)
        shift = shift + moments.off
        fit, factors, risk = _denoise(scene, noise, moments, pilot, shift, new)
    squares = factors.directions.square()
    given = _outside(scene, fit, squares @ risk.mean(1, keepdim=True), outside)
    put_back, together = _give_back(scene, fit, noise, given)
    same = put_back**2 * noise.sigma**2 + _of_hidden(together, noise, factors, risk)
    uncertainty = Uncertainty(scene, fit, squares, risk, given, same)
    shape = (scene.bands, *scene.size)
    return Learned(
        noise.sigma[:, 0],
        noise.bands.offsets,
        scene.outliers.view(shape),
        fit.subspace,
        put_back[:, 0],
        noise.bands.counted[:, 0],
        uncertainty,
    )


def _denoise(
    scene: Cubes, noise: Noise, moments: Moments, pilot: Moments, shift: Tensor, new: New
) -> tuple["_Fit", Factors, Tensor]:
    """Fits and smooths the noisy data; the result is the next reference.

    Returns:
        The fit, the factors of the reference, and the expected square errors of its coefficients,
        [K, P].
    """
    fit = _Fit.of(_subspace(moments, noise), moments.mean + moments.off, pilot, shift, noise)
    fitted, piloted = _coefficients(scene, fit, noise, new)
    smoothed, risk = (
        new(*fitted.shape, dtype=torch.float32, device=fitted.device) for _ in range(2)
    )
    smooth(fitted, piloted, scene.size, smoothed, risk)
    factors = Factors(fit.mean, fit.sigma * (fit.subspace @ fit.back), smoothed)
    for window in scene.some_pixels():
        scene.reference[:, window] = factors.cube(window)
    return fit, factors, risk


# ---------------------------------------------------------------------------------------- subspace


def _subspace(moments: Moments, noise: Noise) -> Tensor:
    """Orthonormal directions [B, K], in units of sigma.

    A few are the reference's, as the data correct them; the others stand out of the noise in what
    the data differ from it.
    """
    bands = len(noise.sigma)
    count = min(DIMENSIONS, bands - 1)
    scale = 1 / noise.sigma.double()
    first = torch.linalg.eigh(scale * moments.reference * scale.T)[1][:, -count:].flip(1)
    outside = torch.eye(bands, dtype=first.dtype, device=first.device) - first @ first.T
    outside = noise.plain * outside  # what is not in the first, of the plain bands
    residual = outside @ (scale * moments.residual * scale.T) @ outside.T
    variances, others = torch.linalg.eigh(residual)
    # Marchenko and Pastur: the largest that noise alone would have.
    edge = 1.1 * (1 + math.sqrt(max(int(noise.plain.sum()), 1) / moments.pixels)) ** 2
    more = min(int((variances > edge).sum()), MOST - count, bands - count)
    if more <= 0 or noise.is_correlated:
        return first.float()
    return torch.linalg.qr(torch.cat([first, others[:, -more:].flip(1)], 1))[0].float()


@dataclass(frozen=True)
class _Fit:
    """From spectra to coefficients whose noise is 1, on the pilot's principal axes, and back."""

    subspace: Tensor  # [B, K]
    mean: Tensor  # [B, 1]
    shift: Tensor  # [B, 1], by which the data correct the pilot
    sigma: Tensor  # [B, 1]
    prior: Tensor  # [K, K], weight of the pilot's coefficients
    turned: Tensor  # [K, K], from coefficients to whitened ones on the axes
    back: Tensor  # [K, K]

    @classmethod
    def of(
        cls, subspace: Tensor, mean: Tensor, pilot: Moments, shift: Tensor, noise: Noise
    ) -> "_Fit":
        """The fit of a scene whose pilot has these moments."""
        share = (subspace.T * noise.kept[:, 0]) @ subspace
        covariance = torch.linalg.inv(share)  # of the coefficients' noise
        if noise.correlation is not None:
            shared = subspace.T @ noise.correlation.float() @ subspace
            covariance = covariance @ shared @ covariance
        mixing = torch.linalg.cholesky(covariance).double()
        whiten = torch.linalg.inv(mixing)
        onto = whiten @ (subspace / noise.sigma).double().T
        away = (pilot.mean + shift - mean).double()
        axes = torch.linalg.eigh(onto @ (pilot.reference + away @ away.T) @ onto.T)[1].flip(1)
        turned, back = (axes.T @ whiten).float(), (mixing @ axes).float()
        prior = (STRONG_PRIOR if noise.is_correlated else PRIOR) * share
        return cls(subspace, mean, shift, noise.sigma, prior, turned, back)

    def pilot(self, scene: Cubes, window: slice | Tensor) -> Tensor:
        """Some pixels of the denoised cube, [B, p], with its means corrected."""
        return scene.pilot[:, window].float() + self.shift

    def coefficients(self, cube: Tensor) -> Tensor:
        """Of spectra [B, p], by projection: [K, p]."""
        return self.subspace.T @ ((cube - self.mean) / self.sigma)

    def outside(self, cube: Tensor) -> Tensor:
        """What the subspace lacks of spectra [B, p]."""
        white = (cube - self.mean) / self.sigma
        return self.sigma * (white - self.subspace @ (self.subspace.T @ white))


def _coefficients(scene: Cubes, fit: _Fit, noise: Noise, new: New) -> tuple[Tensor, Tensor]:
    """Each pixel's, fitted without its outliers, and the pilot's; whitened, [K, P] each."""
    dimensions = fit.subspace.shape[1]
    device = fit.mean.device
    fitted, piloted = (
        new(dimensions, scene.pixels, dtype=torch.float32, device=device) for _ in range(2)
    )
    for window in scene.some_pixels():
        y, reference, _ = scene.part(ALL, window)
        outliers = scene.outliers[:, window]
        data = without_offsets(y, reference, outliers, noise.bands, noise.columns[window])
        pilot = fit.coefficients(fit.pilot(scene, window))
        # A masked value is left out (0 after centring) or, with many dimensions, filled in.
        data = torch.where(outliers, reference if dimensions > MANY else fit.mean, data)
        projected = fit.coefficients(data) + fit.prior @ pilot
        whole = torch.eye(dimensions, dtype=pilot.dtype, device=device) + fit.prior
        found = torch.linalg.solve(whole, projected)
        if dimensions <= MANY:
            _fit_without(outliers, projected, fit, found)
        fitted[:, window] = fit.turned @ found
        piloted[:, window] = fit.turned @ pilot
    return fitted, piloted


def _fit_without(outliers: Tensor, projected: Tensor, fit: _Fit, found: Tensor) -> None:
    """Solves again for the pixels that have outliers, each with its own system."""
    dimensions = len(projected)
    products = (fit.subspace[:, :, None] * fit.subspace[:, None, :]).flatten(1)
    for pixels in outliers.any(0).nonzero()[:, 0].split(4096):
        kept = (~outliers[:, pixels]).float()
        systems = (kept.T @ products).view(-1, dimensions, dimensions) + fit.prior
        right = projected[:, pixels].T[..., None]
        found[:, pixels] = torch.linalg.solve(systems, right)[..., 0].T


# ----------------------------------------------------------------------------- what is given back


def _outside(scene: Cubes, fit: _Fit, expected: Tensor, most: float) -> Tensor:
    """Share of what the pilot has outside the subspace that is given back, [B, 1].

    Weak signals lie there, and errors of the denoiser. Wiener's share: of the energy that is there,
    that of signals is ``HIDDEN`` times the square error that is expected in the subspace, [B, 1].
    """
    energy = torch.zeros_like(expected, dtype=torch.float64)
    for window in scene.some_pixels():
        found = fit.outside(fit.pilot(scene, window))
        energy += found.square().sum(1, keepdim=True)
    energy = (energy / scene.pixels).float().clamp_min(1e-20)
    return (HIDDEN * expected / energy).clamp_max(most)


def _give_back(scene: Cubes, fit: _Fit, noise: Noise, outside: Tensor) -> tuple[Tensor, Tensor]:
    """Adds what the subspace lacks to the reference, and the share of the data that is signal.

    Returns:
        That share, [B, 1], and the mean product of what neighbouring pixels of a row lack, [B, 1].
    """
    squares, number, products, pairs = (
        torch.zeros_like(noise.sigma, dtype=torch.float64) for _ in range(4)
    )

    def rest(window: slice) -> Tensor:
        """What the data differ, 0 where they are outliers."""
        y, reference, _ = scene.part(ALL, window)
        outliers = scene.outliers[:, window]
        data = without_offsets(y, reference, outliers, noise.bands, noise.columns[window])
        return (data - reference).masked_fill_(outliers, 0)

    for window in scene.some_pixels():
        scene.reference[:, window] += outside * fit.outside(fit.pilot(scene, window))
        difference, kept = rest(window), ~scene.outliers[:, window]
        squares += difference.square().sum(1, keepdim=True)
        number += kept.sum(1, keepdim=True)
        beside = noise.columns[window][1:] != 0
        products += (difference[:, 1:] * difference[:, :-1])[:, beside].sum(1, keepdim=True)
        pairs += (kept[:, 1:] & kept[:, :-1])[:, beside].sum(1, keepdim=True)
    variance = (squares / number.clamp_min(1)).float()
    margin = 1 + 8 / number.clamp_min(1).float().sqrt()  # a median's sigma is some percent off
    expected = (noise.sigma**2 - LEFT_IN**2).clamp_min(0) * margin
    share = (1 - expected / variance.clamp_min(1e-20)).clamp(0, 1) * noise.plain
    for window in scene.some_pixels():
        better = scene.reference[:, window] + share * rest(window)
        constant = noise.bands.constant
        scene.reference[:, window] = torch.where(constant, scene.part(ALL, window)[0], better)
    return share, (products / pairs.clamp_min(1)).float()


# ------------------------------------------------------------------------------------ uncertainty


@dataclass(frozen=True)
class Uncertainty:
    """The predicted standard error of every value of a refined cube, made when it is asked for.

    Its square is what a Wiener filter expects of the smoothed coefficients, times a factor for what
    the subspace lacks; what was given back from outside; noise that was put back; and what is the
    same for a band. The factor is measured: on five scenes under noniid and mixture noise.
    """

    scene: Cubes
    fit: _Fit
    squares: Tensor  # [B, K], of the directions
    risk: Tensor  # [K, P], of the coefficients
    outside: Tensor  # [B, 1], share of the pilot outside the subspace that was given back
    same: Tensor  # [B, 1], variance

    def standard_error(self, window: slice | Tensor = ALL) -> Tensor:
        """Of some pixels of the cube as it was refined, [B, p], on its scale."""
        variance = OF_SUBSPACE * (self.squares @ self.risk[:, window]) + self.same
        given = self.outside * self.fit.outside(self.fit.pilot(self.scene, window))
        return (variance + given.square()).sqrt()

    def of_bands(self) -> Tensor:
        """The RMS over the pixels, [B]."""
        total = torch.zeros_like(self.same[:, 0], dtype=torch.float64)
        for window in self.scene.some_pixels():
            total += self.standard_error(window).double().square().sum(1)
        return (total / self.scene.pixels).sqrt().float()


def _of_hidden(together: Tensor, noise: Noise, factors: Factors, risk: Tensor) -> Tensor:
    """The variance of what lies below the noise, [B, 1].

    Where the difference to the data is alike in neighbouring pixels, it holds some of the scene.
    And of noise below ``LEFT_IN`` nobody knows whether it is the scene's own.
    """
    smoothed = factors.directions.square() @ risk.mean(1, keepdim=True)
    return (
        torch.minimum(together.clamp_min(0), 4 * smoothed)
        + 0.5 * noise.sigma.clamp(max=LEFT_IN) ** 2
    )
