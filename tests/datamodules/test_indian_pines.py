"""Indian Pines: what is read from tensorly's file, and how it is split."""

from importlib.resources import files

import numpy as np
import pytest

from datamodules import DataError, IndianPines
from datamodules.indian_pines import load_scene

LOW, HIGH = 955, 9604  # of the whole file


@pytest.fixture(scope="module")
def raw():
    """The file as it is: rows, columns, bands."""
    with (files("tensorly.datasets") / "data" / "Indian_pines_corrected.npy").open("rb") as file:
        return np.load(file)


@pytest.fixture(scope="module")
def whole():
    return load_scene()


@pytest.mark.parametrize(
    ("row", "column", "band", "value"),
    [(144, 0, 0, 2979), (10, 120, 30, 2741), (30, 20, 199, 1015), (77, 3, 100, 1693)],
)
def test_pixels_are_where_the_file_has_them(raw, whole, row, column, band, value):
    assert raw[row, column, band] == value
    assert whole.cube[band, row, column] == pytest.approx((value - LOW) / (HIGH - LOW), abs=1e-6)


def test_the_whole_scene_is_the_file_scaled_by_its_smallest_and_largest_value(raw, whole):
    assert whole.cube.shape == (200, 145, 145)
    assert (raw.min(), raw.max()) == (LOW, HIGH)
    assert (whole.cube.min(), whole.cube.max()) == (0, 1)
    restored = (whole.cube * whole.gain + whole.offset).transpose(1, 2, 0)
    np.testing.assert_allclose(restored, raw, rtol=0, atol=0.01)


def test_wavelengths_are_in_nm_one_a_band(whole):
    assert whole.wavelengths.shape == (200,)
    assert whole.wavelengths[[0, 1, -1]].tolist() == [400.02, 409.82, 2498.96]


def test_the_three_blocks_are_the_columns_of_the_scene_each_once(whole):
    module = IndianPines()
    blocks = {split: module.scenes(split) for split in ("train", "val", "test")}
    cubes = [scene.cube for (scene,) in blocks.values()]
    assert [cube.shape[2] for cube in cubes] == [89, 24, 32]
    assert np.array_equal(np.concatenate(cubes, axis=2), whole.cube)
    assert all(scene.gain == HIGH - LOW for (scene,) in blocks.values())
    # Noise depends on the name: with one name, validation and test would share its draws.
    assert len({scene.name for (scene,) in blocks.values()}) == 3


def test_full_tests_on_the_middle_of_the_scene(whole):
    module = IndianPines(protocol="full", test_noise=["mixture"])
    module.setup("test")
    (item,) = module.test_set
    assert np.array_equal(item["clean"], whole.cube[:, 8:136, 8:136])
    assert module.test_set.items == [("indian_pines", "indian_pines", "mixture")]


@pytest.mark.parametrize(("stage", "split"), [("fit", "train"), ("validate", "val")])
def test_full_has_nothing_to_train_or_validate_on(stage, split):
    with pytest.raises(DataError, match=f"indian_pines: the {split} split is empty"):
        IndianPines(protocol="full").setup(stage)
