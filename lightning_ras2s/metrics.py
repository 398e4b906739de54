"""How well cubes are denoised: PSNR, SSIM, SAM and ERGAS per image, and the table of all scenes.

Images are [N, B, H, W] in [0, 1]; nothing is clipped, so what a network puts outside that range
counts as error. Each measure is one number per image, [N], in at least float32. Where ``valid``
[N, H, W] or [N, B, H, W] is given, only valid pixels count; a band without any is left out. PSNR
and SSIM are computed with torchmetrics; SAM and ERGAS by their own formulas, because torchmetrics
answers nan for an image with one all-zero spectrum and inf for an image with one all-zero band.
"""

from collections.abc import Callable
from functools import wraps

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

ImagePairFunction = Callable[[Tensor, Tensor], Tensor]
Metric = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # denoised, clean, valid

SSIM_WINDOW = 11  # taps that torchmetrics gives a Gaussian of sigma 1.5


def image_pair(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a function of two images check their shapes and compute in at least float32.

    Autocast is off inside: it would run SSIM's convolution in half precision.

    Args:
        function: Takes two tensors [N, B, H, W] of the same shape and floating type, and a mask
            as a third, if it is given.

    Returns:
        The same function, which now raises a ValueError for images whose shapes differ or are not
        [N, B, H, W], in place of broadcasting them.
    """

    @wraps(function)
    def checked(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
        if denoised.shape != clean.shape or denoised.ndim != 4:
            raise ValueError(
                "expected two images of the same shape [N, B, H, W], "
                f"got {list(denoised.shape)} and {list(clean.shape)}"
            )
        dtype = torch.promote_types(denoised.dtype, clean.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        with torch.autocast(denoised.device.type, enabled=False):
            images = denoised.to(dtype), clean.to(dtype)
            if valid is None:
                return function(*images)
            return function(*images, _mask_of_bands(valid, clean))

    return checked


def _mask_of_bands(valid: Tensor, clean: Tensor) -> Tensor:
    """A mask of the shape of the image.

    Raises:
        ValueError: If its shape is another one.
    """
    mask = valid[:, None] if valid.ndim == 3 else valid
    if mask.ndim != 4 or any(m not in (1, n) for m, n in zip(mask.shape, clean.shape, strict=True)):
        raise ValueError(
            f"valid {list(valid.shape)} must be [N, H, W] or [N, B, H, W], as the image "
            f"{list(clean.shape)} is"
        )
    return mask.expand(clean.shape)


def _mean_of_pixels(values: Tensor, valid: Tensor | None) -> Tensor:
    """The mean over the valid pixels, [N, B]; nan for a band without any."""
    if valid is None:
        return values.mean((2, 3))
    return torch.where(valid, values, 0).sum((2, 3)) / valid.sum((2, 3))


def _mean_of_bands(values: Tensor, valid: Tensor | None) -> Tensor:
    """The mean over the bands that have a valid pixel, [N]."""
    if valid is None:
        return values.mean(1)
    mask = valid[:, None] if valid.ndim == 3 else valid
    there = mask.any(3).any(2).expand(values.shape)
    return torch.where(there, values, 0).sum(1) / there.sum(1)


def ssim_map(denoised: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity at each pixel of each band whose whole window lies in the image.

    Gaussian window of 11 x 11 taps, sigma 1.5, data range 1: eq. 13 of Wang et al., "Image quality
    assessment: from error visibility to structural similarity", 2004, and scikit-image's with
    `gaussian_weights=True, use_sample_covariance=False`.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W].

    Returns:
        [N, B, H-10, W-10], at most 1.

    Raises:
        ValueError: If H or W is smaller than the window.
    """
    height, width = clean.shape[-2:]
    if min(height, width) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, the size of its "
            f"window, got H x W = {height} x {width}"
        )
    # torchmetrics' own mean includes the reflected border, so take its map and crop it.
    _, similarity = structural_similarity_index_measure(
        denoised, clean, sigma=1.5, data_range=1.0, return_full_image=True
    )
    border = SSIM_WINDOW // 2
    return similarity[..., border:-border, border:-border]


def spectral_angle(denoised: Tensor, clean: Tensor) -> Tensor:
    """Angle between the two spectra at each pixel.

    2 atan2(|a - b|, |a + b|) of the normalised spectra a and b: Kahan, "How futile are mindless
    assessments of roundoff in floating-point computation?", 2006. The usual acos is off by 2e-4 rad
    for equal float32 spectra; this is 0 there.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W].

    Returns:
        [N, H, W] in rad, in [0, pi]; 0 where both spectra are zero, pi/2 where only one is.
    """
    tiny = torch.finfo(clean.dtype).tiny
    a, b = F.normalize(denoised, dim=1, eps=tiny), F.normalize(clean, dim=1, eps=tiny)
    difference, total = (torch.linalg.vector_norm(v, dim=1) for v in (a - b, a + b))
    return 2 * torch.atan2(difference, total)


