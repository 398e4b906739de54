"""SSRA: the spatial-spectral region-aware module."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.ras2s.layers import Conv1x1, Conv3x3


class RegionMasks(NamedTuple):
    """The region of every pixel, [N, B, H, W] int64 in 0..r-1; None for a branch that is absent."""

    spatial: Tensor | None
    spectral: Tensor | None


def pool3x3(x: Tensor) -> Tensor:
    """Adaptive average pooling, [M, C, H, W] -> [M, C, 3, 3], also where H and W are not known.

    An exported network has them free, which torch's own pooling cannot; it is the faster one.
    """
    return pool_any_size(x) if torch.compiler.is_compiling() else F.adaptive_avg_pool2d(x, 3)


def pool_any_size(x: Tensor) -> Tensor:
    """The same by two matrix products.

    Part i of n pixels goes from floor(i n / 3) to ceil((i + 1) n / 3); parts may overlap.
    """
    height, width = x.shape[2:]
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):  # sums leave half precision's range
        wide = x.to(dtype)
        return (_parts(height, wide) @ (wide @ _parts(width, wide).T)).to(x.dtype)


def _parts(size: int, like: Tensor) -> Tensor:
    """The weights of the pixels in the means of three parts of a row of them, [3, size]."""
    pixel = torch.arange(size, device=like.device)
    part = torch.arange(3, device=like.device)[:, None]
    inside = (part * size // 3 <= pixel) & (pixel < ((part + 1) * size + 2) // 3)
    inside = inside.to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class RegionFilters(nn.Module):
    """r 3x3 filters for each sample, made from its features."""

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__()
        self.channels = channels
        self.regions = regions
        self.squeeze = Conv1x1(channels, regions**2)
        self.expand = nn.Conv2d(regions**2, regions * channels**2, 1, groups=regions)

    def forward(self, features: Tensor) -> Tensor:
        """Features [M, C, H, W] -> filters [M, r C, C, 3, 3]."""
        squeezed = self.squeeze(pool3x3(features)).sigmoid()
        r, c = self.regions, self.channels
        # ``expand``, group by group: a grouped convolution of so few pixels is slow.
        filters = self.expand.weight.view(r, c * c, r) @ squeezed.view(-1, r, r, 9)
        filters = filters + self.expand.bias.view(r, c * c, 1)  # type: ignore[union-attr]
        return filters.view(-1, r * c, c, 3, 3)


class SpatialGuide(nn.Module):
    """SpecDynConv: a 3x3 convolution whose input channels are weighted by the features.

    Its weights start as the released code draws them: uniform within 1/sqrt(9 r C), with all
    channels weighted 1. ``gain1`` and ``gain2`` are 3x1 kernels on a 1x1 map, as released: only
    their centres act.
    """

    def __init__(self, channels: int, regions: int) -> None:
        super().__init__()
        self.base = Conv3x3(channels, regions)
        self.gain1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.gain2 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)
        bound = (9 * regions * channels) ** -0.5
        nn.init.uniform_(self.base.weight, -bound, bound)
        nn.init.uniform_(self.base.bias, -bound, bound)  # type: ignore[arg-type]
        nn.init.zeros_(self.gain2.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Features [M, C, H, W] -> logits [M, r, H, W]."""
        hidden = F.linear(features.mean((2, 3)), self.gain1.weight[:, :, 1, 0], self.gain1.bias)
        gain = 1 + F.linear(hidden.relu(), self.gain2.weight[:, :, 1, 0])
        weight = self.base.weight * gain[:, None, :, None, None]
        return native.conv3x3(features, weight, self.base.bias)


class SpectralGuide(Conv1x1):
    """SpecClassifier: one linear layer at each pixel, [M, C, H, W] -> logits [M, r, H, W]."""


class RegionAware(nn.Module):
    """SSRA (paper, section 3.3): each pixel is filtered by the filter of its region.

    Args:
        channels: Hidden channels C.
        regions: Number of regions r.
        spatial: Whether the branch of spatial regions is there.
        spectral: Whether the branch of spectral regions is there; at least one of the two is.
    """

    def __init__(self, channels: int, regions: int, spatial: bool, spectral: bool) -> None:
        super().__init__()
        self.filters = RegionFilters(channels, regions)
        self.spatial_guide = SpatialGuide(channels, regions) if spatial else None
        self.spectral_guide = SpectralGuide(channels, regions) if spectral else None
        self.fusion = Conv3x3((spatial + spectral) * channels, channels)

    @property
    def guides(self) -> dict[str, nn.Module]:
        """The guides that are there, by the names of ``RegionMasks``."""
        both = {"spatial": self.spatial_guide, "spectral": self.spectral_guide}
        return {name: guide for name, guide in both.items() if guide is not None}

    def masks(self, features: Tensor) -> tuple[Tensor, ...]:
        """The regions by each guide that is there: [M, C, H, W] -> each [M, H, W] int64."""
        return tuple(native.choose_regions(guide(features)) for guide in self.guides.values())

    def forward(self, features: Tensor) -> Tensor:
        """Features [M, C, H, W] -> region-aware features [M, C, H, W]."""
        guides = [guide(features) for guide in self.guides.values()]
        filtered = native.filter_regions(features, self.filters(features), guides)
        return self.fusion(filtered, features)
