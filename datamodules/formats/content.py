"""What a file turned out to hold: which variable is the cube, and what is said beside it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datamodules.file_facts import FileFacts, Georeference
from datamodules.files import take_room
from datamodules.formats.wavelengths import Lengths
from datamodules.scene import DataError, NoCubeError

LONGEST = 500  # characters of an error that quotes a library or lists variables


class Readable(Protocol):
    """An array of which windows are read."""

    def __getitem__(self, window: Any, /) -> Any:
        """The numbers of a window."""


class Writable(Protocol):
    """An array of which windows are written."""

    def __setitem__(self, window: Any, values: Any, /) -> None:
        """Writes a window."""


class Turned:
    """An array with its axes in another order, of which windows are read and written.

    Args:
        array: What is read and written.
        axes: Which axis of the array each of the new ones is, as for ``transpose``.
    """

    def __init__(self, array: Any, axes: Sequence[int]) -> None:
        self.array, self.axes = array, tuple(axes)

    def _there(self, window: Any) -> tuple[slice, ...]:
        wanted = (slice(None),) * len(self.axes) if window is Ellipsis else window
        return tuple(wanted[self.axes.index(axis)] for axis in range(len(self.axes)))

    def __getitem__(self, window: Any) -> np.ndarray:
        """The numbers of a window."""
        return np.asarray(self.array[self._there(window)]).transpose(self.axes)

    def __setitem__(self, window: Any, values: np.ndarray) -> None:
        """Writes a window."""
        back = [self.axes.index(axis) for axis in range(len(self.axes))]
        self.array[self._there(window)] = np.asarray(values).transpose(back)


@dataclass(frozen=True)
class Content:
    """A cube as a file holds it; its values are not read before `load`.

    Attributes:
        shape: Axes in the order that the format presents.
        dtype: Of the file's numbers.
        load: Reads the array.
        open: Opens the array to be read by windows, as a context; None where it is read as a whole.
        stored_shape: The same with axes of length 1 that are left out.
        axes: Order of the axes where the file itself says it, such as "HWB".
        why: What the order follows from.
        usual: The order that is customary in the format, where it does not say its own.
        wavelengths: What may be the band centres, best first.
        widths: What may be their widths (FWHM).
        nodata: Numbers that stand for "nothing here", as declared.
        limits: Smallest and largest value that the file calls valid.
        mask: Reads where the file says that it is valid, [H, W] or as the cube, if it does.
        bad_bands: Numbers, from 0, of the bands that the file calls bad.
        key: Name of the variable.
        interleave: Of ENVI.
        scale_factor: See `FileFacts`.
        add_offset: Likewise.
        georeference: Likewise.
        header: Likewise.
        notes: What was guessed or left out.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    load: Callable[[], np.ndarray]
    open: Callable[[], AbstractContextManager[Readable]] | None = None
    stored_shape: tuple[int, ...] = ()
    axes: str | None = None
    why: str = "as the file says"
    usual: str | None = None
    wavelengths: Sequence[Lengths] = ()
    widths: Sequence[Lengths] = ()
    nodata: Sequence[float] = ()
    limits: tuple[float, float] = (-np.inf, np.inf)
    mask: Callable[[], np.ndarray] | None = None
    bad_bands: Sequence[int] = ()
    key: str | None = None
    interleave: str | None = None
    scale_factor: float | None = None
    add_offset: float | None = None
    georeference: Georeference | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Outgoing:
    """What a writer is given beside the numbers.

    Attributes:
        shape: Of the array, axes in the order of ``file.axes``.
        file: How it is to be held; its type, nodata, georeference and header are to be written.
        wavelengths: In nm, or None.
        fwhm: In nm, or None.
        bad_bands: Numbers from 0.
        target: Where the file will be; it is written aside first.
    """

    shape: tuple[int, ...]
    file: FileFacts
    target: Path
    wavelengths: np.ndarray | None = None
    fwhm: np.ndarray | None = None
    bad_bands: tuple[int, ...] = ()

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers."""
        return self.file.dtype

    @property
    def nbytes(self) -> int:
        """Of all of them."""
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def mapped(
    path: Path, dtype: np.dtype, offset: int, shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """An array in a file, to be written by windows; its room on the disk is taken at once."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        take_room(file, offset + math.prod(shape) * dtype.itemsize)
    array = np.memmap(path, dtype, "r+", offset, shape)
    yield array
    array.flush()


