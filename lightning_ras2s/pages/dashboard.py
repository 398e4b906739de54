"""All runs on one local page: ``ras2s dashboard``.

It listens on 127.0.0.1 alone, and hands out the pages of the runs and nothing else.
"""

import argparse
import errno
import math
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from lightning_ras2s.evaluation import DIGITS, Row, mean
from lightning_ras2s.pages.report import write_report
from lightning_ras2s.pages.template import duration, moment, render
from lightning_ras2s.runs.folder import RUNS, RunFolder, find_runs

ADDRESS = "127.0.0.1"
OURS = (ADDRESS, "localhost")  # under any other name a foreign page has led the browser here
PORTS = 50  # tried upwards from the one asked for
METRICS = ("Val PSNR (dB)", "Test PSNR (dB)", "Test SSIM", "Test SAM (rad)")
COLUMNS = ("Experiment", "Started", "Status", "Duration", *METRICS, "Noise", "Commit")
NUMBERS = {"Started", "Duration", *METRICS}
_writing = threading.Lock()


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: As it reads.
        value: As it sorts; empty cells come last.
    """

    text: str
    value: str | float


def write_dashboard(runs: Path) -> str:
    """The page that lists all runs below a folder, as HTML."""
    rows = [_row_or_excuse(run, runs) for run in find_runs(runs)]
    return render("dashboard.html", folder=runs, numbers=NUMBERS, rows=rows)


def _row_or_excuse(run: RunFolder, runs: Path) -> dict[str, Any]:
    """One broken run must not hide the others."""
    try:
        return _row(run.path, runs, run.changed)
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        name = run.path.relative_to(runs)
        said = f"cannot be read: {error}"
        known = {"Experiment": Cell(str(name), str(name)), "Status": Cell(said, said)}
        return {
            "name": name,
            "place": "",
            "cells": dict.fromkeys(COLUMNS, Cell("", "")) | known,
            "report": _link(run.report_file, runs),
            "inspectors": [],
        }


@cache
def _row(path: Path, runs: Path, changed: int) -> dict[str, Any]:
    """One run of the list; kept until a file of the run changes, since its curves can be long."""
    run = RunFolder(path)
    place = path.relative_to(runs)
    return {
        "name": place,
        "place": "" if place.parent == Path(run.experiment) else place,
        "cells": _cells(run),
        "report": _link(run.report_file, runs),
        "inspectors": [(page.stem, _link(page, runs)) for page in run.inspectors],
    }


def _cells(run: RunFolder) -> dict[str, Cell]:
    ours = [row for row in run.scenes if row["method"] == run.method]
    cases = ", ".join(dict.fromkeys(str(row["noise_case"]) for row in ours))
    started, seconds = run.started, run.seconds
    cells = (
        Cell(run.experiment, run.experiment),
        Cell(moment(started), started.timestamp() if started else ""),
        Cell(run.status, run.status),
        Cell(duration(seconds), "" if seconds is None else seconds),
        _metric(run.best_validation.get("val/psnr_db", math.nan), "psnr_db"),
        _mean(ours, "psnr_db"),
        _mean(ours, "ssim"),
        _mean(ours, "sam_rad"),
        Cell(cases, cases),
        Cell(run.commit[:7], run.commit),
    )
    return dict(zip(COLUMNS, cells, strict=True))


def _mean(rows: Sequence[Row], metric: str) -> Cell:
    return _metric(mean(rows, metric) if rows else math.nan, metric)


def _metric(value: float, metric: str) -> Cell:
    return Cell("", "") if math.isnan(value) else Cell(f"{value:.{DIGITS[metric]}f}", value)


def _address(page: Path, runs: Path) -> str:
    return f"/{page.relative_to(runs).as_posix()}"


def _link(page: Path, runs: Path) -> str:
    return quote(os.fsencode(_address(page, runs)))


class Handler(BaseHTTPRequestHandler):
    """Answers with the list, the report of a run, or an inspector of a run.

    What is asked for is looked up among the runs that there are, never used as a path.

    Args:
        args: Those of the server.
        runs: The folder of the runs.
    """

    def __init__(self, *args: Any, runs: Path) -> None:
        self.runs = runs
        super().__init__(*args)

    def do_GET(self) -> None:
        """Called for each request."""
        if self.headers.get("Host", "").split(":")[0] not in OURS:
            self.send_error(HTTPStatus.FORBIDDEN, f"ask for http://{ADDRESS}")
            return
        try:
            page = self._page(os.fsdecode(unquote_to_bytes(self.path.partition("?")[0])))
        except (OSError, ValueError) as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain=str(error))
            return
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with suppress(ConnectionError):  # the browser has gone elsewhere
            self.wfile.write(page)

    def _page(self, address: str) -> bytes | None:
        if address == "/":
            return write_dashboard(self.runs).encode(errors="replace")
        for run in find_runs(self.runs):
            if address == _address(run.report_file, self.runs):
                return fresh_report(run).read_bytes()
            for inspector in run.inspectors:
                if address == _address(inspector, self.runs):
                    return inspector.read_bytes()
        return None

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the terminal shows the address alone."""


def fresh_report(run: RunFolder) -> Path:
    """The report of a run, written anew if it is older than what it shows."""
    page = run.report_file
    with _writing:
        if not page.exists() or page.stat().st_mtime_ns < run.changed:
            write_report(run.path)
    return page


def make_server(runs: Path, port: int) -> ThreadingHTTPServer:
    """A server on the port or, where that is taken, the next free one; 0 takes any.

    Raises:
        OSError: If there is none.
    """
    for candidate in range(port, port + PORTS):
        try:
            return ThreadingHTTPServer((ADDRESS, candidate), partial(Handler, runs=runs))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(f"ports {port} to {port + PORTS - 1} are taken; give another with --port")


def main(args: Sequence[str] | None = None) -> int:
    """Serves the dashboard until Ctrl-C.

    Returns:
        The exit code: 0, or 2 for a mistake of the user's, which is told in one line on stderr.
    """
    parser = argparse.ArgumentParser("ras2s dashboard", description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS, help="their folder")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(args)
    try:
        server = make_server(options.runs, options.port)
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"error: no dashboard on port {options.port}: {error}\n")
        return 2
    with suppress(KeyboardInterrupt), server:
        address = f"http://{ADDRESS}:{server.server_port}"
        sys.stdout.write(f"{address} shows {options.runs}; Ctrl-C ends it\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
