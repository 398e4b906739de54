"""Colours of cubes: the eye's, or those of three bands, with one stretch for all."""

import colorsys

import numpy as np
import pytest

from lightning_ras2s.pictures.colour import Display, colour_matching, true_colour_weights

VISIBLE = np.arange(400.0, 701.0, 10.0)


def peak(wavelength, width=25.0):
    """A spectrum [31] with one peak."""
    return np.exp(-0.5 * ((VISIBLE - wavelength) / width) ** 2)


def ramp(spectrum, height=9, width=11):
    """A cube [B, H, W] of one spectrum, from dark to bright."""
    brightness = np.linspace(0, 1, height * width).reshape(height, width)
    return spectrum[:, None, None] * brightness


@pytest.mark.parametrize(
    ("wavelength", "published"),
    [
        (400, (0.01431, 0.000396, 0.06785)),
        (450, (0.3362, 0.0380, 1.77211)),
        (500, (0.0049, 0.3230, 0.2720)),
        (550, (0.43345, 0.99495, 0.00875)),
        (600, (1.0622, 0.6310, 0.0008)),
        (650, (0.2835, 0.1070, 0.0)),
    ],
)
def test_colour_matching_is_that_of_cie_1931(wavelength, published):
    found = colour_matching(np.array([float(wavelength)]))[:, 0]
    np.testing.assert_allclose(found, published, atol=0.01)


def test_a_flat_spectrum_is_grey_from_black_to_white():
    cube = ramp(np.ones(31))
    picture = Display(cube, VISIBLE)(cube)
    assert np.ptp(picture, axis=2).max() == 0
    assert picture[0, 0, 0] == 0
    assert picture[-1, -1, 0] == 255
    middle = np.interp(0.5, cube[0].ravel() / np.percentile(cube, 99), picture[..., 0].ravel())
    assert middle == pytest.approx(188, abs=1)  # half the light, in sRGB


@pytest.mark.parametrize(
    ("wavelength", "hue"), [(630, 0.0), (530, 1 / 3), (455, 2 / 3), (580, 1 / 6), (490, 1 / 2)]
)
def test_a_peak_has_its_hue(wavelength, hue):
    cube = ramp(peak(wavelength))
    red, green, blue = Display(cube, VISIBLE)(cube)[-1, -1] / 255
    found, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
    assert abs((found - hue + 0.5) % 1 - 0.5) < 0.1
    assert saturation > 0.5


def test_radiance_is_balanced_and_reflectance_keeps_its_hues():
    light = 0.3 + 0.7 * (VISIBLE - 400) / 300  # more red than blue
    surface = ramp(np.ones(31), 20, 20) + 0.1
    lit = surface * light[:, None, None]
    radiance, reflectance = Display(lit, VISIBLE), Display(lit, VISIBLE, is_reflectance=True)
    assert (radiance.caption, reflectance.caption) == ("radiance colour", "true colour")
    assert np.ptp(radiance(lit), axis=2).max() <= 1  # a grey surface is grey
    red, _, blue = reflectance(lit)[-1, -1]
    assert red > blue + 40
    grey = Display(surface, VISIBLE, is_reflectance=True)(surface)
    assert np.ptp(grey, axis=2).max() == 0


def test_a_channel_that_a_scene_hardly_has_is_not_blown_up():
    cube = ramp(peak(630, 10)) + 0.01 * ramp(peak(455, 10))
    red, _, blue = Display(cube, VISIBLE)(cube)[-1, -1]
    assert red == 255
    assert blue < 60


def test_uneven_bands_weigh_by_the_width_that_they_stand_for():
    dense = np.concatenate([np.arange(400.0, 500.0, 2.0), np.arange(500.0, 701.0, 10.0)])
    flat = np.interp(dense, VISIBLE, peak(600, 60))
    for cube, wavelengths in ((flat, dense), (peak(600, 60), VISIBLE)):
        found = true_colour_weights(wavelengths) @ cube
        expected = true_colour_weights(VISIBLE) @ peak(600, 60)
        np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("wavelengths", [VISIBLE, VISIBLE * 10])
def test_the_order_of_the_bands_does_not_matter(wavelengths):
    cube = np.random.default_rng(0).random((31, 6, 7))
    order = np.random.default_rng(1).permutation(31)
    expected = Display(cube, wavelengths)(cube)
    found = Display(cube[order], wavelengths[order])(cube[order])
    np.testing.assert_allclose(found, expected, atol=1)  # sums in another order round otherwise


def test_without_wavelengths_three_bands_are_shown_the_last_in_red():
    cube = np.zeros((7, 10, 10))
    cube[5, 0], cube[3, 1], cube[1, 2], cube[0, 3] = 1, 1, 1, 1
    display = Display(cube, None)
    assert display.caption == "bands 5, 3, 1"
    picture = display(cube)
    assert picture[:4, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]


def test_bands_outside_the_visible_are_shown_by_their_wavelengths():
    cube = np.zeros((7, 10, 10))
    cube[1] = np.linspace(0, 1, 100).reshape(10, 10)
    display = Display(cube, np.linspace(1600, 1000, 7))
    assert display.caption == "bands 1, 3, 5"
    assert display(cube)[-1, -1].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("bands", "band"), [(1, 0), (2, 0)])
def test_of_one_or_two_bands_one_is_shown_in_grey(bands, band):
    cube = np.random.default_rng(0).random((bands, 8, 8))
    display = Display(cube, VISIBLE[:bands])
    picture = display(cube)
    assert display.caption == f"band {band}"
    low, high = np.percentile(cube[band], (1, 99))
    expected = ((cube[band] - low) / (high - low)).clip(0, 1) * 255
    for channel in range(3):
        np.testing.assert_allclose(picture[..., channel], expected, atol=0.5)


def test_cubes_of_one_display_have_one_stretch():
    cube = ramp(np.ones(31))
    display = Display(cube, VISIBLE)
    assert display(cube * 0.5).max() == pytest.approx(188, abs=2)
    assert display(cube * 3 - 1).min() == 0
    assert display(cube * 3 - 1).max() == 255


def test_one_outlier_does_not_darken_the_picture():
    cube = ramp(np.ones(31), 20, 20)
    cube[:, 0, 0] = 1e6
    assert Display(cube, VISIBLE)(cube)[-1, -1, 0] > 250


@pytest.mark.parametrize("wavelengths", [VISIBLE, None])
def test_a_constant_cube_is_one_grey(wavelengths):
    cube = np.full((31, 5, 6), 0.25, np.float32)
    picture = Display(cube, wavelengths)(cube)
    assert np.ptp(picture) == 0
    assert not Display(cube * 0, wavelengths)(cube * 0).any()


@pytest.mark.parametrize("wavelengths", [VISIBLE, None])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_a_number_spoils_its_own_pixel_only(wavelengths, broken):
    cube = np.random.default_rng(0).random((31, 20, 20))
    expected = Display(cube, wavelengths)(cube)
    spoilt = cube.copy()
    spoilt[:, 3, 4] = broken
    for reference in (cube, spoilt):
        picture = Display(reference, wavelengths)(spoilt)
        others = np.ones((20, 20), bool)
        others[3, 4] = False
        light = [(image[others] / 255.0) ** 2.2 for image in (picture, expected)]
        np.testing.assert_allclose(*light, atol=0.03)
