"""Urban_F210.mat, MATLAB v5 with the pixels of a band column by column; and the ENVI pair."""

from pathlib import Path

import numpy as np
import scipy.io
import spectral.io.envi as envi

from tests.miniatures.content import blocks


def write(raw: Path) -> dict[str, np.ndarray]:
    """Writes the .mat at its full size."""
    cube = scene()
    bands, rows, columns = cube.shape
    raw.mkdir(parents=True, exist_ok=True)
    variables = {
        "Y": cube.transpose(0, 2, 1).reshape(bands, -1),
        "nRow": float(rows),
        "nCol": float(columns),
        "nBand": float(bands),
        "SlectBands": np.arange(5.0, 167.0)[:, None],
        "maxValue": 1000.0,
    }
    scipy.io.savemat(raw / "Urban_F210.mat", variables, do_compression=True)
    return {"Urban_F210": cube}


def write_envi(raw: Path) -> dict[str, np.ndarray]:
    """Writes the pair of the mirror in place of the .mat."""
    cube = scene()
    raw.mkdir(parents=True, exist_ok=True)
    image = cube.transpose(1, 2, 0)
    envi.save_image(str(raw / "Urban_F210.hdr"), image, interleave="bsq", ext=".img")
    return {"Urban_F210": cube}


def scene() -> np.ndarray:
    """The upright cube [B, H, W]."""
    return blocks((210, 307, 307), 0, 1000, seed=3)
