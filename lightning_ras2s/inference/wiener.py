"""A Wiener filter on images of unit noise, with a pilot, in overlapping blocks.

Relative: the second step of BM3D (Dabov et al. 2007).
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK, MARGIN = 8, 7  # pixels of a block, and of the mirrored border
FEW = 16  # images, above which only blocks in every second row and column are taken
STANDS_OUT = 4  # a noisy coefficient that is larger is signal, whatever the pilot says
SIDE = 64  # pixels of a tile that is smoothed at once, so that it stays in the cache; even


def smooth(noisy: Tensor, pilot: Tensor, size: Sequence[int], out: Tensor, risk: Tensor) -> None:
    """Smooths images of unit noise variance by blocks, where the pilot has no power.

    Args:
        noisy: [K, P].
        pilot: [K, P], what they would be without noise, roughly.
        size: Height and width, both at least 8; P is their product.
        out: [K, P], where the smoothed images go.
        risk: [K, P], where the square error goes that is expected of each pixel of them.
    """
    height, width = size
    stride = 1 if len(noisy) <= FEW else 2
    rows, columns = (_mirrored(length, noisy.device) for length in size)
    cosines = _cosines(noisy.device)
    images = (noisy, pilot, out, risk)
    noisy, pilot, result, risk = (each.view(-1, height, width) for each in images)
    beyond = _beyond_noise(noisy, pilot, rows, columns, stride)
    for top, left in product(range(0, height, SIDE), range(0, width, SIDE)):
        tile = slice(top, min(top + SIDE, height)), slice(left, min(left + SIDE, width))
        frame = rows[_with_margins(tile[0])], columns[_with_margins(tile[1])]
        a, p = (_framed(images, *frame) for images in (noisy, pilot))
        total, weights, error = _smooth_blocks(a, p, beyond, cosines, stride)
        inside = slice(MARGIN, -MARGIN)
        result[:, *tile] = (total / weights)[:, inside, inside]
        risk[:, *tile] = (error / weights)[:, inside, inside]


def _smooth_blocks(
    noisy: Tensor,
    pilot: Tensor,
    beyond: Tensor,
    cosines: Tensor,
    stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of the smoothed blocks of framed images, and the weights, [K, h, w].

    The third is the weighted sum of the square errors that are expected of the blocks.
    """
    shape = noisy.shape[2:]
    a, p = (cosines @ F.unfold(images, BLOCK, stride=stride) for images in (noisy, pilot))
    mean = p[:, 0] + beyond * (a[:, 0] - p[:, 0])  # goes toward the pilot's
    power = a.square()
    power.masked_fill_(power <= STANDS_OUT**2, 0)
    gain = torch.maximum(power, p.square_(), out=power)
    gain = gain.div_(gain + 1)
    gain[:, 0] = 1
    risk = gain.mean(1)  # of a Wiener filter: noise and what it has taken of the signal
    weight = gain.square().sum(1).reciprocal_()
    estimate = a.mul_(gain)
    estimate[:, 0] = mean
    total = F.fold(cosines.T @ estimate.mul_(weight[:, None]), shape, BLOCK, stride=stride)[:, 0]
    weights, risks = (_of_pixels(each, shape, stride) for each in (weight, weight * risk))
    return total, weights, risks


def _of_pixels(blocks: Tensor, shape: Sequence[int], stride: int) -> Tensor:
    """The sums over the blocks [K, L] that a pixel is in, [K, h, w]."""
    starts = blocks.new_zeros(len(blocks), shape[0] - MARGIN, shape[1] - MARGIN)
    down, right = (-(-length // stride) for length in starts.shape[1:])
    starts[:, ::stride, ::stride] = blocks.view(-1, down, right)
    return BLOCK**2 * F.avg_pool2d(F.pad(starts, (MARGIN,) * 4), BLOCK, 1)


def _beyond_noise(
    noisy: Tensor, pilot: Tensor, rows: Tensor, columns: Tensor, stride: int
) -> Tensor:
    """The share of the difference of blocks' means to the pilot's that is not noise, [K, 1].

    With all of the noisy mean, dark scenes, whose range one bright pixel sets, would lose.
    """
    squares = []
    for a, p in zip(noisy.split(1), pilot.split(1), strict=True):  # to bound the memory
        means = F.avg_pool2d(_framed(a - p, rows, columns), BLOCK, stride)
        squares.append((BLOCK * means).square().mean())
    variance = torch.stack(squares)[:, None]
    return ((variance - 1) / variance.clamp_min(1e-12)).clamp(0, 1)


def _mirrored(length: int, device: torch.device) -> Tensor:
    """The pixels along a side, with those of the margins."""
    pixels = torch.arange(-MARGIN, length + MARGIN, device=device).abs()
    return torch.where(pixels < length, pixels, 2 * (length - 1) - pixels)


def _with_margins(pixels: slice) -> slice:
    """Where pixels of an image and their margins lie in ``_mirrored``."""
    return slice(pixels.start, pixels.stop + 2 * MARGIN)


def _framed(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Some pixels of images [K, H, W]: [K, 1, rows, columns]."""
    return images[:, rows[:, None], columns][:, None]


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal DCT of a block, [64, 64]."""
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    line = torch.cos(math.pi * (k + 0.5) * k[:, None] / BLOCK) * math.sqrt(2 / BLOCK)
    line[0] /= math.sqrt(2)
    return torch.kron(line, line)
