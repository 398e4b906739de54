"""The inspector: one self-contained HTML page that shows a scene band by band, pixel by pixel."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady, DoubleTap, Tap
from bokeh.layouts import column, row
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    Div,
    LayoutDOM,
    LinearColorMapper,
    RadioButtonGroup,
    Slider,
    Span,
)
from bokeh.palettes import Greys256
from bokeh.resources import INLINE

from lightning_ras2s.pages.inspector_data import SceneData
from lightning_ras2s.pages.inspector_plots import (
    NAN_COLOUR,
    UNCERTAINTY,
    band_plots,
    below_each_other,
    in_a_row,
    pictures,
    region_colours,
)

CODE = Path(__file__).with_suffix(".js")
FONT = {"font-family": "system-ui, sans-serif", "font-size": "14px"}
WRAPPED = {"flex-wrap": "wrap", "row-gap": "4px"}
MIDDLE = {"align-self": "center"}
CHIP = (
    '<span style="display:inline-block; width:12px; height:12px; border-radius:3px; '
    'background:{}; margin:0 4px 0 12px"></span>{}'
)


def inspector_page(
    title: str,
    images: Mapping[str, np.ndarray],
    wavelengths: np.ndarray | None,
    masks: Mapping[str, np.ndarray],
    regions: int,
) -> str:
    """Makes the page of a scene, smaller than 25 MB; one that is too big is cropped to its centre.

    Args:
        title: Names the scene and the noise.
        images: ``noisy``, ``denoised`` and, where there is one, ``clean``: [B, H, W].
        wavelengths: Band centres in nm, [B], in any order; None, or one that is not finite, where
            unknown.
        masks: ``spatial`` or ``spectral`` or both or neither: integers [B, H, W] in 0..r-1.
        regions: How many regions r there are.

    Returns:
        HTML that asks for nothing from outside.
    """
    scene = SceneData.of(images, masks)
    if wavelengths is not None and not np.isfinite(wavelengths).all():
        wavelengths = None
    colours = region_colours(regions)
    sources = sources_of(scene, wavelengths)
    widgets = widgets_of(scene)
    grey = LinearColorMapper(Greys256, low=0, high=1, nan_color=NAN_COLOUR)
    cursor = Span(location=0, dimension="height", line_dash="dashed", line_width=1.5)
    panels, overlays = pictures(scene, sources["frame"], sources["marker"], grey, colours)
    x_label = "band" if wavelengths is None else "wavelength (nm)"
    plots = band_plots(scene, sources["bands"], cursor, x_label)
    corner = {"left": scene.columns.start, "top": scene.rows.start}
    drawn = {"grey": grey, "cursor": cursor, "panels": panels, "overlays": overlays}
    draw = CustomJS.from_file(CODE, **sources, **widgets, **corner, **drawn, palette=colours)
    widgets["slider"].js_on_change("value", draw)
    widgets["choice"].js_on_change("active", draw)
    for plot in [*panels, *plots]:
        plot.js_on_event(Tap, draw)
        plot.js_on_event(DoubleTap, draw)  # two quick clicks, also on different pixels
    parts = [_header(title, scene), _controls(widgets, colours), in_a_row(panels)]
    parts += [widgets["caption"], below_each_other(plots)]
    return _html(title, column(parts, sizing_mode="stretch_both", min_height=820), draw)


def _html(title: str, layout: LayoutDOM, on_ready: CustomJS) -> str:
    document = Document(title=title)
    document.add_root(layout)
    document.js_on_event(DocumentReady, on_ready)
    return file_html(document, INLINE)


def sources_of(scene: SceneData, wavelengths: np.ndarray | None) -> dict[str, ColumnDataSource]:
    """What the page draws from, and where it draws to.

    ``cubes`` and ``regions`` have a row for each cube and mask; ``frame`` has in one row the
    pictures of the band, and ``marker`` the pixel.
    """
    cubes = scene.cubes.values()
    size = len(scene.rows), len(scene.columns)
    frame = {name: [np.zeros(size, np.float32)] for name in [*scene.cubes, "difference"]}
    data = {
        "cubes": {
            "name": list(scene.cubes),
            "codes": [cube.codes for cube in cubes],
            "low": [cube.low for cube in cubes],
            "step": [cube.step for cube in cubes],
        },
        "regions": {"kind": list(scene.masks), "mask": list(scene.masks.values())},
        "frame": frame | {"overlay": [np.zeros(size, np.uint8)]},
        "marker": {"row": [scene.rows[size[0] // 2]], "column": [scene.columns[size[1] // 2]]},
        "bands": _band_columns(scene, wavelengths),
    }
    return {name: ColumnDataSource(columns, name=name) for name, columns in data.items()}


def _band_columns(scene: SceneData, wavelengths: np.ndarray | None) -> dict[str, Any]:
    """A row for each band, by wavelength; the page fills in the pixel's spectra and regions."""
    count = scene.shape[0]
    order = np.arange(count) if wavelengths is None else np.argsort(wavelengths, kind="stable")
    x = (np.arange(count) if wavelengths is None else wavelengths)[order].astype(np.float64)
    between = (x[1:] + x[:-1]) / 2
    first, last = (x[0] - 0.5, x[0] + 0.5) if count == 1 else (x[0], x[-1])
    data = {
        "band": order.tolist(),
        "x": x,
        "left": np.concatenate([[first], between]),
        "right": np.concatenate([between, [last]]),
        "label": [""] * count if wavelengths is None else [f"{each:.1f} nm" for each in x],
        "low": scene.limits[0][order],
        "high": scene.limits[1][order],
    }
    for name, psnr in scene.psnr.items():
        data[f"psnr_{name}"] = np.where(np.isinf(psnr), np.nan, psnr)[order]  # a gap in the curve
        data[f"title_{name}"] = [f"{name}, {_decibels(each)}" for each in psnr[order]]
    data |= {name: np.zeros(count) for name in scene.cubes}
    if UNCERTAINTY in scene.cubes:
        data |= {"lower": np.zeros(count), "upper": np.zeros(count)}
    return data | {kind: ["white"] * count for kind in scene.masks}


