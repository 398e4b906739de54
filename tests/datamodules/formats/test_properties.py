"""Any scene, any format: what is written is read back. Long: of make test-files."""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")
pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
pytest.importorskip("rasterio", reason="the extra [geo] is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from datamodules import DataError, Scene, read_cube, read_scene, write_scene  # noqa: E402
from datamodules.file_facts import FileFacts  # noqa: E402
from datamodules.formats.axes import is_order  # noqa: E402
from datamodules.formats.envi_header import TYPES as TYPES_OF_ENVI  # noqa: E402
from datamodules.scene import DataNote  # noqa: E402

pytestmark = pytest.mark.files

ENVI = [".img", ".raw", ".dat", ".bil", ".bip", ".bsq", ".hdr"]
FREE = [".mat", ".h5", ".npz", ".npy"]
OTHERS = [".tif", ".exr", ".pix"]
TYPES = {
    ".exr": ["float32", "float16"],
    ".mat": ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"],
    ".pix": ["uint8", "int16", "uint16", "float32"],
    ".img": ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"],
}
ALL_TYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]
ORDERS = [None, *(o for o in ("BHW", "HBW", "HWB", "BWH", "WHB", "WBH") if is_order(o))]
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z", "P", "S"]), min_size=1, max_size=12
)


@st.composite
def scenes(draw, ending):
    """A scene with any shape, type, range, holes, bad bands, wavelengths and widths."""
    kinds = TYPES.get(".img" if ending in ENVI else ending, ALL_TYPES)
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    shape = tuple(draw(st.integers(1, 7)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        raw = (rng.random(shape) * draw(st.sampled_from([1, 1e-3, 4e3])) - 0.5).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        least, most = max(limits.min + 1, -(2**22)), min(limits.max - 1, 2**22)
        raw = rng.integers(least, most, shape, endpoint=True).astype(dtype)
    holes = rng.random(shape[1:]) < draw(st.sampled_from([0.0, 0.3]))
    valid = None if not holes.any() or holes.all() else ~holes
    bands = shape[0]
    bad = tuple(b for b in range(bands - 1) if rng.random() < draw(st.sampled_from([0.0, 0.3])))
    nm = np.sort(rng.uniform(400, 2500, bands)) if draw(st.booleans()) else None
    fwhm = rng.uniform(1, 20, bands) if draw(st.booleans()) else None
    if nm is not None and (np.diff(nm) <= 0).any():
        nm = None
    nodata = None
    if valid is not None:
        nodata = float("nan") if dtype.kind == "f" else float(np.iinfo(dtype).max)
    facts = FileFacts(dtype=dtype, nodata=nodata)
    good = [b for b in range(bands) if b not in bad]
    there = raw[good] if valid is None else raw[good][:, valid]
    hypothesis.assume(there.size and there.min() < there.max())
    return Scene.from_raw(
        "s", raw, nm, valid=valid if valid is not None else np.ones(shape[1:], bool),
        bad_bands=bad, fwhm=fwhm, file=facts,
    )  # fmt: skip


@pytest.mark.parametrize("ending", [*ENVI, *FREE, *OTHERS])
@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_what_is_written_is_read(ending, data):
    scene = data.draw(scenes(ending))
    axes = data.draw(st.sampled_from(ORDERS)) if ending in FREE else None
    key = None
    if ending in (".h5", ".npz"):
        key = data.draw(st.sampled_from([None, "cube", "hsi"]))
    name = data.draw(NAMES)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNote)
        path = write_scene(scene, Path(place) / f"{name}{ending}", key=key, axes=axes)
        found = read_scene(path)
    assert found.shape == scene.shape
    assert found.file.dtype == scene.file.dtype
    assert found.bad_bands == scene.bad_bands
    assert (found.valid is None) == (scene.valid is None)
    if scene.valid is not None:
        np.testing.assert_array_equal(
            np.broadcast_to(found.valid, found.shape), np.broadcast_to(scene.valid, scene.shape)
        )
    for ours, theirs in ((found.wavelengths, scene.wavelengths), (found.fwhm, scene.fwhm)):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-11)
    if axes is not None:
        assert found.file.axes == axes
    good = [band for band in range(scene.shape[0]) if band not in scene.bad_bands]
    values, expected = (one.in_file_units(scene.file.dtype)[good] for one in (found, scene))
    atol = 0.0
    if scene.file.dtype.kind == "f":
        atol = float(np.spacing(np.float32(scene.gain))) + float(
            np.spacing(np.abs(expected[np.isfinite(expected)]).max().astype(scene.file.dtype))
        )
    np.testing.assert_allclose(values, expected, rtol=0, atol=atol)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    code=st.sampled_from(sorted(set(TYPES_OF_ENVI) - {6, 9})),
    interleave=st.sampled_from(["bsq", "bil", "bip"]),
    order=st.sampled_from("<>"),
    offset=st.integers(0, 50),
    seed=st.integers(0, 999),
)
def test_raw_numbers_of_any_layout_are_read(shape, code, interleave, order, offset, seed):
    dtype = np.dtype(order + TYPES_OF_ENVI[code])
    cube = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    axes = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "a.raw"
        data.write_bytes(b"\0" * offset + np.ascontiguousarray(cube.transpose(axes)).tobytes())
        bands, lines, samples = shape
        data.with_suffix(".hdr").write_text(
            f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = {code}\n"
            f"header offset = {offset}\ninterleave = {interleave}\n"
            f"byte order = {int(order == '>')}\n"
        )
        np.testing.assert_array_equal(read_cube(data)[0], cube)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    kind=st.sampled_from(["u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"]),
    order=st.sampled_from("<>"),
    fortran=st.booleans(),
    axes=st.sampled_from(ORDERS[1:]),
    ending=st.sampled_from([".npy", ".npz", ".h5"]),
)
def test_arrays_of_any_layout_are_read(shape, kind, order, fortran, axes, ending):
    cube = np.arange(np.prod(shape)).reshape(shape).astype(order + kind)
    array = cube.transpose(["BHW".index(axis) for axis in axes])
    array = np.asfortranarray(array) if fortran else np.ascontiguousarray(array)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"a{ending}"
        if ending == ".npy":
            np.save(path, array)
        elif ending == ".npz":
            np.savez_compressed(path, cube=array)
        else:
            with h5py.File(path, "w") as file:
                file["cube"] = array
        np.testing.assert_array_equal(read_cube(path, axes=axes)[0], cube)


