"""The command ``ras2s``, which is also ``python -m lightning_ras2s``: one table of subcommands."""

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

from lightning_ras2s import __version__, require_own_datamodules

TRACEBACK = "RAS2S_TRACEBACK"  # set it to see where an error comes from


class Command(NamedTuple):
    """A subcommand: the function that takes its arguments, ``module:name``, and what it does."""

    source: str
    does: str
    keeps_its_name: bool = False  # gives the function the subcommand's name, too

    def load(self) -> Callable[[Sequence[str]], int]:
        """Imports the function: nothing is imported for another subcommand."""
        module, _, name = self.source.partition(":")
        return getattr(import_module(module), name)


EXPERIMENT = "lightning_ras2s.experiment:main"
COMMANDS = {
    "fit": Command(EXPERIMENT, "trains an experiment and tests its best weights", True),
    "validate": Command(EXPERIMENT, "validates weights: --weights=best.ckpt", True),
    "test": Command(EXPERIMENT, "tests weights: --weights=best.ckpt", True),
    "sweep": Command("lightning_ras2s.sweep.__main__:main", "searches hyper-parameters"),
    "denoise": Command("lightning_ras2s.inference.command:main", "denoises files"),
    "quality": Command("lightning_ras2s.quality.command:main", "tells whether to trust a scene"),
    "export": Command("lightning_ras2s.export:main", "writes a network as ONNX or for torch"),
    "methods": Command("lightning_ras2s.methods:main", "lists the denoisers that there are"),
    "data": Command("datamodules.__main__:main", "fetches and prepares a dataset"),
    "info": Command("datamodules.info:main", "tells what a file of a scene is taken for"),
    "tables": Command("lightning_ras2s.tables.command:main", "compares methods as the paper does"),
    "compare": Command("lightning_ras2s.compare.command:main", "trains methods for equally long"),
    "report": Command("lightning_ras2s.pages.report:main", "writes the page of a run"),
    "dashboard": Command("lightning_ras2s.pages.dashboard:main", "shows all runs on a local page"),
    "benchmark": Command("benchmarks.__main__:main", "measures speed and memory; in a clone only"),
}
USAGE = """usage: ras2s COMMAND ...

{commands}

An experiment is a name, which is looked up in this folder, in ./experiments and in the package, or
the path of a YAML file: ras2s fit quickstart --trainer.max_epochs=3
ras2s COMMAND --help lists the options of a command.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        args: The command line, by default that of the process.

    Returns:
        The exit code: 0; 2 for a mistake of the user's and 1 for any other failure, which are told
        in one line on stderr; 143 if SIGTERM has ended it, 130 if Ctrl-C has.
    """
    typed = sys.argv[1:] if args is None else list(args)
    word = typed[0] if typed else "--help"
    if word in ("--help", "-h", "help"):
        lines = (f"  {name:<11}{command.does}" for name, command in COMMANDS.items())
        print(USAGE.format(commands="\n".join(lines)), end="")  # noqa: T201
        return 0
    if word == "--version":
        print(__version__)  # noqa: T201
        return 0
    try:
        if word not in COMMANDS:
            return fail(f"there is no command {word!r}; {_meant(word)}", 2)
        try:
            require_own_datamodules()
        except ImportError as error:
            return fail(str(error), 2)
        command = COMMANDS[word]
        return command.load()(typed if command.keeps_its_name else typed[1:])
    except ModuleNotFoundError as error:
        if error.name != "benchmarks":
            raise
        return fail("the benchmarks come with the clone only: git clone, make benchmark", 2)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        first = next(iter(str(error).splitlines()), "")
        return fail(f"{type(error).__name__}: {first} ({TRACEBACK}=1 shows where)", 1)


def fail(message: str, code: int) -> int:
    """Tells an error in a line of its own, and gives the exit code back."""
    if "tqdm" in sys.modules and sys.modules["tqdm"].tqdm._instances:
        print(file=sys.stderr)  # noqa: T201 (behind a bar that is not at its end)
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code


def _meant(word: str) -> str:
    near = get_close_matches(word, COMMANDS, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
