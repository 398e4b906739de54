"""Urban: a noisy scene from the air in 210 bands, without a reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.collection import Collection, Cube, Download, Files
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube, read_variable
from datamodules.samples import REAL
from datamodules.scene import DataError, Measured
from datamodules.stored import Excerpt

MIRROR = "https://huggingface.co/datasets/danaroth/urban/resolve/main"
# The header comes last: without one, the numbers do not count as a file that is there.
PAIR = ("Urban_F210.img", "Urban_F210.hdr")


class _TwoFormats(Collection):
    """The publisher's .mat goes before the mirror's ENVI pair where both are there."""

    def find(self, files: Files, scene: str) -> Path | None:
        found = files.get(self.source_of(scene), ())
        official = [path for path in found if path.suffix.lower() == ".mat"]
        return super().find({self.source_of(scene): official or found}, scene)


def _read(path: Path) -> Cube:
    """The ENVI image, or the variable ``Y``: a row a band, pixels column by column."""
    if path.suffix.lower() != ".mat":
        return read_cube(path)
    pixels = read_variable(path, "Y")
    rows, columns = (int(read_variable(path, key).item()) for key in ("nRow", "nCol"))
    if pixels.ndim != 2 or pixels.shape[1] != rows * columns:
        raise DataError(
            f"{path}: Y is {pixels.shape}, expected bands x {rows * columns} pixels (nRow x nCol); "
            "fetch or copy it again"
        )
    cube = pixels.reshape(len(pixels), columns, rows).transpose(0, 2, 1)
    return cube.astype(np.float32, order="C"), None


class Urban(PreparedDataModule):
    """Urban (HYDICE): 307 x 307 pixels in 210 bands from 400 to 2500 nm.

    The noise is real and nobody knows the clean scene: it is for looking at, test only, as SST and
    SERT have it: rows and columns 0 to 303, scaled by the range of these pixels. (Both read the
    .mat with each band transposed; here it is upright.) Urban_F210.mat is used where it is in the
    raw folder; what is fetched is the ENVI pair of a mirror. The wavelengths are nominal where the
    file has none.

    Args:
        **options: Those of HSIDataModule but for the noise.
    """

    collection = _TwoFormats(
        name="urban",
        title="Urban (HYDICE, 210 bands)",
        page="https://rslab.ut.ac.ir/data",
        terms="none found",
        scenes={"urban": Excerpt(rows=(0, 304), columns=(0, 304))},
        sources={"urban": "Urban_F210"},
        shape=(210, 307, 307),
        values=(0, 65535),
        size=307 * 307 * 210 * 2,
        downloads=[
            Download(RemoteFile(name, (f"{MIRROR}/{name}",)), scenes=("urban",)) for name in PAIR
        ],
        wavelengths=np.linspace(400.0, 2500.0, 210),
        read=_read,
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(train_noise=(REAL,), val_noise=(REAL,), test_noise=(REAL,), **options)

    def scenes(self, split: str) -> Sequence[Measured]:
        """The scene, for the test only."""
        if split != "test":
            return []
        return [Measured(noisy=scene) for scene in self.full_scenes(["urban"], split)]
