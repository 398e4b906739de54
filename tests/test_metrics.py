import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    spectral_angle_mapper,
)

from lightning_ras2s.metrics import METRICS, band_sam, ergas, mpsnr, mssim, sam

torch.set_num_threads(1)


def images(dtype=torch.float64, shape=(2, 5, 24, 17)):
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (clean + 0.1 * noise).to(dtype), clean.to(dtype)


def test_the_columns_of_an_evaluation_and_one_value_per_image():
    assert list(METRICS) == ["psnr_db", "ssim", "sam_rad", "ergas"]
    denoised, clean = images()
    for metric in METRICS.values():
        both = metric(denoised, clean)
        alone = torch.cat([metric(denoised[i : i + 1], clean[i : i + 1]) for i in range(2)])
        assert both.shape == (2,)
        torch.testing.assert_close(both, alone)


def test_psnr_is_the_mean_over_bands_in_db_and_clips_nothing():
    clean = torch.full((1, 3, 4, 4), 0.9)
    error = torch.tensor([0.1, 0.01, 10.0]).view(1, 3, 1, 1)  # 20, 40 and -20 dB
    assert mpsnr(clean + error, clean).item() == pytest.approx((20 + 40 - 20) / 3, abs=1e-4)
    assert mpsnr(clean, clean).item() == math.inf


def test_ssim_is_that_of_scikit_image():
    denoised, clean = images()
    expected = [
        np.mean(
            [
                structural_similarity(
                    x, y, data_range=1, gaussian_weights=True, use_sample_covariance=False
                )
                for x, y in zip(a, b, strict=True)
            ]
        )
        for a, b in zip(denoised.numpy(), clean.numpy(), strict=True)
    ]
    np.testing.assert_allclose(mssim(denoised, clean), expected, rtol=1e-12)
    np.testing.assert_allclose(mssim(denoised.float(), clean.float()), expected, atol=1e-5)
    assert mssim(clean.float(), clean.float()).tolist() == [1, 1]


def test_ssim_of_an_image_smaller_than_its_window_names_the_size():
    smallest = torch.rand(1, 2, 11, 11)
    assert mssim(smallest, smallest).item() == 1
    with pytest.raises(ValueError, match=r"11 x 11.*H x W = 11 x 10"):
        mssim(smallest[..., 1:], smallest[..., 1:])


def test_sam_is_in_radians():
    denoised, clean = images()
    a, b = denoised.numpy(), clean.numpy()
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(sam(denoised, clean), np.arccos(cosine).mean((1, 2)), rtol=1e-12)
    theirs = spectral_angle_mapper(denoised, clean, reduction="none").mean((1, 2))
    torch.testing.assert_close(sam(denoised, clean), theirs)


def test_sam_of_equal_proportional_opposite_and_zero_spectra():
    _, clean = images(torch.float32)
    zero = torch.zeros_like(clean)
    for denoised, reference, angle in [
        (clean, clean, 0),
        (clean / 3, clean, 0),
        (-clean, clean, math.pi),
        (zero, clean, math.pi / 2),
        (clean, zero, math.pi / 2),
        (zero, zero, 0),
    ]:
        assert sam(denoised, reference).tolist() == pytest.approx([angle] * 2, abs=5e-7)


def test_sam_resolves_angles_that_acos_rounds_away():
    angle = 1e-5
    clean = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    denoised = torch.tensor([math.cos(angle), math.sin(angle)]).view(1, 2, 1, 1)
    assert sam(denoised, clean).item() == pytest.approx(angle, rel=1e-4)


def test_ergas_is_relative_to_the_means_of_the_clean_bands():
    denoised, clean = images()
    a, b = denoised.numpy(), clean.numpy()
    relative = ((a - b) ** 2).mean((2, 3)) / b.mean((2, 3)) ** 2
    np.testing.assert_allclose(ergas(denoised, clean), 100 * np.sqrt(relative.mean(1)), rtol=1e-12)
    theirs = error_relative_global_dimensionless_synthesis(
        denoised, clean, ratio=1, reduction="none"
    )
    torch.testing.assert_close(ergas(denoised, clean), theirs)


