"""A folder of anybody's cubes: what is read, how it is split, where it is prepared."""

import fcntl
import threading

import numpy as np
import pytest
import torch

from datamodules import DataError, Folder, Scene, write_scene
from datamodules.folder import REFERENCE

torch.set_num_threads(1)


def cube(seed):
    return np.random.default_rng(seed).integers(0, 4000, (6, 20, 18)).astype(np.float32)


def write(path, seed=0):
    return write_scene(Scene(path.stem, cube(seed)), path)


@pytest.fixture
def cubes(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    folder = tmp_path / "cubes"
    for number, name in enumerate(("a.mat", "b.h5", "c.tif", "d.npz")):
        write(folder / name, number)
    return folder


def opened(folder, stage, **options):
    small = {"batch_size": 2, "patch_size": 8, "patch_bands": 4}
    data = Folder(str(folder), **(small | options))
    data.prepare_data()
    data.setup(stage)
    return data


def test_scenes_are_shared_out_by_name(cubes):
    data = Folder(str(cubes))
    assert data.splits == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


def test_every_tenth_is_for_validation_and_test(tmp_path):
    for number in range(30):
        write(tmp_path / f"{number:02}.mat")
    splits = Folder(str(tmp_path)).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [24, 3, 3]
    assert splits["test"] == ["27", "28", "29"]


def test_cubes_come_scaled_by_their_own_range(cubes):
    data = opened(cubes, "test", test_noise=["gaussian30"])
    (batch,) = data.test_dataloader()
    truth = cube(3)
    expected = (truth - truth.min()) / (truth.max() - truth.min())
    np.testing.assert_array_equal(batch["clean"][0].numpy(), expected)
    assert batch["name"] == ["d"]
    noise = (batch["noisy"] - batch["clean"]).std().item() * 255
    assert noise == pytest.approx(30, rel=0.1)


def test_training_patches_are_cut_from_the_training_scenes(cubes):
    data = opened(cubes, "fit", sampling="grid", patches_per_epoch=32)
    names = {name for batch in data.train_dataloader() for name in batch["name"]}
    assert names == {"a", "b"}
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["clean"].shape == batch["noisy"].shape == (2, 4, 8, 8)
    assert not torch.equal(batch["clean"], batch["noisy"])


def test_folders_named_as_splits_are_the_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    for number, split in enumerate(("train", "val", "test")):
        write(tmp_path / "own" / split / "same_name.mat", number)
    data = opened(tmp_path / "own", "test", test_noise=["mixture"])
    (batch,) = data.test_dataloader()
    truth = cube(2)
    expected = (truth - truth.min()) / (truth.max() - truth.min())
    np.testing.assert_array_equal(batch["clean"][0].numpy(), expected)


def test_a_split_takes_the_cubes_of_all_folders_in_it_and_of_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    own = tmp_path / "own"
    for number, place in enumerate(("train/x", "train/day/y", "val/x", "test/x", "old/train/x")):
        write(own / f"{place}.npz", number)
    data = opened(own, "fit", patches_per_epoch=4)
    assert {scene.name for scene in data.train_set.scenes} == {"train/x", "train/y"}
    truth = cube(0)
    expected = (truth - truth.min()) / (truth.max() - truth.min())
    np.testing.assert_array_equal(data.train_set.scenes[0].load().cube, expected)


def test_nothing_is_written_into_the_folder(cubes, tmp_path):
    before = sorted(cubes.rglob("*"))
    opened(cubes, "fit")
    assert sorted(cubes.rglob("*")) == before
    prepared = list((tmp_path / "root/folder").glob("cubes-*/prepared/*/scene.json"))
    assert len(prepared) == 4


def test_a_second_use_prepares_nothing(cubes, tmp_path):
    opened(cubes, "fit")
    manifests = {p: p.stat().st_mtime_ns for p in (tmp_path / "root").rglob("scene.json")}
    opened(cubes, "fit")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "root").rglob("scene.json")} == manifests


def test_two_trainings_at_once_wait_for_each_other(cubes):
    data = Folder(str(cubes))
    folder = data.collection.prepared_folder
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=data.prepare_data)
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        assert not list(folder.glob("*/scene.json"))
    waiting.join(10)
    assert len(list(folder.glob("*/scene.json"))) == 4


def test_a_damaged_cube_is_named_and_left_out(cubes):
    (cubes / "a.mat").write_bytes((cubes / "a.mat").read_bytes()[:900])
    with pytest.warns(UserWarning, match=r"left out: .*a\.mat.*"):
        data = opened(cubes, "fit", patches_per_epoch=4)
    assert {scene.name for scene in data.train_set.scenes} == {"b"}


def test_a_split_without_any_cube_that_can_be_read_is_told(cubes):
    (cubes / "d.npz").write_bytes(b"PK")
    with (
        pytest.warns(UserWarning, match=r"left out: .*d\.npz"),
        pytest.raises(DataError, match="none of the 1 scenes of its test split can be used; see"),
    ):
        opened(cubes, "test")


def test_two_files_of_one_name_are_left_out(cubes):
    write(cubes / "a.npz", 9)
    with pytest.warns(UserWarning, match=r"two files for one scene: .*a\.mat and .*a\.npz"):
        data = opened(cubes, "fit", patches_per_epoch=4)
    assert {scene.name for scene in data.train_set.scenes} == {"b"}


