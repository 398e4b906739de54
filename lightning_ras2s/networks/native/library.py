"""The compiled kernels: built once by the machine's C++ compiler, found again in a cache."""

import atexit
import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from lightning_ras2s.networks.native.structures import STRUCTURES

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.cpp")
OPTIONS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fPIC", "-fopenmp")

_loaded: list[ctypes.CDLL | None] = []  # empty until the first use


def kernels() -> ctypes.CDLL | None:
    """The kernels; None where they cannot be built, which is told once, as a warning."""
    if not _loaded:
        try:
            _loaded.append(_load(build()))
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            _loaded.append(None)
            logger.warning(
                "RAS2S runs in plain torch operations, several times slower: its kernels need a "
                "C++ compiler with OpenMP, such as g++ (CXX names another): %s",
                _cause(error),
            )
    return _loaded[0]


def _cause(error: Exception) -> str:
    """One line: of what a compiler says, the first that speaks of an error."""
    lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    return next((line for line in lines if "error" in line), lines[0])


def build() -> Path:
    """Compiles the kernels, unless the cache has them for this source, compiler and processor.

    The cache is ``$XDG_CACHE_HOME/lightning_ras2s``, by default in ``~/.cache``. Where it cannot be
    written, or others could write there, a folder of this process alone takes its place.

    Raises:
        OSError: If there is no compiler, or no place for its product.
        subprocess.CalledProcessError: If it fails.
        ValueError: If ``CXX`` cannot be read.
    """
    compiler = [*shlex.split(os.environ.get("CXX") or "g++"), *OPTIONS]
    dry_run = [*compiler, "-###", "-E", "-x", "c++", os.devnull]  # tells what "native" is here
    target = subprocess.run(dry_run, capture_output=True, text=True, check=True).stderr
    digest = hashlib.sha256(SOURCE.read_bytes() + target.encode()).hexdigest()[:16]
    name = f"kernels-{digest}.so"
    try:
        folder = _cache_folder()
        built = folder / name
        if built.is_file():
            _refuse_others(built)
            return built
        return _compile(compiler, folder, name)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
        folder = Path(tempfile.mkdtemp(prefix="lightning_ras2s-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        logger.warning(
            "the kernels of RAS2S are built again by each process, in %s: %s; XDG_CACHE_HOME names "
            "another place for them",
            folder,
            error,
        )
        return _compile(compiler, folder, name)


def _cache_folder() -> Path:
    """Where built kernels are kept; this user's alone."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "lightning_ras2s"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_others(folder)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder


def _refuse_others(path: Path) -> None:
    """Raises PermissionError if ``path`` is another user's, or others may write there."""
    if not hasattr(os, "geteuid"):
        return
    facts = path.lstat()
    if facts.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user")
    if stat.S_ISLNK(facts.st_mode):
        raise PermissionError(f"{path} is a link")
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others may write to {path} (chmod go-w)")


def _compile(compiler: list[str], folder: Path, name: str) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        fresh = Path(beside) / name
        command = [*compiler, "-shared", str(SOURCE), "-o", str(fresh)]
        subprocess.run(command, capture_output=True, text=True, check=True)
        fresh.chmod(0o700)
        return fresh.replace(folder / name)


def _load(path: Path) -> ctypes.CDLL:
    """Loads them, if their structures are those of ``structures.py``.

    Raises:
        OSError: If they cannot be loaded.
        ValueError: If a structure has another size.
    """
    library = ctypes.CDLL(str(path))
    sizes = (ctypes.c_int64 * len(STRUCTURES)).in_dll(library, "structure_sizes")
    for structure, size in zip(STRUCTURES, sizes, strict=True):
        if structure.bytes != size:
            raise ValueError(
                f"{structure.name} takes {size} bytes in {SOURCE.name}, and "
                f"{structure.bytes} in structures.py"
            )
    library.allocate.argtypes, library.allocate.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.release.argtypes, library.release.restype = [ctypes.c_void_p], None
    return library
