"""Plan + image -> the metadata of OME-Zarr (OME-NGFF 0.4 and 0.5) as JSON-ready dicts. No file is touched.

The two versions differ in their envelope only: 0.4 keeps its keys at the top of a group's attributes and its
version in the multiscales, 0.5 keeps both under ``ome``. What is unknown is left out: nothing is null, no
number is NaN or infinite, and an axis has a unit only where its step is known.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from itertools import cycle
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ngff_convert.model import AXES
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Channel, Image, Level, WritePlan

Attributes: TypeAlias = dict[str, Any]
Span: TypeAlias = tuple[float, float]

PALETTE = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
"""Colours for channels whose own is unknown, in this order and over again, but none that another has."""

LONE_COLOR = "FFFFFF"
"""Colour of an only channel whose own is unknown."""

MAX_ACTIVE = 6
"""Channels that are switched on at first; web viewers draw no more than six at once."""

DESCRIPTIONS = {
    "mean": "each voxel is the mean of those it covers, integers rounded half up",
    "nearest": "each voxel is the first of those it covers",
    "mode": "each voxel is the most frequent value of those it covers, of several the smallest",
    "max": "each voxel is the largest of those it covers",
    "min": "each voxel is the smallest of those it covers",
    "median": "each voxel is the median of those it covers, integers rounded half up",
    "native": "levels of the source file, copied voxel by voxel",
}
"""How the lower levels are made, in words; one for every method of a plan."""

_AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

_NARROW = ("bool", "int8", "uint8", "int16", "uint16")


# -- display windows ---------------------------------------------------------------------------------------


class Estimate(NamedTuple):
    """What a sample of a channel's pixels says about their values; NaN and infinity count as unknown.

    Attributes
    ----------
    low, high
        Values between which a picture looks right: the 0.1 and 99.9 percentiles, say.
    smallest, largest
        The extremes.
    """

    low: float
    high: float
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class Window:
    """How a channel is displayed: `start` is black and `end` is full colour, between `min` and `max`."""

    min: float
    max: float
    start: float
    end: float


def window_limits(dtype: str, window: Span | None, estimate: Estimate | None = None) -> Window:
    """Return the display window of one channel.

    Parameters
    ----------
    dtype
        Of the pixels written, as numpy spells it: ``"uint16"``.
    window
        Display limits that the source states (`Channel.window`).
    estimate
        What a sample of the pixels says.

    Returns
    -------
    Window
        ``start`` and ``end`` are the first of these that is a span of finite numbers after it was clipped to
        the values an integer type has: the source's window, the estimate's percentiles, its extremes. Where
        there is none, they are ``min`` and ``max``.
        ``min`` and ``max`` are all the values that bool and 8 and 16 bit integers have. That would be no use
        as the range of a slider for wider types: there they just cover all the spans named above. Where there
        is none, they are all the values of the integer type, or 0 and 1 for floats.

    Examples
    --------
    >>> window_limits("uint16", (100.0, 70000.0))
    Window(min=0, max=65535, start=100, end=65535)
    >>> window_limits("float32", None, Estimate(0.1, 0.9, -2.5, 8.0))
    Window(min=-2.5, max=8, start=0.1, end=0.9)
    """
    values = _values(dtype)
    known = [window] if window else []
    if estimate:
        known += [(estimate.low, estimate.high), (estimate.smallest, estimate.largest)]
    finite = (span for span in known if isfinite(span[0]) and isfinite(span[1]))
    spans = [(start, end) for start, end in (_clip(span, values) for span in finite) if start < end]
    limits: Span = values or (0, 1)
    if spans and dtype not in _NARROW:
        limits = min(start for start, _ in spans), max(end for _, end in spans)
    start, end = spans[0] if spans else limits
    return Window(*(_number(value) for value in (*limits, start, end)))


def _values(dtype: str) -> tuple[int, int] | None:
    """Return the smallest and largest value of an integer type; None for any other type."""
    if dtype == "bool":
        return 0, 1
    integer = re.fullmatch(r"(u?)int(\d+)", dtype)
    if not integer:
        return None
    bits = int(integer[2])
    return (0, 2**bits - 1) if integer[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _clip(span: Span, values: Span | None) -> Span:
    if values is None:
        return span
    start, end = (min(max(value, values[0]), values[1]) for value in span)
    return start, end


def _number(value: float) -> float:
    """Return whole numbers as int, as far as a float holds them exactly, and any other as a plain float."""
    if isinstance(value, int):
        return value
    plain = float(value)
    return int(plain) if plain.is_integer() and abs(plain) <= 2**53 else plain


# -- an image ----------------------------------------------------------------------------------------------


def image_attributes(image: Image, plan: WritePlan, windows: Sequence[Window]) -> Attributes:
    """Return the attributes of the group that holds an image's levels as arrays ``0``, ``1``, ...

    Parameters
    ----------
    image
        As it is written: cropped and with every override applied.
    plan
        What was decided about it.
    windows
        One a channel.
    """
    multiscales = {
        "name": _text(image.name),
        "axes": [_axis(axis, image) for axis in plan.axes],
        "datasets": [
            {"path": str(index), "coordinateTransformations": _transformations(level, plan.axes)}
            for index, level in enumerate(plan.levels)
        ],
        "type": plan.method,
        "metadata": _metadata(image, plan),
    }
    if plan.ngff_version == "0.4":
        multiscales = {"version": "0.4", **multiscales}
    return _enveloped(
        plan.ngff_version, {"multiscales": [multiscales], "omero": _omero(image, plan, windows)}
    )


def _axis(name: str, image: Image) -> dict[str, str]:
    """Describe an axis; it has a unit only if its step is known, else 1 voxel would become 1 of that unit."""
    calibration = image.calibration
    steps = dict(zip("tzyx", (calibration.t_s, *calibration.zyx), strict=True))
    unit = "second" if name == "t" else calibration.unit
    axis = {"name": name, "type": _AXIS_TYPES[name]}
    return axis if unit is None or steps.get(name) is None else {**axis, "unit": unit}


def _transformations(level: Level, axes: str) -> list[dict[str, Any]]:
    """Describe where a level's voxels are: one scale, then a translation unless that is nowhere."""
    stored = [AXES.index(axis) for axis in axes]
    scale = {"type": "scale", "scale": [level.scale[axis] for axis in stored]}
    shift = [level.translation[axis] for axis in stored]
    return [scale, {"type": "translation", "translation": shift}] if any(shift) else [scale]


