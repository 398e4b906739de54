"""The assessment of a scene: of its noise, and of what a denoiser made of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lightning_ras2s.quality.defects import LEAST
from lightning_ras2s.quality.noise import NoiseReport, measure_noise, usable_pixels
from lightning_ras2s.quality.removed import Removed, measure_removed
from lightning_ras2s.quality.signal_kept import (
    Denoiser,
    SignalKept,
    measure_signal_kept,
    narrow_absorption,
)

MOST = 9 * 2**19  # values that are measured; of a larger scene, a part is
RUNS = 4  # of rows, and of columns, that are in that part
SIDE = 64  # pixels of the part into which weak signals are put


class Part(NamedTuple):
    """Some pixels of a scene on the scale on which it is denoised; [B, h, w]."""

    noisy: np.ndarray
    denoised: np.ndarray | None
    valid: np.ndarray | None


@dataclass(frozen=True)
class Subject:
    """A scene to be assessed, of which parts are read.

    Attributes:
        name: Of the noisy file.
        shape: [B, H, W] of the bands that are used.
        bands: Their numbers in the file, [B].
        wavelengths: Their centres in nm, [B]; None where unknown.
        low: The number of the file that is 0 here.
        size: How much more the one is that is 1 here.
        read: Reads some rows and columns.
        denoised: Name of the denoised file; None if there is none.
        method: What is noted of the method; None if it is not known.
        denoiser: The method, of a cube [B, H, W]; None if it is not known.
        strength: Share of what it takes that is taken.
        error: Predicted standard error of each band, [B]; None if it is not known.
        standard_error: The same of some rows and columns, [B, h, w].
        is_reflectance: Whether its file says that it is reflectance.
        notes: What was guessed or left out.
    """

    name: str
    shape: tuple[int, int, int]
    bands: np.ndarray
    wavelengths: np.ndarray | None
    low: float
    size: float
    read: Callable[[slice, slice], Part]
    denoised: str | None = None
    method: dict[str, Any] | None = None
    denoiser: Denoiser | None = None
    strength: float = 1.0
    error: np.ndarray | None = None
    standard_error: Callable[[slice, slice], np.ndarray] | None = None
    is_reflectance: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Quality:
    """What was found out about a scene.

    Attributes:
        subject: The scene.
        measured: How many of its rows and columns were measured.
        before: Its noise.
        after: The noise of the denoised scene; None if there is none, as are the others.
        removed: What was removed.
        signal_kept: What became of weak signals; None if the method is not known.
    """

    subject: Subject
    measured: tuple[int, int]
    before: NoiseReport
    after: NoiseReport | None
    removed: Removed | None
    signal_kept: SignalKept | None

    @property
    def sigma_after(self) -> np.ndarray | None:
        """The noise of the denoised bands, [B]: the predicted error; else by blocks, at most sigma.

        What other bands predict of a denoised one says nothing: it is made of few dimensions.
        """
        if self.subject.error is not None or self.after is None:
            return self.subject.error
        return np.fmin(self.after.blocks, self.before.sigma)

    @property
    def snr(self) -> np.ndarray:
        """Mean over sigma of each band, [B]; the mean is that of the file's numbers."""
        return snr_of(self.subject, self.before, self.before.sigma)

    @property
    def snr_after(self) -> np.ndarray | None:
        """The same after denoising."""
        sigma = self.sigma_after
        if self.after is None or sigma is None:
            return None
        return snr_of(self.subject, self.after, sigma)


def snr_of(subject: Subject, noise: NoiseReport, sigma: np.ndarray) -> np.ndarray:
    """See `Quality.snr`."""
    return np.abs(noise.signal + subject.low / subject.size) / np.maximum(sigma, LEAST)


def assess(subject: Subject, target: tuple[np.ndarray, str] | None = None) -> Quality:
    """Assesses a scene.

    Args:
        subject: The scene.
        target: The absorption that is looked for, [B], and what it is; a narrow one otherwise.
    """
    noisy, denoised, valid = _measured(subject)
    before = measure_noise(noisy, valid)
    after = removed = signal_kept = None
    if denoised is not None:
        after = measure_noise(denoised, valid)
        removed = measure_removed(noisy, denoised, before, valid)
    if subject.denoiser is not None and min(subject.shape[1:]) >= 8:
        part = subject.read(*_signal_window(subject))
        if target is None:
            order = np.argsort(snr_of(subject, before, before.sigma))
            centre = int(order[len(order) // 2])
            at = f"band {subject.bands[centre]}"
            target = narrow_absorption(len(order), centre), f"a narrow absorption at {at}"
        zero, strength = -subject.low / subject.size, subject.strength
        signal_kept = measure_signal_kept(
            part.noisy, subject.denoiser, *target, zero, strength, part.valid
        )
    _, height, width = noisy.shape
    return Quality(subject, (height, width), before, after, removed, signal_kept)


def _measured(subject: Subject) -> Part:
    """All of a scene; of a large one some runs of rows, crossed with runs of columns."""
    bands, height, width = subject.shape
    share = min(1.0, (MOST / (bands * height * width)) ** 0.5)
    rows, columns = _runs(height, share), _runs(width, share)
    parts = [[subject.read(down, across) for across in columns] for down in rows]
    if len(rows) == len(columns) == 1:
        return parts[0][0]

    def joined(number: int) -> np.ndarray:
        return np.concatenate([np.concatenate([p[number] for p in row], 2) for row in parts], 1)

    whole = [part for row in parts for part in row]
    parts = [
        [p._replace(valid=np.ones(p.noisy.shape, bool)) if p.valid is None else p for p in row]
        for row in parts
    ]
    return Part(
        joined(0),
        None if whole[0].denoised is None else joined(1),
        None if all(part.valid is None for part in whole) else joined(2),
    )


def _runs(length: int, share: float) -> list[slice]:
    """Evenly spaced runs that make up a share of a side."""
    if share == 1:
        return [slice(0, length)]
    count = max(1, min(RUNS, int(share * length) // 8))
    size = max(1, int(share * length) // count)
    starts = np.linspace(0, length - size, count).astype(int)
    return [slice(start, start + size) for start in starts]


def _signal_window(subject: Subject) -> tuple[slice, slice]:
    """A square about the middle, or elsewhere if half of that is missing."""
    _, height, width = subject.shape
    windows = []
    for down in (2, 1, 3):
        for across in (2, 1, 3):
            top, left = (
                max(0, length * quarter // 4 - SIDE // 2)
                for length, quarter in ((height, down), (width, across))
            )
            windows.append((slice(top, top + SIDE), slice(left, left + SIDE)))
    for window in windows:
        valid = subject.read(*window).valid
        if valid is None or usable_pixels(valid).mean() > 0.5:
            return window
    return windows[0]
