"""Scenes larger than the memory: files that are read and written by windows.

`open_scene` reads nothing but what a file says of itself; `create_scene` makes a file like another
one, whose windows may come in any order, and which appears when it is whole. ENVI, TIFF (with
rasterio where it is compressed), HDF5 and netCDF, MATLAB v7.3, .npy and PCIDSK are gone through in
bounded memory; the others are held in memory as a whole.
"""

import shutil
import tempfile
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from datamodules.file_facts import FileFacts
from datamodules.formats import Content, Outgoing, load_module
from datamodules.formats.content import Turned, Writable
from datamodules.readers import describe, facts_of, shape_of, spectrum_of
from datamodules.scene import DataError, Scene, Window
from datamodules.writers import choose_format, move_into_place


class Source:
    """A file of which windows are read.

    Attributes:
        path: Of the file.
        shape: [B, H, W].
        dtype: Of its numbers.
        wavelengths: Band centres in nm [B], or None.
        fwhm: Widths in nm [B], or None.
        bad_bands: Numbers, from 0, of the bands that the file calls bad.
        nodata: Numbers that stand for nothing, as declared.
        file: What else it says.
        notes: What was guessed or left out.
        in_windows: Whether windows come in bounded memory.
    """

    def __init__(self, path: Path, content: Content) -> None:
        self.path, self.content = path, content
        self.shape, self.dtype = shape_of(content), content.dtype.newbyteorder("=")
        self.wavelengths, self.fwhm, notes = spectrum_of(content)
        self.bad_bands, self.nodata = tuple(content.bad_bands), tuple(content.nodata)
        self.file = facts_of(path, content)
        self.notes = (*content.notes, *notes)
        self.in_windows = content.open is not None
        self._closing = ExitStack()
        self._array: Any = None
        self._mask: np.ndarray | None = None

    def read(self, window: Window) -> np.ndarray:
        """The file's numbers in a window [B, H, W], in their type, as an array of its own.

        Raises:
            DataError: If the file is damaged.
        """
        if self._array is None:
            self._array = self._opened()
        return np.array(self._array[window], self.dtype, order="C")

    def mask(self, window: Window) -> np.ndarray | None:
        """Where the file itself says that the pixels of a window are valid; None if it does not."""
        if self.content.mask is None:
            return None
        if self._mask is None:
            self._mask = self.content.mask()
        return self._mask[window[1:]] if self._mask.ndim == 2 else self._mask[window]

    def _opened(self) -> Any:
        content = self.content
        axes = content.axes or "BHW"
        order = [axes.index(axis) for axis in "BHW"]
        if content.open is None:
            return content.load().reshape(content.shape).transpose(order)
        array = self._closing.enter_context(content.open())
        if len(content.stored_shape) == 3:
            return Turned(array, order)
        kept = _kept_axes(content.stored_shape, content.shape)
        return Turned(_Squeezed(array, kept, len(content.stored_shape)), order)

    def close(self) -> None:
        """Closes the file."""
        self._closing.close()
        self._array = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Squeezed:
    """An array without its axes of length 1."""

    def __init__(self, array: Any, kept: list[int], axes: int) -> None:
        self.array, self.kept, self.axes = array, kept, axes

    def __getitem__(self, window: Any) -> np.ndarray:
        place: list[Any] = [0] * self.axes
        for axis, part in zip(self.kept, window, strict=True):
            place[axis] = part
        return np.asarray(self.array[tuple(place)])


def _kept_axes(stored: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Which axes are left where the first ones of length 1 go, until three are."""
    kept = list(range(len(stored)))
    for axis in range(len(stored)):
        if stored[axis] == 1 and len(kept) > len(shape):
            kept.remove(axis)
    return kept


def open_scene(
    path: str | PathLike[str], key: str | None = None, axes: str | None = None
) -> Source:
    """Opens a file to be read by windows; arguments and errors are those of `read_cube`."""
    path = Path(path)
    return Source(path, describe(path, key, axes))


class Sink:
    """A file of which windows are written; it appears when it is closed, whole or not at all.

    As a context it is closed at the end, and after an error nothing is left of it.
    """

    def __init__(self, path: Path, module: Any, outgoing: Outgoing) -> None:
        self.path, self.shape = path, outgoing.shape
        self._outgoing, self._module = outgoing, module
        self._aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        self._file: AbstractContextManager[Writable] | None = None
        self._array: Any
        try:
            if hasattr(module, "create"):
                self._file = module.create(self._aside / path.name, outgoing)
                self._array = self._file.__enter__()
            else:
                self._array = np.zeros(outgoing.shape, outgoing.dtype)
        except BaseException:
            shutil.rmtree(self._aside, ignore_errors=True)
            raise
        order = outgoing.file.axes
        self._turned = Turned(self._array, [order.index(axis) for axis in "BHW"])

    def write(self, window: Window, values: np.ndarray) -> None:
        """Writes numbers [B, H, W] in the file's units to a window."""
        self._turned[window] = values

    def close(self) -> None:
        """Gives the file its name."""
        try:
            if self._file is not None:
                self._file.__exit__(None, None, None)
            else:
                self._module.write(self._aside / self.path.name, self._array, self._outgoing)
            move_into_place(self._aside, self.path)
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def discard(self) -> None:
        """Leaves nothing of it."""
        if self._file is not None:
            stop = GeneratorExit()
            self._file.__exit__(type(stop), stop, None)
        shutil.rmtree(self._aside, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def require_format(path: Path, like: Source | Scene) -> None:
    """Checks that there is a format for such a path, before anything is made for it.

    Raises:
        DataError: As `write_scene`.
    """
    facts = like.file or FileFacts()
    load_module(path, choose_format(path, facts, None, None, facts.dtype)[0].module)


def create_scene(
    path: str | PathLike[str],
    like: Source | Scene,
    dtype: str | np.dtype | None = None,
    key: str | None = None,
    axes: str | None = None,
) -> Sink:
    """Makes a file that says of itself what another one says, to be written by windows.

    Args:
        path: Where to; its ending tells the format, as in `write_scene`.
        like: Shape, type and everything that its file says.
        dtype: Another type of numbers.
        key: As in `write_scene`.
        axes: Likewise.

    Raises:
        DataError: As `write_scene`, or if the disk is too small or the folder cannot be written.
    """
    path = Path(path)
    facts = like.file or FileFacts()
    kind = np.dtype(dtype or facts.dtype)
    known, order = choose_format(path, facts, key, axes, kind)
    file = replace(facts, key=key or facts.key, axes=order, dtype=kind)
    shape = tuple(like.shape["BHW".index(axis)] for axis in order)
    outgoing = Outgoing(shape, file, path, like.wavelengths, like.fwhm, like.bad_bands)
    module = load_module(path, known.module)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Sink(path, module, outgoing)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); make room there, or choose "
            "another folder"
        ) from error
