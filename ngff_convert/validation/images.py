"""The multiscales of an image and its display settings, against its arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any

from ngff_convert.units import SPACE_UNITS, TIME_UNITS
from ngff_convert.validation.arrays import describe_array, known_sizes
from ngff_convert.validation.findings import shown
from ngff_convert.validation.nodes import CHECKED, below, read_node
from ngff_convert.validation.systems import axes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.arrays import ArrayInfo
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Json, Node

ROUNDING = 1.0
"""Voxels by which the size of a level may differ from what its scale says: halved sizes go up or down."""

MAX_LEVELS = 1000
"""Levels of an image that are looked at; halving 2**62 voxels makes 62."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an image.

    Attributes
    ----------
    array
        Its array; None if that cannot be read.
    scale
        Along each axis; None where it is unknown or has another length than the axes.
    """

    array: ArrayInfo | None
    scale: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The levels of an image.

    Attributes
    ----------
    axes
        Their names; empty if they are not known.
    levels
        As the metadata list them.
    channel_axis
        Which axis is the channels'; None if none is.
    """

    axes: tuple[str, ...]
    levels: tuple[Level, ...]
    channel_axis: int | None


def read_pyramids(store: Storage, node: Node, version: str, findings: Findings) -> list[Pyramid]:
    """Read the levels of each multiscales of an image, and hold them against each other."""
    items = node.ome.get("multiscales")
    if not isinstance(items, list) or not items:
        if version not in CHECKED:  # their models say so
            findings.error(node.path, "multiscales", "multiscales is not a list with an entry")
        return []
    return [_pyramid(store, node, item, version, findings) for item in items[:1000] if isinstance(item, dict)]


def _pyramid(store: Storage, node: Node, item: Json, version: str, findings: Findings) -> Pyramid:
    axes = _axes(item)
    names = tuple(str(axis["name"]) for axis in axes) if all("name" in axis for axis in axes) else ()
    if version in CHECKED:
        _check_axes(node.path, axes, findings)
    datasets = item.get("datasets")
    levels = []
    seen: dict[str, ArrayInfo | None] = {}
    for dataset in (datasets if isinstance(datasets, list) else [])[:MAX_LEVELS]:
        if not isinstance(dataset, dict):
            continue
        path = below(node.path, dataset.get("path"), findings)
        if path is not None and path not in seen:
            seen[path] = _array(store, path, findings)
        scale = _scale(node.path, dataset, len(axes), findings)
        levels.append(Level(seen[path] if path is not None else None, scale))
    channels = [n for n, axis in enumerate(axes) if axis.get("type") == "channel" or axis.get("name") == "c"]
    pyramid = Pyramid(names, tuple(levels), channels[0] if channels else None)
    _check_arrays(pyramid, version, findings)
    _check_sizes(node.path, pyramid, findings)
    return pyramid


def _array(store: Storage, path: str, findings: Findings) -> ArrayInfo | None:
    node = read_node(store, path, findings)
    if node is None:
        return None
    if node.kind != "array":
        findings.error(path, "node-kind", "is a group, but the metadata name it as an array")
        return None
    return describe_array(node, findings)


# -- axes --------------------------------------------------------------------------------------------------


def _axes(item: Json) -> list[Json]:
    """Return the axes of any version as objects; empty if there are none."""
    axes = axes_of(item)
    if not isinstance(axes, list):
        return []
    return [axis if isinstance(axis, dict) else {"name": str(axis)} for axis in axes[:32]]


def _check_axes(where: str, axes: list[Json], findings: Findings) -> None:
    for axis in axes:
        name = shown(axis.get("name"))
        if "type" not in axis:
            findings.warning(where, "axis-type", f"axis {name} has no type: space, time or channel")
        if "unit" in axis:
            _check_unit(where, name, axis, findings)
    space = [str(axis.get("name")) for axis in axes if axis.get("type") == "space"]
    if all(name in ("z", "y", "x") for name in space) and space != sorted(space, reverse=True):
        findings.warning(where, "axis-order", f"the space axes are {shown(space)}; viewers expect z, y, x")


def _check_unit(where: str, name: str, axis: Json, findings: Findings) -> None:
    unit = axis["unit"]
    words = {"space": SPACE_UNITS, "time": TIME_UNITS}.get(str(axis.get("type")))
    if not isinstance(unit, str):
        message = f"axis {name} has the unit {shown(unit)}; leave the key out where it is unknown"
        findings.error(where, "axis-unit", message)
    elif words is not None and unit not in words:
        message = f"axis {name} has the unit {shown(unit)}, which is no word of the specification"
        findings.warning(where, "axis-unit", f"{message}: some viewers refuse the image")


# -- transformations ---------------------------------------------------------------------------------------


def _scale(where: str, dataset: Json, n_axes: int, findings: Findings) -> tuple[float, ...] | None:
    """Return the scale of a level, and check the numbers of its transformations."""
    found = None
    for item in _transformations(dataset):
        if item.get("type") == "identity":
            found = (1.0,) * n_axes
        if "type" not in item:
            message = f"a transformation of {shown(dataset.get('path'))} has no type"
            findings.error(where, "transformations", message)
        for kind in ("scale", "translation"):
            values = item.get(kind)
            if item.get("type") != kind or not isinstance(values, list) or not all(map(_is_number, values)):
                continue  # the model of the version says so
            if not all(isfinite(v) and (kind == "translation" or v > 0) for v in map(_float, values)):
                message = f"the {kind} of {shown(dataset.get('path'))} is {shown(values)}"
                findings.error(where, "scale-value", f"{message}: not finite, or not above 0")
            elif kind == "scale" and len(values) == n_axes and found is None:
                found = tuple(map(_float, values))
    return found


