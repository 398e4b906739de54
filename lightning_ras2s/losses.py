"""What training minimises: losses of two images, and weighted sums of them written as text.

Each loss takes (denoised, target), [N, B, H, W] in [0, 1], and gives a scalar in at least float32,
with finite gradients everywhere. A ValueError says when the shapes differ.
"""

import difflib
import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_ras2s.metrics import ImagePairFunction, image_pair, spectral_angle, ssim_map

CHARBONNIER_EPS = 1e-3
SAM_FLOOR = 1e-3
PHASE_FLOOR = 1e-4  # roundoff of float32 reaches 1e-5 in a bright 512 x 512 image


@image_pair
def l1(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(denoised, target)


@image_pair
def l2(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(denoised, target)


@image_pair
def smooth_l1(denoised: Tensor, target: Tensor) -> Tensor:
    """Huber's loss, which turns linear at 1: for errors within the data range, half of `l2`."""
    return F.smooth_l1_loss(denoised, target)


@image_pair
def charbonnier(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean of sqrt(error^2 + 1e-6): an `l1` that is smooth at 0, where it is 1e-3.

    Lai et al., "Deep Laplacian pyramid networks for fast and accurate super-resolution", 2017.
    """
    return ((denoised - target).square() + CHARBONNIER_EPS**2).sqrt().mean()


@image_pair
def ssim(denoised: Tensor, target: Tensor) -> Tensor:
    """1 - the structural similarity that `metrics.mssim` measures; H and W are at least 11."""
    return 1 - ssim_map(denoised, target).mean()


@image_pair
def sam(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean spectral angle in rad, in [0, pi].

    The angle is taken with one more band, of 1e-3 in both images. That changes the angle of spectra
    of norm 1 by less than 1e-6 of it, and bounds the gradient, which would otherwise grow without
    limit for dark pixels: a spectrum that is zero in both images counts 0 and one that is zero
    in only one of them almost pi/2.
    """
    denoised, target = (
        F.pad(image, (0, 0, 0, 0, 0, 1), value=SAM_FLOOR) for image in (denoised, target)
    )
    return spectral_angle(denoised, target).mean()


@image_pair
def fourier_amplitude(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the bands' Fourier amplitudes (orthonormal 2-D transform).

    Fuoli et al., "Fourier space losses for efficient perceptual image super-resolution", 2021, here
    without their Hann window.
    """
    a, b = _fourier(denoised, target)
    return F.l1_loss(a.abs(), b.abs())


@image_pair
def fourier_phase(denoised: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the bands' Fourier phases in rad, the short way round: [0, pi].

    Coefficients of the orthonormal 2-D transform whose amplitude is not above 1e-4 in both images
    have no meaningful phase and do not count; with none left the loss is 0. The other half of the
    loss of Fuoli et al., 2021.
    """
    a, b = _fourier(denoised, target)
    left_out = (a.abs() <= PHASE_FLOOR) | (b.abs() <= PHASE_FLOOR)
    product = torch.where(left_out, 1, a * b.conj())  # 1: no phase, and no gradient
    phase = torch.atan2(product.imag.abs(), product.real)
    return phase.sum() / (~left_out).sum().clamp(min=1)


def _fourier(denoised: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return torch.fft.fft2(denoised, norm="ortho"), torch.fft.fft2(target, norm="ortho")


LOSSES: dict[str, ImagePairFunction] = {
    loss.__name__: loss
    for loss in (l1, l2, smooth_l1, charbonnier, ssim, sam, fourier_amplitude, fourier_phase)
}

_PLUS = re.compile(r"(?<![\d.][eE])\+")  # but not the one of 1e+3
_TERM = re.compile(r"\s*(?:([^*]+)\*)?\s*([A-Za-z]\w*)\s*(?:\*([^*]+))?")


def parse_loss(expression: str) -> dict[str, float]:
    """Read a weighted sum of losses.

    Args:
        expression: Terms joined by +, each `name`, `weight*name` or `name*weight`, with names from
            `LOSSES`, e.g. "l2 + 0.001*sam".

    Returns:
        The weight of each loss, in the order written.

    Raises:
        ValueError: If a term cannot be read, names no loss or one that came before, or has a weight
            that is not positive and finite.
    """
    weights: dict[str, float] = {}
    for term in _PLUS.split(expression):
        try:
            name, weight = _parse_term(term)
            if name in weights:
                raise ValueError(f"{name!r} comes twice")
        except ValueError as problem:
            raise ValueError(
                f"loss {expression!r}, term {term.strip()!r}: {problem}. "
                f"Known losses: {', '.join(LOSSES)}"
            ) from None
        weights[name] = weight
    return weights


def _parse_term(term: str) -> tuple[str, float]:
    match = _TERM.fullmatch(term)
    if match is None or (match[1] and match[3]):
        raise ValueError("expected name, weight*name or name*weight")
    name, factor = match[2], match[1] or match[3] or "1"
    if name not in LOSSES:
        close = difflib.get_close_matches(name.lower(), LOSSES, n=1)
        raise ValueError(
            f"unknown loss {name!r}" + "".join(f", did you mean {c!r}?" for c in close)
        )
    weight = float(factor)
    if not (weight > 0 and math.isfinite(weight)):
        raise ValueError(f"the weight must be positive and finite, not {factor.strip()}")
    return name, weight


class WeightedLoss(nn.Module):
    """A weighted sum of losses.

    Args:
        expression: See `parse_loss`, e.g. "l2 + 0.001*sam".

    Attributes:
        terms: The weight of each loss by name.
    """

    def __init__(self, expression: str) -> None:
        super().__init__()
        self.terms = parse_loss(expression)

    def forward(self, denoised: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            denoised: [N, B, H, W].
            target: [N, B, H, W] in [0, 1].

        Returns:
            A scalar.

        Raises:
            ValueError: If the shapes differ.
        """
        losses = [weight * LOSSES[name](denoised, target) for name, weight in self.terms.items()]
        return torch.stack(losses).sum()

    def extra_repr(self) -> str:
        """Show the sum in the network's printout."""
        return " + ".join(f"{weight:g}*{name}" for name, weight in self.terms.items())
