"""The LightningDataModule of a dataset that `make data` prepares."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.base import HSIDataModule
from datamodules.collection import Collection, list_files
from datamodules.scene import DataError
from datamodules.source import Source
from datamodules.stored import StoredScene, open_scene, read_manifest


class PreparedDataModule(HSIDataModule):
    """Opens prepared scenes; a concrete dataset says its ``collection`` and ``scenes(split)``."""

    collection: Collection

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.name = self.collection.name

    def stored(self, names: Sequence[str], split: str) -> list[list[StoredScene]]:
        """The scales of each scene of a list that is prepared, largest first.

        Raises:
            DataError: If none is, or one was prepared from another file than is there now.
        """
        collection, found = self.collection, []
        files = list_files(collection.raw_folder)
        for name in names:
            folder = collection.prepared_folder / name
            manifest = read_manifest(folder)
            if manifest is None:
                continue
            path = collection.find(files, name)
            source = Source(**manifest["source"])
            if not collection.is_current(manifest, name) or not (
                path is None or source.untouched(path)
            ):
                raise DataError(
                    f"{folder} was prepared by another version of this program, or from another "
                    f"{source.path} than is there now (a copy may have a new time); run "
                    f"{collection.command} again"
                )
            found.append(open_scene(folder))
        if not found:
            raise collection.missing(names, split)
        if len(found) < len(names):
            rank_zero_warn(
                f"{collection.title}: {len(found)} of the {len(names)} scenes of the {split} split "
                f"are prepared (what the others lack: {collection.command_for(names)}); figures "
                "will not compare with others"
            )
        return found

    def training_scenes(self, names: Sequence[str]) -> list[StoredScene]:
        """All scales of the scenes, scaled by the range of the publisher's whole scene."""
        return [
            level.scaled(*level.scene_range)
            for levels in self.stored(names, "train")
            for level in levels
        ]

    def full_scenes(self, names: Sequence[str], split: str) -> list[StoredScene]:
        """The scenes at their full scale, each box of them scaled by its own range."""
        return [levels[0] for levels in self.stored(names, split)]
