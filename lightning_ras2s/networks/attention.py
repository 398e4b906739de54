"""AAM: attention over the encoded states of adjacent bands."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.layers import accumulation_dtype


def window_indices(bands: int, attention_bands: int) -> Tensor:
    """The window of every band, [B, L], of 0-based band indices.

    L consecutive bands around each band, shifted at the ends so that they stay inside the cube.
    With fewer bands than L, the indices are clamped instead.
    """
    half = attention_bands // 2
    offsets = torch.arange(attention_bands)
    first = torch.arange(bands) - half
    if bands >= attention_bands:
        first = first.clamp(0, bands - attention_bands)
    return (first[:, None] + offsets).clamp(0, bands - 1)


class AdjacentAttention(nn.Module):
    """Element-wise attention of the decoder's state over a window of encoded states.

    The paper's 3-D convolution, over [h, state_1, ..., state_L] as channels and (C, H, W) as the
    volume, is computed as two 2-D convolutions with a banded kernel: one reads the window, for all
    bands at once, the other the decoder's state. With L = 1 the attention is 1 everywhere.

    Args:
        attention_bands: Length of the window L, odd.
    """

    def __init__(self, attention_bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(attention_bands + 1, attention_bands, 3, padding=1)

    def windows(self, states: Tensor) -> Tensor:
        """Gathers the windows: states [B, N, C, H, W] -> [B, N, L C, H, W], band by channel."""
        index = window_indices(len(states), self.conv.out_channels).to(states.device)
        windows = [states.index_select(0, slot) for slot in index.unbind(1)]
        return torch.cat(windows, dim=2)

    def read(self, windows: Tensor) -> Tensor:
        """What the attention takes from the windows: [M, L C, H, W] -> [M, L C, H, W]."""
        channels = windows.shape[1] // self.conv.out_channels
        bias = self.conv.bias.repeat_interleave(channels)  # type: ignore[union-attr]
        return F.conv2d(windows, self._banded(self.conv.weight[:, 1:], channels), bias, padding=1)

    def state_kernel(self, channels: int) -> Tensor:
        """The kernel [L C, C, 3, 3] that reads the decoder's state."""
        return self._banded(self.conv.weight[:, :1], channels)

    def forward(self, state: Tensor, kernel: Tensor, read: Tensor, window: Tensor) -> Tensor:
        """The context of one band, [N, C, H, W].

        Args:
            state: The decoder's state, [N, C, H, W].
            kernel: ``state_kernel(C)``.
            read: ``read(window)`` of this band, [N, L C, H, W].
            window: The encoded states of this band's window, [N, L C, H, W].
        """
        logits = (F.conv2d(state, kernel, padding=1) + read).tanh()
        logits = logits.unflatten(1, (self.conv.out_channels, -1))
        attention = logits.softmax(dim=1, dtype=accumulation_dtype(logits)).to(window.dtype)
        return (attention * window.unflatten(1, (self.conv.out_channels, -1))).sum(dim=1)

    @staticmethod
    def _banded(weight: Tensor, channels: int) -> Tensor:
        """A 3-D kernel [L, S, 3, 3, 3] as the 2-D kernel [L C, S C, 3, 3] that does the same."""
        shift = torch.arange(channels)[:, None, None] + torch.arange(-1, 2)
        band = shift == torch.arange(channels)[None, :, None]  # [C out, C in, depth tap]
        kernel = torch.einsum("lsdij,oxd->losxij", weight, band.to(weight))
        return kernel.flatten(0, 1).flatten(1, 2)
