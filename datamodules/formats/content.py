"""What a file turned out to hold: which variable is the cube, which its wavelengths."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.scene import DataError

WAVELENGTH_NAMES = ("wavelength", "wavelengths", "lambda", "bands")


@dataclass(frozen=True)
class Content:
    """An array as a file holds it.

    Attributes:
        array: In the file's type, axes in the order that the format presents.
        axes: That order where the file itself says it, such as "HWB".
        wavelengths: Arrays that may be the band centres, best first, in any unit of length.
    """

    array: np.ndarray
    axes: str | None = None
    wavelengths: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class Variable:
    """One named array of a file, not yet read. ``kind`` is its type, for people."""

    name: str
    shape: tuple[int, ...]
    kind: str
    numeric: bool
    load: Callable[[], np.ndarray]

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
        raise DataError(
            f"{path}: cannot be read as {what} ({type(error).__name__}: {error}); "
            "it is damaged, cut off or of another format: fetch or copy it again"
        ) from error


def is_real(dtype: np.dtype) -> bool:
    """Whether a type holds integers or real numbers."""
    return dtype.kind in "iuf"


def order_by_sizes(shape: tuple[int, ...]) -> str | None:
    """The order of axes where nothing says it: bands are the fewest, rows come before columns.

    Returns:
        "BHW", "HBW" or "HWB"; None where two sizes are smallest.
    """
    smallest = min(shape)
    if shape.count(smallest) > 1:
        return None
    place = shape.index(smallest)
    return "HW"[:place] + "B" + "HW"[place:]


def pick(path: Path, variables: Sequence[Variable], key: str | None) -> Variable:
    """Finds the cube among a file's variables: by its name, else by its shape.

    Raises:
        DataError: If there is no variable of that name, it does not hold real numbers, or
            without a name none or several have three sizes above 1.
    """
    listed = ", ".join(map(str, variables)) or "nothing"
    if key is not None:
        named = [variable for variable in variables if variable.name == key]
        if not named:
            raise DataError(f"{path}: has no variable {key!r}; it holds {listed}")
        if not named[0].numeric:
            raise DataError(f"{path}: {named[0]} does not hold real numbers; it holds {listed}")
        return named[0]
    fitting = [v for v in variables if v.numeric and len(v.shape) == 3 and min(v.shape) > 1]
    if not fitting:
        raise DataError(
            f"{path}: found no array of real numbers with three sizes above 1; "
            f"it holds {listed}; say which to read with key="
        )
    if len(fitting) > 1:
        raise DataError(
            f"{path}: {len(fitting)} variables could be the cube: "
            f"{', '.join(map(str, fitting))}; say which to read with key="
        )
    return fitting[0]


def load_content(
    path: Path, variables: Sequence[Variable], key: str | None, axes: str | None = None
) -> Content:
    """Reads the cube and what may be its wavelengths from a file of named variables."""
    cube = pick(path, variables, key)
    rank = {name: place for place, name in enumerate(WAVELENGTH_NAMES)}
    lists = {
        rank[v.name.rpartition("/")[2].lower()]: v
        for v in variables
        if v.numeric and v is not cube and v.name.rpartition("/")[2].lower() in rank
    }
    wavelengths = [lists[place].load().ravel() for place in sorted(lists)]
    return Content(cube.load(), axes, wavelengths)
