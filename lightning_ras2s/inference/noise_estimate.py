"""The noise of a cube, from its difference to a denoised one and from its other bands.

Two passes, for cubes of any size: one over the bands, for their medians, and one over the pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEAST_SIGMA = 1e-6
FEW = 50  # values, that say nothing about a sigma
MANY_AT_AN_END = 0.01  # share of a band's values exactly at an end of the range
ENDS = (0, 1)
STEPS = 64  # so few different values in a band are counts


@dataclass(frozen=True)
class BandNoise:
    """What one look at each band alone finds; [B, 1] where nothing else is said."""

    offsets: Tensor  # [B, W], of columns; 0 where there is none
    sigma: Tensor
    first_sigma: Tensor  # of the difference to the denoised cube
    judged: Tensor  # sigma by which outliers are judged: of noise and network's error together
    ordinary: tuple[Tensor, Tensor]  # bool: values at 0, or at 1, are not dead
    clipped: tuple[Tensor, Tensor]  # bool: they are of a sensor or file that cuts values off
    counted: Tensor  # bool: few steps of values, as of photons
    constant: Tensor  # bool

    @classmethod
    def of(cls, chunks: Sequence["BandNoise"]) -> "BandNoise":
        """All bands of chunks of bands."""

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(chunk, name) for chunk in chunks])

        def both(name: str) -> tuple[Tensor, Tensor]:
            low, high = (torch.cat([getattr(c, name)[end] for c in chunks]) for end in ENDS)
            return low, high

        single = ("offsets", "sigma", "first_sigma", "judged", "counted", "constant")
        found = {name: joined(name) for name in single}
        return cls(**found, ordinary=both("ordinary"), clipped=both("clipped"))

    @property
    def even(self) -> Tensor:
        """Hardly a stripe, and nothing clipped or counted."""
        few = max(0.032, 1.01 / self.offsets.shape[1])  # columns with an offset
        striped = (self.offsets != 0).float().mean(1, keepdim=True)
        return (striped <= few) & ~(self.ordinary[0] | self.ordinary[1])


def look_at_bands(
    y: Tensor,
    reference: Tensor,
    missing: Tensor | None,
    first_sigma: Tensor | None,
    size: Sequence[int],
) -> BandNoise:
    """Finds what of some bands is noise, each by itself.

    Args:
        y: The noisy bands, [B, P], on a scale whose range is 0 to 1.
        reference: What is held for clean, likewise.
        missing: [B, P] bool, values that do not count; there, ``y`` must be ``reference``.
        first_sigma: That of the first look, if this is a later one.
        size: Height and width; P is their product.
    """
    height, width = size
    residual = y - reference
    offsets = _column_offsets(residual, missing, height, width)
    residual = (residual.view(-1, height, width) - offsets[:, None]).flatten(1)
    at_end = (y == 0) | (y == 1)
    crowded = at_end.float().mean(1, keepdim=True) > MANY_AT_AN_END
    sigma = _spread(residual, (at_end & crowded) | _none(missing, y)).clamp_min(LEAST_SIGMA)
    first_sigma = sigma if first_sigma is None else first_sigma
    judged = torch.maximum(sigma, first_sigma)
    ordinary, clipped = ((torch.zeros_like(crowded), torch.zeros_like(crowded)) for _ in range(2))
    counted, inner_sigma = torch.zeros_like(crowded), sigma.clone()
    for band in crowded[:, 0].nonzero()[:, 0].tolist():
        there = slice(None) if missing is None else ~missing[band]
        values, rest = y[band][there], residual[band][there]
        counted[band] = _has_few_steps(values)
        if counted[band]:  # a median of few steps says little
            sigma[band] = judged[band] = rest.square().mean().sqrt().clamp_min(LEAST_SIGMA)
        for end in ENDS:
            if counted[band]:
                ordinary[end][band] = True
                continue
            both = _judge_end(end, values, reference[band][there], float(inner_sigma[band]))
            ordinary[end][band], clipped[end][band] = both
            away = rest[rest > 0 if end == 0 else rest < 0]  # the side that is not clipped
            if clipped[end][band] and len(away) > FEW:
                sigma[band] = judged[band] = _spread(away[None]).clamp_min(LEAST_SIGMA)
    constant = _is_constant(y, missing)
    return BandNoise(offsets, sigma, first_sigma, judged, ordinary, clipped, counted, constant)


def _has_few_steps(values: Tensor) -> bool:
    """Whether hardly any two values of a band differ, as counts of photons do not."""
    few = min(STEPS, len(values) // 8)
    some = values[:: max(1, len(values) // (16 * STEPS))]  # tells it of nearly all bands
    return len(some.unique()) < few and len(values.unique()) < few


def _is_constant(y: Tensor, missing: Tensor | None) -> Tensor:
    """Whether a band has one value only, or none; [B, 1] bool."""
    lowest, highest = (
        (y, y) if missing is None else (y.masked_fill(missing, s * math.inf) for s in (1, -1))
    )
    return lowest.amin(1, keepdim=True) >= highest.amax(1, keepdim=True)


def _none(missing: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.bool, device=like.device) if missing is None else missing


def _judge_end(end: int, y: Tensor, reference: Tensor, sigma: float) -> tuple[bool, bool]:
    """Whether a band's many values exactly at an end of the range are ordinary; if so, clipped."""
    depth = (y - end) * (1 - 2 * end)
    if (depth < 0).any():
        return False, False
    share = (depth == 0).float().mean()
    near, nearer = (((depth > 0) & (depth <= s * sigma)).float().mean() for s in (0.5, 0.25))
    of_noise = _below((reference - end) * ((1 - 2 * end) / sigma)).mean()
    likely = share < 2 * of_noise + MANY_AT_AN_END or near > 0.3 * share
    ordinary = bool(share > MANY_AT_AN_END and likely)
    return ordinary, ordinary and bool(nearer > 0.1 * share)


