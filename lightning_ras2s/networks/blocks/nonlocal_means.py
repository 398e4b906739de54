"""Non-local means, and the noise it takes: of images of several channels, without gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_ras2s.networks.blocks.mirror import mirrored

FARTHEST = 5.0  # distances beyond it weigh nothing
DAUBECHIES = (-0.48296291314453416, 0.8365163037378079, -0.2241438680420134, -0.12940952255126037)
NORMAL = 0.6744897501960817  # median of the absolute values of a standard normal


@torch.no_grad()
def nonlocal_means(
    images: Tensor, sigma: Tensor, strength: float, patch: int = 7, reach: int = 9
) -> Tensor:
    """Each pixel a mean of those around it, weighted by how alike their patches are.

    Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005, in the fast form of
    Froment, IPOL 2014, as scikit-image has it and MAC-Net was trained on: patches are of all
    channels, and of their rows and columns one less is compared than they count.

    Args:
        images: [N, C, H, W].
        sigma: Of the noise [N].
        strength: h, of the weights exp(-d^2 / h^2).
        patch: Pixels along rows and columns; odd.
        reach: Pixels, how far to look along rows and columns.
    """
    channels, half = images.shape[1], patch // 2
    frame = half + reach
    framed = mirrored(mirrored(images, -2, frame, frame), -1, frame, frame)
    height, width = images.shape[2:]

    def seen(rows: int, columns: int, before: int, after: int) -> Tensor:
        """The images from so far away, with so much more at their borders."""
        top, left = frame + rows - before, frame + columns - before
        more = before + after
        return framed[:, :, top : top + height + more, left : left + width + more]

    compared = 2 * half  # pixels
    here = seen(0, 0, half - 1, half)
    noise = 2 * channels * sigma.square()[:, None, None, None]
    scale = (compared / patch) ** 2 / (channels * strength**2)
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    for rows in range(-reach, reach + 1):
        for columns in range(-reach, reach + 1):
            there = seen(rows, columns, half - 1, half)
            apart = (here - there).square().sum(1, keepdim=True) - noise
            distance = F.avg_pool2d(apart, compared, 1).clamp(min=0) * scale
            weight = torch.where(distance > FARTHEST, 0.0, (-distance).exp())
            weights += weight
            total += weight * seen(rows, columns, 0, 0)
    return total / weights


@torch.no_grad()
def wavelet_sigma(images: Tensor) -> Tensor:
    """The noise's sigma [N] of images [N, C, H, W]: the mean of their channels'.

    From the median of the finest diagonal wavelet coefficients (Donoho, Johnstone, "Ideal spatial
    adaptation by wavelet shrinkage", Biometrika 1994), of Daubechies' wavelet of two moments.
    """
    wave = torch.tensor(DAUBECHIES, dtype=images.dtype, device=images.device)
    framed = images
    for axis in (-2, -1):
        size = images.shape[axis]
        place = torch.arange(-2, size + 3, device=images.device) % (2 * size)
        framed = framed.index_select(axis, torch.minimum(place, 2 * size - 1 - place))
    kernel = (wave[:, None] * wave).flip(0, 1)[None, None]
    flat = framed.flatten(0, 1)[:, None]
    details = F.conv2d(flat, kernel, stride=2).flatten(1).abs()
    known = torch.where(details == 0, torch.nan, details)
    sigma = known.nanquantile(0.5, dim=1).nan_to_num(0.0) / NORMAL
    return sigma.unflatten(0, images.shape[:2]).mean(1)
