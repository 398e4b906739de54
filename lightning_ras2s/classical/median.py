"""The median of a pixel and its neighbours in space and spectrum."""

import torch
from scipy import ndimage
from torch import Tensor


def median_filter(noisy: Tensor) -> Tensor:
    """Median over 3 bands x 3 x 3 pixels, mirrored at the borders: [N, B, H, W] -> the same."""
    cubes = noisy.float().cpu().numpy()
    filtered = ndimage.median_filter(cubes, size=(1, 3, 3, 3), mode="reflect")
    return torch.from_numpy(filtered).to(noisy)
