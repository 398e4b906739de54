"""What a file says about itself, kept with the scene so that it can be written again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Georeference:
    """Where a scene lies on Earth.

    Attributes:
        crs: The coordinate reference system as WKT; None where the file names none.
        transform: (a, b, c, d, e, f), so that x = a column + b row + c and y = d column + e row + f
            at the upper left corner of a pixel, in the units of the system; None where unknown.
    """

    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None


@dataclass(frozen=True)
class FileFacts:
    """How a file holds its cube, and what else it says.

    Attributes:
        format: Module of ``datamodules.formats`` that reads it, such as ``envi``.
        key: Name of the variable; None in formats of a single array.
        axes: Order of the axes in the file, such as "HWB".
        dtype: Type of the file's numbers.
        nodata: The number that stands for "nothing here"; None where there is none.
        interleave: Of an ENVI file: bsq, bil or bip.
        scale_factor: Physical units per unit of the file: value x scale_factor + add_offset. It is
            not applied: scenes and `read_cube` hold the file's numbers.
        add_offset: Likewise.
        georeference: Where the scene lies; None where the file does not say.
        header: The file's other fields: text of an ENVI header, attributes of an HDF5 dataset.
    """

    format: str = ""
    key: str | None = None
    axes: str = "BHW"
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))
    nodata: float | None = None
    interleave: str | None = None
    scale_factor: float | None = None
    add_offset: float | None = None
    georeference: Georeference | None = None
    header: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_reflectance(self) -> bool:
        """Whether ENVI's reflectance scale factor is there, or a field speaks of reflectance.

        Not if one speaks of radiance, too.
        """
        said = " ".join(f"{name} {value}" for name, value in self.header.items()).lower()
        scaled = self.interleave is not None and self.scale_factor is not None
        return (scaled or "reflectance" in said) and "radiance" not in said
