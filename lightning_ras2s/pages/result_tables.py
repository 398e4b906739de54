"""The tables of a run's page: its own means, and those that the paper prints for the same test.

The paper is Xiao, Liu, Wei, "Region-Aware Sequence-to-Sequence Learning for Hyperspectral
Denoising", ECCV 2024; ``paper_results.csv`` holds the numbers of its tables.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from lightning_ras2s.evaluation import COLUMNS, DIGITS, HEADERS, Row
from lightning_ras2s.metrics import METRICS

PAPER_CLASSES = {  # and the names of their datasets
    "CAVE": "cave",
    "ICVL": "icvl",
    "KAIST": "kaist",
    "PaviaCentre": "pavia_centre",
    "WDCMall": "wdc_mall",
}
PAPER_METRICS = ("psnr_db", "ssim", "sam_rad")  # the paper has no ERGAS
BEST: dict[str, Callable[[Iterable[float]], float]] = {
    "psnr_db": max,
    "ssim": max,
    "sam_rad": min,
    "ergas": min,
}


@dataclass(frozen=True)
class Case:
    """The methods under one noise case.

    Attributes:
        name: Of the noise case.
        rows: The run's methods.
        own: The method of the run's network.
        paper: All rows of the paper, empty where it has none.
    """

    name: str
    rows: list[Row]
    own: str
    paper: list[Row]

    @property
    def best(self) -> Row:
        """The row of the method with the highest PSNR; the network's if others are its equals."""
        rows = [self.network, *self.rows]  # max takes the first of equals
        return max(rows, key=lambda row: _or_lowest(float(row["psnr_db"])))

    @property
    def network(self) -> Row:
        """The row of the network."""
        return next((row for row in self.rows if row["method"] == self.own), self.rows[-1])

    @property
    def gain(self) -> float | None:
        """By how many dB the best method is above the noisy scene; None if that is not there."""
        noisy = [float(row["psnr_db"]) for row in self.rows if row["method"] == "Noisy"]
        return float(self.best["psnr_db"]) - noisy[0] if noisy else None

    @property
    def from_paper(self) -> list[Row]:
        """The paper's rows of the noisy scene and of RAS2S."""
        return [row for row in self.paper if row["method"] in ("Noisy", "RAS2S")]

    def is_best(self, row: Row, metric: str) -> bool:
        """Whether a row of the run shows the best value; among one method none is best."""
        shown = [round(float(row[metric]), DIGITS[metric]) for row in self.rows]
        known = [value for value in shown if not math.isnan(value)]
        if len(known) < 2:
            return False
        return round(float(row[metric]), DIGITS[metric]) == BEST[metric](known)


@dataclass(frozen=True)
class Dataset:
    """The noise cases of one dataset.

    Attributes:
        name: Of the dataset.
        cases: In the order of the evaluation.
        scenes: How many scenes the means are over.
    """

    name: str
    cases: list[Case]
    scenes: int

    @property
    def paper_methods(self) -> list[tuple[str, list[Row | None]]]:
        """For each method of the paper, its row under each of the run's cases that it has."""
        cases = self.paper_cases
        methods = dict.fromkeys(str(row["method"]) for case in cases for row in case.paper)
        by_case = [{row["method"]: row for row in case.paper} for case in cases]
        return [(method, [rows.get(method) for rows in by_case]) for method in methods]

    @property
    def paper_cases(self) -> list[Case]:
        """The noise cases that the paper has, too."""
        return [case for case in self.cases if case.paper]


