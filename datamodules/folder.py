"""A folder of anybody's own clean cubes."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.collection import Collection, Files, Measurements, list_files
from datamodules.formats import header_of
from datamodules.prepare import group_problems, prepare
from datamodules.prepared import PreparedDataModule
from datamodules.readers import Nodata, describe, read_raw, shape_of
from datamodules.scene import DataError, NoCubeError, fill_invalid
from datamodules.stored import Excerpt, StoredScene

SPLITS = ("train", "val", "test")
TRAINING = Excerpt(scales=(1.0, 0.5, 0.25))
READER = 2  # raise it when files are read otherwise: prepared scenes are then made anew
REFERENCE = re.compile(r"(^|[_-])((white)?(dark|white)[_-]?ref|(dark|white)$)", re.IGNORECASE)
NUMBERS = (".img", ".raw", ".dat", ".bil", ".bip", ".bsq")
SHOWN = 5  # of many files that are told of


@dataclass(frozen=True, kw_only=True)
class FolderCollection(Collection):
    """The cubes of a folder, which are prepared when they are first used.

    Attributes:
        key: As `read_scene` has it.
        axes: Likewise.
        nodata: Likewise.
        files: The file of each scene; of two files for one scene, both.
    """

    key: str | None = None
    axes: str | None = None
    nodata: Nodata = None
    files: Files = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What prepares it."""
        return "the same command"

    def command_for(self, names: Sequence[str]) -> str:
        """Takes the place of a command: these scenes could not be prepared."""
        return "see the warnings above"

    def find(self, files: Files, scene: str) -> Path | None:
        """The file of a scene."""
        return super().find(self.files, scene)

    def measurements(self, path: Path) -> Measurements:
        """The bands that are not bad; a pixel is valid where all of them are."""
        raw = read_raw(path, self.key, self.axes, self.nodata)
        good = [band for band in range(len(raw.values)) if band not in raw.bad_bands]
        if not good:
            raise DataError(f"{path}: all bands are bad or without a measurement; leave it out")
        values = raw.values if len(good) == len(raw.values) else raw.values[good]
        wavelengths = None if raw.wavelengths is None else raw.wavelengths[good]
        wide = values.dtype.itemsize > (4 if values.dtype.kind == "f" else 2)
        cube = np.array(values, np.float64 if wide else np.float32, order="C")
        notes = (*raw.notes, *raw.left_out)
        if raw.valid is None:
            return Measurements(cube, wavelengths, None, notes)
        by_value = raw.valid if raw.valid.ndim == 2 else raw.valid[good]
        pixels = by_value if by_value.ndim == 2 else np.logical_and.reduce(by_value)
        if not pixels.any():
            raise DataError(
                f"{path}: no pixel is valid in all bands (NaN, infinite or nodata); mend the file "
                "or leave it out"
            )
        fill_invalid(cube, by_value)
        return Measurements(cube, wavelengths, None if pixels.all() else pixels, notes)

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
    the tenth before it for validation, the rest for training. What cannot be a cube, such as
    quick-looks, maps of classes and the dark and white references of a camera, is told once and is
    no scene. Every scene is scaled by its own range. Bad bands are left out; training patches and
    measures keep to valid pixels. What training reads is prepared below ``DATA_ROOT`` when it is
    first used; nothing is written into the folder.

    Args:
        path: The folder.
        key: Variable of .mat, .h5 and .npz files, where several could be the cube.
        axes: Order of the files' axes such as "HWB", where it is not what is found.
        nodata: The number that stands for "nothing here", in place of what the files declare;
            "none" to believe every number.
        **options: Those of HSIDataModule.

    Raises:
        DataError: If there is no such folder, or it holds too few scenes.
    """

    def __init__(
        self,
        path: str,
        key: str | None = None,
        axes: str | None = None,
        nodata: float | str | None = None,
        **options: Any,
    ) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(
                f"{path}: there is no such folder; let data.path name the folder of your cubes"
            )
        files, self.clutter = find_cubes(folder, key, axes)
        self.splits = _share_out(folder, sorted(files))
        identity = f"{folder.resolve()} {key} {axes} {nodata} {READER}"
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
            raw=folder,
            key=key,
            axes=axes,
            nodata=nodata,
            files={name: files[name] for name in names},
        )
        super().__init__(**options)
        self.name = folder.resolve().name

    def prepare_data(self) -> None:
        """Prepares the scenes that are not; Lightning calls it once per machine.

        Another machine or training may be at it, on a disk that they share.
        """
        for line in _grouped(f"{path}: {why}" for path, why in self.clutter.items()):
            rank_zero_warn(f"no scene: {line}")
        outcome = prepare(self.collection, wait=True)
        for line in _grouped(outcome.notes):
            rank_zero_warn(line)
        for message in group_problems(outcome.problems):
            rank_zero_warn(f"left out: {message}")

    def scenes(self, split: str) -> Sequence[StoredScene]:
        """The scenes of a split."""
        names = self.splits[split]
        if not names:
            return []
        return self.training_scenes(names) if split == "train" else self.full_scenes(names, split)


def find_cubes(
    folder: Path, key: str | None = None, axes: str | None = None
) -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """The files of each scene, and what else lies there and why it is no scene.

    A scene is named by its file, and where files of one name lie in several folders by its path.
    """
    places: dict[str, list[Path]] = {}
    found = sorted({path for paths in list_files(folder).values() for path in paths})
    why = {path: _why_no_cube(path, key, axes) for path in found}
    for path in found:
        if why[path] is None:
            place = path.relative_to(folder)
            stem = place if path.is_dir() else place.with_suffix("")
            places.setdefault(stem.as_posix(), []).append(path)
    clutter = {path: reason for path, reason in why.items() if reason is not None}
    clutter |= {
        path: "numbers without an ENVI header beside them"
        for path in folder.rglob("[!.]*")
        if path.suffix.lower() in NUMBERS and path not in why and header_of(path) is None
    }
    split = any((folder / name).is_dir() for name in SPLITS)
    short: dict[str, list[str]] = {}
    for whole in places:
        first, _, rest = whole.partition("/")
        last = whole.rpartition("/")[2]
        short.setdefault(f"{first}/{last}" if split and rest else last, []).append(whole)
    names = {
        whole: name if len(wholes) == 1 else whole
        for name, wholes in short.items()
        for whole in wholes
    }
    return {names[whole]: paths for whole, paths in places.items()}, clutter


def _why_no_cube(path: Path, key: str | None, axes: str | None) -> str | None:
    """Why a file is no cube; None for one, and for what is damaged, which is told as an error."""
    if REFERENCE.search(path.stem):
        return "a dark or white reference of the camera"
    try:
        bands = shape_of(describe(path, key, axes))[0]
    except NoCubeError as error:
        return str(error).removeprefix(f"{path}: ")
    except DataError:
        return None
    return "has a single band" if bands == 1 else None


def _grouped(lines: Sequence[str] | Iterator[str]) -> list[str]:
    """Lines "file: what", those of one kind together."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        file, _, what = line.partition(": ")
        groups.setdefault(what, []).append(file)
    more = {what: f" and {len(f) - SHOWN} more" * (len(f) > SHOWN) for what, f in groups.items()}
    return [f"{', '.join(files[:SHOWN])}{more[what]}: {what}" for what, files in groups.items()]


def _share_out(folder: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Names of the scenes of each split."""
    if any((folder / split).is_dir() for split in SPLITS):
        return {split: [n for n in names if n.startswith(f"{split}/")] for split in SPLITS}
    if len(names) < len(SPLITS):
        raise DataError(
            f"{folder}: {len(names)} scenes, and training, validation and test need one each; "
            "add some, or make folders train, val and test in it"
        )
    tenth = max(1, len(names) // 10)
    return {
        "train": list(names[: -2 * tenth]),
        "val": list(names[-2 * tenth : -tenth]),
        "test": list(names[-tenth:]),
    }
