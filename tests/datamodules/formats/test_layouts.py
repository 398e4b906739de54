"""Files as satellites, cameras and other programs lay them out.

Those of EMIT, PRISMA and NEON are written here after their documentation: no real file was at hand.
"""

import warnings

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from datamodules import DataError, read_cube, read_scene
from datamodules.formats.content import LONGEST
from datamodules.scene import DataNote, NoCubeError

CUBE = np.random.default_rng(4).integers(1, 4000, (5, 20, 30)).astype("u2")
NM = np.array([400.0, 500, 600, 700, 800])


def same(path, expected=CUBE, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNote)
        cube, nm = read_cube(path, **options)
    np.testing.assert_array_equal(cube, expected)
    return nm


def test_emit(tmp_path):
    values = CUBE.transpose(1, 2, 0).astype("f4") / 4000
    values[:3] = -9999
    with h5py.File(tmp_path / "EMIT.nc", "w") as file:
        item = file.create_dataset("reflectance", data=values)
        item.attrs["_FillValue"] = np.float32([-9999])
        item.attrs["units"] = "unitless"
        for name, size in (("downtrack", 20), ("crosstrack", 30), ("bands", 5)):
            scale = file.create_dataset(name, data=np.zeros(size))
            scale.make_scale("This is a netCDF dimension but not a netCDF variable.")
        for place, name in enumerate(("downtrack", "crosstrack", "bands")):
            item.dims[place].attach_scale(file[name])
        file["sensor_band_parameters/wavelengths"] = NM
        file["sensor_band_parameters/wavelengths"].attrs["units"] = "nm"
        file["sensor_band_parameters/fwhm"] = np.full(5, 8.4)
        file["sensor_band_parameters/good_wavelengths"] = np.array([1, 1, 0, 1, 1], "u1")
        file["location/lat"] = np.zeros((20, 30))
        file["location/glt_x"] = np.zeros((22, 33), "i4")
    with pytest.warns(DataNote, match="nodata is -9999"):
        scene = read_scene(tmp_path / "EMIT.nc")
    assert scene.shape == (5, 20, 30)
    assert scene.wavelengths.tolist() == NM.tolist()
    assert scene.fwhm.tolist() == [8.4] * 5
    assert scene.bad_bands == (2,)
    assert scene.file.header["units"] == "unitless"
    assert not scene.valid[:3].any()
    assert scene.valid[3:].all()


def test_prisma(tmp_path):
    fields = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"
    with h5py.File(tmp_path / "PRS.he5", "w") as file:
        file[f"{fields}/VNIR_Cube"] = CUBE.transpose(1, 0, 2)  # rows, bands, columns
        file[f"{fields}/SWIR_Cube"] = CUBE.transpose(1, 0, 2) + 1
        file.attrs["List_Cw_Vnir"] = NM[::-1].astype("f4")
        file.attrs["List_Cw_Vnir_Flags"] = np.array([1, 1, 1, 1, 0])
        file.attrs["List_Fwhm_Vnir"] = np.full(5, 11.0, "f4")
        file.attrs["List_Cw_Swir"] = np.linspace(1000, 2500, 5).astype("f4")
    with pytest.raises(DataError, match=r"2 variables could be the cube.*SWIR_Cube.*VNIR_Cube"):
        read_scene(tmp_path / "PRS.he5")
    with pytest.warns(DataNote, match="1 bad bands are left out: 5"):
        scene = read_scene(tmp_path / "PRS.he5", key="VNIR_Cube")
    np.testing.assert_array_equal(scene.in_file_units("u2"), CUBE)
    assert scene.wavelengths.tolist() == NM[::-1].tolist()
    assert scene.fwhm.tolist() == [11] * 5
    swir = read_scene(tmp_path / "PRS.he5", key=f"{fields}/SWIR_Cube")
    assert swir.wavelengths.tolist() == np.linspace(1000, 2500, 5).tolist()
    assert swir.bad_bands == ()


def test_neon(tmp_path):
    values = CUBE.transpose(1, 2, 0).astype("i2")
    values[0] = -9999
    with h5py.File(tmp_path / "NEON.h5", "w") as file:
        item = file.create_dataset("SJER/Reflectance/Reflectance_Data", data=values)
        item.attrs["Data_Ignore_Value"] = -9999.0
        item.attrs["Scale_Factor"] = 10000.0
        place = "SJER/Reflectance/Metadata"
        file[f"{place}/Spectral_Data/Wavelength"] = NM
        file[f"{place}/Spectral_Data/Wavelength"].attrs["Units"] = "nanometers"
        file[f"{place}/Spectral_Data/FWHM"] = np.full(5, 5.9)
        file[f"{place}/Coordinate_System/Map_Info"] = (
            "UTM,  1.000,  1.000,  257000.00,  4112000.0,  1.0,  1.0,  11,  North,  WGS-84,  "
            "units=Meters"
        )
        file[f"{place}/Coordinate_System/EPSG Code"] = "32611"
        file[f"{place}/to-sensor_Zenith_Angle"] = np.zeros((20, 30), "f4")
    with pytest.warns(DataNote, match=r"30 of 600 pixels \(5 %\)"):
        scene = read_scene(tmp_path / "NEON.h5")
    assert scene.shape == (5, 20, 30)
    assert scene.wavelengths.tolist() == NM.tolist()
    assert scene.fwhm.tolist() == [5.9] * 5
    assert scene.file.scale_factor == 1e-4
    assert scene.file.georeference.crs == "EPSG:32611"
    assert scene.file.georeference.transform == (1, 0, 257000, 0, -1, 4112000)


