"""Train, compare and use hyperspectral image denoisers, built around RAS2S (ECCV 2024)."""

from typing import TYPE_CHECKING, Any

from lightning_ras2s.networks import RAS2S, RegionMasks
from lightning_ras2s.weights import load_network

if TYPE_CHECKING:
    from lightning_ras2s.module import HSIDenoiser

__all__ = ["RAS2S", "HSIDenoiser", "RegionMasks", "load_network"]


def __getattr__(name: str) -> Any:
    """Imports Lightning only when its module is asked for: it takes seconds."""
    if name == "HSIDenoiser":
        from lightning_ras2s.module import HSIDenoiser

        return HSIDenoiser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
