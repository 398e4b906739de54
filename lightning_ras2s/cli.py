"""The command line: LightningCLI on ``-c experiments/defaults.yaml -c experiments/<name>.yaml``."""

import argparse
import logging
import os
import shlex
import signal
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
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from omegaconf.errors import OmegaConfBaseException

from datamodules import DataError, HSIDataModule
from lightning_ras2s import run_record
from lightning_ras2s.account import AccountError, has_account
from lightning_ras2s.checkpoints import check
from lightning_ras2s.module import HSIDenoiser, NonFiniteLossError
from lightning_ras2s.options import UserError, add_options, refuse_linked
from lightning_ras2s.pages.report import write_report
from lightning_ras2s.resume import ResumeError, resumed
from lightning_ras2s.stop import Stopped
from lightning_ras2s.unessential import unessential
from lightning_ras2s.whole_files import written_aside

SUBCOMMANDS = ("fit", "validate", "test")
TRACEBACK = "RAS2S_TRACEBACK"  # set it to see where an error comes from
RUN_DIR = "RAS2S_RUN_DIR"  # tells the processes that Lightning launches the folder of their run


class Parser(LightningArgumentParser):
    """Raises its errors, in one line, instead of printing the usage and exiting."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Called by jsonargparse with the message of any parsing error."""
        raise UserError(one_line(message)) from ex


class SaveRunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` and ``run.json`` into the run's folder and tells W&B what is run.

    ``config.yaml`` keeps ``${run_dir}`` in place of the folder, so that a rerun gets its own.

    Args:
        args: As for Lightning's.
        command: The command line.
        kwargs: As for Lightning's.
    """

    def __init__(self, *args: Any, command: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.command = command

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lightning calls this once, on rank 0."""
        run_dir = Path(self.config.run_dir)
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        config.pop("run_dir")
        if str(config.get("ckpt_path")).startswith(str(run_dir)):
            config["ckpt_path"] = None  # it goes on; a rerun begins anew
        text = yaml.safe_dump(_with_run_dir(config, str(run_dir)), sort_keys=False)
        with written_aside(run_dir / self.config_filename) as aside:  # a kill leaves no half of it
            aside.write_text(text)
        record = run_record.start(run_dir, self.command, trainer, self.config.get("ckpt_path"))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.config.update(
                    {"config": self.config.as_dict(), "git_commit": record["git_commit"]},
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
        """The run's folder; our callbacks; one seed for weights, patches and pixels."""
        parser.add_argument("--run_dir", default=os.environ[RUN_DIR], help="the run's folder")
        add_options(parser)

    def _parse_ckpt_path(self) -> None:
        """Checks the file. Lightning's own puts its hyper-parameters over those that were given."""
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path and Path(path).suffix:  # not one of Lightning's words: best, last, hpc
            check(Path(path))

    def before_instantiate_classes(self) -> None:
        """Keeps W&B inside the run's folder, and offline without an account."""
        nodes = self.config[self.subcommand].trainer.num_nodes
        if nodes > 1 and job_name() is None:
            raise UserError(
                f"NODES={nodes}, but nothing tells where they meet: start it on each by torchrun "
                "or by SLURM (experiments/slurm/train.sh), or set MASTER_ADDR, MASTER_PORT and "
                "NODE_RANK"
            )
        os.environ[RUN_DIR] = self.config[self.subcommand].run_dir
        run_dir = Path(os.environ[RUN_DIR]).absolute()
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ[variable] = str(run_dir / "wandb")
        os.environ.setdefault("WANDB_SILENT", "true")
        loggers = str(self.config[self.subcommand].trainer.logger)
        if "Wandb" in loggers and not has_account() and "WANDB_MODE" not in os.environ:
            import wandb

            wandb.setup(wandb.Settings(mode="offline"))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Tells DDP that all steps have one graph, also where an ablation leaves weights unused."""
        trainer = super().instantiate_trainer(**kwargs)
        strategy = trainer.strategy
        if self.config[self.subcommand].trainer.strategy == "auto" and isinstance(
            strategy, DDPStrategy
        ):
            strategy._ddp_kwargs |= {"static_graph": True, "gradient_as_bucket_view": True}
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> L.Trainer:
        """Leaves out what is switched off; Lightning would put its own in the place of some."""
        given = config.get("callbacks") or []
        ours = [callback for callback in callbacks if callback is not None]
        together = [*(given if isinstance(given, list) else [given]), *ours]
        own = {"enable_checkpointing": Checkpoint, "enable_progress_bar": ProgressBar}
        for option, kind in own.items():
            if config.get(option) is None and not any(isinstance(c, kind) for c in together):
                config[option] = False
        return super()._instantiate_trainer(config, ours)

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
        self._report()

    def after_validate(self) -> None:
        """Writes the run's page."""
        self._report()

    def after_test(self) -> None:
        """Writes the run's page."""
        self._report()

    def _report(self) -> None:
        if self.trainer.is_global_zero:
            run_dir = Path(os.environ[RUN_DIR])
            run_record.update(run_dir, data=run_record.data_facts(self.trainer))
            run_record.finish(run_dir, "finished")
            rank_zero_info(f"Report: {write_report(run_dir)}")


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


def _runs_of(files: Sequence[Path]) -> Path:
    """The folder of an experiment's runs, named after its file.

    A rerun of a run's config.yaml is filed under that run's experiment, one of a sweep's best.yaml
    under the sweep.
    """
    last = files[-1] if files else Path("unnamed.yaml")
    above = {"config.yaml": 1, "best.yaml": 0}
    return Path(
        run_record.RUNS,
        last.absolute().parents[above[last.name]].name if last.name in above else last.stem,
    )


def _choose_run_dir(experiment: Path) -> None:
    """Names the run's folder, the same for all its processes.

    Processes that Lightning launches are told it. Those that torchrun or SLURM starts choose it
    themselves, each by the job's name, before the first one makes the folder.
    """
    if RUN_DIR in os.environ and "LOCAL_RANK" in os.environ:
        return
    job = job_name()
    run_id = os.environ.get("WANDB_RUN_ID")  # set by W&B's agents, which may start at once
    time = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder = experiment / (job or (f"{time}_{run_id}" if run_id else time))
    copies = (folder.with_name(f"{folder.name}_{n}") for n in count(2))
    os.environ[RUN_DIR] = str(next(f for f in chain([folder], copies) if not f.exists()))


def job_name() -> str | None:
    """What SLURM or torchrun calls the job, or where its processes meet; None for one process."""
    environment = os.environ
    if int(environment.get("SLURM_NTASKS", "1")) > 1:
        return f"slurm-{environment['SLURM_JOB_ID']}"
    name = environment.get("TORCHELASTIC_RUN_ID", "none")
    if name != "none":
        return f"job-{name}"
    if "MASTER_ADDR" in environment:
        return f"job-{environment['MASTER_ADDR']}-{environment.get('MASTER_PORT')}"
    return None


def _silence_clutter() -> None:
    """Drops an advertisement and warnings that concern nobody here.

    The metrics need no ``sync_dist``: they are means of a table that all processes share.
    """
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero.addFilter(lambda record: "litlogger" not in record.getMessage())
    for message in (
        "Experiment logs directory",
        ".*LeafSpec",
        ".*sync_dist=True",
        ".*flops_per_batch",
    ):
        warnings.filterwarnings("ignore", message=message)


def _note_failure(run_dir: Path, cause: str | BaseException | None) -> None:
    """Notes why a run has not come to its end; signals end it by what is no ``Exception``."""
    if isinstance(cause, Exception):
        cause = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, str):
        run_record.finish(run_dir, "failed", cause)
    else:
        run_record.finish(run_dir, "stopped")


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        args: The command line, by default that of the process.

    Returns:
        The exit code: 0; 2 for a mistake of the user's and 1 for a failure of the machine, which
        are told in one line on stderr; 143 if SIGTERM has ended the run, 130 if Ctrl-C has.
    """
    jsonargparse.set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    # On each file alone, interpolation would miss what a later file or flag overrides.
    options = {"parser_mode": "omegaconf+", "usage": argparse.SUPPRESS}
    parser_options: dict[str, Any] = options | dict.fromkeys(SUBCOMMANDS, options)
    _silence_clutter()
    typed = sys.argv[1:] if args is None else list(args)
    code, message = 2, ""
    try:
        configs = _config_files(typed)
        refuse_linked(typed, configs)
        experiment = _runs_of(configs)
        given = resumed(typed, experiment)
        _choose_run_dir(experiment)
        if args is None:
            sys.argv[1:] = given  # what the processes that Lightning launches are called with
        RAS2SCLI(
            HSIDenoiser,
            HSIDataModule,
            subclass_mode_data=True,
            parser_class=Parser,
            auto_configure_optimizers=False,
            save_config_callback=SaveRunConfig,
            save_config_kwargs={
                "save_to_log_dir": False,
                "command": shlex.join(["python", "-m", "lightning_ras2s", *typed]),
            },
            parser_kwargs=parser_options,
            args=args if args is None else given,
        )
        code = 0
    except (
        UserError,
        AccountError,
        DataError,
        NonFiniteLossError,
        ResumeError,
        FileNotFoundError,
    ) as error:
        message = str(error)
    except (RuntimeError, MemoryError) as error:
        notes = getattr(error, "__notes__", [])  # what we know of the cause
        if not notes or os.environ.get(TRACEBACK):
            raise
        first = next(iter(str(error).splitlines()), type(error).__name__).strip().rstrip(".")
        code, message = 1, ". ".join([first, *notes])
    except OmegaConfBaseException as error:
        message = one_line(str(error.msg))
    except (ValueError, OSError, MisconfigurationException) as error:
        if os.environ.get(TRACEBACK):
            raise
        code = 1 if isinstance(error, OSError) else 2
        message = f"{one_line(str(error))} ({TRACEBACK}=1 shows where)"
    except SIGTERMException:
        code = 128 + signal.SIGTERM
    except Stopped as stop:  # of a process that another one has launched, a failure would kill both
        code = 0 if os.environ.get("LOCAL_RANK", "0") != "0" else int(stop.code or 0)
    finally:
        if code and RUN_DIR in os.environ and run_record.is_own(Path(os.environ[RUN_DIR])):
            _note_failure(Path(os.environ[RUN_DIR]), message or sys.exc_info()[1])
        if "wandb" in sys.modules:
            with unessential("W&B's run is not closed", Exception):
                sys.modules["wandb"].finish(exit_code=code)
    if message:
        print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return code
