"""SST: attention between the pixels of windows, then between the channels of the whole image."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.cosine_attention import cosine_attention
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.residual_groups import (
    FeedForward,
    Group,
    ResidualGroups,
    attend,
    group_sizes,
    together,
    windows,
)

WINDOW = 8  # pixels along rows and columns
APART = -100.0  # logits of pixels that the shift has brought together


class WindowAttention(nn.Module):
    """NLSA: attention within windows, which in every other block are shifted by half of one.

    Args:
        channels: C.
        heads: Of the attention.
        shift: Pixels.
    """

    places: Tensor

    def __init__(self, channels: int, heads: int, shift: int) -> None:
        super().__init__()
        self.heads, self.shift = heads, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        at = torch.stack(torch.meshgrid(*2 * [torch.arange(WINDOW)], indexing="ij")).flatten(1)
        down, right = at[:, :, None] - at[:, None] + WINDOW - 1
        self.register_buffer("places", down * (2 * WINDOW - 1) + right, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H, W, C]."""
        height, width = x.shape[1:3]
        logits = self.bias[self.places].movedim(-1, 0)
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            logits = logits + self._apart(height, width, x.device)[:, None].to(logits)
        q, k, v = self.qkv(windows(x, WINDOW, WINDOW)).chunk(3, dim=-1)
        mixed = self.project(attend(q, k, v, self.heads, logits))
        x = together(mixed, WINDOW, WINDOW, height, width)
        return x.roll((self.shift, self.shift), (1, 2)) if self.shift else x

    def _apart(self, height: int, width: int, device: torch.device) -> Tensor:
        """Added between pixels of a window that are not neighbours in the image."""
        regions = []
        for size in (height, width):
            place = torch.arange(size, device=device)
            regions.append((place >= size - WINDOW).long() + (place >= size - self.shift))
        region = (3 * regions[0][:, None] + regions[1]).view(1, height, width, 1)
        label = windows(region, WINDOW, WINDOW).view(-1, WINDOW**2)
        return torch.where(label[:, :, None] == label[:, None], 0.0, APART)


class ChannelAttention(nn.Module):
    """GSA: attention between the channels, over all pixels of the image."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, -1)) for part in self.qkv(x).chunk(3, dim=1)
        )
        return self.project(cosine_attention(q, k, v, self.temperature).reshape(x.shape))


class Block(nn.Module):
    """Attention within windows, attention between channels, feed-forward."""

    def __init__(self, channels: int, heads: int, shift: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.spatial = WindowAttention(channels, heads, shift)
        self.spectral = ChannelAttention(channels, heads)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H, W, C]."""
        spatial = self.spatial(self.norm1(x)).movedim(-1, 1)
        x = x + self.spectral(spatial).movedim(1, -1)
        return x + self.feed_forward(self.norm2(x))


class SST(ResidualGroups):
    """Spatial-spectral transformer (Li, Fu, Zhang, AAAI 2023, arXiv 2211.14090).

    Args:
        bands: B of the cubes.
        channels: C.
        depths: Blocks of each group.
        heads: Of the attention, in each group.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        *ResidualGroups.authors,
        (r"\.attn\.relative_position_bias_table", ".spatial.bias"),
        (r"\.attn\.", ".spatial."),
        (r"\.spectral_attn\.", ".spectral."),
        (r"\.(proj|project_out)\.", ".project."),
    )

    def __init__(
        self,
        bands: int = 31,
        channels: int = 90,
        depths: Sequence[int] = (6,) * 6,
        heads: Sequence[int] = (6,) * 6,
        zero_start: bool = False,
    ) -> None:
        groups = []
        for depth, count in zip(depths, heads, strict=True):
            shifts = [place % 2 * (WINDOW // 2) for place in range(depth)]
            groups.append(Group(channels, [Block(channels, count, shift) for shift in shifts]))
        super().__init__(bands, channels, groups)
        self.multiple_of = WINDOW
        kaiming_weights(self, zero="last" if zero_start else "")

    @classmethod
    def of_state(
        cls, state: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None
    ) -> "SST":
        """The network that has these tensors; the authors' also hold what follows from sizes."""
        derived = "relative_position_index", "attn_mask"
        kept = {name: x for name, x in state.items() if name.rpartition(".")[2] not in derived}
        return super().of_state(kept, arguments)

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Bands, channels, depths and heads."""
        channels, bands = state["first.weight"].shape[:2]
        depths, heads = group_sizes(state, "spatial.bias", axis=1)
        return {"bands": bands, "channels": channels, "depths": depths, "heads": heads}
