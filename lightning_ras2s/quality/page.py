"""``NAME.quality.html``: one page without a network that shows what was found about a scene."""

from dataclasses import replace
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.events import DocumentReady, DoubleTap, Tap
from bokeh.models import ColumnDataSource, CustomJS, LinearColorMapper, Span
from bokeh.palettes import Greys256
from bokeh.plotting import figure
from bokeh.resources import INLINE

from lightning_ras2s.pages.inspector import CODE, sources_of, widgets_of
from lightning_ras2s.pages.inspector_data import SceneData, what_fits
from lightning_ras2s.pages.inspector_plots import (
    NAN_COLOUR,
    REMOVED,
    UNCERTAINTY,
    band_plots,
    pictures,
)
from lightning_ras2s.pages.template import find_template
from lightning_ras2s.pictures.drawing import COLOURS
from lightning_ras2s.quality.assessment import Quality
from lightning_ras2s.quality.findings import findings, name_of_band

WORST = 10  # bands in the table
TALL, LOW = 300, 210  # pixels of the screen


def quality_page(quality: Quality) -> str:
    """Makes the page of a scene, smaller than 25 MB; the pictures are cropped where they must be.

    Args:
        quality: What was found.

    Returns:
        HTML that asks for nothing from outside.
    """
    subject = quality.subject
    count = 1 + (subject.denoised is not None) + (subject.standard_error is not None)
    _, rows, columns = what_fits(subject.shape, count, 0)
    window = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    part = SceneData.of(_images(quality, *window), {})
    scene = replace(part, shape=subject.shape, rows=rows, columns=columns)
    wavelengths = subject.wavelengths
    if wavelengths is not None and not np.isfinite(wavelengths).all():
        wavelengths = None
    sources, widgets = sources_of(scene, wavelengths), widgets_of(scene)
    bands = sources["bands"]
    bands.add(subject.bands[bands.data["band"]].tolist(), "number")
    grey = LinearColorMapper(Greys256, low=0, high=1, nan_color=NAN_COLOUR)
    cursor = Span(location=0, dimension="height", line_dash="dashed", line_width=1.5)
    panels, overlays = pictures(scene, sources["frame"], sources["marker"], grey, [])
    x_label = "band" if wavelengths is None else "wavelength (nm)"
    spectra = band_plots(scene, sources["bands"], cursor, x_label)[0]
    noise = _noise_plot(quality, sources["bands"], spectra.x_range, cursor, x_label)
    drawn = {"grey": grey, "cursor": cursor, "panels": panels, "overlays": overlays}
    corner = {"left": columns.start, "top": rows.start}
    draw = CustomJS.from_file(CODE, **sources, **widgets, **corner, **drawn, palette=[])
    widgets["slider"].js_on_change("value", draw)
    for plot in [*panels, spectra, noise]:
        plot.js_on_event(Tap, draw)
        plot.js_on_event(DoubleTap, draw)
    groups = {
        "controls": [widgets["heading"], widgets["slider"]],
        "pictures": panels,
        "caption": [widgets["caption"]],
        "bands": [spectra, noise],
        "noise": _noise_figures(quality),
        "removed": _removed_figures(quality),
    }
    for panel in panels:
        panel.update(sizing_mode="stretch_width", height=TALL + 40)
    for plot in (each for group in groups.values() for each in group if isinstance(each, figure)):
        plot.toolbar.update(active_drag=None, active_scroll=None, logo=None, autohide=True)
    return _html(quality, groups, scene, draw)


def _images(quality: Quality, rows: slice, columns: slice) -> dict[str, np.ndarray]:
    """In the units of the file."""
    subject = quality.subject
    part = subject.read(rows, columns)
    images = {"noisy": subject.low + subject.size * part.noisy}
    if part.denoised is not None:
        images["denoised"] = subject.low + subject.size * part.denoised
    if subject.standard_error is not None:
        images[UNCERTAINTY] = subject.size * subject.standard_error(rows, columns)
    if part.valid is not None:
        images = {name: np.where(part.valid, image, np.nan) for name, image in images.items()}
    return images


