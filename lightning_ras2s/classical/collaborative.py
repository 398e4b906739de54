"""Collaborative filtering of an image: groups of patches that look alike, thresholded together.

Dabov et al., "Image Denoising by Sparse 3-D Transform-Domain Collaborative Filtering", TIP 2007,
with cosine transforms along all three axes.
"""

import math

import torch
from torch import Tensor

from lightning_ras2s.classical.blocks import offsets
from lightning_ras2s.classical.similar import Patches, matched, parts

PATCH, STEP, REACH = 8, 3, 19
FIRST, SECOND = 16, 32  # patches of a group, in the two stages
THRESHOLD = 2.7  # times sigma
WINDOW = 2.0  # of Kaiser's


def collaborative_filter(image: Tensor, sigma: float = 1.0) -> Tensor:
    """Denoises an image [H, W] of white noise: a hard threshold, then Wiener's filter.

    A side under 8 pixels has smaller patches.
    """
    patch = min(PATCH, *image.shape)
    basis = torch.kron(_cosines(patch, image), _cosines(patch, image))
    kaiser = torch.kaiser_window(patch, False, WINDOW, dtype=image.dtype, device=image.device)
    window = torch.outer(kaiser, kaiser).flatten()
    pilot = _stage(image, None, sigma, FIRST, basis, window)
    return _stage(image, pilot, sigma, SECOND, basis, window)


def _stage(
    image: Tensor, pilot: Tensor | None, sigma: float, count: int, basis: Tensor, window: Tensor
) -> Tensor:
    """Filters each group in the transform domain: by a threshold, or by what a pilot has there."""
    patch = math.isqrt(len(window))
    guide = image if pilot is None else pilot
    keys, groups = matched(guide, patch, STEP, REACH, count, _keys)
    along = _cosines(groups.shape[1], image)
    noisy = Patches.of(image[None], patch)
    values, guides = noisy.columns.T, Patches.of(guide[None], patch).columns.T
    total, times = torch.zeros_like(values), torch.zeros_like(values)
    for some in parts(len(keys), groups.shape[1] * values.shape[1]):
        group = groups[some]
        found = along @ (values[group] @ basis.T)
        if pilot is None:
            kept = (found.abs() > THRESHOLD * sigma).to(found)
        else:
            power = (along @ (guides[group] @ basis.T)).square()
            kept = power / (power + sigma**2)
        weight = 1 / kept.square().sum((1, 2)).clamp_min(1)
        back = along.T @ (found * kept @ basis)
        share = (weight[:, None, None] * window).expand(back.shape)
        total.index_add_(0, group.flatten(), (share * back).flatten(0, 1))
        times.index_add_(0, group.flatten(), share.flatten(0, 1))
    return (noisy.sums(total.T) / noisy.sums(times.T))[0]


def _keys(size: int, step: int) -> list[int]:
    return offsets(size, 1, step)


def _cosines(size: int, like: Tensor) -> Tensor:
    """The orthonormal cosine transform, [size, size]."""
    n = torch.arange(size, dtype=like.dtype, device=like.device)
    matrix = torch.cos(math.pi * (n + 0.5) * n[:, None] / size) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix
