"""TIFF files: the bands are its pages, or the samples of its only page, as in GeoTIFF."""

import logging
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import tifffile

from datamodules.formats import load_module
from datamodules.formats.content import Content, Outgoing, Readable, Turned, mapped, reading
from datamodules.formats.envi import describe_sidecar
from datamodules.formats.envi_pair import is_sidecar
from datamodules.formats.gdal_tags import facts_of_tags, parse_metadata
from datamodules.formats.note import NAME, write_note
from datamodules.scene import DataError, NoCubeError

# What tifffile decodes by itself: none, deflate, packbits, lzma; no or integer differences.
PLAIN = (1, 8, 32946, 32773, 34925)
DIFFERENCES = (1, 2)
GDAL_METADATA, GDAL_NODATA = 42112, 42113
PLACE = (33550, 33922, 34264, 34735)  # tags of GeoTIFF
GEO = (*PLACE, GDAL_METADATA, GDAL_NODATA)


def read(path: Path, key: str | None) -> Content:
    """Finds all pages but thumbnails, overviews and masks, and what GDAL's tags say of them."""
    with _opened(path) as file:
        pages = _pages(path, file)
        numbers = [page.index for page in pages]
        shape, axes = _layout(file, pages)
        geographic = any(tag in pages[0].tags for tag in GEO)
        said = _facts(path, file, pages[0], geographic)
        if len(shape) == 2:
            shape, axes = (1, *shape), "BHW"
            if not geographic:
                raise NoCubeError(
                    f"{path}: has one page, {shape[1:]}; pages are bands, and a cube needs several"
                )
        opened: Callable[[], AbstractContextManager[Readable]] | None = None
        if int(pages[0].compression) in PLAIN and int(pages[0].predictor) in DIFFERENCES:
            load = partial(_load, path, numbers, shape)
            offset = file.series[0].dataoffset
            if offset is not None and (len(file.series) == 1 or len(pages) == 1):
                dtype = np.dtype(pages[0].dtype).newbyteorder(file.byteorder)
                opened = partial(_mapped, path, dtype, offset, shape)
            elif len(pages) == 1 and has_rasterio():
                opened = partial(_windows_of_gdal, path, axes)
        else:
            geo = load_module(path, "geo")
            load = partial(geo.load_pages, path, numbers)  # type: ignore[attr-defined]
            if len(pages) == 1:
                opened = partial(geo.open_windows, path)  # type: ignore[attr-defined]
            count = len(numbers) * int(pages[0].samplesperpixel)
            shape, axes = (count, *pages[0].shaped[-3:-1]), "BHW"
        if _has_alpha(pages[0]):
            alpha = shape[axes.index("B")] - 1
            said["mask"] = partial(_alpha, load, axes, alpha)
            said["notes"] = [
                *said.get("notes", ()),
                "the last band is an alpha channel: read as a mask",
            ]
            place = axes.index("B")
            load, opened = partial(_without, load, place, alpha), None
            shape = tuple(n - (axis == place) for axis, n in enumerate(shape))
        said["notes"] = [*said.get("notes", ()), *_doubt(file, shape, axes)]
        said.pop("axes", None)  # of a note; here the pages tell
        sidecar = _envi_sidecar(path)
        said["notes"] += sidecar.pop("notes", [])
        said = sidecar | _told(said)
        return Content(shape, np.dtype(pages[0].dtype), load, opened, axes=axes, **said)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """An open file; tifffile's log of tags that it cannot read is for its authors."""
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with reading(path, "TIFF"), tifffile.TiffFile(path) as file:
            yield file
    finally:
        logger.setLevel(level)


def _facts(
    path: Path, file: tifffile.TiffFile, page: tifffile.TiffPage, geographic: bool
) -> dict[str, Any]:
    """What GDAL's tags, masks and sidecars say, as arguments of `Content`."""
    masked = any(page.aspage().is_mask for page in file.pages)
    if not (geographic or masked or _sidecars(path)):
        return {}
    if any(tag in page.tags for tag in PLACE) or masked or _sidecars(path) or has_rasterio():
        return load_module(path, "geo").describe(path)  # type: ignore[attr-defined]
    nodata = page.tags.get(GDAL_NODATA)
    metadata = page.tags.get(GDAL_METADATA)
    said = {} if nodata is None else {"nodata": (float(str(nodata.value)),)}
    if metadata is None:
        return said
    tags = parse_metadata(str(metadata.value), int(page.samplesperpixel))
    return said | facts_of_tags(**tags)


def has_rasterio() -> bool:
    """Whether GDAL is there, which knows more of a file than its tags."""
    return find_spec("rasterio") is not None


