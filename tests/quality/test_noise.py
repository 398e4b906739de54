"""The noise of a scene, against what was put into it."""

import numpy as np
import pytest

from datamodules import add_noise
from lightning_ras2s.quality.estimators import by_blocks
from lightning_ras2s.quality.noise import measure_noise
from tests.inference.test_subspace import natural

BANDS, SIDE = 48, 80


@pytest.fixture(scope="module")
def clean():
    """A scene of five dimensions, without noise."""
    return natural(BANDS, SIDE, 5, 1.5).numpy()


def white(seed=0, side=SIDE):
    return np.random.default_rng(seed).standard_normal((BANDS, side, side)).astype(np.float32)


def test_sigma_is_right_for_every_band_whatever_the_others_have(clean):
    noisy = add_noise(clean, "noniid", 7)
    true = (noisy - clean).std((1, 2))
    assert true.max() > 5 * true.min()
    found = measure_noise(noisy)
    np.testing.assert_allclose(found.spectral, true, rtol=0.1)
    np.testing.assert_allclose(np.median(found.blocks / true), 1, atol=0.1)
    np.testing.assert_allclose(found.sigma, found.spectral)


@pytest.mark.parametrize("sigma", [0.5 / 255, 1 / 255, 0.02])
def test_light_noise_is_not_lost_in_the_scene(clean, sigma):
    found = measure_noise(clean + sigma * white())
    np.testing.assert_allclose(found.spectral, sigma, rtol=0.2)


def test_blocks_need_no_other_bands(clean):
    flat = np.full((1, SIDE, SIDE), 0.5, np.float32) + 0.03 * white()[:1]
    found = measure_noise(flat)
    assert np.isnan(found.spectral).all()
    np.testing.assert_allclose(found.sigma, [0.03], rtol=0.1)
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)
    usable = np.ones((SIDE, SIDE), bool)
    np.testing.assert_allclose(by_blocks(flat + ramp, usable), by_blocks(flat, usable), rtol=1e-4)
    assert np.isnan(by_blocks(flat[:, :5, :5], usable[:5, :5])).all()


@pytest.mark.parametrize("axis", [1, 2])
def test_the_striping_index_grows_with_the_stripes(clean, axis):
    noisy = clean + 0.01 * white()
    along, across = ("column", "row") if axis == 1 else ("row", "column")
    draw = np.random.default_rng(1)
    lines = draw.choice(SIDE, 10, replace=False)
    offsets = draw.uniform(0.5, 1, (BANDS, 10)) * draw.choice((-1, 1), (BANDS, 10))
    indices = []
    for strength in (0, 0.01, 0.02, 0.04, 0.08, 0.16):
        striped = noisy.copy()
        np.moveaxis(striped, axis, 2)[:, lines] += (strength * offsets)[:, :, None]
        found = measure_noise(striped)
        indices.append(np.median(getattr(found, f"{along}_stripes")))
        counted, others = (getattr(found, f"striped_{each}s") for each in (along, across))
        if strength == 0:
            assert counted.sum() == 0
        if strength >= 0.08:  # all bands have them in the same lines: the hardest case
            assert (counted > 0).mean() > 0.9
        assert others.sum() == 0
        np.testing.assert_allclose(np.median(found.sigma), 0.01, rtol=0.1)
    assert (np.diff(indices) > 0).all()


def test_stripes_of_some_bands_are_counted_in_these(clean):
    noisy = clean + 0.05 * white()
    draw = np.random.default_rng(1)
    striped = draw.choice(BANDS, 12, replace=False)
    for band in striped:
        noisy[band][:, draw.choice(SIDE, 6, replace=False)] += 0.1
    found = measure_noise(noisy)
    assert set(np.flatnonzero(found.striped_columns)) == set(striped)
    assert np.median(found.striped_columns[striped]) == 6
    assert found.striped_rows.sum() == 0
    np.testing.assert_allclose(found.column_stripes[striped], 2 * (6 / SIDE) ** 0.5, rtol=0.3)


