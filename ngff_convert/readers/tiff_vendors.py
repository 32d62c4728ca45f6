"""What camera software writes into TIFF files: Micro-Manager, MetaMorph, MetaXpress, Olympus cellSens.

Positions of a stage are taken as the origin as they are: what they say is how fields of view lie to each
other; to which point of a field they belong, the files do not say.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ngff_convert.model import Channel
from ngff_convert.readers.tiff_values import (
    Found,
    Length,
    MaybeLengths,
    Sizes,
    as_sections,
    even_step,
    length,
    lengths_in,
    number,
    position,
    positive,
    rgb_of_integer,
    stamp,
    tag_value,
    text_or_none,
    uneven,
    wavelength,
    window,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import tifffile

_MM_PLANE = 51123


def micromanager(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the summary of a Micro-Manager file and what it says of its first plane; None for other files.

    Sizes are micrometres and times milliseconds, as the keys say. A pixel size of 0 is a microscope that
    was never calibrated; an interval of 0 is one image after the other, as fast as it went.
    """
    if not tif.is_micromanager:
        return None
    plane = tag_value(series.keyframe, _MM_PLANE)
    plane = plane if isinstance(plane, dict) else {}
    try:
        whole = tif.micromanager_metadata or {}
    except ValueError as error:  # a single plane that was saved from a stack
        warnings.append(f"Micro-Manager's summary cannot be read: {error}")
        whole = {}
    summary = whole.get("Summary")
    summary = summary if isinstance(summary, dict) else {}
    pixel = length(plane.get("PixelSizeUm")) or length(summary.get("PixelSize_um"))
    step = number(summary.get("z-step_um"))
    milliseconds = positive(summary.get("Interval_ms"))
    start = plane.get("Time") or summary.get("StartTime") or summary.get("Time")
    taken = stamp(start, "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S.%f %z", "%Y-%m-%d %H:%M:%S")
    return Found(
        name=text_or_none(summary.get("Prefix")) or "",
        channels=_mm_channels(summary, whole.get("DisplaySettings"), plane, sizes.planes),
        size=(length(abs(step)) if step else None, pixel, pixel),
        origin=_mm_origin(plane) if pixel else (None, None, None),
        t_s=milliseconds / 1000 if milliseconds and milliseconds > 1e-6 and sizes.t > 1 else None,
        time_stamps=(taken,) if taken and sizes.t == 1 else (),
        sections=as_sections("Micro-Manager", {k: v for k, v in whole.items() if k != "IndexMap"})
        | as_sections("Micro-Manager first plane", plane),
    )


def _mm_origin(plane: Mapping[str, Any]) -> MaybeLengths:
    z, y, x = (position(plane.get(f"{axis}PositionUm")) for axis in "ZYX")
    return z, y, x


def _mm_channels(
    summary: Mapping[str, Any], display: object, plane: Mapping[str, Any], count: int
) -> tuple[Channel, ...]:
    names, colors = (_listed(summary.get(key)) for key in ("ChNames", "ChColors"))
    lows, highs = (_listed(summary.get(key)) for key in ("ChContrastMin", "ChContrastMax"))
    if len(names) != count:
        names = [plane.get("Channel")] if count == 1 and plane.get("Channel") else [None] * count
    # 2 lists the channels of the display, 1.4 has them under a key; both may be missing.
    inner = display.get("Channels") if isinstance(display, dict) else display
    shown = inner if isinstance(inner, list) and len(inner) == count else [{}] * count
    channels = []
    for n in range(count):
        setting = shown[n] if isinstance(shown[n], dict) else {}
        color = colors[n] if len(colors) == count else setting.get("Color")
        limits = (lows[n], highs[n]) if len(lows) == len(highs) == count else None
        channels.append(
            Channel(
                None if names[n] in ("Default", "") else text_or_none(names[n]),
                rgb_of_integer(color),
                window=window(setting.get("Min"), setting.get("Max"))
                or (window(*limits) if limits else None),
            )
        )
    # White is what Micro-Manager gives a channel whose colour nobody chose.
    if all(channel.color == "FFFFFF" for channel in channels):
        channels = [Channel(c.name, window=c.window) for c in channels]
    return tuple(channels)


def _listed(value: object) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return value if isinstance(value, list) else []


