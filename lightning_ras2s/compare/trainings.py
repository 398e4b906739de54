"""The trainings of a comparison: which command each is, and what it leaves."""

import csv
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import yaml

from datamodules.base import HSIDataModule
from lightning_ras2s.callbacks.training_budget import CURVE
from lightning_ras2s.methods import Method
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.experiment_files import defaults, find
from lightning_ras2s.runs.folder import RunFolder
from lightning_ras2s.sweep.training import run_dir_option

FIRST_SEED = 2018
FACTORS = 1, 3, 10  # of the rates that are tried
PILOT = 0.1  # of the budget, to try one
UNTESTED = "--trainer.limit_test_batches=0"
LOOKED_AT = ("scenes", "spectra", "regions", "bandwise", "inspector", "device_stats")


@dataclass(frozen=True)
class Budget:
    """What each training has: minutes, or patches."""

    minutes: float | None = None
    patches: int | None = None

    def __str__(self) -> str:
        """In words."""
        if self.minutes is not None:
            return f"{self.minutes:g} minutes"
        return f"{self.patches:,} patches"

    def part(self, share: float) -> "Budget":
        """A share of it."""
        if self.minutes is not None:
            return Budget(minutes=share * self.minutes)
        return Budget(patches=max(1, round(share * (self.patches or 0))))

    @property
    def options(self) -> list[str]:
        """Of ``ras2s fit``."""
        callback = "--trainer.callbacks+=lightning_ras2s.callbacks.TrainingBudget"
        if self.minutes is not None:
            return [callback, f"--trainer.callbacks.minutes={self.minutes}"]
        return [callback, f"--trainer.callbacks.patches={self.patches}"]


@dataclass(frozen=True)
class Training:
    """One method with one seed.

    Attributes:
        method: A network of METHODS, without +S.
        seed: Of weights, patches and the noise of training.
        experiment: Whose data it is trained and tested on.
        budget: What it has.
        folder: Of the run.
        factor: Of the initial rate of the method's recipe.
        further: Options of ``ras2s fit``, of all trainings.
    """

    method: Method
    seed: int
    experiment: str
    budget: Budget
    folder: Path
    factor: float = 1.0
    further: tuple[str, ...] = ()

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """Loss, rate and optimizer of the method's own experiment, the rate times the factor."""
        chosen: dict[str, Any] = {}
        recipe = [find(self.method.recipe)] if self.method.recipe else []
        for path in (defaults(), *recipe):
            chosen |= yaml.safe_load(path.read_text()).get("model", {})
        return chosen | {"learning_rate": self.factor * float(chosen["learning_rate"])}

    @property
    def words(self) -> list[str]:
        """Of the command ``ras2s`` that runs it; networks of fixed bands get those of a patch."""
        recipe = self.recipe
        optimizer = recipe["optimizer"]
        bands = {"bands": self.patch_bands} if self.method.bands else {}
        return [
            "fit", self.experiment,
            *self.method.options(**bands),
            f"--model.loss={recipe['loss']}",
            f"--model.learning_rate={recipe['learning_rate']}",
            f"--model.optimizer={optimizer['class_path']}",
            *(f"--model.optimizer.{k}={v}" for k, v in optimizer.get("init_args", {}).items()),
            "--model.schedule=constant", "--model.methods=null",
            f"--seed_everything={self.seed}",
            "--trainer.max_epochs=-1", "--trainer.max_steps=-1", "--trainer.limit_val_batches=0",
            *self.budget.options,
            *(f"--{name}=null" for name in LOOKED_AT),
            *self.further,
        ]  # fmt: skip

    @property
    def command(self) -> list[str]:
        """The process that runs it, in its folder."""
        return [sys.executable, "-m", "lightning_ras2s", *self.words]

    @cached_property
    def patch_bands(self) -> int:
        """Of the experiment, as the options change it."""
        for word in reversed(self.further):
            name, _, value = word.partition("=")
            if name in ("--data.patch_bands", "--data.init_args.patch_bands"):
                return int(value)
        data = yaml.safe_load(find(self.experiment).read_text()).get("data", {})
        default = signature(HSIDataModule).parameters["patch_bands"].default
        return int(data.get("init_args", {}).get("patch_bands", default))

    def pilots(self) -> list["Training"]:
        """A tenth of it, untested, with the rate of the recipe, and with higher ones."""
        return [
            replace(
                self,
                budget=self.budget.part(PILOT),
                factor=factor,
                folder=self.folder.parent / "pilots" / f"{self.folder.name}_x{factor:g}",
                further=(*self.further, UNTESTED),
            )
            for factor in FACTORS
        ]

    @property
    def is_done(self) -> bool:
        """Whether its figures are there, and come of the same command."""
        is_pilot = UNTESTED in self.further
        run = RunFolder(self.folder)
        asked = shlex.join(["ras2s", *self.words, run_dir_option(self.folder)])
        is_same = run.record.get("command") == asked
        return is_same and run.record.get("status") == "finished" and (is_pilot or bool(run.means))

    @property
    def is_other(self) -> bool:
        """Whether its folder holds a training that came to its end, by another command."""
        return not self.is_done and RunFolder(self.folder).record.get("status") == "finished"

    def figures(self) -> Iterator[tuple[str, str, dict[str, float]]]:
        """Noise case, label of the method, and the means over the test scenes."""
        for row in RunFolder(self.folder).means:
            values = {name: float(row[name]) for name in METRICS}
            yield str(row["noise_case"]), str(row["method"]), values

    def curve(self) -> list[tuple[float, int, float]]:
        """Seconds, patches and PSNR (dB) on the way."""
        with (self.folder / CURVE).open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        return [(float(seconds), int(patches), float(psnr)) for seconds, patches, psnr in rows]


def plan(
    methods: Sequence[Method],
    seeds: int,
    experiment: str,
    budget: Budget,
    folder: Path,
    further: Sequence[str],
) -> list[Training]:
    """All trainings of a comparison, seed after seed.

    Raises:
        UserError: If a method has nothing to train.
    """
    for method in methods:
        if method.kind != "network":
            raise UserError(f"{method.label} has no weights to train; name networks: ras2s,hsdt_s")
    return [
        Training(
            method, FIRST_SEED + number, experiment, budget,
            folder / f"{method.key}_{FIRST_SEED + number}", further=tuple(further),
        )
        for number in range(seeds)
        for method in methods
    ]  # fmt: skip
