"""How well cubes are denoised: PSNR, SSIM, SAM and ERGAS per image, and the table of all scenes.

Images are [N, B, H, W] in [0, 1]; nothing is clipped, so what a network puts outside that range
counts as error. Each measure is one number per image, [N], in at least float32. PSNR and SSIM are
computed with torchmetrics; SAM and ERGAS by their own formulas, because torchmetrics answers nan
for an image with one all-zero spectrum and inf for an image with one all-zero band.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.utilities import dim_zero_cat

ImagePairFunction = Callable[[Tensor, Tensor], Tensor]

SSIM_WINDOW = 11  # taps that torchmetrics gives a Gaussian of sigma 1.5


def image_pair(function: ImagePairFunction) -> ImagePairFunction:
    """Make a function of two images check their shapes and compute in at least float32.

    Autocast is off inside: it would run SSIM's convolution in half precision.

    Args:
        function: Takes two tensors [N, B, H, W] of the same shape and floating type.

    Returns:
        The same function, which now raises a ValueError for images whose shapes differ or are not
        [N, B, H, W], in place of broadcasting them.
    """

    @wraps(function)
    def checked(denoised: Tensor, clean: Tensor) -> Tensor:
        if denoised.shape != clean.shape or denoised.ndim != 4:
            raise ValueError(
                "expected two images of the same shape [N, B, H, W], "
                f"got {list(denoised.shape)} and {list(clean.shape)}"
            )
        dtype = torch.promote_types(denoised.dtype, clean.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        with torch.autocast(denoised.device.type, enabled=False):
            return function(denoised.to(dtype), clean.to(dtype))

    return checked


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
def band_psnr(denoised: Tensor, clean: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each band in dB, for a peak of 1.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W] in [0, 1].

    Returns:
        [N, B] in dB, higher is better; inf for a band that equals its clean one.

    Raises:
        ValueError: If the shapes differ.
    """
    return peak_signal_noise_ratio(denoised, clean, data_range=1.0, dim=(2, 3), reduction="none")


@image_pair
def band_ssim(denoised: Tensor, clean: Tensor) -> Tensor:
    """Structural similarity of each band, mean over pixels whose window lies in the image.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W] in [0, 1].

    Returns:
        [N, B], higher is better, 1 for equal bands. See `ssim_map` for the definition.

    Raises:
        ValueError: If the shapes differ, or H or W is smaller than 11.
    """
    return ssim_map(denoised, clean).mean((2, 3))


def mpsnr(denoised: Tensor, clean: Tensor) -> Tensor:
    """Mean of `band_psnr` over the bands, [N] in dB; inf for an image with an infinite band."""
    return band_psnr(denoised, clean).mean(1)


def mssim(denoised: Tensor, clean: Tensor) -> Tensor:
    """Mean of `band_ssim` over the bands, [N]; 1 for equal images."""
    return band_ssim(denoised, clean).mean(1)


@image_pair
def sam(denoised: Tensor, clean: Tensor) -> Tensor:
    """Spectral angle, mean over pixels.

    Kruse et al., "The spectral image processing system (SIPS)", 1993. A pixel that is zero in both
    images counts 0, one that is zero in only one of them pi/2.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W].

    Returns:
        [N] in rad (some papers print degrees), in [0, pi], lower is better.

    Raises:
        ValueError: If the shapes differ.
    """
    return spectral_angle(denoised, clean).mean((1, 2))


@image_pair
def ergas(denoised: Tensor, clean: Tensor) -> Tensor:
    """Relative error 100 sqrt(mean over bands of (RMSE of the band / mean of its clean pixels)^2).

    Wald, "Quality of high resolution synthesised images: is there a simple criterion?", 2000, with
    a ratio of pixel sizes of 1. A band whose clean mean is zero (to the precision of data of range
    1) has no relative error and is left out.

    Args:
        denoised: [N, B, H, W].
        clean: [N, B, H, W] in [0, 1].

    Returns:
        [N] in percent, lower is better; nan for an image with no band of non-zero mean, for which
        the measure is not defined.

    Raises:
        ValueError: If the shapes differ.
    """
    mean_squared_error = (denoised - clean).square().mean((2, 3))
    mean = clean.mean((2, 3))
    left_out = mean.abs() <= torch.finfo(mean.dtype).eps
    relative = torch.where(left_out, 0, mean_squared_error / mean.square())
    return 100 * (relative.sum(1) / (~left_out).sum(1)).sqrt()


METRICS: dict[str, ImagePairFunction] = {
    "psnr_db": mpsnr,
    "ssim": mssim,
    "sam_rad": sam,
    "ergas": ergas,
}
"""The measures in the order of the columns of evaluation.csv."""


class SceneTable(Metric):
    """Values per scene, each scene once, whatever process saw it and however often.

    A distributed sampler repeats scenes to give each process equally many, and a plain mean over
    what all processes saw is biased by them. Here each row carries its key, e.g. (noise case,
    scene), and a key that comes again replaces its row.
    """

    full_state_update = False
    rows: list[Tensor]
    key_columns: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dist_sync_fn": _gather, **kwargs})
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        # A state, so that a process without rows learns it from the others.
        self.add_state("key_columns", default=torch.tensor(0), dist_reduce_fx="max")

    def update(self, keys: Tensor, values: Tensor) -> None:
        """Add N rows.

        Args:
            keys: [N, K] int64, e.g. K = 2 for (group index, scene index); below 2^53.
            values: [N, V], stored as float64.

        Raises:
            ValueError: If the two are not matrices with equally many rows.
        """
        if keys.ndim != 2 or values.ndim != 2 or len(keys) != len(values):
            raise ValueError(
                "expected keys [N, K] and values [N, V], "
                f"got {list(keys.shape)} and {list(values.shape)}"
            )
        rows = [part.to(self.device, torch.float64) for part in (keys, values)]
        self.rows.append(torch.cat(rows, dim=1))
        self.key_columns = torch.full_like(self.key_columns, keys.shape[1])

    def compute(self) -> tuple[Tensor, Tensor]:
        """Give the table, sorted by key.

        Returns:
            Keys [R, K] int64, each once, and their values [R, V] float64: of a key's rows the last
            counts. Both are [0, 0] for a table without rows. torchmetrics turns a matrix of one
            element into a scalar, as it does for every metric.
        """
        columns = int(self.key_columns)
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.empty(0, 0, device=self.device)
        if len(rows) == 0:
            return rows[:, :columns].long(), rows[:, columns:].double()
        keys, group, counts = rows[:, :columns].unique(
            dim=0, return_inverse=True, return_counts=True
        )
        last = group.argsort(stable=True)[counts.cumsum(0) - 1]
        return keys.long(), rows[last, columns:]


def _gather(local: Tensor, group: Any = None) -> list[Tensor]:
    """Collect each process's tensor; torchmetrics' own gather fails if one process has no rows."""
    gathered: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(gathered, local.cpu(), group=group)
    return [tensor.to(local.device) for tensor in gathered]
