"""``--resume=last`` or a run's folder: the command line that goes on with that run."""

import os
from collections.abc import Sequence
from pathlib import Path

from lightning_ras2s import run_record
from lightning_ras2s.checkpoints import find_checkpoint

OPTION = "--resume="


class ResumeError(Exception):
    """There is no such run to go on with; told in one line."""


def resumed(args: Sequence[str], experiment: Path) -> list[str]:
    """Puts the run's own configuration in place of what stands before ``--resume``.

    What stands behind it overrides the run's configuration. W&B's run goes on too.

    Args:
        args: The command line.
        experiment: The folder of the experiment's runs, where ``last`` is looked for. Without any
            run there, a new one begins.

    Raises:
        ResumeError: If there is no such run.
    """
    at = next((n for n, arg in enumerate(args) if arg.startswith(OPTION)), None)
    if at is None:
        return list(args)
    wanted, rest = args[at].removeprefix(OPTION), args[at + 1 :]
    run_dir = run_record.latest(experiment) if wanted == "last" else Path(wanted)
    if run_dir is None:
        return [*args[:at], *rest]
    config = run_dir / "config.yaml"
    if not config.is_file():
        raise ResumeError(
            f"{config}: no such file; RESUME=last, or the folder of a run, such as "
            f"{experiment}/<time>"
        )
    run = run_record.read(run_dir).get("wandb")
    if run is not None:
        os.environ.setdefault("WANDB_RUN_ID", run["id"])
    checkpoint = find_checkpoint(run_dir / "checkpoints")
    going_on = [f"--ckpt_path={checkpoint}"] if checkpoint is not None else []
    return [args[0], "-c", str(config), f"--run_dir={run_dir}", *going_on, *rest]
