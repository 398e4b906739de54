"""The file formats of cubes: one module per format, found by the path's ending or its content."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from datamodules.formats.content import Content, Outgoing
from datamodules.scene import DataError

__all__ = ["FORMATS", "Content", "Format", "Outgoing", "find_format", "load_module"]


class FormatModule(Protocol):
    """What every module of this package offers."""

    def read(self, path: Path, key: str | None) -> Content:
        """Finds the cube and what is said of it; its values are read later."""

    def write(self, path: Path, array: np.ndarray, scene: Outgoing) -> None:
        """Writes an array whose axes are in the order ``scene.file.axes``."""


@dataclass(frozen=True)
class Format:
    """How a format holds its array.

    Attributes:
        module: The module of this package that reads and writes it.
        endings: Of the paths, in lower case.
        axes: Order of the written array, letters of "BHW".
        free: Whether another order can be written.
        keyed: Whether the file holds several named arrays.
        begins: Bytes that such files begin with, where nothing else does.
    """

    module: str
    endings: tuple[str, ...]
    axes: str = "BHW"
    free: bool = False
    keyed: bool = False
    begins: tuple[bytes, ...] = ()


FORMATS = (
    Format("matlab", (".mat",), axes="HWB", free=True, keyed=True, begins=(b"MATLAB",)),
    Format(
        "hdf5",
        (".h5", ".hdf5", ".he5", ".nc", ".nc4", ".hdf"),
        free=True,
        keyed=True,
        begins=(b"\x89HDF\r\n\x1a\n",),
    ),
    Format("npz", (".npz",), free=True, keyed=True, begins=(b"PK\x03\x04",)),
    Format("npy", (".npy",), free=True, begins=(b"\x93NUMPY",)),
    Format("tiff", (".tif", ".tiff"), begins=(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    Format("geo", (".pix",), begins=(b"EHFA_HEADER_TAG", b"PCIDSK")),
    Format("envi", (".hdr", ".img", ".raw", ".dat", ".bil", ".bip", ".bsq")),
    Format("exr", (".exr",), begins=(b"\x76\x2f\x31\x01",)),
    Format("zarr_store", (".zarr",), free=True, keyed=True),
)
FOLDERS = ("png_folder", "zarr_store")  # formats of which a scene is a folder
PNG_FOLDER = Format("png_folder", ("",))
BY_MODULE = {known.module: known for known in (*FORMATS, PNG_FOLDER)}

OPTIONAL = ("OpenEXR", "zarr", "rasterio")  # libraries that pip knows by the same names


def find_format(path: Path) -> Format:
    """The format of a path: PNGs for a folder, ENVI beside a .hdr, else by ending and content.

    Raises:
        DataError: If nothing tells; the message lists the endings there are.
    """
    if path.suffix.lower() == ".zarr":
        return BY_MODULE["zarr_store"]
    if path.is_dir() or (not path.suffix and not path.exists()):
        return PNG_FOLDER
    named = next((known for known in FORMATS if path.suffix.lower() in known.endings), None)
    if named is not None and named.module not in ("envi", "geo"):
        return named
    if path.suffix.lower() != ".hdr" and path.is_file():
        if header_of(path) is not None:
            return BY_MODULE["envi"]
        with path.open("rb") as file:
            start = file.read(16)
        for known in FORMATS:
            if start.startswith(known.begins or (b"\xff" * 20,)):
                return known
    if named is not None:
        return named
    endings = ", ".join(ending for known in FORMATS for ending in known.endings)
    raise DataError(
        f"{path}: no format has the ending {path.suffix!r}; "
        f"there are {endings}, and a folder of one PNG per band"
    )


def header_of(data: Path) -> Path | None:
    """The ENVI header of a file: that of its full name, else that of its name without ending."""
    for stem in (data.name, data.stem):
        for ending in (".hdr", ".HDR", ".Hdr"):
            place = data.with_name(stem + ending)
            if place.is_file():
                return place
    return None


def load_module(path: Path, name: str) -> FormatModule:
    """Imports a format's module, and with it the library that it needs.

    Raises:
        DataError: If that library is not installed; the message says how to install it.
    """
    try:
        return cast(FormatModule, import_module(f"datamodules.formats.{name}"))
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        remedy = f"pip install {library}" if library in OPTIONAL else "install this project again"
        raise DataError(f"{path}: this format needs {library} ({error}); {remedy}") from error
