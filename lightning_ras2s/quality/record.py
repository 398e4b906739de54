"""``NAME.quality.json``: what was found out about a scene, for programs, as the schema says."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.atomic_write import atomic_write
from datamodules.scene import DataError
from lightning_ras2s.quality.assessment import Quality
from lightning_ras2s.quality.findings import findings
from lightning_ras2s.quality.noise import NoiseReport

VERSION = 1
SCHEMA = Path(__file__).with_name("quality.schema.json")


def record_of(quality: Quality) -> dict[str, Any]:
    """A quality as plain values; sigmas, stripes and errors are in the units of the file."""
    subject, removed, kept = quality.subject, quality.removed, quality.signal_kept
    found = findings(quality)
    record = {
        "version": VERSION,
        "scene": subject.name,
        "denoised": subject.denoised,
        "method": subject.method,
        "shape": subject.shape,
        "measured": quality.measured,
        "range": [subject.low, subject.low + subject.size],
        "bands": {"number": subject.bands, "wavelength_nm": subject.wavelengths},
        "trust": found.trust,
        "findings": found.lines,
        "notes": subject.notes,
        "noise_before": _noise(quality.before, quality, quality.before.sigma, quality.snr),
        "noise_after": quality.after
        and _noise(quality.after, quality, quality.sigma_after, quality.snr_after),
        "removed": removed
        and {
            "sigma": removed.sigma * subject.size,
            "sigma_of_noise": removed.of_noise,
            "alike_down": removed.down,
            "alike_across": removed.across,
            "alike_bands": removed.spectral,
            "edges": removed.edges,
            "survives_averaging": removed.survives,
            "averaged_alike": removed.averaged_alike,
            "white_in_space": removed.is_white_in_space,
            "white_in_spectrum": removed.is_white_in_spectrum,
            "holds_scene": removed.holds_scene,
        },
        "signal_kept": kept
        and {
            "target": kept.name,
            "absorption": kept.target,
            "pixels": kept.pixels,
            "depth": kept.depths,
            "auc_before": kept.found_before,
            "auc_after": kept.found_after,
            "share": kept.share,
            "share_error": kept.share_error,
            "lost": kept.is_lost,
            "strength": kept.strength,
        },
        "uncertainty": None
        if subject.error is None
        else {"standard_error": subject.error * subject.size},
    }
    return _plain(record)


def _noise(noise: NoiseReport, quality: Quality, sigma: Any, snr: Any) -> dict[str, Any]:
    subject = quality.subject
    return {
        "sigma": sigma * subject.size,
        "sigma_spectral_regression": noise.spectral * subject.size,
        "sigma_homogeneous_blocks": noise.blocks * subject.size,
        "snr": snr,
        "ranked": subject.bands[np.argsort(snr, kind="stable")],
        "column_striping_index": noise.column_stripes,
        "row_striping_index": noise.row_stripes,
        "striped_columns": noise.striped_columns,
        "striped_rows": noise.striped_rows,
        "dead_columns": noise.dead_columns,
        "dead_rows": noise.dead_rows,
        "dead_pixels": noise.dead_pixels,
        "shared_by_bands": noise.shared,
        "brightness": subject.low + subject.size * noise.brightness,
        "sigma_by_brightness": noise.by_brightness,
        "growth_with_brightness": noise.growth,
        "eigenvalues": noise.eigenvalues,
        "dimensions": noise.dimensions,
    }


def _plain(value: Any) -> Any:
    """Numbers, text, lists and objects of JSON; what is not a finite number is null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def write_record(quality: Quality, path: Path) -> None:
    """Writes it, whole or not at all."""
    text = json.dumps(record_of(quality), indent=1)
    with atomic_write(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """Reads it.

    Raises:
        DataError: If there is none, or it is of another version.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no quality of a scene ({error})") from None
    if version != VERSION:
        raise DataError(f"{path}: is of version {version}, and this program reads {VERSION}")
    return record