def _transformations(dataset: Json) -> list[Json]:
    items = dataset.get("coordinateTransformations")
    found = []
    for item in (items if isinstance(items, list) else [])[:100]:
        inner = item.get("transformations") if isinstance(item, dict) else None
        found += inner[:100] if isinstance(inner, list) else [item]  # a sequence of 0.6
    return [item for item in found if isinstance(item, dict)]


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 300 digits
        return float("inf")


# -- levels against each other -----------------------------------------------------------------------------


def _check_arrays(pyramid: Pyramid, version: str, findings: Findings) -> None:
    """Check what each array says against the axes and the first level."""
    arrays = [level.array for level in pyramid.levels if level.array is not None]
    for array in arrays:
        if array.dtype != arrays[0].dtype:
            message = f"has dtype {array.dtype}, but {arrays[0].path} has {arrays[0].dtype}"
            findings.error(array.path, "level-dtype", message)
        n_axes = len(pyramid.axes) or len(arrays[0].shape)
        if len(array.shape) != n_axes:
            message = f"has {len(array.shape)} dimensions, but there are {n_axes} axes"
            findings.error(array.path, "level-ndim", message)
        if version in ("0.5", "0.6") and array.zarr_format == 3:
            _check_names(array, pyramid.axes, findings.error if version == "0.5" else findings.warning)
        if version in ("0.2", "0.3", "0.4") and array.zarr_format == 2 and array.separator != "/":
            findings.error(array.path, "separator", 'dimension_separator is ".", not "/"')


def _check_names(array: ArrayInfo, axes: Sequence[str], say: Callable[[str, str, str], None]) -> None:
    if array.names is None:
        say(array.path, "dimension-names", "has no dimension_names")
    elif array.names != list(axes):
        message = f"has dimension_names {shown(array.names)}, but the axes are {shown(list(axes))}"
        say(array.path, "dimension-names", message)


def _check_sizes(where: str, pyramid: Pyramid, findings: Findings) -> None:
    """Check that levels get smaller, and by as much as their scales say."""
    for above, level in pairwise(pyramid.levels):
        for name, larger, smaller in (
            ("size", _shape(above), _shape(level)),
            ("scale", level.scale, above.scale),
        ):
            pairs = zip(larger or (), smaller or (), strict=False)
            if any(b > a for a, b in pairs):
                path = level.array.path if level.array else where
                message = f"is not smaller than the level before: its {name} is not in order"
                findings.error(path, "level-order", message)
                break
    first = pyramid.levels[0] if pyramid.levels else None
    for level in pyramid.levels[1:]:
        if first is not None and level.array is not None:
            _check_ratio(pyramid.axes, first, level, level.array.path, findings)


def _check_ratio(axes: Sequence[str], first: Level, level: Level, path: str, findings: Findings) -> None:
    sizes, scales = (_shape(first), _shape(level)), (first.scale, level.scale)
    known = [values for values in (*sizes, *scales) if values is not None]
    if len(known) < 4 or any(len(values) != len(axes) for values in known):
        return
    for name, n_0, n, s_0, s in zip(axes, *known, strict=True):
        expected = n_0 * s_0 / s
        if abs(n - expected) > ROUNDING + 1e-6 * n:
            message = (
                f"axis {name} has {n} voxels for {n_0} of the first level, but a scale {s / s_0:g} times its"
            )
            findings.error(path, "scale-shape", message)


def _shape(level: Level) -> tuple[int, ...] | None:
    return level.array.shape if level.array is not None else None


# -- display -----------------------------------------------------------------------------------------------


def check_omero(node: Node, pyramids: Sequence[Pyramid], findings: Findings) -> None:
    """Check the channels that are displayed against the image."""
    omero = node.ome.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return
    sizes = {n for pyramid in pyramids for n in _channel_sizes(pyramid)}
    if sizes and len(channels) not in sizes:
        message = f"omero has {len(channels)} channels, but the image has {known_sizes(sorted(sizes))}"
        findings.error(node.path, "omero-channels", message)
    for index, channel in enumerate(channels):
        if isinstance(channel, dict):
            _check_channel(node.path, f"channel {index}", channel, findings)


def _channel_sizes(pyramid: Pyramid) -> list[int]:
    first = _shape(pyramid.levels[0]) if pyramid.levels else None
    if first is None or len(pyramid.axes) != len(first):
        return []
    return [1 if pyramid.channel_axis is None else first[pyramid.channel_axis]]


def _check_channel(where: str, name: str, channel: Json, findings: Findings) -> None:
    color, window = channel.get("color"), channel.get("window")
    if isinstance(color, str) and not re.fullmatch("[0-9A-Fa-f]{6}", color):
        message = f"{name} has the color {shown(color)}, not six hex digits RRGGBB"
        findings.error(where, "omero-color", message)
    if isinstance(window, dict):
        limits = [window.get(key) for key in ("min", "start", "end", "max")]
        if all(map(_is_number, limits)) and limits != sorted(limits):  # type: ignore[type-var]
            message = f"{name} has the window {shown(limits)} (min, start, end, max), which is not in order"
            findings.warning(where, "omero-window", message)
