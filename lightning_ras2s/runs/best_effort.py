"""What a run does without when it fails: pictures, logs, W&B."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@cache
def warn_once(line: str, stacklevel: int = 3) -> None:
    """Warns, and of the same again does nothing: Python itself forgets what it has warned of."""
    warnings.warn(line, stacklevel=stacklevel)


@contextmanager
def best_effort(what: str, errors: type[Exception] = OSError) -> Iterator[None]:
    """Turns errors into a warning, once for each message.

    Args:
        what: What is lost, to begin the warning with.
        errors: Of which type; by default those of the system, such as of a full disk.
    """
    try:
        yield
    except errors as error:
        line = next(iter(str(error).splitlines()), "")
        warn_once(f"{what} ({type(error).__name__}: {line}); the run goes on", 4)
