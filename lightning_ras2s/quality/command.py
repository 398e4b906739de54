"""The command behind `ras2s quality`."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.scene import DataError
from datamodules.windows import open_scene
from lightning_ras2s.cli import fail
from lightning_ras2s.inference.command import MISTAKES, scale_of
from lightning_ras2s.inference.denoise import default_device, devices_of, make_job
from lightning_ras2s.inference.denoise_file import Job
from lightning_ras2s.inference.part_folder import PartFolder
from lightning_ras2s.inference.prepared_scene import PreparedScene
from lightning_ras2s.methods import find
from lightning_ras2s.quality.assessment import Quality
from lightning_ras2s.quality.files import assess_for, page_of, record_path, write_page
from lightning_ras2s.quality.findings import findings
from lightning_ras2s.quality.record import read_record
from lightning_ras2s.quality.subjects import of_files


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="ras2s quality",
        description="Tells how noisy a scene is and, given what was made of it, what was taken, "
        "what became of weak signals and how sure it is: NAME.quality.html and .json.",
    )
    made.add_argument("scene", help="the noisy file, of any format")
    made.add_argument("denoised", nargs="?", help="what a denoiser made of it")
    made.add_argument(
        "--method", help="what made it, for the test of weak signals; noted by ras2s denoise"
    )
    made.add_argument("--weights", help="a checkpoint of the method; ours by default")
    made.add_argument(
        "--strength", type=float, help="at which the method denoised it; 1 if not said"
    )
    made.add_argument("--target", help="a spectrum to look for: wavelength (nm) and value a line")
    made.add_argument("-o", "--output", help="NAME of the page; by default of the (denoised) file")
    made.add_argument("--key", help="variable of a .mat, .h5 or .npz file")
    made.add_argument("--axes", help="order of the scene's axes, such as HWB")
    made.add_argument("--nodata", help="the number that stands for nothing, or none")
    made.add_argument(
        "--scale", nargs="+", default=["auto"], metavar="VALUE", help="as of ras2s denoise"
    )
    made.add_argument(
        "--direction",
        choices=("auto", "columns", "rows"),
        default="auto",
        help="along which stripes and dead lines run",
    )
    made.add_argument("--device", help="cpu, cuda, ...; a GPU if there is one")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code: 0; 2 if a file cannot be assessed or an option is none.
    """
    options = parser().parse_args(args)
    try:
        quality, page = assess_files(options)
    except MISTAKES as error:
        return fail(" ".join(str(error).split()), 2)
    for note in quality.subject.notes:
        print(f"{options.scene}: {note}", file=sys.stderr)  # noqa: T201
    for line in findings(quality).lines:
        print(line)  # noqa: T201
    print(f"-> {page}")  # noqa: T201
    return 0


def assess_files(options: argparse.Namespace) -> tuple[Quality, Path]:
    """Assesses the files of a command, and writes the page.

    Returns:
        What was found, and the page.

    Raises:
        DataError: If a file cannot be read, or the two do not fit together.
        ValueError: If the method or the scale is none.
    """
    scale = scale_of(options.scale)
    subject_name = Path(options.denoised or options.scene)
    page = page_of(Path(options.output) if options.output else subject_name)
    second = open_scene(options.denoised) if options.denoised else nullcontext()
    with open_scene(options.scene, options.key, options.axes) as source, second as denoised:
        if denoised is not None and denoised.shape != source.shape:
            raise DataError(
                f"{options.denoised}: has {denoised.shape} bands, height and width, and "
                f"{options.scene} {source.shape}; give the file that was made of it"
            )
        job, error = _job(options) if options.denoised else (None, None)
        plan = {"quality": str(page)}
        needed = 2 * 4 * int(np.prod(source.shape))
        parts = PartFolder(record_path(page), plan, needed)
        try:
            scene = PreparedScene(
                source, parts, scale, options.direction, options.nodata, lambda *_: None
            )
            subject = of_files(source, scene, denoised, job, error)
            quality = assess_for(subject, source, options.target)
            write_page(quality, page)
        finally:
            parts.close()
    return quality, page


def _job(options: argparse.Namespace) -> tuple[Job | None, np.ndarray | None]:
    """The method that made the denoised file, as the command or the file's own record says.

    Returns:
        The method, and the error of each band that it predicted; None where nothing is known.
    """
    method, weights, strength = options.method, options.weights, options.strength
    if method is None and (weights is not None or strength is not None):
        raise ValueError("--weights and --strength are of a method: say which (--method=ras2s+s)")
    if strength is not None and not 0 <= strength <= 1:
        raise ValueError(f"--strength={strength}; give a share from 0 to 1")
    made: dict[str, Any] = {}
    error = None
    if method is None:
        noted = record_path(page_of(Path(options.denoised)))
        record = read_record(noted) if noted.exists() else {}
        made = record.get("method") or {}
        if not made:
            return None, None
        method, weights, strength = (made[name] for name in ("key", "weights", "strength"))
        if record["uncertainty"] is not None:
            error = np.array(record["uncertainty"]["standard_error"], np.float64)
    devices = devices_of(options.device) if options.device else (default_device(),)
    job = make_job(find(method), weights, devices, strength=1.0 if strength is None else strength)
    if made and job.identity != made["identity"].split(" ")[0]:
        raise DataError(
            f"{weights or 'the weights of the package'}: are not those that {options.denoised} was "
            "made with; say --method=... --weights=..."
        )
    return job, error


if __name__ == "__main__":
    sys.exit(main())
