"""The recurrent state of RAS2S: its compensation by the current band, and its update."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.layers import PairConv, accumulation_dtype, conv3x3, over_bands


def _unit_norm(x: Tensor) -> Tensor:
    """Divides each channel of [N, C, H, W] by its L2 norm along the pixels (at least 1e-12)."""
    norm = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True, dtype=accumulation_dtype(x))
    return (x / norm.clamp_min(1e-12)).to(x.dtype)


class ResidualBlock(nn.Module):
    """x + conv3x3(ReLU(conv3x3(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))


class HiddenStateCompensation(nn.Module):
    """HFComp: attention between the channels of the current band and those of the state.

    Two heads of C/2 channels; the attention matrices are C/2 x C/2, with no temperature. The
    released weights take the queries from the features and keys and values from the state; the
    paper (section 3.2) takes queries and values from the state and keys from the features.

    Args:
        channels: Hidden channels C, even.
    """

    HEADS = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.refine = nn.Sequential(ResidualBlock(channels), ResidualBlock(channels))

    def queries(self, features: Tensor) -> Tensor:
        """Queries [M, C, H, W] of unit norm, of as many bands as are known at the time."""
        return _unit_norm(self.query(features))

    def forward(self, queries: Tensor, state: Tensor) -> Tensor:
        """The compensated state [N, C, H, W], from the band's queries and the last state."""
        key, value = self.key_value(state).chunk(2, dim=1)
        key = _unit_norm(key)
        heads = [
            self._attend(*head)
            for head in zip(
                queries.chunk(self.HEADS, 1),
                key.chunk(self.HEADS, 1),
                value.chunk(self.HEADS, 1),
                strict=True,
            )
        ]
        mixed = torch.cat(heads, dim=2).transpose(1, 2).unflatten(2, state.shape[2:])
        return self.refine(mixed) + state

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """One head, three times [N, C/2, H, W] -> [N, H W, C/2]."""
        logits = query.flatten(2) @ key.flatten(2).transpose(1, 2)
        attention = logits.softmax(dim=-1, dtype=accumulation_dtype(logits)).to(value.dtype)
        return value.flatten(2).transpose(1, 2) @ attention.transpose(1, 2)


class ConvGRU(nn.Module):
    """Convolutional gated recurrent unit on [h, x] (paper, section 3.2).

    update, reset = sigmoid(conv([h, x])); candidate = tanh(conv([reset * h, x]));
    h' = (1 - update) * h + update * candidate. The three convolutions are the three thirds of
    ``gates``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = PairConv(channels, 3 * channels)

    def read(self, x: Tensor) -> Tensor:
        """What all gates take from the input: [M, C, H, W] -> [M, 3 C, H, W]."""
        return self.gates.second(x)

    def forward(self, state: Tensor, read: Tensor) -> Tensor:
        """The next state [N, C, H, W], from the last one and ``read(x)`` [N, 3 C, H, W]."""
        channels = state.shape[1]
        weight = self.gates.weight[:, :channels]
        both, rest = read.split([2 * channels, channels], dim=1)
        gates = F.conv2d(state, weight[: 2 * channels], padding=1) + both
        update, reset = gates.sigmoid().chunk(2, dim=1)
        candidate = F.conv2d(reset * state, weight[2 * channels :], padding=1) + rest
        # Under autocast the gates are half, but the state keeps the precision it came with.
        return torch.lerp(state, candidate.tanh().to(state.dtype), update.to(state.dtype))


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

    def read(self, features: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """What each step takes from features [B, N, C, H, W], for B bands at once."""
        reads = over_bands(self.gru.read, features).unbind()
        if self.compensation is None:
            return [(read, None) for read in reads]
        queries = over_bands(self.compensation.queries, features).unbind()
        return list(zip(reads, queries, strict=True))

    def forward(self, state: Tensor, read: tuple[Tensor, Tensor | None]) -> Tensor:
        """The next state [N, C, H, W], from the last one and what ``read`` gave for the band."""
        gates, queries = read
        if self.compensation is not None and queries is not None:
            state = self.compensation(queries, state)
        return self.gru(state, gates)
