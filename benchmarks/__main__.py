"""The command behind `make benchmark`: measures, prints tables and keeps the figures as JSON."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks import loading


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0, or 2 if a package is missing.
    """
    parser = argparse.ArgumentParser(prog="make benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="a folder")
    options = parser.parse_args(args)
    console = Console()
    try:
        with TemporaryDirectory(prefix="benchmark_") as folder:
            plan = loading.QUICK if options.quick else loading.Plan()
            result = loading.measure(Path(folder), plan)
    except ModuleNotFoundError as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        return 2
    loading.show(result, console)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "loading.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    console.print(f"figures: {file}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
