"""Washington DC Mall: a strip from the air in 191 bands, split in three ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.collection import Collection, Cube, Download
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.samples import AnyScene
from datamodules.scene import Scene, View, Window
from datamodules.stored import Excerpt, StoredScene

SCALES = (1.0, 0.5, 0.25)
PARTS = {  # by protocol and split
    "ras2s_train_0": Excerpt(rows=(0, 572), scales=SCALES),
    "ras2s_train_1": Excerpt(rows=(956, 1280), scales=SCALES),
    "ras2s_val": Excerpt(rows=(828, 956), columns=(22, 278)),
    "ras2s_test": Excerpt(rows=(572, 828), columns=(22, 278)),
    "t3sc_train_0": Excerpt(rows=(0, 600), scales=SCALES),
    "t3sc_train_1": Excerpt(rows=(800, 1280), scales=SCALES),
    "t3sc_val": Excerpt(rows=(600, 656), columns=(251, 307)),
    "t3sc_test": Excerpt(rows=(600, 800), columns=(50, 250)),
    "mp_hsir_test": Excerpt(rows=(510, 766), columns=(25, 281)),
}
QUANTILES = (0.02, 0.98)
EPSILON = 0.001  # T3SC's, in the file's units
ALL = slice(None)


def _read(path: Path) -> Cube:
    """dc.tif, or the dc.mat of RAS2S."""
    if path.suffix.lower() == ".mat":
        return read_cube(path, key="DC", axes="BHW")
    return read_cube(path)


class WDCMall(PreparedDataModule):
    """Washington DC Mall: 1280 x 307 pixels in 191 bands from 401 to 2400 nm, by HYDICE.

    The bands are not evenly spaced, and the file does not say where they are: no wavelengths.
    Training parts are kept at scales 1, 1/2 and 1/4; grids have strides of 16, 8 and 8.

    Args:
        protocol: How the strip is split.
            ``ras2s`` tests on rows 572 to 827 and columns 22 to 277, scaled by the range of these
            256 x 256 pixels. RAS2S trains on the rows of ``t3sc``, of which 572 to 599 and 800 to
            827 are in its own test. Here rows 0 to 571 and 956 to 1279 are for training, and
            between them and the test 128 x 256 pixels for validation; each part is scaled by its
            own range, and none overlaps another.
            ``t3sc``, of T3SC and SST, tests on rows 600 to 799 and columns 50 to 249, validates on
            rows 600 to 655 from column 251 on, and trains on rows 0 to 599 and 800 to 1279: 926
            and 724 patches of 64 x 64. Each band is clipped to its quantiles of 2 and 98 % and
            scaled by them; they are fitted to each split itself, the test included, and to both
            training parts together. (Smaller scales are clipped after the zoom, not before.)
            ``mp_hsir`` tests on rows 510 to 765 and columns 25 to 280, scaled by the range of
            these 256 x 256 pixels, and has no other split.
        **options: Those of HSIDataModule.
    """

    collection = Collection(
        name="wdc_mall",
        title="Washington DC Mall (HYDICE)",
        page="https://engineering.purdue.edu/~biehl/MultiSpec/hyperspectral.html",
        terms="none stated; provided with the permission of the Spectral Information Technology "
        "Application Center of Virginia",
        scenes=PARTS,
        sources=dict.fromkeys(PARTS, "dc"),
        shape=(191, 1280, 307),
        values=(-32768, 65535),  # 16 bits, with or without a sign
        size=191 * 1280 * 307 * 2,  # before the publisher's compression
        downloads=[
            Download(
                RemoteFile(
                    "Hyperspectral_Project.zip",
                    (
                        "http://cobweb.ecn.purdue.edu/~biehl/Hyperspectral_Project.zip",
                        "https://engineering.purdue.edu/~biehl/Hyperspectral_Project.zip",
                    ),
                    sha256="19c3210145afffc3293a2d62a3af43741323f9be867b80c20abdd1afa2e629a4",
                ),
                tuple(PARTS),
                archive=True,
            )
        ],
        read=_read,
    )
    strides = (16, 8, 8)

    def __init__(
        self, protocol: Literal["ras2s", "t3sc", "mp_hsir"] = "ras2s", **options: Any
    ) -> None:
        super().__init__(**options)
        self.protocol = protocol

    def scenes(self, split: str) -> Sequence[AnyScene]:
        """The parts of a split, as the protocol scales them; those for training at all scales."""
        names = [name for name in PARTS if name.startswith(f"{self.protocol}_{split}")]
        if not names:
            return []
        parts = self.stored(names, split)
        if self.protocol == "t3sc":
            return _scale_bands(parts)
        if split == "train":
            return [level.scaled(*level.kept_range) for levels in parts for level in levels]
        return [levels[0] for levels in parts]


@dataclass(frozen=True)
class BandScaledScene:
    """A scene of which each band is clipped to a range of its own and scaled by it.

    Attributes:
        scene: As the publisher has it.
        low: The publisher's value that becomes 0, for each band: [B, 1, 1].
        high: The largest, likewise; it becomes a little less than 1.
    """

    scene: StoredScene
    low: np.ndarray
    high: np.ndarray

    @property
    def name(self) -> str:
        """Of the scene."""
        return self.scene.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, H, W]."""
        return self.scene.shape

    @property
    def level(self) -> int:
        """Of the scene."""
        return self.scene.level

    @property
    def valid(self) -> None:
        """All of it."""

    def read(self, window: Window) -> np.ndarray:
        """A window of it, float32 [B, H, W]."""
        low, high = self.low[window[0]], self.high[window[0]]
        return (_values(self.scene, window).clip(low, high) - low) / (high - low + EPSILON)

    def cut(self, window: Window, turn: View, out: np.ndarray) -> None:
        """Writes a window, turned, into ``out``, float32."""
        out[...] = turn(self.read(window))

    def load(self) -> Scene:
        """All of it, in memory."""
        return Scene(self.name, self.read((ALL, ALL, ALL)), self.scene.wavelengths)


def _scale_bands(parts: Sequence[Sequence[StoredScene]]) -> list[BandScaledScene]:
    """All scales of the parts, with the quantiles of each band over all parts at full scale."""
    quantiles = []
    for band in range(parts[0][0].shape[0]):
        window = (slice(band, band + 1), ALL, ALL)
        pixels = np.concatenate([_values(levels[0], window).ravel() for levels in parts])
        quantiles.append(np.quantile(pixels, QUANTILES))
    low, high = np.array(quantiles, np.float32).T[..., None, None]
    return [BandScaledScene(level, low, high) for levels in parts for level in levels]


def _values(scene: StoredScene, window: Window) -> np.ndarray:
    """A window in the publisher's units."""
    return scene.scaled(0.0, 1.0).read(window)
