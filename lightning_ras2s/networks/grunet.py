"""GRUNet: a deep U of residual quasi-recurrent blocks."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.denoiser import Denoiser
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.qru import QRU


class Block(nn.Module):
    """Two units of 3 x 3 x 3, and beside them one of 1 x 1 x 1."""

    def __init__(self, inputs: int, outputs: int, transposed: bool, norm: bool) -> None:
        super().__init__()
        options: dict[str, Any] = {"norm": norm, "transposed": transposed}
        self.unit1 = QRU("plain", inputs, outputs, "forward", **options)
        self.unit2 = QRU("plain", outputs, outputs, "forward", **options)
        self.residual = QRU("plain", inputs, outputs, "forward", kernel=1, **options)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C', B, H, W]."""
        return self.unit2(self.unit1(x)) + self.residual(x)


class GRUNet(Denoiser):
    """Gated recurrent U-Net (Lai, Wei, Fu, Neurocomputing 481, 2022, arXiv 2209.08240).

    Args:
        widths: Channels of each level; from one to the next, height and width are halved.
        norm: Whether the units have batch norms.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^Conv1\.", "head."),
        (r"^Conv\.", "tail."),
        (r"^Down(\d)\.", r"down.\1."),
        (r"^Up(\d)\.", r"up.\1."),
        (r"^Conv(\d)\.", r"encoder.\1."),
        (r"^Up_conv(\d)\.", r"decoder.\1."),
        (r"\.conv([12])\.conv\.", r".unit\1.conv."),
        (r"\.conv_residual\.", ".residual."),
        (r"\.conv\.bn\.", ".norm."),
        (r"\.conv\.(conv|deconv|upsample_conv\.conv3d)\.", ".gates."),
    )

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128, 256),
        norm: bool = False,
        zero_start: bool = False,
    ) -> None:
        super().__init__()
        self.multiple_of = 2 ** (len(widths) - 1)
        self.head = QRU("plain", 1, widths[0], "both", norm=norm)
        self.down, self.encoder = nn.ModuleDict(), nn.ModuleDict()  # by the numbers of the paper
        self.up, self.decoder = nn.ModuleDict(), nn.ModuleDict()
        for level, (wide, narrow) in enumerate(pairwise(widths), 1):
            self.down[f"{level}"] = QRU("down", wide, wide, "backward", norm=norm)
            self.encoder[f"{level + 1}"] = Block(wide, narrow, False, norm)
            self.up[f"{level + 1}"] = QRU("up", narrow, wide, "backward", norm=norm)
            self.decoder[f"{level + 1}"] = Block(2 * wide, wide, True, norm)
        self.tail = QRU("plain", widths[0], 1, "both", norm=norm, transposed=True, bias=True)
        kaiming_weights(self, zero="tail.gates" if zero_start else "")

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        x = noisy[:, None]
        encoded = [self.head(x)]
        for down, block in zip(self.down.values(), self.encoder.values(), strict=True):
            encoded.append(block(down(encoded[-1])))
        y = encoded.pop()
        for level in reversed(list(self.up)):
            y = self.decoder[level](torch.cat([encoded.pop(), self.up[level](y)], 1))
        return (self.tail(y) + x)[:, 0]

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Widths, and whether there are norms."""
        widths = [state["head.gates.weight"].shape[0] // 3]
        while (name := f"encoder.{len(widths) + 1}.residual.gates.weight") in state:
            widths.append(state[name].shape[0] // 2)
        return {"widths": widths, "norm": "head.norm.weight" in state}
