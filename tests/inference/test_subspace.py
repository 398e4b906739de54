"""+S: what it learns and what it makes of it, by value; and the same as its prototype."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from datamodules import add_noise
from lightning_ras2s.inference import noise_estimate, subspace
from lightning_ras2s.inference.subspace import refine
from tests.golden import GOLDEN

torch.set_num_threads(1)
SHARED = GOLDEN.parent


def spectra(bands, height, width, dimensions, seed=0):
    """A smooth scene [B, H, W] in 0.2 to 0.8 whose centred spectra have so many dimensions."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, dimensions, 6, 6, generator=draw)
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    cube = torch.einsum("bk,khw->bhw", torch.randn(bands, dimensions, generator=draw), images)
    return 0.2 + 0.6 * (cube - cube.min()) / (cube.max() - cube.min())


def noise(*shape, sigma, seed=1):
    return sigma * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def psnr(x, clean):
    return -10 * (x - clean).square().mean((1, 2)).log10().mean().item()


def test_a_cube_of_few_dimensions_keeps_the_noise_of_these_alone(monkeypatch):
    monkeypatch.setattr(subspace, "ROUNDS", 1)
    monkeypatch.setattr(subspace, "PRIOR", 0.0)
    monkeypatch.setattr(subspace, "_wiener", lambda noisy, pilot, size: noisy)
    clean = spectra(60, 96, 96, 8)
    refined, learned = refine(clean + noise(60, 96, 96, sigma=0.05), clean)
    assert learned.subspace.shape == (60, 8)
    error = (refined - clean).square().mean().item()
    assert error == pytest.approx(0.05**2 * 8 / 60, rel=0.03)


def test_what_stands_out_of_the_noise_comes_back():
    clean = spectra(60, 64, 64, 12)
    eight = clean.flatten(1)
    mean = eight.mean(1, keepdim=True)
    left, values, right = torch.linalg.svd(eight - mean, full_matrices=False)
    lost = (mean + (left[:, :8] * values[:8]) @ right[:8]).view_as(clean)
    refined, learned = refine(clean + noise(60, 64, 64, sigma=0.002), lost)
    assert learned.subspace.shape[1] >= 12
    assert psnr(refined, clean) > psnr(lost, clean) + 10


def test_sigma_is_that_of_each_band():
    clean = spectra(40, 80, 80, 6)
    sigma = torch.linspace(0.01, 0.2, 40)[torch.randperm(40)]
    _, learned = refine(clean + sigma[:, None, None] * noise(40, 80, 80, sigma=1), clean)
    torch.testing.assert_close(learned.sigma, sigma, rtol=0.1, atol=0)


def test_the_value_of_an_outlier_changes_nothing():
    clean = spectra(30, 32, 32, 5)
    one = clean + noise(30, 32, 32, sigma=0.02)
    one[7, 3, 20] = one[20, 30, 5] = 0.97
    other = one.clone()
    other[7, 3, 20] = 1.4
    other[20, 30, 5] = 1.9
    (refined, learned), (again, _) = refine(one, clean), refine(other, clean)
    assert torch.equal(refined, again)
    assert learned.outliers[7, 3, 20]
    assert learned.outliers[20, 30, 5]
    assert learned.outliers.float().mean() < 2e-3


def test_what_neighbouring_bands_share_is_no_outlier():
    clean = spectra(30, 32, 32, 5)
    noisy = clean + noise(30, 32, 32, sigma=0.01)
    failed = clean.clone()
    failed[10:16, 8, 9] += 0.2  # of the denoiser
    refined, learned = refine(noisy, failed)
    assert not learned.outliers[11:15, 8, 9].any()
    assert (refined[10:16, 8, 9] - clean[10:16, 8, 9]).abs().max() < 0.1


def test_stripes_are_found_and_taken_off():
    clean = spectra(30, 64, 64, 5)
    stripes = torch.zeros(30, 64)
    stripes[4, 10], stripes[5, 50] = 0.2, -0.15
    noisy = clean + noise(30, 64, 64, sigma=0.02) + stripes[:, None]
    refined, learned = refine(noisy, clean)
    assert (learned.offsets != 0).float().mean() < 0.01
    torch.testing.assert_close(learned.offsets, stripes, atol=0.015, rtol=0)
    assert (refined - clean)[4, :, 10].abs().mean() < 0.01


def test_dead_columns_are_left_out():
    clean = spectra(30, 64, 64, 5)
    noisy = clean + noise(30, 64, 64, sigma=0.02)
    noisy[8, :, 40] = 0
    refined, learned = refine(noisy, clean)
    assert learned.outliers[8, :, 40].all() or learned.offsets[8, 40] != 0
    assert (refined - clean)[8, :, 40].abs().mean() < 0.01


