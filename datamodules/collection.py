"""What a publisher offers, and where it lies on disk."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.filesize import decimal

from datamodules.fetch import RemoteFile
from datamodules.formats import FORMATS, find_format, header_of
from datamodules.formats.envi_pair import is_sidecar
from datamodules.readers import read_cube
from datamodules.scene import DataError
from datamodules.stored import CONVERTER, Excerpt

Cube = tuple[np.ndarray, np.ndarray | None]  # values [B, H, W] and wavelengths
Files = Mapping[str, Sequence[Path]]  # by name, as `list_files` gives them
SPLITS = Path(__file__).parent / "splits"


class Measurements(NamedTuple):
    """The usable bands of a file, in its own units.

    Attributes:
        values: [B, H, W], finite everywhere.
        wavelengths: In nm [B], or None.
        valid: Which pixels hold measurements, [H, W]; None for all.
        notes: What is to be told.
    """

    values: np.ndarray
    wavelengths: np.ndarray | None = None
    valid: np.ndarray | None = None
    notes: Sequence[str] = ()


def data_root() -> Path:
    """The folder of all datasets: ``$DATA_ROOT``, or ``data``."""
    return Path(os.environ.get("DATA_ROOT") or "data")


@cache
def scene_list(name: str) -> tuple[str, ...]:
    """The scene names of a list that comes with the package, e.g. ``icvl_train``."""
    return tuple((SPLITS / f"{name}.txt").read_text().split())


@dataclass(frozen=True)
class Download:
    """A file to fetch, and the scenes that it holds.

    Attributes:
        file: Where it is; without addresses, people fetch it by hand.
        scenes: Names of those that it brings.
        archive: Whether it is unpacked, into a folder of its name without the endings.
    """

    file: RemoteFile
    scenes: tuple[str, ...]
    archive: bool = False


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The scenes of a publisher: facts only.

    Attributes:
        name: Of the folder below ``DATA_ROOT``.
        title: What people call it, and the paper.
        page: Where the publisher describes it.
        terms: On which it may be used, as far as known.
        scenes: The parts to keep, by the names of the scenes.
        extra: Those of the scenes that only protocols other than the usual one need.
        shape: [B, H, W] of the publisher's scenes, upright; None where they differ.
        values: Smallest and largest value to expect; what lies beyond is told.
        size: Of the downloads, in bytes, without those of the extra scenes.
        downloads: What is fetched.
        wavelengths: In nm, used where a file has none.
        sources: The file that each scene comes from, by its name without the ending, or for files
            of one name in several folders, ``folder/name``; by default the scene's name.
        read: The publisher's file -> values [B, H, W], upright, and wavelengths.
        raw: The publisher's files, if not in the folder of this name.
    """

    name: str
    title: str
    page: str
    terms: str
    scenes: Mapping[str, Excerpt]
    shape: tuple[int, int, int] | None
    extra: frozenset[str] = frozenset()
    values: tuple[float, float] = (-np.inf, np.inf)
    size: int = 0
    downloads: Sequence[Download] = ()
    wavelengths: np.ndarray | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[Path], Cube] = read_cube
    raw: Path | None = None

    @property
    def raw_folder(self) -> Path:
        """The publisher's files, as they come."""
        return self.raw or data_root() / self.name / "raw"

    @property
    def prepared_folder(self) -> Path:
        """What training reads, a folder per scene."""
        return data_root() / self.name / "prepared"

    @property
    def command(self) -> str:
        """What prepares it."""
        return f"make data DATASET={self.name}"

    def command_for(self, names: Sequence[str]) -> str:
        """What prepares these scenes."""
        return f"{self.command} ARGS=--all" if self.extra.intersection(names) else self.command

    def source_of(self, scene: str) -> str:
        """The file of a scene, without folder and ending."""
        return self.sources.get(scene, scene)

    def find(self, files: Files, scene: str) -> Path | None:
        """The file of a scene among the ``list_files`` of the raw folder; None if it is not there.

        Raises:
            DataError: If several could be it.
        """
        found = files.get(self.source_of(scene), ())
        if len(found) > 1:
            raise DataError(
                f"two files for one scene: {' and '.join(map(str, found))}; keep one of them"
            )
        return found[0] if found else None

    def measurements(self, path: Path) -> Measurements:
        """What a file holds; the publisher's files have no gaps, so these are damage."""
        cube, wavelengths = self.read(path)
        return Measurements(cube, wavelengths)

    def is_current(self, manifest: dict[str, Any] | None, scene: str) -> bool:
        """Whether a scene's manifest is of this converter and this excerpt."""
        if manifest is None or manifest["converter"] != CONVERTER:
            return False
        excerpt = asdict(self.scenes[scene])
        return manifest["excerpt"] == json.loads(json.dumps(excerpt))

    def absent(self) -> str:
        """What to say of scenes that have no file."""
        return (
            f"no file of this name in {self.raw_folder}; put it there and run {self.command} again "
            f"(page: {self.page})"
        )

    def missing(self, names: Sequence[str], split: str) -> DataError:
        """The error for a split of which no scene is prepared."""
        return DataError(
            f"{self.title} is not prepared: no scene of its {split} split is in "
            f"{self.prepared_folder}\n"
            f"  {self.command_for(names)}   gets it ({decimal(self.size)}), or takes the files "
            f"that you put into {self.raw_folder}\n"
            f"  page: {self.page}   terms: {self.terms}\n"
            "  DATA_ROOT=<folder> keeps all data elsewhere"
        )


def list_files(raw: Path) -> Files:
    """The scenes' files anywhere below a folder, by name without ending, and by ``folder/name``.

    A folder of PNGs is one file; of an ENVI pair, the header is, and numbers without one are none.
    Headers that only describe a TIFF beside them are left out, as are links that lead nowhere and
    what macOS adds to archives.
    """
    endings = {e for known in FORMATS if known.module != "envi" for e in known.endings} | {".hdr"}
    files: dict[str, list[Path]] = {}
    for path in sorted(raw.rglob("*")):
        parts = path.relative_to(raw).parts
        if any(p.startswith((".", "__MACOSX")) or p.endswith(".part") for p in parts):
            continue
        if any(p.lower().endswith(".zarr") for p in parts[:-1]):
            continue  # within a store
        if path.suffix.lower() == ".zarr":
            if not path.is_dir():
                continue
        elif path.is_dir():
            if not any(f.suffix.lower() == ".png" for f in path.iterdir()):
                continue
        elif not path.exists() or not _is_scene_file(path, endings):
            continue
        name = path.name if path.is_dir() and path.suffix.lower() != ".zarr" else path.stem
        for key in (name, f"{path.parent.name}/{name}"):
            files.setdefault(key, []).append(path)
    return files


def _is_scene_file(path: Path, endings: set[str]) -> bool:
    ending = path.suffix.lower()
    if ending == ".hdr":
        return not is_sidecar(path)
    if ending == ".pix":  # GDAL's, unless it is the data file of an ENVI header
        return header_of(path) is None
    if ending == ".img" and header_of(path) is None:  # ERDAS, if it is anything
        return find_format(path).module == "geo"
    return ending in endings
