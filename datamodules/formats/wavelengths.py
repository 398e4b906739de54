"""Numbers of a file -> band centres and widths in nm, or why they are none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NM = (200.0, 20000.0)  # what is taken for a wavelength, in nm; in um likewise
UNSAID = ("", "unknown", "<unspecified>", "unspecified", "none")
FACTORS = {"nm": 1.0, "um": 1e3}
VALUE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s].*)?")

# Names of variables, without case, digits' neighbours and what is no letter; the best comes first.
NAMES = (
    "wavelength",
    "wavelengths",
    "centerwavelength",
    "centerwavelengths",
    "centrewavelength",
    "centrewavelengths",
    "centralwavelength",
    "centralwavelengths",
    "wavelengthnm",
    "wavelengthsnm",
    "wavelengthum",
    "wavelengthsum",
    "bandcenters",
    "bandcentres",
    "lambda",
    "lambdas",
    "wl",
    "wls",
    "wvl",
    "wave",
    "waves",
    "listcw",
    "bands",
)
WIDTH_NAMES = ("fwhm", "fwhms", "fwhmnm", "fwhmum", "listfwhm", "bandwidth", "bandwidths")


@dataclass(frozen=True)
class Lengths:
    """Numbers that may be lengths of waves.

    Attributes:
        values: [n].
        unit: As the file names it; empty where it does not.
        source: Where they are, for people.
        is_doubtful: Whether the name alone does not say that they are lengths, as ``bands``.
    """

    values: np.ndarray
    unit: str = ""
    source: str = "wavelengths"
    is_doubtful: bool = False


class InNm(NamedTuple):
    """Lengths in nm, or why there are none; ``note`` is empty where there is nothing to tell."""

    values: np.ndarray | None
    factor: float = 1.0  # nm per unit of the file
    note: str = ""


def plain_name(name: str) -> str:
    """A variable's name as in ``NAMES``."""
    return re.sub(r"[^a-z]", "", name.rpartition("/")[2].lower())


def unit_in_name(name: str) -> str:
    """The unit that a variable's name ends with, such as ``wavelength_nm``; empty for none."""
    plain = plain_name(name)
    return plain[-2:] if plain in NAMES + WIDTH_NAMES and plain.endswith(("nm", "um")) else ""


def find_unit(text: str) -> str | None:
    """``nm``, ``um``, ``""`` where nothing is said; None for other units."""
    plain = text.strip().strip("\"'").casefold().replace("μ", "u").replace("µ", "u")
    if plain in UNSAID:
        return ""
    if plain.startswith(("nanomet", "nm")):
        return "nm"
    if plain.startswith(("micromet", "micron", "um")):
        return "um"
    return None


def parse_list(texts: Sequence[str], source: str, unit: str = "") -> Lengths | str:
    """Lengths of a list such as 450, 460 or 450 nm, 460 nm; why it is none, in words, otherwise."""
    values, units = [], set()
    for text in texts:
        match = VALUE.fullmatch(text.strip())
        if match is None:
            return f"{source}: {text.strip()!r} is no number; wavelengths are left out"
        values.append(float(match[1]))
        units.add((match[2] or "").strip())
    if len(units) > 1:
        return f"{source}: several units ({', '.join(sorted(units))}); wavelengths are left out"
    return Lengths(np.array(values), units.pop() if units and units != {""} else unit, source)


def centres_in_nm(lengths: Lengths, bands: int) -> InNm:
    """Band centres in nm.

    The unit that the file names counts, unless the numbers cannot be in it: then they tell, and so
    they do where none is named.
    """
    values, what = np.asarray(lengths.values, np.float64), lengths.source
    if len(values) != bands:
        return InNm(None, note=f"{what}: {len(values)} for {bands} bands; left out")
    if np.array_equal(values, np.arange(bands)) or np.array_equal(values, np.arange(bands) + 1):
        note = "" if lengths.is_doubtful else f"{what}: only numbers the bands; left out"
        return InNm(None, note=note)
    unit = find_unit(lengths.unit)
    if unit is None:
        return InNm(
            None,
            note=f"{what}: in {lengths.unit.strip()!r}, neither nm nor um; left out: convert them",
        )
    for candidate in (unit, "nm", "um") if unit else ("nm", "um"):
        factor = FACTORS[candidate]
        inside = (values * factor >= NM[0]) & (values * factor <= NM[1])
        if np.isfinite(values).all() and inside.all():
            told = f"{what}: said to be in {unit}, taken as {candidate}"
            return InNm(values * factor, factor, told if unit not in ("", candidate) else "")
    return InNm(
        None,
        note=f"{what}: from {values.min():g} to {values.max():g} are no wavelengths in nm or um; "
        "left out",
    )


def widths_in_nm(lengths: Lengths, bands: int, factor: float) -> InNm:
    """Widths (FWHM) in nm; where no unit is said, ``factor`` nm a unit, as the centres have."""
    values, what = np.asarray(lengths.values, np.float64), lengths.source
    if len(values) != bands:
        return InNm(None, note=f"{what}: {len(values)} for {bands} bands; left out")
    unit = find_unit(lengths.unit)
    if unit is None or not (np.isfinite(values).all() and (values > 0).all()):
        return InNm(None, note=f"{what}: no widths in nm or um; left out")
    return InNm(values * (FACTORS[unit] if unit else factor))
