"""When the inspector writes its pages, and what it hands on to them."""

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from datamodules import Scene
from datamodules.base import HSIDataModule
from lightning_ras2s import RAS2S, HSIDenoiser
from lightning_ras2s.callbacks.inspector import Inspector
from lightning_ras2s.pages import inspector
from lightning_ras2s.pictures.gallery import Gallery

torch.set_num_threads(1)
WAVELENGTHS = np.linspace(500, 700, 3)


class Field(HSIDataModule):
    """Two scenes a split."""

    name = "field"

    def scenes(self, split):
        ramp = np.linspace(0, 1, 3 * 12 * 14, dtype=np.float32).reshape(3, 12, 14)
        scenes = {f"{split} up": ramp, f"{split} down": 1 - ramp}
        return [Scene(name, cube, WAVELENGTHS) for name, cube in scenes.items()]


class Half(nn.Module):
    """A network without regions, whose output is known."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, noisy):
        return noisy * self.factor


@pytest.fixture
def told(monkeypatch):
    """What was shown in the loggers."""
    pages = {}
    monkeypatch.setattr(Gallery, "page", lambda self, name, path: pages.update({name: path}))
    return pages


@pytest.fixture
def given(monkeypatch):
    """What pages were made of; they are just their titles."""
    calls = []

    def page(title, *arguments):
        calls.append((title, *arguments))
        return title

    monkeypatch.setattr(inspector, "inspector_page", page)
    return calls


def run(folder, **options):
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        max_epochs=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Inspector(str(folder), **options)],
    )
    small = {"batch_size": 2, "patch_size": 6, "patch_bands": 3, "patches_per_epoch": 4}
    return trainer, Field(**small, test_noise=["gaussian30", "stripe"])


def test_a_test_writes_a_page_for_each_chosen_case_of_the_first_scene(tmp_path, given, told):
    trainer, field = run(tmp_path / "inspector", noise_cases=["gaussian30", "stripe"])
    trainer.test(HSIDenoiser(Half()), field, verbose=False)
    pages = {path.name: path.read_text() for path in (tmp_path / "inspector").iterdir()}
    assert pages == {
        f"test-up_{case}.html": f"field: test up, {case} noise" for case in ("gaussian30", "stripe")
    }
    assert told == {
        f"test up {case}": tmp_path / "inspector" / f"test-up_{case}.html"
        for case in ("gaussian30", "stripe")
    }
    item = field.test_set[0]
    _, images, wavelengths, masks, regions = given[0]
    np.testing.assert_array_equal(images["noisy"], item["noisy"])
    np.testing.assert_array_equal(images["denoised"], item["noisy"] / 2)
    np.testing.assert_array_equal(images["clean"], item["clean"])
    np.testing.assert_array_equal(wavelengths, WAVELENGTHS)
    assert (masks, regions) == ({}, 0)


def test_chosen_scenes_have_the_networks_regions(tmp_path, given):
    trainer, field = run(tmp_path, scenes=["test down"])
    torch.manual_seed(0)
    network = RAS2S(channels=2, regions=4, spatial_regions=False)
    trainer.test(HSIDenoiser(network), field, verbose=False)
    assert [call[0] for call in given] == ["field: test down, stripe noise"]  # the last case
    _, images, _, masks, regions = given[0]
    expected = network.region_masks(torch.from_numpy(images["noisy"])[None]).spectral[0].numpy()
    assert list(masks) == ["spectral"]
    np.testing.assert_array_equal(masks["spectral"], expected)
    assert regions == 4  # though not all have a pixel


def test_training_writes_nothing_and_validation_by_itself_does(tmp_path, told):
    trainer, field = run(tmp_path / "inspector")
    denoiser = HSIDenoiser(Half())
    trainer.fit(denoiser, field)
    assert not (tmp_path / "inspector").exists()
    trainer.validate(denoiser, field, verbose=False)
    (page,) = (tmp_path / "inspector").iterdir()
    assert page.name == "val-up_mixture.html"
    assert "<title>field: val up, mixture noise</title>" in page.read_text()
