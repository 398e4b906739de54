"""Takes the documentation's pictures of pages in a real browser.

make figures [CKPT=ras2s]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from datamodules import write_scene
from datamodules.indian_pines import load_scene
from lightning_ras2s.experiment import main as experiment
from lightning_ras2s.inference.command import main as denoise
from tests.browser.chromium import launch
from tests.browser.viewing import PLACE

DOCS = Path(__file__).parent
REPORT = {"width": 1400, "height": 1700}  # the numbers and the first figure
INSPECTOR = {"width": 1440, "height": 1290}
QUALITY = {"width": 1400, "height": 1330}  # the five lines, the pictures and the spectra
CLICKED = (100, 16)  # row and column, those of docs/figures.py
BAND = 20  # likewise


def open_page(page: Page, path: Path) -> None:
    """Opens a file, to the moment when it has drawn itself."""
    page.goto(path.absolute().as_uri())
    page.wait_for_function("document.querySelector('[data-shown]')")


def show_band(page: Page, band: int) -> None:
    """Goes to a band, along the slider."""
    move = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }"
    page.locator("#band").evaluate(move, str(band))
    page.get_by_text(f"Band {band},").first.wait_for()


def main(weights: str = "ras2s") -> None:
    """Tests weights, denoises a file, opens the pages of both and takes their pictures."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / "run"
        experiment(["test", "quickstart", f"--weights={weights}", f"--run_dir={run}"])
        page = launch(playwright).new_page(viewport=REPORT)
        open_page(page, run / "report.html")
        page.screenshot(path=DOCS / "report.png")
        take_inspector(page, next((run / "inspector").glob("*.html")))
        take_quality(page, Path(folder))


def take_inspector(page: Page, path: Path) -> None:
    """At a pixel and band, under mixture noise."""
    page.set_viewport_size(INSPECTOR)
    open_page(page, path)
    page.locator("#case").select_option(label="mixture")
    page.locator("#region-source").select_option(label="embedding")
    show_band(page, BAND)
    left, top, x, y = page.evaluate(PLACE, ["picture", *CLICKED])
    page.mouse.click(left + x, top + y)
    page.get_by_text(f"row {CLICKED[0]}, column {CLICKED[1]}").first.wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    page.screenshot(path=DOCS / "inspector.png")


def take_quality(page: Page, folder: Path) -> None:
    """Denoises Indian Pines, and looks at its page at the noisiest band."""
    write_scene(load_scene(), folder / "indian_pines.hdr")
    denoise([str(folder / "indian_pines.hdr"), "-o", str(folder / "clean.hdr")])
    page.set_viewport_size(QUALITY)
    open_page(page, folder / "clean.quality.html")
    show_band(page, 0)
    page.wait_for_timeout(300)
    page.screenshot(path=DOCS / "quality.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
