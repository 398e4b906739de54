"""Tiles of a scene: overlapping windows that a network denoises, blended where they overlap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

AROUND = 16  # pixels that a tile sees beyond its own, on each side
SMALLEST = 2 * AROUND  # of a tile's own pixels, so that only neighbours overlap


@dataclass(frozen=True)
class Tiling:
    """A grid of tiles over an image.

    Attributes:
        height: Of the image.
        width: Of the image.
        own: Pixels of a tile's own, along rows and columns, at most, but at least ``SMALLEST``.
        around: Pixels that it sees beyond them; 0 for a single tile.
    """

    height: int
    width: int
    own: int
    around: int = AROUND

    def _edges(self, size: int) -> list[int]:
        count = max(1, min(-(-size // self.own), size // SMALLEST)) if self.around else 1
        return [size * number // count for number in range(count + 1)]

    def windows(self) -> Iterator[tuple[slice, slice]]:
        """What each tile sees, row after row."""
        for top, bottom in pairwise(self._edges(self.height)):
            for left, right in pairwise(self._edges(self.width)):
                yield (
                    slice(max(0, top - self.around), min(self.height, bottom + self.around)),
                    slice(max(0, left - self.around), min(self.width, right + self.around)),
                )

    def __len__(self) -> int:
        return (len(self._edges(self.height)) - 1) * (len(self._edges(self.width)) - 1)

    def sizes(self) -> list[int]:
        """Pixels of each window."""
        return [(r.stop - r.start) * (c.stop - c.start) for r, c in self.windows()]

    def blend(self, tiles: Sequence[np.ndarray], out: np.ndarray) -> None:
        """Puts the tiles together; from one to the next it goes linearly where both see.

        Tiles that agree come through to the last bit.

        Args:
            tiles: What became of each window, [h, w], in their order.
            out: [H, W].
        """
        rows, columns = self._edges(self.height), self._edges(self.width)
        across = len(columns) - 1
        windows = list(self.windows())
        strips = []
        for row in range(len(rows) - 1):
            window = windows[row * across][0]
            strip = np.empty((window.stop - window.start, self.width), np.float32)
            for column in range(across):
                number = row * across + column
                _join(strip.T, tiles[number].T, windows[number][1], columns[column], self.around)
            strips.append(strip)
        for row, strip in enumerate(strips):
            _join(out, strip, windows[row * across][0], rows[row], self.around)


def _join(out: np.ndarray, part: np.ndarray, window: slice, edge: int, around: int) -> None:
    """Adds a part along the first axis to what is there up to its edge."""
    if edge == 0:
        out[window] = part
        return
    both = slice(window.start, min(edge + around, window.stop))
    length = both.stop - both.start
    share = ((np.arange(length, dtype=np.float32) + 0.5) / length)[:, None]
    before, after = out[both], part[:length]
    out[both] = before + share * (after - before)
    out[both.stop : window.stop] = part[length:]


def fit_tiles(height: int, width: int, bands: int, memory: int, per_value: float) -> Tiling:
    """The largest tiles that a method can denoise in so many bytes; all in one where it fits.

    Args:
        height: Of the image.
        width: Of the image.
        bands: Of the scene.
        memory: Bytes that there are.
        per_value: Bytes that the method takes for each value of a tile.
    """
    pixels = memory / (per_value * bands)
    if height * width <= pixels:
        return Tiling(height, width, max(height, width), 0)
    side = int(pixels**0.5) - 2 * AROUND
    return Tiling(height, width, max(SMALLEST, side))
