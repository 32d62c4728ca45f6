"""What the attributes of OME-Zarr 0.1 to 0.6 mean: axes, voxel sizes, channels. No file is touched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import AXES, Calibration, Channel, Legend
from ngff_convert.readers.zarr_nodes import list_of, object_of, shown, text_of
from ngff_convert.units import TIME_UNITS, space_factor, space_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Rgba
    from ngff_convert.readers.zarr_nodes import Json

WITHOUT_AXES = ("0.1", "0.2")
"""Versions whose images have the axes t, c, z, y, x, and no place where they could say so."""

KNOWN = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")

_OF_TYPE = {"time": "t", "channel": "c"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the stored arrays: a letter of ``tczyx``, and its unit as it is spelled; may be empty."""

    letter: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where voxels are: position = scale * index + shift, along each stored axis.

    Attributes
    ----------
    scale, shift
        One number an axis.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def is_shifted(self) -> bool:
        """Whether the first voxel is somewhere else than at 0, which is the same as nothing said."""
        return any(self.shift)


def version_of(multiscales: Json, ome: Json, where: str) -> str:
    """Return the version of OME-NGFF, of the first two numbers; empty where none is stated.

    Raises
    ------
    UnsupportedInput
        It is a later one than is known here.
    """
    stated = ome.get("version", multiscales.get("version"))
    version = ".".join(text_of(stated).split(".")[:2]).partition("-")[0]
    version = version.partition("rc")[0].partition("dev")[0]
    if version and version not in KNOWN:
        raise UnsupportedInput(
            f"{where}: is of OME-NGFF {shown(stated)}; {KNOWN[0]} to {KNOWN[-1]} are known here"
        )
    return version


# -- axes ----------------------------------------------------------------------------------------------------


def axes_of(multiscales: Json, version: str, where: str) -> tuple[Axis, ...]:
    """Return the axes in the order in which they are stored.

    Raises
    ------
    UnsupportedInput
        There is another one than t, c, z, y and x, or x or y is not there.
    """
    stated = multiscales.get("axes")
    if stated is None:
        stated = object_of(system_of(multiscales)).get("axes")
    if stated is None and (not version or version in WITHOUT_AXES):
        return tuple(Axis(letter) for letter in AXES)
    axes = [_axis(axis, where) for axis in list_of(stated)]
    letters = [axis.letter for axis in axes]
    if len(set(letters)) != len(letters) or not {"y", "x"} <= set(letters):
        names = ", ".join(letters) or "none"
        raise UnsupportedInput(f"{where}: its axes are {names}; an image has y and x, and each axis once")
    return tuple(axes)


def _axis(stated: Any, where: str) -> Axis:  # noqa: ANN401 - from foreign metadata
    axis = object_of(stated)
    name = text_of(axis.get("name", stated)).lower()
    kind = text_of(axis.get("type"))
    letter = name if name in AXES and len(name) == 1 else _OF_TYPE.get(kind)
    if letter is None:
        kind = f" of type {kind}" if kind else ""
        raise UnsupportedInput(
            f"{where}: its axis {shown(axis.get('name', stated))}{kind} is none of t, c, z, y, x, which are "
            "all that is handled"
        )
    return Axis(letter, text_of(axis.get("unit")))


def system_of(multiscales: Json) -> Json | None:
    """Return the coordinate system that levels are mapped to, in 0.6; None if there is none."""
    systems = {
        text_of(s.get("name")): s for s in map(object_of, list_of(multiscales.get("coordinateSystems")))
    }
    if not systems:
        return None
    for dataset in map(object_of, list_of(multiscales.get("datasets"))):
        for transformation in map(object_of, list_of(dataset.get("coordinateTransformations"))):
            output = transformation.get("output")
            name = text_of(object_of(output).get("name", output))
            if name in systems:
                return systems[name]
    return list(systems.values())[-1]


# -- where voxels are ----------------------------------------------------------------------------------------


def placed(multiscales: Json, dataset: Json, n_axes: int, where: str) -> Placed | None:
    """Return where the voxels of a level are; None where nothing is said about it.

    What the multiscales say of all levels is applied after the level's own; in 0.6 that leads to other
    coordinate systems, and is left out.

    Raises
    ------
    ReadError
        Numbers are missing, or are none.
    UnsupportedInput
        There is another transformation than scale and translation.
    """
    steps = list_of(dataset.get("coordinateTransformations"))
    if "coordinateSystems" not in multiscales:
        steps = [*steps, *list_of(multiscales.get("coordinateTransformations"))]
    if not steps:
        return None
    scale, shift = [1.0] * n_axes, [0.0] * n_axes
    for kind, numbers in _flat(steps, n_axes, where):
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            shift = [_short(a * b) for a, b in zip(shift, numbers, strict=True)]
        else:
            shift = [_short(a + b) for a, b in zip(shift, numbers, strict=True)]
    return Placed(tuple(map(_short, scale)), tuple(shift))


