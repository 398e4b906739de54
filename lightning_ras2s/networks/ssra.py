"""SSRA: the spatial-spectral region-aware module."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.layers import Conv1x1, Conv3x3, accumulation_dtype, conv3x3


class RegionMasks(NamedTuple):
    """The region of every pixel, [N, B, H, W] int64 in 0..r-1; None for a branch that is absent."""

    spatial: Tensor | None
    spectral: Tensor | None


def choose_regions(guide: Tensor) -> Tensor:
    """Logits [M, r, H, W] -> the region of each pixel, [M, H, W] int64; the lowest one on a tie."""
    return guide.movedim(1, -1).contiguous().argmax(dim=-1)  # on the CPU far faster than dim=1


class _AssignRegions(torch.autograd.Function):
    """Takes at each pixel the candidate of the region with the highest guide.

    Backward: the candidates receive the gradient through the hard mask, the guide as if the mask
    were softmax(guide).
    """

    @staticmethod
    def forward(ctx: Any, candidates: Tensor, guide: Tensor) -> Tensor:
        region = choose_regions(guide).unsqueeze(1)
        assigned = candidates[:, 0]
        for k in range(1, guide.shape[1]):
            assigned = torch.where(region == k, candidates[:, k], assigned)
        ctx.save_for_backward(candidates, guide, region)
        return assigned.clone() if guide.shape[1] == 1 else assigned

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        candidates, guide, region = ctx.saved_tensors
        regions = range(guide.shape[1])
        to_candidates = torch.stack([grad * (region == k) for k in regions], dim=1)
        dtype = accumulation_dtype(grad)
        gain = torch.stack([(grad * candidates[:, k]).sum(1, dtype=dtype) for k in regions], dim=1)
        share = guide.softmax(dim=1, dtype=dtype)
        to_guide = share * (gain - (share * gain).sum(dim=1, keepdim=True))
        return to_candidates.to(candidates.dtype), to_guide.to(guide.dtype)


def assign_regions(candidates: Tensor, guide: Tensor) -> Tensor:
    """Candidate maps [M, r, C, H, W] and guide [M, r, H, W] -> [M, C, H, W].

    Forward is the hard choice of argmax(guide) (the lowest index on a tie); the gradient reaches
    the guide through its softmax.
    """
    return _AssignRegions.apply(candidates, guide)


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
        squeezed = self.squeeze(F.adaptive_avg_pool2d(features, 3)).sigmoid()
        r, c = self.regions, self.channels
        # ``expand``, group by group: a grouped convolution of so few pixels is slow.
        filters = self.expand.weight.view(r, c * c, r) @ squeezed.view(-1, r, r, 9)
        filters = filters + self.expand.bias.view(r, c * c, 1)  # type: ignore[union-attr]
        return filters.view(-1, r * c, c, 3, 3)


def filter_regions(features: Tensor, filters: Tensor, guides: list[Tensor]) -> Tensor:
    """Filters each pixel by the filter of its region, once for each guide.

    Args:
        features: [M, C, H, W].
        filters: [M, r C, C, 3, 3].
        guides: Logits of the regions, each [M, r, H, W]; see ``assign_regions``.

    Returns:
        The results of all guides, one after the other, [M, len(guides) C, H, W].
    """
    if not torch.is_grad_enabled() and native.serves(features, filters, *guides):
        return native.filter_regions(features, filters, guides)
    candidates = conv3x3(features, filters).unflatten(1, (-1, features.shape[1]))
    return torch.cat([assign_regions(candidates, guide) for guide in guides], dim=1)


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
        return conv3x3(features, weight, self.base.bias)


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

    def guides(self, features: Tensor) -> list[Tensor | None]:
        """The logits of the spatial and the spectral regions, each [M, r, H, W] or None."""
        branches = (self.spatial_guide, self.spectral_guide)
        return [None if guide is None else guide(features) for guide in branches]

    def forward(self, features: Tensor) -> Tensor:
        """Features [M, C, H, W] -> region-aware features [M, C, H, W]."""
        guides = [guide for guide in self.guides(features) if guide is not None]
        filtered = filter_regions(features, self.filters(features), guides)
        return self.fusion(filtered, features)
