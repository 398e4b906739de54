"""What a prepared scene was made from, so that a change of it is noticed."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from datamodules.files import compute_sha256
from datamodules.scene import DataError


@dataclass(frozen=True)
class Source:
    """The publisher's file, or folder of files, that a scene was made from.

    Attributes:
        path: Below the raw folder.
        size: In bytes.
        mtime_ns: Time of the last change.
        sha256: Of the file; of several files, over their names and hashes.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path, raw: Path) -> Self:
        """Reads the whole file.

        Raises:
            DataError: If it cannot be read.
        """
        try:
            size, mtime_ns = state(path)
            return cls(str(path.relative_to(raw)), size, mtime_ns, _hash(path))
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error}); check its permissions, or copy it again"
            ) from error

    def untouched(self, path: Path) -> bool:
        """Whether size and time of the file are those noted."""
        return state(path) == (self.size, self.mtime_ns)


def state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change, of all files that make the source."""
    states = [file.stat() for file in _files(path)]
    return sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)


def _files(path: Path) -> list[Path]:
    """The file; those of a folder; or an ENVI header and what lies beside it under its name."""
    if path.is_dir():
        return sorted(f for f in path.rglob("*") if f.is_file() and f.name[0] != ".")
    if path.suffix.lower() == ".hdr":
        beside = (f for f in path.parent.iterdir() if path.stem in (f.stem, f.name))
        return sorted(f for f in beside if f.is_file())
    return [path]


def _hash(path: Path) -> str:
    files = _files(path)
    if files == [path]:
        return compute_sha256(path)
    folder = path if path.is_dir() else path.parent
    hashes = {str(file.relative_to(folder)): compute_sha256(file) for file in files}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
