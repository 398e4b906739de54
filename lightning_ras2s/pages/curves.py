"""A run's curves as small charts with hover, drawn by Bokeh without a network connection."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightning_ras2s.evaluation import HEADERS

if TYPE_CHECKING:
    from bokeh.plotting import figure

MetricRow = dict[str, float]

MEAN_COLOUR = "#1a1a1a"
# Okabe and Ito's, which the colour-blind can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
FEW = 15  # points that get a marker each
VALIDATION = ("psnr_db", "ssim", "sam_rad", "ergas")


@dataclass(frozen=True)
class Line:
    """One column of ``metrics.csv``.

    Attributes:
        name: Shown in the legend and on hover.
        column: Its key.
        colour: A CSS colour.
    """

    name: str
    column: str
    colour: str


@dataclass(frozen=True)
class Chart:
    """What one chart shows over the steps of the training.

    Attributes:
        title: What the values are, with their unit.
        lines: At least one has values.
        log: Whether the axis is logarithmic, if all values are positive.
    """

    title: str
    lines: list[Line]
    log: bool = False


@dataclass(frozen=True)
class Curves:
    """Charts ready for a page.

    Attributes:
        library: Bokeh's own script, as an element.
        script: Draws the charts, as an element.
        charts: For each chart an element, in which it is drawn.
        legend: Name and colour of the lines of the validation, if there are several.
    """

    library: str
    script: str
    charts: list[str]
    legend: list[tuple[str, str]]


def curves(metrics: Sequence[MetricRow]) -> Curves | None:
    """Draws what a training has logged; None where nothing was.

    Args:
        metrics: The rows of ``metrics.csv``.
    """
    charts = charts_of({column for row in metrics for column in row})
    if not charts:
        return None
    from bokeh.embed import components
    from bokeh.resources import Resources

    figures = [_figure(chart, metrics) for chart in charts]
    for each in figures:
        each.x_range = figures[0].x_range  # zoomed together
    script, elements = components(figures)
    library = Resources(mode="inline", components=["bokeh"], log_level="error").render_js()
    return Curves(library, script, list(elements), _legend(charts))


def charts_of(columns: set[str]) -> list[Chart]:
    """The charts for the columns that there are."""
    cases = sorted({c.split("/")[1] for c in columns if c.startswith("val/") and c.count("/") == 2})
    rates = sorted(column for column in columns if column.startswith("lr-"))
    # Lightning's monitor names the sum over devices only where there are several.
    all_devices = "train/samples_per_sec"
    throughput = all_devices if all_devices in columns else "train/device/samples_per_sec"
    charts = [Chart("Training loss", _one("train/loss"), log=True)]
    charts += [Chart(f"Validation {HEADERS[m]}", _validation(m, cases)) for m in VALIDATION]
    charts += [
        Chart("Learning rate", [line for rate in rates for line in _one(rate)]),
        Chart("Throughput (patches/s)", _one(throughput)),
        Chart("Gradient norm", _one("train/grad_norm"), log=True),
    ]
    there = [
        Chart(c.title, [line for line in c.lines if line.column in columns], c.log) for c in charts
    ]
    return [chart for chart in there if chart.lines]


def _legend(charts: Sequence[Chart]) -> list[tuple[str, str]]:
    for chart in charts:
        if len(chart.lines) > 1 and chart.lines[0].column.startswith("val/"):
            return [(line.name, line.colour) for line in chart.lines]
    return []


def _one(column: str) -> list[Line]:
    return [Line(column, column, COLOURS[0])]


def _validation(metric: str, cases: Sequence[str]) -> list[Line]:
    of_cases = [
        Line(case, f"val/{case}/{metric}", COLOURS[number % len(COLOURS)])
        for number, case in enumerate(cases)
    ]
    mean = f"val/{metric}"
    whole = Line("mean", mean, MEAN_COLOUR) if cases else Line(mean, mean, COLOURS[0])
    return [*of_cases, whole]


def _figure(chart: Chart, metrics: Sequence[MetricRow]) -> "figure":
    from bokeh.models import HoverTool, PrintfTickFormatter
    from bokeh.plotting import figure

    points = {line: _points(line, metrics) for line in chart.lines}
    positive = all((data["y"][~np.isnan(data["y"])] > 0).all() for data in points.values())
    scale: Literal["log", "linear"] = "log" if chart.log and positive else "linear"
    plot: Any = figure(
        title=chart.title,
        height=250,
        min_width=280,
        sizing_mode="stretch_width",
        x_axis_label="step",
        y_axis_type=scale,
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag="box_zoom",
    )
    renderers = []
    for line, data in points.items():
        style: dict[str, Any] = {"name": line.name, "color": line.colour, "source": data}
        width = 2.2 if line.name == "mean" else 1.4
        renderers.append(plot.line("step", "y", line_width=width, **style))
        if len(data["step"]) <= FEW:
            plot.scatter("step", "y", size=5, **style)
    tips = [("", "$name"), ("step", "@step{0}"), ("epoch", "@epoch{0}"), ("value", "@y{%.5g}")]
    if any(np.isnan(data["epoch"]).any() for data in points.values()):
        tips.pop(2)
    mode: Literal["mouse", "vline"] = "mouse" if len(renderers) > 1 else "vline"
    plot.add_tools(
        HoverTool(renderers=renderers, tooltips=tips, formatters={"@y": "printf"}, mode=mode)
    )
    if scale == "linear":
        plot.yaxis.formatter = PrintfTickFormatter(format="%.4g")
    _plain(plot)
    return plot


def _points(line: Line, metrics: Sequence[MetricRow]) -> dict[str, np.ndarray]:
    rows = [row for row in metrics if line.column in row]
    columns = {"y": line.column, "step": "step", "epoch": "epoch"}
    return {
        name: np.array([row.get(column, math.nan) for row in rows])
        for name, column in columns.items()
    }


def _plain(plot: Any) -> None:
    """Aligned frames, quiet axes, tools that show only under the mouse."""
    plot.min_border_left = 58
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.outline_line_color = None
    plot.title.text_font_size = "13px"
    plot.grid.grid_line_color = "#eceff1"
    for axis in plot.axis:
        axis.axis_line_color = axis.major_tick_line_color = "#90a4ae"
        axis.minor_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = axis.axis_label_text_font_size = "11px"
