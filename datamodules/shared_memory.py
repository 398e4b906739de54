"""Shared memory, in which workers hand over their batches: a want of it is told."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from torch import Tensor
from torch.utils.data import get_worker_info

from datamodules.scene import DataError

PLACE = Path("/dev/shm")  # where Linux has it


def shared_collate(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Puts a worker's batch into shared memory at once.

    Otherwise torch does so behind the worker's back, where an error leaves everybody waiting.

    Args:
        collate: Makes a batch of samples.
    """

    def collate_and_share(samples: Any) -> Any:
        with short_of_shared_memory():
            batch = collate(samples)
            if get_worker_info() is not None:
                for value in batch.values():
                    if isinstance(value, Tensor):
                        value.share_memory_()
        return batch

    return collate_and_share


@contextmanager
def short_of_shared_memory() -> Iterator[None]:
    """Tells a want of shared memory as what it is.

    Raises:
        DataError: In place of the system's error.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        if "shared memory" in str(error) or "No space left on device" in str(error):
            raise DataError(shortage()) from error
        raise


def shortage() -> str:
    """How much shared memory there is, and what to do."""
    there = ""
    if PLACE.exists():
        disk = os.statvfs(PLACE)
        free, whole = (decimal(disk.f_frsize * n) for n in (disk.f_bavail, disk.f_blocks))
        there = f" ({PLACE}: {free} of {whole} are free)"
    return (
        f"the workers that load data have not enough shared memory{there}: set data.num_workers=0, "
        "or give the container more, such as docker run --shm-size=8g"
    )
