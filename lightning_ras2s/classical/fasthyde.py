"""FastHyDe: in the subspace that holds the scene, each image of coefficients is denoised by itself.

Zhuang, Bioucas-Dias, "Fast Hyperspectral Image Denoising and Inpainting Based on Low-Rank and
Sparse Representations", JSTARS 2018. Bands are scaled to noise of one sigma before.
"""

import torch
from torch import Tensor

from lightning_ras2s.classical.collaborative import collaborative_filter
from lightning_ras2s.classical.noise_level import band_sigmas

LEAST_SIGMA = 1e-6


def fasthyde(
    noisy: Tensor, *, sigmas: Tensor | None = None, dimensions: int | None = None
) -> Tensor:
    """Denoises cubes.

    Args:
        noisy: [N, B, H, W].
        sigmas: Of the bands' noise, [B], on the cube's scale; by default they are estimated.
        dimensions: Of the subspace; by default as many as hold more signal than noise (HySime:
            Bioucas-Dias, Nascimento 2008).

    Returns:
        [N, B, H, W].
    """
    return torch.stack([_one(y, sigmas, dimensions) for y in noisy.float()])


def _one(y: Tensor, sigmas: Tensor | None, dimensions: int | None) -> Tensor:
    scale = (band_sigmas(y) if sigmas is None else sigmas).clamp_min(LEAST_SIGMA)[:, None, None]
    white = y / scale
    spectra = white.flatten(1).double()
    powers, axes = torch.linalg.eigh(spectra @ spectra.T / spectra.shape[1])
    count = dimensions or max(1, int((powers > 2).sum()))  # the noise's power is 1
    axes = axes[:, -count:].float()
    images = torch.tensordot(axes.T, white, 1)
    smooth = torch.stack([collaborative_filter(image) for image in images])
    return torch.tensordot(axes, smooth, 1) * scale
