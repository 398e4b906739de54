"""Files -> cubes and scenes, whatever the format.

========================  ===================================  ==================================
format                    order of the axes, unless ``axes=``  wavelengths from
========================  ===================================  ==================================
.mat (v5 and v7.3)        HWB, as MATLAB shows it              a variable, see below
.h5, .hdf5, .nc, .nc4,    noted by ``write_scene`` or others,  a dimension scale, a variable of
.he5, .hdf (HDF5)         else by wavelengths or sizes         the same or the nearest group
.npz, .npy                likewise                             a variable; our note in a .npy
.tif, .tiff               pages are B, rows H, columns W; the  tags of the bands, GDAL's IMAGERY,
                          samples of an only page are B        descriptions, a .hdr beside it
.pix, .img (PCIDSK,       bands B, rows H, columns W           the same tags
ERDAS)
ENVI, any ending          lines H, samples W, from the header  the header
.exr                      channels B by the number in a name   channels named like w420nm
folder of PNGs            files B by a number in the name      names like band_420nm.png
========================  ===================================  ==================================

An axis as long as a list of wavelengths holds the bands. Without any, the smallest axis is B, then
come H and W; in a .mat file the last one, unless the first is smaller and the others are equal. A
guess is told. Variables with wavelengths are named wavelength(s), center_wavelength, wl, lambda and
the like, in any case, with one value a band; their unit is what is said beside them, nm or um, or
else told by their size: 200 to 20000 is nm, 0.2 to 20 um.

Values are those of the file: no scale factor is applied. NaN, infinite numbers and what the file
declares as nodata are no measurements; an undeclared number that alone sets the range, such as
-9999, is found and told.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from datamodules.file_facts import FileFacts
from datamodules.formats import Content, Format, find_format, load_module
from datamodules.formats.axes import guess_order, is_order
from datamodules.formats.content import is_real, squeezed
from datamodules.formats.wavelengths import centres_in_nm, widths_in_nm
from datamodules.nodata import MOST_SENTINELS, describe_sentinel, find_sentinel, find_valid
from datamodules.scene import DataError, DataNote, NoCubeError, Scene, describe_share

Nodata = float | str | None


@dataclass(frozen=True)
class RawCube:
    """What a file holds, in its own units.

    Attributes:
        values: [B, H, W] in the file's type.
        wavelengths: Band centres in nm [B]; None where unknown.
        fwhm: Widths in nm [B]; None where unknown.
        valid: Where there are measurements, [H, W] or [B, H, W]; None for everywhere.
        bad_bands: Numbers from 0 of the bands that hold none of use.
        file: What else the file says.
        notes: What was guessed or left out.
    """

    values: np.ndarray
    wavelengths: np.ndarray | None = None
    fwhm: np.ndarray | None = None
    valid: np.ndarray | None = None
    bad_bands: tuple[int, ...] = ()
    file: FileFacts | None = None
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> list[str]:
        """How much of it is no measurement, a line each for pixels and bands."""
        lines = []
        if self.valid is not None:
            nodata = self.file.nodata if self.file else None
            named = "" if nodata is None else f" (nodata is {nodata:g})"
            lines.append(f"{describe_share(self.valid)} hold nothing{named} and are left out")
        if self.bad_bands:
            count = len(self.bad_bands)
            lines.append(f"{count} bad bands are left out: {number_ranges(self.bad_bands)}")
        return lines


def read_scene(
    path: str | PathLike[str],
    key: str | None = None,
    axes: str | None = None,
    name: str | None = None,
    nodata: Nodata = None,
) -> Scene:
    """Reads a file and scales the whole cube to [0, 1]; offset and gain keep the file's units.

    What was guessed or left out is told in a `DataNote`, a warning.

    Args:
        path: A file, or a folder of PNGs.
        key: Which variable of a .mat, .h5 or .npz file, such as "hsi/Data"; without it, the only
            one that fits.
        axes: Order of the file's axes, such as "HWB", where it is not what is found.
        name: Of the scene; the file's name without its ending by default.
        nodata: The number that stands for "nothing here", in place of what the file declares;
            "none" to believe every number.

    Raises:
        DataError: As `read_cube`, or as `Scene.from_raw`.
    """
    path = Path(path)
    raw = read_raw(path, key, axes, nodata)
    tell(path, (*raw.notes, *raw.left_out))
    return scale_raw(path, raw, name)


def scale_raw(path: Path, raw: RawCube, name: str | None = None) -> Scene:
    """The scene of what was read from a file.

    Raises:
        DataError: As `Scene.from_raw`.
    """
    stem = path.name if path.is_dir() else path.stem
    try:
        return Scene.from_raw(
            name or stem,
            raw.values,
            raw.wavelengths,
            valid=np.ones(raw.values.shape[1:], bool) if raw.valid is None else raw.valid,
            bad_bands=raw.bad_bands,
            fwhm=raw.fwhm,
            file=raw.file,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_cube(
    path: str | PathLike[str], key: str | None = None, axes: str | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the file's own values [B, H, W] as float32, and the band centres in nm, if known.

    Values that stand for nothing are among them. Args, formats and notes are those of `read_scene`.

    Raises:
        DataError: If the file is missing, damaged or of no known format, the variable or the
            order of the axes is not clear, or it does not hold real numbers.
    """
    path = Path(path)
    content = describe(path, key, axes)
    values, _ = _load(path, content)
    wavelengths, _, notes = spectrum_of(content)
    tell(path, (*content.notes, *notes))
    return values.astype(np.float32, order="C"), wavelengths