def _html(
    quality: Quality, groups: dict[str, list[Any]], scene: SceneData, on_ready: CustomJS
) -> str:
    subject, (trust, lines) = quality.subject, findings(quality)
    title = subject.denoised or subject.name
    document = Document(title=title)
    for group in groups.values():
        for model in group:
            document.add_root(model)
    document.js_on_event(DocumentReady, on_ready)
    snr = quality.snr
    values = {
        "quality": quality,
        "trust": trust,
        "lines": lines,
        "groups": {name: [each.id for each in group] for name, group in groups.items()},
        "shown": (scene.rows, scene.columns)
        if (len(scene.rows), len(scene.columns)) != scene.shape[1:]
        else None,
        "worst": [(name_of_band(subject, place), place) for place in np.argsort(snr)[:WORST]],
        "snr": snr,
        "snr_after": quality.snr_after,
    }
    return file_html(
        document, INLINE, title, template=find_template("quality.html"), template_variables=values
    )


def _noise_plot(
    quality: Quality, bands: ColumnDataSource, x_range: Any, cursor: Span, x_label: str
) -> figure:
    """The noise before and after, in the units of the file, over the bands."""
    subject = quality.subject
    plot = figure(
        name="sigma",
        y_axis_label="sigma",
        height=LOW,
        x_range=x_range,
        y_axis_type="log",
        x_axis_label=x_label,
        tools="xpan,xbox_zoom,reset,save",
        sizing_mode="stretch_width",
        min_border_left=70,
    )
    order = np.asarray(bands.data["band"])
    curves = {"noisy": quality.before.sigma}
    if quality.sigma_after is not None:
        curves["denoised"] = quality.sigma_after
    for name, values in curves.items():
        shown = np.where(values > 0, subject.size * values, np.nan)[order]
        bands.add(shown, f"sigma_{name}")
        look = {"color": COLOURS[name], "legend_label": name, "line_width": 1.5}
        plot.line("x", f"sigma_{name}", source=bands, **look)
    plot.add_layout(plot.legend[0], "above")
    plot.legend.update(border_line_alpha=0, padding=0, margin=0, orientation="horizontal")
    plot.add_layout(cursor)
    plot.xgrid.visible = False
    return plot


def _noise_figures(quality: Quality) -> list[figure]:
    before = quality.before
    made = []
    if before.eigenvalues.size:
        values = np.maximum(before.eigenvalues, 1e-3)
        plot = _small("eigenvalues", "eigenvalues, in units of the noise", "number", "log")
        plot.line(np.arange(1, len(values) + 1), values, color=COLOURS["noisy"], line_width=1.5)
        plot.add_layout(Span(location=1, dimension="width", line_dash="dotted"))
        plot.add_layout(
            Span(location=before.dimensions + 0.5, dimension="height", line_dash="dashed")
        )
        made.append(plot)
    if before.brightness.size:
        subject = quality.subject
        plot = _small("brightness", "noise by brightness, of all noise", "brightness", "linear")
        x = subject.low + subject.size * before.brightness
        plot.line(x, before.by_brightness, color=COLOURS["noisy"], line_width=1.5)
        plot.scatter(x, before.by_brightness, color=COLOURS["noisy"], size=5)
        plot.y_range.start = 0
        made.append(plot)
    return made


def _removed_figures(quality: Quality) -> list[figure]:
    removed = quality.removed
    if removed is None:
        return []
    image = removed.averaged
    plot = _small("averaged", "removed, mean over bands (a picture: scene was taken)", "", "linear")
    end = float(np.percentile(np.abs(image), 99)) or 1.0
    height, width = image.shape
    plot.image(
        [image.astype(np.float32)], 0, 0, width, height,
        color_mapper=LinearColorMapper(REMOVED, low=-end, high=end),
    )  # fmt: skip
    plot.y_range.flipped = True
    plot.update(match_aspect=True, height=TALL)
    plot.axis.visible = plot.grid.visible = False
    lags = _small("alike", "removed: how alike its neighbours are (noise: 0)", "steps", "linear")
    curves = {
        "rows below": removed.down,
        "columns right": removed.across,
        "bands": removed.spectral,
    }
    for (name, values), colour in zip(
        curves.items(), ("#0072b2", "#d55e00", "#009e73"), strict=True
    ):
        steps = np.arange(1, len(values) + 1)
        look = {"color": colour, "legend_label": name}
        lags.line(steps, values, line_width=1.5, **look)
        lags.scatter(steps, values, size=5, **look)
    if any(values.size for values in curves.values()):
        lags.y_range.start, lags.y_range.end = -1, 1
        lags.legend.update(border_line_alpha=0, background_fill_alpha=0.6, padding=4)
    lags.height = TALL
    return [plot, lags]


def _small(name: str, title: str, x_label: str, scale: Any) -> figure:
    return figure(
        name=name,
        title=title,
        height=LOW,
        x_axis_label=x_label,
        y_axis_type=scale,
        tools="reset,save",
        sizing_mode="stretch_width",
    )
