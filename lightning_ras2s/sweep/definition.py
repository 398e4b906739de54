"""What a sweep file says: W&B's format, checked as far as any runner needs it."""

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.experiment_files import find

Config = dict[str, Any]
Parameters = Mapping[str, Any]

NEEDED = ("method", "metric", "parameters", "command")
KEYS = (
    *NEEDED,
    *("name", "description", "program", "project", "entity", "early_terminate", "run_cap"),
)
METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
EXPERIMENT = "EXPERIMENT"  # the variable that names the experiment's file
_VARIABLE = re.compile(r"\$\{envvar:([A-Z0-9_]+)\}")  # W&B has the same


class SweepError(UserError):
    """A mistake in a sweep file or in how it is run, told in one line."""


def read_sweep(path: Path) -> Config:
    """Reads a sweep file, which is there.

    Raises:
        SweepError: If it is no sweep in W&B's format.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SweepError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        _check(config)
    except SweepError as error:
        raise SweepError(f"{path}: {error}") from None
    return config


def _check(config: Any) -> None:
    if not isinstance(config, dict):
        raise SweepError(f"expected keys such as {', '.join(NEEDED)}, got {config!r}")
    for key in config:
        if key not in KEYS:
            close = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(KEYS)}"
            raise SweepError(f"unknown key {key!r}; {hint}")
    for key in NEEDED:
        if key not in config:
            raise SweepError(f"the key {key!r} is missing")
    metric, parameters, command = (config[key] for key in ("metric", "parameters", "command"))
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise SweepError(f"metric is {metric!r}; write for example {{name: val/psnr_db}}")
    for key, value, known in (
        ("method", config["method"], METHODS),
        ("metric.goal", goal(config), GOALS),
    ):
        if value not in known:
            raise SweepError(f"{key} is {value!r}; there are: {', '.join(known)}")
    if not isinstance(parameters, dict) or not parameters:
        raise SweepError(f"parameters is {parameters!r}; name at least one")
    if not isinstance(command, list) or "${args}" not in command:
        raise SweepError(f"command is {command!r}; give a list with '${{args}}' in it")
    cap = config.get("run_cap", 1)
    if not isinstance(cap, int) or cap < 1:
        raise SweepError(f"run_cap is {cap!r}; give a whole number from 1")


def goal(config: Config) -> Literal["maximize", "minimize"]:
    """``maximize`` or ``minimize``; W&B's default is the latter."""
    return config["metric"].get("goal", "minimize")


def variables(config: Config) -> dict[str, str]:
    """The environment variables that the command asks for.

    Raises:
        UserError: If one of them is not set, or there is no such EXPERIMENT.
    """
    names = _VARIABLE.findall(" ".join(map(str, config["command"])))
    for name in names:
        if name not in os.environ:
            raise SweepError(
                f"the sweep's command needs the environment variable {name}, which is not set; "
                "EXPERIMENT is what is trained: ras2s sweep SWEEP quickstart, for example"
            )
    if EXPERIMENT in names:
        find(os.environ[EXPERIMENT])
    return {name: os.environ[name] for name in names}


def fill_command(config: Config, parameters: Parameters) -> list[str]:
    """The command line of one trial.

    Raises:
        SweepError: If the command has a macro that is not known here, or an unset variable.
    """
    environment = variables(config)
    macros: dict[str, Sequence[str]] = {
        "${env}": (),
        "${interpreter}": (sys.executable,),
        "${program}": (str(config.get("program", "")),),
        "${args}": [f"--{name}={as_text(value)}" for name, value in parameters.items()],
    }
    filled: list[str] = []
    for part in map(str, config["command"]):
        text = _VARIABLE.sub(lambda match: environment[match[1]], part)
        if text.startswith("${") and text not in macros:
            raise SweepError(f"command: {text} cannot be filled in; known are {', '.join(macros)}")
        filled += macros.get(text, (text,))
    return filled


def as_text(value: Any) -> str:
    """A value as the command line of the training reads it: texts bare, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def as_shown(value: Any) -> str:
    """A value for people to read."""
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted name, or the whole of it where parts are alike."""
    short = {name: name.rsplit(".", 1)[-1] for name in names}
    parts = list(short.values())
    return {name: part if parts.count(part) == 1 else name for name, part in short.items()}
