"""NumPy's .npz files: named arrays in a zip archive."""

import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.formats.axes import parse_order
from datamodules.formats.content import Content, Outgoing, Variable, is_real, pick, reading
from datamodules.formats.named import bad_bands_among, lengths_among, nodata_among
from datamodules.formats.note import NAME, read_note, write_note
from datamodules.formats.wavelengths import NAMES, WIDTH_NAMES

AXES = "axes"  # text beside a cube written here, such as "BHW"


def read(path: Path, key: str | None) -> Content:
    """Finds the cube and what is said of it; the order of its axes where it was written here."""
    with reading(path, ".npz"), zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        variables = [_variable(path, archive, member) for member in members]
        cube = pick(path, variables, key)
        texts = {
            v.name: v.load() for v in variables if v.name in (AXES, NAME) and v.kind[1] in "US"
        }
        axes = texts.get(AXES)
        said: dict[str, Any] = {
            "axes": None if axes is None or axes.size != 1 else parse_order(str(axes.item())),
            "wavelengths": lengths_among(variables, cube, NAMES),
            "widths": lengths_among(variables, cube, WIDTH_NAMES),
            "nodata": nodata_among(variables, cube),
            "bad_bands": bad_bands_among(variables, cube),
        }
        said |= read_note(texts.get(NAME))
        assert cube.dtype is not None
        return Content(cube.shape, cube.dtype, cube.load, key=cube.name, **said)


def _variable(path: Path, archive: zipfile.ZipFile, member: str) -> Variable:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = header(file)
    name, kind = member.removesuffix(".npy"), dtype.str if dtype.kind in "US" else str(dtype)
    load = partial(_load, path, member)
    return Variable(name, shape, kind, is_real(dtype), load, dtype=dtype)


def _load(path: Path, member: str) -> np.ndarray:
    with reading(path, ".npz"), zipfile.ZipFile(path) as archive, archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes the array, its ``axes``, and ``wavelengths`` and ``fwhm`` in nm where known."""
    arrays = {scene.file.key or "data": array, AXES: np.array(scene.file.axes)}
    if scene.wavelengths is not None:
        arrays["wavelengths"] = scene.wavelengths
    if scene.fwhm is not None:
        arrays["fwhm"] = scene.fwhm
    note = write_note(scene, {"axes", "wavelengths_nm", "fwhm_nm"})
    if note:
        arrays[NAME] = np.array(note)
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
