"""``--resume=last`` or a run's folder: how the command goes on with that run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs import record
from lightning_ras2s.runs.checkpoints import find_checkpoint
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.folder import RunFolder

OPTION = "--resume="
# What the state of a training belongs to: with another one it would not be the same training.
FIXED = (
    "seed_everything",
    "model.network",
    "model.optimizer.class_path",
    "model.schedule",
    "data.class_path",
    "data.val_noise",
    "data.evaluation_seed",
)
FREE = ("model.network.gradient_checkpointing",)
MOVED = {  # classes that the configuration of an earlier run may name
    "lightning_ras2s.checkpoints.": "lightning_ras2s.runs.checkpoints.",
    "lightning_ras2s.loggers.": "lightning_ras2s.runs.loggers.",
}
_MISSING = object()


class ResumeError(UserError):
    """There is no such run to go on with, or not so; told in one line."""


@dataclass(frozen=True)
class Resumption:
    """What a command goes on with.

    Attributes:
        run: The run.
        checkpoint: The newest that can be read.
        args: The command line that does it.
        config: The run's configuration, as it was begun or went on last.
    """

    run: RunFolder
    checkpoint: Path
    args: list[str]
    config: dict[str, Any]

    def overrides(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What a configuration says that the run's does not: the values before and now.

        Raises:
            ResumeError: If that cannot be changed within a training.
        """
        before, now = dict(_flat(self.config)), dict(_flat(config))
        changed = {
            name: (before.get(name), value)
            for name, value in now.items()
            if before.get(name, _MISSING) not in (value, _MISSING)
        }
        changed |= {name: (value, None) for name, value in before.items() if name not in now}
        refused = [name for name in changed if _is_in(name, FIXED) and not _is_in(name, FREE)]
        if refused:
            name = refused[0]
            was, asked = changed[name]
            raise ResumeError(
                f"{name}={asked}: a training that goes on keeps {name}={was}, which its state "
                f"belongs to; leave it out, or begin a new training"
            )
        return changed

    def told(self, step: int, epoch: int, overrides: Mapping[str, tuple[Any, Any]]) -> str:
        """The line that says what is gone on with, and how."""
        news = ", ".join(f"{name}={now} (was {was})" for name, (was, now) in overrides.items())
        return (
            f"Goes on from {self.checkpoint}, step {step} (epoch {epoch}), "
            f"{f'with {news}' if news else 'with nothing overridden'}"
        )


def find_resumption(args: Sequence[str], experiment: Path) -> Resumption | None:
    """What ``--resume`` asks for; None without it, and for ``last`` without any run.

    The run's own configuration takes the place of what stands before ``--resume``; what stands
    behind it overrides that configuration. W&B's run goes on too.

    Args:
        args: The command line.
        experiment: The folder of the experiment's runs, where ``last`` is looked for.

    Raises:
        ResumeError: If there is no such run, it has no checkpoint, or it shall go elsewhere.
    """
    at = next((n for n, arg in enumerate(args) if arg.startswith(OPTION)), None)
    if at is None:
        return None
    wanted, rest = args[at].removeprefix(OPTION), list(args[at + 1 :])
    run = record.latest(experiment) if wanted == "last" else RunFolder(Path(wanted))
    if run is None:
        return None
    if not run.config_file.is_file():
        raise ResumeError(
            f"{run.config_file}: no such file; RESUME=last, or the folder of a run, such as "
            f"{experiment}/<time>"
        )
    elsewhere = [arg for arg in rest if arg.startswith("--run_dir=")]
    if any(Path(arg.partition("=")[2]).resolve() != run.path.resolve() for arg in elsewhere):
        raise ResumeError(f"{elsewhere[-1]}: a run goes on in its own folder, {run.path}")
    checkpoint = find_checkpoint(run.checkpoints)
    if checkpoint is None:
        raise ResumeError(
            f"{run.checkpoints}: no checkpoint that can be read, so nothing to go on from; begin "
            "a new training without RESUME"
        )
    config = yaml.safe_load(_up_to_date(run))
    wandb = record.read(run).get("wandb")
    if wandb is not None:
        os.environ.setdefault("WANDB_RUN_ID", wandb["id"])
    files = ["-c", str(run.config_file)]
    given = [args[0], *files, f"--run_dir={run.path}", f"--ckpt_path={checkpoint}", *rest]
    return Resumption(run, checkpoint, given, config)


def _up_to_date(run: RunFolder) -> str:
    """The run's configuration, with the classes that it names at their places of today."""
    text = before = run.config_file.read_text()
    for place, now in MOVED.items():
        text = text.replace(place, now)
    if text != before:
        with atomic_write(run.config_file) as aside:
            aside.write_text(text)
    return text


def without_resume(args: Sequence[str]) -> list[str]:
    """The command line that begins anew."""
    return [arg for arg in args if not arg.startswith(OPTION)]


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names of all values; ``init_args`` goes without saying."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, at if key == "init_args" else f"{at}.{key}".lstrip("."))
    else:
        yield at, value


def _is_in(name: str, groups: Sequence[str]) -> bool:
    return any(name == group or name.startswith(f"{group}.") for group in groups)
