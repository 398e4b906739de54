"""Which axis holds the bands: what the file says, its wavelengths, or a guess that is told."""

import h5py
import numpy as np
import pytest
import scipy.io

from datamodules import DataError, Scene, read_cube, read_scene, write_scene
from datamodules.formats.axes import guess_order, parse_order
from datamodules.scene import DataNote


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("BHW", "BHW"),
        ("hwb ", "HWB"),
        (b"HBW", "HBW"),
        ("CYX", "BHW"),
        ("YXC", "HWB"),
        ("wavelength:y:x", "BHW"),
        ("lines, samples, bands", "HWB"),
        ("HWBN", None),
        ("time:y:x", None),
        ("ABC", None),
        ("", None),
        (3, None),
    ],
)
def test_notes_of_others(text, order):
    assert parse_order(text) == order


@pytest.mark.parametrize(
    ("shape", "numbers", "usual", "axes", "is_told"),
    [
        ((31, 40, 48), (31,), "HWB", "BHW", False),  # wavelengths tell
        ((31, 40, 48), (), "HWB", "HWB", True),
        ((31, 48, 48), (), "HWB", "BHW", True),  # as Python saves it
        ((512, 482, 31), (), "HWB", "HWB", False),
        ((100, 120, 224), (), "HWB", "HWB", True),
        ((31, 40, 31), (31,), "HWB", "HWB", True),
        ((31, 40, 31), (31,), None, "BHW", True),
        ((31, 40, 48), (), None, "BHW", True),
        ((40, 31, 48), (), None, "HBW", True),
        ((40, 31, 48), (48,), None, "HWB", False),
        ((40, 31, 48), (7,), None, "HBW", True),
        ((31, 31, 48), (), None, None, False),
    ],
)
def test_where_the_file_does_not_say_it(shape, numbers, usual, axes, is_told):
    order = guess_order(shape, numbers, usual)
    if axes is None:
        assert order is None
    else:
        assert order.axes == axes
        assert ("say axes=" in order.note) == is_told


def test_a_python_user_saved_bands_first_in_mat(tmp_path):
    cube = np.random.default_rng(0).random((31, 40, 48), np.float32)
    nm = np.arange(400.0, 701, 10)
    scipy.io.savemat(tmp_path / "a.mat", {"data": cube, "wavelength": nm})
    found, wavelengths = read_cube(tmp_path / "a.mat")
    np.testing.assert_array_equal(found, cube)
    assert wavelengths.tolist() == nm.tolist()
    scipy.io.savemat(tmp_path / "b.mat", {"data": cube})
    with pytest.warns(DataNote, match=r"read as 48 bands x 31 x 40 \(axes='HWB', a guess"):
        assert read_cube(tmp_path / "b.mat")[0].shape == (48, 31, 40)
    assert read_cube(tmp_path / "b.mat", axes="BHW")[0].shape == (31, 40, 48)


def test_dimensions_named_as_in_netcdf(tmp_path):
    cube = np.random.default_rng(0).random((9, 4, 6))
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["cube"] = cube.transpose(1, 2, 0)
        for place, (name, values) in enumerate(
            {
                "y": np.arange(4.0),
                "x": np.arange(6.0),
                "wavelength": np.linspace(0.4, 0.8, 9),
            }.items()
        ):
            file[name] = values
            file[name].make_scale(name)
            file["cube"].dims[place].attach_scale(file[name])
        file["wavelength"].attrs["units"] = "micrometers"
    found, nm = read_cube(tmp_path / "a.nc")
    np.testing.assert_array_equal(found, cube.astype("f4"))
    np.testing.assert_allclose(nm, np.linspace(400, 800, 9))


@pytest.mark.parametrize("ending", [".mat", ".npy", ".h5", ".npz"])
@pytest.mark.parametrize("axes", ["BHW", "HWB", "HBW", "WHB"])
@pytest.mark.parametrize("shape", [(9, 4, 6), (6, 6, 6), (1, 5, 4), (5, 1, 1)])
def test_the_order_that_was_written_is_noted(tmp_path, ending, axes, shape):
    raw = np.random.default_rng(0).random(shape).astype("f4")
    path = write_scene(Scene.from_raw("s", raw), tmp_path / f"a{ending}", axes=axes)
    again = read_scene(path)
    assert again.file.axes == axes
    np.testing.assert_allclose(again.in_file_units(), raw, atol=1e-6)


def test_numpy_reads_what_was_written_with_a_note(tmp_path):
    raw = np.random.default_rng(0).random((9, 4, 6)).astype("f4")
    scene = Scene.from_raw("s", raw, np.linspace(400, 800, 9))
    path = write_scene(scene, tmp_path / "a.npy", axes="HWB")
    np.testing.assert_allclose(np.load(path), raw.transpose(1, 2, 0), atol=1e-6)
    np.testing.assert_allclose(np.load(path, mmap_mode="r"), raw.transpose(1, 2, 0), atol=1e-6)
    np.testing.assert_allclose(read_scene(path).wavelengths, np.linspace(400, 800, 9))
    many = Scene.from_raw(
        "s", np.random.default_rng(0).random((2000, 2, 2)), np.linspace(400, 2500, 2000)
    )
    found = read_scene(write_scene(many, path))  # wavelengths do not fit a header of NumPy
    assert found.shape == (2000, 2, 2)
    assert np.load(path).shape == (2000, 2, 2)


def test_a_cube_of_no_order_asks_for_it(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((6, 6, 6)))
    with pytest.raises(DataError, match=r"shape \(6, 6, 6\) does not tell"):
        read_cube(tmp_path / "a.npy")
