"""The table of an evaluation: a row per dataset, noise case, method and scene, and their means."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from rich.table import Table
from torch import Tensor

from datamodules.atomic_write import atomic_write
from lightning_ras2s.metrics import METRICS

Row = dict[str, str | float]
COLUMNS = ("dataset", "noise_case", "method", "scene", *METRICS)
MEAN = "mean"
NOISY = "Noisy"  # the method that does nothing
DIGITS = {"psnr_db": 2, "ssim": 4, "sam_rad": 4, "ergas": 2}
HEADERS = {
    "dataset": "Dataset",
    "noise_case": "Noise",
    "method": "Method",
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "sam_rad": "SAM (rad)",
    "ergas": "ERGAS",
}


class SceneRows:
    """The rows of an evaluation: each scene once, whatever process saw it, and however often.

    They lie on the CPU, where every device's numbers can be summed in double precision.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], Row] = {}

    def add(self, batch: Mapping[str, Any], number: int, method: str, values: Tensor) -> None:
        """Adds the scenes of a batch.

        Args:
            batch: Its ``index``, ``dataset``, ``case`` and ``name``, N each.
            number: The place of the method in the table.
            method: Its name.
            values: [N, 4], the columns of ``METRICS``.
        """
        facts = zip(*(batch[key] for key in ("index", "dataset", "case", "name")), strict=True)
        for (index, *names), row in zip(facts, values.tolist(), strict=True):
            dataset, case, scene = names
            named = dict(zip(COLUMNS, (dataset, case, method, scene), strict=False))
            self._rows[int(index), number] = named | dict(zip(METRICS, row, strict=True))

    def gather(self) -> list[Row]:
        """All rows, of all processes, in the order of scenes and methods; begins anew.

        Every process calls it, also one that has no rows.
        """
        rows, self._rows = self._rows, {}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, rows)
            rows = {key: row for part in parts for key, row in part.items()}
        return [rows[key] for key in sorted(rows)]


def mean(rows: Iterable[Row], metric: str) -> float:
    """The mean of a metric over rows."""
    values = [float(row[metric]) for row in rows]
    return sum(values) / len(values)


def mean_rows(rows: Sequence[Row]) -> list[Row]:
    """One row for each dataset, noise case and method, with the scene named ``mean``."""
    groups: dict[tuple[str | float, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["noise_case"], row["method"]), []).append(row)
    return [
        dict(zip(COLUMNS, (*group, MEAN), strict=False)) | {m: mean(members, m) for m in METRICS}
        for group, members in groups.items()
    ]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes the rows and their means, all at once: the file is whole or not there."""
    with atomic_write(path) as aside, aside.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*rows, *mean_rows(rows)])


def screen_table(rows: Sequence[Row]) -> Table:
    """The means as a table for the terminal; a single dataset is named in its title only."""
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    names = ["noise_case", "method"] if len(datasets) == 1 else ["dataset", "noise_case", "method"]
    table = Table(title=f"{', '.join(map(str, datasets))}: means over the test scenes")
    for name in names:
        table.add_column(HEADERS[name], no_wrap=True)
    for metric in METRICS:
        table.add_column(HEADERS[metric], justify="right", no_wrap=True)
    last = None
    for row in mean_rows(rows):
        group = [row[name] for name in names[:-1]]
        if last not in (None, group):
            table.add_section()
        shown = [""] * len(group) if group == last else map(str, group)
        numbers = [f"{row[metric]:.{DIGITS[metric]}f}" for metric in METRICS]
        table.add_row(*shown, str(row["method"]), *numbers)
        last = group
    return table
