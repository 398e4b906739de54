"""ENVI headers as people have them: what is read, and what an error names."""

import gzip

import numpy as np
import pytest

from datamodules import DataError, Scene, read_cube, read_scene, write_scene
from datamodules.scene import DataNote, NoCubeError

CUBE = np.arange(3 * 4 * 5, dtype="<u2").reshape(3, 4, 5)
BYTES = CUBE.tobytes()
FIELDS = {
    "samples": "5",
    "lines": "4",
    "bands": "3",
    "header offset": "0",
    "data type": "12",
    "interleave": "bsq",
    "byte order": "0",
}


def put(folder, name="a.raw", data=BYTES, header="a.hdr", text="", **changes):
    fields = FIELDS | {key.replace("_", " "): value for key, value in changes.items()}
    lines = [f"{key} = {value}" for key, value in fields.items() if value is not None]
    (folder / name).write_bytes(data)
    content = "\n".join(["ENVI", *lines, text]) + "\n"
    (folder / header).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def same(path, **options):
    return np.allclose(read_cube(path, **options)[0], CUBE, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("word", "axes"), [("Bil", (1, 0, 2)), ("BIP", (1, 2, 0)), ("Bsq", (0, 1, 2))]
)
def test_the_case_of_the_interleave_is_no_matter(tmp_path, word, axes):
    assert same(put(tmp_path, data=CUBE.transpose(axes).tobytes(), interleave=word))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interleave": "tile"}, "a.hdr: line 7 says interleave = tile, none of bsq, bil and bip"),
        ({"data_type": "99"}, "a.hdr: line 6 says data type = 99, none of 1, 2"),
        ({"byte_order": "2"}, "a.hdr: line 8 says byte order = 2, not 0 or 1"),
        ({"bands": "three"}, "a.hdr: line 4 says bands = three, expected a whole number from 1"),
        ({"bands": "2.5"}, "a.hdr: line 4 says bands = 2.5"),
        ({"lines": "0"}, "a.hdr: line 3 says lines = 0, expected a whole number from 1"),
        ({"lines": None}, "a.hdr: has no line 'lines = ...'; add it"),
        ({"lines": None, "text": "lnies = 4"}, "no line 'lines = ...'; line 8 says 'lnies'"),
        ({"text": "data ignore value = x"}, "a.hdr: line 9 says data ignore value = x"),
        ({"text": "bbl = {1, x, 1}"}, "a.hdr: line 9 says bbl"),
        ({"text": "reflectance scale factor = 0"}, "line 9 says reflectance scale factor = 0"),
        ({"text": "wavelength = {400, 500"}, "line 9 opens a brace for 'wavelength' that is never"),
        ({"text": "what is this"}, "a.hdr: line 9 is 'what is this', expected 'name = value'"),
        ({"text": "bands = 4"}, "a.hdr: line 9 gives 'bands' again, and differs from line 4"),
        ({"text": "major frame offsets = {4, 0}"}, "line 9 says major frame offsets"),
        ({"data_type": "4"}, "is cut off: copy it again, or a.hdr is of another file"),
        ({"data_type": "1"}, r"120 bytes, but its header says 60 .*correct 'data type' \(line 6\)"),
    ],
)
def test_an_error_names_the_line(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_cube(put(tmp_path, **changes))


def test_no_byte_order_is_little_endian_and_told(tmp_path):
    with pytest.warns(DataNote, match=r"a.hdr has no byte order: 0 \(little-endian\) is taken"):
        assert same(put(tmp_path, byte_order=None, header_offset=None))


def test_no_interleave_is_that_of_the_ending_and_told(tmp_path):
    path = put(tmp_path, "a.bil", CUBE.transpose(1, 0, 2).tobytes(), interleave=None)
    with pytest.warns(DataNote, match="a.hdr has no interleave: bil is taken"):
        assert same(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "gbk"])
def test_headers_of_any_encoding(tmp_path, encoding):
    path = put(tmp_path)
    text = (tmp_path / "a.hdr").read_text()
    operator = "高光谱" if encoding == "gbk" else "Muñoz, 23 °C"
    text += f"description = {{{operator}}}\nwavelength = {{0.45, 0.55, 0.65}}\n"
    text += "wavelength units = µm\n" if encoding != "gbk" else ""
    (tmp_path / "a.hdr").write_bytes(text.encode(encoding))
    cube, nm = read_cube(path)
    assert np.array_equal(cube, CUBE)
    np.testing.assert_allclose(nm, [450, 550, 650])


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_anywhere_and_values_be_untidy(tmp_path, newline):
    path = put(tmp_path)
    lines = [
        "ENVI",
        "; a comment",
        "SAMPLES\t=\t5",
        "lines=4",
        "bands = 3.0",
        "data  type = 12 ; unsigned",
        'interleave = "BSQ"',
        "byte order = 0",
        "wavelength =",
        "{400, 500,",
        "600,}",
    ]
    (tmp_path / "a.hdr").write_bytes(newline.join(lines).encode())
    cube, nm = read_cube(path)
    assert np.array_equal(cube, CUBE)
    assert nm.tolist() == [400, 500, 600]


def test_compressed_data_is_unpacked(tmp_path):
    packed = gzip.compress(CUBE.tobytes())
    assert same(put(tmp_path, data=packed, text="file compression = 1"))
    with pytest.raises(DataError, match="60 uncompressed bytes, but its header says 120"):
        read_cube(
            put(tmp_path, data=gzip.compress(CUBE.tobytes()[:60]), text="file compression = 1")
        )


def test_a_few_bytes_more_are_told(tmp_path):
    with pytest.warns(DataNote, match="a.raw has 3 bytes behind its numbers"):
        assert same(put(tmp_path, data=CUBE.tobytes() + b"end"))


