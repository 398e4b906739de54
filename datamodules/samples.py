"""Samples of training and evaluation: each follows from a seed and its number alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from datamodules.noise import corrupt, find_noises
from datamodules.patches import PatchGrid, PatchShape, Turn, free_places, random_window
from datamodules.random_streams import derive_seed
from datamodules.reading import note
from datamodules.scene import DataError, Measured, Scene, SceneLike, Window
from datamodules.shared_memory import short_of_shared_memory

Batch = dict[str, Any]
AnyScene = SceneLike | Measured

Cases = Sequence[str] | Mapping[int, Sequence[str]]
REAL = "real"  # the case of measured scenes: no noise is added to them


def check_case(case: str) -> None:
    """Raises ValueError if there is no such noise case."""
    if case != REAL:
        find_noises(case)


class Cut(NamedTuple):
    """What is drawn for a training patch, before it is cut."""

    facts: Batch
    parts: dict[str, SceneLike]  # clean, and noisy where the noise is real
    window: Window
    turn: Turn


class TrainingPatches(Dataset[Batch], ABC):
    """Patches of scenes, each with its noise case and seed, or with its real noise.

    A patch depends on the seed and its number alone, not on the worker, rank or batch; the number
    counts on through the epochs. A list of numbers gives a batch: it needs no collating.

    Args:
        dataset: Its name.
        cases: Noise cases, drawn with equal chances; or those from an epoch on, by its number.
        seed: All follows from it.
    """

    epoch_length: int | None = None
    """Patches of an epoch, where ``cases`` go by it."""

    scene_count: int
    """Scenes that the patches come from; smaller copies of one are not counted."""

    in_an_epoch: int
    """Patches that make an epoch, unless the user says how many."""

    def __init__(self, dataset: str, cases: Cases, seed: int) -> None:
        self.dataset, self.cases, self.seed = dataset, cases, seed

    def __getitem__(self, number: int) -> Batch:
        """The patch of that number."""
        cut = self._draw(number)
        return cut.facts | {key: self._cut([cut], key)[0] for key in cut.parts}

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        """The batch of the patches of those numbers; each is written to its place at once."""
        cuts = [self._draw(number) for number in numbers]
        facts = default_collate([cut.facts for cut in cuts])
        return facts | {key: self._cut(cuts, key) for key in cuts[0].parts}

    def _cut(self, cuts: Sequence[Cut], key: str) -> Tensor:
        patches = empty_batch(len(cuts), *_shape(cuts[0].window))
        for cut, out in zip(cuts, patches.numpy(), strict=True):
            note(cut.parts[key])
            cut.parts[key].cut(cut.window, cut.turn, out)
        return patches

    def _draw(self, number: int) -> Cut:
        rng = np.random.default_rng([self.seed, number])
        scene, window = self._place(number, rng)
        turn = Turn.draw(_shape(window), rng)
        facts: Batch = {"dataset": self.dataset, "name": scene.name, "index": number}
        if isinstance(scene, Measured):
            assert scene.clean is not None  # HSIDataModule checks it
            parts = {"clean": scene.clean, "noisy": scene.noisy}
            facts["case"] = REAL
        else:
            parts = {"clean": scene}
            epoch = number // self.epoch_length if self.epoch_length else 0
            cases = cases_at(self.cases, epoch)
            facts["case"] = cases[int(rng.integers(len(cases)))]
            facts["seed"] = int(rng.integers(2**63))
        return Cut(facts, parts, window, turn)

    @abstractmethod
    def _place(self, number: int, rng: np.random.Generator) -> tuple[AnyScene, Window]:
        """The scene and the window of a patch, drawn from ``rng``."""


def cases_at(cases: Cases, epoch: int) -> Sequence[str]:
    """The noise cases of an epoch."""
    if isinstance(cases, Mapping):
        return cases[max(start for start in cases if start <= epoch)]
    return cases


def empty_batch(*shape: int) -> Tensor:
    """A float32 tensor; in a DataLoader's worker, in the memory that it is handed over in."""
    batch = torch.empty(shape)
    if get_worker_info() is None:
        return batch
    with short_of_shared_memory():
        return batch.share_memory_()