def after(first: Placed, then: Placed) -> Placed:
    """Return where voxels are that are first in one place, and then moved on from there.

    Examples
    --------
    >>> after(Placed((0.5,), (1.0,)), Placed((2.0,), (10.0,)))
    Placed(scale=(1.0,), shift=(12.0,))
    """
    numbers = list(zip(first.scale, first.shift, then.scale, then.shift, strict=True))
    return Placed(
        tuple(_short(scale * on) for scale, _, on, _ in numbers),
        tuple(_short(shift * on + to) for _, shift, on, to in numbers),
    )


def _flat(steps: Sequence[Any], n_axes: int, where: str) -> list[tuple[str, list[float]]]:
    found: list[tuple[str, list[float]]] = []
    for step in map(object_of, steps):
        kind = step.get("type")
        if kind == "sequence":
            inner = list_of(step.get("transformations"))
            if any(object_of(one).get("type") == "sequence" for one in inner):
                raise UnsupportedInput(
                    f"{where}: a sequence of transformations within another is not handled"
                )
            found += _flat(inner, n_axes, where)
        elif kind in ("scale", "translation"):
            found.append((kind, _numbers(step, kind, n_axes, where)))
        elif kind != "identity":
            raise UnsupportedInput(
                f"{where}: its transformation {shown(kind)} is not handled, only scale and translation"
            )
    return found


def _numbers(step: Json, kind: str, n_axes: int, where: str) -> list[float]:
    numbers = step.get(kind)
    if numbers is None and "path" in step:
        raise UnsupportedInput(f"{where}: its {kind} is in an array of its own, which is not handled")
    good = isinstance(numbers, list) and len(numbers) == n_axes
    if not good or not all(_is_number(n) and (kind != "scale" or n > 0) for n in numbers or ()):
        raise ReadError(f"{where}: its {kind} {shown(numbers)} is not {n_axes} numbers, one an axis")
    return [float(n) for n in numbers or ()]


def _is_number(value: Any) -> bool:  # noqa: ANN401 - from foreign metadata
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _short(number: float) -> float:
    """Return a number without what binary fractions add to it."""
    return float(f"{number:.15g}")


