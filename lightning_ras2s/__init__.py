"""Train, compare and use hyperspectral image denoisers, built around RAS2S (ECCV 2024)."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_ras2s.networks import RAS2S, RegionMasks

if TYPE_CHECKING:
    from lightning_ras2s.inference.denoise import denoise
    from lightning_ras2s.module import HSIDenoiser
    from lightning_ras2s.weights import load_network

__all__ = ["RAS2S", "HSIDenoiser", "RegionMasks", "denoise", "load_network"]
__version__ = "0.1.0"

_LATER = {  # imported when asked for: Lightning alone takes seconds
    "HSIDenoiser": "lightning_ras2s.module",
    "denoise": "lightning_ras2s.inference.denoise",
    "load_network": "lightning_ras2s.weights",
}


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _LATER:
        require_own_datamodules()
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def require_own_datamodules() -> None:
    """Checks that ``datamodules`` is the package that came with this one.

    Raises:
        ImportError: If another one of that name is found first.
    """
    spec = find_spec("datamodules")
    places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    if Path(__file__).parents[1] / "datamodules" in places:
        return
    found = f"{places[0]} is" if places else "there is none"
    raise ImportError(
        f"lightning_ras2s has a package datamodules, and {found} found in its place: rename that "
        "folder, or start the command as ras2s, which does not look into the current folder"
    )
