"""Pavia Centre: a city from the air in 102 bands, of which RAS2S tests a part."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from datamodules.collection import Collection, Download
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.stored import Excerpt, StoredScene

OFFICIAL = "https://www.ehu.eus/ccwintco/uploads/e/e3/Pavia.mat"
PARTS = {
    "train": Excerpt(rows=(0, 356), scales=(1.0, 0.5, 0.25)),
    "test": Excerpt(rows=(356, 740), columns=(115, 499)),
    "val": Excerpt(rows=(740, 868), columns=(115, 499)),
}


class PaviaCentre(PreparedDataModule):
    """Pavia Centre: 1096 x 715 pixels in 102 bands from 430 to 860 nm, by the sensor ROSIS.

    Test: that of RAS2S, rows 356 to 739 and columns 115 to 498 in all bands, scaled by the
    smallest and largest value of these 384 x 384 pixels. The paper does not train on this scene;
    for those who do, rows 0 to 355 are the training part, at scales 1, 1/2 and 1/4, and the 128
    rows below the test are for validation. Each part is scaled by its own range, and none overlaps
    another. The wavelengths are nominal: the file has none.

    Args:
        **options: Those of HSIDataModule.
    """

    collection = Collection(
        name="pavia_centre",
        title="Pavia Centre (ROSIS)",
        page="https://www.ehu.eus/ccwintco/index.php/Hyperspectral_Remote_Sensing_Scenes",
        terms="none stated; credit Prof. P. Gamba, University of Pavia",
        scenes=PARTS,
        sources=dict.fromkeys(PARTS, "Pavia"),
        shape=(102, 1096, 715),
        values=(0, 8000),
        size=124_000_000,
        downloads=[
            Download(
                RemoteFile(
                    "Pavia.mat",
                    (
                        OFFICIAL,
                        "https://huggingface.co/datasets/danaroth/pavia/resolve/main/Pavia.mat",
                        f"https://web.archive.org/web/2id_/{OFFICIAL}",
                    ),
                    sha256="b60341da323fd271cd97dd6d7a69514d385ccd7fdfc5a60c4ff5994b047f152e",
                ),
                tuple(PARTS),
            )
        ],
        wavelengths=np.linspace(430.0, 860.0, 102),
        read=partial(read_cube, key="pavia"),
    )
    strides = (16, 8, 8)  # a single scene: closer than on ICVL, as SST has them for WDC

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """The part of a split, scaled by its own range; that for training at all scales."""
        (levels,) = self.stored([split], split)
        if split == "train":
            return [level.scaled(*level.kept_range) for level in levels]
        return levels[:1]
