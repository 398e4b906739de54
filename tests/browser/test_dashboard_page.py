"""The list of runs in a browser: its order, its filter, what is compared, and that it goes on."""

import threading

import pytest

from lightning_ras2s.pages.dashboard import make_server, write_dashboard
from tests.pages.toy_run import put_evaluation, put_metrics, put_record

PSNR = {"beta": 9.5, "alpha": 31.5, "gamma": None, "delta": 31.25}


@pytest.fixture
def page(tmp_path, open_page):
    """The list of four runs, which began in their order."""
    for day, (name, psnr) in enumerate(PSNR.items(), start=10):
        run = tmp_path / "runs" / name / "x"
        put_record(run, experiment=name, started=f"2026-11-{day}T09:00:00", finished=None)
        if psnr is not None:
            put_metrics(run, [{"step": 1, "val/psnr_db": psnr}])
    (tmp_path / "dashboard.html").write_text(write_dashboard(tmp_path / "runs"))
    return open_page(tmp_path / "dashboard.html")


def names(page):
    return page.locator("#runs tbody tr:visible td:nth-child(2) a").all_inner_texts()


def test_a_click_on_a_header_sorts_numbers_as_numbers_and_empties_last(page):
    assert names(page) == ["delta", "gamma", "alpha", "beta"]  # the newest first
    header = page.get_by_role("button", name="Val PSNR (dB)")
    header.click()
    assert names(page) == ["alpha", "delta", "beta", "gamma"]
    header.click()
    assert names(page) == ["beta", "delta", "alpha", "gamma"]
    assert page.locator("th[aria-sort]").all_inner_texts() == ["Val PSNR (dB)"]


def test_text_sorts_as_text_and_times_by_time(page):
    page.get_by_role("button", name="Experiment").click()
    assert names(page) == ["alpha", "beta", "delta", "gamma"]
    page.get_by_role("button", name="Started").click()
    assert names(page) == ["delta", "gamma", "alpha", "beta"]
    page.get_by_role("button", name="Started").click()
    assert names(page) == ["beta", "alpha", "gamma", "delta"]


def test_the_filter_keeps_the_runs_that_have_all_words(page):
    page.get_by_label("Filter").fill("31.50 ALPH")
    assert names(page) == ["alpha"]
    assert page.locator("#shown").inner_text() == "1"
    page.get_by_label("Filter").fill("")
    assert len(names(page)) == 4


@pytest.fixture
def runs(tmp_path):
    """Three trainings: two were tested under two cases, one under one."""
    folder = tmp_path / "runs"
    for day, (name, rate, psnr) in enumerate((("a", 0.1, 30), ("b", 0.2, 32), ("c", 0.2, 34)), 10):
        run = put_record(folder / name / "x", experiment=name, started=f"2026-11-{day}T09:00:00")
        (run / "config.yaml").write_text(f"model: {{rate: {rate}}}\nseed: 1")
        rows = [{"step": s, "val/psnr_db": psnr - 3 + s, "train/loss": 0.1 / s} for s in (1, 2, 3)]
        put_metrics(run, rows)
        put_evaluation(run, "icvl", "mixture", RAS2S=(psnr, 0.5, 0.1, 20.0))
        if name != "c":
            text = (run / "evaluation.csv").read_text()
            put_evaluation(run, "icvl", "noniid", RAS2S=(psnr + 5, 0.5, 0.1, 20.0))
            more = (run / "evaluation.csv").read_text().splitlines(keepends=True)[1:]
            (run / "evaluation.csv").write_text(text + "".join(more))
    return folder


@pytest.fixture
def compared(runs, tmp_path, open_page):
    (tmp_path / "dashboard.html").write_text(write_dashboard(runs))
    return open_page(tmp_path / "dashboard.html")


def column(page, title):
    return page.locator(f"#runs td[data-column='{title}']").all_inner_texts()


def test_the_numbers_are_those_of_the_noise_case_that_is_chosen(compared):
    assert compared.locator("#case option").all_inner_texts() == ["mixture", "noniid"]
    assert column(compared, "PSNR (dB)") == ["34.00", "32.00", "30.00"]
    compared.locator("#case").select_option("noniid")
    assert column(compared, "PSNR (dB)") == ["", "37.00", "35.00"]
    compared.get_by_role("button", name="PSNR (dB)", exact=True).click()
    assert names(compared) == ["b", "a", "c"]
    assert column(compared, "Best")[0] == "RAS2S 37.00 dB"


def test_two_that_are_ticked_are_compared_curves_numbers_and_configuration(compared):
    assert not compared.locator("#comparison").is_visible()
    for name in ("a/x", "b/x"):
        compared.get_by_label(f"Compare {name}").check()
    assert compared.locator("#comparison").is_visible()
    for chart in ("#curve-psnr", "#curve-loss"):
        assert compared.locator(f"{chart} path.line").count() == 2
    assert compared.locator("#comparison-legend span").all_inner_texts() == ["a/x", "b/x"]
    numbers = [row.inner_text().split("\t") for row in compared.locator("#numbers tbody tr").all()]
    assert [row[:2] for row in numbers] == [["a/x", "30.00"], ["b/x", "32.00"]]
    differences = compared.locator("#differences tbody tr").all_inner_texts()
    assert differences == ["model.rate\t0.1\t0.2"]
    box = compared.locator("#curve-psnr").bounding_box()
    compared.mouse.move(box["x"] + box["width"] - 20, box["y"] + 100)
    assert compared.locator("#tip").inner_text().split("\n") == ["step 3", "a/x 30", "b/x 32"]
    compared.get_by_label("Compare a/x").uncheck()
    compared.get_by_label("Compare c/x").check()
    assert not compared.locator("#differences").is_visible()  # of the two left, none
    assert compared.locator("#differences-title").inner_text().endswith(": none")


def test_a_served_page_looks_again_by_itself_and_keeps_what_was_chosen(runs, browser):
    server = make_server(runs, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.clock.install()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.get_by_label("Compare a/x").check()
        page.get_by_label("Compare b/x").check()
        page.get_by_label("Filter").fill("2026")
        page.get_by_role("button", name="Experiment").click()
        assert names(page) == ["a", "b", "c"]
        put_record(runs / "d" / "x", experiment="d", status="failed")
        put_metrics(runs / "a" / "x", [{"step": 1, "val/psnr_db": 50.0}])
        page.clock.run_for(5500)
        page.get_by_role("link", name="d", exact=True).wait_for()
        assert names(page) == ["a", "b", "c", "d"]
        assert page.locator("#runs tbody tr").first.inner_text().count("50.00") == 1
        assert page.get_by_label("Compare a/x").is_checked()
        assert page.locator("#comparison").is_visible()
        assert page.get_by_label("Filter").input_value() == "2026"
        server.shutdown()
        server.server_close()
        page.clock.run_for(11000)
        assert names(page) == ["a", "b", "c", "d"]  # what is there stays
    finally:
        server.shutdown()
        thread.join()
        context.close()
