"""CAVE: from the publisher's zip or folders to patches and scenes."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import CAVE
from datamodules.cave import TRAIN as TRAIN_SPLIT
from datamodules.collection import list_files, scene_list
from datamodules.prepare import prepare
from tests.miniatures import cave

pytestmark = pytest.mark.filterwarnings("ignore:.*split are prepared; figures")
TEST, TRAIN = "glass_tiles_ms", "balloons_ms"
VALIDATION = ["superballs_ms", "watercolors_ms"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The counts of the scenes, and what became of them."""
    root = tmp_path_factory.mktemp("cave")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(root))
        cubes = cave.write(root / "cave" / "raw")
        yield cubes, prepare(CAVE.collection, offline=True)
    shutil.rmtree(root)


def units(counts):
    counts = counts.astype(np.float32)
    return (counts - counts.min()) / np.ptp(counts)


def off(cube, counts):
    """How far a cube is from counts scaled to [0, 1], at most."""
    return np.abs(np.asarray(cube) - units(counts)).max()


def test_the_scenes_in_the_zip_are_prepared_and_the_others_told(prepared):
    cubes, outcome = prepared
    assert sorted(outcome.made) == sorted(cubes)
    assert not outcome.notes
    assert {problem.scene for problem in outcome.problems} == set(CAVE.collection.scenes) - {*cubes}
    assert all("no file of this name" in problem.message for problem in outcome.problems)


def test_pixels_are_where_the_files_have_them(prepared):
    cubes, _ = prepared
    module = CAVE(test_noise=["gaussian30"])
    module.setup("test")
    (item,) = module.test_set
    assert item["name"] == TEST
    assert off(item["clean"], cubes[TEST]) < 1e-6
    folder = list_files(CAVE.collection.raw_folder)[TEST][0]
    with Image.open(folder / f"{TEST}_05.png") as image:
        assert image.getpixel((500, 70)) == cubes[TEST][4, 70, 500]
    assert len({cubes[TEST][i] for i in [(4, 70, 500), (4, 500, 70), (26, 70, 500)]}) == 3


def test_validation_is_on_the_last_training_scenes_also_where_they_are_coloured(prepared):
    cubes, _ = prepared
    module = CAVE()
    module.setup("validate")
    assert sorted(item["name"] for item in module.val_set) == VALIDATION
    for item in module.val_set:
        assert off(item["clean"], cubes[item["name"]]) < 1e-6


@pytest.mark.parametrize(("protocol", "patches"), [("hsir", 122), ("ras2s", 419)])
def test_patches_of_a_scene(prepared, protocol, patches):
    module = CAVE(protocol, sampling="grid")
    module.setup("fit")
    assert [scene.name for scene in module.train_set.scenes] == [TRAIN] * 3
    assert len(module.train_set.grid) == patches


def test_training_has_the_scene_at_three_scales_with_noise(prepared):
    cubes, _ = prepared
    module = CAVE(batch_size=4, train_noise=["gaussian30"], patches_per_epoch=4)
    scenes = module.scenes("train")
    assert [scene.shape for scene in scenes] == [(31, n, n) for n in (512, 256, 128)]
    assert off(scenes[0].load().cube, cubes[TRAIN]) < 1e-6
    inner = np.s_[:, 3::8, 3::8]  # within the blocks of the smallest, away from the splines' waves
    np.testing.assert_allclose(
        scenes[2].load().cube[inner], units(cubes[TRAIN])[:, 12::32, 12::32], atol=0.1
    )
    module.setup("fit")
    (batch,) = module.train_dataloader()
    batch = module.on_after_batch_transfer(batch, 0)
    assert batch["clean"].shape == (4, 31, 64, 64)
    noise = batch["noisy"] - batch["clean"]
    assert torch.std(noise).item() == pytest.approx(30 / 255, rel=0.01)


def test_splits_are_those_of_hsir_without_what_validates():
    train, test = scene_list("cave_hsir_train"), scene_list("cave_hsir_test")
    assert {*TRAIN_SPLIT, *VALIDATION} == set(train)
    assert (len(TRAIN_SPLIT), len(test)) == (18, 12)
    assert CAVE.collection.scenes.keys() == {*train, *test}
    scaled = {name for name, part in CAVE.collection.scenes.items() if len(part.scales) == 3}
    assert scaled == set(TRAIN_SPLIT)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    raw = CAVE.collection.raw_folder
    cave.write(raw, archive=False)
    return raw


def test_missing_bands_are_named_in_unpacked_and_in_flattened_folders(folders):
    inner = folders / TRAIN / TRAIN
    (inner / f"{TRAIN}_31.png").unlink()
    (folders / "watercolors_ms" / "watercolors_ms_01.png").unlink()
    (folders / TEST / TEST / f"{TEST}_07.png").unlink()
    (folders / TEST / TEST / f"{TEST}_08.png").unlink()
    outcome = prepare(CAVE.collection, offline=True)
    problems = {p.scene: p.message for p in outcome.problems if "PNG" in p.message}
    assert problems.keys() == {TRAIN, TEST, "watercolors_ms"}
    assert f"{inner}: a scene is 31 PNG files" in problems[TRAIN]
    assert "missing 31:" in problems[TRAIN]
    assert "missing 1:" in problems["watercolors_ms"]
    assert "missing 7, 8:" in problems[TEST]
    assert outcome.ready == ["superballs_ms"]
