"""BM4D: groups of similar blocks of a volume, thresholded together, by the package bmnd.

Maggioni et al., "Nonlocal Transform-Domain Filter for Volumetric Data Denoising and
Reconstruction", TIP 2013.
"""

import numpy as np
import torch
from torch import Tensor

from lightning_ras2s.classical.noise_level import band_sigmas

SMALLEST_SIDE = 8  # that blocks fit; less is mirrored up to it


def bm4d(noisy: Tensor, *, sigma: float | None = None) -> Tensor:
    """Denoises cubes as volumes of one sigma.

    Args:
        noisy: [N, B, H, W].
        sigma: Of the noise, on the cube's scale; by default the mean of the bands' estimates.

    Returns:
        [N, B, H, W].
    """
    from bmnd import BM4DProfile, NoiseModel, bmnd

    def one(y: Tensor) -> Tensor:
        level = float(band_sigmas(y).mean()) if sigma is None else sigma
        if level == 0:
            return y
        framed = np.pad(
            y.cpu().numpy(), [(0, max(0, SMALLEST_SIDE - size)) for size in y.shape], "symmetric"
        )
        profile = BM4DProfile(noise_model=NoiseModel.GAUSSIAN)
        found = torch.from_numpy(bmnd(framed, profile, sigma=level)).to(y)
        bands, height, width = y.shape
        return found[:bands, :height, :width]

    return torch.stack([one(y) for y in noisy.float()])
