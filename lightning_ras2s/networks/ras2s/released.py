"""The names of the published weights, and those that earlier versions of this project gave."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Parts of RAS2S whose tensors are those of the released weights, one for one or, where several
# released convolutions read the same input, stacked along the output channels.
_Names = dict[str, tuple[str, ...]]
_EMBEDDING: _Names = {"conv1": ("conv_inp_1",), "conv2": ("conv_inp_2",)}
_GRU: _Names = {"gates": ("convz", "convr", "convq")}
_HFCOMP: _Names = {
    "query": ("q",),
    "key_value": ("k", "v"),
    "refine.0.conv1": ("res.0.conv1",),
    "refine.0.conv2": ("res.0.conv2",),
    "refine.1.conv1": ("res.1.conv1",),
    "refine.1.conv2": ("res.1.conv2",),
}
_SSRA: _Names = {
    "filters.squeeze": ("conv_kernel.1",),
    "filters.expand": ("conv_kernel.3",),
    "spatial_guide.base": ("spatial_guide.b",),
    "spatial_guide.gain1": ("spatial_guide.b_rf.a",),
    "spatial_guide.gain2": ("spatial_guide.b_rf.b",),
    "spectral_guide": ("spectral_guide.fc1",),
    "fusion": ("fution_ss",),
}
_FUSION: _Names = {"fusion": ("fusion",)}
_DECODER: _Names = {
    "attend.attention.conv": ("attention.conv1",),
    "write.feedback_fusion": ("fution_layers",),
    "write.state_fusion": ("decoder_layer1_b.fusion",),
    "write.readout.conv1": ("conv_out_1",),
    "write.readout.conv2": ("conv_out_2",),
    "write.readout.conv3": ("conv_out_3",),
}
_PARTS: list[tuple[str, str, _Names]] = [
    ("embedding.", "encoder.", _EMBEDDING),
    ("read.recurrence.compensation.", "encoder.corr.", _HFCOMP),
    ("read.recurrence.gru.", "encoder.encoder_layer.conv_gru.", _GRU),
    ("fuse.gru.", "encoder.encoder_layer1_b.conv_gru.", _GRU),
    ("fuse.", "encoder.encoder_layer1_b.", _FUSION),
    ("region_aware.", "encoder.ssra.ssra.", _SSRA),
    ("attend.recurrence.compensation.", "decoder.corr.", _HFCOMP),
    ("attend.recurrence.gru.", "decoder.convgru_layers.conv_gru.", _GRU),
    ("write.embedding.", "decoder.", _EMBEDDING),
    ("write.gru.", "decoder.decoder_layer1_b.conv_gru.", _GRU),
    ("", "decoder.", _DECODER),
]
RELEASED_NAMES: dict[str, tuple[str, ...]] = {
    f"{ours}{part}": tuple(f"{released}{name}" for name in names)
    for ours, released, parts in _PARTS
    for part, names in parts.items()
}
"""Each convolution of RAS2S and the released ones that are stacked in it, without .weight/.bias."""

_EARLIER = {
    "encoder.embedding.": "embedding.",
    "encoder.backward_gru.": "read.recurrence.",
    "encoder.forward_gru.": "fuse.",
    "encoder.region_aware.": "region_aware.",
    "decoder.attention.conv.": "attend.attention.conv.",
    "decoder.backward_gru.": "attend.recurrence.",
    "decoder.autoregression.": "write.",
    "decoder.readout.": "write.readout.",
}


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict (or gradients) by released names -> by the names and shapes of RAS2S."""
    ours = {}
    for name, released in RELEASED_NAMES.items():
        for kind in ("weight", "bias"):
            tensors = [state[key] for r in released if (key := f"{r}.{kind}") in state]
            if len(tensors) == len(released):
                ours[f"{name}.{kind}"] = _reshape(name, torch.cat(tensors))
    return ours


def _reshape(name: str, tensor: Tensor) -> Tensor:
    """Two released layers have other shapes: a batch axis, and a linear layer."""
    if name.endswith("spatial_guide.base"):
        return tensor.squeeze(0)
    if name.endswith("spectral_guide") and tensor.ndim == 2:
        return tensor[:, :, None, None]
    return tensor


def present_name(name: str) -> str:
    """The name of a tensor today, by the one in a checkpoint of this project, however old."""
    for earlier, present in _EARLIER.items():
        if name.startswith(earlier):
            return present + name.removeprefix(earlier)
    return name


def rename_earlier(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before RAS2S loads a state dict: gives the tensors of earlier checkpoints today's names."""
    for key in [key for key in state if key.startswith(prefix)]:
        present = prefix + present_name(key.removeprefix(prefix))
        if present != key:
            state[present] = state.pop(key)
