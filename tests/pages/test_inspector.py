"""The inspector's page as a file: what it holds, how exactly, and how big it gets."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from lightning_ras2s.pages import inspector_data
from lightning_ras2s.pages.inspector import inspector_page
from lightning_ras2s.pages.inspector_data import Quantised, SceneData, what_fits


def scene(*shape, clean=True):
    rng = np.random.default_rng(1)
    names = ("noisy", "denoised", "clean") if clean else ("noisy", "denoised")
    return {name: rng.normal(0.5, 0.2, shape).astype(np.float32) for name in names}


def regions(*shape, count=3):
    rng = np.random.default_rng(2)
    return {name: rng.integers(0, count, shape) for name in ("spatial", "spectral")}


def columns_in(page):
    """The columns of the sources in the page's JSON, by the names of the sources."""
    text = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1]
    found = {}

    def search(value):
        if isinstance(value, list):
            for each in value:
                search(each)
        elif isinstance(value, dict):
            if value.get("name") == "ColumnDataSource":
                attributes = value["attributes"]
                found[attributes["name"]] = decoded(attributes["data"])
            search(list(value.values()))

    search(json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")))
    return found


def shown(codes, low, step):
    """What the page makes of the codes of a cube."""
    return low[:, None, None] + step[:, None, None] * codes


def html_of(page):
    """The page with the characters that its JSON escapes."""
    return page.replace("&lt;", "<").replace("&gt;", ">").replace(r"\u221e", "∞")


def decoded(value):
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value["type"] == "map":
        return {key: decoded(item) for key, item in value.get("entries", [])}
    data = base64.b64decode(value["array"]["data"])
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return np.frombuffer(data, value["dtype"]).reshape(value["shape"])


@pytest.mark.parametrize("clean", [True, False])
def test_the_page_holds_the_scene_within_half_a_step(clean):
    images, masks = scene(7, 13, 9, clean=clean), regions(7, 13, 9)
    sources = columns_in(inspector_page("toy", images, None, masks, 3))
    cubes = sources["cubes"]
    assert cubes["name"] == list(images)
    for name, codes, low, step in zip(*cubes.values(), strict=True):
        assert codes.dtype == np.uint16
        np.testing.assert_allclose(step, np.ptp(images[name], axis=(1, 2)) / 65534, rtol=1e-5)
        error = np.abs(shown(codes, low, step) - images[name]).max(axis=(1, 2))
        assert (error <= 0.5001 * step).all()
    assert sources["regions"]["kind"] == list(masks)
    np.testing.assert_array_equal(sources["regions"]["mask"], list(masks.values()))


def test_bands_are_in_the_order_of_their_wavelengths():
    images = scene(3, 11, 12)
    sources = columns_in(inspector_page("toy", images, np.array([600.0, 400.0, 700.0]), {}, 1))
    bands = sources["bands"]
    assert bands["band"] == [1, 0, 2]
    assert bands["label"] == ["400.0 nm", "600.0 nm", "700.0 nm"]
    np.testing.assert_array_equal(bands["x"], [400, 600, 700])
    np.testing.assert_array_equal(bands["left"], [400, 500, 650])
    np.testing.assert_array_equal(bands["right"], [500, 650, 700])
    limits = np.percentile(images["clean"][[1, 0, 2]], (1, 99), axis=(1, 2))
    np.testing.assert_allclose([bands["low"], bands["high"]], limits, atol=1e-4)
    error = (images["noisy"] - images["clean"])[[1, 0, 2]].astype(float)
    psnr = -10 * np.log10((error**2).mean(axis=(1, 2)))
    np.testing.assert_allclose(bands["psnr_noisy"], psnr, rtol=1e-5)


def test_nothing_comes_from_outside():
    page = inspector_page("a <b> & </script> $$x$$", scene(4, 12, 11), None, {}, 1)
    references = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attributes):
            references.extend(value for name, value in attributes if name in ("src", "href"))

    Tags().feed(page)
    assert references == []
    assert len(page.encode()) < inspector_data.FRAME
    assert "<title>a &lt;b&gt; &amp; &lt;/script&gt;" in page
    assert set(columns_in(page)) == {"cubes", "regions", "frame", "marker", "bands"}


def test_a_page_of_icvls_size_has_16_bits_a_value_and_is_small_enough():
    shape = (31, 256, 256)
    images = scene(*shape)
    page = inspector_page("toy", images, None, regions(*shape, count=16), 16)
    assert len(page.encode()) < inspector_data.LIMIT
    assert b"uint16" in page.encode()
    assert "shown are" not in page


