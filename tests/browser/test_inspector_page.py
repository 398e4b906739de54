"""The inspector's page, in a browser: what it shows when one clicks."""

import re
from itertools import pairwise

import numpy as np
import pytest

from lightning_ras2s.pages.inspector import inspector_page
from lightning_ras2s.pages.viewer import Measure
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.region_figures import palette
from tests.browser.viewing import Viewed
from tests.pages.toy_scene import toy_case, toy_images, toy_masks, toy_scene

BANDS, HEIGHT, WIDTH = 6, 14, 20
WAVELENGTHS = np.array([500.0, 450.0, 600.0, 550.0, 1000.0, 1050.0])  # a gap after 600
ORDER = np.argsort(WAVELENGTHS)
MARKED = (HEIGHT // 2, WIDTH // 2)
PIXELS = [(1, 2), (3, 12), (5, 5), (8, 17), (12, 1), (13, 19)]
METHODS = ["Noisy", "Median", "RAS2S", "RAS2S+S"]
IMAGES = {case: toy_images(BANDS, HEIGHT, WIDTH, seed=1) for case in ("noniid", "mixture")}
IMAGES["mixture"] |= {name: IMAGES["mixture"][name] + 0.05 for name in METHODS}
CLEAN = IMAGES["noniid"]["Clean"]
MASKS = toy_masks(BANDS, HEIGHT, WIDTH)
PSNR = {name: np.arange(BANDS) + 10.0 * place for place, name in enumerate(METHODS)}


def whole_scene():
    cases = []
    for case, images in IMAGES.items():
        measures = {
            "psnr": Measure("PSNR (dB)", PSNR),
            "ssim": Measure("SSIM", {name: values / 100 for name, values in PSNR.items()}),
            "sam": Measure("SAM of nine adjacent bands (rad)", PSNR),
        }
        means = [{"Method": name, "PSNR (dB)": f"{case} {name}"} for name in METHODS]
        cases.append(toy_case(images, case, MASKS, measures=measures, means=means))
    return toy_scene(IMAGES["noniid"], WAVELENGTHS, cases=cases)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspector") / "page.html"
    path.write_text(inspector_page("toy", whole_scene()), encoding="utf-8")
    return path


@pytest.fixture
def viewed(open_page, file):
    return Viewed(open_page(file))


def greys(image, band, black=0.0, white=1.0):
    """The grey of PIXELS, between the percentiles of the clean band."""
    low, high = np.percentile(CLEAN[band], (1, 99))
    low, high = low + black * (high - low), low + white * (high - low)
    shown = np.array([image[band][pixel] for pixel in PIXELS])
    return (255 * (shown - low) / (high - low)).clip(0, 255)[:, None]


def assert_close(found, expected):
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=2)


