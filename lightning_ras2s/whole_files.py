"""Files that are whole or not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"  # ends the name of what is being written


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives the place to write to; what was written there gets the file's name at the end.

    An error, such as a full disk, leaves the file as it was, and nothing beside it. Only a kill
    leaves what it was writing, under its other name.

    Args:
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + PART)
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