def factors(full: Placed, level: Placed, axes: Sequence[Axis]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the factor of a level, and its shift in voxels of the full one, by axis."""
    letters = [axis.letter for axis in axes]
    ratios = (float(f"{b / a:.12g}") for a, b in zip(full.scale, level.scale, strict=True))
    shifts = (
        float(f"{(b - a) / voxel:.9f}")
        for a, b, voxel in zip(full.shift, level.shift, full.scale, strict=True)
    )
    return dict(zip(letters, ratios, strict=True)), dict(zip(letters, shifts, strict=True))


def calibration(axes: Sequence[Axis], place: Placed | None, warnings: list[str]) -> Calibration:
    """Return the voxel size, time step and origin; what is 1 without a unit is unknown.

    Parameters
    ----------
    axes, place
        Of level 0.
    warnings
        Gets a line about each unit that is odd.
    """
    if place is None:
        return Calibration()
    letters = [axis.letter for axis in axes]
    scale, shift = (dict(zip(letters, numbers, strict=True)) for numbers in (place.scale, place.shift))
    units = {axis.letter: _space(axis, warnings) for axis in axes if axis.letter in "zyx"}
    known = [units[letter] for letter in "xyz" if units.get(letter)]
    unit = known[0] if known else None
    if unit is None and all(scale[letter] == 1 for letter in units) and not place.is_shifted:
        zyx: dict[str, float] = {}
    else:
        zyx = {letter: scale[letter] for letter in units if units[letter] or scale[letter] != 1 or not unit}
    origin = {letter: shift[letter] for letter in units} if place.is_shifted else {}
    for letter, own in units.items():
        if unit and own and own != unit:
            factor = space_factor(own, unit)
            zyx[letter] = _short(zyx[letter] * factor)
            origin = {**origin, letter: _short(origin[letter] * factor)} if origin else origin
        elif unit and not own and letter in zyx:
            warnings.append(f"axis {letter} has no unit that is known: taken to be in {unit}, as another one")
    t_s, start_s = _time(axes, scale, shift, warnings)
    return Calibration(
        (zyx.get("z"), zyx.get("y"), zyx.get("x")),
        unit if zyx else None,
        t_s,
        (origin.get("z"), origin.get("y"), origin.get("x")),
        start_s,
    )


def _space(axis: Axis, warnings: list[str]) -> str | None:
    unit = space_unit(axis.unit)
    if axis.unit and unit is None:
        warnings.append(f"axis {axis.letter} is in {shown(axis.unit)}, which is no unit of length")
    return unit


def _time(
    axes: Sequence[Axis], scale: dict[str, float], shift: dict[str, float], warnings: list[str]
) -> tuple[float | None, float]:
    """Return the time step, and when the first time point is, in seconds."""
    stated = next((axis.unit for axis in axes if axis.letter == "t"), None)
    if stated is None:
        return None, 0.0
    unit = time_unit(stated)
    step, start = scale["t"], shift["t"]
    if unit is None and (step != 1 or stated):
        said = f"is in {shown(stated)}, which is no unit of time" if stated else "has no unit"
        warnings.append(
            f"axis t {said}: its step {step:g} is {'taken for seconds' if step != 1 else 'unknown'}"
        )
    if unit is None:
        return (step, start) if step != 1 else (None, start)
    return _short(step * TIME_UNITS[unit]), _short(start * TIME_UNITS[unit])


# -- channels, names, times ----------------------------------------------------------------------------------


def channels(omero: Json, count: int, warnings: list[str]) -> tuple[Channel, ...] | None:
    """Return the channels as they are displayed; None where nothing is said, or of another number of them."""
    stated = omero.get("channels")
    if not isinstance(stated, list) or not stated:
        return None
    if len(stated) != count:
        warnings.append(f"omero describes {len(stated)} channels, but there are {count}: it is left out")
        return None
    return tuple(_channel(object_of(channel)) for channel in stated)


def _channel(stated: Json) -> Channel:
    color = re.fullmatch("#?([0-9A-Fa-f]{6})([0-9A-Fa-f]{2})?", text_of(stated.get("color")))
    window = object_of(stated.get("window"))
    limits = window.get("start"), window.get("end")
    good = all(map(_is_number, limits)) and limits[0] < limits[1]  # type: ignore[operator]
    return Channel(
        name=text_of(stated.get("label")) or None,
        color=color[1].upper() if color else None,
        window=limits if good else None,  # type: ignore[arg-type]
    )


def name_of(multiscales: Json, ome: Json, folder: str) -> str:
    """Return what an image is called; empty where that is no more than where it is in the store."""
    names = (text_of(multiscales.get("name")), text_of(object_of(ome.get("omero")).get("name")))
    places = {"", "/", folder, f"/{folder}", folder.rpartition("/")[2]}
    return next((name for name in names if name not in places), "")


def time_stamps(multiscales: Json, count: int) -> tuple[datetime, ...]:
    """Return when the time points were taken, as this program notes it; none where that is not all told."""
    stated = list_of(object_of(multiscales.get("metadata")).get("time_stamps"))
    try:
        stamps = tuple(datetime.fromisoformat(stamp) for stamp in stated)
    except (TypeError, ValueError):
        return ()
    return stamps if len(stamps) == count else ()


def legend(stated: Json) -> Legend:
    """Return what an ``image-label`` says of values; what cannot be meant is left out."""
    colors: dict[int, Rgba] = {}
    for entry in map(object_of, list_of(stated.get("colors"))):
        value, rgba = entry.get("label-value"), list_of(entry.get("rgba"))
        if (
            isinstance(value, int)
            and _is_whole(value)
            and len(rgba) == 4
            and all(_is_whole(n) and 0 <= n <= 255 for n in rgba)
        ):
            colors[value] = (rgba[0], rgba[1], rgba[2], rgba[3])
    properties = {
        entry["label-value"]: {
            key: said for key, said in entry.items() if key != "label-value" and _is_json(said)
        }
        for entry in map(object_of, list_of(stated.get("properties")))
        if _is_whole(entry.get("label-value"))
    }
    return Legend(colors, properties)


def _is_whole(value: Any) -> bool:  # noqa: ANN401 - from foreign metadata
    return isinstance(value, int) and not isinstance(value, bool)


def _is_json(value: Any) -> bool:  # noqa: ANN401 - from foreign metadata
    """Return whether a value is JSON, which has no NaN and no infinity, though Python reads them."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
