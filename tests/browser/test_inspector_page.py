"""The inspector's page, in a browser: what it shows when one clicks."""

import time
from io import BytesIO

import numpy as np
import pytest
from bokeh.palettes import Greys256
from PIL import Image, ImageColor

from lightning_ras2s.pages import inspector_data
from lightning_ras2s.pages.inspector import inspector_page
from lightning_ras2s.pages.inspector_plots import NAN_COLOUR, region_colours

BANDS, HEIGHT, WIDTH = 5, 12, 20
WAVELENGTHS = np.array([500.0, 450.0, 600.0, 550.0, 700.0])
ORDER = np.argsort(WAVELENGTHS)
STEP = 1.5 / 65535  # the codes of noisy are the coarsest


PIXELS = [
    (row, column) for row in range(HEIGHT) for column in range(WIDTH) if (row, column) != (6, 10)
]


def random_scene():
    """Images and masks; the marker stands on pixel (6, 10) at first."""
    rng = np.random.default_rng(3)
    clean = rng.random((BANDS, HEIGHT, WIDTH), np.float32)
    noisy, denoised = (
        clean + scale * rng.standard_normal(clean.shape, np.float32) for scale in (0.1, 0.02)
    )
    masks = {name: rng.integers(0, 3, clean.shape) for name in ("spatial", "spectral")}
    return {"noisy": noisy, "denoised": denoised, "clean": clean}, masks


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspector") / "page.html"
    path.write_text(inspector_page("toy, mixture", *scene_arguments()), encoding="utf-8")
    return path


def scene_arguments():
    images, masks = random_scene()
    return images, WAVELENGTHS, masks, 3


