"""HDF5 files, netCDF-4 among them: datasets in any group, named by their path in the file.

Beside plain datasets it knows how EMIT, PRISMA, NEON and xarray lay out their cubes: wavelengths as
a dimension scale, in the cube's group or the nearest other, or as attributes ``List_Cw_..``; what
is missing by ``_FillValue`` and its like; bad bands by ``good_wavelengths`` or ``.._Flags``.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from datamodules.file_facts import Georeference
from datamodules.formats.axes import order_of_words, parse_order
from datamodules.formats.content import Content, Outgoing, Variable, is_real, pick, reading
from datamodules.formats.map_info import parse_map_info
from datamodules.formats.note import NAME, read_note, write_note
from datamodules.formats.wavelengths import (
    NAMES,
    WIDTH_NAMES,
    Lengths,
    plain_name,
    unit_in_name,
)
from datamodules.scene import DataError

AXES = "axes"  # attribute of a cube written here, such as "BHW"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
OTHERS = {
    b"\x0e\x03\x13\x01": "HDF4: convert it with h4toh5",
    b"CDF\x01": "classic netCDF: convert it with nccopy -k nc4",
    b"CDF\x02": "classic netCDF: convert it with nccopy -k nc4",
}
NODATA = ("fillvalue", "missingvalue", "dataignorevalue", "nodata", "nodatavalue", "ignorevalue")
SCALES = ("scalefactor", "addoffset")
INTERNAL = (  # attributes that HDF5, netCDF and MATLAB keep for themselves, or that are read here
    "DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "DIMENSION_LABELS", "_Netcdf4Dimid",
    "_Netcdf4Coordinates", "_nc3_strict", "_NCProperties", "MATLAB_class", AXES, NAME,
)  # fmt: skip


def read(path: Path, key: str | None) -> Content:
    """Finds the cube and what is said of it; the array is read by `Content.load`."""
    with path.open("rb") as file:
        start = file.read(4)
    if start in OTHERS:
        raise DataError(f"{path}: is {OTHERS[start]}")
    with reading(path, "HDF5"), h5py.File(path) as file:
        variables = list(list_variables(file))
        cube = pick(path, variables, key)
        return describe(path, file, cube, variables)


def is_hdf5(path: Path) -> bool:
    """Whether the file starts as HDF5 does, maybe after a header block, as MATLAB's 512 bytes."""
    with path.open("rb") as file:
        start = file.read(4096)
    return any(start.startswith(SIGNATURE, place) for place in (0, 512, 1024, 2048))


def describe(path: Path, file: h5py.File, cube: Variable, variables: list[Variable]) -> Content:
    """What an open file says of one of its datasets."""
    item = file[cube.name]
    attributes = _attributes(item)
    words = {_letters(name): value for name, value in attributes.items()}
    note = read_note(attributes.get(NAME))
    said: dict[str, Any] = {
        "axes": parse_order(attributes.get(AXES)) or _order_of_dimensions(item),
        "wavelengths": _lengths(file, cube, variables, NAMES, "listcw"),
        "widths": _lengths(file, cube, variables, WIDTH_NAMES, "listfwhm"),
        "nodata": tuple(v for name in NODATA for v in _numbers(words.get(name))),
        "limits": _limits(words),
        "bad_bands": _bad_bands(file, cube, variables),
        "georeference": _georeference(file, item, cube.name),
        "header": {
            name: value
            for name, value in attributes.items()
            if name not in INTERNAL and _letters(name) not in NODATA + SCALES
        },
    }
    scales = [next(iter(_numbers(words.get(name))), None) for name in SCALES]
    if "Scale_Factor" in attributes and scales[0]:  # NEON's, by which values are divided
        scales[0] = 1 / scales[0]
    return Content(
        item.shape,
        item.dtype,
        partial(load, path, cube.name),
        partial(opened, path, cube.name),
        key=cube.name,
        scale_factor=scales[0],
        add_offset=scales[1],
        **(said | note),
    )


def load(path: Path, name: str) -> np.ndarray:
    """Reads a whole dataset."""
    with reading(path, "HDF5"), h5py.File(path) as file:
        return np.asarray(file[name][()])


@contextmanager
def opened(path: Path, name: str) -> Iterator[h5py.Dataset]:
    """A dataset, to be read by windows."""
    with reading(path, "HDF5"), h5py.File(path) as file:
        yield file[name]


def list_variables(file: h5py.File) -> Iterator[Variable]:
    """The datasets of an open file; what MATLAB keeps for its own use is left out."""
    for name, item in walk(file):
        matlab = _text(item.attrs.get("MATLAB_class", ""))
        complex_parts = item.dtype.names == ("real", "imag")
        numeric = is_real(item.dtype) and matlab not in ("char", "logical", "cell")
        described = "complex" if complex_parts else matlab or str(item.dtype)
        yield Variable(
            name,
            item.shape or (),
            described,
            numeric,
            partial(_load, item),
            identity(item),
            item.dtype,
        )


