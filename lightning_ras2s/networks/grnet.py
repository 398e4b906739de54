"""GRNet: a U-Net that reasons between all channels on the way down, all pixels on the way up."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.denoiser import Denoiser
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights


class Block(nn.Module):
    """Two convolutions, and one of single pixels beside them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.residual = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H, W]."""
        return F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x)))) + self.residual(x)


class GlobalChannels(nn.Module):
    """GCM: a graph of channels, whose nodes exchange what they know of the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few, half = channels // 4, channels // 2
        self.nodes = nn.Conv2d(channels, few, 1)
        self.features = nn.Conv2d(channels, half, 1)
        self.between_nodes = nn.Conv2d(few, few, 1)
        self.between_features = nn.Conv2d(half, half, 1)
        self.project = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        nodes, features = self.nodes(x).flatten(2), self.features(x).flatten(2)
        graph = softmax_of_all(nodes @ features.transpose(1, 2))
        graph = F.relu(graph + self.between_nodes(graph[..., None])[..., 0])
        mixed = self.between_features(graph.transpose(1, 2)[..., None])[..., 0]
        return x + self.project((mixed @ nodes).unflatten(2, x.shape[2:]))


class GlobalPixels(nn.Module):
    """GSM: every pixel reads from all others, by way of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.query, self.key, self.value = (nn.Conv2d(channels, half, 1) for _ in range(3))
        self.project = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        key, value = (softmax_of_all(part(x).flatten(2)) for part in (self.key, self.value))
        read = self.query(x).flatten(2) @ key.transpose(1, 2) @ value
        return x + self.project(read.unflatten(2, x.shape[2:]))


def softmax_of_all(x: Tensor) -> Tensor:
    """Over both axes of [N, R, S] together."""
    return x.flatten(1).softmax(1).view_as(x)


class Down(nn.Module):
    """A level of the encoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = Block(inputs, outputs)
        self.reason = GlobalChannels(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H, W]."""
        return self.reason(self.block(x)) + self.skip(x)


class Up(nn.Module):
    """A level of the decoder, on its own features and those of the encoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.rise = nn.ConvTranspose2d(inputs, outputs, 2, 2)
        self.reason = GlobalPixels(inputs)
        self.block = Block(inputs, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        """[N, C, H, W] and [N, C / 2, 2H, 2W] -> [N, C / 2, 2H, 2W]."""
        both = torch.cat([encoded, self.rise(x)], 1)
        return self.block(self.reason(both)) + self.skip(both)


class GRNet(Denoiser):
    """Global reasoning network (Cao, Fu, Xu, Meng, IEEE TGRS 60, 2022).

    Its authors have released no code that was found; this is the network with which SERT's authors
    compared theirs.

    Args:
        bands: B of the cubes.
        widths: Channels of each level.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^Down(\d)\.", r"halve.\1."),
        (r"^Conv\.", "last."),
        (r"^Conv(\d)\.", r"encoder.\1.block."),
        (r"^skip(\d)\.", r"encoder.\1.skip."),
        (r"^GCM(\d)\.", r"encoder.\1.reason."),
        (r"^Up_conv(\d)\.", r"decoder.\1.block."),
        (r"^Up(\d)\.", r"decoder.\1.rise."),
        (r"^GSM(\d)\.", r"decoder.\1.reason."),
        (r"^skip_up(\d)\.", r"decoder.\1.skip."),
        (r"\.conv\.0\.", ".conv1."),
        (r"\.conv\.2\.", ".conv2."),
        (r"\.conv_residual\.", ".residual."),
        (r"^(encoder\.\d\.reason)\.conv1\.", r"\1.nodes."),
        (r"^(encoder\.\d\.reason)\.conv2\.", r"\1.features."),
        (r"^(encoder\.\d\.reason)\.conv3\.", r"\1.between_nodes."),
        (r"^(encoder\.\d\.reason)\.conv4\.", r"\1.between_features."),
        (r"^(encoder\.\d\.reason)\.conv5\.", r"\1.project."),
        (r"^(decoder\.\d\.reason)\.conv1\.", r"\1.query."),
        (r"^(decoder\.\d\.reason)\.conv2\.", r"\1.key."),
        (r"^(decoder\.\d\.reason)\.conv3\.", r"\1.value."),
        (r"^(decoder\.\d\.reason)\.conv4\.", r"\1.project."),
    )

    def __init__(
        self,
        bands: int = 31,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        zero_start: bool = False,
    ) -> None:
        super().__init__()
        self.bands = bands
        self.multiple_of = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleDict({"1": Down(bands, widths[0])})  # by the numbers of the paper
        self.halve, self.decoder = nn.ModuleDict(), nn.ModuleDict()
        for level, (wide, narrow) in enumerate(pairwise(widths), 1):
            self.halve[f"{level}"] = nn.Conv2d(wide, wide, 4, 2, 1)
            self.encoder[f"{level + 1}"] = Down(wide, narrow)
            self.decoder[f"{level + 1}"] = Up(narrow, wide)
        self.last = nn.Conv2d(widths[0], bands, 1)
        kaiming_weights(self, zero="last" if zero_start else "")

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        first, *others = self.encoder.values()
        encoded = [first(noisy)]
        for halve, level in zip(self.halve.values(), others, strict=True):
            encoded.append(level(halve(encoded[-1])))
        y = encoded.pop()
        for level in reversed(list(self.decoder.values())):
            y = level(y, encoded.pop())
        return self.last(y) + noisy

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Bands and widths."""
        widths: list[int] = []
        while (name := f"encoder.{len(widths) + 1}.skip.weight") in state:
            widths.append(state[name].shape[0])
        return {"bands": state["last.weight"].shape[0], "widths": widths}
