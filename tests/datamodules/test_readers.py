"""Readers: every value of every format at its place, and what is refused."""

import struct
import sys
import zlib
from itertools import pairwise

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from datamodules import DataError, Scene, read_cube, read_scene, read_variable
from datamodules.scene import DataNote

NM = [400.5, 410, 425, 700, 1000]
# counts [5, 7, 9], every one another, up to the largest of 16 bits
COUNTS = np.random.default_rng(5).permutation(65536)[: 5 * 7 * 9].reshape(5, 7, 9).astype("uint16")
COUNTS[4, 6, 8] = 65535
HWB = COUNTS.transpose(1, 2, 0)


def check(path, expected=COUNTS, wavelengths=None, **options):
    cube, found = read_cube(path, **options)
    assert cube.dtype == np.float32
    assert cube.flags.c_contiguous
    assert cube.flags.writeable
    np.testing.assert_array_equal(cube, expected.astype(np.float32))
    if wavelengths is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, wavelengths, rtol=1e-12)


def refuse(path, *words, **options):
    with pytest.raises(DataError) as caught:
        read_cube(path, **options)
    for word in (str(path), *words):
        assert word in str(caught.value)


def cut(path, fraction=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])


# .mat


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["uint16", "float64", "int32"])
def test_mat_v5_is_taken_as_matlab_shows_it(tmp_path, dtype, compressed):
    others = {
        "rgb": HWB[..., 0],
        "line": HWB[:1],
        "note": "text",
        "bands": np.array([NM]),
        "gain": 2.0,
    }
    scipy.io.savemat(
        tmp_path / "a.mat", {"rad": HWB.astype(dtype), **others}, do_compression=compressed
    )
    check(tmp_path / "a.mat", wavelengths=NM)


def test_integers_do_not_wrap(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": HWB})
    scene = read_scene(tmp_path / "a.mat")
    assert (scene.name, scene.offset) == ("a", COUNTS.min())
    assert scene.offset + scene.gain == 65535
    values = COUNTS.astype("float64")
    expected = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(scene.cube, expected, rtol=0, atol=1e-6)


def write_v73(path, **variables):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["#refs#/a"] = np.zeros((3, 4, 5))
        for name, values in variables.items():
            file[name] = np.asarray(values).T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
        file["note"] = np.zeros((2, 3, 4), "uint16")
        file["note"].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def test_mat_v73_has_its_axes_turned_back(tmp_path):
    write_v73(tmp_path / "a.mat", rad=HWB.astype("float64"), bands=np.array([NM]))
    check(tmp_path / "a.mat", wavelengths=NM)
    assert read_variable(tmp_path / "a.mat", "rad").shape == (7, 9, 5)
    check(tmp_path / "a.mat", HWB, axes="BHW")


def test_mat_v73_that_matlab_did_not_write_is_as_it_is_stored(tmp_path):
    for stored in (HWB, COUNTS):
        with h5py.File(tmp_path / "a.mat", "w") as file:
            file["rad"] = stored
        check(tmp_path / "a.mat")


def test_two_variables_that_fit_are_listed(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"gt": HWB, "input": HWB + 1, "mask": HWB[..., 0]})
    refuse(tmp_path / "a.mat", "gt (7, 9, 5) uint16", "input (7, 9, 5)", "key=")
    check(tmp_path / "a.mat", key="gt")
    refuse(tmp_path / "a.mat", "'rad'", "gt (7, 9, 5)", "mask (7, 9)", key="rad")
    refuse(tmp_path / "a.mat", "three axes", "(7, 9)", key="mask")


def test_no_variable_that_fits_lists_those_there_are(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"Y": HWB.reshape(63, 5), "s": "text"})
    refuse(tmp_path / "a.mat", "Y (63, 5) uint16", "s (1,) char", "key=")
    assert read_variable(tmp_path / "a.mat", "Y").dtype == np.uint16
    refuse(tmp_path / "a.mat", "real numbers", key="s")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_complex_cubes_are_refused(tmp_path, version):
    path = tmp_path / "a.mat"
    if version == "5":
        scipy.io.savemat(path, {"x": HWB + 1j})
        refuse(path, "complex128", "real part")
    else:
        write_v73(path, x=HWB.astype([("real", "f8"), ("imag", "f8")]))
        refuse(path, "x (7, 9, 5)", "real numbers")


