"""NumPy's .npz files: named arrays in a zip archive."""

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.formats.content import Content, Variable, is_real, load_content, reading

AXES = "axes"  # text beside a cube written here, such as "BHW"


def read(path: Path, key: str | None) -> Content:
    """Reads the cube; the order of its axes is known where it was written here."""
    with reading(path, ".npz"), zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        axes = str(_load(archive, f"{AXES}.npy")) if f"{AXES}.npy" in members else None
        variables = [_variable(archive, member) for member in members]
        return load_content(path, variables, key, axes)


def _variable(archive: zipfile.ZipFile, member: str) -> Variable:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = header(file)
    name = member.removesuffix(".npy")
    return Variable(name, shape, str(dtype), is_real(dtype), partial(_load, archive, member))


def _load(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes the array, its ``axes``, and ``wavelengths`` in nm where they are known."""
    arrays = {key: array, AXES: np.array(axes)}
    if wavelengths is not None:
        arrays["wavelengths"] = wavelengths
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
