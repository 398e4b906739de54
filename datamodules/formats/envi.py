"""ENVI: a text header .hdr and a file of raw numbers in any interleave and byte order."""

import gzip
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.file_facts import Georeference
from datamodules.formats.content import Content, Outgoing, mapped, reading
from datamodules.formats.envi_header import NUMBER_OF, Field, Header, format_header
from datamodules.formats.envi_pair import find_pair, new_header, others_beside
from datamodules.formats.map_info import map_info_of, parse_map_info
from datamodules.formats.wavelengths import Lengths, find_unit, parse_list
from datamodules.scene import DataError, NoCubeError

SHAPES = {"bsq": "BHW", "bil": "HBW", "bip": "HWB"}  # axes as the numbers follow each other
OWN = frozenset(  # fields that are written from what is known of the scene
    (
        "samples", "lines", "bands", "header offset", "file type", "data type", "interleave",
        "byte order", "wavelength", "wavelengths", "wavelength units", "fwhm", "bbl",
        "data ignore value", "reflectance scale factor", "file compression",
        "major frame offsets", "minor frame offsets",
    )
)  # fmt: skip
GZIP = b"\x1f\x8b"


def read(path: Path, key: str | None) -> Content:
    """Reads the header, and later the numbers as they are stored: no scale factor is applied."""
    with reading(path, "ENVI"):
        header, data, notes = find_pair(path)
        kind = header.get("file type")
        if kind is not None and "spectral library" in kind.text.lower():
            raise NoCubeError(f"{header.path}: is a spectral library, not an image")
        dtype = header.dtype
        interleave = header.interleave(data.suffix[1:].lower())
        sizes = _sizes(header)
        load = partial(_load, header, data, dtype, interleave, sizes)
        _check_size(header, data, dtype, sizes, notes)
        if kind is not None and "classification" in kind.text.lower():
            notes.append(f"{header.path.name} calls its numbers classes, not measurements")
        wavelengths, said = _wavelengths(header)
        notes += header.notes + said
        return Content(
            sizes,
            dtype,
            load,
            open=None if _is_compressed(header, data) else partial(_opened, load),
            axes="BHW",
            wavelengths=wavelengths,
            widths=_widths(header),
            nodata=_nodata(header),
            bad_bands=_bad_bands(header, sizes[0], notes),
            interleave=interleave,
            scale_factor=_scale_factor(header),
            georeference=_georeference(header),
            header={k: _verbatim(f) for k, f in header.fields.items() if k not in OWN},
            notes=notes,
        )


def _verbatim(field: Field) -> str:
    return f"{{{field.text}}}" if field.is_list else field.text


def _sizes(header: Header) -> tuple[int, int, int]:
    bands, lines, samples = (header.number(k, least=1) for k in ("bands", "lines", "samples"))
    for key in ("major frame offsets", "minor frame offsets"):
        field = header.get(key)
        if field is not None and any(item not in ("0", "") for item in field.items):
            raise header.error(
                field, f"says {key} = {field.text}: numbers between the frames are not read"
            )
    return bands, lines, samples


def _load(
    header: Header, data: Path, dtype: np.dtype, interleave: str, sizes: tuple[int, int, int]
) -> np.ndarray:
    """The numbers as a view [B, H, W]; nothing is read before it is looked at."""
    axes = SHAPES[interleave]
    shape = tuple(sizes["BHW".index(axis)] for axis in axes)
    offset = header.number("header offset", default=0)
    if _is_compressed(header, data):
        with reading(data, "gzip"):
            content = gzip.decompress(data.read_bytes())
        _require(header, data, len(content), offset, dtype, sizes, "uncompressed ")
        array = np.frombuffer(content, dtype, int(np.prod(sizes)), offset).reshape(shape)
    else:
        array = np.asarray(np.memmap(data, dtype, "r", offset, shape))
    return array.transpose([axes.index(axis) for axis in "BHW"])


@contextmanager
def _opened(load: Callable[[], np.ndarray]) -> Iterator[np.ndarray]:
    yield load()  # a view of the file


