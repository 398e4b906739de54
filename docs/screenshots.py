"""Takes README's pictures of pages in a real browser: of a run of the quickstart, and of quality.

make figures CKPT=runs/quickstart/<time>/checkpoints/best.ckpt
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from datamodules import write_scene
from datamodules.indian_pines import load_scene
from lightning_ras2s.inference.command import main as denoise
from tests.browser.chromium import WINDOW, launch

DOCS = Path(__file__).parent
TALL = {"width": 1400, "height": 2000}  # shows the numbers and the first pictures
CLICKED = (100, 16)  # row and column, those of docs/figures.py
TO_THE_NOISE = {"width": 1400, "height": 1230}  # the five lines, the pictures and the spectra
PLACE = """([row, column]) => {
    const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("denoised"))
    const {left, top} = view.canvas_view.el.getBoundingClientRect()
    return [left + view.frame.x_scale.compute(column), top + view.frame.y_scale.compute(row)]
}"""


def open_page(page: Page, path: Path) -> None:
    """Opens a file, to the moment when Bokeh has drawn it."""
    page.goto(path.absolute().as_uri())
    page.wait_for_function("Bokeh.documents[0].is_idle")


def choose_pixel(page: Page) -> None:
    """Puts the spatial regions over the pictures, and clicks on a pixel of the denoised one."""
    page.get_by_text("spatial", exact=True).click()
    place = page.evaluate(PLACE, CLICKED)
    page.mouse.click(*place)
    page.get_by_text(f"row {CLICKED[0]}, column {CLICKED[1]}").wait_for()


def main(run: Path) -> None:
    """Opens the pages of a run and takes their pictures."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport=TALL)
        open_page(page, run / "report.html")
        page.screenshot(path=DOCS / "report.png")
        page.set_viewport_size(WINDOW)
        open_page(page, next((run / "inspector").glob("*_mixture.html")))
        choose_pixel(page)
        page.screenshot(path=DOCS / "inspector.png")
        page.set_viewport_size(TO_THE_NOISE)
        with TemporaryDirectory() as folder:
            take_quality(page, Path(folder))
        browser.close()


def take_quality(page: Page, folder: Path) -> None:
    """Denoises Indian Pines, and looks at its page at the noisiest band."""
    write_scene(load_scene(), folder / "indian_pines.hdr")
    denoise([str(folder / "indian_pines.hdr"), "-o", str(folder / "clean.hdr")])
    open_page(page, folder / "clean.quality.html")
    page.evaluate("Bokeh.documents[0].roots().find((root) => root.type === 'Slider').value = 0")
    page.get_by_text("Band 0:").wait_for()
    page.wait_for_function("Bokeh.documents[0].is_idle")
    page.screenshot(path=DOCS / "quality.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute().parents[1])
