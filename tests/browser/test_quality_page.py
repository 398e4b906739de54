"""The page that tells whether to trust a scene, in a browser: on a desktop and on a phone."""

import numpy as np
import pytest

from datamodules import Scene, add_noise, write_scene
from lightning_ras2s.inference.command import main
from tests.browser.viewing import Viewed
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


@pytest.fixture
def page(open_page, folder):
    return Viewed(open_page(folder / "clean.quality.html"))


def numbers(path):
    from datamodules.windows import open_scene

    with open_scene(path) as source:
        return source.read((slice(None),) * 3)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_the_five_lines_are_the_first_screen_and_nothing_sticks_out(page, size):
    width, height = size
    page.drawn(lambda: page.page.set_viewport_size({"width": width, "height": height}))
    lines = page.page.locator("#findings li")
    assert lines.count() == 5
    box = page.page.locator("#findings").bounding_box()
    assert box["y"] + box["height"] <= height
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    size = lines.first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert size >= 15
    columns = {round(page.page.locator(f"#{id}").bounding_box()["x"]) for id in ("picture", "map")}
    assert len(columns) == (2 if width == 1440 else 1)


def test_a_pixel_shows_its_spectra_with_their_errors(page, folder):
    page.click("picture", 13, 21)
    caption = page.page.locator("#spectra figcaption").inner_text()
    assert caption.startswith("row 13, column 21: Noisy ")
    used = [band for band in range(BANDS) if band != DEAD]
    noisy, clean, error = (numbers(folder / f"{n}.hdr") for n in ("noisy", "clean", "error"))
    nm = np.linspace(400, 1000, BANDS)
    for band in (used[2], used[-2]):
        told = page.hover_chart("#spectra svg", nm[band])
        assert told[0] == f"Band {band}, {nm[band]:.1f} nm"
        for line, cube in zip(told[1:], (noisy, clean), strict=True):
            value = float(line.rsplit(" ", 1)[1])
            assert value == pytest.approx(cube[band, 13, 21], abs=0.002 * float(np.ptp(cube[used])))
    assert page.page.locator("#spectra polygon").count() == 1  # the error, about the denoised
    page.choose("map-kind", "uncertainty")
    page.drawn(lambda: page.page.keyboard.press("ArrowRight"))
    band = int(page.text("band-name").split()[1].rstrip(","))
    told = float(page.hover("map", 13, 21)[1].rsplit(" ", 1)[1])
    assert told == pytest.approx(error[band, 13, 21], rel=0.02)


def test_the_arrow_keys_change_the_band_which_has_the_number_of_the_file(page):
    page.drawn(lambda: page.slide("band", 0))
    assert page.text("band-name").startswith("Band 0,")
    for band in (1, 2, 3, 5, 6):
        page.drawn(lambda: page.page.keyboard.press("ArrowRight"))
        assert page.text("band-name").startswith(f"Band {band},")


def test_the_noise_is_drawn_over_the_bands_and_the_worst_are_listed(page, folder):
    import json

    record = json.loads((folder / "clean.quality.json").read_text())
    nm = record["bands"]["wavelength_nm"]
    for place in (1, 9):
        told = page.hover_chart("#measure-chart", nm[place])
        assert told[0].startswith(f"Band {record['bands']['number'][place]},")
        for line, values in zip(
            told[1:],
            (record["noise_before"]["sigma"], record["uncertainty"]["standard_error"]),
            strict=True,
        ):
            assert float(line.rsplit(" ", 1)[1]) == pytest.approx(values[place], rel=1e-3)
    rows = page.page.locator("#noise tbody tr td:first-child").all_inner_texts()
    assert [row.split()[1] for row in rows] == [str(b) for b in record["noise_before"]["ranked"]][
        :10
    ]


def test_the_other_charts_are_drawn_and_read_out(page):
    charts = page.page.locator("svg.drawn")
    assert charts.count() == 3
    for number in range(3):
        assert charts.nth(number).locator("path.line").first.get_attribute("d").count("L") > 3
    told = page.hover_chart("#noise svg.drawn", 3)
    assert told[0] == "number 3"
    assert page.page.locator("#removed img").evaluate("e => e.naturalWidth") == WIDTH
