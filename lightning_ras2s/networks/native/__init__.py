"""Compiled float32 kernels for the CPU, of what takes RAS2S its time there."""

from lightning_ras2s.networks.native.library import (
    build,
    kernels,
    plain_operations,
    serves,
    switched_off,
)
from lightning_ras2s.networks.native.operations import (
    ATTENTION_BANDS,
    Activation,
    attend,
    compensate,
    conv1x1,
    conv3x3,
    filter_regions,
    gated_step,
)

__all__ = [
    "ATTENTION_BANDS",
    "Activation",
    "attend",
    "build",
    "compensate",
    "conv1x1",
    "conv3x3",
    "filter_regions",
    "gated_step",
    "kernels",
    "plain_operations",
    "serves",
    "switched_off",
]
