"""What GDAL's tags say of the bands of a file, however they were read."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from datamodules.formats.envi import lengths_in_names
from datamodules.formats.note import NAME, read_note
from datamodules.formats.wavelengths import Lengths, parse_list

CENTRES = ("wavelength", "wavelengths", "central_wavelength", "center_wavelength", "lambda")
UNITS = ("wavelength_units", "wavelength_unit", "wavelength units", "units", "unit")
NEUTRAL = {"scale_factor": 1.0, "add_offset": 0.0}
Tags = Mapping[str, str]


def facts_of_tags(
    tags: Sequence[Tags],
    imagery: Sequence[Tags],
    descriptions: Sequence[str | None],
    scaling: Mapping[str, Sequence[float]],
    dataset: Tags,
) -> dict[str, Any]:
    """What tags say, as arguments of `Content`.

    Args:
        tags: Of each band.
        imagery: Of each band in GDAL's domain IMAGERY.
        descriptions: Of each band.
        scaling: ``scale_factor`` and ``add_offset`` of each band.
        dataset: Of the whole file.
    """
    wavelengths, notes = _wavelengths(descriptions, tags, imagery)
    said: dict[str, Any] = {
        "wavelengths": wavelengths,
        "widths": _of_all(imagery, "FWHM_UM", "um"),
        "notes": notes,
    }
    for name, values in scaling.items():
        if len(set(values)) > 1:
            notes.append(f"each band has a {name} of its own; none is applied")
        elif values and values[0] != NEUTRAL[name]:
            said[name] = float(values[0])
    return said | read_note(dataset.get(NAME, ""))


def parse_metadata(xml: str, bands: int) -> dict[str, Any]:
    """The XML that GDAL keeps in a TIFF, as arguments of `facts_of_tags`."""
    tags: list[dict[str, str]] = [{} for _ in range(bands)]
    imagery: list[dict[str, str]] = [{} for _ in range(bands)]
    descriptions: list[str | None] = [None] * bands
    scaling = {name: [neutral] * bands for name, neutral in NEUTRAL.items()}
    roles = {"scale": scaling["scale_factor"], "offset": scaling["add_offset"]}
    dataset: dict[str, str] = {}
    for item in ElementTree.fromstring(xml).iter("Item"):
        text, role, band = item.text or "", item.get("role"), int(item.get("sample", "-1"))
        if band >= bands:
            continue
        if band < 0:
            dataset[item.get("name", "")] = text
        elif role == "description":
            descriptions[band] = text
        elif role in roles:
            roles[role][band] = float(text)
        elif item.get("domain") == "IMAGERY":
            imagery[band][item.get("name", "")] = text
        else:
            tags[band][item.get("name", "")] = text
    return {
        "tags": tags,
        "imagery": imagery,
        "descriptions": descriptions,
        "scaling": scaling,
        "dataset": dataset,
    }


def _wavelengths(
    descriptions: Sequence[str | None], tags: Sequence[Tags], imagery: Sequence[Tags]
) -> tuple[list[Lengths], list[str]]:
    lowered = [{key.lower(): value for key, value in tag.items()} for tag in tags]
    units = {next((t[name] for name in UNITS if name in t), "") for t in lowered}
    unit = units.pop() if len(units) == 1 else ""
    found: list[Lengths] = []
    notes: list[str] = []
    for name in CENTRES:
        values = [tag[name] for tag in lowered if name in tag]
        if not values or len(values) < len(lowered):
            continue
        parsed = parse_list(values, f"tags {name} of the bands", unit)
        if isinstance(parsed, Lengths):
            found.append(parsed)
        else:
            notes.append(parsed)
    found += _of_all(imagery, "CENTRAL_WAVELENGTH_UM", "um")
    if all(descriptions):
        found += lengths_in_names([str(text) for text in descriptions], "", "descriptions")
    return found, notes


def _of_all(imagery: Sequence[Tags], name: str, unit: str) -> list[Lengths]:
    """A number of every band."""
    values = [tag[name] for tag in imagery if name in tag]
    parsed = parse_list(values, name, unit) if values and len(values) == len(imagery) else ""
    return [parsed] if isinstance(parsed, Lengths) else []
