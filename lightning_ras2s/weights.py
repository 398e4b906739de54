"""Weights on disk -> network: checkpoints of this framework and the released files."""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks import RAS2S

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
    "attention.conv": ("attention.conv1",),
    "autoregression.feedback_fusion": ("fution_layers",),
    "autoregression.state_fusion": ("decoder_layer1_b.fusion",),
    "readout.conv1": ("conv_out_1",),
    "readout.conv2": ("conv_out_2",),
    "readout.conv3": ("conv_out_3",),
}
_PARTS: list[tuple[str, str, _Names]] = [
    ("encoder.embedding.", "encoder.", _EMBEDDING),
    ("encoder.backward_gru.compensation.", "encoder.corr.", _HFCOMP),
    ("encoder.backward_gru.gru.", "encoder.encoder_layer.conv_gru.", _GRU),
    ("encoder.forward_gru.gru.", "encoder.encoder_layer1_b.conv_gru.", _GRU),
    ("encoder.forward_gru.", "encoder.encoder_layer1_b.", _FUSION),
    ("encoder.region_aware.", "encoder.ssra.ssra.", _SSRA),
    ("decoder.backward_gru.compensation.", "decoder.corr.", _HFCOMP),
    ("decoder.backward_gru.gru.", "decoder.convgru_layers.conv_gru.", _GRU),
    ("decoder.autoregression.embedding.", "decoder.", _EMBEDDING),
    ("decoder.autoregression.gru.", "decoder.decoder_layer1_b.conv_gru.", _GRU),
    ("decoder.", "decoder.", _DECODER),
]
RELEASED_NAMES: dict[str, tuple[str, ...]] = {
    f"{ours}{part}": tuple(f"{released}{name}" for name in names)
    for ours, released, parts in _PARTS
    for part, names in parts.items()
}
"""Each convolution of RAS2S and the released ones that are stacked in it, without .weight/.bias."""


def load_network(path: str | PathLike[str]) -> RAS2S:
    """Reads a network from a checkpoint, ready for inference.

    The sizes (channels, regions, attention bands) and the ablated parts are read off the tensors.

    Args:
        path: A ``.ckpt`` of this framework, the ``.pth`` that the paper's authors released, or a
            file with a bare state dict of either.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read or holds something else; the message says what.
    """
    path = Path(path)
    state = _network_state(read_checkpoint(path), path)
    try:
        if "encoder.conv_inp_1.weight" in state:
            state = from_released(state)
        network = RAS2S(**_config(state))
        network.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        found = ", ".join(list(state)[:3])
        raise ValueError(
            f"{path}: not a complete RAS2S network ({error}); its {len(state)} tensors begin with "
            f"{found}"
        ) from error
    return network.eval()


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


def read_checkpoint(path: Path) -> Any:
    """What a checkpoint holds, on the CPU; only tensors and plain types are read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; is the path right (CKPT=...)?")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        message = str(error).strip()
        if refused := re.search(r"GLOBAL (\S+)", message):
            raise ValueError(
                f"{path}: refused, because it holds a Python object ({refused[1]}) and loading one "
                "can run any code; save a state dict of tensors instead"
            ) from error
        advice = not message or message.startswith("Weights only")  # how to load it unsafely
        reason = type(error).__name__ if advice else message.splitlines()[0]
        raise ValueError(
            f"{path}: {path.stat().st_size:,} bytes that cannot be read as a PyTorch checkpoint of "
            f"tensors; it may be truncated or of another kind ({reason})"
        ) from error


def _network_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Unwraps the network's tensors from what a file holds."""
    if isinstance(content, Mapping):
        for key in ("net", "state_dict"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not a checkpoint of RAS2S")
    state = {
        name.removeprefix("network."): value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not {"encoder.conv_inp_1.weight", "encoder.embedding.conv1.weight"} & set(state):
        found = ", ".join(str(key) for key in list(content)[:5]) or "nothing"
        raise ValueError(
            f"{path}: neither a checkpoint of this framework nor released RAS2S weights; it holds "
            f"{found}"
        )
    return state


def _config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments of the network that has these tensors."""
    config: dict[str, Any] = {
        "channels": state["encoder.embedding.conv1.weight"].shape[0],
        "attention_bands": state["decoder.attention.conv.bias"].shape[0],
        "hidden_compensation": "encoder.backward_gru.compensation.query.weight" in state,
        "spatial_regions": "encoder.region_aware.spatial_guide.base.weight" in state,
        "spectral_regions": "encoder.region_aware.spectral_guide.weight" in state,
        "bidirectional": "encoder.forward_gru.gru.gates.weight" in state,
    }
    squeeze = state.get("encoder.region_aware.filters.squeeze.weight")
    if squeeze is not None:
        config["regions"] = round(squeeze.shape[0] ** 0.5)
    return config
