"""A folder of anybody's own clean cubes."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.collection import Collection, Files, list_files
from datamodules.prepare import group_problems, prepare
from datamodules.prepared import PreparedDataModule
from datamodules.readers import read_cube
from datamodules.scene import DataError
from datamodules.stored import Excerpt, StoredScene

SPLITS = ("train", "val", "test")
TRAINING = Excerpt(scales=(1.0, 0.5, 0.25))


class FolderCollection(Collection):
    """The cubes of a folder, which are prepared when they are first used."""

    @property
    def command(self) -> str:
        """What prepares it."""
        return "the same command"

    def command_for(self, names: Sequence[str]) -> str:
        """Takes the place of a command: these scenes could not be prepared."""
        return "see the warnings above"

    def find(self, files: Files, scene: str) -> Path | None:
        """The file of a scene, also in folders of the folder of its split."""
        split, _, name = scene.rpartition("/")
        place = self.raw_folder / split
        found = [path for path in files.get(name, ()) if path.is_relative_to(place)]
        return super().find({scene: found}, scene)

    def missing(self, names: Sequence[str], split: str) -> DataError:
        """The error for a split of which no scene could be prepared."""
        return DataError(
            f"{self.title}: none of the {len(names)} scenes of its {split} split can be used; "
            "see the warnings above"
        )


class Folder(PreparedDataModule):
    """Clean cubes in any format of `read_scene`: one file, or one folder of PNGs, per scene.

    With the folders ``train``, ``val`` and ``test`` in it, these are the splits. Otherwise its
    scenes are shared out in the order of their names: the last tenth (at least one) for the test,
    the tenth before it for validation, the rest for training.
    Every scene is scaled by its own range. What training reads is prepared below ``DATA_ROOT``
    when it is first used; nothing is written into the folder.

    Args:
        path: The folder.
        key: Variable of .mat, .h5 and .npz files, where several could be the cube.
        axes: Order of the files' axes such as "HWB", where it is not the format's usual one.
        **options: Those of HSIDataModule.

    Raises:
        DataError: If there is no such folder, or it holds too few scenes.
    """

    def __init__(
        self, path: str, key: str | None = None, axes: str | None = None, **options: Any
    ) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(
                f"{path}: there is no such folder; let data.path name the folder of your cubes"
            )
        self.splits = _share_out(folder)
        identity = f"{folder.resolve()} {key} {axes}"
        slug = f"{folder.resolve().name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
        names = [name for split in SPLITS for name in self.splits[split]]
        self.collection = FolderCollection(
            name=f"folder/{slug}",
            title=f"The folder {path}",
            page=path,
            terms="yours",
            scenes={
                name: TRAINING if name in self.splits["train"] else Excerpt() for name in names
            },
            shape=None,
            read=partial(read_cube, key=key, axes=axes),
            raw=folder,
        )
        super().__init__(**options)
        self.name = folder.resolve().name

    def prepare_data(self) -> None:
        """Prepares the scenes that are not; Lightning calls it once per machine.

        Another machine or training may be at it, on a disk that they share.
        """
        outcome = prepare(self.collection, wait=True)
        for note in outcome.notes:
            rank_zero_warn(note)
        for message in group_problems(outcome.problems):
            rank_zero_warn(f"left out: {message}")

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """The scenes of a split."""
        names = self.splits[split]
        if not names:
            return []
        return self.training_scenes(names) if split == "train" else self.full_scenes(names, split)


def _share_out(folder: Path) -> dict[str, list[str]]:
    """Names of the scenes of each split."""
    if any((folder / split).is_dir() for split in SPLITS):
        return {split: [f"{split}/{name}" for name in _names(folder / split)] for split in SPLITS}
    names = _names(folder)
    if len(names) < len(SPLITS):
        raise DataError(
            f"{folder}: {len(names)} scenes, and training, validation and test need one each; "
            "add some, or make folders train, val and test in it"
        )
    tenth = max(1, len(names) // 10)
    return {
        "train": names[: -2 * tenth],
        "val": names[-2 * tenth : -tenth],
        "test": names[-tenth:],
    }


def _names(folder: Path) -> list[str]:
    return sorted(name for name in list_files(folder) if "/" not in name)
