"""A file in, a file out: scenes of any size, in bounded memory, and begun again where it stopped.

The steps, each of which is kept in ``.NAME.part`` until the output is whole: the prepared scene;
the denoised tiles; the refined scene. At the end what was removed is taken off the file's own
numbers, window by window, so that what is left alone stays to the last bit.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.readers import Nodata
from datamodules.scene import DataError
from datamodules.windows import Source, create_scene, open_scene, require_format
from lightning_ras2s.inference.denoised_scene import DenoisedScene
from lightning_ras2s.inference.part_folder import PartFolder
from lightning_ras2s.inference.prepared_scene import Direction, FileScale, PreparedScene, Report
from lightning_ras2s.inference.scaling import take_off
from lightning_ras2s.inference.subspace import FEWEST_BANDS, MOST, SMALLEST_SIDE, Learned, refine
from lightning_ras2s.inference.tiles import SMALLEST, Tiling, fit_tiles
from lightning_ras2s.methods import Method

MEMORY = 600 * 2**20  # bytes that a tile may take on a CPU
SHARE = 0.6  # of a GPU's free memory
JOINED = 16  # bytes for each value of a tile whose bands are denoised by windows


@dataclass(frozen=True)
class Job:
    """What is to be done with a file.

    Attributes:
        method: Denoises it.
        denoiser: What it does to [N, B, H, W] on any of the devices, without +S.
        identity: Of the method's weights.
        devices: That share the tiles.
        weights: The file of the method's weights; None for those of the package.
        scale: As `PreparedScene` has it.
        strength: Share of what is taken for noise that is removed.
        direction: As `PreparedScene` has it.
        tile: Pixels of a tile's own along each side; by default as many as the memory allows.
        key: As `read_scene` has it.
        axes: Likewise.
        nodata: Likewise.
        report: Is told how far it is.
        uncertainty: The file for the predicted standard error of each value.
        then: Looks at what became of the scene, after the output was written.
    """

    method: Method
    denoiser: Callable[[Tensor], Tensor]
    identity: str
    devices: tuple[torch.device, ...]
    weights: str | None = None
    scale: FileScale = "auto"
    strength: float = 1.0
    direction: Direction = "auto"
    tile: int | None = None
    key: str | None = None
    axes: str | None = None
    nodata: Nodata = None
    report: Report = lambda *_: None
    uncertainty: Path | None = None
    then: Callable[[Source, DenoisedScene], None] | None = None

    @property
    def wants_error(self) -> bool:
        """Whether a refinement's errors are asked for, which no earlier process has left."""
        return self.uncertainty is not None or self.then is not None

    def denoise(self, noisy: Tensor) -> Tensor:
        """What the method makes of a cube [B, H, W] in the memory."""
        noisy = noisy.to(self.devices[0])
        denoised = self.denoiser(noisy[None])[0].float()
        return refine(noisy, denoised)[0] if self.method.refined else denoised


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
        DataError: If the input cannot be read, holds no valid value or is the output, an output
            cannot be written, or an uncertainty is wanted that nothing predicts.
    """
    path, output = Path(path), Path(output)
    with open_scene(path, job.key, job.axes) as source:
        if output.exists() and output.samefile(path):
            raise DataError(f"{output}: is the input; choose another name for the output")
        require_format(output, source)
        if job.uncertainty is not None:
            _require_error(job.uncertainty, source, job)
        plan = _plan(path, source, job)
        with PartFolder(output, plan, _bytes_needed(source, job)) as parts:
            options = job.scale, job.direction, job.nodata, job.report
            scene = PreparedScene(source, parts, *options)
            denoised, tiles = _Tiles(scene, job, parts).denoise()
            result, learned = _refine(scene, denoised, job, parts)
            _write(scene, result, source, job, output)
            done = DenoisedScene(scene, result, learned, job.denoise, job.strength)
            if job.uncertainty is not None:
                _write_error(done, source, job.uncertainty)
            if job.then is not None:
                try:
                    job.then(source, done)
                finally:
                    parts.close()  # the output is whole: there is nothing to go on with
        return Outcome(output, [*source.notes, *scene.notes], tiles)


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
    refining = 4 * 5 + 3 + 4 * 6 * min(MOST, bands) / bands
    most = max(joining, refining) if job.method.refined else joining
    return int(bands * height * width * (most + source.dtype.itemsize))


def _first_tiling(shape: tuple[int, int, int], job: Job) -> Tiling:
    bands, height, width = shape
    if job.tile is not None:
        return Tiling(height, width, job.tile)
    at_once = min(bands, job.method.bands or bands)
    per_value = job.method.bytes * at_once / bands + (JOINED if at_once < bands else 0)
    return fit_tiles(height, width, bands, min(map(_memory, job.devices)), per_value)


class _Tiles:
    """The tiles of a scene: each is computed once, also by a process that was killed since."""

    def __init__(self, scene: PreparedScene, job: Job, parts: PartFolder) -> None:
        self.scene, self.job, self.parts = scene, job, parts

    def denoise(self) -> tuple[np.ndarray, int]:
        """Denoises tiles that are not there yet, halved where the memory ends, and joins them.

        Returns:
            The denoised scene, and how many tiles were computed.
        """
        bands, height, width = self.scene.noisy.shape
        denoised = self.parts.array("denoised", (bands, height, width))
        if self.parts.is_done("denoised"):
            return denoised, 0
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
            tiling.blend([tile[band] for tile in tiles], denoised[band])
        denoised.flush()
        self.parts.finish("denoised")
        del tiles
        self.parts.remove("tile_*.npy")
        return denoised, computed

    def _compute(self, tiling: Tiling) -> int:
        """The tiles that are missing; every device takes the next one when it is free."""
        windows = list(tiling.windows())
        missing = [n for n in range(len(windows)) if not self.parts.tile(n).exists()]
        waiting, lock = iter(missing), Lock()

        def next_ones() -> Iterator[int]:
            while True:
                with lock:
                    number = next(waiting, None)
                if number is None:
                    return
                yield number

        def work(device: torch.device) -> None:
            for number in next_ones():
                self.job.report("tiles", number, len(windows))
                try:
                    self._compute_one(number, windows[number], device)
                except BaseException:
                    with lock:  # the others end, too, each with the tile that it has
                        for _ in waiting:
                            pass
                    raise

        others = self.job.devices[1:]
        with ThreadPoolExecutor(max(1, len(others))) as pool:
            futures = [pool.submit(work, device) for device in others]
            work(self.job.devices[0])
        for future in futures:
            future.result()
        return len(missing)

    def _compute_one(self, number: int, window: tuple[slice, slice], device: torch.device) -> None:
        image = np.array(self.scene.noisy[:, *window])
        with torch.inference_mode():
            noisy = torch.from_numpy(image).to(device)
            result = self.job.denoiser(noisy[None])[0].float().cpu().numpy()
        if not np.isfinite(result).all():
            raise DataError(f"{self.scene.path}: {self.job.method.label} gave NaN or Inf")
        self.parts.keep_tile(number, result)


def _refine(
    scene: PreparedScene, denoised: np.ndarray, job: Job, parts: PartFolder
) -> tuple[np.ndarray, Learned | None]:
    """+S, if it is wanted, with the statistics of the whole scene; and what it has learned."""
    if not job.method.refined:
        return denoised, None
    result, learned = parts.array("result", scene.noisy.shape), None
    if not parts.is_done("refined") or job.wants_error:
        job.report("refining", 0, 1)
        valid = scene.valid()
        refined, learned = refine(
            torch.from_numpy(scene.noisy),
            torch.from_numpy(denoised),
            None if valid is None else torch.from_numpy(valid),
            new=parts.new,
        )
        result[...] = refined.numpy()
        result.flush()
        parts.finish("refined")
    return result, learned


def _require_error(path: Path, source: Source, job: Job) -> None:
    """Checks that there will be an uncertainty, and a format for its file."""
    bands, height, width = source.shape
    if not job.method.refined:
        raise DataError(
            f"{path}: {job.method.label} predicts no error; choose --method={job.method.key}+s"
        )
    if bands < FEWEST_BANDS or min(height, width) < SMALLEST_SIDE:
        raise DataError(
            f"{path}: +S predicts the error of scenes of {FEWEST_BANDS} bands and "
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE} pixels or more, not of {source.shape}"
        )
    require_format(path, _of_errors(source))


def _of_errors(source: Source) -> Source:
    """A source whose file says the same, but for what errors do not have."""
    errors = copy(source)
    errors.file = replace(source.file, add_offset=None, nodata=None, dtype=np.dtype(np.float32))
    return errors


def _write_error(done: DenoisedScene, source: Source, path: Path) -> None:
    """Writes the predicted standard error of each value; NaN where nothing was denoised."""
    size = done.scene.range.high - done.scene.range.low
    if done.learned is None:
        raise DataError(f"{path}: too few bands hold more than one value to predict an error")
    with create_scene(path, like=_of_errors(source), dtype="float32") as sink:
        for window in done.scene.blocks():
            rows = window[1]
            values = np.full((source.shape[0], rows.stop - rows.start, source.shape[2]), np.nan)
            values[done.scene.used] = size * done.standard_error(rows, slice(None))
            valid = done.scene.read(window)[1]
            if valid is not None:
                values[~valid] = np.nan
            sink.write(window, values.astype(np.float32))


def _write(
    scene: PreparedScene, result: np.ndarray, source: Source, job: Job, output: Path
) -> None:
    """Takes what was removed off the file's own numbers."""
    size = job.strength * (scene.range.high - scene.range.low)
    with create_scene(output, like=source) as sink:
        for window in scene.blocks():
            values, valid = scene.read(window)
            for place, band in enumerate(scene.used):
                removed = scene.removed(result, place, window[1])
                kept = None if valid is None else valid[band]
                values[band] = take_off(values[band], removed * size, kept)
            sink.write(window, values)


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
