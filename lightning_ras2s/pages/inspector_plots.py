"""The plots of the inspector's page: pictures of a band above, what belongs to all bands below."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh import palettes
from bokeh.core.properties import value
from bokeh.layouts import gridplot
from bokeh.models import (
    BoxZoomTool,
    ColorBar,
    ColorMapper,
    ColumnDataSource,
    DataRange1d,
    FactorRange,
    GlyphRenderer,
    GridPlot,
    HoverTool,
    LinearColorMapper,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from lightning_ras2s.pages.inspector_data import LARGEST_DIFFERENCE, SceneData
from lightning_ras2s.pictures.drawing import COLOURS
from lightning_ras2s.pictures.region_figures import palette

ERROR = palettes.Magma256[::-1]
REMOVED = palettes.interp_palette(palettes.PuOr11, 255)
GRID: dict[str, Any] = {"toolbar_location": "right", "toolbar_options": {"logo": None}}
NAN_COLOUR = "#56b4e9"  # in none of the maps
LOWEST = 260  # pixels of the screen that the pictures keep where there is little room
FEW_BANDS = 40  # are dots, too
UNCERTAINTY = "uncertainty"  # the cube of predicted standard errors


def region_colours(regions: int) -> list[str]:
    """The colours of the figures, as a page names them."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette(regions)]


def pictures(
    scene: SceneData,
    frame: ColumnDataSource,
    marker: ColumnDataSource,
    grey: ColorMapper,
    colours: list[str],
) -> tuple[list[figure], list[GlyphRenderer]]:
    """The pictures of a band, which zoom together, and the overlays of regions on them."""
    place = {
        "x": scene.columns.start - 0.5,
        "y": scene.rows.start - 0.5,
        "dw": len(scene.columns),
        "dh": len(scene.rows),
        "source": frame,
    }
    regions = LinearColorMapper(colours, low=-0.5, high=len(colours) - 0.5)
    x_range, y_range = DataRange1d(range_padding=0), DataRange1d(range_padding=0, flipped=True)
    panels, images, overlays = [], [], []
    looks = {name: (name, grey) for name in scene.cubes if name != UNCERTAINTY}
    if len(looks) > 1:
        looks["difference"] = _difference(scene)
    if UNCERTAINTY in scene.cubes:
        looks[UNCERTAINTY] = _uncertainty(scene)
    for name, (title, mapper) in looks.items():
        panel = _panel(name, title, x_range=x_range, y_range=y_range)
        images.append(panel.image(name, **place, color_mapper=mapper))
        if scene.masks and mapper is grey:
            overlay = panel.image("overlay", **place, color_mapper=regions, alpha=0.5)
            overlays.append(overlay)
        for colour, width in (("black", 4), ("white", 2)):
            ring = {"size": 13, "line_color": colour, "line_width": width, "fill_color": None}
            panel.scatter("column", "row", source=marker, **ring)
        tips = [("row, column", "$y{0}, $x{0}"), (name, f"@{name}{{0.0000}}")]
        panel.add_tools(HoverTool(renderers=images[-1:], tooltips=tips))
        panel.add_layout(ColorBar(color_mapper=mapper, height=8, padding=4), "below")
        panels.append(panel)
    x_range.renderers = y_range.renderers = images
    return panels, overlays


def in_a_row(panels: list[figure]) -> GridPlot:
    """The pictures side by side, with one toolbar."""
    grid = gridplot([panels], **GRID, sizing_mode="stretch_both")
    grid.min_height = LOWEST
    return grid


def _uncertainty(scene: SceneData) -> tuple[str, LinearColorMapper]:
    """Likewise, of the predicted standard error."""
    values = scene.cubes[UNCERTAINTY].decode()
    known = values[np.isfinite(values)]
    end = float(np.percentile(known, LARGEST_DIFFERENCE)) if known.size else 1.0
    return "uncertainty, standard error", LinearColorMapper(
        ERROR, low=0, high=end or 1.0, nan_color=NAN_COLOUR
    )


