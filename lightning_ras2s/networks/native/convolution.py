"""3x3 convolutions of one or two inputs, with what comes right after them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_ras2s.networks.native.arguments import (
    ACTIVATIONS,
    NO_MAPS,
    NO_RESIDUAL,
    NOT_PASSED,
    Activation,
    address,
    call,
    maps,
    pair,
    passed,
    residual,
    samples,
    shapes,
    sizes,
    taps,
    weights,
)
from lightning_ras2s.networks.native.memory import new_maps
from lightning_ras2s.networks.native.operators import Kernel, Operator, differentiate_again
from lightning_ras2s.networks.native.structures import CONVOLUTION, WEIGHT_GRADIENT
from lightning_ras2s.networks.native.tape import apply

LEAKY_SLOPE = 0.1


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    second: Tensor | None = None,
    activation: Activation = "none",
    *residuals: Tensor,
) -> Tensor:
    """activation([x, second] * weight + bias) + residuals, where * is the 3x3 convolution.

    Args:
        x: [N, C, H, W]; zero padding 1.
        weight: [K, C + D, 3, 3], or one for each sample, [N, K, C + D, 3, 3].
        bias: [K].
        second: [N, D, H, W]; without it, D is 0.
        activation: Its name; LeakyReLU has slope 0.1.
        residuals: Two at most, each [N, K, H, W], or [N, 1, H, W] for all channels.

    Returns:
        [N, K, H, W].
    """
    return _conv3x3(x, weight, bias, second, activation, list(residuals))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution alone, in plain torch."""
    if weight.ndim == 4:
        return F.conv2d(x, weight, bias, padding=1)
    if x.is_cpu:
        pairs = zip(x.split(1), weight.unbind(), strict=True)
        out = torch.cat([F.conv2d(sample, kernel, padding=1) for sample, kernel in pairs])
    else:  # a group for each sample
        groups = x.flatten(0, 1)[None], weight.flatten(0, 1)
        out = F.conv2d(*groups, padding=1, groups=len(x)).view(*weight.shape[:2], *x.shape[2:])
    return out if bias is None else out + bias[:, None, None]


def activate(x: Tensor, activation: str) -> Tensor:
    """In place: ``x`` is fresh and nobody else's."""
    match activation:
        case "relu":
            return F.relu(x, inplace=True)
        case "leaky_relu":
            return F.leaky_relu(x, LEAKY_SLOPE, inplace=True)
        case "sigmoid":
            return x.sigmoid_()
        case "tanh":
            return x.tanh_()
    return x


def _twin(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    second: Tensor | None,
    activation: str,
    residuals: list[Tensor],
) -> Tensor:
    if second is None:
        out = convolve(x, weight, bias)
    else:
        of_x, of_second = weight.split([x.shape[1], second.shape[1]], dim=-3)
        out = convolve(x, of_x) + convolve(second, of_second, bias)
    return sum(residuals, activate(out, activation))


def _run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    second: Tensor | None,
    activation: str,
    residuals: list[Tensor],
) -> Tensor:
    x, weight = samples(x), taps(weight)
    second = None if second is None else samples(second)
    bias = None if bias is None else bias.contiguous()
    n, _, height, width = x.shape
    outputs = weight.shape[-4]
    output = new_maps(n, outputs, height, width)
    residuals = [samples(r) for r in residuals]
    added = [*map(residual, residuals)] + [NO_RESIDUAL] * (2 - len(residuals))
    arguments = CONVOLUTION.pack(
        *sizes(x),
        *pair(x, second),
        *NOT_PASSED,
        outputs,
        *weights(weight),
        address(bias),
        ACTIVATIONS.index(activation),
        *added[0],
        *added[1],
        *maps(output),
        *NO_MAPS,
        outputs,
    )
    call("convolution", arguments)
    return output


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    second: Tensor | None,
    activation: str,
    residuals: list[Tensor],
) -> None:
    if x.ndim == 4 and weight.ndim in (4, 5):
        *batch, outputs, inputs, rows, columns = weight.shape
        given = x.shape[1] + (0 if second is None else second.shape[1])
        fits = (
            (inputs, rows, columns) == (given, 3, 3)
            and (not batch or batch[0] == x.shape[0])
            and (bias is None or bias.shape == (outputs,))
            and (second is None or _covers(second, x))
            and activation in ACTIVATIONS
            and len(residuals) <= 2
        )
        for r in residuals:
            fits = fits and _covers(r, x) and r.shape[1] in (1, outputs)
    else:
        fits = False
    if not fits:
        told = shapes(x=x, second=second, weight=weight, bias=bias, residuals=residuals)
        raise ValueError(
            f"conv3x3: {told} and activation {activation!r} do not fit together; it takes "
            "x [N, C, H, W], second [N, D, H, W], weight [K, C + D, 3, 3] or [N, K, C + D, 3, 3], "
            "bias [K] and two residuals at most, [N, K, H, W] or [N, 1, H, W]"
        )


