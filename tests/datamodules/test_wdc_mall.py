"""Washington DC Mall, from the publisher's archive to noisy batches."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch
from scipy import ndimage

from datamodules import DataError, WDCMall
from datamodules.noise import corrupt
from datamodules.prepare import prepare
from datamodules.random_streams import derive_seed
from tests.miniatures import wdc_mall

BANDS = 5  # of 191: the crops are the published ones whatever their number
FEW = replace(WDCMall.collection, shape=(BANDS, *WDCMall.collection.shape[1:]))
TESTS = {
    "ras2s": np.s_[:, 572:828, 22:278],
    "t3sc": np.s_[:, 600:800, 50:250],
    "mp_hsir": np.s_[:, 510:766, 25:281],
}


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """The scene [B, H, W], prepared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(tmp_path_factory.mktemp("data")))
        patch.setattr(WDCMall, "collection", FEW)
        written = wdc_mall.write(FEW.raw_folder, BANDS)
        outcome = prepare(FEW, offline=True)
        assert (set(outcome.made), outcome.problems) == (set(FEW.scenes), [])
        assert outcome.notes == []
        yield written["dc"].astype(np.float64)


def ready(stage, protocol, **options):
    module = WDCMall(protocol, **({"patch_bands": 3} | options))
    module.setup(stage)
    return module


def unit(values):
    return (values - values.min()) / np.ptp(values)


def by_quantiles(values, *fitted_to):
    """As T3SC scales bands."""
    pixels = np.concatenate([part.reshape(len(part), -1) for part in fitted_to or [values]], axis=1)
    low, high = (np.percentile(pixels, q, axis=1)[:, None, None] for q in (2, 98))
    return (np.clip(values, low, high) - low) / (high - low + 0.001)


def near(found, expected, atol=1e-6):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_the_collection_is_the_scene_as_published():
    assert WDCMall.collection.shape == (191, 1280, 307)
    assert WDCMall.collection.wavelengths is None


@pytest.mark.parametrize(
    ("protocol", "scale"), [("ras2s", unit), ("mp_hsir", unit), ("t3sc", by_quantiles)]
)
def test_the_test_is_the_published_crop(cube, protocol, scale):
    module = ready("test", protocol, test_noise=["mixture"])
    (batch,) = module.test_dataloader()
    near(batch["clean"][0], scale(cube[TESTS[protocol]]))
    seed = torch.tensor([derive_seed(2018, "wdc_mall", f"{protocol}_test", "mixture")])
    assert torch.equal(batch["noisy"], corrupt(batch["clean"], ["mixture"], seed))


def test_pixels_are_where_the_file_has_them(cube):
    (scene,) = WDCMall("ras2s").scenes("test")
    values = scene.load()
    for band, row, column in [(0, 572, 22), (4, 572, 277), (1, 827, 22), (3, 700, 100)]:
        restored = values.cube[band, row - 572, column - 22] * values.gain + values.offset
        near(restored, cube[band, row, column], atol=0.01)
    assert values.wavelengths is None


@pytest.mark.parametrize(
    ("protocol", "box", "scale"),
    [
        ("ras2s", np.s_[:, 828:956, 22:278], unit),
        ("t3sc", np.s_[:, 600:656, 251:], by_quantiles),
    ],
)
def test_the_validation_is_scaled_by_itself(cube, protocol, box, scale):
    (batch,) = ready("validate", protocol).val_dataloader()
    near(batch["clean"][0], scale(cube[box]))


def test_ras2s_trains_on_two_parts_of_their_own_ranges(cube):
    levels = ready("fit", "ras2s").train_set.scenes
    for level, rows in ((levels[0], np.s_[:572]), (levels[3], np.s_[956:])):
        assert level.level == 0
        part = cube[:, rows]
        assert level.shape == part.shape
        window = np.s_[1:4, 200:264, 243:307]
        near(level.read(window), unit(part)[window])


def test_t3sc_trains_on_two_parts_with_common_quantiles(cube):
    levels = ready("fit", "t3sc").train_set.scenes
    parts = cube[:, :600], cube[:, 800:]
    window = np.s_[1:4, 300:364, 243:307]
    for level, part in ((levels[0], parts[0]), (levels[3], parts[1])):
        near(level.read(window), by_quantiles(part, *parts)[window])
    half = np.stack([ndimage.zoom(band, 0.5) for band in parts[1].astype(np.float32)])
    assert levels[4].shape == half.shape == (BANDS, 240, 154)
    low, high = (
        np.percentile(np.concatenate(parts, axis=1), q, axis=(1, 2))[:, None, None] for q in (2, 98)
    )
    expected = (half.clip(low, high) - low) / (high - low + 0.001)
    near(levels[4].read(np.s_[:, :64, :64]), expected[:, :64, :64], atol=1e-4)  # stored in 16 bits


def test_t3sc_patches_are_as_many_as_published(cube):
    module = ready("fit", "t3sc", sampling="grid")
    ends = module.train_set.grid.ends
    assert (ends[2], ends[5] - ends[2]) == (926, 724)
    assert len(module.train_dataloader().sampler) == 926 + 724


@pytest.mark.parametrize("protocol", ["ras2s", "t3sc"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_have_patches_and_noise(cube, protocol, num_workers):
    options = {"batch_size": 2, "patches_per_epoch": 6, "num_workers": num_workers}
    module = ready("fit", protocol, train_noise=["gaussian50"], **options)
    batches = [module.on_after_batch_transfer(b, 0) for b in module.train_dataloader()]
    assert len(batches) == 3
    for batch in batches:
        assert batch["clean"].shape == (2, 3, 64, 64)
        beyond = 0.0 if protocol == "t3sc" else 0.2  # splines overshoot at smaller scales
        assert -beyond <= batch["clean"].min() < batch["clean"].max() <= 1 + beyond
        sigma = (batch["noisy"] - batch["clean"]).std().item() * 255
        assert sigma == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize("protocol", ["ras2s", "t3sc", "mp_hsir"])
def test_no_pixel_is_in_two_splits_of_a_protocol(protocol):
    uses = np.zeros((1280, 307), int)
    parts = {name: part for name, part in FEW.scenes.items() if name.startswith(protocol)}
    assert f"{protocol}_test" in parts
    for part in parts.values():
        uses[part.box(*uses.shape)] += 1
    assert uses.max() == 1


@pytest.mark.parametrize(("stage", "split"), [("fit", "train"), ("validate", "val")])
def test_mp_hsir_has_a_test_only(cube, stage, split):
    with pytest.raises(DataError, match=f"wdc_mall: the {split} split is empty"):
        ready(stage, "mp_hsir")


def test_the_mat_of_ras2s_gives_the_same_scene(cube, monkeypatch, tmp_path):
    (expected,) = WDCMall("ras2s").scenes("test")
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    FEW.raw_folder.mkdir(parents=True)
    scipy.io.savemat(FEW.raw_folder / "dc.mat", {"DC": cube.astype("int16")})
    few = replace(FEW, scenes={"ras2s_test": FEW.scenes["ras2s_test"]})
    assert prepare(few, offline=True).problems == []
    (found,) = WDCMall("ras2s").scenes("test")
    assert found.path != expected.path
    assert np.array_equal(found.load().cube, expected.load().cube)
