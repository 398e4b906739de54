"""The recurrent state of RAS2S: its compensation by the current band, and its update."""

from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.ras2s.layers import Conv1x1, Conv3x3, PairConv, goes_ahead

HEADS = 2  # of HFComp's attention


class ResidualBlock(nn.Module):
    """x + conv3x3(ReLU(conv3x3(x))), plus a residual of another place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(channels, channels, "relu")
        self.conv2 = Conv3x3(channels, channels)

    def forward(self, x: Tensor, *residual: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return self.conv2(self.conv1(x), x, *residual)


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
        weight, bias = self.key_value.weight, self.key_value.bias
        mixed = native.compensate(queries, state, weight, bias, HEADS)  # type: ignore[arg-type]
        first, second = self.refine
        return second(first(mixed), state)


class ConvGRU(nn.Module):
    """``gated_step``, whose three convolutions of [h, x] are the three thirds of ``gates``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = PairConv(channels, 3 * channels)

    def read(self, x: Tensor) -> Tensor:
        """What the gates can read ahead, of the input x [N, C, H, W]."""
        return self.gates.read(x)

    def forward(self, state: Tensor, read: Tensor) -> Tensor:
        """The next state [N, C, H, W], from the last one and ``read(x)``."""
        weight, bias = self.gates.weight, self.gates.bias
        if goes_ahead(read):
            return native.gated_update(state, read, weight.chunk(2, dim=1)[0])
        return native.gated_step(state, read, weight, bias)  # type: ignore[arg-type]


class CompensatedGRU(nn.Module):
    """HFComp, then ConvGRU: the recurrence of the descending passes.

    Args:
        channels: Hidden channels C.
        compensate: Whether HFComp is there; without it the GRU reads the last state as it is.
    """

    def __init__(self, channels: int, compensate: bool) -> None:
        super().__init__()
        self.compensation = HiddenStateCompensation(channels) if compensate else None
        self.gru = ConvGRU(channels)

    def read(self, features: Tensor) -> tuple[Tensor, ...]:
        """What can be read ahead, of the band's features [N, C, H, W]."""
        gates = self.gru.read(features)
        return (gates,) if self.compensation is None else (gates, self.compensation.query(features))

    def forward(self, state: Tensor, gates: Tensor, queries: Tensor | None = None) -> Tensor:
        """The next state [N, C, H, W], from the last one and what ``read`` gives."""
        if self.compensation is not None and queries is not None:
            state = self.compensation(queries, state)
        return self.gru(state, gates)
