"""Memory for the results of kernels."""

import ctypes
import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks.native.library import kernels

LINE = 64  # bytes of a cache line
SMALL = 1 << 14  # floats


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


@cache
def keep_memory() -> bool:
    """Has this process keep what it frees, from now on, to use it again.

    A training step frees gigabytes, little by little, that the next one needs again. Given back to
    the system, they would have to be filled with zeros each time: a fifth of what both cores did in
    a step of 8 x 31 x 64 x 64.

    Returns:
        Whether that can be asked for here: with glibc.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is None:
        return False
    # Newer versions take any size for what comes from the heap, older ones 32 MiB.
    kept = mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25)
    return bool(kept and mallopt(_TRIM_THRESHOLD, -1))


@cache
def _block(floats: int) -> type[ctypes.Array]:
    """The type of a block of memory that is given back with its last user."""

    def release(self: Any) -> None:
        self.release(self.address)

    return type("Block", (ctypes.c_float * floats,), {"__del__": release})


def new_maps(*shape: int) -> Tensor:
    """An uninitialised float32 tensor of this shape on the CPU.

    Large ones do not come from torch's allocator: the holes that its aligned blocks leave behind
    are a few bytes too small for the next block of their size, so that a network holds twice the
    memory that it uses.

    Raises:
        MemoryError: If there is no room for it.
    """
    floats = math.prod(shape)
    compiled = kernels()
    if floats < SMALL or compiled is None:
        return torch.empty(shape)
    address = compiled.allocate(floats * ctypes.sizeof(ctypes.c_float) + LINE)
    if not address:
        raise MemoryError(f"no memory for maps of shape {list(shape)}")
    block: Any = _block(floats).from_address(-(-address // LINE) * LINE)
    block.address, block.release = address, compiled.release
    return torch.frombuffer(block, dtype=torch.float32).view(shape)
