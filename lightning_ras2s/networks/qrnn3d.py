"""QRNN3D: a U of quasi-recurrent units, whose directions alternate."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.qru import QRU, Direction
from lightning_ras2s.networks.blocks.u_shape import Place, UShape


class QRNN3D(UShape):
    """3-D quasi-recurrent network (Wei, Fu, Huang, IEEE TNNLS 2020, arXiv 2003.04547).

    Args:
        channels: Of the head, C.
        norm: Whether the units have batch norms.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^feature_extractor\.", "head."),
        (r"^reconstructor\.", "tail."),
        (r"^(encoder|decoder)\.layers\.", r"\1."),
        (r"\.conv\.bn\.", ".norm."),
        (r"\.conv\.(conv|deconv|upsample_conv\.conv3d)\.", ".gates."),
    )

    def __init__(self, channels: int = 16, norm: bool = True, zero_start: bool = False) -> None:
        def stage(at: Place) -> QRU:
            backward = at.number % 2 == (0 if at.decodes else 1)
            direction: Direction = "backward" if backward else "forward"
            return QRU(at.kind, at.inputs, at.outputs, direction, norm=norm, transposed=at.decodes)

        super().__init__(
            channels,
            head=QRU("plain", 1, channels, "both", norm=norm),
            stage=stage,
            tail=QRU("plain", channels, 1, "both", norm=norm, transposed=True, bias=True),
        )
        kaiming_weights(self, zero="tail.gates" if zero_start else "")

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels, and whether there are norms."""
        return {
            "channels": state["head.gates.weight"].shape[0] // 3,
            "norm": "head.norm.weight" in state,
        }
