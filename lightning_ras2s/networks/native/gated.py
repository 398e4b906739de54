"""The step of a convolutional gated recurrent unit."""

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
    taps,
    weights,
)
from lightning_ras2s.networks.native.convolution import (
    activate,
    convolve,
    weight_gradient,
)
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Kernel, Operator, differentiate_again
from lightning_ras2s.networks.native.structures import GATED_UNIT
from lightning_ras2s.networks.native.tape import apply


def gated_step(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The next state of a convolutional gated recurrent unit (paper, section 3.2).

    update, reset = sigmoid(conv([h, x])); candidate = tanh(conv([reset * h, x]));
    h' = (1 - update) * h + update * candidate.

    Args:
        state: h [N, C, H, W].
        x: The input, [N, C, H, W].
        weight: Of update, reset and candidate, [3 C, 2 C, 3, 3].
        bias: Likewise, [3 C].
    """
    return _gated_step(state, x, weight, bias)


def gated_update(state: Tensor, read: Tensor, weight: Tensor) -> Tensor:
    """The same in plain torch, after the input was read ahead.

    Args:
        state: h [N, C, H, W].
        read: What the three convolutions make of the input, with their biases, [N, 3 C, H, W].
        weight: Their parts that read the state, [3 C, C, 3, 3].
    """
    channels = state.shape[1]
    thirds = [2 * channels, channels]
    (to_gates, to_candidate), (gating, proposing) = read.split(thirds, 1), weight.split(thirds)
    update, reset = activate(convolve(state, gating) + to_gates, "sigmoid").chunk(2, dim=1)
    candidate = activate(convolve(reset * state, proposing) + to_candidate, "tanh")
    # Under autocast the gates are half, but the state keeps the precision it came with.
    return torch.lerp(state, candidate.to(state.dtype), update.to(state.dtype))


def _twin(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    of_state, of_x = weight.chunk(2, dim=1)
    return gated_update(state, convolve(x, of_x, bias), of_state)


def _step(
    state: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gates: Tensor | None = None,
    candidate: Tensor | None = None,
) -> Tensor:
    state, x = samples(state), samples(x)
    weight, bias = taps(weight), bias.contiguous()
    following, reset_state = new_maps(*state.shape), new_maps(*state.shape)
    arguments = GATED_UNIT.pack(
        *sizes(state),
        state.shape[1],
        *maps(state),
        *maps(x),
        *weights(weight),
        address(bias),
        *maps(following),
        *maps(reset_state),
        *maps(gates),
        *maps(candidate),
        *(NO_MAPS * 4),
    )
    call("gated_unit", arguments)
    return following


def _check(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor, *kept: Tensor) -> None:
    channels = state.shape[1] if state.ndim == 4 else 0
    fits = (
        state.ndim == 4
        and x.shape == state.shape
        and weight.shape == (3 * channels, 2 * channels, 3, 3)
        and bias.shape == (3 * channels,)
    )
    if not fits:
        given = shapes(state=state, x=x, weight=weight, bias=bias)
        raise ValueError(
            f"gated_step: {given} do not fit together; it takes state and x [N, C, H, W], weight "
            "[3 C, 2 C, 3, 3] and bias [3 C]"
        )


def _fake(state: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(state, memory_format=torch.contiguous_format)


def _flops(state: Any, x: Any, weight: Any, *_: Any) -> int:
    n, channels, height, width = state
    return 2 * 9 * n * height * width * 3 * channels * 2 * channels


def _with_gradient(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return apply(_GatedStep, state, x, weight, bias)


_gated_step = Operator(
    "gated_step(Tensor state, Tensor x, Tensor weight, Tensor bias) -> Tensor",
    _twin,
    _step,
    _check,
    _fake,
    _flops,
    _with_gradient,
)


def _run_kept(
    state: Tensor, x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n, channels, height, width = state.shape
    gates, candidate = new_maps(n, 2 * channels, height, width), new_maps(*state.shape)
    return _step(state, x, weight, bias, gates, candidate), gates, candidate


def _fake_kept(
    state: Tensor, x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    n, channels, height, width = state.shape
    gates = state.new_empty(n, 2 * channels, height, width)
    return _fake(state), gates, _fake(state)


_kept = Kernel(
    "gated_step_kept(Tensor state, Tensor x, Tensor weight, Tensor bias) "
    "-> (Tensor, Tensor, Tensor)",
    _run_kept,
    _check,
    _fake_kept,
    _flops,
)


def _run_backward(
    gradient: Tensor, state: Tensor, weight: Tensor, gates: Tensor, candidate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gradient, state, weight = samples(gradient), samples(state), taps(weight)
    gates, candidate = samples(gates), samples(candidate)
    n, channels, height, width = state.shape
    to_sums = new_maps(n, 3 * channels, height, width)
    to_state, to_x, reset_state = (new_maps(*state.shape) for _ in range(3))
    arguments = GATED_UNIT.pack(
        *sizes(state),
        channels,
        *maps(state),
        *NO_MAPS,  # the input
        *weights(weight),
        address(None),
        *NO_MAPS,  # the next state
        *maps(reset_state),
        *maps(gates),
        *maps(candidate),
        *maps(gradient),
        *maps(to_sums),
        *maps(to_state),
        *maps(to_x),
    )
    call("gated_unit_backward", arguments)
    return to_state, to_x, to_sums, reset_state


def _check_backward(
    gradient: Tensor, state: Tensor, weight: Tensor, gates: Tensor, candidate: Tensor
) -> None:
    n, channels, *size = state.shape
    fits = (
        len(size) == 2
        and gradient.shape == candidate.shape == state.shape
        and gates.shape == (n, 2 * channels, *size)
        and weight.shape == (3 * channels, 2 * channels, 3, 3)
    )
    if not fits:
        given = shapes(gradient=gradient, state=state, weight=weight, gates=gates)
        raise ValueError(f"gated_step_backward: {given}, {shapes(candidate=candidate)}")


def _fake_backward(
    gradient: Tensor, state: Tensor, weight: Tensor, gates: Tensor, candidate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    n, channels, height, width = state.shape
    to_sums = state.new_empty(n, 3 * channels, height, width)
    return _fake(state), _fake(state), to_sums, _fake(state)


_backward = Kernel(
    "gated_step_backward(Tensor gradient, Tensor state, Tensor weight, Tensor gates, "
    "Tensor candidate) -> (Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    _check_backward,
    _fake_backward,
    lambda gradient, state, *_: _flops(state, None, None),
)


class _GatedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        following, gates, candidate = _kept.below(state, x, weight, bias)
        ctx.save_for_backward(state, x, weight, bias, gates, candidate)
        return following

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        state, x, weight, bias, gates, candidate = ctx.saved_tensors
        if torch.is_grad_enabled():
            return differentiate_again(_twin, (state, x, weight, bias), gradient)
        to_state, to_x, to_sums, reset_state = _backward.below(
            gradient, state, weight, gates, candidate
        )
        to_weight, to_bias = weight_gradient(
            to_sums, state, x, late=reset_state, early=2 * state.shape[1]
        )
        return to_state, to_x, to_weight, to_bias
