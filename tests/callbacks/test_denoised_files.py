"""Scenes without a reference: what a test leaves of them."""

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from datamodules import Scene, read_scene, write_scene
from datamodules.base import HSIDataModule
from datamodules.samples import REAL
from datamodules.scene import Measured
from lightning_ras2s import HSIDenoiser
from lightning_ras2s.callbacks import DenoisedFiles, EvaluationTable
from lightning_ras2s.callbacks.denoised_files import draw_pair

torch.set_num_threads(1)
NOISY = np.random.default_rng(0).integers(100, 900, (7, 20, 24)).astype(np.float32)


class Field(HSIDataModule):
    """One scene that was measured with its noise."""

    name = "field"

    def __init__(self):
        super().__init__(test_noise=(REAL,))

    def scenes(self, split):
        return [Measured(Scene.from_raw("plot", NOISY, np.linspace(400, 1000, 7)))]


class Half(nn.Module):
    """A network whose output is known."""

    def forward(self, noisy):
        return noisy / 2


def test_a_scene_without_reference_is_written_in_its_units_with_a_picture(tmp_path):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[DenoisedFiles(str(tmp_path)), EvaluationTable(str(tmp_path))],
    )
    trainer.test(HSIDenoiser(Half()), datamodule=Field(), verbose=False)
    scene = read_scene(tmp_path / "plot.mat")
    low, high = NOISY.min(), NOISY.max()
    expected = low + (NOISY - low) / 2
    np.testing.assert_allclose(scene.cube * scene.gain + scene.offset, expected, atol=1e-3)
    assert scene.gain < high - low
    np.testing.assert_allclose(scene.wavelengths, np.linspace(400, 1000, 7))
    assert not (tmp_path / "evaluation.csv").exists()
    picture = np.asarray(Image.open(tmp_path / "plot.png"))
    assert picture.shape == (20, 48, 3)
    row, column = np.unravel_index(NOISY[1].argmax(), (20, 24))
    assert picture[row, 24 + column, 2] > 250  # the short waves are blue; denoised on the right


class Fields(Field):
    """Some more of them."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def scenes(self, split):
        return [Measured(Scene.from_raw(f"plot{n}", NOISY)) for n in range(self.number)]


@pytest.mark.parametrize(("scenes", "shares"), [(3, {0: [0, 2], 1: [1]}), (1, {0: [0]})])
def test_several_processes_write_each_scene_once(tmp_path, monkeypatch, scenes, shares):
    def noting_the_process(scene, path):
        rank = torch.distributed.get_rank()
        return write_scene(scene, path.with_name(f"{path.stem} by {rank}{path.suffix}"))

    monkeypatch.setattr("lightning_ras2s.callbacks.denoised_files.write_scene", noting_the_process)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        logger=False,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[DenoisedFiles(str(tmp_path))],
    )
    trainer.test(HSIDenoiser(Half()), datamodule=Fields(scenes), verbose=False)
    expected = {f"plot{n} by {rank}.mat" for rank, own in shares.items() for n in own}
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".png"} == expected


def test_the_picture_is_in_true_colour_where_the_wavelengths_allow_it():
    wavelengths = np.arange(400.0, 701.0, 10.0)
    cube = np.zeros((31, 10, 12), np.float32)
    cube[wavelengths > 600, :, :6] = 1  # red on the left
    cube[wavelengths < 480, :, 6:] = 1
    picture = np.asarray(draw_pair(0.5 * cube, Scene("plot", cube, wavelengths)))
    assert picture.shape == (10, 24, 3)
    assert picture[5, [3, 9, 15, 21]].argmax(axis=1).tolist() == [0, 2, 0, 2]
    assert picture[5, 3, 0] < picture[5, 15, 0]  # noisy on the left, with the same stretch
