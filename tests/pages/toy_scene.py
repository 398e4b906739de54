"""Small scenes as the viewer shows them."""

import numpy as np

from lightning_ras2s.pages.packed import Quantised
from lightning_ras2s.pages.viewer import SceneCase, ViewedScene, what_fits
from lightning_ras2s.pictures.region_figures import RegionKey

ERRORS = {"Noisy": 0.1, "Median": 0.05, "RAS2S": 0.02, "RAS2S+S": 0.01, "Clean": 0.0}


def toy_images(*shape, seed=1):
    """[B, H, W] by method, with less and less noise."""
    rng = np.random.default_rng(seed)
    clean = rng.normal(0.5, 0.2, shape)
    return {
        name: (clean + size * rng.standard_normal(shape)).astype(np.float32)
        for name, size in ERRORS.items()
    }


def toy_masks(*shape, count=3, inputs=("noisy", "denoised", "clean")):
    """Regions by source, input and kind."""
    rng = np.random.default_rng(2)
    keys = [
        RegionKey(source, name, kind)
        for source in ("encoded", "embedding")
        for name in inputs
        for kind in ("spatial", "spectral")
    ]
    return {key: rng.integers(0, count, shape).astype(np.uint8) for key in keys}


def toy_case(images, name="mixture", masks=None, **more):
    """A case of one scene."""
    dtype = what_fits(images["Noisy"].shape, 2 * len(images), 12)[0]
    cubes = {key: Quantised.of(image, dtype) for key, image in images.items() if key != "Clean"}
    return SceneCase(name, cubes, masks or {}, **more)


def toy_scene(images, wavelengths=None, masks=None, cases=None, regions=3, **more):
    """A scene of one case, unless others are given."""
    shape = images["Noisy"].shape
    dtype = what_fits(shape, 2 * len(images), 12)[0]
    clean = Quantised.of(images["Clean"], dtype) if "Clean" in images else None
    cases = cases or [toy_case(images, masks=masks)]
    rows, columns = range(shape[1]), range(shape[2])
    return ViewedScene(shape, rows, columns, cases, clean, wavelengths, regions, **more)
