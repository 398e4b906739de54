"""Attention between the channels of two maps."""

from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks.native.arguments import (
    NO_MAPS,
    address,
    call,
    maps,
    samples,
    shapes,
    sizes,
)
from lightning_ras2s.networks.native.linear import conv1x1
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Kernel, Operator, differentiate_again
from lightning_ras2s.networks.native.structures import COMPENSATION
from lightning_ras2s.networks.native.tape import apply


def compensate(queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """``attend_channels`` with keys and values of the state.

    Args:
        queries: [N, C, H, W].
        state: [N, C, H, W].
        weight: What makes keys, then values of it, at each pixel, [2 C, C, 1, 1].
        bias: Likewise, [2 C].
        heads: Number of heads, of C / heads channels each.

    Returns:
        [N, C, H, W].
    """
    return _compensate(queries, state, weight, bias, heads)


def attend_channels(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Attention between channels, head by head: three times [N, C, H, W] -> the same.

    The logits are the cosines, along the pixels, between a query's channel and a key's; norms are
    at least 1e-12. There is no temperature.
    """
    parts = (queries.shape[0], heads, queries.shape[1] // heads, -1)
    q, k, v = (x.reshape(parts) for x in (queries, keys, values))
    logits = _dot(q, k.transpose(2, 3)) / (_norm(q) * _norm(k).transpose(2, 3))
    attention = logits.softmax(dim=-1)
    return (attention.to(v.dtype) @ v).view(values.shape)


def _norm(x: Tensor) -> Tensor:
    """The L2 norm along the pixels, [N, heads, C / heads, 1], in float32 or better."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).clamp_min(1e-12)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """A matrix product in float32 or better: over many pixels it leaves half precision's range."""
    dtype = torch.promote_types(first.dtype, torch.float32)
    with torch.autocast(first.device.type, enabled=False):
        return first.to(dtype) @ second.to(dtype)


def _twin(queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    keys, values = conv1x1(state, weight, bias).chunk(2, dim=1)
    return attend_channels(queries, keys, values, heads)


def _run(
    queries: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor,
    heads: int,
    products: Tensor | None = None,
) -> Tensor:
    queries, state = samples(queries), samples(state)
    weight, bias = weight.contiguous(), bias.contiguous()
    output = new_maps(*state.shape)
    arguments = COMPENSATION.pack(
        *sizes(state),
        state.shape[1],
        heads,
        *maps(queries),
        *maps(state),
        address(weight),
        address(bias),
        *maps(output),
        address(products),
        *(NO_MAPS * 3),
        0,
    )
    call("compensation", arguments)
    return output


def _check(
    queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int, *_: Any
) -> None:
    channels = state.shape[1] if state.ndim == 4 else 0
    fits = (
        state.ndim == 4
        and queries.shape == state.shape
        and weight.shape == (2 * channels, channels, 1, 1)
        and bias.shape == (2 * channels,)
        and heads > 0
        and channels % heads == 0
    )
    if not fits:
        given = shapes(queries=queries, state=state, weight=weight, bias=bias)
        raise ValueError(
            f"compensate: {given} and heads {heads} do not fit together; it takes queries and "
            "state [N, C, H, W], weight [2 C, C, 1, 1] and bias [2 C]; heads divide C"
        )


def _fake(queries: Tensor, state: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(state, memory_format=torch.contiguous_format)


def _flops(queries: Any, state: Any, weight: Any, bias: Any, heads: int, *_: Any) -> int:
    n, channels, height, width = state
    linear, products = 2 * channels * channels, 2 * channels * channels // heads
    return 2 * n * height * width * (linear + products)


def _with_gradient(
    queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int
) -> Tensor:
    return apply(_Compensate, queries, state, weight, bias, heads)


_compensate = Operator(
    "compensate(Tensor queries, Tensor state, Tensor weight, Tensor bias, int heads) -> Tensor",
    _twin,
    _run,
    _check,
    _fake,
    _flops,
    _with_gradient,
)


def _run_kept(
    queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    products = _empty_products(state, heads)
    return _run(queries, state, weight, bias, heads, products), products


def _empty_products(state: Tensor, heads: int) -> Tensor:
    n, channels = state.shape[:2]
    return state.new_empty(n, channels * (channels // heads + 2))


_kept = Kernel(
    "compensate_kept(Tensor queries, Tensor state, Tensor weight, Tensor bias, int heads) "
    "-> (Tensor, Tensor)",
    _run_kept,
    _check,
    lambda queries, state, *others: (_fake(queries, state), _empty_products(state, others[-1])),
    _flops,
)


def _run_backward(
    gradient: Tensor,
    queries: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor,
    heads: int,
    products: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gradient, queries, state = samples(gradient), samples(queries), samples(state)
    weight, bias = weight.contiguous(), bias.contiguous()
    to_queries, to_state = new_maps(*queries.shape), new_maps(*state.shape)
    to_both = weight.new_empty(weight.numel() + bias.numel())
    arguments = COMPENSATION.pack(
        *sizes(state),
        state.shape[1],
        heads,
        *maps(queries),
        *maps(state),
        address(weight),
        address(bias),
        *NO_MAPS,  # the output
        address(products),
        *maps(gradient),
        *maps(to_queries),
        *maps(to_state),
        address(to_both),
    )
    call("compensation_backward", arguments)
    to_weight, to_bias = to_both.split([weight.numel(), bias.numel()])
    return to_queries, to_state, to_weight.view_as(weight), to_bias.clone()


def _check_backward(
    gradient: Tensor,
    queries: Tensor,
    state: Tensor,
    weight: Tensor,
    bias: Tensor,
    heads: int,
    products: Tensor,
) -> None:
    _check(queries, state, weight, bias, heads)
    n, channels = state.shape[:2]
    if gradient.shape != state.shape or products.shape != (n, channels * (channels // heads + 2)):
        given = shapes(gradient=gradient, state=state, products=products)
        raise ValueError(f"compensate_backward: {given}")


_backward = Kernel(
    "compensate_backward(Tensor gradient, Tensor queries, Tensor state, Tensor weight, "
    "Tensor bias, int heads, Tensor products) -> (Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    _check_backward,
    lambda gradient, queries, state, weight, bias, *_: (
        *(_fake(x, x) for x in (queries, state)),
        weight.new_empty(weight.shape),
        torch.empty_like(bias),
    ),
    lambda gradient, queries, *others: 2 * _flops(queries, *others),
)


class _Compensate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int
    ) -> Tensor:
        output, products = _kept.below(queries, state, weight, bias, heads)
        ctx.heads = heads
        ctx.save_for_backward(queries, state, weight, bias, products)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        *inputs, products = ctx.saved_tensors
        if torch.is_grad_enabled():

            def twin(queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
                return _twin(queries, state, weight, bias, ctx.heads)

            return *differentiate_again(twin, tuple(inputs), gradient), None
        return *_backward.below(gradient, *inputs, ctx.heads, products), None
