"""Scenes by windows: what is read and written in any order is what the whole file holds."""

from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from datamodules import DataError, Scene, read_scene, write_scene
from datamodules.file_facts import FileFacts, Georeference
from datamodules.formats.matlab import HEADER
from datamodules.windows import create_scene, open_scene

rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")
pytest.importorskip("zarr", reason="the extra [zarr] is not installed")
pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")

STREAMED = [".img", ".bil", ".bip", ".tif", ".h5", ".nc", ".npy", ".pix", ".zarr"]
WHOLE = [".mat", ".npz", ".exr", ""]
RAW = np.random.default_rng(0).integers(0, 60000, (7, 20, 30)).astype("u2")
NM = np.linspace(400, 1000, 7)
ALL = (slice(None), slice(None), slice(None))


def scene_of(raw=RAW):
    place = Georeference("EPSG:32633", (2.0, 0.0, 3e5, 0.0, -2.0, 4e6))
    return Scene.from_raw("s", raw, NM, file=FileFacts(dtype=raw.dtype, georeference=place))


def boxes(shape, step=(3, 8, 11)):
    """Windows that cover a cube, in an order of their own."""
    starts = list(product(*(range(0, n, s) for n, s in zip(shape, step, strict=True))))
    np.random.default_rng(1).shuffle(starts)
    return [
        tuple(slice(a, min(a + s, n)) for a, s, n in zip(start, step, shape, strict=True))
        for start in starts
    ]


@pytest.mark.parametrize("ending", [*STREAMED, *WHOLE])
def test_windows_are_parts_of_the_whole(tmp_path, ending):
    raw = RAW.astype("f4") if ending == ".exr" else RAW
    path = write_scene(scene_of(raw), tmp_path / f"a{ending}")
    with open_scene(path) as source:
        assert (source.shape, source.dtype) == (raw.shape, raw.dtype)
        assert source.in_windows == (ending in STREAMED)
        np.testing.assert_allclose(source.wavelengths, NM, rtol=1e-11)
        whole = source.read(ALL)
        assert whole.flags.writeable
        np.testing.assert_allclose(whole, raw, atol=0 if raw.dtype == "u2" else 0.01)
        for box in boxes(raw.shape):
            np.testing.assert_array_equal(source.read(box), whole[box])


@pytest.mark.parametrize("ending", [*STREAMED, *WHOLE])
def test_a_copy_by_windows_is_the_same_file(tmp_path, ending):
    raw = RAW.astype("f4") if ending == ".exr" else RAW
    first = write_scene(scene_of(raw), tmp_path / f"a{ending}")
    (tmp_path / "b").mkdir()
    second = tmp_path / "b" / f"a{ending}"
    with open_scene(first) as source, create_scene(second, like=source) as sink:
        for box in boxes(raw.shape):
            sink.write(box, source.read(box))
        assert not second.exists()
    files = [second] if ending else sorted(second.iterdir())
    names = {file.name for file in first.iterdir()} if not ending else {first.name}
    assert {file.name for file in files} == names
    if ending not in (".h5", ".nc", ".mat", ".pix", ".npz", ".zarr"):  # which note times
        for file in files:
            assert file.read_bytes() == (first / file.name if not ending else first).read_bytes()
    old, new = read_scene(first), read_scene(second)
    np.testing.assert_array_equal(new.cube, old.cube)
    assert new.file == old.file
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == sorted(
        {second.name} | ({"a.hdr"} if ending in (".img", ".bil", ".bip") else set())
    )


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("ending", [".img", ".tif", ".h5", ".npy"])
def test_every_type_is_copied_to_the_byte(tmp_path, ending, dtype):
    rng = np.random.default_rng(2)
    raw = rng.integers(0, 255, RAW.size * np.dtype(dtype).itemsize, "u1").view(dtype)
    raw = np.nan_to_num(raw, nan=1).reshape(RAW.shape)
    facts = FileFacts(dtype=raw.dtype)
    with create_scene(tmp_path / f"a{ending}", Scene("s", RAW, file=facts)) as sink:
        for box in boxes(RAW.shape):
            sink.write(box, raw[box])
    with (
        open_scene(tmp_path / f"a{ending}") as source,
        create_scene(tmp_path / f"b{ending}", like=source) as sink,
    ):
        for box in boxes(RAW.shape, (7, 5, 30)):
            sink.write(box, source.read(box))
    with open_scene(tmp_path / f"b{ending}") as source:
        assert source.read(ALL).tobytes() == raw.tobytes()


