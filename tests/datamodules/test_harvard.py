"""Harvard, from the publisher's archive to noisy batches."""

import numpy as np
import pytest
import torch

from datamodules import Harvard
from datamodules.harvard import SPLITS
from datamodules.noise import corrupt
from datamodules.patches import PatchGrid, PatchShape
from datamodules.prepare import prepare
from datamodules.random_streams import derive_seed
from tests.miniatures import harvard

pytestmark = pytest.mark.filterwarnings("ignore:harvard. [0-9]+ of the [0-9]+ scenes")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Five scenes [B, H, W] by name, prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        written = harvard.write(Harvard.collection.raw_folder)
        outcome = prepare(Harvard.collection, offline=True, any_size=True)
        assert (set(outcome.made), outcome.notes) == (set(written), [])
        assert len(outcome.problems) == 45
        yield written


def near(found, expected, atol=1e-5):  # stored in 16 bits
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def centre(cube, size):
    """The middle of a cube whose sizes are even."""
    top, left = (max(0, (length - size) // 2) for length in cube.shape[1:])
    return cube[:, top : top + size, left : left + size]


def test_no_scene_is_in_two_splits_and_the_crops_are_the_published_ones():
    assert {split: len(scenes) for split, scenes in SPLITS.items()} == {
        "train": 27,
        "val": 3,
        "test": 20,
    }
    assert len(set().union(*SPLITS.values())) == 50
    assert list(SPLITS["val"]) == ["imgf7", "imgh1", "imgh2"]
    collection = Harvard.collection
    assert set(collection.scenes) == set().union(*SPLITS.values())
    _, height, width = collection.shape
    boxes = {split: collection.scenes[SPLITS[split][0]].box(height, width) for split in SPLITS}
    assert boxes["train"] == (slice(8, 1032), slice(184, 1208))
    assert boxes["val"] == boxes["test"] == (slice(264, 776), slice(440, 952))


def test_a_whole_scene_gives_530_patches():
    scales = Harvard.collection.scenes["img1"].scales
    shapes = [(31, int(1024 * scale), int(1024 * scale)) for scale in scales]
    assert len(PatchGrid(shapes, PatchShape(31, 64, 64), Harvard.strides)) == 530


@pytest.mark.parametrize(("stage", "split"), [("test", "test"), ("validate", "val")])
def test_scenes_are_scaled_before_they_are_cut(cubes, stage, split):
    module = Harvard(test_noise=["noniid"], val_noise=["noniid"])
    module.setup(stage)
    loader = module.test_dataloader() if stage == "test" else module.val_dataloader()
    batches = {b["name"][0]: module.on_after_batch_transfer(b, 0) for b in loader}
    assert batches.keys() == cubes.keys() & set(SPLITS[split])
    for name, batch in batches.items():
        assert (cubes[name].min(), cubes[name].max()) == (0, 1)
        near(batch["clean"][0], centre(cubes[name], 512))
        assert batch["clean"].max() < 1  # the largest value lies outside
        seed = torch.tensor([derive_seed(2018, "harvard", name, "noniid")])
        assert torch.equal(batch["noisy"], corrupt(batch["clean"], ["noniid"], seed))


def test_pixels_are_where_the_file_has_them(cubes):
    scene = next(s for s in Harvard().scenes("test") if s.name == "imga1").load()
    assert scene.cube.shape == (31, 20, 512)
    for band, row, column in [(0, 0, 9), (30, 0, 520), (7, 19, 9), (12, 8, 333)]:
        near(scene.cube[band, row, column - 9], cubes["imga1"][band, row, column])
    assert scene.wavelengths.tolist() == list(range(420, 721, 10))


def test_training_takes_the_centre_of_scenes_scaled_as_a_whole(cubes):
    module = Harvard(batch_size=2, patches_per_epoch=4, train_noise=["gaussian30"])
    module.setup("fit")
    levels = module.train_set.scenes
    assert [level.name for level in levels] == ["img1", "imgb4"]  # smaller scales hold no patch
    for level in levels:
        expected = centre(cubes[level.name], 1024)
        near(level.read(np.s_[:, :, :]), expected)
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert batch["clean"].shape == (2, 31, 64, 64)
    sigma = (batch["noisy"] - batch["clean"]).std().item() * 255
    assert sigma == pytest.approx(30, rel=0.05)
