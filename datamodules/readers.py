"""Files -> cubes and scenes, whatever the format.

========================  ====================================  ==============================
format                    order of the axes, unless ``axes=``   wavelengths from
========================  ====================================  ==============================
.mat (v5 and v7.3)        HWB, as MATLAB shows it               a variable, see below
.h5, .hdf5, .npz          noted by ``write_scene``, else the    a variable, see below
                          smallest axis is B, then H, then W
.npy                      the smallest axis is B, then H, W     -
.tif, .tiff               pages are B, rows H, columns W; the   -
                          samples of an only page are B
.pix (PCIDSK)             bands B, rows H, columns W            -
.hdr, .img, .raw, .dat,   lines H, samples W, from the header   the header (nm or um)
.bil, .bip, .bsq (ENVI)
.exr                      channels B by the number in a name    channels named like w420nm
folder of PNGs            files B by the last number in a name  -
========================  ====================================  ==============================

The variable with the wavelengths is named wavelength, wavelengths, lambda or bands, in any case,
with one value a band: 200 to 20000 is taken as nm, 0.2 to 20 as um.
"""

from os import PathLike
from pathlib import Path

import numpy as np

from datamodules.formats import Content, Format, find_format, load_module
from datamodules.formats.content import is_real, order_by_sizes
from datamodules.scene import DataError, Scene

NM = (200.0, 20000.0)


def read_scene(
    path: str | PathLike[str],
    key: str | None = None,
    axes: str | None = None,
    name: str | None = None,
) -> Scene:
    """Reads a file and scales the whole cube to [0, 1]; offset and gain keep the file's units.

    Args:
        path: A file, or a folder of PNGs.
        key: Which variable of a .mat, .h5 or .npz file; without it, the only one that fits.
        axes: Order of the file's axes, such as "HWB", where it is not the format's usual one.
        name: Of the scene; the file's name without its ending by default.

    Raises:
        DataError: As `read_cube`, or as `Scene.from_raw`.
    """
    path = Path(path)
    cube, wavelengths = read_cube(path, key, axes)
    stem = path.name if path.is_dir() else path.stem
    try:
        return Scene.from_raw(name or stem, cube, wavelengths)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_cube(
    path: str | PathLike[str], key: str | None = None, axes: str | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the file's own values [B, H, W] as float32, and the band centres in nm, if known.

    Args and formats are those of `read_scene`.

    Raises:
        DataError: If the file is missing, damaged or of no known format, the variable or the
            order of the axes is not clear, or it does not hold real numbers.
    """
    path = Path(path)
    known = _existing(path)
    if axes is not None and sorted(axes) != ["B", "H", "W"]:
        raise DataError(f"{path}: axes={axes!r}, expected an order of B, H and W such as 'HWB'")
    content = _read(path, known, key)
    array = content.array
    if array.ndim != 3:
        raise DataError(f"{path}: expected a cube of three axes, found the shape {array.shape}")
    if not is_real(array.dtype):
        raise DataError(
            f"{path}: holds {array.dtype} values; make them real numbers first "
            "(of complex ones, take the magnitude or the real part)"
        )
    order = axes or content.axes or _order(path, known, array.shape)
    turned = array.transpose([order.index(axis) for axis in "BHW"])
    cube = turned.astype(np.float32, order="C")
    centres = (_in_nm(values, len(cube)) for values in content.wavelengths)
    return cube, next((values for values in centres if values is not None), None)


def read_variable(path: str | PathLike[str], key: str) -> np.ndarray:
    """Reads any real variable of a .mat, .h5 or .npz file as it is: its type, shape and order.

    Raises:
        DataError: As `read_cube`.
    """
    path = Path(path)
    return _read(path, _existing(path), key).array


def _existing(path: Path) -> Format:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the path")
    return find_format(path)


def _read(path: Path, known: Format, key: str | None) -> Content:
    if key is not None and not known.keyed:
        raise DataError(f"{path}: key={key!r}, but this format holds a single array; leave it out")
    return load_module(path, known.module).read(path, key)


def _order(path: Path, known: Format, shape: tuple[int, ...]) -> str:
    order = known.axes if known.fixed else order_by_sizes(shape)
    if order is None:
        raise DataError(
            f"{path}: shape {shape} does not tell which axis holds the bands; "
            "say it with axes=, such as 'BHW' or 'HWB'"
        )
    return order


def _in_nm(values: np.ndarray, bands: int) -> np.ndarray | None:
    """Band centres in nm, or None if these numbers cannot be any, such as 1, 2, 3, .."""
    values = np.asarray(values, np.float64)
    if len(values) != bands or not np.isfinite(values).all():
        return None
    if values[0] in (0, 1) and np.array_equal(values, np.arange(bands) + values[0]):
        return None
    low, high = values.min(), values.max()
    for factor in (1.0, 1e3):  # nm, um
        if NM[0] <= low * factor and high * factor <= NM[1]:
            return values * factor
    return None
