"""How fast RAS2S is: the network of this project against its literal formulation.

Both have the same weights and take turns, so that a change of the machine's speed meets both. The
literal one is the oracle of the tests: a band after the other, a convolution for each formula.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import seconds, spread, tell
from lightning_ras2s.graphs import GraphedNetwork
from lightning_ras2s.memory import PeakMemory
from lightning_ras2s.networks import RAS2S, native
from lightning_ras2s.networks.ras2s.released import from_released
from tests.oracle import LiteralRAS2S

Shape = tuple[int, int, int, int]  # N, B, H, W
Task = Callable[[], Any]

LITERAL, OURS = "literal", "ours"
LAYERS = ((14, 14), (14, 28), (28, 14), (28, 28), (14, 42), (1, 14), (14, 1))  # channels in and out


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        forward: Inputs [N, B, H, W] of the forward pass, without gradients.
        memory: Those whose memory is measured, each in a process of its own.
        training: Those of a step: forward, L1, backward, Adam.
        rounds: In each, every way is measured once, after some that are not counted.
        bands: Numbers of bands of a scene of 64 x 64 pixels, to see how the cost grows.
        pixels: Heights and widths of a scene of 31 bands, likewise.
    """

    forward: tuple[Shape, ...] = (
        (1, 31, 64, 64),
        (8, 31, 64, 64),
        (1, 31, 128, 128),
        (1, 31, 256, 256),
        (1, 31, 512, 512),
        (1, 102, 256, 256),
        (1, 200, 128, 128),
    )
    memory: tuple[Shape, ...] = ((1, 31, 64, 64), (1, 31, 256, 256), (1, 102, 256, 256))
    training: tuple[Shape, ...] = ((8, 31, 64, 64), (8, 16, 32, 32))
    rounds: int = 3
    bands: tuple[int, ...] = (31, 62, 102, 150, 210)
    pixels: tuple[int, ...] = (64, 128, 181, 256, 362, 512)


QUICK = Plan(
    forward=((1, 31, 64, 64), (8, 31, 64, 64), (1, 31, 128, 128), (1, 31, 256, 256)),
    memory=((1, 31, 128, 128),),
    training=((4, 31, 64, 64), (8, 16, 32, 32)),
    rounds=1,
    bands=(31, 102, 210),
    pixels=(64, 128, 181),
)


def networks(device: torch.device) -> dict[str, nn.Module]:
    """Both formulations, with the same weights."""
    torch.manual_seed(0)
    literal, ours = LiteralRAS2S(), RAS2S()
    ours.load_state_dict(from_released(literal.state_dict()))
    return {LITERAL: literal.to(device), OURS: ours.to(device)}


