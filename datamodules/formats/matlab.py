"""MATLAB .mat files: v4 and v5 by scipy, v7.3, which is HDF5, by h5py.

Arrays come as MATLAB sees them, [H, W, B] by convention: a v7.3 file holds its axes reversed, and
they are turned back here, unless it was not MATLAB that wrote it. The version is told by the file's
content. Fields of structs are named hsi/Data, members of cells scenes/0.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from datamodules.formats import hdf5
from datamodules.formats.axes import guess_order
from datamodules.formats.content import (
    Content,
    Outgoing,
    Readable,
    Turned,
    Variable,
    is_real,
    pick,
    reading,
)
from datamodules.formats.named import bad_bands_among, lengths_among, nodata_among
from datamodules.formats.note import NAME, read_note, write_note
from datamodules.formats.wavelengths import NAMES, WIDTH_NAMES
from datamodules.scene import DataError

SIZES = (8, 16, 32, 64)
NUMERIC = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in SIZES)}
NUMPY = {"double": "f8", "single": "f4"}
USUAL = "HWB"
CLASSES = {"float64": "double", "float32": "single"}
HEADER = b"MATLAB 7.3 MAT-file, Platform: Python, written by lightning_ras2s"
LARGEST = 2**31  # bytes of one variable in a v5 file


def read(path: Path, key: str | None) -> Content:
    """Finds the cube in a .mat file of any version, and what is said of it."""
    if key is not None:  # scenes{1} of MATLAB
        key = re.sub(r"[{(](\d+)[})]", lambda place: f"/{int(place[1]) - 1}", key)
    return _read_v73(path, key) if hdf5.is_hdf5(path) else _read_v5(path, key)


def _read_v5(path: Path, key: str | None) -> Content:
    with reading(path, "MATLAB v5"):
        variables: list[Variable] = []
        for name, shape, kind in scipy.io.whosmat(str(path)):
            load = partial(_load_v5, path, name)
            if kind in ("struct", "cell"):
                variables += _inside(name, load(), shape, kind)
            else:
                numeric = kind in NUMERIC
                dtype = np.dtype(NUMPY.get(kind, kind)) if numeric else None
                variables.append(Variable(name, shape, kind, numeric, load, dtype=dtype))
        return _described(pick(path, variables, key), variables)


def _load_v5(path: Path, name: str) -> np.ndarray:
    with reading(path, "MATLAB v5"):
        return scipy.io.loadmat(str(path), variable_names=[name])[name]


def _inside(name: str, value: np.ndarray, shape: tuple[int, ...], kind: str) -> Iterator[Variable]:
    """What a struct or a cell holds, at any depth; itself where that is nothing."""
    members: list[tuple[str, Any]] = []
    if value.dtype.names and value.size == 1:
        members = [(f"{name}/{field}", value[field].ravel()[0]) for field in value.dtype.names]
    elif value.dtype.names:
        members = [
            (f"{name}/{place}/{field}", record[field])
            for place, record in enumerate(value.ravel())
            for field in value.dtype.names
        ]
    elif value.dtype == object:
        members = [(f"{name}/{place}", member) for place, member in enumerate(value.ravel())]
    if not members:
        yield Variable(name, shape, kind, False, lambda: value)
    for place, member in members:
        array = np.asarray(member)
        if array.dtype == object or array.dtype.names:
            yield from _inside(place, array, array.shape, "struct")
        else:
            text = array.dtype.kind == "U"
            described = "char" if text else str(array.dtype)
            load = partial(np.asarray, array)
            yield Variable(
                place, array.shape, described, is_real(array.dtype), load, dtype=array.dtype
            )


def _read_v73(path: Path, key: str | None) -> Content:
    with reading(path, "MATLAB v7.3"), h5py.File(path) as file:
        variables = list(_variables_v73(path, file))
        cube = pick(path, variables, key)
        if cube.name in file and not _is_turned(path, file[cube.name]):
            return hdf5.describe(path, file, cube, list(hdf5.list_variables(file)))
        return _described(cube, variables)


def _variables_v73(path: Path, file: h5py.File) -> Iterator[Variable]:
    """The datasets as MATLAB shows them, and the members of its cells."""
    plain = {v.name: v for v in hdf5.list_variables(file)}
    for name, item in hdf5.walk(file):
        if item.dtype == h5py.ref_dtype:
            for place, reference in enumerate(np.asarray(item[()]).ravel()):
                if reference and isinstance(file[reference], h5py.Dataset):
                    yield _turned(path, f"{name}/{place}", file[reference])
        elif _is_turned(path, item):
            yield _turned(path, name, item)
        else:
            yield plain[name]


def _is_turned(path: Path, item: h5py.Dataset) -> bool:
    """Whether MATLAB wrote it: h5py turns nothing round."""
    if "MATLAB_class" in item.attrs:
        return True
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 7.3"


def _turned(path: Path, name: str, item: h5py.Dataset) -> Variable:
    matlab = item.attrs.get("MATLAB_class", b"")
    kind = matlab.decode() if isinstance(matlab, bytes) else str(matlab)
    complex_parts = item.dtype.names == ("real", "imag")
    numeric = is_real(item.dtype) and kind not in ("char", "logical", "cell")
    return Variable(
        name,
        (item.shape or ())[::-1],
        "complex" if complex_parts else kind or str(item.dtype),
        numeric,
        partial(_load_turned, path, item.name, kind),
        hdf5.identity(item),
        item.dtype,
        partial(_open_turned, path, item.name, len(item.shape or ())),
    )


@contextmanager
def _open_turned(path: Path, name: str, axes: int) -> Iterator[Readable]:
    with hdf5.opened(path, name) as item:
        yield Turned(item, range(axes)[::-1])


def _load_turned(path: Path, name: str, kind: str) -> np.ndarray:
    values = hdf5.load(path, name).T
    if kind == "char" and values.dtype.kind in "iu":
        return np.array(["".join(map(chr, values.ravel()))])
    return values


def _described(cube: Variable, variables: Sequence[Variable]) -> Content:
    notes = [v.load() for v in variables if v.name == NAME and v.kind == "char"]
    said: dict[str, Any] = {
        "wavelengths": lengths_among(variables, cube, NAMES),
        "widths": lengths_among(variables, cube, WIDTH_NAMES),
        "nodata": nodata_among(variables, cube),
        "bad_bands": bad_bands_among(variables, cube),
    }
    said |= read_note(notes[0]) if notes else {}
    dtype = np.dtype(object) if cube.dtype is None else cube.dtype
    return Content(cube.shape, dtype, cube.load, cube.open, usual=USUAL, key=cube.name, **said)


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes a v5 file, with ``wavelengths`` and ``fwhm`` in nm where they are known.

    From 2 GiB on, it is a v7.3 file.
    """
    key = _name(path, scene)
    if scene.nbytes >= LARGEST:
        with create(path, scene) as numbers:
            numbers[...] = array
        return
    variables: dict[str, Any] = {key: array}
    if scene.wavelengths is not None:
        variables["wavelengths"] = scene.wavelengths
    if scene.fwhm is not None:
        variables["fwhm"] = scene.fwhm
    note = _note(scene)
    if note:
        variables[NAME] = note
    scipy.io.savemat(str(path), variables, appendmat=False)


