"""A run's page in a browser, opened from disk."""

import re
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lightning_ras2s.pages.report import write_report
from lightning_ras2s.pictures.gallery import Subject
from tests.pages.toy_run import put_evaluation, put_metrics, put_picture, put_record

CASES = ("noniid", "mixture")
TOPICS = ("scenes", "spectra", "bandwise")


@pytest.fixture
def run(tmp_path):
    """A whole run: figures of two noise cases, in vector form too."""
    run = put_record(tmp_path / "run")
    put_metrics(run)
    means = {"Noisy": (12.0, 0.2, 0.8, 60.0), "RAS2S": (32.0, 0.5, 0.1, 20.0)}
    put_evaluation(run, "icvl", "noniid", **means)
    first = (run / "evaluation.csv").read_text()
    put_evaluation(run, "icvl", "mixture", **means)
    rows = (run / "evaluation.csv").read_text().splitlines(keepends=True)[1:]
    (run / "evaluation.csv").write_text(first + "".join(rows))
    (run / "config.yaml").write_text("data: {class_path: datamodules.ICVL}")
    for case in CASES:
        for topic in TOPICS:
            name = f"{topic}_one-{case}"
            put_picture(run, "test", name, (80, 60), Subject("one", case, topic))
            figure = Figure((3, 2))
            figure.text(0.1, 0.5, f"{topic} {case}")
            for kind in ("svg", "pdf"):
                figure.savefig(run / "pictures" / "test" / f"{name}.{kind}")
        table = "band,wavelength_nm,psnr_db noisy,psnr_db RAS2S\n0,400,10,30\n1,410,11,31\n"
        (run / "pictures" / "test" / f"bandwise_one-{case}-table.csv").write_text(table)
    return run


@pytest.fixture
def page(run, open_page):
    page = open_page(write_report(run))
    page.wait_for_function("document.querySelector('.stage').dataset.shown")
    return page


def figures(page):
    return [f.get_attribute("alt") for f in page.locator(".topic img").all()]


def test_every_chart_is_drawn_and_reads_out(page):
    lines = page.locator(".chart svg path.line")
    assert lines.count() == 5
    assert all(lines.nth(n).get_attribute("d").startswith("M") for n in range(5))
    chart = page.locator(".chart svg").nth(1)
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.66 * box["width"], box["y"] + 60)
    told = page.locator("#tip").inner_text().split("\n")
    assert told == ["step 20, epoch 1", "val/psnr_db 32.5"]


def test_one_figure_a_topic_follows_the_choice_of_noise(page):
    assert page.locator(".topic").count() == 3
    assert figures(page) == [
        f"{title}: one, mixture" for title in ("Scenes", "Spectra", "Band by band")
    ]
    options = page.locator("select.case option").all_inner_texts()
    assert options == list(CASES)  # the order of the table
    page.locator("select.case").select_option(label="noniid")
    page.wait_for_function("document.querySelector('.stage').dataset.shown === 'one noniid'")
    assert figures(page)[0] == "Scenes: one, noniid"
    assert page.locator(".bands tbody").first.inner_text().startswith("worst: band 0, 400 nm")
    images = page.locator(".topic img").all()
    assert all(
        image.evaluate("e => e.decode().then(() => e.naturalWidth)") == 288 for image in images
    )


def test_figures_are_as_wide_as_the_page(page):
    boxes = [sheet.bounding_box() for sheet in page.locator(".sheet").all()]
    whole = page.locator("main").bounding_box()
    assert all(abs(box["width"] - whole["width"]) < 3 for box in boxes)


def test_the_lightbox_goes_on_back_and_away(page):
    page.locator(".sheet").first.click()
    box = page.locator("#lightbox")
    assert box.is_visible()
    name = page.locator("#lightbox-name")
    assert name.inner_text() == "Scenes: one, mixture"
    page.get_by_role("button", name="next").click()
    assert name.inner_text() == "Spectra: one, mixture"
    page.keyboard.press("ArrowRight")
    assert name.inner_text() == "Band by band: one, mixture"
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="previous").click()
    assert name.inner_text() == "Band by band: one, mixture"
    size = page.locator("#lightbox-picture").bounding_box()
    assert size["width"] == 1400
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert page.evaluate("document.activeElement.className") == "sheet"


def download(page, button):
    with page.expect_download() as waiting:
        button.click()
    path = waiting.value.path()
    return waiting.value.suggested_filename, path.read_bytes()


def test_figures_can_be_taken_as_svg_pdf_and_png_of_300_dpi(page, run):
    topic = page.locator(".topic").nth(1)
    for kind in ("svg", "pdf"):
        name, content = download(page, topic.get_by_role("button", name=kind.upper()))
        assert name == f"spectra_one-mixture.{kind}"
        assert content == (run / "pictures" / "test" / name).read_bytes()
    name, content = download(page, topic.get_by_role("button", name="PNG"))
    assert name == "spectra_one-mixture.png"
    image = Image.open(BytesIO(content))
    assert image.size == (900, 600)  # 3 x 2 inches
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert np.ptp(np.asarray(image.convert("L"))) > 200


def test_the_table_can_be_taken_as_csv_and_latex(page):
    name, content = download(page, page.get_by_role("button", name="CSV"))
    assert name == "quickstart.csv"
    assert content.decode().splitlines()[1].startswith("icvl,noniid,Noisy,12.0,")
    name, content = download(page, page.get_by_role("button", name="LaTeX"))
    assert name == "quickstart.tex"
    assert r"\toprule" in content.decode()


def test_the_contents_lead_to_every_part(page):
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    page.get_by_role("link", name="Training").click()
    assert page.locator("#curves h2").bounding_box()["y"] < 900


def test_one_click_selects_the_whole_command(page):
    page.locator("pre.command").click()
    selected = page.evaluate("getSelection().toString()")
    assert selected == "python -m lightning_ras2s fit -c experiments/quickstart.yaml"


@pytest.mark.parametrize("width", [390, 1000, 1600])
def test_nothing_sticks_out(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    # The charts follow the window a little later; what still sticks out then ends in a timeout.
    page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")


def test_the_dark_page_is_dark_and_its_figures_stay_on_paper(page):
    page.emulate_media(color_scheme="dark")
    colours = page.evaluate(
        """[document.body, document.querySelector('.sheet')]
            .map(each => getComputedStyle(each).backgroundColor)"""
    )
    dark, paper = ([int(c) for c in re.findall(r"\d+", colour)] for colour in colours)
    assert max(dark) < 50
    assert min(paper) == 255
