"""Indian Pines: what is read from tensorly's file, and how it is split."""

from importlib.resources import files

import numpy as np
import pytest

from datamodules import DataError, IndianPines
from datamodules.indian_pines import load_scene, repair

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
    module = IndianPines(protocol="as_published")
    blocks = {split: module.scenes(split) for split in ("train", "val", "test")}
    cubes = [scene.cube for (scene,) in blocks.values()]
    assert [cube.shape[2] for cube in cubes] == [89, 24, 32]
    assert np.array_equal(np.concatenate(cubes, axis=2), whole.cube)
    assert all(scene.gain == HIGH - LOW for (scene,) in blocks.values())
    # Noise depends on the name: with one name, validation and test would share its draws.
    assert len({scene.name for (scene,) in blocks.values()}) == 3


def test_the_damage_of_the_file_is_repaired_where_it_can_be_told(raw):
    published = raw.transpose(2, 0, 1).astype("uint16")
    repaired = repair(published)
    changed = repaired != published
    assert set(np.unique(repaired[changed] - published[changed])) == {768}
    assert set(np.unique(published[changed] >> 8)) == {0x0A}
    assert changed.mean() == pytest.approx(0.028, abs=0.001)
    assert changed.any(axis=(1, 2)).sum() == 84
    # A damaged band stands out: it is unlike its neighbours.
    worst = changed.sum(axis=(1, 2)).argmax()

    def unlike(cube):
        middle = cube[worst].astype(float) - (cube[worst - 1] + cube[worst + 1].astype(float)) / 2
        return middle.std()

    assert unlike(repaired) < 0.5 * unlike(published)


def test_a_scene_that_is_damaged_on_purpose_is_repaired():
    rng = np.random.default_rng(0)
    spectra = 4500 + 3500 * np.sin(np.linspace(0, 5, 40)[:, None] + np.linspace(0, 2, 4))
    true = np.tensordot(spectra, rng.dirichlet(np.ones(4), (30, 30)), (1, 2)) + rng.normal(
        0, 8, (40, 30, 30)
    )
    true = true.round().astype("uint16")
    damaged = np.where(true >> 8 == 0x0D, true - 768, true).astype("uint16")
    doubtful = damaged >> 8 == 0x0A
    wrong = repair(damaged) != true
    assert (damaged != true).sum() > 500
    assert wrong[doubtful].mean() < 0.01
    assert not wrong[~doubtful].any()


def test_the_repaired_scene_is_kept_and_a_damaged_copy_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    first = load_scene(repaired=True)
    (kept,) = tmp_path.glob("indian_pines/prepared/repaired-*.npy")
    monkeypatch.setattr("datamodules.indian_pines.repair", None)
    assert np.array_equal(load_scene(repaired=True).cube, first.cube)
    monkeypatch.undo()
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    kept.write_bytes(kept.read_bytes()[:999])
    assert np.array_equal(load_scene(repaired=True).cube, first.cube)
    assert np.load(kept).shape == (200, 145, 145)


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
