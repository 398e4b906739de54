"""Weak signals: put in, denoised, searched for; by value against a computation by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from lightning_ras2s.quality.signal_kept import (
    DEPTHS,
    SEED,
    found_by_matched_filter,
    is_lost,
    measure_signal_kept,
    narrow_absorption,
)
from tests.inference.test_subspace import natural


@pytest.fixture(scope="module")
def noisy():
    clean = natural(24, 40, 4, 1.5).numpy()
    return clean + 0.02 * np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)


def blurred(cube):
    return torch.from_numpy(uniform_filter(cube.numpy(), (1, 9, 9)))


def by_hand(cube, pixels, target):
    """The area under the ROC curve, by counting pairs."""
    values = cube.reshape(len(cube), -1).astype(np.float64)
    values = values - values.mean(1, keepdims=True)
    covariance = np.cov(values, bias=True)
    covariance += 1e-3 * np.trace(covariance) / len(cube) * np.eye(len(cube))
    scores = np.linalg.inv(covariance) @ target @ values
    wins = 0.0
    others = [s for p, s in enumerate(scores) if p not in set(pixels)]
    for pixel in pixels:
        wins += sum((scores[pixel] > s) + 0.5 * (scores[pixel] == s) for s in others)
    return wins / (len(pixels) * len(others))


def test_it_equals_a_computation_by_hand(noisy):
    target = narrow_absorption(24, 12)
    half = measure_signal_kept(noisy, lambda cube: cube - 0.5 * (cube - blurred(cube)), target)
    pixels = np.random.default_rng(SEED).choice(1600, 32, replace=False)
    assert half.pixels == 32
    scene = (0.5 * noisy + 0.5 * uniform_filter(noisy, (1, 9, 9))).reshape(24, -1)
    filtered = -scene.mean(1) * target
    for place, depth in enumerate(DEPTHS):
        absorbed = np.zeros_like(scene)
        absorbed[:, pixels] = -depth * target[:, None] * scene[:, pixels]
        changed = noisy + absorbed.reshape(noisy.shape)
        after = 0.5 * changed + 0.5 * uniform_filter(changed, (1, 9, 9))
        assert half.found_before[place] == pytest.approx(
            by_hand(changed, pixels, filtered), abs=1e-4
        )
        assert half.found_after[place] == pytest.approx(by_hand(after, pixels, filtered), abs=1e-4)
        left = (after.reshape(24, -1) - scene)[:, pixels]
        share = (left * absorbed[:, pixels]).sum() / (absorbed[:, pixels] ** 2).sum()
        assert half.share[place] == pytest.approx(share, abs=2e-3)
        assert half.share[place] == pytest.approx(0.5 + 0.5 / 81, abs=0.05)


def test_what_destroys_everything_is_lost_and_what_does_nothing_is_not(noisy):
    target = narrow_absorption(24, 12)
    kept = measure_signal_kept(noisy, lambda cube: cube, target)
    assert not kept.is_lost.any()
    np.testing.assert_allclose(kept.share, 1, atol=1e-4)
    np.testing.assert_array_equal(kept.found_before, kept.found_after)
    assert kept.strength == 1
    assert (np.diff(kept.found_before) > 0).all()  # what is deeper is found better
    lost = measure_signal_kept(noisy, blurred, target)
    assert lost.is_lost[2:].all()
    assert (lost.share < 0.1).all()
    assert 0 < lost.strength < 1
    mended = measure_signal_kept(noisy, blurred, target, strength=lost.strength)
    assert not mended.is_lost.any()
    assert mended.strength == lost.strength


def test_the_absorption_is_of_the_signal_above_zero(noisy):
    target = narrow_absorption(24, 12)
    seen = []

    def look(cube):
        seen.append(cube.numpy().copy())
        return cube

    measure_signal_kept(noisy, look, target, zero=-1.0)
    pixels = np.random.default_rng(SEED).choice(1600, 32, replace=False)
    deepest = (seen[-1] - seen[0]).reshape(24, -1)[12, pixels]
    np.testing.assert_allclose(deepest, -0.15 * (seen[0][12].ravel()[pixels] + 1), atol=1e-5)


def test_invalid_pixels_get_no_signal_and_are_not_searched(noisy):
    valid = np.ones(noisy.shape, bool)
    valid[3, :20] = False
    spoiled = noisy.copy()
    spoiled[:, :20] = 9
    kept = measure_signal_kept(spoiled, lambda cube: cube, narrow_absorption(24, 12), valid=valid)
    assert kept.pixels == 16
    below = measure_signal_kept(noisy[:, 20:], lambda cube: cube, narrow_absorption(24, 12))
    assert kept.found_before[-1] == pytest.approx(below.found_before[-1], abs=0.1)


def test_a_scene_without_a_whole_pixel_is_tested_too(noisy):
    valid = np.random.default_rng(0).random(noisy.shape) > 0.3
    assert not valid.all(0).any()
    kept = measure_signal_kept(noisy, lambda cube: cube, narrow_absorption(24, 12), valid=valid)
    assert kept.pixels == 32
    assert not kept.is_lost.any()


def test_chance_is_half_and_below_it_nothing_can_be_lost():
    cube = np.random.default_rng(0).standard_normal((6, 50, 50))
    pixels = np.arange(0, 2500, 25)
    found = found_by_matched_filter(cube, pixels, np.ones(6), np.ones(2500, bool))
    assert found == pytest.approx(0.5, abs=0.08)
    assert is_lost(0.7, 0.64)
    assert not is_lost(0.7, 0.66)
    assert not is_lost(0.52, 0.3)
