"""The frame of SST and SERT: groups of attention blocks between convolutions."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.denoiser import Denoiser


class FeedForward(nn.Sequential):
    """Two linear layers of each pixel, [..., C] -> [..., C], twice as wide between them."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )


class Group(nn.Module):
    """Blocks of [N, H, W, C], then a convolution; the input is added."""

    def __init__(self, channels: int, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return x + self.conv(self.blocks(x.movedim(1, -1)).movedim(-1, 1).contiguous())


class ResidualGroups(Denoiser):
    """Convolution to C channels, groups, two convolutions back; the noisy cube is added.

    The drop path that both papers name never acted in their published trainings, whose engine
    trains in evaluation mode; it is left out.

    Args:
        bands: B of the cubes.
        channels: C.
        groups: [N, C, H, W] -> [N, C, H, W] each.
    """

    authors: ClassVar[Sequence[tuple[str, str]]] = (
        (r"^conv_first\.", "first."),
        (r"^output\.", "middle."),
        (r"^conv_delasta\.", "last."),
        (r"^layers\.", "groups."),
        (r"\.smsblock\.", ".blocks."),
        (r"\.mlp\.fc1\.", ".feed_forward.0."),
        (r"\.mlp\.fc2\.", ".feed_forward.2."),
    )

    def __init__(self, bands: int, channels: int, groups: Sequence[Group]) -> None:
        super().__init__()
        self.bands = bands
        self.first = nn.Conv2d(bands, channels, 3, padding=1)
        self.groups = nn.Sequential(*groups)
        self.middle = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.last = nn.Conv2d(channels, bands, 3, padding=1)

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        features = self.first(noisy)
        return self.last(self.middle(self.groups(features) + features)) + noisy


def windows(x: Tensor, rows: int, columns: int) -> Tensor:
    """Cuts [N, H, W, C] into [N, windows, rows * columns, C], row after row."""
    n, height, width, channels = x.shape
    cut = x.view(n, height // rows, rows, width // columns, columns, channels)
    return cut.transpose(2, 3).reshape(n, -1, rows * columns, channels)


def together(cut: Tensor, rows: int, columns: int, height: int, width: int) -> Tensor:
    """Puts the windows together again: [N, H, W, C]."""
    n, channels = len(cut), cut.shape[-1]
    x = cut.view(n, height // rows, width // columns, rows, columns, channels)
    return x.transpose(2, 3).reshape(n, height, width, channels)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, logits: Tensor | None = None) -> Tensor:
    """Attention between the tokens of each window.

    Args:
        q: [N, windows, tokens, C], as are k and v.
        k: Keys.
        v: Values.
        heads: Consecutive parts of the channels.
        logits: Are added, [windows, heads, tokens, tokens] or without windows.

    Returns:
        [N, windows, tokens, C].
    """
    n, count = q.shape[:2]
    q, k, v = (x.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    if logits is not None and logits.ndim == 4:
        logits = logits.expand(n, *logits.shape).flatten(0, 1)
    mixed = F.scaled_dot_product_attention(q, k, v, logits)
    return mixed.transpose(1, 2).flatten(2).unflatten(0, (n, count))


def group_sizes(state: Mapping[str, Tensor], name: str, axis: int) -> tuple[list[int], list[int]]:
    """Blocks of each group, and the size of a tensor of its first block along an axis."""
    depths: list[int] = []
    sizes = []
    while f"groups.{len(depths)}.blocks.0.{name}" in state:
        group = f"groups.{len(depths)}.blocks."
        sizes.append(state[f"{group}0.{name}"].shape[axis])
        depths.append(sum(key.startswith(group) and key.endswith(name) for key in state))
    return depths, sizes
