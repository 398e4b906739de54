"""Which patches to take, and how to turn them: shapes only, no files."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from datamodules.scene import DataError, Window


class PatchShape(NamedTuple):
    """Bands, height and width of a patch."""

    bands: int
    height: int
    width: int

    def fits(self, cube: tuple[int, int, int]) -> bool:
        """Whether it is not empty and no larger than a cube [B, H, W] along any axis."""
        return all(1 <= p <= c for p, c in zip(self, cube, strict=True))

    def require_fit(self, cube: tuple[int, int, int], scene: str) -> None:
        """Raises DataError if it does not fit."""
        if not self.fits(cube):
            raise DataError(
                f"scene {scene}: a patch of {'x'.join(map(str, self))} (bands x height x width) "
                f"does not fit its {'x'.join(map(str, cube))}; "
                "lower data.patch_bands or data.patch_size"
            )


def free_places(valid: np.ndarray | None, shape: PatchShape) -> np.ndarray | None:
    """Where patches of valid pixels alone may begin.

    Args:
        valid: [H, W], or [B, H, W], of which all bands must be valid; None for everywhere.
        shape: Of the patches, which fits.

    Returns:
        [H - height + 1, W - width + 1] bool; None for everywhere.
    """
    if valid is None:
        return None
    missing = ~(valid if valid.ndim == 2 else valid.all(axis=0))
    if not missing.any():
        return None
    sums = np.zeros((missing.shape[0] + 1, missing.shape[1] + 1), np.int64)
    sums[1:, 1:] = missing.cumsum(0).cumsum(1)
    down, across = shape.height, shape.width
    inside = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across]
    return inside + sums[:-down, :-across] == 0


def random_window(
    cube: tuple[int, int, int],
    shape: PatchShape,
    rng: np.random.Generator,
    places: np.ndarray | None = None,
) -> Window:
    """Where a random patch of ``shape`` lies in a cube [B, H, W]; its bands are consecutive.

    It begins at one of the ``places``, the numbers of those that `free_places` finds; anywhere
    without.
    """
    if places is not None:
        first_band = int(rng.integers(cube[0] - shape.bands + 1))
        place = int(places[rng.integers(len(places))])
        corner = (first_band, *divmod(place, cube[2] - shape.width + 1))
        bands, rows, columns = (_from(c, p) for c, p in zip(corner, shape, strict=True))
        return bands, rows, columns
    bands, rows, columns = (
        _from(int(rng.integers(c - p + 1)), p) for c, p in zip(cube, shape, strict=True)
    )
    return bands, rows, columns


class PatchGrid:
    """The places of all patches on regular grids, one grid per cube, numbered through.

    Args:
        cubes: Shapes [B, H, W].
        shape: Of the patches.
        strides: For each cube, the pixels between two patches, along rows and columns alike.
        free: For each cube, where patches may begin, as `free_places` gives it; by default
            anywhere. Places of the grid that are not free are none.
    """

    def __init__(
        self,
        cubes: Sequence[tuple[int, int, int]],
        shape: PatchShape,
        strides: Sequence[int],
        free: Sequence[np.ndarray | None] = (),
    ) -> None:
        self.cubes, self.shape, self.strides = cubes, shape, strides
        self.rows, self.columns = (
            [(c[axis] - shape[axis]) // s + 1 for c, s in zip(cubes, strides, strict=True)]
            for axis in (1, 2)
        )
        self.places = {
            cube: np.flatnonzero(there[:: strides[cube], :: strides[cube]])
            for cube, there in enumerate(free)
            if there is not None
        }
        grids = zip(self.rows, self.columns, strict=True)
        counts = [
            len(self.places[cube]) if cube in self.places else rows * columns
            for cube, (rows, columns) in enumerate(grids)
        ]
        self.ends = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def window(self, place: int, rng: np.random.Generator) -> tuple[int, Window]:
        """The cube's number and the patch of a place; its bands start anywhere, as ``rng`` says."""
        cube = int(np.searchsorted(self.ends, place, side="right"))
        number = place - (int(self.ends[cube - 1]) if cube else 0)
        if cube in self.places:
            number = int(self.places[cube][number])
        row, column = divmod(number, self.columns[cube])
        stride = self.strides[cube]
        first_band = int(rng.integers(self.cubes[cube][0] - self.shape.bands + 1))
        return cube, (
            _from(first_band, self.shape.bands),
            _from(row * stride, self.shape.height),
            _from(column * stride, self.shape.width),
        )


def _from(start: int, length: int) -> slice:
    return slice(start, start + length)


class Turn(NamedTuple):
    """One of the 8 flips and rotations of the plane, with or without a reversal of the bands."""

    quarters: int
    mirror: bool
    reverse: bool

    @classmethod
    def draw(cls, shape: PatchShape, rng: np.random.Generator) -> Self:
        """Any of them with equal chances; a patch that is not square keeps its shape."""
        square = shape.height == shape.width
        quarters = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        return cls(quarters, bool(rng.integers(2)), bool(rng.integers(2)))

    def __call__(self, patch: np.ndarray) -> np.ndarray:
        """A turned view of a patch [B, H, W]."""
        patch = np.rot90(patch, self.quarters, axes=(1, 2))
        if self.mirror:
            patch = patch[:, :, ::-1]
        if self.reverse:
            patch = patch[::-1]
        return patch
