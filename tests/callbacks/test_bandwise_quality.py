"""Quality by band: its numbers, its charts and its table."""

import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from datamodules.samples import EvaluationItem
from lightning_ras2s.callbacks.bandwise_quality import (
    BandwiseQuality,
    draw_quality,
    table_of,
)
from lightning_ras2s.callbacks.scene_callback import View
from lightning_ras2s.metrics import mpsnr, mssim
from lightning_ras2s.pictures.gallery import Gallery
from lightning_ras2s.runs.best_effort import warn_once
from tests.wandb_files import history

torch.set_num_threads(1)
COLUMNS = [
    *("band", "wavelength_nm", "psnr_db noisy", "psnr_db denoised", "ssim noisy", "ssim denoised")
]
WAVELENGTHS = np.array([500.0, 400.0, 700.0, 600.0])
LEVELS = torch.tensor([0.1, 0.01, 0.001, 0.0316]).view(4, 1, 1)  # 20, 40, 60, 30 dB


def view(height=12, width=17, clean=True, wavelengths=WAVELENGTHS):
    """Four bands with errors of known size, and half of them after denoising."""
    cube = torch.rand(4, height, width, generator=torch.Generator().manual_seed(0))
    noisy, denoised = cube + LEVELS, cube + LEVELS / 2
    item = EvaluationItem("field", "jelly", "mixture")
    return View(item, noisy, denoised, cube if clean else None, wavelengths)


def look(scene):
    return BandwiseQuality("unused").look(scene, None)


def test_each_band_has_its_psnr_in_db():
    psnr = look(view()).measures["psnr"]
    np.testing.assert_allclose(psnr["noisy"], [20, 40, 60, 30], atol=0.02)
    np.testing.assert_allclose(psnr["denoised"] - psnr["noisy"], 20 * np.log10(2), atol=0.01)


def test_the_means_are_those_of_the_table():
    scene, measures = view(), look(view()).measures
    for name in ("noisy", "denoised"):
        image = getattr(scene, name)[None]
        for measure, metric in (("psnr", mpsnr), ("ssim", mssim)):
            expected = metric(image, scene.clean[None]).item()
            assert measures[measure][name].mean() == pytest.approx(expected, rel=1e-6)
    assert np.ptp(measures["ssim"]["noisy"]) > 1e-3


def test_a_look_is_small_and_without_tensors():
    found = look(view())
    arrays = [a for images in found.measures.values() for a in images.values()]
    assert all(isinstance(a, np.ndarray) and a.shape == (4,) for a in arrays)
    assert len(pickle.dumps(found)) < 2000


def warned(*scenes):
    """The lines that a callback warns with, and what it takes of the last scene."""
    warn_once.cache_clear()
    callback = BandwiseQuality("unused")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        looks = [callback.look(scene, None) for scene in scenes]
    return [str(warning.message) for warning in told], looks[-1]


def test_a_scene_without_reference_is_told_of_once():
    lines, nothing = warned(view(clean=False), view(clean=False))
    assert lines == ["BandwiseQuality: scene jelly has no clean reference; nothing to measure"]
    assert nothing is None


def test_a_scene_that_is_too_small_for_ssim_has_psnr_only():
    lines, found = warned(view(10, 17), view(10, 17))
    assert lines == [
        "BandwiseQuality: scene jelly is 10 x 17 pixels; SSIM needs 11 x 11 and is left out"
    ]
    assert list(found.measures) == ["psnr"]
    assert table_of(found)[0] == ["band", "wavelength_nm", "psnr_db noisy", "psnr_db denoised"]
    assert len(draw_quality("jelly", found).axes) == 1
    assert warned(view(11, 17))[0] == []


def test_the_table_is_in_order_of_the_bands():
    columns, rows = table_of(look(view()))
    assert columns == COLUMNS
    assert [row[0] for row in rows] == [0, 1, 2, 3]
    assert [row[1] for row in rows] == WAVELENGTHS.tolist()
    assert [round(row[2]) for row in rows] == [20, 40, 60, 30]
    assert [round(row[3]) for row in rows] == [26, 46, 66, 36]
    assert all(row[4] < row[5] for row in rows)
    assert [row[1] for row in table_of(look(view(wavelengths=None)))[1]] == [None] * 4


def test_the_picture_goes_along_the_spectrum():
    figure = draw_quality("jelly mixture", look(view()))
    psnr, ssim = figure.axes
    assert (psnr.get_ylabel(), ssim.get_ylabel()) == ("PSNR (dB)", "SSIM")
    assert ssim.get_xlabel() == "wavelength (nm)"
    noisy, denoised = psnr.lines
    assert noisy.get_xdata().tolist() == [400, 500, 600, 700]
    np.testing.assert_allclose(noisy.get_ydata(), [40, 20, 30, 60], atol=0.02)
    assert noisy.get_label() == "noisy, mean 37.50 dB"
    assert denoised.get_label() == "denoised, mean 43.52 dB"
    unknown = draw_quality("jelly mixture", look(view(wavelengths=None)))
    assert unknown.axes[1].get_xlabel() == "band"
    assert unknown.axes[0].lines[0].get_xdata().tolist() == [0, 1, 2, 3]


def test_a_picture_chart_and_table_reach_wandb_though_a_band_is_perfect(tmp_path, monkeypatch):
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    logger = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    callback, scene = BandwiseQuality(str(tmp_path / "pictures")), view()
    scene.denoised[1] = scene.clean[1]
    trainer = SimpleNamespace(loggers=[logger], global_step=3)
    found = callback.look(scene, None)
    callback.show({scene.item: found}, Gallery(trainer, callback.folder, "val", callback.topic))
    wandb.finish()
    wandb.teardown()  # flushes the file

    assert np.isposinf(found.measures["psnr"]["denoised"][1])
    (run,) = tmp_path.glob("wandb/offline-run-*")
    (path,) = run.glob("run-*.wandb")
    logged = {key: value for row in history(path) for key, value in row.items()}

    def table(key):
        text = (run / "files" / logged[f"{key}.path"]).read_text()
        assert "Infinity" not in text
        return json.loads(text)

    name = "bandwise/val/jelly mixture"
    rows = table(f"{name} table")
    assert rows["columns"] == COLUMNS
    assert [row[:2] for row in rows["data"]] == [[0, 500], [1, 400], [2, 700], [3, 600]]
    assert [row[3] and round(row[3]) for row in rows["data"]] == [26, None, 66, 36]
    points = [
        (x, line, round(y))
        for x, line, y in table(f"Custom Chart Tables/{name} psnr_table")["data"]
    ]
    noisy = [(400, "noisy", 40), (500, "noisy", 20), (600, "noisy", 30), (700, "noisy", 60)]
    denoised = [(500, "denoised", 26), (600, "denoised", 36), (700, "denoised", 66)]
    assert points == noisy + denoised
    lines = [line for _, line, _ in table(f"Custom Chart Tables/{name} ssim_table")["data"]]
    assert lines == ["noisy"] * 4 + ["denoised"] * 4
    shown = np.asarray(Image.open(run / "files" / logged[f"{name}.path"]))
    kept = np.asarray(Image.open(tmp_path / "pictures/val/bandwise_jelly-mixture.png"))
    np.testing.assert_array_equal(shown, kept)
    orange = (np.abs(kept.astype(int) - [0xD5, 0x5E, 0x00]) < 30).all(2)
    assert orange.sum() > 300
