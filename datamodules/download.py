"""One file from one address: resumed where it stopped, asked for again where that may help."""

import html
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from rich import progress
from rich.console import Console

from datamodules.files import require_space

HEADERS = {  # ehu.eus answers 403 to whatever does not look like a browser
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
CHUNK = 1 << 16  # bytes
TIMEOUT = 60.0  # seconds without a byte
TRIES = 5  # those that bring PROGRESS bytes or more are not counted
PROGRESS = 1 << 20
BACKOFF = 1.0  # seconds before the second try, doubled before each further one
PASSING = {408, 425, 429}  # HTTP codes below 500 that may be gone in a moment

Sleep = Callable[[float], object]
logger = logging.getLogger(__name__)


class MirrorError(Exception):
    """This address does not give the file."""


class PassingError(MirrorError):
    """This address may give the file if asked again."""


class ChangedError(PassingError):
    """The part that is there is no beginning of what this address has now."""


@dataclass(frozen=True)
class Origin:
    """Where a part comes from: its address, ETag or Last-Modified, and the size of the whole."""

    url: str = ""
    validator: str | None = None
    total: int | None = None


class Part:
    """A file on its way: its bytes in ``<name>.part``, its origin in ``<name>.part.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".part")
        self.note = path.with_name(path.name + ".part.json")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def origin(self) -> Origin:
        """Empty where there is none, or one that was only half written."""
        try:
            return Origin(**json.loads(self.note.read_text()))
        except (OSError, ValueError, TypeError):
            return Origin()

    def start(self, origin: Origin) -> None:
        """Forgets the bytes first: under the new origin they would pass for its own."""
        self.path.write_bytes(b"")
        self.note.write_text(json.dumps(asdict(origin)))

    def discard(self) -> None:
        """Removes both files."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    url: str,
    part: Part,
    *,
    size: int | None = None,
    hashed: bool = False,
    sleep: Sleep = time.sleep,
) -> None:
    """Asks until the part is as long as the server says that the file is.

    Args:
        url: http or https.
        part: What is there already of this address is not asked for again.
        size: Of the file in bytes, where known.
        hashed: The whole will be checked, so that a part can go on without ETag or Last-Modified.
        sleep: Called with the seconds to wait between two tries.

    Raises:
        MirrorError: If the address does not give the file; the message says why.
        DataError: If the file does not fit on the disk.
    """
    tries, furthest = 0, part.size
    while True:
        try:
            return _attempt(url, part, size, hashed)
        except PassingError as error:
            if isinstance(error, ChangedError):
                part.discard()
            if part.size >= furthest + PROGRESS:
                tries, furthest = 0, part.size
            tries += 1
            if tries == TRIES:
                raise MirrorError(f"{error}, at the last of {TRIES} tries") from error
            pause = BACKOFF * 2 ** (tries - 1)
            logger.warning("%s: %s; again in %g s", url, error, pause)
            sleep(pause)


def refuse_page(head: bytes, content_type: str = "") -> None:
    """Refuses HTML, which servers send with code 200 for a login, an error or a virus warning.

    Raises:
        MirrorError: If the type or the first bytes are those of a page; the message has its title.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:14].lower()
    if content_type == "text/html" or start.startswith((b"<!doctype html", b"<html")):
        found = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        title = html.unescape(found[1].decode("utf-8", "replace")) if found else ""
        raise MirrorError(
            f'a web page with the title "{" ".join(title.split())[:100]}" in place of data'
        )


def _attempt(url: str, part: Part, size: int | None, hashed: bool) -> None:
    """One request, for what the part still lacks."""
    origin = part.origin
    offset = part.size if origin.url == url and (origin.validator or hashed) else 0
    if offset and offset == origin.total:
        return
    headers = dict(HEADERS)
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if origin.validator:
            headers["If-Range"] = origin.validator
    with _open(url, headers) as response:
        block = _read(response)
        begin, length = _extent(response)
        total = size if length is None else length
        refuse_page(b"" if begin else block, response.headers.get_content_type())
        found = Origin(url, _validator(response.headers), total)
        if begin:
            _require_same(origin, found, offset == begin)
        if size not in (None, total):
            raise MirrorError(f"{total} bytes, expected {size}")
        require_space(part.path.parent, (total or 0) - part.size, part.path.stem)
        if not begin:
            part.start(found)
        with part.path.open("ab") as out, _bar(part.path.stem, begin, total) as advance:
            while block:
                out.write(block)
                advance(len(block))
                block = _read(response)
    if total is not None and part.size < total:
        raise PassingError(f"the connection ended after {part.size} of {total} bytes")
    if total is not None and part.size > total:
        raise ChangedError(f"{part.size} bytes of {total} came; is it fetched twice at once?")


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    opener = request.OpenerDirector()  # build_opener's reads file: and ftp: too
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        _SafeRedirects,
    ):
        opener.add_handler(handler())
    try:
        return opener.open(request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        message = f"HTTP {error.code} {error.reason}"
        if error.code == 416:
            raise ChangedError(message) from error
        if error.code in PASSING or error.code >= 500:
            raise PassingError(message) from error
        raise MirrorError(message) from error
    except (OSError, HTTPException) as error:
        raise PassingError(f"no answer ({getattr(error, 'reason', error)})") from error


class _SafeRedirects(request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> request.Request | None:
        """Follows to the same scheme, or up to https."""
        if urlsplit(newurl).scheme not in (req.type, "https"):
            raise MirrorError(f"redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise PassingError(f"the connection broke ({error})") from error


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """First byte of what comes, and the size of the whole file where the server says it."""
    if response.status == 206:
        text = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text)
        if not found:
            raise ChangedError(f"a part of the file with Content-Range {text!r}")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(headers: HTTPMessage) -> str | None:
    """What If-Range takes: a strong ETag, or else the time of the last change."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")


def _require_same(old: Origin, new: Origin, continues: bool) -> None:
    validators = {old.validator, new.validator} - {None}
    totals = {old.total, new.total} - {None}
    if not continues or len(validators) > 1 or len(totals) > 1:
        raise ChangedError("the file changed between two requests")


@contextmanager
def _bar(name: str, done: int, total: int | None) -> Iterator[Callable[[float], None]]:
    console = Console(stderr=True)
    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        yield partial(bar.advance, bar.add_task(name, completed=done, total=total))
