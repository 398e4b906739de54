"""The table of an evaluation: a row per dataset, noise case, method and scene, and their means."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table
from torch import Tensor

from lightning_ras2s.metrics import METRICS
from lightning_ras2s.whole_files import written_aside

Row = dict[str, str | float]
COLUMNS = ("dataset", "noise_case", "method", "scene", *METRICS)
MEAN = "mean"
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


def scene_rows(
    items: Sequence[tuple[str, str, str]], methods: Sequence[str], keys: Tensor, values: Tensor
) -> list[Row]:
    """Names the rows of a ``SceneTable``.

    Args:
        items: (dataset, scene, noise case) of each index.
        methods: Name of each method's number.
        keys: [R, 2] of index and method.
        values: [R, 4], the columns of ``METRICS``.
    """
    rows = []
    for (index, method), row in zip(keys.tolist(), values.tolist(), strict=True):
        dataset, scene, case = items[index]
        names: Row = dict(zip(COLUMNS, (dataset, case, methods[method], scene), strict=False))
        rows.append(names | dict(zip(METRICS, row, strict=True)))
    return rows


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
    with written_aside(path) as aside, aside.open("w", newline="") as file:
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
