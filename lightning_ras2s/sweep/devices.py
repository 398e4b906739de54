"""Which GPU each of several agents uses."""

import os


def shares(agents: int) -> list[dict[str, str]]:
    """The environment of each agent: with several, a GPU of its own as far as there are some."""
    devices = _devices() if agents > 1 else []
    return [
        {"CUDA_VISIBLE_DEVICES": devices[i % len(devices)]} if devices else {}
        for i in range(agents)
    ]


def _devices() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device]
    import torch

    return [str(device) for device in range(torch.cuda.device_count())]
