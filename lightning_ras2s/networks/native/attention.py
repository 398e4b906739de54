"""Element-wise attention of a state over a window of others."""

from ctypes import addressof
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_ras2s.networks.native.arguments import (
    NO_MAPS,
    address,
    array,
    call,
    maps,
    samples,
    shapes,
    sizes,
)
from lightning_ras2s.networks.native.convolution import activate, convolve
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Kernel, Operator, differentiate_again
from lightning_ras2s.networks.native.structures import ATTENTION
from lightning_ras2s.networks.native.tape import apply

LENGTHS = (1, 3, 5, 7, 9)
"""Of the windows that there are kernels for."""


def attend(state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """AAM (paper, section 3.4): softmax(tanh(conv3d([state, window]))) weighs the window.

    The convolution reads state and window as its channels, and (C, H, W) as the volume.

    Args:
        state: [N, C, H, W].
        window: L states, each [N, C, H, W].
        weight: Of the 3-D convolution, [L, 1 + L, 3, 3, 3].
        bias: Likewise, [L].

    Returns:
        The sum of the window's states, each weighed element by element, [N, C, H, W].
    """
    if len(window) not in LENGTHS:
        return _twin(state, window, weight, bias)
    return _attend(state, window, weight, bias)


def read_window(window: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What ``attend`` can read ahead, [N, L C, H, W], of its window [N, L C, H, W]."""
    length = len(weight)
    channels = window.shape[1] // length
    kernel = _banded(weight[:, 1:], channels)
    return convolve(window, kernel, bias.repeat_interleave(channels, dim=0))


def attend_read(state: Tensor, read: Tensor, window: Tensor, weight: Tensor) -> Tensor:
    """``attend`` in plain torch, after its window was read ahead.

    Args:
        state: [N, C, H, W].
        read: ``read_window(window, weight, bias)``.
        window: One state after the other, [N, L C, H, W].
        weight: Of the 3-D convolution.
    """
    parts = (len(weight), state.shape[1])
    logits = activate(convolve(state, _banded(weight[:, :1], state.shape[1])) + read, "tanh")
    # Sums of half precision are made in float32.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    attention = logits.unflatten(1, parts).softmax(dim=1, dtype=dtype).to(window.dtype)
    return (attention * window.unflatten(1, parts)).sum(dim=1)


def _banded(weight: Tensor, channels: int) -> Tensor:
    """A 3-D convolution over (C, H, W) as a 2-D one: [L, S, 3, 3, 3] -> [L C, S C, 3, 3].

    Along the channels it is a Toeplitz matrix with three diagonals: its rows are windows of the
    three depth taps between zeros.
    """
    between = F.pad(weight, (0, 0, 0, 0, channels - 1, channels - 1))[:, :, 1:-1]
    rows = between.unfold(2, channels, 1).flip(2)  # [L, S, C out, 3, 3, C in]
    return rows.permute(0, 2, 1, 5, 3, 4).flatten(0, 1).flatten(1, 2)


def _twin(state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    joined = torch.cat(window, dim=1)
    return attend_read(state, read_window(joined, weight, bias), joined, weight)


def _attended(
    state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor, logits: Tensor | None
) -> Tensor:
    state, window = samples(state), [samples(x) for x in window]
    weight, bias = weight.contiguous(), bias.contiguous()
    output = new_maps(*state.shape)
    windows = array(window)
    arguments = ATTENTION.pack(
        *sizes(state),
        state.shape[1],
        len(window),
        *maps(state),
        addressof(windows),
        address(weight),
        address(bias),
        *maps(output),
        *maps(logits),
        *(NO_MAPS * 3),
        0,
        0,
    )
    call("attention", arguments)
    return output


def _run(state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    return _attended(state, window, weight, bias, None)


def _check(state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor) -> None:
    length = len(window)
    fits = (
        state.ndim == 4
        and length in LENGTHS
        and all(x.shape == state.shape for x in window)
        and weight.shape == (length, 1 + length, 3, 3, 3)
        and bias.shape == (length,)
    )
    if not fits:
        given = shapes(state=state, window=window, weight=weight, bias=bias)
        raise ValueError(
            f"attend: {given} do not fit together; it takes a state [N, C, H, W], a window of L "
            f"such states, L one of {LENGTHS}, weight [L, 1 + L, 3, 3, 3] and bias [L]"
        )


def _fake(state: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(state, memory_format=torch.contiguous_format)


def _flops(state: Any, window: Any, *_: Any) -> int:
    n, channels, height, width = state
    length = len(window)
    return 2 * 27 * n * channels * height * width * length * (1 + length)


def _with_gradient(state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    return apply(_Attend, state, weight, bias, *window)


_attend = Operator(
    "attend(Tensor state, Tensor[] window, Tensor weight, Tensor bias) -> Tensor",
    _twin,
    _run,
    _check,
    _fake,
    _flops,
    _with_gradient,
)


def _run_kept(
    state: Tensor, window: list[Tensor], weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    n, channels, height, width = state.shape
    logits = new_maps(n, len(window) * channels, height, width)
    return _attended(state, window, weight, bias, logits), logits


def _fake_kept(state: Tensor, window: list[Tensor], *_: Any) -> tuple[Tensor, Tensor]:
    n, channels, height, width = state.shape
    return _fake(state), state.new_empty(n, len(window) * channels, height, width)


_kept = Kernel(
    "attend_kept(Tensor state, Tensor[] window, Tensor weight, Tensor bias) -> (Tensor, Tensor)",
    _run_kept,
    _check,
    _fake_kept,
    _flops,
)


def _run_backward(
    gradient: Tensor,
    state: Tensor,
    window: list[Tensor],
    weight: Tensor,
    bias: Tensor,
    logits: Tensor,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    gradient, state, logits = samples(gradient), samples(state), samples(logits)
    window, weight = [samples(x) for x in window], weight.contiguous()
    to_sums, to_state = new_maps(*logits.shape), new_maps(*state.shape)
    to_window = [new_maps(*state.shape) for _ in window]
    to_both = weight.new_empty(weight.numel() + bias.numel())
    windows, to_windows = array(window), array(to_window)
    arguments = ATTENTION.pack(
        *sizes(state),
        state.shape[1],
        len(window),
        *maps(state),
        addressof(windows),
        address(weight),
        address(bias),
        *NO_MAPS,  # the output
        *maps(logits),
        *maps(gradient),
        *maps(to_sums),
        *maps(to_state),
        addressof(to_windows),
        address(to_both),
    )
    call("attention_backward", arguments)
    to_weight, to_bias = to_both.split([weight.numel(), bias.numel()])
    return to_state, to_window, to_weight.view_as(weight), to_bias.clone()


def _check_backward(
    gradient: Tensor,
    state: Tensor,
    window: list[Tensor],
    weight: Tensor,
    bias: Tensor,
    logits: Tensor,
) -> None:
    _check(state, window, weight, bias)
    n, channels, height, width = state.shape
    if gradient.shape != state.shape or logits.shape != (n, len(window) * channels, height, width):
        raise ValueError(
            f"attend_backward: {shapes(gradient=gradient, state=state, logits=logits)}"
        )


def _fake_backward(
    gradient: Tensor,
    state: Tensor,
    window: list[Tensor],
    weight: Tensor,
    bias: Tensor,
    logits: Tensor,
) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    to_window = [_fake(state) for _ in window]
    return _fake(state), to_window, weight.new_empty(weight.shape), torch.empty_like(bias)


_backward = Kernel(
    "attend_backward(Tensor gradient, Tensor state, Tensor[] window, Tensor weight, Tensor bias, "
    "Tensor logits) -> (Tensor, Tensor[], Tensor, Tensor)",
    _run_backward,
    _check_backward,
    _fake_backward,
    lambda gradient, state, window, *_: 2 * _flops(state, window),
)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, weight: Tensor, bias: Tensor, *window: Tensor) -> Tensor:
        output, logits = _kept.below(state, list(window), weight, bias)
        ctx.save_for_backward(state, weight, bias, logits, *window)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        state, weight, bias, logits, *window = ctx.saved_tensors
        if torch.is_grad_enabled():

            def twin(state: Tensor, weight: Tensor, bias: Tensor, *window: Tensor) -> Tensor:
                return _twin(state, list(window), weight, bias)

            return differentiate_again(twin, (state, weight, bias, *window), gradient)
        to_state, to_window, to_weight, to_bias = _backward.below(
            gradient, state, window, weight, bias, logits
        )
        return to_state, to_weight, to_bias, *to_window
