"""Convolutions of cubes [N, C, B, H, W], and layers of their features."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["plain", "down", "up"]
"""Of a convolution: height and width stay, are halved, or are doubled; the bands always stay."""


class UpConv(nn.Conv3d):
    """Twice the height and width, by interpolation between the corners, then the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C', B, 2H, 2W]."""
        twice = F.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear", align_corners=True)
        return super().forward(twice)


def mix(
    kind: Kind,
    inputs: int,
    outputs: int,
    *,
    kernel: int = 3,
    transposed: bool = False,
    bias: bool = False,
) -> nn.Module:
    """A convolution over bands, height and width.

    Args:
        kind: What becomes of height and width.
        inputs: Channels.
        outputs: Channels.
        kernel: Bands, rows and columns of it.
        transposed: Whether a plain one is a transposed convolution.
        bias: Whether it adds one.
    """
    padding = kernel // 2
    if kind == "up":
        return UpConv(inputs, outputs, kernel, padding=padding, bias=bias)
    if kind == "down":
        return nn.Conv3d(inputs, outputs, kernel, (1, 2, 2), padding, bias=bias)
    layer = nn.ConvTranspose3d if transposed else nn.Conv3d
    return layer(inputs, outputs, kernel, padding=padding, bias=bias)


class ChannelLinear(nn.Linear):
    """A linear layer of the channels, which are the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...] -> [N, C', ...]."""
        mixed = torch.matmul(self.weight, x.flatten(2))
        if self.bias is not None:
            mixed = mixed + self.bias[:, None]
        return mixed.unflatten(2, x.shape[2:])


class ChannelNorm(nn.LayerNorm):
    """A layer norm of the channels, which are the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...] -> [N, C, ...]."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