def read_raw(
    path: Path, key: str | None = None, axes: str | None = None, nodata: Nodata = None
) -> RawCube:
    """Reads a file's own values and all that it says of them.

    Raises:
        DataError: As `read_cube`, or if ``nodata`` is neither a number nor "none".
    """
    content = describe(path, key, axes)
    values, mask = _load(path, content)
    wavelengths, fwhm, notes = spectrum_of(content)
    notes = [*content.notes, *notes]
    declared: Sequence[float] = declared_nodata(path, content.nodata, nodata)
    limits = content.limits if nodata is None else (-np.inf, np.inf)
    valid = find_valid(values, declared, mask, limits)
    bad_bands = tuple(sorted({*content.bad_bands, *_empty_bands(valid)}))
    found = None
    if nodata is None:
        for _ in range(MOST_SENTINELS):
            if (sentinel := find_sentinel(values, valid, bad_bands)) is None:
                break
            notes.append(describe_sentinel(sentinel))
            if not sentinel.is_masked:
                break
            declared = (*declared, sentinel.value)
            found = sentinel.value
            valid = find_valid(values, declared, mask, limits)
            bad_bands = tuple(sorted({*content.bad_bands, *_empty_bands(valid)}))
    return RawCube(
        values,
        wavelengths,
        fwhm,
        valid,
        bad_bands,
        replace(facts_of(path, content), nodata=declared[0] if declared else found),
        tuple(notes),
    )


def declared_nodata(path: Path, declared: Sequence[float], asked: Nodata) -> Sequence[float]:
    """The numbers that stand for nothing: what the user says goes before what the file does.

    Raises:
        DataError: If that is neither a number nor "none".
    """
    if asked is None or asked == "none":
        return () if asked == "none" else declared
    try:
        return (float(asked),)
    except ValueError:
        raise DataError(
            f"{path}: nodata={asked!r}; give a number, or 'none' to believe every number"
        ) from None


def describe(path: Path, key: str | None = None, axes: str | None = None) -> Content:
    """What a file holds, with the order of its axes settled; no values are read.

    Raises:
        DataError: As `read_cube`.
    """
    known = _existing(path)
    if axes is not None and not is_order(axes):
        raise DataError(f"{path}: axes={axes!r}, expected an order of B, H and W such as 'HWB'")
    content = _content(path, known, key)
    shape = squeezed(content.shape)
    if len(shape) != 3:
        raise NoCubeError(f"{path}: expected a cube of three axes, found the shape {content.shape}")
    _require_real(path, content.dtype)
    notes, why = list(content.notes), content.why
    if axes is None and content.axes is None:
        numbers = [len(lengths.values) for lengths in content.wavelengths]
        order = guess_order(shape, numbers, content.usual)
        if order is None:
            raise DataError(
                f"{path}: shape {shape} does not tell which axis holds the bands; "
                "say it with axes=, such as 'BHW' or 'HWB'"
            )
        axes, why = order.axes, order.why
        notes += [order.note] if order.note else []
    elif axes is not None:  # what the reader doubted is settled
        why = "as asked"
        notes = [note for note in notes if "say axes=" not in note]
    return replace(
        content,
        shape=shape,
        stored_shape=content.shape,
        axes=axes or content.axes,
        why=why,
        notes=notes,
    )


