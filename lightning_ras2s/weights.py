"""Weights on disk -> network: checkpoints of this framework and the released files."""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_ras2s.networks import RAS2S
from lightning_ras2s.networks.ras2s.released import from_released, present_name


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
        present_name(name.removeprefix("network.")): value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not {"encoder.conv_inp_1.weight", "embedding.conv1.weight"} & set(state):
        found = ", ".join(str(key) for key in list(content)[:5]) or "nothing"
        raise ValueError(
            f"{path}: neither a checkpoint of this framework nor released RAS2S weights; it holds "
            f"{found}"
        )
    return state


def _config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The constructor arguments of the network that has these tensors."""
    config: dict[str, Any] = {
        "channels": state["embedding.conv1.weight"].shape[0],
        "attention_bands": state["attend.attention.conv.bias"].shape[0],
        "hidden_compensation": "read.recurrence.compensation.query.weight" in state,
        "spatial_regions": "region_aware.spatial_guide.base.weight" in state,
        "spectral_regions": "region_aware.spectral_guide.weight" in state,
        "bidirectional": "fuse.gru.gates.weight" in state,
    }
    squeeze = state.get("region_aware.filters.squeeze.weight")
    if squeeze is not None:
        config["regions"] = round(squeeze.shape[0] ** 0.5)
    return config
