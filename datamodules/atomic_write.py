"""Files that are whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"  # ends the name of what is being written


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives the place to write to; what was written there gets the file's name at the end.

    An error, such as a full disk, leaves the file as it was, and nothing beside it. Only a kill
    leaves what it was writing, under its other name. Processes that write the same file do not
    mix: the last to end wins.

    Args:
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
