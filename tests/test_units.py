"""Units: every spelling, nothing outside the tables, factors that undo each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngff_convert.units import SPACE_UNITS, TIME_UNITS, along, space_factor, space_unit, time_unit

PREFIXES = {
    "yotta": "Y",
    "zetta": "Z",
    "exa": "E",
    "peta": "P",
    "tera": "T",
    "giga": "G",
    "mega": "M",
    "kilo": "k",
    "hecto": "h",
    "": "",
    "deci": "d",
    "centi": "c",
    "milli": "m",
    "micro": "u",
    "nano": "n",
    "pico": "p",
    "femto": "f",
    "atto": "a",
    "zepto": "z",
    "yocto": "y",
}

# The lists of OME-NGFF 0.4 and 0.5, section "axes", word for word.
NGFF_SPACE = (
    "angstrom attometer centimeter decimeter exameter femtometer foot gigameter hectometer inch kilometer "
    "megameter meter micrometer mile millimeter nanometer parsec petameter picometer terameter yard "
    "yoctometer yottameter zeptometer zettameter"
)
NGFF_TIME = (
    "attosecond centisecond day decisecond exasecond femtosecond gigasecond hectosecond hour kilosecond "
    "megasecond microsecond millisecond minute nanosecond petasecond picosecond second terasecond "
    "yoctosecond yottasecond zeptosecond zettasecond"
)


def test_the_names_are_those_of_the_specification() -> None:
    assert set(SPACE_UNITS) == set(NGFF_SPACE.split())
    assert set(TIME_UNITS) == set(NGFF_TIME.split())


@pytest.mark.parametrize(("prefix", "symbol"), PREFIXES.items())
def test_every_prefix_as_symbol_and_as_word(prefix: str, symbol: str) -> None:
    meter, second = f"{prefix}meter", f"{prefix}second"
    metre = f"{prefix}metre"
    for text in (f"{symbol}m", meter, f"{meter}s", metre, f"{metre}s", meter.title(), f" {metre.upper()}\n"):
        assert space_unit(text) == meter
    for text in (f"{symbol}s", second, f"{second}s", second.title(), f"\t{second.upper()}S "):
        assert time_unit(text) == second


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("\u00b5m", "micrometer"),
        ("\u03bcm", "micrometer"),
        ("\\u00B5m", "micrometer"),
        ("\\u00b5m", "micrometer"),
        ("UM", "micrometer"),
        ("Micron", "micrometer"),
        ("microns", "micrometer"),
        ("NM", "nanometer"),
        ("MM", "millimeter"),
        ("Mm", "megameter"),
        ("mm", "millimeter"),
        ("\u00c5", "angstrom"),
        ("\u212b", "angstrom"),
        ("A", "angstrom"),
        ("\u00c5ngstr\u00f6m", "angstrom"),
        ("Angstroms", "angstrom"),
        ("in", "inch"),
        ('"', "inch"),
        ("inches", "inch"),
        ("ft", "foot"),
        ("Feet", "foot"),
        ("yd", "yard"),
        ("mi", "mile"),
        ("miles", "mile"),
        ("pc", "parsec"),
        ("", None),
        (" ", None),
        ("pixel", None),
        ("px", None),
        ("voxel", None),
        ("unit", None),
        ("reference frame", None),
        ("s", None),
        ("decameter", None),
        ("a", None),
        ("\u00b5M", None),
    ],
)
def test_spellings_of_length(text: str, unit: str | None) -> None:
    assert space_unit(text) == unit


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("\u00b5s", "microsecond"),
        ("\u03bcs", "microsecond"),
        ("sec", "second"),
        ("Secs", "second"),
        ("msec", "millisecond"),
        ("ms", "millisecond"),
        ("Ms", "megasecond"),
        ("min", "minute"),
        ("Minutes", "minute"),
        ("h", "hour"),
        ("hrs", "hour"),
        ("d", "day"),
        ("Days", "day"),
        ("", None),
        ("frame", None),
        ("m", None),
        ("decasecond", None),
    ],
)
def test_spellings_of_time(text: str, unit: str | None) -> None:
    assert time_unit(text) == unit


@given(st.text() | st.text("\u00b5\u03bcunmkMsec. ", max_size=4))
def test_a_unit_is_in_the_table_or_none(text: str) -> None:
    assert space_unit(text) in {None, *SPACE_UNITS}
    assert time_unit(text) in {None, *TIME_UNITS}
    assert space_unit(f" {text}\t") == space_unit(text)


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("nanometer", "micrometer", 0.001),
        ("millimeter", "micrometer", 1000.0),
        ("meter", "micrometer", 1e6),
        ("angstrom", "nanometer", 0.1),
        ("inch", "micrometer", 25400.0),
        ("foot", "inch", 12.0),
        ("yard", "foot", 3.0),
        ("mile", "yard", 1760.0),
        ("centimeter", "decimeter", 0.1),
        ("yottameter", "yoctometer", 1e48),
    ],
)
def test_factors_are_exact(source: str, target: str, factor: float) -> None:
    assert space_factor(source, target) == factor


units = st.sampled_from(sorted(SPACE_UNITS))


@given(units, units, units)
def test_factors_undo_each_other_and_chain(a: str, b: str, c: str) -> None:
    assert space_factor(a, a) == 1.0
    assert space_factor(a, b) * space_factor(b, a) == pytest.approx(1.0, rel=1e-14)
    assert space_factor(a, b) * space_factor(b, c) == pytest.approx(space_factor(a, c), rel=1e-13)


def test_only_names_of_the_specification_have_a_factor() -> None:
    with pytest.raises(KeyError, match="um"):
        space_factor("um", "meter")


@pytest.mark.parametrize(("unit", "seconds"), [("minute", 60.0), ("hour", 3600.0), ("day", 86400.0)])
def test_time_units_are_in_seconds(unit: str, seconds: float) -> None:
    assert TIME_UNITS[unit] == seconds


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6), st.integers(0, 10**5))
def test_positions_are_those_of_decimal_arithmetic(origin: int, step: int, steps: int) -> None:
    """Thousandths, which binary fractions do not hold."""
    assert along(origin / 1000, step / 1000, steps) == (origin + step * steps) / 1000


def test_positions_take_numpys_numbers() -> None:
    assert along(np.float64(0.5), np.float64(0.25), 3) == 1.25
