"""What the figures of scenes share: the axis of the spectrum, and panels of sizes in inches."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

FONT = 9  # points
# Orange is what was denoised, in every picture and page; no map and no region has it.
COLOURS = {"noisy": "#8c8c8c", "denoised": "#d55e00", "clean": "#000000"}
ERROR_MAP = "viridis"  # from none to large
SIGNED_MAP = "PRGn"  # what was removed, and gains: zero is white
GAP = 2.5  # usual steps between neighbours, beyond which a line over the spectrum is broken


OTHERS = ("#0072b2", "#00805c", "#a8558a", "#2b8fc9", "#7a4fbf", "#8a6d3b", "#1c2430")


def line_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How the lines of images are drawn, by name: noisy, those of methods, clean.

    The last method is orange; what it refines, dashed.
    """
    methods = [name for name in names if name not in ("noisy", "clean")]
    best = methods[-1] if methods else ""
    others = iter(OTHERS * len(methods))
    styles: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in ("noisy", "clean"):
            styles[name] = {"color": COLOURS[name], "linewidth": 0.8 if name == "noisy" else 2.0}
        elif name == best:
            styles[name] = {"color": COLOURS["denoised"], "linewidth": 1.3}
        elif f"{name}+S" == best:
            styles[name] = {"color": COLOURS["denoised"], "linewidth": 1.0, "linestyle": "--"}
        else:
            styles[name] = {"color": next(others), "linewidth": 0.9}
    return styles


class SpectralAxis(NamedTuple):
    """Where the bands of a scene are drawn.

    Attributes:
        order: Numbers of the bands, the shortest wave first, [B].
        values: Wavelengths in nm, or band numbers, in that order, [B].
        title: What ``values`` are, with their unit.
    """

    order: np.ndarray
    values: np.ndarray
    title: str

    @classmethod
    def of(cls, bands: int, wavelengths: np.ndarray | None) -> "SpectralAxis":
        """The axis of so many bands, with wavelengths in nm, in any order, or None."""
        if wavelengths is None:
            return cls(np.arange(bands), np.arange(bands), "band")
        order = np.argsort(wavelengths, kind="stable")
        return cls(order, wavelengths[order], "wavelength (nm)")

    @property
    def parts(self) -> list[slice]:
        """The runs of bands without a gap between them: lines and strips end at each."""
        steps = np.diff(self.values)
        usual = np.median(steps) if steps.size else 0.0
        after = np.flatnonzero(steps > GAP * max(usual, 1e-12)) + 1
        ends = [0, *after.tolist(), len(self.values)]
        return [slice(start, stop) for start, stop in pairwise(ends)]

    @property
    def edges(self) -> np.ndarray:
        """Left and right border of each band, [2, B]: half-way to its neighbours.

        At the ends of the parts, as far beyond as the band is wide on its other side.
        """
        edges = np.empty((2, len(self.values)))
        steps = np.diff(self.values)
        usual = float(np.median(steps)) if steps.size else 1.0
        for part in self.parts:
            values = self.values[part]
            half = np.diff(values) / 2 if len(values) > 1 else np.array([usual / 2])
            edges[0, part] = values - np.concatenate([half[:1], half[: len(values) - 1]])
            edges[1, part] = values + np.concatenate([half[: len(values) - 1], half[-1:]])
        return edges

    def broken(self, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and a curve [B] in this order, as a line takes them: NaN stands at each gap."""
        starts = [part.start for part in self.parts[1:]]
        values, curve = np.asarray(self.values, float), np.asarray(curve, float)
        return np.insert(values, starts, np.nan), np.insert(curve, starts, np.nan)

    def label(self, axis: Axes, title: bool) -> None:
        """Labels the axis, whole bands by whole numbers; with its title if asked."""
        if self.title == "band":
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if title:
            axis.set_xlabel(self.title, fontsize=FONT)


class Margins(NamedTuple):
    """Inches around panels."""

    left: float
    right: float
    top: float
    bottom: float


def panels(
    rows: int,
    columns: int,
    size: tuple[float, float],
    gap: tuple[float, float],
    margins: Margins,
) -> tuple[Figure, np.ndarray]:
    """A figure of equal panels, and the panels, [rows, columns].

    Sizes are given, as letting matplotlib find them takes longer than drawing.

    Args:
        rows: Of panels.
        columns: Of panels.
        size: Width and height of a panel, inches.
        gap: Between columns and between rows, inches.
        margins: Around all panels.
    """
    width = margins.left + columns * size[0] + (columns - 1) * gap[0] + margins.right
    height = margins.bottom + rows * size[1] + (rows - 1) * gap[1] + margins.top
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        rows,
        columns,
        left=margins.left / width,
        right=1 - margins.right / width,
        bottom=margins.bottom / height,
        top=1 - margins.top / height,
        wspace=gap[0] / size[0],
        hspace=gap[1] / size[1],
    )
    axes = grid.subplots(squeeze=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=FONT - 1)
    return figure, axes


def write_title(figure: Figure, title: str) -> None:
    """Writes a title into the upper left corner."""
    width, height = figure.get_size_inches()
    place = {"x": 0.15 / width, "y": 1 - 0.12 / height, "ha": "left", "va": "top"}
    figure.suptitle(title, fontsize=FONT + 2, parse_math=False, **place)


def show_image(axis: Axes, image: np.ndarray, title: str = "") -> None:
    """An image [H, W] or [H, W, 3] uint8, without ticks."""
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=FONT)
