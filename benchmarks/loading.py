"""How fast training gets its patches, and what they take on the disk: the field's way and ours."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from scipy import ndimage

from benchmarks import lmdb_way
from benchmarks.timing import device, seconds, spread, tell
from datamodules import random_streams
from datamodules.base import HSIDataModule
from datamodules.source import Source
from datamodules.stored import Excerpt, StoredScene, open_scene, store_scene

BANDS, PATCH, BATCH = 31, 64, 16
WORKERS = (0, 1, 2)
TRAINING = Excerpt(scales=(1.0, 0.5, 0.25))

Batches = Callable[[], Iterator[Sequence[Any]]]  # an epoch; a batch is as long as it has patches


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        scenes: Number of scenes.
        pixels: Height and width of a scene; 1024 is what ICVL's training keeps of one.
        patches: Patches between two looks at the clock.
        rounds: In each, every way is measured once.
        trials: Rounds before, which find the best number of workers of each way.
    """

    scenes: int = 4
    pixels: int = 1024
    patches: int = 2048
    rounds: int = 9
    trials: int = 2


QUICK = Plan(scenes=1, patches=256, rounds=3, trials=1)


class StoredScenes(HSIDataModule):
    """Our way, as ICVL's training goes it: prepared scenes in a folder, patches on grids."""

    name = "benchmark"

    def __init__(self, folder: Path, **options: Any) -> None:
        defaults: dict[str, Any] = {"sampling": "grid", "batch_size": BATCH}
        super().__init__(**defaults | options)
        self.folder = folder

    def scenes(self, split: str) -> list[StoredScene]:
        """All scales of all scenes, whatever the split."""
        folders = sorted(self.folder.iterdir())
        return [level.scaled(*level.scene_range) for f in folders for level in open_scene(f)]


def make_scene(seed: int, pixels: int) -> np.ndarray:
    """12-bit counts [B, H, W], float32: four smooth spectra, mixed by soft shapes and texture."""
    rng = np.random.default_rng(seed)
    spectra = ndimage.gaussian_filter1d(rng.random((BANDS, 4)), 4, axis=0)
    shapes = np.stack([ndimage.zoom(rng.random((8, 8)), pixels / 8, order=1) for _ in range(4)])
    shapes += 0.1 * rng.random(shapes.shape)
    cube = np.tensordot(spectra.astype(np.float32), shapes.astype(np.float32), axes=1)
    return np.rint(cube * (4095 / cube.max()))


def write_both(folder: Path, plan: Plan) -> None:
    """Writes the same scenes in both ways, to ``folder/ours`` and ``folder/lmdb``."""
    scenes = (make_scene(seed, plan.pixels) for seed in range(plan.scenes))
    lmdb_way.write_patches(
        folder / "lmdb", (patch for scene in scenes for patch in lmdb_way.scene_patches(scene))
    )
    write_scenes(folder / "ours", plan)


def write_scenes(folder: Path, plan: Plan) -> None:
    """Prepares them our way."""
    unknown = Source(path="synthetic", size=0, mtime_ns=0, sha256="")
    for seed in range(plan.scenes):
        scene = make_scene(seed, plan.pixels)
        name = f"scene_{seed:03}"
        store_scene(folder / name, name, scene, None, TRAINING, unknown)


def disk_size(folder: Path) -> int:
    """Of all files in a folder, in bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def their_batches(environment: Any, epoch_size: int, noisy: bool, workers: int) -> Batches:
    """The field's clean patches as they come from the loader, or noisy and clean on the device."""
    noise = lmdb_way.TrainingNoise() if noisy else None
    patches = lmdb_way.Patches(environment, (BANDS, PATCH, PATCH), noise)
    loader = lmdb_way.loader(patches, epoch_size, BATCH, workers)

    def epoch() -> Iterator[Sequence[Any]]:
        for images in loader:
            if noisy:
                images = [image.to(device(), non_blocking=True) for image in images]
            yield images[0]

    return epoch


def our_batches(folder: Path, epoch_size: int, noisy: bool, workers: int) -> Batches:
    """Ours, likewise, with noise drawn by compiled code where ``compile_draws`` made it."""
    module = StoredScenes(folder, patches_per_epoch=epoch_size, num_workers=workers)
    module.setup("fit")
    loader = module.train_dataloader()

    def epoch() -> Iterator[Sequence[Any]]:
        for batch in loader:
            if noisy:
                batch = module.transfer_batch_to_device(batch, device(), 0)
                batch = module.on_after_batch_transfer(batch, 0)
            yield batch["noisy" if noisy else "clean"]

    return epoch


