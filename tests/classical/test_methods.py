"""The other methods: as good as they were measured on the same crop, and part by part."""

import math

import pytest
import torch

from lightning_ras2s.classical.blocks import Blocks, offsets
from lightning_ras2s.classical.bm4d import bm4d
from lightning_ras2s.classical.collaborative import _cosines, collaborative_filter
from lightning_ras2s.classical.fasthyde import fasthyde
from lightning_ras2s.classical.llrgtv import llrgtv
from lightning_ras2s.classical.llrt import llrt
from lightning_ras2s.classical.mnf import mnf
from lightning_ras2s.classical.ngmeet import ngmeet
from lightning_ras2s.classical.noise_level import band_sigmas
from lightning_ras2s.classical.wavelet import wavelet
from tests.classical.indian_pines import crop, denoised, psnr

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("method", "case", "least", "most", "options"),
    [
        (llrgtv, "noniid", 37.3, 38.4, {}),
        (llrgtv, "mixture", 33.2, 34.4, {}),
        (ngmeet, "noniid", 33.0, 34.6, {}),
        (ngmeet, "mixture", 28.5, 29.8, {}),
        (ngmeet, "noniid", 39.3, 40.4, {"whiten": True}),
        (fasthyde, "noniid", 39.8, 41.0, {}),
        (wavelet, "noniid", 30.5, 31.6, {}),
        (mnf, "noniid", 38.0, 39.1, {}),
    ],
)
def test_as_good_as_it_was_measured(method, case, least, most, options):
    assert least < denoised(method, case, **options) < most


@pytest.mark.slow
def test_bm4d_is_as_good_as_it_was_measured():
    pytest.importorskip("bmnd", reason="the extra 'bm4d' is not installed")
    assert 29.9 < denoised(bm4d, "noniid", slice(0, 20)) < 31


@pytest.mark.parametrize(("case", "gain"), [("gaussian30", 14.0), ("gaussian50", 14.7)])
def test_llrt_gains_what_it_was_measured_to(case, gain):
    sigma = float(case.removeprefix("gaussian")) / 255
    noisy = -20 * math.log10(sigma)
    assert denoised(llrt, case, slice(60, 91)) > noisy + gain


def test_mnf_takes_bands_that_are_there_twice_or_empty():
    clean = crop()[60:80]
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    once = mnf(noisy[None])[0]
    twice = mnf(torch.cat([noisy, noisy[:5], torch.zeros(2, 64, 64)])[None])[0]
    assert psnr(once, clean) > psnr(noisy, clean) + 5
    assert psnr(twice[:20], clean) > psnr(once, clean) - 1.5
    assert (twice[25:] == 0).all()


def test_blocks_cover_all_and_go_back_to_their_places():
    assert offsets(25, 10, 6) == [0, 6, 12, 15]
    torch.manual_seed(0)
    cube = torch.rand(3, 25, 13)
    blocks = Blocks.of(cube, 10, 6)
    assert blocks.take(cube).shape == (8, 100, 3)
    torch.testing.assert_close(blocks.put_together(blocks.take(cube)), cube * blocks.times)
    assert blocks.times.min() == 1


def test_sigmas_of_bands_are_found():
    clean = crop()
    sigma = torch.linspace(0.06, 0.2, len(clean))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = band_sigmas(clean + sigma[:, None, None] * noise)
    torch.testing.assert_close(found, sigma, rtol=0.15, atol=0.005)


def test_the_collaborative_filter_keeps_a_clean_image_and_cleans_a_noisy_one():
    matrix = _cosines(8, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8, dtype=torch.float64))
    clean = crop()[30] * 100
    torch.testing.assert_close(collaborative_filter(clean, 1e-3), clean, atol=0.01, rtol=0)
    noise = 5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    before, after = (
        psnr(clean + noise, clean),
        psnr(collaborative_filter(clean + noise, 5.0), clean),
    )
    assert after > before + 4.5
