"""The quasi-recurrent unit of QRNN3D and GRUNet: a convolution makes the gates of all bands."""

from typing import Literal

from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import Kind, mix
from lightning_ras2s.networks.blocks.forget_pool import forget_pool

Direction = Literal["forward", "backward", "both"]


class QRU(nn.Module):
    """Batch norm, convolution to a candidate and its gates, recurrence over the bands.

    Args:
        kind: What becomes of height and width.
        inputs: Channels.
        outputs: Channels.
        direction: Of the recurrence; the states of both are added.
        norm: Whether there is the batch norm.
        kernel: Bands, rows and columns of the convolution.
        transposed: Whether a plain one is transposed.
        bias: Whether it adds one.
    """

    def __init__(
        self,
        kind: Kind,
        inputs: int,
        outputs: int,
        direction: Direction,
        *,
        norm: bool = True,
        kernel: int = 3,
        transposed: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.direction = direction
        self.norm = nn.BatchNorm3d(inputs) if norm else nn.Identity()
        parts = 3 if direction == "both" else 2
        self.gates = mix(
            kind, inputs, parts * outputs, kernel=kernel, transposed=transposed, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C', B, H', W']."""
        gates = self.gates(self.norm(x))
        if self.direction == "both":
            candidate, ahead, back = gates.chunk(3, dim=1)
            candidate = candidate.tanh()
            return forget_pool(candidate, ahead.sigmoid()) + forget_pool(
                candidate, back.sigmoid(), reverse=True
            )
        candidate, forget = gates.chunk(2, dim=1)
        return forget_pool(candidate.tanh(), forget.sigmoid(), self.direction == "backward")
