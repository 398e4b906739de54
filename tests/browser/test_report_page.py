"""A run's page in a browser, opened from disk."""

import pytest

from lightning_ras2s.pages.report import write_report
from tests.pages.toy_run import put_evaluation, put_metrics, put_picture, put_record


@pytest.fixture
def page(tmp_path, open_page):
    """The page of a whole run."""
    run = put_record(tmp_path / "run")
    put_metrics(run)
    put_evaluation(
        run, "icvl", "mixture", Noisy=(12.0, 0.2, 0.8, 60.0), RAS2S=(32.0, 0.5, 0.1, 20.0)
    )
    (run / "config.yaml").write_text("data: {class_path: datamodules.ICVL}")
    put_picture(run, "test", "scenes_one", (80, 60))
    put_picture(run, "test", "spectra_one", (80, 60))
    return open_page(write_report(run))


def test_every_chart_is_drawn(page):
    page.wait_for_function("document.querySelectorAll('.chart').length === 5")
    # Bokeh draws into canvases in shadow roots, which locators reach.
    page.locator(".chart canvas").nth(4).wait_for(state="attached")
    page.wait_for_function("Bokeh.documents[0].is_idle")
    drawn = page.locator(".chart canvas").evaluate_all(
        """canvases => canvases.map(canvas => {
            const {width, height} = canvas
            const {data} = canvas.getContext('2d').getImageData(0, 0, width, height)
            let blue = 0
            for (let i = 0; i < data.length; i += 4)
                blue += data[i] === 0 && data[i + 1] === 114 && data[i + 2] === 178
            return blue
        })"""
    )
    assert sum(blue > 5 for blue in drawn) == 5, drawn


def test_a_click_enlarges_a_picture_and_another_puts_it_back(page):
    picture = page.locator("figure img").first
    before = picture.bounding_box()
    assert before["width"] <= 80
    picture.click()
    assert picture.bounding_box() == {"x": 0, "y": 0, "width": 1400, "height": 900}
    picture.click()
    assert picture.bounding_box() == before


def test_one_click_selects_the_whole_command(page):
    page.locator("pre.command").click()
    selected = page.evaluate("getSelection().toString()")
    assert selected == "python -m lightning_ras2s fit -c experiments/quickstart.yaml"


@pytest.mark.parametrize("width", [390, 1000, 1600])
def test_nothing_sticks_out(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("Bokeh.documents[0].is_idle")
    # The charts follow the window a little later; what still sticks out then ends in a timeout.
    page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
