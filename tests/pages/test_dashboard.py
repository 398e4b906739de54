"""The list of all runs, and what its server hands out."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lightning_ras2s.pages import dashboard, report
from lightning_ras2s.pages.dashboard import make_server, write_dashboard
from tests.pages.toy_run import (
    Page,
    age,
    put_evaluation,
    put_inspector,
    put_metrics,
    put_record,
)

HOUSE = Path(__file__).parents[2]
EVIL = "<script>alert('x')</script>"


@pytest.fixture
def runs(tmp_path):
    """Three runs: a whole one, one of a sweep that fails, and an old one without a record."""
    folder = tmp_path / "runs"
    whole = put_record(folder / "quickstart" / "2026-11-23_09-00-00")
    put_metrics(whole)
    means = {"Noisy": (12.0, 0.25, 0.75, 60.0), "RAS2S": (32.0, 0.5, 0.125, 20.0)}
    put_evaluation(whole, "indian_pines", "mixture", **means)
    put_inspector(whole)
    failed = folder / "sweeps" / "regions" / "a b"
    put_record(failed, status="failed", finished=None, started="2026-11-22T09:00:00")
    (folder / "old" / "2026-11-21_09-00-00").mkdir(parents=True)
    (folder / "old" / "2026-11-21_09-00-00" / "config.yaml").write_text("a: 1\n")
    return folder


def rows_of(runs):
    return Page(write_dashboard(runs)).rows


def page_data(runs):
    """What the page's script reads."""
    return json.loads(re.search(r'id="data">(.*?)</script>', write_dashboard(runs), re.DOTALL)[1])