def _is_compressed(header: Header, data: Path) -> bool:
    if header.number("file compression", default=0) == 0:
        return False
    with data.open("rb") as file:
        return file.read(2) == GZIP


def _check_size(
    header: Header, data: Path, dtype: np.dtype, sizes: tuple[int, int, int], notes: list[str]
) -> None:
    if _is_compressed(header, data):
        return
    offset = header.number("header offset", default=0)
    found = data.stat().st_size
    more = _require(header, data, found, offset, dtype, sizes)
    if more:
        notes.append(f"{data.name} has {more} bytes behind its numbers; they are not read")


def _require(
    header: Header,
    data: Path,
    found: int,
    offset: int,
    dtype: np.dtype,
    sizes: tuple[int, int, int],
    kind: str = "",
) -> int:
    """Compares the size of the data with the header; gives the bytes that are left over."""
    numbers = sizes[0] * sizes[1] * sizes[2]
    expected = offset + numbers * dtype.itemsize
    said = (
        f"{found} {kind}bytes, but its header says {expected} (bands x lines x samples "
        f"{' x '.join(map(str, sizes))} of {dtype.itemsize} bytes behind {offset})"
    )
    if found < expected:
        raise DataError(
            f"{data}: {said}; it is cut off: copy it again, or {header.path.name} is of another "
            "file"
        )
    if found - expected >= sizes[2] * dtype.itemsize:  # a whole line or more
        raise DataError(
            f"{data}: {said}; correct 'data type' (line {header.fields['data type'].line}) or the "
            f"sizes in {header.path.name}, or give it its own header"
        )
    return found - expected


def _wavelengths(header: Header) -> tuple[list[Lengths], list[str]]:
    """Band centres of the header, or of the names of its bands."""
    unit = header.get("wavelength units")
    field = header.get("wavelength", "wavelengths")
    where = f"wavelengths in {header.path.name}"
    if field is not None:
        found = parse_list(field.items, f"{where}, line {field.line}", unit.word if unit else "")
        return ([found], []) if isinstance(found, Lengths) else ([], [found])
    names = header.get("band names")
    if names is None:
        return [], []
    return lengths_in_names(names.items, unit.word if unit else "", where), []


def lengths_in_names(names: Sequence[str], unit: str, where: str) -> list[Lengths]:
    """Lengths of names such as "Band 2 (482 Nanometers)", if each has one and a unit is said."""
    beside = re.compile(r"(\d+(?:\.\d+)?)\s*(nanomet\w*|micromet\w*|microns?\b|[nuµμ]m\b)", re.I)
    alone = re.compile(r"\((\d+(?:\.\d+)?)()\)") if find_unit(unit) else beside
    found = [beside.search(name) or alone.search(name) for name in names]
    matches = [match for match in found if match]
    units = {match[2] or unit for match in matches}
    if not matches or len(matches) < len(names) or len(units) > 1:
        return []
    return [Lengths(np.array([float(m[1]) for m in matches]), units.pop(), f"{where}, band names")]


def describe_sidecar(path: Path) -> dict[str, Any]:
    """What a header says of another format's file beside it, as arguments of `Content`."""
    header = Header(path)
    wavelengths, notes = _wavelengths(header)
    return {
        "wavelengths": wavelengths,
        "widths": _widths(header),
        "nodata": _nodata(header),
        "bad_bands": _bad_bands(header, header.number("bands"), notes),
        "notes": notes,
    }


def _widths(header: Header) -> list[Lengths]:
    field, unit = header.get("fwhm"), header.get("wavelength units")
    if field is None:
        return []
    found = parse_list(field.items, "fwhm", unit.word if unit else "")
    return [found] if isinstance(found, Lengths) else []


def _nodata(header: Header) -> tuple[float, ...]:
    field = header.get("data ignore value")
    if field is None:
        return ()
    try:
        return (float(field.word),)
    except ValueError:
        raise header.error(
            field, f"says data ignore value = {field.text}, which is no number"
        ) from None


