"""The command behind `make benchmark`: measures, prints tables and keeps the figures as JSON."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from benchmarks import loading, methods, network, refinement, training

Show = Callable[[dict[str, Any], Console], None]


def measure_network(quick: bool, output: Path) -> dict[str, Any]:
    """Speed and memory of the network, with a figure."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = network.measure(network.QUICK if quick else network.Plan(), device)
    network.draw(result, output / "network.png")
    return result


def measure_training(quick: bool, output: Path) -> dict[str, Any]:
    """The training loop against its bare step."""
    return training.measure(training.QUICK if quick else training.Plan())


def measure_refinement(quick: bool, output: Path) -> dict[str, Any]:
    """+S against the network."""
    return refinement.measure(refinement.QUICK if quick else refinement.Plan())


def measure_methods(quick: bool, output: Path) -> dict[str, Any]:
    """All methods beside RAS2S, with a figure."""
    result = methods.measure(methods.QUICK if quick else methods.Plan())
    methods.draw(result, output / "methods.png")
    return result


def measure_loading(quick: bool, output: Path) -> dict[str, Any]:
    """Loading, in a folder that is gone afterwards."""
    with TemporaryDirectory(prefix="benchmark_") as folder:
        return loading.measure(Path(folder), loading.QUICK if quick else loading.Plan())


PARTS: dict[str, tuple[Callable[[bool, Path], dict[str, Any]], Show]] = {
    "network": (measure_network, network.show),
    "training": (measure_training, training.show),
    "refinement": (measure_refinement, refinement.show),
    "loading": (measure_loading, loading.show),
    "methods": (measure_methods, methods.show),
}


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0, or 2 if a package is missing.
    """
    parser = argparse.ArgumentParser(prog="make benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds")
    parser.add_argument("--only", choices=PARTS, help="one part instead of all")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="a folder")
    options = parser.parse_args(args)
    console = Console()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else PARTS:
        measure, show = PARTS[name]
        try:
            result = measure(options.quick, options.output)
        except ModuleNotFoundError as error:
            console.print(f"error: {error}", markup=False, soft_wrap=True)
            return 2
        show(result, console)
        file = options.output / f"{name}.json"
        file.write_text(json.dumps(result, indent=1) + "\n")
        console.print(f"figures: {file}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
