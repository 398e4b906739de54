"""What is assessed: a scene that was denoised just now, or files."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.windows import Source
from lightning_ras2s.inference.denoise_file import Job
from lightning_ras2s.inference.denoised_scene import DenoisedScene
from lightning_ras2s.inference.prepared_scene import PreparedScene
from lightning_ras2s.quality.assessment import Part, Subject


def denoised_now(source: Source, done: DenoisedScene, job: Job, output: Path) -> Subject:
    """The scene of a file that was denoised just now."""
    known = done.learned is not None
    return Subject(
        **_facts(source, done.scene),
        read=lambda rows, columns: Part(*done.read(rows, columns)),
        denoised=output.name,
        method=method_record(job),
        denoiser=done.denoise,
        strength=done.strength,
        error=done.error_of_bands() if known else None,
        standard_error=done.standard_error if known else None,
    )


def of_files(
    source: Source,
    scene: PreparedScene,
    denoised: Source | None,
    job: Job | None,
    error: np.ndarray | None,
) -> Subject:
    """The scene of a file, and what became of it in another one.

    Args:
        source: The noisy file.
        scene: Its scene.
        denoised: The denoised file, of the same shape.
        job: The method that made it, if that is known.
        error: What it predicted of each band, in the units of the file, likewise.
    """
    facts = _facts(source, scene)
    low, size = facts["low"], facts["size"]

    def read(rows: slice, columns: slice) -> Part:
        noisy = scene.window(scene.noisy, rows, columns)
        valid = scene.valid()
        there = None if valid is None else scene.window(valid, rows, columns)
        if denoised is None:
            return Part(noisy, None, there)
        _, height, width = source.shape
        whole = slice(*rows.indices(height)[:2]), slice(*columns.indices(width)[:2])
        values = denoised.read((slice(None), *whole))[scene.used].astype(np.float64)
        clean = ((values - low) / size).astype(np.float32)
        finite = np.isfinite(clean)
        if not finite.all():
            clean = np.where(finite, clean, noisy)
            there = finite if there is None else there & finite
        return Part(noisy, clean, there)

    if error is not None:
        error = error / size if len(error) == len(scene.used) else None
    if denoised is None or job is None:
        return Subject(
            **facts, read=read, denoised=None if denoised is None else denoised.path.name
        )
    made = DenoisedScene(scene, scene.noisy, None, job.denoise, job.strength)
    return Subject(
        **facts,
        read=read,
        denoised=denoised.path.name,
        method=method_record(job),
        denoiser=made.denoise,
        strength=job.strength,
        error=error,
    )


def _facts(source: Source, scene: PreparedScene) -> dict[str, Any]:
    wavelengths = source.wavelengths
    return {
        "name": source.path.name,
        "shape": (len(scene.used), *source.shape[1:]),
        "bands": np.array(scene.used),
        "wavelengths": None if wavelengths is None else np.asarray(wavelengths)[scene.used],
        "low": scene.range.low + scene.base,
        "size": scene.range.high - scene.range.low,
        "is_reflectance": source.file.is_reflectance,
        "notes": [*source.notes, *scene.notes],
    }


def method_record(job: Job) -> dict[str, Any]:
    """What is noted of a method, so that it can be used again."""
    return {
        "key": job.method.key,
        "label": job.method.label,
        "weights": job.weights,
        "identity": job.identity,
        "strength": job.strength,
    }
