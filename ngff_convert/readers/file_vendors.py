"""How instruments for plates name their files: patterns that are tried before one is guessed.

- ImageXpress (MetaXpress): ``plate_B02_s1_w1GUID.tif``; time points and planes in folders ``TimePoint_1`` and
  ``ZStep_1``, or planes as ``_z1``; small pictures, ``_thumb``, are left out. Old ones write ``b02``.
- Operetta, Opera Phenix: ``r02c03f01p01-ch1sk1fk1fl1.tiff``, mostly in a folder ``Images``.
- CellVoyager of Yokogawa: ``plate_B02_T0001F001L01A01Z01C01.tif``.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

from ngff_convert.readers.file_patterns import AXES, WELL_PARTS, Pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_DEEP = 2
"""Folders within the one that is given which are looked into: ``TimePoint_1/ZStep_1``."""

LOOKED_AT = 50
"""Names by which it is told whether a pattern is worth while trying."""

_INNER = re.compile(r"TimePoint_[0-9]+|ZStep_[1-9][0-9]*|Images")  # ZStep_0 is a projection of the others
_GUID = "(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?"
_WELL = r"(?:(?P<plate>[^/]+)_)?(?P<well>[A-P](?:0[1-9]|1[0-9]|2[0-4]))"
_ANY_WELL = _WELL.replace("A-P", "A-Pa-p")
_END = r"\.(?i:tiff?)"


def is_inner(name: str) -> bool:
    """Whether a folder of this name is one that an instrument makes within that of the plate."""
    return _INNER.fullmatch(name) is not None


def vendor_of(names: Sequence[str]) -> Pattern | None:
    """Return the pattern of an instrument that at least half of some names follow; None if there is none.

    Examples
    --------
    >>> vendor_of(["r02c03f01p01-ch1sk1fk1fl1.tiff", "r02c03f02p01-ch1sk1fk1fl1.tiff"]).wells
    ('row', 'column', 'field')
    """
    some = names[:: len(names) // LOOKED_AT + 1]
    full_size = [name for name in names if "_thumb" not in name]
    for pattern in _patterns():
        if any(map(pattern.match, some)) and 2 * sum(map(bool, map(pattern.match, names))) >= len(full_size):
            return pattern
    return None


def plate_name(names: Sequence[str], pattern: Pattern) -> str:
    """Return what all names that match call the plate; empty where they do not."""
    if "plate" not in pattern.regex.groupindex:
        return ""
    called = {match["plate"] for name in names if (match := pattern.match(name))}
    return (called.pop() or "") if len(called) == 1 else ""


@cache
def _patterns() -> tuple[Pattern, ...]:
    """Return every pattern; of several for one instrument, those that tell more come first."""
    operetta = (
        "r(?P<row>[0-9]{2,3})c(?P<column>[0-9]{2,3})f(?P<field>[0-9]+)p(?P<z>[0-9]+)(?:rc[0-9]+)?"
        f"-ch(?P<c>[0-9]+)sk(?P<t>[0-9]+)fk[0-9]+fl[0-9]+{_END}"
    )
    yokogawa = (
        f"{_WELL}_T(?P<t>[0-9]+)F(?P<field>[0-9]+)L(?P<L>[0-9]+)A(?P<A>[0-9]+)Z(?P<z>[0-9]+)"
        f"C(?P<c>[0-9]+){_END}"
    )
    found = [
        _pattern("r{row}c{col}f{field}p{z}-ch{c}sk{t}fk*fl*.tiff", operetta),
        _pattern("*{well}_T{t}F{field}L*A*Z{z}C{c}.tif", yokogawa),
    ]
    # What is told by a folder, a part of the name, or not at all.
    time = ("TimePoint_{t}/", "TimePoint_(?P<t>[0-9]+)/"), ("", "")
    step = ("ZStep_{z}/", "ZStep_(?P<z>[1-9][0-9]*)/"), ("", "")
    site = ("_s{field}", "_s(?P<field>[0-9]+)"), ("", "")
    wave = ("_w{c}", "_w(?P<c>[0-9]+?)"), ("", "")
    plane = ("_z{z}", "_z(?P<z>[0-9]+?)"), ("", "")
    for t, folder, s, w, z in product(time, step, site, wave, plane):
        if (s[0] or w[0]) and not (folder[0] and z[0]):
            text = f"{t[0]}{folder[0]}*{{well}}{s[0]}{w[0]}{z[0]}*.tif"
            well = _ANY_WELL if s[0] and w[0] else _WELL  # c01_s1 alone may be a channel
            found.append(_pattern(text, f"{t[1]}{folder[1]}{well}{s[1]}{w[1]}{z[1]}{_GUID}{_END}"))
    return tuple(found)


def _pattern(text: str, regex: str) -> Pattern:
    compiled = re.compile(regex)
    told = compiled.groupindex
    axes = "".join(axis for axis in AXES if axis in told)
    return Pattern(text, axes, (), compiled, tuple(part for part in WELL_PARTS if part in told))
