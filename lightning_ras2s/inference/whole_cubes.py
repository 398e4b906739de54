"""A method on whole cubes: of any size, whatever its denoiser takes."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_ras2s.methods import Method
from lightning_ras2s.networks.blocks.mirror import mirrored

Denoise = Callable[[Tensor], Tensor]


def whole_cubes(denoise: Denoise, method: Method) -> Denoise:
    """The denoiser for cubes [N, B, H, W] of any number of bands, height and width."""

    def denoise_whole(noisy: Tensor) -> Tensor:
        height, width = noisy.shape[-2:]
        more = [-size % method.multiple_of for size in (height, width)]
        framed = mirrored(mirrored(noisy, -2, 0, more[0]), -1, 0, more[1])
        denoised = in_band_windows(denoise, framed, method.bands or noisy.shape[1])
        return denoised[..., :height, :width]

    return denoise if method.bands is None and method.multiple_of == 1 else denoise_whole


def in_band_windows(denoise: Denoise, noisy: Tensor, bands: int) -> Tensor:
    """Denoises all windows of adjacent bands and averages them where they overlap.

    That is how the authors of RAS2S (ECCV 2024) test networks of a fixed number of bands: a window
    begins at every band that has enough behind it. (Their code leaves out the last window of two
    datasets by mistake.)

    Args:
        denoise: Takes and gives [N, ``bands``, H, W].
        noisy: [N, B, H, W]; fewer bands than a window has are mirrored up to it.
        bands: Of a window.

    Returns:
        [N, B, H, W].
    """
    count = noisy.shape[1]
    if count < bands:
        return denoise(mirrored(noisy, 1, 0, bands - count))[:, :count]
    total, times = torch.zeros_like(noisy), noisy.new_zeros(count, 1, 1)
    for start in range(count - bands + 1):
        window = slice(start, start + bands)
        total[:, window] += denoise(noisy[:, window])
        times[window] += 1
    return total / times


def both_ways(denoise: Denoise) -> Denoise:
    """The mean of what becomes of a cube and of the cube with its bands reversed."""

    def denoise_both(noisy: Tensor) -> Tensor:
        return (denoise(noisy) + denoise(noisy.flip(1)).flip(1)) / 2

    return denoise_both


def with_mirrored_bands(denoise: Denoise, count: int) -> Denoise:
    """With so many bands mirrored in front and behind, for weights that are weak at the ends."""

    def denoise_framed(noisy: Tensor) -> Tensor:
        bands = noisy.shape[1]
        more = min(count, bands - 1)
        return denoise(mirrored(noisy, 1, more, more))[:, more : more + bands]

    return denoise_framed
