"""Computes tables of methods, datasets and noise cases, and writes them as pages and files.

ras2s tables --methods=fast --datasets=indian_pines,scenes:folder --cases=noniid,mixture --seeds=3
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from datamodules import DataError
from datamodules.atomic_write import atomic_write
from datamodules.base import EVALUATION_SEED
from datamodules.noise import FIVE_CASES
from datamodules.samples import check_case
from lightning_ras2s.cli import fail
from lightning_ras2s.inference.denoise import default_device, devices_of
from lightning_ras2s.methods import GROUPS, Method, find, refined, select
from lightning_ras2s.pages.template import duration
from lightning_ras2s.runs.errors import UserError
from lightning_ras2s.runs.folder import RunFolder
from lightning_ras2s.runs.loggers import Wandb
from lightning_ras2s.runs.wandb_run import finish_wandb, prepare_wandb
from lightning_ras2s.tables.cells import Cache, Cell
from lightning_ras2s.tables.compute import Plan, compute
from lightning_ras2s.tables.page import page
from lightning_ras2s.tables.scatter import draw_scatter
from lightning_ras2s.tables.summary import Table, summarize
from lightning_ras2s.tables.test_sets import check_dataset
from lightning_ras2s.tables.text import (
    COLUMNS,
    comma_separated,
    latex,
    markdown,
    on_screen,
    rows_of,
)

FILES = ("tables.md", "tables.tex", "tables.csv", "scatter.png", "index.html")
CELLS = "cells"


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser("ras2s tables", description=__doc__.splitlines()[0])
    made.add_argument(
        "--methods", default="all", help="keys as ras2s,median+s, and groups "
        f"({', '.join(GROUPS)}), which bring each method without and with +S",
    )  # fmt: skip
    made.add_argument(
        "--datasets",
        default="indian_pines",
        help="names, each also with a protocol (indian_pines:as_published), or scenes:FOLDER",
    )
    made.add_argument("--cases", default=",".join(FIVE_CASES), help="noise cases")
    made.add_argument("--seeds", type=int, default=1, help="draws of the noise")
    made.add_argument(
        "--weights", action="append", default=[], metavar="METHOD=FILE",
        help="in place of the package's, for each method",
    )  # fmt: skip
    made.add_argument("--axes", help="of the files of a folder, where it is not what is found")
    made.add_argument("--device", help="by default a GPU if there is one")
    made.add_argument("--output", type=Path, default=Path("tables"), help="the folder")
    made.add_argument("--merge", type=Path, action="append", default=[], metavar="FOLDER",
                      help="take over what another folder of tables has computed")  # fmt: skip
    made.add_argument("--no-wandb", action="store_true", help="log no table to W&B")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 2 for a method, dataset, case or option that is none, or if nothing could
        be computed.
    """
    options = parser().parse_args(args)
    try:
        return _run(options)
    except (ValueError, OSError, DataError, UserError) as error:
        return fail(" ".join(str(error).split()), 2)


def _run(options: argparse.Namespace) -> int:
    plan = _plan(options)
    cache = Cache(options.output / CELLS)
    for other in options.merge:
        if not (other / CELLS).is_dir():
            raise ValueError(f"{other}: holds no {CELLS}; name a folder that ras2s tables has made")
        _tell(f"{cache.merge(other / CELLS)} cells taken over from {other}")
    tables = compute(plan, cache, _report)
    for name, why in tables.absent.items():
        _tell(f"{name}: {why}")
    for (key, dataset), why in (tables.blank | tables.told).items():
        _tell(f"{find(key).label}{f' on {dataset}' if dataset else ''}: {why}")
    if not tables.cells:
        return fail("nothing could be computed: see above", 2)
    _tell(f"{tables.computed} of {len(tables.cells)} cells computed, the others were there")
    found = summarize(plan, tables)
    write(found, cache, options.output)
    if not options.no_wandb:
        _log(found, options.output)
    console = Console()
    for table in found:
        if not table.absent:
            console.print(on_screen(table))
    paths = ", ".join(str(options.output / name) for name in FILES)
    console.print(f"-> {paths}", soft_wrap=True, markup=False)
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    names, datasets, cases = map(_names, (options.methods, options.datasets, options.cases))
    weights = dict(map(_weights, options.weights))
    chosen = _methods(names, weights)
    for name in datasets:
        check_dataset(name)
    for case in cases:
        check_case(case)
    if options.seeds < 1:
        raise ValueError(f"--seeds={options.seeds}; give at least 1")
    for key, file in weights.items():
        if key not in {each.base for each in chosen}:
            raise ValueError(f"--weights={key}={file}: {find(key).label} is not among the methods")
        if not Path(file).exists():
            raise ValueError(f"--weights={key}={file}: there is no file {file}")
    return Plan(
        chosen, datasets, cases, range(EVALUATION_SEED, EVALUATION_SEED + options.seeds), weights,
        devices_of(options.device)[0] if options.device else default_device(), options.axes,
    )  # fmt: skip


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError("no method, dataset or noise case is named")
    return list(dict.fromkeys(names))


def _weights(given: str) -> tuple[str, str]:
    name, sign, file = given.partition("=")
    if not sign:
        raise ValueError(f"--weights={given}; give them as METHOD=FILE")
    return find(name).base, file


def _methods(names: Sequence[str], weights: Mapping[str, str]) -> list[Method]:
    """Those of a group with and without +S, as far as there are weights."""
    chosen: dict[str, Method] = {}
    without: dict[str, Method] = {}
    for name in names:
        is_group = name.lower() in GROUPS
        for method in select([name]):
            if is_group and method.is_without_weights and method.key not in weights:
                without[method.key] = method
                continue
            chosen[method.key] = method
            if is_group and method.key != "identity":  # +S of the noisy scene is asked for by name
                chosen[refined(method).key] = refined(method)
    if left_out := [method for key, method in without.items() if key not in chosen]:
        _tell(
            f"left out, for want of weights: {', '.join(method.label for method in left_out)}; "
            f"train them (make train EXP={left_out[0].recipe}, make compare) and give them "
            f"(--weights={left_out[0].key}=best.ckpt)"
        )
    return list(chosen.values())


def write(tables: Sequence[Table], cache: Cache, folder: Path) -> None:
    """Writes all files of the tables, each whole or not at all."""
    texts = (markdown(tables), latex(tables), comma_separated(tables))
    for name, text in zip(FILES, texts, strict=False):
        with atomic_write(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
    with atomic_write(folder / FILES[3]) as aside:
        draw_scatter(tables).savefig(aside, dpi=110, format="png")
    with atomic_write(folder / FILES[4]) as aside:
        aside.write_text(page(tables, cache), encoding="utf-8")


def _log(tables: Sequence[Table], folder: Path) -> None:
    """The rows of the CSV as a table of W&B, offline without an account."""
    run = RunFolder(folder)
    prepare_wandb(run)
    logger = Wandb(save_dir=str(folder), name="tables")
    rows = [[row.get(column) for column in COLUMNS] for row in rows_of(tables)]
    logger.log_table("tables", columns=list(COLUMNS), data=rows)
    finish_wandb(run, 0)


def _report(cell: Cell, done: int, total: int, left: float | None) -> None:
    rest = "" if left is None else f"; about {duration(left)} left"
    figures = f"{cell.metrics['psnr_db']:.2f} dB in {cell.seconds:.1f} s"
    where = f"{cell.dataset} {cell.noise_case} {cell.scene}, {find(cell.method).label}"
    _tell(f"[{done}/{total}] {where}: {figures}{rest}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
