"""Trains methods for the same time, or with as many patches, on the same data, and compares them.

ras2s compare quickstart --methods=ras2s,hsdt_s,qrnn3d --minutes=10 --seeds=3
"""

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from datamodules.atomic_write import atomic_write
from lightning_ras2s.cli import fail
from lightning_ras2s.compare.summary import comma_separated, draw, markdown, summarize
from lightning_ras2s.compare.trainings import Budget, Training, plan
from lightning_ras2s.methods import select
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.experiment_files import find as find_experiment
from lightning_ras2s.sweep.training import LOG
from lightning_ras2s.sweep.training import Training as Process

FILES = ("compare.md", "compare.csv", "compare.png")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        "ras2s compare",
        description=__doc__.splitlines()[0],
        epilog="Options behind a -- are those of ras2s fit, for all trainings.",
    )
    made.add_argument("experiment", nargs="?", default="quickstart", help="whose data: a name")
    made.add_argument("--methods", required=True, help="networks: ras2s,hsdt_s, or learned for all")
    made.add_argument("--minutes", type=float, help="of training, each; 10 without --patches")
    made.add_argument("--patches", type=int, help="or so many of them")
    made.add_argument("--seeds", type=int, default=1, help="trainings of each method")
    made.add_argument(
        "--rates", choices=("search", "recipe"), default="search",
        help="search tries each method's own rate and higher ones with a tenth of the budget each",
    )  # fmt: skip
    made.add_argument("--output", type=Path, help="the folder; compare/EXPERIMENT_BUDGET")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 2 for a mistake, 1 if a training failed.
    """
    words = list(sys.argv[1:] if args is None else args)
    at = words.index("--") if "--" in words else len(words)
    options = parser().parse_args(words[:at])
    try:
        trainings, folder = _plan(options, words[at + 1 :])
    except (ValueError, UserError) as error:
        return fail(" ".join(str(error).split()), 2)
    is_searched = options.rates == "search"
    factors: dict[str, float] = {}  # by method, of the first seed
    done: list[Training] = []
    failed: list[str] = []
    for number, training in enumerate(trainings, 1):
        key = training.method.key
        try:
            if is_searched and key not in factors:
                factors[key] = _best_factor(training)
            chosen = replace(training, factor=factors.get(key, 1.0))
            _run(chosen, f"[{number}/{len(trainings)}] ")
            done.append(chosen)
        except TrainingError as error:
            failed.append(str(error))
            _tell(f"left out: {error}")
    if done:
        _write(done, is_searched, folder)
    return fail("; ".join(failed), 1) if failed else 0


def _write(trainings: Sequence[Training], is_searched: bool, folder: Path) -> None:
    text = markdown(summarize(trainings), trainings, is_searched)
    for file, content in zip(FILES, (text, comma_separated(trainings)), strict=False):
        with atomic_write(folder / file) as aside:
            aside.write_text(content, encoding="utf-8")
    with atomic_write(folder / FILES[2]) as aside:
        draw(trainings).savefig(aside, dpi=120, format="png")
    Console().print(Markdown(text))
    _tell(f"-> {', '.join(str(folder / file) for file in FILES)}")


def _plan(options: argparse.Namespace, further: Sequence[str]) -> tuple[list[Training], Path]:
    methods = select(name for name in options.methods.split(",") if name.strip())
    if not methods:
        raise ValueError("--methods names none")
    if refined := next((method for method in methods if method.refined), None):
        raise ValueError(f"{refined.label}: name {refined.base}; +S is measured of every method")
    if options.minutes is not None and options.patches is not None:
        raise ValueError("give --minutes or --patches, not both")
    minutes = 10.0 if options.minutes is None and options.patches is None else options.minutes
    if min(value for value in (minutes, options.patches) if value is not None) <= 0:
        raise ValueError("--minutes or --patches is not above 0")
    if options.seeds < 1:
        raise ValueError(f"--seeds={options.seeds}; give at least 1")
    if rows := next((word for word in further if word.startswith("--model.methods")), None):
        raise ValueError(f"{rows}: each network is tested alone and with +S; leave it out")
    experiment = find_experiment(options.experiment)
    budget = Budget(minutes, options.patches)
    name = f"{experiment.stem}_{str(budget).replace(' ', '_').replace(',', '')}"
    folder = options.output or Path("compare") / name
    trainings = plan(methods, options.seeds, options.experiment, budget, folder, further)
    return trainings, folder


class TrainingError(RuntimeError):
    """A training has failed; the message says which, why and where to read on."""


def _best_factor(training: Training) -> float:
    """Of the rates that are tried, that which has come furthest.

    Raises:
        TrainingError: If that of the recipe fails; a higher one may.
    """
    found = {}
    for pilot in training.pilots():
        try:
            _run(pilot, "rate ")
        except TrainingError as error:
            if pilot.factor == 1:
                raise
            _tell(f"too high: {error}")
            continue
        psnr = pilot.curve()[-1][2]
        found[pilot.factor] = psnr if math.isfinite(psnr) else -math.inf
    best = max(found, key=lambda factor: found[factor])
    told = ", ".join(f"x {factor:g}: {psnr:.2f} dB" for factor, psnr in found.items())
    _tell(f"rate of {training.method.label}: {told}; takes x {best:g}")
    return best


def _run(training: Training, place: str) -> None:
    """Trains and tests, where that is not done; what a killed one has left is begun again.

    Raises:
        TrainingError: If it did not come to its end.
    """
    rate = training.recipe["learning_rate"]
    name = f"{place}{training.method.label}, seed {training.seed}, rate {rate:g}"
    if training.is_done:
        _tell(f"{name}: is there ({training.folder})")
        return
    anew = f", anew: {training.folder} is of other options" if training.is_other else ""
    _tell(f"{name}: {training.budget} of training{anew}")
    shutil.rmtree(training.folder, ignore_errors=True)
    training.folder.mkdir(parents=True)
    process = Process(training.command, training.folder, "", {"WANDB_MODE": "disabled"})
    try:
        while not process.has_ended():
            pass
    finally:
        process.end()
    if not training.is_done:
        raise TrainingError(f"{name}: {process.problem()}; see {training.folder / LOG}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
