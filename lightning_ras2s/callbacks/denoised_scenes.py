"""Scenes before and after denoising, beside the clean ones: a picture of each scene."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.metrics import mpsnr, sam
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.drawing import ERROR_MAP, SIGNED_MAP
from lightning_ras2s.pictures.gallery import Gallery, Subject
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
    """Shows noisy, denoised by each method, and clean side by side, and the error that is left.

    There is a picture of each scene under each noise case. Without a clean scene, it shows what was
    removed: that should be noise only. Of large scenes it has every n-th pixel, as a mean of pixels
    would hide the noise.
    """

    topic = "scenes"

    def look(self, view: View, network: nn.Module) -> Look:
        """The pictures of a scene, and its quality."""
        step = math.ceil(max(view.noisy.shape[1:]) / LARGEST)
        thin = _every(step, view)
        images = thin.images
        reference = list(images.values())[-1]  # the clean one or, without it, the best
        display = Display(reference, view.wavelengths, is_reflectance=view.is_reflectance)
        if thin.clean is None:
            change = (thin.noisy - thin.best).median(0).values  # blind to outliers
        else:
            change = (thin.best - thin.clean).abs().mean(0)
        height, width = view.noisy.shape[1:]
        return Look(
            f"{height} x {width} pixels, {display.caption}"
            + (f", every {_ordinal(step)} pixel" if step > 1 else ""),
            {name: display(image) for name, image in images.items()},
            change.float().nan_to_num(1.0).clamp(-1, 1).cpu().numpy().astype(np.float16),
            {} if view.clean is None else _quality(view, view.clean),
        )

    def show(self, looks: dict[EvaluationItem, Look], gallery: Gallery) -> None:
        """A picture of each scene and noise case; the maps of a scene have one scale."""
        for scene in dict.fromkeys(item.scene for item in looks):
            cases = {item: look for item, look in looks.items() if item.scene == scene}
            limit = largest_change(list(cases.values()))
            for item, look in cases.items():
                name = f"{scene} {item.noise_case}"
                gallery.picture(name, draw_scene(name, look, limit), Subject.of(item))


def _every(step: int, view: View) -> View:
    """Every ``step``-th row and column of a scene."""

    def thinned(image: Tensor) -> Tensor:
        return image[:, ::step, ::step]

    clean = None if view.clean is None else thinned(view.clean)
    valid = None if view.valid is None else view.valid[..., ::step, ::step]
    noisy, denoised = thinned(view.noisy), thinned(view.denoised)
    methods = {name: thinned(image) for name, image in view.methods.items()}
    return replace(view, noisy=noisy, denoised=denoised, clean=clean, valid=valid, methods=methods)


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def _quality(view: View, clean: Tensor) -> dict[str, tuple[float, ...]]:
    images = {"noisy": view.noisy} | view.by_method
    valid = None if view.valid is None else view.valid[None]
    return {
        name: tuple(measure(image[None], clean[None], valid).item() for measure in (mpsnr, sam))
        for name, image in images.items()
    }


def largest_change(looks: Sequence[Look]) -> float:
    """The end of the scale of the maps."""
    maps = np.concatenate([np.abs(look.change).ravel() for look in looks]).astype(np.float32)
    return max(float(np.percentile(maps, PERCENTILE)), 1e-6)


def draw_scene(title: str, look: Look, limit: float) -> Figure:
    """The scene by every method, and the map, whose scale ends at ``limit``."""
    known = "clean" in look.pictures
    style = {
        "cmap": ERROR_MAP if known else SIGNED_MAP,
        "vmin": 0 if known else -limit,
        "vmax": limit,
    }
    columns = [*look.pictures, "error" if known else "removed"]
    sheet = Sheet(look.change.shape, columns, f"{title} ({look.caption})")
    for column, (name, picture) in enumerate(look.pictures.items()):
        quality = look.quality.get(name)
        caption = "{:.2f} dB, {:.3f} rad".format(*quality) if quality else ""
        sheet.picture(column, picture, caption)
    drawn = sheet.picture(len(look.pictures), look.change.astype(np.float32), "", **style)
    what = "mean absolute error" if known else "noisy - denoised, median"
    best = [name for name in look.pictures if name not in ("noisy", "clean")][-1]
    sheet.colour_bar(drawn, f"{what} of {best} over bands, data scaled to [0, 1]")
    return sheet.figure