def test_key_and_axes_reach_the_reader(tmp_path, monkeypatch):
    import scipy.io

    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    folder = tmp_path / "own"
    folder.mkdir()
    for name in "abc":
        arrays = {"x": cube(1), "y": 4000 - cube(1)}
        scipy.io.savemat(folder / f"{name}.mat", arrays)
    data = opened(folder, "test", key="y", axes="BHW", test_noise=["mixture"])
    (batch,) = data.test_dataloader()
    truth = 4000 - cube(1)
    expected = (truth - truth.min()) / (truth.max() - truth.min())
    np.testing.assert_array_equal(batch["clean"][0].numpy(), expected)


def test_a_missing_folder_and_too_few_scenes_are_told(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such folder; let data\.path"):
        Folder(str(tmp_path / "nowhere"))
    write(tmp_path / "one.mat")
    with pytest.raises(DataError, match="1 scenes"):
        Folder(str(tmp_path))


def test_what_cannot_be_a_cube_is_no_scene_and_told_once(cubes):
    import scipy.io
    from PIL import Image

    scipy.io.savemat(cubes / "zz_gt.mat", {"gt": np.zeros((20, 18), "u1")})
    (cubes / "quick").mkdir()
    for number in range(3):
        colours = np.random.default_rng(number).integers(0, 255, (8, 8, 3)).astype("u1")
        Image.fromarray(colours).save(cubes / "quick" / f"view{number}.png")
    (cubes / "one").mkdir()
    Image.fromarray(np.zeros((8, 8), "u1")).save(cubes / "one" / "look.png")
    write(cubes / "DARKREF_a.img")
    write(cubes / "WHITEREF_a.img")
    write_scene(Scene("mask", cube(0)[:1]), cubes / "mask.npz")
    (cubes / "a.txt").write_text("a note")
    (cubes / "lonely.raw").write_bytes(b"123")
    with pytest.warns(UserWarning, match="no scene: ") as told:
        data = opened(cubes, "fit", patches_per_epoch=4)
    assert data.splits == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    said = " ".join(str(w.message) for w in told if "no scene" in str(w.message))
    for words in (
        "DARKREF_a.hdr",
        "WHITEREF_a.hdr: a dark or white reference of the camera",
        "zz_gt.mat: found no array",
        "quick: ",
        "one: 1 PNG files here",
        "mask.npz: has a single band",
        "lonely.raw: numbers without an ENVI header beside them",
    ):
        assert words in said
    assert "a.txt" not in said


def test_files_of_one_name_in_two_folders_are_two_scenes(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    own = tmp_path / "own"
    for number, place in enumerate(("x/day/s", "y/day/s", "y/t", "y/u", "y/v")):
        write(own / f"{place}.npz", number)
    data = opened(own, "fit", patches_per_epoch=4)
    assert data.splits == {"train": ["t", "u", "v"], "val": ["x/day/s"], "test": ["y/day/s"]}
    truth = cube(1)
    expected = (truth - truth.min()) / (truth.max() - truth.min())
    np.testing.assert_array_equal(data.scenes("test")[0].load().cube, expected)


def test_nodata_and_bad_bands_touch_neither_training_nor_measures(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    own = tmp_path / "own"
    own.mkdir()
    edge = np.zeros((20, 18), bool)
    edge[:9] = True
    for number, name in enumerate("abc"):
        values = cube(number)
        values[:, edge] = -9999
        values.astype("<f4").tofile(own / f"{name}.img")
        (own / f"{name}.hdr").write_text(
            "ENVI\nsamples = 18\nlines = 20\nbands = 6\ndata type = 4\ninterleave = bsq\n"
            "byte order = 0\ndata ignore value = -9999\nbbl = {1, 1, 0, 1, 1, 1}\n"
            "wavelength = {400, 450, 500, 550, 600, 650}\n"
        )
    with pytest.warns(UserWarning, match="a.hdr.*162 of 360 pixels"):
        data = opened(own, "fit", patches_per_epoch=40, test_noise=["mixture"])
    good = [0, 1, 3, 4, 5]
    there = cube(0)[good][:, ~edge]
    low, high = there.min(), there.max()
    scaled = np.sort(((there - low) / (high - low)).ravel())
    for batch in data.train_dataloader():
        values = batch["clean"].numpy()
        assert values.min() >= 0
        assert np.isin(values.round(5), scaled.round(5)).all()
    (batch,) = data.test_dataloader()
    assert batch["clean"].shape == (1, 5, 20, 18)
    assert batch["wavelengths"].tolist() == [[400, 450, 550, 600, 650]]
    assert np.array_equal(batch["valid"][0].numpy(), ~edge)
    there = cube(2)[good][:, ~edge]
    found = batch["clean"][0].numpy()[:, ~edge]
    np.testing.assert_allclose(found, (there - there.min()) / np.ptp(there), atol=1e-6)
    assert torch.isfinite(batch["clean"]).all()


def test_nodata_may_be_said_for_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "root"))
    own = tmp_path / "own"
    for number, name in enumerate("abc"):
        write(own / f"{name}.npz", number)
    data = opened(own, "test", nodata=cube(2)[0, 0, 0], test_noise=["mixture"])
    (batch,) = data.test_dataloader()
    assert not batch["valid"][0, 0, 0]
    plain = opened(own, "test", test_noise=["mixture"])
    assert "valid" not in next(iter(plain.test_dataloader()))


@pytest.mark.parametrize(
    ("name", "is_reference"),
    [
        ("DARKREF_100", True),
        ("WHITEREF_100", True),
        ("whiteReference", True),
        ("capture_dark_ref", True),
        ("WHITEDARKREF_1", True),
        ("scene_white", True),
        ("REFLECTANCE_100", False),
        ("white_house", False),
        ("darkness", False),
    ],
)
def test_references_of_cameras_are_known_by_their_names(name, is_reference):
    assert bool(REFERENCE.search(name)) == is_reference
