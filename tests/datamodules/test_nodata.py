"""What stands for "nothing here", in every format that can say it, and where nothing says it."""

import warnings

import h5py
import numpy as np
import pytest
import scipy.io

from datamodules import DataError, read_scene
from datamodules.nodata import find_sentinel, find_valid
from datamodules.scene import DataNote

rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")

from rasterio.enums import ColorInterp  # noqa: E402

RNG = np.random.default_rng(3)
MEASURED = RNG.integers(100, 6000, (5, 20, 30))  # bands, rows, columns
EDGE = np.zeros((20, 30), bool)
EDGE[:2, :6] = True


def with_edge(value, dtype):
    cube = MEASURED.astype(dtype)
    cube[:, EDGE] = value
    return cube


def check(scene, edge=EDGE, nodata=None):
    """The measurements have the whole range; the edge is masked and known."""
    there = MEASURED[:, ~edge]
    assert (scene.offset, scene.offset + scene.gain) == (there.min(), there.max())
    assert np.array_equal(scene.valid, ~edge)
    assert (scene.cube[:, ~edge].min(), scene.cube[:, ~edge].max()) == (0, 1)
    medians = np.sort(scene.cube[:, ~edge])[:, (~edge).sum() // 2]
    assert np.array_equal(scene.cube[:, edge], np.repeat(medians[:, None], 12, axis=1))
    if nodata is not None:
        np.testing.assert_equal(scene.file.nodata, nodata)


ENVI = (
    "ENVI\nsamples = 30\nlines = 20\nbands = 5\ndata type = {}\ninterleave = bsq\nbyte order = 0\n"
)


def write_envi(path, cube, more):
    cube.tofile(path)
    code = {"int16": 2, "float32": 4, "uint16": 12}[cube.dtype.name]
    path.with_suffix(".hdr").write_text(ENVI.format(code) + more)


def test_envi(tmp_path):
    write_envi(
        tmp_path / "a.img",
        with_edge(-32768, "int16"),
        "data ignore value = -32768\nbbl = {1, 1, 0, 1, 1}\n",
    )
    with pytest.warns(DataNote) as told:
        scene = read_scene(tmp_path / "a.img")
    said = [str(note.message) for note in told]
    assert any("12 of 600 pixels (2 %) hold nothing (nodata is -32768)" in line for line in said)
    assert any("1 bad bands are left out: 3" in line for line in said)
    assert scene.bad_bands == (2,)
    there = MEASURED[[0, 1, 3, 4]][:, ~EDGE]
    assert (scene.offset, scene.offset + scene.gain) == (there.min(), there.max())
    assert scene.file.nodata == -32768


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("int16", -32768),
        ("float32", np.nan),
        ("float32", -3.4028234663852886e38),
        ("uint16", 65535),
    ],
)
def test_geotiff(tmp_path, dtype, nodata):
    sizes = {"count": 5, "height": 20, "width": 30}
    with rasterio.open(tmp_path / "a.tif", "w", dtype=dtype, nodata=nodata, **sizes) as file:
        file.write(with_edge(nodata, dtype))
    with pytest.warns(DataNote, match="12 of 600 pixels"):
        check(read_scene(tmp_path / "a.tif"), nodata=nodata)


def test_the_mask_and_the_alpha_channel_of_a_tiff(tmp_path):
    sizes = {"count": 5, "height": 20, "width": 30, "dtype": "uint16"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "a.tif", "w", **sizes) as file,
    ):
        file.write(with_edge(0, "uint16"))
        file.write_mask(~EDGE)
    with pytest.warns(DataNote):
        check(read_scene(tmp_path / "a.tif"))
    with rasterio.open(tmp_path / "b.tif", "w", **(sizes | {"count": 6})) as file:
        file.colorinterp = [*file.colorinterp[:5], ColorInterp.alpha]
        file.write(np.concatenate([with_edge(0, "uint16"), 65535 * ~EDGE[None]]).astype("uint16"))
    with pytest.warns(DataNote, match="alpha channel"):
        check(read_scene(tmp_path / "b.tif"))


@pytest.mark.parametrize("name", ["_FillValue", "missing_value", "Data_Ignore_Value", "nodata"])
def test_hdf5(tmp_path, name):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = with_edge(-9999, "float32")
        file["cube"].attrs[name] = np.float32(-9999)
        file["wavelength"] = np.linspace(400, 800, 5)
    with pytest.warns(DataNote, match="nodata is -9999"):
        check(read_scene(tmp_path / "a.h5"), nodata=-9999)


@pytest.mark.parametrize("limits", [{"valid_range": [100, 6000]}, {"valid_min": 100}])
def test_what_hdf5_calls_out_of_range_is_nothing(tmp_path, limits):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = with_edge(7, "int16")
        file["cube"].attrs.update(limits)
        file["wavelength"] = np.linspace(400, 800, 5)
    with pytest.warns(DataNote, match="12 of 600 pixels"):
        check(read_scene(tmp_path / "a.h5"))


