"""RAS2S (Xiao, Liu, Wei, ECCV 2024)."""

from lightning_ras2s.networks.ras2s.network import RAS2S
from lightning_ras2s.networks.ras2s.ssra import RegionMasks

__all__ = ["RAS2S", "RegionMasks"]
