"""What GDAL reads: PCIDSK .pix, and the TIFFs whose compression tifffile has not."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from datamodules.formats.content import Content, reading


def read(path: Path, key: str | None) -> Content:
    """Reads all bands [B, H, W]."""
    with reading(path, "PCIDSK"):
        return Content(_bands(str(path)), "BHW")


def read_pages(path: Path, pages: Sequence[int]) -> Content:
    """Reads all bands of the given pages of a TIFF [B, H, W]."""
    arrays = [_bands(f"GTIFF_DIR:{page + 1}:{path}") for page in pages]
    return Content(np.concatenate(arrays), "BHW")


def _bands(name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(name) as file:
            return file.read()


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes a PCIDSK file without a place on Earth, which a scene does not know."""
    bands, height, width = array.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="PCIDSK", dtype="float32", count=bands, height=height, width=width
        ) as file:
            file.write(array)
