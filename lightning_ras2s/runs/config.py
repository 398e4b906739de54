"""``config.yaml``: what makes a folder a run, and the run repeatable."""

import os
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from datamodules.atomic_write import atomic_write
from lightning_ras2s.runs import alive, record
from lightning_ras2s.runs.best_effort import best_effort
from lightning_ras2s.runs.loggers import wandb_loggers
from lightning_ras2s.runs.start import Start


class SaveRunConfig(SaveConfigCallback):
    """Makes the folder a run as soon as the first batch is about to come.

    It writes ``config.yaml`` and ``run.json`` and tells W&B what is run. ``config.yaml`` keeps
    ``${run_dir}`` in place of the folder, so that a rerun gets its own.

    Args:
        args: As for Lightning's.
        start: How the command began.
        kwargs: As for Lightning's.
    """

    def __init__(self, *args: Any, start: Start, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start = start

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Does nothing yet: what fails before the first batch was no run."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A training begins, or goes on."""
        self.save_config(trainer, pl_module, "fit")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says where it goes on, which is known now."""
        going_on = self.start.resumption
        if going_on is not None:
            step, epoch = trainer.global_step, trainer.current_epoch
            rank_zero_info(going_on.told(step, epoch, self.start.overrides))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A validation by itself begins."""
        self.save_config(trainer, pl_module, "validate")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A test begins."""
        self.save_config(trainer, pl_module, "test")

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes both files, once, on the first process."""
        if self.already_saved or not trainer.is_global_zero:
            return
        self.already_saved = self.start.has_begun = True
        config, start = saved_config(self.parser, self.config), self.start
        going_on = None
        if start.resumption is not None:
            going_on = {
                "checkpoint": str(start.resumption.checkpoint),
                "overrides": {name: now for name, (_, now) in start.overrides.items()},
            }
        with atomic_write(start.run.config_file) as aside:  # a kill leaves no half of it
            aside.write_text(yaml.safe_dump(config, sort_keys=False))
        with best_effort(f"{start.run.path}: if it is killed, nobody sees it"):
            alive.hold(start.run.config_file)
        facts = record.start(start.run, start.experiment, start.command, trainer, going_on)
        if stage == "fit":
            record.note_latest(start.run)
        told = {"config": self.config.as_dict(), "git_commit": facts["git_commit"]}
        for logger in wandb_loggers(trainer.loggers):
            with best_effort("W&B takes no configuration", Exception):
                logger.experiment.config.update(told, allow_val_change=True)


def saved_config(parser: LightningArgumentParser, config: Any) -> dict[str, Any]:
    """What ``config.yaml`` says: all that was configured, and nothing of where it runs."""
    run_dir = str(config.run_dir)
    values = yaml.safe_load(parser.dump(config, skip_none=False))
    values.pop("run_dir")
    if str(values.get("ckpt_path")).startswith(run_dir):
        values["ckpt_path"] = None  # it goes on; a rerun begins anew
    return _with_run_dir(values, run_dir)


def _with_run_dir(value: Any, run_dir: str) -> Any:
    """Puts ``${run_dir}`` for the folder in every string that is, or begins with, its path."""
    if isinstance(value, dict):
        return {key: _with_run_dir(item, run_dir) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_run_dir(item, run_dir) for item in value]
    if not isinstance(value, str):
        return value
    inside = value == run_dir or value.startswith(f"{run_dir.rstrip(os.sep)}{os.sep}")
    rest = value.removeprefix(run_dir) if inside else value
    return ("${run_dir}" if inside else "") + rest.replace("${", "\\${")
