"""How people write sizes, ranges, units and colours on a command line -> values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from ngff_convert.units import space_unit

if TYPE_CHECKING:
    from collections.abc import Callable


class Word(click.ParamType):  # type: ignore[type-arg]
    """A parameter that a function reads; its `ValueError` says what is wrong with the word."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Read a word; click hands a default over as the value it is."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


def _sizes(text: str) -> tuple[int, ...] | str:
    if text in ("auto", "none"):
        return text
    return tuple(int(part) for part in re.split("[,x]", text))


def _step(text: str) -> tuple[int, ...]:
    sizes = _sizes(text)
    if isinstance(sizes, str) or len(sizes) != 3:
        raise ValueError("three whole numbers z,y,x are needed, such as 1,2,2")
    return sizes


def _triple(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 3:
        raise ValueError("three numbers z,y,x are needed, such as 0.5,0.2,0.2")
    return values


def _spacing(text: str) -> tuple[float, ...]:
    values = _triple(text)
    if not all(0 < value < float("inf") for value in values):
        raise ValueError("a voxel size is above 0")
    return values


def _unit(text: str) -> str:
    unit = space_unit(text)
    if unit is None:
        raise ValueError("is not a unit of length that OME-NGFF knows; micrometer, nm and mm are")
    return unit


def _span(text: str) -> tuple[int | None, int | None]:
    first, colon, last = text.partition(":")
    if not colon:
        return int(first), int(first) + 1
    return int(first) if first else None, int(last) if last else None


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9.]+)\s*([kKMGT]?)(i?)[bB]?", text.strip())
    if not match:
        raise ValueError("a size is a number with a unit, such as 500MB or 2GiB")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_COLORS = {
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "white": "FFFFFF",
}


def _colors(text: str) -> tuple[str, ...]:
    colors = tuple(_COLORS.get(name.lower(), name.removeprefix("#").upper()) for name in _names(text))
    wrong = [color for color in colors if not re.fullmatch("[0-9A-F]{6}", color)]
    if wrong:
        raise ValueError(f"{wrong[0]} is not a colour: 6 hex digits, or one of {', '.join(_COLORS)}")
    return colors


SIZES = Word("sizes", _sizes)
STEP = Word("factors", _step)
SPACING = Word("sizes", _spacing)
POSITION = Word("position", _triple)
UNIT = Word("unit", _unit)
SPAN = Word("range", _span)
BYTES = Word("bytes", _bytes)
NUMBERS = Word("numbers", _numbers)
NAMES = Word("names", _names)
COLORS = Word("colours", _colors)
