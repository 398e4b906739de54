"""ENVI: a text header .hdr and a file of raw numbers in any interleave and byte order."""

import os
from pathlib import Path

import numpy as np
import spectral.io.envi as envi

from datamodules.formats.content import Content, reading
from datamodules.scene import DataError

DATA_ENDINGS = ("", ".img", ".raw", ".dat", ".bil", ".bip", ".bsq", ".pix", ".cube")
LENGTHS = ("nanomet", "nm", "micromet", "micron", "um", "µm")
UNSAID = ("", "unknown", "<unspecified>", "none")


def read(path: Path, key: str | None) -> Content:
    """Reads the numbers as they are stored: no reflectance scale factor is applied."""
    header, data = _pair(path)
    with reading(path, "ENVI"):
        image = envi.open(str(header), image=str(data))
        if not hasattr(image, "open_memmap"):
            raise DataError(f"{header}: is a spectral library, not an image")
        expected = image.offset + image.nrows * image.ncols * image.nbands * image.sample_size
        found = data.stat().st_size
        if found < expected:
            raise DataError(
                f"{data}: {found} bytes, but its header says {expected} (bands x lines x samples "
                f"{image.nbands} x {image.nrows} x {image.ncols}); it is cut off: copy it again"
            )
        array = np.asarray(image.open_memmap(interleave="bsq"))
        return Content(array, "BHW", _wavelengths(image))


def _pair(path: Path) -> tuple[Path, Path]:
    """The header and the data file that belong to either."""
    if path.suffix.lower() == ".hdr":
        stem = path.stem
        beside = sorted(f for f in path.parent.iterdir() if f.name.startswith(stem) and f.is_file())
        data = [f for f in beside if f.name[len(stem) :].lower() in DATA_ENDINGS]
        if len(data) != 1:
            raise DataError(
                f"{path}: beside this header there must be one data file, {stem} with the ending "
                f"{', '.join(DATA_ENDINGS[1:])} or none; there are {len(data)}: "
                f"{', '.join(f.name for f in data)}; give the path of the data file"
            )
        return path, data[0]
    headers = [path.with_suffix(".hdr"), path.with_name(path.name + ".hdr")]
    headers += [header.with_suffix(".HDR") for header in headers]
    header = next((place for place in headers if place.is_file()), None)
    if header is None:
        raise DataError(
            f"{path}: there is no ENVI header {headers[0].name} or {headers[1].name} beside it"
        )
    return header, path


def _wavelengths(image: envi.SpyFile) -> list[np.ndarray]:
    """Band centres, whose size tells nm from um; none where the header says they are no lengths."""
    unit = str(image.bands.band_unit or "").strip().lower()
    if image.bands.centers is None or not (unit in UNSAID or unit.startswith(LENGTHS)):
        return []
    return [np.array(image.bands.centers, np.float64)]


def write(
    path: Path, array: np.ndarray, wavelengths: np.ndarray | None, key: str, axes: str
) -> None:
    """Writes header and data (band sequential); the path may be either of them."""
    is_header = path.suffix.lower() == ".hdr"
    header, ending = (path, ".img") if is_header else (path.with_suffix(".hdr"), path.suffix)
    metadata: dict[str, object] = {}
    if wavelengths is not None:
        metadata = {
            "wavelength": [repr(float(value)) for value in wavelengths],
            "wavelength units": "Nanometers",
        }
    envi.save_image(
        os.fspath(header),
        array.transpose(1, 2, 0),
        dtype=np.float32,
        interleave="bsq",
        ext=ending,
        metadata=metadata,
    )
