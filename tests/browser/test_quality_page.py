"""The page that tells whether to trust a scene, in a browser: on a desktop and on a phone."""

import numpy as np
import pytest

from datamodules import Scene, add_noise, write_scene
from lightning_ras2s.inference.command import main
from tests.browser.test_inspector_page import Inspected
from tests.inference.test_subspace import natural

BANDS, HEIGHT, WIDTH = 18, 44, 40
DEAD = 4  # a band that is not denoised


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("quality")
    clean = natural(BANDS, HEIGHT, 4, 1.5)[:, :, :WIDTH].numpy()
    noisy = (50 + 2000 * add_noise(clean, "gaussian12.75", 7)).astype(np.float32)
    noisy[DEAD] = 3
    write_scene(Scene.from_raw("s", noisy, np.linspace(400, 1000, BANDS)), made / "noisy.hdr")
    args = [str(made / "noisy.hdr"), "-o", str(made / "clean.hdr"), "--method=median+s"]
    assert main([*args, f"--uncertainty={made / 'error.hdr'}", "--device=cpu"]) == 0
    return made


class Page(Inspected):
    def column(self, source, name):
        return np.array(super().column(source, name), float)


@pytest.fixture
def page(open_page, folder):
    return Page(open_page(folder / "clean.quality.html"))


def numbers(path):
    from datamodules.windows import open_scene

    with open_scene(path) as source:
        return source.read((slice(None),) * 3)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_the_five_lines_are_the_first_screen_and_nothing_sticks_out(page, size):
    width, height = size
    page.page.set_viewport_size({"width": width, "height": height})
    page.page.wait_for_function("Bokeh.documents[0].is_idle")
    lines = page.page.locator("#findings li")
    assert lines.count() == 5
    box = page.page.locator("#findings").bounding_box()
    assert box["y"] + box["height"] <= height
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    size = lines.first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert size >= 15
    panels = [page.place(name, 0, 0) for name in ("noisy", "denoised", "difference", "uncertainty")]
    columns = {round(x) for x, _ in panels}
    assert len(columns) == (4 if width == 1440 else 1)


def test_a_pixel_shows_its_spectra_with_their_errors(page, folder):
    page.page.locator("#scene").scroll_into_view_if_needed()
    page.click("denoised", 21, 13)
    page.wait("row 13, column 21")
    used = [band for band in range(BANDS) if band != DEAD]
    noisy, clean, error = (numbers(folder / f"{n}.hdr") for n in ("noisy", "clean", "error"))
    for name, cube in (("noisy", noisy), ("denoised", clean), ("uncertainty", error)):
        found = page.column("bands", name)
        np.testing.assert_allclose(found, cube[used, 13, 21], atol=0.002 * np.ptp(cube[used]))
    low, high = (page.column("bands", name) for name in ("lower", "upper"))
    np.testing.assert_allclose((low + high) / 2, page.column("bands", "denoised"), rtol=1e-6)
    np.testing.assert_allclose((high - low) / 2, page.column("bands", "uncertainty"), rtol=1e-6)


def test_the_arrow_keys_change_the_band_which_has_the_number_of_the_file(page):
    place = (BANDS - 1) // 2
    number = place + (place >= DEAD)
    page.wait(f"Band {number}:")
    page.page.keyboard.press("ArrowRight")
    page.wait(f"Band {number + 1}:")
    for _ in range(number + 1 - DEAD - 1):
        page.page.keyboard.press("ArrowLeft")
    page.wait(f"Band {DEAD + 1}:")
    page.page.keyboard.press("ArrowLeft")
    page.wait(f"Band {DEAD - 1}:")


def test_the_noise_is_drawn_over_the_bands_and_the_worst_are_listed(page, folder):
    import json

    record = json.loads((folder / "clean.quality.json").read_text())
    drawn = page.column("bands", "sigma_noisy")
    np.testing.assert_allclose(drawn, record["noise_before"]["sigma"], rtol=1e-4)
    drawn = page.column("bands", "sigma_denoised")
    np.testing.assert_allclose(drawn, record["uncertainty"]["standard_error"], rtol=1e-4)
    rows = page.page.locator("#noise tbody tr td:first-child").all_inner_texts()
    assert [row.split()[1] for row in rows] == [str(b) for b in record["noise_before"]["ranked"]][
        :10
    ]
