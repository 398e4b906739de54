"""Publishers' files -> prepared scenes: fetch, unpack, verify, convert once."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from datamodules.collection import Collection, Download, Files, list_files
from datamodules.fetch import fetch, manual
from datamodules.files import require_space
from datamodules.scene import DataError
from datamodules.source import Source
from datamodules.stored import bytes_kept, read_manifest, store_scene, write_manifest
from datamodules.unpack import unpack

try:
    import fcntl
except ImportError:  # Windows has none: nothing keeps two processes apart there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

AGAIN = "delete the file and run the same command again"
GIVE_UP = 2  # files in a row that no mirror gave: the rest is not asked for


class Problem(NamedTuple):
    """A scene that is not prepared, and why."""

    scene: str
    message: str


class Outcome(NamedTuple):
    """What became of a collection.

    Attributes:
        ready: Scenes that can be used.
        made: Those of them that were converted now.
        problems: The others.
        notes: What is unexpected in scenes that can be used.
    """

    ready: list[str]
    made: list[str]
    problems: list[Problem]
    notes: list[str]


def prepare(
    collection: Collection,
    *,
    everything: bool = False,
    offline: bool = False,
    any_size: bool = False,
    wait: bool = False,
) -> Outcome:
    """Makes every scene ready that is not; one that cannot be never stops the others.

    Args:
        collection: Which.
        everything: Also the scenes that only other protocols need, if their files are not there.
        offline: Use only the files that are there.
        any_size: Take scenes of another height and width than the publisher's.
        wait: For another process that prepares it just now.

    Raises:
        DataError: If another process prepares it just now and is not waited for, or the folder
            cannot be written, as when the disk is full; the next run goes on from there.
    """
    outcome = Outcome([], [], [], [])
    with _alone(collection.prepared_folder, wait):
        files = list_files(collection.raw_folder)
        wanted = [
            scene
            for scene in collection.scenes
            if everything or scene not in collection.extra or files.get(collection.source_of(scene))
        ]
        outcome.ready.extend(scene for scene in wanted if _is_ready(collection, scene, files))
        needed = [scene for scene in wanted if scene not in outcome.ready]
        lacking = _lacking(collection, needed, files)
        if not any_size:
            found = [scene for scene in needed if files.get(collection.source_of(scene))]
            _require_room(collection, found if offline else needed, () if offline else lacking)
        reasons = _provide(collection, lacking, offline)
        files = list_files(collection.raw_folder)
        for scenes in _with_bar(collection, _by_source(collection, needed)):
            try:
                path = collection.find(files, scenes[0])
                if path is None:
                    raise DataError(reasons.get(scenes[0], collection.absent()))
                raw_scene = _read(collection, path, any_size)
            except DataError as error:
                outcome.problems.extend(Problem(scene, str(error)) for scene in scenes)
                continue
            outcome.notes.extend(raw_scene.notes)
            for scene in scenes:
                try:
                    _store(collection, scene, raw_scene)
                except DataError as error:
                    outcome.problems.append(Problem(scene, f"{path}: {error}"))
                    continue
                outcome.ready.append(scene)
                outcome.made.append(scene)
    return outcome


def _is_ready(collection: Collection, scene: str, files: Files) -> bool:
    """Whether it is prepared, by this converter and from the file that is there, if there is one.

    A file that was only touched is found by its hash, and its new time is noted.
    """
    folder = collection.prepared_folder / scene
    manifest = read_manifest(folder)
    if not collection.is_current(manifest, scene):
        return False
    assert manifest is not None
    noted = Source(**manifest["source"])
    try:
        path = collection.find(files, scene)
        if path is None or noted.untouched(path):
            return True
        found = Source.of(path, collection.raw_folder)
    except DataError:
        return False  # to be told when it is converted
    if found.sha256 != noted.sha256:
        return False
    write_manifest(folder, manifest | {"source": asdict(found)})
    return True


@contextmanager
def _alone(folder: Path, wait: bool = False) -> Iterator[None]:
    """Holds the folder's lock; tells of a folder that cannot be written, also later on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise DataError(
            f"{folder} is being prepared by another process; wait until it ends"
        ) from None
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error}); make room there, or let DATA_ROOT name another "
            "folder, and run the same command again"
        ) from error


def _lacking(
    collection: Collection, needed: Sequence[str], files: Files
) -> list[tuple[Download, list[str]]]:
    """The downloads that have needed scenes of which no file is there, and these scenes."""
    lacking = [
        (
            download,
            [s for s in download.scenes if s in needed and not files.get(collection.source_of(s))],
        )
        for download in collection.downloads
    ]
    return [(download, scenes) for download, scenes in lacking if scenes]


def _require_room(
    collection: Collection, needed: Sequence[str], lacking: Sequence[tuple[Download, list[str]]]
) -> None:
    """Refuses to begin what will not fit; tells of what may not, where sizes are only estimated."""
    if collection.shape is None:
        return
    kept = sum(bytes_kept(collection.shape, collection.scenes[scene]) for scene in needed)
    files = [download.file for download, _ in lacking]
    known = sum(
        file.size or 0 for file in files if not (collection.raw_folder / file.name).exists()
    )
    folder, title = collection.prepared_folder, f"fetching and preparing {collection.title}"
    require_space(folder, kept + known, title)
    average = collection.size // max(1, len(collection.downloads) - len(collection.extra))
    unknown = average * sum(file.size is None and bool(file.urls) for file in files)
    try:
        require_space(folder, kept + known + unknown, title)
    except DataError as error:
        logger.warning("%s (an estimate: it goes on until the disk is full)", error)


