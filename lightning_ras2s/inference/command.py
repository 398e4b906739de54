"""The command behind `ras2s denoise`: files in, files out, a line each."""

import argparse
import glob
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datamodules.formats import find_format
from datamodules.readers import describe
from datamodules.scene import DataError
from lightning_ras2s.inference.denoise import default_device, devices_of, make_job
from lightning_ras2s.inference.denoise_file import Job, denoise_file
from lightning_ras2s.inference.prepared_scene import FileScale
from lightning_ras2s.inference.whole_cubes import both_ways, with_mirrored_bands
from lightning_ras2s.methods import find
from lightning_ras2s.quality.files import after_denoising, page_of
from lightning_ras2s.quality.target import read_table

MISTAKES = (DataError, ValueError, FileNotFoundError, NotADirectoryError)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="ras2s denoise",
        description="Denoises a file, a folder of files or a pattern such as 'scenes/*.hdr'.",
    )
    made.add_argument("input", help="a file of any format, a folder of such files, or a pattern")
    made.add_argument(
        "-o",
        "--output",
        required=True,
        help="the file to be (its ending tells the format); of several inputs, a folder",
    )
    made.add_argument("--method", default="ras2s+s", help="ras2s methods lists them")
    made.add_argument("--weights", help="a checkpoint, or a run's folder; ours by default")
    made.add_argument("--key", help="variable of a .mat, .h5 or .npz file")
    made.add_argument("--axes", help="order of the file's axes, such as HWB")
    made.add_argument("--nodata", help="the number that stands for nothing, or none")
    made.add_argument(
        "--scale",
        nargs="+",
        default=["auto"],
        metavar="VALUE",
        help="LOW HIGH: the values seen as 0 and 1; file: those that the file declares",
    )
    made.add_argument("--strength", type=float, default=1.0, help="share of the noise to remove")
    made.add_argument(
        "--direction",
        choices=("auto", "columns", "rows"),
        default="auto",
        help="along which stripes and dead lines run",
    )
    made.add_argument(
        "--ensemble", action="store_true", help="also with the bands reversed: twice the time"
    )
    made.add_argument(
        "--mirrored-bands",
        type=int,
        default=0,
        metavar="N",
        help="so many in front and behind, for weights that are weak at the first and last band",
    )
    made.add_argument(
        "--uncertainty",
        metavar="FILE",
        help="the predicted standard error of each value; of several inputs, a folder",
    )
    made.add_argument("--target", help="a spectrum whose loss is tested: wavelength (nm) and value")
    made.add_argument(
        "--no-page", action="store_true", help="leaves out NAME.quality.html and .json"
    )
    made.add_argument("--tile", type=int, help="pixels of a tile's side; by the memory otherwise")
    made.add_argument("--device", help="cpu, cuda, cuda:0,cuda:1, ...; a GPU if there is one")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 2 if a file could not be denoised or an option is none.
    """
    options = parser().parse_args(args)
    try:
        pairs = _pairs(options.input, Path(options.output))
        job = _job(options)
        if not options.no_page:
            _require_pages([output for _, output in pairs])
    except MISTAKES as error:
        return _fail(error)
    code = 0
    for number, (path, output) in enumerate(pairs, start=1):
        count = f"[{number}/{len(pairs)}] " if len(pairs) > 1 else ""
        try:
            uncertainty = _uncertainty_of(options, path, several=len(pairs) > 1)
            this = replace(job, uncertainty=uncertainty)
            if not options.no_page:
                this = replace(this, then=after_denoising(this, output, options.target))
            print(count + _denoise(path, output, this))  # noqa: T201
        except MISTAKES as error:
            code = _fail(error)
        except OSError as error:
            code = _fail(DataError(f"{output}: cannot be written ({error.strerror or error})"))
    return code


def _job(options: argparse.Namespace) -> Job:
    if not 0 <= options.strength <= 1:
        raise ValueError(f"--strength={options.strength}; give a share from 0 to 1")
    if options.tile is not None and options.tile < 1:
        raise ValueError(f"--tile={options.tile}; give at least 1 pixel")
    if options.mirrored_bands < 0:
        raise ValueError(f"--mirrored-bands={options.mirrored_bands}; give at least 0")
    if options.target and options.no_page:
        raise ValueError("--target is for the page, which --no-page leaves out")
    if options.target:
        read_table(Path(options.target))  # told before anything is denoised
    job = make_job(
        find(options.method),
        options.weights,
        devices_of(options.device) if options.device else (default_device(),),
        scale=scale_of(options.scale),
        strength=options.strength,
        direction=options.direction,
        tile=options.tile,
        key=options.key,
        axes=options.axes,
        nodata=options.nodata,
    )
    if options.mirrored_bands:
        framed = with_mirrored_bands(job.denoiser, options.mirrored_bands)
        job = replace(job, denoiser=framed, identity=f"{job.identity} {options.mirrored_bands}")
    if options.ensemble:
        job = replace(job, denoiser=both_ways(job.denoiser), identity=f"{job.identity} both")
    return job


def _require_pages(outputs: list[Path]) -> None:
    """Checks that each output has a page of its own."""
    taken: dict[Path, Path] = {}
    for output in outputs:
        other = taken.setdefault(page_of(output), output)
        if other is not output:
            raise ValueError(
                f"{other} and {output} would share the page {page_of(output).name}; denoise them "
                "into folders of their own, or without pages (--no-page)"
            )


def _uncertainty_of(options: argparse.Namespace, path: Path, several: bool) -> Path | None:
    if options.uncertainty is None:
        return None
    file = Path(options.uncertainty)
    return file / path.name if several or (file.is_dir() and path.suffix) else file


def scale_of(words: list[str]) -> FileScale:
    """What ``--scale`` says.

    Raises:
        ValueError: If it is none.
    """
    if words in (["auto"], ["file"]):
        return words[0]  # type: ignore[return-value]
    try:
        low, high = (float(word) for word in words)
    except ValueError:
        low = high = 0.0
    if not low < high:
        said = " ".join(words)
        raise ValueError(f"--scale {said}; give the lowest and the highest value, auto or file")
    return low, high


def _pairs(pattern: str, output: Path) -> list[tuple[Path, Path]]:
    """The files to denoise, and what becomes of each."""
    path = Path(pattern)
    if path.is_dir() and not _is_cube(path):
        found = [file for file in sorted(path.iterdir()) if _is_cube(file)]
        if not found:
            raise DataError(f"{path}: no file in this folder holds a cube")
    elif path.exists() or not glob.has_magic(pattern):
        return [(path, output / path.name if output.is_dir() and path.suffix else output)]
    else:
        names = sorted(glob.glob(pattern))  # noqa: PTH207 (a pattern may be absolute)
        found = [file for name in names if _is_cube(file := Path(name))]
        if not found:
            raise DataError(f"{pattern}: no file of this pattern holds a cube")
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; {len(found)} scenes need a folder")
    return [(file, output / file.name) for file in found]


def _is_cube(path: Path) -> bool:
    """Whether a file is one, as far as it says; the numbers of an ENVI header are not twice."""
    if path.name.startswith("."):
        return False
    try:
        if find_format(path).module == "envi" and path.suffix.lower() != ".hdr":
            return False
        describe(path)
    except DataError as error:
        return path.is_file() and "cut off" in str(error)  # to be told
    return True


def _denoise(path: Path, output: Path, job: Job) -> str:
    start = time.monotonic()
    with _Progress(path) as progress:
        outcome = denoise_file(path, output, replace(job, report=progress))
    for note in outcome.notes:
        print(f"{path}: {note}", file=sys.stderr)  # noqa: T201
    seconds = time.monotonic() - start
    page = f"; may I trust it? {page_of(outcome.path)}" if job.then is not None else ""
    return f"{path} -> {outcome.path} ({job.method.label}, {seconds:.1f} s){page}"


def _fail(error: Exception) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
    return 2


class _Progress:
    """A bar for each step on a terminal; nothing elsewhere."""

    def __init__(self, path: Path) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn(path.name), TextColumn("{task.description}"), BarColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "_Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def __call__(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            for task in self._tasks.values():
                self._bar.update(task, visible=False)
            self._tasks[step] = self._bar.add_task(step, total=total)
        self._bar.update(self._tasks[step], completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())
