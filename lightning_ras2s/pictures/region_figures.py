"""The regions into which a network divides a scene, and figures of them."""

from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from lightning_ras2s.pictures.drawing import (
    FONT,
    Margins,
    SpectralAxis,
    panels,
    show_image,
    write_title,
)

LONGEST_SIDE = 512  # pixels of a mask in a figure
TALL = 1.5  # times as high as wide: two bands stand side by side
WHAT = (
    "A region is the set of pixels that share one of the network's filters, chosen for each pixel "
    "and band:\nspatial ones by a 3 x 3 convolution, spectral ones by the pixel's own features."
)
NOISE = "Of a noisy scene, the embedding's regions are salt and pepper by nature."


class RegionKey(NamedTuple):
    """Which regions: of which branch, and read from what.

    Attributes:
        source: encoded (the state that the network itself uses) or embedding (paper, Fig. 5).
        input: What the network was given: noisy, denoised or clean.
        kind: spatial or spectral.
    """

    source: str
    input: str
    kind: str

    @property
    def read_from(self) -> str:
        """Source and input, as figures have them."""
        return f"{self.source}, {self.input} scene"


Regions = dict[RegionKey, np.ndarray]


class SceneRegions(NamedTuple):
    """The regions of a scene: those of some bands, and how large they are in all.

    Attributes:
        bands: Numbers of the bands whose masks are here, n.
        masks: Regions from 0, uint8 [n, H, W], by source, input and kind.
        shares: The share of the pixels that is in each region, [r, B], likewise.
        greys: The bands themselves, uint8 [n, H, W].
        reference: What they are bands of: clean or denoised.
        picture: The scene in false colour, uint8 [H, W, 3].
        wavelengths: In nm, [B]; None where unknown.
    """

    bands: list[int]
    masks: Regions
    shares: Regions
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
    """Colours of regions, uint8 [r, 3]: from dark to bright, so also in grey and to any eye."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 1, max(regions, 1)))[:regions, :3]
    return (colours * 255).round().astype(np.uint8)


def draw_masks(found: SceneRegions, title: str) -> Figure:
    """Each band and its regions by source, input and kind: a row, or of tall scenes half a row."""
    height, width = found.picture.shape[:2]
    abreast = 2 if height > TALL * width and len(found.bands) > 1 else 1
    scale = 2.0 / max(height, width)  # inches a pixel
    size = (max(scale * width, 0.9), max(scale * height, 0.4))
    columns = 1 + len(found.masks)
    colours = palette(found.size[0])
    entries = [Patch(color=tuple(c / 255), label=f"region {n}") for n, c in enumerate(colours)]
    in_a_line = max(int(size[0] * columns * abreast), 1)  # entries of the legend, an inch each
    margins = Margins(0.95, 0.2, top=0.95, bottom=0.75 + 0.2 * -(-len(entries) // in_a_line))
    rows = -(-len(found.bands) // abreast)
    gap = (0.12, 0.12 if abreast == 1 else 0.75)
    figure, grid = panels(rows, columns * abreast, size, gap, margins)
    axes = grid.reshape(rows * abreast, columns)
    step = -(-max(height, width) // LONGEST_SIDE)
    for axis in axes[len(found.bands) :].flat:
        axis.set_axis_off()
    for number, (band, grey) in enumerate(zip(found.bands, found.greys, strict=True)):
        show_image(axes[number, 0], grey[::step, ::step])
        label = found.name_of(band).replace(", ", "\n")
        if abreast == 1:
            style = {"rotation": 0, "ha": "right", "va": "center"}
            axes[number, 0].set_ylabel(label, fontsize=FONT, **style)
            label = found.reference
        else:
            label = f"{label}\n{found.reference}"
        for axis, (key, masks) in zip(axes[number, 1:], found.masks.items(), strict=True):
            show_image(axis, colours[masks[number][::step, ::step]])
            if number == 0 or abreast == 2:
                axis.set_title(f"{key.kind}\n({key.source},\n{key.input} scene)", fontsize=FONT)
        if number == 0 or abreast == 2:
            axes[number, 0].set_title(label, fontsize=FONT)
    write_title(figure, title)
    place = (0.5, 0.5 / figure.get_figheight())
    figure.legend(
        handles=entries,
        ncols=in_a_line,
        loc="lower center",
        bbox_to_anchor=place,
        frameon=False,
        fontsize=FONT - 1,
    )
    salted = any(key[:2] == ("embedding", "noisy") for key in found.masks)
    figure.text(
        0.15 / figure.get_figwidth(),
        0.08 / figure.get_figheight(),
        f"{WHAT} {NOISE}" if salted else WHAT,
        fontsize=FONT - 2,
    )
    return figure


def draw_shares(found: SceneRegions, title: str) -> Figure:
    """How many of the pixels are in each region, band by band; a panel by source and kind."""
    regions, bands = found.size
    kinds = list(dict.fromkeys(key.kind for key in found.shares))
    sources = list(dict.fromkeys(key[:2] for key in found.shares))
    margins = Margins(left=1.25, right=1.0, top=0.8, bottom=0.55)
    size = (4.6, 0.3 * regions + 0.4)
    figure, axes = panels(len(kinds), len(sources), size, (1.25, 0.5), margins)
    spectral = SpectralAxis.of(bands, found.wavelengths)
    for key, shares in found.shares.items():
        axis = axes[kinds.index(key.kind), sources.index(key[:2])]
        mesh = _draw_shares(axis, shares[:, spectral.order], spectral.edges)
        axis.set_title(f"{key.kind} ({key.read_from})", fontsize=FONT)
        spectral.label(axis, title=key.kind == kinds[-1])
    _draw_bar(figure, mesh, margins)
    write_title(figure, f"{title}: shares of the regions (hatched: no pixel)")
    return figure


def _draw_shares(axis: Axes, shares: np.ndarray, edges: np.ndarray) -> QuadMesh:
    """Shares [r, B] between edges [2, B]; a region that a band does not have is hatched.

    Between parts of the spectrum nothing is drawn.
    """
    axis.patch.set(facecolor="white")
    left, right = edges
    empty = np.flatnonzero(left[1:] > right[:-1] + 1e-9)
    borders = np.sort(np.concatenate([left, right[empty], right[-1:]]))
    cells = np.insert(100 * shares, empty + 1, np.nan, axis=1)
    rows = np.arange(len(shares) + 1) - 0.5
    for number, row in enumerate(shares):
        for band in np.flatnonzero(row == 0):
            place, width = (left[band], number - 0.5), right[band] - left[band]
            empty_cell = Rectangle(place, width, 1, hatch="//////", edgecolor="0.6", linewidth=0)
            empty_cell.set_facecolor("white")
            axis.add_patch(empty_cell)
    percent = np.ma.masked_where(np.isnan(cells) | (cells == 0), cells)
    mesh = axis.pcolormesh(borders, rows, percent, cmap="viridis", vmin=0, vmax=100)
    means = enumerate(100 * shares.mean(axis=1))
    axis.set_yticks(range(len(shares)), [f"region {n}: {mean:.1f} %" for n, mean in means])
    axis.tick_params(axis="y", length=0)
    axis.set_xlim(borders[0], borders[-1])
    axis.invert_yaxis()
    return mesh


def _draw_bar(figure: Figure, mesh: QuadMesh, margins: Margins) -> None:
    width, height = figure.get_size_inches()
    corner = (1 - (margins.right - 0.2) / width, margins.bottom / height)
    bar = figure.add_axes((*corner, 0.15 / width, 1 - (margins.top + margins.bottom) / height))
    figure.colorbar(mesh, cax=bar, ticks=[0, 25, 50, 75, 100])
    bar.set_ylabel("share of the pixels (%)", fontsize=FONT)
    bar.tick_params(labelsize=FONT - 1)
