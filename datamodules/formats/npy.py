"""NumPy's .npy files: one array and nothing else."""

from pathlib import Path

import numpy as np

from datamodules.formats.content import Content, reading


def read(path: Path, key: str | None) -> Content:
    """Reads the array; pickled objects are refused."""
    with reading(path, ".npy"), path.open("rb") as file:
        return Content(np.lib.format.read_array(file, allow_pickle=False))


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes the array; a .npy file has no place for wavelengths."""
    with path.open("wb") as file:
        np.save(file, array)
