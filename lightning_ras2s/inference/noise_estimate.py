"""The noise of a cube, from its difference to a denoised one and from its other bands."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_SIGMA = 1e-6
FEW = 50  # values, that say nothing about a sigma


@dataclass(frozen=True)
class Noise:
    """One look at the noise; [B, P] where nothing else is said."""

    data: Tensor  # noisy, without offsets, clipped values replaced by their mean
    offsets: Tensor  # [B, W]
    outliers: Tensor  # bool
    kept: Tensor  # [B, 1], share of a band's values that are no outliers
    sigma: Tensor  # [B, 1]
    first_sigma: Tensor  # [B, 1], of the difference to the denoised cube
    plain: Tensor  # [B, 1] bool: no stripes, hardly an outlier, nothing clipped
    untouched: Tensor  # [B, 1] bool: few steps of values, as of photons, or one value only


def _spread(residual: Tensor) -> Tensor:
    """1.4826 times the median of what is not negative, along the last dimension, which stays."""
    return 1.4826 * residual.abs().median(-1, keepdim=True).values


def look_at_noise(
    y: Tensor, reference: Tensor, first_sigma: Tensor | None, size: list[int]
) -> Noise:
    """Finds what of a noisy cube is noise.

    Args:
        y: The noisy cube, [B, P], on a scale whose range is 0 to 1.
        reference: What is held for clean, likewise.
        first_sigma: That of the first look, if this is a later one.
        size: Height and width; P is their product.
    """
    height, width = size
    offsets = _column_offsets(y - reference, height, width)
    data = _minus_columns(y, offsets, height)
    residual = data - reference
    sigma = _spread_inside(residual, (y == 0) | (y == 1))
    first_sigma = sigma if first_sigma is None else first_sigma
    judged = torch.maximum(sigma, first_sigma)  # by the noise and the network's error together
    inner_sigma, sigma = sigma, sigma.clone()
    for value in (0, 1):
        clipped = End.of(value, y, reference, judged, inner_sigma).clipped
        for band in clipped[:, 0].nonzero()[:, 0].tolist():
            away = residual[band][residual[band] > 0 if value == 0 else residual[band] < 0]
            if len(away) > FEW:  # the side that is not clipped
                sigma[band] = judged[band] = _spread(away).clamp_min(LEAST_SIGMA)
    ends = [End.of(value, y, reference, judged, inner_sigma) for value in (0, 1)]
    outliers = _outliers(residual / judged)
    for end in ends:
        outliers |= end.dead
    for end in ends:
        if not end.clipped.any():
            continue
        filled = end.mean_if_clipped(reference, sigma)
        clipped = end.at & end.clipped & ~outliers
        data = torch.where(clipped, _minus_columns(filled, offsets, height), data)
    kept = 1 - outliers.float().mean(1, keepdim=True)
    few = max(0.032, 1.01 / width)  # columns with an offset
    striped = (offsets != 0).float().mean(1, keepdim=True)
    plain = (kept > 0.9) & (striped <= few)
    for end in ends:
        plain &= ~(end.clipped | end.counted)
    unmasked = torch.where(outliers, reference, data)
    others = _sigma_from_other_bands(unmasked) / kept.clamp_min(0.1).sqrt()
    sigma = torch.where(plain, torch.minimum(sigma, torch.maximum(others, 0.02 * sigma)), sigma)
    constant = (y == y[:, :1]).all(1, keepdim=True)
    untouched = ends[0].counted | ends[1].counted | constant
    return Noise(data, offsets, outliers, kept, sigma, first_sigma, plain, untouched)


def _column_offsets(residual: Tensor, height: int, width: int) -> Tensor:
    """The medians of columns that stand out, [B, W]; 0 elsewhere."""
    medians = residual.view(-1, height, width).median(1).values
    error = 1.2533 * _spread(residual) / math.sqrt(height)  # of a median
    spread = _spread(medians - medians.median(1, keepdim=True).values)
    excess = (spread**2 - 1.2 * error**2).clamp_min(0).sqrt()
    return torch.where(medians.abs() > 3 * error + 5 * excess, medians, 0.0)


def _minus_columns(values: Tensor, offsets: Tensor, height: int) -> Tensor:
    bands, width = offsets.shape
    return (values.view(bands, height, width) - offsets[:, None]).view(bands, -1)


def _spread_inside(residual: Tensor, at_end: Tensor) -> Tensor:
    """Of each band; over the values at no end of the range where many are at one."""
    sigma = _spread(residual)
    for band in (at_end.float().mean(1) > 0.01).nonzero()[:, 0].tolist():
        inside = residual[band][~at_end[band]]
        if len(inside) > FEW:
            sigma[band] = _spread(inside)
    return sigma.clamp_min(LEAST_SIGMA)


@dataclass(frozen=True)
class End:
    """What the values exactly at an end of the range are, 0 or 1; [B, P], [B, 1] by band."""

    at: Tensor
    dead: Tensor
    clipped: Tensor  # by band
    counted: Tensor  # by band
    value: int

    @classmethod
    def of(cls, end: int, y: Tensor, reference: Tensor, judged: Tensor, sigma: Tensor) -> "End":
        """Judges the values at ``end``: of bands with many, also where they come from."""
        at = y == end
        share = at.float().mean(1, keepdim=True)
        far = (y - reference).abs() > judged
        clipped, counted = (torch.zeros_like(share, dtype=torch.bool) for _ in range(2))
        for band in (share[:, 0] > 0.01).nonzero()[:, 0].tolist():
            depth, expected = ((x[band] - end) * (1 - 2 * end) for x in (y, reference))
            near, nearer = (
                ((depth > 0) & (depth <= part * sigma[band])).float().mean() for part in (0.5, 0.25)
            )
            of_noise = _below(expected / sigma[band]).mean()
            likely = (share[band] < 2 * of_noise + 0.01) | (near > 0.3 * share[band])
            if likely and not (depth < 0).any():
                far[band] = expected > 3 * judged[band]
                clipped[band] = nearer > 0.1 * share[band]
                counted[band] = ~clipped[band]
        return cls(at, at & far, clipped, counted, end)

    def mean_if_clipped(self, reference: Tensor, sigma: Tensor) -> Tensor:
        """The mean of a normal value, given that it lies beyond the end."""
        inward = 1 - 2 * self.value
        z = ((reference - self.value) / sigma * inward).clamp(-6, 6)
        density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        return reference - inward * sigma * density / _below(z).clamp_min(1e-12)


def _below(z: Tensor) -> Tensor:
    """The probability that a standard normal value is less than -z."""
    return 0.5 * torch.erfc(z / math.sqrt(2))


def _outliers(deviation: Tensor) -> Tensor:
    """Values more than 4 sigma off, unless both neighbouring bands deviate alike.

    No sensor's noise does that; a network that fails on a pixel does.
    """
    above = torch.cat([deviation[1:], deviation[-2:-1]])
    below = torch.cat([deviation[1:2], deviation[:-1]])
    sign = deviation.sign()
    return (deviation.abs() > 4) & ~((below * sign > 2) & (above * sign > 2))


def _sigma_from_other_bands(values: Tensor) -> Tensor:
    """What the other bands do not predict of each band, [B, 1]: an upper bound of its noise."""
    bands, pixels = values.shape
    centred = (values - values.mean(1, keepdim=True)).double()
    gram = centred @ centred.T
    if pixels > 4 * bands:
        precision = torch.linalg.inv(gram + _ridge(gram)).diagonal()
        return (1 / (precision * (pixels - bands))).clamp_min(0).sqrt().float()[:, None]
    reach = min(10, (bands - 1) // 2 if bands > 4 else 1)
    found = []
    for band in range(bands):
        others = [b for b in range(max(0, band - reach), min(bands, band + reach + 1)) if b != band]
        own = gram[others][:, others]
        solved = torch.linalg.solve(own + _ridge(own), gram[others, band])
        rest = gram[band, band] - gram[band, others] @ solved
        found.append((rest / (pixels - len(others))).clamp_min(0).sqrt())
    return torch.stack(found).float()[:, None]


def _ridge(gram: Tensor) -> Tensor:
    """Keeps a matrix invertible, also that of constant bands."""
    least = 1e-12 * gram.diagonal().mean().clamp_min(1e-12)
    return least * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
