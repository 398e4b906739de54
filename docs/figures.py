"""Draws docs/quickstart.png: the quickstart's test block before and after denoising.

make figures CKPT=runs/quickstart/<time>/checkpoints/best.ckpt
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from datamodules import IndianPines
from lightning_ras2s import load_network
from lightning_ras2s.classical.median import median_filter
from lightning_ras2s.metrics import mpsnr

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

PICTURE = Path(__file__).with_name("quickstart.png")
RED_GREEN_BLUE = (28, 17, 8)  # about 680, 570 and 480 nm
BAND = 60
PIXEL = (100, 16)  # row, column


def colour(cube: torch.Tensor, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Three bands of [1, B, H, W] as an image, stretched as the clean one is."""
    image = cube[0, list(RED_GREEN_BLUE)].permute(1, 2, 0).numpy()
    return np.clip((image - low) / (high - low), 0, 1)


def main(checkpoint: str, picture: Path = PICTURE) -> None:
    """Denoises the test block under mixture noise and draws it."""
    data = IndianPines(test_noise=["mixture"])
    data.setup("test")
    item = data.test_set[0]
    wavelengths = data.scenes("test")[0].wavelengths
    clean, noisy = item["clean"][None], item["noisy"][None]
    network = load_network(checkpoint)
    with torch.no_grad():
        denoised = network(noisy)
    images = {
        "noisy": noisy,
        "median 3x3x3": median_filter(noisy),
        "RAS2S": denoised,
        "clean": clean,
    }
    reference = clean[0, list(RED_GREEN_BLUE)].permute(1, 2, 0).numpy()
    low, high = np.percentile(reference, (1, 99), axis=(0, 1))
    masks = network.region_masks(noisy)

    figure = plt.figure(figsize=(13, 6), layout="constrained")
    pictures, spectra = figure.subfigures(1, 2, width_ratios=(3, 2))
    axes = pictures.subplots(1, 6)
    for axis, (name, image) in zip(axes, images.items(), strict=False):
        axis.imshow(colour(image, low, high), interpolation="nearest")
        quality = "" if name == "clean" else f"\n{mpsnr(image, clean).item():.1f} dB"
        axis.set_title(name + quality, fontsize=10)
        axis.plot(PIXEL[1], PIXEL[0], "o", markersize=7, markerfacecolor="none", color="white")
    palette = ListedColormap(["#1b9e77", "#d95f02", "#7570b3"])
    for axis, kind, mask in zip(axes[4:], masks._fields, masks, strict=True):
        axis.imshow(mask[0, BAND].numpy(), cmap=palette, vmin=0, vmax=2, interpolation="nearest")
        axis.set_title(f"{kind}\nregions", fontsize=10)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    axis = spectra.subplots()
    order = np.argsort(wavelengths)
    styles = {"noisy": ("0.8", 0.7), "median 3x3x3": ("#d95f02", 0.9), "RAS2S": ("#1b9e77", 1.4)}
    for name, image in images.items():
        shade, width = styles.get(name, ("black", 1.0))
        spectrum = image[0, :, *PIXEL].numpy()[order]
        axis.plot(wavelengths[order], spectrum, color=shade, linewidth=width, label=name)
    axis.set(xlabel="wavelength (nm)", ylabel="scaled radiance", ylim=(-0.1, 1.1))
    axis.set_title("spectrum of the marked pixel", fontsize=10)
    axis.legend(frameon=False)
    figure.savefig(picture, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
