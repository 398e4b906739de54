"""How a command begins: in which folder, and what it goes on with."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning_ras2s.options import refuse_linked
from lightning_ras2s.runs import processes
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.experiment_files import config_files, runs_of, spelled_out
from lightning_ras2s.runs.folder import RunFolder, make_folder, names_for
from lightning_ras2s.runs.resume import Resumption, find_resumption, without_resume

RUN_DIR = "RAS2S_RUN_DIR"  # tells the processes that Lightning launches the folder of their run


@dataclass
class Start:
    """How a command begins.

    Attributes:
        command: As it was typed.
        experiment: Its name.
        run: Where it runs.
        is_new: Whether this process has made the folder, to be removed unless it becomes a run.
        resumption: What it goes on with.
        overrides: What the configuration changes of that: the values before and now.
        has_begun: Whether this process has written the record of the run.
    """

    command: str
    experiment: str
    run: RunFolder
    is_new: bool
    resumption: Resumption | None
    overrides: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    has_begun: bool = False

    def move_to(self, path: Path) -> None:
        """Runs in the folder that the configuration names.

        Raises:
            UserError: If the checkpoints of another training lie there.
        """
        if path != self.run.path:
            self.discard()
            self.run = RunFolder(path)
            self.is_new = not path.exists() and processes.rank() == 0
        os.environ[RUN_DIR] = str(path)
        if self.resumption is None and self.run.weights is not None and not processes.is_launched():
            raise UserError(
                f"run_dir={path}: holds the checkpoints of a training; go on with it "
                f"(RESUME={path}), or give another folder"
            )

    def discard(self) -> None:
        """Removes the folder that was made for nothing."""
        if self.is_new and not self.run.is_run and not self.run.traceback_file.exists():
            self.run.discard()


def begin(args: Sequence[str]) -> tuple[Start, list[str]]:
    """How the command begins, and its words for the parser.

    The run's folder is the same for all its processes. Those that Lightning launches are told it.
    Those that torchrun or srun starts choose it themselves, each by the job's name: the first one
    puts nothing there before all of them have met. A single process makes it at once.
    """
    typed = spelled_out(args)
    files = config_files(typed)
    refuse_linked(typed, files)
    runs = runs_of(files)
    resumption = find_resumption(typed, runs)
    command = shlex.join(["ras2s", *args])
    if resumption is not None:
        start = Start(command, runs.name, resumption.run, False, resumption)
        return start, resumption.args
    given = without_resume(typed)
    if RUN_DIR in os.environ and "LOCAL_RANK" in os.environ:
        return Start(command, runs.name, RunFolder(Path(os.environ[RUN_DIR])), False, None), given
    job = processes.job_name()
    run_id = os.environ.get("WANDB_RUN_ID")  # set by W&B's agents, which may start at once
    time = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    wanted = runs / (job or (f"{time}_{run_id}" if run_id else time))
    if processes.started() > 1:
        free = next(path for path in names_for(wanted) if not path.exists())
        return Start(command, runs.name, RunFolder(free), processes.rank() == 0, None), given
    if any(arg.partition("=")[0] == "--run_dir" for arg in given):
        return Start(command, runs.name, RunFolder(wanted), False, None), given
    return Start(command, runs.name, RunFolder(make_folder(wanted)), True, None), given
