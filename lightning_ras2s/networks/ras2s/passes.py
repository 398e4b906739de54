"""The four passes over the bands, each by its step (paper, Fig. 3).

"Descending" goes from the last band to the first, "ascending" from the first to the last.
"""

from torch import Tensor, nn

from lightning_ras2s.networks.ras2s.attention import AdjacentAttention
from lightning_ras2s.networks.ras2s.hidden_state import CompensatedGRU, ConvGRU
from lightning_ras2s.networks.ras2s.layers import Embedding, PairConv, Readout

State = Tensor  # [N, C, H, W], as are f, u, e, d and c; bands y and x are [N, 1, H, W]


class Read(nn.Module):
    """Encoder, descending: features f_i -> states u_i.

    Args:
        channels: Hidden channels C.
        compensate: Whether HFComp is there.
    """

    def __init__(self, channels: int, compensate: bool) -> None:
        super().__init__()
        self.recurrence = CompensatedGRU(channels, compensate)

    def ahead(self, f: Tensor) -> tuple[Tensor, ...]:
        """The features' parts of the gates and of HFComp."""
        return self.recurrence.read(f)

    def forward(self, h: State, *reads: Tensor) -> tuple[State, State]:
        """h, u_i."""
        h = self.recurrence(h, *reads)
        return h, h


class Fuse(nn.Module):
    """Encoder, ascending: the GRU's state, fused with u_i, is e_i and is what recurs.

    Unlike the paper's two independent directions, this pass of the released weights starts from
    the end of the first, and has no HFComp.

    Args:
        channels: Hidden channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = ConvGRU(channels)
        self.fusion = PairConv(channels, channels, "leaky_relu")

    def ahead(self, u: State, f: Tensor) -> tuple[Tensor, Tensor]:
        """Their parts of the fusion and of the gates."""
        return self.fusion.read(u), self.gru.read(f)

    def forward(self, h: State, u: Tensor, f: Tensor) -> tuple[State, State]:
        """h, e_i."""
        h = self.fusion(self.gru(h, f), u)
        return h, h


class Keep(nn.Module):
    """In place of ``Fuse`` where there are descending passes only: e_i = u_i."""

    def ahead(self, u: State, f: Tensor) -> State:
        """u_i alone."""
        return u

    def forward(self, h: State, u: State) -> tuple[State, State]:
        """h, e_i."""
        return h, u


class Attend(nn.Module):
    """Decoder, descending: windows of e^r -> contexts c_i by AAM -> states d_i.

    Args:
        channels: Hidden channels C.
        compensate: Whether HFComp is there.
        attention_bands: Length of the window L.
    """

    def __init__(self, channels: int, compensate: bool, attention_bands: int) -> None:
        super().__init__()
        self.attention = AdjacentAttention(attention_bands)
        self.recurrence = CompensatedGRU(channels, compensate)

    def ahead(self, *window: State) -> tuple[Tensor, ...]:
        """The window's part of the attention."""
        return self.attention.read(*window)

    def forward(self, h: State, *reads: Tensor) -> tuple[State, State, State]:
        """h, d_i, c_i."""
        c = self.attention(h, *reads)
        h = self.recurrence(h, *self.recurrence.read(c))
        return h, h, c


class Write(nn.Module):
    """Decoder, ascending and autoregressive: each denoised band x_i is read for the next.

    The state starts from d_1, and the feedback u from c_1.

    Args:
        channels: Hidden channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embedding = Embedding(channels)
        self.feedback_fusion = PairConv(channels, channels, "leaky_relu")
        self.gru = ConvGRU(channels)
        self.state_fusion = PairConv(channels, channels, "leaky_relu")
        self.readout = Readout(channels)

    def ahead(self, d: State, c: State, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Their parts of the fusions; the band as it is."""
        return self.state_fusion.read(d), self.feedback_fusion.read(c), y

    def forward(
        self, carry: tuple[State, State], d: Tensor, c: Tensor, y: Tensor
    ) -> tuple[tuple[State, State], Tensor]:
        """(h, u), x_i."""
        h, u = carry
        h = self.gru(h, self.gru.read(self.feedback_fusion(u, c)))
        h = self.state_fusion(h, d)
        x = self.readout(h, y)
        return (h, self.embedding(x)), x


class WriteDirectly(nn.Module):
    """In place of ``Write`` where there are descending passes only: x_i is read off d_i.

    Args:
        channels: Hidden channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.readout = Readout(channels)

    def forward(
        self, carry: tuple[State, State], d: State, c: State, y: Tensor
    ) -> tuple[tuple[State, State], Tensor]:
        """(h, u) as they are, x_i."""
        return carry, self.readout(d, y)
