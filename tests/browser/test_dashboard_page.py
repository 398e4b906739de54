"""The list of runs in a browser: its order and its filter."""

import pytest

from lightning_ras2s.pages.dashboard import write_dashboard
from tests.pages.toy_run import put_metrics, put_record

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
    return page.locator("tbody tr:visible td:first-child a").all_inner_texts()


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
