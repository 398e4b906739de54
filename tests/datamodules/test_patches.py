"""Patches: where they are cut, and how they are turned."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from datamodules.patches import PatchGrid, PatchShape, Turn, free_places, random_window
from datamodules.scene import DataError

# The pixels [[0, 1], [2, 3]], flipped and rotated.
TURNED = [
    [[0, 1], [2, 3]],  # as it is
    [[1, 3], [0, 2]],  # by 90 degrees
    [[3, 2], [1, 0]],  # by 180
    [[2, 0], [3, 1]],  # by 270
    [[1, 0], [3, 2]],  # left to right
    [[2, 3], [0, 1]],  # upside down
    [[0, 2], [1, 3]],  # transposed
    [[3, 1], [2, 0]],  # transposed along the other diagonal
]


def cuts(cube, shape, times):
    rngs = map(np.random.default_rng, range(times))
    return [cube[random_window(cube.shape, shape, rng)] for rng in rngs]


def turns(patch, times):
    shape = PatchShape(*patch.shape)
    return [Turn.draw(shape, np.random.default_rng(seed))(patch) for seed in range(times)]


def key(patch):
    return patch.shape, tuple(patch.ravel().tolist())


def test_every_position_is_drawn_equally_often_and_its_content_is_the_cubes():
    cube = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    shape = PatchShape(bands=2, height=3, width=5)
    at = {
        key(cube[band : band + 2, row : row + 3, column : column + 5]): (band, row, column)
        for band, row, column in product(range(3), range(3), range(2))
    }
    counts = Counter(at[key(patch)] for patch in cuts(cube, shape, times=1800))
    assert counts.keys() == set(at.values())
    assert min(counts.values()) > 60
    assert max(counts.values()) < 140


def test_a_patch_as_large_as_the_cube_is_the_cube():
    cube = np.arange(24).reshape(2, 3, 4)
    for patch in cuts(cube, PatchShape(2, 3, 4), times=5):
        assert np.array_equal(patch, cube)


def test_the_16_turns_of_a_square_patch_are_equally_frequent():
    pixels = np.array(TURNED)
    expected = [np.stack(bands) for p in pixels for bands in ([p, p + 4], [p + 4, p])]
    patch = np.arange(8).reshape(2, 2, 2)
    counts = Counter(map(key, turns(patch, times=1600)))
    assert counts.keys() == set(map(key, expected))
    assert len(counts) == 16
    assert min(counts.values()) > 60
    assert max(counts.values()) < 140
    assert key(patch) == key(np.arange(8).reshape(2, 2, 2))


def test_a_patch_that_is_not_square_keeps_its_shape():
    patch = np.arange(12).reshape(2, 2, 3)
    flips = (slice(None), slice(None, None, -1))
    expected = {key(patch[flip]) for flip in product(flips, flips, flips)}
    counts = Counter(map(key, turns(patch, times=800)))
    assert counts.keys() == expected
    assert min(counts.values()) > 60


@pytest.mark.parametrize("shape", [(2, 3, 3), (1, 3, 3), (2, 1, 1), (2, 1, 3)])
def test_turned_patches_are_views(shape):
    patch = np.zeros(shape)
    for turned in turns(patch, times=40):
        assert np.shares_memory(turned, patch)


@pytest.mark.parametrize("shape", [(5, 5, 6), (4, 6, 6), (4, 5, 7), (0, 5, 6), (4, 5, -1)])
def test_a_patch_that_does_not_fit_names_both_sizes_and_the_options(shape):
    sizes = "x".join(map(str, shape))
    with pytest.raises(
        DataError,
        match=rf"scene pine: a patch of {sizes} .*4x5x6; lower data.patch_bands or data.patch_size",
    ):
        PatchShape(*shape).require_fit((4, 5, 6), "pine")
    assert not PatchShape(*shape).fits((4, 5, 6))


def test_a_patch_that_just_fits_is_taken():
    PatchShape(4, 5, 6).require_fit((4, 5, 6), "pine")


def test_a_grid_has_every_place_of_every_cube_once():
    shape = PatchShape(2, 3, 4)
    grid = PatchGrid([(2, 7, 9), (2, 3, 4), (2, 6, 8)], shape, [2, 5, 3])
    windows = [grid.window(place, np.random.default_rng(0)) for place in range(len(grid))]
    corners = [(cube, rows.start, columns.start) for cube, (_, rows, columns) in windows]
    assert corners == [
        *((0, row, column) for row in (0, 2, 4) for column in (0, 2, 4)),
        (1, 0, 0),
        *((2, row, column) for row in (0, 3) for column in (0, 3)),
    ]
    for _, (bands, rows, columns) in windows:
        assert bands == slice(0, 2)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (3, 4)


def test_the_bands_of_a_grid_start_anywhere_with_equal_chances():
    grid = PatchGrid([(5, 3, 3)], PatchShape(3, 3, 3), [1])
    rngs = map(np.random.default_rng, range(900))
    counts = Counter(grid.window(0, rng)[1][0].start for rng in rngs)
    assert counts.keys() == {0, 1, 2}
    assert min(counts.values()) > 240


HOLES = np.ones((9, 11), bool)
HOLES[4, 5] = HOLES[0, 10] = False


@pytest.mark.parametrize("per_band", [False, True])
def test_patches_of_valid_pixels_alone_are_drawn_equally_often(per_band):
    shape = PatchShape(2, 3, 4)
    valid = HOLES
    if per_band:
        valid = np.ones((5, 9, 11), bool)
        valid[1, 4, 5] = valid[3, 0, 10] = False
    free = free_places(valid, shape)
    expected = {
        (row, column)
        for row, column in product(range(7), range(8))
        if HOLES[row : row + 3, column : column + 4].all()
    }
    assert {tuple(place) for place in np.argwhere(free).tolist()} == expected
    places = np.flatnonzero(free)
    rngs = map(np.random.default_rng, range(200 * len(places)))
    windows = [random_window((5, 9, 11), shape, rng, places) for rng in rngs]
    counts = Counter((rows.start, columns.start) for _, rows, columns in windows)
    assert counts.keys() == expected
    assert min(counts.values()) > 120
    assert max(counts.values()) < 290
    assert {bands.start for bands, _, _ in windows} == {0, 1, 2, 3}
    assert all(rows.stop - rows.start == 3 for _, rows, _ in windows)


def test_without_holes_patches_may_begin_anywhere():
    assert free_places(None, PatchShape(1, 3, 3)) is None
    assert free_places(np.ones((9, 11), bool), PatchShape(1, 3, 3)) is None


def test_a_grid_leaves_out_the_places_with_holes():
    shape = PatchShape(2, 3, 3)
    grid = PatchGrid([(2, 9, 11), (2, 6, 6)], shape, [2, 3], [free_places(HOLES, shape), None])
    places = [grid.window(place, np.random.default_rng(0)) for place in range(len(grid))]
    first = {(rows.start, columns.start) for cube, (_, rows, columns) in places if cube == 0}
    assert first == {
        (row, column)
        for row, column in product(range(0, 7, 2), range(0, 9, 2))
        if HOLES[row : row + 3, column : column + 3].all()
    }
    assert sum(cube == 1 for cube, _ in places) == 4
