"""MAN as it was first released: a recurrence one way, then a gate of the channels."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import Kind, mix
from lightning_ras2s.networks.blocks.forget_pool import forget_pool
from lightning_ras2s.networks.blocks.gates import AttentiveSkip, ChannelGate
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.u_shape import Place, UShape
from lightning_ras2s.networks.man import gate


class Recurrence(nn.Module):
    """A recurrence over the bands, then a gate of the channels."""

    def __init__(self, channels: int, reverse: bool) -> None:
        super().__init__()
        self.reverse = reverse
        self.candidate, self.forget = gate(channels), gate(channels)
        self.channels = ChannelGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        return self.channels(
            forget_pool(self.candidate(x).tanh(), self.forget(x).sigmoid(), self.reverse)
        )


class BothWays(nn.Module):
    """The same with the sum of the recurrences both ways, of head and tail."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.candidate, self.ahead, self.back = (gate(channels) for _ in range(3))
        self.channels = ChannelGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        candidate = self.candidate(x).tanh()
        ahead = forget_pool(candidate, self.ahead(x).sigmoid())
        return self.channels(ahead + forget_pool(candidate, self.back(x).sigmoid(), reverse=True))


class Stage(nn.Sequential):
    """Convolution, recurrence."""

    def __init__(
        self, kind: Kind, inputs: int, outputs: int, transposed: bool, reverse: bool
    ) -> None:
        super().__init__()
        self.mix = mix(kind, inputs, outputs, transposed=transposed)
        self.recurrence = Recurrence(outputs, reverse)


class MANv1(UShape):
    """The first release of MAN (Lai, Fu, arXiv 2301.11525, 2023), on which TDSAT builds.

    Args:
        channels: Of the head, C.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^(encoder|decoder)\.layers\.", r"\1."),
        (r"^decoder\.fusions\.(\d)\.conv_weight\.", r"joins.\1.weigh."),
        (r"^((?:en|de)coder\.\d)\.conv\.(conv3d\.)?weight", r"\1.mix.weight"),
        (r"^((?:en|de)coder\.\d)\.attn\.", r"\1.recurrence."),
        (r"\.ffn_f\.", ".candidate."),
        (r"^(head|tail)\.1\.ffn_w\.", r"\1.1.ahead."),
        (r"^(head|tail)\.1\.ffn_w2\.", r"\1.1.back."),
        (r"\.ffn_w\.", ".forget."),
        (r"\.sca\.sca\.1\.", ".channels.weigh."),
        (r"\.w_1\.", ".0."),
        (r"\.w_2\.", ".2."),
    )

    def __init__(self, channels: int = 16, zero_start: bool = False) -> None:
        def stage(at: Place) -> Stage:
            reverse = at.number % 2 == (0 if at.decodes else 1)
            return Stage(at.kind, at.inputs, at.outputs, at.decodes, reverse)

        super().__init__(
            channels,
            head=nn.Sequential(mix("plain", 1, channels), BothWays(channels)),
            stage=stage,
            tail=nn.Sequential(mix("plain", channels, 1, transposed=True, bias=True), BothWays(1)),
            join=lambda width: AttentiveSkip(width, nn.Tanh()),
        )
        kaiming_weights(self, zero="tail.0" if zero_start else "")

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels."""
        return {"channels": state["head.0.weight"].shape[0]}
