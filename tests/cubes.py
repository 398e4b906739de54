"""A folder of small smooth cubes, and a training on it that takes seconds."""

import numpy as np

FOLDER = (
    "--data.init_args.path=cubes",
    "--model.network.channels=2",
    "--data.patch_size=8",
    "--data.patch_bands=4",
    "--data.num_workers=0",
    "--trainer.accelerator=cpu",
)
"""Options of experiments/folder.yaml where the cubes lie in ``cubes``."""


def write_cubes(folder):
    """2 to train, 2 to validate, 3 to test, of 6 bands."""
    row, column = np.mgrid[:24, :20] / 20
    for split, scenes in (("train", 2), ("val", 2), ("test", 3)):
        (folder / split).mkdir(parents=True)
        for scene in range(scenes):
            cube = [np.sin(3 * row + b + scene) + np.cos(4 * column + b / 3) for b in range(6)]
            np.save(folder / split / f"{split}{scene}.npy", np.stack(cube).astype(np.float32))
