"""MST: a U-Net of attention between the channels, without the mask of its coded aperture."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import ChannelNorm
from lightning_ras2s.networks.blocks.cosine_attention import cosine_attention
from lightning_ras2s.networks.blocks.denoiser import Denoiser


class ChannelAttention(nn.Module):
    """MSA: keys attend to queries, channel by channel; the values' places are added.

    Args:
        channels: Of this scale.
        heads: Of the attention.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (
            nn.Conv2d(channels, channels, 1, bias=False) for _ in range(3)
        )
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = nn.Conv2d(channels, channels, 1)
        around = [
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            for _ in range(2)
        ]
        self.places = nn.Sequential(around[0], nn.GELU(), around[1])

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        value = self.value(x)
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, -1))
            for part in (self.query(x), self.key(x), value)
        )
        mixed = cosine_attention(k, q, v, self.temperature).reshape(x.shape)
        return self.project(mixed) + self.places(value)


class FeedForward(nn.Sequential):
    """A layer norm, then four times as wide, with a convolution of each channel."""

    def __init__(self, channels: int) -> None:
        wide = 4 * channels
        super().__init__(
            ChannelNorm(channels),
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.GELU(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.GELU(),
            nn.Conv2d(wide, channels, 1, bias=False),
        )


class Block(nn.Module):
    """SAB: attention, feed-forward."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = ChannelAttention(channels, heads)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        x = self.attention(x) + x
        return self.feed_forward(x) + x


class Up(nn.Module):
    """Twice the height and width, joined with the encoder's features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rise = nn.ConvTranspose2d(2 * channels, channels, 2, 2)
        self.join = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        """[N, 2C, H, W] and [N, C, 2H, 2W] -> [N, C, 2H, 2W]."""
        return self.join(torch.cat([self.rise(x), encoded], 1))


class MST(Denoiser):
    """Mask-guided spectral-wise transformer (Cai et al., CVPR 2022, arXiv 2111.07910).

    Made to reconstruct what a coded aperture has seen; this is its body without the mask, which
    denoises. No configuration for that is published; the depths are those of MST-M.

    Args:
        bands: B of the cubes.
        channels: C of the first scale, and of every head; by default as many as bands.
        depths: Blocks of each scale, the coarsest last; from one to the next, height and width are
            halved.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^embedding\.", "first."),
        (r"^mapping\.", "last."),
        (r"^encoder_layers\.(\d)\.0\.", r"encoder.\1."),
        (r"^encoder_layers\.(\d)\.1\.", r"halve.\1."),
        (r"^decoder_layers\.(\d)\.0\.", r"up.\1.rise."),
        (r"^decoder_layers\.(\d)\.1\.", r"up.\1.join."),
        (r"^decoder_layers\.(\d)\.2\.", r"decoder.\1."),
        (r"\.blocks\.", "."),
        (r"\.0\.to_q\.", ".attention.query."),
        (r"\.0\.to_k\.", ".attention.key."),
        (r"\.0\.to_v\.", ".attention.value."),
        (r"\.0\.rescale", ".attention.temperature"),
        (r"\.0\.proj\.", ".attention.project."),
        (r"\.0\.pos_emb\.", ".attention.places."),
        (r"\.1\.norm\.", ".feed_forward.0."),
        (r"\.1\.fn\.net\.0\.", ".feed_forward.1."),
        (r"\.1\.fn\.net\.2\.", ".feed_forward.3."),
        (r"\.1\.fn\.net\.4\.", ".feed_forward.5."),
    )

    def __init__(
        self,
        bands: int = 31,
        channels: int | None = None,
        depths: Sequence[int] = (2, 4, 4),
        zero_start: bool = False,
    ) -> None:
        super().__init__()
        self.bands = bands
        width = bands if channels is None else channels

        def blocks(scale: int) -> nn.Sequential:
            made = [Block(width << scale, 1 << scale) for _ in range(depths[scale])]
            return nn.Sequential(*made)

        scales = range(len(depths) - 1)
        self.multiple_of = 1 << len(scales)
        self.first = nn.Conv2d(bands, width, 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(blocks(scale) for scale in scales)
        self.halve = nn.ModuleList(
            nn.Conv2d(width << scale, width << scale + 1, 4, 2, 1, bias=False) for scale in scales
        )
        self.bottleneck = blocks(len(scales))
        self.up = nn.ModuleList(Up(width << scale) for scale in reversed(scales))
        self.decoder = nn.ModuleList(blocks(scale) for scale in reversed(scales))
        self.last = nn.Conv2d(width, bands, 3, padding=1, bias=False)
        for module in self.modules():
            if isinstance(module, ChannelAttention):
                for layer in (module.query, module.key, module.value, module.project):
                    nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(module.project.bias)  # type: ignore[arg-type]
        if zero_start:
            nn.init.zeros_(self.last.weight)

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        y = self.first(noisy)
        encoded = []
        for blocks, halve in zip(self.encoder, self.halve, strict=True):
            encoded.append(blocks(y))
            y = halve(encoded[-1])
        y = self.bottleneck(y)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            y = blocks(up(y, encoded.pop()))
        return self.last(y) + noisy

    @classmethod
    def of_state(
        cls, state: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None
    ) -> "MST":
        """The network that has these tensors; the authors' linear layers are convolutions here."""
        linear = (".to_q.weight", ".to_k.weight", ".to_v.weight", ".proj.weight")
        shaped = {
            name: x[..., None, None] if name.endswith(linear) else x for name, x in state.items()
        }
        return super().of_state(shaped, arguments)

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Bands, channels and depths."""
        channels, bands = state["first.weight"].shape[:2]
        scales = sum(name.startswith("halve.") for name in state)
        groups = [*(f"encoder.{scale}." for scale in range(scales)), "bottleneck."]
        depths = [
            sum(name.startswith(group) and name.endswith(".temperature") for name in state)
            for group in groups
        ]
        return {"bands": bands, "channels": channels, "depths": depths}
