"""Axes that go on as their own mirror image."""

import torch
from torch import Tensor


def mirror(size: int, before: int, after: int, device: torch.device | None = None) -> Tensor:
    """Where to read so many places before and after an axis: back and forth, the ends once each.

    Args:
        size: Of the axis.
        before: Places.
        after: Places.
        device: Of the indices.

    Returns:
        Indices [before + size + after] in 0..size-1.
    """
    turn = 2 * (size - 1)
    place = torch.arange(-before, size + after, device=device) % max(1, turn)
    return torch.minimum(place, turn - place)


def mirrored(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """A tensor with an axis that goes on so far."""
    return x.index_select(axis, mirror(x.shape[axis], before, after, x.device))
