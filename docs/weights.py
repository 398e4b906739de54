"""Prints the table of docs/weights.md, draws docs/weights.png: the package's weights at work.

make weights-report [SCENES=folder] [AXES=BHW] [CKPT=best.ckpt] [RELEASED=official_s2s.pth]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from datamodules import IndianPines, add_noise, read_scene
from datamodules.noise import FIVE_CASES
from datamodules.scene import Scene
from lightning_ras2s import denoise
from lightning_ras2s.metrics import mpsnr
from lightning_ras2s.pictures.colour import Display

mpl.use("agg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).with_name("weights.png")
CASES = (*FIVE_CASES, "gaussian1")
SEED = 7
SHOWN = "mixture"  # the case in the picture


def main(arguments: Sequence[str] | None = None, picture: Path = PICTURE) -> None:
    """Denoises the test block of Indian Pines, and each scene of a folder, under six noises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=Path, help="a folder of scenes")
    parser.add_argument("--axes", help="order of the scenes' axes, where it is not what is found")
    parser.add_argument("--weights", help="in place of the package's")
    parser.add_argument("--released", help="the released weights of RAS2S, to compare with")
    given = parser.parse_args(arguments)
    files = sorted(given.scenes.iterdir()) if given.scenes else []
    scenes = IndianPines().scenes("test")
    scenes += [read_scene(file, axes=given.axes) for file in files if file.suffix != ".json"]
    methods = {
        "Noisy": ("identity", None),
        "Median": ("median", None),
        "RAS2S": ("ras2s", given.weights),
        "RAS2S+S": ("ras2s+s", given.weights),
    }
    if given.released:
        methods |= {
            "released": ("ras2s", given.released),
            "released+S": ("ras2s+s", given.released),
        }
    print(f"| scene | noise | {' | '.join(methods)} |")  # noqa: T201
    print("| --- " * (2 + len(methods)) + "|")  # noqa: T201
    table: dict[str, list[list[float]]] = {case: [] for case in CASES}
    shown = []
    for scene in scenes:
        for case in CASES:
            clean = torch.from_numpy(scene.cube)
            results = {
                name: denoise(add_noise(clean, case, SEED), method, weights, scale=None)
                for name, (method, weights) in methods.items()
            }
            values = [mpsnr(result[None], clean[None]).item() for result in results.values()]
            table[case].append(values)
            tell(scene.name, case, values)
            if case == SHOWN:
                shown.append((scene, results, dict(zip(methods, values, strict=True))))
    if len(scenes) > 1:
        for case, rows in table.items():
            tell("mean", case, np.mean(rows, axis=0))
    draw(shown, picture)


def tell(scene: str, case: str, values: Sequence[float] | np.ndarray) -> None:
    """A row of the table; the best denoiser is bold."""
    best = max(values)
    cells = [f"**{value:.2f}**" if value == best else f"{value:.2f}" for value in values]
    print(f"| {scene} | {case} | {' | '.join(cells)} |", flush=True)  # noqa: T201


def draw(shown: Sequence[tuple[Scene, dict[str, Tensor], dict[str, float]]], picture: Path) -> None:
    """A column a scene: noisy, denoised by the network, refined, clean."""
    rows = ("Noisy", "RAS2S", "RAS2S+S", "Clean")
    size = (2.2 * len(shown), 2.3 * len(rows))
    figure, axes = plt.subplots(
        len(rows), len(shown), figsize=size, layout="constrained", squeeze=False
    )
    for column, (scene, results, values) in zip(axes.T, shown, strict=True):
        display = Display(scene.cube, scene.wavelengths)
        for axis, name in zip(column, rows, strict=True):
            cube = scene.cube if name == "Clean" else results[name].numpy()
            axis.imshow(display(cube), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(f"{values[name]:.1f} dB" if name in values else "", fontsize=9)
        column[0].set_title(scene.name.replace("_", " "), fontsize=9)
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name, fontsize=10)
    figure.savefig(picture, dpi=90, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
