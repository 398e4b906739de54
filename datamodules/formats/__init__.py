"""The file formats of cubes: one module per format, found by the path's ending."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from datamodules.formats.content import Content
from datamodules.scene import DataError

__all__ = ["FORMATS", "Content", "Format", "find_format", "load_module"]


class FormatModule(Protocol):
    """What every module of this package offers."""

    def read(self, path: Path, key: str | None) -> Content:
        """Reads the array, in the order that the format presents, and its wavelengths."""

    def write(
        self, path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
    ) -> None:
        """Writes a float32 array whose axes are named in ``axes``; key and axes where it can."""


@dataclass(frozen=True)
class Format:
    """How a format presents its array.

    Attributes:
        module: The module of this package that reads and writes it.
        endings: Of the paths, in lower case.
        axes: Order of the written array, letters of "BHW"; and of the read one where ``fixed``.
        fixed: False where nothing but the sizes or a note of ours tells the order on reading.
        keyed: Whether the file holds several named arrays.
    """

    module: str
    endings: tuple[str, ...]
    axes: str = "BHW"
    fixed: bool = True
    keyed: bool = False


FORMATS = (
    Format("matlab", (".mat",), axes="HWB", keyed=True),
    Format("hdf5", (".h5", ".hdf5"), fixed=False, keyed=True),
    Format("npz", (".npz",), fixed=False, keyed=True),
    Format("npy", (".npy",), fixed=False),
    Format("tiff", (".tif", ".tiff")),
    Format("geo", (".pix",)),
    Format("envi", (".hdr", ".img", ".raw", ".dat", ".bil", ".bip", ".bsq")),
    Format("exr", (".exr",)),
)
PNG_FOLDER = Format("png_folder", ("",))

INSTALL: Mapping[str, str] = {
    "spectral": "pip install 'lightning-ras2s[envi]'",
    "OpenEXR": "pip install 'lightning-ras2s[exr]'",
    "rasterio": "pip install 'lightning-ras2s[geo]'",
}


def find_format(path: Path) -> Format:
    """The format of a path: that of its ending, PNGs for a folder, ENVI beside a .hdr.

    Raises:
        DataError: If the ending is unknown; the message lists those there are.
    """
    if path.is_dir() or (not path.suffix and not path.exists()):
        return PNG_FOLDER
    for known in FORMATS:
        if path.suffix.lower() in known.endings:
            return known
    if path.with_name(path.name + ".hdr").exists():
        return next(known for known in FORMATS if known.module == "envi")
    endings = ", ".join(ending for known in FORMATS for ending in known.endings)
    raise DataError(
        f"{path}: no format has the ending {path.suffix!r}; "
        f"there are {endings}, and a folder of one PNG per band"
    )


def load_module(path: Path, name: str) -> FormatModule:
    """Imports a format's module, and with it the library that it needs.

    Raises:
        DataError: If that library is not installed; the message says how to install it.
    """
    try:
        return cast(FormatModule, import_module(f"datamodules.formats.{name}"))
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        remedy = INSTALL.get(library, "install this project again")
        raise DataError(f"{path}: this format needs {library} ({error}); {remedy}") from error
