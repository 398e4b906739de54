"""What the figures of scenes share: the axis of the spectrum, and panels of sizes in inches."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

FONT = 9  # points
COLOURS = {"noisy": "#b8b8b8", "denoised": "#d55e00", "clean": "#000000"}


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
    def edges(self) -> np.ndarray:
        """Borders half-way between the bands, and as far beyond the first and the last, [B + 1]."""
        if len(self.values) == 1:
            return self.values[0] + np.array([-0.5, 0.5])
        middles = (self.values[1:] + self.values[:-1]) / 2
        first, last = 2 * self.values[0] - middles[0], 2 * self.values[-1] - middles[-1]
        return np.concatenate([[first], middles, [last]])

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
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=FONT)