@pytest.mark.parametrize(
    ("shape", "images", "masks"),
    [
        ((31, 512, 512), 3, 2),
        ((210, 307, 307), 2, 2),
        ((31, 2704, 3376), 3, 2),
        ((1, 1, 9**9), 2, 0),
    ],
)
def test_a_scene_that_is_too_big_is_cropped_about_its_centre(shape, images, masks):
    bands, height, width = shape
    dtype, rows, columns = what_fits(shape, images, masks)
    values = len(rows) * len(columns)
    size = values * (bands * (images + masks) + 4 * images + 5) * 4 / 3
    room = inspector_data.LIMIT - inspector_data.FRAME
    assert dtype is np.uint8
    assert 0.98 * room < size <= room
    for part, length in ((rows, height), (columns, width)):
        assert abs(part.start - (length - part.stop)) <= 1
    if min(height, width) > 1:
        assert len(rows) / len(columns) == pytest.approx(height / width, rel=0.01)


def test_a_cropped_page_is_below_the_limit_and_tells_its_rows_and_columns(monkeypatch):
    images, masks = scene(9, 90, 60), regions(9, 90, 60)
    monkeypatch.setattr(inspector_data, "LIMIT", inspector_data.FRAME + 200e3)
    page = inspector_page("toy", images, None, masks, 3)
    assert len(page.encode()) < inspector_data.LIMIT
    first, last, left, right = map(
        int, re.search(r"rows (\d+) to (\d+) and columns (\d+) to (\d+)", page).groups()
    )
    part = np.s_[:, first : last + 1, left : right + 1]
    sources = columns_in(page)
    for name, codes, low, step in zip(*sources["cubes"].values(), strict=True):
        assert codes.dtype == np.uint8
        error = np.abs(shown(codes, low, step) - images[name][part])
        assert (error.max(axis=(1, 2)) <= 0.5001 * step).all()
    np.testing.assert_array_equal(sources["regions"]["mask"][1], masks["spectral"][part])
    row, column = (sources["marker"][name][0] for name in ("row", "column"))
    assert first < row < last
    assert left < column < right
    whole = inspector_data.psnr_by_band(images)["noisy"]
    np.testing.assert_allclose(sources["bands"]["psnr_noisy"], whole)


def test_what_is_not_a_number_stays_so_and_infinity_is_the_end_of_the_range():
    images = scene(2, 5, 6)
    images["denoised"][0, 0, :3] = np.nan, np.inf, -np.inf
    images["clean"][...] = 0.25
    data = SceneData.of(images, {})
    shown = data.cubes["denoised"].decode()
    finite = images["denoised"][0][np.isfinite(images["denoised"][0])]
    np.testing.assert_allclose(shown[0, 0, :3], [np.nan, finite.max(), finite.min()], atol=1e-6)
    assert np.isnan(shown).sum() == 1
    assert (data.cubes["clean"].decode() == 0.25).all()
    assert np.isfinite(data.largest_difference)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_outlier_spoils_its_own_band_only(dtype):
    cube = scene(3, 8, 9)["clean"]
    cube[1, 2, 3] = 1e5
    cube[0, 0, 0] = np.nan
    cube[2] = np.nan
    error = np.abs(Quantised.of(cube, dtype).decode() - cube)
    steps = np.iinfo(dtype).max - 1
    assert np.nanmax(error[0]) <= 0.5001 * np.ptp(cube[0][~np.isnan(cube[0])]) / steps
    assert np.nanmax(error[1]) <= 0.5001 * 1e5 / steps
    assert np.isnan(error[2]).all()


def test_a_scene_without_a_number_has_a_page_that_says_so():
    images = scene(2, 5, 6, clean=False)
    legend = "</span>not a number"
    assert legend not in html_of(inspector_page("toy", images, None, {}, 1))
    images["denoised"][...] = np.nan
    page = inspector_page("toy", images, None, {}, 1)
    assert legend in html_of(page)
    bands = columns_in(page)["bands"]
    assert [*bands["low"], *bands["high"]] == [0] * 4


def test_a_perfect_band_has_a_psnr_of_infinity_which_is_not_drawn():
    images = scene(2, 5, 6)
    images["denoised"][1] = images["clean"][1]
    page = inspector_page("toy", images, None, {}, 1)
    bands = columns_in(page)["bands"]
    assert bands["title_denoised"][1] == "denoised, ∞ dB"
    assert np.isnan(bands["psnr_denoised"]).tolist() == [False, True]
    assert "denoised <b>∞ dB</b>" in html_of(page)


def test_wavelengths_that_are_no_numbers_are_unknown():
    page = inspector_page("toy", scene(2, 5, 6), np.array([400.0, np.nan]), {}, 1)
    bands = columns_in(page)["bands"]
    assert bands["x"].tolist() == [0, 1]
    assert bands["label"] == ["", ""]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 20, 3), (210, 4, 30)])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("count", [1, 16])
def test_odd_scenes_have_pages(shape, clean, count):
    images, masks = scene(*shape, clean=clean), regions(*shape, count=count)
    del masks["spatial"]
    page = inspector_page("toy", images, np.linspace(400, 2500, shape[0]), masks, count)
    sources = columns_in(page)
    assert sources["regions"]["kind"] == ["spectral"]
    assert [len(column) for column in sources["bands"].values()] == [shape[0]] * len(
        sources["bands"]
    )
    assert page.count("region 15") == (count == 16)
