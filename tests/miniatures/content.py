"""What miniatures show: nothing symmetrical, and little enough to compress well."""

import numpy as np


def blocks(
    shape: tuple[int, int, int], low: int, high: int, seed: int, dtype: str = "uint16"
) -> np.ndarray:
    """A cube [B, H, W] of squares, each of some number from low to high."""
    size = 23  # divides no edge of a published crop
    bands, height, width = shape
    squares = (bands, -(-height // size), -(-width // size))
    values = np.random.default_rng(seed).integers(low, high, squares, endpoint=True, dtype=dtype)
    return values.repeat(size, axis=1).repeat(size, axis=2)[:, :height, :width]
