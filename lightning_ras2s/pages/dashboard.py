"""All runs on one local page: ``ras2s dashboard``.

It listens on 127.0.0.1 alone, and hands out the pages of the runs and nothing else.
"""

import argparse
import errno
import json
import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from lightning_ras2s.evaluation import DIGITS, mean
from lightning_ras2s.pages.report import write_report
from lightning_ras2s.pages.template import duration, moment, placeless, render
from lightning_ras2s.runs.folder import PARTS, RUNS, RunFolder, find_runs

ADDRESS = "127.0.0.1"
OURS = (ADDRESS, "localhost")  # under any other name a foreign page has led the browser here
PORTS = 50  # tried upwards from the one asked for
METRICS = {"PSNR (dB)": "psnr_db", "SSIM": "ssim", "SAM (rad)": "sam_rad"}
NUMBERS = (*METRICS, "Best")  # of the noise case that is chosen
COLUMNS = (
    "Experiment", "Kind", "Started", "Status", "Duration", "Data", "Weights", "Changed",
    "Val PSNR (dB)", *NUMBERS, "Commit",
)  # fmt: skip
RIGHT = {"Duration", "Val PSNR (dB)", *METRICS}  # columns of numbers
BY_NUMBER = {"Started", *RIGHT}  # and what sorts like them
FIRST = 400  # points of a curve
QUALITY = ".quality.json"  # beside a file that was denoised
_writing = threading.Lock()


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: As it reads.
        value: As it sorts; empty cells come last.
    """

    text: str = ""
    value: str | float = ""


@dataclass(frozen=True)
class Entry:
    """A row of the list.

    Attributes:
        name: Its place below the folder of the runs; tells it from all others.
        cells: By column.
        page: Address of its page.
        more: Names and addresses of other pages.
        changed: All that was changed on its command line.
        cases: By noise case the text of NUMBERS, of its own network and of the best method.
        curves: Steps and values by name, for comparisons.
        settings: By the whole key, for comparisons.
    """

    name: str
    cells: dict[str, Cell]
    page: str
    more: list[tuple[str, str]]
    changed: str = ""
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The name, where the experiment does not tell it already."""
        known = self.cells["Experiment"].text
        return "" if known in (self.name, self.name.rpartition("/")[0]) else self.name


def write_dashboard(runs: Path) -> str:
    """The page that lists all runs, and all files that were denoised, below a folder, as HTML."""
    entries = [_entry_or_excuse(run, runs) for run in find_runs(runs)]
    entries += [entry for path in find_denoised(runs) if (entry := _denoised(path, runs))]
    entries.sort(key=lambda entry: float(entry.cells["Started"].value or 0), reverse=True)
    cases = _cases(entries)
    return render(
        "dashboard.html",
        folder=placeless(runs),
        columns=COLUMNS,
        right=RIGHT,
        by_number=BY_NUMBER,
        entries=entries,
        cases=cases,
        data={
            "numbers": NUMBERS,
            "runs": {
                entry.name: {"cases": entry.cases, "curves": entry.curves} for entry in entries
            },
            "settings": _differing(entries),
        },
    )


def _cases(entries: Sequence[Entry]) -> list[str]:
    """The noise cases, that which most runs have first."""
    counts = Counter(case for entry in entries for case in reversed(entry.cases))
    return [case for case, _ in counts.most_common()]


