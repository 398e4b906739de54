"""Read, write and read again: every field comes back, and other libraries find the same."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from datamodules import Scene, read_scene, write_scene
from datamodules.file_facts import FileFacts, Georeference
from datamodules.scene import DataError, DataNote

pytest.importorskip("zarr", reason="the extra [zarr] is not installed")
pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")
envi = pytest.importorskip("spectral.io.envi")

ENDINGS = (
    ".mat .h5 .nc .npz .npy .tif .hdr .img .raw .dat .bil .bip .bsq .exr .pix .zarr".split()  # noqa: SIM905
)
SHAPES = {
    "usual": (4, 6, 8),
    "one band": (1, 6, 8),
    "one row": (4, 1, 8),
    "one column": (4, 6, 1),
    "one pixel": (5, 1, 1),
    "fewer rows than bands": (9, 4, 6),
    "cube": (6, 6, 6),
    "three bands": (3, 30, 40),
    "four bands": (4, 30, 40),
}
WKT = rasterio.crs.CRS.from_epsg(32633).to_wkt()
HOLES = np.zeros((4, 6, 8), bool)
HOLES[:, 2, 3:5] = True
HOLES[1, 0, 0] = True


def full_scene(dtype="float32", nodata=-9999.0):
    raw = np.random.default_rng(0).integers(0, 4000, (4, 6, 8)).astype(dtype)
    facts = FileFacts(
        dtype=np.dtype(dtype),
        nodata=nodata,
        scale_factor=1e-4,
        add_offset=-0.1,
        georeference=Georeference(WKT, (2.0, 0.0, 300000.0, 0.0, -2.0, 4000000.0)),
        header={"sensor": "AVIRIS", "campaign": "summer"},
    )
    nm = np.array([400.25, 410, 1000 / 3 + 100, 2500])
    return Scene.from_raw(
        "s", raw, nm, valid=~HOLES, bad_bands=[2], fwhm=np.array([5.5, 6, 7, 8]), file=facts
    )


def read(path):
    with pytest.warns(DataNote):  # of holes and bad bands
        return read_scene(path)


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_field_comes_back(tmp_path, ending, dtype):
    nodata = 65535.0 if dtype == "uint16" else -9999.0
    scene = full_scene(dtype, nodata)
    if ending == ".exr" and dtype != "float32":
        scene = replace(scene, file=replace(scene.file, dtype=np.dtype("float32")))
    first = read(write_scene(scene, tmp_path / f"a{ending}"))
    second = read(write_scene(first, tmp_path / f"b{ending}"))
    for found in (first, second):
        values, expected = (one.in_file_units(scene.file.dtype) for one in (found, scene))
        np.testing.assert_allclose(values, expected, rtol=0, atol=np.spacing(np.float32(4000)))
        np.testing.assert_array_equal(found.valid, scene.valid)
        np.testing.assert_allclose(found.wavelengths, scene.wavelengths, rtol=1e-11)
        np.testing.assert_allclose(found.fwhm, scene.fwhm, rtol=1e-11)
        assert found.bad_bands == (2,)
        file = found.file
        assert (file.nodata, file.dtype) == (nodata, scene.file.dtype)
        assert file.scale_factor == pytest.approx(1e-4, rel=1e-12)
        if ending not in (".hdr", ".img", ".raw", ".dat", ".bil", ".bip", ".bsq"):
            assert file.add_offset == -0.1  # ENVI has no place for it
        assert rasterio.crs.CRS.from_user_input(file.georeference.crs).to_epsg() == 32633
        np.testing.assert_allclose(
            file.georeference.transform, scene.file.georeference.transform, rtol=1e-12
        )
        assert {"sensor": "AVIRIS", "campaign": "summer"}.items() <= dict(file.header).items()
    assert (second.file.axes, second.file.key) == (first.file.axes, first.file.key)
    assert second.file == first.file


@pytest.mark.parametrize("counts", [False, True], ids=["floats", "counts"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ending", [*ENDINGS, ""])
def test_every_shape_is_read_back_without_a_word(tmp_path, recwarn, ending, shape, counts):
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 4096, shape) if counts else rng.random(shape) * 3 - 1
    if ending == "" and not counts:
        return
    raw = raw.astype("u2" if counts else "f4")
    nm = np.linspace(400, 700.5, shape[0])
    facts = FileFacts(dtype=raw.dtype if ending != ".exr" else np.dtype("f4"))
    scene = Scene.from_raw("s", raw, nm, file=facts)
    recwarn.clear()
    again = read_scene(write_scene(scene, tmp_path / f"s{ending}"))
    assert [str(warning.message) for warning in recwarn.list] == []
    atol = 0.0 if counts and ending != ".exr" else 5e-7 * np.ptp(raw)
    np.testing.assert_allclose(again.in_file_units(facts.dtype), raw, rtol=0, atol=atol)
    np.testing.assert_allclose(again.wavelengths, nm, rtol=1e-11)


@pytest.mark.parametrize("ending", [".tif", ".img", ".bil", ".bip", ".bsq", ".dat", ".pix"])
def test_gdal_sees_the_same(tmp_path, ending):
    scene = full_scene()
    path = write_scene(scene, tmp_path / f"a{ending}")
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), scene.in_file_units())
        assert file.crs.to_epsg() == 32633
        np.testing.assert_allclose(tuple(file.transform)[:6], scene.file.georeference.transform)
        tags = [{k.lower(): v for k, v in file.tags(band).items()} for band in file.indexes]
        nm = [float(tag["wavelength"]) for tag in tags]
        np.testing.assert_allclose(nm, scene.wavelengths, rtol=1e-6)
        if ending != ".pix":
            assert set(file.nodatavals) == {-9999.0}
        if ending == ".tif":
            um = [float(file.tags(b, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"]) for b in file.indexes]
            np.testing.assert_allclose(um, scene.wavelengths / 1e3, rtol=1e-9)
            assert set(file.scales) == {1e-4}
            assert set(file.offsets) == {-0.1}


@pytest.mark.parametrize("ending", [".img", ".bil", ".bip"])
def test_spectral_sees_the_same(tmp_path, ending):
    scene = full_scene("int16")
    path = write_scene(scene, tmp_path / f"a{ending}")
    image = envi.open(str(path.with_suffix(".hdr")), str(path))
    np.testing.assert_array_equal(image.open_memmap(interleave="bsq"), scene.in_file_units("int16"))
    np.testing.assert_allclose(image.bands.centers, scene.wavelengths)
    np.testing.assert_allclose(image.bands.bandwidths, scene.fwhm)
    assert list(map(int, image.metadata["bbl"])) == [1, 1, 0, 1]
    assert image.metadata["sensor"] == "AVIRIS"


@pytest.mark.parametrize(("angle", "height"), [(0.0, 3), (30.0, 2), (-12.5, 2)])
def test_a_rotated_place_is_the_one_that_gdal_finds(tmp_path, angle, height):
    turned = rasterio.Affine.translation(3e5, 4e6) @ rasterio.Affine.rotation(angle)
    place = tuple(turned @ rasterio.Affine.scale(2, -height))[:6]
    scene = full_scene()
    facts = replace(scene.file, georeference=Georeference(WKT, place))
    path = write_scene(replace(scene, file=facts), tmp_path / "a.img")
    with rasterio.open(path) as file:
        np.testing.assert_allclose(tuple(file.transform)[:6], place, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(read(path).file.georeference.transform, place, rtol=1e-9, atol=1e-9)


def test_from_one_format_to_another(tmp_path):
    first = full_scene("int16")
    path = tmp_path / "a.img"
    write_scene(first, path)
    for number, ending in enumerate((".tif", ".h5", ".mat", ".npz", ".npy", ".pix", ".bip")):
        scene = read(path)
        path = write_scene(scene, tmp_path / f"{number}{ending}")
    last = read(path)
    np.testing.assert_array_equal(last.in_file_units("int16"), first.in_file_units("int16"))
    np.testing.assert_array_equal(last.valid, first.valid)
    np.testing.assert_allclose(last.wavelengths, first.wavelengths, rtol=1e-11)
    assert last.bad_bands == first.bad_bands
    assert last.file.nodata == -9999
    assert last.file.header["sensor"] == "AVIRIS"
    assert rasterio.crs.CRS.from_user_input(last.file.georeference.crs).to_epsg() == 32633


def test_integers_are_rounded_and_kept_in_their_range(tmp_path):
    scene = full_scene("int16")
    louder = replace(scene, cube=scene.cube * 20)
    with pytest.warns(DataNote):
        again = read_scene(write_scene(louder, tmp_path / "a.img"))
    values = again.in_file_units("int16")
    assert values.max() == 32767
    assert again.file.dtype == np.int16
    path = write_scene(louder, tmp_path / "b.img", dtype="float32")
    assert read(path).in_file_units("f8").max() == pytest.approx(
        20 * scene.gain + scene.offset, rel=1e-6
    )


def test_a_type_that_a_format_lacks_is_refused(tmp_path):
    scene = Scene.from_raw("s", np.random.default_rng(0).random((3, 4, 5)))
    with pytest.raises(DataError, match=r"a.pix: PCIDSK has no type float64; pass dtype="):
        write_scene(scene, tmp_path / "a.pix", dtype="float64")
    with pytest.raises(DataError, match=r"a.img: ENVI has no type float16"):
        write_scene(scene, tmp_path / "a.img", dtype="float16")
    with pytest.raises(DataError, match=r"dtype=complex64; pass a type of real numbers"):
        write_scene(scene, tmp_path / "a.img", dtype="complex64")
    assert not list(tmp_path.iterdir())


def test_a_tiff_of_ours_needs_no_gdal_to_be_read(tmp_path, monkeypatch):
    scene = full_scene("int16")
    scene = replace(scene, file=replace(scene.file, georeference=None))
    path = write_scene(scene, tmp_path / "a.tif")
    with_gdal = read(path)
    monkeypatch.setattr("datamodules.formats.tiff.has_rasterio", lambda: False)
    monkeypatch.setitem(sys.modules, "datamodules.formats.geo", None)
    without = read(path)
    assert without.file == with_gdal.file
    assert without.bad_bands == with_gdal.bad_bands
    for field in ("cube", "valid", "wavelengths", "fwhm"):
        np.testing.assert_array_equal(getattr(without, field), getattr(with_gdal, field))
