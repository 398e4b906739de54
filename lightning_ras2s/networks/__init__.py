"""Denoising networks, in pure torch: [N, B, H, W] noisy -> [N, B, H, W] denoised."""

from lightning_ras2s.networks.ras2s import RAS2S, RegionMasks

__all__ = ["RAS2S", "RegionMasks"]
