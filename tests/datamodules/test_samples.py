"""Samples: patches from scenes on disk or with real noise, and whole noisy scenes."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from datamodules.base import HSIDataModule
from datamodules.noise import corrupt
from datamodules.patches import PatchShape
from datamodules.prepare import prepare
from datamodules.random_streams import derive_seed
from datamodules.samples import GridPatches, NoisyScenes, RandomPatches, Tile
from datamodules.scene import DataError, Measured, Scene
from datamodules.source import Source
from datamodules.stored import Excerpt, open_scene, store_scene
from tests.toy import SCENES, cube_of, data_module, put, toy

torch.set_num_threads(1)

CASES = ("stripe", "gaussian30", "mixture")
SHAPE = PatchShape(3, 4, 4)


def known(height, width, bands=3, cube=0):
    """Every value tells its cube, band, row and column."""
    values = np.arange(bands * height * width).reshape(bands, height, width)
    return (values + 100_000 * cube).astype(np.float32)


def scenes_of(*sizes, bands=3):
    return [Scene(f"s{i}", known(*size, bands, i)) for i, size in enumerate(sizes)]


def stored_levels(folder, name, cube):
    excerpt = Excerpt(scales=(1.0, 0.5, 0.25))
    store_scene(folder / name, name, cube, None, excerpt, Source("", 0, 0, ""))
    return [level.scaled(0.0, 1.0) for level in open_scene(folder / name)]


def content(sample):
    """A sample in a form that can be compared."""
    tensors = {"clean", "noisy"} & sample.keys()
    plain = {key: value for key, value in sample.items() if key not in tensors}
    return plain | {key: sample[key].numpy().tobytes() for key in tensors}


def corner(patch):
    """The smallest value of a patch of `known`: that of its first pixel, however it is turned."""
    return int(patch.min())


# Patches


@pytest.mark.parametrize("patches", [RandomPatches, GridPatches])
def test_a_patch_follows_from_seed_and_number_in_any_order(patches):
    def all_of(numbers, seed=3):
        dataset = patches(scenes_of((9, 11), (6, 8)), SHAPE, CASES, seed, [2], "d")
        return {number: content(dataset[number]) for number in numbers}

    forward = all_of(range(100))
    assert all_of(range(99, -1, -1)) == forward
    assert all_of([70, 3, 70, 41]) == {number: forward[number] for number in (70, 3, 41)}
    assert len({sample["seed"] for sample in forward.values()}) == 100
    other = all_of(range(100), seed=4)
    assert sum(other[n]["clean"] == forward[n]["clean"] for n in range(100)) < 20


@pytest.mark.parametrize("sampling", ["random", "grid"])
def test_patches_of_prepared_scenes_are_the_same_from_any_number_of_workers(
    tmp_path, monkeypatch, sampling
):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)

    def batches(num_workers):
        options = {"sampling": sampling, "num_workers": num_workers, "patches_per_epoch": 20}
        module = data_module(collection, **options)
        module.setup("fit")
        loader = module.train_dataloader()
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                numbers, seeds = batch.pop("index").tolist(), batch.pop("seed").tolist()
                yield (*numbers, *seeds, *batch["name"], *batch["case"], content(batch))

    expected = list(batches(0))
    assert len(expected) == 20
    assert list(batches(2)) == expected


def test_an_epoch_of_the_grid_has_every_place_once_and_the_next_another_order():
    scenes = scenes_of((8, 10), (4, 4), (12, 6))
    dataset = GridPatches(scenes, SHAPE, CASES, 3, [2], "d")
    places = {
        int(scene.cube[0, row, column])
        for scene in scenes
        for row in range(0, scene.shape[1] - 3, 2)
        for column in range(0, scene.shape[2] - 3, 2)
    }
    size = len(places)
    assert len(dataset.grid) == size == 12 + 1 + 10
    epochs = [[corner(dataset[e * size + n]["clean"]) for n in range(size)] for e in range(4)]
    assert all(sorted(epoch) == sorted(places) for epoch in epochs)
    assert all(one != other for one, other in pairwise(epochs))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = GridPatches(scenes, SHAPE, CASES, 4, [2], "d")
    assert [corner(other[n]["clean"]) for n in range(size)] not in epochs


def test_scenes_and_levels_have_equal_chances_and_so_have_their_places(tmp_path):
    levels = stored_levels(tmp_path, "big", known(64, 48))
    scenes = [*levels[:2], *stored_levels(tmp_path, "small", known(8, 8))[:1]]
    dataset = RandomPatches(scenes, PatchShape(3, 6, 6), CASES, 0, [2, 1, 1], "d")
    chosen = Counter()
    tops = Counter()
    for number in range(1500):
        scene, (_, rows, columns) = dataset._place(number, np.random.default_rng(number))
        chosen[scene.name, scene.level] += 1
        if scene.level == 1:
            tops[rows.start // 9] += 1
            assert columns.stop <= 24
    assert chosen.keys() == {("big", 0), ("big", 1), ("small", 0)}
    assert min(chosen.values()) > 420
    assert tops.keys() == {0, 1, 2}
    assert min(tops.values()) > 110


def test_levels_too_small_for_a_patch_are_left_out_but_whole_scenes_are_not(tmp_path):
    scenes = stored_levels(tmp_path, "a", known(16, 20))  # 16 x 20, 8 x 10, 4 x 5
    dataset = GridPatches(scenes, PatchShape(3, 8, 8), CASES, 0, [8, 2, 1], "d")
    assert [scene.level for scene in dataset.scenes] == [0, 1]
    assert len(dataset.grid) == 2 * 2 + 1 * 2
    with pytest.raises(DataError, match="scene a: a patch of 3x17x8"):
        GridPatches(scenes, PatchShape(3, 17, 8), CASES, 0, [8, 2, 1], "d")


def test_strides_are_those_of_the_levels(tmp_path):
    scenes = stored_levels(tmp_path, "a", known(16, 20))
    dataset = GridPatches(scenes, SHAPE, CASES, 0, [4, 2, 1], "d")
    assert (dataset.grid.rows, dataset.grid.columns) == ([4, 3, 1], [5, 4, 2])


@pytest.mark.parametrize("patches", [RandomPatches, GridPatches])
def test_a_patch_has_consecutive_bands_from_anywhere_of_the_spectrum(patches):
    cube = np.broadcast_to(np.arange(7, dtype=np.float32)[:, None, None], (7, 6, 6))
    dataset = patches([Scene("s", cube)], SHAPE, CASES, 0, [1], "d")
    seen = Counter()
    for number in range(600):
        spectrum = dataset[number]["clean"][:, 0, 0].tolist()
        seen[tuple(spectrum)] += 1
    rising = {(b, b + 1, b + 2) for b in range(5)}
    assert seen.keys() == rising | {bands[::-1] for bands in rising}
    assert min(seen.values()) > 30


def test_patches_of_prepared_scenes_are_cut_from_the_true_pixels(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    collection = toy()
    put(collection, *SCENES)
    prepare(collection)
    module = data_module(collection, sampling="grid", patch_bands=2)
    module.setup("fit")
    truth = {}
    for name in SCENES:
        cube = cube_of(name)
        unit = (cube - cube.min()) / (cube.max() - cube.min())
        windows = np.lib.stride_tricks.sliding_window_view(unit, (2, 6, 6)).reshape(-1, 2, 6, 6)
        truth[name] = {np.sort(window, axis=None).tobytes() for window in windows}
    found = 0
    for number in range(len(module.train_set.grid)):
        sample = module.train_set[number]
        found += np.sort(sample["clean"].numpy(), axis=None).tobytes() in truth[sample["name"]]
    assert found == 3 * 8 * 6  # all of those at full scale


# Measured scenes


def measured(*names, clean=True, size=(9, 11)):
    cubes = [known(*size, 3, i) for i in range(len(names))]
    return [
        Measured(Scene(f"{name}_noisy", cube + 0.25), Scene(name, cube) if clean else None)
        for name, cube in zip(names, cubes, strict=True)
    ]


@pytest.mark.parametrize("patches", [RandomPatches, GridPatches])
def test_measured_pairs_are_cut_and_turned_alike(patches):
    dataset = patches(measured("a", "b"), PatchShape(2, 4, 4), CASES, 0, [3], "d")
    turned = 0
    for number in range(60):
        sample = dataset[number]
        assert sample.keys() == {"clean", "noisy", "dataset", "name", "case", "index"}
        assert (sample["case"], sample["name"] in ("a", "b")) == ("real", True)
        assert torch.equal(sample["noisy"], sample["clean"] + 0.25)
        turned += not torch.equal(sample["clean"].flatten().sort()[0], sample["clean"].flatten())
    assert turned > 40


def test_measured_scenes_come_once_whatever_the_noise_cases():
    clean = scenes_of((5, 6))
    dataset = NoisyScenes([*measured("a"), *clean, *measured("b", clean=False)], CASES, "d", 0)
    assert [(item.scene, item.noise_case) for item in dataset.items] == [
        *(("s0", case) for case in CASES),
        ("a", "real"),
        ("b_noisy", "real"),
    ]
    known_scene, unknown = dataset[3], dataset[4]
    assert torch.equal(known_scene["noisy"], known_scene["clean"] + 0.25)
    assert unknown.keys() == {
        *("noisy", "dataset", "name", "case", "index", "offset", "gain", "reflectance"),
    }
    assert not unknown["reflectance"]


def test_a_reference_of_another_size_is_refused():
    with pytest.raises(DataError, match=r"scene s1: measured \(3, 5, 6\), .* \(3, 6, 5\)"):
        Measured(*scenes_of((5, 6), (6, 5)))


class Field(HSIDataModule):
    """Measured scenes, with or without a reference."""

    name = "field"
    clean = True

    def scenes(self, split):
        return measured(f"{split}_1", f"{split}_2", clean=self.clean)


def test_measured_scenes_train_and_are_tested_without_added_noise():
    module = Field(batch_size=2, patch_size=4, patch_bands=3, patches_per_epoch=6)
    module.setup("fit")
    module.setup("test")
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        batches = [module.on_after_batch_transfer(batch, 0) for batch in loader]
        assert len(batches) == (3 if loader.batch_size == 2 else 2)
        for batch in batches:
            assert set(batch["case"]) == {"real"}
            assert torch.equal(batch["noisy"], batch["clean"] + 0.25)


def test_measured_scenes_without_a_reference_are_for_the_test_only():
    module = Field(patch_size=4, patch_bands=3)
    module.clean = False
    with pytest.raises(DataError, match="field: has noisy scenes only; training needs clean ones"):
        module.setup("fit")
    module.setup("test")
    (first, _) = module.test_dataloader()
    assert "clean" not in module.on_after_batch_transfer(first, 0)


# Whole scenes


def test_noise_drawn_later_has_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    scenes = [Scene("memory", rng.random((5, 8, 9), np.float32))]
    store_scene(tmp_path / "disk", "disk", known(7, 9), None, Excerpt(), Source("", 0, 0, ""))
    scenes += [scene.centre(6) for scene in open_scene(tmp_path / "disk")]
    now, later = (NoisyScenes(scenes, CASES, "d", 9, draw=draw) for draw in (True, False))
    assert now.items == later.items
    assert len(now) == 6
    for index in range(6):
        drawn, sample = now[index], later[index]
        assert "noisy" not in sample
        assert sample["seed"] == derive_seed(9, *now.items[index])
        batch = torch.utils.data.default_collate([sample])
        noisy = HSIDataModule().on_after_batch_transfer(batch, 0)["noisy"]
        assert torch.equal(noisy[0], drawn["noisy"])
        assert torch.equal(sample["clean"], drawn["clean"])
        assert drawn["clean"].dtype == torch.float32


def test_a_tile_is_a_part_of_the_noisy_scene():
    scene = Scene("s", np.random.default_rng(0).random((5, 9, 12), np.float32))
    tiles = [Tile("_a", bottom=1 / 3), Tile("_b", top=0.5, left=0.25, right=0.75)]
    dataset = NoisyScenes([scene], ["stripe", "mixture"], "d", 4, tiles)
    whole = torch.from_numpy(scene.cube)
    assert [(item.scene, item.noise_case) for item in dataset.items] == [
        ("s_a", "stripe"),
        ("s_b", "stripe"),
        ("s_a", "mixture"),
        ("s_b", "mixture"),
    ]
    for index, case in enumerate(("stripe", "stripe", "mixture", "mixture")):
        seed = torch.tensor([derive_seed(4, "d", "s", case)])
        noisy = corrupt(whole[None], [case], seed)[0]
        part = (slice(None), slice(4, 9), slice(3, 9)) if index % 2 else (slice(None), slice(3))
        assert torch.equal(dataset[index]["noisy"], noisy[part])
        assert torch.equal(dataset[index]["clean"], whole[part])
        assert dataset[index]["clean"].is_contiguous()
        assert dataset[index]["name"] == dataset.items[index].scene


def test_a_whole_tile_is_the_scene():
    cube = torch.zeros(3, 7, 9)
    assert Tile().of(cube).shape == cube.shape
    edges = [Tile(top=i / 3, bottom=(i + 1) / 3).of(cube).shape[1] for i in range(3)]
    assert sum(edges) == 7


# Pixels without a measurement

HOLED = np.ones((20, 24), bool)
HOLED[:9] = False


def test_training_patches_hold_valid_pixels_alone(tmp_path):
    cube = known(20, 24)
    excerpt = Excerpt(scales=(1.0, 0.5))
    store_scene(tmp_path / "s", "s", cube, None, excerpt, Source("", 0, 0, ""), HOLED)
    levels = [level.scaled(0.0, 1.0) for level in open_scene(tmp_path / "s")]
    assert np.array_equal(levels[0].valid, HOLED)
    assert levels[1].valid.shape == (10, 12)
    assert not levels[1].valid[:6].any()  # the splines reach a little further
    assert levels[1].valid[6:].all()
    assert np.array_equal(levels[0].crop(slice(7, 11), slice(2, 5)).valid, HOLED[7:11, 2:5])
    for kind in (RandomPatches, GridPatches):
        patches = kind(levels, SHAPE, CASES, 1, (2, 2), "toy")
        for number in range(40):
            level_0 = patches[number]["clean"].numpy()
            rows = (level_0 % (20 * 24)) // 24  # of the whole scene; a smaller copy blends them
            assert rows.min() >= 8.5
    with pytest.raises(DataError, match="scene s: no 12 x 12 pixels without nodata"):
        RandomPatches(levels, PatchShape(3, 12, 12), CASES, 1, (2, 2), "toy")


def test_whole_scenes_tell_which_pixels_are_valid():
    cube = known(20, 24) / 2000
    scene = Scene("s", cube, valid=HOLED)
    tiles = (Tile(), Tile("_right", left=0.5))
    whole, right = NoisyScenes([scene], ["mixture"], "toy", 1, tiles)
    assert np.array_equal(whole["valid"].numpy(), HOLED)
    assert np.array_equal(right["valid"].numpy(), HOLED[:, 12:])
    assert "valid" not in NoisyScenes([Scene("s", cube)], ["mixture"], "toy", 1)[0]
    measured = Measured(noisy=Scene("s", cube, valid=HOLED), clean=Scene("s", cube))
    assert np.array_equal(NoisyScenes([measured], [], "toy", 1)[0]["valid"].numpy(), HOLED)