def test_ergas_leaves_out_bands_of_zero_mean():
    denoised, clean = images()
    clean[0, 1] = 0
    clean[0, 2] -= clean[0, 2].mean()
    kept = [0, 3, 4]
    expected = ergas(denoised[:1, kept], clean[:1, kept])
    torch.testing.assert_close(ergas(denoised, clean)[:1], expected)
    assert ergas(denoised, clean).isfinite().all()
    assert ergas(denoised, torch.zeros_like(clean)).isnan().all()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_half_precision_is_computed_in_float32_also_under_autocast(metric):
    half, clean = images(torch.bfloat16)
    expected = metric(half.float(), clean.float())
    with torch.autocast("cpu", torch.bfloat16):
        for value in (metric(half, clean), metric(half, clean.float())):
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, expected, rtol=0, atol=0)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_nan_pixels_are_not_passed_over(metric):
    denoised, clean = images()
    broken = clean.clone()
    broken[1, 2, 8, 8] = math.nan
    for value in (metric(broken, clean), metric(denoised, broken)):
        assert value.isnan().tolist() == [False, True]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_images_of_different_shapes_are_refused(metric):
    clean = torch.rand(1, 3, 12, 12)
    with pytest.raises(ValueError, match=r"\[1, 1, 12, 12\] and \[1, 3, 12, 12\]"):
        metric(clean[:, :1], clean)
    with pytest.raises(ValueError, match=r"\[N, B, H, W\]"):
        metric(clean[0], clean[0])


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_only_valid_pixels_count(metric):
    denoised, clean = images()
    valid = torch.ones(2, 24, 17, dtype=torch.bool)
    torch.testing.assert_close(metric(denoised, clean, valid), metric(denoised, clean))
    valid[:, 20:] = False
    worse = denoised.clone()
    worse[:, :, 20:] = 1e6
    torch.testing.assert_close(metric(worse, clean, valid), metric(denoised, clean, valid))
    broken = worse.clone()
    broken[:, :, 22] = math.nan
    assert metric(broken, clean, valid).isfinite().all()


@pytest.mark.parametrize("metric", [mpsnr, sam, ergas])
def test_a_cut_and_a_mask_measure_the_same(metric):
    denoised, clean = images()
    valid = torch.zeros(2, 24, 17, dtype=torch.bool)
    valid[:, 3:19, 2:] = True
    cut = metric(denoised[..., 3:19, 2:], clean[..., 3:19, 2:])
    torch.testing.assert_close(metric(denoised, clean, valid), cut)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_band_without_a_valid_pixel_is_left_out(metric):
    denoised, clean = images()
    valid = torch.ones(2, 5, 24, 17, dtype=torch.bool)
    valid[:, 4] = False
    expected = metric(denoised[:, :4], clean[:, :4])
    torch.testing.assert_close(metric(denoised, clean, valid), expected)


def test_a_mask_of_another_shape_is_refused():
    denoised, clean = images()
    with pytest.raises(ValueError, match=r"valid \[2, 24, 16\] must be"):
        mpsnr(denoised, clean, torch.ones(2, 24, 16, dtype=torch.bool))


def test_the_angle_of_nine_bands_tells_where_the_shape_is_lost():
    clean = torch.rand(2, 25, 6, 7, generator=torch.Generator().manual_seed(0)) + 0.2
    denoised = 1.5 * clean  # the same shape everywhere
    denoised[:, 12] *= 2
    found = band_sam(denoised, clean)
    assert found.shape == (2, 25)
    assert found[:, :8].max() < 1e-3  # bands whose window ends before the twelfth
    assert found[:, 17:].max() < 1e-3
    assert found[:, 8:17].min() > 0.1
    for band, window in ((0, slice(0, 5)), (10, slice(6, 15)), (24, slice(20, 25))):
        expected = sam(denoised[:, window], clean[:, window])
        torch.testing.assert_close(found[:, band], expected, rtol=1e-4, atol=1e-6)


def test_the_angle_of_nine_bands_is_of_valid_pixels_and_defined_for_dark_ones():
    clean = torch.rand(1, 12, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.2
    denoised = clean.clone()
    denoised[..., 0, 0] = torch.flip(clean, (1,))[..., 0, 0]
    valid = torch.ones(1, 4, 5, dtype=torch.bool)
    valid[:, 0, 0] = False
    assert band_sam(denoised, clean, valid).max() < 1e-3
    assert band_sam(denoised, clean).max() > 1e-3
    dark = torch.zeros(1, 12, 1, 1)
    assert band_sam(dark, dark).max() == 0
    torch.testing.assert_close(band_sam(dark + 0.5, dark), torch.full((1, 12), torch.pi / 2))
