"""A folder of one PNG per band, 8 or 16 bits, ordered by the numbers in their names."""

import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin

from datamodules.formats.content import Content, Outgoing, reading
from datamodules.formats.note import NAME, read_note, write_note
from datamodules.formats.wavelengths import Lengths
from datamodules.scene import DataError, NoCubeError

GREY = ("L", "I;16", "I")
COLOUR = ("RGB", "RGBA")
DEEP_COLOUR = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
LOST = 0.002  # of the cube's span: what rounding to counts may change
NUMBER = re.compile(r"(\d+[.,]\d+|\d+)\s*(nm)|(\d+)", re.IGNORECASE)


class Bands(NamedTuple):
    """The files of a folder in the order of their bands.

    Attributes:
        files: By the number of the band, or its wavelength.
        in_nm: Whether the numbers are wavelengths, as in band_410nm.png.
        notes: What is passed over.
    """

    files: dict[float, Path]
    in_nm: bool
    notes: list[str]

    @property
    def ordered(self) -> list[Path]:
        """The files, the smallest number first."""
        return [self.files[number] for number in sorted(self.files)]


def read(path: Path, key: str | None) -> Content:
    """Finds the bands; files other than PNGs are passed over."""
    bands = find_bands(path)
    _require_all(path, bands)
    files = bands.ordered
    with reading(files[0], "PNG"), Image.open(files[0]) as image:
        width, height = image.size
    note = read_note(_note(files[0]))
    first = _read_band(files[0])
    notes = list(bands.notes)
    lengths = []
    if bands.in_nm:
        lengths = [Lengths(np.array(sorted(bands.files)), "nm", "names of the files")]
        steps = np.diff(lengths[0].values)
        if steps.size and not np.allclose(steps, steps[0]):
            notes.append(f"the names go in steps of {steps.min():g} to {steps.max():g} nm")
    said = {"wavelengths": lengths} | {k: v for k, v in note.items() if k != "axes"}
    shape = (len(files), height, width)
    return Content(shape, first.dtype, partial(_load, files), axes="BHW", notes=notes, **said)


def _load(files: list[Path]) -> np.ndarray:
    first = _read_band(files[0])
    bands = [first]
    for file in files[1:]:
        band = _read_band(file)
        if band.shape != first.shape:
            raise DataError(
                f"{file}: {band.shape[0]} x {band.shape[1]} pixels, but {files[0].name} has "
                f"{first.shape[0]} x {first.shape[1]}; all bands of a scene have one size"
            )
        bands.append(band)
    return np.stack(bands)


def find_bands(folder: Path) -> Bands:
    """The PNGs of a folder by a number in their names: a wavelength, or the last that differs.

    A picture in colours without a number, beside the bands, is a preview and passed over.

    Raises:
        DataError: If there are not two, one has no number, or two have the same.
    """
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() == ".png" and f.name[0] != ".")
    numbered = {file: tokens for file in files if (tokens := _numbers(file.stem))}
    notes = []
    for file in files:
        if file not in numbered and len(numbered) > 1 and len(files) > 2 and _is_colour(file):
            notes.append(f"{file.name} has no number and is in colours: passed over")
        elif file not in numbered and len(files) > 1:
            raise DataError(f"{file}: no number in its name says which band it is; rename it")
    if len(numbered) == 1 == len(files) and _note(files[0]):
        return Bands({1: files[0]}, False, [])  # a cube of one band, written here
    if len(numbered) < 2:
        raise NoCubeError(
            f"{folder}: {len(files)} PNG files here, and a scene has one per band; "
            "pass the folder that holds them"
        )
    place, in_nm = _place_of_band(list(numbered.values()))
    found: dict[float, Path] = {}
    for file, tokens in numbered.items():
        number = tokens[place][0]
        if number in found:
            raise DataError(
                f"{folder}: {found[number].name} and {file.name} are both band {number:g}; "
                "keep the files of one scene in a folder"
            )
        found[number] = file
    return Bands(found, in_nm, notes)


