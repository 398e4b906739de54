"""LLRGTV: blocks of low rank with sparse errors, put together to a cube of small total variation.

He et al., "Hyperspectral Image Denoising Using Local Low-Rank Matrix Recovery and Global
Spatial-Spectral Total Variation", JSTARS 2018.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_ras2s.classical.blocks import Blocks
from lightning_ras2s.classical.variation import (
    AXES,
    Smoother,
    difference,
    difference_adjoint,
    soft,
)

GROWTH, MOST = 1.5, 1e6  # of the penalty
START = 0.01
TOLERANCE = 1e-6
BLOCK = 20  # pixels of a block's side
MANY_BANDS = 100


def llrgtv(
    noisy: Tensor,
    *,
    rank: int = 2,
    sparse: float | None = None,
    variation: float | None = None,
    step: int | None = None,
    weights: Sequence[float] = (0.5, 1.0, 1.0),
    iterations: int = 50,
) -> Tensor:
    """Denoises cubes by alternating directions of multipliers with a growing penalty.

    Args:
        noisy: [N, B, H, W]; the clean range is 0 to 1.
        rank: Of a block, at most. Scenes of many materials need more than the published 2.
        sparse: Weight of the sparse errors (lambda); by default 0.20, and 0.13 up to 100 bands.
        variation: Weight of the total variation (tau); by default 0.005, and 0.013 up to 100 bands.
        step: Pixels from block to block; by default 10, and 17 up to 100 bands.
        weights: Of the differences along bands, rows and columns.
        iterations: At most.

    Returns:
        [N, B, H, W].
    """
    many = noisy.shape[1] > MANY_BANDS
    sparse = (0.20 if many else 0.13) if sparse is None else sparse
    variation = (0.005 if many else 0.013) if variation is None else variation
    step = (10 if many else 17) if step is None else step
    return torch.stack(
        [_one(y, rank, sparse, variation, step, weights, iterations) for y in noisy.float()]
    )


def _one(
    y: Tensor,
    rank: int,
    sparse: float,
    variation: float,
    step: int,
    weights: Sequence[float],
    iterations: int,
) -> Tensor:
    blocks, smoothed = Blocks.of(y, BLOCK, step), Smoother(y, weights)
    data = blocks.take(y)
    low = torch.randn(data.shape, generator=torch.Generator().manual_seed(0)).to(y)
    joined = x = blocks.put_together(low) / blocks.times
    errors, to_data, to_joined = (torch.zeros_like(data) for _ in range(3))
    to_x = torch.zeros_like(y)
    u, to_differences = ([torch.zeros_like(y) for _ in AXES] for _ in range(2))
    penalty, taken = START, blocks.take(joined)
    for _ in range(iterations):
        mean = (data - errors + taken + (to_data - to_joined) / penalty) / 2
        low = _low_rank(mean, 1 / (2 * penalty), rank)
        errors = soft(data - low + to_data / penalty, sparse / penalty)
        parts = blocks.put_together(low + to_joined / penalty)
        joined = (parts + x - to_x / penalty) / (blocks.times + 1)
        right = joined + to_x / penalty
        for axis, weight in zip(AXES, weights, strict=True):
            right += weight * difference_adjoint(u[axis] + to_differences[axis] / penalty, axis)
        x = smoothed(right)
        for axis, weight in zip(AXES, weights, strict=True):
            step_of = weight * difference(x, axis)
            u[axis] = soft(step_of - to_differences[axis] / penalty, variation / penalty)
            to_differences[axis] += penalty * (u[axis] - step_of)
        taken = blocks.take(joined)
        rests = data - low - errors, low - taken, joined - x
        to_data += penalty * rests[0]
        to_joined += penalty * rests[1]
        to_x += penalty * rests[2]
        penalty = min(GROWTH * penalty, MOST)
        if max(rest.abs().max() for rest in rests) < TOLERANCE:
            break
    return joined


def _low_rank(blocks: Tensor, threshold: float, rank: int) -> Tensor:
    """Singular values of [P, pixels, B] less a threshold, of which the largest few are kept."""
    wide = blocks.shape[1] < blocks.shape[2]
    matrices = blocks if wide else blocks.mT
    values, vectors = torch.linalg.eigh((matrices @ matrices.mT).double())
    singular = values[:, -rank:].clamp_min(0).sqrt()
    shares = ((singular - threshold).clamp_min(0) / singular.clamp_min(1e-12)).float()
    vectors = vectors[..., -rank:].float()
    low = (vectors * shares[:, None]) @ (vectors.mT @ matrices)
    return low if wide else low.mT