def test_mat_and_npz(tmp_path):
    cube = with_edge(-1, "int16")
    scipy.io.savemat(tmp_path / "a.mat", {"cube": cube.transpose(1, 2, 0), "nodata": -1})
    np.savez(tmp_path / "a.npz", cube=cube, nodata=-1, axes="BHW")
    for name in ("a.mat", "a.npz"):
        with pytest.warns(DataNote, match="nodata is -1"):
            check(read_scene(tmp_path / name), nodata=-1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_nothing(tmp_path, value):
    np.save(tmp_path / "a.npy", with_edge(value, "float32"))
    with pytest.warns(DataNote, match="12 of 600 pixels"):
        check(read_scene(tmp_path / "a.npy"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float64", -1.7976931348623157e308),
        ("float32", -3.4028234663852886e38),
        ("float32", 1e20),
        ("int32", -2147483648),
        ("int16", -9999),
        ("int16", -32768),
        ("uint16", 65535),
        ("float32", -999),
        ("float32", 123456),  # unusual, but in whole pixels
    ],
)
def test_an_undeclared_number_that_alone_sets_the_range_is_found_and_told(tmp_path, dtype, value):
    np.save(tmp_path / "a.npy", with_edge(value, dtype))
    with pytest.warns(DataNote) as told:
        scene = read_scene(tmp_path / "a.npy")
    check(scene, nodata=float(np.dtype(dtype).type(value)))
    (line,) = [str(n.message) for n in told if "alone sets the range" in str(n.message)]
    assert f"{value:g} (60 times" in line
    assert "nodata='none'" in line


def test_the_user_has_the_last_word(tmp_path):
    np.save(tmp_path / "a.npy", with_edge(-9999, "float32"))
    with pytest.warns(DataNote):
        scene = read_scene(tmp_path / "a.npy", nodata="none")
    assert scene.valid is None
    assert scene.offset == -9999
    np.save(tmp_path / "a.npy", with_edge(7, "float32"))
    with pytest.warns(DataNote, match="nodata is 7"):
        check(read_scene(tmp_path / "a.npy", nodata=7), nodata=7)
    with pytest.raises(DataError, match="nodata='nothing'; give a number"):
        read_scene(tmp_path / "a.npy", nodata="nothing")


def test_a_single_odd_value_is_told_and_left_to_the_user(tmp_path):
    cube = MEASURED.astype("float32")
    cube[2, 5, 5] = 50000  # a hot pixel is noise, which a denoiser is there for
    np.save(tmp_path / "a.npy", cube)
    with pytest.warns(DataNote, match=r"50000 \(1 times.*say nodata=50000 if it stands"):
        scene = read_scene(tmp_path / "a.npy")
    assert scene.valid is None
    assert scene.offset + scene.gain == 50000


def test_bands_without_any_measurement_are_bad_bands(tmp_path):
    cube = MEASURED.astype("float32")
    cube[[0, 3]] = -9999
    np.save(tmp_path / "a.npy", cube)
    with pytest.warns(DataNote, match="2 bad bands are left out: 1, 4"):
        scene = read_scene(tmp_path / "a.npy", nodata=-9999)
    assert scene.bad_bands == (0, 3)
    there = MEASURED[[1, 2, 4]]
    assert (scene.offset, scene.offset + scene.gain) == (there.min(), there.max())


@pytest.mark.parametrize("edge", [0, 4095, 65535])
def test_what_lies_close_to_the_rest_is_a_measurement(edge):
    cube = RNG.integers(0, 4000 if edge < 65535 else 65500, (4, 20, 20)).astype("uint16")
    cube[:, :3] = edge
    assert find_sentinel(cube) is None


def test_several_numbers_for_nothing_are_found_one_after_another(tmp_path):
    cube = with_edge(-9999, "float32")
    cube[:, 10, :] = 1e20
    np.save(tmp_path / "a.npy", cube)
    with pytest.warns(DataNote):
        scene = read_scene(tmp_path / "a.npy")
    expected = ~EDGE
    expected[10] = False
    assert np.array_equal(scene.valid, expected)


def test_a_nodata_that_the_type_cannot_hold_masks_nothing():
    assert find_valid(MEASURED.astype("uint16"), [-9999.0]) is None
    assert find_valid(MEASURED.astype("uint16"), [0.5]) is None


def test_clean_files_are_read_without_a_word(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"cube": MEASURED.transpose(1, 2, 0)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = read_scene(tmp_path / "a.mat")
    assert scene.valid is None
    assert scene.bad_bands == ()


def test_a_number_that_float64_cannot_hold_ends_the_search(tmp_path):
    np.save(tmp_path / "a.npy", with_edge(2**62 + 1, "int64"))
    with pytest.warns(DataNote, match="alone sets the range"):
        read_scene(tmp_path / "a.npy")
