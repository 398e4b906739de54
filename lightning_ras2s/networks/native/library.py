"""The compiled kernels: built once by the machine's C++ compiler, found again in a cache."""

import ctypes
import hashlib
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.cpp")
OPTIONS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fPIC", "-fopenmp")

_switched_off = False
_loaded: list[ctypes.CDLL | None] = []  # empty until the first use


def serves(*tensors: Tensor) -> bool:
    """Whether the kernels can compute with these tensors.

    They take float32 on the CPU. Tracing and autocast see the plain operations, and so does every
    machine without a C++ compiler.
    """
    return (
        not torch.compiler.is_compiling()
        and not _switched_off
        and all(tensor.is_cpu and tensor.dtype == torch.float32 for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and kernels() is not None
    )


@contextmanager
def plain_operations(plain: bool = True) -> Iterator[None]:
    """Has the network compute in plain torch operations meanwhile, as on other devices.

    Args:
        plain: False switches the kernels on instead.
    """
    global _switched_off
    before, _switched_off = _switched_off, plain
    try:
        yield
    finally:
        _switched_off = before


def switched_off() -> bool:
    """Whether ``plain_operations`` is in force."""
    return _switched_off


def kernels() -> ctypes.CDLL | None:
    """The kernels; None where they cannot be built, which is told once, as a warning."""
    if not _loaded:
        try:
            found = ctypes.CDLL(str(build()))
            found.allocate.argtypes, found.allocate.restype = [ctypes.c_size_t], ctypes.c_void_p
            _loaded.append(found)
        except (OSError, subprocess.SubprocessError) as error:
            _loaded.append(None)
            reason = (getattr(error, "stderr", "") or str(error)).strip().partition("\n")[0]
            logger.warning(
                "RAS2S runs in plain torch operations, several times slower: its kernels need a "
                "C++ compiler with OpenMP, such as g++ (CXX names another): %s",
                reason,
            )
    return _loaded[0]


def build() -> Path:
    """Compiles the kernels, unless the cache has them for this source, compiler and processor.

    Raises:
        OSError: If there is no compiler, or no place for its product.
        subprocess.CalledProcessError: If it fails.
    """
    compiler = [os.environ.get("CXX", "g++"), *OPTIONS]
    dry_run = [*compiler, "-###", "-E", "-x", "c++", os.devnull]  # tells what "native" is here
    target = subprocess.run(dry_run, capture_output=True, text=True, check=True).stderr
    digest = hashlib.sha256(SOURCE.read_bytes() + target.encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_ras2s"
    built = folder / f"kernels-{digest}.so"
    if not built.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            fresh = Path(beside) / built.name
            command = [*compiler, "-shared", str(SOURCE), "-o", str(fresh)]
            subprocess.run(command, capture_output=True, text=True, check=True)
            fresh.replace(built)
    return built
