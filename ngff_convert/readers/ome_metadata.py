"""What the elements and attributes of OME-XML mean: channels, voxel size, position and time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from ngff_convert.model import UNKNOWN, Channel
from ngff_convert.readers.ome_elements import child, number, whole
from ngff_convert.units import SPACE_UNITS, TIME_UNITS, space_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from ngff_convert.model import MaybeTriple


_DATES = "AcquisitionDate", "AcquiredDate", "CreationDate"
# Lengths of OME that OME-NGFF has no name for, in metres.
_OTHER_LENGTHS = {
    "thou": 2.54e-5,
    "li": 0.0254 / 12,
    "pt": 0.0254 / 72,
    "ua": 149597870700.0,
    "ly": 9460730472580800.0,
}
_SAMPLES = {
    3: (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF")),
    4: (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"), ("alpha", None)),
}


# -- channels ------------------------------------------------------------------------------------------------


def samples(described: Sequence[Element], size_c: int, noted: list[str]) -> tuple[int, ...]:
    """Return the samples of each logical channel; what contradicts SizeC is repaired."""
    stated = [whole(element.get("SamplesPerPixel")) or 1 for element in described]
    if not stated or sum(stated) == size_c:
        return tuple(stated) or (1,) * size_c
    if len(stated) == size_c:
        noted.append(f"SamplesPerPixel of {size_c} channels are {sum(stated)} in all: taken as 1 each")
        return (1,) * size_c
    noted.append(f"SizeC is {size_c}, but {len(stated)} channels of {sum(stated)} samples are described")
    fitting: list[int] = []
    for n in stated:
        if sum(fitting) + n > size_c:
            break
        fitting.append(n)
    return (*fitting, *(1,) * (size_c - sum(fitting)))


def channels(described: Sequence[Element], samples: Sequence[int]) -> tuple[Channel, ...]:
    """Describe each sample of each channel."""
    found: list[Channel] = []
    for index, n in enumerate(samples):
        element = described[index] if index < len(described) else None
        name = None if element is None else element.get("Name") or None
        emission = _wavelength(element, "EmissionWavelength", "EmWave")
        excitation = _wavelength(element, "ExcitationWavelength", "ExWave")
        if n == 1:
            found.append(Channel(name, _color(element), emission, excitation))
            continue
        for sample, color in _SAMPLES.get(n, tuple((f"sample {k}", None) for k in range(n))):
            found.append(Channel(f"{name} {sample}" if name else sample, color, emission, excitation))
    return tuple(found)


def _wavelength(element: Element | None, name: str, old_name: str) -> float | None:
    if element is None:
        return None
    value = number(element.get(name, element.get(old_name)))
    if value is None or value <= 0:
        return None
    return _length(value, element.get(f"{name}Unit", "nm"), "nanometer")


def _color(element: Element | None) -> str | None:
    """Return a colour as RRGGBB; OME-XML has a signed number of 32 bits, RGBA."""
    if element is None:
        return None
    text = element.get("Color")
    if text is None:
        component = child(element, "ChannelComponent")
        domain = "" if component is None else component.get("ColorDomain", "")
        return {"r": "FF0000", "g": "00FF00", "b": "0000FF"}.get(domain[:1].lower())
    try:
        value = int(text)
    except ValueError:
        return None
    # Transparent black shows nothing, and transparent 80 00 00 was the default until 2012 by mistake.
    if value in (0, -(2**31)) or not -(2**31) <= value < 2**32:
        return None
    return f"{value % 2**32 >> 8:06X}"


# -- space ---------------------------------------------------------------------------------------------------


def _length(value: float, unit: str, to: str) -> float | None:
    """Return a length in a unit of OME-NGFF; None if it is stated in what is no unit of length."""
    known = space_unit(unit)
    if known == to:
        return value  # as it was written, to the last digit
    metres = SPACE_UNITS[known] if known else _OTHER_LENGTHS.get(unit)
    if metres is None:
        return None
    converted = float(f"{value * (metres / SPACE_UNITS[to]):.15g}")
    return converted if isfinite(converted) and (converted != 0 or value == 0) else None


def voxel_size(image: Element, pixels: Element, noted: list[str]) -> tuple[MaybeTriple, str | None]:
    """Return the voxel size (z, y, x) and its unit, which is that of x unless x has none."""
    sizes: dict[str, tuple[float, str]] = {}
    for axis in "XYZ":
        text = pixels.get(f"PhysicalSize{axis}", image.get(f"PixelSize{axis}"))
        value = number(text)
        if value is not None and value > 0:
            sizes[axis] = value, pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m")
        elif text is not None:
            noted.append(f"PhysicalSize{axis} {text!r} is no size: the voxel size is unknown there")
    lengths = [unit for _, unit in sizes.values() if space_unit(unit) or unit in _OTHER_LENGTHS]
    if not lengths:
        if sizes:
            units = ", ".join(dict.fromkeys(repr(unit) for _, unit in sizes.values()))
            noted.append(f"the voxel size is stated in {units}, no unit of length: it has no unit")
        z, y, x = (sizes[axis][0] if axis in sizes else None for axis in "ZYX")
        return (z, y, x), None
    to = space_unit(lengths[0]) or "micrometer"
    converted: dict[str, float | None] = {}
    for axis, (value, unit) in sizes.items():
        converted[axis] = _length(value, unit, to)
        if converted[axis] is None:
            noted.append(f"PhysicalSize{axis} is {value:g} {unit!r}: unknown, because others are in {to}")
    return (converted.get("Z"), converted.get("Y"), converted.get("X")), to


def origin(
    image: Element, planes: Sequence[Mapping[str, str]], in_well: Mapping[str, str], unit: str | None
) -> MaybeTriple:
    """Return the stage position (z, y, x) of the first plane, else of the image, in the unit of the voxels.

    Where neither is stated, that of the field in its well is taken, `in_well`.

    Positions in the "reference frame", which is the default, are of a unit that nobody knows.
    """
    if unit is None:
        return UNKNOWN
    at_bottom = (p for p in planes if whole(p.get("TheZ")) == 0)
    first = min(at_bottom, key=lambda p: (whole(p.get("TheT")) or 0, whole(p.get("TheC")) or 0), default=None)
    label = child(image, "StageLabel")
    stage = None if label is None else label.attrib
    for attributes, prefix in ((first, "Position"), (stage, ""), (in_well, "Position")):
        position: list[float | None] = []
        for axis in "ZYX":
            value = None if attributes is None else number(attributes.get(f"{prefix}{axis}"))
            stated = "" if attributes is None else attributes.get(f"{prefix}{axis}Unit", "reference frame")
            position.append(None if value is None else _length(value, stated, unit))
        if position != [None] * 3:
            return tuple(position)
    return UNKNOWN


# -- time ----------------------------------------------------------------------------------------------------


def _seconds(text: str | None, unit: str) -> float | None:
    value, known = number(text), time_unit(unit)
    if value is None or known is None:
        return None
    seconds = value if known == "second" else float(f"{value * TIME_UNITS[known]:.15g}")
    return seconds if isfinite(seconds) else None


def delta_t(planes: Sequence[Mapping[str, str]], n_t: int) -> tuple[float, ...]:
    """Return when each time point was taken: when the first plane of its first channel was."""
    known: dict[int, float] = {}
    for plane in planes:
        t = whole(plane.get("TheT"))
        if t is not None and t < n_t and whole(plane.get("TheC")) == 0 and whole(plane.get("TheZ")) == 0:
            seconds = _seconds(plane.get("DeltaT"), plane.get("DeltaTUnit", "s"))
            if seconds is not None:
                known[t] = seconds
    if len(known) < n_t or (n_t > 1 and len(set(known.values())) == 1):
        return ()
    return tuple(known[t] for t in range(n_t))


def time_step(pixels: Element, delta_t: Sequence[float], n_t: int, noted: list[str]) -> float | None:
    """Return the stated time step, else that of the planes if each is within 1 % of the mean, seconds."""
    stated, unit = pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")
    seconds = _seconds(stated, unit)
    # In 15 digits, because 0.3 - 0.2 is not 0.1 in binary.
    mean = float(f"{(delta_t[-1] - delta_t[0]) / (len(delta_t) - 1):.15g}") if len(delta_t) > 1 else None
    if seconds is not None and seconds > 0:
        if mean is not None and abs(mean - seconds) > 0.1 * seconds:
            noted.append(
                f"TimeIncrement is {seconds:g} s, but the planes are {mean:g} s apart on average: "
                "TimeIncrement is taken"
            )
        return seconds
    if stated is not None and n_t > 1:
        noted.append(f"TimeIncrement {stated!r} {unit!r} is no time step: ignored")
    if mean is None:
        return None
    steps = [b - a for a, b in pairwise(delta_t)]
    if mean > 0 and all(abs(step - mean) <= 0.01 * mean for step in steps):
        return mean
    noted.append(
        f"the time steps are uneven, {min(steps):g} to {max(steps):g} s: "
        "no time step is stated, the times of the planes are kept"
    )
    return None


def acquired(image: Element, noted: list[str]) -> datetime | None:
    """Return when an image was taken; with a time zone only where one is stated."""
    element = child(image, *_DATES)
    text = "" if element is None else (element.text or "").strip()
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        noted.append(f"the date of acquisition {text[:50]!r} is none: ignored")
        return None


def time_stamps(start: datetime | None, delta_t: Sequence[float]) -> tuple[datetime, ...]:
    """Return when each time point was taken; empty if that is unknown."""
    if start is None:
        return ()
    try:
        return tuple(start + timedelta(seconds=seconds) for seconds in delta_t)
    except OverflowError:
        return ()
