"""Writers: what independent libraries find in the files, round trips, and failures."""

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from datamodules import DataError, Scene, read_cube, read_scene, write_scene

NM = np.array([400.25, 410, 1000 / 3 + 100, 700, 2500])
RAW = np.random.default_rng(6).normal(300, 900, (5, 7, 9)).astype("float32")
ENDINGS = [".mat", ".h5", ".hdf5", ".npz", ".npy", ".tif", ".hdr", ".img", ".raw", ".exr", ".pix"]


def scene(raw=RAW, wavelengths=NM):
    return Scene.from_raw("toy", raw, wavelengths)


def need(ending):
    if ending == ".exr":
        pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
    elif ending == ".pix":
        pytest.importorskip("rasterio", reason="the extra [geo] is not installed")


def same(found, expected=RAW):
    """Scaling to [0, 1] and back costs a few float32 steps of the span."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=np.ptp(expected) * 2e-7)


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_is_read_back_in_the_files_units(tmp_path, ending):
    need(ending)
    path = write_scene(scene(), str(tmp_path / "new" / f"toy{ending}"))
    cube, wavelengths = read_cube(path)
    same(cube)
    np.testing.assert_allclose(wavelengths, NM, rtol=1e-11)
    again = read_scene(path)
    assert again.name == "toy"
    np.testing.assert_allclose(again.cube, scene().cube, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ending", ENDINGS)
def test_wavelengths_may_be_unknown_and_bands_many(tmp_path, ending):
    need(ending)
    many = RAW.transpose(2, 0, 1)  # 9 bands of 5 x 7
    path = tmp_path / f"toy{ending}"
    cube, wavelengths = read_cube(write_scene(scene(many, None), path))
    same(cube, many)
    assert wavelengths is None


@pytest.mark.parametrize("shape", [(3, 7, 9), (3, 4, 3), (4, 9, 4), (2, 2, 2)])
def test_tiffs_of_few_bands_are_not_taken_for_colours(tmp_path, shape):
    raw = RAW.ravel()[: np.prod(shape)].reshape(shape)
    same(read_cube(write_scene(scene(raw, None), tmp_path / "a.tif"))[0], raw)


def test_matlab_sees_rows_columns_bands(tmp_path):
    write_scene(scene(), tmp_path / "a.mat")
    found = scipy.io.loadmat(tmp_path / "a.mat")
    assert found["data"].dtype == np.float32
    same(found["data"], RAW.transpose(1, 2, 0))
    np.testing.assert_array_equal(found["wavelengths"], [NM])
    write_scene(scene(), tmp_path / "a.mat", key="gt", axes="BHW")
    same(scipy.io.loadmat(tmp_path / "a.mat")["gt"])


@pytest.mark.parametrize("ending", [ending.upper() for ending in ENDINGS])
def test_endings_may_be_capitals(tmp_path, ending):
    need(ending.lower())
    same(read_cube(write_scene(scene(), tmp_path / f"toy{ending}"))[0])


def test_what_other_libraries_find(tmp_path):
    write_scene(scene(), tmp_path / "a.h5", key="cube")
    with h5py.File(tmp_path / "a.h5") as file:
        same(file["cube"][()])
        np.testing.assert_array_equal(file["wavelengths"], NM)
    write_scene(scene(), tmp_path / "a.npz", axes="HWB")
    with np.load(tmp_path / "a.npz") as file:
        same(file["data"], RAW.transpose(1, 2, 0))
    same(read_cube(tmp_path / "a.npz")[0])
    write_scene(scene(), tmp_path / "a.tif")
    same(tifffile.imread(tmp_path / "a.tif"))
    write_scene(scene(), tmp_path / "a.npy")
    same(np.load(tmp_path / "a.npy"))


def test_envi_is_a_header_and_plain_numbers(tmp_path):
    need(".hdr")
    write_scene(scene(), tmp_path / "a.raw")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.hdr", "a.raw"]
    same(np.fromfile(tmp_path / "a.raw", "<f4").reshape(5, 7, 9))
    header = (tmp_path / "a.hdr").read_text()
    for line in ("samples = 9", "lines = 7", "bands = 5", "interleave = bsq", "400.25"):
        assert line in header


def test_pngs_hold_counts(tmp_path):
    counts = np.random.default_rng(1).integers(0, 65536, (12, 7, 9))
    counts[11, 0, 0] = 65535
    path = write_scene(scene(counts, None), tmp_path / "toy")
    assert [file.name for file in sorted(path.iterdir())][9] == "toy_10.png"
    with Image.open(path / "toy_12.png") as image:
        np.testing.assert_array_equal(np.asarray(image), counts[11])
    np.testing.assert_array_equal(read_cube(path)[0], counts)
    with pytest.raises(DataError, match="is there already"):
        write_scene(scene(counts, None), path)


@pytest.mark.parametrize("raw", [RAW, RAW * 100 + 30000, np.abs(RAW) / 900])
def test_pngs_refuse_what_they_cannot_hold(tmp_path, raw):
    with pytest.raises(DataError, match=r"0 to 65535.*\.tif"):
        write_scene(scene(raw), tmp_path / "toy")
    assert not list(tmp_path.iterdir())


def test_few_whole_counts_are_held_by_pngs(tmp_path):
    raw = (np.arange(5 * 7 * 9) % 4).reshape(5, 7, 9)
    np.testing.assert_array_equal(read_cube(write_scene(scene(raw), tmp_path / "toy"))[0], raw)


@pytest.mark.parametrize("order", [[0, 0, 1, 2, 3], [1, 0, 2, 3, 4]])
def test_exr_refuses_wavelengths_that_would_be_sorted(tmp_path, order):
    need(".exr")
    with pytest.raises(DataError, match="do not ascend"):
        write_scene(scene(wavelengths=np.sort(NM)[order]), tmp_path / "a.exr")


@pytest.mark.parametrize("ending", [*ENDINGS, ""])
def test_a_failure_leaves_what_was_there(tmp_path, ending, monkeypatch):
    need(ending)
    path = tmp_path / f"toy{ending}"
    if ending:
        write_scene(scene(RAW + 1), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def stop(*arguments):
        assert [file for file in tmp_path.rglob("*") if file.name not in before]
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_scene(scene(np.round(np.abs(RAW))), path)
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_is_replaced(tmp_path):
    write_scene(scene(RAW + 1), tmp_path / "a.npz")
    same(read_cube(write_scene(scene(), tmp_path / "a.npz"))[0])
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {}, "'.jpg'.*there are .mat"),
        ("a.mat", {"key": "_x"}, "'_x' is no name"),
        ("a.mat", {"key": "1x"}, "'1x' is no name"),
        ("a.h5", {"key": "wavelengths"}, "'wavelengths' cannot name the cube"),
        ("a.npz", {"key": "axes"}, "'axes' cannot name the cube"),
        ("a.h5", {"axes": "BH"}, "order of B, H and W"),
        ("a.tif", {"axes": "HWB"}, "leave it out"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, name, options, message):
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        write_scene(scene(), tmp_path / name, **options)
    assert not list(tmp_path.iterdir())
