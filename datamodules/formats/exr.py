"""OpenEXR files: a band is a channel named like w420nm."""

import re
from pathlib import Path

import numpy as np
import OpenEXR

from datamodules.formats.content import Content, reading
from datamodules.scene import DataError

BAND = re.compile(r"w?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)(nm)?", re.IGNORECASE)


def read(path: Path, key: str | None) -> Content:
    """Reads the numbered channels in the order of their numbers; R, G, B are left out."""
    with reading(path, "OpenEXR"), OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.channels()
        found = {name: match for name in channels if (match := BAND.fullmatch(name))}
        if not found:
            raise DataError(
                f"{path}: no channel is named like w420nm; it holds {', '.join(channels)}"
            )
        names = sorted(found, key=lambda name: float(found[name][1]))
        array = np.stack([channels[name].pixels for name in names])
        if not all(found[name][2] for name in names):
            return Content(array, "BHW")
        return Content(array, "BHW", [np.array([float(found[name][1]) for name in names])])


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes 32-bit channels named by their wavelengths, or w1, w2, .. where unknown."""
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
    channels = {name: np.ascontiguousarray(band) for name, band in zip(names, array, strict=True)}
    OpenEXR.File(header, channels).write(str(path))
