"""A page with a sweep's parallel coordinates: each trial is a line through its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from lightning_ras2s.sweep.definition import Config, as_text, goal, short_names


def page(
    config: Config, space: Mapping[str, BaseDistribution], trials: Sequence[FrozenTrial]
) -> str:
    """HTML that needs nothing else; a range of an axis that is dragged over picks trials.

    Args:
        config: The sweep.
        space: The distribution of each parameter; those with a single value are left out.
        trials: Finished ones. The better, the darker the line.
    """
    from plotly import graph_objects

    metric, values = config["metric"]["name"], [trial.value for trial in trials]
    names = {name: short for name, short in short_names(space).items() if not space[name].single()}
    axes = [
        {"label": short, **_axis(space[name], [trial.params[name] for trial in trials])}
        for name, short in names.items()
    ]
    line = {
        "color": values,
        "colorscale": "Viridis",
        "reversescale": goal(config) == "maximize",
        "showscale": True,
        "colorbar": {"title": {"text": metric}},
    }
    lines = graph_objects.Parcoords(
        line=line,
        dimensions=[*axes, {"label": metric, "values": values}],
        labelfont={"size": 15},
        tickfont={"size": 13},
        rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
    )
    figure = graph_objects.Figure(lines)
    plural = "s" if len(trials) > 1 else ""
    title = f"{config.get('name', 'sweep')}: {len(trials)} finished trial{plural}, the best dark"
    figure.update_layout(title=title, height=560, margin={"l": 130, "r": 60, "t": 120, "b": 40})
    return figure.to_html(include_plotlyjs=True)


def _axis(distribution: BaseDistribution, values: Sequence[Any]) -> dict[str, Any]:
    """Where on the axis each trial lies, and what is written there."""
    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        return {
            "values": [choices.index(value) for value in values],
            "tickvals": list(range(len(choices))),
            "ticktext": [as_text(choice) for choice in choices],
            "range": [0, len(choices) - 1],
        }
    if isinstance(distribution, FloatDistribution) and distribution.log:
        ticks = _ticks(distribution.low, distribution.high)
        return {
            "values": [math.log10(value) for value in values],
            "tickvals": [math.log10(tick) for tick in ticks],
            "ticktext": [f"{tick:g}" for tick in ticks],
            "range": [math.log10(distribution.low), math.log10(distribution.high)],
        }
    return {"values": list(values)}


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from low to high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]