def write_any(path, kind):
    if kind.startswith("v5"):
        scipy.io.savemat(path, {"rad": HWB}, do_compression="compressed" in kind)
    elif kind == "v7.3":
        write_v73(path, rad=HWB)
    elif kind == "zlib.tif":
        tifffile.imwrite(path, COUNTS, photometric="minisblack", compression="zlib")
    elif kind == ".tif":
        bands = [Image.fromarray(band) for band in COUNTS]
        bands[0].save(path, save_all=True, append_images=bands[1:])
    else:
        save(path, COUNTS)


@pytest.mark.parametrize(
    "kind", ["v5", "v5 compressed", "v7.3", ".h5", ".npy", ".npz", ".tif", "zlib.tif"]
)
def test_a_file_cut_off_is_named_and_never_read_wrongly(tmp_path, kind):
    path = tmp_path / ("a.mat" if kind.startswith("v") else f"a{kind}")
    write_any(path, kind)
    check(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), *range(len(whole) - 9, len(whole))]:
        path.write_bytes(whole[:size])
        if size <= len(whole) * 0.6:
            refuse(path, "copy it again")
            continue
        try:  # what is lost may be padding
            check(path)
        except DataError as error:
            assert f"{path}: " in str(error)  # noqa: PT017


def test_a_web_page_named_mat_is_refused(tmp_path):
    (tmp_path / "a.mat").write_text("<!DOCTYPE html><title>403</title>" * 20)
    refuse(tmp_path / "a.mat", "another format")


@pytest.mark.parametrize(
    ("stored", "nm"),
    [
        (NM, NM),
        (np.array(NM) / 1e3, NM),
        (range(1, 6), None),
        ([0.1, 0.2, 0.3, 0.4, 0.5], None),
        (NM[:4], None),
        ([np.nan, *NM[1:]], None),
    ],
)
@pytest.mark.parametrize("name", ["Wavelengths", "wavelength", "lambda", "bands"])
def test_wavelengths_are_a_variable_of_one_plausible_value_a_band(tmp_path, name, stored, nm):
    np.savez(tmp_path / "a.npz", x=COUNTS, **{name: np.array(stored)})
    check(tmp_path / "a.npz", wavelengths=nm)


# .h5, .npz, .npy


