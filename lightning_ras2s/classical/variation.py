"""Total variation of a cube [B, H, W]: weighted periodic differences along its axes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

AXES = (0, 1, 2)  # bands, rows, columns


def soft(x: Tensor, threshold: float) -> Tensor:
    """Soft threshold, the proximal operator of the l1 norm: sign(x) max(|x| - threshold, 0)."""
    return torch.nn.functional.softshrink(x, threshold)


def difference(x: Tensor, axis: int) -> Tensor:
    """To the next value along an axis; the last one's is to the first."""
    return x.roll(-1, axis) - x


def difference_adjoint(x: Tensor, axis: int) -> Tensor:
    """The adjoint of ``difference``."""
    return x.roll(1, axis) - x


class Smoother:
    """Solves (1 + sum over axes of w² DᵀD) x = right, by the Fourier transform.

    Args:
        like: A cube [B, H, W] of the size, dtype and device.
        weights: Of the differences along bands, rows and columns.
    """

    def __init__(self, like: Tensor, weights: Sequence[float]) -> None:
        total = torch.ones(1, dtype=like.dtype, device=like.device)
        for axis, weight in zip(AXES, weights, strict=True):
            size = like.shape[axis]
            count = size // 2 + 1 if axis == AXES[-1] else size
            k = torch.arange(count, dtype=like.dtype, device=like.device)
            own = weight**2 * (2 - 2 * torch.cos(2 * math.pi * k / size))
            total = total + own.view([-1 if a == axis else 1 for a in AXES])
        self._divisor, self._size = total, like.shape

    def __call__(self, right: Tensor) -> Tensor:
        """The solution x, [B, H, W]."""
        return torch.fft.irfftn(torch.fft.rfftn(right) / self._divisor, s=self._size)
