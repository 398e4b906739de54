"""Prepared scenes on disk: 16 bits a value, memory-mapped, cut and scaled as they are read.

A scene is a folder with an array [H, W, B] per scale and ``scene.json``, which says what the counts
mean and what they were made from. The bands of a pixel lie together, so that a patch of P x P
pixels is P short runs of the disk, whatever its number of bands. Whole numbers that span at most
65535 are kept exactly; others are rounded to the nearest of 65536 steps from least to largest.
"""

import json
import math
import shutil
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import ndimage

from datamodules.atomic_write import atomic_write
from datamodules.scene import DataError, Scene, View, Window, scale_to_unit
from datamodules.source import Source

CONVERTER = 1  # raise it when prepared files change: those of another number are made anew
MANIFEST = "scene.json"
NOTED = {"converter", "name", "excerpt", "scene_range", "kept_range", "wavelengths_nm", "source"}
STEPS = 65535


@dataclass(frozen=True)
class Excerpt:
    """What is kept of a publisher's scene: a box of its pixels, at one or several scales.

    Attributes:
        rows: Of the box; an int is the size of a box in the centre, None takes all.
        columns: Likewise.
        scales: Of the stored arrays, at most 1; smaller ones by cubic splines.
    """

    rows: tuple[int, int] | int | None = None
    columns: tuple[int, int] | int | None = None
    scales: tuple[float, ...] = (1.0,)

    def box(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns in a scene of that size; a centre is at most all of it.

        Raises:
            DataError: If the box does not lie within the scene.
        """
        return _span(self.rows, height, "rows"), _span(self.columns, width, "columns")


def _span(wanted: tuple[int, int] | int | None, size: int, axis: str) -> slice:
    if wanted is None:
        return slice(0, size)
    if isinstance(wanted, int):
        return centre(size, wanted)
    if wanted[1] > size:
        raise DataError(f"has {size} {axis}, and those from {wanted[0]} to {wanted[1]} are needed")
    return slice(*wanted)


def centre(size: int, part: int) -> slice:
    """The middle ``part`` of an axis, rounded to its start; all of it where it is shorter."""
    start = max(0, (size - part) // 2)
    return slice(start, min(size, start + part))


def store_scene(
    folder: Path,
    scene_name: str,
    cube: np.ndarray,
    wavelengths: Any,
    excerpt: Excerpt,
    source: Source,
    valid: np.ndarray | None = None,
) -> None:
    """Writes a scene's arrays and manifest aside and renames them: the folder is whole or absent.

    Args:
        folder: Of the scene; one that is there is replaced.
        scene_name: The scene's name.
        cube: The publisher's values [B, H, W], float32, finite.
        wavelengths: Band centres in nm [B], or None.
        excerpt: What is kept.
        source: What it was made from.
        valid: Which pixels hold measurements, [H, W]; None for all.

    Raises:
        DataError: If the excerpt does not lie within the scene.
    """
    rows, columns = excerpt.box(*cube.shape[1:])
    kept = cube[:, rows, columns]
    mask = None if valid is None else valid[rows, columns]
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    manifest = {
        "converter": CONVERTER,
        "name": scene_name,
        "excerpt": asdict(excerpt),
        "scene_range": [float(cube.min()), float(cube.max())],
        "kept_range": [float(kept.min()), float(kept.max())],
        "wavelengths_nm": None if wavelengths is None else [float(w) for w in wavelengths],
        "source": asdict(source),
    }
    try:
        manifest["arrays"] = [_store_array(aside, kept, mask, scale) for scale in excerpt.scales]
        write_manifest(aside, manifest)
        replace_folder(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _store_array(
    folder: Path, values: np.ndarray, valid: np.ndarray | None, scale: float
) -> dict[str, Any]:
    """Writes values [B, H, W] at one scale, and their mask; gives the manifest's entry."""
    if scale != 1:
        values = np.stack([ndimage.zoom(band, scale) for band in values])
    counts, offset, gain = _to_counts(values)
    file = f"scale_{scale:g}.npy"
    np.save(folder / file, counts)
    entry = {"file": file, "shape": values.shape, "offset": offset, "gain": gain}
    if valid is None:
        return entry
    if scale != 1:  # where nothing that is not valid has a part in the splines
        valid = ndimage.zoom((~valid).astype(np.float32), scale, order=1) < 1e-3
        valid = ndimage.binary_erosion(valid, np.ones((3, 3)), border_value=1)
    np.save(folder / f"valid_{scale:g}.npy", valid)
    return entry | {"valid": f"valid_{scale:g}.npy"}


def replace_folder(aside: Path, folder: Path) -> None:
    """Gives a whole folder its name; arrays that were mapped under that name are forgotten."""
    (folder / MANIFEST).unlink(missing_ok=True)  # first: what is half removed is no scene
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    _map.cache_clear()


def _to_counts(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values [B, H, W] as uint16 [H, W, B], so that counts * gain + offset gives them back."""
    low, high = float(values.min()), float(values.max())
    whole = high - low <= STEPS and all(np.array_equal(band, np.rint(band)) for band in values)
    gain = 1.0 if whole or high == low else (high - low) / STEPS
    counts = np.empty((*values.shape[1:], len(values)), np.uint16)
    for index, band in enumerate(values):
        counts[..., index] = np.rint((band.astype(np.float64) - low) / gain)
    return counts, low, gain


def bytes_kept(shape: tuple[int, int, int], excerpt: Excerpt) -> int:
    """What the arrays of an excerpt of a scene [B, H, W] take on the disk."""
    rows, columns = excerpt.box(*shape[1:])
    pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    return int(2 * shape[0] * pixels * sum(scale**2 for scale in excerpt.scales))


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes it aside and renames it."""
    with atomic_write(folder / MANIFEST) as aside:
        aside.write_text(json.dumps(manifest, indent=1) + "\n")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a scene's folder; None where there is no whole scene.

    It is not whole where an array is missing or too short, or something is not noted.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        arrays = {array["file"]: 2 * math.prod(array["shape"]) for array in manifest["arrays"]}
        arrays |= {
            array["valid"]: math.prod(array["shape"][1:])
            for array in manifest["arrays"]
            if "valid" in array
        }
        whole = all((folder / file).stat().st_size > size for file, size in arrays.items())
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None  # not there, not JSON, or not what we write
    return manifest if whole and manifest.keys() >= NOTED else None


@dataclass(frozen=True)
class StoredScene:
    """A scene, or a box of it, at one scale; nothing is read before it is asked for.

    Attributes:
        name: Of the scene; its scales share it.
        path: The array's file.
        shape: [B, H, W] of the box.
        top: The box's first row in the array.
        left: Its first column.
        offset: The publisher's value at count 0.
        gain: The publisher's units per count.
        low: The publisher's value that becomes 0.
        high: The one that becomes 1; where either is None, the range of the box is taken.
        clip: Whether values beyond are cut to [0, 1].
        wavelengths: Band centres in nm; None where unknown.
        level: 0 for the full scale, 1 for the next smaller, ...
        scene_range: Smallest and largest value of the publisher's whole scene.
        kept_range: Those of what is stored.
        mask: The file that tells which pixels hold measurements; None where all do.
    """

    name: str
    path: Path
    shape: tuple[int, int, int]
    offset: float
    gain: float
    scene_range: tuple[float, float]
    kept_range: tuple[float, float]
    wavelengths: np.ndarray | None = None
    level: int = 0
    top: int = 0
    left: int = 0
    low: float | None = None
    high: float | None = None
    clip: bool = False
    mask: Path | None = None

    @property
    def valid(self) -> np.ndarray | None:
        """Which pixels of the box hold measurements, [H, W]; None where all do."""
        if self.mask is None:
            return None
        _, height, width = self.shape
        rows = slice(self.top, self.top + height)
        return _map(self.mask)[rows, self.left : self.left + width]

    def crop(self, rows: slice, columns: slice) -> Self:
        """A box of it, in its rows and columns."""
        bands, height, width = self.shape
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        shape = (bands, bottom - top, right - left)
        return replace(self, shape=shape, top=self.top + top, left=self.left + left)

    def centre(self, size: int) -> Self:
        """The ``size`` x ``size`` pixels in its middle, or as many as there are."""
        return self.crop(centre(self.shape[1], size), centre(self.shape[2], size))

    def scaled(self, low: float | None, high: float | None, clip: bool = False) -> Self:
        """The same with these of the publisher's values at 0 and 1; None for the box's range."""
        return replace(self, low=low, high=high, clip=clip)

    def read(self, window: Window) -> np.ndarray:
        """A window of it, in [0, 1] where ``low`` and ``high`` bound it; float32 [B, H, W].

        Raises:
            DataError: If the prepared file is damaged, or the scale is that of the box itself.
        """
        return self._to_unit(self._counts(window))

    def cut(self, window: Window, turn: View, out: np.ndarray) -> None:
        """Writes a window, turned, into ``out``, float32, in one pass over the counts.

        Raises:
            DataError: As `read`.
        """
        self._to_unit(turn(self._counts(window)), out)

    def _to_unit(self, counts: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        if self.low is None or self.high is None:
            raise DataError(f"scene {self.name}: is scaled by its own values; load all of it")
        unit = scale_to_unit(counts, self.offset, self.gain, self.low, self.high, out)
        return unit.clip(0, 1, out=unit) if self.clip else unit

    def load(self) -> Scene:
        """All of it, in memory.

        Raises:
            DataError: As `read`, or if it is scaled by its own values and constant.
        """
        everything = (slice(None), slice(None), slice(None))
        if self.low is None or self.high is None:
            values = self._counts(everything).astype(np.float32)
            values *= np.float32(self.gain)
            values += np.float32(self.offset)
            return Scene.from_raw(self.name, values, self.wavelengths, valid=self.valid)
        cube = self.read(everything)
        gain, valid = self.high - self.low, self.valid
        return Scene(self.name, cube, self.wavelengths, self.low, gain, valid)

    def _counts(self, window: Window) -> np.ndarray:
        """A view of the counts, turned to [B, H, W]."""
        _, height, width = self.shape
        bands, rows, columns = window
        first, last, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        box = (slice(self.top + first, self.top + last), slice(self.left + left, self.left + right))
        return _map(self.path)[(*box, bands)].transpose(2, 0, 1)


@lru_cache(maxsize=512)
def _map(path: Path) -> np.ndarray:
    """The array of a file, mapped once in every process."""
    try:
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); delete its folder and run make data again"
        ) from error


def open_scene(folder: Path) -> list[StoredScene]:
    """The scales of a prepared scene, largest first, in the publisher's units until `scaled`.

    Raises:
        DataError: If there is no whole scene in the folder, or one of another converter.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest["converter"] != CONVERTER:
        raise DataError(f"{folder}: no prepared scene of this version; run make data again")
    wavelengths = manifest["wavelengths_nm"]
    return [
        StoredScene(
            manifest["name"],
            folder / array["file"],
            tuple(array["shape"]),
            array["offset"],
            array["gain"],
            tuple(manifest["scene_range"]),
            tuple(manifest["kept_range"]),
            None if wavelengths is None else np.array(wavelengths),
            level,
            mask=folder / array["valid"] if "valid" in array else None,
        )
        for level, array in enumerate(manifest["arrays"])
    ]
