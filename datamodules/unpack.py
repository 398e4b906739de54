"""Archives -> folders that are whole or not there."""

import errno
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from datamodules.files import require_space, sha256
from datamodules.scene import DataError

CHUNK = 1 << 20  # bytes
NOTE = ".unpacked"  # in the folder: the SHA-256 of the archive that it comes from
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, ValueError)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a zip or tar(.gz) archive into a folder of its own, unless it is there already.

    The files are written to ``<folder>.part``, which is renamed at the end: a folder under its own
    name is whole. One that comes from an older archive is replaced.

    Raises:
        DataError: If the archive is damaged, if it would write links or outside the folder, if it
            does not fit on the disk, or if the folder holds something else.
    """
    if archive.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{archive} lies in {folder}, into which it would be unpacked; move it out")
    digest = sha256(archive)
    note = folder / NOTE
    if note.exists():
        if note.read_text().strip() == digest:
            return folder
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(
            f"{folder} holds files that do not come from {archive}; move them elsewhere and run "
            "the same command again"
        )
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _extract(archive, aside)
        (aside / NOTE).write_text(digest + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except OSError as error:
        raise DataError(
            f"{aside} cannot be written ({error}); make room there, or let DATA_ROOT name another "
            "folder, and run the same command again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    with archive.open("rb") as stream:
        members = _zip_members if stream.read(2) == b"PK" else _tar_members
    try:
        for name, source in members(archive, folder):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK)
    except DataError:
        raise
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's, not the archive's
        raise DataError(
            f"{archive} is cut short or damaged ({error}); delete it and run the same command "
            "again to fetch it anew"
        ) from error
    except RuntimeError as error:  # a password, or a method that zipfile does not know
        raise DataError(
            f"{archive} cannot be unpacked here ({error}); unpack it elsewhere and zip it anew"
        ) from error


def _zip_members(archive: Path, folder: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        files = [member for member in opened.infolist() if not member.is_dir()]
        require_space(folder, sum(member.file_size for member in files), archive.name)
        for member in files:
            kind = stat.S_IFMT(member.external_attr >> 16)
            regular = kind in (0, stat.S_IFREG)
            yield _inside(archive, member.filename, regular), opened.open(member)


def _tar_members(archive: Path, folder: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    require_space(folder, archive.stat().st_size, archive.name)
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            name = _inside(archive, member.name, member.isreg())
            source = opened.extractfile(member)
            assert source is not None  # as for every regular file
            yield name, source
        _require_end(opened)


def _require_end(opened: tarfile.TarFile) -> None:
    """Two blocks of zeros and nothing else: tarfile takes a cut or garbled header for the end."""
    assert opened.fileobj is not None
    whole = opened.fileobj.tell() >= opened.offset + tarfile.BLOCKSIZE
    while whole and (block := opened.fileobj.read(CHUNK)):
        whole = not any(block)
    if not whole:
        raise tarfile.ReadError("no end of the archive")


def _inside(archive: Path, name: str, regular: bool) -> PurePosixPath:
    """A member's path, if it is a file within the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    rooted = path.is_absolute() or PureWindowsPath(name).drive
    if not regular or rooted or ".." in path.parts or not path.parts:
        raise DataError(
            f"{archive}: {name!r} is a link, or leads out of the folder; nothing was unpacked. "
            "Delete the archive, and fetch it from a source that you trust"
        )
    return path
