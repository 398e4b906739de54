"""MATLAB .mat files: v4 and v5 by scipy, v7.3, which is HDF5, by h5py.

Arrays come as MATLAB sees them, [H, W, B] by convention: a v7.3 file holds its axes reversed, and
they are turned back here. The version is told by the file's content.
"""

from functools import partial
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from datamodules.formats.content import Content, Variable, load_content, reading
from datamodules.formats.hdf5 import list_variables
from datamodules.scene import DataError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
SIZES = (8, 16, 32, 64)
NUMERIC = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in SIZES)}
LARGEST = 2**31  # bytes of one variable in a v5 file


def read(path: Path, key: str | None) -> Content:
    """Reads a .mat file of any version."""
    return _read_v73(path, key) if is_hdf5(path) else _read_v5(path, key)


def is_hdf5(path: Path) -> bool:
    """Whether the file starts as HDF5 does, maybe after a header block, as MATLAB's 512 bytes."""
    with path.open("rb") as file:
        start = file.read(4096)
    return any(start.startswith(HDF5_SIGNATURE, place) for place in (0, 512, 1024, 2048))


def _read_v5(path: Path, key: str | None) -> Content:
    with reading(path, "MATLAB v5"):
        variables = [
            Variable(name, shape, kind, kind in NUMERIC, partial(_load_v5, path, name))
            for name, shape, kind in scipy.io.whosmat(str(path))
        ]
        return load_content(path, variables, key)


def _load_v5(path: Path, name: str) -> np.ndarray:
    return scipy.io.loadmat(str(path), variable_names=[name])[name]


def _read_v73(path: Path, key: str | None) -> Content:
    with reading(path, "MATLAB v7.3"), h5py.File(path) as file:
        variables = [
            Variable(v.name, v.shape[::-1], v.kind, v.numeric, partial(_turned, v))
            for v in list_variables(file)
        ]
        return load_content(path, variables, key)


def _turned(variable: Variable) -> np.ndarray:
    return variable.load().T


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes a v5 file, with the variable ``wavelengths`` in nm where they are known."""
    if not key.isidentifier() or key.startswith("_") or len(key) > 31:
        raise DataError(f"{path}: {key!r} is no name of a MATLAB variable; pass another key=")
    if array.nbytes >= LARGEST:
        raise DataError(
            f"{path}: {array.nbytes / 2**30:.1f} GiB do not fit a MATLAB v5 file (2 GiB); "
            "write an .h5 file"
        )
    variables = {key: array}
    if wavelengths is not None:
        variables["wavelengths"] = wavelengths
    scipy.io.savemat(str(path), variables, appendmat=False)
