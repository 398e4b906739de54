"""The figures of a run's page: of each topic one, with a choice of scene and noise case."""

import csv
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_ras2s.pages.packed import Blobs
from lightning_ras2s.pictures.gallery import Subject

STAGES = {"test": "Test scenes", "val": "Validation scenes"}
TOPICS = {
    "scenes": "Scenes",
    "spectra": "Spectra",
    "regions": "Regions",
    "shares": "Shares of the regions",
    "bandwise": "Band by band",
}
EXTREMES = 3  # worst and best bands that are named
VECTOR = {"svg": ".svg", "pdf": ".pdf"}


@dataclass(frozen=True)
class Stage:
    """The figures of one stage of a run.

    Attributes:
        title: Test or validation scenes.
        scenes: Names, to choose from.
        cases: Noise cases, to choose from, in the order of the table.
        topics: Titles, in their order, by key.
        figures: What the page's script reads of each: topic, scene, case, name, width and height in
            pixels, the numbers of its packed files by kind (png, svg, pdf), and its extreme bands.
    """

    title: str
    scenes: list[str]
    cases: list[str]
    topics: dict[str, str]
    figures: list[dict[str, Any]]


def stages(paths: Sequence[Path], cases: Sequence[str], blobs: Blobs) -> list[Stage]:
    """The figures by stage, the test's first.

    Args:
        paths: PNG files, ``<stage>/<topic>_<name>.png``.
        cases: Noise cases in the order of the table.
        blobs: Takes the files.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        figure = _figure(path, blobs)
        if figure is not None:
            found.setdefault(path.parent.name, []).append(figure)
    return [
        _stage(stage, found[stage], cases)
        for stage in sorted(found, key=lambda stage: (_place(stage, STAGES), stage))
    ]


def _stage(stage: str, figures: list[dict[str, Any]], order: Sequence[str]) -> Stage:
    topics = sorted({f["topic"] for f in figures}, key=lambda t: (_place(t, TOPICS), t))
    cases = {str(figure["case"]) for figure in figures}
    return Stage(
        STAGES.get(stage, stage),
        sorted({str(figure["scene"]) for figure in figures}),
        sorted(cases, key=lambda case: (_place(case, dict.fromkeys(order)), case)),
        {topic: TOPICS.get(topic, topic) for topic in topics},
        sorted(figures, key=lambda figure: topics.index(figure["topic"])),
    )


def _place(key: str, known: Mapping[str, Any]) -> int:
    return [*known, key].index(key)


def _figure(path: Path, blobs: Blobs) -> dict[str, Any] | None:
    """A picture and what lies beside it; None of one that is gone or broken."""
    topic, _, name = path.stem.partition("_")
    try:
        with Image.open(path) as image:
            width, height = image.size
            subject = Subject.read(image) or Subject(name, "", topic)
        files = {"png": blobs.put_bytes(path.read_bytes())}
    except (OSError, SyntaxError):  # what is not a PNG is a SyntaxError to Pillow
        return None
    for kind, ending in VECTOR.items():
        with suppress(OSError):
            files[kind] = blobs.put_bytes(path.with_suffix(ending).read_bytes())
    return {
        "topic": subject.topic or topic,
        "scene": subject.scene,
        "case": subject.noise_case,
        "name": path.stem,
        "width": width,
        "height": height,
        "files": files,
        "extremes": _extremes(path.with_name(f"{path.stem}-table.csv")),
    }


def _extremes(path: Path) -> dict[str, Any] | None:
    """The bands with the lowest and the highest PSNR by the last method of the table."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error):
        return None
    columns = [name for name in (rows[0] if rows else {}) if name.startswith("psnr_db ")]
    if len(columns) < 2:
        return None
    known = [row for row in rows if math.isfinite(_number(row[columns[-1]]))]
    ranked = sorted(known, key=lambda row: _number(row[columns[-1]]))
    return {
        "methods": [name.removeprefix("psnr_db ") for name in columns],
        "worst": [_band(row, columns) for row in ranked[:EXTREMES]],
        "best": [_band(row, columns) for row in reversed(ranked[-EXTREMES:])],
    }


def _band(row: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    nm = _number(row.get("wavelength_nm", ""))
    name = f"band {row['band']}" + (f", {nm:.0f} nm" if math.isfinite(nm) else "")
    return [name, *(f"{_number(row[column]):.2f}" for column in columns)]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
