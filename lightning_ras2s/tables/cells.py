"""A cell of the tables: a method's figures for one scene, and the cache that keeps it.

Each is a file of its own, written aside and renamed, so that a killed computation loses the cell it
was at. What it was computed of stands in its name: the method with its weights and its code, and
the noisy and the clean cube themselves. Caches of two machines are merged by copying.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from torch import Tensor

from datamodules.atomic_write import atomic_write
from lightning_ras2s.methods import Method
from lightning_ras2s.tables.source import code_of

VERSION = 1
CLEAN = "clean"  # in the place of a method: the scene itself
Shown = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Cell:
    """One method on one scene under one noise.

    Attributes:
        dataset: As it was named.
        noise_case: Likewise.
        scene: Its name.
        seed: Of the noise.
        method: Key of the method.
        weights: Hash of its weights; empty without.
        code: Hash of its source.
        cubes: Hash of the noisy and the clean cube.
        parameters: Of its network; 0 without.
        gflops: Of its network on this scene, without +S; None where nobody counts.
        metrics: PSNR (dB), SSIM, SAM (rad), ERGAS.
        seconds: That it took.
        memory: Bytes that it took at most beside the cube, or None where that is not known.
        device: Where, in words.
        threads: Of the CPU.
    """

    dataset: str
    noise_case: str
    scene: str
    seed: int
    method: str
    weights: str
    code: str
    cubes: str
    parameters: int = 0
    gflops: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = float("nan")
    memory: int | None = None
    device: str = ""
    threads: int = 0

    @property
    def key(self) -> str:
        """Tells cells apart that were computed of different things."""
        facts = (self.method, self.weights, self.code, self.cubes)
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:20]


class Cache:
    """Cells and what is shown of them, below a folder.

    Args:
        folder: It need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, cell: Cell) -> Cell | None:
        """The measured cell, if it is there; a damaged file is none."""
        try:
            content = json.loads(self._file(cell).read_text())
            if content.pop("version") != VERSION:
                return None
            kept = Cell(**content)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # The same cubes may have another name today.
        names = {name: getattr(cell, name) for name in ("dataset", "noise_case", "scene", "seed")}
        return replace(kept, **names)

    def keep(self, cell: Cell, shown: Shown) -> None:
        """Writes a cell, and before it the arrays that are shown of its result."""
        path = self._file(cell)
        _write_arrays(path.with_suffix(".npz"), shown)
        with atomic_write(path) as aside:
            aside.write_text(json.dumps({"version": VERSION, **asdict(cell)}, indent=1))

    def keep_clean(self, cell: Cell, shown: Shown) -> None:
        """Writes what is shown of the clean cube of a cell, once."""
        if not self._clean(cell).exists():
            _write_arrays(self._clean(cell), shown)

    def shown(self, cell: Cell) -> dict[str, np.ndarray] | None:
        """The arrays that were kept of a cell's result, or None."""
        return _read_arrays(self._file(cell).with_suffix(".npz"))

    def shown_clean(self, cell: Cell) -> dict[str, np.ndarray] | None:
        """Those of its clean cube."""
        return _read_arrays(self._clean(cell))

    def merge(self, other: Path) -> int:
        """Takes over the cells of another cache that are not here.

        Returns:
            How many.
        """
        taken = 0
        # What is shown comes first: a cell is whole when its .json is there.
        for path in [*sorted(other.glob("*/*.npz")), *sorted(other.glob("*/*.json"))]:
            own = self.folder / path.relative_to(other)
            if not own.exists():
                own.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(own) as aside:
                    aside.write_bytes(path.read_bytes())
                taken += path.suffix == ".json"
        return taken

    def _file(self, cell: Cell) -> Path:
        return self.folder / cell.method / f"{cell.key}.json"

    def _clean(self, cell: Cell) -> Path:
        return self.folder / CLEAN / f"{cell.cubes}.npz"


def _write_arrays(path: Path, arrays: Shown) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile):
        return None


def hash_of(*tensors: Tensor) -> str:
    """Of the numbers and shapes of tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.data)
    return digest.hexdigest()[:20]


@cache
def code_version(method: Method) -> str:
    """Hash of the source that a method's figures come of: its own, that of +S, of the metrics."""
    sources = [method.source.partition(":")[0], "lightning_ras2s.metrics"]
    if method.refined:
        sources.append("lightning_ras2s.inference.subspace")
    return code_of(sources)
