"""Which ENVI header belongs to which file of numbers."""

import re
from pathlib import Path

import numpy as np

from datamodules.formats import header_of
from datamodules.formats.envi_header import Header
from datamodules.scene import DataError

# Endings of what lies beside a header and holds no numbers of it.
OTHER_ENDINGS = (
    ".hdr", ".mat", ".h5", ".hdf5", ".he5", ".nc", ".nc4", ".hdf", ".npz", ".npy", ".tif", ".tiff",
    ".exr", ".xml", ".txt", ".json", ".yaml", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".csv",
    ".md", ".log", ".sha256", ".ovr", ".enp", ".sta", ".prj", ".pdf", ".gz", ".zip", ".html",
    ".tfw", ".wld", ".part", ".py", ".xlsx", ".doc", ".docx", ".kml", ".shp", ".dbf", ".shx",
    ".roi", ".bak", ".tmp",
)  # fmt: skip


def find_pair(path: Path) -> tuple[Header, Path, list[str]]:
    """The header and the data file that belong to either, and what is doubtful of it."""
    if path.is_symlink() and not (data_files(path) if _is_header(path) else header_of(path)):
        path = path.resolve()  # the other one lies beside the file itself
    if _is_header(path):
        header = Header(path)
        data = data_files(path)
        if len(data) > 1:
            data = [file for file in data if _fits(header, file)] or data
        if len(data) != 1:
            raise DataError(
                f"{path}: beside this header there must be one data file, {path.stem} with any "
                f"ending such as .img or none; there are {len(data)}: "
                f"{', '.join(f.name for f in data)}; give the path of the data file"
            )
        return header, data[0], []
    place = header_of(path)
    if place is None:
        raise DataError(
            f"{path}: there is no ENVI header {path.with_suffix('.hdr').name} or {path.name}.hdr "
            "beside it"
        )
    header, notes = Header(place), []
    others = [file for file in data_files(place) if file != path]
    fitting = [file.name for file in others if _fits(header, file)]
    if fitting and not _fits(header, path):
        raise DataError(
            f"{path}: {place.name} beside it is of {' or '.join(fitting)}: sizes differ; give it a "
            f"header of its own, {path.name}.hdr"
        )
    if fitting:
        notes.append(f"{place.name} may be of {' or '.join(fitting)} as well")
    return header, path, notes


def _is_header(path: Path) -> bool:
    return path.suffix.lower() == ".hdr"


def data_files(header: Path) -> list[Path]:
    """What may hold the numbers of a header; a file with a header of its full name is left out."""
    stem = header.stem
    found = []
    for file in sorted(header.parent.iterdir()):
        ending = file.name[len(stem) :]
        if not file.name.startswith(stem) or not re.fullmatch(r"|\.[^.]+", ending):
            continue
        if ending.lower() in OTHER_ENDINGS or not file.is_file():
            continue
        own = header_of(file)
        if ending and own is not None and own.stem == file.name and own != header:
            continue
        found.append(file)
    return found


def _fits(header: Header, data: Path) -> bool:
    numbers = int(np.prod([header.number(k, default=0) for k in ("bands", "lines", "samples")]))
    size = header.number("header offset", default=0) + numbers * header.dtype.itemsize
    return data.stat().st_size == size


def is_sidecar(header: Path) -> bool:
    """Whether a header only describes a TIFF beside it, which has its name."""
    names = (header.stem, f"{header.stem}.tif", f"{header.stem}.tiff")
    tiffs = [header.with_name(name) for name in names if name.lower().endswith((".tif", ".tiff"))]
    return not data_files(header) and any(tiff.exists() for tiff in tiffs)


def new_header(data: Path) -> str:
    """The name of the header: that without the ending, unless another file lays claim to it."""
    own = header_of(data)
    if own is not None and own.stem == data.name:
        return own.name
    return f"{data.name if others_beside(data) else data.stem}.hdr"


def others_beside(data: Path) -> list[str]:
    """Files beside it that have, or would take, the header without an ending for their own."""
    if not data.parent.is_dir():
        return []
    short = data.with_suffix(".hdr")
    names = [file.name for file in data_files(short) if file.name != data.name]
    sidecar = [data.with_suffix(ending) for ending in (".tif", ".tiff")]
    return names + [file.name for file in sidecar if file.exists() and short.exists()]
