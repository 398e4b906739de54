"""What a network is given is looked at before it computes: what is wrong is told in one line."""

import warnings

import torch
from torch import Tensor, nn

FAR = 10.0  # a noisy cube of range [0, 1] stays within
MOST_BANDS = 512  # more than imaging spectrometers have


def check_batch(network: nn.Module, noisy: Tensor) -> None:
    """Refuses what is no batch of cubes, and tells what is probably none in [0, 1].

    Types and sizes are looked at always, which costs nothing, and values where they can be had
    without waiting, so not on a GPU: 0.4 ms for 31 bands of 256 x 256 pixels.

    Args:
        network: That is to denoise it.
        noisy: [N, B, H, W] floating, nominally in [0, 1].

    Raises:
        TypeError: If it is no tensor, or its type is not that of the weights.
        ValueError: If it is not a non-empty [N, B, H, W], lies on another device than the weights,
            or holds values that are not finite; in a training those are told only, as the module
            skips and counts such steps.
    """
    if not isinstance(noisy, Tensor):
        raise TypeError(
            f"noisy is a {type(noisy).__module__}.{type(noisy).__name__}, and a network takes "
            "tensors [N, B, H, W]: torch.from_numpy(cube).float()[None] is one; or call "
            "lightning_ras2s.denoise, which takes arrays"
        )
    if noisy.ndim != 4 or 0 in noisy.shape:
        one = ": a single cube needs noisy[None]" if noisy.ndim == 3 else ""
        raise ValueError(
            f"expected a non-empty batch of cubes [N, B, H, W], got shape {list(noisy.shape)}{one}"
        )
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    _check_type(network, noisy)
    _tell_order(noisy)
    if not noisy.is_cuda:
        _check_values(noisy.detach(), network.training)


def _check_type(network: nn.Module, noisy: Tensor) -> None:
    """Whether it can meet the weights."""
    if not noisy.is_floating_point():
        raise TypeError(
            f"noisy is {noisy.dtype}, and a network takes floating-point cubes in [0, 1]: "
            "noisy.float() divided by the largest value; or call lightning_ras2s.denoise, which "
            "finds the range"
        )
    weight = next(network.parameters(), None)
    if weight is None:
        return
    if noisy.device != weight.device:
        raise ValueError(
            f"noisy is on {noisy.device} and the weights are on {weight.device}: "
            f"noisy.to({str(weight.device)!r})"
        )
    if noisy.dtype != weight.dtype and not torch.is_autocast_enabled(noisy.device.type):
        raise TypeError(
            f"noisy is {noisy.dtype} and the weights are {weight.dtype}: noisy.to({weight.dtype})"
        )


def _tell_order(noisy: Tensor) -> None:
    """Rows in the place of bands: as many bands as rows are unlikely, and so are a thousand."""
    bands, height, width = noisy.shape[1:]
    if width < height != bands > MOST_BANDS or bands == height != width:
        warnings.warn(
            f"noisy {list(noisy.shape)} is read as {bands} bands of {height} x {width} pixels; if "
            "its last axis holds the bands: noisy.permute(0, 3, 1, 2)",
            stacklevel=6,
        )


def _check_values(noisy: Tensor, is_training: bool) -> None:
    try:
        low, high = (float(end) for end in noisy.aminmax())
    except RuntimeError:  # under vmap, and as a fake tensor, it has none
        return
    if -FAR <= low <= high <= FAR:
        return
    if abs(low) + abs(high) < float("inf"):
        told = (
            f"noisy goes from {low:.6g} to {high:.6g}, and the network knows cubes of about "
            "[0, 1]: scale it, or call lightning_ras2s.denoise, which finds the range"
        )
    else:
        wrong = ~noisy.isfinite()
        told = (
            f"{int(wrong.sum())} of {noisy.numel()} values of noisy are not finite, the first at "
            f"{wrong.nonzero()[0].tolist()}, and spread over the cube: fill them, or call "
            "lightning_ras2s.denoise, which leaves them out"
        )
        if not is_training:
            raise ValueError(told)
    warnings.warn(told, stacklevel=6)
