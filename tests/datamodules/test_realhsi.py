"""RealHSI: from the publisher's TIFF files to pairs that belong together."""

import os
import shutil
import zipfile

import numpy as np
import pytest
import tifffile
from jsonargparse import ArgumentParser
from skimage.exposure import match_histograms

from datamodules import DataError, HSIDataModule, RealHSI
from datamodules.collection import scene_list
from datamodules.prepare import prepare
from datamodules.realhsi import match_histogram
from tests.miniatures import realhsi

pytestmark = pytest.mark.filterwarnings("ignore:.*split are prepared; figures")
CENTRE = np.s_[:, 92:604, 4:516]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The counts of the scenes, and what became of them."""
    root = tmp_path_factory.mktemp("realhsi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_ROOT", str(root))
        cubes = realhsi.write(root / "realhsi" / "raw")
        yield cubes, prepare(RealHSI.collection, offline=True)
    shutil.rmtree(root)


def names(scenes):
    return [scene.name for scene in scenes]


def items(split, protocol="sert"):
    """What the data module gives for the scenes of a split, by name."""
    module = RealHSI(protocol)
    module.setup({"val": "validate"}.get(split, split))
    scenes = module.val_set if split == "val" else module.test_set
    return {item["name"]: item for item in scenes}


def off(cube, expected):
    assert cube.shape == expected.shape
    return np.abs(np.asarray(cube) - expected).max()


def test_the_scenes_are_prepared_and_the_others_told(prepared):
    cubes, outcome = prepared
    assert sorted(outcome.made) == sorted(cubes)
    assert not outcome.notes
    assert len(outcome.problems) == 2 * (59 - 6)
    message = outcome.problems[0].message
    assert "https://github.com/ColinTaoZhang/HSIDwRD" in message
    assert "real_dataset.zip" in message


def test_sert_tests_on_the_centre_and_clamps_the_noisy_counts_after_x_50(prepared):
    cubes, _ = prepared
    found = items("test")
    assert list(found) == ["1", "2", "10", "51"]
    for name, item in found.items():
        clean, noisy = cubes[f"gt_{name}"][CENTRE], cubes[f"input50_{name}"][CENTRE]
        assert off(item["clean"], clean / np.float32(4096)) < 1e-6
        assert off(item["noisy"], (noisy / np.float32(4096) * 50).clip(0, 1)) < 1e-6
        assert item["case"] == "real"
    assert (cubes["input50_1"][CENTRE].max() / 4096 * 50) > 1


def test_pixels_are_where_the_pages_have_them(prepared):
    cubes, _ = prepared
    path = RealHSI.collection.raw_folder / "real_dataset" / "input50" / "10.tif"
    page = tifffile.imread(path, key=5)
    assert page.shape == (696, 520)
    assert page[500, 30] == cubes["input50_10"][5, 500, 30]
    values = items("test")["10"]["noisy"]
    assert values[5, 500 - 92, 30 - 4].item() == pytest.approx(page[500, 30] * 50 / 4096)
    assert page[500, 30] not in (cubes["input50_10"][28, 500, 30], page[195, 30], page[500, 489])


def test_hsidwrd_tests_on_the_same_scenes_whole_and_not_clamped(prepared):
    cubes, _ = prepared
    module = RealHSI("hsidwrd")
    scenes = {scene.name: scene for scene in module.scenes("test")}
    assert list(scenes) == ["1", "2", "10", "51"]
    noisy = scenes["2"].noisy.load().cube
    assert off(noisy, cubes["input50_2"] / np.float32(4096) * 50) < 1e-6
    assert noisy.max() > 1
    assert off(scenes["2"].clean.load().cube, cubes["gt_2"] / np.float32(4096)) < 1e-6
    assert names(module.scenes("val")) == ["11"]


def test_hsir_matches_the_histogram_of_the_whole_scene_then_crops(prepared):
    cubes, _ = prepared
    found = items("test", "hsir")
    assert list(found) == ["51"]
    clean, noisy = (cubes[f"{kind}_51"].astype(np.float32) for kind in ("gt", "input50"))
    clean, noisy = clean / clean.max(), noisy / noisy.max()
    expected = match_histograms(noisy, clean, channel_axis=None)
    assert off(found["51"]["clean"], clean[:, :688, :512]) < 1e-6
    assert off(found["51"]["noisy"], expected[:, :688, :512]) < 1e-6


@pytest.mark.parametrize("kind", [np.float32, np.uint16])
def test_histogram_matching_is_that_of_scikit_image(kind):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 60, (3, 20, 31)).astype(kind)
    reference = (rng.random((4, 25, 10)) ** 2 * 999).astype(kind)
    matched = match_histogram(values, reference)
    assert matched.dtype == np.float32
    np.testing.assert_allclose(matched, match_histograms(values, reference), rtol=1e-6)


def test_training_patches_are_pairs_of_one_place_and_not_clamped(prepared):
    cubes, _ = prepared
    module = RealHSI(batch_size=6, patch_size=128, patches_per_epoch=6)
    assert names(module.scenes("train")) == ["12"]
    module.setup("fit")
    (batch,) = module.train_dataloader()
    batch = module.on_after_batch_transfer(batch, 0)
    assert batch.keys() == {"clean", "noisy", "dataset", "name", "case", "index"}
    assert batch["clean"].shape == batch["noisy"].shape == (6, 31, 128, 128)
    assert (set(batch["name"]), set(batch["case"])) == ({"12"}, {"real"})
    counts = (batch["clean"] * 4096).round(), (batch["noisy"] * 4096 / 50).round()
    noise = counts[1] - counts[0].div(50, rounding_mode="floor")  # the miniature's
    assert (noise.min(), noise.max()) == (0, 8)
    assert batch["noisy"].max() > 1
    assert counts[1].max() <= cubes["input50_12"].max()


def test_splits_keep_the_validation_scenes_from_training_and_test(prepared):
    expected = {
        "sert": (["12"], ["11"], ["1", "2", "10", "51"]),
        "hsidwrd": (["12"], ["11"], ["1", "2", "10", "51"]),
        "hsir": (["1", "2", "10", "12"], ["11"], ["51"]),
    }
    for protocol, splits in expected.items():
        module = RealHSI(protocol)
        assert tuple(names(module.scenes(s)) for s in ("train", "val", "test")) == splits
    assert {"11", "21", "31", "41"} <= set(scene_list("realhsi_sert_train"))
    lists = scene_list("realhsi_sert_train") + scene_list("realhsi_sert_test")
    assert sorted(lists, key=int) == [str(number) for number in range(1, 60)]


def test_the_noise_is_no_option():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(HSIDataModule, "data")
    options = ["--data=datamodules.RealHSI", "--data.protocol=hsir", "--data.batch_size=3"]
    module = parser.instantiate_classes(parser.parse_args(options)).data
    assert (module.protocol, module.batch_size) == ("hsir", 3)
    assert module.train_noise == module.val_noise == module.test_noise == ("real",)
    with pytest.raises(Exception, match="test_noise"):
        parser.parse_args([*options, "--data.test_noise=[mixture]"])


# Damage, in small scenes


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    return RealHSI.collection.raw_folder


def test_half_a_pair_is_left_out_and_told(raw):
    realhsi.write(raw, ["12", "13", "14"], (34, 60, 52))
    (raw / "real_dataset" / "input50" / "13.tif").unlink()
    outcome = prepare(RealHSI.collection, offline=True, any_size=True)
    assert "input50_13" in {problem.scene for problem in outcome.problems}
    with pytest.warns(UserWarning, match=r"left out of the train split.*: 13$"):
        scenes = RealHSI().scenes("train")
    assert names(scenes) == ["12", "14"]
    assert all(scene.noisy.path != scene.clean.path for scene in scenes)


def test_without_a_whole_pair_the_split_is_missing(raw):
    realhsi.write(raw, ["12"], (34, 60, 52))
    (raw / "real_dataset" / "gt" / "12.tif").unlink()
    prepare(RealHSI.collection, offline=True, any_size=True)
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(DataError, match="make data DATASET=realhsi"),
    ):
        RealHSI().scenes("train")


def test_a_cut_file_is_told_and_its_pair_left_out(raw):
    realhsi.write(raw, ["12", "13"], (34, 60, 52))
    path = raw / "real_dataset" / "input50" / "12.tif"
    os.truncate(path, path.stat().st_size // 2)
    outcome = prepare(RealHSI.collection, offline=True, any_size=True)
    (message,) = [p.message for p in outcome.problems if p.scene == "input50_12"]
    assert f"{path}: cut off after 17 pages" in message
    with pytest.warns(UserWarning, match=r"left out.*: 12$"):
        assert names(RealHSI().scenes("train")) == ["13"]


def test_the_first_page_alone_is_no_scene(raw):
    realhsi.write(raw, ["12"], (34, 60, 52))
    path = raw / "real_dataset" / "gt" / "12.tif"
    tifffile.imwrite(path, tifffile.imread(path, key=0))
    outcome = prepare(RealHSI.collection, offline=True, any_size=True)
    (message,) = [p.message for p in outcome.problems if p.scene == "gt_12"]
    assert f"{path}: has one page" in message


def test_the_archive_does_as_well_as_the_folder(raw):
    cubes = realhsi.write(raw / "aside", ["12"], (34, 60, 52))
    with zipfile.ZipFile(raw / "real_dataset.zip", "w") as out:
        for path in (raw / "aside").rglob("*.tif"):
            out.write(path, path.relative_to(raw / "aside"))
    shutil.rmtree(raw / "aside")
    outcome = prepare(RealHSI.collection, offline=True, any_size=True)
    assert outcome.ready == ["gt_12", "input50_12"]
    (scene,) = RealHSI().scenes("train")
    assert off(scene.noisy.load().cube, cubes["input50_12"] / np.float32(4096) * 50) < 1e-6