def without_compiled_draws(way: Callable[[int], Batches], workers: int) -> Batches:
    """Batches whose noise is drawn as if nothing had been compiled."""
    batches = way(workers)

    def epoch() -> Iterator[Sequence[Any]]:
        with mock.patch.object(random_streams, "_compiled", None):
            yield from batches()

    return epoch


def patches_per_second(batches: Batches) -> float:
    """Takes an epoch."""
    sizes: list[int] = []
    time = seconds(lambda: sizes.extend(len(batch) for batch in batches()))
    return sum(sizes) / time


def compare(ways: dict[str, Callable[[int], Batches]], plan: Plan) -> dict[str, Any]:
    """Measures the ways in turns, each with the number of workers that suits it best."""
    best = {name: best_workers(way, plan.trials) for name, way in ways.items()}
    rounds = [
        {name: patches_per_second(batches) for name, (_, batches) in best.items()}
        for _ in range(plan.rounds)
    ]
    result: dict[str, Any] = {
        name: {"workers": workers} | spread([rates[name] for rates in rounds])
        for name, (workers, _) in best.items()
    }
    for name, ratio in {"ours": "ratio", "compiled": "compiled_ratio"}.items():
        if name in ways:
            result[ratio] = spread([rates[name] / rates["lmdb"] for rates in rounds])
    return result


def best_workers(way: Callable[[int], Batches], trials: int) -> tuple[int, Batches]:
    """The number of workers that brings most patches a second, and its batches."""
    rates = {}
    for workers in WORKERS:
        batches = way(workers)
        patches_per_second(batches)  # starts the workers and fills the page cache
        rates[median(patches_per_second(batches) for _ in range(trials))] = workers, batches
    return rates[max(rates)]


def measure(folder: Path, plan: Plan) -> dict[str, Any]:
    """Writes scenes to an empty folder and measures both ways there."""
    write_both(folder, plan)
    sizes = {way: disk_size(folder / way) for way in ("lmdb", "ours")}
    environment = lmdb_way.open_lmdb(folder / "lmdb")
    speeds = {}
    compiled = device().type == "cpu" and random_streams.compile_draws()
    for kind, noisy in (("clean", False), ("noisy", True)):
        theirs = partial(their_batches, environment, plan.patches, noisy)
        ours = partial(our_batches, folder / "ours", plan.patches, noisy)
        ways: dict[str, Callable[[int], Batches]] = {
            "lmdb": theirs,
            "ours": partial(without_compiled_draws, ours),
        }
        if noisy and compiled:
            ways["compiled"] = ours
        speeds[kind] = compare(ways, plan)
    environment.close()
    return {
        "patch": [BANDS, PATCH, PATCH],
        "batch_size": BATCH,
        "plan": asdict(plan),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "device": str(device()),
        **speeds,
        "disk": sizes | {"ratio": sizes["ours"] / sizes["lmdb"]},
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Prints a table."""
    shape = "x".join(map(str, result["patch"]))
    table = Table(
        title=f"Training patches of {shape} on {result['cores']} cores, device {result['device']}",
        caption="median (least to most) of rounds in which all take turns; page cache warm",
    )
    for header in ("", "LMDB, numpy noise", "ours", "ours / LMDB"):
        table.add_column(header, justify="right" if header else "left")
    rows = (
        ("clean patches/s from disk", "clean", "ours", "ratio"),
        ("noisy patches/s on the device", "noisy", "ours", "ratio"),
        ("the same, our noise compiled", "noisy", "compiled", "compiled_ratio"),
    )
    for title, key, way, ratio in rows:
        part = result[key]
        if way in part:
            cells = [
                f"{tell(part[one], 0)}, {part[one]['workers']} workers" for one in ("lmdb", way)
            ]
            table.add_row(title, *cells, tell(part[ratio], 2))
    disk = result["disk"]
    table.add_row("disk", decimal(disk["lmdb"]), decimal(disk["ours"]), f"{disk['ratio']:.3f}")
    console.print(table)