ENDINGS = [".mat", ".h5", ".npz", ".npy", ".tif", ".img", ".hdr", ".exr", ".pix", ".nc"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files_are_told_in_one_line(tmp_path, ending, capfd):
    """Cut, flipped, empty and foreign: an error of one line, or the right cube of it."""
    raw = np.random.default_rng(0).integers(0, 4000, (6, 20, 30)).astype("u2")
    scene = Scene.from_raw("s", raw, np.linspace(400, 900, 6))
    path = write_scene(scene, tmp_path / f"s{ending}")
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    damaged = [whole[: int(len(whole) * share)] for share in (0, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99)]
    for _ in range(200):
        place = int(rng.integers(0, min(len(whole), 3000)))
        flipped = bytes([whole[place] ^ int(rng.integers(1, 256))])
        damaged.append(whole[:place] + flipped + whole[place + 1 :])
    damaged += [b"<html>404</html>", b"\0" * 4096, b"\xff" * 4096]
    capfd.readouterr()
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_scene(path)
            except DataError as error:
                assert "\n" not in str(error)  # noqa: PT017
                assert len(str(error)) < 1000  # noqa: PT017
                assert str(tmp_path) in str(error)  # noqa: PT017
            else:
                assert not 1 <= number < 4 or ending == ".hdr"  # less than a third is no cube
    told = capfd.readouterr()
    assert "Traceback" not in told.err + told.out
    assert sorted(file.suffix for file in tmp_path.iterdir()) == sorted(
        {ending} | ({".hdr", ".img"} if ending in (".img", ".hdr") else set())
    )


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_write_leaves_nothing(tmp_path, ending):
    scene = Scene.from_raw("s", np.random.default_rng(0).random((3, 4, 5)))
    broken = replace(scene, wavelengths=np.array([1.0, 2.0]))  # too few
    if ending in (".exr", ".tif"):
        with pytest.raises(ValueError):
            write_scene(broken, tmp_path / f"a{ending}")
        assert not list(tmp_path.iterdir())
