"""A run's curves: what its page draws as charts over the steps of the training."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lightning_ras2s.evaluation import HEADERS

MetricRow = dict[str, float]

# Of noise cases; orange is none, as it is what was denoised.
COLOURS = ("--blue", "--green", "--purple", "--sky", "--noisy", "--care")
VALIDATION = ("psnr_db", "ssim", "sam_rad", "ergas")


class Line(NamedTuple):
    """One column of ``metrics.csv``.

    Attributes:
        name: Shown in the legend and on hover.
        column: Its key.
        colour: A colour of the page's style.
    """

    name: str
    column: str
    colour: str


class Chart(NamedTuple):
    """What one chart shows over the steps of the training.

    Attributes:
        title: What the values are, with their unit.
        lines: At least one has values.
        log: Whether the axis is logarithmic, if all values are positive.
    """

    title: str
    lines: list[Line]
    log: bool = False


def charts(metrics: Sequence[MetricRow]) -> list[dict[str, Any]]:
    """What the page's script draws of what a training has logged.

    Args:
        metrics: The rows of ``metrics.csv``.
    """
    return [_drawn(c, metrics) for c in charts_of({column for row in metrics for column in row})]


def charts_of(columns: set[str]) -> list[Chart]:
    """The charts for the columns that there are."""
    cases = sorted({c.split("/")[1] for c in columns if c.startswith("val/") and c.count("/") == 2})
    rates = sorted(column for column in columns if column.startswith("lr-"))
    # Lightning's monitor names the sum over devices only where there are several.
    all_devices = "train/samples_per_sec"
    throughput = all_devices if all_devices in columns else "train/device/samples_per_sec"
    found = [Chart("Training loss", _one("train/loss"), log=True)]
    found += [Chart(f"Validation {HEADERS[m]}", _validation(m, cases)) for m in VALIDATION]
    found += [
        Chart("Learning rate", [line for rate in rates for line in _one(rate)]),
        Chart("Throughput (patches/s)", _one(throughput)),
        Chart("Gradient norm", _one("train/grad_norm"), log=True),
    ]
    there = [
        Chart(c.title, [line for line in c.lines if line.column in columns], c.log) for c in found
    ]
    return [chart for chart in there if chart.lines]


def _one(column: str) -> list[Line]:
    return [Line(column, column, COLOURS[0])]


def _validation(metric: str, cases: Sequence[str]) -> list[Line]:
    of_cases = [
        Line(case, f"val/{case}/{metric}", COLOURS[number % len(COLOURS)])
        for number, case in enumerate(cases)
    ]
    mean = f"val/{metric}"  # of what the network has denoised
    return [*of_cases, Line("mean" if cases else mean, mean, "--orange")]


def _drawn(chart: Chart, metrics: Sequence[MetricRow]) -> dict[str, Any]:
    lines, positive = [], True
    for line in chart.lines:
        rows = [row for row in metrics if line.column in row]
        values = [row[line.column] for row in rows]
        positive = positive and all(value > 0 for value in values if not math.isnan(value))
        lines.append(
            {
                "name": line.name,
                "colour": f"var({line.colour})",
                "width": 2.2 if line.name == "mean" else 1.5,
                "x": [row.get("step", math.nan) for row in rows],
                "epochs": [_or_none(row.get("epoch", math.nan)) for row in rows],
                "values": [_or_none(value) for value in values],
            }
        )
    return {"title": chart.title, "log": chart.log and positive, "lines": lines}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
