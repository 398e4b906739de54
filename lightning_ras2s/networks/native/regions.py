"""Filters of regions, and the choice between them."""

from ctypes import addressof
from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks.native.arguments import (
    NO_MAPS,
    NO_WEIGHT,
    array,
    call,
    maps,
    samples,
    shapes,
    sizes,
    weights,
)
from lightning_ras2s.networks.native.convolution import conv3x3, to_inputs, weight_gradient
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Kernel, Operator, differentiate_again
from lightning_ras2s.networks.native.structures import REGION_FILTER
from lightning_ras2s.networks.native.tape import apply


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


def _run(
    features: Tensor, filters: Tensor, guides: list[Tensor], candidates: Tensor | None = None
) -> Tensor:
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
        *maps(candidates),
        *(NO_MAPS * 2),
        0,
    )
    call("region_filter", arguments)
    return output


def _check(features: Tensor, filters: Tensor, guides: list[Tensor], *_: Any) -> None:
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


def _with_gradient(features: Tensor, filters: Tensor, guides: list[Tensor]) -> Tensor:
    return apply(_FilterRegions, features, filters, *guides)


_filter_regions = Operator(
    "filter_regions(Tensor features, Tensor filters, Tensor[] guides) -> Tensor",
    _twin,
    _run,
    _check,
    _fake,
    _flops,
    _with_gradient,
)


def _run_kept(features: Tensor, filters: Tensor, guides: list[Tensor]) -> tuple[Tensor, Tensor]:
    candidates = new_maps(len(features), filters.shape[1], *features.shape[2:])
    return _run(features, filters, guides, candidates), candidates


_kept = Kernel(
    "filter_regions_kept(Tensor features, Tensor filters, Tensor[] guides) -> (Tensor, Tensor)",
    _run_kept,
    _check,
    lambda features, filters, guides: (
        _fake(features, filters, guides),
        features.new_empty(len(features), filters.shape[1], *features.shape[2:]),
    ),
    _flops,
)


def _run_choice(
    gradient: Tensor, candidates: Tensor, guides: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    gradient, guides = samples(gradient), [samples(guide) for guide in guides]
    to_candidates = new_maps(*candidates.shape)
    to_guides = [new_maps(*guide.shape) for guide in guides]
    all_guides, to_all_guides = array(guides), array(to_guides)
    regions = guides[0].shape[1]
    arguments = REGION_FILTER.pack(
        *sizes(candidates),
        candidates.shape[1] // regions,
        regions,
        len(guides),
        *NO_MAPS,  # the features
        *NO_WEIGHT,
        addressof(all_guides),
        *NO_MAPS,  # the output
        *maps(candidates),
        *maps(gradient),
        *maps(to_candidates),
        addressof(to_all_guides),
    )
    call("region_filter_backward", arguments)
    return to_candidates, to_guides


def _check_choice(gradient: Tensor, candidates: Tensor, guides: list[Tensor]) -> None:
    n, regions, *size = guides[0].shape
    fits = (
        all(guide.shape == guides[0].shape for guide in guides)
        and candidates.shape[1] % regions == 0
        and candidates.shape == (n, candidates.shape[1], *size)
        and gradient.shape == (n, len(guides) * (candidates.shape[1] // regions), *size)
    )
    if not fits:
        given = shapes(gradient=gradient, candidates=candidates, guides=guides)
        raise ValueError(f"choose_regions_backward: {given}")


_choice_backward = Kernel(
    "choose_regions_backward(Tensor gradient, Tensor candidates, Tensor[] guides) "
    "-> (Tensor, Tensor[])",
    _run_choice,
    _check_choice,
    lambda gradient, candidates, guides: (
        torch.empty_like(candidates),
        [torch.empty_like(guide) for guide in guides],
    ),
    lambda *_: 0,
)


class _FilterRegions(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, filters: Tensor, *guides: Tensor) -> Tensor:
        output, candidates = _kept.below(features, filters, list(guides))
        ctx.save_for_backward(features, filters, candidates, *guides)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        features, filters, candidates, *guides = ctx.saved_tensors
        if torch.is_grad_enabled():

            def twin(features: Tensor, filters: Tensor, *guides: Tensor) -> Tensor:
                return _twin(features, filters, list(guides))

            return differentiate_again(twin, (features, filters, *guides), gradient)
        to_candidates, to_guides = _choice_backward.below(gradient, candidates, guides)
        to_features = to_filters = None
        if ctx.needs_input_grad[0]:
            to_features = to_inputs(to_candidates, filters)
        if ctx.needs_input_grad[1]:
            to_filters, _ = weight_gradient(to_candidates, features, None, by_sample=True)
        return to_features, to_filters, *to_guides