def widgets_of(scene: SceneData) -> dict[str, Any]:
    """The controls and the lines of text that change; a choice that is none is not shown."""
    bands = scene.shape[0]
    slider = Slider(start=0, end=max(bands - 1, 1), value=bands // 2, step=1, show_value=False)
    slider.update(sizing_mode="stretch_width", min_width=240, visible=bands > 1, styles=MIDDLE)
    labels = ["regions off", *scene.masks]
    return {
        "heading": Div(width=290, styles=FONT | MIDDLE | {"white-space": "nowrap"}),
        "slider": slider,
        "choice": RadioButtonGroup(labels=labels, active=0, visible=bool(scene.masks)),
        "caption": Div(styles=FONT | {"margin": "0 8px"}),
    }


def _controls(widgets: dict[str, Any], colours: list[str]) -> LayoutDOM:
    """One line, if there is room: the band, the overlay, and what colour each region has."""
    chips = [CHIP.format(colour, f"region {number}") for number, colour in enumerate(colours, 1)]
    choice = widgets["choice"]
    legend = Div(text="".join(chips), visible=choice.visible, styles=FONT | MIDDLE)
    line = [widgets["heading"], widgets["slider"], choice, legend]
    return row(line, sizing_mode="stretch_width", styles=WRAPPED)


def _header(title: str, scene: SceneData) -> Div:
    bands, height, width = scene.shape
    facts = f"{bands} band{'s' * (bands > 1)} of {height} x {width} pixels"
    if (len(scene.rows), len(scene.columns)) != (height, width):
        facts += (
            f"; shown are rows {scene.rows[0]} to {scene.rows[-1]} and columns "
            f"{scene.columns[0]} to {scene.columns[-1]}"
        )
    if scene.psnr:
        means = [f"{name} <b>{_decibels(psnr.mean())}</b>" for name, psnr in scene.psnr.items()]
        facts += f" &nbsp;|&nbsp; PSNR, mean over bands: {', '.join(means)}"
    if scene.has_unknown:
        facts += CHIP.format(NAN_COLOUR, "not a number")
    text = f'<b style="font-size: 20px">{escape(title)}</b> &nbsp; {facts}'
    return Div(text=text, disable_math=True, styles=FONT | {"margin": "10px 8px 2px"})


def _decibels(psnr: float) -> str:
    return "∞ dB" if np.isinf(psnr) else f"{psnr:.2f} dB"
