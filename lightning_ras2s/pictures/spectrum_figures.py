"""Spectra of pixels of a scene, and a figure of them."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from lightning_ras2s.pictures.drawing import (
    FONT,
    Margins,
    SpectralAxis,
    line_styles,
    panels,
    show_image,
    write_title,
)

OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=2.5, foreground="black")]


class SceneSpectra(NamedTuple):
    """Spectra of some pixels of a scene, and a picture to mark them in.

    Attributes:
        spectra: [P, B] by image: noisy, by each method and, where there is one, clean.
        pixels: Their rows and columns, P.
        outside: The user's pixels that the scene does not have.
        shape: H and W of the scene.
        wavelengths: In nm, [B]; None where unknown.
        picture: The scene, uint8 [h, w, 3], every n-th pixel of it where it is large.
        caption: What the picture shows.
    """

    spectra: dict[str, np.ndarray]
    pixels: list[tuple[int, int]]
    outside: list[tuple[int, int]]
    shape: tuple[int, int]
    wavelengths: np.ndarray | None
    picture: np.ndarray
    caption: str


def draw_spectra(found: SceneSpectra, title: str) -> Figure:
    """The scene with its pixels marked, and a panel for the spectrum of each."""
    count = len(found.pixels)
    columns = int(np.ceil(count**0.5))
    rows = -(-count // columns)
    height, width = found.shape
    size = (3.8, max(2.1, 3.6 / rows))
    scene_height = rows * size[1] + (rows - 1) * 0.6
    scene_width = min(max(scene_height * width / height, 1.2), 5.0)
    margins = Margins(left=scene_width + 1.0, right=0.2, top=0.75, bottom=0.55)
    figure, axes = panels(rows, columns, size, (0.35, 0.6), margins)
    inches = figure.get_size_inches()
    corner = (0.25 / inches[0], margins.bottom / inches[1])
    scene = figure.add_axes((*corner, scene_width / inches[0], scene_height / inches[1]))
    _draw_scene(scene, found)
    _draw_panels(axes, found)
    write_title(figure, title)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, ncols=len(labels), loc="upper right", frameon=False, fontsize=FONT
    )
    return figure


def _draw_scene(axis: Axes, found: SceneSpectra) -> None:
    height, width = found.shape
    show_image(axis, found.picture)
    axis.images[0].set_extent((-0.5, width - 0.5, height - 0.5, -0.5))
    axis.set_xlabel(f"{height} x {width} pixels\n{found.caption}", fontsize=FONT)
    for number, (row, column) in enumerate(found.pixels, start=1):
        ring = axis.plot(column, row, "o", markersize=6, markerfacecolor="none", color="white")
        ring[0].set_path_effects(OUTLINE)
        left = column > width / 2  # the number stays within the picture
        label = axis.annotate(
            str(number),
            (column, row),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color="white",
            fontsize=11,
            fontweight="bold",
        )
        label.set_path_effects(OUTLINE)


def _draw_panels(axes: np.ndarray, found: SceneSpectra) -> None:
    spectral = SpectralAxis.of(found.spectra["noisy"].shape[1], found.wavelengths)
    limits, styles = value_limits(found.spectra), line_styles(list(found.spectra))
    marker = "o" if len(spectral.values) == 1 else ""
    for number, axis in enumerate(axes.flat):
        if number >= len(found.pixels):
            axis.set_axis_off()
            continue
        for name in _in_order(list(found.spectra)):
            line = spectral.broken(found.spectra[name][number, spectral.order])
            axis.plot(*line, label=name, marker=marker, **styles[name])
        row, column = found.pixels[number]
        axis.set_title(f"{number + 1}: row {row}, column {column}", fontsize=FONT)
        axis.set_ylim(limits)
        axis.spines[["top", "right"]].set_visible(False)
        if number % axes.shape[1]:
            axis.tick_params(labelleft=False)
        else:
            axis.set_ylabel("scaled value", fontsize=FONT)
        spectral.label(axis, title=number + axes.shape[1] >= len(found.pixels))


def _in_order(names: list[str]) -> list[str]:
    """As they are drawn: what coincides with the clean spectrum is seen on it."""
    return sorted(names, key=lambda name: {"noisy": 0, "clean": 1}.get(name, 2))


def value_limits(spectra: dict[str, np.ndarray]) -> tuple[float, float]:
    """From the lowest to the highest that matters, with some room; noise may leave the panel.

    All clean values matter, and of the denoised ones those that are no outliers.
    """
    best = [values for name, values in spectra.items() if name not in ("noisy", "clean")][-1]
    denoised = best[np.isfinite(best)]
    shown = [np.percentile(denoised, (1, 99), method="nearest")] if denoised.size else []
    shown += [spectra["clean"].ravel()] if "clean" in spectra else []
    values = np.concatenate(shown) if shown else np.array([0.0, 1.0])
    room = 0.1 * max(float(np.ptp(values)), 0.01, 0.001 * float(np.abs(values).max()))
    return float(values.min()) - room, float(values.max()) + room
