"""Clean hyperspectral cubes -> noisy patches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datamodules.noise import add_noise
from datamodules.readers import read_cube, read_scene, read_variable
from datamodules.scene import DataError, Scene
from datamodules.writers import write_scene

if TYPE_CHECKING:
    from datamodules.base import HSIDataModule
    from datamodules.collection import Collection
    from datamodules.folder import Folder
    from datamodules.icvl import ICVL
    from datamodules.indian_pines import IndianPines
    from datamodules.released import ReleasedFiles
    from datamodules.test_sets import TestSets

__all__ = [
    "ICVL",
    "DataError",
    "Folder",
    "HSIDataModule",
    "IndianPines",
    "ReleasedFiles",
    "Scene",
    "TestSets",
    "add_noise",
    "catalogue",
    "read_cube",
    "read_scene",
    "read_variable",
    "write_scene",
]

# Imported when they are asked for: Lightning takes seconds.
_MODULES = {
    "Folder": "folder",
    "HSIDataModule": "base",
    "ICVL": "icvl",
    "IndianPines": "indian_pines",
    "ReleasedFiles": "released",
    "TestSets": "test_sets",
}
_PREPARED = ("ICVL",)


def catalogue() -> "dict[str, Collection]":
    """The datasets that `make data` prepares, by name."""
    collections = [__getattr__(name).collection for name in _PREPARED]
    return {collection.name: collection for collection in collections}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"datamodules.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
