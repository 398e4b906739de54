"""What a format has no place for, as one line of JSON: written by us and read by us."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from datamodules.file_facts import Georeference
from datamodules.formats.axes import is_order
from datamodules.formats.content import Outgoing
from datamodules.formats.wavelengths import Lengths

NAME = "lightning_ras2s"  # of a variable, attribute or tag with the note
FIELDS = (
    "axes", "wavelengths_nm", "fwhm_nm", "nodata", "bad_bands", "scale_factor", "add_offset",
    "crs", "transform", "header",
)  # fmt: skip


def write_note(scene: Outgoing, native: Collection[str] = ()) -> str:
    """The note of a scene without what the format holds by itself; empty where nothing is left."""
    file = scene.file
    place = file.georeference or Georeference()
    values: dict[str, Any] = {
        "axes": file.axes,
        "wavelengths_nm": None
        if scene.wavelengths is None
        else list(map(float, scene.wavelengths)),
        "fwhm_nm": None if scene.fwhm is None else list(map(float, scene.fwhm)),
        "nodata": file.nodata,
        "bad_bands": list(scene.bad_bands) or None,
        "scale_factor": file.scale_factor,
        "add_offset": file.add_offset,
        "crs": place.crs,
        "transform": place.transform,
        "header": {key: str(value) for key, value in file.header.items()} or None,
    }
    left = {key: v for key, v in values.items() if v is not None and key not in native}
    return json.dumps(left) if left else ""


def _listed(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def read_note(text: object) -> dict[str, Any]:
    """What a note says, as arguments of `Content`; empty for what is no note of ours."""
    if isinstance(text, np.ndarray):
        text = str(text.ravel()[0]) if text.size else ""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    try:
        values = json.loads(str(text))
    except ValueError:
        return {}
    if not isinstance(values, Mapping) or not values.keys() <= set(FIELDS):
        return {}
    try:
        return _arguments(values)
    except (TypeError, ValueError):
        return {}


def _arguments(values: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if is_order(values.get("axes")):
        said["axes"] = values["axes"]
    if "wavelengths_nm" in values:
        said["wavelengths"] = [_nm(values["wavelengths_nm"], "wavelengths")]
    if "fwhm_nm" in values:
        said["widths"] = [_nm(values["fwhm_nm"], "fwhm")]
    if "nodata" in values:
        said["nodata"] = (float(values["nodata"]),)
    if "bad_bands" in values:
        said["bad_bands"] = tuple(map(int, values["bad_bands"]))
    for key in ("scale_factor", "add_offset"):
        if key in values:
            said[key] = float(values[key])
    if "crs" in values or "transform" in values:
        transform = values.get("transform")
        numbers = None if transform is None else tuple(map(float, transform))
        said["georeference"] = Georeference(values.get("crs"), numbers)  # type: ignore[arg-type]
    if "header" in values:
        said["header"] = dict(values["header"])
    return said


def _nm(values: Any, source: str) -> Lengths:
    return Lengths(np.array(values, np.float64), "nm", source)
