"""Which source files a module comes of, told without importing it."""

import ast
import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

OURS = ("lightning_ras2s", "datamodules")
REGISTRY = "lightning_ras2s.methods"  # a new method changes no other one


def code_of(modules: Iterable[str]) -> str:
    """Hash of the source of modules, and of all of ours that they import, kernels too."""
    digest = hashlib.sha256()
    for path in sorted(files_of(modules)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def files_of(modules: Iterable[str]) -> set[Path]:
    """The source files of modules, and of all of ours that they import."""
    waiting, found = list(modules), set[str]()
    files = set[Path]()
    while waiting:
        name = waiting.pop()
        if name in found or name == REGISTRY or name.partition(".")[0] not in OURS:
            continue
        found.add(name)
        if (path := _path(name)) is not None:
            files |= {path, *path.parent.glob("*.cpp")}
            waiting += _imported(path)
    return files


def _path(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except (ModuleNotFoundError, AttributeError):  # a name out of a module
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
