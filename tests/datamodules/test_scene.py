"""Scenes: scaled to [0, 1] and back, and what is refused."""

import numpy as np
import pytest

from datamodules.scene import DataError, DataNote, Scene


def raw(dtype="uint16", low=955, high=9604):
    values = np.linspace(low, high, 2 * 3 * 4).round()
    return values.reshape(2, 3, 4)[:, ::-1].astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint16", 955, 9604),
        ("uint16", 0, 65535),
        ("int16", -30000, 30000),  # its range does not fit int16
        ("uint8", 3, 250),
        (">f4", -0.25, 7),
        ("float64", 1e4, 1e4 + 99),
    ],
)
def test_the_whole_cube_is_scaled_by_its_smallest_and_largest_value(dtype, low, high):
    file = raw(dtype, low, high)
    scene = Scene.from_raw("s", file)
    values = file.astype("float64")
    expected = (values - values.min()) / (values.max() - values.min())
    assert scene.cube.dtype == np.float32
    assert (scene.cube.min(), scene.cube.max()) == (0, 1)
    np.testing.assert_allclose(scene.cube, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(scene.cube * scene.gain + scene.offset, values, rtol=1e-6, atol=0.01)


def test_the_files_values_stay_as_they_are():
    file = raw("float32")
    before = file.copy()
    Scene.from_raw("s", file).cube[:] = 7
    assert np.array_equal(file, before)


def test_wavelengths_are_kept():
    assert Scene.from_raw("s", raw(), np.array([400.5, 410])).wavelengths.tolist() == [400.5, 410]
    assert Scene.from_raw("s", raw()).wavelengths is None


def test_a_crop_keeps_name_scale_and_wavelengths():
    whole = Scene.from_raw("s", raw(), np.array([400, 410]))
    part = whole.crop(slice(1, 3), slice(0, 2))
    assert np.array_equal(part.cube, whole.cube[:, 1:3, 0:2])
    assert part.cube.flags.c_contiguous
    assert (part.name, part.offset, part.gain) == ("s", 955, 9604 - 955)
    assert part.wavelengths.tolist() == [400, 410]
    assert np.array_equal(whole.crop(columns=slice(3, 4)).cube, whole.cube[:, :, 3:])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_broken_values_are_counted_and_left_out(broken):
    file = raw("float32")
    before = file.copy()
    file[0, 2, 1] = file[1, 0, 0] = file[1, 2, 3] = broken
    with pytest.warns(DataNote, match=r"scene s: 3 of 24 values \(12.5 %\) are NaN or infinite"):
        scene = Scene.from_raw("s", file)
    assert scene.valid.shape == (2, 3, 4)
    assert np.argwhere(~scene.valid).tolist() == [[0, 2, 1], [1, 0, 0], [1, 2, 3]]
    there = before[scene.valid]
    assert (scene.offset, scene.gain) == (there.min(), np.ptp(there))
    expected = (there - there.min()) / np.ptp(there)
    np.testing.assert_array_equal(scene.cube[scene.valid], expected)
    assert scene.cube[1, 0, 0] == np.sort(scene.cube[1][scene.valid[1]])[5]  # of 10 the sixth
    back = scene.in_file_units()
    assert np.isnan(back[~scene.valid]).all()
    np.testing.assert_allclose(back[scene.valid], there, rtol=1e-6)


def test_the_same_pixels_of_all_bands_are_a_mask_of_pixels():
    file = raw("float32")
    file[:, 1, 2] = np.nan
    with pytest.warns(DataNote, match=r"1 of 12 pixels \(8.33 %\)"):
        scene = Scene.from_raw("s", file)
    assert np.argwhere(~scene.valid).tolist() == [[1, 2]]
    part = scene.crop(slice(1, 3), slice(2, 4))
    assert part.valid.tolist() == [[False, True], [True, True]]


def test_bad_bands_have_no_part_in_the_range():
    file = np.concatenate([np.full((1, 3, 4), -5000), raw("int32")])
    scene = Scene.from_raw("s", file, bad_bands=[0])
    assert (scene.offset, scene.gain) == (955, 9604 - 955)
    assert scene.cube[1:].min() == 0
    np.testing.assert_array_equal(scene.in_file_units("int32"), file)


def test_a_cube_without_a_measurement_is_refused():
    with pytest.raises(DataError, match="scene s: no value is valid"):
        Scene.from_raw("s", np.full((2, 3, 4), np.nan))
    with pytest.raises(DataError, match="scene s: no value is valid"):
        Scene.from_raw("s", raw(), bad_bands=[0, 1])


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64"])
def test_integers_of_24_bits_come_back_exactly(dtype):
    low = 0 if dtype[0] == "u" else -(2**23)
    values = np.random.default_rng(0).integers(low, low + 2**24, (3, 40, 50)).astype(dtype)
    values[0, 0, :2] = low, low + 2**24 - 1
    np.testing.assert_array_equal(Scene.from_raw("s", values).in_file_units(dtype), values)


@pytest.mark.parametrize(("dtype", "low", "span"), [("f4", -3, 7), ("f4", 0, 1e-3), ("f8", 1e9, 1)])
def test_floats_come_back_within_a_step_of_the_range(dtype, low, span):
    values = (low + span * np.random.default_rng(0).random((3, 40, 50))).astype(dtype)
    back = Scene.from_raw("s", values).in_file_units("f8")
    assert np.abs(back - values).max() <= np.spacing(np.float32(np.ptp(values)))


def test_a_constant_cube_is_refused():
    with pytest.raises(DataError, match="scene s: every value is 12"):
        Scene.from_raw("s", np.full((2, 3, 4), 12, "uint16"))


@pytest.mark.parametrize("shape", [(3, 4), (1, 2, 3, 4), (2, 0, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(DataError, match=r"scene s: .*\[B, H, W\].*" + str(shape)[1:-1]):
        Scene.from_raw("s", np.zeros(shape))


def test_there_is_one_wavelength_a_band():
    with pytest.raises(DataError, match="scene s: 3 wavelengths for 2 bands"):
        Scene.from_raw("s", raw(), np.array([400, 410, 420]))
