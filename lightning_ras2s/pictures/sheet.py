"""A row of pictures on one figure, laid out in pixels: matplotlib's own layouts are slow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lightning_ras2s.pictures.gallery import DPI

SIDE = 300  # pixels that the longer side of a small picture is enlarged to
NARROWEST = 120  # pixels of a column, for its captions
TOP, BOTTOM, BELOW, GAP = 62, 66, 26, 12  # pixels
LETTER = 8  # pixels, at most


class Sheet:
    """Equal pictures in named columns.

    Args:
        shape: Height and width of all pictures; small ones are enlarged by a whole number.
        columns: Their names, at the top.
        title: Over all.
    """

    def __init__(self, shape: tuple[int, ...], columns: Sequence[str], title: str) -> None:
        zoom = max(1, SIDE // max(shape))
        self.height, self.width = shape[0] * zoom, shape[1] * zoom
        self.pitch = max(self.width, NARROWEST) + GAP
        self.size = (
            max(GAP + len(columns) * self.pitch, 2 * GAP + LETTER * len(title)),
            TOP + self.height + BELOW + BOTTOM,
        )
        self.figure = Figure((self.size[0] / DPI, self.size[1] / DPI), dpi=DPI)
        self._write(GAP, 20, title, 10)
        for number, name in enumerate(columns):
            self._write(self._middle(number), TOP - 12, name, 9, ha="center")

    def picture(
        self, column: int, content: np.ndarray, caption: str = "", **style: Any
    ) -> AxesImage:
        """Puts a picture, [H, W, 3] uint8, or a map, [H, W], in its place, a caption below it."""
        left = self._middle(column) - self.width / 2
        axes = self._axes(left, TOP, self.width, self.height)
        axes.set_axis_off()
        self._write(self._middle(column), TOP + self.height + 11, caption, 8, ha="center")
        return axes.imshow(content, aspect="auto", interpolation="none", **style)

    def colour_bar(self, drawn: AxesImage, title: str) -> None:
        """Puts the scale of a map at the right, below the last column."""
        low, high = drawn.get_clim()
        width = self.pitch - 3 * GAP
        right, top = self.size[0] - 2 * GAP, self.size[1] - BOTTOM
        axes = self._axes(right - width, top, width, GAP)
        self.figure.colorbar(
            drawn,
            cax=axes,
            orientation="horizontal",
            ticks=[low, (low + high) / 2, high],
            format="{x:.2g}",
            extend="max" if low == 0 else "both",
        )
        axes.tick_params(labelsize=8)
        self._write(right, self.size[1] - 16, title, 8, ha="right")

    def _middle(self, column: int) -> float:
        return GAP + column * self.pitch + (self.pitch - GAP) / 2

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        across, down = self.size
        place = left / across, 1 - (top + height) / down, width / across, height / down
        return self.figure.add_axes(place)

    def _write(self, x: float, y: float, text: str, size: float, ha: str = "left") -> None:
        across, down = self.size
        self.figure.text(
            x / across, 1 - y / down, text, fontsize=size, ha=ha, va="center", parse_math=False
        )
