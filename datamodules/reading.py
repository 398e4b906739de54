"""Which scene each worker of a loader is reading, to be told when a worker dies."""

import os
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

LENGTH = 512  # bytes that a worker notes at most

_own: np.ndarray | None = None  # in a worker: its place in the notes


class Notes:
    """Memory that the workers share with the process that started them: a line for each.

    Args:
        workers: Their number.
    """

    def __init__(self, workers: int) -> None:
        self.lines: Tensor = torch.zeros(workers, LENGTH, dtype=torch.uint8).share_memory_()

    def start(self, worker: int) -> None:
        """Called in each worker before it reads anything: ``worker_init_fn`` of a loader."""
        global _own
        _own = self.lines[worker].numpy()

    def reading(self, error: BaseException) -> str | None:
        """What the workers were reading whose deaths a DataLoader tells; None without any."""
        told = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
        dead = told[1].split(", ") if told else []
        notes = [bytes(line.numpy()).rstrip(b"\0").decode(errors="replace") for line in self.lines]
        pairs = [note.split(" ", 1) for note in notes if note]
        return ", ".join(scene for pid, scene in pairs if pid in dead) or None


def note(scene: Any) -> None:
    """Notes, in a worker, the scene that is read next: its file or, where it has none, its name."""
    if _own is not None:
        line = f"{os.getpid()} {getattr(scene, 'path', None) or scene.name}".encode()[:LENGTH]
        _own[: len(line)] = np.frombuffer(line, np.uint8)
        _own[len(line) :] = 0
