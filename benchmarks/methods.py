"""How long every method takes for a cube, and how much memory, beside RAS2S.

Each is measured in a process of its own, in turns with RAS2S, so that a change of the machine's
speed meets both. Networks have new weights: their work does not hang on them.
"""

import json
import math
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import device, seconds, spread, tell
from lightning_ras2s.memory import PeakMemory
from lightning_ras2s.methods import METHODS, Method, find

REFERENCE = "ras2s"
LONG = 15.0  # seconds; what takes longer is timed once
LETTER, LINE = 0.0145, 0.036  # of a label, shares of the axes
COLOURS = {"network": "#00805c", "model-based": "#0072b2"}


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        shapes: Cubes [N, B, H, W].
        rounds: In each, the method and RAS2S are timed once.
        methods: Keys; by default all but the noisy scene itself.
    """

    shapes: tuple[tuple[int, int, int, int], ...] = ((1, 31, 128, 128), (1, 31, 256, 256))
    rounds: int = 3
    methods: tuple[str, ...] = tuple(key for key in METHODS if key != "identity")


QUICK = Plan(shapes=((1, 31, 64, 64),), rounds=1)


def noisy_scene(shape: tuple[int, int, int, int]) -> Tensor:
    """A smooth cube of a few spectra, with noise: some methods do more where there is more."""
    generator = torch.Generator().manual_seed(0)
    n, bands, height, width = shape
    abundances = torch.rand(n, 4, 8, 8, generator=generator).softmax(1)
    abundances = F.interpolate(abundances, (height, width), mode="bicubic", align_corners=False)
    spectra = F.interpolate(torch.rand(1, 4, 6, generator=generator), bands, mode="linear")[0]
    clean = torch.einsum("nkhw,kb->nbhw", abundances, spectra)
    return clean + 0.1 * torch.randn(shape, generator=generator)


def denoiser(method: Method, place: torch.device) -> Any:
    """A function of [N, B, H, W]."""
    torch.manual_seed(0)
    return method.build().eval().to(place) if method.kind == "network" else method.load()


def measure_one(key: str, shape: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    """Seconds, times the time of RAS2S, and the bytes of a pass, all in this process."""
    place = device()
    noisy, small = (noisy_scene(s).to(place) for s in (shape, (1, 31, 32, 32)))
    method = find(key)
    with torch.inference_mode():
        run, reference = (denoiser(each, place) for each in (method, find(REFERENCE)))
        run(small)  # what is compiled and imported once is not of this cube
        memory = PeakMemory(place)
        first = seconds(partial(run, noisy))
        taken = memory.taken()
        reference(noisy)
        if first > LONG:
            times = [(first, seconds(partial(reference, noisy)))]
        else:
            times = [
                (seconds(partial(run, noisy)), seconds(partial(reference, noisy)))
                for _ in range(rounds)
            ]
    return {
        "seconds": spread([own for own, _ in times]),
        "times_ras2s": spread([own / ours for own, ours in times]),
        "bytes": taken,
        "bytes_a_value": None if taken is None else taken / noisy.numel(),
    }


def measure(plan: Plan) -> dict[str, Any]:
    """All methods that are installed, each in a process of its own."""
    rows, absent = [], {}
    for key in plan.methods:
        method = find(key)
        if method.missing:
            absent[key] = method.remedy
            continue
        for shape in plan.shapes:
            command = [sys.executable, "-m", "benchmarks.methods", key, str(plan.rounds)]
            done = subprocess.run([*command, *map(str, shape)], capture_output=True, text=True)
            if done.returncode:
                last = done.stderr.strip().splitlines() or ["it printed nothing"]
                absent[key] = f"{'x'.join(map(str, shape))}: {last[-1]}"
                break
            rows.append({"method": key, "shape": shape, **json.loads(done.stdout)})
    place = device()
    where = (
        torch.cuda.get_device_name()
        if place.type == "cuda"
        else f"{torch.get_num_threads()} threads"
    )
    return {"device": where, "plan": asdict(plan), "rows": rows, "absent": absent}


def show(result: dict[str, Any], console: Console) -> None:
    """A table a size, the fastest first."""
    for shape in dict.fromkeys(tuple(row["shape"]) for row in result["rows"]):
        size = " x ".join(map(str, shape))
        table = Table(title=f"Methods on {size}, {result['device']}, float32")
        for header in ("method", "weights", "s", "times RAS2S", "peak MB", "bytes a value"):
            table.add_column(header, justify="left" if header == "method" else "right")
        rows = [row for row in result["rows"] if tuple(row["shape"]) == shape]
        for row in sorted(rows, key=lambda row: row["seconds"]["median"]):
            method = find(row["method"])
            taken = row["bytes"]
            table.add_row(
                method.label,
                f"{method.parameters:,}" if method.parameters else "",
                f"{row['seconds']['median']:.2f}",
                tell(row["times_ras2s"], 2),
                "" if taken is None else f"{taken / 1e6:,.0f}",
                "" if taken is None else f"{row['bytes_a_value']:,.0f}",
            )
        console.print(table)
    for key, why in result["absent"].items():
        console.print(f"{find(key).label}: {why}", markup=False, soft_wrap=True)


def draw(result: dict[str, Any], file: Path) -> None:
    """Memory over seconds, a panel a size; the area of a network's point is that of its weights."""
    from matplotlib.figure import Figure

    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in result["rows"]))
    figure = Figure(figsize=(6.4 * len(shapes), 4.4), layout="constrained")
    for place, shape in enumerate(shapes, 1):
        axes = figure.add_subplot(1, len(shapes), place)
        axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="peak memory (MB)")
        axes.set_title(f"{' x '.join(map(str, shape))}, {result['device']}", fontsize=10)
        points = {
            row["method"]: (row["seconds"]["median"], row["bytes"] / 1e6)
            for row in result["rows"]
            if tuple(row["shape"]) == shape and row["bytes"]
        }
        for key, point in points.items():
            method = find(key)
            area = 12 + 4 * math.sqrt(method.parameters / 1e4)
            edge = "black" if key == REFERENCE else "none"
            colour = COLOURS[method.kind]
            axes.scatter(*point, s=area, color=colour, alpha=0.75, edgecolor=edge, zorder=3)
        _label(axes, points)
        axes.grid(color="#e4e8ed", lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def _label(axes: Any, points: dict[str, tuple[float, float]]) -> None:
    """Names beside the points, moved down as far as none is over another."""
    axes.margins(x=0.12, y=0.08)
    axes.autoscale_view()  # now, for the places to be known
    places = axes.transLimits.transform(axes.transScale.transform(list(points.values())))
    taken: list[tuple[float, float, float]] = []  # left, right, height; shares of the axes
    for (key, point), (x, y) in sorted(
        zip(points.items(), places, strict=True), key=lambda found: -found[1][1]
    ):
        name, left, height = find(key).label, x + 0.015, y
        right = left + LETTER * len(name)
        while any(a < right and left < b and abs(h - height) < LINE for a, b, h in taken):
            height -= LINE / 4
        taken.append((left, right, height))
        line = {"arrowstyle": "-", "color": "#8a949e", "lw": 0.5, "shrinkA": 0, "shrinkB": 0}
        weight = "bold" if key == REFERENCE else "normal"
        axes.annotate(
            name, point, xytext=(left, height), textcoords="axes fraction", arrowprops=line,
            fontsize=7.5, fontweight=weight, va="center",
        )  # fmt: skip


if __name__ == "__main__":
    name, rounds, *sizes = sys.argv[1:]
    n, b, h, w = map(int, sizes)
    sys.stdout.write(json.dumps(measure_one(name, (n, b, h, w), int(rounds))))
