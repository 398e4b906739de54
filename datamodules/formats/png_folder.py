"""A folder of one PNG per band, 8 or 16 bits, ordered by the numbers in their names."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from datamodules.formats.content import Content, reading
from datamodules.scene import DataError

GREY = ("L", "I;16", "I")
COLOUR = ("RGB", "RGBA")
DEEP_COLOUR = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
LOST = 0.002  # of the cube's span: what rounding to counts may change


def read(path: Path, key: str | None) -> Content:
    """Reads the bands; files other than PNGs are passed over."""
    files = _in_order(path)
    first = _read_band(files[0])
    cube = np.empty((len(files), *first.shape), np.float32)
    for index, file in enumerate(files):
        band = _read_band(file) if index else first
        if band.shape != first.shape:
            raise DataError(
                f"{file}: {band.shape[0]} x {band.shape[1]} pixels, but {files[0].name} has "
                f"{first.shape[0]} x {first.shape[1]}; all bands of a scene have one size"
            )
        cube[index] = band
    return Content(cube, "BHW")


def number_files(folder: Path) -> dict[int, Path]:
    """The PNGs of a folder by the last number in their names.

    Raises:
        DataError: If there are not two, one has no number, or two have the same.
    """
    files = [f for f in folder.iterdir() if f.suffix.lower() == ".png" and f.name[0] != "."]
    if len(files) < 2:
        raise DataError(
            f"{folder}: {len(files)} PNG files here, and a scene has one per band; "
            "pass the folder that holds them"
        )
    numbers: dict[int, Path] = {}
    for file in sorted(files):
        digits = re.findall(r"\d+", file.stem)
        if not digits:
            raise DataError(f"{file}: no number in its name says which band it is; rename it")
        number = int(digits[-1])
        if number in numbers:
            raise DataError(
                f"{folder}: {numbers[number].name} and {file.name} are both band {number}; "
                "keep the files of one scene in a folder"
            )
        numbers[number] = file
    return numbers


def _in_order(folder: Path) -> list[Path]:
    """The PNGs in the order of their numbers, which must leave no gap."""
    numbers = number_files(folder)
    ordered = sorted(numbers)
    step = min(b - a for a, b in pairwise(ordered))
    missing = sorted(set(range(ordered[0], ordered[-1], step)) - set(ordered))
    if missing or (ordered[-1] - ordered[0]) % step:
        raise DataError(
            f"{folder}: {len(numbers)} PNG files numbered {ordered[0]} to {ordered[-1]}; missing "
            f"{', '.join(map(str, missing)) or 'some'}: fetch the scene again"
        )
    return [numbers[number] for number in ordered]


def _read_band(file: Path) -> np.ndarray:
    """One band [H, W]; a coloured file is taken where its channels are equal within a count."""
    with reading(file, "PNG"), Image.open(file) as image:
        if image.mode in GREY:
            return np.asarray(image)
        if image.mode not in COLOUR:
            raise DataError(f"{file}: PNG of mode {image.mode}; convert it to 16-bit grey")
        colours = _colours(file, image)
    spread = int((colours.max(-1) - colours.min(-1)).max())
    if spread > 1:
        raise DataError(
            f"{file}: a colour picture: its channels differ by up to {spread} counts, so it is "
            "no single band; remove it or convert it to grey"
        )
    return colours.mean(-1, dtype=np.float32)


def _colours(file: Path, image: ImageFile.ImageFile) -> np.ndarray:
    """Red, green and blue [H, W, 3] as int32. Pillow gives the high byte of 16 bits only."""
    deep = DEEP_COLOUR.get(str(image.tile[0].args))
    high = np.asarray(image, np.int32)[..., :3]
    if deep is None:
        return high
    # The other byte order's unpacker takes the other byte of each pair.
    with Image.open(file) as again:
        again.tile = [tile._replace(args=deep) for tile in again.tile]
        return high * 256 + np.asarray(again, np.int32)[..., :3]


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes 16-bit counts NAME_01.png, NAME_02.png, ..; PNG has no place for wavelengths."""
    counts = array.round()
    lost = float(np.abs(counts - array).max())
    if not (counts.min() >= 0 and counts.max() <= 65535 and lost <= LOST * np.ptp(array)):
        raise DataError(
            f"{path}: PNG holds whole counts from 0 to 65535, and these values run from "
            f"{array.min():g} to {array.max():g}; write another format, such as .tif"
        )
    path.mkdir()
    digits = max(2, len(str(len(array))))
    for number, band in enumerate(counts.astype(np.uint16), start=1):
        Image.fromarray(band).save(path / f"{path.name}_{number:0{digits}d}.png")