def _bad_bands(header: Header, bands: int, notes: list[str]) -> tuple[int, ...]:
    field = header.get("bbl")
    if field is None:
        return ()
    try:
        flags = [float(item) for item in field.items]
    except ValueError:
        raise header.error(field, f"says bbl = {field.text[:60]}, expected numbers") from None
    if len(flags) != bands:
        notes.append(
            f"bbl in {header.path.name}, line {field.line}: {len(flags)} for {bands} bands; "
            "left out"
        )
        return ()
    return tuple(band for band, flag in enumerate(flags) if flag <= 0)


def _scale_factor(header: Header) -> float | None:
    """ENVI divides by its factor."""
    field = header.get("reflectance scale factor")
    if field is None:
        return None
    try:
        factor = float(field.word)
    except ValueError:
        factor = 0.0
    if not 0 < factor < np.inf:
        raise header.error(
            field, f"says reflectance scale factor = {field.text}, expected a number above 0"
        )
    return 1 / factor


def _georeference(header: Header) -> Georeference | None:
    place = header.get("map info")
    system = header.get("coordinate system string")
    if place is None and system is None:
        return None
    crs, transform = parse_map_info(place.items) if place else (None, None)
    return Georeference(system.text if system else crs, transform)


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes header and data; see `create`."""
    with create(path, scene) as numbers:
        numbers[...] = array


@contextmanager
def create(path: Path, scene: Outgoing) -> Iterator[np.ndarray]:
    """Writes a header, and gives the data [B, H, W] to be written; the path may be either of them.

    The interleave is that of the ending, else that of the file it was read from, else bsq.
    """
    if path.suffix.lower() == ".hdr":
        header, data = path, path.with_suffix(".img")
        if others := others_beside(scene.target.with_suffix(".img")):
            raise DataError(
                f"{scene.target}: {', '.join(others)} beside it would take this header for its "
                "own; choose another name, or give the path of the data file, such as "
                f"{data.name}"
            )
    else:
        header, data = path.with_name(new_header(scene.target)), path
    ending = data.suffix[1:].lower()
    interleave = ending if ending in SHAPES else scene.file.interleave or "bsq"
    little = scene.dtype.newbyteorder("<")
    if np.dtype(little.str[1:]) not in NUMBER_OF:
        raise DataError(f"{path}: ENVI has no type {scene.dtype}; pass dtype='float32'")
    axes = SHAPES[interleave]
    stored = tuple(scene.shape["BHW".index(axis)] for axis in axes)
    with mapped(data, little, 0, stored) as array:
        yield array.transpose([axes.index(axis) for axis in "BHW"])
    header.write_text(_header_text(scene, interleave), encoding="utf-8")


def _header_text(scene: Outgoing, interleave: str) -> str:
    file = scene.file
    bands, lines, samples = scene.shape
    fields: dict[str, object] = {
        "samples": samples,
        "lines": lines,
        "bands": bands,
        "header offset": 0,
        "file type": "ENVI Standard",
        "data type": NUMBER_OF[np.dtype(scene.dtype.str[1:])],
        "interleave": interleave,
        "byte order": 0,
    }
    lists: dict[str, object] = {}
    if file.nodata is not None:
        fields["data ignore value"] = _shortest(file.nodata)
    if file.scale_factor is not None:
        fields["reflectance scale factor"] = f"{1 / file.scale_factor:.12g}"
    if scene.bad_bands:
        lists["bbl"] = [int(band not in scene.bad_bands) for band in range(bands)]
    if scene.wavelengths is not None:
        fields["wavelength units"] = "Nanometers"
        lists["wavelength"] = [_shortest(value) for value in scene.wavelengths]
    if scene.fwhm is not None:
        lists["fwhm"] = [_shortest(value) for value in scene.fwhm]
    for key, value in file.header.items():
        text = " ".join(str(value).split())
        if key in OWN or "=" in key or not key.strip():
            continue
        if text.startswith("{") and text.endswith("}"):
            lists[key] = text[1:-1]
        elif text:
            fields[key] = text
    if file.georeference is not None and "map info" not in file.header:
        map_info = map_info_of(file.georeference)
        if map_info:
            lists["map info"] = map_info
        if file.georeference.crs and "coordinate system string" not in file.header:
            lists["coordinate system string"] = file.georeference.crs
    return format_header(fields, lists)


def _shortest(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
