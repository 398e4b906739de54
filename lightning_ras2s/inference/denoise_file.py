"""A file in, a file out: scenes of any size, in bounded memory, and begun again where it stopped.

The steps, each of which is kept in ``.NAME.part`` until the output is whole: the scene as float32
with what is missing filled; its range, its bad bands and the direction of its lines; the denoised
tiles; the refined scene. At the end what was removed is taken off the file's own numbers, window
by window, so that what is left alone stays to the last bit.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from datamodules.nodata import MOST_SENTINELS, describe_sentinel, find_sentinel, find_valid
from datamodules.readers import Nodata, declared_nodata
from datamodules.scene import DataError, Window
from datamodules.windows import Source, create_scene, open_scene, require_format
from lightning_ras2s.inference.direction import lines_run_along_rows
from lightning_ras2s.inference.part_folder import PREPARED, PartFolder
from lightning_ras2s.inference.scaling import Range, RangeFinder, fill_band, take_off
from lightning_ras2s.inference.subspace import MOST, refine
from lightning_ras2s.inference.tiles import SMALLEST, Tiling, fit_tiles
from lightning_ras2s.methods import Method

LOOKED = 50  # bands at most, for the direction of lines
ROWS = 2**22  # values of a block of rows that is read or written at once
MEMORY = 600 * 2**20  # bytes that a tile may take on a CPU
SHARE = 0.6  # of a GPU's free memory
Direction = Literal["auto", "columns", "rows"]
Report = Callable[[str, int, int], None]  # step, done, of so many


@dataclass(frozen=True)
class Job:
    """What is to be done with a file.

    Attributes:
        method: Denoises it.
        denoiser: What it does to [N, B, H, W] on the device, without +S.
        identity: Of the method's weights.
        device: Where it computes.
        scale: ``auto``, or the values that are seen as 0 and 1.
        strength: Share of what is taken for noise that is removed.
        direction: Of stripes and dead lines; ``auto`` finds it.
        tile: Pixels of a tile's own along each side; by default as many as the memory allows.
        key: As `read_scene` has it.
        axes: Likewise.
        nodata: Likewise.
        report: Is told how far it is.
    """

    method: Method
    denoiser: Callable[[Tensor], Tensor]
    identity: str
    device: torch.device
    scale: Literal["auto"] | tuple[float, float] = "auto"
    strength: float = 1.0
    direction: Direction = "auto"
    tile: int | None = None
    key: str | None = None
    axes: str | None = None
    nodata: Nodata = None
    report: Report = lambda *_: None


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        path: Of the output.
        notes: What was guessed or left alone.
        tiles: That were computed now.
    """

    path: Path
    notes: list[str]
    tiles: int


def denoise_file(path: str | PathLike[str], output: str | PathLike[str], job: Job) -> Outcome:
    """Denoises a file.

    Args:
        path: The noisy scene.
        output: Where the clean one goes; its ending tells the format.
        job: How.

    Raises:
        DataError: If the input cannot be read, holds no valid value or is the output, or the output
            cannot be written.
    """
    path, output = Path(path), Path(output)
    with open_scene(path, job.key, job.axes) as source:
        if output.exists() and output.samefile(path):
            raise DataError(f"{output}: is the input; choose another name for the output")
        require_format(output, source)
        plan = _plan(path, source, job)
        with PartFolder(output, plan, _bytes_needed(source, job)) as parts:
            run = _Run(source, job, parts)
            run.prepare()
            tiles = run.denoise_tiles()
            run.refine()
            run.write(output)
        return Outcome(output, [*source.notes, *run.notes], tiles)


def _plan(path: Path, source: Source, job: Job) -> dict[str, Any]:
    state = path.stat()
    return {
        "input": [str(path.resolve()), state.st_size, state.st_mtime_ns],
        "shape": source.shape,
        "method": job.method.key,
        "weights": job.identity,
        "scale": job.scale,
        "direction": job.direction,
        "tile": job.tile,
        "read": [job.key, job.axes, job.nodata],
    }


def _bytes_needed(source: Source, job: Job) -> int:
    """Of the disk, in the step that takes most beside the output, which is made at the end."""
    bands, height, width = source.shape
    tiling = _first_tiling(source.shape, job)
    overlap = sum(tiling.sizes()) / (height * width)
    joining = 4 * (2 + overlap)  # the scene, its tiles, and what is joined of them; float32
    # The scene, its pilots, reference and result; three masks; coefficients of two rounds.
    refining = 4 * 5 + 3 + 4 * 4 * min(MOST, bands) / bands
    most = max(joining, refining) if job.method.refined else joining
    return int(bands * height * width * (most + source.dtype.itemsize))


def _first_tiling(shape: tuple[int, int, int], job: Job) -> Tiling:
    bands, height, width = shape
    if job.tile is not None:
        return Tiling(height, width, job.tile)
    return fit_tiles(height, width, bands, _memory(job.device))


