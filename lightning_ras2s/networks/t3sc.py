"""T3SC: two layers of sparse coding, of spectra and of patches, whose iterations are unrolled."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.denoiser import Denoiser

CENTRE = 56  # pixels, of which the noise of a band is estimated


class Layer(NamedTuple):
    """A layer's sizes."""

    patch: int  # pixels along rows and columns
    iterations: int
    rank: int  # of its kernels
    codes: int


class LowRankKernel(nn.ParameterList):
    """Kernels of ``codes`` x ``inputs`` x p x p, each a product of two factors."""

    def __init__(self, inputs: int, layer: Layer) -> None:
        factors = [
            torch.empty(layer.codes, inputs, layer.rank),
            torch.empty(layer.codes, layer.rank, layer.patch**2),
        ]
        for factor in factors:  # as the authors': kaiming_uniform_ of the three axes
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5))
        super().__init__(factors)

    def kernels(self) -> Tensor:
        """Themselves [codes, inputs, p, p]."""
        spectral, spatial = self
        kernels = spectral @ spatial
        side = math.isqrt(kernels.shape[-1])
        return kernels.unflatten(-1, (side, side))


def shrink(x: Tensor, threshold: Tensor) -> Tensor:
    """Soft threshold, in the form that also takes negative ones."""
    return F.relu(x - threshold) - F.relu(-x - threshold)


class SparseCoding(nn.Module):
    """Iterative shrinkage with kernels and thresholds that are learned.

    Args:
        inputs: Channels.
        layer: Its sizes.
    """

    def __init__(self, inputs: int, layer: Layer) -> None:
        super().__init__()
        self.patch = layer.patch
        self.analysis, self.synthesis, self.readout = (
            LowRankKernel(inputs, layer) for _ in range(3)
        )
        start = torch.full((1, layer.codes, 1, 1), 1e-3)
        self.thresholds = nn.ParameterList(start.clone() for _ in range(layer.iterations))

    def encode(self, x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes [N, codes, H', W'] of [N, C, H, W], and the means that were taken from it.

        Args:
            x: Of a layer of single pixels, each channel's mean is taken; else that of each patch.
            weights: Of the channels [N, C, 1, 1], by how little noise they have.
        """
        analysis, synthesis = self.analysis.kernels(), self.synthesis.kernels()
        if self.patch == 1:
            mean = x.mean((2, 3), keepdim=True)
            x = x - mean
            centred = analysis
        else:
            mean = F.avg_pool2d(x, self.patch, 1)
            centred = analysis - analysis.mean((2, 3), keepdim=True)
        first = F.conv2d(x if weights is None else x * weights, centred)
        codes = shrink(first, self.thresholds[0])
        for threshold in self.thresholds[1:]:
            made = F.conv_transpose2d(codes, synthesis)
            made = made if weights is None else made * weights
            codes = shrink(first + codes - F.conv2d(made, analysis), threshold)
        return codes, mean

    def decode(self, codes: Tensor, mean: Tensor) -> Tensor:
        """What the codes stand for [N, C, H, W]; where patches overlap, their mean."""
        made = F.conv_transpose2d(codes, self.readout.kernels())
        if self.patch == 1:
            return made + mean
        ones = made.new_ones(1, 1, self.patch, self.patch)
        channels = mean.shape[1]
        spread = F.conv_transpose2d(mean, ones.expand(channels, -1, -1, -1), groups=channels)
        return (made + spread) / F.conv_transpose2d(torch.ones_like(codes[:1, :1]), ones)


class NoiseEstimate(nn.Sequential):
    """How noisy a band is, in 0 to 1, of 56 x 56 pixels in its middle."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 64, 5, 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 1, 3),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, 1, 1]."""
        x = x - x.mean((2, 3), keepdim=True)
        top, left = ((size - CENTRE) // 2 for size in x.shape[2:])
        block = x[..., top : top + CENTRE, left : left + CENTRE]
        return super().forward(block.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2])[:, :, 0]


class T3SC(Denoiser):
    """Trainable spectral-spatial sparse coding (Bodrito et al., NeurIPS 2021, arXiv 2111.09708).

    Args:
        bands: B of the cubes.
        layers: Patch, iterations, rank and codes of each layer; the first is of single pixels.
        noise_adaptive: Weigh the bands by how little noise they have, as the authors advise where
            it differs from band to band (76,673 more weights).
    """

    authors = (
        (r"\.C\.(\d)$", r".analysis.\1"),
        (r"\.D\.(\d)$", r".synthesis.\1"),
        (r"\.W\.(\d)$", r".readout.\1"),
        (r"\.thresholds\.lbda\.", ".thresholds."),
        (r"^layers\.0\.beta_estimator\.", "noise."),
    )

    def __init__(
        self,
        bands: int = 31,
        layers: Sequence[Sequence[int]] = ((1, 12, 1, 64), (5, 5, 3, 1024)),
        noise_adaptive: bool = False,
    ) -> None:
        super().__init__()
        self.bands = bands
        self.layers = nn.ModuleList()
        inputs = bands
        for layer in (Layer(*sizes) for sizes in layers):
            self.layers.append(SparseCoding(inputs, layer))
            inputs = layer.codes
        self.noise = NoiseEstimate() if noise_adaptive else None
        self.least = CENTRE if noise_adaptive else max(layer[0] for layer in layers)

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        weights = None if self.noise is None else 1 - self.noise(noisy)
        means = []
        x = noisy
        for layer in self.layers:
            x, mean = layer.encode(x, weights)  # type: ignore[operator]
            means.append(mean)
            weights = None  # of the bands only
        for layer in reversed(self.layers):
            x = layer.decode(x, means.pop())  # type: ignore[operator]
        return x

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Bands, layers, and whether the noise is estimated."""
        layers: list[list[int]] = []
        while (name := f"layers.{len(layers)}.analysis.1") in state:
            codes, rank, area = state[name].shape
            start = f"layers.{len(layers)}.thresholds."
            iterations = sum(key.startswith(start) for key in state)
            layers.append([math.isqrt(area), iterations, rank, codes])
        return {
            "bands": state["layers.0.analysis.0"].shape[1],
            "layers": layers,
            "noise_adaptive": "noise.0.weight" in state,
        }