def stk(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the UIC tags of a MetaMorph stack; None for other files.

    ``XCalibration`` and ``YCalibration`` are in ``CalibrationUnits`` a pixel; ``ZDistance``, between a plane
    and the next, in micrometres (MetaMorph, "Stack (STK) image file format"). Planes are t or z where the
    reader took them so.
    """
    if not tif.is_stk:
        return None
    data = tif.stk_metadata or {}
    calibrated = data.get("SpatialCalibration", 1) != 0
    unit = data.get("CalibrationUnits") or None
    y, x = lengths_in(unit, *(data.get(f"{axis}Calibration") if calibrated else None for axis in "YX"))
    created = [moment.astype("datetime64[us]").item() for moment in _array(data.get("DatetimeCreated"))]
    taken = _stk_times(created, sizes)
    t_s = None
    if sizes.t > 1 and taken:
        seconds = [(moment - taken[0]).total_seconds() for moment in taken]
        t_s = even_step(seconds)
        if t_s is None and len(set(seconds)) > 1:
            warnings.append(uneven(seconds))
    waves = {float(wave) for wave in _array(data.get("Wavelengths"))}
    name = _stk_illumination(data)
    channel = Channel(name, emission_nm=wavelength(waves.pop()) if len(waves) == 1 else None)
    return Found(
        name=text_or_none(data.get("Name")) or "",
        channels=(channel,) if sizes.planes == 1 else (),
        size=(_stk_spacing(data, warnings) if sizes.z > 1 else None, y, x),
        t_s=t_s,
        time_stamps=taken,
        sections=as_sections("MetaMorph", data),
    )


def _array(value: object) -> Sequence[Any]:
    return value if value is not None and hasattr(value, "__len__") else ()  # type: ignore[return-value]


def _stk_times(created: Sequence[object], sizes: Sizes) -> tuple[datetime, ...]:
    known = tuple(moment for moment in created if isinstance(moment, datetime))
    if len(known) != len(created) or not known or (sizes.t > 1 and len(known) != sizes.t):
        return ()
    return known[: sizes.t] if sizes.t == 1 or len(set(known)) > 1 else ()


def _stk_spacing(data: Mapping[str, Any], warnings: list[str]) -> Length | None:
    distances = [abs(float(d)) for d in _array(data.get("ZDistance"))]
    if len(distances) > 1:
        distances = distances[1:]  # the first plane's is that to a plane before it, or 0
    if not distances or not max(distances):
        heights = [float(h) for h in _array(data.get("AbsoluteZ"))]
        step = even_step(heights) or even_step(heights[::-1])
        return length(step)
    if max(distances) - min(distances) > 0.01 * max(distances):
        warnings.append(
            f"the planes are {min(distances):g} to {max(distances):g} um apart: "
            "the voxel size along z is unknown"
        )
        return None
    return length(distances[0])


def _stk_illumination(data: Mapping[str, Any]) -> str | None:
    properties = data.get("PlaneProperty")
    for entry in properties if isinstance(properties, list) else []:
        if entry.get("name") == "_IllumSetting_":
            return text_or_none(entry.get("value"))
    return None


def metaseries(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the XML of MetaMorph 7.5 and MetaXpress; None for other files.

    Sizes are in ``spatial-calibration-units`` a pixel unless ``spatial-calibration-state`` is off; the stage
    is in micrometres; ``_IllumSetting_`` is the name of the light, ``wavelength`` of the emission in nm.
    """
    if not tif.is_metaseries:
        return None
    data = tif.metaseries_metadata or {}
    plane = data.get("PlaneInfo")
    plane = plane if isinstance(plane, dict) else {}
    calibrated = plane.get("spatial-calibration-state") is not False
    values = [plane.get(f"spatial-calibration-{axis}") if calibrated else None for axis in "yx"]
    y, x = lengths_in(plane.get("spatial-calibration-units") or None, *values)
    taken = plane.get("acquisition-time-local")
    channel = Channel(
        text_or_none(plane.get("_IllumSetting_")) or text_or_none(plane.get("image-name")),
        emission_nm=wavelength(plane.get("wavelength")),
    )
    where = [position(plane.get(f"stage-position-{axis}")) if y and x else None for axis in "yx"]
    return Found(
        name=text_or_none(plane.get("stage-label")) or text_or_none(plane.get("image-name")) or "",
        channels=(channel,) if sizes.planes == 1 else (),
        size=(None, y, x),
        origin=(position(plane.get("z-position")) if y and x else None, where[0], where[1]),
        time_stamps=(taken,) if isinstance(taken, datetime) and sizes.t == 1 else (),
        sections=as_sections("MetaSeries", data),
    )


def sis(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the tags of Olympus Soft Imaging Solutions; pixel sizes are in metres. None for other files."""
    if not tif.is_sis:
        return None
    data = tif.sis_metadata or {}
    y, x = (length(data.get(f"pixelsize{axis}"), factor=1e6) for axis in "yx")
    taken = data.get("datetime")
    return Found(
        name=text_or_none(data.get("name")) or "",
        size=(None, y, x),
        time_stamps=(taken,) if isinstance(taken, datetime) and sizes.t == 1 else (),
        sections=as_sections("Olympus SIS", data),
    )
