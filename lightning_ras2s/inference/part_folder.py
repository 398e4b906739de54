"""`.NAME.part`, where the denoising of a large scene keeps what it has, so that it can go on."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from datamodules.atomic_write import atomic_write
from datamodules.files import require_space, take_room
from datamodules.scene import DataError

PLAN = "plan.json"
NAMELESS = "nameless"
PREPARED = "prepared"  # the first step


class PartFolder:
    """Arrays in files, beside the output to be; they are no part of the process's own memory.

    Args:
        output: The file to be.
        plan: What is done, and to which file: a folder of another plan is begun anew.
        needed: Bytes that all of it takes.

    Raises:
        DataError: If the disk is too small, or the folder cannot be written.
    """

    def __init__(self, output: Path, plan: Mapping[str, Any], needed: int) -> None:
        self.path = output.with_name(f".{output.name}.part")
        self.goes_on = self._plan() == json.loads(json.dumps(plan))
        try:
            if not self.goes_on:
                shutil.rmtree(self.path, ignore_errors=True)
                output.parent.mkdir(parents=True, exist_ok=True)
                what = f"denoising {output.name}"
                require_space(output.parent, needed, what, "write it to another disk")
                self.path.mkdir()
                with atomic_write(self.path / PLAN) as aside:
                    aside.write_text(json.dumps(plan, indent=1))
        except OSError as error:
            raise DataError(
                f"{output}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error

    def _plan(self) -> Any:
        try:
            return json.loads((self.path / PLAN).read_text())
        except (OSError, ValueError):
            return None

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> np.memmap:
        """An array in a file; what is there is kept."""
        path = self.path / name
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not path.exists() or path.stat().st_size != size:
            with path.open("wb") as file:
                take_room(file, size)
        return np.memmap(path, dtype, "r+", 0, shape)

    def new(self, *shape: int, dtype: torch.dtype, device: Any = None) -> Tensor:
        """A tensor in a file, as ``torch.empty`` makes one in memory; for a CPU.

        Its file has no name any more: as memory, the disk is free again when the tensor is gone.
        """
        kind = torch.empty(0, dtype=dtype).numpy().dtype
        array = self.array(NAMELESS, shape, kind)
        (self.path / NAMELESS).unlink()
        return torch.from_numpy(array)

    def is_done(self, step: str) -> bool:
        """Whether a step was finished, also by an earlier process."""
        return (self.path / f"{step}.done").exists()

    def facts(self, step: str) -> dict[str, Any]:
        """What was noted of a finished step."""
        return json.loads((self.path / f"{step}.done").read_text())

    def finish(self, step: str, **facts: Any) -> None:
        """Notes that a step is finished."""
        with atomic_write(self.path / f"{step}.done") as aside:
            aside.write_text(json.dumps(facts))

    def tile(self, number: int) -> Path:
        """The file of a denoised tile."""
        return self.path / f"tile_{number:06d}.npy"

    def keep_tile(self, number: int, values: np.ndarray) -> None:
        """Writes a denoised tile [B, h, w], whole or not at all."""
        with atomic_write(self.tile(number)) as aside, aside.open("wb") as file:
            np.save(file, values)

    def remove(self, pattern: str) -> None:
        """Removes files that are not needed any more."""
        for path in self.path.glob(pattern):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        mistake = kind is not None and issubclass(kind, DataError) and not self.is_done(PREPARED)
        if kind is None or mistake:  # else it can be gone on with
            self.close()
