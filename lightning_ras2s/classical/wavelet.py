"""Wavelet thresholds of each band (Chang, Yu, Vetterli, TIP 2000), by scikit-image."""

import numpy as np
import torch
from torch import Tensor

SMALLEST_SIDE = 4


def wavelet(noisy: Tensor) -> Tensor:
    """Soft thresholds in each band by BayesShrink; sigma is the finest details' median.

    Args:
        noisy: [N, B, H, W]; a side under 4 pixels comes back as it is.

    Returns:
        [N, B, H, W].
    """
    from skimage.restoration import denoise_wavelet

    if min(noisy.shape[2:]) < SMALLEST_SIDE:
        return noisy
    bands = noisy.float().cpu().numpy().reshape(-1, *noisy.shape[2:])
    denoised = [denoise_wavelet(band, method="BayesShrink", rescale_sigma=True) for band in bands]
    return torch.from_numpy(np.stack(denoised)).view(noisy.shape).to(noisy)
