"""Tensors as the values of the structures that kernels.cpp takes, and the call itself."""

import ctypes
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_ras2s.networks.native.library import kernels

Activation = Literal["none", "relu", "leaky_relu", "sigmoid", "tanh"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)  # numbered as in kernels.cpp

Values = tuple[int, ...]
NO_MAPS, NO_RESIDUAL, NOT_PASSED, NO_WEIGHT = (0,) * 2, (0,) * 3, (0,) * 3, (0,) * 5

_OUT_OF_MEMORY, _UNKNOWN = 1, 2  # what kernels return; as in kernels.cpp


def call(name: str, arguments: bytes) -> None:
    """Runs a kernel on a packed structure.

    Raises:
        MemoryError: If it found no room for what it keeps meanwhile.
        ValueError: If it does not know what it was asked for.
    """
    code = getattr(kernels(), name)(arguments)
    if code == _OUT_OF_MEMORY:
        raise MemoryError(f"no memory left for the work space of the kernel {name!r}")
    if code == _UNKNOWN:
        raise ValueError(f"the kernel {name!r} is not made for these sizes")


def samples(x: Tensor) -> Tensor:
    """[N, C, H, W] with each sample contiguous: itself, if it is so already."""
    _, _, height, width = x.shape
    whole = x.stride()[1:] == (height * width, width, 1)
    return x if whole else x.contiguous()


def taps(weight: Tensor) -> Tensor:
    """The weight, its 3x3 taps contiguous; slices of its channels are."""
    return weight if weight.stride()[-2:] == (3, 1) else weight.contiguous()


def address(x: Tensor | None) -> int:
    """Of the first value of a contiguous tensor; 0 without one."""
    return 0 if x is None else x.data_ptr()


def maps(x: Tensor | None) -> Values:
    """Of ``samples(x)``."""
    return NO_MAPS if x is None else (x.data_ptr(), x.stride(0))


def sizes(x: Tensor) -> Values:
    """Of [N, C, H, W], and the number of threads."""
    n, _, height, width = x.shape
    return n, height, width, torch.get_num_threads()


def weights(weight: Tensor, transposed: bool = False) -> Values:
    """A weight [K, C, 3, 3], or one for each sample [N, K, C, 3, 3]; of ``taps(weight)``."""
    *batch, out, into, _, _ = weight.stride()
    if transposed:
        out, into = into, out
    return weight.data_ptr(), batch[0] if batch else 0, out, into, transposed


def pair(first: Tensor, second: Tensor | None = None) -> Values:
    """The channels of two maps, one after the other."""
    if second is None:
        return *maps(first), *NO_MAPS, first.shape[1], 0
    return *maps(first), *maps(second), first.shape[1], second.shape[1]


def passed(result: Tensor | None, activation: str) -> Values:
    """The activation that a gradient has passed."""
    if result is None or activation == "none":
        return NOT_PASSED
    return *maps(result), ACTIVATIONS.index(activation)


def residual(x: Tensor) -> Values:
    """[N, K, H, W], or [N, 1, H, W] for all channels."""
    _, channels, height, width = x.shape
    return *maps(x), 0 if channels == 1 else height * width


def array(tensors: Sequence[Tensor]) -> Any:
    """Several maps in a row, for ``ctypes.addressof``; the caller holds it during the call."""
    return (ctypes.c_int64 * (2 * len(tensors)))(*(value for x in tensors for value in maps(x)))


def shapes(**tensors: Tensor | Sequence[Tensor] | None) -> str:
    """The shapes of arguments, for messages."""

    def told(x: Tensor | Sequence[Tensor] | None) -> str:
        if x is None:
            return "None"
        return str(list(x.shape)) if isinstance(x, Tensor) else f"[{', '.join(map(told, x))}]"

    return ", ".join(f"{name} {told(x)}" for name, x in tensors.items())
