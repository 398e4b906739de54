"""Indian Pines: the real AVIRIS scene that comes with the ``tensorly`` package."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from datamodules.base import HSIDataModule
from datamodules.scene import Scene

COLUMNS = {"train": slice(0, 89), "val": slice(89, 113), "test": slice(113, 145)}
FULL_CROP = slice(8, 136)


class IndianPines(HSIDataModule):
    """Indian Pines (Baumgardner et al. 2015, doi:10.4231/R7RX991C): 200 bands of 145 x 145 pixels.

    AVIRIS, June 1992, 400 to 2500 nm, 20 water absorption bands removed; CC BY 3.0. Nothing is
    downloaded. The whole scene is scaled to [0, 1] by its smallest and largest value.

    Args:
        protocol: ``blocks`` trains on columns 0 to 88, validates on 89 to 112 and tests on 113 to
            144; ``full`` tests on rows and columns 8 to 135 of the whole scene, as for weights
            that have never seen it, and has no training split.
        **options: Those of HSIDataModule.
    """

    name = "indian_pines"

    def __init__(self, protocol: Literal["blocks", "full"] = "blocks", **options: Any) -> None:
        super().__init__(**options)
        self.protocol = protocol

    def scenes(self, split: str) -> list[Scene]:
        """The block of ``split``, or under protocol ``full`` the crop for the test only."""
        whole = load_scene()
        if self.protocol == "blocks":
            # Each block has a name of its own, as its noise follows from it.
            block = whole.crop(columns=COLUMNS[split])
            return [replace(block, name=f"{self.name}_{split}")]
        return [whole.crop(FULL_CROP, FULL_CROP)] if split == "test" else []


def load_scene() -> Scene:
    """The whole scene [200, 145, 145], scaled to [0, 1], with its wavelengths in nm."""
    from tensorly.datasets import load_indian_pines

    data = load_indian_pines()
    cube = np.asarray(data.tensor).transpose(2, 0, 1)  # rows, columns, bands in the file
    return Scene.from_raw("indian_pines", cube, np.array(data.ticks[1]))
