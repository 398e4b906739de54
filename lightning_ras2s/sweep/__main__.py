"""The command behind `make sweep`: searches hyper-parameters, by W&B or here by Optuna."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lightning_ras2s.runs.account import has_account
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.experiment_files import find
from lightning_ras2s.runs.folder import CONFIG, RUNS, SWEEPS
from lightning_ras2s.sweep import on_wandb
from lightning_ras2s.sweep.definition import (
    EXPERIMENT,
    Config,
    SweepError,
    fill_command,
    read_sweep,
)

console = Console(highlight=False, markup=False, soft_wrap=True)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 1 if no trial came to its end; 2 for a mistake of the user's, told in one
        line; 130 if it was stopped.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, overrides = _parser().parse_args(arguments[:end]), arguments[end + 1 :]
    try:
        for name, number in (("COUNT", options.count), ("AGENTS", options.agents)):
            if number is not None and number < 1:
                raise SweepError(f"{name} is {number}; give a number from 1")
        sweep = find(options.sweep, "sweep", "sweeps")
        config = read_sweep(sweep)
        if experiment := options.experiment or os.environ.get(EXPERIMENT):
            os.environ[EXPERIMENT] = str(find(experiment))
        place = config["command"].index("${args}")
        config["command"][place:place] = overrides
        if options.sweep_id or has_account():
            return on_wandb.run_agents(config, options.count, options.agents, options.sweep_id)
        folder = options.folder or _default_folder(sweep)
        count = config.get("run_cap") if options.count is None else options.count
        return _run_here(config, folder, count, options.agents)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ras2s sweep",
        description=__doc__,
        epilog="What follows -- is given to every training, such as --trainer.max_epochs=3.",
    )
    parser.add_argument("sweep", help="a file in W&B's format, or the name of one")
    parser.add_argument(
        "experiment",
        nargs="?",
        help="what is trained, its name or a file; or set EXPERIMENT",
    )
    parser.add_argument("--count", type=int, help="trials in all; without it: the whole grid")
    parser.add_argument("--agents", type=int, default=1, help="trainings at once")
    parser.add_argument("--folder", type=Path, help="a sweep in the same folder goes on")
    parser.add_argument("--sweep_id", help="joins a sweep that is on W&B")
    return parser


def _default_folder(sweep: Path) -> Path:
    """One folder for each sweep of an experiment; a run's files are named after its folder."""
    names = [sweep.stem]
    if EXPERIMENT in os.environ:
        experiment = Path(os.environ[EXPERIMENT])
        folders = {CONFIG: 2, "best.yaml": 1}.get(experiment.name, 0)
        names += experiment.resolve().parts[-1 - folders : -1] or [experiment.stem]
    return RUNS / SWEEPS / "-".join(names)


def _run_here(config: Config, folder: Path, count: int | None, agents: int) -> int:
    try:
        import plotly  # noqa: F401

        from lightning_ras2s.sweep import results
        from lightning_ras2s.sweep.runner import Runner
        from lightning_ras2s.sweep.study import SharedStudy
    except ImportError as error:
        raise SweepError(
            f"sweeps without a W&B account need {error.name} ({error}): pip install optuna plotly"
        ) from error
    fill_command(config, {})
    study = SharedStudy(config, folder, count)
    runner = Runner(study, agents, console)
    runner.run()
    results.write(study)
    console.print(results.screen_table(study))
    console.print(f"all trials: {folder / results.TABLE}")
    if (folder / results.BEST).is_file():
        console.print(f"the best again: make train EXP={folder / results.BEST}")
    if runner.stop.is_set():
        console.print("stopped; the same command goes on from here")
        return 130
    if problem := study.in_vain():
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
