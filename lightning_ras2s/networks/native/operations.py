"""The kernels as operations on tensors, with their gradients."""

import ctypes
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_ras2s.networks.native.library import kernels
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.structures import (
    Attention,
    Compensation,
    Convolution,
    GatedUnit,
    Linear,
    Maps,
    Pair,
    Passed,
    RegionFilter,
    Residual,
    Sizes,
    Weight,
    WeightGradient,
)

Activation = Literal["none", "relu", "leaky_relu", "sigmoid", "tanh"]
_ACTIVATIONS = get_args(Activation)  # numbered as in kernels.cpp


def _call(name: str, arguments: ctypes.Structure) -> None:
    getattr(kernels(), name)(ctypes.byref(arguments))


def _samples(x: Tensor) -> Tensor:
    """[N, C, H, W] with each sample contiguous: itself, if it is so already."""
    _, _, height, width = x.shape
    whole = x.stride()[1:] == (height * width, width, 1)
    return x if whole else x.contiguous()


def _maps(x: Tensor | None) -> Maps:
    return Maps() if x is None else Maps(x.data_ptr(), x.stride(0))


def _sizes(x: Tensor) -> Sizes:
    return Sizes(x.shape[0], x.shape[2], x.shape[3], torch.get_num_threads())


def _weight(weight: Tensor, transposed: bool = False) -> Weight:
    """A weight [K, C, 3, 3], or one for each sample [N, K, C, 3, 3]."""
    batch = weight.stride(0) if weight.ndim == 5 else 0
    out, into = weight.stride()[-4:-2]
    if transposed:
        out, into = into, out
    return Weight(weight.data_ptr(), batch, out, into, transposed)


def _taps(weight: Tensor) -> Tensor:
    """The weight, its 3x3 taps contiguous; slices of its channels are."""
    return weight if weight.stride()[-2:] == (3, 1) else weight.contiguous()


def _on_its_own(part: Tensor) -> Tensor:
    """A copy that does not keep alive what it was a part of.

    The gradients of second inputs wait long: until the pass is reached that made these.
    """
    return new_maps(*part.shape).copy_(part)


def _passed(result: Tensor | None, activation: Activation) -> Passed:
    if result is None or activation == "none":
        return Passed()
    return Passed(_maps(result), _ACTIVATIONS.index(activation))


def _pair(first: Tensor, second: Tensor | None = None) -> Pair:
    channels = 0 if second is None else second.shape[1]
    return Pair(_maps(first), _maps(second), first.shape[1], channels)


def _residual(x: Tensor) -> Residual:
    return Residual(_maps(x), 0 if x.shape[1] == 1 else x.shape[2] * x.shape[3])


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    second: Tensor | None = None,
    activation: Activation = "none",
    *residuals: Tensor,
) -> Tensor:
    output = new_maps(x.shape[0], weight.shape[-4], *x.shape[2:])
    arguments = Convolution(
        sizes=_sizes(x),
        input=_pair(x, second),
        outputs=output.shape[1],
        weight=_weight(weight),
        bias=None if bias is None else bias.data_ptr(),
        activation=_ACTIVATIONS.index(activation),
        residuals=tuple(map(_residual, residuals)),
        output=_maps(output),
    )
    _call("convolution", arguments)
    return output


def _input_gradient(
    gradient: Tensor, weight: Tensor, result: Tensor | None, activation: Activation
) -> Tensor:
    to_input = new_maps(gradient.shape[0], weight.shape[-3], *gradient.shape[2:])
    arguments = Convolution(
        sizes=_sizes(gradient),
        input=_pair(gradient),
        passed=_passed(result, activation),
        outputs=to_input.shape[1],
        weight=_weight(weight, transposed=True),
        output=_maps(to_input),
    )
    _call("convolution", arguments)
    return to_input


