"""Pavia.mat: MATLAB v5, ``pavia`` [H, W, B]."""

from pathlib import Path

import numpy as np
import scipy.io

from tests.miniatures.content import blocks


def write(raw: Path, bands: int = 102) -> dict[str, np.ndarray]:
    """Writes it at its full height and width, as the published crops need."""
    cube = blocks((bands, 1096, 715), 0, 8000, seed=1)
    raw.mkdir(parents=True, exist_ok=True)
    variables = {"pavia": cube.transpose(1, 2, 0)}
    scipy.io.savemat(raw / "Pavia.mat", variables, do_compression=True)
    return {"Pavia": cube}
