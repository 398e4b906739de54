"""MAN: a U of convolutions, each followed by a recurrence over the bands and a gated layer."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import Kind, mix
from lightning_ras2s.networks.blocks.forget_pool import forget_pool
from lightning_ras2s.networks.blocks.gates import AttentiveSkip
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.u_shape import UShape


def gate(channels: int) -> nn.Sequential:
    """Two layers of each voxel, of which candidates and gates of the recurrence are made."""
    layers = [nn.Conv3d(channels, channels, 1) for _ in range(2)]
    return nn.Sequential(layers[0], nn.Tanh(), layers[1])


class RecurrentAttention(nn.Module):
    """MHRSA: half of the channels are carried from band to band, the other half back."""

    def __init__(self, channels: int, reverse: bool) -> None:
        super().__init__()
        self.reverse = reverse
        self.candidate, self.forget = gate(channels), gate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        candidates = self.candidate(x).tanh().chunk(2, dim=1)
        forgets = self.forget(x).sigmoid().chunk(2, dim=1)
        ways = self.reverse, not self.reverse
        return torch.cat([*map(forget_pool, candidates, forgets, ways)], 1)


class ProgressiveAttention(nn.Module):
    """PSCA: a layer that gates its input, then two of each voxel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gated = nn.Conv3d(channels, channels, 1, bias=False)
        self.widen = nn.Conv3d(channels, 2 * channels, 1, bias=False)
        self.narrow = nn.Conv3d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        x = self.gated(x) * x + x
        return self.narrow(F.gelu(self.widen(x)))


class Stage(nn.Sequential):
    """Convolution, recurrence over the bands, gated layer; nothing between them."""

    def __init__(self, kind: Kind, inputs: int, outputs: int, reverse: bool) -> None:
        super().__init__()
        self.mix = mix(kind, inputs, outputs)
        self.between_bands = RecurrentAttention(outputs, reverse)
        self.within_band = ProgressiveAttention(outputs)


class MAN(UShape):
    """Mixed attention network, MAN-M (Lai, Fu, arXiv 2301.11525, 2023), as last released.

    The skip of the decoder's first stage is never called: 118,912 of its weights stay as they are.

    Args:
        channels: Of the head, C; even. S has 12, M 16, L 20.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^(encoder|decoder)\.layers\.", r"\1."),
        (r"^decoder\.fusions\.(\d)\.weight\.", r"joins.\1.weigh."),
        (r"\.conv\.(conv3d\.)?weight", ".mix.weight"),
        (r"\.inter_sa\.ffn1\.", ".between_bands.candidate."),
        (r"\.inter_sa\.ffn2\.", ".between_bands.forget."),
        (r"(candidate|forget)\.w_1\.", r"\1.0."),
        (r"(candidate|forget)\.w_2\.", r"\1.2."),
        (r"\.intra_sa\.w_1\.", ".within_band.widen."),
        (r"\.intra_sa\.w_2\.", ".within_band.narrow."),
        (r"\.intra_sa\.w_3\.", ".within_band.gated."),
    )

    def __init__(self, channels: int = 16, zero_start: bool = False) -> None:
        super().__init__(
            channels,
            head=Stage("plain", 1, channels, reverse=False),
            stage=lambda at: Stage(at.kind, at.inputs, at.outputs, reverse=at.number % 2 == 0),
            tail=mix("plain", channels, 1, bias=True),
            join=lambda width: AttentiveSkip(width, nn.LeakyReLU()),
        )
        kaiming_weights(self, zero="tail" if zero_start else "")

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels."""
        return {"channels": state["head.mix.weight"].shape[0]}
