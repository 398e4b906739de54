"""TDSAT: the U of MAN, whose recurrence gives way to attention over mixed bands and features."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import ChannelNorm, Kind, mix
from lightning_ras2s.networks.blocks.cosine_attention import cosine_attention
from lightning_ras2s.networks.blocks.gates import AttentiveSkip, ChannelGate
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.u_shape import UShape

EXPANSION = 2.66


class Attention(nn.Module):
    """MSA: D rows of C maps each attend to one another, in the order of the memory.

    The paper means bands; in the released code a row holds C maps that follow each other, feature
    by feature, and so is a band for C = 1 alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = 3 * channels
        self.temperature = nn.Parameter(torch.ones(1, 1, 1, 1))
        self.mix = nn.Conv3d(channels, width, 1, bias=False)
        self.around = nn.Conv3d(
            width, width, (1, 3, 3), padding=(0, 1, 1), groups=width, bias=False
        )
        self.project = nn.Conv3d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        n, _, bands, _, _ = x.shape
        parts = self.around(self.mix(x)).chunk(3, dim=1)
        q, k, v = (part.reshape(n, bands, -1) for part in parts)
        return self.project(cosine_attention(q, k, v, self.temperature[0]).view_as(x))


class GatedLayer(nn.Module):
    """GDFN, whose convolution is of each feature; GCFN, whose convolution is of each band."""

    def __init__(self, channels: int, of_bands: bool) -> None:
        super().__init__()
        width = int(EXPANSION * channels)
        self.widen = nn.Conv3d(channels, 2 * width, 1, bias=False)
        kernel, padding = ((1, 3, 3), (0, 1, 1)) if of_bands else ((3, 3, 3), (1, 1, 1))
        groups = 1 if of_bands else 2 * width
        self.around = nn.Conv3d(
            2 * width, 2 * width, kernel, padding=padding, groups=groups, bias=False
        )
        self.narrow = nn.Conv3d(width, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        gate, value = self.around(self.widen(x)).chunk(2, dim=1)
        return self.narrow(F.gelu(gate) * value)


class Block(nn.Module):
    """SATB: attention, gated layer, gate of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.attention = Attention(channels)
        self.of_features = GatedLayer(channels, of_bands=False)
        self.channels = ChannelGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        return self.channels(self.attended(x))

    def attended(self, x: Tensor) -> Tensor:
        """Without the gate."""
        x = x + self.attention(self.norm1(x))
        return x + self.of_features(self.norm2(x))


class EndBlock(Block):
    """EB, of head and tail: in place of the gate, which is there but not called, a layer more."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.norm3 = ChannelNorm(channels)
        self.of_bands = GatedLayer(channels, of_bands=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        x = self.attended(x)
        return x + self.of_bands(self.norm3(x))


class Stage(nn.Sequential):
    """Convolution, block."""

    def __init__(self, kind: Kind, inputs: int, outputs: int, transposed: bool) -> None:
        super().__init__()
        self.mix = mix(kind, inputs, outputs, transposed=transposed)
        self.block = Block(outputs)


class TDSAT(UShape):
    """Three-dimension spatial-spectral attention transformer (Zhang et al., IEEE TGRS 62, 2024).

    Of its 1,093,000 weights 119,186 are never called: gates of head and tail, and the skip of the
    decoder's first stage. The end block of the tail, on one feature, adds a pattern of the weights
    and sizes that does not hang on the image.

    Args:
        channels: Of the head, C.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^(encoder|decoder)\.layers\.", r"\1."),
        (r"^decoder\.fusions\.(\d)\.conv_weight\.", r"joins.\1.weigh."),
        (r"^((?:en|de)coder\.\d)\.conv\.(conv3d\.)?weight", r"\1.mix.weight"),
        (r"^((?:en|de)coder\.\d)\.attn\.", r"\1.block."),
        (r"\.attn\.", ".attention."),
        (r"\.qkv\.", ".mix."),
        (r"\.qkv_conv\.", ".around."),
        (r"\.project_out\.", ".project."),
        (r"\.(ffn|gcfn)\.project_in\.", r".\1.widen."),
        (r"\.(ffn|gcfn)\.conv\.", r".\1.around."),
        (r"\.(ffn|gcfn)\.project\.", r".\1.narrow."),
        (r"\.ffn\.", ".of_features."),
        (r"\.gcfn\.", ".of_bands."),
        (r"\.se\.se\.1\.", ".channels.weigh."),
    )

    def __init__(self, channels: int = 16, zero_start: bool = False) -> None:
        super().__init__(
            channels,
            head=nn.Sequential(mix("plain", 1, channels), EndBlock(channels)),
            stage=lambda at: Stage(at.kind, at.inputs, at.outputs, transposed=at.decodes),
            tail=nn.Sequential(mix("plain", channels, 1, transposed=True, bias=True), EndBlock(1)),
            join=lambda width: AttentiveSkip(width, nn.Tanh()),
        )
        kaiming_weights(self, zero="tail.0" if zero_start else "")

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels."""
        return {"channels": state["head.0.weight"].shape[0]}
