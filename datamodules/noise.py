"""The noise cases: what a clean cube in [0, 1] goes through before a network sees it.

A case is a name in ``NOISE_CASES``, or ``gaussian<sigma>`` such as ``gaussian30``. A sample's draws
come from a seed of its own: its noise depends neither on the rest of the batch nor on the machine.
Nothing is clipped but where the case says so; the input and torch's global random state stay as
they are.

Sigmas are in grey levels, 1/255 of the range [0, 1]. Sources: RAS2S (ECCV 2024) for ``FIVE_CASES``
and ``TRAINING_MIX``, T3SC (NeurIPS 2021) for ``correlated``.
"""

import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from datamodules.array_checks import check_unit_range, tell_order
from datamodules.random_streams import RandomStreams, sample_seeds, square_root_

Cube = TypeVar("Cube", np.ndarray, Tensor)


class Noise(ABC):
    """One elementary noise; its fields are its parameters."""

    def __call__(self, clean: Tensor, streams: RandomStreams) -> Tensor:
        """Gives a noisy copy of ``clean`` [N, B, H, W], with sample i drawn from stream i."""
        noisy = clean.clone()
        self.apply_([noisy[index] for index in range(len(noisy))], streams)
        return noisy

    def apply_(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        """Makes cubes [B, H, W] of one shape noisy in place, with cube i drawn from stream i.

        They are single cubes, not a batch, so that those of one case need not be gathered.
        """
        if cubes:
            self._apply(cubes, streams)

    @abstractmethod
    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None: ...


class AdditiveGaussian(Noise):
    """Zero-mean Gaussian noise; subclasses set its sigma, in grey levels [N or 1, B or 1]."""

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        sigmas = self._sigma(len(cubes[0]), streams).mul_(1 / 255).expand(len(cubes), -1)
        noises = streams.normals(*cubes[0].shape)
        for cube, sigma, noise in zip(cubes, sigmas[..., None, None], noises, strict=True):
            cube.add_(noise.mul_(sigma).to(cube.dtype))

    @abstractmethod
    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor: ...


@dataclass(frozen=True)
class Gaussian(AdditiveGaussian):
    """One sigma for all bands."""

    sigma: float = 50.0

    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor:
        return torch.full((1, 1), self.sigma, dtype=torch.float32, device=streams.device)


@dataclass(frozen=True)
class BandGaussian(AdditiveGaussian):
    """Non-i.i.d.: each band draws its sigma from a few."""

    sigmas: tuple[float, ...] = (10.0, 30.0, 50.0, 70.0)

    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor:
        return streams.choice(self.sigmas, bands)


@dataclass(frozen=True)
class BlindGaussian(AdditiveGaussian):
    """One sigma per sample, uniform between two bounds."""

    low: float = 10.0
    high: float = 70.0

    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor:
        return streams.uniform(1).mul_(self.high - self.low).add_(self.low)


@dataclass(frozen=True)
class UniformGaussian(AdditiveGaussian):
    """One sigma per band, uniform from 0 to a bound."""

    sigma_max: float = 55.0

    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor:
        return streams.uniform(bands).mul_(self.sigma_max)


@dataclass(frozen=True)
class CorrelatedGaussian(AdditiveGaussian):
    """In band b of B, sigma is beta exp(-(b/B - 0.5)^2 / (4 eta^2)): a bell over the spectrum."""

    beta: float = 23.08
    eta: float = 0.157

    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor:
        exponents = [((band / bands - 0.5) / (2 * self.eta)) ** 2 for band in range(bands)]
        sigma = [self.beta * math.exp(-exponent) for exponent in exponents]
        return torch.tensor([sigma], dtype=torch.float32, device=streams.device)


@dataclass(frozen=True)
class LittleGaussian(AdditiveGaussian):
    """One level per sample, up to a bound and mostly far less, as in scenes that are nearly clean.

    It is the bound times the square of a uniform number; a band has half to one and a half of it.
    """

    sigma_max: float = 10.0

    def _sigma(self, bands: int, streams: RandomStreams) -> Tensor:
        level = streams.uniform(1)
        return level.mul_(level).mul_(self.sigma_max) * streams.uniform(bands).add_(0.5)


@dataclass(frozen=True)
class SignalDependent(Noise):
    """Gaussian noise of variance sigma^2 (1/10 + 9/10 x), with x in [0, 1] and sigma per band.

    So it is nearly what a sensor adds: by its electronics, and by counting photons.
    """

    sigmas: tuple[float, ...] = (10.0, 30.0, 50.0, 70.0)

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        sigmas = streams.choice(self.sigmas, len(cubes[0]), 1, 1).mul_(1 / 255)
        noises = streams.normals(*cubes[0].shape)
        for cube, sigma, noise in zip(cubes, sigmas, noises, strict=True):
            shares = cube.to(torch.float32).clamp(0, 1).mul_(0.9).add_(0.1)
            cube.add_(noise.mul_(square_root_(shares)).mul_(sigma).to(cube.dtype))


@dataclass(frozen=True)
class Clip(Noise):
    """What leaves [0, 1] is cut off, as in files of whole numbers without a sign."""

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        for cube in cubes:
            cube.clamp_(0, 1)


@dataclass(frozen=True)
class Speckle(Noise):
    """Multiplicative: x + x g, with g zero-mean Gaussian and its variance drawn per band."""

    variances: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        roots = [math.sqrt(variance) for variance in self.variances]
        deviations = streams.choice(roots, len(cubes[0]), 1, 1)
        gains = streams.normals(*cubes[0].shape)
        for cube, deviation, gain in zip(cubes, deviations, gains, strict=True):
            cube.add_(gain.mul_(deviation).to(cube.dtype).mul_(cube))


@dataclass(frozen=True)
class Poisson(Noise):
    """Photon counts: Poisson(x peak) / peak, the peak drawn per band; x below 0 counts as 0.

    The one noise that torch draws: the same on devices of one kind, but CPU and GPU may differ.
    """

    peaks: tuple[float, ...] = (30.0, 60.0, 120.0, 240.0)

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        peaks = streams.choice(self.peaks, len(cubes[0]), 1, 1)
        for cube, peak, generator in zip(cubes, peaks, streams.generators(), strict=True):
            rates = cube.clamp(min=0).to(torch.float32) * peak
            cube.copy_(torch.poisson(rates, generator).div_(peak))


@dataclass(frozen=True)
class ColumnNoise(Noise):
    """Picks n distinct columns in each band, n from ``percent[0]`` % to ``percent[1]`` % - 1.

    Both ends are rounded the same way, down or up. Where that leaves nothing, n is the lower end.
    """

    percent: tuple[int, int] = (5, 15)

    def _columns(self, cube: Tensor, streams: RandomStreams, *, round_up: bool) -> Tensor:
        """Gives a mask of the columns of cubes like this one, bool [N, B, 1, W]."""
        bands, _, width = cube.shape
        low, stop = ((width * percent + 99 * round_up) // 100 for percent in self.percent)
        number = streams.integers(low, max(stop, low + 1), bands, 1, 1)
        return streams.permutation(bands, 1, width) < number


@dataclass(frozen=True)
class Stripe(ColumnNoise):
    """Columns lose a constant each, uniform between -amplitude and amplitude (none if W < 20)."""

    amplitude: float = 0.25

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        columns = self._columns(cubes[0], streams, round_up=False)
        offsets = streams.uniform(*columns.shape[1:]).sub_(0.5).mul_(2 * self.amplitude)
        for cube, offset in zip(cubes, offsets.mul_(columns).to(cubes[0].dtype), strict=True):
            cube.sub_(offset)


@dataclass(frozen=True)
class Deadline(ColumnNoise):
    """Columns are set to 0."""

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        columns = self._columns(cubes[0], streams, round_up=True)
        for cube, dead in zip(cubes, columns, strict=True):
            cube.masked_fill_(dead, 0)


@dataclass(frozen=True)
class Impulse(Noise):
    """Salt and pepper: a pixel becomes 1 or 0, with a probability that is drawn per band."""

    probabilities: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7)

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        probabilities = streams.choice(self.probabilities, len(cubes[0]), 1, 1)
        chances = streams.uniforms(*cubes[0].shape)
        # Works on the bits, as torch.where is several times slower with a random mask.
        integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[cubes[0].itemsize]
        for cube, probability, chance in zip(cubes, probabilities, chances, strict=True):
            salt = chance.clone().lt_(probability * 0.5).to(cube.dtype).view(integer)
            kept = chance.ge_(probability).to(integer)
            cube.view(integer).mul_(kept).bitwise_or_(salt)


@dataclass(frozen=True)
class OnBandThirds(Noise):
    """Applies up to three noises, each to its own third of the bands, drawn at random.

    A third is floor(B / 3) bands, at least one: with B < 3 the last noises find no band left.
    """

    noises: tuple[Noise, ...]

    def _apply(self, cubes: Sequence[Tensor], streams: RandomStreams) -> None:
        bands = len(cubes[0])
        thirds = streams.permutation(bands).split(max(1, bands // 3), dim=1)
        for noise, third in zip(self.noises, thirds, strict=False):
            parts = [cube.index_select(0, hit) for cube, hit in zip(cubes, third, strict=True)]
            noise.apply_(parts, streams)
            for cube, hit, part in zip(cubes, third, parts, strict=True):
                cube.index_copy_(0, hit, part)


NOISE_CASES: dict[str, tuple[Noise, ...]] = {
    "noniid": (BandGaussian(),),
    "stripe": (BandGaussian(), OnBandThirds((Stripe(),))),
    "deadline": (BandGaussian(), OnBandThirds((Deadline(),))),
    "impulse": (BandGaussian(), OnBandThirds((Impulse(),))),
    "mixture": (BandGaussian(), OnBandThirds((Stripe(), Deadline(), Impulse()))),
    "gaussian": (Gaussian(),),
    "blind": (BlindGaussian(),),
    "uniform": (UniformGaussian(),),
    "speckle": (Speckle(),),
    "poisson": (Poisson(),),
    "correlated": (CorrelatedGaussian(),),
    "little": (LittleGaussian(),),
    "signal": (SignalDependent(),),
    "clipped": (BandGaussian(), Clip()),
    "clipped_mixture": (BandGaussian(), OnBandThirds((Stripe(), Deadline(), Impulse())), Clip()),
}
FIVE_CASES = ("noniid", "stripe", "deadline", "impulse", "mixture")
TRAINING_MIX = ("noniid", "impulse", "stripe", "deadline")


def find_noises(case: str) -> tuple[Noise, ...]:
    """Gives the noises that a case applies, in their order.

    Raises:
        ValueError: If there is no such case.
    """
    if case in NOISE_CASES:
        return NOISE_CASES[case]
    if parts := re.fullmatch(r"gaussian(\d+(?:\.\d+)?)", case):
        return (Gaussian(float(parts[1])),)
    close = difflib.get_close_matches(case, NOISE_CASES, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"unknown noise case {case!r}.{hint} "
        f"Known are {', '.join(NOISE_CASES)}, and gaussian<sigma> such as gaussian30."
    )


def corrupt(clean: Tensor, cases: Sequence[str], seeds: Tensor) -> Tensor:
    """Gives every sample its own case of noise, drawn with its own seed.

    Args:
        clean: Floating-point [N, B, H, W] in [0, 1]. Noise is drawn on its device in float32 and
            added in its dtype.
        cases: N names of cases.
        seeds: int64 [N]. Sample i depends on ``clean[i]``, ``cases[i]`` and ``seeds[i]`` only.

    Returns:
        A new tensor like ``clean``.

    Raises:
        TypeError: If ``clean`` is not floating-point or ``seeds`` not int64.
        ValueError: If a case is unknown, or the numbers of samples, cases and seeds differ.
    """
    if not clean.is_floating_point():
        raise TypeError(
            f"clean is {clean.dtype}: noise is for floating-point cubes in [0, 1], scale it first"
        )
    if clean.ndim != 4 or not len(clean) == len(cases) == len(seeds):
        raise ValueError(
            "clean must be [N, B, H, W], with N cases and N seeds: "
            f"got {list(clean.shape)}, {len(cases)} cases and {len(seeds)} seeds"
        )
    noises_of = {case: find_noises(case) for case in cases}
    noisy = clean.clone()
    cubes = [noisy[index] for index in range(len(noisy))]
    _apply_in_turn(
        cubes, [noises_of[case] for case in cases], RandomStreams(seeds.to(clean.device))
    )
    return noisy


def _apply_in_turn(
    cubes: Sequence[Tensor], noises: Sequence[tuple[Noise, ...]], streams: RandomStreams
) -> None:
    """Applies to each cube its own noises; those that come to the same one draw it together."""
    groups: dict[Noise, list[int]] = {}
    for index, own in enumerate(noises):
        if own:
            groups.setdefault(own[0], []).append(index)
    for noise, members in groups.items():
        part, part_streams = [cubes[index] for index in members], streams.select(members)
        noise.apply_(part, part_streams)
        _apply_in_turn(part, [noises[index][1:] for index in members], part_streams)


def add_noise(clean: Cube, case: str, seed: int) -> Cube:
    """Adds a case's noise to a cube, or to each cube of a batch.

    Args:
        clean: Array or tensor [B, H, W] or [N, B, H, W], floating-point in [0, 1].
        case: A name in ``NOISE_CASES``, or ``gaussian<sigma>``.
        seed: Any integer. Cube i of a batch draws from (seed, i), a single cube from (seed, 0).

    Returns:
        A new array or tensor of the same kind, shape and dtype, on the same device.

    Raises:
        TypeError: If ``clean`` is neither an array nor a tensor, or not floating-point.
        ValueError: If it has another number of dimensions or values far outside [0, 1], or the case
            is unknown.
    """
    if not isinstance(clean, np.ndarray | Tensor):
        raise TypeError(f"clean must be a numpy array or a tensor, got {type(clean).__name__}")
    if clean.ndim not in (3, 4):
        raise ValueError(f"clean must be [B, H, W] or [N, B, H, W], got shape {list(clean.shape)}")
    if 0 not in clean.shape:
        tell_order(clean, "clean")
    if isinstance(clean, np.ndarray):
        native = np.array(clean, dtype=clean.dtype.newbyteorder("="), order="C")
        return _noisy(torch.from_numpy(native), case, seed).numpy().astype(clean.dtype, copy=False)
    return _noisy(clean, case, seed)


def _noisy(clean: Tensor, case: str, seed: int) -> Tensor:
    batch = clean if clean.ndim == 4 else clean[None]
    if batch.is_floating_point() and batch.numel():
        check_unit_range(batch, "clean")
    seeds = sample_seeds(seed, len(batch), clean.device)
    return corrupt(batch, [case] * len(batch), seeds).reshape(clean.shape)
