"""HSDT: a U of 3-D convolutions whose stages let the bands attend to learned queries."""

import random
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import ChannelLinear, Kind, mix
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.u_shape import UShape


class SeparableConv(nn.Module):
    """S3Conv: two convolutions of each band, and one across the bands beside them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.spatial1 = nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.spatial2 = nn.Conv3d(outputs, outputs, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.spectral = nn.Conv3d(inputs, outputs, (3, 1, 1), padding=(1, 0, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C', B, H, W]."""
        spatial = F.leaky_relu(self.spatial2(F.leaky_relu(self.spatial1(x))))
        return spatial + self.spectral(x)


class GuidedAttention(nn.Module):
    """GSSA: each band becomes a mean of all, weighted by its mean features.

    In training a coin decides whether these are compared with learned queries or with each other.
    It is Python's, not torch's, which is another one in each process: it falls for a whole batch.

    Args:
        channels: C.
        bands: Learned queries.
        similarity: In evaluation, compare them with each other.
    """

    def __init__(self, channels: int, bands: int, similarity: bool) -> None:
        super().__init__()
        self.similarity = similarity
        self.queries = nn.Linear(channels, bands)
        self.value = ChannelLinear(channels, channels, bias=False)
        self.project = ChannelLinear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        keys = x.mean((3, 4)).transpose(1, 2)
        by_similarity = random.random() < 0.5 if self.training else self.similarity
        logits = keys @ keys.transpose(1, 2) if by_similarity else self.queries(keys)
        attended = logits.softmax(-1)[:, None] @ self.value(x).flatten(3)
        return self.project(attended.view_as(x)) + x


class SelfModulated(nn.Module):
    """SM-FFN: two layers, and beside them one that gates itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = ChannelLinear(channels, 2 * channels)
        self.narrow = ChannelLinear(2 * channels, channels)
        self.gated = ChannelLinear(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        return self.narrow(F.gelu(self.widen(x))) + F.glu(self.gated(x), dim=1)


class Stage(nn.Sequential):
    """Convolution, batch norm, attention between the bands, feed-forward."""

    def __init__(self, kind: Kind, inputs: int, outputs: int, bands: int, similarity: bool) -> None:
        super().__init__()
        plain = kind == "plain"
        self.mix = SeparableConv(inputs, outputs) if plain else mix(kind, inputs, outputs)
        self.norm = nn.BatchNorm3d(outputs)
        self.attention = GuidedAttention(outputs, bands, similarity)
        self.feed_forward = SelfModulated(outputs)


class HSDT(UShape):
    """Hybrid spectral denoising transformer (Lai, Yan, Fu, ICCV 2023, arXiv 2303.09040).

    HSDT-S has 8 channels and 5 stages, M 16 and 5, L 16 and 7.

    Args:
        channels: Of the head, C.
        stages: Of the encoder, and of the decoder; odd. Every other one halves height and width.
        bands: B of the cubes.
        similarity: In evaluation, let the bands attend to each other in place of the learned
            queries; cubes may then have any number of bands.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^(encoder|decoder)\.layers\.", r"\1."),
        (r"\.conv\.dw_conv\.0\.", ".mix.spatial1."),
        (r"\.conv\.dw_conv\.2\.", ".mix.spatial2."),
        (r"\.conv\.pw_conv\.", ".mix.spectral."),
        (r"\.conv\.(conv3d\.|conv\.|1\.)?weight", ".mix.weight"),
        (r"\.bn\.", ".norm."),
        (r"\.attn\.attn\.attn_proj\.", ".attention.queries."),
        (r"\.attn\.attn\.value_proj\.", ".attention.value."),
        (r"\.attn\.attn\.fc\.", ".attention.project."),
        (r"\.attn\.ffn\.w_1\.", ".feed_forward.widen."),
        (r"\.attn\.ffn\.w_2\.", ".feed_forward.narrow."),
        (r"\.attn\.ffn\.w_3\.", ".feed_forward.gated."),
    )

    def __init__(
        self,
        channels: int = 8,
        stages: int = 5,
        bands: int = 31,
        similarity: bool = False,
        zero_start: bool = False,
    ) -> None:
        super().__init__(
            channels,
            head=Stage("plain", 1, channels, bands, similarity),
            stage=lambda at: Stage(at.kind, at.inputs, at.outputs, bands, similarity),
            tail=mix("plain", channels, 1, bias=True),
            stages=stages,
            halvings=range(1, stages, 2),
        )
        self.bands = None if similarity else bands
        kaiming_weights(self, zero="tail" if zero_start else "")

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels, stages and bands of these tensors."""
        bands, channels = state["head.attention.queries.weight"].shape
        stages = {name.split(".")[1] for name in state if name.startswith("encoder.")}
        return {"channels": channels, "stages": len(stages), "bands": bands}
