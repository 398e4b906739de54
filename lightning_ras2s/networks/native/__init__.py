"""What takes RAS2S its time, as operations that torch knows, with compiled kernels for the CPU."""

from lightning_ras2s.networks.native.arguments import Activation
from lightning_ras2s.networks.native.attention import attend, attend_read, read_window
from lightning_ras2s.networks.native.compensation import attend_channels, compensate
from lightning_ras2s.networks.native.convolution import activate, conv3x3, convolve
from lightning_ras2s.networks.native.gated import gated_step, gated_update
from lightning_ras2s.networks.native.library import build, kernels
from lightning_ras2s.networks.native.linear import conv1x1
from lightning_ras2s.networks.native.operators import plain_operations
from lightning_ras2s.networks.native.recurrence import recur
from lightning_ras2s.networks.native.regions import assign_regions, choose_regions, filter_regions

__all__ = [
    "Activation",
    "activate",
    "assign_regions",
    "attend",
    "attend_channels",
    "attend_read",
    "build",
    "choose_regions",
    "compensate",
    "conv1x1",
    "conv3x3",
    "convolve",
    "filter_regions",
    "gated_step",
    "gated_update",
    "kernels",
    "plain_operations",
    "read_window",
    "recur",
]
