"""A dataset of three small scenes, which tests put on disk and prepare."""

import numpy as np

from datamodules.collection import Collection
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.stored import Excerpt
from tests.miniatures.icvl import write_mat

SHAPE = (4, 20, 16)
SCENES = ("one", "two", "three")


def toy(**changes):
    """Its collection."""
    facts = {
        "name": "toy",
        "title": "Toy scenes (Nobody 2026)",
        "page": "https://example.org/toy",
        "terms": "none",
        "scenes": {scene: Excerpt(scales=(1.0, 0.5)) for scene in SCENES},
        "shape": SHAPE,
        "values": (0, 4095),
        "wavelengths": np.arange(400.0, 440.0, 10.0),
        "read": read_upright,
    }
    return Collection(**(facts | changes))


def read_upright(path):
    """Reads a file of `write_mat`."""
    cube, wavelengths = read_cube(path)
    return np.rot90(cube, axes=(1, 2)), wavelengths


def cube_of(scene, shape=SHAPE):
    """The counts of a scene, which follow from its name."""
    rng = np.random.default_rng(list(scene.encode()))
    return rng.integers(0, 4096, shape).astype(np.float32)


def put(collection, *scenes):
    """Writes scenes into the raw folder."""
    collection.raw_folder.mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        write_mat(collection.raw_folder / f"{scene}.mat", cube_of(scene))


def data_module(collection, **options):
    """Trains on all scenes of a collection, on patches of 6 x 6 pixels."""

    class Toy(PreparedDataModule):
        strides = (2, 1)

        def scenes(self, split):
            names = tuple(self.collection.scenes)
            if split == "train":
                return self.training_scenes(names)
            return self.full_scenes(names, split)

    Toy.collection = collection
    small = {"batch_size": 2, "patch_size": 6, "patch_bands": 4, "patches_per_epoch": 12}
    return Toy(**(small | options))
