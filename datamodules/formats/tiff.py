"""TIFF files: the bands are its pages, or the samples of its only page, as in GeoTIFF."""

import struct
from pathlib import Path

import numpy as np
import tifffile

from datamodules.formats import load_module
from datamodules.formats.content import Content, reading
from datamodules.scene import DataError

# What tifffile decodes by itself: none, deflate, packbits, lzma; no or integer differences.
PLAIN = (1, 8, 32946, 32773, 34925)
DIFFERENCES = (1, 2)


def read(path: Path, key: str | None) -> Content:
    """Reads all pages but thumbnails, overviews and masks."""
    with reading(path, "TIFF"), tifffile.TiffFile(path) as file:
        pages = [page.aspage() for page in file.pages]
        if _next_page(file, pages[-1]) != 0:
            raise DataError(f"{path}: cut off after {len(pages)} pages; fetch or copy it again")
        pages = [page for page in pages if not page.is_reduced and not page.is_mask]
        for number, page in enumerate(pages):
            if page.shape != pages[0].shape or page.dtype != pages[0].dtype:
                raise DataError(
                    f"{path}: page {number} is {page.shape} {page.dtype}, page 0 is "
                    f"{pages[0].shape} {pages[0].dtype}; pages are bands and must be alike"
                )
        if int(pages[0].compression) not in PLAIN or int(pages[0].predictor) not in DIFFERENCES:
            geo = load_module(path, "geo")
            return geo.read_pages(path, [page.index for page in pages])  # type: ignore[attr-defined]
        if len(file.series) == 1 or len(pages) == 1:
            array, axes = file.series[0].asarray(), file.series[0].axes
        else:
            array, axes = np.stack([page.asarray() for page in pages]), f"I{pages[0].axes}"
        if array.ndim == 2:
            raise DataError(
                f"{path}: has one page, {array.shape}; pages are bands, and a cube needs several"
            )
        order = "".join({"Y": "H", "X": "W"}.get(axis, "B") for axis in axes)
        return Content(array, order if array.ndim == 3 else None)


def _next_page(file: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Where a page says that the next one starts: 0 after the last; tifffile passes over others."""
    layout, handle = file.tiff, file.filehandle
    handle.seek(page.offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(page.offset + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return offset


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes one page per band; TIFF has no place for wavelengths."""
    tifffile.imwrite(path, array, photometric="minisblack", bigtiff=array.nbytes >= 2**32 - 2**25)
