"""The last line of defence: any error is one line and an exit code, its traceback in a file."""

import re
import traceback
from pathlib import Path

from datamodules import DataError
from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.folder import RunFolder


class UserError(Exception):
    """A mistake in the command line, a config file or the data, told in one line."""


MISTAKES = (UserError, DataError, FileNotFoundError)  # their messages say all there is to say
_FROM_WORKER = re.compile(r"Original Traceback .*^(?:[\w.]+): (.*)", re.DOTALL | re.MULTILINE)


def verdict(error: Exception) -> tuple[int, str]:
    """The exit code of an error and what to say of it.

    Returns:
        2 for a mistake of the user's, 1 for a failure of the machine or the program; the message.
    """
    from lightning.pytorch.utilities.exceptions import MisconfigurationException
    from omegaconf.errors import OmegaConfBaseException

    text = str(error)
    if worker := _FROM_WORKER.search(text):  # a DataLoader puts its worker's traceback before
        text = worker[1].strip()
    notes = getattr(error, "__notes__", [])  # what we know of the cause
    if isinstance(error, MISTAKES):
        return 2, ". ".join([text, *notes])
    if isinstance(error, OmegaConfBaseException):
        return 2, one_line(str(error.msg))
    if isinstance(error, ValueError | MisconfigurationException):
        return 2, one_line(text)
    first = next(iter(text.splitlines()), "").strip().rstrip(".")
    if notes:
        return 1, ". ".join([first or type(error).__name__, *notes])
    return 1, first if isinstance(error, OSError) else f"{type(error).__name__}: {first}"


def write_traceback(run: RunFolder, error: BaseException) -> Path | None:
    """Writes where an error came from into the run's folder; None if that fails too."""
    text = "".join(traceback.format_exception(error))
    with best_effort(f"{run.traceback_file}: no traceback"):
        with atomic_write(run.traceback_file) as aside:
            aside.write_text(text, encoding="utf-8", errors="replace")
        return run.traceback_file
    return None


def one_line(message: str) -> str:
    """Keeps what helps of a message of jsonargparse, without its types and dumps of values."""
    clutter = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value type:",
        "Given value: {",
        "Expected a <class 'None",
    )
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    kept = [
        line
        for line in lines
        if line
        and not line.startswith(clutter)
        and "Namespace(" not in line
        and "NestedArg(" not in line
    ]
    return " ".join(kept)
