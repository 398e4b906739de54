"""The five lines: what is said of scenes of which it is known what happened to them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from datamodules import add_noise
from lightning_ras2s.quality.assessment import Part, Subject, assess
from lightning_ras2s.quality.findings import findings
from tests.inference.test_subspace import natural

BANDS, SIDE = 24, 64


@pytest.fixture(scope="module")
def clean():
    return natural(BANDS, SIDE, 4, 1.5).numpy()


def said(noisy, denoiser=None, error=None, **facts):
    """The trust and the lines of a scene in 0 to 5000 whose zero is 0."""
    denoised = None if denoiser is None else denoiser(torch.from_numpy(noisy)).numpy()

    def read(rows, columns):
        part = (slice(None), rows, columns)
        return Part(noisy[part], None if denoised is None else denoised[part], None)

    subject = Subject(
        name="a",
        shape=noisy.shape,
        bands=np.arange(10, 10 + BANDS),
        wavelengths=np.linspace(400, 1000, BANDS),
        low=0.0,
        size=5000.0,
        read=read,
        denoised=None if denoiser is None else "b",
        denoiser=denoiser,
        error=error,
        **facts,
    )
    return findings(assess(subject))


def test_noise_is_told_before_anything_is_done(clean):
    trust, lines = said(add_noise(clean, "mixture", 7))
    assert trust == "not denoised"
    assert "denoising is worth while" in lines[0]
    assert "bands have striped columns" in lines[1]
    assert "have dead columns" in lines[1]
    assert "% of the values are dead or hot" in lines[1]
    _, lines = said((clean + 1e-4 * np.random.default_rng(0).random(clean.shape)).astype("f4"))
    assert "there is little to denoise" in lines[0]
    assert "striped" not in lines[1]


def test_a_denoiser_that_knows_the_scene_is_trusted(clean):
    noisy = add_noise(clean, "gaussian12.75", 7)
    noise = torch.from_numpy(noisy - clean)
    error = np.full(BANDS, 0.005)
    trust, lines = said(
        noisy, lambda cube: cube - noise[:, : cube.shape[1], : cube.shape[2]], error
    )
    assert trust == "yes"
    assert lines[0] == "Trust it: noise was taken, and weak signals are found as before."
    assert "looks like noise" in lines[2]
    assert "% of the noise" in lines[2]
    assert lines[3].endswith("no worse.")
    assert lines[4].startswith("How sure: two of three values are within 25 of the truth (0.5 %")


def test_a_blur_is_not_trusted_and_the_remedy_is_named(clean):
    noisy = add_noise(clean, "gaussian5.1", 7)

    def blur(cube):
        return torch.from_numpy(uniform_filter(cube.numpy(), (1, 9, 9)))

    trust, lines = said(noisy, blur)
    assert trust in ("with care", "no")
    assert "some of the scene" in lines[2]
    assert "Denoised with --strength=0." in lines[3]
    assert lines[4] == "How sure: not known; +S alone predicts its error."


def test_a_clean_scene_is_better_left_alone(clean):
    noisy = add_noise(clean, "gaussian0.51", 7)
    trust, lines = said(noisy, lambda cube: cube * 0.999, np.full(BANDS, 0.003))
    assert trust == "with care"
    assert lines[0].startswith("Better take the scene as it was")
    trust, lines = said(noisy, lambda cube: cube)
    assert trust == "yes"
    assert "hardly anything" in lines[0]
    assert lines[2].startswith("Taken: hardly anything, as strong as 0 %")


def test_the_worst_band_has_the_number_and_the_wavelength_of_the_file(clean):
    noisy = clean + 0.01 * np.random.default_rng(0).standard_normal(clean.shape)
    noisy[5] += 0.3 * np.random.default_rng(1).standard_normal(clean[0].shape)
    _, lines = said(noisy.astype("f4"))
    assert "the worst is band 15 (530 nm)" in lines[1]
