"""The page of the tables in a browser: sorted, filtered, and looked at."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from lightning_ras2s.tables.cells import Cache
from lightning_ras2s.tables.page import page as write_page
from lightning_ras2s.tables.summary import summarize
from tests.tables.toy import cell, plan, tables

PHONE = {"width": 390, "height": 844}
PSNR = {"identity": 9.5, "median": 28.0, "median+s": 41.0, "ras2s": 40.0, "ras2s+s": 42.25}
BANDS = 12


@pytest.fixture
def written(tmp_path):
    """Five methods on two datasets under two noises; the spectra are multiples of a line."""
    cache, cells = Cache(tmp_path / "cells"), []
    gradient = np.linspace(0, 1, 40 * 30, dtype=np.float16).reshape(40, 30)
    line = np.linspace(0.25, 0.5, BANDS, dtype=np.float16)
    clean = {"crop": gradient, "spectrum": line, "band": np.array(4)}
    clean["wavelengths"] = np.linspace(400, 950, BANDS, dtype=np.float32)
    for dataset in ("kaist", "indian_pines"):
        for number, case in enumerate(("noniid", "mixture")):
            for place, (key, psnr) in enumerate(PSNR.items()):
                one = cell(key, psnr - number, dataset, case, seconds=0.1 * 10**place)
                one = replace(one, parameters=84105 if "ras2s" in key else 0)
                cache.keep(one, {"crop": gradient / (1 + place), "spectrum": line * (1 + place)})
                cache.keep_clean(one, clean)
                cells.append(one)
    chosen = plan(*PSNR, "bm4d", datasets=("kaist", "indian_pines", "icvl"))
    blank = defaultdict(str, {("bm4d", ""): "needs <bmnd>"})
    found = summarize(chosen, tables(*cells, blank=blank, absent={"icvl": "not prepared"}))
    (tmp_path / "index.html").write_text(write_page(found, cache))
    return tmp_path / "index.html"


@pytest.fixture
def page(written, open_page):
    return open_page(written)


def methods(page):
    return page.locator("#results tbody td:first-child").all_inner_texts()


def test_it_opens_with_the_best_first_and_says_what_is_missing(page):
    assert methods(page) == ["RAS2S+S", "Median+S", "RAS2S", "Median", "Noisy", "BM4D"]
    assert page.locator("#caption").inner_text() == "kaist, mean of all: 1 scene"
    first = page.locator("#results tbody tr").first.locator("td").all_inner_texts()
    assert first[1] == "41.75"  # of 42.25 and 41.25
    assert page.locator("#results .first").first.inner_text() == "41.75"
    assert page.locator("#results .second").first.inner_text() == "40.50"
    assert "BM4D: needs <bmnd>" in page.locator("#notes").inner_text()
    assert "icvl: no figures: not prepared" in page.locator("#absent").inner_text()


def test_the_paper_is_beside_the_figures_of_its_own_test(page):
    page.select_option("#case", label="noniid")
    psnr = page.locator("tr[data-key=ras2s] td").nth(1)
    assert psnr.locator("span").inner_text() == "40.00"
    assert psnr.locator("small").inner_text() == "-0.70"
    assert page.locator("tr[data-key='ras2s+s'] small").count() == 0
    assert page.locator("#paper").is_visible()
    page.select_option("#dataset", label="indian_pines")
    assert page.locator("#case").evaluate("e => e.selectedOptions[0].text") == "noniid"
    assert page.locator("#paper").is_hidden()
    assert page.locator("#results small").count() == 0


def test_a_click_sorts_by_a_column_and_again_the_other_way(page):
    page.get_by_role("button", name="SAM (rad)").click()
    assert methods(page)[0] == "RAS2S+S"
    page.get_by_role("button", name="SAM (rad)").click()
    assert methods(page)[:2] == ["Noisy", "Median"]
    assert methods(page)[-1] == "BM4D"  # what has no figures is last
    page.get_by_role("button", name="Seconds").click()
    assert methods(page)[:2] == ["Noisy", "Median"]
    page.get_by_role("button", name="Method").click()
    assert methods(page) == sorted(methods(page))
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Method")


def test_the_filter_is_for_the_table_the_points_and_the_pictures(page):
    page.locator("#filter").fill("+s")
    assert methods(page) == ["RAS2S+S", "Median+S"]
    assert page.locator("#scatter circle").count() == 2
    captions = page.locator("#gallery figcaption").all_inner_texts()
    assert [caption.split("\n")[0] for caption in captions] == ["Clean", "RAS2S+S", "Median+S"]


def test_points_lie_by_seconds_and_decibels(page):
    place = {
        key: page.locator(f"circle[data-key='{key}']").evaluate(
            "c => [c.cx.baseVal.value, c.cy.baseVal.value]"
        )
        for key in ("median", "median+s", "ras2s", "ras2s+s")
    }
    xs = [place[key][0] for key in ("median", "median+s", "ras2s", "ras2s+s")]
    np.testing.assert_allclose(np.diff(xs), xs[1] - xs[0], rtol=0.01)  # ten times each
    ys = {key: y for key, (_, y) in place.items()}
    assert ys["ras2s+s"] < ys["median+s"] < ys["ras2s"] < ys["median"]
    assert page.locator("circle[data-key=identity]").count() == 0


def test_pictures_have_one_grey_scale_and_errors_one_colour_scale(page):
    page.select_option("#case", label="mixture")
    assert "a, mixture, band 4" in page.locator("#view-caption").inner_text()
    grey = """async (key) => {
      const image = document.querySelector(`#gallery [data-key='${key}'] img`);
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      return [...context.getImageData(15, 20, 1, 1).data];
    }"""
    clean, median = (page.evaluate(grey, key)[0] for key in ("clean", "median"))
    assert clean == pytest.approx(131, abs=4)  # half-way
    assert median == pytest.approx(clean / 2, abs=4)
    page.get_by_label("errors").check()
    assert page.locator("#gallery [data-key=clean]").count() == 0
    assert page.evaluate(grey, "identity")[:3] == pytest.approx([68, 1, 84], abs=2)  # none
    assert max(page.evaluate(grey, "ras2s+s")[:3]) > 200


def test_spectra_are_of_the_pixel_over_the_wavelengths(page):
    page.select_option("#case", label="noniid")
    lines = page.locator("#spectra path.line")
    assert lines.count() == 4  # the clean one and the first three methods
    assert "wavelength (nm)" in page.locator("#spectra").text_content()
    page.locator("#legend button[data-key=identity]").click()
    assert lines.count() == 5
    points = {
        key: np.array(
            [
                [float(number) for number in point.split()]
                for point in page.locator(f"#spectra [data-key='{key}']")
                .get_attribute("d")
                .removeprefix("M")
                .split("L")
            ]
        )
        for key in ("clean", "identity", "median+s")
    }
    assert len(points["clean"]) == BANDS
    np.testing.assert_array_equal(points["clean"], points["identity"])
    rise = {key: each[0, 1] - each[-1, 1] for key, each in points.items()}
    assert rise["median+s"] == pytest.approx(3 * rise["clean"], rel=0.02)


@pytest.mark.parametrize("size", [{"width": 1440, "height": 900}, PHONE])
def test_nothing_sticks_out(page, size):
    page.set_viewport_size(size)
    page.select_option("#case", label="noniid")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.locator("#gallery img").first.bounding_box()["width"] > 60
    first = page.locator("#results tbody td").first.bounding_box()
    assert first["x"] >= 0
