"""Zarr stores, version 2 or 3: arrays in a folder of chunks, with attributes as HDF5 has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from datamodules.formats.axes import order_of_words, parse_order
from datamodules.formats.content import Content, Outgoing, Variable, is_real, pick, reading
from datamodules.formats.named import bad_bands_among, lengths_among, nodata_among
from datamodules.formats.note import NAME, read_note, write_note
from datamodules.formats.wavelengths import NAMES, WIDTH_NAMES

CHUNK = 2**20  # values of a chunk
NODATA = ("_FillValue", "missing_value", "nodata")


def read(path: Path, key: str | None) -> Content:
    """Finds the cube and what is said of it; the array is read by `Content.load`."""
    with reading(path, "Zarr"):
        root = zarr.open(str(path), mode="r")
        arrays = dict(_arrays(root))
        variables = [_variable(path, name, array) for name, array in arrays.items()]
        cube = pick(path, variables, key)
        array = arrays[cube.name]
        attributes = dict(array.attrs)
        dimensions = attributes.get("_ARRAY_DIMENSIONS") or _dimensions(array)
        nodata = [attributes[name] for name in NODATA if name in attributes]
        said: dict[str, Any] = {
            "axes": parse_order(attributes.get("axes")) or order_of_words(dimensions),
            "wavelengths": lengths_among(variables, cube, NAMES),
            "widths": lengths_among(variables, cube, WIDTH_NAMES),
            "nodata": (*map(float, nodata), *nodata_among(variables, cube)),
            "bad_bands": bad_bands_among(variables, cube),
        }
        said |= read_note(attributes.get(NAME, ""))
        opened = partial(_opened, path, cube.name)
        return Content(array.shape, array.dtype, cube.load, opened, key=cube.name or None, **said)


def _arrays(root: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(root, zarr.Array):
        yield prefix.rstrip("/"), root
        return
    for name, member in sorted(root.members()):
        yield from _arrays(member, f"{prefix}{name}/")


def _dimensions(array: Any) -> tuple[str, ...]:
    names = getattr(array.metadata, "dimension_names", None) or ()
    return tuple(str(name) for name in names)


def _variable(path: Path, name: str, array: Any) -> Variable:
    dtype = np.dtype(array.dtype)
    load = partial(_load, path, name)
    return Variable(name, array.shape, str(dtype), is_real(dtype), load, dtype=dtype)


def _member(path: Path, name: str) -> Any:
    root: Any = zarr.open(str(path), mode="r")
    return root[name] if name else root


def _load(path: Path, name: str) -> np.ndarray:
    with reading(path, "Zarr"):
        return np.asarray(_member(path, name)[...])


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    with reading(path, "Zarr"):
        yield _member(path, name)


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes a store; see `create`."""
    with create(path, scene) as numbers:
        numbers[...] = array


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[Any]:
    """Makes a store with the array, ``wavelengths`` and ``fwhm`` in nm, and gives the array."""
    file = scene.file
    root = zarr.open_group(str(path), mode="w")
    chunks = _chunks(scene.shape, file.axes)
    array = root.create_array(
        file.key or "data", shape=scene.shape, dtype=scene.dtype, chunks=chunks
    )
    attributes: dict[str, Any] = {"axes": file.axes}
    note = write_note(scene, {"axes", "wavelengths_nm", "fwhm_nm"})
    array.attrs.update(attributes | ({NAME: note} if note else {}))
    for name, values in (("wavelengths", scene.wavelengths), ("fwhm", scene.fwhm)):
        if values is not None:
            root.create_array(name, data=np.asarray(values, np.float64)).attrs["units"] = "nm"
    yield array


def _chunks(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """All bands of a square of pixels."""
    bands = shape[axes.index("B")]
    side = max(16, int((CHUNK / bands) ** 0.5))
    whole = zip(shape, axes, strict=True)
    return tuple(max(1, size if axis == "B" else min(size, side)) for size, axis in whole)
