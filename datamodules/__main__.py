"""The command behind `make data`: prepares a dataset, or lists those there are."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from datamodules import catalogue
from datamodules.collection import Collection, data_root
from datamodules.prepare import Outcome, group_problems, prepare
from datamodules.scene import DataError
from datamodules.stored import read_manifest

console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0, 2 if a scene is not ready or the dataset unknown, 130 if it was stopped.
    """
    parser = argparse.ArgumentParser(prog="make data DATASET=<name>", description=__doc__)
    parser.add_argument("dataset", nargs="?", default="", help="without it: lists the datasets")
    parser.add_argument("--all", action="store_true", help="also scenes of other protocols only")
    parser.add_argument("--offline", action="store_true", help="use only files that are there")
    parser.add_argument(
        "--any-size", action="store_true", help="take scenes of another height and width too"
    )
    options = parser.parse_args(args)
    collections = catalogue()
    if options.dataset not in collections:
        _list(collections)
        if options.dataset:
            console.print(f"error: there is no dataset {options.dataset!r}")
        return 2 if options.dataset else 0
    collection = collections[options.dataset]
    console.print(f"{collection.title}. Terms: {collection.terms}")
    try:
        outcome = prepare(
            collection,
            everything=options.all,
            offline=options.offline,
            any_size=options.any_size,
        )
    except DataError as error:
        console.print(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return 130
    _tell(collection, outcome)
    return 2 if outcome.problems else 0


def _list(collections: dict[str, Collection]) -> None:
    table = Table(title=f"Datasets, in {data_root()} (DATA_ROOT=<folder> moves them)")
    for header in ("DATASET", "what", "download", "prepared scenes"):
        table.add_column(header)
    for name, collection in collections.items():
        usual = collection.scenes.keys() - collection.extra
        ready = sum(
            collection.is_current(read_manifest(collection.prepared_folder / scene), scene)
            for scene in usual
        )
        table.add_row(name, collection.title, decimal(collection.size), f"{ready} of {len(usual)}")
    console.print(table)


def _tell(collection: Collection, outcome: Outcome) -> None:
    """Prints what was done, what is unexpected, and each problem once with its scenes."""
    for note in outcome.notes:
        console.print(f"note: {note}")
    for message, scenes in group_problems(outcome.problems).items():
        console.print(f"\n{len(scenes)} not ready: {', '.join(scenes)}\n{message}")
    made = f", {len(outcome.made)} of them made now" if outcome.made else ""
    console.print(
        f"\n{collection.name}: {len(outcome.ready)} scenes are ready{made}, "
        f"{len(outcome.problems)} are not, in {collection.prepared_folder}"
    )


if __name__ == "__main__":
    sys.exit(main())
