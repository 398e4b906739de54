"""What the tables are measured on: the test scenes of a dataset, or all of a folder."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import datamodules
from datamodules import DataError, DataNote, read_scene
from datamodules.base import EVALUATION_SEED
from datamodules.folder import find_cubes
from datamodules.samples import EvaluationSet, NoisyScenes

DATASETS = {"indian_pines": "IndianPines"} | {
    module: name for name, module in datamodules.PREPARED.items() if name != "Urban"
}  # of Urban nobody has a clean scene
FOLDER = "scenes:"


def check_dataset(name: str) -> None:
    """Raises ValueError if there is no such dataset, or it has no such protocol."""
    base, colon, rest = name.partition(":")
    if name.startswith(FOLDER) and rest:
        return
    if base not in DATASETS:
        raise ValueError(
            f"unknown dataset {name!r}; there are {', '.join(DATASETS)}, each also with one of its "
            f"protocols behind it as indian_pines:as_published, and {FOLDER}FOLDER"
        )
    protocols = get_args(get_type_hints(_kind(base).__init__).get("protocol"))
    if colon and rest not in protocols:
        there = f"it has {', '.join(protocols)}" if protocols else "it has only one"
        raise ValueError(f"{name!r}: {base} has no protocol {rest!r}; {there}")


def scenes_of(
    name: str, cases: Sequence[str], seed: int = EVALUATION_SEED, axes: str | None = None
) -> EvaluationSet:
    """The scenes of a dataset under noise.

    Args:
        name: One of ``DATASETS``, as the paper tests it or by the protocol behind a colon; or
            ``scenes:FOLDER``, where every cube is a test scene, scaled by its own range.
        cases: Noise cases; measured scenes have none.
        seed: All noise follows from it.
        axes: Order of the axes of a folder's files, where it is not what is found.

    Raises:
        DataError: If scenes are not there or cannot be read.
    """
    base, _, rest = name.partition(":")
    if name.startswith(FOLDER):
        return _folder(Path(rest), cases, seed, axes)
    protocol = {"protocol": rest} if rest else {}
    data = _kind(base)(test_noise=cases, evaluation_seed=seed, **protocol)
    data.prepare_data()
    data.setup("test")
    return data.test_set


def _folder(folder: Path, cases: Sequence[str], seed: int, axes: str | None) -> NoisyScenes:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    files, clutter = find_cubes(folder, axes=axes)
    for path, why in clutter.items():
        warnings.warn(f"{path}: no scene: {why}", DataNote, stacklevel=2)
    for paths in files.values():
        if len(paths) > 1:
            both = " and ".join(map(str, paths))
            raise DataError(f"two files for one scene: {both}; keep one of them")
    if not files:
        raise DataError(f"{folder}: no cube lies there")
    scenes = [read_scene(paths[0], axes=axes, name=name) for name, paths in sorted(files.items())]
    return NoisyScenes(scenes, cases, folder.resolve().name, seed)


def _kind(base: str) -> Any:
    return getattr(datamodules, DATASETS[base])
