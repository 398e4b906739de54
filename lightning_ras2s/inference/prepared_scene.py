"""A file's scene as a denoiser takes it: float32, its range at 0 to 1, without gaps, upright."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from datamodules.nodata import MOST_SENTINELS, describe_sentinel, find_sentinel, find_valid
from datamodules.readers import Nodata, declared_nodata
from datamodules.scene import DataError, Window
from datamodules.windows import Source
from lightning_ras2s.inference.direction import lines_run_along_rows
from lightning_ras2s.inference.part_folder import PREPARED, PartFolder
from lightning_ras2s.inference.scaling import Range, RangeFinder, fill_band, range_of_file

LOOKED = 50  # bands at most, for the direction of lines
ROWS = 2**22  # values of a block of rows that is read or written at once
ALL = slice(None)
Direction = Literal["auto", "columns", "rows"]
FileScale = Literal["auto", "file"] | tuple[float, float]
Report = Callable[[str, int, int], None]  # step, done, of so many


class PreparedScene:
    """A scene of any size, in a file beside the output; made once, and then only opened.

    Args:
        source: The file.
        parts: Where it is kept.
        scale: ``auto`` finds the range; ``file`` is what the file says is 0 and 1; or two numbers.
        direction: Of stripes and dead lines; ``auto`` finds it.
        nodata: As `read_scene` has it.
        report: Is told how far it is.

    Attributes:
        path: Of the file.
        noisy: [U, H, W], the used bands, [U, W, H] if they are turned.
        used: The numbers of the bands that are neither bad nor constant, U of them.
        range: What is seen as 0 and 1, less ``base``.
        base: What was taken off the file's numbers before they became float32.
        turned: Whether rows and columns have changed places, so that lines run along columns.
        has_gaps: Whether values are missing somewhere.
        notes: What was guessed or left alone.

    Raises:
        DataError: If no band has two different valid values, or the file cannot be read.
    """

    def __init__(
        self,
        source: Source,
        parts: PartFolder,
        scale: FileScale,
        direction: Direction,
        nodata: Nodata,
        report: Report,
    ) -> None:
        self.path = source.path
        self._source, self._parts, self._report = source, parts, report
        self._valid: np.ndarray | None = None
        self._limits = source.content.limits if nodata is None else (-np.inf, np.inf)
        self._nodata = [*declared_nodata(source.path, source.nodata, nodata)]
        bands, height, width = source.shape
        noisy = parts.array("noisy", (bands, height, width))
        if not parts.is_done(PREPARED):
            base, gaps = self._read(noisy)
            told = [] if nodata is not None else self._find_undeclared(noisy, base)
            found = self._look(noisy, gaps or bool(told), base, scale, direction)
            found["notes"] = [*told, *found["notes"]]
            parts.finish(PREPARED, **found, nodata=self._nodata)
        facts = parts.facts(PREPARED)
        self._nodata = facts["nodata"]
        self.notes: list[str] = facts["notes"]
        self.used: list[int] = facts["used"]
        self.turned: bool = facts["turned"]
        self.has_gaps: bool = facts["gaps"]
        self.range = Range(*facts["range"])
        self.base: float = facts["base"]
        size = (width, height) if self.turned else (height, width)
        self.noisy = noisy.reshape(bands, *size)[: len(self.used)]

    def blocks(self) -> Iterator[Window]:
        """Blocks of the file's rows, with all bands."""
        bands, height, width = self._source.shape
        rows = max(1, ROWS // (bands * width))
        for top in range(0, height, rows):
            self._report("rows", top, height)
            yield ALL, slice(top, min(height, top + rows)), ALL

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray | None]:
        """The file's numbers in a window, and where they are measurements; None if all are."""
        values = self._source.read(window)
        valid = find_valid(values, self._nodata, self._source.mask(window), self._limits)
        return values, None if valid is None else np.broadcast_to(valid, values.shape)

    def removed(self, result: np.ndarray, place: int, rows: slice) -> np.ndarray:
        """What a result [U, ...] lacks of a used band's rows, as they lie in the file, 0 to 1."""
        here = (place, ALL, rows) if self.turned else (place, rows)
        difference = np.asarray(self.noisy[here], np.float64) - result[here]
        return difference.T if self.turned else difference

    def window(self, cube: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """A part of a cube that lies as ``noisy`` does, as the file has it: [U, h, w]."""
        if self.turned:
            return np.array(cube[:, columns, rows].transpose(0, 2, 1), order="C")
        return np.array(cube[:, rows, columns])

    def valid(self) -> np.ndarray | None:
        """Where the used bands hold measurements, as ``noisy`` lies, in a file; None if all do."""
        if not self.has_gaps or self._valid is not None:
            return self._valid
        valid = self._valid = self._parts.array("valid", self.noisy.shape, np.bool_)
        for window in self.blocks():
            values, here = self.read(window)
            part = (np.ones(values.shape, bool) if here is None else here)[self.used]
            if self.turned:
                valid[:, :, window[1]] = part.transpose(0, 2, 1)
            else:
                valid[:, window[1]] = part
        return valid

    def _read(self, noisy: np.ndarray) -> tuple[float, bool]:
        """Writes the scene as float32, NaN where nothing is.

        Returns:
            What was taken off, and whether anything is missing.
        """
        base, gaps = None, False
        for window in self.blocks():
            values, valid = self.read(window)
            if base is None:
                base = _base_of(values if valid is None else values[valid])
            with np.errstate(over="ignore", invalid="ignore"):
                noisy[window] = values if base == 0 else values - base
            if valid is not None:
                noisy[window][~valid] = np.nan
                gaps = True
        return base or 0.0, gaps

    def _find_undeclared(self, noisy: np.ndarray, base: float) -> list[str]:
        """Leaves out numbers that alone set the range; what is to be told of them."""
        told = []
        for _ in range(MOST_SENTINELS):
            if (sentinel := find_sentinel(noisy, None, self._source.bad_bands)) is None:
                break
            value, nearest = sentinel.value + base, sentinel.nearest + base
            told.append(describe_sentinel(sentinel._replace(value=value, nearest=nearest)))
            if not sentinel.is_masked:
                break
            self._nodata.append(value)
            for band in noisy:
                band[band == np.float32(sentinel.value)] = np.nan
        return told

    def _look(
        self, noisy: np.ndarray, gaps: bool, base: float, scale: FileScale, direction: Direction
    ) -> dict[str, Any]:
        """Fills what is missing, scales what is used, turns the bands if lines run along rows."""
        finder, used, idle = RangeFinder(), [], []
        missing = 0
        for number, band in enumerate(noisy):
            self._report("bands", number, len(noisy))
            there = np.isfinite(band)
            missing += int(there.size - there.sum())
            values = band[there]
            is_idle = not values.size or values.min() == values.max()
            if number in self._source.bad_bands or is_idle:
                idle.append(number)
                continue
            used.append(number)
            filled = fill_band(band, there)
            noisy[number] = filled
            if scale == "auto":
                finder.add(filled, there if gaps else None)
        if not used:
            raise DataError(
                f"{self._source.path}: no band has two different valid values; there is nothing to "
                "denoise"
            )
        if scale == "auto":
            found = finder.range()
        else:
            file, name = self._source.file, str(self.path)
            low, high = range_of_file(file, name) if scale == "file" else scale
            found = Range(low - base, high - base)
        turned = direction == "rows" or (
            direction == "auto"
            and lines_run_along_rows(np.asarray(noisy[n]) for n in used[:: -(-len(used) // LOOKED)])
        )
        for place, number in enumerate(used):  # used bands move to the front
            band = (np.asarray(noisy[number], np.float64) - found.low) / (found.high - found.low)
            noisy[place] = (band.T if turned else band).reshape(noisy.shape[1:])
        return {
            "range": list(found),
            "base": base,
            "used": used,
            "turned": turned,
            "gaps": gaps,
            "notes": _notes(
                missing,
                noisy.size,
                len(idle),
                turned and direction == "auto",
                Range(found.low + base, found.high + base),
            ),
        }


def _notes(missing: int, size: int, idle: int, found_turned: bool, ends: Range) -> list[str]:
    notes = []
    if missing:
        notes.append(f"{missing} of {size} values are nodata: put back as they were")
    if idle:
        notes.append(f"{idle} bad or constant bands pass through as they are")
    if found_turned:
        notes.append("stripes or dead lines run along rows: turned (--direction=columns if not)")
    notes.append(f"taken as 0 to 1: {ends.low:g} to {ends.high:g} (--scale says others)")
    return notes


def _base_of(values: np.ndarray) -> float:
    """What float32 is spared, where numbers are large and differ little, such as 1e9 + 0 to 1."""
    if not values.size:
        return 0.0
    middle = float(np.median(values))
    return middle if float(values.max()) - float(values.min()) < 1e-3 * abs(middle) else 0.0
