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
from lightning_ras2s.classical.median import median_filter
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.metrics import band_psnr, mpsnr
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

    def page(title, scene):
        calls.append((title, scene))
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


def shown(case, name):
    """What the page shows of a cube."""
    return case.cubes[name].decode()


def test_a_test_writes_a_page_of_the_first_scene_under_all_its_cases(tmp_path, given, told):
    trainer, field = run(tmp_path / "inspector")
    trainer.test(HSIDenoiser(Half()), field, verbose=False)
    pages = {path.name: path.read_text() for path in (tmp_path / "inspector").iterdir()}
    assert pages == {"test-up.html": "field: test up"}
    assert told == {"test up": tmp_path / "inspector" / "test-up.html"}
    ((_, scene),) = given
    assert [case.name for case in scene.cases] == ["gaussian30", "stripe"]
    for case, number in zip(scene.cases, (0, 2), strict=True):
        item = field.test_set[number]
        noisy, clean = item["noisy"], item["clean"]
        images = {"Noisy": noisy, "Median": median_filter(noisy[None])[0], "Half": noisy / 2}
        images["Half+S"] = refine(noisy, noisy / 2)[0]
        assert list(case.cubes) == list(images)
        for name, image in images.items():
            np.testing.assert_allclose(shown(case, name), image, atol=1e-4)
            psnr = band_psnr(image[None], clean[None])[0]
            np.testing.assert_allclose(case.measures["psnr"].values[name], psnr, rtol=1e-5)
            assert case.measures["sam"].values[name].shape == (3,)
        np.testing.assert_allclose(scene.clean.decode(), clean, atol=1e-4)
        rows = {row["Method"]: row["PSNR (dB)"] for row in case.means}
        assert rows["Half"] == f"{mpsnr(noisy[None] / 2, clean[None]).item():.2f}"
        assert case.masks == {}
    np.testing.assert_array_equal(scene.wavelengths, WAVELENGTHS)
    assert (scene.shape, scene.regions, scene.is_whole) == ((3, 12, 14), 0, True)


def test_cases_can_be_chosen(tmp_path, given):
    trainer, field = run(tmp_path, noise_cases=["stripe"])
    trainer.test(HSIDenoiser(Half()), field, verbose=False)
    assert [case.name for case in given[0][1].cases] == ["stripe"]


def test_chosen_scenes_have_the_networks_regions_of_every_source_and_input(tmp_path, given):
    trainer, field = run(tmp_path, scenes=["test down"])
    torch.manual_seed(0)
    network = RAS2S(channels=2, regions=4, spatial_regions=False)
    trainer.test(HSIDenoiser(network), field, verbose=False)
    ((title, scene),) = given
    assert title == "field: test down"
    assert scene.regions == 4  # though not all have a pixel
    for case, number in zip(scene.cases, (1, 3), strict=True):
        item = field.test_set[number]
        best = refine(item["noisy"], network(item["noisy"][None])[0])[0]
        inputs = {"noisy": item["noisy"], "denoised": best.detach(), "clean": item["clean"]}
        assert set(case.masks) == {
            (source, name, "spectral") for source in ("encoded", "embedding") for name in inputs
        }
        for (source, name, _), mask in case.masks.items():
            expected = network.region_masks(inputs[name][None], source).spectral[0]
            np.testing.assert_array_equal(mask, expected)


def test_training_writes_nothing_and_validation_by_itself_does(tmp_path, told):
    trainer, field = run(tmp_path / "inspector")
    denoiser = HSIDenoiser(Half())
    trainer.fit(denoiser, field)
    assert not (tmp_path / "inspector").exists()
    trainer.validate(denoiser, field, verbose=False)
    (page,) = (tmp_path / "inspector").iterdir()
    assert page.name == "val-up.html"
    assert "<title>field: val up</title>" in page.read_text()


def test_the_runs_own_network_is_the_last_and_new_weights_have_new_regions(tmp_path, given):
    trainer, field = run(tmp_path)
    torch.manual_seed(0)
    network = RAS2S(channels=2, regions=4)
    denoiser = HSIDenoiser(network, methods=["network+s", "network", "median+s"])
    for _ in range(2):
        trainer.test(denoiser, field, verbose=False)
        for guide in (network.region_aware.spectral_guide, network.region_aware.spatial_guide.base):
            torch.nn.init.normal_(guide.bias, std=5.0)
    first, second = (scene.cases[0] for _, scene in given)
    assert list(first.cubes) == ["Noisy", "Median", "Median+S", "RAS2S", "RAS2S+S"]
    for kind in ("spatial", "spectral"):
        key = ("embedding", "clean", kind)
        assert (first.masks[key] != second.masks[key]).any()