def _difference(scene: SceneData) -> tuple[str, LinearColorMapper]:
    """The title of the last picture and its colours, the same for all bands."""
    end = scene.largest_difference or 1.0
    scale: dict[str, Any] = {"high": end, "nan_color": NAN_COLOUR}
    if "clean" in scene.cubes:
        return "error, |denoised - clean|", LinearColorMapper(ERROR, low=0, **scale)
    return "removed, noisy - denoised", LinearColorMapper(REMOVED, low=-end, **scale)


def _panel(name: str, title: str, **ranges: DataRange1d) -> figure:
    panel = figure(
        name=name,
        title=title,
        **ranges,
        match_aspect=True,
        tools="pan,wheel_zoom,reset,save",
        active_scroll="wheel_zoom",
        sizing_mode="stretch_both",
        min_height=LOWEST,
        background_fill_color="#f4f4f4",
    )
    panel.add_tools(BoxZoomTool(match_aspect=True))
    panel.grid.visible = panel.axis.visible = False
    return panel


def band_plots(
    scene: SceneData, bands: ColumnDataSource, cursor: Span, x_label: str
) -> list[figure]:
    """The pixel's spectra and its regions, and the PSNR, above each other."""
    x_range = Range1d(bands.data["left"][0], bands.data["right"][-1])
    plots = [_band_plot("spectra", 200, x_range, y_axis_label="value")]
    curves = {name: name for name in scene.cubes if name != UNCERTAINTY}
    if UNCERTAINTY in scene.cubes:
        look = {"fill_color": COLOURS["denoised"], "fill_alpha": 0.25, "legend_label": "± error"}
        plots[0].varea("x", "lower", "upper", source=bands, **look)
    _curves(plots[0], bands, curves)
    plots[0].add_layout(plots[0].legend[0], "above")
    if scene.masks:
        plots.append(
            _band_plot("regions", 52, x_range, y_range=FactorRange(*reversed(scene.masks)))
        )
        for kind in scene.masks:
            bar = {"left": "left", "right": "right", "height": 0.9, "line_color": None}
            plots[-1].hbar(y=value(kind), **bar, fill_color=kind, source=bands)
    if any(np.isfinite(psnr).any() for psnr in scene.psnr.values()):
        plots.append(_band_plot("psnr", 110, x_range, y_axis_label="PSNR (dB)"))
        _curves(plots[-1], bands, {name: f"psnr_{name}" for name in scene.psnr})
        plots[-1].legend.visible = False
    for plot in plots:
        plot.add_layout(cursor)
        plot.xaxis.visible = plot is plots[-1]
    plots[-1].height += 40
    plots[-1].xaxis.axis_label = x_label
    return plots


def below_each_other(plots: list[figure]) -> GridPlot:
    """The plots in a column, with one toolbar."""
    return gridplot([[plot] for plot in plots], **GRID, sizing_mode="stretch_width")


def _band_plot(name: str, height: int, x_range: Range1d, **options: Any) -> figure:
    plot = figure(
        name=name,
        height=height,
        x_range=x_range,
        tools="xpan,xbox_zoom,reset,save",
        sizing_mode="stretch_width",
        min_border_left=70,
        **options,
    )
    plot.xgrid.visible = False
    return plot


def _curves(plot: figure, bands: ColumnDataSource, columns: Mapping[str, str]) -> None:
    """Lines over the bands by their names; of few bands, dots too."""
    for name, y in columns.items():
        look = {"source": bands, "color": COLOURS[name], "legend_label": name}
        plot.line("x", y, **look, line_width=1.5)
        if len(bands.data["x"]) <= FEW_BANDS:
            plot.scatter("x", y, **look, size=5)
    plot.legend.update(orientation="horizontal", click_policy="hide", border_line_alpha=0)
    plot.legend.update(padding=0, margin=0)
    plot.yaxis.ticker.desired_num_ticks = 4
