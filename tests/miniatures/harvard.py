"""CZ_hsdb.tgz: MATLAB v5 files with ``ref`` [H, W, B], float64, and the mask ``lbl`` [H, W]."""

import io
import tarfile
from pathlib import Path

import numpy as np
import scipy.io

from tests.miniatures.content import blocks

SIZES = {  # two scenes of training, one of validation, two of the test: larger than their crops
    "img1": (64, 1030),
    "imgb4": (1026, 64),
    "imgh2": (520, 20),
    "imga1": (20, 530),
    "imgh3": (520, 24),
}


def write(raw: Path) -> dict[str, np.ndarray]:
    """Writes 5 small scenes of the 50."""
    cubes = {}
    raw.mkdir(parents=True, exist_ok=True)
    with tarfile.open(raw / "CZ_hsdb.tgz", "w:gz") as archive:
        for seed, (name, (height, width)) in enumerate(SIZES.items()):
            cubes[name] = blocks((31, height, width), 8, 1000, seed) / 1024
            cubes[name][:, 0, 0], cubes[name][:, -1, -1] = 0.0, 1.0  # outside of every crop
            file = io.BytesIO()
            mask = (np.arange(height)[:, None] >= 5) * np.ones(width)
            variables = {"ref": cubes[name].transpose(1, 2, 0), "lbl": mask}
            scipy.io.savemat(file, variables, do_compression=True)
            _add(archive, f"CZ_hsdb/{name}.mat", file.getvalue())
        _add(archive, "CZ_hsdb/calib.txt", b"1.0\n" * 31)
    return cubes


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
