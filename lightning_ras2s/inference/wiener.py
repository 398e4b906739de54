"""A Wiener filter on images of unit noise, with a pilot, in overlapping blocks.

Relative: the second step of BM3D (Dabov et al. 2007).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK, MARGIN = 8, 7  # pixels of a block, and of the mirrored border
FEW = 16  # images, above which only blocks in every second row and column are taken
STANDS_OUT = 4  # a noisy coefficient that is larger is signal, whatever the pilot says
PIXELS = 4096  # that are smoothed at once, so that they stay in the cache


def smooth(noisy: Tensor, pilot: Tensor, size: Sequence[int], out: Tensor) -> tuple[Tensor, Tensor]:
    """Smooths images of unit noise variance by blocks, where the pilot has no power.

    Args:
        noisy: [K, P].
        pilot: [K, P], what they would be without noise, roughly.
        size: Height and width, both at least 8; P is their product.
        out: [K, P], where the smoothed images go.

    Returns:
        The smoothed images [K, P], and the mean square error that is expected of each, [K].
    """
    height, width = size
    stride = 1 if len(noisy) <= FEW else 2
    mirrored = _mirrored_rows(height, noisy.device)
    cosines = _cosines(noisy.device)
    beyond = _beyond_noise(noisy, pilot, size, mirrored, stride)
    rows = max(2, PIXELS // width // 2 * 2)  # even: strips have the blocks of the whole
    risk = noisy.new_zeros(len(noisy))
    for first in range(0, height, rows):
        count = min(rows, height - first)
        window = mirrored[first : first + count + 2 * MARGIN]
        a, p = (_framed(images, window, width) for images in (noisy, pilot))
        total, weights, left = _smooth_blocks(a, p, beyond, cosines, stride)
        inner = slice(MARGIN, MARGIN + count), slice(MARGIN, MARGIN + width)
        strip = total[:, *inner] / weights[:, *inner]
        out[:, first * width : (first + count) * width] = strip.flatten(1)
        risk += left * count / height
    return out, risk


def _smooth_blocks(
    noisy: Tensor,
    pilot: Tensor,
    beyond: Tensor,
    cosines: Tensor,
    stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of the smoothed blocks of framed images, and the weights, [K, h, w].

    The third is the mean square error that is expected of a pixel, [K].
    """
    shape = noisy.shape[2:]
    a, p = (cosines @ F.unfold(images, BLOCK, stride=stride) for images in (noisy, pilot))
    mean = p[:, 0] + beyond * (a[:, 0] - p[:, 0])  # goes toward the pilot's
    power = a.square()
    power.masked_fill_(power <= STANDS_OUT**2, 0)
    gain = torch.maximum(power, p.square_(), out=power)
    gain = gain.div_(gain + 1)
    gain[:, 0] = 1
    risk = gain.mean((1, 2))  # of a Wiener filter: noise and what it has taken of the signal
    weight = gain.square().sum(1).reciprocal_()
    estimate = a.mul_(gain)
    estimate[:, 0] = mean
    total = F.fold(cosines.T @ estimate.mul_(weight[:, None]), shape, BLOCK, stride=stride)[:, 0]
    starts = noisy.new_zeros(len(noisy), shape[0] - MARGIN, shape[1] - MARGIN)
    down, right = (-(-length // stride) for length in starts.shape[1:])
    starts[:, ::stride, ::stride] = weight.view(-1, down, right)
    weights = BLOCK**2 * F.avg_pool2d(F.pad(starts, (MARGIN,) * 4), BLOCK, 1)  # of each pixel
    return total, weights, risk


def _beyond_noise(
    noisy: Tensor, pilot: Tensor, size: Sequence[int], mirrored: Tensor, stride: int
) -> Tensor:
    """The share of the difference of blocks' means to the pilot's that is not noise, [K, 1].

    With all of the noisy mean, dark scenes, whose range one bright pixel sets, would lose.
    """
    squares = []
    for a, p in zip(noisy.split(1), pilot.split(1), strict=True):  # to bound the memory
        means = F.avg_pool2d(_framed(a - p, mirrored, size[1]), BLOCK, stride)
        squares.append((BLOCK * means).square().mean())
    variance = torch.stack(squares)[:, None]
    return ((variance - 1) / variance.clamp_min(1e-12)).clamp(0, 1)


def _mirrored_rows(height: int, device: torch.device) -> Tensor:
    rows = torch.arange(-MARGIN, height + MARGIN, device=device).abs()
    return torch.where(rows < height, rows, 2 * (height - 1) - rows)


def _framed(images: Tensor, rows: Tensor, width: int) -> Tensor:
    """Rows of images [K, P], mirrored at the sides: [K, 1, rows, width + 2 * MARGIN]."""
    some = images.view(len(images), 1, -1, width)[:, :, rows]
    return F.pad(some, (MARGIN, MARGIN, 0, 0), mode="reflect")


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal DCT of a block, [64, 64]."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    line = torch.cos(math.pi * (k + 0.5) * k[:, None] / BLOCK) * math.sqrt(2 / BLOCK)
    line[0] /= math.sqrt(2)
    return torch.kron(line, line)
