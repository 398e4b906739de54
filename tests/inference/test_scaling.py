"""The range of a scene in a noisy cube: neither impulses, dead lines nor noise move it."""

import numpy as np
import pytest

from lightning_ras2s.inference.scaling import find_range


def scene(low, high, bands=12, size=64):
    """Smooth bands between two values; the first reaches both."""
    rows, columns = np.mgrid[0:size, 0:size] / (size - 1)
    shape = np.clip(1.2 * (rows + columns) / 2 - 0.1, 0, 1)
    fade = np.linspace(1, 0.3, bands)[:, None, None]
    return (low + (high - low) * fade * shape).astype(np.float64)


def noisy(cube, sigma, seed=0):
    size = cube.max() - cube.min()
    return cube + sigma * size * np.random.default_rng(seed).standard_normal(cube.shape)


@pytest.mark.parametrize("sigma", [0.0, 0.005, 0.05, 0.25])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 5000), (-40, -20), (270, 310)])
def test_noise_does_not_widen_it(low, high, sigma):
    found = find_range(noisy(scene(low, high), sigma))
    size = high - low
    assert -0.12 * size <= found.low - low <= 0.02 * size
    assert -0.02 * size <= found.high - high <= 0.28 * size


def test_a_low_end_near_zero_is_zero():
    assert find_range(noisy(scene(200, 4000), 0.05)).low == 0
    assert find_range(noisy(scene(2000, 4000), 0.05)).low > 1500


@pytest.mark.parametrize("spike", [-30000.0, 65535.0, 1e20])
def test_impulses_do_not_move_it(spike):
    cube = noisy(scene(0, 1000), 0.02)
    before = find_range(cube)
    draw = np.random.default_rng(3)
    cube[draw.random(cube.shape) < 1e-3] = spike
    after = find_range(cube)
    assert after == pytest.approx(before, abs=20)


def test_dead_lines_and_saturated_pixels_are_its_ends():
    cube = noisy(scene(100, 1000), 0.1)
    cube[3:7, :, [5, 20, 21, 40]] = 0
    cube[8, np.random.default_rng(0).random((64, 64)) < 0.4] = 1100
    assert find_range(cube) == (0, 1100)


def test_values_that_do_not_count_do_not_move_it():
    cube = noisy(scene(0, 1000), 0.02)
    there = np.ones(cube.shape, bool)
    there[:, :20] = False
    there[5] = False
    cube[~there] = 500.0
    found, rest = find_range(cube, there), find_range(cube[:, 20:])
    assert found.low == rest.low == 0
    assert found.high == pytest.approx(rest.high, abs=60)
    with pytest.raises(ValueError, match="no value of the cube counts"):
        find_range(cube, np.zeros(cube.shape, bool))


@pytest.mark.parametrize("value", [0, 7, -3])
def test_a_flat_cube_has_a_range_of_one(value):
    assert find_range(np.full((3, 9, 9), value)) == (value, value + 1)
