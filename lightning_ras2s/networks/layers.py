"""Small layers that the parts of RAS2S share."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.networks import native
from lightning_ras2s.networks.native import Activation

LEAKY_SLOPE = 0.1

T = TypeVar("T")


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """The dtype to sum in: float32 for half precisions, the tensor's own otherwise."""
    return torch.promote_types(x.dtype, torch.float32)


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    ahead: Tensor | None = None,
    activation: Activation = "none",
    *residuals: Tensor,
) -> Tensor:
    """activation([x, second] * weight + bias) + residuals, where * is the 3x3 convolution.

    Args:
        x: [N, C, H, W]; zero padding 1.
        weight: [K, C + D, 3, 3], or one for each sample, [N, K, C + D, 3, 3].
        bias: [K].
        ahead: ``read_ahead(second, weight, bias)`` of a second input, [N, D, H, W]; without one, D
            is 0.
        activation: Its name; LeakyReLU has slope 0.1.
        residuals: Two at most, each [N, K, H, W], or [N, 1, H, W] for all channels.

    Returns:
        [N, K, H, W].
    """
    if native.serves(x, weight):
        return native.conv3x3(x, weight, bias, ahead, activation, *residuals)
    if weight.ndim == 5:
        out = _conv_by_sample(x, weight)
        out = out if bias is None else out + bias[:, None, None]
    elif ahead is None:
        out = F.conv2d(x, weight, bias, padding=1)
    else:
        out = F.conv2d(x, weight[:, : x.shape[1]], padding=1) + ahead
    return sum(residuals, _activate(out, activation))


def read_ahead(second: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What can be known of ``conv3x3`` before its first input is, from its second [N, D, H, W].

    It is the second's part of the sum, [N, K, H, W], which serves many bands at once. The kernels
    of the CPU read both inputs together: for them it is the second itself.
    """
    if native.serves(second, weight):
        return second
    return F.conv2d(second, weight[:, -second.shape[1] :], bias, padding=1)


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer at each pixel: x [N, C, H, W], weight [K, C, 1, 1], bias [K]."""
    if native.serves(x, weight):
        return native.conv1x1(x, weight, bias)
    return F.conv2d(x, weight, bias)


def _conv_by_sample(x: Tensor, weight: Tensor) -> Tensor:
    """Each sample by its own weight: a convolution each on the CPU, elsewhere groups of one."""
    if x.is_cpu:
        pairs = zip(x.split(1), weight.unbind(), strict=True)
        return torch.cat([F.conv2d(sample, kernel, padding=1) for sample, kernel in pairs])
    grouped = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), padding=1, groups=len(x))
    return grouped.view(*weight.shape[:2], *x.shape[2:])


def _activate(x: Tensor, activation: Activation) -> Tensor:
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


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution with stride 1, zero padding 1 and a bias.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels K of the output.
        activation: Of the result.
    """

    def __init__(
        self, in_channels: int, out_channels: int, activation: Activation = "none"
    ) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.activation = activation

    def forward(self, input: Tensor, *residuals: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, K, H, W], plus residuals of that shape or [N, 1, H, W]."""
        return conv3x3(input, self.weight, self.bias, None, self.activation, *residuals)


class Conv1x1(nn.Conv2d):
    """A linear layer at each pixel: [N, C, H, W] -> [N, K, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """Applies it."""
        return conv1x1(input, self.weight, self.bias)  # type: ignore[arg-type]


class PairConv(nn.Conv2d):
    """A 3x3 convolution of the concatenation [first, second], which are known at two times.

    A recurrence waits for the first; what reads the second can go ahead.

    Args:
        channels: Channels of ``first`` and of ``second``, C.
        out_channels: Channels of the result, K.
        activation: Of the result.
    """

    def __init__(self, channels: int, out_channels: int, activation: Activation = "none") -> None:
        super().__init__(2 * channels, out_channels, 3, padding=1)
        self.activation = activation

    def read(self, second: Tensor) -> Tensor:
        """``read_ahead`` of ``second`` [N, C, H, W]."""
        return read_ahead(second, self.weight, self.bias)

    def forward(self, first: Tensor, ahead: Tensor) -> Tensor:  # type: ignore[override]
        """The whole, from ``first`` [N, C, H, W] and ``read(second)``."""
        return conv3x3(first, self.weight, self.bias, ahead, self.activation)


class Embedding(nn.Module):
    """Shallow features of one band, phi(y): [N, 1, H, W] -> [N, C, H, W] (paper, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(1, channels, "leaky_relu")
        self.conv2 = Conv3x3(channels, channels, "leaky_relu")

    def forward(self, band: Tensor) -> Tensor:
        """Embeds ``band`` and adds it to every channel."""
        return self.conv2(self.conv1(band), band)


def consume(items: list[T]) -> Iterator[T]:
    """Takes the items off a list, last to first, so that none is kept longer than it is needed."""
    while items:
        yield items.pop()


def over_bands(
    layer: Callable[[Tensor], Tensor], bands: Iterable[Tensor], count: int
) -> Iterator[Tensor]:
    """Applies a layer to ``count`` bands, each [N, C, H, W], and yields its results in order.

    What no recurrence waits for is computed for many bands at once where that pays: on a GPU, for
    all in training, which keeps them anyway, else for an eighth, to save memory. On the CPU a band
    at a time stays in the cache.
    """
    waiting: list[Tensor] = []
    for number, band in enumerate(bands, start=1):
        waiting.append(band)
        at_once = 1 if band.is_cpu else count if torch.is_grad_enabled() else max(1, count // 8)
        if len(waiting) == at_once or number == count:
            group = waiting[0] if at_once == 1 else torch.cat(waiting)
            waiting = []
            yield from layer(group).split(len(band))