def _differing(entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    """The settings that are not the same in all runs that have them: values by run, by key."""
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    with_settings = [entry for entry in entries if entry.settings]
    return {
        key: {entry.name: entry.settings[key] for entry in with_settings if key in entry.settings}
        for key in keys
        if len({entry.settings.get(key) for entry in with_settings}) > 1
    }


def _entry_or_excuse(run: RunFolder, runs: Path) -> Entry:
    """One broken run must not hide the others."""
    try:
        return _entry(run.path, runs, run.changed, run.status)
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        name = run.path.relative_to(runs).as_posix()
        said = f"cannot be read: {error}"
        known = {"Experiment": Cell(name, name), "Status": Cell(said, said)}
        return Entry(name, dict.fromkeys(COLUMNS, Cell()) | known, _link(run.report_file, runs), [])


@cache
def _entry(path: Path, runs: Path, changed: int, status: str) -> Entry:
    """One run of the list; kept until a file of the run changes, since its curves can be long."""
    run = RunFolder(path)
    return Entry(
        path.relative_to(runs).as_posix(),
        _cells(run, status),
        _link(run.report_file, runs),
        [(page.stem, _link(page, runs)) for page in run.inspectors],
        "\n".join(run.changes),
        _numbers(run),
        _curves(run),
        dict(_flat(run.settings)),
    )


def _cells(run: RunFolder, status: str) -> dict[str, Cell]:
    data = run.record.get("data")
    name = str(data.get("name", "")) if isinstance(data, dict) else ""
    started, seconds, changes = run.started, run.seconds, run.changes
    few = ", ".join(changes[:2]) + (f", and {len(changes) - 2} more" if len(changes) > 2 else "")
    texts = {"Experiment": run.experiment, "Kind": run.kind, "Status": status, "Data": name}
    texts |= {"Weights": run.weights_used, "Changed": placeless(few)}
    return dict.fromkeys(COLUMNS, Cell()) | {
        **{column: Cell(text, text) for column, text in texts.items()},
        "Started": Cell(moment(started), started.timestamp() if started else ""),
        "Duration": Cell(duration(seconds), "" if seconds is None else seconds),
        "Val PSNR (dB)": _metric(run.best_validation.get("val/psnr_db", math.nan), "psnr_db"),
        "Commit": Cell(run.commit[:7], run.commit),
    }


def _numbers(run: RunFolder) -> dict[str, dict[str, Any]]:
    """By noise case, of the run's own network: means over scenes; and the best method by PSNR."""
    found = {}
    for case in dict.fromkeys(str(row["noise_case"]) for row in run.scenes):
        rows = [row for row in run.scenes if row["noise_case"] == case]
        ours = [row for row in rows if row["method"] == run.method] or rows
        methods = dict.fromkeys(str(row["method"]) for row in rows)
        by_method = {m: mean([r for r in rows if r["method"] == m], "psnr_db") for m in methods}
        best = max(by_method, key=lambda m: -math.inf if math.isnan(by_method[m]) else by_method[m])
        cells = {title: _metric(mean(ours, metric), metric) for title, metric in METRICS.items()}
        found[case] = {title: [cell.text, cell.value] for title, cell in cells.items()}
        found[case]["Best"] = [f"{best} {by_method[best]:.2f} dB", by_method[best]]
    return found


def _curves(run: RunFolder) -> dict[str, list[list[float]]]:
    """Steps and values of the validation and of the loss, a few hundred of them."""
    found = {}
    for name in ("val/psnr_db", "train/loss"):
        rows = [row for row in run.metrics if math.isfinite(row.get(name, math.nan))]
        rows = rows[:: -(-len(rows) // FIRST) or 1]
        if rows:
            found[name] = [[row.get("step", math.nan) for row in rows], [row[name] for row in rows]]
    return found


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by their whole keys, as text."""
    if isinstance(settings, dict) and settings:
        for key, value in settings.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, placeless(settings)


def find_denoised(runs: Path) -> list[Path]:
    """The records of files that were denoised below a folder, but not in the parts of a run."""
    found = []
    for path, folders, files in os.walk(runs):
        folders[:] = [name for name in folders if name not in PARTS]
        found += [Path(path, name) for name in files if name.endswith(QUALITY)]
    return found


def _denoised(path: Path, runs: Path) -> Entry | None:
    """A file that was denoised, and its page."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        method = record.get("method") or {}
        name = path.relative_to(runs).as_posix().removesuffix(QUALITY)
        time = datetime.fromtimestamp(path.stat().st_mtime)
        scene, label = str(record["scene"]), str(method.get("label", ""))
        weights = str(method.get("weights") or "")
        trust = f"trust: {record['trust']}"
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    texts = {"Experiment": name.rpartition("/")[2], "Kind": "denoising", "Status": "finished"}
    texts |= {"Data": scene, "Weights": Path(weights).name or label, "Changed": trust}
    cells = {column: Cell(text, text) for column, text in texts.items()}
    cells["Started"] = Cell(moment(time), time.timestamp())
    page = path.with_suffix(".html")
    return Entry(name, dict.fromkeys(COLUMNS, Cell()) | cells, _link(page, runs), [], label)


def _metric(value: float, metric: str) -> Cell:
    return Cell() if math.isnan(value) else Cell(f"{value:.{DIGITS[metric]}f}", value)


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
        for record in find_denoised(self.runs):
            page = record.with_suffix(".html")
            if address == _address(page, self.runs) and page.is_file():
                return page.read_bytes()
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