class _Run:
    """One file on its way through the steps."""

    def __init__(self, source: Source, job: Job, parts: PartFolder) -> None:
        self.source, self.job, self.parts = source, job, parts
        self.notes: list[str] = []
        self.facts: dict[str, Any] = {}
        self.nodata = [*declared_nodata(source.path, source.nodata, job.nodata)]
        self.base: float | None = None

    # -------------------------------------------------------------------------------- the scene

    def prepare(self) -> None:
        """Reads the scene, and finds its range, its idle bands and the direction of its lines."""
        bands, height, width = self.source.shape
        noisy = self.parts.array("noisy", (bands, height, width))
        if not self.parts.is_done(PREPARED):
            gaps = self._read(noisy)
            told = self._find_undeclared(noisy) if self.job.nodata is None else []
            found = self._look(noisy, gaps or bool(told))
            found["notes"] = [*told, *found["notes"]]
            self.parts.finish(PREPARED, **found, nodata=self.nodata)
        self.facts = self.parts.facts(PREPARED)
        self.notes += self.facts["notes"]
        self.nodata = self.facts["nodata"]
        self.turned: bool = self.facts["turned"]
        self.used: list[int] = self.facts["used"]
        self.range = Range(*self.facts["range"])
        size = (width, height) if self.turned else (height, width)
        self.noisy = noisy.reshape(bands, *size)[: len(self.used)]

    def _blocks(self) -> Iterator[Window]:
        """Blocks of rows with all bands."""
        bands, height, width = self.source.shape
        rows = max(1, ROWS // (bands * width))
        everything = slice(None)
        for top in range(0, height, rows):
            self.job.report("rows", top, height)
            yield everything, slice(top, min(height, top + rows)), everything

    def _valid(self, window: Window, values: np.ndarray) -> np.ndarray | None:
        limits = self.source.content.limits if self.job.nodata is None else (-np.inf, np.inf)
        return find_valid(values, self.nodata, self.source.mask(window), limits)

    def _read(self, noisy: np.ndarray) -> bool:
        """Writes the scene as float32, NaN where nothing is; tells whether that is anywhere."""
        gaps = False
        for window in self._blocks():
            values = self.source.read(window)
            valid = self._valid(window, values)
            if self.base is None:
                self.base = _base_of(values, valid)
            with np.errstate(over="ignore", invalid="ignore"):
                noisy[window] = values if self.base == 0 else values - self.base
            if valid is not None:
                noisy[window][np.broadcast_to(~valid, values.shape)] = np.nan
                gaps = True
        return gaps

    def _find_undeclared(self, noisy: np.ndarray) -> list[str]:
        """Leaves out numbers that alone set the range; what is to be told of them."""
        told = []
        for _ in range(MOST_SENTINELS):
            if (sentinel := find_sentinel(noisy, None, self.source.bad_bands)) is None:
                break
            base = self.base or 0.0
            value, nearest = sentinel.value + base, sentinel.nearest + base
            told.append(describe_sentinel(sentinel._replace(value=value, nearest=nearest)))
            if not sentinel.is_masked:
                break
            self.nodata.append(value)
            for band in noisy:
                band[band == np.float32(sentinel.value)] = np.nan
        return told

    def _look(self, noisy: np.ndarray, gaps: bool) -> dict[str, Any]:
        """Fills what is missing, scales what is used, turns the bands if lines run along rows."""
        finder, used, idle, notes = RangeFinder(), [], [], []
        missing = 0
        for number, band in enumerate(noisy):
            self.job.report("bands", number, len(noisy))
            there = np.isfinite(band)
            missing += int(there.size - there.sum())
            values = band[there]
            is_idle = not values.size or values.min() == values.max()
            if number in self.source.bad_bands or is_idle:
                idle.append(number)
                continue
            used.append(number)
            filled = fill_band(band, there)
            noisy[number] = filled
            if self.job.scale == "auto":
                finder.add(filled, there if gaps else None)
        if not used:
            raise DataError(
                f"{self.source.path}: no band has two different valid values; there is nothing to "
                "denoise"
            )
        scale = self.job.scale
        base = self.base or 0.0
        found = finder.range() if scale == "auto" else Range(*(end - base for end in scale))
        turned = self.job.direction == "rows" or (
            self.job.direction == "auto"
            and lines_run_along_rows(np.asarray(noisy[n]) for n in used[:: -(-len(used) // LOOKED)])
        )
        for place, number in enumerate(used):  # used bands move to the front
            band = (np.asarray(noisy[number], np.float64) - found.low) / (found.high - found.low)
            flat = band.T if turned else band
            noisy[place] = flat.reshape(noisy.shape[1:])
        if missing:
            notes.append(f"{missing} of {noisy.size} values are nodata: put back as they were")
        if idle:
            notes.append(f"{len(idle)} bad or constant bands pass through as they are")
        if turned and self.job.direction == "auto":
            notes.append(
                "stripes or dead lines run along rows: turned (--direction=columns if not)"
            )
        ends = " to ".join(f"{end + base:g}" for end in found)
        notes.append(f"taken as 0 to 1: {ends} (--scale says others)")
        return {
            "range": list(found),
            "base": self.base,
            "used": used,
            "turned": turned,
            "gaps": gaps,
            "notes": notes,
        }

    # -------------------------------------------------------------------------------- the tiles

    def denoise_tiles(self) -> int:
        """Denoises tiles that are not there yet, halved where the memory ends, and joins them.

        Returns:
            How many were computed.
        """
        bands, height, width = self.noisy.shape
        self.denoised = self.parts.array("denoised", (bands, height, width))
        if self.parts.is_done("denoised"):
            return 0
        if self.parts.is_done("tiling"):
            tiling = Tiling(**self.parts.facts("tiling"))
        else:
            tiling = _first_tiling((bands, height, width), self.job)
        computed = 0
        while True:
            self.parts.finish("tiling", **tiling.__dict__)
            try:
                computed += self._compute(tiling)
                break
            except (torch.OutOfMemoryError, MemoryError):
                half = max(SMALLEST, min(tiling.own, max(height, width)) // 2)
                if half >= tiling.own:
                    raise
                self.parts.remove("tile_*.npy")
                tiling = Tiling(height, width, half)
        tiles = [np.load(self.parts.tile(n), mmap_mode="r") for n in range(len(tiling))]
        for band in range(bands):
            self.job.report("joining", band, bands)
            tiling.blend([tile[band] for tile in tiles], self.denoised[band])
        self.denoised.flush()
        self.parts.finish("denoised")
        del tiles
        self.parts.remove("tile_*.npy")
        return computed

    def _compute(self, tiling: Tiling) -> int:
        computed = 0
        for number, (rows, columns) in enumerate(tiling.windows()):
            self.job.report("tiles", number, len(tiling))
            if self.parts.tile(number).exists():
                continue
            window = np.array(self.noisy[:, rows, columns])
            with torch.inference_mode():
                image = torch.from_numpy(window).to(self.job.device)
                result = self.job.denoiser(image[None])[0].float().cpu().numpy()
            if not np.isfinite(result).all():
                raise DataError(f"{self.source.path}: {self.job.method.label} gave NaN or Inf")
            self.parts.keep_tile(number, result)
            computed += 1
        return computed

    # ------------------------------------------------------------------------------ the refined

    def refine(self) -> None:
        """+S, with the statistics of the whole scene."""
        self.result = self.denoised
        if not self.job.method.refined:
            return
        if self.parts.is_done("refined"):
            self.result = self.parts.array("result", self.noisy.shape)
            return
        self.job.report("refining", 0, 1)
        noisy, denoised = (torch.from_numpy(cube) for cube in (self.noisy, self.denoised))
        valid = self._valid_scene()
        trusted = self.job.method.kind == "network"
        repeats = self.job.method.repeats
        refined, _ = refine(noisy, denoised, valid, repeats, trusted, self.parts.new)
        self.result = self.parts.array("result", self.noisy.shape)
        self.result[...] = refined.numpy()
        self.result.flush()
        self.parts.finish("refined")

    def _valid_scene(self) -> Tensor | None:
        """Where the used bands hold measurements, in a file."""
        if not self.facts["gaps"]:
            return None
        valid = self.parts.array("valid", self.noisy.shape, np.bool_)
        for window in self._blocks():
            values = self.source.read(window)
            here = self._valid(window, values)
            there = np.ones(values.shape, bool) if here is None else here
            part = np.broadcast_to(there, values.shape)[self.used]
            if self.turned:
                valid[:, :, window[1]] = part.transpose(0, 2, 1)
            else:
                valid[:, window[1]] = part
        return torch.from_numpy(valid)

    # ------------------------------------------------------------------------------- the output

    def write(self, output: Path) -> None:
        """Takes what was removed off the file's own numbers."""
        size = self.job.strength * (self.range.high - self.range.low)
        with create_scene(output, like=self.source) as sink:
            for window in self._blocks():
                values = self.source.read(window)
                valid = self._valid(window, values)
                there = None if valid is None else np.broadcast_to(valid, values.shape)
                for place, band in enumerate(self.used):
                    removed = self._removed(place, window[1])
                    kept = None if there is None else there[band]
                    values[band] = take_off(values[band], removed * size, kept)
                sink.write(window, values)

    def _removed(self, place: int, rows: slice) -> np.ndarray:
        """What was taken off a used band's rows, on the network's scale."""
        here = (place, slice(None), rows) if self.turned else (place, rows)
        difference = np.asarray(self.noisy[here], np.float64) - self.result[here]
        return difference.T if self.turned else difference


def _base_of(values: np.ndarray, valid: np.ndarray | None) -> float:
    """What float32 is spared, where numbers are large and differ little, such as 1e9 + 0 to 1."""
    there = values if valid is None else values[np.broadcast_to(valid, values.shape)]
    if not there.size:
        return 0.0
    middle = float(np.median(there))
    return middle if float(there.max()) - float(there.min()) < 1e-3 * abs(middle) else 0.0


def _memory(device: torch.device) -> int:
    """Bytes that a tile may take."""
    if device.type == "cuda":
        return int(SHARE * torch.cuda.mem_get_info(device)[0])
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return MEMORY
    return min(MEMORY, int(SHARE * free))


def identity_of(network: torch.nn.Module | None) -> str:
    """Tells weights apart: a hash over all of them; empty for a method without."""
    if network is None:
        return ""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
