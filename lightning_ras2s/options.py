"""The options of our callbacks, and those that follow from another option."""

import inspect
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser

import datamodules
from datamodules import HSIDataModule
from lightning_ras2s.callbacks import (
    BandwiseQuality,
    Checkpoints,
    DenoisedFiles,
    DenoisedScenes,
    EvaluationTable,
    Inspector,
    MemoryAdvice,
    ModelArtifact,
    ProgressBar,
    RegionMasks,
    SpectralCurves,
    Throughput,
)
from lightning_ras2s.methods import METHODS
from lightning_ras2s.module import HSIDenoiser
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.folder import CHECKPOINTS, DENOISED, INSPECTOR, PICTURES

# Options of their own: those of an experiment come beside them, and none must be written again.
CALLBACKS: dict[str, type[L.Callback]] = {
    "checkpoints": Checkpoints,
    "learning_rates": LearningRateMonitor,
    "throughput": Throughput,
    "device_stats": DeviceStatsMonitor,
    "progress_bar": ProgressBar,
    "memory_advice": MemoryAdvice,
    "model_artifact": ModelArtifact,
    "evaluation_table": EvaluationTable,
    "denoised_files": DenoisedFiles,
    **{
        callback.topic: callback
        for callback in (DenoisedScenes, SpectralCurves, RegionMasks, BandwiseQuality, Inspector)
    },
}
FOLDERS = {  # of what the callbacks write, in that of the run
    "checkpoints": CHECKPOINTS,
    "evaluation_table": ".",
    "denoised_files": DENOISED,
    "scenes": PICTURES,
    "spectra": PICTURES,
    "regions": PICTURES,
    "bandwise": PICTURES,
    "inspector": INSPECTOR,
}
# How the parser tells an option that it does not know, and where it stands.
UNKNOWN = re.compile(r"[Uu]nrecognized arguments: (.*)|[Oo]ption '([\w.]+)'")
PLACE = re.compile(r'Parser key "(\w+)')
FOLLOW_THE_SEED = ("data.seed", "spectra.seed")  # seed_everything sets them, whatever else says


def add_options(parser: LightningArgumentParser) -> None:
    """Adds one for each callback; folders follow from the run's, seeds from ``seed_everything``."""
    for name, callback in CALLBACKS.items():
        parser.add_argument(f"--{name}", type=callback | None, default=None)
        parser.callback_keys.append(name)
    for name, inside in FOLDERS.items():
        join = partial(_inside, inside)
        parser.link_arguments("run_dir", f"{name}.init_args.folder", compute_fn=join)
    for name in FOLLOW_THE_SEED:
        target = name.replace(".", ".init_args.")
        parser.link_arguments("seed_everything", target, compute_fn=_seed)


def refuse_linked(args: Sequence[str], files: Sequence[Path]) -> None:
    """Raises UserError if an option is given that another one would override in silence."""
    given = [name for file in files for name in _names(_read_yaml(file.read_text()))]
    for arg, following in zip_longest(args, args[1:], fillvalue=""):
        option, equals, value = arg.partition("=")
        if option.startswith("--"):
            name = option.removeprefix("--").replace(".init_args", "")
            given += _names(_read_yaml(value if equals else following), name)
    for name in FOLLOW_THE_SEED:
        if name in given:
            raise UserError(
                f"{name} follows seed_everything: set that one (the noise of validation and test "
                "has a seed of its own, data.evaluation_seed)"
            )
    for name in FOLDERS:
        if f"{name}.folder" in given:
            raise UserError(f"{name}.folder lies in the run's folder: set run_dir")


def meant(message: str) -> str:
    """What to add to the parser's message: the option that was meant, or how to quote blanks."""
    found = UNKNOWN.search(message)
    if found is None:
        return ""
    word = (found[1] or found[2]).split()[0]
    if found[1] and not word.startswith("-"):
        return """; a value with blanks needs quotes of its own: ARGS="--model.loss='l2 + sam'\""""
    first, *others = word.lstrip("-").partition("=")[0].split(".")
    place = PLACE.search(message)
    group = place[1] if place else first if others else ""
    groups = _option_names()
    if group and group not in groups:
        near = get_close_matches(group, groups, n=1)
    else:
        names = groups.get(group) or {name for several in groups.values() for name in several}
        names |= set() if group else groups.keys()
        typed = (others or [first])[-1]
        near = [name for name in get_close_matches(typed, sorted(names), n=1) if name != typed]
        if typed in names and group in ("model", "data"):
            return "; another class has it, not the one that is chosen"
        if not near and group in ("model", "data"):
            return f"; {group} has {', '.join(sorted(names))}"
    return f"; did you mean {near[0]}?" if near else ""


def _option_names() -> dict[str, set[str]]:
    """The last parts of the options' names, by the first."""
    data = [getattr(datamodules, name) for name in datamodules.__all__]
    kinds: dict[str, list[Any]] = {
        "model": [HSIDenoiser, *(m.load() for m in METHODS.values() if m.kind == "network")],
        "data": [k for k in data if isinstance(k, type) and issubclass(k, HSIDataModule)],
        "trainer": [L.Trainer],
        **{name: [callback] for name, callback in CALLBACKS.items()},
        **{name: [] for name in ("run_dir", "ckpt_path", "seed_everything")},
    }
    return {
        group: {
            parameter.name
            for kind in members
            for parameter in inspect.signature(kind).parameters.values()
            if parameter.kind != parameter.VAR_KEYWORD
        }
        for group, members in kinds.items()
    }


def _read_yaml(text: str) -> Any:
    """None where it cannot be read, which the parser tells."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _names(value: Any, at: str = "") -> Iterator[str]:
    """The dotted names of all options in a nested value; ``init_args`` goes without saying."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _names(item, at if key == "init_args" else f"{at}.{key}".lstrip("."))
    else:
        yield at


def _inside(folder: str, run_dir: str) -> str:
    return str(Path(run_dir, folder))


def _seed(seed_everything: int | bool) -> int:
    """The seed of the data: the one of everything."""
    if isinstance(seed_everything, bool) or seed_everything < 0:
        raise UserError(f"seed_everything is {seed_everything}; give a number that is not negative")
    return seed_everything
