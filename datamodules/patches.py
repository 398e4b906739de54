"""Which patches to take, and how to turn them: shapes only, no files."""

from typing import NamedTuple

import numpy as np

from datamodules.scene import DataError


class PatchShape(NamedTuple):
    """Bands, height and width of a patch."""

    bands: int
    height: int
    width: int

    def fit(self, cube: tuple[int, ...], scene: str) -> None:
        """Checks that the patch fits a cube of shape [B, H, W].

        Raises:
            DataError: If it is empty or larger than the cube along some axis.
        """
        if any(p < 1 or p > c for p, c in zip(self, cube, strict=True)):
            raise DataError(
                f"scene {scene}: a patch of {'x'.join(map(str, self))} (bands x height x width) "
                f"does not fit its {'x'.join(map(str, cube))}; "
                "lower data.patch_bands or data.patch_size"
            )


def random_crop(cube: np.ndarray, shape: PatchShape, rng: np.random.Generator) -> np.ndarray:
    """A view of a random patch of ``shape`` of ``cube`` [B, H, W], its bands contiguous."""
    starts = [int(rng.integers(c - p + 1)) for c, p in zip(cube.shape, shape, strict=True)]
    return cube[tuple(slice(s, s + p) for s, p in zip(starts, shape, strict=True))]


def augment(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy, by one of the 8 flips and rotations; half of the time the bands are reversed.

    A patch that is not square is never turned by 90 degrees, so that it keeps its shape.
    """
    turns = int(rng.integers(4)) if patch.shape[1] == patch.shape[2] else 2 * int(rng.integers(2))
    patch = np.rot90(patch, turns, axes=(1, 2))
    if rng.integers(2):
        patch = patch[:, :, ::-1]
    if rng.integers(2):
        patch = patch[::-1]
    return patch.copy()  # np.ascontiguousarray keeps a negative stride along an axis of length 1
