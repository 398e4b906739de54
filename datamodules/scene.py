"""One hyperspectral scene."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np


class DataError(ValueError):
    """Data that cannot be used; the message names the value seen and the remedy."""


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
        return cls(name, (cube - low) / (high - low), wavelengths, offset=low, gain=high - low)

    def crop(self, rows: slice = slice(None), columns: slice = slice(None)) -> Self:
        """A part of the scene under the same name and scale."""
        return replace(self, cube=np.ascontiguousarray(self.cube[:, rows, columns]))
