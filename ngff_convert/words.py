"""How people write sizes, ranges and lists on a command line -> values; `Options` says which can be meant."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

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


def _whole(parts: list[str], form: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise ValueError(form) from None


def _sizes(text: str) -> tuple[int, ...] | str:
    if text.isalpha():  # a word, such as auto
        return text
    return _whole(re.split("[,x]", text), "whole numbers with commas between are needed, such as 64,256,256")


def _step(text: str) -> tuple[int, ...]:
    return _whole(re.split("[,x]", text), "three whole numbers z,y,x are needed, such as 1,2,2")


def _triple(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("three numbers z,y,x are needed, such as 0.5,0.2,0.2") from None


def _span(text: str) -> tuple[int | None, int | None]:
    first, colon, last = text.partition(":")
    form = "a range is FROM:TO in whole numbers, such as 3:8, 3: or :8; or one number, such as 3"
    if not colon:
        (start,) = _whole([first], form)
        return start, start + 1
    return (_whole([first], form)[0] if first else None, _whole([last], form)[0] if last else None)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([kKMGT]?)(i?)[bB]?", text.strip())
    if not match:
        raise ValueError("a size is a number with a unit, such as 500MB or 2GiB")
    number, prefix, binary = match.groups()
    return int(Decimal(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))


def _numbers(text: str) -> tuple[int, ...]:
    return _whole(text.split(","), "whole numbers with commas between are needed, such as 0,2")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError("a share is a percentage, such as 5%, or a number such as 0.05") from None


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError("a key and a value are needed, such as region=eu-west-1")
    return key.strip(), value


SIZES = Word("sizes", _sizes)
STEP = Word("factors", _step)
TRIPLE = Word("numbers", _triple)
SPAN = Word("range", _span)
BYTES = Word("bytes", _bytes)
NUMBERS = Word("numbers", _numbers)
NAMES = Word("names", _names)
SHARE = Word("share", _share)
PAIR = Word("key and value", _pair)
