"""One option at a time: its name and the value given -> the value as `Options` keeps it, or what is wrong."""

from __future__ import annotations

import operator
import os
import re
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.errors import OptionError
from ngff_convert.model import AXES, Triple
from ngff_convert.units import space_unit
from ngff_convert.write_plan import DTYPES

if TYPE_CHECKING:
    from collections.abc import Collection

Given: TypeAlias = Any
"""What a caller hands over, of whatever type."""

Span: TypeAlias = tuple[int | None, int | None]

COLORS = {
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "white": "FFFFFF",
}
"""Colours that have a name."""


def one_of(what: str, value: Given, known: Collection[str]) -> str:
    """Return a word that has to be one of some."""
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"{what}: {value!r} is not one of {', '.join(known)}")
    return value


def integers(value: Given, lowest: int) -> tuple[int, ...] | None:
    """Return whole numbers of at least `lowest`; None where it is anything else."""
    try:
        numbers = tuple(operator.index(number) for number in value)
    except TypeError:
        return None
    return numbers if numbers and min(numbers) >= lowest else None


def count(what: str, value: Given) -> int:
    """Return a whole number of at least 1."""
    number = integers([value], 1)
    if number is None:
        raise OptionError(f"{what} is a whole number of at least 1, not {value!r}")
    return number[0]


def sizes(what: str, value: Given, words: tuple[str, ...]) -> tuple[int, ...] | str:
    """Return three or five sizes in voxels, or a word that stands for them."""
    if isinstance(value, str) and value in words:
        return value
    sizes = integers(value, 1)
    if sizes is None or len(sizes) not in (3, len(AXES)):
        raise OptionError(
            f"{what} takes 3 (z,y,x) or 5 (t,c,z,y,x) sizes of at least 1, such as 64,256,256, "
            f"or {' or '.join(words)}, not {listed(value)}"
        )
    return sizes


def factors(what: str, value: Given) -> tuple[tuple[int, ...], ...]:
    """Return the factors of each step."""
    given = items(what, value)
    steps = tuple(integers(step, 1) or () for step in given)
    if any(len(step) != 3 for step in steps):
        raise OptionError(
            f"{what}: a step is three whole numbers z,y,x of at least 1, such as 1,2,2, not "
            + " ".join(map(listed, given))
        )
    return steps


def images(what: str, value: Given) -> tuple[int, ...]:
    """Return numbers of images."""
    numbers = integers(value, 0)
    if numbers is None:
        raise OptionError(f"{what} takes numbers from 0, such as 0,2, not {listed(value)}")
    return numbers


def crop(_what: str, value: Given) -> tuple[Span, ...]:
    """Return the first voxel of each axis, and the one after the last."""
    try:
        spans = tuple(
            (None if a is None else operator.index(a), None if b is None else operator.index(b))
            for a, b in value
        )
    except (TypeError, ValueError):
        spans = ()
    if len(spans) != len(AXES):
        raise OptionError(f"crop is a pair (first, end) for each of {', '.join(AXES)}, not {value!r}")
    for axis, (start, stop) in zip(AXES, spans, strict=True):
        if (start or 0) < 0 or (stop is not None and stop <= (start or 0)):
            shown = f"{'' if start is None else start}:{'' if stop is None else stop}"
            raise OptionError(
                f"--{axis} {shown}: a range begins at 0 or later and ends after that, such as 3:8"
            )
    return spans


def page_axes(what: str, value: Given) -> str:
    """Return axes of pages, without those of a page itself where they come last; else of a whole array."""
    text = value.lower() if isinstance(value, str) else ""
    pages = re.sub("(s?yxs?)$", "", text)
    whole = {"y", "x"} <= set(pages)
    if not text or not set(pages) <= set(AXES if whole else "tcz") or len(set(pages)) < len(pages):
        raise OptionError(
            f"{what} takes axes, slowest first, such as TZCYX (each at most once, y and x last or not "
            f"at all; of arrays, such as HDF5 has, in any order), not {value!r}"
        )
    return pages


