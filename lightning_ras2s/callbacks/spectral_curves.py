"""Spectra of single pixels: noisy, denoised and clean."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.scene_callback import SceneCallback, View
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.drawing import SpectralAxis
from lightning_ras2s.pictures.gallery import Gallery, Subject
from lightning_ras2s.pictures.spectrum_figures import SceneSpectra, draw_spectra

LONGEST_SIDE = 512  # pixels of the scene's picture


class SpectralCurves(SceneCallback):
    """Shows spectra before and after denoising, of pixels that are marked in a picture.

    Args:
        folder: Of the pictures.
        scenes: As of SceneCallback.
        every_n_epochs: As of SceneCallback.
        pixels: Row and column of each pixel.
        points: Without ``pixels``, how many are drawn, spread over the scene.
        seed: These follow from it, and are the same at each showing.

    Raises:
        ValueError: If ``points`` or ``every_n_epochs`` is less than 1.
    """

    topic = "spectra"

    def __init__(
        self,
        folder: str,
        scenes: Sequence[str] = (),
        every_n_epochs: int = 1,
        pixels: Sequence[tuple[int, int]] = (),
        points: int = 4,
        seed: int = 2018,
    ) -> None:
        super().__init__(folder, scenes, every_n_epochs)
        if points < 1:
            raise ValueError(f"points is {points}; give at least 1, or name pixels")
        self.pixels = [(row, column) for row, column in pixels]
        self.points, self.seed = points, seed

    def look(self, view: View, network: nn.Module) -> SceneSpectra:
        """The spectra of the pixels, and a small picture of the scene."""
        height, width = view.noisy.shape[1:]
        pixels = self.pixels or spread_pixels(height, width, self.points, self.seed)
        inside = [(r, c) for r, c in pixels if 0 <= r < height and 0 <= c < width]
        rows, columns = np.array(inside, int).reshape(-1, 2).T
        images = view.images
        step = -(-max(height, width) // LONGEST_SIDE)
        reference = list(images.values())[-1][:, ::step, ::step]
        display = Display(reference, view.wavelengths, is_reflectance=view.is_reflectance)
        return SceneSpectra(
            {name: image[:, rows, columns].T for name, image in images.items()},
            inside,
            [pixel for pixel in pixels if pixel not in inside],
            (height, width),
            view.wavelengths,
            display(reference),
            display.caption,
        )

    def show(self, looks: dict[EvaluationItem, SceneSpectra], gallery: Gallery) -> None:
        """A picture of each scene, and in W&B a chart of each pixel too."""
        for item, found in looks.items():
            name = f"{item.scene} {item.noise_case}"
            self._tell_outside(item.scene, found)
            if not found.pixels:
                continue
            gallery.picture(name, draw_spectra(found, name), Subject.of(item))
            axis = SpectralAxis.of(found.spectra["noisy"].shape[1], found.wavelengths)
            for number, (row, column) in enumerate(found.pixels):
                pixel = f"{name} pixel {row},{column}"
                spectra = {key: found.spectra[key][number, axis.order] for key in found.spectra}
                gallery.curves(pixel, axis.values, spectra, axis.title, f"scaled value, {pixel}")

    def _tell_outside(self, scene: str, found: SceneSpectra) -> None:
        if found.outside:
            height, width = found.shape
            pixels = " nor ".join(f"{row},{column}" for row, column in found.outside)
            self.warn_once(
                f"scene {scene} is {height} x {width} (H x W) and has no pixel {pixels} (row, "
                "column, from 0); left out"
            )


def spread_pixels(height: int, width: int, points: int, seed: int) -> list[tuple[int, int]]:
    """At most one pixel in each cell of a grid, away from its edges, row by row.

    They are fewer than ``points`` where the grid would have cells smaller than a pixel.
    """
    rng = np.random.default_rng(seed)
    rows = min(max(round((points * height / width) ** 0.5), 1), points, height)
    columns = min(-(-points // rows), width)

    def place(cell: int, cells: int, length: int) -> int:
        start, stop = cell * length // cells, (cell + 1) * length // cells
        return start + int((stop - start) * rng.uniform(0.25, 0.75))

    cells = sorted(rng.permutation(rows * columns)[:points].tolist())
    return [(place(c // columns, rows, height), place(c % columns, columns, width)) for c in cells]
