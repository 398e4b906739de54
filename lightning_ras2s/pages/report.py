"""The page of a run: ``ras2s report [runs/<experiment>/<time>]``.

``report.html`` is one file that opens from disk and needs no network: the numbers, the pictures,
the curves, and what was run. Whatever the run has not left is left out.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datamodules.atomic_write import atomic_write
from lightning_ras2s.pages.curves import charts
from lightning_ras2s.pages.figures import stages
from lightning_ras2s.pages.packed import Blobs
from lightning_ras2s.pages.result_tables import datasets, means_csv, means_latex
from lightning_ras2s.pages.template import render
from lightning_ras2s.runs.folder import INSPECTOR, RECORDS, RESULTS, RUNS, RunFolder, find_runs

LAST = "last"


class ReportError(ValueError):
    """There is no run where one was asked for, told in one line."""


def write_report(run: Path) -> Path:
    """Writes ``report.html`` into a run's folder, all at once.

    Its time is that of the newest file that it shows: what is written in the meantime is newer.

    Raises:
        ReportError: If the folder holds no run.
    """
    folder = checked(run)
    changed = folder.changed
    with atomic_write(folder.report_file) as aside:
        aside.write_text(render_report(folder), encoding="utf-8", errors="replace")
        os.utime(aside, ns=(changed, changed))
    return folder.report_file


def render_report(run: RunFolder) -> str:
    """The page as HTML."""
    blobs, found = Blobs(), datasets(run.means, run.scenes, run.method, run.config)
    cases = dict.fromkeys(case.name for dataset in found for case in dataset.cases)
    figures, curves = stages(run.pictures, list(cases), blobs), charts(run.metrics)
    data = {
        "name": run.experiment,
        "stages": [asdict(stage) for stage in figures],
        "charts": curves,
        "files": {"csv": means_csv(run.means), "tex": means_latex(found)} if found else {},
    }
    return render(
        "report.html",
        run=run,
        record=run.record,
        datasets=found,
        story=story(run),
        stages=figures,
        inspectors=[
            (path.stem, f"{INSPECTOR}/{quote(os.fsencode(path.name))}") for path in run.inspectors
        ],
        charts=curves,
        data=data,
        blobs=blobs.texts,
    )


def story(run: RunFolder) -> list[tuple[str, str]]:
    """What was trained on, tested on, and with which weights: titles and sentences."""
    data, told = run.record.get("data"), []
    data = data if isinstance(data, dict) else {}
    name = str(data.get("name", ""))
    if run.kind in ("training", "sweep") and name:
        told.append(("Trained on", _scenes(name, data.get("train_scenes"))))
    if run.means:
        tested = dict.fromkeys(str(row["dataset"]) for row in run.means)
        cases = ", ".join(dict.fromkeys(str(row["noise_case"]) for row in run.means))
        count = len({(row["dataset"], row["scene"]) for row in run.scenes})
        told.append(("Tested on", f"{_scenes(', '.join(tested), count)}, under {cases} noise"))
    elif data.get("test_scenes"):
        told.append(("Tested on", _scenes(name, data["test_scenes"])))
    if run.weights_used:
        told.append(("Weights", run.weights_used))
    return told


def _scenes(name: str, count: Any) -> str:
    if not isinstance(count, int):
        return name
    return f"{name}: {count} scene{'s' if count > 1 else ''}"


def checked(run: Path) -> RunFolder:
    """A folder that holds something of a run.

    Raises:
        ReportError: If it does not; the message names the last runs.
    """
    if any((run / name).is_file() for name in (*RECORDS, *RESULTS)):
        return RunFolder(run)
    looked = f"holds none of {', '.join((*RECORDS, *RESULTS))}"
    reason = looked if run.is_dir() else "there is no such folder"
    raise ReportError(f"{run}: {reason}; {_last_runs(find_runs(run) or find_runs(RUNS))}")


def last_run() -> Path:
    """The newest run below ``runs``.

    Raises:
        ReportError: If there is none.
    """
    runs = find_runs(RUNS)
    if not runs:
        raise ReportError(f"{RUNS}: {_last_runs(runs)}")
    return runs[0].path


def _last_runs(runs: Sequence[RunFolder]) -> str:
    if not runs:
        return "there are no runs yet: make train makes one"
    return f"the last runs are {', '.join(str(run.path) for run in runs[:3])}"


def main(args: Sequence[str] | None = None) -> int:
    """Writes a run's page and prints its path.

    Returns:
        The exit code: 0, or 2 for a mistake of the user's, which is told in one line on stderr.
    """
    parser = argparse.ArgumentParser("ras2s report", description=__doc__)
    parser.add_argument("run", nargs="?", default=LAST, help="the run's folder; last: the newest")
    run = parser.parse_args(args).run
    try:
        page = write_report(last_run() if run in ("", LAST) else Path(run))
    except (ReportError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
