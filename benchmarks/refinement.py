"""What +S costs beside the network whose result it refines; both take turns."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import device, seconds, spread, tell
from datamodules import add_noise
from lightning_ras2s import load_network
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.methods import METHODS

Size = tuple[int, int, int]  # B, H, W
ONCE, AGAIN = "+S", "+S, repeated"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        sizes: Of the scenes.
        cases: Noise.
        rounds: In each, every way is measured once.
    """

    sizes: tuple[Size, ...] = ((200, 96, 96), (200, 512, 512))
    cases: tuple[str, ...] = ("noniid", "mixture")
    rounds: int = 3


QUICK = Plan(sizes=((200, 96, 96),), rounds=1)


def scene(size: Size) -> Tensor:
    """A smooth cube of a dozen spectra in 0.1 to 0.9, with fine detail."""
    draw = torch.Generator().manual_seed(0)
    bands, height, width = size
    images = F.interpolate(
        torch.randn(1, 12, height // 6, width // 6, generator=draw), (height, width)
    )[0]
    spectra = torch.randn(bands, 12, generator=draw).cumsum(0)
    cube = torch.einsum("bk,khw->bhw", spectra, images)
    return 0.1 + 0.8 * (cube - cube.min()) / (cube.max() - cube.min())


def compare(size: Size, case: str, rounds: int) -> dict[str, Any]:
    """Seconds of the network and of +S, and what part of the network's time each +S takes."""
    method, place = METHODS["ras2s"], device()
    noisy = add_noise(scene(size), case, 7).to(place)
    network = load_network(method.pretrained).to(place)
    with torch.inference_mode():
        denoised = network(noisy[None])[0]
        tasks = {
            method.label: partial(network, noisy[None]),
            ONCE: partial(refine, noisy, denoised, repeats=1),
            AGAIN: partial(refine, noisy, denoised),
        }
        times = [{name: seconds(task) for name, task in tasks.items()} for _ in range(rounds)]
    return {
        name: {
            "seconds": spread([one[name] for one in times]),
            "share": spread([one[name] / one[method.label] for one in times]),
        }
        for name in tasks
    }


def measure(plan: Plan) -> dict[str, Any]:
    """All of a plan."""
    return {
        "threads": torch.get_num_threads(),
        "device": str(device()),
        "sizes": [
            {"size": size, "case": case, "ways": compare(size, case, plan.rounds)}
            for size in plan.sizes
            for case in plan.cases
        ],
    }


def show(result: dict[str, Any], console: Console) -> None:
    """The table."""
    table = Table(title=f"+S beside the network, {result['device']}, {result['threads']} threads")
    for column in ("bands x pixels", "noise", "way", "seconds", "of the network's time"):
        table.add_column(column)
    for one in result["sizes"]:
        place = " x ".join(map(str, one["size"]))
        for name, values in one["ways"].items():
            row = (tell(values["seconds"], 2), tell(values["share"], 2))
            table.add_row(place, one["case"], name, *row)
    console.print(table)
