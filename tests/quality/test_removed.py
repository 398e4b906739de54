"""What was removed: told apart are noise and the scene."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from datamodules import add_noise
from lightning_ras2s.quality.noise import measure_noise
from lightning_ras2s.quality.removed import measure_removed
from tests.inference.test_subspace import natural


@pytest.fixture(scope="module")
def clean():
    return natural(40, 72, 5, 1.2).numpy()


def white(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", ["noniid", "mixture", "gaussian2.55"])
def test_the_noise_itself_is_white_and_holds_no_scene(clean, case):
    noisy = add_noise(clean, case, 7)
    before = measure_noise(noisy)
    removed = measure_removed(noisy, clean, before)
    assert removed.is_white_in_space
    assert removed.is_white_in_spectrum
    assert not removed.holds_scene
    assert removed.survives == pytest.approx(1, abs=0.15)
    assert np.median(removed.of_noise) == pytest.approx(1, abs=0.1)
    assert abs(removed.edges) < 0.1


@pytest.mark.parametrize("case", ["gaussian7.65", "gaussian2.55"])
def test_a_mean_takes_some_of_the_scene(clean, case):
    noisy = add_noise(clean, case, 7)
    blurred = uniform_filter(noisy, (1, 9, 9))
    removed = measure_removed(noisy, blurred, measure_noise(noisy))
    assert removed.holds_scene


def test_correlations_are_those_that_were_put_in(clean):
    noise = white(clean.shape)
    noise = (noise + np.roll(noise, 1, 1)) / 2**0.5  # half of a pixel is the one above
    noisy = clean + 0.05 * noise
    removed = measure_removed(noisy, clean, measure_noise(noisy))
    assert removed.down[:3] == pytest.approx([0.5, 0, 0], abs=0.05)
    assert removed.across[0] == pytest.approx(0, abs=0.05)
    assert not removed.is_white_in_space
    noise = white(clean.shape)
    noise = (noise + np.roll(noise, 1, 0)) / 2**0.5
    noisy = clean + 0.05 * noise
    removed = measure_removed(noisy, clean, measure_noise(noisy))
    assert removed.spectral[:2] == pytest.approx([0.5, 0], abs=0.05)
    assert not removed.is_white_in_spectrum
    assert not removed.is_pictured  # noise survives, but no picture


def test_one_picture_in_all_bands_is_seen_below_the_noise(clean):
    noisy = clean + 0.1 * white(clean.shape)
    picture = np.zeros(clean.shape[1:], np.float32)
    picture[20:50, 20:50] = 0.04  # less than half of the noise in any band
    removed = measure_removed(noisy, clean - picture, measure_noise(noisy))
    assert removed.is_pictured
    assert removed.averaged[25:45, 25:45].mean() > 1
    assert np.median(removed.of_noise) < 1.1


def test_stripes_and_dead_lines_are_no_structure(clean):
    noisy = clean + 0.03 * white(clean.shape)
    noisy[5:20, :, 30] += 0.3
    noisy[25, :, 11] = 0
    removed = measure_removed(noisy, clean, measure_noise(noisy))
    assert removed.is_white_in_space
    assert not removed.holds_scene


def test_of_nothing_nothing_is_said(clean):
    removed = measure_removed(clean, clean, measure_noise(clean))
    assert not removed.holds_scene
    assert removed.is_white_in_space
    assert (removed.sigma == 0).all()


def test_what_replaces_dead_values_is_no_scene_that_was_taken(clean):
    noisy = clean + 0.3 * white(clean.shape)
    dead = np.random.default_rng(1).random(clean.shape) < 0.3
    dead[::2] = False  # every other band is whole
    noisy[dead] = 0
    before = measure_noise(noisy)
    assert before.is_whole[::2].all()
    assert not before.is_whole[1::2].any()
    removed = measure_removed(noisy, clean, before)
    assert removed.survives == pytest.approx(1, abs=0.15)
    assert not removed.holds_scene
