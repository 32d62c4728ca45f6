"""What the dimensions of an HDF5 dataset are, by what is written at it; no file is touched here.

There is no one way to say it. In the order in which they are believed: the user's word; `axistags`, JSON of
vigra, which ilastik writes; the labels of the dimensions; the names of their scales; an attribute `axes`; the
way HDF5 stores pictures (attributes ``CLASS`` and ``INTERLACE_MODE``); an `element_size_um` of three numbers.
Where nothing does, the number of dimensions has to do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from ngff_convert.model import AXES, UNKNOWN, Calibration, MaybeTriple
from ngff_convert.units import TIME_UNITS, space_factor, space_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LETTERS = {
    **{letter: letter for letter in AXES},
    **dict.fromkeys(("time", "times", "frame", "frames", "timepoint", "timepoints"), "t"),
    **dict.fromkeys(("channel", "channels", "ch", "color", "colour", "wavelength"), "c"),
    **dict.fromkeys(("depth", "plane", "planes", "slice", "slices"), "z"),
    **dict.fromkeys(("height", "row", "rows"), "y"),
    **dict.fromkeys(("width", "column", "columns", "col", "cols"), "x"),
}
"""What dimensions are called, in lower case, and which axis that is."""

BY_NUMBER = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}
WITH_CHANNELS_LAST = {3: "yxc", 4: "zyxc", 5: "tzyxc"}

MOST_CHANNELS_LAST = 4
"""A last dimension of so few is one of channels: ilastik takes it for that, and no image is so narrow."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a dimension.

    Attributes
    ----------
    name, unit
        As they are written; may be empty.
    first, step
        Where the first voxel is, and from one to the next; None where the steps are not even.
    """

    name: str = ""
    unit: str = ""
    first: float | None = None
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What is written at a dataset.

    Attributes
    ----------
    shape
        Its size along each dimension.
    texts
        Its attributes as text.
    labels
        The label of each dimension; empty where it has none.
    scales
        The scale of each dimension.
    """

    shape: tuple[int, ...]
    texts: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ()


@dataclass(frozen=True, slots=True)
class Dimensions:
    """What the dimensions of a dataset are.

    Attributes
    ----------
    axes
        A letter for each, of t, c, z, y, x.
    source
        What says so: ``"axistags"``, ``"--axes"``; empty where nothing does.
    odd
        What is written but cannot be followed, one line each.
    """

    axes: str
    source: str
    odd: tuple[str, ...] = ()


def dimensions(said: Said, wanted: str | None = None) -> Dimensions:
    """Return what the dimensions of a dataset are.

    Parameters
    ----------
    said
        What is written at it; 2 to 5 dimensions.
    wanted
        The axes that the user says it has, as many as dimensions.

    Examples
    --------
    >>> dimensions(Said((3, 512, 512), labels=("channel", "y", "x"))).axes
    'cyx'
    >>> dimensions(Said((512, 512, 3)))
    Dimensions(axes='yxc', source='', odd=())
    """
    if wanted is not None:
        return Dimensions(wanted, "--axes")
    odd: list[str] = []
    for source, names in _statements(said):
        letters = [LETTERS.get(name.strip().lower(), "?") for name in names]
        if len(letters) == len(said.shape) and "?" not in letters and len(set(letters)) == len(letters):
            return Dimensions("".join(letters), source, tuple(odd))
        odd.append(f"its {source} say {', '.join(names)}, which is not understood")
    return Dimensions(_by_number(said.shape), "", tuple(odd))


def _statements(said: Said) -> Iterable[tuple[str, Sequence[str]]]:
    """Yield what says something of the dimensions, and the names it has for them."""
    if tags := _tags(said.texts):
        yield "axistags", [str(tag.get("key")) for tag in tags]
    if any(said.labels):
        yield "dimension labels", said.labels
    if any(scale.name for scale in said.scales):
        yield "dimension scales", [scale.name for scale in said.scales]
    if stated := said.texts.get("axes", said.texts.get("axisorder")):
        yield "axes", _names(stated, len(said.shape))
    if said.texts.get("IMAGE_SUBCLASS") == "IMAGE_TRUECOLOR" and len(said.shape) == 3:
        by_plane = said.texts.get("INTERLACE_MODE") == "INTERLACE_PLANE"
        yield "image attributes", "cyx" if by_plane else "yxc"
    if len(said.shape) == 3 and len(_numbers(said.texts.get("element_size_um"))) == 3:
        yield "element_size_um", "zyx"


def _tags(texts: dict[str, str]) -> list[dict[str, Any]]:
    """Return the axes of vigra, in the order of the dimensions; nothing where it is not its JSON."""
    try:
        axes = json.loads(texts["axistags"])["axes"]
        return [dict(axis) for axis in axes]
    except (KeyError, ValueError, TypeError, RecursionError):
        return []