def _weight_gradient(
    x: Tensor,
    second: Tensor | None,
    gradient: Tensor,
    by_sample: bool = False,
    result: Tensor | None = None,
    activation: Activation = "none",
) -> tuple[Tensor, Tensor]:
    inputs = x.shape[1] + (0 if second is None else second.shape[1])
    outputs, weights = gradient.shape[1], gradient.shape[1] * inputs * 9
    samples = x.shape[0] if by_sample else 1
    both = x.new_empty(samples, weights + outputs)
    arguments = WeightGradient(
        sizes=_sizes(x),
        input=_pair(x, second),
        outputs=outputs,
        gradient=_maps(gradient),
        passed=_passed(result, activation),
        by_sample=by_sample,
        result=both.data_ptr(),
    )
    _call("weight_gradient", arguments)
    weight = both[:, :weights].view(samples, outputs, inputs, 3, 3)
    return weight if by_sample else weight[0], both[:, weights:].sum(0)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        second: Tensor | None,
        activation: Activation,
        *residuals: Tensor,
    ) -> Tensor:
        ctx.activation = activation
        ctx.with_bias = bias is not None
        ctx.residual_channels = [residual.shape[1] for residual in residuals]
        if activation == "none":
            ctx.save_for_backward(x, weight, second, None)
            return _convolve(x, weight, bias, second, activation, *residuals)
        result = _convolve(x, weight, bias, second, activation)
        ctx.save_for_backward(x, weight, second, result)
        return sum(residuals, result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, second, result = ctx.saved_tensors
        gradient = _samples(gradients[0])
        to_x = to_second = to_weight = to_bias = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            to_both = _input_gradient(gradient, weight, result, ctx.activation)
            to_x = to_both[:, : x.shape[1]]
            to_second = None if second is None else _on_its_own(to_both[:, x.shape[1] :])
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            by_sample = weight.ndim == 5
            to_weight, to_bias = _weight_gradient(
                x, second, gradient, by_sample, result, ctx.activation
            )
        to_residuals = [
            None if not needed else gradient.sum(1, keepdim=True) if channels == 1 else gradient
            for needed, channels in zip(
                ctx.needs_input_grad[5:], ctx.residual_channels, strict=True
            )
        ]
        to_bias = to_bias if ctx.with_bias else None
        return to_x, to_weight, to_bias, to_second, None, *to_residuals


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    second: Tensor | None = None,
    activation: Activation = "none",
    *residuals: Tensor,
) -> Tensor:
    """``layers.conv3x3`` of [x, second] by the kernels.

    Args:
        x: [N, C, H, W].
        weight: [K, C + D, 3, 3], or one for each sample, [N, K, C + D, 3, 3].
        bias: [K].
        second: [N, D, H, W]; without it D is 0.
        activation: Its name.
        residuals: Added at last; two at most, each [N, K, H, W] or [N, 1, H, W].
    """
    x, weight = _samples(x), _taps(weight)
    second = None if second is None else _samples(second)
    residuals = tuple(map(_samples, residuals))
    if torch.is_grad_enabled():
        return _Conv3x3.apply(x, weight, bias, second, activation, *residuals)
    return _convolve(x, weight, bias, second, activation, *residuals)


def _step(
    state: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    gates: Tensor | None = None,
    candidate: Tensor | None = None,
) -> Tensor:
    following = new_maps(*state.shape)
    arguments = GatedUnit(
        sizes=_sizes(state),
        channels=state.shape[1],
        state=_maps(state),
        input=_maps(x),
        weight=_weight(weight),
        bias=bias.data_ptr(),
        next=_maps(following),
        gates=_maps(gates),
        candidate=_maps(candidate),
    )
    _call("gated_unit", arguments)
    return following


class _GatedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        samples, channels, height, width = state.shape
        gates = new_maps(samples, 2 * channels, height, width)
        candidate = new_maps(*state.shape)
        following = _step(state, x, weight, bias, gates, candidate)
        ctx.save_for_backward(state, x, weight, gates, candidate)
        return following

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state, x, weight, gates, candidate = ctx.saved_tensors
        gradient = _samples(gradients[0])
        samples, channels, height, width = state.shape
        to_sums = new_maps(samples, 3 * channels, height, width)
        to_inputs, reset_state = new_maps(*gates.shape), new_maps(*state.shape)
        arguments = GatedUnit(
            sizes=_sizes(state),
            channels=channels,
            state=_maps(state),
            weight=_weight(weight),
            gates=_maps(gates),
            candidate=_maps(candidate),
            gradient=_maps(gradient),
            sums_gradient=_maps(to_sums),
            inputs_gradient=_maps(to_inputs),
            reset_state=_maps(reset_state),
        )
        _call("gated_unit_backward", arguments)
        of_gates = _weight_gradient(state, x, to_sums[:, : 2 * channels])
        of_candidate = _weight_gradient(reset_state, x, to_sums[:, 2 * channels :])
        to_weight, to_bias = (
            torch.cat(parts) for parts in zip(of_gates, of_candidate, strict=True)
        )
        to_state, to_x = to_inputs.chunk(2, dim=1)
        return to_state, _on_its_own(to_x), to_weight, to_bias


