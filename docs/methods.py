"""Draws docs/denoised.png and prints README's table: what each method makes of a noisy scene.

make table
"""

import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from datamodules import IndianPines
from lightning_ras2s import denoise
from lightning_ras2s.metrics import mpsnr, mssim, sam
from lightning_ras2s.pictures.colour import Display

mpl.use("agg")
from matplotlib import pyplot as plt

PICTURE = Path(__file__).with_name("denoised.png")
METHODS = {  # key -> what stands in the table and the picture
    "identity": "Noisy",
    "median": "Median",
    "median+s": "Median+S",
    "ras2s": "RAS2S",
    "ras2s+s": "RAS2S+S",
}
ROUNDS = 3  # of which the fastest counts


def main(picture: Path = PICTURE) -> None:
    """Denoises the test block of Indian Pines under mixture noise by each method."""
    data = IndianPines(test_noise=["mixture"])
    data.setup("test")
    item = data.test_set[0]
    clean, noisy = item["clean"][None], item["noisy"][None]
    results = {"Clean": clean}
    print("| method | PSNR (dB) | SSIM | SAM (rad) | seconds |\n| --- | --- | --- | --- | --- |")  # noqa: T201
    for key, label in METHODS.items():
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            denoised = denoise(noisy[0], key, scale=None)[None]
            seconds.append(time.perf_counter() - start)
        values = [metric(denoised, clean).item() for metric in (mpsnr, mssim, sam)]
        took = "" if key == "identity" else f"{min(seconds):.2f}"
        print(f"| {label} | {values[0]:.2f} | {values[1]:.3f} | {values[2]:.3f} | {took} |")  # noqa: T201
        results[f"{label}  {values[0]:.1f} dB"] = denoised
    draw(results, data.scenes("test")[0].wavelengths, picture)


def draw(results: dict[str, torch.Tensor], wavelengths: np.ndarray | None, picture: Path) -> None:
    """Strips of colour, one above the other: [1, B, H, W] by what stands beside each."""
    display = Display(results["Clean"][0].numpy(), wavelengths)
    size = (8.5, 1.5 * len(results))
    figure, axes = plt.subplots(len(results), 1, figsize=size, layout="constrained")
    order = [*list(results)[1:], "Clean"]
    for axis, name in zip(axes, order, strict=True):
        image = display(results[name][0].numpy()).transpose(1, 0, 2)  # lies down
        axis.imshow(image, interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(picture, dpi=80, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
