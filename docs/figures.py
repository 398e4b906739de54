"""Draws docs/quickstart.png: the quickstart's test block before and after denoising.

make figures [CKPT=ras2s]

The same figure in vector form, for papers, goes into ``figures/``.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from datamodules import IndianPines, Scene
from lightning_ras2s import RAS2S, load_network
from lightning_ras2s.classical.median import median_filter
from lightning_ras2s.inference.subspace import refine
from lightning_ras2s.metrics import mpsnr
from lightning_ras2s.pictures.colour import Display
from lightning_ras2s.pictures.drawing import SpectralAxis, line_styles
from lightning_ras2s.pictures.region_figures import palette

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

PICTURE = Path(__file__).with_name("quickstart.png")
VECTOR = Path("figures")
BAND = 20  # about 600 nm: where the fields differ
PIXEL = (100, 16)  # row, column


def main(weights: str = "ras2s", picture: Path = PICTURE, vector: Path = VECTOR) -> None:
    """Denoises the test block under mixture noise and draws it."""
    data = IndianPines(test_noise=["mixture"])
    data.setup("test")
    item, scene = data.test_set[0], data.scenes("test")[0]
    clean, noisy = item["clean"][None], item["noisy"][None]
    network = load_network(weights)
    assert isinstance(network, RAS2S)
    with torch.no_grad():
        denoised = network(noisy)
    images = {
        "noisy": noisy,
        "median": median_filter(noisy),
        "RAS2S": denoised,
        "RAS2S+S": refine(noisy[0], denoised[0])[0][None],
        "clean": clean,
    }
    regions = {
        "regions\n(encoded,\nnoisy)": network.region_masks(noisy).spectral,
        "regions\n(embedding,\nclean)": network.region_masks(clean, "embedding").spectral,
    }
    figure = draw(scene, images, {name: m for name, m in regions.items() if m is not None})
    figure.savefig(picture, dpi=110)
    vector.mkdir(exist_ok=True)
    for ending in ("svg", "pdf"):
        figure.savefig(vector / f"{picture.stem}.{ending}")
    plt.close(figure)


def draw(scene: Scene, images: dict[str, Tensor], regions: dict[str, Tensor]) -> Figure:
    """Pictures [1, B, H, W] by name, masks of BAND by name, and the spectra of PIXEL."""
    figure = plt.figure(figsize=(13, 6), layout="constrained")
    pictures, spectra = figure.subfigures(1, 2, width_ratios=(8, 5))
    axes = pictures.subplots(1, len(images) + len(regions), sharey=True)
    display = Display(scene.cube, scene.wavelengths)
    clean = images["clean"]
    for axis, (name, image) in zip(axes, images.items(), strict=False):
        axis.imshow(display(image[0].numpy()), interpolation="none")
        quality = "" if name == "clean" else f"\n{mpsnr(image, clean).item():.1f} dB"
        axis.set_title(name + quality, fontsize=10)
        axis.plot(PIXEL[1], PIXEL[0], "o", markersize=7, markerfacecolor="none", color="white")
    colours = palette(3) / 255
    for axis, (name, mask) in zip(axes[len(images) :], regions.items(), strict=True):
        style = {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": 2.5}
        axis.imshow(mask[0, BAND].numpy(), interpolation="none", **style)
        axis.set_title(name, fontsize=9)
    for axis in axes:
        axis.set_xticks([0, 16, 31])
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("row (pixels)")
    axes[2].set_xlabel(f"column (pixels)\n{display.caption}")
    assert scene.wavelengths is not None
    nm = scene.wavelengths[BAND]
    pictures.legend(
        handles=[Patch(color=c, label=f"region {n}") for n, c in enumerate(colours)],
        title=f"spectral regions, band {BAND} ({nm:.0f} nm)",
        loc="lower right",
        ncols=3,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
    _draw_spectra(spectra.subplots(), scene, images)
    return figure


def _draw_spectra(axis: Axes, scene: Scene, images: dict[str, Tensor]) -> None:
    spectral = SpectralAxis.of(len(scene.cube), scene.wavelengths)
    styles = line_styles(list(images))
    order = ["noisy", "clean", *(name for name in images if name not in ("noisy", "clean"))]
    for name in order:
        spectrum = images[name][0, :, *PIXEL].numpy()[spectral.order]
        axis.plot(*spectral.broken(spectrum), label=name, **styles[name])
    clean = images["clean"][0, :, *PIXEL].numpy()
    room = 0.15 * np.ptp(clean)
    axis.set(xlabel="wavelength (nm)", ylabel="radiance, scaled to [0, 1]")
    axis.set_ylim(clean.min() - room, clean.max() + room)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"spectrum of row {PIXEL[0]}, column {PIXEL[1]}", fontsize=10)
    axis.legend(frameon=False, ncols=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