def page_shape(what: str, value: Given) -> tuple[int, ...]:
    """Return how many pages there are along each axis; one may be -1."""
    sizes = integers(value, -1)
    if sizes is None or 0 in sizes or sizes.count(-1) > 1:
        raise OptionError(
            f"{what} takes numbers of pages or files along each of --axes, such as 5,20,3, of which one may "
            f"be -1: what is left; not {listed(value)}"
        )
    return sizes


def path(what: str, value: Given) -> str:
    """Return the name of a file."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not path:
        raise OptionError(f"{what} takes the name of a file, not {value!r}")
    return str(path)


def triple(what: str, value: Given) -> Triple:
    """Return three finite numbers."""
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != 3 or not all(map(isfinite, numbers)):
        raise OptionError(f"{what} takes three numbers z,y,x, such as 0.5,0.2,0.2, not {listed(value)}")
    return numbers


def spacing(what: str, value: Given) -> Triple:
    """Return a voxel size."""
    sizes = triple(what, value)
    if min(sizes) <= 0:
        raise OptionError(f"{what}: a voxel size is above 0, not {listed(value)}")
    return sizes


def unit(what: str, value: Given) -> str:
    """Return a unit of length as OME-NGFF spells it."""
    unit = space_unit(value) if isinstance(value, str) else None
    if unit is None:
        raise OptionError(
            f"{what}: {value!r} is not a unit of length that OME-NGFF knows; micrometer, nm and mm are"
        )
    return unit


def dtype(what: str, value: Given) -> str:
    """Return the name of a type of pixels."""
    name = getattr(value, "name", None) or getattr(value, "__name__", None) or value  # np.dtype, np.uint16
    return one_of(what, name, DTYPES)


def items(what: str, value: Given) -> tuple[Given, ...]:
    """Return what is in a list."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise OptionError(f"{what} takes a list, not {value!r}")
    return tuple(value)


def text(what: str, value: Given) -> str:
    """Return text that UTF-8 can hold."""
    try:
        value.encode("utf-8")
    except (AttributeError, UnicodeEncodeError):
        raise OptionError(f"{what} takes text in UTF-8, not {value!r}") from None
    return str(value)


def colors(what: str, value: Given) -> tuple[str, ...]:
    """Return colours as six hex digits."""
    names = [name.strip().lower() for name in words(what, value)]
    colors = tuple(COLORS.get(name, name.removeprefix("#").upper()) for name in names)
    for color in colors:
        if not re.fullmatch("[0-9A-F]{6}", color):
            raise OptionError(f"{what}: {color} is not a colour: 6 hex digits, or one of {', '.join(COLORS)}")
    return colors


def listed(value: Given) -> str:
    """Return a value for a message."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)


def words(what: str, value: Given) -> tuple[str, ...]:
    """Return some texts."""
    return tuple(text(what, word) for word in items(what, value))


def names(what: str, value: Given) -> tuple[str, ...]:
    """Return one name or more, none of them empty."""
    found = words(what, value)
    if not found or not all(found):
        raise OptionError(f"{what} takes names with commas between, such as B02,C03, not {listed(value)}")
    return found


def label_pairs(what: str, value: Given) -> tuple[tuple[str, str], ...]:
    """Return names of label images, each once, with a file."""
    found = pairs(what, value)
    names = [name for name, _ in found]
    for name, path in found:
        label_name(what, name)
        if names.count(name) > 1:
            raise OptionError(f"{what}: {name} is there twice; a label image has a name of its own")
        if not path:
            raise OptionError(f"{what} {name}: a file is needed: {what} {name}=FILE")
    return found


def label_name(what: str, name: str) -> str:
    """Return the name of a label image, which is a folder, and a part of addresses."""
    if not re.fullmatch(r"[^\W_][\w .,+@()-]*", name) or name.endswith((" ", ".", ".partial", ".ozx")):
        raise OptionError(
            f"{what} {name!r}: a label image is called by letters, digits and any of _-.,+@() between them, "
            "such as nuclei"
        )
    return name


def pairs(what: str, value: Given) -> tuple[tuple[str, str], ...]:
    """Return keys with their values."""
    pairs = items(what, value.items() if isinstance(value, dict) else value)
    if any(len(pair) != 2 for pair in pairs):
        raise OptionError(f"{what} takes pairs KEY=VALUE, not {value!r}")
    return tuple((text(what, key), text(what, value)) for key, value in pairs)