def _metadata(image: Image, plan: WritePlan) -> dict[str, Any]:
    """Say how the levels were made, and when the time points were taken if no constant step says so."""
    factors = [[level.factor[AXES.index(axis)] for axis in plan.axes] for level in plan.levels]
    metadata: dict[str, Any] = {
        "description": DESCRIPTIONS[plan.method],
        "method": "ngff-convert",
        "version": __version__,
        "kwargs": {"method": plan.method, "factors": factors},
    }
    if len(image.time_stamps) > 1 and image.calibration.t_s is None:
        metadata["time_stamps"] = [stamp.isoformat() for stamp in image.time_stamps]
    return metadata


def _omero(image: Image, plan: WritePlan, windows: Sequence[Window]) -> dict[str, Any]:
    """Say how the image is displayed, in the words that OMERO coined and every viewer reads."""
    colors = _colors(image.channels)
    return {
        "name": _text(image.name),
        "channels": [
            {
                "label": _text(channel.name or f"Channel {index}"),
                "color": color,
                "window": asdict(window),
                "active": index < MAX_ACTIVE,
                "coefficient": 1,
                "family": "linear",
                "inverted": False,
            }
            for index, (channel, color, window) in enumerate(
                zip(image.channels, colors, windows, strict=True)
            )
        ],
        "rdefs": {
            "defaultT": 0,
            # The middle plane, but one that every level has: vizarr asks each level for this very number
            # and shows nothing where there is none (viv's issue 901).
            "defaultZ": min(plan.levels[0].shape[2] // 2, plan.levels[-1].shape[2] - 1),
            "model": "greyscale" if colors == [LONE_COLOR] else "color",
        },
    }


def _colors(channels: Sequence[Channel]) -> list[str]:
    """Return a colour for each channel: its own, or one that no other channel has while those last."""
    if len(channels) == 1:
        return [channels[0].color or LONE_COLOR]
    taken = {channel.color for channel in channels}
    free = cycle([color for color in PALETTE if color not in taken] or PALETTE)
    return [channel.color or next(free) for channel in channels]


def _text(text: str) -> str:
    """Replace what UTF-8 has no bytes for: half a surrogate pair, as in a file name that is not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


# -- groups ------------------------------------------------------------------------------------------------


def collection_attributes(version: str) -> Attributes:
    """Return the attributes of a root whose images are the groups ``0``, ``1``, ...

    Examples
    --------
    >>> collection_attributes("0.4")
    {'bioformats2raw.layout': 3}
    """
    return _enveloped(version, {"bioformats2raw.layout": 3})


def ome_group_attributes(version: str, series: Sequence[str]) -> Attributes:
    """Return the attributes of the group ``OME``, which holds ``METADATA.ome.xml``.

    Parameters
    ----------
    version
        Of OME-NGFF.
    series
        Paths of the images from the root, in the order in which the XML describes them; none where one image
        is the root itself, which no path names: the group is then a plain one.

    Examples
    --------
    >>> ome_group_attributes("0.5", ["0", "1"])
    {'ome': {'version': '0.5', 'series': ['0', '1']}}
    """
    return _enveloped(version, {"series": list(series)}) if series else {}


def group_documents(version: str, attributes: Attributes) -> dict[str, Attributes]:
    """Return the files that make a Zarr group: name -> JSON. Zarr v2 for OME-NGFF 0.4, v3 for 0.5.

    Examples
    --------
    >>> group_documents("0.5", {})
    {'zarr.json': {'zarr_format': 3, 'node_type': 'group', 'attributes': {}}}
    >>> group_documents("0.4", {})
    {'.zgroup': {'zarr_format': 2}, '.zattrs': {}}
    """
    if version == "0.4":
        return {".zgroup": {"zarr_format": 2}, ".zattrs": attributes}
    return {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": attributes}}


def _enveloped(version: str, keys: Attributes) -> Attributes:
    return keys if version == "0.4" else {"ome": {"version": version, **keys}}
