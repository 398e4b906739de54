"""All cells of the tables: each is computed once, and what is there already is read."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datamodules import DataError
from datamodules.samples import EvaluationSet
from lightning_ras2s.inference.denoise import denoiser_of
from lightning_ras2s.methods import METHODS, Method, method_of
from lightning_ras2s.tables.cells import Cache, Cell, code_version, hash_of
from lightning_ras2s.tables.measure import View, denoise, filled_in, refine_result, warm_up
from lightning_ras2s.tables.test_sets import scenes_of

Paths = Mapping[str, str | PathLike[str]]


@dataclass(frozen=True)
class Plan:
    """What the tables hold.

    Attributes:
        methods: The rows.
        datasets: By name, see ``scenes_of``.
        cases: Noise cases.
        seeds: Of the noise.
        weights: Files by key of the method without +S, where they are not the package's.
        device: Where it is computed.
        axes: Of the files of a folder, where it is not what is found.
    """

    methods: Sequence[Method]
    datasets: Sequence[str]
    cases: Sequence[str]
    seeds: Sequence[int]
    weights: Paths = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    axes: str | None = None


@dataclass
class Tables:
    """The cells of a plan, and why some are blank.

    Attributes:
        cells: In the order of datasets, seeds, cases, scenes and methods.
        absent: Dataset -> why none of its scenes is there.
        blank: (method's key, dataset) -> why it has no figures; dataset is empty for all.
        told: (method's key, dataset) -> what is to be known of its figures.
        computed: How many cells were not there before.
    """

    cells: list[Cell] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    blank: dict[tuple[str, str], str] = field(default_factory=dict)
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    computed: int = 0


class Loaded:
    """A method without +S, with its weights, on a device.

    Args:
        method: Without +S.
        weights: A file of them, or None for the package's.
        device: Where it denoises.

    Raises:
        ValueError: If a package or weights are missing, or cannot be read.
        FileNotFoundError: If there is no such file.
    """

    def __init__(
        self, method: Method, weights: str | PathLike[str] | None, device: torch.device
    ) -> None:
        meta = torch.device("meta")
        self.denoiser, network = denoiser_of(method, weights, (device,))
        self.identity, self.parameters, self._on_meta = "", 0, None
        self.bands = method.bands
        if network is not None:
            self.bands = method_of(network).bands
            self.identity = hash_of(*network.state_dict().values())
            self.parameters = sum(each.numel() for each in network.parameters())
            self._on_meta = denoiser_of(method, weights, (meta,))[0]
        self.is_warm = False
        self._gflops: dict[tuple[int, ...], float | None] = {}

    def gflops(self, shape: tuple[int, ...]) -> float | None:
        """Of a cube [B, H, W]; a multiplication and an addition are two.

        None without network, and for one whose work hangs on the values.
        """
        if self._on_meta is None:
            return None
        if shape not in self._gflops:
            self._gflops[shape] = self._counted(shape)
        return self._gflops[shape]

    def _counted(self, shape: tuple[int, ...]) -> float | None:
        try:
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                self._on_meta(torch.empty(1, *shape, device="meta"))  # type: ignore[misc]
        except (NotImplementedError, RuntimeError):  # what it does hangs on the values
            return None
        return counter.get_total_flops() / 1e9


Report = Callable[[Cell, int, int, float | None], None]
"""Is told a computed cell, how many of how many are done, and the seconds that are left."""


def compute(plan: Plan, cache: Cache, report: Report = lambda *_: None) -> Tables:
    """Computes what is missing of a plan, scene by scene.

    Args:
        plan: What is wanted.
        cache: Where cells are kept.
        report: See ``Report``.
    """
    tables = Tables()
    loaded = dict(_load(plan, tables))
    sets = list(_sets(plan, tables))
    progress = Progress([m for m in plan.methods if m.base in loaded], sets)
    for dataset, seed, items in sets:
        for number in range(len(items)):
            item = _on(items[number], plan.device)
            if "clean" not in item:
                tables.absent[dataset] = f"{item['name']} has no clean scene to compare with"
                progress.skip(len(progress.methods))
                continue
            cubes = hash_of(item["noisy"], item["clean"])
            view = View.of(item)
            for base, members in _by_base(progress.methods):
                if few := _too_few_bands(loaded[base].bands, item):
                    tables.told |= {(method.key, dataset): few for method in members}
                cells = {
                    method: Cell(
                        dataset, item["case"], item["name"], seed, method.key,
                        loaded[base].identity, code_version(method), cubes,
                    )
                    for method in members
                }  # fmt: skip
                there = {method: cache.find(cell) for method, cell in cells.items()}
                missing = [method for method, cell in there.items() if cell is None]
                try:
                    made = _measured(missing, cells, item, loaded[base], cache, view)
                except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
                    first = next(iter(str(error).splitlines()), type(error).__name__)
                    why = f"failed on {item['name']} ({item['case']}): {first}"
                    tables.blank |= {(method.key, dataset): why for method in missing}
                    made = {}
                tables.computed += len(made)
                for method in members:
                    cell = made.get(method, there[method])
                    plain = made.get(members[0], there[members[0]])
                    progress.add(method, cell, plain if method.refined else None, method in made)
                    if cell is not None:
                        tables.cells.append(cell)
                    if cell is not None and method in made:
                        report(cell, progress.done, progress.total, progress.left())
    return tables


def _measured(
    methods: Sequence[Method],
    cells: Mapping[Method, Cell],
    item: Mapping[str, Any],
    base: Loaded,
    cache: Cache,
    view: View,
) -> dict[Method, Cell]:
    """Computes cells of one method without and with +S, and keeps them."""
    if not methods:
        return {}
    if not base.is_warm:
        warm_up(item, base.denoiser)
        base.is_warm = True
    plain = denoise(item, base.denoiser)
    results = {m: refine_result(item, plain) if m.refined else plain for m in methods}
    made = {}
    for method, result in results.items():
        counted = replace(
            cells[method], parameters=base.parameters, gflops=base.gflops(item["noisy"].shape)
        )
        made[method] = filled_in(counted, item, result)
        cache.keep_clean(made[method], view.of_clean(item))
        cache.keep(made[method], view(result.image))
    return made


class Progress:
    """How much is done, and how long the rest takes as far as the methods are known.

    Args:
        methods: That can be computed.
        sets: What they are measured on.
    """

    def __init__(
        self, methods: Sequence[Method], sets: Sequence[tuple[str, int, EvaluationSet]]
    ) -> None:
        self.methods = methods
        scenes = sum(len(items) for _, _, items in sets)
        self.total, self.done = scenes * len(methods), 0
        self._seconds: dict[str, list[float]] = {method.key: [] for method in methods}
        self._waiting = {method.key: scenes for method in methods}
        self._start, self._spent = time.perf_counter(), 0.0

    def skip(self, count: int) -> None:
        """So many cells will not be."""
        self.total -= count
        for key in self._waiting:
            self._waiting[key] -= 1

    def add(
        self, method: Method, cell: Cell | None, before: Cell | None = None, computed: bool = True
    ) -> None:
        """A cell is there, or cannot be.

        Args:
            method: Of the cell.
            cell: None for one that cannot be.
            before: That of the method without +S, whose seconds are counted there.
            computed: Just now.
        """
        self.done += 1
        self._waiting[method.key] -= 1
        if cell is not None:
            is_counted = before is not None and before.method != cell.method
            seconds = cell.seconds - (before.seconds if before and is_counted else 0.0)
            self._seconds[method.key].append(seconds)
            self._spent += seconds * computed

    def left(self) -> float | None:
        """Seconds; None as long as a method that waits was not met."""
        if any(self._waiting[key] and not took for key, took in self._seconds.items()):
            return None
        work = sum(
            self._waiting[key] * sum(took) / len(took)
            for key, took in self._seconds.items()
            if took
        )
        beside = (time.perf_counter() - self._start) / self._spent if self._spent else 1.0
        return work * max(1.0, beside)


def _too_few_bands(bands: int | None, item: Mapping[str, Any]) -> str:
    count = len(item["noisy"])
    if bands is None or count >= bands:
        return ""
    return f"takes {bands} bands; {item['name']} has {count}, mirrored up to them"


def _by_base(methods: Sequence[Method]) -> Iterator[tuple[str, list[Method]]]:
    """Methods without and with +S together, as one begins with the result of the other."""
    for base in dict.fromkeys(method.base for method in methods):
        yield base, [method for method in methods if method.base == base]


def _load(plan: Plan, tables: Tables) -> Iterator[tuple[str, Loaded]]:
    """The denoisers that there are; the others are blank."""
    for base, members in _by_base(plan.methods):
        try:
            yield base, Loaded(METHODS[base], plan.weights.get(base), plan.device)
        except (ValueError, FileNotFoundError) as error:
            tables.blank |= {(method.key, ""): str(error) for method in members}


def _sets(plan: Plan, tables: Tables) -> Iterator[tuple[str, int, EvaluationSet]]:
    for dataset in plan.datasets:
        for seed in plan.seeds:
            try:
                yield dataset, seed, scenes_of(dataset, plan.cases, seed, plan.axes)
            except DataError as error:
                tables.absent[dataset] = next(iter(str(error).splitlines()))
                break


def _on(item: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: x.to(device) if isinstance(x, Tensor) else x for key, x in item.items()}
