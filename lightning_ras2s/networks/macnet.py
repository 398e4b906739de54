"""MAC-Net: a subspace that is found by equations, whose images a U of 3-D convolutions denoises."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_ras2s.networks.blocks.convolution import Kind, mix
from lightning_ras2s.networks.blocks.initial_weights import kaiming_weights
from lightning_ras2s.networks.blocks.nonlocal_means import nonlocal_means, wavelet_sigma
from lightning_ras2s.networks.blocks.u_shape import Place, UShape

STRENGTH = 0.08  # of the non-local means
FEWEST = 3  # images of the subspace


class Unit(nn.Sequential):
    """Batch norm, ReLU, convolution."""

    def __init__(self, kind: Kind, inputs: int, outputs: int, transposed: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(inputs)
        self.activation = nn.ReLU()
        self.conv = mix(kind, inputs, outputs, transposed=transposed)


class NonLocal(nn.Module):
    """Attention over all voxels whose cost grows with their number only.

    Shen et al., "Efficient Attention", WACV 2021.

    Args:
        channels: Of what comes in.
        width: Of keys, queries and values.
        heads: Of the attention.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.keys, self.queries, self.values = (nn.Conv3d(channels, width, 1) for _ in range(3))
        self.project = nn.Conv3d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, B, H, W] -> [N, C, B, H, W]."""
        keys, queries, values = (
            part(x).flatten(2).unflatten(1, (self.heads, -1))
            for part in (self.keys, self.queries, self.values)
        )
        context = keys.softmax(-1) @ values.transpose(2, 3)
        read = context.transpose(2, 3) @ queries.softmax(2)
        return self.project(read.flatten(1, 2).unflatten(2, x.shape[2:])) + x


class Subspace(NamedTuple):
    """Of a batch of cubes; none of it has gradients."""

    images: Tensor  # [N, d, H, W]
    directions: Tensor  # of the whitened spectra [N, B, d]
    sigma: Tensor  # of the noise [N, B]


class MACNet(UShape):
    """Model-aided nonlocal network (Xiong, Zhou, Zhao, Lu, Qian, IEEE TGRS 2022).

    Args:
        channels: Of the head, C.
        divisor: Of the subspace's dimensions: 3 as in SERT's comparison, and by the authors for
            real scenes; 1 as by the authors for made noise.
        zero_start: As RAS2S has it: the untrained network returns its input. Its authors do not.
    """

    authors = (
        (r"^feature_extractor\.", "head."),
        (r"^reconstructor\.", "tail.0."),
        (r"^decoder\.4\.(?!\d)", "decoder.4.0."),
        (r"^enl_2\.", "decoder.4.1."),
        (r"^enl_3\.", "tail.1."),
        (r"\.bn\.", ".norm."),
        (r"\.(deconv|upsample_conv\.conv3d)\.", ".conv."),
        (r"\.reprojection\.", ".project."),
    )

    def __init__(self, channels: int = 16, divisor: int = 3, zero_start: bool = False) -> None:
        def stage(at: Place) -> nn.Module:
            unit = Unit(at.kind, at.inputs, at.outputs, transposed=at.decodes)
            is_last = at.decodes and at.number == 4
            return (
                nn.Sequential(unit, NonLocal(at.outputs, at.outputs // 2, 2)) if is_last else unit
            )

        super().__init__(
            channels,
            head=Unit("plain", 1, channels),
            stage=stage,
            tail=nn.Sequential(Unit("plain", channels, 1, transposed=True), NonLocal(1, 1, 1)),
        )
        self.divisor = divisor
        kaiming_weights(self, zero="tail.0.conv" if zero_start else "")

    def denoise(self, noisy: Tensor) -> Tensor:
        """[N, B, H, W] -> [N, B, H, W]."""
        images, directions, sigma = self.subspace(noisy)
        clean = self.through_the_u(images[:, None])[:, 0].to(images)
        with torch.autocast(noisy.device.type, enabled=False):
            return sigma[..., None, None] * torch.einsum("nbd,ndhw->nbhw", directions, clean)

    @torch.no_grad()
    def subspace(self, noisy: Tensor) -> Subspace:
        """The whitened cube's images in a subspace of as many dimensions as one of them needs.

        Args:
            noisy: [N, B, H, W].
        """
        with torch.autocast(noisy.device.type, enabled=False):  # few bits are few dimensions
            return self._subspace(noisy)

    def _subspace(self, noisy: Tensor) -> Subspace:
        noise = regression_noise(noisy.flatten(2).double())
        sigma = noise.square().mean(2).sqrt().to(noisy)
        whitened = noisy / sigma[..., None, None]
        smooth = nonlocal_means(whitened, wavelet_sigma(whitened), STRENGTH).flatten(2)
        directions, signal = signal_subspace(smooth.double())
        most = max(FEWEST, int(signal.max()) // self.divisor)
        directions = directions[:, :, :most].to(noisy)
        images = torch.einsum("nbd,nbhw->ndhw", directions, whitened)
        return Subspace(images, directions, sigma)

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Channels."""
        return {"channels": state["head.conv.weight"].shape[0]}


def regression_noise(spectra: Tensor) -> Tensor:
    """What the other bands do not predict of each, [N, B, P].

    Bioucas-Dias, Nascimento, "Hyperspectral Subspace Identification", IEEE TGRS 2008 (HySime).

    Args:
        spectra: [N, B, P], float64: a few signals leave little of single precision.
    """
    r = spectra @ spectra.transpose(1, 2)
    bands = r.shape[1]
    eye = torch.eye(bands, dtype=r.dtype, device=r.device)
    inverse = torch.linalg.inv(r + 1e-6 * eye)
    off = r * (1 - eye)  # column i without r_ii
    diagonal = inverse.diagonal(dim1=1, dim2=2)
    beta = inverse @ off - inverse * ((inverse * off).sum(1) / diagonal)[:, None]
    return spectra - (beta * (1 - eye)).transpose(1, 2) @ spectra


def signal_subspace(spectra: Tensor) -> tuple[Tensor, Tensor]:
    """The signal's directions [N, B, B], by their power, and how many of them are signal [N]."""
    bands, pixels = spectra.shape[1:]
    noise = regression_noise(spectra)
    signal = spectra - noise
    r_signal = signal @ signal.transpose(1, 2) / pixels
    r_all = spectra @ spectra.transpose(1, 2) / pixels
    directions = torch.linalg.svd(r_signal).U
    trace = r_signal.diagonal(dim1=1, dim2=2).sum(1)
    variances = noise.square().mean(2) + (trace / bands / 1e5)[:, None]
    power = torch.einsum("nbd,nbc,ncd->nd", directions, r_all, directions)
    of_noise = torch.einsum("nbd,nb->nd", directions.square(), variances)
    return directions, (2 * of_noise < power).sum(1)
