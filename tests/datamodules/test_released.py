"""Released test files: what they hold, and the unit of their sigma."""

import logging

import numpy as np
import pytest
import scipy.io
import torch

from datamodules import DataError, ReleasedFiles, add_noise

torch.set_num_threads(1)


@pytest.fixture
def clean():
    return np.random.default_rng(0).random((6, 40, 30))  # bands, rows, columns


def release(folder, name, clean, case, **sigma):
    """A file as MATLAB's or scipy's savemat writes it: rows, columns, bands, double."""
    folder.mkdir(parents=True, exist_ok=True)
    noisy = add_noise(clean, case, seed=1)
    arrays = {"input": noisy.transpose(1, 2, 0), "gt": clean.transpose(1, 2, 0)}
    scipy.io.savemat(folder / f"{name}.mat", arrays | sigma)
    return noisy


def opened(path, **options):
    data = ReleasedFiles(str(path), **options)
    data.setup("test")
    return data


def test_files_come_as_they_are_named_by_folder_and_scene(tmp_path, clean):
    folder = tmp_path / "icvl" / "icvl_512_mixture"
    noisy = release(folder, "gavyam_0823-0933", clean, "mixture")
    release(tmp_path / "icvl" / "icvl_512_50", "b", 1 - clean, "gaussian50", sigma=50.0)
    data = opened(tmp_path / "icvl")
    assert data.test_set.items == [
        ("icvl", "b", "icvl_512_50"),
        ("icvl", "gavyam_0823-0933", "icvl_512_mixture"),
    ]
    (batch,) = [b for b in data.test_dataloader() if b["case"] == ["icvl_512_mixture"]]
    batch = data.on_after_batch_transfer(batch, 0)
    np.testing.assert_array_equal(batch["noisy"][0].numpy(), noisy.astype(np.float32))
    np.testing.assert_array_equal(batch["clean"][0].numpy(), clean.astype(np.float32))
    assert batch["name"] == ["gavyam_0823-0933"]
    assert "sigma" not in batch


@pytest.mark.parametrize(
    ("stated", "case", "grey_levels", "unit"),
    [
        (50.0, "gaussian50", 50, "0-255"),
        (50 / 255, "gaussian50", 50, "0-1"),
        (1.0, "gaussian1", 1, "0-255"),
        (10 / 255, "gaussian10", 10, "0-1"),
        (np.full((6, 1), 30.0), "gaussian30", 30, "0-255"),
        (np.full((1, 6), 30 / 255), "gaussian30", 30, "0-1"),
    ],
)
def test_the_unit_of_sigma_is_told_by_the_noise(
    tmp_path, clean, caplog, stated, case, grey_levels, unit
):
    release(tmp_path / "some_case", "a", clean, case, sigma=stated)
    with caplog.at_level(logging.INFO):
        data = opened(tmp_path / "some_case")
    (batch,) = data.test_dataloader()
    np.testing.assert_allclose(batch["sigma"].numpy(), np.full((1, 6), grey_levels))
    said = f"some_case: 1 files, sigma taken as {unit}, which is {grey_levels} grey levels"
    assert said in caplog.text


def test_bands_with_stripes_and_impulses_do_not_mislead(tmp_path):
    clean = np.random.default_rng(1).random((12, 40, 40))
    noisy = add_noise(add_noise(clean, "gaussian30", 0), "mixture", 0)
    arrays = {"input": noisy.transpose(1, 2, 0), "gt": clean.transpose(1, 2, 0)}
    scipy.io.savemat(tmp_path / "a.mat", arrays | {"sigma": np.full(12, 60.0)})
    (batch,) = opened(tmp_path).test_dataloader()
    np.testing.assert_allclose(batch["sigma"].numpy(), np.full((1, 12), 60))


def test_the_word_blind_is_no_sigma(tmp_path, clean, caplog):
    release(tmp_path / "cave_blind", "a", clean, "blind", sigma="blind")
    with caplog.at_level(logging.INFO):
        (batch,) = opened(tmp_path / "cave_blind").test_dataloader()
    assert "sigma" not in batch
    assert "no sigma in numbers" in caplog.text


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no \.mat file .* variables input and gt"):
        opened(tmp_path)


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_there_is_nothing_to_train_on(tmp_path, stage):
    with pytest.raises(DataError, match="no scenes to"):
        ReleasedFiles(str(tmp_path)).setup(stage)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"gt": np.zeros((4, 5, 3))}, r"x\.mat.*'input'"),
        ({"input": np.zeros((4, 5, 3)), "gt": np.zeros((4, 6, 3))}, r"x\.mat.*\(3, 4, 6\)"),
        ({"input": np.zeros((4, 5, 3)), "gt": np.full((4, 5, 3), 200.0)}, r"x\.mat.*200"),
        ({"input": np.full((4, 5, 3), np.nan), "gt": np.zeros((4, 5, 3))}, r"x\.mat.*NaN"),
        ({"input": np.zeros((4, 5)), "gt": np.zeros((4, 5))}, r"x\.mat.*\(4, 5\)"),
    ],
)
def test_damaged_files_are_named(tmp_path, arrays, message):
    scipy.io.savemat(tmp_path / "x.mat", arrays)
    with pytest.raises(DataError, match=message):
        opened(tmp_path).test_set[0]


@pytest.mark.parametrize("square", [True, False])
def test_files_with_the_bands_first_are_told_from_their_sizes(tmp_path, square):
    clean = np.random.default_rng(0).random((6, 40, 40 if square else 30))
    noisy = add_noise(clean, "gaussian50", seed=1)
    folder = tmp_path / "icvl" / "icvl_50"
    folder.mkdir(parents=True)
    scipy.io.savemat(folder / "a.mat", {"input": noisy, "gt": clean})
    if square:
        with pytest.warns(UserWarning, match=r"a.mat: read as 6 bands x 40 x 40 \(axes='BHW'"):
            data = opened(tmp_path / "icvl")
    else:
        with pytest.warns(UserWarning, match=r"read as 30 bands x 6 x 40 .*say axes="):
            opened(tmp_path / "icvl")
        data = opened(tmp_path / "icvl", axes="BHW")
    np.testing.assert_array_equal(data.test_set[0]["clean"].numpy(), clean.astype(np.float32))
    scipy.io.savemat(folder / "a.mat", {"input": noisy, "gt": clean, "sigma": np.full(6, 50.0)})
    found = opened(tmp_path / "icvl").test_set[0]["clean"]  # a sigma a band tells how many
    np.testing.assert_array_equal(found.numpy(), clean.astype(np.float32))
    with pytest.raises(DataError, match=r"data\.axes is 'CHW'"):
        opened(tmp_path / "icvl", axes="CHW")
