"""What the parsers of TIFF metadata share: one record of what was found, and careful small conversions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any

from ngff_convert.units import space_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile

    from ngff_convert.model import Channel

Sections = dict[str, dict[str, str]]

MAX_TEXT = 100_000
"""Characters of one value that are kept as original metadata."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# XML and JSON cannot hold them: control characters, halves of surrogate pairs, non-characters.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How the reader understood the pages.

    Attributes
    ----------
    t, c, z
        Sizes of the axes; `c` counts samples.
    samples
        Samples of a pixel within `c`: 3 for RGB.
    y, x
        Size of a plane, pixels.
    """

    t: int
    c: int
    z: int
    samples: int
    y: int
    x: int

    @property
    def planes(self) -> int:
        """Channels that are planes of their own."""
        return self.c // self.samples


@dataclass(frozen=True, slots=True)
class Length:
    """A length.

    Attributes
    ----------
    value
        How many units; finite.
    unit
        Name of the unit as OME-NGFF spells it; None where the file states none that is a length.
    """

    value: float
    unit: str | None = "micrometer"


MaybeLengths = tuple[Length | None, Length | None, Length | None]
NOTHING: MaybeLengths = (None, None, None)


@dataclass(frozen=True, slots=True)
class Found:
    """What one kind of metadata says; empty and None are unknown.

    Attributes
    ----------
    name
        What the image is called.
    channels
        One record a channel, or one a plane of samples.
    size
        Voxel size (z, y, x).
    origin
        Centre of the first voxel (z, y, x).
    t_s
        Seconds between time points.
    time_stamps
        When each time point was taken.
    sections
        All that it says, as text.
    """

    name: str = ""
    channels: tuple[Channel, ...] = ()
    size: MaybeLengths = NOTHING
    origin: MaybeLengths = NOTHING
    t_s: float | None = None
    time_stamps: tuple[datetime, ...] = ()
    sections: Sections = field(default_factory=dict)


def clean(value: object) -> str:
    r"""Return one value as text without characters that XML and JSON cannot hold, cut at `MAX_TEXT`.

    Examples
    --------
    >>> clean("a\x00b "), clean([1, 2.5, "x"]), clean(True)
    ('ab', '[1, 2.5, "x"]', 'true')
    """
    text = value if isinstance(value, str) else _words(value)
    text = _CONTROL.sub("", text[: 2 * MAX_TEXT]).strip()
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]} ... (cut after {MAX_TEXT} characters)"
    return text


def _words(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1") if len(value) < 256 and value.isascii() else f"({len(value)} bytes)"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.name
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a file holds
    """Return a value made of what JSON knows; numbers that it does not know become text."""
    if hasattr(value, "dtype") and getattr(value, "size", 0) > MAX_TEXT:
        return f"({value.size} values of type {value.dtype})"
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bytes | datetime | Enum):
        return _words(value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def as_sections(title: str, data: Mapping[Any, Any]) -> Sections:
    """Return everything a dictionary says as text; a dictionary in it becomes a section of its own.

    Examples
    --------
    >>> as_sections("SEM", {"Scan": {"PixelWidth": 1e-9}, "Magnification": 500})
    {'SEM': {'Magnification': '500'}, 'SEM Scan': {'PixelWidth': '1e-09'}}
    """
    sections: Sections = {title: {}}
    for key, value in data.items():
        if isinstance(value, Mapping):
            sections[f"{title} {clean(key)}"] = {clean(k): clean(v) for k, v in value.items()}
        else:
            sections[title][clean(key)] = clean(value)
    return {name: section for name, section in sections.items() if section}


def number(value: object) -> float | None:
    """Return a finite number; None for words, nothing, truth values, ``nan`` and ``inf``.

    Examples
    --------
    >>> number(" 0.25 "), number(3), number("('7',)"), number(float("nan")), number("-"), number(None)
    (0.25, 3.0, 7.0, None, None, None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = bare(value)
        if not _NUMBER.fullmatch(value):
            return None
    elif isinstance(value, list | tuple) and len(value) == 1:
        return number(value[0])
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def bare(text: object) -> str:
    r"""Return a word without the quotes and brackets of a Python tuple around it, escapes resolved.

    Examples
    --------
    >>> bare("('cm',)"), bare(r"\u00B5m"), bare(' "um" ')
    ('cm', 'µm', 'um')
    """
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), str(text))
    return text.strip("()[], '\"\t\r\n\0")


def positive(value: object) -> float | None:
    """Return a number above 0; None for every other."""
    found = number(value)
    return found if found is not None and found > 0 else None


def ratio(value: object) -> float | None:
    """Return the number that a TIFF rational (numerator, denominator) stands for; None where it is none.

    Examples
    --------
    >>> ratio((300, 2)), ratio((0, 0)), ratio(5)
    (150.0, None, 5.0)
    """
    if isinstance(value, list | tuple) and len(value) >= 2:
        over, under = number(value[0]), number(value[1])
        return over / under if over is not None and under else None
    return number(value)


def scaled(value: float, factor: float) -> float:
    """Return the product in the decimals that people write: 2.3e-07 m is 0.23 micrometres.

    Examples
    --------
    >>> scaled(2.3e-07, 1e6), 2.3e-07 * 1e6
    (0.23, 0.22999999999999998)
    """
    return value if factor == 1.0 else float(f"{value * factor:.14g}")


