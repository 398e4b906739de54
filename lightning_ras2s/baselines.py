"""Denoisers without weights, to compare with."""

from collections.abc import Callable

import torch
from scipy import ndimage
from torch import Tensor


def median_filter(noisy: Tensor) -> Tensor:
    """Median over 3 bands x 3 x 3 pixels, mirrored at the borders: [N, B, H, W] -> the same."""
    cubes = noisy.float().cpu().numpy()
    filtered = ndimage.median_filter(cubes, size=(1, 3, 3, 3), mode="reflect")
    return torch.from_numpy(filtered).to(noisy)


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {"Median 3x3x3": median_filter}
"""Baselines by the name that they have in the tables."""
