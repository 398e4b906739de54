"""Cells -> the tables: a row a method, a column a noise case, with the paper's figures beside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev

from lightning_ras2s.evaluation import DIGITS
from lightning_ras2s.methods import Method
from lightning_ras2s.metrics import METRICS
from lightning_ras2s.pages.result_tables import BEST, PAPER_METRICS, is_papers_test, paper_rows
from lightning_ras2s.tables.cells import Cell
from lightning_ras2s.tables.compute import Plan, Tables
from lightning_ras2s.tables.test_sets import FOLDER


@dataclass(frozen=True)
class Entry:
    """A method under one noise case.

    Attributes:
        means: Of each metric, over scenes and seeds.
        spreads: Standard deviations of the means over the seeds; empty of one seed.
        paper: What the paper prints, if it has this method, dataset and case.
        seconds: A scene takes.
        memory: Bytes that it takes at most; None where that is not known.
        cells: What it is of.
    """

    means: dict[str, float]
    spreads: dict[str, float]
    paper: dict[str, float]
    seconds: float
    memory: int | None
    cells: list[Cell]

    def difference(self, metric: str) -> float:
        """From the paper's figure, both as they are printed; NaN where it has none."""
        digits = DIGITS[metric]
        return round(self.means[metric], digits) - self.paper.get(metric, math.nan)


@dataclass(frozen=True)
class Row:
    """A method; ``entries`` are by noise case, without those that it has no figures of.

    ``note`` says why it has none, or what is to be known of them.
    """

    method: Method
    entries: dict[str, Entry]
    note: str = ""

    @property
    def parameters(self) -> int:
        """Of its network; 0 without."""
        return max((c.parameters for e in self.entries.values() for c in e.cells), default=0)

    @property
    def gflops(self) -> float | None:
        """Of its network, a scene; None where nobody counts."""
        found = [c.gflops for e in self.entries.values() for c in e.cells if c.gflops is not None]
        return mean(found) if found else None

    @property
    def seconds(self) -> float:
        """A scene takes; NaN without figures."""
        return mean(entry.seconds for entry in self.entries.values()) if self.entries else math.nan

    @property
    def memory(self) -> int | None:
        """Bytes that it takes at most."""
        known = [e.memory for e in self.entries.values() if e.memory is not None]
        return max(known, default=None)

    def mean(self, metric: str) -> float:
        """Over its noise cases."""
        values = [entry.means[metric] for entry in self.entries.values()]
        return mean(values) if values else math.nan


@dataclass(frozen=True)
class Table:
    """One dataset.

    Attributes:
        dataset: As it was named.
        title: As it is shown.
        cases: Noise cases; that of measured scenes is ``real``.
        rows: The methods.
        scenes: Their number.
        seeds: Likewise.
        absent: Why there are no figures at all; empty where there are.
        notes: What is told below.
    """

    dataset: str
    title: str
    cases: list[str]
    rows: list[Row]
    scenes: int = 0
    seeds: int = 0
    absent: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def has_paper(self) -> bool:
        """Whether the paper has one of its figures."""
        return any(entry.paper for row in self.rows for entry in row.entries.values())

    def rank(self, row: Row, case: str, metric: str) -> int:
        """1 for the best value as it is printed, 2 for the next, 0 for the others."""
        shown = [_shown(each, case, metric) for each in self.rows]
        known = sorted({v for v in shown if not math.isnan(v)}, reverse=BEST[metric] is max)
        own = _shown(row, case, metric)
        place = known.index(own) + 1 if own in known else 0
        return place if place < 3 and len(known) > 1 else 0


def _shown(row: Row, case: str, metric: str) -> float:
    entry = row.entries.get(case)
    return math.nan if entry is None else round(entry.means[metric], DIGITS[metric])


def summarize(plan: Plan, tables: Tables) -> list[Table]:
    """A table for each dataset; methods that have no figures are rows with a note."""
    return [_table(dataset, plan, tables) for dataset in plan.datasets]


def _table(dataset: str, plan: Plan, tables: Tables) -> Table:
    title = _title(dataset)
    if dataset in tables.absent:
        return Table(dataset, title, [], [], absent=tables.absent[dataset])
    cells = [cell for cell in tables.cells if cell.dataset == dataset]
    cases = list(dict.fromkeys(cell.noise_case for cell in cells))
    scenes = {cell.scene for cell in cells}
    rows = []
    for method in plan.methods:
        place = (method.key, dataset)
        why = tables.blank.get((method.key, "")) or tables.blank.get(place, "")
        why = why or tables.told.get(place, "")
        entries = {}
        for case in cases:
            own = [c for c in cells if (c.method, c.noise_case) == (method.key, case)]
            if len(own) == len(plan.seeds) * _count(cells, case):  # no mean of some scenes only
                entries[case] = _entry(own, dataset, case, method)
        rows.append(Row(method, entries, why))
    return Table(
        dataset, title, cases, rows, len(scenes), len({cell.seed for cell in cells}),
        notes=_notes(cells, rows),
    )  # fmt: skip


def _count(cells: Sequence[Cell], case: str) -> int:
    return len({cell.scene for cell in cells if cell.noise_case == case})


def _entry(cells: list[Cell], dataset: str, case: str, method: Method) -> Entry:
    by_seed: dict[int, list[Cell]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell)
    means, spreads = {}, {}
    for metric in METRICS:
        values = [mean(cell.metrics[metric] for cell in own) for own in by_seed.values()]
        means[metric] = mean(values)
        if len(values) > 1:
            spreads[metric] = stdev(values)
    known = [cell.memory for cell in cells if cell.memory is not None]
    seconds = mean(cell.seconds for cell in cells)
    paper = _paper(dataset, case, method)
    return Entry(means, spreads, paper, seconds, max(known, default=None), cells)


def _paper(dataset: str, case: str, method: Method) -> dict[str, float]:
    base, _, protocol = dataset.partition(":")
    if not is_papers_test(base, protocol or "ras2s"):
        return {}
    for row in paper_rows(base, case):
        if row["method"] == method.label:
            return {metric: float(row[metric]) for metric in PAPER_METRICS}
    return {}


def _notes(cells: Sequence[Cell], rows: Sequence[Row]) -> list[str]:
    places = dict.fromkeys(
        f"{cell.device}, {cell.threads} threads" if cell.threads > 1 else f"{cell.device}, 1 thread"
        for cell in cells
    )
    notes = [f"Seconds and memory (beside the scene's own) on {'; '.join(places)}."]
    if any(row.gflops for row in rows):
        notes.append("GFLOPs of the network, without +S; a multiplication and an addition are two.")
    return notes


def _title(dataset: str) -> str:
    return dataset.removeprefix(FOLDER) if dataset.startswith(FOLDER) else dataset