def test_the_order_of_the_axes_and_axes_of_length_one(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = RAW.transpose(1, 2, 0)[None, :, None]
    with open_scene(tmp_path / "a.h5", axes="HWB") as source:
        for box in boxes(RAW.shape):
            np.testing.assert_array_equal(source.read(box), RAW[box])


@pytest.mark.parametrize("compressed", [None, "deflate", "lzw"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_tiffs_of_others_come_in_windows(tmp_path, compressed, interleave):
    sizes = {"count": 7, "height": 20, "width": 30, "dtype": "uint16", "interleave": interleave}
    with rasterio.open(tmp_path / "a.tif", "w", compress=compressed, **sizes) as file:
        file.write(RAW)
    with open_scene(tmp_path / "a.tif") as source:
        assert source.in_windows
        for box in boxes(RAW.shape):
            np.testing.assert_array_equal(source.read(box), RAW[box])
    tifffile.imwrite(tmp_path / "b.tif", RAW, photometric="minisblack", byteorder=">")
    with open_scene(tmp_path / "b.tif") as source:
        assert source.in_windows
        np.testing.assert_array_equal(source.read(ALL), RAW)


def test_matlab_files_beyond_2_gib_are_of_version_73(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.formats.matlab.LARGEST", 1000)
    path = write_scene(scene_of(), tmp_path / "a.mat")
    assert path.read_bytes().startswith(HEADER)
    with h5py.File(path) as file:
        assert file["data"].shape == (7, 30, 20)
        assert file["data"].attrs["MATLAB_class"] == b"uint16"
    with open_scene(path) as source:
        assert source.in_windows
        np.testing.assert_array_equal(source.read(ALL), RAW)
        with create_scene(tmp_path / "b.mat", like=source) as sink:
            for box in boxes(RAW.shape):
                sink.write(box, source.read(box))
    again = read_scene(tmp_path / "b.mat")
    np.testing.assert_array_equal(again.in_file_units("u2"), RAW)
    assert again.wavelengths.tolist() == NM.tolist()
    assert again.file.georeference.crs == "EPSG:32633"


@pytest.mark.parametrize("ending", [*STREAMED, ".npz", ""])
def test_after_an_error_nothing_is_left(tmp_path, ending):
    with pytest.raises(KeyError), create_scene(tmp_path / f"a{ending}", scene_of()) as sink:  # noqa: PT012
        sink.write((slice(0, 1), slice(0, 2), slice(0, 3)), RAW[:1, :2, :3])
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_told_at_once(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match=r"a.img: cannot be written \(No space left on device\)"):
        create_scene(tmp_path / "a.img", scene_of())
    assert not list(tmp_path.iterdir())


def anonymous_memory():
    """What this process holds that lies in no file, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_a_window_of_a_large_file_takes_the_memory_of_the_window(tmp_path, interleave):
    bands, lines, samples = 200, 4000, 2000
    with (tmp_path / "a.img").open("wb") as file:
        file.truncate(2 * bands * lines * samples)  # 3.2 GB, of which the disk holds nothing
    (tmp_path / "a.hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = 12\n"
        f"interleave = {interleave}\nbyte order = 0\n"
    )
    before = anonymous_memory()
    with open_scene(tmp_path / "a.img") as source:
        assert anonymous_memory() - before < 2**20
        window = source.read((slice(None), slice(3000, 3064), slice(1500, 1564)))
        assert window.shape == (bands, 64, 64)
        assert anonymous_memory() - before < 50e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_a_large_file_is_copied_by_windows_to_the_byte(tmp_path):
    bands, lines, samples = 200, 4000, 2000
    drawn = np.random.default_rng(0).integers(0, 2**16, bands * samples, np.uint16)
    with (tmp_path / "a.img").open("wb") as file:  # 3.2 GB
        for line in range(lines):
            np.roll(drawn, line).tofile(file)
    (tmp_path / "a.hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = 12\n"
        "interleave = bil\nbyte order = 0\n"
    )
    before = anonymous_memory()
    source = open_scene(tmp_path / "a.img")
    with source, create_scene(tmp_path / "b.img", like=source) as sink:
        for top in range(0, lines, 64):
            window = (slice(None), slice(top, min(top + 64, lines)), slice(None))
            sink.write(window, source.read(window))
    assert anonymous_memory() - before < 200e6  # a window has 51 MB
    with (tmp_path / "a.img").open("rb") as one, (tmp_path / "b.img").open("rb") as other:
        while part := one.read(2**24):
            assert part == other.read(2**24)
        assert not other.read(1)
