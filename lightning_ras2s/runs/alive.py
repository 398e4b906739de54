"""Whether a run still runs: it holds a lock, which the system takes from whoever dies."""

from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # not of this system: nobody can be seen to be dead
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, IO[Any]] = {}


def hold(file: Path) -> None:
    """Locks a file of the run for as long as this process lives; again, if it was replaced."""
    if fcntl is None:
        return
    if before := _held.pop(file.absolute(), None):
        before.close()  # or this process would wait for itself
    handle = file.open("rb")
    fcntl.flock(handle, fcntl.LOCK_EX)  # who looks holds it for a moment only
    _held[file.absolute()] = handle


def is_held(file: Path) -> bool:
    """Whether a process that lives has locked the file; True if that cannot be told."""
    if fcntl is None:
        return True
    try:
        with file.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is locked; or a disk without locks cannot tell
        return True
    return False