def _provide(
    collection: Collection, lacking: Sequence[tuple[Download, list[str]]], offline: bool
) -> dict[str, str]:
    """Fetches and unpacks downloads for the scenes that they are lacking for.

    Returns:
        Why scenes could not be had, by their names.
    """
    raw, failures = collection.raw_folder, 0
    reasons: dict[str, str] = {}
    refusing: set[str] = set()
    by_hand: list[Download] = []
    for download, scenes in lacking:
        path = raw / download.file.name
        try:
            if download.file.urls and not offline and failures < GIVE_UP:
                failures += 1
                fetch(download.file, raw, refusing=refusing)
                failures = 0
            if download.archive and path.exists():
                unpack(path, raw / path.name.partition(".")[0])
        except DataError as error:
            reasons |= dict.fromkeys(scenes, str(error))
            continue
        if path.exists():
            continue
        if not download.file.urls:
            by_hand.append(download)
        elif not offline:
            reasons |= dict.fromkeys(
                scenes, f"not fetched, as the files before were refused; {collection.absent()}"
            )
    if by_hand:
        names = [download.file.name for download in by_hand]
        size = sum(download.file.size or 0 for download in by_hand) or collection.size
        message = str(manual(collection.page, names, raw, size, collection.command))
        reasons |= dict.fromkeys((s for download in by_hand for s in download.scenes), message)
    return reasons


def _by_source(collection: Collection, scenes: Sequence[str]) -> list[list[str]]:
    """The scenes of each of the publisher's files, which is read once for all of them."""
    groups: dict[str, list[str]] = {}
    for scene in scenes:
        groups.setdefault(collection.source_of(scene), []).append(scene)
    return list(groups.values())


def _with_bar(collection: Collection, groups: Sequence[list[str]]) -> Iterator[list[str]]:
    console = Console(stderr=True)
    description = f"preparing {collection.name}"
    hidden = not (console.is_terminal and groups)
    return iter(track(groups, description, console=console, disable=hidden))


class RawScene(NamedTuple):
    """What a publisher's file holds, verified; ``notes`` tell what is unexpected but usable."""

    cube: np.ndarray
    wavelengths: np.ndarray | None
    valid: np.ndarray | None  # [H, W]
    source: Source
    notes: list[str]


def _read(collection: Collection, path: Path, any_size: bool) -> RawScene:
    """Reads and verifies a file.

    Raises:
        DataError: If it is damaged or not what it should be; the message names it.
    """
    source = Source.of(path, collection.raw_folder)
    try:
        cube, wavelengths, valid, notes = collection.measurements(path)
        if wavelengths is None:
            wavelengths = collection.wavelengths
        problem, note = _verify(collection, cube, wavelengths, any_size)
    except MemoryError:
        raise DataError(f"{path}: does not fit into the memory of this machine") from None
    if problem:
        raise DataError(f"{path}: {problem}; {AGAIN}")
    told = [f"{path}: {line}" for line in (*notes, *([note] if note else []))]
    return RawScene(cube, wavelengths, valid, source, told)


def _store(collection: Collection, scene: str, raw: RawScene) -> None:
    excerpt = collection.scenes[scene]
    try:
        excerpt.box(*raw.cube.shape[1:])
    except DataError as error:
        raise DataError(f"{error}; {AGAIN}") from None
    folder = collection.prepared_folder / scene
    store_scene(folder, scene, raw.cube, raw.wavelengths, excerpt, raw.source, raw.valid)


def _verify(
    collection: Collection, cube: np.ndarray, wavelengths: np.ndarray | None, any_size: bool
) -> tuple[str, str]:
    """What makes a cube [B, H, W] unusable, and what is merely unexpected; empty for nothing."""
    expected = collection.shape
    if expected and (len(cube) != expected[0] or (cube.shape != expected and not any_size)):
        hint = "" if len(cube) != expected[0] else " (ARGS=--any-size takes it as it is)"
        return f"expected {_size(expected)}, found {_size(cube.shape)}{hint}", ""
    if wavelengths is not None and len(wavelengths) != len(cube):
        return f"{len(wavelengths)} wavelengths for {len(cube)} bands", ""
    broken = cube.size - np.count_nonzero(np.isfinite(cube))
    if broken:
        band, row, column = np.argwhere(~np.isfinite(cube))[0]
        return (
            f"{broken} of {cube.size} values are NaN or Inf, the first at band {band}, row {row}, "
            f"column {column}"
        ), ""
    low, high = float(cube.min()), float(cube.max())
    if low == high:
        return f"every value is {low:g}; there is nothing to scale", ""
    if low < collection.values[0] or high > collection.values[1]:
        first, last = collection.values
        return "", f"values from {low:g} to {high:g}, expected {first:g} to {last:g}; used as it is"
    return "", ""


def _size(shape: Sequence[int]) -> str:
    return f"{' x '.join(map(str, shape))} (bands x rows x columns)"


def group_problems(problems: Sequence[Problem]) -> Mapping[str, list[str]]:
    """The scenes of each message."""
    groups: dict[str, list[str]] = {}
    for problem in problems:
        groups.setdefault(problem.message, []).append(problem.scene)
    return groups
