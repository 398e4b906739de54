"""+S: a step after any denoiser that makes its result better, without training.

The spectra of a scene lie near a subspace of few dimensions. It is learned from the denoised cube
and from what stands out of the noise in the difference; each pixel's noisy spectrum is fitted in it
without its outliers; the images of coefficients are smoothed with the denoised cube's as pilot.
Relatives: FastHyDe (Zhuang, Bioucas-Dias 2018: a denoiser on the images of a subspace) and the
second step of BM3D (Dabov et al. 2007: Wiener with a pilot).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 3
SMALLEST_SIDE, FEWEST_BANDS = 8, 3  # below, there is nothing to learn from
DENOISED, MOST = 8, 64  # dimensions of the denoised cube; and in all
PRIOR = 0.05  # weight of the denoised cube in the fit of a pixel
MANY = 24  # dimensions, above which masked values are filled in rather than left out
BLOCK, MARGIN = 8, 7  # pixels of the Wiener filter's blocks, and of the mirrored border
LEFT_IN = 0.002  # noise below this share of the range is left in
OUTSIDE = 1 / 3  # share of the denoised cube outside the subspace that is given back
LEAST_SIGMA = 1e-6
FEW = 50  # values, that say nothing about a sigma


@dataclass(frozen=True)
class Learned:
    """What a refinement found out about a scene of B bands and H x W pixels.

    Attributes:
        sigma: Standard deviation of the noise of each band, [B], on the cube's scale.
        offsets: Of each band's columns, as stripes have them, [B, W].
        outliers: Dead, saturated and impulsive values, which were left out, [B, H, W] bool.
        subspace: Orthonormal directions of the spectra in units of sigma, [B, K].
        put_back: Share of the difference to the noisy cube that went back into each band, [B].
    """

    sigma: Tensor
    offsets: Tensor
    outliers: Tensor
    subspace: Tensor
    put_back: Tensor


@dataclass(frozen=True)
class _Noise:
    """One look at the noise; [B, P] where nothing else is said."""

    data: Tensor  # noisy, without offsets, clipped values replaced by their mean
    offsets: Tensor  # [B, W]
    outliers: Tensor  # bool
    kept: Tensor  # [B, 1], share of a band's values that are no outliers
    sigma: Tensor  # [B, 1]
    first_sigma: Tensor  # [B, 1], of the difference to the denoised cube
    plain: Tensor  # [B, 1] bool: no stripes, hardly an outlier, nothing clipped
    untouched: Tensor  # [B, 1] bool: few steps of values, as of photons, or one value only


@torch.no_grad()
def refine(noisy: Tensor, denoised: Tensor) -> tuple[Tensor, Learned | None]:
    """Refines a denoised cube.

    Args:
        noisy: [B, H, W] floating, on the scale on which it was denoised: the range is 0 to 1.
        denoised: [B, H, W], what a denoiser made of it.

    Returns:
        The refined cube [B, H, W] float32, and what was learned. A cube of fewer than 3 bands, or
        of a side under 8 pixels, comes back as it is, with None.

    Raises:
        ValueError: If the shapes differ, or are not [B, H, W].
    """
    if noisy.shape != denoised.shape or noisy.ndim != 3:
        raise ValueError(
            f"refine: noisy {list(noisy.shape)} and denoised {list(denoised.shape)} must both be "
            "of one shape [B, H, W]"
        )
    bands, *size = noisy.shape
    if bands < FEWEST_BANDS or min(size) < SMALLEST_SIDE:
        return denoised.float(), None
    y, d = noisy.float().flatten(1), denoised.float().flatten(1)
    reference, first_sigma = d, None
    for _ in range(ROUNDS):
        noise = _look_at_noise(y, reference, first_sigma, size)
        first_sigma = noise.first_sigma
        mean = reference.mean(1, keepdim=True)
        subspace = _subspace(reference, mean, noise)
        reference = _denoise_in(subspace, reference, d, mean, noise, size)
    refined, put_back = _give_back(reference, d, mean, subspace, noise)
    shape = noisy.shape
    learned = Learned(
        noise.sigma[:, 0], noise.offsets, noise.outliers.view(shape), subspace, put_back[:, 0]
    )
    return refined.view(shape), learned


def _spread(residual: Tensor) -> Tensor:
    """1.4826 times the median of what is not negative, along the last dimension, which stays."""
    return 1.4826 * residual.abs().median(-1, keepdim=True).values


# ------------------------------------------------------------------------------------------- noise


def _look_at_noise(
    y: Tensor, reference: Tensor, first_sigma: Tensor | None, size: list[int]
) -> _Noise:
    height, width = size
    offsets = _column_offsets(y - reference, height, width)
    data = _minus_columns(y, offsets, height)
    residual = data - reference
    sigma = _spread_inside(residual, (y == 0) | (y == 1))
    first_sigma = sigma if first_sigma is None else first_sigma
    judged = torch.maximum(sigma, first_sigma)  # by the noise and the network's error together
    inner_sigma, sigma, judged = sigma, sigma.clone(), judged.clone()
    for value in (0, 1):
        clipped = _End.of(value, y, reference, judged, inner_sigma).clipped
        for band in clipped[:, 0].nonzero()[:, 0].tolist():
            away = residual[band][residual[band] > 0 if value == 0 else residual[band] < 0]
            if len(away) > FEW:  # the side that is not clipped
                sigma[band] = judged[band] = _spread(away).clamp_min(LEAST_SIGMA)
    ends = [_End.of(value, y, reference, judged, inner_sigma) for value in (0, 1)]
    outliers = _outliers(residual / judged)
    for end in ends:
        outliers |= end.dead
    for end in ends:
        if not end.clipped.any():
            continue
        filled = end.mean_if_clipped(reference, sigma)
        clipped = end.at & end.clipped & ~outliers
        data = torch.where(clipped, _minus_columns(filled, offsets, height), data)
    kept = 1 - outliers.float().mean(1, keepdim=True)
    few = max(0.032, 1.01 / width)  # columns with an offset
    striped = (offsets != 0).float().mean(1, keepdim=True)
    plain = (kept > 0.9) & (striped <= few)
    for end in ends:
        plain &= ~(end.clipped | end.counted)
    unmasked = torch.where(outliers, reference, data)
    others = _sigma_from_other_bands(unmasked) / kept.clamp_min(0.1).sqrt()
    sigma = torch.where(plain, torch.minimum(sigma, torch.maximum(others, 0.02 * sigma)), sigma)
    constant = (y == y[:, :1]).all(1, keepdim=True)
    untouched = ends[0].counted | ends[1].counted | constant
    return _Noise(data, offsets, outliers, kept, sigma, first_sigma, plain, untouched)


def _column_offsets(residual: Tensor, height: int, width: int) -> Tensor:
    """The medians of columns that stand out, [B, W]; 0 elsewhere."""
    medians = residual.view(-1, height, width).median(1).values
    error = 1.2533 * _spread(residual) / math.sqrt(height)  # of a median
    spread = _spread(medians - medians.median(1, keepdim=True).values)
    excess = (spread**2 - 1.2 * error**2).clamp_min(0).sqrt()
    return torch.where(medians.abs() > 3 * error + 5 * excess, medians, 0.0)


def _minus_columns(values: Tensor, offsets: Tensor, height: int) -> Tensor:
    bands, width = offsets.shape
    return (values.view(bands, height, width) - offsets[:, None]).view(bands, -1)


def _spread_inside(residual: Tensor, at_end: Tensor) -> Tensor:
    """Of each band; over the values at no end of the range where many are at one."""
    sigma = _spread(residual)
    for band in (at_end.float().mean(1) > 0.01).nonzero()[:, 0].tolist():
        inside = residual[band][~at_end[band]]
        if len(inside) > FEW:
            sigma[band] = _spread(inside)
    return sigma.clamp_min(LEAST_SIGMA)


@dataclass(frozen=True)
class _End:
    """What the values exactly at an end of the range are, 0 or 1; [B, P], [B, 1] by band."""

    at: Tensor
    dead: Tensor
    clipped: Tensor  # by band
    counted: Tensor  # by band
    value: int

    @classmethod
    def of(cls, end: int, y: Tensor, reference: Tensor, judged: Tensor, sigma: Tensor) -> "_End":
        at = y == end
        share = at.float().mean(1, keepdim=True)
        far = (y - reference).abs() > judged
        clipped, counted = (torch.zeros_like(share, dtype=torch.bool) for _ in range(2))
        for band in (share[:, 0] > 0.01).nonzero()[:, 0].tolist():
            depth, expected = ((x[band] - end) * (1 - 2 * end) for x in (y, reference))
            near, nearer = (
                ((depth > 0) & (depth <= part * sigma[band])).float().mean() for part in (0.5, 0.25)
            )
            of_noise = _below(expected / sigma[band]).mean()
            likely = (share[band] < 2 * of_noise + 0.01) | (near > 0.3 * share[band])
            if likely and not (depth < 0).any():
                far[band] = expected > 3 * judged[band]
                clipped[band] = nearer > 0.1 * share[band]
                counted[band] = ~clipped[band]
        return cls(at, at & far, clipped, counted, end)

    def mean_if_clipped(self, reference: Tensor, sigma: Tensor) -> Tensor:
        """The mean of a normal value, given that it lies beyond the end."""
        inward = 1 - 2 * self.value
        z = ((reference - self.value) / sigma * inward).clamp(-6, 6)
        density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return reference - inward * sigma * density / _below(z).clamp_min(1e-12)


def _below(z: Tensor) -> Tensor:
    """The probability that a standard normal value is less than -z."""
    return 0.5 * torch.erfc(z / math.sqrt(2))


def _outliers(deviation: Tensor) -> Tensor:
    """Values more than 4 sigma off, unless both neighbouring bands deviate alike.

    No sensor's noise does that; a network that fails on a pixel does.
    """
    above = torch.cat([deviation[1:], deviation[-2:-1]])
    below = torch.cat([deviation[1:2], deviation[:-1]])
    sign = deviation.sign()
    return (deviation.abs() > 4) & ~((below * sign > 2) & (above * sign > 2))


def _sigma_from_other_bands(values: Tensor) -> Tensor:
    """What the other bands do not predict of each band, [B, 1]: an upper bound of its noise."""
    bands, pixels = values.shape
    centred = (values - values.mean(1, keepdim=True)).double()
    gram = centred @ centred.T
    if pixels > 4 * bands:
        precision = torch.linalg.inv(gram + _ridge(gram)).diagonal()
        return (1 / (precision * (pixels - bands))).clamp_min(0).sqrt().float()[:, None]
    reach = min(10, (bands - 1) // 2 if bands > 4 else 1)
    found = []
    for band in range(bands):
        others = [b for b in range(max(0, band - reach), min(bands, band + reach + 1)) if b != band]
        own = gram[others][:, others]
        solved = torch.linalg.solve(own + _ridge(own), gram[others, band])
        rest = gram[band, band] - gram[band, others] @ solved
        found.append((rest / (pixels - len(others))).clamp_min(0).sqrt())
    return torch.stack(found).float()[:, None]


def _ridge(gram: Tensor) -> Tensor:
    """Keeps a matrix invertible, also that of constant bands."""
    least = 1e-12 * gram.diagonal().mean().clamp_min(1e-12)
    return least * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


# ---------------------------------------------------------------------------------------- subspace


def _subspace(reference: Tensor, mean: Tensor, noise: _Noise) -> Tensor:
    """Orthonormal directions [B, K], in units of sigma."""
    bands, pixels = reference.shape
    count = min(DENOISED, bands - 1)
    white = (reference - mean) / noise.sigma
    first = _eigenvectors(white)[1][:, -count:].flip(1)
    residual = (noise.data - reference) / noise.sigma
    residual = torch.where(noise.outliers, 0.0, residual)
    residual = (residual - first @ (first.T @ residual)) * noise.plain
    variances, others = _eigenvectors(residual)
    # Marchenko and Pastur: the largest that noise alone would have.
    edge = 1.1 * (1 + math.sqrt(max(int(noise.plain.sum()), 1) / pixels)) ** 2
    more = min(int((variances > edge).sum()), MOST - count, bands - count)
    if more <= 0:
        return first
    return torch.linalg.qr(torch.cat([first, others[:, -more:].flip(1)], 1))[0]


def _eigenvectors(values: Tensor) -> tuple[Tensor, Tensor]:
    """Variances in ascending order, and their directions, [B] and [B, B]."""
    gram = (values @ values.T).double() / values.shape[1]
    variances, vectors = torch.linalg.eigh(gram)
    return variances, vectors.float()


def _denoise_in(
    subspace: Tensor, reference: Tensor, d: Tensor, mean: Tensor, noise: _Noise, size: list[int]
) -> Tensor:
    """The cube of coefficients that are fitted to the data and smoothed, [B, P]."""
    fitted, pilot, share = _fit(subspace, reference, d, mean, noise)
    mixing = torch.linalg.cholesky(torch.linalg.inv(share))
    whiten = torch.linalg.inv(mixing)
    pilot = whiten @ pilot
    axes = torch.linalg.svd(pilot @ pilot.T)[0]
    smooth = _wiener(axes.T @ (whiten @ fitted), axes.T @ pilot, size)
    return mean + noise.sigma * (subspace @ (mixing @ (axes @ smooth)))


def _fit(
    subspace: Tensor, reference: Tensor, d: Tensor, mean: Tensor, noise: _Noise
) -> tuple[Tensor, Tensor, Tensor]:
    """Each pixel's coefficients without its outliers and the pilot's, [K, P]; U^T kept U."""
    dimensions, sigma, outliers = subspace.shape[1], noise.sigma, noise.outliers
    white = (noise.data - mean) / sigma
    pilot = subspace.T @ ((d - mean) / sigma)
    share = (subspace.T * noise.kept[:, 0]) @ subspace
    prior = PRIOR * share
    replaced = (reference - mean) / sigma if dimensions > MANY else 0.0
    projected = subspace.T @ torch.where(outliers, replaced, white)
    whole = torch.eye(dimensions, dtype=share.dtype, device=share.device) + prior
    fitted = torch.linalg.solve(whole, projected + prior @ pilot)
    if dimensions <= MANY:
        products = (subspace[:, :, None] * subspace[:, None, :]).flatten(1)
        for pixels in outliers.any(0).nonzero()[:, 0].split(4096):
            kept = (~outliers[:, pixels]).float()
            systems = (kept.T @ products).view(-1, dimensions, dimensions) + prior
            right = projected[:, pixels] + prior @ pilot[:, pixels]
            fitted[:, pixels] = torch.linalg.solve(systems, right.T[..., None])[..., 0].T
    return fitted, pilot, share


# ------------------------------------------------------------------------------------------ Wiener


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal DCT of a block, [64, 64]."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    line = torch.cos(math.pi * (k + 0.5) * k[:, None] / BLOCK) * math.sqrt(2 / BLOCK)
    line[0] /= math.sqrt(2)
    return torch.kron(line, line)


def _wiener(noisy: Tensor, pilot: Tensor, size: list[int]) -> Tensor:
    """Smooths images [K, P] of unit noise variance by blocks, where the pilot has no power."""
    height, width = size
    stride = 1 if len(noisy) <= 16 else 2
    padded = (height + 2 * MARGIN, width + 2 * MARGIN)
    cosines = _cosines(noisy.device)

    def blocks(images: Tensor) -> Tensor:
        framed = F.pad(images.view(-1, 1, height, width), (MARGIN,) * 4, mode="reflect")
        return cosines @ F.unfold(framed, BLOCK, stride=stride)

    smooth = []
    for some in range(0, len(noisy), BLOCK):
        a, p = blocks(noisy[some : some + BLOCK]), blocks(pilot[some : some + BLOCK])
        power = torch.maximum(p * p, torch.where(a * a > 16, a * a, 0.0))
        gain = power / (power + 1)
        gain[:, 0] = 1
        weight = 1 / gain.square().sum(1, keepdim=True)
        estimate = gain * a
        # The mean goes toward the pilot's, but for what they differ beyond noise.
        difference = a[:, 0] - p[:, 0]
        variance = difference.square().mean(1, keepdim=True)
        beyond = ((variance - 1) / variance.clamp_min(1e-12)).clamp(0, 1)
        estimate[:, 0] = p[:, 0] + beyond * difference
        total = F.fold(cosines.T @ estimate * weight, padded, BLOCK, stride=stride)
        weights = F.fold(weight.expand(-1, BLOCK**2, -1), padded, BLOCK, stride=stride)
        inner = slice(MARGIN, MARGIN + height), slice(MARGIN, MARGIN + width)
        smooth.append((total / weights)[:, 0, *inner].flatten(1))
    return torch.cat(smooth)


# ----------------------------------------------------------------------------- what is given back


def _give_back(
    x: Tensor, d: Tensor, mean: Tensor, subspace: Tensor, noise: _Noise
) -> tuple[Tensor, Tensor]:
    """Adds what the subspace lacks; with it the share of the data that was put back, [B, 1]."""
    white = (d - mean) / noise.sigma
    x = x + OUTSIDE * noise.sigma * (white - subspace @ (subspace.T @ white))
    rest = torch.where(noise.outliers, 0.0, noise.data - x)
    number = (~noise.outliers).sum(1, keepdim=True).clamp_min(1)
    variance = rest.square().sum(1, keepdim=True) / number
    expected = (noise.sigma**2 - LEFT_IN**2).clamp_min(0) * (1 + 8 / number.sqrt())
    share = (1 - expected / variance.clamp_min(1e-20)).clamp(0, 1) * noise.plain
    return torch.where(noise.untouched, d, x + share * rest), share
