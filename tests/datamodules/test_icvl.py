"""ICVL: which scenes, which pixels of them, and how they are scaled."""

import hashlib
from dataclasses import asdict

import h5py
import numpy as np
import pytest
import torch

from datamodules import ICVL, DataError
from datamodules.collection import scene_list
from datamodules.icvl import SCENES, TEST_LISTS
from datamodules.prepare import prepare
from datamodules.readers import read_cube
from datamodules.source import Source
from datamodules.stored import CONVERTER, store_scene, write_manifest
from tests.miniatures import icvl

torch.set_num_threads(1)

SOURCE = Source("gone.mat", 1, 2, "3")
LOW, HIGH = 3.0, 5000.0  # of whole scenes, at pixels outside every centre
SIZES = (1024, 512, 256)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """DATA_ROOT."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    return tmp_path


def module(stage, **options):
    data = ICVL(**options)
    data.setup(stage)
    return data


# Lists


def test_the_splits_are_100_5_and_50_scenes_that_share_none():
    splits = [scene_list(f"icvl_{split}") for split in ("train", "val", "test")]
    assert [len(split) for split in splits] == [100, 5, 50]
    assert len(set().union(*splits)) == 155
    # Results compare only as long as these lists stay as they are.
    hashes = [hashlib.sha256(" ".join(split).encode()).hexdigest()[:16] for split in splits]
    assert hashes == ["4178de6a6f1b8604", "3e0f3c0def81d581", "0f2c62b585871aa5"]


def test_the_test_scenes_of_every_protocol_are_in_the_collection_and_not_trained_on():
    training = set(scene_list("icvl_train"))
    sizes = {protocol: len(scene_list(name)) for protocol, name in TEST_LISTS.items()}
    assert sizes == {
        "ras2s": 50,
        "mp_hsir": 50,
        "t3sc": 50,
        "qrnn3d_gaussian": 50,
        "qrnn3d_complex": 51,
    }
    for name in TEST_LISTS.values():
        assert not training & set(scene_list(name))
        assert set(scene_list(name)) <= set(SCENES)
    assert len(SCENES) == 201
    assert len(ICVL.collection.extra) == 46


# The publisher's files


@pytest.fixture
def miniature(root):
    """The true cubes of a miniature, and its collection, prepared."""
    ICVL.collection.raw_folder.mkdir(parents=True)
    scenes = icvl.write(ICVL.collection.raw_folder)
    assert set(prepare(ICVL.collection, offline=True, any_size=True).made) == set(scenes)
    return scenes


def test_scenes_stand_upright(miniature):
    raw = ICVL.collection.raw_folder
    for scene, truth in miniature.items():
        with h5py.File(raw / f"{scene}.mat") as file:
            assert np.array_equal(file["rad"][()][:, ::-1, :], truth)
        shown, wavelengths = read_cube(raw / f"{scene}.mat", key="rad")
        assert np.array_equal(np.rot90(shown, axes=(1, 2)), truth)
        assert np.array_equal(wavelengths, np.arange(400, 701, 10))
    with pytest.warns(UserWarning, match="2 of the 50 scenes of the test split"):
        test_scenes = ICVL().scenes("test")
    for scene in test_scenes:
        truth = miniature[scene.name]
        low, high = truth.min(), truth.max()
        expected = (truth.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        assert np.array_equal(scene.load().cube, expected)


@pytest.mark.filterwarnings("ignore:.*are prepared")
def test_a_miniature_trains_validates_and_tests(miniature):
    data = module("fit", patch_size=32, sampling="grid", batch_size=50)
    # 32 x 32 pixels of 256, 128 and 64 at strides 64, 32 and 32, in two scenes
    assert len(data.train_set.grid) == 2 * (16 + 16 + 4)
    (batch,) = data.train_dataloader()
    assert batch["clean"].shape == (50, 31, 32, 32)
    assert set(batch["name"]) == set(scene_list("icvl_train")[:2])
    (batch,) = data.val_dataloader()
    assert batch["name"] == [scene_list("icvl_val")[0]]
    data.setup("test")
    names = [batch["name"][0] for batch in data.test_dataloader()]
    assert names == [*scene_list("icvl_test")[:2]] * 5


def test_a_file_of_another_size_is_no_icvl_scene(root):
    raw = ICVL.collection.raw_folder
    raw.mkdir(parents=True)
    icvl.write_mat(raw / "omer_0331-1119.mat", np.ones((31, 8, 9)))
    problems = {p.scene: p.message for p in prepare(ICVL.collection, offline=True).problems}
    assert "expected 31 x 1392 x 1300" in problems["omer_0331-1119"]
    assert len(problems) == 155


# Training


def test_training_scenes_are_stored_as_their_centre_at_three_scales():
    for scene in scene_list("icvl_train"):
        excerpt = ICVL.collection.scenes[scene]
        assert excerpt.box(1392, 1300) == (slice(184, 1208), slice(138, 1162))
        assert excerpt.scales == (1, 0.5, 0.25)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """DATA_ROOT with the 100 training scenes, prepared, at their full size but without content."""
    root = tmp_path_factory.mktemp("full_size")
    for scene in scene_list("icvl_train"):
        folder = root / "icvl" / "prepared" / scene
        folder.mkdir(parents=True)
        arrays = []
        for scale, size in zip((1.0, 0.5, 0.25), SIZES, strict=True):
            file = f"scale_{scale:g}.npy"
            shape = (size, size, 31)
            np.lib.format.open_memmap(folder / file, mode="w+", dtype=np.uint16, shape=shape)
            arrays.append({"file": file, "shape": (31, size, size), "offset": 3.0, "gain": 1.0})
        manifest = {
            "converter": CONVERTER,
            "name": scene,
            "excerpt": asdict(ICVL.collection.scenes[scene]),
            "scene_range": [1.0, 4001.0],
            "kept_range": [2.0, 4000.0],
            "wavelengths_nm": None,
            "arrays": arrays,
            "source": asdict(SOURCE),
        }
        write_manifest(folder, manifest)
    return root


def test_training_has_53000_patches_on_grids_530_of_each_scene(full_size, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(full_size))
    data = ICVL(sampling="grid")
    data.train_set = data._training_set()
    grid = data.train_set.grid
    counts = np.array(grid.rows) * np.array(grid.columns)
    assert counts.tolist() == [256, 225, 49] * 100
    assert len(grid) == 53_000
    assert len(data.train_dataloader()) == 53_000 // 8
    reached = {scene.shape: [0, 0] for scene in data.train_set.scenes[:3]}
    for place in range(530):
        cube, (bands, rows, columns) = grid.window(place, np.random.default_rng(0))
        assert (cube < 3, bands) == (True, slice(0, 31))
        last = reached[data.train_set.scenes[cube].shape]
        last[:] = max(last[0], rows.stop), max(last[1], columns.stop)
    assert list(reached.values()) == [[1024, 1024], [512, 512], [256, 256]]


def test_training_scenes_are_scaled_by_the_range_of_the_whole_scene(full_size, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(full_size))
    train_set = ICVL(sampling="random")._training_set()
    for number in range(6):
        assert (train_set[number]["clean"] == (3 - 1) / 4000).all()
    levels = {scene.level for scene in train_set.scenes}
    assert (len(train_set.scenes), levels) == (300, {0, 1, 2})


# Test


@pytest.fixture
def tested(root):
    """A test scene of full height and width, whose two bands tell row and column."""
    cube = np.empty((2, 1392, 1300), np.float32)
    cube[0] = 100 + np.arange(1392)[:, None]
    cube[1] = 100 + np.arange(1300)
    cube[0, 0, 0], cube[1, -1, -1] = LOW, HIGH
    common = set(scene_list("icvl_test")) & set(scene_list(TEST_LISTS["qrnn3d_gaussian"]))
    lists = (sorted(common), scene_list(TEST_LISTS["qrnn3d_complex"]), scene_list("icvl_val"))
    for name in {names[0] for names in lists}:
        folder = ICVL.collection.prepared_folder / name
        store_scene(folder, name, cube, None, ICVL.collection.scenes[name], SOURCE)
    return cube


CENTRE = (slice(None), slice(440, 952), slice(394, 906))
OWN = (100 + 394, 100 + 951)  # range of the centre


@pytest.mark.filterwarnings("ignore:.*are prepared")
@pytest.mark.parametrize(
    ("protocol", "part", "low", "high"),
    [
        ("ras2s", CENTRE, *OWN),
        ("mp_hsir", CENTRE, LOW, HIGH),
        ("t3sc", (slice(None),) * 3, LOW, HIGH + 0.001),
        ("qrnn3d_gaussian", CENTRE, *OWN),
        ("qrnn3d_complex", CENTRE, *OWN),
    ],
)
def test_each_protocol_cuts_and_scales_as_its_papers(tested, protocol, part, low, high):
    data = module("test", protocol=protocol, test_noise=["gaussian30"])
    expected = (tested[part].astype(np.float64) - low) / (high - low)
    for sample in data.test_set:
        assert sample["clean"].shape == expected.shape
        np.testing.assert_allclose(sample["clean"].numpy(), expected, rtol=0, atol=1e-7)
    assert {item.scene for item in data.test_set.items} <= set(scene_list(TEST_LISTS[protocol]))


@pytest.mark.filterwarnings("ignore:.*are prepared")
def test_validation_scenes_are_cut_and_scaled_as_ras2s_tests(tested):
    (sample,) = module("validate", protocol="t3sc").val_set
    expected = (tested[CENTRE] - np.float32(OWN[0])) / np.float32(OWN[1] - OWN[0])
    assert np.array_equal(sample["clean"].numpy(), expected)


def test_without_scenes_the_message_says_what_to_do(root):
    with pytest.raises(DataError, match=r"make data DATASET=icvl   gets it"):
        ICVL().setup("test")
    with pytest.raises(DataError, match=r"make data DATASET=icvl ARGS=--all   gets it"):
        ICVL(protocol="qrnn3d_complex").setup("test")
