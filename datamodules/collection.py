"""What a publisher offers, and where it lies on disk."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from datamodules.fetch import RemoteFile
from datamodules.formats import FORMATS
from datamodules.readers import read_cube
from datamodules.scene import DataError
from datamodules.stored import CONVERTER, Excerpt

Cube = tuple[np.ndarray, np.ndarray | None]  # values [B, H, W] and wavelengths
Files = Mapping[str, Sequence[Path]]  # by name, as `list_files` gives them
SPLITS = Path(__file__).parent / "splits"


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
    Links that lead nowhere are left out, and what macOS adds to archives.
    """
    endings = {e for known in FORMATS if known.module != "envi" for e in known.endings} | {".hdr"}
    files: dict[str, list[Path]] = {}
    for path in sorted(raw.rglob("*")):
        parts = path.relative_to(raw).parts
        if any(p.startswith((".", "__MACOSX")) or p.endswith(".part") for p in parts):
            continue
        if path.is_dir():
            if not any(f.suffix.lower() == ".png" for f in path.iterdir()):
                continue
        elif path.suffix.lower() not in endings or _has_header(path) or not path.exists():
            continue
        name = path.name if path.is_dir() else path.stem
        for key in (name, f"{path.parent.name}/{name}"):
            files.setdefault(key, []).append(path)
    return files


def _has_header(path: Path) -> bool:
    """Whether it is the data file of an ENVI header, as a .pix may be; a .mat beside one is not."""
    headers = (path.with_suffix(".hdr"), path.with_name(path.name + ".hdr"))
    return path.suffix.lower() == ".pix" and any(header.exists() for header in headers)