def _shape(window: Window) -> PatchShape:
    return PatchShape(*(axis.stop - axis.start for axis in window))


class PatchesOfScenes(TrainingPatches):
    """Patches of scenes that are there; they hold valid pixels alone.

    Args:
        scenes: Where patches come from; smaller copies of a scene count as scenes, and are left
            out where a patch does not fit.
        shape: Of the patches.
        cases: As for TrainingPatches.
        seed: All follows from it.
        strides: Of the grid, by the level of a scene.
        dataset: Its name.

    Raises:
        DataError: If a patch does not fit a scene, or its valid pixels.
    """

    def __init__(
        self,
        scenes: Sequence[AnyScene],
        shape: PatchShape,
        cases: Cases,
        seed: int,
        strides: Sequence[int],
        dataset: str,
    ) -> None:
        super().__init__(dataset, cases, seed)
        scenes = [s for s in scenes if s.level == 0 or shape.fits(s.shape)]
        for scene in scenes:
            shape.require_fit(scene.shape, scene.name)
        free = {id(scene): free_places(scene.valid, shape) for scene in scenes}
        for scene in scenes:
            if scene.level == 0 and not _any(free[id(scene)]):
                raise DataError(
                    f"scene {scene.name}: no {shape.height} x {shape.width} pixels without nodata "
                    "among them; lower data.patch_size, or leave the scene out"
                )
        scenes = [scene for scene in scenes if _any(free[id(scene)])]
        self.scenes, self.shape = scenes, shape
        self.scene_count = len({scene.name for scene in scenes})
        there = [free[id(scene)] for scene in scenes]
        self.places = [None if here is None else np.flatnonzero(here) for here in there]
        levels = [strides[scene.level] for scene in scenes]
        self.grid = PatchGrid([scene.shape for scene in scenes], shape, levels, there)
        self.in_an_epoch = len(self.grid)


def _any(free: np.ndarray | None) -> bool:
    return free is None or bool(free.any())


class RandomPatches(PatchesOfScenes):
    """Any place of any scene: scenes have equal chances, and so have the places in a scene."""

    def _place(self, number: int, rng: np.random.Generator) -> tuple[AnyScene, Window]:
        chosen = int(rng.integers(len(self.scenes)))
        scene = self.scenes[chosen]
        return scene, random_window(scene.shape, self.shape, rng, self.places[chosen])


class GridPatches(PatchesOfScenes):
    """The places of a regular grid: all of them in one random order, then in the next.

    Raises:
        DataError: If no place of the grid has valid pixels alone.
    """

    order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if len(self.grid) == 0:
            raise DataError(
                f"{self.dataset}: no patch of the grid is without nodata; lower data.patch_size, "
                "or let data.sampling be random"
            )

    def _place(self, number: int, rng: np.random.Generator) -> tuple[AnyScene, Window]:
        turn, index = divmod(number, len(self.grid))
        if self.order[0] != turn:
            shuffle = np.random.default_rng([self.seed, turn, len(self.grid)])
            self.order = (turn, shuffle.permutation(len(self.grid)))
        scene, window = self.grid.window(int(self.order[1][index]), rng)
        return self.scenes[scene], window


class EvaluationItem(NamedTuple):
    """One scene, or a tile of one, under one noise case."""

    dataset: str
    scene: str
    noise_case: str


class Cube(NamedTuple):
    """What is known of a scene before it is read."""

    shape: tuple[int, int, int]  # [B, H, W]
    has_reference: bool


class EvaluationSet(Dataset[Batch]):
    """Whole scenes with their noise; ``items`` tells what each number is.

    ``cubes`` tells the sizes, as far as they are known before a file is read.
    """

    items: Sequence[EvaluationItem]
    cubes: Sequence[Cube] = ()

    def __len__(self) -> int:
        return len(self.items)


