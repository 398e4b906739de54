"""Minimum noise fraction (Green et al., TGRS 1988), by Spectral Python."""

import numpy as np
import torch
from torch import Tensor

LOAD = 1e-8  # of the mean noise, that each band has at least: bands may depend on each other
LEAST_SNR = 1.0  # of a component that is kept
SMALLEST_SIDE = 8


def mnf(noisy: Tensor) -> Tensor:
    """Keeps the components of which the signal is more than the noise.

    The noise's covariance is that of differences of neighbouring pixels.

    Args:
        noisy: [N, B, H, W]; a side under 8 pixels, or a single band, comes back as it is.

    Returns:
        [N, B, H, W].
    """
    if noisy.shape[1] == 1 or min(noisy.shape[2:]) < SMALLEST_SIDE:
        return noisy
    return torch.stack([_one(y) for y in noisy.double().cpu().numpy()]).to(noisy)


def _one(y: np.ndarray) -> Tensor:
    import spectral

    cube = y.transpose(1, 2, 0)
    varies = cube.std((0, 1)) > 0
    if varies.sum() > 1:
        part = cube[..., varies]
        noise = spectral.noise_from_diffs(part)
        load = LOAD * np.trace(noise.cov) / len(noise.cov)
        noise.cov = noise.cov + load * np.eye(len(noise.cov))
        found = spectral.mnf(spectral.calc_stats(part), noise)
        cube = cube.copy()
        cube[..., varies] = found.denoise(part, snr=LEAST_SNR)
    return torch.from_numpy(np.ascontiguousarray(cube.transpose(2, 0, 1)))
