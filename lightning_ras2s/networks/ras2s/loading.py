"""Tensors of a checkpoint, ours or the authors' -> RAS2S."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks.ras2s.network import RAS2S
from lightning_ras2s.networks.ras2s.released import from_released, present_name


def network_of(state: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None) -> RAS2S:
    """The network that has these tensors.

    Args:
        state: By our names, those of earlier commits, or the authors'. Tensors of no part of the
            network, such as a loss's, are left out, which is told.
        arguments: Of the class; by default the sizes (channels, regions, attention bands) and the
            ablated parts are read off the tensors.

    Raises:
        KeyError: If a tensor is missing; or IndexError, RuntimeError or ValueError.
    """
    state = {present_name(name): tensor for name, tensor in state.items()}
    if "encoder.conv_inp_1.weight" in state:
        state = from_released(state)
    network = RAS2S(**(_arguments(state) if arguments is None else arguments))
    with torch.device("meta"):  # draws no weights
        parts = {name for name, _ in RAS2S().named_children()}
    strange = [name for name in state if name.partition(".")[0] not in parts]
    network.load_state_dict({name: t for name, t in state.items() if name not in strange})
    if strange:
        warnings.warn(f"RAS2S has no {', '.join(strange[:3])}: left out", stacklevel=2)
    return network


def _arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments of the network that has these tensors."""
    arguments: dict[str, Any] = {
        "channels": state["embedding.conv1.weight"].shape[0],
        "attention_bands": state["attend.attention.conv.bias"].shape[0],
        "hidden_compensation": "read.recurrence.compensation.query.weight" in state,
        "spatial_regions": "region_aware.spatial_guide.base.weight" in state,
        "spectral_regions": "region_aware.spectral_guide.weight" in state,
        "bidirectional": "fuse.gru.gates.weight" in state,
    }
    squeeze = state.get("region_aware.filters.squeeze.weight")
    if squeeze is not None:
        arguments["regions"] = round(squeeze.shape[0] ** 0.5)
    return arguments