def test_a_spectral_library_is_no_cube_and_classes_are_told(tmp_path):
    with pytest.raises(NoCubeError, match="spectral library"):
        read_cube(put(tmp_path, text="file type = ENVI Spectral Library"))
    with pytest.warns(DataNote, match="classes, not measurements"):
        read_cube(put(tmp_path, text="file type = ENVI Classification"))


@pytest.mark.parametrize(
    ("data", "header"),
    [
        ("a", "a.hdr"),
        ("a.img", "a.img.hdr"),
        ("A.IMG", "A.HDR"),
        ("a.raw", "a.raw.HDR"),
        ("a.Raw", "a.Hdr"),
        ("f08.v1.img", "f08.v1.hdr"),
        ("a.rfl", "a.hdr"),
        ("a.anything", "a.hdr"),
        ("场景 1.dat", "场景 1.hdr"),
    ],
)
def test_any_file_beside_its_header(tmp_path, data, header):
    put(tmp_path, data, header=header)
    assert same(tmp_path / data)
    assert same(tmp_path / header)


def test_the_header_of_the_full_name_wins(tmp_path):
    put(tmp_path, "a.img", header="a.img.hdr")
    other = np.full((2, 4, 5), 7, "<u2")
    put(tmp_path, "a.raw", other.tobytes(), bands="2")
    assert same(tmp_path / "a.img")
    assert same(tmp_path / "a.img.hdr")
    for name in ("a.raw", "a.hdr"):
        assert np.array_equal(read_cube(tmp_path / name)[0], other)


def test_links_lead_to_both_files_of_a_pair(tmp_path):
    (tmp_path / "far").mkdir()
    put(tmp_path / "far")
    (tmp_path / "b.hdr").symlink_to(tmp_path / "far" / "a.hdr")
    (tmp_path / "c.raw").symlink_to(tmp_path / "far" / "a.raw")
    assert same(tmp_path / "b.hdr")
    assert same(tmp_path / "c.raw")


def test_a_header_of_another_file_is_not_taken(tmp_path):
    put(tmp_path, "a.raw")
    (tmp_path / "a.img").write_bytes(CUBE.astype("<f4").tobytes())
    with pytest.raises(DataError, match=r"a.img: a.hdr beside it is of a.raw: sizes differ"):
        read_cube(tmp_path / "a.img")
    assert same(tmp_path / "a.hdr")  # its size tells whose it is
    (tmp_path / "a.img").write_bytes(CUBE.tobytes())
    with pytest.warns(DataNote, match="a.hdr may be of a.img as well"):
        assert same(tmp_path / "a.raw")


@pytest.mark.parametrize("new", ["x.img", "x.dat", "x.bsq"])
def test_writing_keeps_the_header_of_another_file(tmp_path, new):
    raw = put(tmp_path, "x.raw", CUBE.transpose(1, 0, 2).tobytes(), "x.hdr", interleave="bil")
    before = (tmp_path / "x.hdr").read_bytes()
    scene = read_scene(raw)
    write_scene(scene, tmp_path / new)
    assert (tmp_path / "x.hdr").read_bytes() == before
    assert (tmp_path / f"{new}.hdr").exists()
    assert same(raw)
    assert same(tmp_path / new)
    write_scene(scene, tmp_path / new)  # again, over itself
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(
        {"x.raw", "x.hdr", new, f"{new}.hdr"}
    )


def test_writing_a_header_that_is_another_files_is_refused(tmp_path):
    raw = put(tmp_path, "x.raw", header="x.hdr")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(DataError, match=r"x.hdr: x.raw beside it would take this header"):
        write_scene(read_scene(raw), tmp_path / "x.hdr")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write_scene(read_scene(raw), raw)  # its own is replaced
    assert same(raw)


@pytest.mark.parametrize("ending", ["bil", "bip", "bsq"])
def test_the_interleave_is_that_of_the_ending(tmp_path, ending):
    write_scene(Scene.from_raw("s", CUBE), tmp_path / f"a.{ending}")
    assert f"interleave = {ending}\n" in (tmp_path / "a.hdr").read_text()
    assert same(tmp_path / f"a.{ending}")


def test_every_field_of_the_header_comes_back(tmp_path):
    text = (
        "description = {a flight, on a day}\nsensor type = AVIRIS-NG\n"
        "map info = {UTM, 1, 1, 500000, 4000000, 2, 2, 11, North, WGS-84, units=Meters}\n"
        "reflectance scale factor = 10000\ndata ignore value = 59\nbbl = {1, 0, 1}\n"
        "wavelength units = Micrometers\nwavelength = {0.4, 0.5, 0.6}\nfwhm = {.01, .01, .02}\n"
    )
    first = read_scene(
        put(tmp_path, data=CUBE.transpose(1, 2, 0).tobytes(), interleave="bip", text=text)
    )
    assert first.file.scale_factor == 1e-4
    assert first.bad_bands == (1,)
    np.testing.assert_allclose(first.fwhm, [10, 10, 20])
    place = first.file.georeference
    assert place.crs == "EPSG:32611"
    assert place.transform == (2, 0, 500000, 0, -2, 4000000)
    second = read_scene(write_scene(first, tmp_path / "b.img"))
    assert second.file == first.file
    assert second.file.header["sensor type"] == "AVIRIS-NG"
    assert second.file.header["description"] == "{a flight, on a day}"
    np.testing.assert_array_equal(second.cube, first.cube)
    np.testing.assert_array_equal(second.wavelengths, first.wavelengths)
    np.testing.assert_array_equal(second.fwhm, first.fwhm)
    np.testing.assert_array_equal(second.valid, first.valid)
    assert second.bad_bands == first.bad_bands
