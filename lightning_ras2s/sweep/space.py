"""W&B's search spaces, methods and early stopping, in terms of Optuna."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from lightning_ras2s.sweep.definition import Config, SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SEED = 2018


def search_space(config: Config) -> dict[str, BaseDistribution]:
    """The distribution of each parameter.

    Raises:
        SweepError: If one has no counterpart in Optuna, or a grid has one that is not finite.
    """
    space = {}
    for name, parameter in config["parameters"].items():
        try:
            space[name] = distribution(parameter)
        except (SweepError, ValueError) as error:
            raise SweepError(f"parameter {name}: {error}") from None
    return space


def distribution(parameter: Any) -> BaseDistribution:
    """One parameter's distribution, with the defaults that W&B has.

    Raises:
        SweepError: If there is none of the kind here.
        ValueError: If Optuna refuses its bounds.
    """
    from optuna import distributions as optuna

    if not isinstance(parameter, dict):
        raise SweepError(f"{parameter!r} needs value, values, or min and max")
    if "parameters" in parameter:
        raise SweepError("nested parameters are not known here; write the dotted name of each")
    if "probabilities" in parameter:
        raise SweepError("probabilities are not known here; leave them out, or repeat runs on W&B")
    if "value" in parameter or "values" in parameter:
        values = parameter["values"] if "values" in parameter else [parameter["value"]]
        if not isinstance(values, list) or not values:
            raise SweepError(f"values is {values!r}; give a list")
        return optuna.CategoricalDistribution([_choice(value) for value in values])
    kind, low, high = _bounds(parameter)
    if kind == "int_uniform":
        return optuna.IntDistribution(int(low), int(high))
    if kind == "uniform":
        return optuna.FloatDistribution(low, high)
    if kind == "log_uniform_values":
        return optuna.FloatDistribution(low, high, log=True)
    if kind == "q_uniform":
        step = parameter.get("q", 1)
        if all(isinstance(number, int) for number in (low, high, step)):
            return optuna.IntDistribution(int(low), int(high), step=step)
        return optuna.FloatDistribution(low, high, step=step)
    raise SweepError(
        f"distribution {kind} is known to W&B alone; here there are values, int_uniform, uniform, "
        "q_uniform and log_uniform_values"
    )


def _bounds(parameter: Config) -> tuple[str, float, float]:
    """The kind of distribution, which follows from the bounds where it is not named, and these."""
    kind = parameter.get("distribution")
    if not {"min", "max"} <= parameter.keys():
        if kind:
            return kind, 0, 0
        raise SweepError(f"{parameter!r} needs value, values, or min and max")
    low, high = parameter["min"], parameter["max"]
    for bound in (low, high):
        if not isinstance(bound, int | float):
            raise SweepError(
                f"the bound {bound!r} is not a number; YAML takes 1e-4 for a text, write 1.0e-4"
            )
    if kind is None and type(low) is not type(high):
        raise SweepError(f"of the bounds {low} and {high} one is whole; write both alike")
    return kind or ("int_uniform" if isinstance(low, int) else "uniform"), low, high


def _choice(value: Any) -> Any:
    """A value that Optuna can store and draw: lists and the like become JSON."""
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def grid(space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """All points of a grid, the last parameter varying fastest.

    Raises:
        SweepError: If a parameter has no finite number of values.
    """
    values = [_values(name, distribution) for name, distribution in space.items()]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def _values(name: str, distribution: BaseDistribution) -> list[Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step:
        low, step = distribution.low, distribution.step
        return [low + i * step for i in range(round((distribution.high - low) / step) + 1)]
    raise SweepError(
        f"parameter {name}: a grid needs values; use method random or bayes for {name}"
    )


def sampler(config: Config, drawn: int) -> BaseSampler:
    """Draws the next point: of a random sweep by chance, of a bayes one by TPE.

    Args:
        config: The sweep.
        drawn: The points drawn so far. As the seed follows from it, a sweep that is resumed draws
            what it would have drawn.
    """
    from optuna.samplers import RandomSampler, TPESampler

    kind = TPESampler if config["method"] == "bayes" else RandomSampler
    return kind(seed=SEED + drawn)


def pruner(config: Config) -> BasePruner:
    """W&B's hyperband as Optuna's successive halving, a step being one validation.

    Of the trials that reach validation ``min_iter * eta^n`` the best ``1/eta`` go on. ``max_iter``
    and ``s``, which W&B takes instead, stand for the ``min_iter`` that is s divisions by eta below.

    Raises:
        SweepError: If ``early_terminate`` or ``metric.target`` cannot be used.
    """
    from optuna.pruners import NopPruner, SuccessiveHalvingPruner

    if "target" in config["metric"]:
        raise SweepError("metric.target is known to W&B alone; leave it out, and say COUNT")
    if "early_terminate" not in config:
        return NopPruner()
    rule = config["early_terminate"]
    if not isinstance(rule, dict) or rule.get("type") != "hyperband":
        raise SweepError(f"early_terminate is {rule!r}; there is only type: hyperband")
    if "strict" in rule:
        raise SweepError("early_terminate.strict is known to W&B alone; leave it out")
    eta = _whole(rule, "eta", 2, default=3)
    if "min_iter" in rule:
        first = _whole(rule, "min_iter", 1)
    else:
        first = max(1, _whole(rule, "max_iter", 1) // eta ** _whole(rule, "s", 1))
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=eta)


def _whole(rule: Config, key: str, least: int, default: int | None = None) -> int:
    """A whole number of ``early_terminate``."""
    value = rule.get(key, default)
    if value is None:
        raise SweepError(f"early_terminate needs min_iter, or max_iter and s: {key} is missing")
    if not isinstance(value, int | float) or value % 1 != 0 or value < least:
        raise SweepError(f"early_terminate.{key} is {value!r}; give a whole number from {least}")
    return int(value)


def last_cut(config: Config) -> float:
    """No trial is stopped at this validation or later."""
    rule = config.get("early_terminate", {})
    return _whole(rule, "max_iter", 1) if "max_iter" in rule else float("inf")