def length(value: object, unit: str | None = "micrometer", *, factor: float = 1.0) -> Length | None:
    """Return a voxel size, a number above 0 times `factor`; None where it is none."""
    found = positive(value)
    return None if found is None else Length(scaled(found, factor), unit)


def position(value: object, unit: str | None = "micrometer", *, factor: float = 1.0) -> Length | None:
    """Return a position, a number times `factor`; None where it is none."""
    found = number(value)
    return None if found is None else Length(scaled(found, factor), unit)


def lengths_in(unit_text: object, *values: object) -> tuple[Length | None, ...]:
    """Return voxel sizes in a unit that a file spells in its own way.

    In pixels, or in no unit, 1 says nothing and is unknown; other numbers are proportions without a unit.

    Examples
    --------
    >>> lengths_in("um", 1)
    (Length(value=1.0, unit='micrometer'),)
    >>> lengths_in("pixel", 1, 2)
    (None, Length(value=2.0, unit=None))
    """
    unit = space_unit(bare(unit_text)) if unit_text is not None else None
    found = (length(value, unit) for value in values)
    return tuple(None if size is not None and unit is None and size.value == 1 else size for size in found)


def window(low: object, high: object) -> tuple[float, float] | None:
    """Return display limits; None where they are no range.

    Examples
    --------
    >>> window(0, 255), window(5, 5), window("x", 2)
    ((0.0, 255.0), None, None)
    """
    start, end = number(low), number(high)
    return (start, end) if start is not None and end is not None and start < end else None


def rgb(red: object, green: object, blue: object) -> str | None:
    """Return a colour of three parts, 0 to 255; None where one is none.

    Examples
    --------
    >>> rgb(255, 128, 0), rgb(300, 0, 0)
    ('FF8000', None)
    """
    parts = [number(part) for part in (red, green, blue)]
    if any(part is None or not 0 <= part <= 255 for part in parts):
        return None
    return "".join(f"{round(part):02X}" for part in parts if part is not None)


def rgb_of_integer(value: object) -> str | None:
    """Return the colour in an integer 0xAARRGGBB, which Java writes as a signed one.

    Examples
    --------
    >>> rgb_of_integer(-16711936), rgb_of_integer("x")
    ('00FF00', None)
    """
    found = number(value)
    return f"{int(found) & 0xFFFFFF:06X}" if found is not None and found == int(found) else None


def ramp_color(table: Sequence[Sequence[float]], highest: float) -> str | None:
    """Return the colour of a table that goes evenly from black to it; None for every other table.

    Parameters
    ----------
    table
        Three rows red, green, blue.
    highest
        Value of full brightness.

    Returns
    -------
    str or None
        RRGGBB of the last entry. White for a grey ramp.

    Examples
    --------
    >>> ramp_color([[0, 64, 127, 191, 255], [0, 0, 0, 0, 0], [0, 32, 64, 96, 128]], 255)
    'FF0080'
    """
    tolerance = 0.02 * highest  # tables are rounded, and some start at 1
    if len(table) != 3 or len(table[0]) < 2:
        return None
    for row in table:
        steps = len(row) - 1
        if any(abs(value - row[-1] * n / steps) > tolerance for n, value in enumerate(row)):
            return None
    last = [255 * row[-1] / highest for row in table]
    return rgb(*last) if max(last) > 127 else None


def wavelength(value: object) -> float | None:
    """Return a wavelength in nanometres, None outside of 100 nm to 10 um, which is a placeholder."""
    found = number(value)
    return found if found is not None and 100 <= found <= 10_000 else None


def text_or_none(value: object) -> str | None:
    """Return a name; None where it is empty or no text."""
    return (clean(value).splitlines() or [""])[0].strip() or None if isinstance(value, str) else None


def stamp(text: object, *formats: str) -> datetime | None:
    """Return the date and time in a text of one of the formats, without its zone; None where it is none."""
    for pattern in formats:
        try:
            return datetime.strptime(str(text).strip(), pattern).replace(tzinfo=None)
        except ValueError:
            continue
    return None


def even_step(seconds: Sequence[float]) -> float | None:
    """Return the mean step if every time is within a tenth of it of its even place, else None.

    A tenth of a step keeps instruments that are late by some per cent, and finds a dropped frame.

    Examples
    --------
    >>> even_step([0, 2.1, 4]), even_step([0, 1, 5]), even_step([3])
    (2.0, None, None)
    """
    if len(seconds) < 2:
        return None
    step = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
    even = all(abs(s - seconds[0] - n * step) <= 0.1 * step for n, s in enumerate(seconds))
    return step if even and step > 0 else None


def uneven(seconds: Iterable[float]) -> str:
    """Return what to say of time points whose steps are uneven."""
    steps = [b - a for a, b in pairwise(seconds)]
    return f"the time steps are uneven, {min(steps):g} to {max(steps):g} s: no time step is stated"


def tag_value(page: object, code: int) -> Any:  # noqa: ANN401 - whatever a tag holds
    """Return the value of a tag of a page; None where it has none, or is a frame that knows no tags."""
    tags: tifffile.TiffTags | None = getattr(page, "tags", None)
    return None if tags is None else tags.valueof(code)


def named(channels: Sequence[Channel], names: Sequence[object]) -> tuple[Channel, ...]:
    """Return channels with names, where there is a name for each."""
    if len(names) != len(channels):
        return tuple(channels)
    return tuple(replace(c, name=text_or_none(n)) for c, n in zip(channels, names, strict=True))
