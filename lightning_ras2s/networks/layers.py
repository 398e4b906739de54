"""Small layers that the parts of RAS2S share."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.1


def leaky_relu(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.1, in place: only for fresh outputs of a convolution."""
    return F.leaky_relu(x, LEAKY_SLOPE, inplace=True)


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution with stride 1, zero padding 1 and a bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """The dtype to sum in: float32 for half precisions, the tensor's own otherwise."""
    return torch.promote_types(x.dtype, torch.float32)


def over_bands(layer: Callable[[Tensor], Tensor], bands: Tensor) -> Tensor:
    """Applies a layer for [M, C, H, W] to all bands at once: [B, N, C, H, W] -> [B, N, D, H, W]."""
    flat = bands.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return layer(flat).unflatten(0, bands.shape[:2])


class PairConv(nn.Conv2d):
    """A 3x3 convolution of the concatenation [first, second], in two parts that add up to it.

    A recurrence needs only the part that reads its state; the other is computed for all bands at
    once.

    Args:
        channels: Channels of ``first`` and of ``second``, C.
        out_channels: Channels of the result.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(2 * channels, out_channels, 3, padding=1)

    def first(self, x: Tensor) -> Tensor:
        """The part that reads ``first`` [N, C, H, W]; it has no bias."""
        return F.conv2d(x, self.weight[:, : self.in_channels // 2], padding=1)

    def second(self, x: Tensor) -> Tensor:
        """The part that reads ``second`` [N, C, H, W], and the bias."""
        return F.conv2d(x, self.weight[:, self.in_channels // 2 :], self.bias, padding=1)


class Embedding(nn.Module):
    """Shallow features of one band, phi(y): [N, 1, H, W] -> [N, C, H, W] (paper, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(1, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, band: Tensor) -> Tensor:
        """Embeds ``band`` and adds it to every channel."""
        return leaky_relu(self.conv2(leaky_relu(self.conv1(band)))) + band
