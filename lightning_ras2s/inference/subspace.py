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

from lightning_ras2s.inference.noise_estimate import Noise, look_at_noise

ROUNDS = 3
SMALLEST_SIDE, FEWEST_BANDS = 8, 3  # below, there is nothing to learn from
DENOISED, MOST = 8, 64  # dimensions of the denoised cube; and in all
PRIOR = 0.05  # weight of the denoised cube in the fit of a pixel
MANY = 24  # dimensions, above which masked values are filled in rather than left out
BLOCK, MARGIN = 8, 7  # pixels of the Wiener filter's blocks, and of the mirrored border
TOGETHER = 8  # images that are smoothed at once, to bound the memory
LEFT_IN = 0.002  # noise below this share of the range is left in
OUTSIDE = 1 / 3  # share of the denoised cube outside the subspace that is given back


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


@torch.no_grad()
def refine(noisy: Tensor, denoised: Tensor) -> tuple[Tensor, Learned | None]:
    """Refines a denoised cube.

    Args:
        noisy: [B, H, W] finite, on the scale on which it was denoised: its range is 0 to 1.
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
        noise = look_at_noise(y, reference, first_sigma, size)
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


# ---------------------------------------------------------------------------------------- subspace


def _subspace(reference: Tensor, mean: Tensor, noise: Noise) -> Tensor:
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
    subspace: Tensor, reference: Tensor, d: Tensor, mean: Tensor, noise: Noise, size: list[int]
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
    subspace: Tensor, reference: Tensor, d: Tensor, mean: Tensor, noise: Noise
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
    for some in zip(noisy.split(TOGETHER), pilot.split(TOGETHER), strict=True):
        a, p = map(blocks, some)
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
    x: Tensor, d: Tensor, mean: Tensor, subspace: Tensor, noise: Noise
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