class Inspected:
    """The open page, and how a test reads it."""

    def __init__(self, page):
        self.page = page
        page.get_by_text("row ", exact=False).first.wait_for()

    def column(self, source, name):
        """A column of a source; its pictures as nested lists."""
        script = """([source, name]) => {
            const values = Bokeh.documents[0].get_model_by_name(source).data[name]
            return Array.from(values, (each) => each.length && each.shape ? Array.from(each) : each)
        }"""
        return self.page.evaluate(script, [source, name])

    def picture(self, name):
        return np.reshape(self.column("frame", name), (HEIGHT, WIDTH))

    def spectrum(self, name):
        """By the number of the band."""
        values = np.empty(BANDS)
        values[ORDER] = self.column("bands", name)
        return values

    def place(self, panel, x, y):
        """Where a point of a plot is on the screen."""
        script = """([panel, x, y]) => {
            const found = Bokeh.documents[0].get_model_by_name(panel)
            const view = Bokeh.index.find_one(found)
            const {left, top} = view.canvas_view.el.getBoundingClientRect()
            const {x_scale, y_scale} = view.frame
            return [left + x_scale.compute(x), top + y_scale.compute(y)]
        }"""
        return self.page.evaluate(script, [panel, x, y])

    def click(self, panel, x, y):
        self.page.mouse.click(*self.place(panel, x, y))

    def wait(self, text):
        self.page.get_by_text(text).wait_for()

    def colours(self, panel, pixels):
        """What is on the screen at the middle of pixels (row, column)."""
        screen = np.asarray(Image.open(BytesIO(self.page.screenshot())).convert("RGB"))
        places = [self.place(panel, column, row) for row, column in pixels]
        return np.array([screen[round(y), round(x)] for x, y in places], float)

    def ranges(self, panel):
        script = """(panel) => {
            const {x_range, y_range} = Bokeh.documents[0].get_model_by_name(panel)
            return [x_range.start, x_range.end, y_range.start, y_range.end]
        }"""
        return np.array(self.page.evaluate(script, panel))

    def eventually(self, condition):
        """Paint comes a little after the data."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "the page does not show it"
            self.page.wait_for_timeout(20)


@pytest.fixture
def inspected(open_page, file):
    return Inspected(open_page(file))


def as_grey(picture, clean):
    """The grey of each pixel in 0..255, between the percentiles of the clean band."""
    low, high = np.percentile(clean, (1, 99))
    levels = ((picture - low) / (high - low) * 256).clip(0, 255).astype(int)
    return np.array([ImageColor.getrgb(Greys256[level])[0] for level in levels])


def test_every_band_is_shown_with_its_own_greys_and_row_0_on_top(inspected):
    images, _ = random_scene()
    first, last = (
        inspected.place("noisy", *corner) for corner in ((0, 0), (WIDTH - 1, HEIGHT - 1))
    )
    assert last[0] > first[0] + 100
    assert last[1] > first[1] + 100
    for band, key in ((2, None), (3, "ArrowRight"), (2, "ArrowLeft"), (1, "ArrowLeft")):
        if key:
            inspected.page.keyboard.press(key)
        inspected.wait(f"Band {band}: {WAVELENGTHS[band]:.1f} nm")
        for name, image in images.items():
            np.testing.assert_allclose(inspected.picture(name), image[band], atol=STEP)
            greys = as_grey(
                np.array([image[band][pixel] for pixel in PIXELS]), images["clean"][band]
            )
            # a level may tip over by quantisation
            inspected.eventually(
                lambda name=name, greys=greys: (
                    np.abs(inspected.colours(name, PIXELS) - greys[:, None]).max() <= 2
                )
            )
        error = np.abs(images["denoised"][band] - images["clean"][band])
        np.testing.assert_allclose(inspected.picture("difference"), error, atol=2 * STEP)


def test_the_slider_goes_one_band_a_key_and_stops_at_the_ends(inspected):
    handle = inspected.page.locator(".noUi-handle")
    for key, band in (("ArrowRight", 3), ("ArrowRight", 4), ("ArrowRight", 4), ("Home", 0)):
        handle.press(key)
        inspected.wait(f"Band {band}: {WAVELENGTHS[band]:.1f} nm")
    inspected.page.keyboard.press("ArrowLeft")
    inspected.click("denoised", 1, 1)
    inspected.wait("row 1, column 1:")
    assert inspected.page.get_by_text("Band 0: 500.0 nm").is_visible()


@pytest.mark.parametrize("panel", ["noisy", "difference"])
def test_a_click_shows_the_pixels_spectra_and_regions(inspected, panel):
    images, masks = random_scene()
    palette = region_colours(3)
    for row, column in ((0, 19), (11, 3)):
        inspected.click(panel, column, row)
        spatial, spectral = (mask[2, row, column] for mask in masks.values())
        inspected.wait(
            f"row {row}, column {column}: spatial region {spatial + 1}, "
            f"spectral region {spectral + 1} in band 2"
        )
        assert inspected.column("bands", "x") == sorted(WAVELENGTHS)
        for name, image in images.items():
            np.testing.assert_allclose(inspected.spectrum(name), image[:, row, column], atol=STEP)
        for name, mask in masks.items():
            strip = [palette[mask[band, row, column]] for band in ORDER]
            assert inspected.column("bands", name) == strip
        assert inspected.column("marker", "row") == [row]
        assert inspected.column("marker", "column") == [column]


def test_the_overlay_is_the_mask(inspected):
    images, masks = random_scene()
    palette = np.array([ImageColor.getrgb(colour) for colour in region_colours(3)])
    below = np.array([images["denoised"][2][pixel] for pixel in PIXELS])
    grey = as_grey(below, images["clean"][2])[:, None]
    for choice, mask in masks.items():
        inspected.page.get_by_text(choice, exact=True).click()
        over = palette[[mask[2][pixel] for pixel in PIXELS]]
        inspected.eventually(
            lambda over=over: (
                np.abs(inspected.colours("denoised", PIXELS) - (grey + over) / 2).max() <= 2
            )
        )
        assert (inspected.picture("overlay") == mask[2]).all()
    inspected.page.get_by_text("regions off").click()
    inspected.eventually(lambda: np.abs(inspected.colours("denoised", PIXELS) - grey).max() <= 2)


def test_the_psnr_of_each_band_is_shown_and_chooses_the_band(inspected):
    images, _ = random_scene()
    for name in ("noisy", "denoised"):
        error = (images[name].astype(float) - images["clean"]) ** 2
        expected = -10 * np.log10(error.mean(axis=(1, 2)))
        np.testing.assert_allclose(inspected.spectrum(f"psnr_{name}"), expected, rtol=1e-5)
        assert inspected.page.get_by_text(f"{name} {expected.mean():.2f} dB").is_visible()
    inspected.click("psnr", 660, expected.mean())
    inspected.wait("Band 4: 700.0 nm")
    inspected.click("spectra", 440, 0.5)
    inspected.wait("Band 1: 450.0 nm")


def test_zooming_one_picture_zooms_all_with_square_pixels_and_stays(inspected):
    before = inspected.ranges("noisy")
    inspected.page.mouse.move(*inspected.place("noisy", 4, 3))
    inspected.page.mouse.wheel(0, -300)
    inspected.eventually(lambda: (inspected.ranges("noisy") != before).all())
    zoomed = inspected.ranges("noisy")
    inspected.page.keyboard.press("ArrowRight")
    inspected.wait("Band 3: 550.0 nm")
    for panel in ("noisy", "denoised", "clean", "difference"):
        np.testing.assert_array_equal(inspected.ranges(panel), zoomed)
        (left, top), (right, bottom) = (inspected.place(panel, i, i) for i in (0, 8))
        assert right - left == pytest.approx(bottom - top, rel=1e-3)
    images, _ = random_scene()
    inside = [(row, column) for row in (2, 3, 4) for column in (3, 4, 5)]
    greys = as_grey(np.array([images["clean"][3][p] for p in inside]), images["clean"][3])
    inspected.eventually(
        lambda: np.abs(inspected.colours("clean", inside) - greys[:, None]).max() <= 2
    )


def test_hovering_tells_row_column_and_value(inspected):
    inspected.page.mouse.move(*inspected.place("denoised", 17, 9))
    inspected.wait("9, 17")
    inspected.wait(f"{inspected.picture('denoised')[9, 17]:.4f}")


def test_one_band_without_reference_and_wavelengths(open_page, tmp_path):
    images, _ = random_scene()
    few = {name: images[name][:1].copy() for name in ("noisy", "denoised")}
    few["denoised"][0, 0, 0] = np.nan
    path = tmp_path / "page.html"
    path.write_text(inspector_page("one", few, None, {}, 1), encoding="utf-8")
    inspected = Inspected(open_page(path))
    assert inspected.page.get_by_text("Band 0 (0 to 0)").is_visible()
    assert not inspected.page.locator(".noUi-handle").is_visible()
    assert not inspected.page.get_by_text("regions off").is_visible()
    np.testing.assert_allclose(inspected.picture("denoised"), few["denoised"][0], atol=STEP)
    removed = few["noisy"][0] - few["denoised"][0]
    np.testing.assert_allclose(inspected.picture("difference"), removed, atol=2 * STEP)
    inspected.page.keyboard.press("ArrowRight")
    inspected.click("noisy", 0, 0)
    inspected.wait(f"noisy {few['noisy'][0, 0, 0]:.4f}, denoised NaN")
    assert np.isnan(inspected.column("bands", "denoised")[0])
    unknown = ImageColor.getrgb(NAN_COLOUR)
    corner = [(0.3, 0.3)]
    inspected.eventually(lambda: (inspected.colours("denoised", corner) == unknown).all())
    inspected.eventually(lambda: (inspected.colours("difference", corner) == unknown).all())
    assert inspected.page.get_by_text("row 0, column 0", exact=True).is_visible()


@pytest.mark.parametrize("size", [(1400, 900), (390, 800)])
def test_nothing_overlaps_or_sticks_out(inspected, size):
    width, height = size
    inspected.page.set_viewport_size({"width": width, "height": height})
    inspected.page.wait_for_function("Bokeh.documents[0].is_idle")
    script = """() => {
        const views = ["noisy", "spectra"].map((name) => {
            return Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(name))
        })
        return views.map(({el}) => el.getBoundingClientRect()).map(({top, bottom}) => [top, bottom])
    }"""
    caption = inspected.page.get_by_text("row 6, column 10")

    def is_stacked():
        (_, bottom), (top, _) = inspected.page.evaluate(script)
        box = caption.bounding_box()
        return bottom <= box["y"] and box["y"] + box["height"] <= top

    inspected.eventually(is_stacked)
    inside = [f"document.documentElement.scrollWidth <= {width}"]
    if height == 900:
        inside.append(f"document.documentElement.scrollHeight <= {height}")
    inspected.page.wait_for_function(" && ".join(inside))


def test_the_heading_stays_on_one_line(open_page, tmp_path):
    images = {name: np.zeros((200, 3, 4), np.float32) for name in ("noisy", "denoised")}
    path = tmp_path / "page.html"
    page = inspector_page("wide", images, np.linspace(400, 2265.6, 200), {}, 1)
    path.write_text(page, encoding="utf-8")
    inspected = Inspected(open_page(path))
    heading = inspected.page.get_by_text("Band 100: 1337.5 nm").locator("xpath=..")
    script = "e => [getComputedStyle(e).whiteSpace, e.scrollWidth <= e.clientWidth]"
    inspected.eventually(lambda: heading.evaluate(script) == ["nowrap", True])


def test_a_cropped_scene_keeps_its_rows_and_columns(open_page, tmp_path, monkeypatch):
    images, masks = random_scene()
    room = 4 / 3 * 9 * 15 * (BANDS * (len(images) + len(masks)) + 17)
    monkeypatch.setattr(inspector_data, "LIMIT", inspector_data.FRAME + room)
    path = tmp_path / "page.html"
    path.write_text(inspector_page("cropped", *scene_arguments()), encoding="utf-8")
    inspected = Inspected(open_page(path))
    inspected.wait("shown are rows 1 to 9 and columns 2 to 16")
    inspected.click("clean", 3, 9)
    inspected.wait(f"row 9, column 3: spatial region {masks['spatial'][2, 9, 3] + 1}")
    for name, image in images.items():
        np.testing.assert_allclose(inspected.spectrum(name), image[:, 9, 3], atol=STEP * 257)
    inspected.page.mouse.move(*inspected.place("clean", 16, 1))
    inspected.wait("1, 16")
