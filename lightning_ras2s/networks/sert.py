"""SERT: attention within rectangles of windows, and a memory that enhances the spectrum."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

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

SHARE = 0.1  # of the enhanced features
MIXED = 4  # groups of channels that are shuffled


class RectangleAttention(nn.Module):
    """Attention within rectangles, of half of the channels.

    Args:
        channels: Of this half.
        heads: Of the attention.
        rows: Of a rectangle.
        columns: Of a rectangle.
    """

    def __init__(self, channels: int, heads: int, rows: int, columns: int) -> None:
        super().__init__()
        self.heads, self.rows, self.columns = heads, rows, columns
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Three [N, H, W, C] -> [N, H, W, C]."""
        height, width = v.shape[1:3]
        q, k, v = (windows(x, self.rows, self.columns) for x in (q, k, v))
        images = v.flatten(0, 1).transpose(1, 2).unflatten(2, (self.rows, self.columns))
        place = self.around(images).flatten(2).transpose(1, 2).view_as(v)
        mixed = attend(q, k, v, self.heads) + place
        return together(mixed, self.rows, self.columns, height, width)


class SpectralMemory(nn.Module):
    """Weighs the channels of each window by a memory of spectra, of low rank.

    Args:
        channels: C.
        memory: Vectors that it holds.
        reduction: Of the channels, for the rank.
    """

    def __init__(self, channels: int, memory: int, reduction: int) -> None:
        super().__init__()
        rank = channels // reduction
        self.squeeze = nn.Sequential(
            nn.Linear(channels, channels // 4), nn.GELU(), nn.Linear(channels // 4, channels)
        )
        self.down, self.up = nn.Linear(channels, rank), nn.Linear(rank, channels)
        self.memory = nn.Parameter(torch.randn(rank, memory))

    def forward(self, x: Tensor) -> Tensor:
        """[N, windows, tokens, C] -> [N, windows, tokens, C]."""
        features = self.squeeze(x)
        low = self.down(features.mean(2, keepdim=True))
        weights = (low @ self.memory / self.memory.shape[0] ** 0.5).softmax(-1)
        return features * self.up(weights @ self.memory.T).sigmoid()


class Attention(nn.Module):
    """Rectangles that stand and lie, of half of the channels each, and the spectral memory.

    Args:
        channels: C.
        heads: Of the attention.
        window: Pixels along rows and columns.
        split: Pixels of a rectangle's short side.
        memory: As for SpectralMemory.
        reduction: Likewise.
    """

    def __init__(
        self, channels: int, heads: int, window: int, split: int, memory: int, reduction: int
    ) -> None:
        super().__init__()
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.standing = RectangleAttention(channels // 2, heads // 2, window, split)
        self.lying = RectangleAttention(channels // 2, heads // 2, split, window)
        self.spectral = SpectralMemory(channels, memory, reduction)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H, W, C]."""
        parts = zip(*(part.chunk(2, dim=-1) for part in self.qkv(x).chunk(3, dim=-1)), strict=True)
        halves = [
            branch(*part) for branch, part in zip((self.standing, self.lying), parts, strict=True)
        ]
        shuffled = torch.cat(halves, -1).unflatten(-1, (MIXED, -1)).transpose(-1, -2).flatten(-2)
        enhanced = self.spectral(windows(x, self.window, self.window))
        enhanced = together(enhanced, self.window, self.window, *x.shape[1:3])
        return self.project(shuffled + SHARE * enhanced)


class Block(nn.Module):
    """Attention, in every other block of a shifted image; feed-forward."""

    def __init__(self, channels: int, shift: int, **options: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, **options)
        self.feed_forward = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H, W, C]."""
        shifted = self.norm1(x).roll((-self.shift, -self.shift), (1, 2))
        x = x + self.attention(shifted).roll((self.shift, self.shift), (1, 2))
        return x + self.feed_forward(self.norm2(x))


class SERT(ResidualGroups):
    """Spectral enhanced rectangle transformer (Li, Liu, Fu, Zhang, Dou, CVPR 2023).

    arXiv 2304.00844. Height and width are mirrored up to whole windows: the authors' 16 pixels
    are not enough for theirs of 32.

    Args:
        bands: B of the cubes.
        channels: C.
        depths: Blocks of each group.
        window_sizes: Pixels of a window's side, in each group.
        splits: Pixels of a rectangle's short side, likewise.
        heads: Of the attention, likewise.
        memory: Vectors of the spectral memory.
        reduction: Channels by the rank of that memory.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        *ResidualGroups.authors,
        (r"\.attns\.attns\.0\.get_v\.", ".attention.standing.around."),
        (r"\.attns\.attns\.1\.get_v\.", ".attention.lying.around."),
        (r"\.attns\.c_attns\.cab\.3\.mb", ".attention.spectral.memory"),
        (r"\.attns\.c_attns\.cab\.3\.subnet\.0\.", ".attention.spectral.down."),
        (r"\.attns\.c_attns\.cab\.3\.upnet\.0\.", ".attention.spectral.up."),
        (r"\.attns\.c_attns\.cab\.", ".attention.spectral.squeeze."),
        (r"\.attns\.proj\.", ".attention.project."),
        (r"\.attns\.", ".attention."),
    )

    def __init__(
        self,
        bands: int = 31,
        channels: int = 96,
        depths: Sequence[int] = (6, 6, 6),
        window_sizes: Sequence[int] = (16, 32, 32),
        splits: Sequence[int] = (1, 2, 4),
        heads: Sequence[int] = (6, 6, 6),
        memory: int = 128,
        reduction: int = 8,
        zero_start: bool = False,
    ) -> None:
        groups = []
        for depth, window, split, count in zip(depths, window_sizes, splits, heads, strict=True):
            blocks = [
                Block(
                    channels,
                    place % 2 * (window // 2),
                    heads=count,
                    window=window,
                    split=split,
                    memory=memory,
                    reduction=reduction,
                )
                for place in range(depth)
            ]
            groups.append(Group(channels, blocks))
        super().__init__(bands, channels, groups)
        self.multiple_of = math.lcm(*window_sizes)
        kaiming_weights(self, zero="last" if zero_start else "")

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """What the tensors say, and the windows, splits and heads of the published network.

        Raises:
            ValueError: If there is none of so many channels and groups.
        """
        channels, bands = state["first.weight"].shape[:2]
        depths, ranks = group_sizes(state, "attention.spectral.memory", axis=0)
        if (channels, len(depths)) not in PUBLISHED:
            raise ValueError(
                f"no published SERT has {channels} channels and {len(depths)} groups, and the "
                "tensors do not say its windows and heads; load it into a SERT(...) of your own"
            )
        window_sizes, splits = PUBLISHED[channels, len(depths)]
        return {
            "bands": bands,
            "channels": channels,
            "depths": depths,
            "window_sizes": window_sizes,
            "splits": splits,
            "heads": [6] * len(depths),
            "memory": state["groups.0.blocks.0.attention.spectral.memory"].shape[1],
            "reduction": channels // ranks[0],
        }


PUBLISHED = {
    (96, 3): ((16, 32, 32), (1, 2, 4)),  # base, small, real
    (96, 2): ((16, 32), (2, 4)),  # tiny
    (192, 3): ((8, 16, 16), (2, 4, 4)),  # urban
}
"""Windows and splits by channels and groups."""
