"""+S: what it learns and what it makes of it, by value; and the same as its prototype."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from datamodules import add_noise
from lightning_ras2s.inference import noise_estimate, scene_statistics, subspace, wiener
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

    def keep(noisy, pilot, size, out, risk):
        out.copy_(noisy)
        risk.fill_(1)

    monkeypatch.setattr(subspace, "smooth", keep)
    clean = spectra(60, 96, 96, 8)
    refined, learned = refine(clean + noise(60, 96, 96, sigma=0.05), clean, repeats=1)
    assert learned.subspace.shape == (60, 8)
    error = (refined - clean).square().mean().item()
    assert error == pytest.approx(0.05**2 * 8 / 60, rel=0.03)


def correct_nothing(monkeypatch):
    nothing = staticmethod(lambda found, _: torch.zeros_like(found))
    monkeypatch.setattr(scene_statistics._Clear, "_likely", nothing)


def test_means_of_bands_are_those_of_the_data(monkeypatch):
    """Also where impulses, dead columns and stripes hide it; the noise of a mean is .0006."""
    clean = spectra(30, 64, 64, 5)
    noisy = clean + noise(30, 64, 64, sigma=0.04)
    draw = torch.rand(30, 64, 64, generator=torch.Generator().manual_seed(4))
    noisy[:8] = torch.where(draw < 0.15, 0.0, torch.where(draw > 0.85, 1.0, noisy))[:8]
    noisy[8:14, :, 5:15] = 0
    noisy[14:20, :, 20:30] += 0.2
    wrong = 0.02 * noise(30, 1, 1, sigma=1, seed=3)
    refined, _ = refine(noisy, clean + wrong)
    assert (refined - clean).mean((1, 2)).abs().max() < 0.003
    correct_nothing(monkeypatch)
    biased, _ = refine(noisy, clean + wrong)
    assert (biased - clean).mean((1, 2)).abs().max() > 0.01


def test_directions_are_corrected_by_the_data(monkeypatch):
    """A denoiser has some bands too flat, among them such as have many impulses."""
    clean = spectra(30, 64, 64, 5)
    noisy = clean + noise(30, 64, 64, sigma=0.1)
    draw = torch.rand(30, 64, 64, generator=torch.Generator().manual_seed(4))
    noisy[:8] = torch.where(draw < 0.15, 0.0, torch.where(draw > 0.85, 1.0, noisy))[:8]
    mean = clean.mean((1, 2), keepdim=True)
    share = torch.linspace(0.5, 1, 30)[
        torch.randperm(30, generator=torch.Generator().manual_seed(1))
    ]
    flat = mean + share[:, None, None] * (clean - mean)
    refined, _ = refine(noisy, flat)
    correct_nothing(monkeypatch)
    uncorrected, _ = refine(noisy, flat)
    assert psnr(refined, clean) > psnr(uncorrected, clean) + 2
    assert psnr(refined[:8], clean[:8]) > psnr(uncorrected[:8], clean[:8]) + 2


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
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    sigma = torch.linspace(0.01, 0.2, 40)[order]
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
    clean = spectra(60, 40, 40, 5)
    noisy = clean + noise(60, 40, 40, sigma=0.01)
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
    refined, learned = refine(noisy, clean, repeats=1)
    torch.testing.assert_close(learned.sigma, torch.full((30,), 0.1), rtol=0.15, atol=0)
    dark = clean < 0.05
    assert (refined - clean)[dark].mean().abs() < 0.2 * (noisy - clean)[dark].mean().abs()


@pytest.mark.parametrize("end", [0, 1])
def test_clipped_values_become_their_mean_given_the_clip(end):
    value, sigma = abs(end - 0.07), 0.1
    drawn = value + noise(1_000_000, sigma=sigma)
    beyond = drawn[drawn < 0] if end == 0 else drawn[drawn > 1]
    found = noise_estimate._mean_if_clipped(torch.tensor([value]), end, torch.tensor(sigma))
    assert found.item() == pytest.approx(beyond.mean().item(), abs=5e-4)


@pytest.mark.parametrize("bands", [8, 3])
def test_few_counts_are_no_dead_values_and_their_sigma_is_that_of_photons(bands):
    clean = (spectra(bands, 64, 64, 2) - 0.2) / 2
    draw = torch.Generator().manual_seed(3)
    noisy = torch.poisson(30 * clean, generator=draw) / 30
    assert (noisy == 0).float().mean() > 0.01
    _, learned = refine(noisy, clean + noise(bands, 64, 64, sigma=0.01))
    assert learned.counted.any()
    assert learned.outliers[learned.counted].float().mean() < 0.01
    expected = (clean.mean((1, 2)) / 30).sqrt()
    torch.testing.assert_close(learned.sigma, expected, rtol=0.15, atol=0)


@pytest.mark.parametrize("sigma", [0.01, 0.03])
@pytest.mark.parametrize("taps", [(1, 2, 1), (1, 2, 3, 2, 1)])
def test_noise_that_neighbouring_bands_share_is_not_put_back(taps, sigma):
    clean = spectra(80, 64, 64, 6)
    white = noise(80, 64, 64, sigma=1).flatten(1).T[:, None]
    kernel = torch.tensor(taps) / sum(taps)
    shared = torch.nn.functional.conv1d(white, kernel[None, None], padding="same")[:, 0].T
    noisy = clean + sigma * (shared / shared.std()).view(80, 64, 64)
    denoised = clean + 0.2 * (noisy - clean) + noise(80, 64, 64, sigma=0.3 * sigma, seed=5)
    refined, learned = refine(noisy, denoised)
    assert learned.put_back.max() < 0.1
    torch.testing.assert_close(learned.sigma, torch.full((80,), sigma), rtol=0.25, atol=0)
    assert psnr(refined, clean) > psnr(denoised, clean) + 0.5


def striped_and_dead(bands, height, width):
    clean = spectra(bands, height, width, 5)
    noisy = clean + noise(bands, height, width, sigma=0.03)
    noisy[3, :, 7] -= 0.2
    noisy[9, :, 11] = 0
    noisy[6] = (noisy[6] * 2 - 0.9).clamp(0, 1)  # clipped at both ends
    return noisy, clean


@pytest.mark.parametrize("with_gaps", [False, True])
def test_windows_give_the_whole_also_from_files(monkeypatch, tmp_path, with_gaps):
    noisy, clean = striped_and_dead(24, 50, 41)
    denoised = clean + 0.02 * (spectra(24, 50, 41, 20, seed=3) - 0.5)
    valid = noise(24, 50, 41, sigma=1, seed=4) < 1.5 if with_gaps else None
    whole, learned = refine(noisy, denoised, valid, repeats=2)
    monkeypatch.setattr(scene_statistics, "PART", 24 * 97)  # 97 pixels, or a band
    monkeypatch.setattr(wiener, "SIDE", 10)
    made = []

    def in_a_file(*shape, dtype, device):
        made.append(tmp_path / str(len(made)))
        count = math.prod(shape)
        return torch.from_file(str(made[-1]), shared=True, size=count, dtype=dtype).view(shape)

    parts, also = refine(noisy, denoised, valid, repeats=2, new=in_a_file)
    assert len(made) > 4
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
    assert torch.equal(also.outliers, learned.outliers)
    torch.testing.assert_close(also.sigma, learned.sigma, rtol=1e-5, atol=0)
    errors = (each.uncertainty.standard_error() for each in (also, learned))
    torch.testing.assert_close(*errors, rtol=0.05, atol=1e-5)


def test_missing_values_change_nothing_but_themselves():
    clean = spectra(30, 48, 48, 5)
    noisy = clean + noise(30, 48, 48, sigma=0.02)
    valid = torch.ones(30, 48, 48, dtype=torch.bool)
    valid[:, :12] = False  # a border without data
    valid[4, 20:30, 20:30] = False
    valid[8] = False
    one, other = noisy.clone(), noisy.clone()
    one[~valid], other[~valid] = torch.nan, -9999.0
    (refined, learned), (again, _) = refine(one, clean), refine(other, clean, valid)
    assert torch.equal(refined, again)
    assert refined.isfinite().all()
    assert learned.outliers[~valid].all()
    there = [band for band in range(30) if band != 8]
    torch.testing.assert_close(learned.sigma[there], torch.full((29,), 0.02), rtol=0.1, atol=0)
    assert (refined - clean)[:, 16:].square().mean().sqrt() < 0.02
    without, _ = refine(noisy[there][:, 12:], clean[there][:, 12:])
    # Further down, the border is not felt.
    torch.testing.assert_close(refined[there][:, 24:], without[:, 12:], rtol=0, atol=0.01)


def test_a_mask_of_pixels_counts_for_all_bands():
    clean = spectra(12, 32, 32, 3)
    noisy = clean + noise(12, 32, 32, sigma=0.02)
    pixels = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.2
    (one, _), (other, _) = (
        refine(noisy, clean, valid) for valid in (pixels, pixels.expand(12, 32, 32))
    )
    assert torch.equal(one, other)


def test_refined_again_is_better_and_only_where_there_is_noise():
    clean = spectra(60, 64, 64, 6)
    noisy = clean + noise(60, 64, 64, sigma=0.1)
    blurred = torch.nn.functional.avg_pool2d(noisy, 3, 1, 1, count_include_pad=False)
    once, twice, often = (psnr(refine(noisy, blurred, repeats=n)[0], clean) for n in (1, 2, 4))
    assert twice > once + 0.5
    assert often > twice
    light = clean + noise(60, 64, 64, sigma=0.002)
    assert torch.equal(refine(light, blurred)[0], refine(light, blurred, repeats=1)[0])


def test_what_lies_outside_the_subspace_stays_unless_it_is_the_denoisers_errors():
    clean = spectra(40, 64, 64, 8)
    noisy = clean + noise(40, 64, 64, sigma=0.05)
    signal = torch.zeros(40, 64, 64)
    signal[20, 30, 30] = 0.04  # weak and rare: the denoiser knows it, the subspace does not
    kept = {}
    for repeats, error in ((1, 0), (4, 0), (4, 0.05)):
        wrong = noise(40, 64, 64, sigma=error, seed=5)
        pair = (clean + signal + wrong, clean + wrong)
        both = [refine(noisy, d, repeats=repeats)[0] for d in pair]
        kept[repeats, error] = ((both[0] - both[1]) * signal).sum() / signal.square().sum()
    assert kept[1, 0] > 0.15
    assert kept[4, 0] > 0.8 * kept[1, 0]
    assert kept[4, 0.05] < 0.4 * kept[1, 0]


def natural(bands, side, dimensions, decay):
    """A scene of smooth spectra with detail of every size, as pictures have it: f^-decay."""
    draw = torch.Generator().manual_seed(0)
    line = torch.fft.fftfreq(side)
    frequency = torch.hypot(line[:, None], line).clamp_min(1 / side)
    white = torch.randn(dimensions, side, side, generator=draw)
    images = torch.fft.ifft2(torch.fft.fft2(white) / frequency**decay).real
    images *= 0.6 ** torch.arange(dimensions)[:, None, None] / images.std((1, 2), keepdim=True)
    spectra = torch.randn(1, dimensions, bands, generator=draw)
    spectra = torch.nn.functional.avg_pool1d(spectra, 9, 1, 4)[0]
    cube = torch.einsum("kb,khw->bhw", spectra, images)
    return 0.2 + 0.6 * (cube - cube.min()) / (cube.max() - cube.min())


@pytest.mark.parametrize("size", [1.0, 0.3])
@pytest.mark.parametrize(("dimensions", "decay"), [(6, 1.2), (12, 1.5)])
def test_two_of_three_errors_lie_within_the_predicted_standard_error(dimensions, decay, size):
    """68 %, give or take 8. The factors were measured on other scenes."""
    clean = natural(60, 96, dimensions, decay)
    sigma = size * torch.linspace(0.02, 0.15, 60)[:, None, None]
    noisy = clean + sigma * noise(60, 96, 96, sigma=1)
    denoised = torch.from_numpy(median_filter(noisy.numpy(), (5, 3, 3)))
    refined, learned = refine(noisy, denoised)
    error = learned.uncertainty.standard_error().view(60, 96, 96)
    within = ((refined - clean).abs() < error).float()
    assert 0.6 < within.mean() < 0.76
    bands = learned.uncertainty.of_bands()
    torch.testing.assert_close(bands, error.square().mean((1, 2)).sqrt(), rtol=1e-4, atol=0)
    some = torch.tensor([5, 77, 4000])
    picked = learned.uncertainty.standard_error(some)
    torch.testing.assert_close(picked, error.flatten(1)[:, some], rtol=1e-5, atol=0)


def test_the_predicted_error_is_larger_where_there_is_more_to_see():
    """A pixel's own error, not that of its band."""
    clean = natural(40, 64, 6, 1.2)
    clean[:, :, :32] = clean[:, :, :32].mean((1, 2), keepdim=True)  # one half is flat
    noisy = clean + noise(40, 64, 64, sigma=0.05)
    refined, learned = refine(noisy, clean + noise(40, 64, 64, sigma=0.01, seed=2))
    error = learned.uncertainty.standard_error().view(40, 64, 64)
    assert error[:, :, 36:].mean() > 1.3 * error[:, :, 4:28].mean()
    true = (refined - clean).abs()
    assert true[:, :, 36:].mean() > 1.3 * true[:, :, 4:28].mean()


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
        lambda noisy, clean: (torch.full_like(noisy, 0.5), torch.full_like(clean, 0.5)),
        lambda noisy, clean: (torch.zeros_like(noisy), torch.zeros_like(clean)),
    ],
    ids=["3 bands", "4 bands", "64 pixels", "clean", "half", "flat", "zero"],
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