def test_xarray_with_cf_conventions(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        item = file.create_dataset("radiance", data=CUBE)
        item.attrs["grid_mapping"] = "spatial_ref"
        item.attrs["scale_factor"], item.attrs["add_offset"] = 0.5, 10.0
        for name, values in (("wavelength", NM), ("y", np.arange(20.0)), ("x", np.arange(30.0))):
            file[name] = values
            file[name].make_scale(name)
        for place, name in enumerate(("wavelength", "y", "x")):
            item.dims[place].attach_scale(file[name])
        grid = file.create_dataset("spatial_ref", data=0)
        grid.attrs["crs_wkt"] = 'PROJCS["WGS 84 / UTM zone 33N"]'
        grid.attrs["GeoTransform"] = "300000.0 2.0 0.0 4000000.0 0.0 -2.0"
    scene = read_scene(tmp_path / "a.nc")
    assert (scene.file.axes, scene.file.scale_factor, scene.file.add_offset) == ("BHW", 0.5, 10)
    np.testing.assert_array_equal(scene.in_file_units("u2"), CUBE)  # as stored
    assert scene.file.georeference.transform == (2, 0, 300000, 0, -2, 4000000)
    assert scene.wavelengths.tolist() == NM.tolist()


@pytest.mark.parametrize("ending", [".nc4", ".hdf", ".H5", "", ".anything"])
def test_hdf5_is_found_by_its_content(tmp_path, ending):
    with h5py.File(tmp_path / f"a{ending}", "w") as file:
        file["cube"] = CUBE
    same(tmp_path / f"a{ending}")


@pytest.mark.parametrize(
    ("start", "message"), [(b"CDF\x01", "nccopy -k nc4"), (b"\x0e\x03\x13\x01", "h4toh5")]
)
def test_older_relatives_of_hdf5_are_named(tmp_path, start, message):
    (tmp_path / "a.nc").write_bytes(start + b"\0" * 99)
    with pytest.raises(DataError, match=message):
        read_cube(tmp_path / "a.nc")


def test_links_are_followed_and_those_that_lead_nowhere_passed_over(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["cube"] = CUBE
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["here"] = h5py.ExternalLink("other.h5", "/cube")
        file["again"] = h5py.SoftLink("/here")
        file["gone"] = h5py.ExternalLink("gone.h5", "/cube")
        file["loop/back"] = h5py.SoftLink("/")
    same(tmp_path / "a.h5")
    same(tmp_path / "a.h5", key="/again")


def test_axes_of_length_one_are_squeezed(tmp_path):
    np.save(tmp_path / "a.npy", CUBE[None])
    same(tmp_path / "a.npy")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["batch"] = CUBE[None, :, None]
    same(tmp_path / "a.h5")


def test_errors_of_large_files_stay_short(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(400):
            file[f"a/long/name/of/a/group/{number}"] = np.zeros((3, 4, 5))
    with pytest.raises(DataError, match=r"400 variables could be the cube.* more") as caught:
        read_cube(tmp_path / "a.h5")
    assert len(str(caught.value)) < LONGEST + 400


HWB = CUBE.transpose(1, 2, 0)
STRUCT = {"hyper": {"cube": HWB, "wavelength": NM, "unit": "nm", "mask": HWB[..., 0]}}


@pytest.mark.parametrize("key", [None, "hyper", "hyper.cube", "hyper/cube", "cube"])
def test_structs_of_matlab_5(tmp_path, key):
    scipy.io.savemat(tmp_path / "a.mat", STRUCT)
    assert same(tmp_path / "a.mat", key=key).tolist() == NM.tolist()


@pytest.mark.parametrize("key", ["scenes{2}", "scenes/1", "scenes(2)"])
def test_cells_of_matlab_5(tmp_path, key):
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = HWB + 1, HWB
    scipy.io.savemat(tmp_path / "a.mat", {"scenes": cell})
    same(tmp_path / "a.mat", key=key)
    with pytest.raises(DataError, match=r"2 variables could be the cube: scenes/0 .*scenes/1"):
        read_cube(tmp_path / "a.mat")


@pytest.mark.parametrize("key", [None, "scenes", "scenes{1}"])
def test_cells_of_matlab_73(tmp_path, key):
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        target = file.create_dataset("#refs#/a", data=HWB.T)
        target.attrs["MATLAB_class"] = np.bytes_("uint16")
        file.create_dataset("scenes", (1, 1), dtype=h5py.ref_dtype)[0, 0] = target.ref
        file["scenes"].attrs["MATLAB_class"] = np.bytes_("cell")
    same(tmp_path / "a.mat", key=key)


def test_pages_that_may_be_rows_are_told(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", HWB, photometric="minisblack")
    with pytest.warns(DataNote, match=r"20 bands \(pages\) x 30 x 5; say axes='HWB'"):
        assert read_cube(tmp_path / "a.tif")[0].shape == (20, 30, 5)
    same(tmp_path / "a.tif", axes="HWB")


def test_a_page_without_a_place_is_no_cube_and_with_one_a_single_band(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")
    tifffile.imwrite(tmp_path / "a.tif", CUBE[0])
    with pytest.raises(NoCubeError, match="has one page"):
        read_cube(tmp_path / "a.tif")
    sizes = {"count": 1, "height": 20, "width": 30, "dtype": "uint16", "nodata": 0}
    with rasterio.open(tmp_path / "b.tif", "w", **sizes) as file:
        file.write(CUBE[:1])
    same(tmp_path / "b.tif", CUBE[:1])


def test_an_erdas_image_needs_no_header(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")
    sizes = {"count": 5, "height": 20, "width": 30, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.img", "w", driver="HFA", **sizes) as file:
        file.write(CUBE)
    same(tmp_path / "a.img")


@pytest.mark.parametrize(
    ("name", "nm"),
    [
        ("w{}nm", NM),
        ("S0.{},000000nm", NM),
        ("T.{},0nm", NM),
        ("spec.{}nm", NM),
        ("{}", None),
    ],
)
def test_names_of_exr_channels(tmp_path, name, nm):
    openexr = pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
    bands = CUBE.astype("f4") / 4000
    channels = {name.format(int(w)): band for w, band in zip(NM, bands, strict=True)}
    channels |= {"R": bands[0], "G": bands[1], "B": bands[2]}
    if name.startswith("S0"):
        channels |= {
            key.replace("S0", "S1"): band + 1 for key, band in channels.items() if "S0" in key
        }
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, channels).write(str(tmp_path / "a.exr"))
    found = same(tmp_path / "a.exr", bands)
    assert found is None if nm is None else found.tolist() == nm.tolist()


def test_two_layers_of_an_exr_are_told_apart(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
    bands = CUBE.astype("f4")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    channels = {f"a.{int(w)}nm": b for w, b in zip(NM, bands, strict=True)}
    channels |= {f"b.{int(w)}nm": b for w, b in zip(NM, bands, strict=True)}
    openexr.File(header, channels).write(str(tmp_path / "a.exr"))
    with pytest.raises(DataError, match=r"several layers of bands \(a, b\)"):
        read_cube(tmp_path / "a.exr")


@pytest.mark.parametrize(
    ("names", "nm"),
    [
        ([f"band_{w}nm.png" for w in (410, 443, 490, 560, 665)], [410, 443, 490, 560, 665]),
        ([f"{w}.5nm.png" for w in (400, 410, 420, 430, 440)], [400.5, 410.5, 420.5, 430.5, 440.5]),
        ([f"s12_b{i}_{400 + 10 * i}nm.png" for i in range(5)], [400, 410, 420, 430, 440]),
        ([f"b{i}_512x512.png" for i in range(5)], None),
        ([f"2026-11-30_{i}.png" for i in range(5)], None),
    ],
)
def test_names_of_pngs(tmp_path, names, nm):
    for band, name in zip(CUBE, names, strict=True):
        Image.fromarray(band).save(tmp_path / name)
    found = same(tmp_path)
    assert found is None if nm is None else found.tolist() == nm


def test_a_preview_in_colours_beside_the_bands_is_passed_over(tmp_path):
    for number, band in enumerate(CUBE):
        Image.fromarray(band).save(tmp_path / f"b{number}.png")
    Image.fromarray(np.zeros((20, 30, 3), "u1")).save(tmp_path / "preview.png")
    with pytest.warns(DataNote, match=r"preview.png has no number and is in colours: passed over"):
        assert read_cube(tmp_path)[0].shape == (5, 20, 30)


@pytest.mark.parametrize("mode", ["P", "LA"])
def test_pngs_with_a_palette_or_an_alpha_channel(tmp_path, mode):
    small = (CUBE >> 4).astype("u1")
    for number, band in enumerate(small):
        Image.fromarray(band).convert(mode).save(tmp_path / f"b{number}.png")
    same(tmp_path, small)


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_stores_of_others(tmp_path, version):
    zarr = pytest.importorskip("zarr", reason="the extra [zarr] is not installed")
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=version)
    group = root.create_group("vnir")
    names = None if version == 2 else ("y", "x", "band")
    array = group.create_array("cube", data=CUBE.transpose(1, 2, 0), dimension_names=names)
    if version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x", "band"]
    array.attrs["_FillValue"] = 0
    group.create_array("wavelength", data=NM)
    assert same(tmp_path / "a.zarr").tolist() == NM.tolist()
    assert same(tmp_path / "a.zarr", key="vnir/cube").tolist() == NM.tolist()
    assert read_scene(tmp_path / "a.zarr").file.nodata == 0
