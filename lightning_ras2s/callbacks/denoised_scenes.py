"""Scenes before and after denoising, beside the clean ones: a picture of each scene."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.metrics import mpsnr, sam
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.gallery import Gallery
from lightning_ras2s.pictures.sheet import Sheet

LARGEST = 400  # pixels of a picture's longer side
PERCENTILE = 99.5  # of what is shown as a map; beyond it, the colour stays the same


class Look(NamedTuple):
    """What is kept of a scene under one noise case.

    Attributes:
        caption: Which colours, and how many of the pixels.
        pictures: [H, W, 3] uint8 by column.
        change: [H, W] float16: the absolute error, mean over bands; where there is no clean scene,
            what the network removed, median over bands: what is left-over structure stands out.
        quality: PSNR in dB and SAM in rad by column; empty without a clean scene.
    """

    caption: str
    pictures: dict[str, np.ndarray]
    change: np.ndarray
    quality: dict[str, tuple[float, ...]]


class DenoisedScenes(SceneCallback):
    """Shows noisy, denoised and clean side by side, and the error that is left.

    A picture has a row for each noise case of its scene. Without a clean scene, it shows what the
    network removed: that should be noise only. Of large scenes it has every n-th pixel, as a mean
    of pixels would hide the noise.
    """

    topic = "scenes"

    def look(self, view: View, network: nn.Module) -> Look:
        """The pictures of a scene, and its quality."""
        step = math.ceil(max(view.noisy.shape[1:]) / LARGEST)
        thin = _every(step, view)
        images = thin.images
        display = Display(images.get("clean", images["denoised"]), view.wavelengths)
        if thin.clean is None:
            change = (thin.noisy - thin.denoised).median(0).values  # blind to outliers
        else:
            change = (thin.denoised - thin.clean).abs().mean(0)
        return Look(
            display.caption + (f", every {_ordinal(step)} pixel" if step > 1 else ""),
            {name: display(image) for name, image in images.items()},
            change.float().nan_to_num(1.0).clamp(-1, 1).cpu().numpy().astype(np.float16),
            {} if view.clean is None else _quality(view, view.clean),
        )

    def show(self, looks: dict[EvaluationItem, Look], gallery: Gallery) -> None:
        """A picture of each scene."""
        for scene in dict.fromkeys(item.scene for item in looks):
            cases = {item.noise_case: look for item, look in looks.items() if item.scene == scene}
            gallery.picture(scene, draw_scene(scene, cases))


def _every(step: int, view: View) -> View:
    """Every ``step``-th row and column of a scene."""

    def thinned(image: Tensor) -> Tensor:
        return image[:, ::step, ::step]

    clean = None if view.clean is None else thinned(view.clean)
    valid = None if view.valid is None else view.valid[..., ::step, ::step]
    noisy, denoised = thinned(view.noisy), thinned(view.denoised)
    return replace(view, noisy=noisy, denoised=denoised, clean=clean, valid=valid)


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def _quality(view: View, clean: Tensor) -> dict[str, tuple[float, ...]]:
    images = {"noisy": view.noisy, "denoised": view.denoised}
    valid = None if view.valid is None else view.valid[None]
    return {
        name: tuple(measure(image[None], clean[None], valid).item() for measure in (mpsnr, sam))
        for name, image in images.items()
    }


def draw_scene(scene: str, cases: dict[str, Look]) -> Figure:
    """A row for each noise case; the maps of all rows have one scale."""
    first = next(iter(cases.values()))
    known = "clean" in first.pictures
    maps = np.abs([look.change for look in cases.values()]).astype(np.float32)
    limit = max(float(np.percentile(maps, PERCENTILE)), 1e-6)
    style = {"cmap": "magma" if known else "PuOr", "vmin": 0 if known else -limit, "vmax": limit}
    columns = [*first.pictures, "error" if known else "removed"]
    sheet = Sheet(first.change.shape, list(cases), columns, f"{scene} ({first.caption})")
    for row, look in enumerate(cases.values()):
        for column, (name, picture) in enumerate(look.pictures.items()):
            quality = look.quality.get(name)
            caption = "{:.2f} dB, {:.3f} rad".format(*quality) if quality else ""
            sheet.picture(row, column, picture, caption)
        drawn = sheet.picture(row, len(look.pictures), look.change.astype(np.float32), "", **style)
    what = "mean absolute error" if known else "noisy - denoised, median"
    sheet.colour_bar(drawn, f"{what} over bands, data scaled to [0, 1]")
    return sheet.figure
