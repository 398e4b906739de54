"""The recurrent state of RAS2S: its compensation by the current band, and its update."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.layers import (
    Conv1x1,
    Conv3x3,
    PairConv,
    accumulation_dtype,
    conv3x3,
    over_bands,
)


class ResidualBlock(nn.Module):
    """x + conv3x3(ReLU(conv3x3(x))), plus a residual of another place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(channels, channels, "relu")
        self.conv2 = Conv3x3(channels, channels)

    def forward(self, x: Tensor, *residual: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return self.conv2(self.conv1(x), x, *residual)


HEADS = 2  # of HFComp's attention


def attend_channels(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention between channels, head by head: three times [N, C, H, W] -> the same.

    The logits are the cosines, along the pixels, between a query's channel and a key's; norms are
    at least 1e-12. There is no temperature.
    """
    heads = (queries.shape[0], HEADS, queries.shape[1] // HEADS, -1)
    q, k, v = (x.reshape(heads) for x in (queries, keys, values))
    logits = _dot(q, k.transpose(2, 3)) / (_norm(q) * _norm(k).transpose(2, 3))
    attention = logits.softmax(dim=-1)
    return (attention.to(v.dtype) @ v).view(values.shape)


def _norm(x: Tensor) -> Tensor:
    """The L2 norm along the pixels, [N, heads, C / heads, 1], in float32 or better."""
    dtype = accumulation_dtype(x)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).clamp_min(1e-12)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """A matrix product in float32 or better: over many pixels it leaves half precision's range."""
    dtype = accumulation_dtype(first)
    with torch.autocast(first.device.type, enabled=False):
        return first.to(dtype) @ second.to(dtype)


class HiddenStateCompensation(nn.Module):
    """HFComp: attention between the channels of the current band and those of the state.

    Two heads of C/2 channels; the attention matrices are C/2 x C/2, with no temperature. The
    released weights take the queries from the features and keys and values from the state; the
    paper (section 3.2) takes queries and values from the state and keys from the features.

    Args:
        channels: Hidden channels C, even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = Conv1x1(channels, channels)
        self.key_value = Conv1x1(channels, 2 * channels)
        self.refine = nn.ModuleList(ResidualBlock(channels) for _ in range(2))

    def forward(self, queries: Tensor, state: Tensor) -> Tensor:
        """The compensated state [N, C, H, W], from ``query(features)`` and the last state."""
        if not torch.is_grad_enabled() and native.serves(queries, state):
            weight, bias = self.key_value.weight, self.key_value.bias
            mixed = native.compensate(queries, state, weight, bias, HEADS)  # type: ignore[arg-type]
        else:
            mixed = attend_channels(queries, *self.key_value(state).chunk(2, dim=1))
        first, second = self.refine
        return second(first(mixed), state)


def gated_step(state: Tensor, ahead: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The next state of a convolutional gated recurrent unit (paper, section 3.2).

    update, reset = sigmoid(conv([h, x])); candidate = tanh(conv([reset * h, x]));
    h' = (1 - update) * h + update * candidate.

    Args:
        state: h [N, C, H, W].
        ahead: ``read_ahead(x, weight, bias)`` of the input x [N, C, H, W].
        weight: Of update, reset and candidate, [3 C, 2 C, 3, 3].
        bias: Likewise, [3 C].
    """
    if native.serves(state, weight):
        return native.gated_step(state, ahead, weight, bias)
    channels = state.shape[1]
    thirds = [2 * channels, channels]
    (of_gates, of_candidate), (w_gates, w_candidate) = ahead.split(thirds, 1), weight.split(thirds)
    gates = conv3x3(state, w_gates, ahead=of_gates, activation="sigmoid")
    update, reset = gates.chunk(2, dim=1)
    candidate = conv3x3(reset * state, w_candidate, ahead=of_candidate, activation="tanh")
    # Under autocast the gates are half, but the state keeps the precision it came with.
    return torch.lerp(state, candidate.to(state.dtype), update.to(state.dtype))


class ConvGRU(nn.Module):
    """``gated_step``, whose three convolutions of [h, x] are the three thirds of ``gates``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = PairConv(channels, 3 * channels)

    def read(self, x: Tensor) -> Tensor:
        """What the gates can read ahead, of the input x [N, C, H, W]."""
        return self.gates.read(x)

    def forward(self, state: Tensor, ahead: Tensor) -> Tensor:
        """The next state [N, C, H, W], from the last one and ``read(x)``."""
        return gated_step(state, ahead, self.gates.weight, self.gates.bias)  # type: ignore[arg-type]


class CompensatedGRU(nn.Module):
    """HFComp, then ConvGRU: a step of the passes from the last band to the first.

    Args:
        channels: Hidden channels C.
        compensate: Whether HFComp is there; without it the GRU reads the last state as it is.
    """

    def __init__(self, channels: int, compensate: bool) -> None:
        super().__init__()
        self.compensation = HiddenStateCompensation(channels) if compensate else None
        self.gru = ConvGRU(channels)

    def reads(self, bands: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """What each step takes from its band's features [N, C, H, W]."""
        layers = [self.gru.read]
        if self.compensation is not None:
            layers.append(self.compensation.query)
        return zip(*(over_bands(layer, bands, len(bands)) for layer in layers), strict=True)

    def forward(self, state: Tensor, gates: Tensor, queries: Tensor | None = None) -> Tensor:
        """The next state [N, C, H, W], from the last one and what ``reads`` gives for the band."""
        if self.compensation is not None and queries is not None:
            state = self.compensation(queries, state)
        return self.gru(state, gates)
