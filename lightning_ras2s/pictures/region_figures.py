"""The regions into which a network divides a scene, and figures of them."""

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lightning_ras2s.pictures.drawing import (
    FONT,
    Margins,
    SpectralAxis,
    panels,
    show_image,
    write_title,
)

SOURCES = ("encoded", "embedding")
LONGEST_SIDE = 512  # pixels of a mask in a figure
COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00", "#F0E442", "#000000")
BySource = dict[tuple[str, str], np.ndarray]


class SceneRegions(NamedTuple):
    """The regions of a scene: those of some bands, and how large they are in all.

    Attributes:
        bands: Numbers of the bands whose masks are here, n.
        masks: Regions from 0, uint8 [n, H, W], by source and kind (spatial or spectral).
        shares: The share of the pixels that is in each region, [r, B], likewise.
        greys: The bands themselves, uint8 [n, H, W].
        reference: What they are bands of: clean or denoised.
        picture: The scene in false colour, uint8 [H, W, 3].
        wavelengths: In nm, [B]; None where unknown.
    """

    bands: list[int]
    masks: BySource
    shares: BySource
    greys: np.ndarray
    reference: str
    picture: np.ndarray
    wavelengths: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of regions and of bands, r and B."""
        regions, bands = next(iter(self.shares.values())).shape
        return regions, bands

    def name_of(self, band: int) -> str:
        """The number of a band, and its wavelength where it is known."""
        if self.wavelengths is None:
            return f"band {band}"
        return f"band {band}, {self.wavelengths[band]:.0f} nm"


def palette(regions: int) -> np.ndarray:
    """Colours of regions that colour-blind people tell apart, uint8 [r, 3]."""
    if regions <= len(COLOURS):
        colours = np.array([to_rgb(colour) for colour in COLOURS[:regions]])
    else:
        colours = mpl.colormaps["viridis"](np.linspace(0, 1, regions))[:, :3]
    return (colours * 255).round().astype(np.uint8)


def draw_masks(found: SceneRegions, title: str) -> Figure:
    """A row for each band: the band itself, and its regions by source and kind."""
    height, width = found.picture.shape[:2]
    scale = 2.0 / max(height, width)  # inches a pixel
    size = (max(scale * width, 0.9), max(scale * height, 0.4))
    columns = 1 + len(found.masks)
    colours = palette(found.size[0])
    entries = [Patch(color=tuple(c / 255), label=f"region {n}") for n, c in enumerate(colours, 1)]
    abreast = max(int(size[0] * columns), 1)  # entries of the legend, an inch each
    margins = Margins(0.95, 0.2, top=0.85, bottom=0.25 + 0.2 * -(-len(entries) // abreast))
    figure, axes = panels(len(found.bands), columns, size, (0.12, 0.12), margins)
    step = -(-max(height, width) // LONGEST_SIDE)
    for row, band, grey in zip(axes, found.bands, found.greys, strict=True):
        show_image(row[0], grey[::step, ::step])
        label = found.name_of(band).replace(", ", "\n")
        row[0].set_ylabel(label, fontsize=FONT, rotation=0, ha="right", va="center")
    axes[0, 0].set_title(found.reference, fontsize=FONT)
    for column, ((source, kind), masks) in zip(axes.T[1:], found.masks.items(), strict=True):
        for axis, mask in zip(column, masks, strict=True):
            show_image(axis, colours[mask[::step, ::step]])
        column[0].set_title(f"{kind}\n({source})", fontsize=FONT)
    write_title(figure, title)
    figure.legend(
        handles=entries, ncols=abreast, loc="lower center", frameon=False, fontsize=FONT - 1
    )
    return figure


def draw_shares(found: SceneRegions, title: str) -> Figure:
    """How many of the pixels are in each region, band by band; a panel by source and kind."""
    regions, bands = found.size
    kinds = list(dict.fromkeys(kind for _, kind in found.shares))
    margins = Margins(left=1.25, right=1.0, top=0.8, bottom=0.55)
    size = (4.6, 0.3 * regions + 0.4)
    figure, axes = panels(len(kinds), len(SOURCES), size, (1.25, 0.5), margins)
    spectral = SpectralAxis.of(bands, found.wavelengths)
    for (source, kind), shares in found.shares.items():
        axis = axes[kinds.index(kind), SOURCES.index(source)]
        mesh = _draw_shares(axis, shares[:, spectral.order], spectral.edges)
        axis.set_title(f"{kind} ({source})", fontsize=FONT)
        spectral.label(axis, title=kind == kinds[-1])
    _draw_bar(figure, mesh, margins)
    write_title(figure, f"{title}: shares of the regions (hatched: no pixel)")
    return figure


def _draw_shares(axis: Axes, shares: np.ndarray, edges: np.ndarray) -> QuadMesh:
    """Shares [r, B] between edges [B + 1]; a region that a band does not have is hatched."""
    axis.patch.set(hatch="//////", edgecolor="0.6", facecolor="white", linewidth=0)
    percent = np.ma.masked_equal(100 * shares, 0)
    borders = np.arange(len(shares) + 1) + 0.5
    mesh = axis.pcolormesh(edges, borders, percent, cmap="viridis", vmin=0, vmax=100)
    means = enumerate(100 * shares.mean(axis=1), start=1)
    axis.set_yticks(range(1, len(shares) + 1), [f"region {n}: {mean:.1f} %" for n, mean in means])
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    return mesh


def _draw_bar(figure: Figure, mesh: QuadMesh, margins: Margins) -> None:
    width, height = figure.get_size_inches()
    corner = (1 - (margins.right - 0.2) / width, margins.bottom / height)
    bar = figure.add_axes((*corner, 0.15 / width, 1 - (margins.top + margins.bottom) / height))
    figure.colorbar(mesh, cax=bar, ticks=[0, 25, 50, 75, 100])
    bar.set_ylabel("share of the pixels (%)", fontsize=FONT)
    bar.tick_params(labelsize=FONT - 1)
