"""The inspector's page as a file: what it holds, how exactly, and how big it gets."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from lightning_ras2s.pages import viewer
from lightning_ras2s.pages.inspector import inspector_page
from lightning_ras2s.pages.packed import Blobs, Quantised
from lightning_ras2s.pages.viewer import Measure, band_with_signal, shrunk, what_fits
from tests.pages.toy_scene import toy_case, toy_images, toy_masks, toy_scene


class Held:
    """What a page holds."""

    def __init__(self, page):
        found = re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)[1]
        self.data = json.loads(found)
        self.blobs = re.findall(r'id="blob-\d+">(.)([^<]*)<', page)
        self.shape = (self.data["shape"][0], *self.data["size"])

    def codes(self, number, dtype=np.uint8):
        mark, text = self.blobs[number]
        codes = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype).reshape(self.shape)
        return np.cumsum(codes, axis=0, dtype=dtype) if mark == "+" else codes

    def cube(self, cube):
        codes = self.codes(cube["blob"], np.uint16 if self.data["bits"] == 16 else np.uint8)
        low, step = (np.array(cube[key])[:, None, None] for key in ("low", "step"))
        return low + step * codes


def test_the_page_holds_the_scene_within_half_a_step():
    images, masks = toy_images(7, 13, 9), toy_masks(7, 13, 9)
    held = Held(inspector_page("toy", toy_scene(images, masks=masks)))
    assert held.data["bits"] == 16
    (case,) = held.data["cases"]
    assert list(case["cubes"]) == ["Noisy", "Median", "RAS2S", "RAS2S+S"]
    for name, cube in (case["cubes"] | {"Clean": held.data["clean"]}).items():
        steps = np.ptp(images[name], axis=(1, 2)) / 65534
        np.testing.assert_allclose(cube["step"], steps, rtol=1e-5)
        error = np.abs(held.cube(cube) - images[name]).max(axis=(1, 2))
        assert (error <= 0.5001 * steps).all()
    assert set(case["masks"]) == {" ".join(key) for key in masks}
    for key, mask in masks.items():
        np.testing.assert_array_equal(held.codes(case["masks"][" ".join(key)]), mask)


def test_equal_arrays_are_held_once_and_smooth_ones_as_differences():
    blobs = Blobs()
    smooth = np.arange(50, dtype=np.uint8)[:, None, None] + np.zeros((1, 30, 30), np.uint8)
    rough = np.random.default_rng(0).integers(0, 256, (50, 30, 30), np.uint8)
    assert [blobs.put(each) for each in (smooth, rough, smooth.copy())] == [0, 1, 0]
    assert [text[0] for text in blobs.texts] == ["+", "="]


def test_bands_are_in_the_order_of_their_wavelengths_and_break_at_gaps():
    images = toy_images(5, 11, 12)
    wavelengths = np.array([600.0, 400.0, 610.0, 410.0, 420.0])
    held = Held(inspector_page("toy", toy_scene(images, wavelengths)))
    axis = held.data["axis"]
    assert axis["order"] == [1, 3, 4, 0, 2]
    assert axis["x"] == [400, 410, 420, 600, 610]
    assert axis["starts"] == [0, 3]
    assert axis["edges"] == [[395, 405, 415, 595, 605], [405, 415, 425, 605, 615]]
    assert held.data["names"][0] == "Band 0, 600.0 nm"
    limits = np.percentile(images["Clean"], (1, 99), axis=(1, 2))
    np.testing.assert_allclose(held.data["limits"], limits, atol=1e-3)


def test_the_measures_are_those_that_were_given_and_a_perfect_band_is_a_gap():
    values = {"Noisy": np.array([20.0, 30.0]), "RAS2S": np.array([40.0, np.inf])}
    images = toy_images(2, 5, 6)
    case = toy_case(images, measures={"psnr": Measure("PSNR (dB)", values)})
    held = Held(inspector_page("toy", toy_scene(images, cases=[case])))
    (found,) = held.data["cases"]
    assert found["measures"]["psnr"]["values"] == {"Noisy": [20, 30], "RAS2S": [40, None]}


def test_nothing_comes_from_outside():
    page = inspector_page("a <b> & </script> $$x$$", toy_scene(toy_images(4, 12, 11)))
    references = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            references.extend(value for name, value in attributes if name in ("src", "href"))

    Tags().feed(page)
    assert references == ["data:,"]  # no icon is asked for
    assert len(page.encode()) < viewer.FRAME
    assert "<title>a &lt;b&gt; &amp; &lt;/script&gt;" in page


def test_a_page_of_icvls_size_has_16_bits_a_value_and_is_small_enough():
    shape = (31, 130, 130)
    page = inspector_page("toy", toy_scene(toy_images(*shape), masks=toy_masks(*shape)))
    assert len(page.encode()) < viewer.LIMIT
    assert Held(page).data["bits"] == 16
    assert "shown are" not in page


@pytest.mark.parametrize(
    ("shape", "cubes", "masks"),
    [
        ((31, 512, 512), 21, 60),
        ((210, 307, 307), 5, 10),
        ((31, 2704, 3376), 3, 2),
        ((1, 1, 9**9), 2, 0),
    ],
)
def test_a_scene_that_is_too_big_is_cropped_about_its_centre(shape, cubes, masks):
    _, height, width = shape
    dtype, rows, columns = what_fits(shape, cubes, masks)
    assert dtype is np.uint8
    values = len(rows) * len(columns) * shape[0]
    size = values * (0.65 * cubes + 0.1 * masks) * 4 / 3
    assert 0.97 * (viewer.LIMIT - viewer.FRAME) < size <= viewer.LIMIT - viewer.FRAME
    for part, length in ((rows, height), (columns, width)):
        assert abs(part.start - (length - part.stop)) <= 1
    if min(height, width) > 1:
        assert len(rows) / len(columns) == pytest.approx(height / width, rel=0.02)


def test_a_window_shrinks_to_its_middle():
    assert shrunk(range(10, 30), range(4, 12), 0.25) == (range(15, 25), range(6, 10))
    assert shrunk(range(3), range(5), 1.5) == (range(3), range(5))


def test_a_cropped_page_is_below_the_limit_and_tells_its_rows_and_columns(monkeypatch):
    images, masks = toy_images(9, 90, 60), toy_masks(9, 90, 60)
    monkeypatch.setattr(viewer, "LIMIT", viewer.FRAME + 200e3)
    page = inspector_page("toy", toy_scene(images, masks=masks))
    assert len(page.encode()) < viewer.LIMIT
    first, last, left, right = map(
        int, re.search(r"rows (\d+) to (\d+) and columns (\d+) to (\d+)", page).groups()
    )
    part = np.s_[:, first : last + 1, left : right + 1]
    held = Held(page)
    assert (held.data["top"], held.data["left"]) == (first, left)
    (case,) = held.data["cases"]
    for name, cube in (case["cubes"] | {"Clean": held.data["clean"]}).items():
        error = np.abs(held.cube(cube) - images[name][part]).max(axis=(1, 2))
        assert (error <= 0.5001 * np.array(cube["step"])).all()
    for key, mask in masks.items():
        np.testing.assert_array_equal(held.codes(case["masks"][" ".join(key)]), mask[part])


def test_what_is_not_a_number_stays_so_and_infinity_is_the_end_of_the_range():
    cube = toy_images(2, 5, 6)["Noisy"]
    cube[0, 0, :3] = np.nan, np.inf, -np.inf
    finite = cube[0][np.isfinite(cube[0])]
    shown = Quantised.of(cube, np.uint16).decode()
    np.testing.assert_allclose(shown[0, 0, :3], [np.nan, finite.max(), finite.min()], atol=1e-6)
    assert np.isnan(shown).sum() == 1
    flat = np.full((1, 2, 2), 0.25, np.float32)
    assert (Quantised.of(flat, np.uint8).decode() == 0.25).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_outlier_spoils_its_own_band_only(dtype):
    cube = toy_images(3, 8, 9)["Clean"]
    cube[1, 2, 3] = 1e5
    cube[0, 0, 0] = np.nan
    cube[2] = np.nan
    error = np.abs(Quantised.of(cube, dtype).decode() - cube)
    steps = np.iinfo(dtype).max - 1
    assert np.nanmax(error[0]) <= 0.5001 * np.ptp(cube[0][~np.isnan(cube[0])]) / steps
    assert np.nanmax(error[1]) <= 0.5001 * 1e5 / steps
    assert np.isnan(error[2]).all()


def test_a_scene_without_a_number_has_a_page_that_says_so():
    images = toy_images(2, 5, 6)
    legend = "</i>not a number"
    assert legend not in inspector_page("toy", toy_scene(images))
    for image in images.values():
        image[...] = np.nan
    page = inspector_page("toy", toy_scene(images))
    assert legend in page
    assert Held(page).data["limits"] == [[0, 0], [0, 0]]


def test_wavelengths_that_are_no_numbers_are_unknown():
    page = inspector_page("toy", toy_scene(toy_images(2, 5, 6), np.array([400.0, np.nan])))
    data = Held(page).data
    assert (data["axis"]["x"], data["axis"]["title"]) == ([0, 1], "band")
    assert data["names"] == ["Band 0", "Band 1"]


def test_it_opens_at_a_band_with_structure_that_its_neighbours_share():
    rng = np.random.default_rng(0)
    scene = rng.random((40, 50))
    cube = 0.1 * scene * np.array([1, 2, 6, 2, 1, 1])[:, None, None]
    cube[4] = rng.random((40, 50))  # noise alone, however strong
    cube[2, 0, 0] = 50
    assert band_with_signal(cube) == 2
    assert band_with_signal(cube[:1]) == 0
    assert band_with_signal(np.full((3, 4, 4), np.nan)) in range(3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 20, 3), (210, 4, 30)])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("count", [1, 16])
def test_odd_scenes_have_pages(shape, clean, count):
    images, masks = toy_images(*shape), toy_masks(*shape, count=count)
    if not clean:
        del images["Clean"]
    scene = toy_scene(images, np.linspace(400, 2500, shape[0]), masks=masks, regions=count)
    held = Held(inspector_page("toy", scene))
    assert len(held.data["colours"]) == count
    assert (held.data["clean"] is not None) == clean
    assert 0 <= held.data["band"] < shape[0]
