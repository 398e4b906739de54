"""KAIST hyperspectral (Choi et al. 2017): large indoor scenes, for the test only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datamodules.collection import Collection, Cube, Download
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.samples import Tile
from datamodules.stored import Excerpt, StoredScene

SCENES = tuple(f"scene{number:02d}_reflectance" for number in range(1, 31))
MIRROR = "https://huggingface.co/datasets/danaroth/kaist-hyperspectral/resolve/main/exr"


def _read(path: Path) -> Cube:
    """The publisher's EXR, or RAS2S's .mat, whose variable is named ``data``."""
    return read_cube(path, key="data" if path.suffix.lower() == ".mat" else None)


class KAIST(PreparedDataModule):
    """KAIST (Choi et al., SIGGRAPH Asia 2017): 2704 x 3376 pixels, 31 bands from 420 to 720 nm.

    30 scenes of reflectance, tested as by RAS2S: the centre of 2048 x 2048 pixels, scaled by its
    own smallest and largest value, gets its noise as a whole, and four tiles of 1024 x 1024 are
    evaluated by themselves. There is no training and no validation split. The EXR files need the
    extra ``exr``; RAS2S's .mat files of the same names do without.

    Args:
        **options: Those of HSIDataModule.
    """

    test_tiles = (
        Tile("NW", bottom=0.5, right=0.5),
        Tile("NE", bottom=0.5, left=0.5),
        Tile("SW", top=0.5, right=0.5),
        Tile("SE", top=0.5, left=0.5),
    )
    reflectance = True
    collection = Collection(
        name="kaist",
        title="KAIST hyperspectral (Choi et al. 2017)",
        page="http://vclab.kaist.ac.kr/siggraphasia2017p1/kaistdataset.html",
        terms="not stated",
        scenes=dict.fromkeys(SCENES, Excerpt(rows=2048, columns=2048)),
        shape=(31, 2704, 3376),
        values=(-0.5, 4.0),
        size=8_670_000_000,
        downloads=[
            Download(RemoteFile(f"{scene}.exr", (f"{MIRROR}/{scene}.exr",)), (scene,))
            for scene in SCENES
        ],
        wavelengths=np.arange(420.0, 721.0, 10.0),
        read=_read,
    )

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """All scenes for the test, none for training and validation."""
        return self.full_scenes(SCENES, split) if split == "test" else []
