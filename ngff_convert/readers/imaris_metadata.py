"""What the texts of an Imaris file mean: channels, calibration, time and sizes; no file is touched."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from ngff_convert.model import Calibration, Channel
from ngff_convert.units import space_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Window = tuple[float, float] | None

Section = dict[str, str]

PLACEHOLDERS = {"", "(name not specified)", "(description not specified)"}

_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?")

_NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?")


def unescape(name: str) -> str:
    """Return the name that a group or dataset stands for: ``%s`` is a slash, ``%p`` a per cent sign.

    Examples
    --------
    >>> unescape("A%sB 50%p")
    'A/B 50%'
    """
    return re.sub("%[sp]", lambda match: "/" if match[0] == "%s" else "%", name)


def number(text: str | None) -> float | None:
    """Return a number, also with a decimal comma; None for ``nan``, ``-1.#IND``, words and nothing.

    Examples
    --------
    >>> number("0,25"), number(" 1e3 "), number("-1.#IND"), number("")
    (0.25, 1000.0, None, None)
    """
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text.strip().replace(",", "."))
    return value if isfinite(value) else None


def numbers(text: str | None) -> list[float]:
    """Return the numbers that blanks separate; empty if one of them is none."""
    values = [number(word) for word in (text or "").split()]
    return [value for value in values if value is not None] if None not in values else []


def size_zyx(section: Mapping[str, str], prefix: str) -> tuple[int, int, int] | None:
    """Return what ``{prefix}Z``, ``{prefix}Y`` and ``{prefix}X`` state, voxels; None unless all are sizes."""
    sizes = [number(section.get(f"{prefix}{axis}")) for axis in "ZYX"]
    z, y, x = (int(n) if n is not None and n >= 1 and n == int(n) else 0 for n in sizes)
    return (z, y, x) if z and y and x else None


def true_size(
    level: str,
    stored: tuple[int, int, int],
    stated: tuple[int, int, int] | None,
    image_size: tuple[int, int, int] | None,
    warnings: list[str],
) -> tuple[int, int, int]:
    """Choose the size without padding: of the channel group, else of the image, else the stored one."""
    for source, size in (
        (f"ImageSize of {level}", stated),
        ("X, Y, Z of DataSetInfo/Image", image_size),
    ):
        if size is None:
            continue
        if fits(size, stored):
            return size
        warnings.append(f"{source} states {by(size)} voxels (z, y, x), only {by(stored)} are stored; ignored")
    warnings.append(
        f"{level} does not state its size: all {by(stored)} stored voxels (z, y, x) are taken, "
        "padding included, if there is any, and the voxel size is too small then"
    )
    return stored


def fits(size: tuple[int, ...], stored: tuple[int, ...]) -> bool:
    """Whether no axis of a size is longer than what is stored."""
    return all(n <= s for n, s in zip(size, stored, strict=True))


def by(size: tuple[int, ...]) -> str:
    """Return a size in words: ``"5 x 70 x 90"``."""
    return " x ".join(map(str, size))


def given_name(section: Mapping[str, str]) -> str | None:
    """Return the name in a section, None where it is the writer's placeholder."""
    name = section.get("Name", "")
    return None if name in PLACEHOLDERS else name


def channels(
    sections: Mapping[str, Section],
    n_channels: int,
    window_of: Callable[[int], Window],
    warnings: list[str],
) -> tuple[Channel, ...]:
    """Describe each channel.

    Parameters
    ----------
    sections
        The sections of ``DataSetInfo``.
    n_channels
        Channels that have pixels; sections of others are left over from deleted ones.
    window_of
        Asked for a display window of a channel that has none of its own.
    warnings
        Gets a line for whatever is odd.
    """
    first = 0
    if "Channel 0" not in sections and f"Channel {n_channels}" in sections:
        first = 1
        warnings.append("DataSetInfo counts the channels from 1; taken in their order")
    described = [sections.get(f"Channel {first + c}", {}) for c in range(n_channels)]
    waves = [
        tuple(_wavelength(d.get(f"LSM{kind}Wavelength")) for kind in ("Emission", "Excitation"))
        for d in described
    ]
    # Imaris writes 500 for whatever it was not told; a channel that emits what excites it does not exist.
    stated = {wave for pair in waves for wave in pair if wave is not None}
    if stated == {500.0}:
        waves = [(None, None)] * n_channels
    return tuple(
        Channel(
            name=given_name(section),
            color=color(section),
            emission_nm=emission,
            excitation_nm=excitation,
            window=_color_range(section) or window_of(c),
        )
        for c, (section, (emission, excitation)) in enumerate(zip(described, waves, strict=True))
    )


