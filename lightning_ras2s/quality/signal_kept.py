"""What becomes of weak signals: absorptions are put into a noisy scene, which is denoised again.

A matched filter looks for them before and after. Its covariance is that of the cube it looks at,
loaded by 1e-3 of the mean variance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from torch import Tensor

from lightning_ras2s.quality.noise import usable_pixels

DEPTHS = (0.01, 0.02, 0.05, 0.10, 0.15)
PIXELS, ONE_OF = 80, 50  # at most, and at most one of so many
LOAD, LEAST = 1e-3, 1e-12
CHANCE = 0.5
LOST = 0.05  # of the area under the ROC curve: signals are no longer found as they were
STRENGTHS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
SEED = 0

Denoiser = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SignalKept:
    """How well absorptions of some depths are found, and what is left of them.

    Attributes:
        target: How much of each band is absorbed, of the deepest, [B].
        name: What the target is.
        depths: Shares of the signal that the deepest band loses.
        pixels: How many pixels have one.
        found_before: Area under the ROC curve of a matched filter, by depth; 0.5 is chance.
        found_after: The same after denoising.
        share: What is left of the absorptions, by depth; 1 is all.
        share_error: Standard error of that, over the pixels.
        strength: The largest strength at which no depth is found worse by more than ``LOST``.
    """

    target: np.ndarray
    name: str
    depths: np.ndarray
    pixels: int
    found_before: np.ndarray
    found_after: np.ndarray
    share: np.ndarray
    share_error: np.ndarray
    strength: float

    @property
    def is_lost(self) -> np.ndarray:
        """Which depths are found worse by more than ``LOST``."""
        return is_lost(self.found_before, self.found_after)


def is_lost(before: np.ndarray | float, after: np.ndarray | float) -> np.ndarray:
    """Whether an area has fallen by more than ``LOST``; below that of chance there is none."""
    return np.asarray(before) - np.maximum(after, CHANCE) > LOST


def narrow_absorption(bands: int, centre: int) -> np.ndarray:
    """A narrow absorption around a band, [B], 1 at its deepest."""
    width = max(1.5, bands / 80)
    return np.exp(-0.5 * ((np.arange(bands) - centre) / width) ** 2)


def measure_signal_kept(
    noisy: np.ndarray,
    denoiser: Denoiser,
    target: np.ndarray,
    name: str = "a narrow absorption",
    zero: float = 0.0,
    strength: float = 1.0,
    valid: np.ndarray | None = None,
) -> SignalKept:
    """Puts absorptions into single pixels of a scene, and looks for them before and after.

    Args:
        noisy: [B, H, W] float32, its range 0 to 1, finite.
        denoiser: What is tested, of [B, H, W].
        target: How much of each band is absorbed, of the deepest, [B] in 0..1.
        name: What the target is.
        zero: What is no signal at all, on the scale of the scene.
        strength: Share of what the denoiser takes that is taken.
        valid: [B, H, W] bool; only pixels that `usable_pixels` finds are used.
    """
    bands, height, width = noisy.shape
    usable = np.ones(height * width, bool) if valid is None else usable_pixels(valid).ravel()
    places = np.flatnonzero(usable)
    draw = np.random.default_rng(SEED)
    pixels = draw.choice(places, min(PIXELS, max(1, len(places) // ONE_OF)), replace=False)
    without = _taken(denoiser, noisy)
    scene = (noisy - without).reshape(bands, -1)
    signal = np.maximum(scene[:, pixels] - zero, 0)
    filtered = -(scene[:, usable].mean(1) - zero) * target
    before, after, shares = [], [], []
    milder = [each for each in STRENGTHS if each < strength]
    for depth in DEPTHS:
        absorbed = np.zeros((bands, height * width), np.float32)
        absorbed[:, pixels] = -depth * target[:, None] * signal
        changed = noisy + absorbed.reshape(noisy.shape)
        taken = _taken(denoiser, changed)

        def found(share: float, changed: np.ndarray = changed, taken: np.ndarray = taken) -> float:
            return found_by_matched_filter(changed - share * taken, pixels, filtered, usable)

        before.append(found(0.0))
        after.append(found(strength))
        if is_lost(before[-1], after[-1]):
            loses = (bool(is_lost(before[-1], found(each))) for each in milder)
            milder = milder[sum(takewhile(bool, loses)) :]
        left = (changed - noisy) - strength * (taken - without)
        left, whole = left.reshape(bands, -1)[:, pixels], absorbed[:, pixels]
        shares.append((left * whole).sum(0) / max((whole**2).sum(0).mean(), 1e-20))
    return SignalKept(
        target,
        name,
        np.array(DEPTHS),
        len(pixels),
        np.array(before),
        np.array(after),
        np.mean(shares, 1),
        np.std(shares, 1) / np.sqrt(len(pixels)),
        next(iter(milder), 0.0) if is_lost(np.array(before), np.array(after)).any() else strength,
    )


def found_by_matched_filter(
    cube: np.ndarray, pixels: np.ndarray, target: np.ndarray, usable: np.ndarray
) -> float:
    """The area under the ROC curve of a matched filter.

    Args:
        cube: [B, H, W].
        pixels: Those that hold the target, as numbers in a flat image.
        target: What they hold, [B].
        usable: Pixels that are looked at, [H W] bool.
    """
    values = cube.reshape(len(cube), -1).astype(np.float64)
    values -= values[:, usable].mean(1, keepdims=True)
    covariance = values[:, usable] @ values[:, usable].T / usable.sum()
    load = max(LOAD * covariance.trace() / len(cube), LEAST)
    scores = np.linalg.solve(covariance + load * np.eye(len(cube)), target) @ values
    holds = np.zeros(len(usable), bool)
    holds[pixels] = True
    others = np.sort(scores[usable & ~holds])
    below = np.searchsorted(others, scores[pixels], "left")
    not_above = np.searchsorted(others, scores[pixels], "right")
    return float((below + not_above).mean() / (2 * len(others)))


def _taken(denoiser: Denoiser, cube: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return cube - denoiser(torch.from_numpy(cube)).cpu().numpy()
