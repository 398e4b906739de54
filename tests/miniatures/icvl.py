"""A miniature ICVL: MATLAB v7.3 files whose scenes lie on their side, as the publisher's do."""

import h5py
import numpy as np

from datamodules.collection import scene_list

WAVELENGTHS = np.arange(400.0, 701.0, 10.0)
HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Feb 22 10:00:00 2016"


def write(raw):
    """Two training, one validation and two test scenes; counts from 0 to 4095 at most."""
    rng = np.random.default_rng(2016)
    shapes = dict.fromkeys(scene_list("icvl_train")[:2], (256, 256))
    shapes |= dict.fromkeys(scene_list("icvl_val")[:1] + scene_list("icvl_test")[:2], (80, 72))
    scenes = {scene: blocks(rng, height, width) for scene, (height, width) in shapes.items()}
    for scene, cube in scenes.items():
        write_mat(raw / f"{scene}.mat", cube)
    return scenes


def blocks(rng, height, width, size=16):
    """Counts [31, height, width] that are constant in blocks of pixels, for gzip's sake."""
    counts = rng.integers(0, 4096, (31, -(-height // size), -(-width // size)))
    return np.kron(counts, np.ones((1, size, size)))[:, :height, :width]


def write_mat(path, cube):
    """Writes an upright cube [B, H, W] as MATLAB writes a scene that lies on its side."""
    with h5py.File(path, "w", userblock_size=512) as file:
        _variable(file, "rad", cube[:, ::-1, :].astype(np.float64))
        _variable(file, "bands", WAVELENGTHS[: len(cube), None])
    with path.open("r+b") as file:
        file.write(HEADER.ljust(116) + bytes(8) + b"\x00\x02IM")  # version 2, little-endian


def _variable(file, name, values):
    chunks = tuple(min(size, 64) for size in values.shape)
    variable = file.create_dataset(name, data=values, chunks=chunks, compression="gzip")
    variable.attrs["MATLAB_class"] = np.bytes_("double")