def _names(stated: str, n: int) -> Sequence[str]:
    """Return the names in a text: ``"zyx"``, ``"z, y, x"``, ``'["z", "y", "x"]'``."""
    words = re.findall(r"\w+", stated)
    return words[0] if len(words) == 1 and len(words[0]) == n else words


def _by_number(shape: Sequence[int]) -> str:
    last, before = shape[-1], shape[-2]
    if len(shape) > 2 and last <= MOST_CHANNELS_LAST < before:
        return WITH_CHANNELS_LAST[len(shape)]
    return BY_NUMBER[len(shape)]


# -- sizes -------------------------------------------------------------------------------------------------


def calibration(said: Said, axes: str) -> Calibration:
    """Return the voxel size, the time step and the origin that are written at a dataset.

    Parameters
    ----------
    said
        What is written at it.
    axes
        What its dimensions are.

    Examples
    --------
    >>> calibration(Said((5, 9, 9), {"element_size_um": "2.0 0.5 0.5"}), "zyx").zyx
    (2.0, 0.5, 0.5)
    """
    scales = dict(zip(axes, said.scales, strict=False))
    t_s = _seconds(scales.get("t"))
    in_um = dict(zip("xyz", reversed(_numbers(said.texts.get("element_size_um"))), strict=False))
    if size := {axis: n for axis, n in in_um.items() if n > 0}:
        return Calibration(_zyx(size), "micrometer", t_s)
    from_scales = _from_scales(scales, t_s)
    if from_scales is not None:
        return from_scales
    # vigra has no unit for its resolution.
    tags = dict(zip(axes, (_number(tag.get("resolution")) for tag in _tags(said.texts)), strict=False))
    size = {axis: n for axis, n in tags.items() if axis in "zyx" and n is not None and n > 0}
    return Calibration(_zyx(size), None, t_s)


def _from_scales(scales: dict[str, Scale], t_s: float | None) -> Calibration | None:
    """Return what the scales of z, y and x say, in one unit; None where they do not."""
    known = {axis: scale for axis, scale in scales.items() if axis in "zyx" and scale.step}
    units = {axis: space_unit(scale.unit) for axis, scale in known.items()}
    if not known or len({unit is None for unit in units.values()}) > 1:
        return None
    unit = units.get("x", next(iter(units.values())))
    factor = {axis: space_factor(own, unit) if own and unit else 1.0 for axis, own in units.items()}
    size = {axis: abs(scale.step or 0) * factor[axis] for axis, scale in known.items()}
    first = {axis: scale.first * factor[axis] for axis, scale in known.items() if scale.first is not None}
    # Where numbers fall along an axis, the pixels are seen from its other end: the place is not that end's.
    origin = {axis: at for axis, at in first.items() if (known[axis].step or 0) > 0}
    return Calibration(_zyx(size), unit, t_s, _zyx(origin))


def _seconds(scale: Scale | None) -> float | None:
    unit = time_unit(scale.unit) if scale else None
    if scale is None or unit is None or not scale.step or scale.step < 0:
        return None
    return float(f"{scale.step * TIME_UNITS[unit]:.15g}")


def _zyx(values: dict[str, float]) -> MaybeTriple:
    return tuple(values.get(axis) for axis in "zyx") if values else UNKNOWN


def _numbers(text: str | None) -> list[float]:
    """Return the numbers in a text; nothing where there is anything else in it."""
    found = [_number(word) for word in re.split(r"[\s,;]+", (text or "").strip(" []()"))]
    return [n for n in found if n is not None] if None not in found else []


def _number(value: Any) -> float | None:  # noqa: ANN401 - from foreign metadata
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


# -- labels ------------------------------------------------------------------------------------------------

_EXPORTS = re.compile(
    r"[_ -](simple segmentation|object identities|object predictions|multicut segmentation|"
    r"tracking-result|watershed)\.\w+$",
    re.IGNORECASE,
)
"""How ilastik calls the files of results that are object numbers or classes, unless it is told otherwise."""

_AS_LABELS = ("random-colortable", "binary-mask")


def is_label(said: Said, path: str, kind: str) -> bool:
    """Whether the numbers of a dataset are those of objects or classes; only where it surely is so.

    Parameters
    ----------
    said
        What is written at it.
    path
        Its file, as ilastik may have called it.
    kind
        Kind of its numbers, as numpy has it.
    """
    if kind == "b":
        return True
    if kind not in "iu" or not _tags(said.texts):
        return False
    return said.texts.get("display_mode") in _AS_LABELS or _EXPORTS.search(path) is not None