@pytest.fixture
def ask(runs):
    """Gets a path from a server of the runs: status and text."""
    server = make_server(runs, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def get(path, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host or f"localhost:{server.server_port}")
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    get.address = server.server_address
    yield get
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_run_has_a_row_the_newest_first(runs):
    header, whole, failed, old = rows_of(runs)
    assert header[1:] == [*dashboard.COLUMNS, "Pages"]
    assert whole[1:] == [
        *["quickstart", "training", "2026-11-23 09:00", "finished", "42 min 10 s"],
        *["indian_pines", "", "", "32.50", "32.00", "0.5000", "0.1250", "RAS2S 32.00 dB"],
        *["3c8a6c8", "report,one mixture"],
    ]
    assert failed[1:5] == [
        *["quickstartsweeps/regions/a b", "sweep", "2026-11-22 09:00", "failed"],
    ]
    assert failed[9:14] == [""] * 5
    assert old[1:4] == ["old", "", "2026-11-21 09:00"]
    assert old[4:] == [*[""] * 11, "report"]


def test_numbers_are_those_of_one_case_of_the_network_and_of_the_best_method(runs):
    run = runs / "old" / "2026-11-21_09-00-00"
    lines = [
        "dataset,noise_case,method,scene,psnr_db,ssim,sam_rad,ergas",
        *[f"a,mixture,RAS2S+S,{scene},20,0.5,0.5,1" for scene in ("one", "two", "mean")],
        *[f"a,mixture,RAS2S,{scene},{psnr},0.5,0.5,1" for scene, psnr in (("one", 8), ("two", 12))],
        *[f"b,stripe,RAS2S,{scene},30,0.5,0.5,1" for scene in ("one", "mean")],
    ]
    (run / "evaluation.csv").write_text("\n".join(lines) + "\n")
    page = Page(write_dashboard(runs))
    assert page.rows[3][10:14] == ["10.00", "0.5000", "0.5000", "RAS2S+S 20.00 dB"]
    text = page_data(runs)["runs"]["old/2026-11-21_09-00-00"]["cases"]["stripe"]
    assert text["PSNR (dB)"] == ["30.00", 30]
    cases = re.findall(r"<option>(\w+)</option>", write_dashboard(runs))
    assert cases == ["mixture", "stripe"]  # two runs have the first


def test_what_was_changed_and_whose_weights_are_told(runs):
    run = runs / "new" / "x"
    typed = "ras2s test icvl_mixture --weights=/home/someone/best.ckpt --model.regions=5"
    put_record(run, command=f"{typed} --data.path=/home/someone/data --trainer.fast_dev_run=true")
    (run / "config.yaml").write_text(
        "model: {network: {class_path: lightning_ras2s.load_network, init_args: {path: ras2s}}}"
    )
    html = write_dashboard(runs)
    row = next(row for row in Page(html).rows if row[1].startswith("quickstartnew/x"))
    assert row[2] == "evaluation"
    assert row[7:9] == ["ras2s (of the package)", "model.regions=5, data.path=.../data, and 1 more"]
    assert "/home/someone" not in html


def test_differences_of_the_configuration_are_those_that_are_not_the_same(runs):
    for name, rate in {"a": 0.1, "b": 0.2}.items():
        run = put_record(runs / name / "x")
        (run / "config.yaml").write_text(f"model: {{rate: {rate}, loss: l1}}\nseed: 1")
    (runs / "quickstart" / "2026-11-23_09-00-00" / "config.yaml").write_text("seed: 1")
    shutil.rmtree(runs / "sweeps")
    shutil.rmtree(runs / "old")
    settings = page_data(runs)["settings"]
    assert settings["model.rate"] == {"a/x": "0.1", "b/x": "0.2"}
    assert "seed" not in settings


def test_a_file_that_was_denoised_has_a_row_and_its_page(runs, ask):
    folder = runs / "field"
    folder.mkdir()
    method = {"label": "RAS2S+S", "weights": "/home/someone/best.ckpt"}
    record = {"scene": "noisy.hdr", "method": method, "trust": "yes"}
    (folder / "clean.quality.json").write_text(json.dumps(record))
    (folder / "clean.quality.html").write_text("<p>the quality")
    (folder / "broken.quality.json").write_text("{")
    row = Page(write_dashboard(runs)).rows[1]  # the newest
    assert row[1:3] == ["cleanfield/clean", "denoising"]
    assert row[6:9] == ["noisy.hdr", "best.ckpt", "trust: yes"]
    assert row[-1] == "quality"
    assert ask("/field/clean.quality.html") == (200, "<p>the quality")
    assert ask("/field/clean.quality.json")[0] == 404


def test_a_run_that_was_killed_is_seen_to_be_dead(runs):
    run = put_record(runs / "quickstart" / "now", status="running", finished=None)
    code = (
        "import sys, time; from pathlib import Path; from lightning_ras2s.runs.alive import hold;"
        "hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run / "config.yaml")],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(HOUSE)},
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        status = [row[4] for row in rows_of(runs) if row[1].startswith("quickstart")]
        assert status == ["running", "finished", "failed"]
    finally:
        process.kill()
        process.wait()
    status = [row[4] for row in rows_of(runs) if row[1].startswith("quickstart")]
    assert status == ["dead", "finished", "failed"]


def test_a_run_that_goes_on_is_read_again(runs):
    assert rows_of(runs)[1][9] == "32.50"
    run = runs / "quickstart" / "2026-11-23_09-00-00"
    put_metrics(run, [{"step": 1, "val/psnr_db": 40.0}])
    assert rows_of(runs)[1][9] == "40.00"


def test_a_run_that_cannot_be_read_hides_no_other(runs, monkeypatch):
    cells = dashboard._cells

    def failing(run, status):
        if run.experiment == "old":
            raise ValueError("a bad number")
        return cells(run, status)

    monkeypatch.setattr(dashboard, "_cells", failing)
    rows = rows_of(runs)
    assert rows[1][1] == "quickstart"
    old = next(row for row in rows if row[1].startswith("old"))
    assert old[1:5] == ["old/2026-11-21_09-00-00", "", "", "cannot be read: a bad number"]
    assert len(old) == len(rows[0])


def test_names_that_are_not_utf_8_have_pages(runs, ask):
    name = os.fsdecode(b"caf\xe9")
    put_inspector(put_record(runs / name / "x", experiment="a \ud800 b"), name)
    status, html = ask("/")
    assert status == 200
    assert "a ? b" in html
    for page in ("report", "inspector/caf%E9"):
        assert f"/caf%E9/x/{page}.html" in html
        assert ask(f"/caf%E9/x/{page}.html")[0] == 200


def test_names_are_text(runs):
    put_record(runs / "<i>" / "x", experiment=EVIL, status=EVIL)
    page = Page(write_dashboard(runs))
    assert page.text.count(EVIL) == 2
    assert "i" not in [name for name, _ in page.tags]


def test_without_runs_the_page_names_the_command(tmp_path):
    page = Page(write_dashboard(tmp_path / "none"))
    assert "make train" in page.text
    assert page.rows == []


def test_the_server_gives_the_list_reports_and_inspectors(runs, ask):
    status, html = ask("/")
    assert status == 200
    page = Page(html)
    links = page.attributes("a", "href")
    assert "/quickstart/2026-11-23_09-00-00/inspector/one%20mixture.html" in links
    assert "/sweeps/regions/a%20b/report.html" in links
    pages = {link: ask(link) for link in set(links)}
    assert {status for status, _ in pages.values()} == {200}
    assert "inspector one mixture" in pages[links[2]][1]
    assert "42 min 10 s" in pages[links[0]][1]
    put_record(runs / "new" / "run")
    assert "/new/run/report.html" in ask("/")[1]


def test_a_report_is_written_when_it_is_missing_or_older_than_the_run(runs, ask):
    run = runs / "quickstart" / "2026-11-23_09-00-00"
    age(run, 60)
    path = f"/{run.relative_to(runs).as_posix()}/report.html"
    assert "32.50 dB" in ask(path)[1]
    page = run / "report.html"
    written = page.stat()
    assert ask(path)[0] == 200
    assert page.stat().st_ino == written.st_ino  # the same file
    put_metrics(run, [{"step": 1, "val/psnr_db": 40.0}])
    assert "40.00 dB" in ask(path)[1]


def test_what_a_run_writes_while_its_report_is_made_is_not_missed(runs, ask, monkeypatch):
    run = runs / "quickstart" / "2026-11-23_09-00-00"
    age(run, 60)
    whole = report.render_report

    def interrupted(folder):
        text = whole(folder)
        put_metrics(run, [{"step": 1, "val/psnr_db": 40.0}])
        return text

    monkeypatch.setattr(report, "render_report", interrupted)
    path = f"/{run.relative_to(runs).as_posix()}/report.html"
    assert "32.50 dB" in ask(path)[1]
    assert "40.00 dB" in ask(path)[1]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.html",
        "/..%2fsecret.html",
        "/quickstart/2026-11-23_09-00-00/inspector/../../../../secret.html",
        "/quickstart/2026-11-23_09-00-00/inspector/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret.html",
        "/quickstart/2026-11-23_09-00-00/config.yaml",
        "/quickstart/2026-11-23_09-00-00/",
        "/quickstart/",
        "//secret.html",
    ],
)
def test_nothing_else_is_given(runs, ask, path):
    (runs.parent / "secret.html").write_text("secret")
    status, text = ask(path)
    assert status == 404
    assert text.count("secret") == 0


def test_it_listens_on_this_machine_alone_and_under_its_names_alone(ask):
    assert ask.address[0] == "127.0.0.1"
    assert ask("/", host="127.0.0.1")[0] == 200
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil"):
        assert ask("/", host=host)[0] == 403


def test_a_port_that_is_taken_gives_way_to_the_next_free_one(runs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with make_server(runs, port) as server:
            assert port < server.server_port < port + dashboard.PORTS


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_cannot_be_is_one_line(port, capsys):
    assert dashboard.main(["--port", port]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"port {port}" in error


def test_ctrl_c_ends_it_quietly(runs):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lightning_ras2s",
            "dashboard",
            "--runs",
            str(runs),
            "--port",
            "0",
        ],
        cwd=HOUSE,
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