def find_outliers(
    y: Tensor, reference: Tensor, missing: Tensor | None, noise: BandNoise, columns: Tensor
) -> Tensor:
    """Finds the outliers of some pixels.

    Args:
        y: All noisy bands of the pixels, [B, p].
        reference: What is held for clean, likewise.
        missing: [B, p] bool.
        noise: Of all bands.
        columns: [p], the pixels' columns.

    Returns:
        [B, p] bool, missing values among them.
    """
    difference = y - reference
    outliers = _stand_out((difference - noise.offsets[:, columns]).div_(noise.judged))
    for end in ENDS:
        at = y == end
        if at.any():
            inward = (reference - end) * (1 - 2 * end)
            inside = inward > 3 * noise.judged
            far = torch.where(noise.ordinary[end], inside, difference.abs() > noise.judged)
            outliers |= at & far
    return outliers if missing is None else outliers | missing


def without_offsets(
    y: Tensor, reference: Tensor, outliers: Tensor, noise: BandNoise, columns: Tensor
) -> Tensor:
    """The data of some pixels [B, p]: offsets taken off, clipped values replaced by their mean."""
    data = y - noise.offsets[:, columns]
    for end in ENDS:
        for band in noise.clipped[end][:, 0].nonzero()[:, 0].tolist():
            clipped = (y[band] == end) & ~outliers[band]
            mean = _mean_if_clipped(reference[band][clipped], end, noise.sigma[band])
            data[band, clipped] = mean - noise.offsets[band, columns][clipped]
    return data


def _mean_if_clipped(reference: Tensor, end: int, sigma: Tensor) -> Tensor:
    """The mean of normal values, given that they lie beyond an end of the range."""
    inward = 1 - 2 * end
    z = ((reference - end) / sigma * inward).clamp(-6, 6)
    density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return reference - inward * sigma * density / _below(z).clamp_min(1e-12)


def _stand_out(deviation: Tensor) -> Tensor:
    """Values more than 4 sigma off, unless both neighbouring bands deviate alike.

    No sensor's noise does that; a network that fails on a pixel does.
    """
    far, alike = deviation.abs() > 4, deviation.abs() > 2
    positive = deviation > 0
    up, down = alike & positive, alike & ~positive

    def shared(side: Tensor) -> Tensor:
        above = torch.cat([side[1:], side[-2:-1]])
        below = torch.cat([side[1:2], side[:-1]])
        return above & below

    return far & ~torch.where(positive, shared(up), shared(down))


def sigma_from_other_bands(gram: Tensor, pixels: int) -> Tensor:
    """What the other bands do not predict of each band, [B, 1]: an upper bound of its noise.

    Args:
        gram: [B, B] float64, the products of the centred bands, summed over the pixels.
        pixels: Their number.
    """
    bands = len(gram)
    if pixels > 4 * bands:
        precision = torch.linalg.inv(gram + ridge(gram)).diagonal()
        return (1 / (precision * (pixels - bands))).clamp_min(0).sqrt().float()[:, None]
    reach = min(10, (bands - 1) // 2 if bands > 4 else 1)
    found = []
    for band in range(bands):
        others = [b for b in range(max(0, band - reach), min(bands, band + reach + 1)) if b != band]
        own = gram[others][:, others]
        solved = torch.linalg.solve(own + ridge(own), gram[others, band])
        rest = gram[band, band] - gram[band, others] @ solved
        found.append((rest / max(1, pixels - len(others))).clamp_min(0).sqrt())
    return torch.stack(found).float()[:, None]


def ridge(gram: Tensor) -> Tensor:
    """What keeps a matrix invertible, also that of constant bands."""
    least = 1e-12 * gram.diagonal().mean().clamp_min(1e-12)
    return least * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def _below(z: Tensor) -> Tensor:
    """The probability that a standard normal value is less than -z."""
    return 0.5 * torch.erfc(z / math.sqrt(2))


# ----------------------------------------------------------------------------------------- medians


def _column_offsets(residual: Tensor, missing: Tensor | None, height: int, width: int) -> Tensor:
    """The medians of columns that stand out, [B, W]; 0 elsewhere."""
    lines = residual.view(-1, height, width)
    if missing is None:
        medians = _median(lines, 1)
    else:
        held = lines.masked_fill(missing.view_as(lines), math.nan)
        medians = held.nanmedian(1).values.nan_to_num(0.0)
    error = 1.2533 * _spread(residual, missing) / math.sqrt(height)  # of a median
    spread = _spread(medians - _median(medians, 1)[:, None])
    excess = (spread**2 - 1.2 * error**2).clamp_min(0).sqrt()
    return torch.where(medians.abs() > 3 * error + 5 * excess, medians, 0.0)


def _spread(residual: Tensor, left_out: Tensor | None = None) -> Tensor:
    """1.4826 times the median size of each row, [B, 1]; without what is left out, if enough is."""
    size = residual.abs()
    spread = 1.4826 * _median(size, 1)[:, None]
    if left_out is not None and left_out.any():
        for row in left_out.expand_as(size).any(1).nonzero()[:, 0].tolist():
            rest = size[row][~left_out[row]]
            if len(rest) > FEW:
                spread[row] = 1.4826 * _median(rest[None], 1)
    return spread


def _median(values: Tensor, dim: int) -> Tensor:
    """The lower median. NumPy finds it an order of magnitude faster on a CPU."""
    if values.device.type != "cpu":
        return values.median(dim).values
    middle = (values.shape[dim] - 1) // 2
    array = np.partition(values.numpy(), middle, axis=dim)
    return torch.from_numpy(array.take(middle, axis=dim)).to(values)