def walk(
    group: h5py.Group, prefix: str = "", above: frozenset[object] = frozenset()
) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets, also behind links; links that lead nowhere or round in a circle are none."""
    above |= {identity(group)}
    for name in group:
        if name.startswith("#"):
            continue
        try:
            item = group[name]
        except (KeyError, OSError):
            continue
        if isinstance(item, h5py.Dataset):
            yield prefix + name, item
        elif isinstance(item, h5py.Group) and identity(item) not in above:
            yield from walk(item, f"{prefix}{name}/", above)


def identity(item: h5py.HLObject) -> object:
    """Equal for two names of one object."""
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _load(item: h5py.Dataset) -> np.ndarray:
    return np.asarray(item[()])


def _attributes(item: h5py.HLObject) -> dict[str, Any]:
    """The attributes that are texts or numbers, as Python's own."""
    found: dict[str, Any] = {}
    for name in item.attrs:
        try:
            value = item.attrs[name]
        except (OSError, TypeError, KeyError, RuntimeError):
            continue  # of a type that h5py does not know, or damaged
        if isinstance(value, bytes | np.bytes_):
            found[name] = value.decode(errors="replace")
        elif isinstance(value, str):
            found[name] = str(value)
        elif isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "iufb":
            found[name] = value.tolist()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "SO":
            found[name] = ", ".join(map(_text, value.ravel()))
    return found


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalpha())


def _numbers(value: object) -> tuple[float, ...]:
    """The numbers of an attribute, which may be text."""
    values: list[Any] = value if isinstance(value, list) else [] if value is None else [value]
    try:
        return tuple(float(number) for number in values)
    except (TypeError, ValueError):
        return ()


def _limits(words: Mapping[str, Any]) -> tuple[float, float]:
    """``valid_min``, ``valid_max`` and ``valid_range`` of the CF conventions."""
    both = _numbers(words.get("validrange"))
    if len(both) == 2:
        return both[0], both[1]
    low, high = (_numbers(words.get(name)) for name in ("validmin", "validmax"))
    return low[0] if low else -np.inf, high[0] if high else np.inf


def _order_of_dimensions(item: h5py.Dataset) -> str | None:
    """The order that the names of the dimensions tell, as netCDF files have them."""
    words = []
    for dimension in item.dims:
        try:
            scales = [_text(dimension[place].name or "") for place in range(len(dimension))]
        except (KeyError, RuntimeError, OSError):
            return None
        words.append(_text(dimension.label) or (scales[0].rpartition("/")[2] if scales else ""))
    return order_of_words(words)


def _lengths(
    file: h5py.File,
    cube: Variable,
    variables: list[Variable],
    names: tuple[str, ...],
    attribute: str,
) -> list[Lengths]:
    """Lengths of the cube's dimension scales, of datasets by their names, of PRISMA's attributes.

    The cube's own group goes first, then the nearest to it.
    """
    here = PurePosixPath(cube.name).parent
    found: list[tuple[tuple[int, int], Lengths]] = []
    for variable in variables:
        plain = plain_name(variable.name)
        if plain not in names or variable is cube or not variable.shape:
            continue
        item = file[variable.name]
        numeric = variable.numeric and max(variable.shape) == np.prod(variable.shape)
        values = _floats(variable) if numeric or item.dtype.kind in "SO" else None
        if values is None:
            continue
        unit = _text(item.attrs.get("units", item.attrs.get("unit", "")))
        unit = unit or unit_in_name(variable.name)
        lengths = Lengths(values, unit, variable.name, is_doubtful=plain == "bands")
        distance = _distance(here, PurePosixPath(variable.name).parent)
        found.append(((distance, names.index(plain)), lengths))
    scales = _scales(file[cube.name]) if names is NAMES else []
    nearest = [lengths for _, lengths in sorted(found, key=lambda pair: pair[0])]
    return scales + nearest + _prisma_lists(file, cube.name, attribute)


def _floats(variable: Variable) -> np.ndarray | None:
    try:
        values = np.asarray(variable.load()).ravel()
        if values.dtype.kind in "SO":
            return np.array([float(_text(value)) for value in values])
        return values.astype(np.float64)
    except ValueError:
        return None


def _distance(here: PurePosixPath, there: PurePosixPath) -> int:
    """Steps from one group to another through the tree."""
    shared = sum(1 for a, b in zip(here.parts, there.parts, strict=False) if a == b)
    return len(here.parts) + len(there.parts) - 2 * shared


def _scales(item: h5py.Dataset) -> list[Lengths]:
    """Dimension scales that are named as wavelengths, or have a unit of length in nm or um."""
    found = []
    for dimension in item.dims:
        for place in range(len(dimension)):
            try:
                scale = dimension[place]
            except (KeyError, RuntimeError, OSError):
                continue
            names = {plain_name(_text(scale.name or "")), plain_name(dimension.label)}
            names.add(plain_name(_text(scale.attrs.get("NAME", ""))))
            if names & set(NAMES) and scale.ndim == 1 and is_real(scale.dtype):
                unit = _text(scale.attrs.get("units", ""))
                found.append(Lengths(scale[()].astype(np.float64), unit, str(scale.name)))
    return found