def datasets(means: Sequence[Row], scenes: Sequence[Row], own: str, config: str) -> list[Dataset]:
    """Groups the rows of an evaluation.

    Args:
        means: One row for each dataset, noise case and method.
        scenes: The rows of the scenes, to be counted.
        own: The method of the run's network.
        config: The run's ``config.yaml``; it tells whether the test is the paper's.
    """
    found, papers = [], paper_tests(config)
    for name in dict.fromkeys(str(row["dataset"]) for row in means):
        ours = [row for row in means if row["dataset"] == name]
        cases = [
            Case(
                case,
                [row for row in ours if row["noise_case"] == case],
                own,
                paper_rows(name, case) if name in papers else [],
            )
            for case in dict.fromkeys(str(row["noise_case"]) for row in ours)
        ]
        count = len({row["scene"] for row in scenes if row["dataset"] == name})
        found.append(Dataset(name, cases, count))
    return found


def paper_tests(config: str) -> set[str]:
    """The datasets that a run tests as the paper does: with their own class and its protocol.

    Args:
        config: The run's ``config.yaml``; without one there is none.
    """
    with suppress(yaml.YAMLError, RecursionError, TypeError, KeyError, AttributeError):
        data = yaml.safe_load(config)["data"]
        if _class(data) == "TestSets":
            sets = data["init_args"]["sets"].items()
            return {name for name, each in sets if name == _papers_dataset(each)}
        return {name for name in (_papers_dataset(data),) if name}
    return set()


def _papers_dataset(data: dict[str, Any]) -> str | None:
    name = PAPER_CLASSES.get(_class(data))
    protocol = (data.get("init_args") or {}).get("protocol", "ras2s")
    return name if name and is_papers_test(name, protocol) else None


def is_papers_test(dataset: str, protocol: str) -> bool:
    """Whether a dataset is tested as the paper does, under one of its class's protocols."""
    return protocol == "ras2s" or dataset == "cave"  # whose test has one protocol


def _class(data: dict[str, Any]) -> str:
    package, _, name = data["class_path"].partition(".")
    return name.rpartition(".")[2] if package == "datamodules" else ""


def paper_rows(dataset: str, noise_case: str) -> list[Row]:
    """What the paper prints for a dataset and noise case, by method; empty if it has none."""
    return [row for row in _paper() if (row["dataset"], row["noise_case"]) == (dataset, noise_case)]


@cache
def _paper() -> list[Row]:
    text = files(__package__).joinpath("paper_results.csv").read_text(encoding="utf-8")
    return [
        dict(row) | {metric: float(row[metric]) for metric in PAPER_METRICS}
        for row in csv.DictReader(text.splitlines())
    ]


def means_csv(means: Sequence[Row]) -> str:
    """The means of an evaluation, as in ``evaluation.csv``."""
    text = io.StringIO()
    columns = [name for name in COLUMNS if name != "scene"]
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(means)
    return text.getvalue()


def means_latex(found: Sequence[Dataset]) -> str:
    r"""A ``table`` a dataset, for ``booktabs``; the best values are bold."""
    parts = [r"% \usepackage{booktabs}"]
    for dataset in found:
        heads = " & ".join(_escaped(HEADERS[metric]) for metric in METRICS)
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(dataset.name)}: means over {dataset.scenes} test scene(s).}}",
            r"\begin{tabular}{llrrrr}",
            r"\toprule",
            rf"Noise & Method & {heads} \\",
        ]
        for case in dataset.cases:
            parts.append(r"\midrule")
            for place, row in enumerate(case.rows):
                cells = [
                    rf"\textbf{{{number(row, m)}}}" if case.is_best(row, m) else number(row, m)
                    for m in METRICS
                ]
                name = _escaped(case.name) if place == 0 else ""
                method = _escaped(str(row["method"]))
                parts.append(rf"{name} & {method} & {' & '.join(cells)} \\")
        parts += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(parts)


def _escaped(text: str) -> str:
    """Text that LaTeX reads as such."""
    return re.sub(r"[&%$#_{}]", r"\\\g<0>", text.replace("\\", "/"))


def number(row: Row, metric: str) -> str:
    """A metric with its usual digits; a dash for none."""
    value = float(row.get(metric, math.nan))
    return "-" if math.isnan(value) else f"{value:.{DIGITS[metric]}f}"


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value
