"""The page of a run: ``ras2s report [runs/<experiment>/<time>]``.

``report.html`` is one file that opens from disk and needs no network: the numbers, the pictures,
the curves, and what was run. Whatever the run has not left is left out.
"""

import argparse
import base64
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from datamodules.atomic_write import atomic_write
from lightning_ras2s.pages.curves import curves
from lightning_ras2s.pages.result_tables import datasets
from lightning_ras2s.pages.template import render
from lightning_ras2s.runs.folder import INSPECTOR, RECORDS, RESULTS, RUNS, RunFolder, find_runs

LAST = "last"
STAGES = {"test": "Test scenes", "val": "Validation scenes"}
TOPICS = {
    "scenes": "Scenes",
    "spectra": "Spectra",
    "regions": "Regions",
    "bandwise": "Band by band",
}


class ReportError(ValueError):
    """There is no run where one was asked for, told in one line."""


@dataclass(frozen=True)
class Picture:
    """A PNG file inside the page.

    Attributes:
        name: The scene and noise case, by its file's name.
        source: A data URL.
        width: In pixels.
        height: In pixels.
    """

    name: str
    source: str
    width: int
    height: int


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
    return render(
        "report.html",
        run=run,
        record=run.record,
        datasets=datasets(run.means, run.scenes, run.method, run.config),
        stages=stages(run.pictures),
        inspectors=[
            (path.stem, f"{INSPECTOR}/{quote(os.fsencode(path.name))}") for path in run.inspectors
        ],
        curves=curves(run.metrics),
    )


def stages(paths: Sequence[Path]) -> dict[str, dict[str, list[Picture]]]:
    """The pictures by the titles of their stage and topic; the test's first."""
    found: dict[str, dict[str, list[Picture]]] = {}
    parts = [(path.parent.name, *path.stem.partition("_")[::2], path) for path in paths]
    for stage, topic, name, path in sorted(
        parts, key=lambda part: (_place(part[0], STAGES), _place(part[1], TOPICS), part[2])
    ):
        picture = _picture(path, name)
        if picture is not None:
            topics = found.setdefault(STAGES.get(stage, stage), {})
            topics.setdefault(TOPICS.get(topic, topic), []).append(picture)
    return found


def _place(key: str, known: Mapping[str, str]) -> int:
    return [*known, key].index(key)


def _picture(path: Path, name: str) -> Picture | None:
    try:
        with Image.open(path) as image:
            width, height = image.size
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:  # gone or broken
        return None
    return Picture(name, f"data:image/png;base64,{content}", width, height)


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
