"""How times are taken and told."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch


def device() -> torch.device:
    """Where training would run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(task: Callable[[], Any]) -> float:
    """Of one run of a task, until the device is done with it."""
    start = time.perf_counter()
    task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": median(values), "least": min(values), "most": max(values)}


def tell(values: dict[str, float], digits: int) -> str:
    """A spread as text."""
    least, most = (f"{values[key]:.{digits}f}" for key in ("least", "most"))
    return f"{values['median']:.{digits}f} ({least} to {most})"
