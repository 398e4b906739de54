"""AAM: attention over the encoded states of adjacent bands."""

import torch
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.ras2s.layers import goes_ahead
from lightning_ras2s.networks.scan import Bands


def window_indices(band: int, bands: int, attention_bands: int) -> list[int]:
    """The window of a band: L consecutive 0-based bands around it, inside the cube.

    At the ends it is shifted. With fewer bands than L, the indices are clamped instead.
    """
    first = band - attention_bands // 2
    if bands >= attention_bands:
        first = min(max(first, 0), bands - attention_bands)
    return [min(max(first + offset, 0), bands - 1) for offset in range(attention_bands)]


class AdjacentAttention(nn.Module):
    """Element-wise attention of the decoder's state over a window of encoded states.

    With L = 1 the attention is 1 everywhere.

    Args:
        attention_bands: Length of the window L, odd.
    """

    def __init__(self, attention_bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(attention_bands + 1, attention_bands, 3, padding=1)

    def windows(self, states: Bands) -> list[Bands]:
        """The windows of all bands, as L lists: of their first states, their second, ..."""
        bands = len(states)
        indices = (window_indices(band, bands, self.conv.out_channels) for band in range(bands))
        return [[states[index] for index in place] for place in zip(*indices, strict=True)]

    def read(self, *window: Tensor) -> tuple[Tensor, ...]:
        """What can be read ahead, of a window of L states, each [N, C, H, W]."""
        if not goes_ahead(window[0]):
            return window
        joined = torch.cat(window, dim=1)
        read = native.read_window(joined, self.conv.weight, self.conv.bias)  # type: ignore[arg-type]
        return read, joined

    def forward(self, state: Tensor, *reads: Tensor) -> Tensor:
        """The context of a band [N, C, H, W], from the state and what ``read`` gives."""
        weight, bias = self.conv.weight, self.conv.bias
        if goes_ahead(state):
            read, joined = reads
            return native.attend_read(state, read, joined, weight)
        return native.attend(state, list(reads), weight, bias)  # type: ignore[arg-type]