def _covers(x: Tensor, other: Tensor) -> bool:
    """Whether both have the same samples and pixels."""
    return x.ndim == 4 and x.shape[0] == other.shape[0] and x.shape[2:] == other.shape[2:]


def _fake(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[-4], *x.shape[2:])


def _flops(x: Any, weight: Any, *_: Any) -> int:
    n, _, height, width = x
    outputs, inputs = weight[-4:-2]
    return 2 * 9 * n * height * width * outputs * inputs


def _with_gradient(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    second: Tensor | None,
    activation: str,
    residuals: list[Tensor],
) -> Tensor:
    return apply(_Conv3x3, x, weight, bias, second, activation, *residuals)


_conv3x3 = Operator(
    "conv3x3(Tensor x, Tensor weight, Tensor? bias, Tensor? second, str activation, "
    "Tensor[] residuals) -> Tensor",
    _twin,
    _run,
    _check,
    _fake,
    _flops,
    _with_gradient,
)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        second: Tensor | None,
        activation: str,
        *residuals: Tensor,
    ) -> Tensor:
        ctx.activation = activation
        ctx.residual_channels = [residual.shape[1] for residual in residuals]
        if activation == "none":
            ctx.save_for_backward(x, weight, bias, second, None)
            return _conv3x3.below(x, weight, bias, second, activation, list(residuals))
        result = _conv3x3.below(x, weight, bias, second, activation, [])
        ctx.save_for_backward(x, weight, bias, second, result)
        return sum(residuals, result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, bias, second, result = ctx.saved_tensors
        inputs = x, weight, bias, second
        to_residuals = [
            None if not needed else gradient.sum(1, keepdim=True) if channels == 1 else gradient
            for needed, channels in zip(
                ctx.needs_input_grad[5:], ctx.residual_channels, strict=True
            )
        ]
        if torch.is_grad_enabled():

            def twin(x: Tensor, weight: Tensor, *others: Any) -> Tensor:
                bias, second = others
                return _twin(x, weight, bias, second, ctx.activation, [])

            return *differentiate_again(twin, inputs, gradient), None, *to_residuals
        to_x = to_second = to_weight = to_bias = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            to_x, to_second = _to_inputs.below(gradient, weight, result, ctx.activation, x.shape[1])
            to_second = None if second is None else to_second
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            by_sample = weight.ndim == 5
            to_weight, to_bias = weight_gradient(
                gradient, x, second, result, ctx.activation, by_sample
            )
        return to_x, to_weight, None if bias is None else to_bias, to_second, None, *to_residuals


def _run_to_inputs(
    gradient: Tensor, weight: Tensor, result: Tensor | None, activation: str, first: int
) -> tuple[Tensor, Tensor]:
    gradient, weight = samples(gradient), taps(weight)
    result = None if result is None else samples(result)
    n, _, *size = gradient.shape
    inputs = weight.shape[-3]
    # Each on its own: those of second inputs wait long, until the pass is reached that made these.
    to_first, to_second = new_maps(n, first, *size), new_maps(n, inputs - first, *size)
    arguments = CONVOLUTION.pack(
        *sizes(gradient),
        *pair(gradient),
        *passed(result, activation),
        inputs,
        *weights(weight, transposed=True),
        address(None),
        ACTIVATIONS.index("none"),
        *NO_RESIDUAL,
        *NO_RESIDUAL,
        *maps(to_first),
        *maps(to_second),
        first,
    )
    call("convolution", arguments)
    return to_first, to_second


def _check_to_inputs(
    gradient: Tensor, weight: Tensor, result: Tensor | None, activation: str, first: int
) -> None:
    _check(gradient, weight.transpose(-3, -4), None, None, activation, [])
    if (result is not None and result.shape != gradient.shape) or not 0 < first <= weight.shape[-3]:
        given = shapes(gradient=gradient, weight=weight, result=result)
        raise ValueError(f"conv3x3_to_inputs: {given} and {first} channels of the first input")


def _fake_to_inputs(
    gradient: Tensor, weight: Tensor, result: Tensor | None, activation: str, first: int
) -> tuple[Tensor, Tensor]:
    n, _, *size = gradient.shape
    second = weight.shape[-3] - first
    return gradient.new_empty(n, first, *size), gradient.new_empty(n, second, *size)


_to_inputs = Kernel(
    "conv3x3_to_inputs(Tensor gradient, Tensor weight, Tensor? result, str activation, int first) "
    "-> (Tensor, Tensor)",
    _run_to_inputs,
    _check_to_inputs,
    _fake_to_inputs,
    _flops,
)


def to_inputs(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of ``x`` of ``conv3x3`` without second input and activation."""
    return _to_inputs.below(gradient, weight, None, "none", weight.shape[-3])[0]


def weight_gradient(
    gradient: Tensor,
    x: Tensor,
    second: Tensor | None,
    result: Tensor | None = None,
    activation: str = "none",
    by_sample: bool = False,
    late: Tensor | None = None,
    early: int = 0,
) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias of ``conv3x3``.

    Args:
        gradient: Of its result without residuals, [N, K, H, W].
        x: As there.
        second: As there.
        result: Likewise; None where there is no activation.
        activation: As there.
        by_sample: Whether each sample had a weight of its own.
        late: Is what the outputs from ``early`` on have read in place of ``x``.
        early: The number of outputs before.
    """
    return _to_weight.below(gradient, x, second, result, activation, by_sample, late, early)


def _run_to_weight(
    gradient: Tensor,
    x: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    activation: str,
    by_sample: bool,
    late: Tensor | None,
    early: int,
) -> tuple[Tensor, Tensor]:
    x, gradient = samples(x), samples(gradient)
    late = None if late is None else samples(late)
    second = None if second is None else samples(second)
    result = None if result is None else samples(result)
    inputs = x.shape[1] + (0 if second is None else second.shape[1])
    outputs, taps = gradient.shape[1], gradient.shape[1] * inputs * 9
    count = x.shape[0] if by_sample else 1
    both = x.new_empty(count, taps + outputs)
    arguments = WEIGHT_GRADIENT.pack(
        *sizes(x),
        *pair(x, second),
        *maps(late),
        early,
        outputs,
        *maps(gradient),
        *passed(result, activation),
        by_sample,
        address(both),
    )
    call("weight_gradient", arguments)
    to_weight = both[:, :taps].view(count, outputs, inputs, 3, 3)
    if by_sample:
        return to_weight.contiguous(), both[:, taps:].sum(0)
    return to_weight[0], both[0, taps:].clone()


def _check_to_weight(
    gradient: Tensor,
    x: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    activation: str,
    by_sample: bool,
    late: Tensor | None,
    early: int,
) -> None:
    fits = (
        x.ndim == 4
        and _covers(gradient, x)
        and (second is None or _covers(second, x))
        and (result is None or result.shape == gradient.shape)
        and activation in ACTIVATIONS
        and (late is None or (late.shape == x.shape and 0 < early < gradient.shape[1]))
    )
    if not fits:
        given = shapes(gradient=gradient, x=x, second=second, result=result, late=late)
        raise ValueError(f"conv3x3_to_weight: {given} and activation {activation!r}")


def _fake_to_weight(
    gradient: Tensor,
    x: Tensor,
    second: Tensor | None,
    result: Tensor | None,
    activation: str,
    by_sample: bool,
    late: Tensor | None,
    early: int,
) -> tuple[Tensor, Tensor]:
    inputs = x.shape[1] + (0 if second is None else second.shape[1])
    shape = (gradient.shape[1], inputs, 3, 3)
    return x.new_empty((x.shape[0], *shape) if by_sample else shape), x.new_empty(shape[0])


def _flops_to_weight(gradient: Any, x: Any, second: Any, *_: Any) -> int:
    inputs = x[1] + (0 if second is None else second[1])
    return 2 * 9 * gradient[1] * inputs * x[0] * x[2] * x[3]


_to_weight = Kernel(
    "conv3x3_to_weight(Tensor gradient, Tensor x, Tensor? second, Tensor? result, "
    "str activation, bool by_sample, Tensor? late, int early) -> (Tensor, Tensor)",
    _run_to_weight,
    _check_to_weight,
    _fake_to_weight,
    _flops_to_weight,
)
