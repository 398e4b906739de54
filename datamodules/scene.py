"""One hyperspectral scene."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from datamodules.file_facts import FileFacts
from datamodules.nodata import find_valid, in_type, valid_range

Window = tuple[slice, slice, slice]  # of bands, rows and columns


class DataError(ValueError):
    """Data that cannot be used; the message names the value seen and the remedy."""


class View(Protocol):
    """Another view of an array, for example a turned one."""

    def __call__(self, patch: np.ndarray, /) -> np.ndarray:
        """Copies nothing."""


class NoCubeError(DataError):
    """A whole file that holds no cube, such as a map of classes, a picture or a text."""


class DataNote(UserWarning):
    """What was guessed or left out in reading a file."""


@dataclass(frozen=True)
class Scene:
    """A cube and what is known of it.

    Attributes:
        name: Unique within its dataset; test noise depends on it.
        cube: [B, H, W] float32, in [0, 1] where the whole scene was scaled. What is not valid has
            the median of its band, and bad bands may lie beyond [0, 1].
        wavelengths: Band centres in nm, [B]; None where unknown.
        offset: The file's value at 0.
        gain: The file's units per 1, so that ``cube * gain + offset`` is what the file holds.
        valid: Where there are measurements: [H, W], or [B, H, W] where bands differ; None for
            everywhere.
        bad_bands: Numbers, from 0, of the bands that hold no measurements of use.
        fwhm: Widths of the bands in nm (full width at half maximum), [B]; None where unknown.
        file: What its file says beyond that; None for a scene of no file.
    """

    name: str
    cube: np.ndarray
    wavelengths: np.ndarray | None = None
    offset: float = 0.0
    gain: float = 1.0
    valid: np.ndarray | None = None
    bad_bands: tuple[int, ...] = ()
    fwhm: np.ndarray | None = None
    file: FileFacts | None = None

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
    def from_raw(
        cls,
        name: str,
        raw: np.ndarray,
        wavelengths: np.ndarray | None = None,
        *,
        valid: np.ndarray | None = None,
        bad_bands: Sequence[int] = (),
        fwhm: np.ndarray | None = None,
        file: FileFacts | None = None,
    ) -> Self:
        """Scales a cube [B, H, W] of any real type by its smallest and largest measurement.

        NaN and infinite values are no measurements; without ``valid``, their share is told in a
        `DataNote`.

        Args:
            name: Of the scene.
            raw: Values [B, H, W] as a file has them.
            wavelengths: As the attribute; so are the others.
            valid: What else is no measurement, [H, W] or [B, H, W]; all is by default.
            bad_bands: Bands without a part in the scale.
            fwhm: Widths of the bands.
            file: What the file says.

        Raises:
            DataError: If the cube is not [B, H, W], or holds no measurement or a single value, or
                if there is not one wavelength or width a band.
        """
        if raw.ndim != 3 or 0 in raw.shape:
            raise DataError(f"scene {name}: expected a cube [B, H, W], got shape {raw.shape}")
        for what, numbers in (("wavelengths", wavelengths), ("widths (fwhm)", fwhm)):
            if numbers is not None and len(numbers) != len(raw):
                raise DataError(f"scene {name}: {len(numbers)} {what} for {len(raw)} bands")
        told = valid is not None
        valid = find_valid(raw, mask=valid)
        limits = valid_range(raw, valid, bad_bands)
        if limits is None:
            raise DataError(
                f"scene {name}: no value is valid (NaN, infinite, nodata or in a bad band); "
                "leave it out, or say with nodata= which number stands for nothing"
            )
        low, high = limits
        if low == high:
            raise DataError(f"scene {name}: every value is {low:g}; there is nothing to scale")
        if valid is not None and not told:
            warnings.warn(
                f"scene {name}: {describe_share(valid)} are NaN or infinite and left out",
                DataNote,
                stacklevel=2,
            )
        gain = high - low if _is_wide(raw.dtype) else float(np.float32(high) - np.float32(low))
        cube = np.empty(raw.shape, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what stands for nothing may be huge
            for index, band in enumerate(raw):
                _to_unit(band, low, gain, cube[index])
        if valid is not None:
            fill_invalid(cube, valid)
        return cls(name, cube, wavelengths, low, gain, valid, tuple(bad_bands), fwhm, file)

    def in_file_units(self, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """``cube * gain + offset`` [B, H, W]; whole numbers are rounded and kept in their range.

        What is not valid has the file's nodata, or NaN where it has none and the type can hold it.
        """
        dtype = np.dtype(dtype)
        values = np.empty(self.shape, dtype)
        declared = self.file.nodata if self.file else None
        nothing = None if declared is None else in_type(declared, dtype)
        if nothing is None and dtype.kind == "f":
            nothing = dtype.type(np.nan)
        for index, band in enumerate(self.cube):
            physical = band.astype(np.float64) * self.gain + self.offset
            if dtype.kind in "iu":
                limits = np.iinfo(dtype)
                # The largest number of 64 bits is none of float64: its neighbour below is.
                top = np.nextafter(float(limits.max), 0) if limits.bits == 64 else limits.max
                physical = np.clip(np.rint(physical), limits.min, top)
            values[index] = physical
            if self.valid is not None and nothing is not None:
                here = self.valid if self.valid.ndim == 2 else self.valid[index]
                values[index][~here] = nothing
        return values

    def crop(self, rows: slice = slice(None), columns: slice = slice(None)) -> Self:
        """A part of the scene under the same name and scale."""
        valid = None if self.valid is None else self.valid[..., rows, columns].copy()
        cube = np.ascontiguousarray(self.cube[:, rows, columns])
        return replace(self, cube=cube, valid=valid)

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

    @property
    def valid(self) -> np.ndarray | None:
        """Where there are measurements, [H, W] or [B, H, W]; None for everywhere."""

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

    @property
    def valid(self) -> np.ndarray | None:
        """Where both were measured, [H, W] or [B, H, W]; None for everywhere."""
        masks = [part.valid for part in (self.noisy, self.clean) if part is not None]
        there = [mask for mask in masks if mask is not None]
        return None if not there else there[0] if len(there) == 1 else there[0] & there[1]


def describe_share(valid: np.ndarray) -> str:
    """How much of a mask is not valid, in words."""
    count = valid.size - int(np.count_nonzero(valid))
    what = "pixels" if valid.ndim == 2 else "values"
    return f"{count} of {valid.size} {what} ({100 * count / valid.size:.3g} %)"


def fill_invalid(cube: np.ndarray, valid: np.ndarray) -> None:
    """Gives what is not valid in a cube [B, H, W] the median of its band's valid rest, or 0.

    Of an even number of values it is the larger one of the middle: whole numbers stay so.
    """
    for index, band in enumerate(cube):
        here = valid if valid.ndim == 2 else valid[index]
        measured = band[here]
        middle = measured.size // 2
        band[~here] = np.partition(measured, middle)[middle] if measured.size else 0


def _is_wide(dtype: np.dtype) -> bool:
    """Whether float32 cannot hold all numbers of a type."""
    return dtype.itemsize > (4 if dtype.kind == "f" else 2)


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
    (values - low) / (high - low) to the last bit of float32; of those that float32 cannot hold, in
    double precision first.
    """
    unit = np.empty(values.shape, np.float32) if out is None else out
    _to_unit(values, (low - offset) / gain, (high - low) / gain, unit)
    return unit


def _to_unit(values: np.ndarray, zero: float, span: float, out: np.ndarray) -> None:
    """Writes (values - zero) / span to ``out``, float32."""
    if _is_wide(values.dtype):
        out[...] = (values.astype(np.float64) - zero) / span
        return
    out[...] = values
    out -= np.float32(zero)
    out /= np.float32(span)
