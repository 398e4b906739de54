import math
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.multiprocessing
from skimage.metrics import structural_similarity
from torch.utils.data import DistributedSampler
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    spectral_angle_mapper,
)

from lightning_ras2s.metrics import METRICS, SceneTable, ergas, mpsnr, mssim, sam

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


def test_a_table_is_sorted_and_the_last_row_of_a_key_counts():
    table = SceneTable()
    table.update(torch.tensor([[1, 0], [0, 7]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    table.update(torch.tensor([[1, 0], [0, 2], [1, 0]]), torch.tensor([[5.0, 6], [7, 8], [9, 0.1]]))
    keys, values = table.compute()
    assert keys.dtype == torch.int64
    assert keys.tolist() == [[0, 2], [0, 7], [1, 0]]
    assert values.dtype == torch.float64
    assert values.tolist() == [[7, 8], [3, 4], [9, torch.tensor(0.1).item()]]


def test_a_table_keeps_infinities_and_no_graph():
    table = SceneTable()
    value = torch.tensor([[math.inf, math.nan]], dtype=torch.float64, requires_grad=True)
    table.update(torch.tensor([[0, 0]]), value)
    _, values = table.compute()
    assert not values.requires_grad
    torch.testing.assert_close(values, value.detach(), equal_nan=True)


def test_a_table_is_empty_before_its_first_row_and_after_reset():
    table = SceneTable()
    table.update(torch.tensor([[3, 4]]), torch.tensor([[1.0, 2.0]]))
    table.compute()
    table.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        keys, values = table.compute()
    assert keys.dtype == torch.int64
    assert keys.numel() == values.numel() == 0
    table.update(torch.empty(0, 2, dtype=torch.int64), torch.empty(0, 4))
    assert [part.shape for part in table.compute()] == [(0, 2), (0, 4)]


def test_a_table_refuses_keys_and_values_that_do_not_match():
    with pytest.raises(ValueError, match=r"\[2, 2\] and \[3, 4\]"):
        SceneTable().update(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"\[2\] and \[2, 1\]"):
        SceneTable().update(torch.zeros(2, dtype=torch.int64), torch.zeros(2, 1))


def _process(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/init",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    padded = list(DistributedSampler(range(7), num_replicas=2, rank=rank, shuffle=False))
    assert len(padded) == 4
    uneven = [[0, 1, 2, 3, 4], [5, 6]][rank]
    one_sided = [[], [6, 5, 4, 3, 2, 1, 0]][rank]
    for scenes in (padded, uneven, one_sided):
        table = SceneTable()
        for scene in scenes:
            table.update(torch.tensor([[2, scene]]), torch.tensor([[scene, -0.5 * scene]]))
        keys, values = table.compute()
        assert keys.tolist() == [[2, scene] for scene in range(7)]
        assert values.mean(0).tolist() == [3, -1.5]
    assert SceneTable().compute()[0].numel() == 0
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_a_table_of_two_processes_counts_each_scene_once(tmp_path):
    torch.multiprocessing.start_processes(_process, (tmp_path,), nprocs=2, start_method="fork")