@image_pair
def band_psnr(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each band in dB, for a peak of 1.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W] in [0, 1].
        valid: Pixels that count, [N, H, W] or [N, B, H, W]; all by default.

    Returns:
        [N, B] in dB, higher is better; inf for a band that equals its clean one.

    Raises:
        ValueError: If the shapes differ.
    """
    if valid is not None:
        return -10 * _mean_of_pixels((denoised - clean).square(), valid).log10()
    return peak_signal_noise_ratio(denoised, clean, data_range=1.0, dim=(2, 3), reduction="none")


@image_pair
def band_ssim(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Structural similarity of each band, mean over pixels whose window lies in the image.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W] in [0, 1].
        valid: Pixels that count, [N, H, W] or [N, B, H, W]; all by default.

    Returns:
        [N, B], higher is better, 1 for equal bands. See `ssim_map` for the definition.

    Raises:
        ValueError: If the shapes differ, or H or W is smaller than 11.
    """
    if valid is None:
        return ssim_map(denoised, clean).mean((2, 3))
    border = SSIM_WINDOW // 2
    similarity = ssim_map(torch.where(valid, denoised, clean), clean)
    return _mean_of_pixels(similarity, valid[..., border:-border, border:-border])


ANGLE_WINDOW = 9  # bands
TINY = 1e-14  # a sum of squares that is none, but for rounding


@image_pair
def band_sam(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Spectral angle of the nine bands about each band, mean over pixels.

    Where `sam` tells how far whole spectra are turned, this tells where in the spectrum their shape
    is lost. At the ends of the spectrum the window is cut off.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W].
        valid: Pixels that count, [N, H, W] or [N, B, H, W]; all by default.

    Returns:
        [N, B] in rad, in [0, pi], lower is better.

    Raises:
        ValueError: If the shapes differ.
    """
    if valid is not None:
        denoised, clean = (torch.where(valid, image, 0) for image in (denoised, clean))
    bands, reach = clean.shape[1], ANGLE_WINDOW // 2

    def products(band: int) -> Tensor:
        a, b = denoised[:, band].double(), clean[:, band].double()
        return torch.stack([a * b, a * a, b * b])

    sums = torch.zeros_like(products(0))
    for band in range(min(reach, bands)):
        sums = sums + products(band)
    angles = []
    for band in range(bands):
        if band + reach < bands:
            sums = sums + products(band + reach)
        if band > reach:
            sums = sums - products(band - reach - 1)
        both, a, b = sums
        angle = torch.atan2((a * b - both.square()).clamp(min=0).sqrt(), both)
        angle = torch.where((a > TINY) == (b > TINY), angle, torch.pi / 2)[:, None]
        window = slice(max(band - reach, 0), band + reach + 1)
        seen = None if valid is None else valid[:, window].any(1, keepdim=True)
        angles.append(_mean_of_pixels(angle.to(clean.dtype), seen))
    return torch.cat(angles, dim=1)


def mpsnr(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of `band_psnr` over the bands, [N] in dB; inf for an image with an infinite band."""
    return _mean_of_bands(band_psnr(denoised, clean, valid), valid)


def mssim(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of `band_ssim` over the bands, [N]; 1 for equal images."""
    return _mean_of_bands(band_ssim(denoised, clean, valid), valid)


@image_pair
def sam(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Spectral angle, mean over pixels.

    Kruse et al., "The spectral image processing system (SIPS)", 1993. A pixel that is zero in both
    images counts 0, one that is zero in only one of them pi/2.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W].
        valid: Pixels that count, [N, H, W] or [N, B, H, W]; all by default.

    Returns:
        [N] in rad (some papers print degrees), in [0, pi], lower is better.

    Raises:
        ValueError: If the shapes differ.
    """
    if valid is None:
        return spectral_angle(denoised, clean).mean((1, 2))
    angles = spectral_angle(*(torch.where(valid, image, 0) for image in (denoised, clean)))
    return _mean_of_pixels(angles[:, None], valid.any(1, keepdim=True))[:, 0]


@image_pair
def ergas(denoised: Tensor, clean: Tensor, valid: Tensor | None = None) -> Tensor:
    """Relative error 100 sqrt(mean over bands of (RMSE of the band / mean of its clean pixels)^2).

    Wald, "Quality of high resolution synthesised images: is there a simple criterion?", 2000, with
    a ratio of pixel sizes of 1. A band whose clean mean is zero (to the precision of data of range
    1) has no relative error and is left out.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W] in [0, 1].
        valid: Pixels that count, [N, H, W] or [N, B, H, W]; all by default.

    Returns:
        [N] in percent, lower is better; nan for an image with no band of non-zero mean, for which
        the measure is not defined.

    Raises:
        ValueError: If the shapes differ.
    """
    mean_squared_error = _mean_of_pixels((denoised - clean).square(), valid)
    mean = _mean_of_pixels(clean, valid)
    left_out = mean.abs() <= torch.finfo(mean.dtype).eps
    if valid is not None:
        left_out |= ~valid.any(3).any(2)
    relative = torch.where(left_out, 0, mean_squared_error / mean.square())
    return 100 * (relative.sum(1) / (~left_out).sum(1)).sqrt()


METRICS: dict[str, Metric] = {
    "psnr_db": mpsnr,
    "ssim": mssim,
    "sam_rad": sam,
    "ergas": ergas,
}
"""The measures in the order of the columns of evaluation.csv."""
