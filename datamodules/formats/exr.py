"""OpenEXR files: a band is a channel named by its wavelength, like w420nm or S0.420,000000nm."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import OpenEXR

from datamodules.formats.content import Content, Outgoing, reading
from datamodules.formats.note import NAME, read_note, write_note
from datamodules.formats.wavelengths import Lengths
from datamodules.scene import DataError, NoCubeError

BAND = re.compile(
    r"(?:(?P<layer>.+?)\.)??w?(?P<number>\d+(?:[.,]\d+)?(?:e[+-]?\d+)?)(?P<unit>nm|um)?",
    re.IGNORECASE,
)
INTENSITY = "S0"  # of Stokes' vector: Fichet et al., "An OpenEXR layout for spectral images", 2021


def read(path: Path, key: str | None) -> Content:
    """Finds the numbered channels in the order of their numbers; R, G, B are left out.

    Of several layers, the intensity S0 is taken.
    """
    with _opened(path) as file:
        channels = file.channels()
        matches = {name: match for name in channels if (match := BAND.fullmatch(name))}
        layers = sorted({match["layer"] or "" for match in matches.values()})
        notes = []
        if len(layers) > 1:
            if INTENSITY not in layers:
                raise DataError(
                    f"{path}: has several layers of bands ({', '.join(layers)}); "
                    "keep one of them in a file"
                )
            others = ", ".join(layer for layer in layers if layer != INTENSITY)
            notes.append(f"the layer S0 is read, and {others} left out")
            matches = {name: m for name, m in matches.items() if m["layer"] == INTENSITY}
        if not matches:
            raise NoCubeError(
                f"{path}: no channel is named like w420nm; it holds {', '.join(channels)}"
            )
        names = sorted(matches, key=lambda name: _number(matches[name]))
        pixels = channels[names[0]].pixels
        lengths = []
        units = {(matches[name]["unit"] or "").lower() for name in names}
        if len(units) == 1 and units != {""}:
            numbers = np.array([_number(matches[name]) for name in names])
            lengths = [Lengths(numbers, units.pop(), "names of channels")]
        note = read_note(file.header().get(NAME, ""))
        note.pop("wavelengths", None)
        return Content(
            (len(names), *pixels.shape),
            pixels.dtype,
            partial(_load, path, names),
            axes="BHW",
            wavelengths=lengths,
            notes=notes,
            **{key: value for key, value in note.items() if key != "axes"},
        )


@contextmanager
def _opened(path: Path) -> Iterator[OpenEXR.File]:
    """An open file; what the library prints of damaged ones goes nowhere."""
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stderr.flush()
        os.dup2(nowhere, 2)
        with (
            redirect_stdout(io.StringIO()),
            reading(path, "OpenEXR"),
            OpenEXR.File(str(path), separate_channels=True) as file,
        ):
            yield file
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _number(match: re.Match[str]) -> float:
    return float(match["number"].replace(",", "."))


def _load(path: Path, names: list[str]) -> np.ndarray:
    with _opened(path) as file:
        channels = file.channels()
        return np.stack([channels[name].pixels for name in names])


def write(path: Path, array: np.ndarray, scene: Outgoing) -> None:
    """Writes channels of 16 or 32 bits named by their wavelengths, or w1, w2, .. where unknown."""
    wavelengths = scene.wavelengths
    if wavelengths is not None and not (np.diff(wavelengths) > 0).all():
        raise DataError(
            f"{path}: EXR sorts bands by wavelength, and these do not ascend; "
            "write another format, such as .h5"
        )
    if wavelengths is None:
        names = [f"w{number}" for number in range(1, len(array) + 1)]
    else:
        names = [f"w{repr(float(value)).removesuffix('.0')}nm" for value in wavelengths]
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    note = write_note(scene, {"axes", "wavelengths_nm"})
    if note:
        header[NAME] = note
    bands = zip(names, array, strict=True)
    channels = {name: np.ascontiguousarray(band) for name, band in bands}
    OpenEXR.File(header, channels).write(str(path))
