"""Weights on disk -> network: checkpoints of this framework and the files that others release."""

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.atomic_write import atomic_write
from lightning_ras2s.methods import METHODS, Method, method_of

NETWORK = "network"  # what a checkpoint says of the network that it holds
WRAPPINGS = ("state_dict", "model_state_dict", "params_ema", "params", "net", "model")
PREFIXES = ("module.", "network.")  # of DDP, and of our module


def load_network(path: str | PathLike[str]) -> nn.Module:
    """Reads a network from a checkpoint, ready for inference.

    Which method's it is, and its sizes, the file says; where it does not, they are read off the
    tensors.

    Args:
        path: A ``.ckpt`` of this framework, what a method's authors released, or a file with a bare
            state dict of either: of ``torch.save``, also under ``state_dict``,
            ``model_state_dict``, ``params``, ``params_ema`` (before ``params``), ``net`` or
            ``model``, or ``.safetensors``; from a compiled network or DDP, too. The folder of a
            run stands for its best checkpoint, one of `save_pretrained` for its weights, and
            ``ras2s``, where nothing has that name, for those that come with the package.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read or holds something else; the message says what.
    """
    path = _file_of(path)
    content = read_checkpoint(path)
    state = _network_state(content, path)
    facts = content.get(NETWORK) if isinstance(content, Mapping) else None
    facts = facts or _config_beside(path)
    facts = facts if isinstance(facts, Mapping) else {}
    method = _method(facts, state, path)
    try:
        network = method.network_of(state, facts.get("arguments"))
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        found = ", ".join(list(state)[:3])
        raise ValueError(
            f"{path}: not a complete {method.label} network ({' '.join(str(error).split())}); its "
            f"{len(state)} tensors begin with {found}"
        ) from error
    return network.eval()


CONFIG, TENSORS = "config.json", "model.safetensors"  # names of the Hugging Face Hub


def save_pretrained(network: nn.Module, folder: str | PathLike[str]) -> Path:
    """Writes a network as the Hugging Face Hub lays it out: ``config.json``, ``model.safetensors``.

    Args:
        network: Of a method in METHODS.
        folder: Is made; what it holds under these names is replaced.

    Returns:
        The folder.

    Raises:
        ValueError: If the network is of no method, so that nobody could load it.
    """
    from safetensors.torch import save_file

    facts = facts_of(network)
    if facts["method"] not in METHODS:
        raise ValueError(
            f"{facts['class']} is none of the methods ({', '.join(_learned())}); save its state "
            "dict yourself"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    with atomic_write(folder / TENSORS) as aside:
        save_file(state, aside)
    with atomic_write(folder / CONFIG) as aside:
        aside.write_text(json.dumps(facts, indent=1) + "\n")
    return folder


def from_pretrained(name: str | PathLike[str]) -> nn.Module:
    """A network by the name of a method, a folder or a file, or a repository of the Hub.

    Args:
        name: ``ras2s`` for the weights that come with the package; what `save_pretrained` wrote, or
            anything that `load_network` reads; else ``owner/name`` on the Hugging Face Hub, which
            needs ``huggingface_hub`` and, the first time, a network connection.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If it is none of these.
        ValueError: If it cannot be read.
    """
    if str(name) in METHODS:
        return load_network(METHODS[str(name)].pretrained)
    if Path(name).exists():
        return load_network(name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise FileNotFoundError(
            f"{name}: no method with weights ({', '.join(_learned())}), no file or folder, and no "
            "owner/name of the Hugging Face Hub"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise FileNotFoundError(
            f"{name}: is not here; from the Hugging Face Hub it comes with "
            "pip install huggingface_hub"
        ) from None
    files = [Path(hf_hub_download(str(name), file)) for file in (CONFIG, TENSORS)]
    return load_network(files[0].parent)


def _file_of(name: str | PathLike[str]) -> Path:
    """The checkpoint that a run's folder stands for; a file stands for itself.

    Args:
        name: A path, or as ``file://`` the address of one.

    Raises:
        FileNotFoundError: If the folder has none.
    """
    address = urlsplit(str(name))
    path = Path(url2pathname(address.path) if address.scheme == "file" else name)
    if not path.exists() and str(name) in METHODS and METHODS[str(name)].pretrained:
        return Path(METHODS[str(name)].pretrained)
    if not path.is_dir():
        return path
    if (path / TENSORS).is_file():
        return path / TENSORS
    from lightning_ras2s.runs.folder import CHECKPOINTS, RunFolder

    run = RunFolder(path.parent if path.name == CHECKPOINTS else path)
    if (weights := run.weights) is None:
        raise FileNotFoundError(
            f"{path}: no such checkpoint: it is a folder without any; give the folder of a "
            "training, or a file (CKPT=...)"
        )
    return weights


def _config_beside(path: Path) -> Any:
    """What `save_pretrained` says of weights; None beside others."""
    if path.name != TENSORS:
        return None
    try:
        return json.loads((path.parent / CONFIG).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.parent / CONFIG}: cannot be read ({error})") from error


def facts_of(network: nn.Module) -> dict[str, Any]:
    """What a checkpoint says of its network: class, arguments (None if unknown) and method."""
    kind = type(network)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "arguments": getattr(network, "arguments", None),
        "method": method_of(network).key,
    }


def read_checkpoint(path: Path) -> Any:
    """What a checkpoint holds, on the CPU; only tensors and plain types are read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; is the path right (CKPT=...)?")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals(_numpy_numbers()):
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


def _numpy_numbers() -> list[Any]:
    """What torch.load needs to read numpy's numbers, such as a PSNR that was saved beside weights.

    They are plain values: reading them runs no code of the file's.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]  # numpy 1, numpy 2
    kinds = [type(np.dtype(kind)) for kind in (*"bBhHiIlLqQefd", "?")]
    return [*((scalar, name) for name in names), np.dtype, *kinds]


def _network_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Unwraps the network's tensors from what a file holds."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not the weights of a network")
    while wrapping := next((k for k in WRAPPINGS if isinstance(content.get(k), Mapping)), None):
        content = content[wrapping]
    state = {
        _bare(name): tensor
        for name, tensor in content.items()
        if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    if not state:
        found = ", ".join(str(key) for key in list(content)[:5]) or "nothing"
        raise ValueError(f"{path}: no weights of a network in it; it holds {found}")
    return state


def _bare(name: str) -> str:
    """The tensor's name in the network itself."""
    name = name.replace("_orig_mod.", "")  # of torch.compile
    while prefix := next((p for p in PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name


def _method(facts: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> Method:
    """Whose weights they are: as the file says, else by their names."""
    if "method" in facts:
        if facts["method"] in METHODS:
            return METHODS[facts["method"]]
        raise ValueError(
            f"{path}: holds the weights of {facts.get('class')}, which is none of the methods "
            f"({', '.join(_learned())}); build that network yourself and load its state dict"
        )
    for key in _learned():
        if set(METHODS[key].marks) & set(state):
            return METHODS[key]
    found = ", ".join(list(state)[:5])
    raise ValueError(
        f"{path}: the weights of none of the methods ({', '.join(_learned())}); it holds {found}"
    )


def _learned() -> list[str]:
    return [key for key, method in METHODS.items() if method.kind == "network"]
