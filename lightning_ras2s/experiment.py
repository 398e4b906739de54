"""Trains, validates and tests experiments: LightningCLI, and how a run begins and ends."""

import argparse
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import lightning as L
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import (
    Checkpoint,
    DeviceStatsMonitor,
    LearningRateMonitor,
    ProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from datamodules import HSIDataModule
from lightning_ras2s.cli import TRACEBACK, fail
from lightning_ras2s.module import HSIDenoiser
from lightning_ras2s.options import add_options, meant
from lightning_ras2s.pages.report import write_report
from lightning_ras2s.runs import processes, record
from lightning_ras2s.runs.checkpoints import check
from lightning_ras2s.runs.config import SaveRunConfig, saved_config
from lightning_ras2s.runs.errors import UserError, one_line, verdict, write_traceback
from lightning_ras2s.runs.signals import Stopped
from lightning_ras2s.runs.start import Start, begin
from lightning_ras2s.runs.wandb_run import finish_wandb, prepare_wandb

SUBCOMMANDS = ("fit", "validate", "test")
COPYING = ("spawn", "fork", "notebook")  # strategies that start processes by copying this one


class Parser(LightningArgumentParser):
    """Raises its errors, in one line, instead of printing the usage and exiting."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Called by jsonargparse with the message of any parsing error."""
        line = one_line(message)
        hint = meant(line)
        raise UserError(line if line.endswith(hint) else f"{line}{hint}") from ex


class RAS2SCLI(LightningCLI):
    """fit ends with a test of the best checkpoint; every run has a folder of its own.

    Args:
        start: How the command began.
        kwargs: As for LightningCLI.
    """

    def __init__(self, start: Start, **kwargs: Any) -> None:
        self.start = start
        super().__init__(HSIDenoiser, HSIDataModule, **kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without ``predict``: no dataset has scenes for it."""
        known = LightningCLI.subcommands()
        return {name: known[name] for name in SUBCOMMANDS}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's folder; our callbacks; one seed for weights, patches and pixels."""
        parser.add_argument("--run_dir", default=str(self.start.run.path), help="the run's folder")
        add_options(parser)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Leaves Lightning's table of a test out: ours is shown."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand != "fit":
            parser.set_defaults(verbose=False)
        return parser

    def _parse_ckpt_path(self) -> None:
        """Checks the file. Lightning's own puts its hyper-parameters over those that were given."""
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path and Path(path).suffix:  # not one of Lightning's words: best, last, hpc
            check(Path(path))

    def before_instantiate_classes(self) -> None:
        """Refuses what cannot work, and keeps W&B inside the run's folder."""
        config = self.config[self.subcommand]
        trainer = config.trainer
        if trainer.num_nodes > 1 and not processes.can_meet():
            raise UserError(
                f"NODES={trainer.num_nodes}, but nothing tells where they meet: start it on each "
                "by torchrun or by SLURM (experiments/slurm/train.sh), or set MASTER_ADDR, "
                "MASTER_PORT and NODE_RANK"
            )
        strategy = str(trainer.strategy)
        if any(way in strategy for way in COPYING):
            raise UserError(
                f"trainer.strategy={strategy}: processes that begin as copies of this one cannot "
                "give a training back; leave it out, or set ddp"
            )
        if self.start.resumption is not None:
            parser = self._parser(self.subcommand)
            self.start.overrides = self.start.resumption.overrides(saved_config(parser, config))
        self.start.move_to(Path(config.run_dir))
        if "Wandb" in str(trainer.logger):
            prepare_wandb(self.start.run)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Tells DDP whether all steps of the method have one graph, also if weights are unused.

        On GPUs batch norms are those of the whole batch; torch has none of that for CPUs.

        Raises:
            UserError: If more processes were started than the trainer asks for.
        """
        trainer = super().instantiate_trainer(**kwargs)
        asked, started = trainer.num_devices * trainer.num_nodes, processes.started()
        if started > asked:
            raise UserError(
                f"{started} processes were started for {asked} that trainer.devices="
                f"{self.config[self.subcommand].trainer.devices} and trainer.num_nodes="
                f"{trainer.num_nodes} ask for: each would train by itself; give DEVICES= and "
                "NODES= as many, or start fewer"
            )
        strategy = trainer.strategy
        if self.config[self.subcommand].trainer.strategy == "auto" and isinstance(
            strategy, DDPStrategy
        ):
            static = self.model.method.static_graph
            graph = {"static_graph": True} if static else {"find_unused_parameters": True}
            strategy._ddp_kwargs |= graph | {"gradient_as_bucket_view": True}
        if isinstance(strategy, DDPStrategy) and isinstance(trainer.accelerator, CUDAAccelerator):
            strategy._layer_sync = TorchSyncBatchNorm()  # norms are of the whole batch, as alone
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> L.Trainer:
        """Leaves out what is switched off; Lightning would put its own in the place of some."""
        given = config.get("callbacks") or []
        ours = [callback for callback in callbacks if callback is not None]
        if not config.get("logger", True):  # these log, and do nothing else
            ours = [c for c in ours if not isinstance(c, LearningRateMonitor | DeviceStatsMonitor)]
        together = [*(given if isinstance(given, list) else [given]), *ours]
        own = {"enable_checkpointing": Checkpoint, "enable_progress_bar": ProgressBar}
        for option, kind in own.items():
            if config.get(option) is None and not any(isinstance(c, kind) for c in together):
                config[option] = False
        if "SLURM_NTASKS" in os.environ and not processes.by_srun():
            # Lightning would wait for processes that nobody starts.
            config["plugins"] = [*(config.get("plugins") or []), LightningEnvironment()]
        return super()._instantiate_trainer(config, ours)

    def instantiate_classes(self) -> None:
        """Tells what a constructor refuses as a mistake of the user's."""
        try:
            super().instantiate_classes()
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise UserError(one_line(str(error))) from error

    def after_fit(self) -> None:
        """Tests the best weights, unless ``trainer.limit_test_batches`` is 0."""
        if self.trainer.limit_test_batches == 0:
            self._report()
            return
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        self.trainer.test(
            self.model, datamodule=self.datamodule, ckpt_path=checkpoint or None, verbose=False
        )
        self._report()

    def after_validate(self) -> None:
        """Writes the run's page."""
        self._report()

    def after_test(self) -> None:
        """Writes the run's page."""
        self._report()

    def _report(self) -> None:
        if self.trainer.is_global_zero:
            run = self.start.run
            record.update(run, data=record.data_facts(self.trainer))
            record.finish(run, "finished")
            rank_zero_info(f"Report: {write_report(run.path)}")


def _silence_clutter() -> None:
    """Drops advertisements and warnings that concern nobody here.

    The metrics need no ``sync_dist``: they are means of a table that all processes share.
    """
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero.addFilter(_concerns_us)
    for message in (
        "Experiment logs directory",
        ".*LeafSpec",
        ".*sync_dist=True",
        ".*flops_per_batch",
    ):
        warnings.filterwarnings("ignore", message=message)


def _concerns_us(line: logging.LogRecord) -> bool:
    return not any(word in line.getMessage() for word in ("litlogger", "litmodels", "Tip:"))


def _run(start: Start, given: Sequence[str]) -> None:
    jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    # On each file alone, interpolation would miss what a later file or flag overrides.
    options = {"parser_mode": "omegaconf+", "usage": argparse.SUPPRESS}
    parser_options: dict[str, Any] = options | dict.fromkeys(SUBCOMMANDS, options)
    before = sys.argv[1:]
    sys.argv[1:] = given  # what the processes that Lightning launches are called with
    try:
        RAS2SCLI(
            start,
            subclass_mode_data=True,
            parser_class=Parser,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False, "start": start},
            parser_kwargs=parser_options,
        )
    finally:
        sys.argv[1:] = before


def main(args: Sequence[str]) -> int:
    """Trains, validates or tests.

    Args:
        args: The subcommand and what follows it.

    Returns:
        The exit code, as of ``cli.main``.
    """
    _silence_clutter()
    start, code, message = None, 1, ""
    ended: BaseException | None = None
    try:
        start, given = begin(args)
        _run(start, given)
        code = 0
    except SIGTERMException as error:
        code, ended = 128 + signal.SIGTERM, error
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        (code, message), ended = verdict(error), error
    except Stopped as stop:  # of a process that another one has launched, a failure would kill both
        code = 0 if os.environ.get("LOCAL_RANK", "0") != "0" else int(stop.code or 0)
    except SystemExit as end:  # of --help, and of Lightning at the second Ctrl-C
        code = end.code if isinstance(end.code, int) else 0
        raise
    finally:
        place = None
        if start is not None:
            if code and start.has_begun:
                status = "failed" if message else "stopped"
                record.finish(start.run, status, message or None)
            if ended is not None and message and (start.has_begun or (code == 1 and start.is_new)):
                place = write_traceback(start.run, ended)
            finish_wandb(start.run, code)
            start.discard()
    if message and (processes.rank() == 0 or not isinstance(ended, UserError)):
        return fail(f"{message} (traceback: {place})" if place and code == 1 else message, code)
    return code
