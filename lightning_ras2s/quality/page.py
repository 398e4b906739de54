"""``NAME.quality.html``: one page without a network that shows what was found about a scene."""

import base64
from io import BytesIO
from typing import Any

import numpy as np

from lightning_ras2s.evaluation import NOISY
from lightning_ras2s.pages.packed import Quantised
from lightning_ras2s.pages.template import render
from lightning_ras2s.pages.viewer import (
    Measure,
    SceneCase,
    ViewedScene,
    page_that_fits,
    what_fits,
)
from lightning_ras2s.pictures.drawing import SIGNED_MAP
from lightning_ras2s.quality.assessment import Quality
from lightning_ras2s.quality.findings import findings, name_of_band

WORST = 10  # bands in the table
UNITS = "units of the file"


def quality_page(quality: Quality) -> str:
    """Makes the page of a scene, smaller than 25 MB; the pictures are cropped where they must be.

    Args:
        quality: What was found.

    Returns:
        HTML that asks for nothing from outside.
    """
    subject, (trust, lines) = quality.subject, findings(quality)
    snr = quality.snr
    values = {
        "title": subject.denoised or subject.name,
        "quality": quality,
        "trust": trust,
        "lines": lines,
        "worst": [(name_of_band(subject, place), place) for place in np.argsort(snr)[:WORST]],
        "snr": snr,
        "snr_after": quality.snr_after,
        "noise_charts": _noise_charts(quality),
        "removed_charts": _removed_charts(quality),
        "averaged": None if quality.removed is None else _picture(quality.removed.averaged),
    }
    return page_that_fits(
        _viewed(quality),
        lambda scene, **viewer: render("quality.html", scene=scene, **viewer, **values),
    )


def _viewed(quality: Quality) -> ViewedScene:
    """The scene, in the units of the file."""
    subject = quality.subject
    count = 1 + (subject.denoised is not None) + (subject.standard_error is not None)
    dtype, rows, columns = what_fits(subject.shape, count)
    window = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
    part = subject.read(*window)

    def quantised(cube: np.ndarray, low: float) -> Quantised:
        values = low + subject.size * cube
        return Quantised.of(
            values if part.valid is None else np.where(part.valid, values, np.nan), dtype
        )

    cubes, sigma = {NOISY: quantised(part.noisy, subject.low)}, {NOISY: quality.before.sigma}
    if part.denoised is not None:
        name = str(subject.method["label"]) if subject.method else "Denoised"
        cubes[name] = quantised(part.denoised, subject.low)
        if quality.sigma_after is not None:
            sigma[name] = quality.sigma_after
    error = None
    if subject.standard_error is not None:
        error = quantised(subject.standard_error(*window), 0)
    noise = {name: np.where(s > 0, subject.size * s, np.nan) for name, s in sigma.items()}
    measures = {"sigma": Measure(f"sigma ({UNITS})", noise, log=True)}
    case = SceneCase("measured", cubes, measures=measures, error=error)
    return ViewedScene(
        subject.shape,
        rows,
        columns,
        [case],
        clean=None,
        wavelengths=subject.wavelengths,
        is_reflectance=subject.is_reflectance,
        numbers=subject.bands,
        units=UNITS,
    )


def _noise_charts(quality: Quality) -> list[dict[str, Any]]:
    before, subject = quality.before, quality.subject
    made = []
    if before.eigenvalues.size:
        values = np.maximum(before.eigenvalues, 1e-3)
        number = np.arange(1, len(values) + 1)
        made.append(
            {
                "title": "Eigenvalues, in units of the noise",
                "x": number.tolist(),
                "lines": [_line("eigenvalue", values, "--noisy")],
                "titles": {"x": "number", "y": ""},
                "log": True,
                "marks": [{"y": 1}, {"x": before.dimensions + 0.5}],
            }
        )
    if before.brightness.size:
        x = subject.low + subject.size * before.brightness
        made.append(
            {
                "title": "Noise by brightness, of all noise",
                "x": x.tolist(),
                "lines": [_line("noise", before.by_brightness, "--noisy")],
                "titles": {"x": f"brightness ({UNITS})", "y": ""},
                "limits": [0, 1.1 * float(before.by_brightness.max())],
            }
        )
    return made


def _removed_charts(quality: Quality) -> list[dict[str, Any]]:
    removed = quality.removed
    if removed is None:
        return []
    curves = {
        "rows below": (removed.down, "--blue"),
        "columns right": (removed.across, "--purple"),
        "bands": (removed.spectral, "--green"),
    }
    longest = max(values.size for values, _ in curves.values())
    if not longest:
        return []
    return [
        {
            "title": "How alike neighbours are in what was removed (noise: 0)",
            "x": list(range(1, longest + 1)),
            "lines": [_line(name, values, colour) for name, (values, colour) in curves.items()],
            "titles": {"x": "steps", "y": "correlation"},
            "limits": [-1, 1],
            "marks": [{"y": 0}],
        }
    ]


def _line(name: str, values: np.ndarray, colour: str) -> dict[str, Any]:
    return {"name": name, "values": np.asarray(values, float).tolist(), "colour": f"var({colour})"}


def _picture(image: np.ndarray) -> str:
    """A signed image [H, W] as a data URL; white is zero."""
    import matplotlib as mpl
    from PIL import Image

    end = float(np.percentile(np.abs(image), 99)) or 1.0
    colours = mpl.colormaps[SIGNED_MAP]((image / end).clip(-1, 1) / 2 + 0.5, bytes=True)[..., :3]
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
