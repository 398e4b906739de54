"""Facts that lie beside a cube as variables of plain names, in .mat and .npz files."""

from collections.abc import Sequence

import numpy as np

from datamodules.formats.content import Variable
from datamodules.formats.wavelengths import Lengths, plain_name, unit_in_name

NODATA = ("nodata", "nodatavalue", "fillvalue", "missingvalue", "dataignorevalue")
BAD_BANDS = ("bbl", "goodbands", "goodwavelengths")  # 0 for a bad band


def lengths_among(
    variables: Sequence[Variable], cube: Variable, names: Sequence[str]
) -> list[Lengths]:
    """Lists of lengths, by their names: those of the cube's own struct first, the best first."""
    units = {v.name: str(v.load().ravel()[0]) for v in variables if _is_text(v) and _names_unit(v)}
    found = []
    for variable in variables:
        plain = plain_name(variable.name)
        if plain in names and variable is not cube and variable.numeric and _is_list(variable):
            group = variable.name.rpartition("/")[0]
            unit = unit_in_name(variable.name) or _unit_beside(variable.name, units)
            away = group != cube.name.rpartition("/")[0]
            values = variable.load().ravel().astype(np.float64)
            lengths = Lengths(values, unit, variable.name, is_doubtful=plain == "bands")
            found.append(((away, names.index(plain)), lengths))
    return [lengths for _, lengths in sorted(found, key=lambda pair: pair[0])]


def nodata_among(variables: Sequence[Variable], cube: Variable) -> tuple[float, ...]:
    """The number that stands for nothing, where a variable names it."""
    found = [v for v in _beside(variables, cube) if plain_name(v.name) in NODATA]
    return tuple(float(v.load().ravel()[0]) for v in found if v.numeric and np.prod(v.shape) == 1)


def bad_bands_among(variables: Sequence[Variable], cube: Variable) -> tuple[int, ...]:
    """The bands that a list of one flag a band calls bad."""
    for v in _beside(variables, cube):
        if plain_name(v.name) in BAD_BANDS and _is_list(v) and max(v.shape) in cube.shape:
            return tuple(int(band) for band in np.flatnonzero(v.load().ravel() == 0))
    return ()


def _beside(variables: Sequence[Variable], cube: Variable) -> list[Variable]:
    group = cube.name.rpartition("/")[0]
    return [v for v in variables if v is not cube and v.name.rpartition("/")[0] == group]


def _is_list(variable: Variable) -> bool:
    return bool(variable.shape) and max(variable.shape) == np.prod(variable.shape)


def _is_text(variable: Variable) -> bool:
    return variable.kind == "char" or variable.kind[1:2] == "U"


def _names_unit(variable: Variable) -> bool:
    return plain_name(variable.name) in ("unit", "units", "wavelengthunit", "wavelengthunits")


def _unit_beside(name: str, units: dict[str, str]) -> str:
    group = name.rpartition("/")[0]
    beside = [unit for place, unit in units.items() if place.rpartition("/")[0] == group]
    return beside[0] if len(beside) == 1 else ""
