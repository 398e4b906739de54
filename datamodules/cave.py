"""CAVE: indoor scenes of 31 bands, one 16-bit PNG a band."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.collection import Collection, Cube, Download, scene_list
from datamodules.fetch import RemoteFile
from datamodules.formats.png_folder import find_bands
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.scene import DataError
from datamodules.stored import Excerpt, StoredScene

TEST = scene_list("cave_hsir_test")
VALIDATION = tuple(sorted(scene_list("cave_hsir_train"))[-2:])
TRAIN = tuple(scene for scene in scene_list("cave_hsir_train") if scene not in VALIDATION)
SCENES = (*TRAIN, *VALIDATION, *TEST)
TRAINING = Excerpt(scales=(1.0, 0.5, 0.25))
BANDS = 31
PATH = "columbia.edu/CAVE/databases/multispectral/"


def _read(path: Path) -> Cube:
    """A band less at either end leaves no gap in the numbers, and would go unnamed."""
    if path.is_dir():
        missing = sorted(set(range(1, BANDS + 1)) - find_bands(path).files.keys())
        if missing:
            raise DataError(
                f"{path}: a scene is {BANDS} PNG files, numbered from 1; missing "
                f"{', '.join(map(str, missing))}: fetch the scene again"
            )
    return read_cube(path)


class CAVE(PreparedDataModule):
    """CAVE (Yasuma et al., IEEE TIP 2010): 512 x 512 pixels, 31 bands from 400 to 700 nm.

    32 scenes, split as HSIR has them: 20 for training, 12 for the test. The field validates on
    test scenes; here the last two training scenes by name are held out for it. All are whole and
    scaled by their own smallest and largest value; training has scales 1, 1/2 and 1/4.

    Args:
        protocol: The grids of the 64 x 64 patches. ``hsir``: strides 64, 32 and 32, 122 patches
            per scene; ``ras2s``: strides 32, 16 and 16, 419 patches (of the same scenes, as
            RAS2S's own list was never published).
        **options: Those of HSIDataModule.
    """

    reflectance = True
    collection = Collection(
        name="cave",
        title="CAVE (Yasuma et al. 2010)",
        page=f"https://www.cs.{PATH}",
        terms='"available to the research community"; no licence is named',
        scenes={scene: TRAINING if scene in TRAIN else Excerpt() for scene in SCENES},
        shape=(BANDS, 512, 512),
        values=(0, 65535),
        size=405_988_465,
        downloads=[
            Download(
                RemoteFile(
                    "complete_ms_data.zip",
                    tuple(
                        f"https://{host}.cs.{PATH}zip/complete_ms_data.zip"
                        for host in ("www", "www1")
                    ),
                    size=405_988_465,
                ),
                SCENES,
                archive=True,
            )
        ],
        wavelengths=np.arange(400.0, 701.0, 10.0),
        read=_read,
    )

    def __init__(self, protocol: Literal["hsir", "ras2s"] = "hsir", **options: Any) -> None:
        super().__init__(**options)
        self.strides = {"hsir": (64, 32, 32), "ras2s": (32, 16, 16)}[protocol]

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """The scenes of a split; training ones at three scales."""
        if split == "train":
            return self.training_scenes(TRAIN)
        return self.full_scenes(VALIDATION if split == "val" else TEST, split)