def _note(file: Path) -> str:
    with reading(file, "PNG"), Image.open(file) as image:
        return getattr(image, "text", {}).get(NAME, "")


def _numbers(stem: str) -> list[tuple[float, bool]]:
    """The numbers of a name, and whether they are in nm."""
    matches = NUMBER.finditer(stem)
    return [(float((m[1] or m[3]).replace(",", ".")), m[2] is not None) for m in matches]


def _place_of_band(names: list[list[tuple[float, bool]]]) -> tuple[int, bool]:
    """Which number of the names is the band: from the end, and whether it is in nm."""
    shortest = min(map(len, names))
    places = [-place for place in range(1, shortest + 1)]
    differing = [p for p in places if len({name[p][0] for name in names}) == len(names)]
    for place in differing:
        if all(name[place][1] for name in names):
            return place, True
    return (differing or [-1])[0], False


def _is_colour(file: Path) -> bool:
    with reading(file, "PNG"), Image.open(file) as image:
        return image.mode in COLOUR


def _require_all(folder: Path, bands: Bands) -> None:
    """Raises DataError if the numbers leave a gap; wavelengths may."""
    if bands.in_nm:
        return
    ordered = [int(number) for number in sorted(bands.files)]
    if len(ordered) == 1:
        return
    step = min(b - a for a, b in pairwise(ordered))
    missing = sorted(set(range(ordered[0], ordered[-1], step)) - set(ordered))
    if missing or (ordered[-1] - ordered[0]) % step:
        raise DataError(
            f"{folder}: {len(ordered)} PNG files numbered {ordered[0]} to {ordered[-1]}; missing "
            f"{', '.join(map(str, missing)) or 'some'}: fetch the scene again"
        )


def _read_band(file: Path) -> np.ndarray:
    """One band [H, W]; a coloured file is taken where its channels are equal within a count."""
    with reading(file, "PNG"), Image.open(file) as image:
        if image.mode in GREY:
            return np.asarray(image)
        if image.mode == "LA":
            grey, alpha = np.moveaxis(np.asarray(image), -1, 0)
            if alpha.min() < 255:
                raise DataError(f"{file}: is transparent in parts; convert it to 16-bit grey")
            return grey
        if image.mode == "P":
            colours = np.asarray(image.convert("RGB"), np.int32)
        elif image.mode in COLOUR:
            colours = _colours(file, image)
        else:
            raise DataError(f"{file}: PNG of mode {image.mode}; convert it to 16-bit grey")
    spread = int((colours.max(-1) - colours.min(-1)).max())
    if spread > 1:
        raise NoCubeError(
            f"{file}: a colour picture: its channels differ by up to {spread} counts, so it is "
            "no single band; remove it or convert it to grey"
        )
    if spread == 0:
        return colours[..., 0].astype(np.uint8 if colours.max() < 256 else np.uint16)
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


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes counts of 8 or 16 bits, NAME_01.png, NAME_02.png, ..; the first holds a note."""
    counts = array.round() if array.dtype.kind == "f" else array
    lost = float(np.abs(counts - array).max()) if counts is not array else 0.0
    if not (counts.min() >= 0 and counts.max() <= 65535 and lost <= LOST * np.ptp(array)):
        raise DataError(
            f"{path}: PNG holds whole counts from 0 to 65535, and these values run from "
            f"{array.min():g} to {array.max():g}; write another format, such as .tif"
        )
    path.mkdir()
    digits = max(2, len(str(len(array))))
    text = PngImagePlugin.PngInfo()
    text.add_text(NAME, write_note(scene))
    kind = np.uint8 if array.dtype == np.uint8 else np.uint16
    for number, band in enumerate(counts.astype(kind), start=1):
        file = path / f"{path.name}_{number:0{digits}d}.png"
        Image.fromarray(band).save(file, pnginfo=text if number == 1 else None)
