"""Which bands are denoised well: PSNR and SSIM of each band, noisy and denoised."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.metrics import SSIM_WINDOW, Metric, band_psnr, band_ssim
from lightning_ras2s.pictures.drawing import SpectralAxis, line_styles
from lightning_ras2s.pictures.gallery import DPI, Gallery, Subject

NAMES = {"psnr": "psnr_db", "ssim": "ssim"}
TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
MEANS = {"psnr": "{:.2f} dB", "ssim": "{:.4f}"}
FEW = 60  # bands that are marked one by one


class Quality(NamedTuple):
    """The quality of a scene under one noise case, in order of its bands.

    Attributes:
        measures: psnr, in dB, and ssim, which scenes smaller than its window lack; of each, [B] by
            image: noisy, and by each method.
        wavelengths: Band centres in nm, [B]; None where unknown.
    """

    measures: dict[str, dict[str, np.ndarray]]
    wavelengths: np.ndarray | None

    @property
    def axis(self) -> SpectralAxis:
        """Where the bands are drawn."""
        return SpectralAxis.of(len(self.measures["psnr"]["noisy"]), self.wavelengths)


class BandwiseQuality(SceneCallback):
    """Shows PSNR and SSIM over the spectrum; their means are those of the evaluation's table.

    A scene without a clean one has nothing to be compared with, and is left out with a warning.
    """

    topic = "bandwise"

    def look(self, view: View, network: nn.Module) -> Quality | None:
        """Measures each band."""
        if view.clean is None:
            self.warn_once(f"scene {view.item.scene} has no clean reference; nothing to measure")
            return None
        measures = {"psnr": _measured(band_psnr, view)}
        height, width = view.clean.shape[1:]
        if min(height, width) >= SSIM_WINDOW:
            measures["ssim"] = _measured(band_ssim, view)
        else:
            self.warn_once(
                f"scene {view.item.scene} is {height} x {width} pixels; SSIM "
                f"needs {SSIM_WINDOW} x {SSIM_WINDOW} and is left out"
            )
        return Quality(measures, view.wavelengths)

    def show(self, looks: dict[EvaluationItem, Quality], gallery: Gallery) -> None:
        """A picture, two charts and a table of each scene and noise case."""
        for item, quality in looks.items():
            name = f"{item.scene} {item.noise_case}"
            gallery.picture(name, draw_quality(name, quality), Subject.of(item))
            axis = quality.axis
            for measure, images in quality.measures.items():
                lines = {image: values[axis.order] for image, values in images.items()}
                gallery.curves(f"{name} {measure}", axis.values, lines, axis.title, TITLES[measure])
            gallery.table(f"{name} table", *table_of(quality))


def _measured(measure: Metric, view: View) -> dict[str, np.ndarray]:
    assert view.clean is not None
    valid = None if view.valid is None else view.valid[None]
    images = {"noisy": view.noisy} | view.by_method
    return {
        name: measure(image[None], view.clean[None], valid)[0].double().cpu().numpy()
        for name, image in images.items()
    }


def table_of(quality: Quality) -> tuple[list[str], list[list[float | None]]]:
    """The names of the columns, and the rows; None where a wavelength is unknown."""
    bands = len(quality.measures["psnr"]["noisy"])
    unknown = np.full(bands, None)
    columns = {
        "band": np.arange(bands),
        "wavelength_nm": unknown if quality.wavelengths is None else quality.wavelengths,
    }
    for measure, images in quality.measures.items():
        columns |= {f"{NAMES[measure]} {image}": values for image, values in images.items()}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return list(columns), [list(row) for row in rows]


def draw_quality(name: str, quality: Quality) -> Figure:
    """A panel for each measure, over the spectrum; a band equal to its clean one is a gap."""
    axis = quality.axis
    height = 1.1 + 2.4 * len(quality.measures)
    figure = Figure((9, height), dpi=DPI)
    margins = {"left": 0.08, "right": 0.98, "top": 1 - 0.6 / height, "bottom": 0.55 / height}
    panels = figure.subplots(
        len(quality.measures), sharex=True, squeeze=False, gridspec_kw=margins | {"hspace": 0.2}
    )[:, 0]
    styles = line_styles(list(quality.measures["psnr"]))
    for axes, (measure, images) in zip(panels, quality.measures.items(), strict=True):
        for image, values in images.items():
            label = f"{image}, mean {MEANS[measure].format(values.mean())}"
            marker = "." if len(axis.values) <= FEW else ""
            line = axis.broken(values[axis.order])
            axes.plot(*line, marker=marker, label=label, **styles[image])
        axes.set_ylabel(TITLES[measure])
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, ncols=5, loc="lower right", bbox_to_anchor=(1, 0.97))
    panels[0].set_title(name, fontsize=10, loc="left", pad=22, parse_math=False)
    axis.label(panels[-1], title=True)
    return figure