def ways(device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """What is compared; on a GPU also our network compiled, and replayed as a CUDA graph."""
    both: dict[str, Callable[[Tensor], Tensor]] = dict(networks(device))
    if device.type == "cuda":
        compiled, fused = (networks(device)[OURS] for _ in range(2))
        compiled.compile_steps(dynamic=False)  # type: ignore[operator]
        fused.compile_steps(dynamic=False)  # type: ignore[operator]
        both |= {
            "compiled": compiled,
            "graphed": GraphedNetwork(networks(device)[OURS]),
            "compiled, graphed": GraphedNetwork(fused),
        }
    return both


def alternate(tasks: dict[str, Task], rounds: int, warm_ups: int) -> dict[str, Any]:
    """Times tasks in turns: seconds of each, and how many times the literal's speed each has."""
    for _ in range(warm_ups):
        for task in tasks.values():
            seconds(task)
    times = [{name: seconds(task) for name, task in tasks.items()} for _ in range(rounds)]
    return {
        name: {
            "seconds": spread([one[name] for one in times]),
            "speedup": spread([one[LITERAL] / one[name] for one in times]),
        }
        for name in tasks
    }


def compare_forward(shape: Shape, rounds: int, device: torch.device) -> dict[str, Any]:
    """The forward pass of one size; also by how much the outputs differ at most."""
    noisy = torch.rand(shape, device=device)
    with torch.inference_mode():
        tasks: dict[str, Task] = {
            name: partial(network, noisy) for name, network in ways(device).items()
        }
        outputs = {name: task() for name, task in tasks.items()}
        warm_ups = 2 if device.type == "cuda" else 0  # a graph is captured at the second call
        result = alternate(tasks, rounds, warm_ups)
    for name, output in outputs.items():
        result[name]["difference"] = (output - outputs[LITERAL]).abs().max().item()
    return result


def training_step(network: Callable[[Tensor], Tensor], parameters: Any, noisy: Tensor) -> Task:
    """Forward, L1, backward and Adam."""
    optimizer = torch.optim.Adam(parameters, 1e-4, foreach=True)

    def step() -> None:
        optimizer.zero_grad()
        (network(noisy) - 0.5).abs().mean().backward()
        optimizer.step()

    return step


def compare_training(shape: Shape, rounds: int, device: torch.device) -> dict[str, Any]:
    """A training step of one size."""
    noisy = torch.rand(shape, device=device)
    tasks = {}
    for name, network in ways(device).items():
        module = network.network if isinstance(network, GraphedNetwork) else network
        tasks[name] = training_step(network, module.parameters(), noisy)  # type: ignore[union-attr]
    return alternate(tasks, rounds, 3 if device.type == "cuda" else 2)


class CountBytes(TorchDispatchMode):
    """Counts the bytes that operations read and write, as if nothing stayed in a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Adds those of one operation; views cost nothing."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            for value in torch.utils._pytree.tree_leaves((args, kwargs, result)):
                self.total += value.nbytes if isinstance(value, Tensor) else 0
        return result


def work_per_pixel() -> dict[str, float]:
    """Operations, and bytes of the plain formulation, for each pixel and band."""
    shape = (1, 16, 64, 64)
    noisy, both = torch.rand(shape), networks(torch.device("cpu"))
    with torch.no_grad(), FlopCounterMode(display=False) as operations:
        both[LITERAL](noisy)
    with torch.no_grad(), native.plain_operations(), CountBytes() as moved:
        both[OURS](noisy)
    return {
        "operations": operations.get_total_flops() / noisy.numel(),
        "bytes": moved.total / noisy.numel(),
    }


def machine_rates(device: torch.device) -> dict[str, float]:
    """What the machine can do: GFLOP/s of a matrix product, GB/s of a copy."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.rand(size, size, device=device)
    block, other = torch.rand(2, 1 << 26, device=device)
    product = min(seconds(partial(torch.mm, matrix, matrix)) for _ in range(8))
    copied = min(seconds(partial(other.copy_, block)) for _ in range(5))
    return {
        "matrix_product_gflops": 2 * size**3 / product / 1e9,
        "copy_gb_per_s": 2 * block.nbytes / copied / 1e9,
    }


def compare_layers(device: torch.device, size: int = 256) -> list[dict[str, Any]]:
    """GFLOP/s of single 3x3 convolutions: torch's best memory format against ours."""
    rows = []
    for inputs, outputs in LAYERS:
        x = torch.rand(1, inputs, size, size, device=device)
        weight = torch.rand(outputs, inputs, 3, 3, device=device)
        last = x.contiguous(memory_format=torch.channels_last)
        work = 2 * 9 * inputs * outputs * size**2 / 1e9
        with torch.inference_mode():
            tasks = {
                "torch": partial(F.conv2d, x, weight, padding=1),
                "torch_channels_last": partial(F.conv2d, last, weight, padding=1),
                "ours": partial(native.conv3x3, x, weight),
            }
            rates = {
                name: work / min(seconds(task) for _ in range(10)) for name, task in tasks.items()
            }
        rows.append({"inputs": inputs, "outputs": outputs, "gflops": rates})
    return rows


def peak_memory(name: str, shape: Shape, device: torch.device) -> float:
    """Floats for each pixel and band that the process takes for a forward pass."""
    if device.type == "cuda":
        return _measure_memory(name, shape, device)
    command = [sys.executable, "-m", "benchmarks.network", name, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _measure_memory(name: str, shape: Shape, device: torch.device) -> float:
    """NaN where nobody knows; on a CPU in a process of its own."""
    network, noisy = networks(device)[name], torch.rand(shape, device=device)
    with torch.inference_mode():
        network(torch.rand(1, 4, 32, 32, device=device))
        memory = PeakMemory(device)
        network(noisy)
    taken = memory.taken()
    return math.nan if taken is None else taken / 4 / noisy.numel()


def compile_seconds(device: torch.device) -> float | None:
    """Of the kernels of the CPU, or of the steps on a GPU; None where nothing can be compiled."""
    if device.type == "cuda":
        network, noisy = networks(device)[OURS], torch.rand(1, 8, 64, 64, device=device)
        network.compile_steps(dynamic=False)  # type: ignore[operator]
        with torch.inference_mode():
            return seconds(partial(network, noisy))
    if native.kernels() is None:
        return None
    with (
        tempfile.TemporaryDirectory() as empty,
        mock.patch.dict(os.environ, {"XDG_CACHE_HOME": empty}),
    ):
        return seconds(native.build)


def growth(plan: Plan, device: torch.device) -> dict[str, list[dict[str, float]]]:
    """Seconds of our forward pass, by number of bands and by number of pixels."""
    network = networks(device)[OURS]

    def cost(shape: Shape) -> float:
        noisy = torch.rand(shape, device=device)
        with torch.inference_mode():
            return min(seconds(partial(network, noisy)) for _ in range(2))

    return {
        "bands": [{"bands": b, "seconds": cost((1, b, 64, 64))} for b in plan.bands],
        "pixels": [{"pixels": p * p, "seconds": cost((1, 31, p, p))} for p in plan.pixels],
    }


def measure(plan: Plan, device: torch.device) -> dict[str, Any]:
    """All of it on one device."""
    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if is_cuda else f"{torch.get_num_threads()} cores",
        "is_cuda": is_cuda,
        "plan": asdict(plan),
        "machine": machine_rates(device),
        "work_per_pixel_and_band": work_per_pixel(),
        "compile_seconds": compile_seconds(device),
        "layers": compare_layers(device),
        "forward": [
            {"shape": shape, **compare_forward(shape, plan.rounds, device)}
            for shape in plan.forward
        ],
        "memory": [
            {
                "shape": shape,
                "peak_floats": {name: peak_memory(name, shape, device) for name in (LITERAL, OURS)},
            }
            for shape in plan.memory
        ],
        "training": [
            {"shape": shape, **compare_training(shape, plan.rounds, device)}
            for shape in plan.training
        ],
        "growth": growth(plan, device),
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Prints tables."""
    work, machine = result["work_per_pixel_and_band"], result["machine"]
    for title, rows, passes in (
        ("Forward pass", result["forward"], 1),
        ("Training step: forward, backward, Adam", result["training"], 3),
    ):
        table = Table(title=f"{title}, {result['device']}, float32")
        headers = ["N x B x H x W", "way", "s", "times literal", "GFLOP/s", "share"]
        # A GPU's caches keep little of a map; on the CPU, bytes say nothing.
        headers += ["share of a copy"] if result["is_cuda"] else []
        for header in headers:
            table.add_column(header, justify="left" if header == "way" else "right")
        for row in rows:
            n, b, h, w = row["shape"]
            for name in (key for key in row if key != "shape"):
                way = row[name]
                done = passes * n * b * h * w / way["seconds"]["median"] / 1e9
                rate, copied = done * work["operations"], done * work["bytes"]
                table.add_row(
                    "x".join(map(str, row["shape"])),
                    name,
                    f"{way['seconds']['median']:.3f}",
                    tell(way["speedup"], 2),
                    f"{rate:.0f}",
                    f"{rate / machine['matrix_product_gflops']:.0%}",
                    *([f"{copied / machine['copy_gb_per_s']:.0%}"] if result["is_cuda"] else []),
                )
        console.print(table)
    layers = Table(title="3x3 convolutions of 256 x 256 pixels, GFLOP/s")
    for header in ("channels", "torch", "torch, channels last", "ours"):
        layers.add_column(header, justify="right")
    for layer in result["layers"]:
        rates = [f"{rate:.0f}" for rate in layer["gflops"].values()]
        layers.add_row(f"{layer['inputs']} -> {layer['outputs']}", *rates)
    console.print(layers)
    memory = Table(title="Memory of a forward pass, peak floats for each pixel and band")
    for header in ("N x B x H x W", LITERAL, OURS):
        memory.add_column(header, justify="right")
    for row in result["memory"]:
        floats = (f"{value:.0f}" for value in row["peak_floats"].values())
        memory.add_row("x".join(map(str, row["shape"])), *floats)
    console.print(memory)
    console.print(
        f"share: of a matrix product, {machine['matrix_product_gflops']:.0f} GFLOP/s here "
        f"(a copy: {machine['copy_gb_per_s']:.0f} GB/s). For each pixel and band the network takes "
        f"{work['operations'] / 2:,.0f} multiply-adds, and in plain operations "
        f"{work['bytes']:,.0f} bytes if nothing stays in a cache.",
        soft_wrap=True,
    )
    if result["compile_seconds"] is not None:
        console.print(f"compiled once, in {result['compile_seconds']:.1f} s")


def draw(result: dict[str, Any], file: Path) -> None:
    """A figure: seconds and speed-up by size, and how the cost grows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    bars, by_bands, by_pixels = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    rows = result["forward"][::-1]
    names = ["x".join(map(str, row["shape"])) for row in rows]
    speedups = [row[OURS]["speedup"]["median"] for row in rows]
    drawn = bars.barh(names, speedups, color="tab:blue")
    bars.bar_label(drawn, [f" {value:.1f}x" for value in speedups])
    bars.axvline(1, color="0.5", linestyle=":")
    bars.set(title="Forward pass, times the literal network's speed", xlabel=result["device"])
    bars.set_xlim(0, 1.15 * max(speedups))
    for axes, key, unit in (
        (by_bands, "bands", "64 x 64 pixels"),
        (by_pixels, "pixels", "31 bands"),
    ):
        points = result["growth"][key]
        sizes, times = [p[key] for p in points], [p["seconds"] for p in points]
        axes.plot(sizes, times, "o-")
        slope = times[-1] / sizes[-1]
        axes.plot([0, sizes[-1]], [0, slope * sizes[-1]], color="0.5", linestyle=":")
        axes.set(title=f"Seconds by {key}, {unit}", xlabel=key, ylim=(0, None), xlim=(0, None))
        axes.locator_params(axis="x", nbins=4)
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    way, *numbers = sys.argv[1:]
    n, b, h, w = map(int, numbers)
    sys.stdout.write(f"{_measure_memory(way, (n, b, h, w), torch.device('cpu'))}\n")
