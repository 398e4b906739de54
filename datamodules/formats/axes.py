"""In which order a file has its axes: what it says, what its wavelengths say, what sizes tell."""

import re
from collections.abc import Sequence
from typing import NamedTuple

WORDS = {
    "H": ["h", "y", "row", "rows", "line", "lines", "height", "lat", "latitude", "downtrack"],
    "W": [
        "w",
        "x",
        "col",
        "cols",
        "column",
        "columns",
        "sample",
        "samples",
        "width",
        "lon",
        "longitude",
        "crosstrack",
    ],
    "B": [
        "b",
        "c",
        "z",
        "i",
        "q",
        "band",
        "bands",
        "channel",
        "channels",
        "lambda",
        "wl",
        "wavelength",
        "wavelengths",
        "spectral",
    ],
}


class Order(NamedTuple):
    """The order of the axes, letters of "BHW", and what it follows from; ``note`` tells a guess."""

    axes: str
    why: str
    note: str = ""


def is_order(text: object) -> bool:
    """Whether it is an order of B, H and W."""
    return isinstance(text, str) and sorted(text) == ["B", "H", "W"]


def parse_order(text: object) -> str | None:
    """An order from a note such as "BHW", "CYX" or "wavelength:y:x"; None if it is none."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if not isinstance(text, str):
        return None
    words = [word for word in re.split(r"[^a-z]+", text.strip().lower()) if word]
    return order_of_words(words if len(words) > 1 else list("".join(words)))


def order_of_words(words: Sequence[str]) -> str | None:
    """An order from the names of three axes."""
    letters = [
        next((letter for letter, known in WORDS.items() if word.lower() in known), "?")
        for word in words
    ]
    return "".join(letters) if sorted(letters) == ["B", "H", "W"] else None


def order_by_sizes(shape: tuple[int, ...]) -> str | None:
    """The order of axes where nothing says it: bands are the fewest, rows come before columns.

    Returns:
        "BHW", "HBW" or "HWB"; None where two sizes are smallest.
    """
    smallest = min(shape)
    if shape.count(smallest) > 1:
        return None
    return _with_bands_at(shape.index(smallest))


def guess_order(shape: tuple[int, ...], numbers: Sequence[int], usual: str | None) -> Order | None:
    """The order where the file does not say it.

    Args:
        shape: Of the array.
        numbers: Of wavelengths that the file has: an axis of that length holds the bands.
        usual: Of the format, such as "HWB"; None where there is none, and sizes tell.

    Returns:
        None where nothing tells.
    """
    for number in numbers:
        places = [place for place, size in enumerate(shape) if size == number]
        if len(places) == 1:
            return Order(_with_bands_at(places[0]), f"by its {number} wavelengths")
        if places:
            usually = (usual or "BHW").index("B")
            place = usually if usually in places else places[0]
            return _told(shape, _with_bands_at(place))
    by_sizes = order_by_sizes(shape)
    if usual is None:
        return None if by_sizes is None else _told(shape, by_sizes)
    if shape[1] == shape[2] and by_sizes == "BHW" and shape[0] > 1:
        return _told(shape, by_sizes)  # as Python saves it: nobody's square has so many bands
    if shape[usual.index("B")] == min(shape):
        return Order(usual, "the usual order of the format")
    return _told(shape, usual)


def _with_bands_at(place: int) -> str:
    return "HW"[:place] + "B" + "HW"[place:]


def _told(shape: tuple[int, ...], axes: str) -> Order:
    bands, height, width = (shape[axes.index(letter)] for letter in "BHW")
    return Order(
        axes,
        "a guess from the sizes",
        f"read as {bands} bands x {height} x {width} (axes={axes!r}, a guess from the sizes "
        f"{' x '.join(map(str, shape))}); say axes= if not",
    )
