"""NumPy's .npy files: one array, and a note of ours as a comment in its header."""

import ast
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.formats.content import Content, Outgoing, mapped, reading
from datamodules.formats.note import read_note, write_note
from datamodules.scene import DataError

MAGIC = b"\x93NUMPY"
LONGEST = 9000  # characters of a header: NumPy refuses those above 10000
ALIGNED = 64
LENGTHS = "wavelengths_nm"


def read(path: Path, key: str | None) -> Content:
    """Reads the header; pickled objects are refused."""
    with reading(path, ".npy"), path.open("rb") as file:
        major, _ = np.lib.format.read_magic(file)
        (length,) = struct.unpack(*(("<H", file.read(2)) if major == 1 else ("<I", file.read(4))))
        text = file.read(length).decode("latin-1" if major < 3 else "utf-8")
        described = ast.literal_eval(text.strip())
        shape = tuple(described["shape"])
        dtype = np.lib.format.descr_to_dtype(described["descr"])
        if dtype.hasobject:
            raise DataError(
                f"{path}: holds Python objects (pickled), which may run any program when they are "
                "loaded; save the cube itself with numpy.save"
            )
        if path.stat().st_size < file.tell() + dtype.itemsize * int(np.prod(shape)):
            raise ValueError(f"{shape} {dtype} are announced, and the file is shorter")
        comment = re.search(r"}\s*#\s*(.*)$", text.rstrip())
        note = read_note(comment[1]) if comment else {}
        return Content(shape, dtype, partial(_load, path), partial(_opened, path), **note)


def _load(path: Path) -> np.ndarray:
    with reading(path, ".npy"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextmanager
def _opened(path: Path) -> Iterator[np.ndarray]:
    yield _load(path)  # mapped


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes the array; see `create`."""
    with create(path, scene) as numbers:
        numbers[...] = array


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[np.ndarray]:
    """Writes a header, and gives the array; NumPy passes over the note, which is a comment."""
    described = {
        "descr": np.lib.format.dtype_to_descr(scene.dtype),
        "fortran_order": False,
        "shape": scene.shape,
    }
    text = f"{described!r} # {write_note(scene)}"
    for least in (("header",), ("header", "crs", "fwhm_nm"), ("header", "crs", "fwhm_nm", LENGTHS)):
        if len(text) > LONGEST:
            text = f"{described!r} # {write_note(scene, least)}"
    assert ast.literal_eval(text) == described
    begin = len(MAGIC) + 4
    padding = -(begin + len(text) + 1) % ALIGNED
    header = (text + " " * padding + "\n").encode("ascii")
    start = MAGIC + bytes((1, 0)) + struct.pack("<H", len(header)) + header
    path.write_bytes(start)
    with mapped(path, scene.dtype, len(start), scene.shape) as array:
        yield array
