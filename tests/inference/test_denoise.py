"""denoise: a cube of any kind in, the same kind out."""

import re

import numpy as np
import pytest
import torch

from datamodules import add_noise
from lightning_ras2s import RAS2S, denoise
from lightning_ras2s.classical.median import median_filter
from lightning_ras2s.inference.subspace import refine
from tests.inference.test_subspace import psnr, spectra

torch.set_num_threads(1)

DRAW = np.random.default_rng(0)
KINDS = ["uint8", "int16", "uint16", "int32", "int64", "uint64", "float16", "float32", "float64"]


def cube_of(kind, shape=(6, 12, 13)):
    """Over all that the type holds, if it is one of integers."""
    if np.dtype(kind).kind == "f":
        return (1000 * DRAW.random(shape) - 300).astype(kind)
    limits = np.iinfo(kind)
    return DRAW.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("scale", ["auto", None, (0, 1000)])
@pytest.mark.parametrize("kind", KINDS)
def test_identity_gives_back_every_bit(kind, scale):
    cube = cube_of(kind)
    result = denoise(cube, "identity", scale=scale)
    assert result.dtype == cube.dtype
    assert np.array_equal(result, cube)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_tensors_come_back_as_tensors(kind):
    cube = (1000 * torch.rand(6, 12, 13)).to(kind)
    result = denoise(cube, "identity")
    assert result.dtype == kind
    assert torch.equal(result, cube)
    assert result is not cube


def test_without_a_scale_the_network_sees_the_values_as_they_are(tmp_path):
    torch.manual_seed(0)
    network = RAS2S(channels=4).eval()
    torch.save(network.state_dict(), tmp_path / "small.pth")
    noisy = torch.rand(5, 12, 13)
    with torch.no_grad():
        expected = network(noisy[None])[0]
    alone = denoise(noisy, "ras2s", tmp_path / "small.pth", scale=None)
    torch.testing.assert_close(alone, expected, rtol=0, atol=2e-7)
    both = denoise(noisy, "ras2s+s", tmp_path / "small.pth", scale=None)
    refined, _ = refine(noisy, expected)
    torch.testing.assert_close(both, refined, rtol=0, atol=1e-4)


def test_the_range_that_is_said_is_seen_as_0_to_1():
    noisy = torch.rand(6, 12, 13)
    inside = median_filter(noisy[None])[0]
    result = denoise(200 + 50 * noisy.double(), "median", scale=(200, 250))
    torch.testing.assert_close(result, 200 + 50 * inside.double(), rtol=0, atol=1e-4)


def test_integers_are_rounded_and_saturated():
    cube = np.full((5, 20, 20), 250, np.uint8)
    cube[:, ::2] = 255
    denoised = denoise(cube, "ras2s", scale=(0, 100))  # far outside of what it knows
    assert denoised.dtype == np.uint8
    small = np.array([[[0, 3, 0], [0, 0, 2], [1, 0, 0]]] * 3, np.int16)
    assert denoise(small, "median", scale=None).tolist() == np.zeros_like(small).tolist()
    half = denoise(small, "median", scale=None, strength=0.5)  # 3 -> 1.5 -> 2, 1 -> 0.5 -> 0
    assert half[0].tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_is_the_share_of_what_is_removed(strength):
    noisy = DRAW.random((6, 12, 13), dtype=np.float32)
    removed = noisy - denoise(noisy, "median")
    result = denoise(noisy, "median", strength=strength)
    np.testing.assert_allclose(noisy - result, strength * removed, atol=1e-6)


def test_units_and_offsets_do_not_matter():
    clean = spectra(40, 48, 48, 5)
    noisy = add_noise(clean, "mixture", seed=1)
    one, other = (denoise(u(noisy.double()), "median+s") for u in (lambda x: x, lambda x: 8e3 * x))
    torch.testing.assert_close(other / 8e3, one, rtol=0, atol=1e-3)
    assert psnr(one.float(), clean) > psnr(noisy, clean) + 8


def test_what_is_none_stays_none_and_harms_nothing():
    clean = spectra(20, 40, 40, 4)
    noisy = add_noise(clean, "noniid", seed=1).numpy()
    holes = noisy.copy()
    holes[3, 5:9, 6] = np.nan
    holes[:, 20, 20] = np.inf
    holes[11] = np.nan
    for method in ("median", "median+s", "ras2s"):
        whole, denoised = denoise(noisy, method), denoise(holes, method)
        there = np.isfinite(holes)
        assert np.array_equal(denoised[~there], holes[~there], equal_nan=True)
        assert np.isfinite(denoised[there]).all()
        far = np.ones((40, 40), bool)
        far[2:12, 3:10] = far[17:24, 17:24] = False
        assert np.abs(denoised - whole)[:9, far].mean() < 0.02


def test_it_needs_no_more_than_a_cube():
    """The weights that come with the package denoise what they have never seen."""
    clean = spectra(31, 48, 48, 5)
    noisy = add_noise(clean, "noniid", seed=3)
    counts = (4000 * noisy).round().to(torch.int16)
    denoised = denoise(counts).float() / 4000
    assert psnr(denoised, clean) > psnr(noisy, clean) + 12
    assert not torch.equal(denoise(counts, "ras2s"), denoise(counts))


@pytest.mark.parametrize(
    ("cube", "options", "message"),
    [
        ([[[1.0]]], {}, "not a list"),
        (np.zeros((3, 4)), {}, r"\[B, H, W\].* not \(3, 4\)"),
        (np.zeros((0, 4, 4)), {}, r"not empty, not \(0, 4, 4\)"),
        (np.zeros((2, 4, 4), complex), {}, "real numbers, not complex128"),
        (np.full((2, 4, 4), np.nan), {}, "no value of the cube counts"),
        (np.zeros((2, 4, 4)), {"method": "median+t"}, "unknown method 'median\\+t'"),
        (np.zeros((2, 4, 4)), {"strength": 1.5}, "strength is 1.5"),
        (np.zeros((2, 4, 4)), {"scale": (3, 3)}, r"scale is \(3, 3\)"),
        (np.zeros((2, 4, 4)), {"scale": "max"}, "scale is 'max'"),
        (np.zeros((2, 4, 4)), {"method": "median", "weights": "a.pth"}, "has no weights"),
    ],
)
def test_what_makes_no_sense_is_refused(cube, options, message):
    with pytest.raises(ValueError, match=message):
        denoise(cube, **options)


def test_weights_that_are_not_there_are_named(tmp_path):
    path = tmp_path / "none.ckpt"
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        denoise(np.zeros((2, 4, 4)), weights=path)
