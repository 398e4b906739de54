"""RealHSI: pairs of a short and a long exposure, whose noise is the camera's own."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.collection import Collection, Download, scene_list
from datamodules.fetch import RemoteFile
from datamodules.prepared import PreparedDataModule
from datamodules.samples import REAL
from datamodules.scene import Measured, Scene, View, Window
from datamodules.stored import Excerpt, StoredScene

NUMBERS = tuple(str(number) for number in range(1, 60))
VALIDATION = ("11", "21", "31", "41")
SERT = {"train": scene_list("realhsi_sert_train"), "test": scene_list("realhsi_sert_test")}
HSIR = {"train": NUMBERS[:40], "test": NUMBERS[40:]}
SOURCES = {f"{kind}_{name}": f"{kind}/{name}" for name in NUMBERS for kind in ("gt", "input50")}
SHAPE = (34, 696, 520)
FULL = 4096  # counts of 12 bits, for 1 in the clean scenes
SHORT = FULL / 50  # for 1 in the noisy ones, exposed for a fiftieth of the time
HSIR_CROP = (slice(688), slice(512))


class RealHSI(PreparedDataModule):
    """RealHSI (Zhang et al., HSIDwRD): 696 x 520 pixels, 34 bands from 400 to 700 nm, nominally.

    59 scenes, each exposed once for long and once for a fiftieth of that: counts / 4096, the
    noisy ones x 50. They are evaluated as case ``real``, no noise is added. The publisher gives
    them to people only (https://drive.google.com/file/d/1cKtSF42HiDQdW48Ccjq3vSEq5zcxq1HK, or
    Baidu by the page): put the archive ``real_dataset.zip``, or the unpacked folder, into raw.

    Training has whole scenes at full scale, not clamped after x 50, under every protocol. The
    field validates on test scenes; here 11, 21, 31 and 41 are held out of training for it, spread
    over the numbers as neighbours may be alike. Under ``hsir``, 41 is a test scene and stays one.

    Args:
        protocol: ``sert``: 44 scenes for training (4 of them for validation), 15 for the test,
            the centre of 512 x 512 pixels, noisy values clamped to [0, 1] after x 50; ``hsidwrd``:
            the same scenes, whole and not clamped; ``hsir``: 1 to 40 for training (3 of them for
            validation), 41 to 59 for the test, [:688, :512], clean and noisy divided by their
            largest value and the noisy one given the histogram of the clean one, which a
            denoiser would not have.
        **options: Those of HSIDataModule, but for the noise.
    """

    collection = Collection(
        name="realhsi",
        title="RealHSI (Zhang et al., HSIDwRD)",
        page="https://github.com/ColinTaoZhang/HSIDwRD, which leads to Google Drive and Baidu; "
        "the unpacked folder real_dataset will do,",
        terms="none stated; the authors ask to cite their paper",
        scenes=dict.fromkeys(SOURCES, Excerpt()),
        shape=SHAPE,
        values=(0, FULL - 1),
        size=len(SOURCES) * 34 * 696 * 520 * 2,
        downloads=[Download(RemoteFile("real_dataset.zip", ()), tuple(SOURCES), archive=True)],
        wavelengths=np.linspace(400, 700, 34),
        sources=SOURCES,
    )

    def __init__(
        self, protocol: Literal["sert", "hsidwrd", "hsir"] = "sert", **options: Any
    ) -> None:
        super().__init__(train_noise=(REAL,), val_noise=(REAL,), test_noise=(REAL,), **options)
        self.protocol = protocol

    def scenes(self, split: str) -> list[Measured]:
        """The pairs of a split, as the protocol cuts and scales them."""
        lists = HSIR if self.protocol == "hsir" else SERT
        names = lists["test" if split == "test" else "train"]
        if split != "test":
            names = tuple(name for name in names if (name in VALIDATION) == (split == "val"))
        return [self._measured(split, *pair) for pair in self._pairs(names, split)]

    def _pairs(self, names: tuple[str, ...], split: str) -> list[tuple[StoredScene, StoredScene]]:
        """Noisy and clean scenes by name, under their number; a half pair is left out."""
        wanted = [f"{kind}_{name}" for name in names for kind in ("gt", "input50")]
        found = {scene.name: scene for scene in self.full_scenes(wanted, split)}
        pairs, half = [], []
        for name in names:
            noisy, clean = found.get(f"input50_{name}"), found.get(f"gt_{name}")
            if noisy and clean:
                pairs.append((replace(noisy, name=name), replace(clean, name=name)))
            elif noisy or clean:
                half.append(name)
        if half:
            rank_zero_warn(
                f"{self.name}: left out of the {split} split, as only the noisy or only the clean "
                f"file is prepared: {', '.join(half)}"
            )
        if not pairs:
            raise self.collection.missing(names, split)
        return pairs

    def _measured(self, split: str, noisy: StoredScene, clean: StoredScene) -> Measured:
        if split == "train" or self.protocol == "hsidwrd":
            return Measured(noisy.scaled(0, SHORT), clean.scaled(0, FULL))
        if self.protocol == "sert":
            part = noisy.centre(512).scaled(0, SHORT, clip=True)
            return Measured(part, clean.centre(512).scaled(0, FULL))
        clean = clean.scaled(0, clean.scene_range[1])
        return Measured(MatchedScene(noisy, clean), clean.crop(*HSIR_CROP))


@dataclass(frozen=True)
class MatchedScene:
    """HSIR's test input: matched as a whole whenever it is loaded, then cropped.

    Attributes:
        noisy: In any units: only the order of its values matters.
        clean: Whose values it gets.
    """

    noisy: StoredScene
    clean: StoredScene

    @property
    def name(self) -> str:
        """That of the noisy scene."""
        return self.noisy.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, H, W] after the crop."""
        return self.noisy.crop(*HSIR_CROP).shape

    @property
    def level(self) -> int:
        """That of the noisy scene."""
        return self.noisy.level

    @property
    def valid(self) -> None:
        """All of it."""

    def read(self, window: Window) -> np.ndarray:
        """A window, for which all of it is matched."""
        return self.load().read(window)

    def cut(self, window: Window, turn: View, out: np.ndarray) -> None:
        """Writes a window, turned, into ``out``; all of it is matched for that."""
        self.load().cut(window, turn, out)

    def load(self) -> Scene:
        """All of it, in memory."""
        matched = match_histogram(self.noisy.load().cube, self.clean.load().cube)
        return Scene(self.name, matched, self.noisy.wavelengths).crop(*HSIR_CROP)


def match_histogram(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Gives values the histogram of a reference of any shape, as scikit-image does; float32.

    Each becomes the value that has the same share of the reference at or below it, by linear
    interpolation.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    targets, target_counts = np.unique(reference, return_counts=True)
    shares = np.cumsum(counts) / values.size
    target_shares = np.cumsum(target_counts) / reference.size
    matched = np.interp(shares, target_shares, targets).astype(np.float32)
    return matched[place.reshape(values.shape)]