def _prisma_lists(file: h5py.File, cube: str, attribute: str) -> list[Lengths]:
    """``List_Cw_Vnir``, ``List_Fwhm_Swir``, .. of the file, for a VNIR_Cube or a SWIR_Cube."""
    detector = cube.rpartition("/")[2].lower().partition("_")[0]
    found = []
    for name in file.attrs:
        if _letters(name) == f"{attribute}{detector}":
            values = np.asarray(file.attrs[name]).ravel()
            if is_real(values.dtype):
                found.append(Lengths(values.astype(np.float64), "nm", f"attribute {name}"))
    return found


def _bad_bands(file: h5py.File, cube: Variable, variables: list[Variable]) -> tuple[int, ...]:
    """Bands that a list of flags calls bad: EMIT's good_wavelengths, PRISMA's List_Cw_.._Flags."""
    here = PurePosixPath(cube.name).parent
    flags = [
        (_distance(here, PurePosixPath(v.name).parent), v.name, v.load().ravel())
        for v in variables
        if plain_name(v.name) in ("goodwavelengths", "goodbands", "bbl") and len(v.shape) <= 2
    ]
    detector = cube.name.rpartition("/")[2].lower().partition("_")[0]
    flags += [
        (0, name, np.asarray(file.attrs[name]).ravel())
        for name in file.attrs
        if _letters(name) == f"listcw{detector}flags"
    ]
    for _, _, values in sorted(flags, key=lambda flag: flag[:2]):
        if values.size in cube.shape and is_real(values.dtype):
            return tuple(int(band) for band in np.flatnonzero(values == 0))
    return ()


def _georeference(file: h5py.File, item: h5py.Dataset, name: str) -> Georeference | None:
    """By the CF conventions (``grid_mapping``), or NEON's ``Map_Info``."""
    mapping = _text(item.attrs.get("grid_mapping", ""))
    for place in (f"{name.rpartition('/')[0]}/{mapping}", f"/{mapping}"):
        if mapping and place in file:
            found = _attributes(file[place])
            crs = found.get("crs_wkt") or found.get("spatial_ref")
            numbers = _numbers(str(found.get("GeoTransform", "")).split())
            transform = None
            if len(numbers) == 6:
                x, a, b, y, d, e = numbers
                transform = (a, b, x, d, e, y)
            return Georeference(crs, transform) if crs or transform else None
    parts = PurePosixPath(name).parts
    for depth in range(len(parts) - 1, -1, -1):
        base = "/".join(parts[:depth])
        place = f"{base}/Metadata/Coordinate_System"
        if f"{place}/Map_Info" in file:
            crs, transform = parse_map_info(_text(file[f"{place}/Map_Info"][()]).split(","))
            code = f"{place}/EPSG Code"
            if code in file:
                crs = f"EPSG:{_text(file[code][()])}"
            return Georeference(crs, transform)
    return None


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes a dataset; see `create`."""
    with create(path, scene) as numbers:
        numbers[...] = array


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[h5py.Dataset]:
    """Makes a dataset with its axes noted, ``wavelengths`` and ``fwhm`` in nm, and gives it."""
    file = scene.file
    with h5py.File(path, "w") as target:
        item = target.create_dataset(file.key or "data", shape=scene.shape, dtype=scene.dtype)
        # Of fixed length: in a damaged heap of others HDF5 itself may search for ever.
        item.attrs[AXES] = np.bytes_(file.axes)
        if file.nodata is not None:
            nodata = np.array(file.nodata)
            item.attrs["_FillValue"] = nodata.astype(scene.dtype)
        if file.scale_factor is not None:
            item.attrs["scale_factor"] = file.scale_factor
        if file.add_offset is not None:
            item.attrs["add_offset"] = file.add_offset
        for name, value in _writable(file.header).items():
            item.attrs[name] = value
        for name, values in (("wavelengths", scene.wavelengths), ("fwhm", scene.fwhm)):
            if values is not None:
                item.parent.create_dataset(name, data=values).attrs["units"] = np.bytes_("nm")
        native = {"axes", "wavelengths_nm", "fwhm_nm", "nodata", "scale_factor", "add_offset"}
        note = write_note(scene, native | {"header"})
        if note:
            item.attrs[NAME] = note
        yield item


def _writable(header: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a dataset: what is no number or text of HDF5 is written as JSON."""
    plain = (str, int, float, bool, list)
    return {
        name: value if isinstance(value, plain) else json.dumps(value, default=str)
        for name, value in header.items()
        if name not in INTERNAL and name != "grid_mapping"
    }
