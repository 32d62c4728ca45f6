"""What ImageJ and Fiji write into TIFF files: a description of ``key=value`` lines and the IJMetadata tag.

The keys are those of ImageJ's ``FileSaver.getDescriptionString``; they mean what ``ij.measure.Calibration``
says. What ImageJ leaves at its default it does not write.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ngff_convert.model import Channel
from ngff_convert.readers.tiff_values import (
    Found,
    Length,
    Sections,
    Sizes,
    as_sections,
    bare,
    clean,
    lengths_in,
    number,
    positive,
    ramp_color,
    ratio,
    scaled,
    text_or_none,
    window,
)
from ngff_convert.units import TIME_UNITS, space_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import tifffile

    from ngff_convert.readers.tiff_values import MaybeLengths

_PLACE = re.compile(r"^\s*(?:[czt]:\d+/\d+[\s,;]*)+(?:-\s*)?")
_FILE_NAME = re.compile(
    r"\.(tiff?|png|jpe?g|lsm|czi|nd2|lif|oib|oif|stk|bmp|gif|dcm|ims|dv)\b", re.IGNORECASE
)
_X_RESOLUTION, _Y_RESOLUTION = 282, 283


def imagej(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the metadata of ImageJ; None where the file has none."""
    if not tif.is_imagej:
        return None
    data = tif.imagej_metadata or {}
    tags = series.keyframe.tags
    size = voxel_size(
        data,
        (ratio(tags.valueof(_X_RESOLUTION)), ratio(tags.valueof(_Y_RESOLUTION))),
        stack=sizes.z > 1,
        warnings=warnings,
    )
    if number(data.get("c0")) is not None:
        made = _value_unit(data)
        warnings.append(f"pixel values are kept as stored: ImageJ's function that makes {made} is not used")
    return Found(
        name=text_or_none(_property(data, "title")) or "",
        channels=channels(data, sizes, warnings),
        size=size,
        origin=origin(data, size),
        t_s=time_step(data, warnings) if sizes.t > 1 else None,
        sections=sections(data),
    )


def _value_unit(data: Mapping[str, Any]) -> str:
    signed = number(data.get("c0")) == -32768 and number(data.get("c1")) == 1
    return "signed numbers" if signed else repr(clean(data.get("vunit", "other values")))


def _property(data: Mapping[str, Any], key: str) -> object:
    properties = data.get("Properties")
    return properties.get(key) if isinstance(properties, dict) else None


def voxel_size(
    data: Mapping[str, Any],
    per_unit_xy: tuple[float | None, float | None],
    *,
    stack: bool,
    warnings: list[str],
) -> MaybeLengths:
    """Return the voxel size (z, y, x).

    Parameters
    ----------
    data
        What the description says.
    per_unit_xy
        The resolution tags: pixels per `unit` along x, per `yunit` along y.
    stack
        Whether there are slices.
    warnings
        Gets a line for whatever is odd.

    Returns
    -------
    tuple
        Unknown along y and x without a unit in the description: ImageJ reads the resolution tags as any
        program does then. Unknown along z where no spacing is written: ImageJ leaves out 1.0, which is
        also what it has for stacks that nobody calibrated.
    """
    unit = data.get("unit")
    units = {axis: data.get(f"{axis}unit", unit) for axis in "zyx"} | {"x": unit}
    for axis, spelled in units.items():
        named = f"{axis}unit" if f"{axis}unit" in data else "unit"
        text = bare(spelled) if spelled is not None else ""
        if text and text.lower() not in ("pixel", "pixels", "px") and space_unit(text) is None:
            warnings.append(
                f"ImageJ's {named}={text} is no unit of length: the voxel size has none along {axis}"
            )
    sizes: list[Length | None] = [_z_size(data, units["z"], stack=stack, warnings=warnings)]
    for axis, per_unit in (("y", per_unit_xy[1]), ("x", per_unit_xy[0])):
        if unit is None:
            sizes.append(None)
        elif per_unit is None or per_unit <= 0:
            warnings.append(f"ImageJ's unit={bare(unit)} comes without a resolution: unknown along {axis}")
            sizes.append(None)
        else:
            sizes += lengths_in(units[axis], 1 / per_unit)
    return sizes[0], sizes[1], sizes[2]


def _z_size(data: Mapping[str, Any], unit: object, *, stack: bool, warnings: list[str]) -> Length | None:
    spacing = number(data.get("spacing"))
    if spacing is None:
        if "spacing" in data:
            warnings.append(f"ImageJ's spacing={clean(data['spacing'])} is no number: unknown along z")
        elif stack and unit is not None and space_unit(bare(unit)):
            warnings.append("ImageJ states no spacing of the slices (it leaves out 1.0): unknown along z")
        return None
    if spacing < 0:
        warnings.append(f"ImageJ's spacing of the slices is negative, {spacing:g}: taken without the sign")
    return lengths_in(unit, abs(spacing))[0]


def origin(data: Mapping[str, Any], size: MaybeLengths) -> MaybeLengths:
    """Return the position of the first voxel (z, y, x).

    ``xorigin`` is the voxel, counted from 0, where the coordinate is 0: ``getX(x) = (x - xOrigin) *
    pixelWidth`` (``ij.measure.Calibration``), so the first voxel is at ``-xOrigin * pixelWidth``.
    """
    found: list[Length | None] = []
    for axis, step in zip("zyx", size, strict=True):
        at = number(data.get(f"{axis}origin"))
        known = at is not None and step is not None and step.unit is not None
        found.append(Length(0.0 - scaled(at, step.value), step.unit) if known and at and step else None)
    return found[0], found[1], found[2]


