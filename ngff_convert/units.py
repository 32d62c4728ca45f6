"""Every spelling of a unit of length or time that microscopes write -> the one name OME-Zarr allows.

The allowed names are those of the OME-NGFF specification (0.4 and 0.5, section "axes"), which are UDUNITS-2
names. A unit that has no such name maps to None: the converter then states no unit at all, because viewers
refuse an image whose unit they do not know.
"""

from __future__ import annotations

from decimal import Decimal

_PREFIXES = {
    "yotta": ("Y", 24),
    "zetta": ("Z", 21),
    "exa": ("E", 18),
    "peta": ("P", 15),
    "tera": ("T", 12),
    "giga": ("G", 9),
    "mega": ("M", 6),
    "kilo": ("k", 3),
    "hecto": ("h", 2),
    "deci": ("d", -1),
    "centi": ("c", -2),
    "milli": ("m", -3),
    "micro": ("u", -6),
    "nano": ("n", -9),
    "pico": ("p", -12),
    "femto": ("f", -15),
    "atto": ("a", -18),
    "zepto": ("z", -21),
    "yocto": ("y", -24),
}

SPACE_UNITS: dict[str, float] = {
    "meter": 1.0,
    **{f"{prefix}meter": 10.0**power for prefix, (_, power) in _PREFIXES.items()},
    "angstrom": 1e-10,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
    "parsec": 3.0856775814913673e16,
}
"""OME-NGFF names of length units, in metres."""

TIME_UNITS: dict[str, float] = {
    "second": 1.0,
    **{f"{prefix}second": 10.0**power for prefix, (_, power) in _PREFIXES.items()},
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
"""OME-NGFF names of time units, in seconds."""

SPACE_SYMBOLS: dict[str, str] = {
    "meter": "m",
    **{f"{prefix}meter": f"{symbol}m" for prefix, (symbol, _) in _PREFIXES.items()},
    "micrometer": "\u00b5m",  # the micro sign: the schema of OME-XML does not know the letter mu
    "angstrom": "\u00c5",
    "inch": "in",
    "foot": "ft",
    "yard": "yd",
    "mile": "mi",
    "parsec": "pc",
}
"""OME-NGFF names of length units -> their symbols, as OME-XML has them."""

# Symbols keep their case (mm is not Mm); words do not. U+00B5 (micro sign) and U+03BC (mu) both occur.
_SPACE_UNITS = {
    **{symbol: unit for unit, symbol in SPACE_SYMBOLS.items()},
    "um": "micrometer",
    "\u03bcm": "micrometer",
    "\u212b": "angstrom",
    "A": "angstrom",
    '"': "inch",
}
_SPACE_WORDS = {
    **{name: name for name in SPACE_UNITS},
    **{f"{name}s": name for name in SPACE_UNITS},
    **{name.replace("meter", "metre"): name for name in SPACE_UNITS if name.endswith("meter")},
    **{name.replace("meter", "metres"): name for name in SPACE_UNITS if name.endswith("meter")},
    "micron": "micrometer",
    "microns": "micrometer",
    "\\u00b5m": "micrometer",  # ImageJ escapes the micro sign
    "um": "micrometer",
    "nm": "nanometer",
    "mm": "millimeter",
    "inches": "inch",
    "feet": "foot",
    "\u00e5ngstr\u00f6m": "angstrom",
}

_TIME_SYMBOLS = {
    "s": "second",
    **{f"{symbol}s": f"{prefix}second" for prefix, (symbol, _) in _PREFIXES.items()},
    "\u00b5s": "microsecond",
    "\u03bcs": "microsecond",
    "min": "minute",
    "h": "hour",
    "d": "day",
}
_TIME_WORDS = {
    **{name: name for name in TIME_UNITS},
    **{f"{name}s": name for name in TIME_UNITS},
    "sec": "second",
    "secs": "second",
    "msec": "millisecond",
    "mins": "minute",
    "hr": "hour",
    "hrs": "hour",
}


def space_unit(text: str) -> str | None:
    """Return the OME-NGFF name of a length unit.

    Parameters
    ----------
    text
        A unit as a file or a person spells it.

    Returns
    -------
    str or None
        A key of `SPACE_UNITS`; None where the text names no length ("pixel", "", "foo").

    Examples
    --------
    >>> space_unit("um"), space_unit("µm"), space_unit("Microns"), space_unit("pixel")
    ('micrometer', 'micrometer', 'micrometer', None)
    """
    text = text.strip()
    return _SPACE_UNITS.get(text) or _SPACE_WORDS.get(text.lower())


def time_unit(text: str) -> str | None:
    """Return the OME-NGFF name of a time unit, or None where the text names no time.

    Examples
    --------
    >>> time_unit("ms"), time_unit("sec"), time_unit("frame")
    ('millisecond', 'second', None)
    """
    text = text.strip()
    return _TIME_SYMBOLS.get(text) or _TIME_WORDS.get(text.lower())


def space_factor(from_unit: str, to_unit: str) -> float:
    """Return what a length in `from_unit` is multiplied by to be in `to_unit` (both OME-NGFF names).

    Examples
    --------
    >>> space_factor("nanometer", "micrometer")
    0.001
    """
    ratio = SPACE_UNITS[from_unit] / SPACE_UNITS[to_unit]
    return float(f"{ratio:.15g}")


def along(origin: float, step: float, steps: float) -> float:
    """Return a position so many steps from an origin, reckoned in decimals as people do.

    Examples
    --------
    >>> along(0.0, 0.1, 3), 0.1 * 3
    (0.3, 0.30000000000000004)
    """
    first, each, count = (Decimal(str(float(number))) for number in (origin, step, steps))
    return float(first + each * count)
