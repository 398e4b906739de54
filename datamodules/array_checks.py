"""What arrays of a user's are checked for: the order of their axes, and their values."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from datamodules.scene import DataNote

FAR = 10.0  # no clean cube of range [0, 1] goes beyond


def tell_order(cube: np.ndarray | Tensor, name: str) -> None:
    """Tells, in a `DataNote`, of a [B, H, W] that is probably a [H, W, B].

    Most scenes have fewer bands than rows and columns, and many are square. A batch has the order
    of torch's axes, so that only as many bands as rows make it suspicious.

    Args:
        cube: [B, H, W] or [N, B, H, W].
        name: The caller's for it.
    """
    bands, height, width = cube.shape[-3:]
    square = bands == height != width
    if not square and (cube.ndim == 4 or width >= min(bands, height)):
        return
    axes: Sequence[int] = (2, 0, 1) if cube.ndim == 3 else (0, 3, 1, 2)
    way = "permute" if isinstance(cube, Tensor) else "transpose"
    warnings.warn(
        f"{name} {list(cube.shape)} is read as {bands} bands of {height} x {width} pixels; if its "
        f"last axis holds the bands: {name}.{way}({', '.join(map(str, axes))})",
        DataNote,
        stacklevel=3,
    )


def check_unit_range(cube: Tensor, name: str) -> None:
    """Refuses values far outside [0, 1], and tells of such as are not finite.

    Args:
        cube: Floating-point, not empty.
        name: The caller's for it.

    Raises:
        ValueError: If the values are of another range.
    """
    low, high = (float(end) for end in cube.aminmax())
    if math.isnan(low) or math.isinf(low) or math.isinf(high):
        finite = cube[cube.isfinite()]
        wrong = cube.numel() - finite.numel()
        warnings.warn(
            f"{wrong} of {cube.numel()} values of {name} are not finite, and will not be behind "
            "the noise",
            DataNote,
            stacklevel=4,
        )
        if not len(finite):
            return
        low, high = float(finite.min()), float(finite.max())
    if low < -FAR or high > FAR:
        raise ValueError(
            f"{name} goes from {low:.6g} to {high:.6g}, and noise is made for [0, 1]: take "
            f"({name} - {low:.6g}) / {high - low:.6g}"
        )
