"""HDF5 files: datasets in any group, named by their path in the file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from datamodules.formats.content import Content, Variable, is_real, load_content, pick, reading

AXES = "axes"  # attribute of a cube written here, such as "BHW"


def read(path: Path, key: str | None) -> Content:
    """Reads the cube; the order of its axes is known where it was written here."""
    with reading(path, "HDF5"), h5py.File(path) as file:
        variables = list(list_variables(file))
        axes = file[pick(path, variables, key).name].attrs.get(AXES)
        return load_content(path, variables, key, axes if isinstance(axes, str) else None)


def list_variables(file: h5py.File) -> Iterator[Variable]:
    """The datasets of an open file; what MATLAB keeps for its own use is left out."""
    found: list[tuple[str, h5py.Dataset]] = []

    def collect(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            found.append((name, item))

    file.visititems(collect)
    for name, item in found:
        matlab = item.attrs.get("MATLAB_class", b"")
        kind = matlab.decode() if isinstance(matlab, bytes) else str(matlab)
        complex_parts = item.dtype.names == ("real", "imag")
        numeric = is_real(item.dtype) and kind not in ("char", "logical")
        described = "complex" if complex_parts else kind or str(item.dtype)
        yield Variable(name, item.shape or (), described, numeric, partial(_load, item))


def _load(item: h5py.Dataset) -> np.ndarray:
    return np.asarray(item[()])


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes a dataset with its axes noted, and ``wavelengths`` in nm where they are known."""
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array).attrs[AXES] = axes
        if wavelengths is not None:
            file.create_dataset("wavelengths", data=wavelengths)
