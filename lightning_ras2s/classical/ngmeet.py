"""NGMeet: in a spectral subspace, groups of patches that look alike are of low rank.

He et al., "Non-Local Meets Global: An Integrated Paradigm for Hyperspectral Denoising", CVPR 2019.
Subspace and image take turns, and some of the noisy image is mixed in again.
"""

from typing import Literal

import torch
from torch import Tensor

from lightning_ras2s.classical.noise_level import band_sigmas
from lightning_ras2s.classical.similar import Patches, denoise_groups, matched, noise_left

PATCH, STEP, REACH = 5, 4, 30
ROUNDS, KEPT = 5, 0.9
LEVELS = (10.5, 30.5, 50.5)  # of 255, between which the parameters differ
FEW_BANDS, MANY_BANDS = 50, 100


def ngmeet(
    noisy: Tensor, *, sigma: float | None = None, whiten: Literal[False, True] | Tensor = False
) -> Tensor:
    """Denoises cubes.

    Args:
        noisy: [N, B, H, W].
        sigma: Of the noise, on the cube's scale; by default the mean of the bands' estimates.
        whiten: Whether bands are first scaled to noise of one sigma, as the method assumes: by
            estimates, or by those given, [B]. The published method does not.

    Returns:
        [N, B, H, W].
    """
    return torch.stack([_one(y, sigma, whiten) for y in noisy.float()])


def _one(y: Tensor, sigma: float | None, whiten: bool | Tensor) -> Tensor:
    if whiten is False and sigma is not None:
        return _iterate(y, sigma)
    own = whiten if isinstance(whiten, Tensor) else band_sigmas(y)
    level = float(own.mean()) if sigma is None else sigma
    if whiten is False or level == 0:
        return _iterate(y, level)
    scale = (own / own.mean()).clamp_min(1e-3)[:, None, None]
    return _iterate(y / scale, level) * scale


def _iterate(y: Tensor, sigma: float) -> Tensor:
    bands = len(y)
    level = sum(255 * sigma > limit for limit in LEVELS)
    count = 200 if level == 3 else 150
    first = (8 if bands <= FEW_BANDS else 6 if bands <= MANY_BANDS else 5, 6, 5, 4)[level]
    gamma = (0.54, 0.56, 0.56 if bands <= FEW_BANDS else 0.58, 0.58)[level]
    c1 = (8 if bands > MANY_BANDS else 5) * 2**0.5
    patch = min(PATCH, *y.shape[1:])
    x = y
    for number in range(ROUNDS):
        axes = _subspace(x, min(first + 2 * number, bands))
        reduced, data = (torch.tensordot(axes.T, cube, 1) for cube in (x, y))
        patches = Patches.of(reduced, patch)
        if number == 0:
            levels = torch.full_like(patches.columns[0], sigma * (len(reduced) / bands) ** 0.5)
        else:
            levels = noise_left(patches, Patches.of(data, patch), sigma, gamma)
        if number % 2 == 0:
            count -= 10
            keys, groups = matched(reduced.mean(0), patch, STEP, REACH, count)
        total, times = denoise_groups(patches, keys, groups, levels, c1)
        x = torch.tensordot(axes, total / times, 1)
        if number < ROUNDS - 1:
            x = KEPT * x + (1 - KEPT) * y
    return x


def _subspace(x: Tensor, dimensions: int) -> Tensor:
    """The leading left singular vectors of the bands, [B, K]."""
    spectra = x.flatten(1).double()
    return torch.linalg.eigh(spectra @ spectra.T)[1][:, -dimensions:].flip(1).float()