def gated_step(state: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``hidden_state.gated_step`` by the kernels, of the input x itself.

    Args:
        state: [N, C, H, W].
        x: [N, C, H, W].
        weight: Of update, reset and candidate, reading [state, x], [3 C, 2 C, 3, 3].
        bias: Likewise, [3 C].
    """
    state, x, weight = state.contiguous(), _samples(x), _taps(weight)
    if torch.is_grad_enabled():
        return _GatedStep.apply(state, x, weight, bias)
    return _step(state, x, weight, bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """X [N, C, H, W] and weight [K, C], contiguous -> [N, K, H, W]."""
    output = new_maps(x.shape[0], weight.shape[0], *x.shape[2:])
    arguments = Linear(
        sizes=_sizes(x),
        inputs=x.shape[1],
        outputs=weight.shape[0],
        input=_maps(x),
        weight=weight.data_ptr(),
        bias=None if bias is None else bias.data_ptr(),
        output=_maps(output),
    )
    _call("linear_layer", arguments)
    return output


class _Conv1x1(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = _samples(gradients[0])
        to_x = _linear(gradient, weight.T.contiguous(), None) if ctx.needs_input_grad[0] else None
        to_weight = (gradient.flatten(2) @ x.flatten(2).transpose(1, 2)).sum(0)
        return to_x, to_weight, gradient.sum((0, 2, 3))


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``layers.conv1x1`` by the kernels."""
    x, weight = _samples(x), weight.flatten(1).contiguous()
    if torch.is_grad_enabled():
        return _Conv1x1.apply(x, weight, bias)
    return _linear(x, weight, bias)


def compensate(queries: Tensor, state: Tensor, weight: Tensor, bias: Tensor, heads: int) -> Tensor:
    """``hidden_state.attend_channels`` with keys and values of the state; without gradients.

    Args:
        queries: [N, C, H, W].
        state: [N, C, H, W].
        weight: What makes keys, then values of it, [2 C, C, 1, 1].
        bias: Likewise, [2 C].
        heads: Number of heads.
    """
    queries, state, weight = _samples(queries), _samples(state), weight.contiguous()
    output = new_maps(*state.shape)
    arguments = Compensation(
        sizes=_sizes(state),
        channels=state.shape[1],
        heads=heads,
        queries=_maps(queries),
        state=_maps(state),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        output=_maps(output),
    )
    _call("compensation", arguments)
    return output


ATTENTION_BANDS = (1, 3, 5, 7, 9)
"""The lengths L of windows that there are kernels for."""


def _attention(
    state: Tensor, window: Sequence[Tensor], weight: Tensor, bias: Tensor, **others: Any
) -> Attention:
    return Attention(
        sizes=_sizes(state),
        channels=state.shape[1],
        length=len(window),
        state=_maps(state),
        window=_array(window),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        **others,
    )


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, weight: Tensor, bias: Tensor, *window: Tensor) -> Tensor:
        samples, channels, height, width = state.shape
        output = new_maps(*state.shape)
        logits = new_maps(samples, len(window) * channels, height, width)
        others = {"output": _maps(output), "logits": _maps(logits)}
        _call("attention", _attention(state, window, weight, bias, **others))
        ctx.save_for_backward(state, weight, bias, logits, *window)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        state, weight, bias, logits, *window = ctx.saved_tensors
        gradient = _samples(gradients[0])
        to_sums, to_state = new_maps(*logits.shape), new_maps(*state.shape)
        to_window = [new_maps(*state.shape) for _ in window]
        to_both = weight.new_empty(weight.numel() + bias.numel())
        arguments = _attention(
            state,
            window,
            weight,
            bias,
            logits=_maps(logits),
            gradient=_maps(gradient),
            sums_gradient=_maps(to_sums),
            state_gradient=_maps(to_state),
            window_gradient=_array(to_window),
            weight_gradient=to_both.data_ptr(),
        )
        _call("attention_backward", arguments)
        to_weight, to_bias = to_both.split([weight.numel(), bias.numel()])
        return to_state, to_weight.view_as(weight), to_bias, *to_window


def attend(state: Tensor, window: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """``AdjacentAttention`` by the kernels.

    Args:
        state: The decoder's state, [N, C, H, W].
        window: L encoded states of that shape; L is one of ``ATTENTION_BANDS``.
        weight: Of the 3-D convolution, [L, 1 + L, 3, 3, 3].
        bias: Likewise, [L].
    """
    state, weight = state.contiguous(), weight.contiguous()
    window = [encoded.contiguous() for encoded in window]
    if torch.is_grad_enabled():
        return _Attend.apply(state, weight, bias, *window)
    output = new_maps(*state.shape)
    _call("attention", _attention(state, window, weight, bias, output=_maps(output)))
    return output


def filter_regions(features: Tensor, filters: Tensor, guides: Sequence[Tensor]) -> Tensor:
    """``ssra.filter_regions`` by the kernels; without gradients."""
    features, filters = _samples(features), filters.contiguous()
    guides = [_samples(guide) for guide in guides]
    samples, channels, height, width = features.shape
    output = new_maps(samples, len(guides) * channels, height, width)
    arguments = RegionFilter(
        sizes=_sizes(features),
        channels=channels,
        regions=filters.shape[1] // channels,
        guides=len(guides),
        input=_maps(features),
        filters=_weight(filters),
        guide=_array(guides),
        output=_maps(output),
    )
    _call("region_filter", arguments)
    return output


def _array(maps: Sequence[Tensor]) -> Any:
    return (Maps * len(maps))(*(_maps(x) for x in maps))
