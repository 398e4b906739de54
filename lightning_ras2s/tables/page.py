"""``index.html``: the tables to sort and filter, and each method's picture, error and spectrum."""

import base64
import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from lightning_ras2s.evaluation import DIGITS, HEADERS
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.pages.template import placeless, render
from lightning_ras2s.pictures.drawing import ERROR_MAP, SpectralAxis
from lightning_ras2s.tables.cells import Cache, Cell
from lightning_ras2s.tables.summary import Entry, Row, Table
from lightning_ras2s.tables.text import costs

ALL_CASES = "mean of all"
GREY = (1, 99)  # percentiles of the clean crop that are black and white
ERROR = 95  # percentile of the noisy crop's errors; half of it is the end of the scale
ERRORS = colormaps[ERROR_MAP]


def page(tables: Sequence[Table], cache: Cache) -> str:
    """Makes the page of all tables.

    Args:
        tables: What is shown.
        cache: Has the crop and the spectrum of each method's result; of each dataset and noise
            case the first scene is shown.

    Returns:
        HTML that asks for nothing from outside.
    """
    found = [table for table in tables if not table.absent]
    data = {
        "metrics": [{"name": m, "title": HEADERS[m], "digits": DIGITS[m]} for m in METRICS],
        "best": {m: -1 if m in ("psnr_db", "ssim") else 1 for m in METRICS},
        "allCases": ALL_CASES,
        "tables": [_table(table, cache) for table in found],
    }
    absent = {table.title: table.absent for table in tables if table.absent}
    return render("tables.html", data=data, absent=absent)


def _table(table: Table, cache: Cache) -> dict[str, Any]:
    cases = [_case(table, case, cache) for case in table.cases]
    if len(cases) > 1:
        cases.insert(0, _mean(table))
    notes = [
        *table.notes,
        *dict.fromkeys(f"{r.method.label}: {r.note}" for r in table.rows if r.note),
    ]
    return {"title": table.title, "scenes": table.scenes, "seeds": table.seeds, "cases": cases,
            "notes": [placeless(note) for note in notes]}  # fmt: skip


def _case(table: Table, case: str, cache: Cache) -> dict[str, Any]:
    rows, shown = [], []
    for row in table.rows:
        entry = row.entries.get(case)
        rows.append(_row(row, entry))
        if entry is not None:
            shown.append((row, entry.cells[0]))
    return {"name": case, "rows": rows} | _view(shown, cache)


def _mean(table: Table) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        whole = len(row.entries) == len(table.cases)
        means = {m: row.mean(m) for m in METRICS} if whole else {}
        rows.append(_facts(row) | _numbers(means) | {"seconds": _number(row.seconds)})
    return {"name": ALL_CASES, "rows": rows}


def _row(row: Row, entry: Entry | None) -> dict[str, Any]:
    if entry is None:
        return _facts(row)
    paper = {f"paper_{m}": value for m, value in entry.paper.items()}
    spreads = {f"spread_{m}": value for m, value in entry.spreads.items()}
    numbers = _numbers(entry.means) | paper | spreads
    return _facts(row) | numbers | {"seconds": _number(entry.seconds)}


def _facts(row: Row) -> dict[str, Any]:
    _, memory, parameters, gflops = costs(row)
    return {
        "method": row.method.label,
        "key": row.method.key,
        "base": row.method.base,
        "kind": row.method.kind,
        "paper": f"{row.method.paper} {row.method.year}" if row.method.paper else "",
        "MB": memory,
        "parameters": parameters,
        "GFLOPs": gflops,
    }


def _numbers(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _view(shown: Sequence[tuple[Row, Cell]], cache: Cache) -> dict[str, Any]:
    """Pictures of one crop in the same grey, errors in the same colours, spectra of one pixel."""
    clean = cache.shown_clean(shown[0][1]) if shown else None
    if clean is None:
        return {}
    low, high = np.percentile(clean["crop"].astype(np.float32), GREY)
    axis = SpectralAxis.of(len(clean["spectrum"]), clean.get("wavelengths"))
    crops, spectra = {}, {}
    for row, cell in shown:
        arrays = cache.shown(cell)
        if arrays is not None and arrays["crop"].shape == clean["crop"].shape:
            crops[row.method.key] = arrays["crop"].astype(np.float32)
            spectra[row.method.key] = arrays["spectrum"]
    errors = {key: np.abs(crop - clean["crop"]) for key, crop in crops.items()}
    noisy = errors.get("identity", np.array(list(errors.values()) or [0.0]))
    end = max(float(np.percentile(noisy, ERROR)) / 2, 1e-6)
    everything = {"clean": clean["crop"].astype(np.float32)} | crops
    return {
        "scene": shown[0][1].scene,
        "band": int(clean["band"]),
        "wavelengths": [round(float(each), 2) for each in clean.get("wavelengths", ())],
        "starts": [part.start for part in axis.parts],
        "error": end,
        "pictures": {key: _grey(crop, low, high) for key, crop in everything.items()},
        "errors": {key: _coloured(error / end) for key, error in errors.items()},
        "spectra": {
            key: [round(float(value), 4) for value in spectrum]
            for key, spectrum in ({"clean": clean["spectrum"]} | spectra).items()
        },
    }


def _grey(crop: np.ndarray, low: float, high: float) -> str:
    share = (crop - low) / max(high - low, 1e-6)
    return _png(Image.fromarray((255 * share.clip(0, 1)).round().astype(np.uint8)))


def _coloured(share: np.ndarray) -> str:
    levels = (255 * share.clip(0, 1)).round().astype(np.uint8)
    image = Image.fromarray(levels, "P")
    image.putpalette((255 * ERRORS(np.arange(256))[:, :3]).round().astype(np.uint8).tobytes())
    return _png(image)


def _png(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