def test_dead_lines_and_dead_pixels_are_counted_and_spoil_no_sigma(clean):
    noisy = clean + 0.02 * white()
    noisy[3, :, 7] = 0
    noisy[3, :, 8] = 0
    noisy[9, 11] = 1
    salt = np.random.default_rng(2).random((SIDE, SIDE)) < 0.1
    noisy[20][salt] = np.where(np.random.default_rng(3).random(salt.sum()) < 0.5, 0, 1)
    noisy[30, 5, 5] += 0.6  # a hot pixel
    found = measure_noise(noisy)
    assert {b: n for b, n in enumerate(found.dead_columns) if n} == {3: 2}
    assert {b: n for b, n in enumerate(found.dead_rows) if n} == {9: 1}
    assert found.dead_pixels[20] == pytest.approx(salt.sum(), abs=3)
    assert found.dead_pixels[30] == 1
    assert found.dead_pixels.sum() - found.dead_pixels[20] < 5
    assert found.dead_share[20] == pytest.approx(salt.mean(), rel=0.02)
    np.testing.assert_allclose(found.sigma, 0.02, rtol=0.12)
    assert not found.is_whole[[3, 9, 20]].any()
    assert found.is_whole.sum() == BANDS - 3


def test_dark_places_are_not_dead(clean):
    dark = clean.copy()
    dark[:, :20, :20] = 0  # as a border without data, or deep water
    clipped = np.clip(dark + 0.1 * white() - 0.4, 0, None)
    for scene in (dark + 0, clipped, np.round(30 * dark) / 30):
        found = measure_noise(scene.astype(np.float32))
        assert found.dead_share.mean() < 1e-3
        assert (found.dead_columns + found.dead_rows).sum() == 0


def test_noise_that_bands_share_and_noise_that_grows_are_told(clean):
    own = measure_noise(clean + 0.03 * white())
    assert abs(own.shared) < 0.05
    assert own.growth == pytest.approx(1, abs=0.1)
    noise = white()
    together = (np.roll(noise, 1, 0) + 2 * noise + np.roll(noise, -1, 0)) / 6**0.5
    assert measure_noise(clean + 0.03 * together).shared > 0.3
    grows = measure_noise(clean + 0.1 * clean**2 * white())
    assert grows.growth > 1.3
    assert (np.diff(grows.brightness) > 0).all()


def test_the_dimensions_are_those_of_the_scene(clean):
    found = measure_noise(clean + 0.005 * white())
    assert found.dimensions == 5
    assert (np.diff(found.eigenvalues) <= 0).all()
    np.testing.assert_allclose(np.median(found.eigenvalues[5:]), 1, atol=0.1)


def test_what_does_not_count_changes_nothing(clean):
    noisy = clean + 0.02 * white()
    valid = np.ones(noisy.shape, bool)
    valid[:, :10] = False
    found, spoiled = measure_noise(noisy, valid), noisy.copy()
    spoiled[~valid] = 3.0
    again = measure_noise(spoiled, valid)
    np.testing.assert_allclose(again.sigma, found.sigma, rtol=1e-5)
    np.testing.assert_allclose(found.sigma, 0.02, rtol=0.15)


def test_a_value_that_is_missing_here_and_there_spoils_nothing(clean):
    """No pixel has all of its bands."""
    noisy = clean + 0.02 * white()
    valid = np.random.default_rng(4).random(noisy.shape) > 0.08
    assert not valid.all(0).mean() > 0.05
    noisy[~valid] = clean.mean()
    found = measure_noise(noisy, valid)
    np.testing.assert_allclose(np.median(found.sigma), 0.02, rtol=0.15)


def test_small_and_flat_scenes_have_a_report_too():
    for shape in ((2, 30, 30), (60, 6, 7), (3, 1, 40), (5, 16, 16)):
        assert np.isfinite(measure_noise(np.zeros(shape, np.float32)).dimensions)
    few = np.random.default_rng(0).random((60, 12, 12)).astype(np.float32)  # few pixels, many bands
    np.testing.assert_allclose(np.median(measure_noise(few).spectral), 12**-0.5, rtol=0.15)
