"""The command line: LightningCLI on ``-c experiments/defaults.yaml -c experiments/<name>.yaml``."""

import argparse
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import lightning as L
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from datamodules import DataError, HSIDataModule
from lightning_ras2s.module import HSIDenoiser, NonFiniteLossError
from lightning_ras2s.weights import read_checkpoint

SUBCOMMANDS = ("fit", "validate", "test")
TRACEBACK = "RAS2S_TRACEBACK"  # set it to see where an error comes from
RUN_DIR = "RAS2S_RUN_DIR"  # tells the processes that Lightning launches the folder of their run


class UserError(Exception):
    """A mistake in the command line, a config file or the data, told in one line."""


class Parser(LightningArgumentParser):
    """Raises its errors, in one line, instead of printing the usage and exiting."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Called by jsonargparse with the message of any parsing error."""
        raise UserError(one_line(message)) from ex


class SaveRunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` into the run's folder and tells the loggers what is run.

    The file keeps ``${run_dir}`` in place of the folder, so that a rerun gets one of its own.
    """

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lightning calls this once, on rank 0."""
        run_dir = Path(self.config.run_dir)
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        config.pop("run_dir")
        run_dir.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(_with_run_dir(config, str(run_dir)), sort_keys=False)
        (run_dir / self.config_filename).write_text(text)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(
                    {"config": self.config.as_dict(), "git_commit": git_commit()},
                    allow_val_change=True,
                )


def _with_run_dir(value: Any, run_dir: str) -> Any:
    """Puts ``${run_dir}`` for the folder in every string that is, or begins with, its path."""
    if isinstance(value, dict):
        return {key: _with_run_dir(item, run_dir) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_run_dir(item, run_dir) for item in value]
    if isinstance(value, str) and (value == run_dir or value.startswith(f"{run_dir}{os.sep}")):
        return "${run_dir}" + value.removeprefix(run_dir)
    return value


class RAS2SCLI(LightningCLI):
    """fit ends with a test of the best checkpoint; every run has a folder of its own."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without ``predict``: no dataset has scenes for it."""
        known = LightningCLI.subcommands()
        return {name: known[name] for name in SUBCOMMANDS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's folder; and one seed for the weights, the patches and the noise."""
        parser.add_argument("--run_dir", default=os.environ[RUN_DIR], help="the run's folder")
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_seed)

    def _parse_ckpt_path(self) -> None:
        """Checks the file. Lightning's own puts its hyper-parameters over those that were given."""
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path and Path(path).suffix:  # not one of Lightning's words: best, last, hpc
            content = read_checkpoint(Path(path))
            if not isinstance(content, dict) or "pytorch-lightning_version" not in content:
                raise UserError(
                    f"{path}: holds no training to go on with, only weights perhaps; "
                    f"evaluate them with make evaluate CKPT={path}"
                )

    def before_instantiate_classes(self) -> None:
        """Keeps W&B inside the run's folder, and offline without an account."""
        run_dir = Path(self.config[self.subcommand].run_dir).absolute()
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ[variable] = str(run_dir / "wandb")
        os.environ.setdefault("WANDB_SILENT", "true")
        loggers = str(self.config[self.subcommand].trainer.logger)
        mode = os.environ.get("WANDB_MODE")
        if "Wandb" in loggers and mode in (None, "online"):
            import wandb

            if wandb.login(prompt=False, verify=False):
                return
            if mode == "online":
                raise UserError("WANDB_MODE=online, but no account: run wandb login, or unset it")
            wandb.setup(wandb.Settings(mode="offline"))

    def instantiate_classes(self) -> None:
        """Tells what a constructor refuses as a mistake of the user's."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(one_line(str(error))) from error

    def after_fit(self) -> None:
        """Tests the best weights."""
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        self.trainer.test(
            self.model, datamodule=self.datamodule, ckpt_path=checkpoint or None, verbose=False
        )


def one_line(message: str) -> str:
    """Keeps what helps of a message of jsonargparse, without its types and dumps of values."""
    clutter = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value type:",
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


def _seed(seed_everything: int | bool) -> int:
    """The seed of the data: the one of everything."""
    if isinstance(seed_everything, bool) or seed_everything < 0:
        raise UserError(f"seed_everything is {seed_everything}; give a number that is not negative")
    return seed_everything


def git_commit() -> str | None:
    """The commit of the working directory, with ``-dirty`` behind it if there are changes."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def _config_files(args: Sequence[str]) -> list[Path]:
    """The files given with -c.

    Raises:
        UserError: If one of them is not there; tells the experiments that are.
    """
    files = [Path(value) for option, value in pairwise(args) if option in ("-c", "--config")]
    for file in files:
        if not file.is_file():
            there = sorted(p.stem for p in file.parent.glob("*.yaml") if p.stem != "defaults")
            raise UserError(
                f"there is no experiment {file.stem!r} ({file}); "
                f"there are: {', '.join(there) or 'none in that folder'}"
            )
    return files


def _choose_run_dir(args: Sequence[str]) -> None:
    """Names the run's folder after the last config file and the time, once for all its processes.

    A rerun of the config.yaml of a run is filed under that run's experiment.
    """
    files = _config_files(args)
    if RUN_DIR in os.environ and "LOCAL_RANK" in os.environ:
        return
    last = files[-1] if files else Path("unnamed.yaml")
    experiment = last.absolute().parents[1].name if last.name == "config.yaml" else last.stem
    folder = Path("runs", experiment, f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    copies = (folder.with_name(f"{folder.name}_{n}") for n in count(2))
    os.environ[RUN_DIR] = str(next(f for f in chain([folder], copies) if not f.exists()))


def _silence_clutter() -> None:
    """Drops an advertisement and warnings that concern nobody here.

    The metrics need no ``sync_dist``: they are means of a table that all processes share.
    """
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero.addFilter(lambda record: "litlogger" not in record.getMessage())
    for message in ("Experiment logs directory", ".*LeafSpec", ".*sync_dist=True"):
        warnings.filterwarnings("ignore", message=message)


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        args: The command line, by default that of the process.

    Returns:
        The exit code: 0, or 2 for a mistake of the user's, which is told in one line on stderr.
    """
    jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    # On each file alone, interpolation would miss what a later file or flag overrides.
    options = {"parser_mode": "omegaconf+", "usage": argparse.SUPPRESS}
    parser_options: dict[str, Any] = options | dict.fromkeys(SUBCOMMANDS, options)
    _silence_clutter()
    code = 2
    try:
        _choose_run_dir(sys.argv[1:] if args is None else args)
        RAS2SCLI(
            HSIDenoiser,
            HSIDataModule,
            subclass_mode_data=True,
            parser_class=Parser,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_kwargs=parser_options,
            args=args if args is None else list(args),
        )
        code = 0
    except (UserError, DataError, NonFiniteLossError, FileNotFoundError) as error:
        message = str(error)
    except OmegaConfBaseException as error:
        message = one_line(str(error.msg))
    except (ValueError, MisconfigurationException) as error:
        if os.environ.get(TRACEBACK):
            raise
        message = f"{one_line(str(error))} ({TRACEBACK}=1 shows where)"
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish(exit_code=code)
    if code:
        print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code
