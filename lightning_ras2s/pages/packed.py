"""Cubes and masks inside a page: as whole numbers, deflated, in base64."""

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 4  # of zlib: 3 % more bytes than the usual 6, in a third of the time


@dataclass(frozen=True)
class Quantised:
    """A cube as whole numbers: ``low + step * codes``, off by half a step at most.

    Each band has its own range, so that an outlier coarsens no other. The highest code is what is
    not a number; infinite values are the ends of the band's range.

    Attributes:
        codes: [B, H, W].
        low: What code 0 stands for, [B].
        step: From one code to the next, [B].
    """

    codes: np.ndarray
    low: np.ndarray
    step: np.ndarray

    @classmethod
    def of(cls, cube: np.ndarray, dtype: type[np.unsignedinteger]) -> "Quantised":
        """Spreads the codes of ``dtype`` over the range of each band's finite values."""
        cube, unknown = cube.astype(np.float64), np.iinfo(dtype).max
        of_band: dict[str, Any] = {"axis": (1, 2), "keepdims": True, "where": np.isfinite(cube)}
        low, high = cube.min(initial=np.inf, **of_band), cube.max(initial=-np.inf, **of_band)
        low, high = np.where(low <= high, (low, high), 0.0)  # else the band has no finite value
        step = (high - low) / (unknown - 1)
        codes = ((cube.clip(low, high) - low) / np.where(step > 0, step, 1)).round()
        codes[np.isnan(cube)] = unknown
        return cls(codes.astype(dtype), low.ravel(), step.ravel())

    def cut(self, rows: slice, columns: slice) -> "Quantised":
        """The same of some rows and columns."""
        return Quantised(self.codes[:, rows, columns], self.low, self.step)

    def decode(self) -> np.ndarray:
        """The cube, float64."""
        values = self.low[:, None, None] + self.step[:, None, None] * self.codes
        return np.where(self.codes == np.iinfo(self.codes.dtype).max, np.nan, values)


class Blobs:
    """The arrays of a page, each an element of its own that is unpacked when it is needed."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> list[str]:
        """The contents of the elements."""
        return list(self._numbers)

    def put(self, codes: np.ndarray) -> int:
        """Packs unsigned whole numbers [B, H, W].

        The text begins with ``=`` or, where the differences from band to band take less room and
        stand in their place, with ``+``.

        Returns:
            The number of their element, one for all equal arrays.
        """
        differences = np.diff(codes, axis=0, prepend=np.zeros_like(codes[:1]))
        packed = {"=": _packed(codes), "+": _packed(differences)}
        mark = min(packed, key=lambda each: len(packed[each]))
        return self._numbers.setdefault(mark + packed[mark], len(self._numbers))

    def put_bytes(self, content: bytes) -> int:
        """Packs a file; gives the number of its element."""
        text = base64.b64encode(zlib.compress(content, LEVEL)).decode()
        return self._numbers.setdefault("=" + text, len(self._numbers))

    def cube(self, cube: Quantised) -> dict[str, Any]:
        """Packs a cube; gives what the page reads it with."""
        return {"blob": self.put(cube.codes), "low": cube.low.tolist(), "step": cube.step.tolist()}


def _packed(codes: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(codes.tobytes(), LEVEL)).decode()
