"""Big files: their SHA-256 without reading them at every run, and the room that they take."""

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rich.filesize import decimal

from datamodules.scene import DataError


def sha256(path: Path) -> str:
    """SHA-256 of a file, from the note beside it unless size or time of the file have changed."""
    known = _note_of(path)
    if known.exists():
        found = re.fullmatch(r"# (\S+ \S+)\n([0-9a-f]{64})  .*\n", known.read_text())
        if found and found[1] == _state(path):
            return found[2]
    digest = compute_sha256(path)
    with suppress(OSError):  # a shared folder that is only for reading
        note_sha256(path, digest)
    return digest


def compute_sha256(path: Path) -> str:
    """SHA-256 of a file, read from end to end; nothing is noted."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def note_sha256(path: Path, digest: str) -> None:
    """Writes ``<name>.sha256``, which ``sha256sum --check`` reads too."""
    _note_of(path).write_text(f"# {_state(path)}\n{digest}  {path.name}\n")


def require_space(
    folder: Path,
    needed: int,
    name: str,
    remedy: str = "let DATA_ROOT name a folder on another disk",
) -> None:
    """Refuses to begin what will not fit.

    Raises:
        DataError: If fewer than ``needed`` bytes are free where ``folder`` is.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: {name} needs {decimal(needed)} and {decimal(free)} are free; make room, or "
            f"{remedy}"
        )


def take_room(file: BinaryIO, size: int) -> None:
    """Makes an open file so long, with its room on the disk.

    A full disk is told here, and not later by a bus error in what is mapped.

    Raises:
        OSError: If the disk is too small.
    """
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    file.truncate(size)


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _state(path: Path) -> str:
    status = path.stat()
    return f"size={status.st_size} mtime_ns={status.st_mtime_ns}"