def test_hdf5_datasets_may_lie_in_groups(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scene/cube"] = HWB
        file["scene/wavelengths"] = NM
        file["mask"] = np.zeros((7, 9, 5), bool)
    check(tmp_path / "a.h5", wavelengths=NM)
    check(tmp_path / "a.h5", key="scene/cube", wavelengths=NM)


@pytest.mark.parametrize("axes", ["BHW", "HBW", "HWB"])
@pytest.mark.parametrize("ending", [".npy", ".npz", ".hdf5"])
def test_the_smallest_axis_holds_the_bands(tmp_path, ending, axes):
    path = tmp_path / f"a{ending}"
    array = COUNTS.transpose(["BHW".index(axis) for axis in axes])
    save(path, array)
    check(path)


def save(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array)
    else:
        with h5py.File(path, "w") as file:
            file["x"] = array


@pytest.mark.parametrize("ending", [".npy", ".npz", ".hdf5"])
def test_equal_sizes_ask_for_the_axes(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    square = COUNTS[:, :5, :]
    save(path, square)
    refuse(path, "(5, 5, 9)", "axes=")
    check(path, square, axes="BHW")
    check(path, square.transpose(2, 1, 0), axes="WHB")


def test_axes_are_the_three_letters(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    refuse(tmp_path / "a.npy", "'CHW'", "B, H and W", axes="CHW")


def test_a_key_is_refused_where_there_are_no_names(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    refuse(tmp_path / "a.npy", "key='x'", key="x")


def test_fortran_order_and_big_endian_npy(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(COUNTS.astype(">u2")))
    check(tmp_path / "a.npy")


@pytest.mark.parametrize("values", [COUNTS + 1j, COUNTS > 9, COUNTS.astype(str)])
def test_other_than_real_numbers_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    refuse(tmp_path / "a.npy", str(values.dtype), "real numbers")


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS.astype(object), allow_pickle=True)
    refuse(tmp_path / "a.npy", "holds Python objects")


# TIFF, PCIDSK


def test_all_pages_of_a_tiff_are_bands(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS, photometric="minisblack")
    check(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", COUNTS, imagej=True, metadata={"axes": "ZYX"})
    check(tmp_path / "b.tif")


def test_pages_written_one_by_one_are_bands(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.TIFF") as file:
        for band in COUNTS:
            file.write(band, compression="zlib", contiguous=False)
    check(tmp_path / "a.TIFF")
    bands = [Image.fromarray(band) for band in COUNTS]
    bands[0].save(tmp_path / "b.tif", save_all=True, append_images=bands[1:])
    check(tmp_path / "b.tif")


def test_tiff_pages_of_two_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(COUNTS[0])
        file.write(COUNTS[1, 1:])
    refuse(tmp_path / "a.tif", "page 1 is (6, 9)", "page 0 is (7, 9)")


def test_a_tiff_of_one_page_is_no_cube(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", COUNTS[0])
    refuse(tmp_path / "a.tif", "one page, (7, 9)")


@pytest.mark.parametrize(
    "options",
    [
        {"interleave": "pixel"},
        {"interleave": "band"},
        {"compress": "lzw"},
        {"compress": "deflate", "predictor": 2, "interleave": "band"},
        {"compress": "deflate", "predictor": 3, "dtype": "float32"},
    ],
)
def test_the_samples_of_a_geotiff_are_bands(tmp_path, options):
    write_with_gdal(tmp_path / "a.tif", driver="GTiff", **options)
    check(tmp_path / "a.tif")


def test_overviews_of_a_geotiff_are_passed_over(tmp_path):
    write_with_gdal(tmp_path / "a.tif", driver="GTiff")
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.build_overviews([2])
    check(tmp_path / "a.tif")


def test_lzw_pages_are_read_by_gdal(tmp_path):
    pytest.importorskip("rasterio", reason="the extra [geo] is not installed")
    bands = [Image.fromarray(band) for band in COUNTS]
    bands[0].save(
        tmp_path / "a.tif", save_all=True, append_images=bands[1:], compression="tiff_lzw"
    )
    check(tmp_path / "a.tif")


def test_pcidsk(tmp_path):
    write_with_gdal(tmp_path / "a.pix", driver="PCIDSK")
    check(tmp_path / "a.pix")


def write_with_gdal(path, **options):
    rasterio = pytest.importorskip("rasterio", reason="the extra [geo] is not installed")
    place = rasterio.transform.from_origin(3e5, 4e6, 2, 2)
    options = {"count": 5, "height": 7, "width": 9, "dtype": "uint16", **options}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=place, **options) as file:
        file.write(COUNTS)


# ENVI


def write_envi(
    path, ending=".img", interleave="bsq", order="<", units="Nanometers", centres=NM, more=""
):
    axes = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    data = COUNTS.transpose(axes).astype(f"{order}u2").tobytes()
    path.with_name(path.stem + ending).write_bytes(b"\0" * 6 + data)
    lines = [
        "ENVI",
        "samples = 9",
        "lines = 7",
        "bands = 5",
        "header offset = 6",
        "data type = 12",
        f"interleave = {interleave}",
        f"byte order = {int(order == '>')}",
        more,
    ]
    if centres:
        lines += [f"wavelength units = {units}", f"wavelength = {{{', '.join(map(str, centres))}}}"]
    path.write_text("\n".join(line for line in lines if line) + "\n")


@pytest.fixture
def hdr(tmp_path):
    return tmp_path / "a.hdr"


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_envi_of_any_interleave_and_byte_order(hdr, interleave, order):
    write_envi(hdr, interleave=interleave, order=order)
    check(hdr, wavelengths=NM)
    check(hdr.with_suffix(".img"), wavelengths=NM)


@pytest.mark.parametrize("ending", [".raw", ".dat", ".BSQ", ".pix", ""])
def test_envi_data_files_of_other_endings(hdr, ending):
    write_envi(hdr, ending)
    check(hdr, wavelengths=NM)
    if ending != ".pix":
        check(hdr.with_name("a" + ending), wavelengths=NM)


def test_an_envi_header_may_keep_the_ending_of_its_data(hdr):
    write_envi(hdr)
    hdr.rename(hdr.with_name("a.img.hdr"))
    check(hdr.with_suffix(".img"), wavelengths=NM)
    check(hdr.with_name("a.img.hdr"), wavelengths=NM)


@pytest.mark.parametrize(
    ("units", "factor", "known"),
    [
        ("Micrometers", 1e-3, True),
        ("um", 1e-3, True),
        ("nm", 1, True),
        ("Unknown", 1, True),
        ("Unknown", 1e-3, True),
        ("Wavenumber", 1, False),
        ("Index", 1, False),
    ],
)
def test_envi_wavelengths_come_in_nm(hdr, units, factor, known):
    write_envi(hdr, units=units, centres=[value * factor for value in NM])
    check(hdr, wavelengths=NM if known else None)


def test_envi_without_wavelengths_and_with_a_scale_factor_gives_what_is_stored(hdr):
    write_envi(hdr, centres=(), more="reflectance scale factor = 10000")
    check(hdr)


def test_envi_with_half_a_pair_or_half_a_file(hdr):
    write_envi(hdr)
    data = hdr.with_suffix(".img")
    cut(data)
    refuse(data, "says 636", "bands x lines x samples 5 x 7 x 9", "cut off")
    (hdr.parent / "a.raw").write_bytes(b"")
    refuse(hdr, "there are 2", "a.img, a.raw")
    (hdr.parent / "a.raw").unlink()
    data.rename(hdr.parent / "b.img")
    refuse(hdr, "there are 0", ".img")
    refuse(hdr.parent / "b.img", "b.hdr", "b.img.hdr")
    hdr.write_text("nothing")
    (hdr.parent / "b.img").rename(data)
    refuse(hdr, "line 1 is 'nothing'", "begins with 'ENVI'")


# PNG


def write_pngs(folder, name="toy_ms_{}.png", first=1, bands=COUNTS):
    folder.mkdir()
    for number, band in enumerate(bands, first):
        Image.fromarray(band).save(folder / name.format(number))


def test_png_folder_is_in_the_order_of_its_numbers(tmp_path):
    write_pngs(tmp_path / "toy_ms", first=8)  # 8, 9, 10, 11, 12
    (tmp_path / "toy_ms" / "Thumbs.db").write_bytes(b"1")
    (tmp_path / "toy_ms" / "toy_RGB.bmp").write_bytes(b"1")
    (tmp_path / "toy_ms" / "._toy_ms_9.png").write_bytes(b"1")
    check(tmp_path / "toy_ms")
    assert read_scene(tmp_path / "toy_ms").name == "toy_ms"


def test_png_of_8_bits(tmp_path):
    small = (COUNTS >> 8).astype("uint8")
    write_pngs(tmp_path / "a", bands=small)
    check(tmp_path / "a", small)


def test_numbers_in_steps_are_a_sequence(tmp_path):
    write_pngs(tmp_path / "a")
    for number in range(1, 6):
        (tmp_path / "a" / f"toy_ms_{number}.png").rename(
            tmp_path / "a" / f"{390 + 10 * number}.PNG"
        )
    check(tmp_path / "a")
    (tmp_path / "a" / "430.PNG").unlink()
    refuse(tmp_path / "a", "4 PNG files numbered 400 to 440", "missing 430:")


def test_missing_and_doubled_bands_are_named(tmp_path):
    write_pngs(tmp_path / "a", "toy_{:02d}.png")
    (tmp_path / "a" / "toy_03.png").rename(tmp_path / "a" / "other_2.png")
    refuse(tmp_path / "a", "other_2.png and toy_02.png are both band 2")
    (tmp_path / "a" / "other_2.png").unlink()
    refuse(tmp_path / "a", "4 PNG files numbered 1 to 5", "missing 3:")


def test_a_png_of_another_size_and_a_damaged_one_are_named(tmp_path):
    write_pngs(tmp_path / "a")
    third = tmp_path / "a" / "toy_ms_3.png"
    whole = third.read_bytes()
    Image.fromarray(COUNTS[2, :6]).save(third)
    with pytest.raises(DataError, match=r"toy_ms_3.png: 6 x 9 pixels.* 7 x 9"):
        read_cube(tmp_path / "a")
    third.write_bytes(whole[:90])
    with pytest.raises(DataError, match=r"toy_ms_3.png: cannot be read as PNG"):
        read_cube(tmp_path / "a")


def test_an_empty_folder_and_names_without_numbers_are_refused(tmp_path):
    refuse(tmp_path, "0 PNG files")
    write_pngs(tmp_path / "a", bands=COUNTS[:2])
    (tmp_path / "a" / "toy_ms_1.png").rename(tmp_path / "a" / "toy.png")
    with pytest.raises(DataError, match=r"toy.png: no number"):
        read_cube(tmp_path / "a")


def write_colour(path, pixels):
    """A PNG [H, W, 3 or 4] of 8 or 16 bits, by the letter of its specification."""
    height, width, channels = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    step = channels * pixels.itemsize
    plain = [np.frombuffer(row.tobytes(), np.uint8) for row in rows]
    filtered = b"\x00" + plain[0].tobytes()
    for above, row in pairwise(plain):
        if len(filtered) % 2:
            filtered += b"\x02" + (row - above).tobytes()
        else:
            filtered += b"\x01" + np.r_[row[:step], row[step:] - row[:-step]].tobytes()
    header = struct.pack(
        ">IIBBBBB", width, height, 8 * pixels.itemsize, {3: 2, 4: 6}[channels], 0, 0, 0
    )
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(filtered)),
            (b"IEND", b""),
        ):
            checksum = zlib.crc32(name + content)
            file.write(struct.pack(">I", len(content)) + name + content)
            file.write(struct.pack(">I", checksum))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_coloured_bands_of_equal_channels_are_grey(tmp_path, dtype, channels):
    (tmp_path / "a").mkdir()
    bands = COUNTS if dtype == "uint16" else (COUNTS >> 8).astype("uint8")
    for number, band in enumerate(bands):
        pixels = np.stack([band] * channels, axis=-1)
        pixels[..., 3:] = np.iinfo(dtype).max  # opaque
        write_colour(tmp_path / "a" / f"{number}.png", pixels)
    check(tmp_path / "a", bands)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_coloured_bands_are_averaged_within_one_count_only(tmp_path, dtype):
    (tmp_path / "a").mkdir()
    pixels = np.full((2, 7, 9, 3), 100, dtype)
    pixels[0, 2, 3, 0] = 101
    for number in range(2):
        write_colour(tmp_path / "a" / f"{number}.png", pixels[number])
    expected = np.full((2, 7, 9), 100.0)
    expected[0, 2, 3] = np.float32(301 / 3)
    check(tmp_path / "a", expected)
    pixels[1, 2, 3, 1] = 98
    write_colour(tmp_path / "a" / "1.png", pixels[1])
    with pytest.raises(DataError, match=r"1.png: a colour picture.* 2 counts"):
        read_cube(tmp_path / "a")


# EXR


@pytest.fixture
def exr(tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra [exr] is not installed")
    return tmp_path / "a.exr"


def write_exr(path, channels):
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))


def test_exr_channels_are_sorted_by_number_and_rgb_left_out(exr):
    halves = (COUNTS / 65536).astype("float16")
    nm = [900, 950.5, 999, 1000, 1010]  # another order as text
    channels = {f"w{n}nm": band for n, band in zip(nm, halves, strict=True)}
    write_exr(exr, {**channels, "R": halves[0], "G": halves[1], "B": halves[2]})
    check(exr, halves, nm)


def test_exr_without_bands_lists_its_channels(exr):
    write_exr(exr, dict.fromkeys("RGB", COUNTS[0].astype("float32")))
    refuse(exr, "w420nm", "B, G, R")


def test_exr_cut_off(exr):
    write_exr(exr, {f"w{n}nm": b.astype("float16") for n, b in enumerate(COUNTS % 999, 400)})
    cut(exr)
    refuse(exr, "copy it again")


# any file


def test_what_is_not_there_is_named(tmp_path):
    refuse(tmp_path / "a.mat", "no such file")
    refuse(tmp_path / "a", "no such file")


def test_an_unknown_ending_lists_those_there_are(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    refuse(tmp_path / "a.jpg", "'.jpg'", ".mat", ".tif", ".hdr", ".exr", "one PNG per band")


@pytest.mark.parametrize(
    ("ending", "library", "module"),
    [(".exr", "OpenEXR", "exr"), (".pix", "rasterio", "geo")],
)
def test_a_missing_library_says_how_to_install_it(tmp_path, monkeypatch, ending, library, module):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"")
    monkeypatch.delitem(sys.modules, f"datamodules.formats.{module}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    refuse(path, f"needs {library}", f"pip install {library}")


def test_broken_values_are_left_out_and_told(tmp_path):
    values = COUNTS.astype("float32")
    values[3, 2, 1] = np.nan
    np.save(tmp_path / "a.npy", values)
    assert np.isnan(read_cube(tmp_path / "a.npy")[0][3, 2, 1])
    with pytest.warns(DataNote, match=r"a.npy: 1 of 315 values \(0.317 %\) hold nothing"):
        scene = read_scene(tmp_path / "a.npy")
    assert np.argwhere(~scene.valid).tolist() == [[3, 2, 1]]
    np.save(tmp_path / "a.npy", values * np.nan)
    with pytest.raises(DataError, match=r"a.npy: scene a: no value is valid"):
        read_scene(tmp_path / "a.npy")


def test_a_scene_may_have_another_name(tmp_path):
    np.save(tmp_path / "a.b.npy", COUNTS)
    assert read_scene(tmp_path / "a.b.npy").name == "a.b"
    scene = read_scene(str(tmp_path / "a.b.npy"), name="toy")
    assert isinstance(scene, Scene)
    assert scene.name == "toy"
