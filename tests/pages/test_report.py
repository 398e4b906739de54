"""The page of a run: what it shows, and that whatever is missing is left out."""

import base64
import csv
import json
import math
import re
import zlib

import pytest

from lightning_ras2s.pages import report
from lightning_ras2s.pages.curves import charts, charts_of
from lightning_ras2s.pages.report import ReportError, write_report
from lightning_ras2s.pages.result_tables import paper_tests
from lightning_ras2s.pages.template import duration, placeless
from lightning_ras2s.pictures.gallery import Subject
from lightning_ras2s.runs.folder import RunFolder, find_runs
from tests.pages.toy_run import (
    CONFIG,
    METRICS,
    Page,
    put_evaluation,
    put_inspector,
    put_metrics,
    put_picture,
    put_record,
)

EVIL = "<script>alert('x')</script>"
RESULTS = {
    "Noisy": (12.5, 0.25, 0.75, 60.0),
    "Median": (27.125, 0.5, 0.1234, 40.0),
    "RAS2S": (31.75, 0.75, 0.25, 20.5),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run, not yet made, below a folder of runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "quickstart" / "2026-11-23_09-00-00"


def put_config(run, text):
    """Writes ``config.yaml``."""
    (run / "config.yaml").write_text(text)


def page_of(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_the_table_has_the_means_of_the_csv_and_the_best_in_bold(run):
    put_evaluation(run, "indian_pines", "mixture", **RESULTS)
    rows = page_of(run).rows
    assert rows[1:] == [
        ["mixture", "Noisy", "12.50", "0.2500", "0.7500", "60.00"],
        ["Median", "27.12", "0.5000", "*0.1234*", "40.00"],
        ["RAS2S", "*31.75*", "*0.7500*", "0.2500", "*20.50*"],
    ]


def test_the_headline_is_the_best_method_and_its_gain(run):
    put_evaluation(run, "indian_pines", "mixture", **RESULTS)
    text = page_of(run).text
    assert "indian_pines, mixture 31.75 dB RAS2S +19.25 dB over noisy" in text
    worse = RESULTS | {"RAS2S": (20.0, 0.1, 0.5, 50.0)}
    put_evaluation(run, "indian_pines", "mixture", **worse)
    text = page_of(run).text
    assert "27.12 dB Median +14.62 dB over noisy" in text
    assert "RAS2S: 20.00 dB" in text


def test_the_papers_numbers_stand_beside_ours_for_its_own_datasets_only(run):
    put_evaluation(run, "icvl", "mixture", **RESULTS)
    put_config(run, "data: {class_path: datamodules.ICVL}")
    rows = page_of(run).rows
    assert ["RAS2Spaper", "41.33", "0.9953", "0.0467", "-"] in rows
    assert ["Noisypaper", "13.97", "0.3392", "0.8987", "-"] in rows
    methods = [row for row in rows if len(row) == 4 and row[1] != "PSNR"]
    assert len(methods) == 17  # the paper's 16 rows and this run
    assert methods[13:] == [
        ["SERT", "40.44", "0.9941", "0.0470"],
        ["HSDT-S", "40.76", "0.9940", "0.0505"],
        ["RAS2S", "41.33", "0.9953", "0.0467"],
        ["RAS2S, this run", "31.75", "0.7500", "0.2500"],
    ]
    for dataset, case in (("indian_pines", "mixture"), ("icvl", "gaussian50")):
        put_evaluation(run, dataset, case, **RESULTS)
        page = page_of(run)
        assert len(page.rows) == 4
        assert "all" not in page.attributes("details", "class")


SETS = "{icvl: {class_path: datamodules.Folder}, cave: {class_path: datamodules.CAVE}}"


@pytest.mark.parametrize(
    ("config", "papers"),
    [
        ("data: {class_path: datamodules.icvl.ICVL, init_args: {protocol: ras2s}}", {"icvl"}),
        ("data: {class_path: datamodules.ICVL, init_args: {protocol: t3sc}}", set()),
        ("data: {class_path: datamodules.CAVE, init_args: {protocol: hsir}}", {"cave"}),
        ("data: {class_path: datamodules.KAIST, init_args: null}", {"kaist"}),
        ("data: {class_path: my.own.ICVL}", set()),
        ("data: {class_path: datamodules.Folder, init_args: {path: icvl}}", set()),
        (f"data: {{class_path: datamodules.TestSets, init_args: {{sets: {SETS}}}}}", {"cave"}),
        ("data: {class_path: 3}", set()),
        ("data: {", set()),
        ("", set()),
    ],
)
def test_the_papers_test_is_told_by_the_class_and_its_protocol(config, papers):
    assert paper_tests(config) == papers


def test_foreign_names_are_text(run):
    put_record(run, experiment=EVIL, error=EVIL, command=EVIL, data={EVIL: EVIL})
    (run / "config.yaml").write_text(EVIL)
    put_evaluation(run, EVIL, EVIL, **{"Noisy": RESULTS["Noisy"], EVIL: RESULTS["RAS2S"]})
    put_metrics(run, [*METRICS, {"step": 3, f"val/{EVIL[:8]}/psnr_db": 1.0}])
    put_picture(run, "test", "scenes_<b>&'\"")
    page = page_of(run)
    assert "alert" not in "".join(name for name, _ in page.tags)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<script>\s*alert", html)
    assert page.text.count(EVIL) >= 8
    assert figures_of(run)[0]["figures"][0]["scene"] == "<b>&'\""


def test_a_link_is_no_script(run):
    put_record(run, wandb={"id": "a", "url": "javascript:alert(1)"})
    assert not [href for href in page_of(run).attributes("a", "href") if "javascript" in href]


def test_the_page_fetches_nothing(run):
    put_record(run)
    put_metrics(run)
    put_evaluation(run, "icvl", "mixture", **RESULTS)
    put_picture(run, "test", "scenes_one")
    put_inspector(run, "a&b 1")
    page = page_of(run)
    assert not page.attributes("script", "src")
    addresses = page.attributes("img", "src") + page.attributes("link", "href")
    assert addresses == ["data:,"]
    html = (run / "report.html").read_text(encoding="utf-8")
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    links = page.attributes("a", "href")
    assert links[:4] == ["#results", "#pictures", "#curves", "#run"]
    assert links[4:] == [
        "inspector/a%26b%201.html",
        "https://wandb.example/ycdwoig7",
    ]


def figures_of(run):
    """What the page's script reads of its figures."""
    html = write_report(run).read_text(encoding="utf-8")
    return json.loads(re.search(r'id="report-data">(.*?)</script>', html, re.DOTALL)[1])["stages"]


def file_of(run, number):
    """A file inside the page."""
    html = (run / "report.html").read_text(encoding="utf-8")
    text = re.search(rf'id="blob-{number}">=([^<]*)<', html)[1]
    return zlib.decompress(base64.b64decode(text))


def test_there_is_one_figure_a_topic_with_its_cases_in_the_tables_order(run):
    put_record(run)
    for case in ("noniid", "mixture"):
        put_evaluation(run, "indian_pines", case, **RESULTS)
    rows = (run / "evaluation.csv").read_text().splitlines()
    put_evaluation(run, "indian_pines", "noniid", **RESULTS)
    (run / "evaluation.csv").write_text(
        "\n".join([*(run / "evaluation.csv").read_text().splitlines(), *rows[1:]])
    )
    for case in ("mixture", "noniid"):
        for topic in ("spectra", "scenes"):
            put_picture(run, "test", f"{topic}_one-{case}", (7, 5), Subject("one", case, topic))
    put_picture(
        run, "test", "regions_one-mixture-shares", (7, 5), Subject("one", "mixture", "shares")
    )
    put_picture(run, "val", "scenes_old", (7, 5))
    (run / "pictures" / "test" / "scenes_broken.png").write_bytes(b"\x89PNG")
    test, val = figures_of(run)
    assert (test["title"], val["title"]) == ("Test scenes", "Validation scenes")
    assert test["cases"] == ["noniid", "mixture"]
    assert test["scenes"] == ["one"]
    assert list(test["topics"]) == ["scenes", "spectra", "shares"]
    assert val["figures"][0] | {"files": None} == {
        **{"topic": "scenes", "scene": "old", "case": "", "name": "scenes_old"},
        **{"width": 7, "height": 5, "files": None, "extremes": None},
    }
    page = page_of(run)
    assert page.attributes("figure", "data-topic") == ["scenes", "spectra", "shares", "scenes"]


def test_figures_are_inside_in_every_form_that_there_is(run):
    put_record(run)
    put_picture(run, "test", "scenes_one")
    folder = run / "pictures" / "test"
    (folder / "scenes_one.svg").write_text("<svg/>")
    (folder / "scenes_one.pdf").write_bytes(b"%PDF")
    ((figure,),) = [stage["figures"] for stage in figures_of(run)]
    for kind in ("png", "svg", "pdf"):
        content = (folder / f"scenes_one.{kind}").read_bytes()
        assert file_of(run, figure["files"][kind]) == content


def test_worst_and_best_bands_are_named(run):
    put_record(run)
    put_picture(run, "test", "bandwise_one", (7, 5))
    lines = ["band,wavelength_nm,psnr_db noisy,psnr_db RAS2S,ssim noisy"]
    lines += [f"{band},{400 + 10 * band},{10 + band},{psnr},0.5" for band, psnr in
              enumerate((33, 31, "", 40, 36, 29, 38))]  # fmt: skip
    (run / "pictures" / "test" / "bandwise_one-table.csv").write_text("\n".join(lines))
    extremes = figures_of(run)[0]["figures"][0]["extremes"]
    assert extremes["methods"] == ["noisy", "RAS2S"]
    assert [row[0] for row in extremes["worst"]] == [
        *("band 5, 450 nm", "band 1, 410 nm", "band 0, 400 nm"),
    ]
    assert extremes["best"][0] == ["band 3, 430 nm", "13.00", "40.00"]


def test_the_table_can_be_taken_as_csv_and_latex(run):
    put_evaluation(run, "indian_pines", "mixture", **RESULTS)
    html = write_report(run).read_text(encoding="utf-8")
    files = json.loads(re.search(r'id="report-data">(.*?)</script>', html, re.DOTALL)[1])["files"]
    rows = list(csv.DictReader(files["csv"].splitlines()))
    assert [row["method"] for row in rows] == list(RESULTS)
    assert [float(row["psnr_db"]) for row in rows] == [12.5, 27.125, 31.75]
    lines = files["tex"].splitlines()
    assert r"mixture & Noisy & 12.50 & 0.2500 & 0.7500 & 60.00 \\" in lines
    assert r" & RAS2S & \textbf{31.75} & \textbf{0.7500} & 0.2500 & \textbf{20.50} \\" in lines
    assert r"\caption{indian\_pines: means over 2 test scene(s).}" in lines
    assert lines.count(r"\begin{tabular}{llrrrr}") == lines.count(r"\end{tabular}") == 1


def test_what_was_trained_on_tested_on_and_with_which_weights_is_told(run):
    put_record(run, command="ras2s fit quickstart")
    put_evaluation(run, "indian_pines", "mixture", **RESULTS)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").write_bytes(b"")
    text = page_of(run).text
    assert "Trained on indian_pines: 7 scenes" in text
    assert "Tested on indian_pines: 2 scenes, under mixture noise" in text
    assert "Weights best.ckpt of this run" in text
    put_record(run, command="ras2s test quickstart")
    put_config(
        run, "model: {network: {init_args: {path: /home/me/runs/a/1/checkpoints/best.ckpt}}}"
    )
    text = page_of(run).text
    assert "Trained on" not in text
    assert "Weights a/1/checkpoints/best.ckpt" in text
    for path, told in {
        "/home/me/best.ckpt": "best.ckpt",
        "ras2s": "ras2s (of the package)",
        "a_folder": "a_folder",
    }.items():
        put_config(run, f"model: {{network: {{init_args: {{path: {path}}}}}}}")
        assert f"Weights {told} " in page_of(run).text
        assert "home/me" not in page_of(run).text


SAID = {
    "ras2s test a --weights=/home/me/best.ckpt": "ras2s test a --weights=.../best.ckpt",
    "runs/quickstart/2026/report.html": "runs/quickstart/2026/report.html",
    "see https://wandb.ai/me/project/runs/1": "see https://wandb.ai/me/project/runs/1",
    "file:///home/me/a b": ".../a b",
    "~/data/icvl and ../up/there": ".../icvl and .../there",
    r"C:\Users\me\best.ckpt": ".../best.ckpt",
    "3 dB/s, 1/2 and/or": "3 dB/s, 1/2 and/or",
    "WANDB_API_KEY=0123456789abcdef make train": "WANDB_API_KEY=*** make train",
    "git 3c8a6c8f0a2b4c6d8e0f1a2b3c4d5e6f7a8b9c0d": "git 3c8a6c8f0a2b4c6d8e0f1a2b3c4d5e6f7a8b9c0d",
}


@pytest.mark.parametrize("text", SAID)
def test_what_is_of_the_machine_alone_is_not_told(text):
    assert placeless(text) == SAID[text]


def test_no_page_tells_where_it_was_made(run):
    put_record(run, command=f"ras2s fit {run}/x.yaml --data.path={run}/data", error=f"no {run}/a")
    put_config(run, f"data: {{path: {run}/data, api_key: 0123456789abcdef}}")
    put_metrics(run)
    html = write_report(run).read_text(encoding="utf-8")
    assert str(run.parents[2]) not in html
    assert "0123456789abcdef" not in html
    assert "quickstart/2026-11-23_09-00-00" in html


def test_what_was_run_is_told(run):
    put_record(run)
    put_metrics(run)
    text = page_of(run).text
    assert "finished started 2026-11-23 09:00 , took 42 min 10 s" in text.replace("00,", "00 ,")
    assert "Best validation: 32.50 dB PSNR in epoch 1 at step 20" in text
    assert "python -m lightning_ras2s fit -c experiments/quickstart.yaml" in text
    assert "3c8a6c8f0a2b4c6d8e0f1a2b3c4d5e6f7a8b9c0d" in text
    assert "name indian_pines train scenes 7" in text
    assert "device CPU memory gib 23.4" in text
    assert "torch 2.13.0+cpu" in text
    assert " ".join(CONFIG.split()) in text


def test_a_failed_run_tells_its_error(run):
    put_record(run, status="failed", error="the loss is nan at step 12", finished=None)
    text = page_of(run).text
    assert "failed started 2026-11-23 09:00 the loss is nan at step 12" in text
    assert "took" not in text


SECTIONS = {
    "evaluation.csv": {"headline", "results"},
    "metrics.csv": {"validation", "curves"},
    "pictures": {"pictures"},
    "run.json": set(),
    "config.yaml": set(),
}


@pytest.mark.parametrize("missing", SECTIONS)
def test_what_is_missing_is_left_out_and_the_rest_stays(run, missing):
    put_record(run)
    put_metrics(run)
    put_evaluation(run, "indian_pines", "mixture", **RESULTS)
    put_picture(run, "test", "scenes_one")
    whole = {"headline", "results", "validation", "pictures", "curves", "run"}
    sections = [*page_of(run).attributes("section", "id"), *page_of(run).attributes("p", "id")]
    assert set(sections) == whole
    (run / missing).rename(run.parent / "away")
    page = page_of(run)
    sections = [*page.attributes("section", "id"), *page.attributes("p", "id")]
    assert set(sections) == whole - SECTIONS[missing]
    assert ("table" in [name for name, _ in page.tags]) == (missing != "evaluation.csv")


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"data": "x", "hardware": null, "wandb": 3}'])
def test_a_half_written_run_has_a_page(run, content):
    run.mkdir(parents=True)
    (run / "run.json").write_text(content)
    (run / "evaluation.csv").write_text("dataset,noise_case,method,scene,psnr_db\n,,,,\nicvl,mix\n")
    (run / "metrics.csv").write_text("")
    page = page_of(run)
    assert page.attributes("section", "id") == ["run"]
    assert "started 2026-11-23 09:00" in page.text  # by the folder's name


def test_what_cannot_be_parsed_is_empty(run):
    put_metrics(run, [{"step": 1, "val/psnr_db": 30.0}])
    with (run / "metrics.csv").open("a") as file:
        file.write(f"2,{'3' * 200_000}\n3,31.0\n")  # longer than csv takes
    for content in ("[" * 100_000, '{"started": "0001-01-01T00:00:00"}'):
        (run / "run.json").write_text(content)
        folder = RunFolder(run)
        assert folder.started is not None
        assert folder.started.year == 2026
        assert folder.metrics == [{"step": 1.0, "val/psnr_db": 30.0}]


def test_the_best_validation_is_finite(run):
    rows = [{"step": n, "val/psnr_db": v} for n, v in enumerate((30.0, math.inf, math.nan, 29.0))]
    put_metrics(run, rows)
    assert RunFolder(run).best_validation == {"step": 0.0, "val/psnr_db": 30.0}


def test_the_line_that_is_being_written_is_not_read(run):
    put_metrics(run, [{"step": 1, "val/psnr_db": 30.0}])
    with (run / "metrics.csv").open("a") as file:
        file.write("2,310")  # of 31.0
    assert RunFolder(run).metrics == [{"step": 1.0, "val/psnr_db": 30.0}]


def test_a_metric_without_a_number_is_a_dash_and_never_the_best(run):
    nan = float("nan")
    put_evaluation(run, "own", "mixture", Noisy=(nan, 0.5, nan, 9.0), RAS2S=(20.0, 0.5, nan, nan))
    assert page_of(run).rows[1:] == [
        ["mixture", "Noisy", "-", "*0.5000*", "-", "9.00"],
        ["RAS2S", "20.00", "*0.5000*", "-", "-"],
    ]


def test_there_is_a_chart_for_what_was_logged_and_no_other():
    columns = {"epoch", "step", "train/loss", "lr-Adam", "val/ssim", "val/a/ssim", "test/psnr_db"}
    charts = [(chart.title, [line.column for line in chart.lines]) for chart in charts_of(columns)]
    assert charts == [
        ("Training loss", ["train/loss"]),
        ("Validation SSIM", ["val/a/ssim", "val/ssim"]),
        ("Learning rate", ["lr-Adam"]),
    ]


def test_throughput_is_that_of_all_devices():
    one = {"train/device/samples_per_sec"}
    several = one | {"train/samples_per_sec"}
    for columns, expected in (
        (one, "train/device/samples_per_sec"),
        (several, "train/samples_per_sec"),
    ):
        (chart,) = charts_of(columns)
        assert [line.column for line in chart.lines] == [expected]


def test_charts_hold_the_logged_numbers():
    loss, validation = charts([row | {"val/ssim": math.nan} for row in METRICS])[:2]
    assert (loss["title"], loss["log"]) == ("Training loss", True)
    (line,) = loss["lines"]
    assert (line["x"], line["values"], line["epochs"]) == ([9, 19], [0.25, 0.125], [0, 1])
    assert not validation["log"]
    assert validation["lines"][0]["colour"] == "var(--orange)"  # of what was denoised
    flat = [{"epoch": 0, "step": 1, "train/loss": 0.0}, {"step": 2, "train/loss": math.inf}]
    (chart,) = charts(flat)
    assert not chart["log"]
    assert chart["lines"][0]["values"] == [0, None]
    assert chart["lines"][0]["epochs"] == [0, None]


def test_a_page_replaces_the_one_before_whole(run):
    put_record(run)
    write_report(run)
    put_record(run, status="failed")
    assert "failed" in page_of(run).text
    assert {path.name for path in run.iterdir()} == {"report.html", "run.json", "config.yaml"}


def test_the_command_prints_the_path_of_the_page(run, capsys):
    put_record(run, started="2026-11-23T09:00:00")
    put_record(run.parents[1] / "sweeps" / "regions" / "7", started="2026-11-24T09:00:00")
    assert report.main([str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    for last in ([], [""], ["last"]):
        assert report.main(last) == 0
        assert capsys.readouterr().out == "runs/sweeps/regions/7/report.html\n"


def test_a_mistake_names_the_folder_what_was_looked_for_and_the_last_runs(run, capsys):
    assert report.main(["last"]) == 2
    assert "make train makes one" in capsys.readouterr().err
    for day in (21, 22, 23, 24):
        put_record(run.parent / f"2026-11-{day}_09-00-00", started=None)
    assert report.main(["runs/nope"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert (
        "runs/nope: there is no such folder; the last runs are runs/quickstart/2026-11-24" in error
    )
    assert "2026-11-22" in error
    assert "2026-11-21" not in error
    with pytest.raises(
        ReportError, match=r"quickstart: holds none of run\.json, config\.yaml, metrics"
    ):
        write_report(run.parent)


def test_runs_are_found_at_any_depth_but_not_inside_a_run(run):
    put_record(run)
    put_record(run / "wandb" / "run-1" / "files")
    put_record(run / "denoised" / "scene")
    put_record(run.parents[1] / "failed" / "early" / "wandb" / "files")
    put_record(run.parents[1] / "sweeps" / "regions" / "7", started="2026-11-20T09:00:00")
    runs = find_runs(run.parents[1])
    assert [found.path for found in runs] == [run, run.parents[1] / "sweeps" / "regions" / "7"]


def test_runs_behind_links_are_found_once(run, tmp_path):
    runs = run.parents[1]
    elsewhere = put_record(tmp_path / "disk" / "big" / "a")
    runs.mkdir()
    (runs / "big").symlink_to(elsewhere.parent)
    (runs / "again").symlink_to(runs)  # no end, if followed
    assert [found.path for found in find_runs(runs)] == [runs / "big" / "a"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (42.4, "42 s"), (185, "3 min 5 s"), (7650, "2 h 7 min"), (276000, "3 d 4 h")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
