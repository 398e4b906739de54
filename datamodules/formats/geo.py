"""What GDAL reads: PCIDSK .pix, ERDAS .img, what a GeoTIFF says, odd compressions of TIFFs."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning

from datamodules.file_facts import Georeference
from datamodules.formats.content import Content, Outgoing, reading
from datamodules.formats.gdal_tags import facts_of_tags
from datamodules.formats.note import NAME, write_note
from datamodules.scene import DataError


def read(path: Path, key: str | None) -> Content:
    """Finds all bands [B, H, W], and what is said of them."""
    _require_whole(path)
    with reading(path, "PCIDSK or ERDAS"), _opened(str(path)) as file:
        shape = (file.count, file.height, file.width)
        dtype = np.dtype(file.dtypes[0])
        load, opened = partial(_bands, str(path)), partial(open_windows, path)
        return Content(shape, dtype, load, opened, axes="BHW", **facts(file))


def _require_whole(path: Path) -> None:
    """GDAL reads a PCIDSK file that is cut off, with zeros; its header says how long it is."""
    with path.open("rb") as file:
        start = file.read(32)
    blocks = start[16:32].strip()
    found = path.stat().st_size
    if start.startswith(b"PCIDSK") and blocks.isdigit() and int(blocks) * 512 > found:
        raise DataError(
            f"{path}: {found} bytes, but its header says {int(blocks) * 512}; it is cut off: fetch "
            "or copy it again"
        )


def describe(path: Path) -> dict[str, Any]:
    """What a GeoTIFF says, as arguments of `Content`."""
    with reading(path, "TIFF"), _opened(str(path)) as file:
        return facts(file)


def facts(file: rasterio.DatasetReader) -> dict[str, Any]:
    """What an open file says, as arguments of `Content`."""
    nodata = sorted({float(value) for value in file.nodatavals if value is not None})
    masks = [set(flags) for flags in file.mask_flag_enums]
    said: dict[str, Any] = {
        "nodata": tuple(nodata) if all(v is not None for v in file.nodatavals) else (),
        "georeference": _georeference(file),
    }
    if all(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in masks):
        said["mask"] = partial(_mask, file.name)
    return said | facts_of_tags(
        [file.tags(band) for band in file.indexes],
        [file.tags(band, ns="IMAGERY") for band in file.indexes],
        file.descriptions,
        {"scale_factor": file.scales, "add_offset": file.offsets},
        file.tags(),
    )


def _georeference(file: rasterio.DatasetReader) -> Georeference | None:
    transform = None if file.transform.is_identity else tuple(file.transform)[:6]
    if file.crs is None and transform is None:
        return None
    return Georeference(file.crs.to_wkt() if file.crs else None, transform)


def _mask(name: str) -> np.ndarray:
    with _opened(name) as file:
        return file.dataset_mask() > 0


def load_pages(path: Path, pages: Sequence[int]) -> np.ndarray:
    """All bands of the given pages of a TIFF [B, H, W]."""
    with reading(path, "TIFF"):
        return np.concatenate([_bands(f"GTIFF_DIR:{page + 1}:{path}") for page in pages])


def _bands(name: str) -> np.ndarray:
    with _opened(name) as file:
        return file.read()


@contextmanager
def _opened(name: str, mode: str = "r", **options: Any) -> Iterator[Any]:
    """An open file; what rasterio prints of damaged ones stands in its error as well."""
    hooks = sys.unraisablehook, sys.excepthook
    sys.unraisablehook, sys.excepthook = (lambda _: None), (lambda *_: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(name, mode, **options) as file:
                yield file
    finally:
        sys.unraisablehook, sys.excepthook = hooks


class Windows:
    """The bands of an open file, read and written by windows [B, H, W]."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def _place(self, window: Any) -> tuple[list[int], rasterio.windows.Window]:
        whole = (self.file.count, self.file.height, self.file.width)
        wanted = (window,) if not isinstance(window, tuple) else window
        wanted = (slice(None),) * 3 if wanted == (Ellipsis,) else wanted
        bands, rows, columns = (range(*w.indices(n)) for w, n in zip(wanted, whole, strict=True))
        box = (rows.start, rows.stop), (columns.start, columns.stop)
        return [band + 1 for band in bands], rasterio.windows.Window.from_slices(*box)

    def __getitem__(self, window: Any) -> np.ndarray:
        """The numbers of a window."""
        bands, box = self._place(window)
        return self.file.read(bands, window=box)

    def __setitem__(self, window: Any, values: np.ndarray) -> None:
        """Writes a window."""
        bands, box = self._place(window)
        self.file.write(values, bands, window=box)


@contextmanager
def open_windows(path: Path) -> Iterator[Windows]:
    """A file, to be read by windows."""
    with reading(path, "GDAL's"), _opened(str(path)) as file:
        yield Windows(file)


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes a PCIDSK file; see `create`."""
    with create(path, scene) as numbers:
        numbers[...] = array


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[Windows]:
    """Makes a PCIDSK file, and gives its bands."""
    file = scene.file
    bands, height, width = scene.shape
    dtype = scene.dtype.newbyteorder("=").name
    if dtype not in ("uint8", "int16", "uint16", "float32"):
        raise DataError(f"{path}: PCIDSK has no type {dtype}; pass dtype='float32'")
    sizes = {"count": bands, "height": height, "width": width, "dtype": dtype}
    with _opened(str(path), "w", driver="PCIDSK", **sizes) as target:
        place = file.georeference
        if place is not None:
            set_georeference(target, place)
        if scene.wavelengths is not None:
            for band, nm in enumerate(scene.wavelengths, start=1):
                target.update_tags(band, wavelength=repr(float(nm)), wavelength_units="nanometers")
        note = write_note(scene, {"axes", "crs", "transform"})
        if note:
            target.update_tags(**{NAME: note})
        yield Windows(target)


def set_georeference(target: Any, place: Georeference) -> None:
    """Writes system and transform to an open file."""
    if place.crs is not None:
        target.crs = rasterio.crs.CRS.from_user_input(place.crs)
    if place.transform is not None:
        target.transform = rasterio.Affine(*place.transform)


def add_georeference(path: Path, place: Georeference) -> None:
    """Writes system and transform to a file that is there."""
    with _opened(str(path), "r+") as target:
        set_georeference(target, place)
