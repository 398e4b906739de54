"""Scenes -> files, in the format of the path's ending; `read_scene` reads each of them back."""

import tempfile
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from datamodules.file_facts import FileFacts
from datamodules.formats import FOLDERS, Format, Outgoing, find_format, load_module
from datamodules.formats.axes import is_order
from datamodules.formats.note import NAME
from datamodules.scene import DataError, Scene


def write_scene(
    scene: Scene,
    path: str | PathLike[str],
    key: str | None = None,
    axes: str | None = None,
    dtype: str | None = None,
) -> Path:
    """Writes a scene in its file's units, ``cube * gain + offset``, as its file has it.

    That is the type of the file's numbers (whole ones are rounded), the order of its axes, nodata,
    bad bands, wavelengths, widths, georeference and the other fields of its header. Where a format
    has no place of its own for one of these, it is noted as a text that `read_scene` understands.
    A scene of no file becomes float32. A path without an ending becomes a folder of PNGs, rounded
    to whole counts.

    The file appears whole or not at all; one that is there already is replaced, a folder is not.
    An ENVI header that is another file's is never replaced: the new one has the full name of the
    data, such as x.img.hdr.

    Args:
        scene: What to write.
        path: Where to; missing folders above it are made.
        key: Name of the cube in a .mat, .h5 or .npz file; that in its own file by default, or data.
        axes: Order of the axes in a .mat, .h5, .npz or .npy file; that of its own file where it is
            of the same format, else "HWB" in .mat and "BHW" in the others.
        dtype: Type of the numbers, such as "float32"; that of its file by default.

    Returns:
        The path.

    Raises:
        DataError: If the format is unknown or cannot hold this scene.
    """
    path = Path(path)
    file = scene.file or FileFacts()
    kind = np.dtype(dtype or file.dtype)
    known, order = choose_format(path, file, key, axes, kind)
    values = scene.in_file_units(kind)
    file = replace(file, key=key or file.key, axes=order, dtype=kind, nodata=_nodata(scene, kind))
    array = np.ascontiguousarray(values.transpose(["BHW".index(axis) for axis in order]))
    module = load_module(path, known.module)
    path.parent.mkdir(parents=True, exist_ok=True)
    outgoing = Outgoing(array.shape, file, path, scene.wavelengths, scene.fwhm, scene.bad_bands)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
        module.write(Path(aside) / path.name, array, outgoing)
        move_into_place(Path(aside), path)
    return path


def choose_format(
    path: Path, file: FileFacts, key: str | None, axes: str | None, dtype: np.dtype
) -> tuple[Format, str]:
    """The format of a new file and the order of its axes.

    Raises:
        DataError: As `write_scene`.
    """
    known = find_format(path)
    if path.suffix.lower() == ".img" and known.module == "geo":
        known = find_format(path.with_suffix(".hdr"))  # an ERDAS file is replaced by an ENVI one
    if axes is not None and not (known.free and is_order(axes)):
        choices = (
            "pass an order of B, H and W" if known.free else "this format has its own; leave it out"
        )
        raise DataError(f"{path}: axes={axes!r}; {choices}")
    if known.keyed and key in ("", "wavelengths", "fwhm", "axes", NAME):
        raise DataError(f"{path}: key={key!r} cannot name the cube; pass another")
    if known.module in FOLDERS and path.exists():
        raise DataError(f"{path}: is there already; remove it or choose another name")
    if dtype.kind not in "iuf":
        raise DataError(f"{path}: dtype={dtype}; pass a type of real numbers such as 'float32'")
    same = file.format == known.module and known.free
    return known, axes or (file.axes if same else known.axes)


def move_into_place(aside: Path, path: Path) -> None:
    """Gives the parts of a file their names; an ENVI header comes last.

    Without it nobody takes the data for whole.
    """
    for part in sorted(aside.iterdir(), key=lambda part: part.suffix.lower() == ".hdr"):
        part.replace(path.with_name(part.name))


def _nodata(scene: Scene, dtype: np.dtype) -> float | None:
    """What stands for nothing in the file: as declared, or NaN where something is missing."""
    if scene.file is not None and scene.file.nodata is not None:
        return scene.file.nodata
    return float("nan") if scene.valid is not None and dtype.kind == "f" else None