def test_sigma_of_clipped_bands_is_that_of_the_other_side_and_their_mean_is_not_pulled():
    clean = (spectra(30, 64, 64, 5) - 0.2) / 3  # dark: 0 to 0.2
    noisy = (clean + noise(30, 64, 64, sigma=0.1)).clamp(0, 1)
    assert (noisy == 0).float().mean() > 0.1
    refined, learned = refine(noisy, clean)
    torch.testing.assert_close(learned.sigma, torch.full((30,), 0.1), rtol=0.15, atol=0)
    dark = clean < 0.05
    assert (refined - clean)[dark].mean().abs() < 0.2 * (noisy - clean)[dark].mean().abs()


@pytest.mark.parametrize("end", [0, 1])
def test_clipped_values_become_their_mean_given_the_clip(end):
    value, sigma = abs(end - 0.07), 0.1
    drawn = value + noise(1_000_000, sigma=sigma)
    beyond = drawn[drawn < 0] if end == 0 else drawn[drawn > 1]
    nothing = torch.zeros(1, 1)
    found = noise_estimate.End(nothing, nothing, nothing, nothing, end).mean_if_clipped(
        torch.full((1, 1), value), torch.full((1, 1), sigma)
    )
    assert found.item() == pytest.approx(beyond.mean().item(), abs=5e-4)


@pytest.mark.parametrize("bands", [1, 2])
def test_cubes_of_too_few_bands_come_back(bands):
    denoised = torch.rand(bands, 20, 20)
    refined, learned = refine(torch.rand(bands, 20, 20), denoised)
    assert torch.equal(refined, denoised)
    assert learned is None


@pytest.mark.parametrize(
    "change",
    [
        lambda noisy, clean: (noisy[:3], clean[:3]),
        lambda noisy, clean: (noisy[:4], clean[:4]),
        lambda noisy, clean: (noisy[:, :8, :8], clean[:, :8, :8]),  # fewer pixels than 4 B
        lambda noisy, clean: (clean, clean),  # no noise at all
        lambda noisy, clean: (noisy.half(), clean.half()),
        lambda noisy, clean: (noisy.index_fill(0, torch.tensor(5), 0.5), clean),
        lambda noisy, clean: (torch.full_like(noisy, 0.5), torch.full_like(clean, 0.5)),
        lambda noisy, clean: (torch.zeros_like(noisy), torch.zeros_like(clean)),
    ],
    ids=["3 bands", "4 bands", "64 pixels", "clean", "half", "constant", "flat", "zero"],
)
def test_edges_are_no_worse_and_never_nan(change):
    clean = spectra(40, 24, 28, 4)
    noisy, denoised = change(clean + noise(40, 24, 28, sigma=0.03), clean)
    refined, learned = refine(noisy, denoised)
    assert refined.dtype == torch.float32
    assert refined.isfinite().all()
    assert learned.sigma.isfinite().all()
    worst = (refined - denoised).abs().max().item()
    assert worst < 0.1


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"noisy \[3, 9, 9\] and denoised \[3, 9, 8\]"):
        refine(torch.rand(3, 9, 9), torch.rand(3, 9, 8))
    with pytest.raises(ValueError, match=r"one shape \[B, H, W\]"):
        refine(torch.rand(1, 3, 9, 9), torch.rand(1, 3, 9, 9))


CASES = ["noniid", "mixture", "impulse", "gaussian0.51", "gaussian7.65", "clipped"]


@pytest.mark.skipif(
    not (SHARED / "reference/plus_s.py").exists(), reason="the prototype is not here"
)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["muufl_casi72", "samson"])
def test_the_prototype_makes_the_same(name, case):
    given = importlib.util.spec_from_file_location("plus_s", SHARED / "reference/plus_s.py")
    prototype = importlib.util.module_from_spec(given)
    given.loader.exec_module(prototype)
    cube = np.load(SHARED / f"scenes/{name}.npz")["cube"].astype(np.float32)
    clean = (cube - cube.min()) / (cube.max() - cube.min())
    noisy = add_noise(clean, case.replace("clipped", "noniid"), 7)
    noisy = noisy.clip(0, 1) if case == "clipped" else noisy
    noisy, clean = noisy[:, :64, :72], clean[:, :64, :72]
    denoised = median_filter(noisy, (3, 3, 3))
    expected = prototype.plus_s(noisy, denoised)
    refined, _ = refine(torch.from_numpy(noisy), torch.from_numpy(denoised))
    difference = (refined - torch.from_numpy(expected)).square().mean().sqrt().item()
    error = math.sqrt(np.square(expected - clean).mean())
    assert difference < 0.02 * error
