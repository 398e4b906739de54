"""ICVL: natural scenes of 31 bands, the field's set for training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.collection import Collection, Cube, Download, scene_list
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.stored import Excerpt, StoredScene

USUAL = scene_list("icvl_train") + scene_list("icvl_val") + scene_list("icvl_test")
SCENES = tuple(dict.fromkeys(USUAL + scene_list("icvl_all201")))
TRAINING = Excerpt(rows=1024, columns=1024, scales=(1.0, 0.5, 0.25))
TEST_LISTS = {
    "ras2s": "icvl_test",
    "mp_hsir": "icvl_test",
    "t3sc": "icvl_test",
    "qrnn3d_gaussian": "icvl_qrnn3d_test_gauss",
    "qrnn3d_complex": "icvl_qrnn3d_test_complex",
}
FILE_SIZE = 1392 * 1300 * 31 * 8  # bytes, before the publisher's compression


def _read(path: Path) -> Cube:
    """MATLAB shows a scene lying on its side."""
    cube, wavelengths = read_cube(path, key="rad")
    return np.rot90(cube, axes=(1, 2)), wavelengths


def _download(scene: str) -> Download:
    urls = (
        f"http://icvl.cs.bgu.ac.il/img/hs_pub/{scene}.mat",
        f"https://huggingface.co/datasets/danaroth/icvl/resolve/main/mat/{scene}.mat",
    )
    return Download(RemoteFile(f"{scene}.mat", urls), (scene,))


class ICVL(PreparedDataModule):
    """ICVL (Arad and Ben-Shahar, ECCV 2016): 1392 x 1300 pixels, 31 bands from 400 to 700 nm.

    100 scenes for training, 5 for validation and 50 for the test, as RAS2S, SST and SERT have
    them. Training: the scene scaled by its smallest and largest value, the centre of 1024 x 1024
    pixels, at scales 1, 1/2 and 1/4: 530 patches of 64 x 64 on grids of stride 64, 32 and 32.

    Args:
        protocol: Of the test. ``ras2s``: the centre of 512 x 512 pixels, scaled by its own range
            (validation too); ``mp_hsir``: the same pixels, scaled by the range of the whole scene;
            ``t3sc``: whole scenes, (x - min) / (max - min + 0.001), but those of ``ras2s``: of
            T3SC's own 50, 31 are training scenes here; ``qrnn3d_gaussian`` and
            ``qrnn3d_complex``: as ``ras2s``, on the 50 and 51 scenes of QRNN3D, HSDT and MAN (the
            51 include the five of validation here).
        **options: Those of HSIDataModule.
    """

    collection = Collection(
        name="icvl",
        title="ICVL (Arad and Ben-Shahar 2016)",
        page="https://icvl.cs.bgu.ac.il/hyperspectral/",
        terms="CC BY-NC-ND 4.0",
        scenes={
            scene: TRAINING if scene in scene_list("icvl_train") else Excerpt() for scene in SCENES
        },
        extra=frozenset(SCENES) - frozenset(USUAL),
        shape=(31, 1392, 1300),
        values=(0, 4095),
        size=len(USUAL) * FILE_SIZE,
        downloads=[_download(scene) for scene in SCENES],
        wavelengths=np.arange(400.0, 701.0, 10.0),
        read=_read,
    )

    def __init__(
        self,
        protocol: Literal[
            "ras2s", "mp_hsir", "t3sc", "qrnn3d_gaussian", "qrnn3d_complex"
        ] = "ras2s",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.protocol = protocol

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """The scenes of a split, as the protocol cuts and scales them."""
        if split == "train":
            return self.training_scenes(scene_list("icvl_train"))
        if split == "val":
            return [scene.centre(512) for scene in self.full_scenes(scene_list("icvl_val"), split)]
        scenes = self.full_scenes(scene_list(TEST_LISTS[self.protocol]), split)
        if self.protocol == "t3sc":
            return [s.scaled(s.scene_range[0], s.scene_range[1] + 0.001) for s in scenes]
        if self.protocol == "mp_hsir":
            return [scene.centre(512).scaled(*scene.scene_range) for scene in scenes]
        return [scene.centre(512) for scene in scenes]
