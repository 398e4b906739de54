"""Linear layers at each pixel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_ras2s.networks.native.arguments import address, call, maps, samples, shapes, sizes
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Operator, differentiate_again
from lightning_ras2s.networks.native.structures import LINEAR
from lightning_ras2s.networks.native.tape import apply


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer at each pixel: x [N, C, H, W], weight [K, C, 1, 1], bias [K]."""
    return _conv1x1(x, weight, bias)


def _twin(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias)


def _run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x, weight = samples(x), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    output = new_maps(x.shape[0], weight.shape[0], *x.shape[2:])
    arguments = LINEAR.pack(
        *sizes(x),
        x.shape[1],
        weight.shape[0],
        *maps(x),
        address(weight),
        address(bias),
        *maps(output),
    )
    call("linear_layer", arguments)
    return output


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    fits = (
        x.ndim == 4
        and weight.ndim == 4
        and weight.shape[1:] == (x.shape[1], 1, 1)
        and (bias is None or bias.shape == weight.shape[:1])
    )
    if not fits:
        raise ValueError(
            f"conv1x1: {shapes(x=x, weight=weight, bias=bias)} do not fit together; it takes "
            "x [N, C, H, W], weight [K, C, 1, 1] and bias [K]"
        )


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:])


def _flops(x: Any, weight: Any, *_: Any) -> int:
    return 2 * weight[0] * x[0] * x[1] * x[2] * x[3]


def _with_gradient(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return apply(_Conv1x1, x, weight, bias)


class _Conv1x1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return _conv1x1.below(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, _ = inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiate_again(_twin, inputs, gradient)
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _conv1x1.below(gradient, weight.transpose(0, 1), None)
        if ctx.needs_input_grad[1]:
            products = gradient.flatten(2) @ x.flatten(2).transpose(1, 2)
            to_weight = products.sum(0).view_as(weight)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum((0, 2, 3))
        return to_x, to_weight, to_bias


_conv1x1 = Operator(
    "conv1x1(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    _twin,
    _run,
    _check,
    _fake,
    _flops,
    _with_gradient,
)