def facts_of(path: Path, content: Content) -> FileFacts:
    """What a file says, to be kept with its scene."""
    return FileFacts(
        format=find_format(path).module,
        key=content.key,
        axes=content.axes or "BHW",
        dtype=content.dtype.newbyteorder("="),
        nodata=content.nodata[0] if content.nodata else None,
        interleave=content.interleave,
        scale_factor=content.scale_factor,
        add_offset=content.add_offset,
        georeference=content.georeference,
        header=content.header,
    )


def shape_of(content: Content) -> tuple[int, int, int]:
    """[B, H, W] of what `describe` gives."""
    axes = content.axes or "BHW"
    bands, height, width = (content.shape[axes.index(letter)] for letter in "BHW")
    return bands, height, width


def read_variable(path: str | PathLike[str], key: str) -> np.ndarray:
    """Reads any real variable of a .mat, .h5 or .npz file as it is: its type, shape and order.

    Raises:
        DataError: As `read_cube`.
    """
    path = Path(path)
    return _content(path, _existing(path), key).load()


def tell(path: Path, notes: Sequence[str]) -> None:
    """Warns of what was guessed or left out, a line each."""
    for note in notes:
        warnings.warn(f"{path}: {note}", DataNote, stacklevel=3)


def _existing(path: Path) -> Format:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; check the path")
    return find_format(path)


def _content(path: Path, known: Format, key: str | None) -> Content:
    if key is not None and not known.keyed:
        raise DataError(f"{path}: key={key!r}, but this format holds a single array; leave it out")
    try:
        return load_module(path, known.module).read(path, key)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check it") from error


def _load(path: Path, content: Content) -> tuple[np.ndarray, np.ndarray | None]:
    """The values [B, H, W] and the mask of the file, if it has one."""
    try:
        array = content.load().reshape(content.shape)
        mask = None if content.mask is None else content.mask()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check it") from error
    _require_real(path, array.dtype)
    axes = content.axes or "BHW"
    return array.transpose([axes.index(axis) for axis in "BHW"]), mask


def _require_real(path: Path, dtype: np.dtype) -> None:
    if not is_real(dtype):
        raise DataError(
            f"{path}: holds {dtype} values; make them real numbers first "
            "(of complex ones, take the magnitude or the real part)"
        )


def spectrum_of(content: Content) -> tuple[np.ndarray | None, np.ndarray | None, list[str]]:
    """Band centres and widths in nm, and what was left out of them."""
    bands = shape_of(content)[0]
    notes: list[str] = []
    found = [centres_in_nm(lengths, bands) for lengths in content.wavelengths]
    chosen = next((lengths for lengths in found if lengths.values is not None), None)
    if chosen is None:
        notes += [lengths.note for lengths in found if lengths.note]
    elif chosen.note:
        notes.append(chosen.note)
    factor = 1.0 if chosen is None else chosen.factor
    widths = [widths_in_nm(lengths, bands, factor) for lengths in content.widths]
    width = next((lengths for lengths in widths if lengths.values is not None), None)
    if width is None:
        notes += [lengths.note for lengths in widths if lengths.note]
    centres = None if chosen is None else chosen.values
    return centres, None if width is None else width.values, notes


def _empty_bands(valid: np.ndarray | None) -> list[int]:
    """Bands without a single measurement, where others have some."""
    if valid is None or valid.ndim == 2:
        return []
    return [band for band, here in enumerate(valid) if not here.any()]


def number_ranges(numbers: Sequence[int]) -> str:
    """Numbers from 0 as people write them, from 1: 1-3, 7."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    text = [f"{g[0] + 1}" if len(g) == 1 else f"{g[0] + 1}-{g[-1] + 1}" for g in groups]
    return ", ".join(text[:20]) + (", .." if len(text) > 20 else "")
