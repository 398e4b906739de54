"""The crop of the published Indian Pines on which the methods were measured before."""

from functools import cache

import numpy as np
import tensorly.datasets
import torch

from datamodules import add_noise


def psnr(image, clean):
    """Mean over the bands, dB."""
    return -10 * (image - clean).square().mean((-1, -2)).log10().mean().item()


@cache
def crop():
    cube = np.asarray(tensorly.datasets.load_indian_pines().tensor, np.float64)
    cube = (cube - cube.min()) / (cube.max() - cube.min())
    return torch.from_numpy(cube[8:72, 8:72].transpose(2, 0, 1).copy()).float()


def denoised(method, case, bands=slice(None), **options):
    """The PSNR of the crop after a method."""
    clean = crop()[bands]
    noisy = add_noise(clean, case, 0)
    return psnr(method(noisy[None], **options)[0], clean)
