"""The command line: LightningCLI on ``-c experiments/defaults.yaml -c experiments/<name>.yaml``."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonargparse
import lightning as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from datamodules import DataError, HSIDataModule
from lightning_ras2s.module import HSIDenoiser, NonFiniteLossError

SUBCOMMANDS = ("fit", "validate", "test", "predict")
RUN_DIR = "RAS2S_RUN_DIR"  # tells the processes that Lightning launches the folder of their run


class SaveRunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` into the run's folder and tells the loggers what is run.

    The file keeps ``${run_dir}`` in place of the folder, so that a rerun gets one of its own.
    """

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lightning calls this once, on rank 0."""
        run_dir = Path(self.config.run_dir)
        text = self.parser.dump(self.config, skip_none=False)
        lines = [line for line in text.splitlines() if not line.startswith("run_dir:")]
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / self.config_filename
        path.write_text("\n".join(lines).replace(str(run_dir), "${run_dir}") + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(
                    {"config": self.config.as_dict(), "git_commit": git_commit()},
                    allow_val_change=True,
                )


class RAS2SCLI(LightningCLI):
    """fit ends with a test of the best checkpoint; every run has a folder of its own."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The one argument of ours."""
        parser.add_argument("--run_dir", default=os.environ[RUN_DIR], help="the run's folder")

    def before_instantiate_classes(self) -> None:
        """Keeps W&B inside the run's folder, and offline without an account."""
        run_dir = Path(self.config[self.subcommand].run_dir).absolute()
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(variable, str(run_dir / "wandb"))
        os.environ.setdefault("WANDB_SILENT", "true")
        loggers = str(self.config[self.subcommand].trainer.logger)
        if "Wandb" in loggers and "WANDB_MODE" not in os.environ:
            import wandb

            if not wandb.login(prompt=False, verify=False):
                wandb.setup(wandb.Settings(mode="offline"))

    def after_fit(self) -> None:
        """Tests the best weights."""
        if self.trainer.interrupted:
            return
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=checkpoint or None)


def git_commit() -> str | None:
    """The commit of the working directory, with ``-dirty`` behind it if there are changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def _experiment(args: Sequence[str]) -> str:
    """The name of the last config file, or of the run that a config.yaml comes from.

    Raises:
        FileNotFoundError: If one of the files is not there; tells the experiments there are.
    """
    files = [
        Path(value)
        for option, value in zip(args, [*args[1:], ""], strict=False)
        if option in ("-c", "--config")
    ]
    for file in files:
        if not file.is_file():
            there = sorted(p.stem for p in file.parent.glob("*.yaml") if p.stem != "defaults")
            raise FileNotFoundError(
                f"there is no experiment {file.stem!r} ({file}); "
                f"there are: {', '.join(there) or 'none in that folder'}"
            )
    if not files:
        return "run"
    return files[-1].parent.parent.name if files[-1].name == "config.yaml" else files[-1].stem


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        args: The command line, by default that of the process.

    Returns:
        The exit code: 0, or 2 for a mistake of the user's, which is told in one line on stderr.
    """
    jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    options = {"parser_mode": "omegaconf+", "usage": argparse.SUPPRESS}
    parser_options: dict[str, Any] = options | {name: options for name in SUBCOMMANDS}
    try:
        time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        os.environ.setdefault(RUN_DIR, str(Path("runs", _experiment(sys.argv[1:] if args is None else args), time)))
        RAS2SCLI(
            HSIDenoiser,
            HSIDataModule,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            parser_kwargs=parser_options,
            args=args,
        )
    except (DataError, NonFiniteLossError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0
