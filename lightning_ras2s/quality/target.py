"""A spectrum of the user's own, whose absorption is looked for: of a gas, a mineral."""

from os import PathLike
from pathlib import Path

import numpy as np

from datamodules.scene import DataError

ABSORPTION = ("absor", "extinction", "optical depth", "cross")  # words of a header
LEAST = 1e-6


def read_target(
    path: str | PathLike[str],
    wavelengths: np.ndarray | None,
    bands: int,
    used: np.ndarray | None = None,
) -> tuple[np.ndarray, str]:
    """Reads a spectrum, and finds how much of each band it absorbs.

    Args:
        path: A table of two columns, wavelength in nm or um and value; or of one, or a ``.npy``,
            with a value for each band. A line of words may come first. If it says absorption, the
            values are that; else they are a reflectance or transmittance, whose absorption is how
            far it lies below its continuum, the hull above it (Clark, Roush 1984,
            doi:10.1029/JB089iB07p06329).
        wavelengths: Band centres in nm, [B], or None.
        bands: B.
        used: Numbers of the bands that are asked for, [U]; all otherwise.

    Returns:
        The absorption of these, in 0..1, 1 at its deepest; and what was taken for what.

    Raises:
        DataError: If there is no such file, it is no table of numbers, the scene lacks wavelengths,
            or nothing is absorbed within the bands.
    """
    path = Path(path)
    table, header = read_table(path)
    is_absorption = any(word in header.lower() for word in ABSORPTION)
    if table.shape[1] == 1:
        if len(table) != bands:
            raise DataError(
                f"{path}: has {len(table)} values and the scene {bands} bands; give a value for "
                "each, or two columns, wavelength in nm and value"
            )
        place = np.arange(bands) if wavelengths is None else wavelengths
        order = np.argsort(place)
        values = np.empty(bands)
        values[order] = _absorption(place[order], table[order, 0], is_absorption)
    else:
        if wavelengths is None or not np.isfinite(wavelengths).all():
            raise DataError(
                f"{path}: has wavelengths and the scene none; give a value for each of its {bands} "
                "bands, in one column"
            )
        where, spectrum = table[np.argsort(table[:, 0], kind="stable"), :2].T
        where = where * (1000 if where.max() < 100 else 1)  # um
        spectrum = _absorption(where, spectrum, is_absorption)
        values = np.interp(wavelengths, where, spectrum, left=0, right=0)
    values = values if used is None else values[used]
    deepest = values.max()
    if not deepest > LEAST:
        raise DataError(f"{path}: absorbs nothing within the bands of the scene")
    kind = "absorption" if is_absorption else "reflectance or transmittance"
    return np.maximum(values, 0) / deepest, f"{path.name}, taken for a spectrum of {kind}"


def read_table(path: Path) -> tuple[np.ndarray, str]:
    """The numbers of a file, a row each, and the words before them.

    Raises:
        DataError: If there is no such file, or it is no table of numbers.
    """
    try:
        if path.suffix.lower() == ".npy":
            values, header = np.load(path, allow_pickle=False), ""
            table = values[:, None] if values.ndim == 1 else values
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            rows = [line.replace(",", " ").replace(";", " ").split() for line in lines]
            first = next((n for n, row in enumerate(rows) if row and _is_number(row[0])), len(rows))
            header = " ".join(lines[:first])
            table = np.array([[float(word) for word in row] for row in rows[first:] if row])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of a spectrum") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is no table of numbers ({error})") from None
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise DataError(f"{path}: is no table of numbers, of one or two columns")
    return table.astype(np.float64), header


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _absorption(where: np.ndarray, values: np.ndarray, is_absorption: bool) -> np.ndarray:
    if is_absorption:
        return values - values.min()
    if values.min() < 0:
        values = values - values.min()
    return 1 - values / np.maximum(_continuum(where, values), LEAST)


def _continuum(where: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The hull above a spectrum."""
    hull: list[int] = []
    for point in range(len(where)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            rise = (values[b] - values[a]) * (where[point] - where[a])
            if rise > (values[point] - values[a]) * (where[b] - where[a]):
                break
            hull.pop()
        hull.append(point)
    return np.interp(where, where[hull], values[hull])