def _wavelength(text: str | None) -> float | None:
    wave = number(text)
    return wave if wave is not None and wave > 0 else None


def _color_range(section: Mapping[str, str]) -> Window:
    limits = numbers(section.get("ColorRange"))
    return (limits[0], limits[1]) if len(limits) == 2 and limits[0] < limits[1] else None


def color(section: Mapping[str, str]) -> str | None:
    """Return the colour of a channel as RRGGBB; for a colour table, that of its brightest voxels.

    The last entry of a table is how the highest values look, which is what a base colour says too. Where
    it is black (inverted tables), the entry with the most light stands for the table.

    Examples
    --------
    >>> color({"ColorMode": "BaseColor", "Color": "0.25 0.5 1"})
    '4080FF'
    >>> color({"ColorMode": "TableColor", "ColorTable": "0 0 0  0 0.5 0  0 1 0"})
    '00FF00'
    """
    table = numbers(section.get("ColorTable"))
    entries = [tuple(table[at : at + 3]) for at in range(0, len(table) - 2, 3)]
    base = tuple(numbers(section.get("Color")))
    if entries and (section.get("ColorMode") != "BaseColor" or not base):
        base = entries[-1] if any(entries[-1]) else max(entries, key=sum)
    if len(base) != 3 or not all(0 <= part <= 1 for part in base):
        return None
    return "".join(f"{int(part * 255 + 0.5):02X}" for part in base)


def histogram_window(counts: Sequence[float], low: float | None, high: float | None) -> Window:
    """Return the values between which all but 0.1 % of the voxels at either end lie.

    Parameters
    ----------
    counts
        Voxels in each bin.
    low, high
        Lower limit of the first bin and upper limit of the last, as the file states them.

    Returns
    -------
    tuple of float, or None
        None where there are no counts or the limits are no range.

    Examples
    --------
    >>> histogram_window([0, 10, 80, 10], 0, 400)
    (100.0, 400.0)
    """
    total = sum(counts)
    if not total > 0 or min(counts) < 0 or low is None or high is None or not low < high:
        return None
    below = 0.0
    bins: list[int] = []
    for at, count in enumerate(counts):
        below += count
        if below > 0.001 * total and not bins:
            bins.append(at)
        if below >= 0.999 * total:
            bins.append(at)
            break
    step = (high - low) / len(counts)
    window = (low + bins[0] * step, low + (bins[-1] + 1) * step)
    return window if window[0] < window[1] else None


