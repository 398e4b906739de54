"""Clean hyperspectral cubes -> noisy patches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datamodules.noise import add_noise
from datamodules.readers import read_cube, read_scene, read_variable
from datamodules.scene import DataError, DataNote, Scene
from datamodules.writers import write_scene

if TYPE_CHECKING:
    from datamodules.base import HSIDataModule
    from datamodules.cave import CAVE
    from datamodules.collection import Collection
    from datamodules.folder import Folder
    from datamodules.harvard import Harvard
    from datamodules.icvl import ICVL
    from datamodules.indian_pines import IndianPines
    from datamodules.kaist import KAIST
    from datamodules.pavia_centre import PaviaCentre
    from datamodules.realhsi import RealHSI
    from datamodules.released import ReleasedFiles
    from datamodules.synthetic import Synthetic
    from datamodules.test_sets import TestSets
    from datamodules.urban import Urban
    from datamodules.wdc_mall import WDCMall

__all__ = [
    "CAVE",
    "ICVL",
    "KAIST",
    "DataError",
    "DataNote",
    "Folder",
    "HSIDataModule",
    "Harvard",
    "IndianPines",
    "PaviaCentre",
    "RealHSI",
    "ReleasedFiles",
    "Scene",
    "Synthetic",
    "TestSets",
    "Urban",
    "WDCMall",
    "add_noise",
    "catalogue",
    "read_cube",
    "read_scene",
    "read_variable",
    "write_scene",
]

# Classes and their modules, which are named as DATASET= is; imported when they are asked for, as
# Lightning takes seconds.
PREPARED = {
    "CAVE": "cave",
    "Harvard": "harvard",
    "ICVL": "icvl",
    "KAIST": "kaist",
    "PaviaCentre": "pavia_centre",
    "RealHSI": "realhsi",
    "Urban": "urban",
    "WDCMall": "wdc_mall",
}
_OTHERS = {
    "Folder": "folder",
    "HSIDataModule": "base",
    "IndianPines": "indian_pines",
    "ReleasedFiles": "released",
    "Synthetic": "synthetic",
    "TestSets": "test_sets",
}
_MODULES = PREPARED | _OTHERS


def catalogue() -> "dict[str, Collection]":
    """The datasets that `make data` prepares, by name."""
    collections = [__getattr__(name).collection for name in PREPARED]
    return {collection.name: collection for collection in collections}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"datamodules.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
