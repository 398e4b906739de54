"""The methods as points: PSNR over the seconds that a scene takes (RAS2S, ECCV 2024, Fig. 1)."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_ras2s.tables.summary import Row, Table

COLOURS = {"network": "#00805c", "model-based": "#0072b2"}
SIZE = 6.2, 4.4  # inches of a panel
FONT = 8.5
LINE = 0.036  # share of the axis that a label takes


def draw_scatter(tables: Sequence[Table]) -> Figure:
    """A panel a dataset; hollow points are a method alone, filled ones with +S.

    PSNR is the mean over the noise cases, and over scenes and seeds.
    """
    shown = [table for table in tables if any(row.entries for row in table.rows)]
    width, height = SIZE
    figure = Figure(figsize=(width * max(1, len(shown)), height), layout="constrained")
    for number, table in enumerate(shown):
        axis = figure.add_subplot(1, len(shown), number + 1)
        axis.set_xscale("log")
        found = {row.method.key: _point(row) for row in table.rows}
        points = {key: point for key, point in found.items() if point is not None}
        for row in table.rows:
            if row.method.key not in points:
                continue
            x, y = points[row.method.key]
            colour = COLOURS[row.method.kind]
            face = colour if row.method.refined else "white"
            axis.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=6, zorder=3)
            if row.method.refined and row.method.base in points:
                before = points[row.method.base]
                axis.plot(*zip(before, (x, y), strict=True), color=colour, lw=0.8, alpha=0.5)
        _label(axis, table, points)
        cases = table.cases[0] if len(table.cases) == 1 else f"mean of {', '.join(table.cases)}"
        axis.set_title(f"{table.title}: {cases}", fontsize=FONT + 1)
        axis.set_xlabel("seconds a scene", fontsize=FONT)
        axis.set_ylabel("PSNR (dB)", fontsize=FONT)
        axis.tick_params(labelsize=FONT)
        axis.grid(color="#e4e8ed", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _point(row: Row) -> tuple[float, float] | None:
    value = row.mean("psnr_db")
    if row.method.base == "identity" or not math.isfinite(value):
        return None
    return max(row.seconds, 1e-3), value


def _label(axis: Axes, table: Table, points: dict[str, tuple[float, float]]) -> None:
    """Names beside the points, from the best down, none over another."""
    if not points:
        return
    low, high = (f(y for _, y in points.values()) for f in (min, max))
    margin = 0.06 * max(high - low, 1)
    axis.set_ylim(low - margin, high + 2 * margin)
    left, right = (f(x for x, _ in points.values()) for f in (min, max))
    axis.set_xlim(left / 1.6, right * 6)
    step = LINE * (high - low + 3 * margin)
    labels = {row.method.key: row.method.label for row in table.rows}
    taken: list[tuple[float, float]] = []
    for key, (x, y) in sorted(points.items(), key=lambda each: -each[1][1]):
        height = y
        near = [h for other, h in taken if 1 / 5 < x / other < 5]
        while any(abs(height - h) < step for h in near):
            height -= step / 4
        taken.append((x, height))
        axis.annotate(
            labels[key], (x, y), (x * 1.13, height), fontsize=FONT, va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "#9aa5b1"} if height != y else None,
        )  # fmt: skip