def _told(said: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, so that it hides nothing."""
    return {key: value for key, value in said.items() if value not in (None, (), [])}


def _pages(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
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
    return pages


def _layout(file: tifffile.TiffFile, pages: list[tifffile.TiffPage]) -> tuple[tuple[int, ...], str]:
    """Shape and order of the axes."""
    if len(file.series) == 1 or len(pages) == 1:
        shape, axes = file.series[0].shape, file.series[0].axes
    else:
        shape, axes = (len(pages), *pages[0].shape), f"I{pages[0].axes}"
    while len(shape) > 3 and 1 in shape:
        place = shape.index(1)
        shape, axes = shape[:place] + shape[place + 1 :], axes[:place] + axes[place + 1 :]
    order = "".join({"Y": "H", "X": "W"}.get(axis, "B") for axis in axes)
    if len(shape) == 3 and sorted(order) != ["B", "H", "W"]:
        order = "BHW"
    return tuple(shape), order


def _has_alpha(page: tifffile.TiffPage) -> bool:
    """Whether the last sample says where the picture is; of RGBA, people mean four bands."""
    last = page.extrasamples[-1] if page.extrasamples else 0
    many = page.samplesperpixel > 4 or page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
    return int(last) in (1, 2) and many and page.samplesperpixel > 1


def _doubt(file: tifffile.TiffFile, shape: tuple[int, ...], axes: str) -> list[str]:
    """A page for each row is what Python writes of an array [H, W, B]."""
    if len(shape) != 3 or axes != "BHW" or shape[2] >= min(shape[:2]) or len(file.pages) == 1:
        return []
    bands, height, width = shape
    return [
        f"read as {bands} bands (pages) x {height} x {width}; say axes='HWB' if the pages are rows"
    ]


def _load(path: Path, pages: list[int], shape: tuple[int, ...]) -> np.ndarray:
    with _opened(path) as file:
        if len(file.series) == 1 or len(pages) == 1:
            return file.series[0].asarray().reshape(shape)
        return np.stack([file.pages[page].asarray() for page in pages])


@contextmanager
def _mapped(
    path: Path, dtype: np.dtype, offset: int, shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """The numbers of a file that lie together as they are."""
    yield np.memmap(path, dtype, "r", offset, shape)


@contextmanager
def _windows_of_gdal(path: Path, axes: str) -> Iterator[Readable]:
    """The samples of an only page, in the order of tifffile."""
    geo = load_module(path, "geo")
    with geo.open_windows(path) as windows:  # type: ignore[attr-defined]
        yield Turned(windows, tuple("BHW".index(axis) for axis in axes))


def _without(load: Any, place: int, number: int) -> np.ndarray:
    return np.delete(load(), number, axis=place)


def _alpha(load: Any, axes: str, number: int) -> np.ndarray:
    return load().take(number, axis=axes.index("B")) > 0


def _sidecars(path: Path) -> bool:
    return any(path.with_name(path.name + ending).exists() for ending in (".aux.xml", ".msk"))


def _envi_sidecar(path: Path) -> dict[str, Any]:
    """What an ENVI header beside it says of its wavelengths."""
    for place in (path.with_name(f"{path.name}.hdr"), path.with_suffix(".hdr")):
        if place.is_file() and is_sidecar(place):
            return describe_sidecar(place)
    return {}


def _next_page(file: tifffile.TiffFile, page: tifffile.TiffPage) -> int:
    """Where a page says that the next one starts: 0 after the last; tifffile passes over others."""
    layout, handle = file.tiff, file.filehandle
    handle.seek(page.offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(page.offset + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return offset


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes one image of separate bands; see `create`."""
    with create(path, scene) as numbers:
        numbers[...] = array


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[np.ndarray]:
    """Makes one image of separate bands, which GDAL sees as such, with GDAL's tags, and gives it.

    A georeference needs rasterio.
    """
    file = scene.file
    tags: list[tuple[int, int, int, str, bool]] = [
        (GDAL_METADATA, 2, 0, _metadata(scene), True),
    ]
    if file.nodata is not None:
        tags.append((GDAL_NODATA, 2, 0, f"{file.nodata:.17g}", True))
    tifffile.imwrite(
        path,
        shape=scene.shape,
        dtype=scene.dtype.newbyteorder("="),
        photometric="minisblack",
        planarconfig="separate" if scene.shape[0] > 1 else None,
        bigtiff=scene.nbytes >= 2**32 - 2**25,
        metadata=None,
        extratags=tags,
    )
    with tifffile.TiffFile(path) as made:
        offset = made.pages[0].aspage().dataoffsets[0]
    with mapped(path, scene.dtype.newbyteorder("="), offset, scene.shape) as array:
        yield array
    if file.georeference is not None:
        geo = load_module(path, "geo")
        geo.add_georeference(path, file.georeference)  # type: ignore[attr-defined]


def _metadata(scene: Outgoing) -> str:
    """GDAL's XML: the wavelengths as its domain IMAGERY has them, and as people look for them."""
    items = []
    bands = range(scene.shape[0])
    if scene.wavelengths is not None:
        for band, nm in zip(bands, scene.wavelengths, strict=True):
            items.append(_item("CENTRAL_WAVELENGTH_UM", f"{nm / 1e3:.12g}", band, "IMAGERY"))
            items.append(_item("wavelength", f"{nm:.12g}", band))
            items.append(_item("wavelength_units", "nanometers", band))
    if scene.fwhm is not None:
        for band, nm in zip(bands, scene.fwhm, strict=True):
            items.append(_item("FWHM_UM", f"{nm / 1e3:.12g}", band, "IMAGERY"))
    for role, value in (("scale", scene.file.scale_factor), ("offset", scene.file.add_offset)):
        if value is not None:
            items += [_item(role.upper(), repr(value), band, role=role) for band in bands]
    native = {"axes", "nodata", "crs", "transform", "scale_factor", "add_offset"}
    note = write_note(scene, native)
    if note:
        items.append(f'<Item name="{NAME}">{escape(note)}</Item>')
    return f"<GDALMetadata>{''.join(items)}</GDALMetadata>"


def _item(name: str, value: str, band: int, domain: str = "", role: str = "") -> str:
    domain = f' domain="{domain}"' if domain else ""
    role = f' role="{role}"' if role else ""
    return f'<Item name="{name}" sample="{band}"{domain}{role}>{escape(value)}</Item>'