def time_step(data: Mapping[str, Any], warnings: list[str]) -> float | None:
    """Return the seconds between time points: ``finterval`` in ``tunit``, seconds unless stated.

    ``fps`` is how fast ImageJ plays the image; its Animation Options dialog sets it, also for images that
    never had a frame interval. It says nothing about when time points were taken.
    """
    interval = positive(data.get("finterval"))
    if interval is None:
        if "fps" in data:
            line = (
                f"ImageJ's fps={clean(data['fps'])} is the speed of its animation: the time step is unknown"
            )
            warnings.append(line)
        return None
    spelled = bare(data.get("tunit", "sec"))
    unit = time_unit(spelled)
    if unit is None:
        warnings.append(f"ImageJ's tunit={spelled} is no unit of time: the time step is unknown")
        return None
    return scaled(interval, TIME_UNITS[unit])


def channels(data: Mapping[str, Any], sizes: Sizes, warnings: list[str]) -> tuple[Channel, ...]:
    """Return the channels: names from slice labels, colours from LUTs, windows from ranges.

    There is one a sample where ImageJ counts samples as channels (48-bit RGB), else one a plane.
    """
    ranges = _numbers(data.get("Ranges"))
    count = sizes.c if len(ranges) >= 2 * sizes.c else sizes.planes
    windows = [window(*ranges[2 * n : 2 * n + 2]) for n in range(count) if len(ranges) >= 2 * n + 2]
    if not ranges:
        windows = [window(data.get("min"), data.get("max"))] * count
    names = label_names(data.get("Labels"), sizes) if sizes.samples == 1 else [None] * count
    luts = data.get("LUTs")
    tables = luts if isinstance(luts, list | tuple) else [luts] if luts is not None else []
    composite = str(data.get("mode", "")).lower() in ("composite", "color")
    found = []
    for n in range(count):
        color = _lut_color(tables[n], n, warnings) if n < len(tables) and sizes.samples == 1 else None
        if color == "FFFFFF" and not (composite and count > 1):
            color = None  # a grey table is no colour that somebody chose
        found.append(Channel(names[n], color, window=windows[n] if n < len(windows) else None))
    return tuple(found)


def _numbers(value: object) -> list[float]:
    values = [number(part) for part in value] if isinstance(value, list | tuple) else []
    known = [part for part in values if part is not None]
    return known if len(known) == len(values) else []


def _lut_color(table: Any, channel: int, warnings: list[str]) -> str | None:  # noqa: ANN401 - an array
    rows = table.tolist()
    color = ramp_color(rows, 255.0)
    if color is None:
        warnings.append(f"the colour table of channel {channel} is not one colour: it is not carried over")
    return color


def label_names(labels: object, sizes: Sizes) -> list[str | None]:
    """Return the name of each channel where its slice labels agree on one.

    Slices are counted channel first, then z, then t. ImageJ puts ``c:1/3 z:1/5 - `` before a label.
    Labels that are file names, or the same for every channel, name no channel.
    """
    nobody: list[str | None] = [None] * sizes.planes
    if isinstance(labels, str):
        labels = [labels]
    if not isinstance(labels, list | tuple) or len(labels) != sizes.t * sizes.z * sizes.planes:
        return nobody
    names = []
    for n in range(sizes.planes):
        mine = {_PLACE.sub("", str(label).split("\n")[0]).strip() for label in labels[n :: sizes.planes]}
        name = mine.pop() if len(mine) == 1 else ""
        names.append(text_or_none(name) if not _FILE_NAME.search(name) else None)
    return nobody if sizes.planes > 1 and len(set(names)) == 1 else names


def sections(data: Mapping[str, Any]) -> Sections:
    """Return everything as text; the lines ``key = value`` of ImageJ's Info are a section of their own."""
    shown = {k: v for k, v in data.items() if k not in ("Info", "LUTs", "ROI", "Overlays", "Plot")}
    found = as_sections("ImageJ", shown)
    text = data.get("Info")
    if isinstance(text, str) and text.strip():
        found["ImageJ Info"] = info_lines(text.splitlines())
    return found


def info_lines(lines: Sequence[str]) -> dict[str, str]:
    """Return lines as keys and values; what is no ``key = value`` or ``key: value`` is under ``text``.

    Examples
    --------
    >>> info_lines(["SizeC = 2", "Gain: 5", "a note"])
    {'SizeC': '2', 'Gain': '5', 'text': 'a note'}
    """
    pairs: dict[str, str] = {}
    rest: list[str] = []
    kept = 0
    for line in lines:
        kept += len(line)
        if kept > 1_000_000:  # some writers put whole files of settings here
            rest.append("... (the rest is left out)")
            break
        key, mark, value = line.partition("=") if "=" in line else line.partition(": ")
        if mark and 0 < len(key.strip()) <= 200:
            pairs[clean(key)] = clean(value)
        elif line.strip():
            rest.append(line)
    return pairs | ({"text": clean("\n".join(rest))} if rest else {})