class Tile(NamedTuple):
    """A part of a scene that is evaluated by itself, after the noise of the whole scene."""

    suffix: str = ""  # of the scene's name
    top: float = 0.0  # edges as shares of height and width
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0

    def of(self, cube: torch.Tensor) -> torch.Tensor:
        """Its part of a cube [B, H, W]."""
        rows, columns = self._box(*cube.shape[-2:])
        return cube[..., rows, columns]

    def shape_in(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape of its part of a cube of this shape."""
        rows, columns = self._box(*shape[1:])
        return shape[0], rows.stop - rows.start, columns.stop - columns.start

    def _box(self, height: int, width: int) -> tuple[slice, slice]:
        rows = slice(int(self.top * height), int(self.bottom * height))
        return rows, slice(int(self.left * width), int(self.right * width))


WHOLE = (Tile(),)


class NoisyScenes(EvaluationSet):
    """Whole scenes, each once under every noise case, with noise that is the same everywhere.

    The noise depends on (seed, dataset, scene name, case) alone, and has the same bits on every
    device. Measured scenes come once, as case ``real``; without ``clean`` where nobody knows it.
    Where not all pixels are valid, ``valid`` [H, W] or [B, H, W] tells which are.

    Args:
        scenes: Scenes in memory or on disk.
        cases: Noise cases.
        dataset: Name of the dataset.
        seed: All noise follows from it.
        tiles: Parts of each scene that are evaluated by themselves.
        draw: Draw the noise here, on the CPU; otherwise samples have their ``seed`` in place of
            ``noisy``. Tiles need it drawn here.
        reflectance: Whether the scenes are known to be reflectance, whatever their files say.
    """

    def __init__(
        self,
        scenes: Sequence[AnyScene],
        cases: Sequence[str],
        dataset: str,
        seed: int,
        tiles: Sequence[Tile] = WHOLE,
        draw: bool = True,
        reflectance: bool = False,
    ) -> None:
        pairs: list[tuple[AnyScene, str]] = [
            (scene, case) for case in cases for scene in scenes if not isinstance(scene, Measured)
        ]
        pairs += [(scene, REAL) for scene in scenes if isinstance(scene, Measured)]
        self.parts = [(scene, case, tile) for scene, case in pairs for tile in tiles]
        self.items = [
            EvaluationItem(dataset, scene.name + tile.suffix, case)
            for scene, case, tile in self.parts
        ]
        self.cubes = [
            Cube(tile.shape_in(scene.shape), getattr(scene, "clean", scene) is not None)
            for scene, _, tile in self.parts
        ]
        self.dataset, self.seed, self.draw = dataset, seed, draw
        self.reflectance = reflectance

    def __getitem__(self, index: int) -> Batch:
        """One scene under one case."""
        scene, case, tile = self.parts[index]
        item = self.items[index]
        sample: Batch = {"dataset": item.dataset, "name": item.scene, "case": case, "index": index}
        if isinstance(scene, Measured):
            parts = {"noisy": scene.noisy}
            if scene.clean is not None:
                parts["clean"] = scene.clean
        else:
            parts = {"clean": scene}
        scenes = {}
        for key, part in parts.items():
            note(part)
            scenes[key] = part.load()
        cubes = {key: torch.from_numpy(loaded.cube) for key, loaded in scenes.items()}
        if "noisy" not in cubes:
            seed = derive_seed(self.seed, self.dataset, scene.name, case)
            if self.draw:
                cubes["noisy"] = corrupt(cubes["clean"][None], [case], torch.tensor([seed]))[0]
            else:
                sample["seed"] = seed
        if scene.valid is not None:
            cubes["valid"] = torch.from_numpy(np.array(scene.valid))
        sample |= {key: tile.of(cube).contiguous() for key, cube in cubes.items()}
        return sample | _units(next(iter(scenes.values())), self.reflectance)


def _units(scene: Scene, reflectance: bool) -> Batch:
    """What leads back to the publisher's units; the wavelengths where they are known."""
    units: Batch = {"offset": scene.offset, "gain": scene.gain}
    said = scene.file is not None and scene.file.is_reflectance
    units["reflectance"] = reflectance or said
    return units if scene.wavelengths is None else units | {"wavelengths": scene.wavelengths}
