"""The files that an assessment leaves: NAME.quality.html, and NAME.quality.json beside it."""

from collections.abc import Callable
from pathlib import Path

from datamodules.atomic_write import atomic_write
from datamodules.scene import DataError
from datamodules.windows import Source
from lightning_ras2s.inference.denoise_file import Job
from lightning_ras2s.inference.denoised_scene import DenoisedScene
from lightning_ras2s.quality.assessment import Quality, Subject, assess
from lightning_ras2s.quality.record import write_record
from lightning_ras2s.quality.subjects import denoised_now
from lightning_ras2s.quality.target import read_target


def after_denoising(
    job: Job, output: Path, target: str | None
) -> Callable[[Source, DenoisedScene], None]:
    """What a denoising does at its end: it assesses the scene and writes the page.

    Args:
        job: How it is denoised.
        output: The denoised file.
        target: The file of a spectrum to look for.

    Returns:
        For ``Job.then``.
    """

    def then(source: Source, done: DenoisedScene) -> None:
        try:
            quality = assess_for(denoised_now(source, done, job, output), source, target)
            write_page(quality, page_of(output))
        except (ValueError, OSError) as error:
            raise DataError(
                f"{output}: is written, but its page is not ({error}); --no-page leaves it out"
            ) from error

    return then


def assess_for(subject: Subject, source: Source, target: str | None) -> Quality:
    """Assesses the scene of a file, looking for the spectrum of another one, if there is one."""
    if target is None:
        return assess(subject)
    bands = source.shape[0]
    return assess(subject, read_target(target, source.wavelengths, bands, subject.bands))


def write_page(quality: Quality, page: Path) -> None:
    """Writes the page, and the record beside it."""
    from lightning_ras2s.quality.page import quality_page

    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_record(quality, record_path(page))
        text = quality_page(quality)
        with atomic_write(page) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{page}: cannot be written ({error.strerror or error}); choose another --output"
        ) from error


def page_of(file: Path) -> Path:
    """The page of a file: NAME.quality.html."""
    name = file.name.removesuffix(".html").removesuffix(".quality")
    return file.with_name(f"{Path(name).stem if file.suffix != '.html' else name}.quality.html")


def record_path(page: Path) -> Path:
    """The record beside a page."""
    return page.with_suffix(".json")
