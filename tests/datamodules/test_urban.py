"""Urban, from the publisher's file or the mirror's to batches without a reference."""

import jsonargparse
import numpy as np
import pytest
import scipy.io
import torch

from datamodules import DataError, Urban
from datamodules import prepare as preparing
from datamodules.collection import list_files
from datamodules.prepare import prepare
from datamodules.stored import read_manifest
from tests.miniatures import urban

CROP = np.s_[:, :304, :304]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """The raw folder."""
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    return Urban.collection.raw_folder


def noisy():
    """The only batch of the test."""
    module = Urban()
    module.setup("test")
    (batch,) = module.test_dataloader()
    assert (batch["name"], batch["case"]) == (["urban"], ["real"])
    assert "clean" not in batch
    assert module.on_after_batch_transfer(batch, 0) is batch
    assert "clean" not in batch
    return batch["noisy"]


def source():
    """The file that the prepared scene comes from."""
    return read_manifest(Urban.collection.prepared_folder / "urban")["source"]["path"]


@pytest.mark.parametrize("write", [urban.write, urban.write_envi])
def test_the_scene_comes_upright_without_a_reference(folder, write):
    cube = write(folder)["Urban_F210"]
    outcome = prepare(Urban.collection, offline=True)
    assert (outcome.made, outcome.problems, outcome.notes) == (["urban"], [], [])
    crop = cube[CROP].astype(np.float32)
    image = noisy()
    assert (image.shape, image.dtype) == ((1, 210, 304, 304), torch.float32)
    for band, expected in zip(image[0], (crop - crop.min()) / np.ptp(crop), strict=True):
        np.testing.assert_allclose(band, expected, rtol=0, atol=1e-6)
    assert cube[0, 0, 303] != cube[0, 303, 0]  # a transposed read would show
    (scene,) = Urban().scenes("test")
    assert scene.noisy.wavelengths[[0, -1]].tolist() == [400, 2500]


def test_rows_and_columns_of_the_mat_are_told_by_the_file(folder):
    cube = np.random.default_rng(0).integers(0, 1000, (210, 5, 7), "uint16")
    pixels = cube.transpose(0, 2, 1).reshape(210, 35)
    assert pixels[3, 5] == cube[3, 0, 1]  # the sixth pixel starts the second column
    folder.mkdir(parents=True)
    path = folder / "Urban_F210.mat"
    scipy.io.savemat(path, {"Y": pixels, "nRow": 5.0, "nCol": 7.0})
    found, wavelengths = Urban.collection.read(path)
    assert np.array_equal(found, cube)
    assert wavelengths is None
    scipy.io.savemat(path, {"Y": pixels[:, :34], "nRow": 5.0, "nCol": 7.0})
    with pytest.raises(DataError, match=r"Urban_F210\.mat: Y is \(210, 34\)"):
        Urban.collection.read(path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_there_is_nothing_to_train_or_validate_on(split):
    stage = {"train": "fit", "val": "validate"}[split]
    with pytest.raises(DataError, match=f"urban: the {split} split is empty"):
        Urban().setup(stage)


def test_noise_is_no_option():
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Urban, "data")
    options = vars(parser.get_defaults().data)
    assert {"batch_size", "num_workers", "seed"} <= options.keys()
    assert not {"train_noise", "val_noise", "test_noise"} & options.keys()


def test_the_mat_goes_before_the_pair(folder):
    urban.write_envi(folder)
    prepare(Urban.collection, offline=True)
    assert source() == "Urban_F210.hdr"
    urban.write(folder)
    with pytest.raises(DataError, match="run make data DATASET=urban again"):
        noisy()
    assert prepare(Urban.collection, offline=True).made == ["urban"]
    assert source() == "Urban_F210.mat"
    assert prepare(Urban.collection, offline=True).made == []
    noisy()


def test_the_rest_of_a_pair_is_fetched(folder, monkeypatch, tmp_path):
    urban.write_envi(tmp_path / "mirror")
    fetched = []

    def fetch(file, raw, refusing):
        fetched.append(file.name)
        raw.mkdir(parents=True, exist_ok=True)
        (raw / file.name).write_bytes((tmp_path / "mirror" / file.name).read_bytes())
        if fetched == ["Urban_F210.img"]:
            raise DataError("unplugged")

    monkeypatch.setattr(preparing, "fetch", fetch)
    monkeypatch.setattr(preparing, "GIVE_UP", 1)
    assert prepare(Urban.collection).made == []
    assert list_files(folder) == {}
    assert prepare(Urban.collection).made == ["urban"]
    assert fetched == ["Urban_F210.img", "Urban_F210.img", "Urban_F210.hdr"]
