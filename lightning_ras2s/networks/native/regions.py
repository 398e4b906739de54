"""Filters of regions, and the choice between them."""

from ctypes import addressof
from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks.native.arguments import (
    array,
    call,
    maps,
    samples,
    shapes,
    sizes,
    weights,
)
from lightning_ras2s.networks.native.convolution import conv3x3
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Operator
from lightning_ras2s.networks.native.structures import REGION_FILTER


def choose_regions(guide: Tensor) -> Tensor:
    """Logits [M, r, H, W] -> the region of each pixel, [M, H, W] int64; the lowest one on a tie."""
    return guide.movedim(1, -1).contiguous().argmax(dim=-1)  # on the CPU far faster than dim=1


def filter_regions(features: Tensor, filters: Tensor, guides: list[Tensor]) -> Tensor:
    """Filters each pixel by the filter of its region, once for each guide.

    Args:
        features: [M, C, H, W].
        filters: [M, r C, C, 3, 3].
        guides: Logits of the regions, each [M, r, H, W]; see ``assign_regions``.

    Returns:
        The results of all guides, one after the other, [M, len(guides) C, H, W].
    """
    return _filter_regions(features, filters, guides)


class _AssignRegions(torch.autograd.Function):
    """Takes at each pixel the candidate of the region with the highest guide.

    Backward: the candidates receive the gradient through the hard mask, the guide as if the mask
    were softmax(guide).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(candidates: Tensor, guide: Tensor) -> Tensor:
        region = choose_regions(guide).unsqueeze(1)
        assigned = candidates[:, 0]
        for k in range(1, guide.shape[1]):
            assigned = torch.where(region == k, candidates[:, k], assigned)
        return assigned.clone() if guide.shape[1] == 1 else assigned

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        candidates, guide = ctx.saved_tensors
        region = choose_regions(guide).unsqueeze(1)
        regions = range(guide.shape[1])
        to_candidates = torch.stack([grad * (region == k) for k in regions], dim=1)
        dtype = torch.promote_types(grad.dtype, torch.float32)
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


def _twin(features: Tensor, filters: Tensor, guides: list[Tensor]) -> Tensor:
    candidates = conv3x3(features, filters).unflatten(1, (-1, features.shape[1]))
    return torch.cat([assign_regions(candidates, guide) for guide in guides], dim=1)


def _run(features: Tensor, filters: Tensor, guides: list[Tensor]) -> Tensor:
    features, filters = samples(features), filters.contiguous()
    guides = [samples(guide) for guide in guides]
    n, channels, height, width = features.shape
    output = new_maps(n, len(guides) * channels, height, width)
    all_guides = array(guides)
    arguments = REGION_FILTER.pack(
        *sizes(features),
        channels,
        filters.shape[1] // channels,
        len(guides),
        *maps(features),
        *weights(filters),
        addressof(all_guides),
        *maps(output),
    )
    call("region_filter", arguments)
    return output


def _check(features: Tensor, filters: Tensor, guides: list[Tensor]) -> None:
    n, channels, *size = features.shape
    regions = filters.shape[1] // channels
    fits = (
        len(size) == 2
        and filters.shape == (n, regions * channels, channels, 3, 3)
        and regions > 0
        and len(guides) > 0
        and all(guide.shape == (n, regions, *size) for guide in guides)
    )
    if not fits:
        given = shapes(features=features, filters=filters, guides=guides)
        raise ValueError(
            f"filter_regions: {given} do not fit together; it takes features [M, C, H, W], filters "
            "[M, r C, C, 3, 3] and guides [M, r, H, W]"
        )


def _fake(features: Tensor, filters: Tensor, guides: list[Tensor]) -> Tensor:
    n, channels, height, width = features.shape
    return features.new_empty(n, len(guides) * channels, height, width)


def _flops(features: Any, filters: Any, *_: Any) -> int:
    n, channels, height, width = features
    return 2 * 9 * n * height * width * filters[1] * channels


_filter_regions = Operator(
    "filter_regions(Tensor features, Tensor filters, Tensor[] guides) -> Tensor",
    _twin,
    _run,
    _check,
    _fake,
    _flops,
)
