"""One hyperspectral scene."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

Window = tuple[slice, slice, slice]  # of bands, rows and columns


class DataError(ValueError):
    """Data that cannot be used; the message names the value seen and the remedy."""


class View(Protocol):
    """Another view of an array, for example a turned one."""

    def __call__(self, patch: np.ndarray, /) -> np.ndarray:
        """Copies nothing."""


@dataclass(frozen=True)
class Scene:
    """A clean cube and what is known of it.

    Attributes:
        name: Unique within its dataset; test noise depends on it.
        cube: [B, H, W] float32, in [0, 1] where the whole scene was scaled.
        wavelengths: Band centres in nm, [B]; None where unknown.
        offset: The file's value at 0.
        gain: The file's units per 1, so that ``cube * gain + offset`` is what the file holds.
    """

    name: str
    cube: np.ndarray
    wavelengths: np.ndarray | None = None
    offset: float = 0.0
    gain: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, H, W]."""
        bands, height, width = self.cube.shape
        return bands, height, width

    @property
    def level(self) -> int:
        """0: it is no smaller copy of another scene."""
        return 0

    @classmethod
    def from_raw(cls, name: str, raw: np.ndarray, wavelengths: np.ndarray | None = None) -> Self:
        """Scales a cube [B, H, W] of any real type to [0, 1] by its smallest and largest value.

        Raises:
            DataError: If the cube is not [B, H, W], holds NaN or Inf, or is constant, or if there
                is not one wavelength a band.
        """
        if raw.ndim != 3 or 0 in raw.shape:
            raise DataError(f"scene {name}: expected a cube [B, H, W], got shape {raw.shape}")
        if wavelengths is not None and len(wavelengths) != len(raw):
            raise DataError(f"scene {name}: {len(wavelengths)} wavelengths for {len(raw)} bands")
        cube = raw.astype(np.float32)
        broken = ~np.isfinite(cube)
        if broken.any():
            band, row, column = np.argwhere(broken)[0]
            raise DataError(
                f"scene {name}: {broken.sum()} of {cube.size} values are NaN or Inf, the first at "
                f"band {band}, row {row}, column {column}; mend the file or leave the scene out"
            )
        low, high = float(cube.min()), float(cube.max())
        if low == high:
            raise DataError(f"scene {name}: every value is {low:g}; there is nothing to scale")
        unit = scale_to_unit(cube, 0.0, 1.0, low, high)
        return cls(name, unit, wavelengths, offset=low, gain=high - low)

    def crop(self, rows: slice = slice(None), columns: slice = slice(None)) -> Self:
        """A part of the scene under the same name and scale."""
        return replace(self, cube=np.ascontiguousarray(self.cube[:, rows, columns]))

    def read(self, window: Window) -> np.ndarray:
        """A view of a window of the cube."""
        return self.cube[window]

    def cut(self, window: Window, turn: View, out: np.ndarray) -> None:
        """Writes a window, turned, into ``out``."""
        out[...] = turn(self.cube[window])

    def load(self) -> "Scene":
        """Itself: it is in memory already."""
        return self


class SceneLike(Protocol):
    """A scene in memory or on disk."""

    @property
    def name(self) -> str:
        """Unique within its dataset, but for its own smaller copies."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, H, W]."""

    @property
    def level(self) -> int:
        """0 for the full scale, 1 for the next smaller copy, ..."""

    def read(self, window: Window) -> np.ndarray:
        """A window of the cube, float32 [B, H, W]."""

    def cut(self, window: Window, turn: View, out: np.ndarray) -> None:
        """Writes a window, turned, into ``out``, float32: what `read` gives, without a copy."""

    def load(self) -> Scene:
        """All of it, in memory."""


@dataclass(frozen=True)
class Measured:
    """A scene whose noise is real.

    Attributes:
        noisy: As measured.
        clean: The same scene without noise, of the same shape; None where nobody knows it.
    """

    noisy: SceneLike
    clean: SceneLike | None = None

    def __post_init__(self) -> None:
        if self.clean is not None and self.clean.shape != self.noisy.shape:
            raise DataError(
                f"scene {self.name}: measured {self.noisy.shape}, but its reference is "
                f"{self.clean.shape}; cut both alike"
            )

    @property
    def name(self) -> str:
        """That of the reference, where there is one."""
        return (self.clean or self.noisy).name

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, H, W]."""
        return self.noisy.shape

    @property
    def level(self) -> int:
        """That of the measurement."""
        return self.noisy.level


def scale_to_unit(
    values: np.ndarray,
    offset: float,
    gain: float,
    low: float,
    high: float,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Maps ``values * gain + offset`` so that ``low`` becomes 0 and ``high`` 1; float32.

    It is written to ``out``, or new. Of values as they are (offset 0, gain 1), it is
    (values - low) / (high - low) to the last bit.
    """
    unit = np.empty(values.shape, np.float32) if out is None else out
    unit[...] = values
    unit -= np.float32((low - offset) / gain)
    unit /= np.float32((high - low) / gain)
    return unit
