"""Clean hyperspectral cubes -> noisy patches."""

from typing import TYPE_CHECKING, Any

from datamodules.noise import add_noise
from datamodules.readers import read_cube, read_scene, read_variable
from datamodules.scene import DataError, Scene
from datamodules.writers import write_scene

if TYPE_CHECKING:
    from datamodules.base import HSIDataModule
    from datamodules.indian_pines import IndianPines

__all__ = [
    "DataError",
    "HSIDataModule",
    "IndianPines",
    "Scene",
    "add_noise",
    "read_cube",
    "read_scene",
    "read_variable",
    "write_scene",
]


def __getattr__(name: str) -> Any:
    """Imports Lightning only when a LightningDataModule is asked for: it takes seconds."""
    if name == "HSIDataModule":
        from datamodules.base import HSIDataModule

        return HSIDataModule
    if name == "IndianPines":
        from datamodules.indian_pines import IndianPines

        return IndianPines
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
