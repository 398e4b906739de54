"""Hyperspectral_Project.zip with dc.tif: one page, a plane per band, 16 bits."""

import io
import zipfile
from pathlib import Path

import numpy as np
import tifffile

from tests.miniatures.content import blocks


def write(raw: Path, bands: int = 191) -> dict[str, np.ndarray]:
    """Writes it at its full height and width, as the published crops need."""
    cube = blocks((bands, 1280, 307), -40, 14000, seed=2, dtype="int16")
    raw.mkdir(parents=True, exist_ok=True)
    image = io.BytesIO()
    tifffile.imwrite(image, cube, photometric="minisblack", planarconfig="separate", metadata=None)
    with zipfile.ZipFile(raw / "Hyperspectral_Project.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Hyperspectral_Project/dc.tif", image.getbuffer())
        archive.writestr("Hyperspectral_Project/dctest.project", "MultiSpec")
    return {"dc": cube}
