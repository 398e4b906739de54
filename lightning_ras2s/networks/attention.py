"""AAM: attention over the encoded states of adjacent bands."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.layers import (
    accumulation_dtype,
    consume,
    conv3x3,
    over_bands,
    read_ahead,
)


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

    The paper's 3-D convolution, over [h, state_1, ..., state_L] as channels and (C, H, W) as the
    volume, is computed as a 2-D convolution with a banded kernel, whose part that reads the window
    goes ahead of the recurrence. With L = 1 the attention is 1 everywhere.

    Args:
        attention_bands: Length of the window L, odd.
    """

    def __init__(self, attention_bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(attention_bands + 1, attention_bands, 3, padding=1)

    def windows(self, states: list[Tensor]) -> list[list[Tensor]]:
        """The window of each band: its L encoded states, of those of all bands, [N, C, H, W]."""
        bands = len(states)
        indices = (window_indices(band, bands, self.conv.out_channels) for band in range(bands))
        return [[states[index] for index in window] for window in indices]

    def contexts(self, windows: list[list[Tensor]]) -> Iterator[Callable[[Tensor], Tensor]]:
        """For each band, last to first, what makes its context of the decoder's state.

        Args:
            windows: Of each band. They are taken off the list, which may be the last to hold their
                states, as soon as they are needed.
        """
        weight, bias = self.conv.weight, self.conv.bias
        if native.serves(windows[-1][-1], weight) and len(weight) in native.ATTENTION_BANDS:
            for window in consume(windows):
                yield partial(native.attend, window=window, weight=weight, bias=bias)  # type: ignore[arg-type]
            return
        kernel, bias = self._banded(windows[-1][-1].shape[1])
        joined: list[Tensor] = []
        read = partial(read_ahead, weight=kernel, bias=bias)
        for ahead in over_bands(read, self._joined(windows, joined), len(windows)):
            yield partial(self, ahead=ahead, window=joined.pop(0), kernel=kernel, bias=bias)

    def forward(
        self, state: Tensor, ahead: Tensor, window: Tensor, kernel: Tensor, bias: Tensor
    ) -> Tensor:
        """The context of one band, [N, C, H, W].

        Args:
            state: The decoder's state, [N, C, H, W].
            ahead: ``read_ahead(window, kernel, bias)``.
            window: The encoded states of this band's window, [N, L C, H, W].
            kernel: The 3-D kernel as a banded 2-D one, [L C, (1 + L) C, 3, 3].
            bias: Likewise, [L C].
        """
        logits = conv3x3(state, kernel, bias, ahead, activation="tanh")
        logits = logits.unflatten(1, (self.conv.out_channels, -1))
        attention = logits.softmax(dim=1, dtype=accumulation_dtype(logits)).to(window.dtype)
        return (attention * window.unflatten(1, (self.conv.out_channels, -1))).sum(dim=1)

    def _joined(self, windows: list[list[Tensor]], joined: list[Tensor]) -> Iterator[Tensor]:
        """The windows as [N, L C, H, W], which are also appended to ``joined``."""
        while windows:
            joined.append(torch.cat(windows.pop(), dim=1))
            yield joined[-1]

    def _banded(self, channels: int) -> tuple[Tensor, Tensor]:
        """The 3-D convolution as a 2-D one of [state, window]: its kernel and its bias."""
        channel = torch.arange(channels, device=self.conv.weight.device)
        shift = channel[:, None, None] + torch.arange(-1, 2, device=channel.device)
        band = shift == channel[None, :, None]  # [C out, C in, depth tap]
        kernel = torch.einsum("lsdij,oxd->losxij", self.conv.weight, band.to(self.conv.weight))
        bias = self.conv.bias.repeat_interleave(channels)  # type: ignore[union-attr]
        return kernel.flatten(0, 1).flatten(1, 2), bias
