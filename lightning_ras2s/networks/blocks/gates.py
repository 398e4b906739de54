"""Gates of MAN and TDSAT: which channels count, and how two features are joined."""

import torch
from torch import Tensor, nn


class ChannelGate(nn.Module):
    """Weighs each channel by its mean, and that of the others, over the whole cube."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        return x * self.weigh(x.mean((2, 3, 4), keepdim=True)).sigmoid()


class AttentiveSkip(nn.Module):
    """Goes from the decoder's features to the encoder's, by a weight for each value.

    Args:
        channels: Of each.
        activation: Between the two convolutions that make the weight.
    """

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv3d(2 * channels, channels, 1),
            activation,
            nn.Conv3d(channels, channels, 3, padding=1),
        )

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        """Two [N, C, B, H, W] -> [N, C, B, H, W]."""
        weight = self.weigh(torch.cat([decoded, encoded], 1)).sigmoid()
        return torch.lerp(decoded, encoded, weight)