def test_it_opens_at_a_band_with_signal_noisy_on_the_left_and_the_best_on_the_right(viewed):
    band = viewed.data["band"]
    assert viewed.text("band-name") == f"Band {band}, {WAVELENGTHS[band]:.1f} nm"
    shown = viewed.colours("picture", PIXELS)
    left = np.array([[column < WIDTH // 2] for _, column in PIXELS])
    images = IMAGES["noniid"]
    assert_close(
        shown, np.where(left, greys(images["Noisy"], band), greys(images["RAS2S+S"], band))
    )
    assert (viewed.text("left-name"), viewed.text("right-name")) == ("◀ Noisy", "RAS2S+S ▶")


def test_the_keyboard_reaches_the_slider_first_which_goes_along_the_spectrum(viewed):
    viewed.page.keyboard.press("Tab")
    assert viewed.page.evaluate("document.activeElement.id") == "band"
    viewed.drawn(lambda: viewed.page.keyboard.press("Home"))
    for band in [*ORDER[1:], ORDER[-1]]:
        viewed.page.keyboard.press("ArrowRight")
        viewed.page.get_by_text(f"Band {band}, {WAVELENGTHS[band]:.1f} nm").first.wait_for()
    viewed.page.evaluate("document.activeElement.blur()")
    viewed.drawn(lambda: viewed.page.keyboard.press("ArrowLeft"))
    assert viewed.text("band-name") == "Band 4, 1000.0 nm"


@pytest.mark.parametrize("name", [*METHODS, "Clean"])
def test_every_method_can_be_on_either_side_and_swiped(viewed, name):
    viewed.choose("left-method", name)
    viewed.slide("swipe", 100)
    band, image = viewed.data["band"], IMAGES["noniid"][name]
    assert_close(viewed.colours("picture", PIXELS), greys(image, band))
    viewed.choose("right-method", name)
    viewed.choose("left-method", "Noisy")
    viewed.slide("swipe", 0)
    assert_close(viewed.colours("picture", PIXELS), greys(image, band))


def test_the_border_between_two_methods_can_be_dragged(viewed):
    mouse = viewed.page.mouse
    x, y = viewed.pointer("picture", 2, WIDTH // 2)
    edge = (x + viewed.pointer("picture", 2, WIDTH // 2 - 1)[0]) / 2
    mouse.move(edge, y)
    mouse.down()
    mouse.move(*viewed.pointer("picture", 2, WIDTH - 2), steps=4)
    mouse.up()
    assert int(viewed.page.locator("#swipe").input_value()) > 85
    at = [pixel for pixel in PIXELS if pixel[1] < WIDTH - 3]
    expected = [greys(IMAGES["noniid"]["Noisy"], viewed.data["band"])[PIXELS.index(p)] for p in at]
    assert_close(viewed.colours("picture", at), np.array(expected))


def test_the_noise_case_changes_pictures_numbers_and_curves(viewed):
    viewed.slide("swipe", 100)
    assert "noniid RAS2S" in viewed.text("means")
    viewed.choose("case", "mixture")
    assert_close(
        viewed.colours("picture", PIXELS), greys(IMAGES["mixture"]["Noisy"], viewed.data["band"])
    )
    assert "mixture RAS2S+S" in viewed.text("means")
    told = viewed.hover_chart("#spectra svg", 600)[1]
    shown = IMAGES["mixture"]["Noisy"][2][MARKED]
    assert float(told.removeprefix("Noisy ")) == pytest.approx(shown, abs=2e-4)


def test_contrast_is_that_of_all_pictures(viewed):
    viewed.slide("swipe", 100)
    for slider, value, limits in (("white", 50, (0, 0.5)), ("black", 20, (0.2, 0.5))):
        viewed.drawn(lambda slider=slider, value=value: viewed.slide(slider, value))
        expected = greys(IMAGES["noniid"]["Noisy"], viewed.data["band"], *limits)
        assert_close(viewed.colours("picture", PIXELS), expected)


def test_colour_is_that_of_the_other_pictures_and_says_what_it_is(viewed):
    viewed.slide("swipe", 0)
    viewed.drawn(lambda: viewed.page.get_by_label("RGB").check())
    expected = Display(CLEAN, WAVELENGTHS)(IMAGES["noniid"]["RAS2S+S"])
    np.testing.assert_allclose(
        viewed.colours("picture", PIXELS), [expected[pixel] for pixel in PIXELS], atol=4
    )
    assert "radiance colour" in viewed.text("picture-note")


MAPS = {
    "gain over noisy": lambda n, d, c: np.abs(n - c) - np.abs(d - c),
    "error": lambda n, d, c: np.abs(d - c),
    "removed": lambda n, d, c: n - d,
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("method", ["RAS2S", "RAS2S+S"])
def test_the_map_is_that_of_the_method(viewed, name, method):
    viewed.choose("map-kind", name)
    viewed.choose("map-method", method)
    images, band = IMAGES["noniid"], viewed.data["band"]
    expected = MAPS[name](*(images[each][band] for each in ("Noisy", method, "Clean")))
    for row, column in PIXELS[:3]:
        told = viewed.hover("map", row, column)
        assert told[0].startswith(f"row {row}, column {column}, Band {band}")
        assert float(told[1].rsplit(" ", 1)[1]) == pytest.approx(expected[row, column], abs=2e-4)
    if name != "error":
        colours = viewed.colours("map", PIXELS)
        greener = colours[:, 1] - (colours[:, 0] + colours[:, 2]) / 2
        strong = [abs(expected[p]) > 0.02 for p in PIXELS]
        assert ((greener > 0) == [expected[p] > 0 for p in PIXELS])[strong].all()


def test_the_map_of_angles_is_sam_of_each_pixel(viewed):
    viewed.choose("map-kind", "spectral angle")
    a, b = (IMAGES["noniid"][name][:, 3, 12].astype(float) for name in ("RAS2S+S", "Clean"))
    expected = np.arccos(a @ b / np.sqrt((a @ a) * (b @ b)))
    told = viewed.hover("map", 3, 12)[1]
    assert float(told.rsplit(" ", 1)[1]) == pytest.approx(expected, rel=0.01)
    assert "rad" in viewed.text("map-note")


def test_pinned_pixels_stay_side_by_side_and_can_be_let_go(viewed):
    page = viewed.page
    for row, column in ((3, 12), (8, 17)):
        viewed.click("picture", row, column)
        viewed.drawn(page.get_by_role("button", name="Pin this pixel").click)
    viewed.click("map", 12, 1)
    figures = page.locator("#spectra figure")
    assert figures.count() == 3
    for number, (row, column) in enumerate(((3, 12), (8, 17), (12, 1))):
        caption = figures.nth(number).locator("figcaption").inner_text()
        assert caption.startswith(f"{number + 1}: row {row}, column {column}, spatial region")
        value = IMAGES["noniid"]["Clean"][viewed.data["band"], row, column]
        shown = float(re.search(r"Clean (-?[\d.]+)", caption)[1])
        assert shown == pytest.approx(value, abs=2e-4)
        spatial = MASKS["encoded", "noisy", "spatial"][viewed.data["band"], row, column]
        assert f"spatial region {spatial}," in caption
    viewed.drawn(page.get_by_role("button", name="1: 3, 12").click)
    assert figures.count() == 2
    assert figures.first.locator("figcaption").inner_text().startswith("1: row 8, column 17")


def test_a_pixel_can_be_typed_and_stays_within_the_scene(viewed):
    for row, shown in (("3", 3), ("99", HEIGHT - 1)):
        viewed.page.get_by_label("row", exact=True).fill(row)
        viewed.drawn(lambda: viewed.page.keyboard.press("Tab"))
        caption = viewed.page.locator("#spectra figcaption").inner_text()
        assert caption.startswith(f"row {shown}, column {MARKED[1]},")


def test_curves_and_strips_break_at_gaps_of_the_wavelengths(viewed):
    viewed.click("picture", 3, 12)
    for chart, lines in (("#spectra svg", 5), ("#measure-chart", 4)):
        paths = viewed.page.locator(f"{chart} path.line")
        assert paths.count() == lines
        assert all(paths.nth(n).get_attribute("d").count("M") == 2 for n in range(lines))
    strip = viewed.page.locator("#spectra [data-strip=spectral] rect")
    boxes = [strip.nth(n).bounding_box() for n in range(BANDS)]
    ends = [(box["x"], box["x"] + box["width"]) for box in boxes]
    gaps = [right[0] - left[1] for left, right in pairwise(ends)]
    assert gaps[3] > 20
    assert max(gaps[:3]) < 1
    colours = [strip.nth(n).evaluate("e => getComputedStyle(e).fill") for n in range(BANDS)]
    regions = MASKS["encoded", "noisy", "spectral"][ORDER, 3, 12]
    assert colours == ["rgb({}, {}, {})".format(*palette(3)[r]) for r in regions]


def test_hovering_reads_out_and_a_click_chooses_the_band(viewed):
    viewed.click("picture", 3, 12)
    told = viewed.hover_chart("#spectra svg", 600)
    assert told[0] == "Band 2, 600.0 nm"
    values = dict(line.rsplit(" ", 1) for line in told[1:6])
    for name, value in values.items():
        assert float(value) == pytest.approx(IMAGES["noniid"][name][2, 3, 12], abs=2e-4)
    assert told[6:] == [
        f"{kind} region {MASKS['encoded', 'noisy', kind][2, 3, 12]}"
        for kind in ("spatial", "spectral")
    ]
    viewed.click_chart("#spectra svg", 1050)
    assert viewed.text("band-name") == "Band 5, 1050.0 nm"
    told = viewed.hover_chart("#measure-chart", 450)
    assert told == ["Band 1, 450.0 nm", *(f"{name} {PSNR[name][1]:g}" for name in METHODS)]
    viewed.click_chart("#measure-chart", 450)
    assert viewed.text("band-name") == "Band 1, 450.0 nm"
    told = viewed.hover("picture", 5, 5)
    assert told[0] == "row 5, column 5, Band 1, 450.0 nm"
    assert len(told) == 6


def test_ssim_and_sam_of_each_band_can_be_chosen(viewed):
    for title, scale in (("SSIM", 100), ("SAM of nine adjacent bands (rad)", 1)):
        viewed.choose("measure", title)
        told = viewed.hover_chart("#measure-chart", 600)
        assert told[4] == f"RAS2S+S {PSNR['RAS2S+S'][2] / scale:g}"
        assert title in viewed.page.locator("#measure-chart").text_content()


def test_regions_have_a_panel_of_pure_masks_with_a_sentence_and_shares(viewed):
    band, colours = viewed.data["band"], palette(3)
    for kind in ("spatial", "spectral"):
        viewed.choose("region-kind", kind)
        for source, name in (("encoded state", "noisy"), ("embedding", "clean")):
            viewed.choose("region-source", source)
            assert viewed.page.locator("#region-input").input_value() == name
            mask = MASKS[source.split()[0], name, kind][band]
            expected = np.array([colours[mask[pixel]] for pixel in PIXELS])
            np.testing.assert_array_equal(viewed.colours("regions", PIXELS), expected)
            shares = [f"region {r}: {100 * (mask == r).mean():.1f} %" for r in range(3)]
            assert [s for s in viewed.text("region-shares").split("\n") if s] == shares
            assert "A region is the set of pixels" in viewed.text("region-note")
            assert "Fig. 5" in viewed.text("region-note") or source != "embedding"
    assert "salt and pepper" not in viewed.text("region-note")
    viewed.choose("region-input", "noisy")
    assert "salt and pepper by nature" in viewed.text("region-note")
    told = viewed.hover("regions", 3, 12)
    assert told[2] == f"spectral region {MASKS['embedding', 'noisy', 'spectral'][band, 3, 12]}"


def test_opacity_shows_the_band_below_and_contours_its_borders(viewed):
    viewed.choose("region-kind", "spectral")
    viewed.slide("opacity", 0)
    noisy = greys(IMAGES["noniid"]["Noisy"], viewed.data["band"])
    viewed.eventually(lambda: np.abs(viewed.colours("regions", PIXELS) - noisy).max() < 3)
    before = viewed.page.locator("#regions").screenshot()
    viewed.drawn(lambda: viewed.page.get_by_label("contours").check())
    assert viewed.page.locator("#regions").screenshot() != before


def test_zooming_keeps_what_is_under_the_pointer_in_all_pictures(viewed):
    row, column = 5, 5
    at = viewed.pointer("map", row, column)
    viewed.page.mouse.move(*at)
    viewed.drawn(lambda: viewed.page.mouse.wheel(0, -200))
    assert viewed.tip()[0].startswith(f"row {row}, column {column},")
    viewed.page.mouse.move(at[0] + 1, at[1])
    assert viewed.tip()[0].startswith(f"row {row}, column {column},")
    viewed.drawn(viewed.page.get_by_role("button", name="Zoom in").click)
    zoomed = viewed.page.locator("#regions").screenshot()
    viewed.drawn(viewed.page.get_by_role("button", name="whole").click)
    assert viewed.page.locator("#regions").screenshot() != zoomed
    assert viewed.hover("map", row, column)[0].startswith(f"row {row}, column {column},")


def test_one_band_without_reference_and_wavelengths(open_page, tmp_path):
    images = {name: toy_images(1, 5, 6)[name] for name in ("Noisy", "RAS2S")}
    images["RAS2S"][0, 0, 0] = np.nan
    path = tmp_path / "page.html"
    path.write_text(inspector_page("one", toy_scene(images)), encoding="utf-8")
    viewed = Viewed(open_page(path))
    assert viewed.text("band-name") == "Band 0"
    for part in ("#band", "#regions-panel", "#measure-chart", "#case"):
        assert not viewed.page.locator(part).is_visible()
    viewed.slide("swipe", 0)
    assert viewed.colours("picture", [(0, 0)]).tolist() == [[86, 180, 233]]  # not a number
    removed = images["Noisy"][0, 2, 3] - images["RAS2S"][0, 2, 3]
    assert float(viewed.hover("map", 2, 3)[1].split()[-1]) == pytest.approx(removed, abs=1e-3)
    viewed.page.keyboard.press("ArrowRight")
    assert viewed.text("band-name") == "Band 0"


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_it_is_legible_and_nothing_sticks_out(viewed, size):
    viewed.drawn(lambda: viewed.page.set_viewport_size({"width": size[0], "height": size[1]}))
    assert viewed.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    boxes = [viewed.page.locator(f"#{id}").bounding_box() for id in ("picture", "map", "regions")]
    assert min(box["width"] for box in boxes) > 350
    assert len({round(box["x"]) for box in boxes}) == (3 if size[0] == 1440 else 1)
    small = """() => Math.min(...[...document.querySelectorAll("main *")]
        .filter(e => e.textContent.trim() && e.getClientRects().length)
        .map(e => parseFloat(getComputedStyle(e).fontSize)))"""
    assert viewed.page.evaluate(small) >= 12


def test_the_curves_of_a_tall_scene_stand_beside_its_pictures(open_page, tmp_path):
    path = tmp_path / "page.html"
    images = toy_images(4, 30, 8)
    path.write_text(inspector_page("tall", toy_scene(images, masks=toy_masks(4, 30, 8))))
    viewed = Viewed(open_page(path))
    pictures, spectra = (
        viewed.page.locator(each).bounding_box() for each in (".panels", "#spectra svg")
    )
    assert spectra["x"] > pictures["x"] + pictures["width"]
    assert spectra["y"] + spectra["height"] < 900
    tops = {
        viewed.page.locator(f"#{id}").bounding_box()["y"] for id in ("picture", "map", "regions")
    }
    assert len(tops) == 1
    viewed.drawn(lambda: viewed.page.set_viewport_size({"width": 390, "height": 844}))
    assert viewed.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_prints_on_one_page(viewed):
    viewed.click("picture", 3, 12)
    viewed.drawn(viewed.page.get_by_role("button", name="Pin this pixel").click)
    viewed.click("picture", 8, 17)
    pdf = viewed.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 1
