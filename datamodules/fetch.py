"""Files from their publishers: verified, from the first mirror that has them, and only once."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.filesize import decimal

from datamodules.download import MirrorError, Part, Sleep, download, refuse_page
from datamodules.files import compute_sha256, note_sha256, require_space, sha256
from datamodules.scene import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file and the places that have it.

    Attributes:
        name: Under which it is kept; no folders.
        urls: http or https, mirrors in order; none where people fetch it by hand.
        sha256: Where known.
        size: In bytes, where known.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name:
            raise DataError(f"remote file {self.name!r}: expected a plain file name")
        schemes = {urlsplit(url).scheme for url in self.urls}
        if schemes - {"http", "https"}:
            raise DataError(f"remote file {self.name}: expected http(s) addresses, got {self.urls}")


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    sleep: Sleep = time.sleep,
    refusing: set[str] | None = None,
) -> Path:
    """Downloads a file, unless it is there and verified.

    An interrupted download goes on where it stopped, at the mirror that it comes from. Only a
    verified file gets its name; a known one is not hashed again until its size or time changes.

    Args:
        file: What to fetch.
        folder: Where it goes; made if missing.
        sleep: Called with the seconds to wait between two tries.
        refusing: Hosts that refused a file before, which are asked last; those that refuse this
            one are added. A publisher's server that is down costs minutes for every file.

    Raises:
        DataError: If no mirror gives the file as it should be, or it does not fit on the disk.
    """
    path = folder / file.name
    if path.exists():
        try:
            _verify(path, file, sha256)
            return path
        except MirrorError as error:
            logger.warning("%s: %s; it is fetched again", path, error)
    part = Part(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_space(folder, (file.size or 0) - part.size, file.name)
        digest = _from_mirrors(file, part, sleep, set() if refusing is None else refusing)
        part.path.replace(path)
        part.discard()
        note_sha256(path, digest)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error}); make room there, or let DATA_ROOT name another "
            "folder, and run the same command again"
        ) from error
    return path


def manual(page: str, files: Sequence[str], folder: Path, size: int, command: str) -> DataError:
    """The error for files that their publisher gives to people only.

    Args:
        page: Where to log in or click.
        files: Names of the files that are missing.
        folder: Where they go.
        size: Of all of them, in bytes.
        command: Goes on from there.
    """
    listed = [f"  {name}" for name in files[:8]]
    if len(files) > 8:
        listed.append(f"  ... {len(files)} files in all")
    return DataError(
        f"The publisher asks for a browser or a login. Open {page}\n"
        f"and download ({decimal(size)}):\n" + "\n".join(listed) + f"\n"
        f"Put them into {folder}\nand go on with: {command}"
    )


def _from_mirrors(file: RemoteFile, part: Part, sleep: Sleep, refusing: set[str]) -> str:
    """Fills the part from the first mirror that does well; SHA-256 of what came."""
    failures = []
    begun = part.origin.url
    order = {url: (urlsplit(url).netloc in refusing, url != begun) for url in file.urls}
    for url in sorted(file.urls, key=order.__getitem__):
        try:
            known = file.sha256 is not None
            download(url, part, size=file.size, hashed=known, sleep=sleep)
            return _verify_or_discard(part, file)
        except MirrorError as error:
            logger.warning("%s: %s", url, error)
            failures.append(f"  {url}: {error}")
            refusing.add(urlsplit(url).netloc)
    kept = f" and go on after the {decimal(part.size)} that are there" if part.size else ""
    raise DataError(
        f"{file.name} could not be fetched:\n" + "\n".join(failures) + "\n"
        f"Run the same command later{kept}, or download the file in a browser and put it into "
        f"{part.path.parent}"
    )


def _verify(path: Path, file: RemoteFile, digest_of: Callable[[Path], str]) -> str:
    """SHA-256 of a file that is what it should be."""
    size = path.stat().st_size
    if file.size not in (None, size):
        raise MirrorError(f"{size} bytes, expected {file.size}")
    with path.open("rb") as stream:
        refuse_page(stream.read(4096))
    digest = digest_of(path)
    if file.sha256 and digest != file.sha256.lower():
        raise MirrorError(f"SHA-256 {digest}, expected {file.sha256}")
    return digest


def _verify_or_discard(part: Part, file: RemoteFile) -> str:
    try:
        return _verify(part.path, file, compute_sha256)
    except MirrorError:
        part.discard()
        raise
