"""Harvard: indoor and outdoor scenes of 31 bands."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from datamodules.collection import Collection, Download, scene_list
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.stored import Excerpt, StoredScene

LISTED = sorted(scene_list("harvard_hsir_train"))
SPLITS = {"train": LISTED[:-3], "val": LISTED[-3:], "test": scene_list("harvard_hsir_test")}
TRAINING = Excerpt(rows=1024, columns=1024, scales=(1.0, 0.5, 0.25))
EVALUATION = Excerpt(rows=512, columns=512)
SCENES = {
    scene: TRAINING if split == "train" else EVALUATION
    for split, scenes in SPLITS.items()
    for scene in scenes
}


class Harvard(PreparedDataModule):
    """Harvard (Chakrabarti and Zickler, CVPR 2011): 1040 x 1392 pixels, 31 bands, 420 to 720 nm.

    The 50 scenes of CZ_hsdb.tgz, as HSIR splits and scales them: every scene by its smallest and
    largest value before it is cut, the test too. Test: the centre of 512 x 512 pixels of 20
    scenes. Training: the centre of 1024 x 1024 pixels, at scales 1, 1/2 and 1/4: 530 patches of
    64 x 64 on grids of stride 64, 32 and 32. HSIR has 30 training scenes and no validation: the
    last 3 of them, by name, are held out for it here. As in HSIR, the camera's sensitivity is not
    divided out and the mask ``lbl`` of what moved during the exposure is ignored.

    Args:
        **options: Those of HSIDataModule.
    """

    collection = Collection(
        name="harvard",
        title="Harvard (Chakrabarti and Zickler 2011)",
        page="https://vision.seas.harvard.edu/hyperspec/download.html",
        terms="non-commercial research (page); unrestricted research and academic use (README)",
        scenes=SCENES,
        shape=(31, 1040, 1392),
        values=(0, np.inf),
        size=5_300_000_000,
        downloads=[
            Download(
                RemoteFile(
                    "CZ_hsdb.tgz",
                    ("http://vision.seas.harvard.edu/hyperspec/d2x5g3/CZ_hsdb.tgz",),
                ),
                tuple(SCENES),
                archive=True,
            )
        ],
        wavelengths=np.arange(420.0, 721.0, 10.0),
        read=partial(read_cube, key="ref"),
    )

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """The scenes of a split, scaled by the range of the whole scene."""
        if split == "train":
            return self.training_scenes(SPLITS["train"])
        return [s.scaled(*s.scene_range) for s in self.full_scenes(SPLITS[split], split)]
