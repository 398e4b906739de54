"""The U of HSDT, QRNN3D, MAN, MAC-Net and TDSAT: the bands stay, height and width are halved."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import Kind
from lightning_ras2s.networks.blocks.denoiser import Denoiser


class Place(NamedTuple):
    """A stage's place in the U."""

    kind: Kind
    inputs: int  # channels
    outputs: int
    number: int  # of its side
    decodes: bool


class UShape(Denoiser):
    """Encoder and decoder of equally many stages, joined level by level.

    With the features h of the head and e of the encoder, the decoder's first stage takes the
    last e; each further one takes what the one before gave, joined with the e of its level. The
    result is tail(last + h) + noisy.

    Args:
        channels: C of the head; each halving doubles them.
        head: [N, 1, B, H, W] -> [N, C, B, H, W].
        stage: Makes that of a place.
        tail: [N, C, B, H, W] -> [N, 1, B, H, W].
        join: Makes what joins so many channels of decoder and encoder; by default their sum.
        stages: Of each side.
        halvings: Numbers of the encoder's stages that halve.
    """

    def __init__(
        self,
        channels: int,
        head: nn.Module,
        stage: Callable[[Place], nn.Module],
        tail: nn.Module,
        join: Callable[[int], nn.Module] | None = None,
        stages: int = 5,
        halvings: Sequence[int] = (1, 3),
    ) -> None:
        super().__init__()
        self.multiple_of = 2 ** len(halvings)
        self.head = head
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        places = []
        width = channels
        for number in range(stages):
            halves = number in halvings
            places.append(
                Place("down" if halves else "plain", width, width << halves, number, False)
            )
            width <<= halves
            self.encoder.append(stage(places[-1]))
        for number, mirror in enumerate(reversed(places)):
            kind: Kind = "up" if mirror.kind == "down" else "plain"
            self.decoder.append(stage(Place(kind, mirror.outputs, mirror.inputs, number, True)))
        # The first is never called; the published networks have it, and count it.
        widths = [mirror.outputs for mirror in reversed(places)]
        self.joins = nn.ModuleList(join(width) for width in widths) if join else None
        self.tail = tail

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        return self.through_the_u(noisy[:, None])[:, 0]

    def through_the_u(self, x: Tensor) -> Tensor:
        """[N, 1, B, H, W] -> [N, 1, B, H, W]."""
        h = y = self.head(x)
        encoded = []
        for stage in self.encoder:
            y = stage(y)
            encoded.append(y)
        y = self.decoder[0](encoded.pop())
        for number, stage in enumerate(self.decoder[1:], 1):
            e = encoded.pop()
            y = stage(y + e if self.joins is None else self.joins[number](y, e))
        return self.tail(y + h) + x