def calibration(
    sections: Mapping[str, Section], size_zyx: tuple[int, ...], t_s: float | None, warnings: list[str]
) -> Calibration:
    """Work out voxel size and origin from the extents, which are the outer corners of the image's box.

    Parameters
    ----------
    sections
        The sections of ``DataSetInfo``.
    size_zyx
        Size of level 0, voxels.
    t_s
        Time step, seconds.
    warnings
        Gets a line for whatever is unknown or odd.
    """
    image = sections.get("Image")
    if image is None:
        warnings.append(
            "no DataSetInfo/Image (a recording that was never finished?): the voxel size is unknown"
        )
        return Calibration(t_s=t_s)
    sizes: list[float | None] = []
    origins: list[float | None] = []
    for axis, index in (("z", 2), ("y", 1), ("x", 0)):
        limits = number(image.get(f"ExtMin{index}")), number(image.get(f"ExtMax{index}"))
        size, origin = None, None
        if limits[0] is None or limits[1] is None:
            warnings.append(f"no extents along {axis}: the voxel size is unknown there")
        elif limits[0] == limits[1]:
            warnings.append(f"the extents along {axis} are equal: the voxel size is unknown there")
        else:
            low, high = sorted((limits[0], limits[1]))
            if low != limits[0]:
                warnings.append(f"the extents along {axis} are reversed; taken the other way round")
            # The extents are decimal texts: in binary, 10.2 - 10 would be 0.1999999999999993.
            corner = Decimal(repr(low))
            edge = (Decimal(repr(high)) - corner) / size_zyx["zyx".index(axis)]
            size, origin = float(edge), float(corner + edge / 2)
            if not (isfinite(size) and size > 0 and isfinite(origin)):
                warnings.append(
                    f"the extents along {axis}, {low:g} to {high:g}, make no voxel size: it is unknown there"
                )
                size, origin = None, None
        sizes.append(size)
        origins.append(origin)
    unit = _unit(image.get("Unit", ""), warnings) if any(sizes) else None
    return Calibration((sizes[0], sizes[1], sizes[2]), unit, t_s, (origins[0], origins[1], origins[2]))


def _unit(text: str, warnings: list[str]) -> str | None:
    if not text:
        return "micrometer"  # what Imaris takes an absent unit for
    unit = space_unit(text)
    if unit is None:
        warnings.append(f"{text!r} is no unit of length: the voxel size has none")
    return unit


def time_stamps(
    section: Mapping[str, str], n_t: int, warnings: list[str]
) -> tuple[tuple[datetime, ...], float | None]:
    """Return when each time point was taken, and the step in seconds where it is constant.

    Parameters
    ----------
    section
        ``DataSetInfo/TimeInfo``; counts time points from 1.
    n_t
        Time points of the image.
    warnings
        Gets a line if the steps are uneven.

    Returns
    -------
    tuple of datetime
        Local time without a zone; empty if unknown.
    float or None
        Seconds between time points.
    """
    for key in ("FileTimePoints", "DatasetTimePoints", "DataSetTimePoints"):
        stated = number(section.get(key))
        if stated is not None and stated != n_t:
            warnings.append(f"TimeInfo states {stated:g} time points ({key}), the file has {n_t}")
            break
    stamps = [_stamp(section.get(f"TimePoint{n + 1}", "")) for n in range(n_t)]
    known = tuple(stamp for stamp in stamps if stamp is not None)
    if len(known) < n_t or (n_t > 1 and len(set(known)) == 1):
        return (), None
    if n_t == 1:
        return known, None
    if known[0] == datetime(2000, 1, 1) and _steps(known) == {1.0}:
        warnings.append("the time stamps are those BigDataProcessor makes up: the time step is unknown")
        return (), None
    step = _even_step(known)
    if step is None:
        warnings.append(
            f"the time steps are uneven, {min(_steps(known)):g} to {max(_steps(known)):g} s: "
            "no time step is stated, the time stamps are kept"
        )
    return known, step


def _stamp(text: str) -> datetime | None:
    match = _STAMP.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        whole = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    return whole + timedelta(microseconds=int((match[7] or "0")[:6].ljust(6, "0")))


def _steps(stamps: Sequence[datetime]) -> set[float]:
    return {(b - a).total_seconds() for a, b in pairwise(stamps)}


def _even_step(stamps: Sequence[datetime]) -> float | None:
    """Return the mean step if every stamp is within a tenth of it of its even place.

    Real instruments are late by some per cent now and then, and stamps are rounded to 1 ms. A tenth of
    a step keeps those and is far from a dropped frame (a whole step) or a changed interval; it is also
    the most by which a time stated as index x step is wrong.
    """
    seconds = [(stamp - stamps[0]).total_seconds() for stamp in stamps]
    step = seconds[-1] / (len(stamps) - 1)
    tolerance = max(0.1 * step, 0.001)
    even = all(abs(s - n * step) <= tolerance for n, s in enumerate(seconds))
    return step if even and step > 0 else None
