"""LLRT: groups of similar patches, all their bands, are of low rank; spectra have few steps.

Chang, Yan, Zhong, "Hyper-Laplacian Regularized Unidirectional Low-Rank Tensor Recovery for
Multispectral Image Denoising", CVPR 2017.
"""

import torch
from torch import Tensor

from lightning_ras2s.classical.noise_level import band_sigmas
from lightning_ras2s.classical.similar import Patches, denoise_groups, matched, noise_left
from lightning_ras2s.classical.variation import Smoother, difference, difference_adjoint, soft

INNER = 20
GROWTH = 1.02
DATA, GROUPS, FIRST_PENALTY = 0.05, 1.0, 10.0  # kappa, rho, alpha
FEW_BANDS, MANY_BANDS = 50, 100


def llrt(noisy: Tensor, *, sigma: float | None = None, iterations: int | None = None) -> Tensor:
    """Denoises cubes.

    Args:
        noisy: [N, B, H, W]; the clean range is 0 to 1.
        sigma: Of the noise; by default the mean of the bands' estimates.
        iterations: By default 5, and 8 for more than 50 bands.

    Returns:
        [N, B, H, W].
    """
    return torch.stack([_one(y, sigma, iterations) for y in noisy.float()])


def _one(y: Tensor, sigma: float | None, iterations: int | None) -> Tensor:
    bands = len(y)
    sigma = float(band_sigmas(y).mean()) if sigma is None else sigma
    level = (255 * sigma > 10.5) + (255 * sigma > 30.5)
    gamma = (0.54, 0.56, 0.58)[level]
    if bands <= FEW_BANDS:
        patch, count, step, reach, c1, spectral = (6, 7, 8)[level], 300, 5, 30, 10, 0.8
    elif bands <= MANY_BANDS:
        patch, count, step, reach, c1, spectral = 6, 400, 5, 50, 10, 20.0
    else:
        patch, count, step, reach, c1, spectral = 5, 400, 4, 50, 15, 15.0
    patch = min(patch, *y.shape[1:])
    rounds = (5 if bands <= FEW_BANDS else 8) if iterations is None else iterations
    x = y
    for number in range(rounds):
        patches = Patches.of(x, patch)
        if number == 0:
            levels = torch.full_like(patches.columns[0], sigma)
        else:
            levels = noise_left(patches, Patches.of(y, patch), sigma, gamma)
        if number % 2 == 0:
            count -= 10
            keys, groups = matched(x.mean(0), patch, step, reach, count)
        total, times = denoise_groups(patches, keys, groups, levels, c1 * 2**0.5)
        x = _fuse(y, total, times, 255 * spectral * float(levels.mean()) ** 2)
    return x


def _fuse(y: Tensor, total: Tensor, times: Tensor, threshold: float) -> Tensor:
    """The cube near the data and the groups whose spectra have few steps.

    Args:
        y: The noisy cube.
        total: Sum of the groups' patches, as y.
        times: Their number at each pixel, [H, W].
        threshold: Of the spectral differences.
    """
    to_groups, alpha, beta = torch.zeros_like(y), FIRST_PENALTY, 1.0
    near, steps, to_steps = (torch.zeros_like(y) for _ in range(3))
    for _ in range(INNER):
        right = DATA * y + difference_adjoint(beta * steps - to_steps, 0)
        right += alpha * near - to_groups
        scale = DATA + alpha
        x = Smoother(y, ((beta / scale) ** 0.5, 0, 0))(right / scale)
        near = (GROUPS * total + alpha * x + to_groups) / (alpha + GROUPS * times)
        to_groups += alpha * (x - near)
        alpha *= GROWTH
        change = difference(x, 0)
        steps = soft(change + to_steps / beta, threshold / beta)
        to_steps += beta * (change - steps)
        beta *= GROWTH
    return x
