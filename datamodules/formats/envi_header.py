"""The text header of ENVI files: its fields, each with the line that it stands on."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.scene import DataError

TYPES = {
    1: "u1",
    2: "i2",
    3: "i4",
    4: "f4",
    5: "f8",
    6: "c8",
    9: "c16",
    12: "u2",
    13: "u4",
    14: "i8",
    15: "u8",
}
NUMBER_OF = {np.dtype(name): number for number, name in TYPES.items()}
INTERLEAVES = ("bsq", "bil", "bip")
LONGEST = 16 * 2**20  # bytes: what is longer is no header


class Field(NamedTuple):
    """One field of a header.

    Attributes:
        text: What stands behind "=", without the braces of a list, on one line.
        line: Its number, from 1.
        is_list: Whether it stands in braces.
    """

    text: str
    line: int
    is_list: bool = False

    @property
    def items(self) -> list[str]:
        """The members of a list; a comma at its end is none."""
        items = [item.strip() for item in self.text.split(",")]
        return items[:-1] if items and not items[-1] else items

    @property
    def word(self) -> str:
        """A single value, without quotes and what stands behind a semicolon."""
        return self.text.partition(";")[0].strip().strip("\"'").strip()


class Header:
    """The fields of a header by their names in lower case.

    Args:
        path: Its file.

    Raises:
        DataError: If it is no ENVI header; the message names the line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.fields: dict[str, Field] = {}
        for key, field in _fields(path, _text(path)):
            if key in self.fields and self.fields[key].text != field.text:
                first = self.fields[key].line
                raise self.error(field, f"gives {key!r} again, and differs from line {first}")
            self.fields[key] = field

    def error(self, field: Field, problem: str) -> DataError:
        """An error that names a line."""
        return DataError(f"{self.path}: line {field.line} {problem}; correct it")

    def get(self, *keys: str) -> Field | None:
        """The first of these fields that is there and not empty."""
        found = (self.fields[key] for key in keys if key in self.fields)
        return next((field for field in found if field.text), None)

    def number(self, key: str, default: int | None = None, least: int = 0) -> int:
        """A whole number.

        Raises:
            DataError: If it is not there and there is no default, or it is none.
        """
        field = self.get(key)
        if field is None:
            if default is None:
                raise DataError(f"{self.path}: has no line '{key} = ...'; {self._meant(key)}")
            return default
        try:
            value = float(field.word)
        except ValueError:
            value = float("nan")
        if not (least <= value < 2**62 and value == int(value)):
            raise self.error(
                field, f"says {key} = {field.text}, expected a whole number from {least}"
            )
        return int(value)

    def _meant(self, key: str) -> str:
        near = get_close_matches(key, self.fields, n=1)
        if not near:
            return "add it"
        return f"line {self.fields[near[0]].line} says {near[0]!r}: correct it, if that is meant"

    @property
    def dtype(self) -> np.dtype:
        """The type of the numbers, with their byte order: little-endian where nothing is said."""
        code = self.number("data type")
        if code not in TYPES:
            known = ", ".join(map(str, TYPES))
            raise self.error(self.fields["data type"], f"says data type = {code}, none of {known}")
        order = self.number("byte order", default=0)
        if order not in (0, 1):
            raise self.error(self.fields["byte order"], f"says byte order = {order}, not 0 or 1")
        dtype = np.dtype(TYPES[code])
        if self.get("byte order") is None and dtype.itemsize > 1:
            self.notes.append(f"{self.path.name} has no byte order: 0 (little-endian) is taken")
        return dtype.newbyteorder(">" if order else "<")

    def interleave(self, ending: str) -> str:
        """bsq, bil or bip; where nothing is said, that of the data file's ending, or bsq."""
        field = self.get("interleave")
        if field is None:
            guess = ending if ending in INTERLEAVES else "bsq"
            self.notes.append(f"{self.path.name} has no interleave: {guess} is taken")
            return guess
        if field.word.lower() not in INTERLEAVES:
            raise self.error(field, f"says interleave = {field.text}, none of bsq, bil and bip")
        return field.word.lower()


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(LONGEST)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _fields(path: Path, text: str) -> Iterator[tuple[str, Field]]:
    lines = re.split(r"\r\n|\r|\n", text)
    if lines[0].split()[:1] != ["ENVI"]:
        raise DataError(
            f"{path}: line 1 is {lines[0][:40]!r}, and an ENVI header begins with 'ENVI': it is "
            "none, or damaged"
        )
    place = 1
    while place < len(lines):
        line, number = lines[place].strip(), place + 1
        place += 1
        if not line or line.startswith(";"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise DataError(
                f"{path}: line {number} is {line[:60]!r}, expected 'name = value'; correct it"
            )
        key, value = " ".join(key.lower().split()), value.strip()
        if not value:  # the brace may stand on the next line
            following = next((n for n in range(place, len(lines)) if lines[n].strip()), place)
            if following < len(lines) and lines[following].strip().startswith("{"):
                value, place = lines[following].strip(), following + 1
        if not value.startswith("{"):
            yield key, Field(value, number)
            continue
        while "}" not in value:
            if place == len(lines):
                raise DataError(
                    f"{path}: line {number} opens a brace for {key!r} that is never closed: the "
                    "header is cut off, or lacks a }"
                )
            value += f" {lines[place].strip()}"
            place += 1
        yield key, Field(value[1:].rpartition("}")[0].strip(), number, is_list=True)


def format_header(fields: Mapping[str, object], lists: Mapping[str, object]) -> str:
    """The text of a header: single values, and those in braces."""
    lines = [f"{key} = {_on_one_line(value)}" for key, value in fields.items()]
    for key, value in lists.items():
        items = value if isinstance(value, str) else ", ".join(map(str, value))  # type: ignore[call-overload]
        lines.append(f"{key} = {{{_on_one_line(items)}}}")
    return "\n".join(["ENVI", *lines, ""])


def _on_one_line(value: object) -> str:
    return " ".join(str(value).replace("{", "(").replace("}", ")").split())
