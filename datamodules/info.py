"""The command behind `make info`: what a file is taken for."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.file_facts import FileFacts
from datamodules.formats import Content
from datamodules.nodata import valid_range
from datamodules.readers import RawCube, describe, number_ranges, read_raw
from datamodules.scene import DataError, describe_share

NAMES = {
    "envi": "ENVI",
    "exr": "OpenEXR",
    "geo": "PCIDSK or ERDAS",
    "hdf5": "HDF5",
    "matlab": "MATLAB",
    "npy": "NumPy .npy",
    "npz": "NumPy .npz",
    "png_folder": "folder of PNGs",
    "tiff": "TIFF",
    "zarr_store": "Zarr",
}
SHOWN = 60  # characters of a field of a header


def inform(
    path: Path, key: str | None = None, axes: str | None = None, nodata: str | None = None
) -> list[tuple[str, str]]:
    """What a file is taken for: pairs of a topic and what there is to say.

    Raises:
        DataError: As `read_scene`.
    """
    raw = read_raw(path, key, axes, nodata)
    found = describe(path, key, axes)
    file = raw.file or FileFacts()
    lines = [("format", _format(file)), ("size", _size(raw, file, found))]
    lines.append(("values", _values(raw)))
    if file.nodata is not None or raw.valid is not None:
        share = "none of them here" if raw.valid is None else describe_share(raw.valid)
        number = "" if file.nodata is None else f"{file.nodata:g}: "
        lines.append(("nodata", f"{number}{share}"))
    if raw.bad_bands:
        lines.append(("bad bands", f"{len(raw.bad_bands)}: {number_ranges(raw.bad_bands)}"))
    lines.append(("wavelengths", _lengths(raw.wavelengths)))
    if raw.fwhm is not None:
        lines.append(("FWHM", _lengths(raw.fwhm)))
    if file.scale_factor is not None or file.add_offset is not None:
        factor, offset = file.scale_factor or 1.0, file.add_offset or 0.0
        lines.append(("scale", f"x {factor:g} + {offset:g} gives physical units; not applied"))
    place = file.georeference
    if place is not None:
        lines.append(("place", _place(place.crs, place.transform)))
    lines += [("header", line) for line in _header(file.header)]
    return lines + [("note", note) for note in raw.notes]


def _format(file: FileFacts) -> str:
    parts = [NAMES.get(file.format, file.format), file.interleave, f"{file.dtype}"]
    parts += [f"variable {file.key}"] if file.key else []
    return ", ".join(part for part in parts if part)


def _size(raw: RawCube, file: FileFacts, found: Content) -> str:
    bands, height, width = raw.values.shape
    held = f"{' x '.join(map(str, found.shape))} is {file.axes}: {found.why}"
    return f"{bands} bands x {height} rows x {width} columns ({held})"


def _values(raw: RawCube) -> str:
    limits = valid_range(raw.values, raw.valid, raw.bad_bands)
    return "no valid one" if limits is None else f"{limits[0]:g} to {limits[1]:g}"


def _lengths(values: np.ndarray | None) -> str:
    if values is None:
        return "unknown"
    return f"{values[0]:g} to {values[-1]:g} nm" if len(values) > 1 else f"{values[0]:g} nm"


def _place(crs: str | None, transform: Sequence[float] | None) -> str:
    name = "no coordinate system" if crs is None else crs.split('"')[1] if '"' in crs else crs
    if transform is None:
        return name
    a, b, x, d, e, y = transform
    return (
        f"{name}, pixels of {np.hypot(a, d):g} x {np.hypot(b, e):g}, corner at {x:.10g}, {y:.10g}"
    )


def _header(header: Mapping[str, object]) -> list[str]:
    texts = {key: " ".join(str(value).split()) for key, value in header.items()}
    return [f"{k} = {t[:SHOWN]}{' ..' if len(t) > SHOWN else ''}" for k, t in texts.items()]


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0, or 2 for a file that cannot be read.
    """
    parser = argparse.ArgumentParser(prog="ras2s info", description=__doc__)
    parser.add_argument("file", help="a file of a scene, or a folder of PNGs")
    parser.add_argument("--key", help="variable of a .mat, .h5 or .npz file, such as hsi/Data")
    parser.add_argument("--axes", help="order of the file's axes, such as HWB")
    parser.add_argument("--nodata", help="the number that stands for nothing, or none")
    options = parser.parse_args(args)
    try:
        lines = inform(Path(options.file), options.key, options.axes, options.nodata)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(options.file)  # noqa: T201
    for topic, text in lines:
        print(f"  {topic:<12}{text}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
