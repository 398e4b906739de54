"""Pavia Centre, from the publisher's file to noisy batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules import DataError, PaviaCentre
from datamodules.noise import corrupt
from datamodules.prepare import prepare
from datamodules.random_streams import derive_seed
from tests.miniatures import pavia_centre

BANDS = 5  # of 102: the crops are the published ones whatever their number
TEST = np.s_[:, 356:740, 115:499]
VAL = np.s_[:, 740:868, 115:499]


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """The scene [B, H, W], prepared."""
    full = PaviaCentre.collection
    few = replace(full, shape=(BANDS, *full.shape[1:]), wavelengths=full.wavelengths[:BANDS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        patch.setattr(PaviaCentre, "collection", few)
        written = pavia_centre.write(few.raw_folder, BANDS)
        outcome = prepare(few, offline=True)
        assert (sorted(outcome.made), outcome.problems) == (["test", "train", "val"], [])
        assert outcome.notes == []
        yield written["Pavia"].astype(np.float64)


def ready(stage, **options):
    module = PaviaCentre(patch_bands=3, **options)
    module.setup(stage)
    return module


def unit(values):
    return (values - values.min()) / np.ptp(values)


def near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_collection_is_the_scene_as_published():
    collection = PaviaCentre.collection
    assert collection.shape == (102, 1096, 715)
    assert collection.wavelengths[[0, -1]].tolist() == [430, 860]
    assert len(collection.wavelengths) == 102


def test_the_test_is_the_published_crop_scaled_by_its_own_range(cube):
    module = ready("test", test_noise=["stripe"])
    (batch,) = module.test_dataloader()
    assert (cube[TEST].min(), cube[TEST].max()) != (cube.min(), cube.max())
    near(batch["clean"][0], unit(cube[TEST]))
    seed = torch.tensor([derive_seed(2018, "pavia_centre", "test", "stripe")])
    assert torch.equal(batch["noisy"], corrupt(batch["clean"], ["stripe"], seed))


def test_pixels_are_where_the_file_has_them(cube):
    (scene,) = PaviaCentre().scenes("test")
    values = scene.load()
    low, high = cube[TEST].min(), cube[TEST].max()
    for band, row, column in [(0, 356, 115), (4, 356, 498), (1, 739, 115), (2, 400, 300)]:
        near(
            values.cube[band, row - 356, column - 115],
            (cube[band, row, column] - low) / (high - low),
        )
    assert (values.offset, values.gain) == (low, high - low)
    assert values.wavelengths[0] == 430


def test_validation_is_below_the_test(cube):
    (batch,) = ready("validate").val_dataloader()
    near(batch["clean"][0], unit(cube[VAL]))


def test_training_is_above_the_test_at_three_scales_of_one_range(cube):
    module = ready("fit", batch_size=2, patches_per_epoch=4)
    levels = module.train_set.scenes
    assert [level.shape for level in levels] == [(5, 356, 715), (5, 178, 358), (5, 89, 179)]
    assert len(module.train_set.grid) == 19 * 41 + 15 * 37 + 4 * 15
    train = cube[:, :356]
    scaled = (train - train.min()) / np.ptp(train)
    near(levels[0].read(np.s_[1:4, 10:74, 600:664]), scaled[1:4, 10:74, 600:664])
    corner = levels[2].read(np.s_[:, :1, :1])  # zoom keeps corners
    np.testing.assert_allclose(corner, scaled[:, :1, :1], atol=1e-3)
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert batch["clean"].shape == batch["noisy"].shape == (2, 3, 64, 64)
    assert not torch.equal(batch["clean"], batch["noisy"])


def test_no_pixel_is_in_two_splits():
    uses = np.zeros((1096, 715), int)
    for excerpt in PaviaCentre.collection.scenes.values():
        uses[excerpt.box(*uses.shape)] += 1
    assert uses.max() == 1
    assert uses.sum() == 356 * 715 + 384 * 384 + 128 * 384


def test_without_files_the_command_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(DataError, match="make data DATASET=pavia_centre"):
        ready("test")