def _name(path: Path, scene: Outgoing) -> str:
    key = (scene.file.key or "data").rpartition("/")[2]
    if not key.isidentifier() or key.startswith("_") or len(key) > 31:
        raise DataError(f"{path}: {key!r} is no name of a MATLAB variable; pass another key=")
    return key


def _note(scene: Outgoing) -> str:
    """A note of the order of the axes, unless it is read without one; and of all that is left."""
    numbers = () if scene.wavelengths is None else (len(scene.wavelengths),)
    usual = guess_order(scene.shape, numbers, USUAL)
    native = {"wavelengths_nm", "fwhm_nm"}
    if usual is not None and (usual.axes, usual.note) == (scene.file.axes, ""):
        native.add("axes")
    return write_note(scene, native)


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[Turned]:
    """Makes a v7.3 file, and gives its variable: HDF5 with the axes reversed, as MATLAB does."""
    key = _name(path, scene)
    note = _note(scene)
    with h5py.File(path, "w", userblock_size=512) as file:
        item = file.create_dataset(key, shape=scene.shape[::-1], dtype=scene.dtype)
        item.attrs["MATLAB_class"] = np.bytes_(CLASSES.get(scene.dtype.name, scene.dtype.name))
        for name, values in (("wavelengths", scene.wavelengths), ("fwhm", scene.fwhm)):
            if values is not None:
                file[name] = np.asarray(values, np.float64)[:, None]
                file[name].attrs["MATLAB_class"] = np.bytes_("double")
        if note:
            file[NAME] = np.array([[ord(letter)] for letter in note], np.uint16)
            file[NAME].attrs["MATLAB_class"] = np.bytes_("char")
            file[NAME].attrs["MATLAB_int_decode"] = np.int32(2)
        yield Turned(item, range(len(scene.shape))[::-1])
    with path.open("r+b") as raw:
        raw.write(HEADER.ljust(124, b" ") + b"\x00\x02IM")
