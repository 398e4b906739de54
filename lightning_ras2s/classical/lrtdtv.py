"""LRTDTV: a cube of low multilinear rank and small total variation, and sparse errors.

Wang et al., "Hyperspectral Image Restoration via Total Variation Regularized Low-Rank Tensor
Decomposition", JSTARS 2018.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_ras2s.classical.variation import (
    AXES,
    Smoother,
    difference,
    difference_adjoint,
    soft,
)

GROWTH, MOST = 1.5, 1e5  # of the penalty
START = 0.01
MANY_BANDS = 100


def lrtdtv(
    noisy: Tensor,
    *,
    variation: float = 1.0,
    sparse: float = 10.0,
    gaussian: float | None = None,
    ranks: Sequence[int] | None = None,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    iterations: int = 50,
    tolerance: float = 1e-6,
    sweeps: int = 1,
) -> Tensor:
    """Denoises cubes by alternating directions of multipliers with a growing penalty.

    Args:
        noisy: [N, B, H, W]; the clean range is 0 to 1.
        variation: Weight of the anisotropic total variation (tau).
        sparse: Weight of the sparse errors (lambda), which take the Gaussian noise, too.
        gaussian: Weight of a Gaussian term (beta), as for noise without sparse errors: 100, with
            ``sparse`` 1e5 and 40 iterations. None leaves it out.
        ranks: Of bands, rows and columns; by default 10 (3 for up to 100 bands), and 0.8 of
            each side.
        weights: Of the differences along bands, rows and columns.
        iterations: At most.
        tolerance: It ends when the relative change is less.
        sweeps: Of the orthogonal iteration for each decomposition; the authors' 6 take
            four times as long and gain 0.04 dB.

    Returns:
        [N, B, H, W].
    """
    return torch.stack(
        [
            _one(cube, variation, sparse, gaussian, ranks, weights, iterations, tolerance, sweeps)
            for cube in noisy.float()
        ]
    )


def _one(
    y: Tensor,
    variation: float,
    sparse: float,
    gaussian: float | None,
    ranks: Sequence[int] | None,
    weights: Sequence[float],
    iterations: int,
    tolerance: float,
    sweeps: int,
) -> Tensor:
    ranks = ranks or _ranks(y)
    smoothed = Smoother(y, weights)
    start = torch.Generator().manual_seed(0)
    x = z = torch.rand(y.shape, generator=start).to(y)
    s, n, to_data, to_smooth = (torch.zeros_like(y) for _ in range(4))
    f, to_differences = ([torch.zeros_like(y) for _ in AXES] for _ in range(2))
    penalty, size = START, y.norm()
    for _ in range(iterations):
        before = x
        x = low_rank((y - s - n + z + (to_data - to_smooth) / penalty) / 2, ranks, sweeps)
        right = x + to_smooth / penalty
        for axis, weight in zip(AXES, weights, strict=True):
            right += weight * difference_adjoint(f[axis] - to_differences[axis] / penalty, axis)
        z = smoothed(right)
        for axis, weight in zip(AXES, weights, strict=True):
            step = weight * difference(z, axis)
            f[axis] = soft(step + to_differences[axis] / penalty, variation / penalty)
            to_differences[axis] += penalty * (step - f[axis])
        s = soft(y - x - n + to_data / penalty, sparse / penalty)
        if gaussian is not None:
            n = (penalty * (y - x - s) + to_data) / (penalty + 2 * gaussian)
        to_data += penalty * (y - x - s - n)
        to_smooth += penalty * (x - z)
        penalty = min(GROWTH * penalty, MOST)
        if (x - before).norm() < tolerance * size:
            break
    return x


def _ranks(y: Tensor) -> list[int]:
    bands, height, width = y.shape
    of_bands = min(bands, 10 if bands > MANY_BANDS else 3)
    return [of_bands, max(1, round(0.8 * height)), max(1, round(0.8 * width))]


def low_rank(x: Tensor, ranks: Sequence[int], sweeps: int) -> Tensor:
    """The nearest tensor of a multilinear rank, nearly: higher-order orthogonal iteration.

    Args:
        x: A tensor.
        ranks: Of its axes.
        sweeps: At most, after a truncated higher-order SVD.
    """
    factors: list[Tensor] = []
    core = x
    for axis, rank in enumerate(ranks):
        factors.append(_leading(core, axis, rank))
        core = _along(core, axis, factors[axis].T)
    for _ in range(sweeps):
        last = core.norm()
        for axis, rank in enumerate(ranks):
            part = x
            for other, factor in enumerate(factors):
                if other != axis:
                    part = _along(part, other, factor.T)
            factors[axis] = _leading(part, axis, rank)
        core = _along(part, axis, factors[axis].T)
        if core.norm() - last <= 1e-6 * x.norm():
            break
    for axis, factor in enumerate(factors):
        core = _along(core, axis, factor)
    return core


def _along(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """The product of a matrix with an axis of a tensor."""
    return torch.tensordot(matrix, x, ([1], [axis])).movedim(0, axis)


def _leading(x: Tensor, axis: int, rank: int) -> Tensor:
    """The left singular vectors of an unfolding with the largest singular values."""
    unfolded = x.movedim(axis, 0).flatten(1)
    return torch.linalg.eigh(unfolded @ unfolded.T)[1][:, -min(rank, len(unfolded)) :]