def test_a_constant_band_comes_back():
    clean = spectra(40, 24, 28, 4)
    noisy = (clean + noise(40, 24, 28, sigma=0.03)).index_fill(0, torch.tensor(5), 0.5)
    refined, _ = refine(noisy, clean)
    assert (refined[5] == 0.5).all()
    assert psnr(refined[6:], clean[6:]) > psnr(noisy[6:], clean[6:]) + 5


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_denoised_cube_that_is_not_finite_is_refused(value):
    denoised = torch.rand(5, 9, 9)
    denoised[2, 3, 4] = value
    with pytest.raises(ValueError, match="not finite; fill those of the noisy one"):
        refine(torch.rand(5, 9, 9), denoised)


def test_masks_and_repeats_that_make_no_sense_are_refused():
    cube = torch.rand(5, 9, 9)
    with pytest.raises(ValueError, match=r"valid \[5, 9\] must be \[B, H, W\] or \[H, W\]"):
        refine(cube, cube, torch.ones(5, 9, dtype=torch.bool))
    with pytest.raises(ValueError, match="repeats is 0"):
        refine(cube, cube, repeats=0)


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
def test_the_prototype_makes_the_same(monkeypatch, name, case):
    monkeypatch.setattr(subspace, "HIDDEN", math.inf)  # the prototype gives back a third of all,
    correct_nothing(monkeypatch)  # and corrects neither means nor directions
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
    refined, _ = refine(torch.from_numpy(noisy), torch.from_numpy(denoised), repeats=1)
    difference = (refined - torch.from_numpy(expected)).square().mean().sqrt().item()
    error = math.sqrt(np.square(expected - clean).mean())
    assert difference < 0.02 * error