@dataclass(frozen=True)
class Variable:
    """One named array of a file, not yet read. ``kind`` is its type, for people."""

    name: str
    shape: tuple[int, ...]
    kind: str
    numeric: bool
    load: Callable[[], np.ndarray]
    identity: object = None  # equal for two names of one array
    dtype: np.dtype | None = None  # where it is known before it is read
    open: Callable[[], AbstractContextManager[Readable]] | None = None  # to be read by windows

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.kind}"


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a library raises on a damaged file into a DataError that names the path."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        said = said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
        raise DataError(
            f"{path}: cannot be read as {what} ({type(error).__name__}: {said}); "
            "it is damaged, cut off or of another format: fetch or copy it again"
        ) from error


def is_real(dtype: np.dtype) -> bool:
    """Whether a type holds integers or real numbers."""
    return dtype.kind in "iuf"


def listed(variables: Sequence[Variable]) -> str:
    """The variables for an error, as many as a line takes."""
    text = ""
    for shown, variable in enumerate(variables):
        if shown and len(text) + len(str(variable)) > LONGEST:
            return f"{text} and {len(variables) - shown} more"
        text += (", " if shown else "") + str(variable)[:LONGEST]
    return text or "nothing"


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of three axes, where leaving out axes of length 1 gives one: the first go first."""
    sizes = list(shape)
    while len(sizes) > 3 and 1 in sizes:
        sizes.remove(1)
    return tuple(sizes)


def pick(path: Path, variables: Sequence[Variable], key: str | None) -> Variable:
    """Finds the cube among a file's variables: by its name, else by its shape.

    A key is the whole name, the name without its groups, or a group with a single cube in it;
    "hsi.Data" and "hsi/Data" are the same.

    Raises:
        DataError: If there is no variable of that name, it does not hold real numbers, or
            without a name none or several have three sizes above 1.
    """
    if key is None:
        return _only(path, variables, "")
    wanted = key.replace(".", "/").strip("/")
    named = [v for v in variables if v.name.strip("/") in (wanted, key)]
    named = named or [v for v in variables if v.name.replace(".", "/").strip("/") == wanted]
    named = named or [v for v in variables if v.name.rpartition("/")[2] == wanted]
    if named:
        if len({v.identity or v.name for v in named}) > 1:
            raise DataError(f"{path}: key={key!r} names several: {listed(named)}; give one in full")
        if not named[0].numeric:
            raise DataError(
                f"{path}: {named[0]} does not hold real numbers; it holds {listed(variables)}"
            )
        return named[0]
    within = [v for v in variables if v.name.startswith(f"{wanted}/")]
    if not within:
        raise DataError(f"{path}: has no variable {key!r}; it holds {listed(variables)}")
    return _only(path, within, f" in {key}")


def _only(path: Path, variables: Sequence[Variable], place: str) -> Variable:
    cubes = [v for v in variables if v.numeric and len(squeezed(v.shape)) == 3 and 0 not in v.shape]
    fitting = [v for v in cubes if min(squeezed(v.shape)) > 1] or cubes
    distinct = list({v.identity or v.name: v for v in reversed(fitting)}.values())[::-1]
    if not distinct:
        raise NoCubeError(
            f"{path}: found no array of real numbers with three axes{place}; "
            f"it holds {listed(variables)}; say which to read with key="
        )
    if len(distinct) > 1:
        raise DataError(
            f"{path}: {len(distinct)} variables could be the cube: "
            f"{listed(distinct)}; say which to read with key="
        )
    return distinct[0]
