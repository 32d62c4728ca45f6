"""What TIFF itself says of an image: resolution, colours, date; and the JSON that tifffile adds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ngff_convert.model import Channel
from ngff_convert.readers.tiff_values import (
    Found,
    Length,
    Sections,
    Sizes,
    as_sections,
    clean,
    lengths_in,
    positive,
    ramp_color,
    ratio,
    scaled,
)
from ngff_convert.units import TIME_UNITS, time_unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tifffile

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_DOCUMENT_NAME, _COLOR_MAP, _EXTRA_SAMPLES = 269, 320, 338
_RGB, _PALETTE, _CMYK, _YCBCR = 2, 3, 5, 6
_JPEGS = {6, 7, 33003, 33005, 34892}
_ALPHA = {1, 2}
_INCH, _CENTIMETER = 2, 3

CUSTOMARY_DPI = (1, 72, 96, 100, 120, 150, 200, 300, 600, 1200)
"""Pixels per inch that screens and printers have."""

# Where pixels are, tables of colours, and what a parser describes in its own words.
_NOT_TEXT = (
    *(273, 279, 288, 289, 324, 325, 330, 301, 320, 347, 513, 514, 519, 520, 521, 34675, 50838, 50839),
    *(34412, 33628, 33629, 33630, 33631, 34361, 34362, 34680, 34682, 34118, 37706, 43314, 51123, 65426),
)


def plain_tags(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the tags that every TIFF file may have, and all others as text."""
    tags = series.keyframe.tags
    unit = tags.valueof(_RESOLUTION_UNIT)
    y, x = (resolution(ratio(tags.valueof(code)), unit) for code in (_Y_RESOLUTION, _X_RESOLUTION))
    taken = series.keyframe.datetime
    name = tags.valueof(_DOCUMENT_NAME)
    return Found(
        name=clean(name).splitlines()[0] if isinstance(name, str) and clean(name) else "",
        size=(None, y, x),
        time_stamps=(taken.replace(tzinfo=None),) if taken is not None and sizes.t == 1 else (),
        sections=_tag_sections(series.keyframe),
    )


def resolution(rate: float | None, unit: object) -> Length | None:
    """Return the size of a pixel from a resolution tag, where it says something of the specimen.

    Most programs write how large an image is to be shown or printed. A size is taken only from a unit of
    length (ResolutionUnit inch or centimetre; the default of the tag does not count), and not from a rate
    that is customary for screens and printers, `CUSTOMARY_DPI`, per inch or the same per centimetre (within
    0.5 %, because 28.35 per centimetre is written for 72 per inch), nor from 1 pixel per anything.

    Examples
    --------
    >>> resolution(20000.0, 3), resolution(300.0, 2), resolution(28.35, 3), resolution(1.0, 3)
    (Length(value=0.5, unit='micrometer'), None, None, None)
    """
    rate = positive(rate)
    inch = {_INCH: 1.0, _CENTIMETER: 2.54}.get(int(unit) if isinstance(unit, int) else 0)
    if rate is None or inch is None or rate == 1:
        return None
    per_inch = rate * inch
    if any(abs(per_inch - dpi) <= 0.005 * dpi for dpi in CUSTOMARY_DPI):
        return None
    return Length(scaled(25_400 / inch, 1 / rate))


def _tag_sections(page: tifffile.TiffPage) -> Sections:
    texts: dict[str, str] = {}
    for tag in page.tags:
        if tag.code in _NOT_TEXT or tag.count > 1_000_000:
            continue
        try:
            texts[clean(tag.name)] = clean(tag.value)
        except Exception as error:  # noqa: BLE001 - the value is read only now, and may be anywhere
            texts[clean(tag.name)] = f"(cannot be read: {type(error).__name__})"
    return {"TIFF": texts} if texts else {}


def shaped(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the JSON that tifffile writes; keys are its caller's, of which those of OME and ImageJ are taken.

    ``unit`` makes the resolution tags pixels per that unit, as in ImageJ's files.
    """
    text = series.keyframe.shaped_description
    if text is None or text.startswith("shape="):  # as tifffile wrote it at first; says no more
        return None
    data = json.loads(text)
    tags = series.keyframe.tags
    in_print_unit = tags.valueof(_RESOLUTION_UNIT) in (_INCH, _CENTIMETER)
    size: dict[str, Length | None] = {}
    for axis, code in (("z", None), ("y", _Y_RESOLUTION), ("x", _X_RESOLUTION)):
        key = f"PhysicalSize{axis.upper()}"
        if key in data:
            size[axis] = lengths_in(data.get(f"{key}Unit", "um"), data[key])[0]
        elif code is not None and data.get("unit") and not in_print_unit:
            rate = positive(ratio(tags.valueof(code)))
            size[axis] = lengths_in(data["unit"], 1 / rate)[0] if rate else None
    if "z" not in size:
        size["z"] = lengths_in(data.get("unit"), data.get("spacing"))[0]
    return Found(
        channels=_shaped_channels(data, sizes),
        size=(size.get("z"), size.get("y"), size.get("x")),
        t_s=_shaped_step(data) if sizes.t > 1 else None,
        sections=as_sections("tifffile", data),
    )


def _shaped_channels(data: Mapping[str, Any], sizes: Sizes) -> tuple[Channel, ...]:
    described = data.get("Channel")
    names = described.get("Name") if isinstance(described, dict) else None
    names = [names] if isinstance(names, str) else names
    fit = isinstance(names, list) and len(names) == sizes.planes and sizes.samples == 1
    return tuple(Channel(clean(name) or None) for name in names) if fit and names else ()


def _shaped_step(data: Mapping[str, Any]) -> float | None:
    unit = time_unit(str(data.get("TimeIncrementUnit", "s")))
    step = positive(data.get("TimeIncrement"))
    if step and unit:
        return scaled(step, TIME_UNITS[unit])
    return positive(data.get("finterval"))


def sample_channels(page: tifffile.TiffPage) -> tuple[Channel, ...]:
    """Return a channel for each sample of a pixel, named where its colour space is known; else none."""
    count, space = page.samplesperpixel, int(page.photometric)
    if space == _RGB or (space == _YCBCR and int(page.compression) in _JPEGS):  # decoded to RGB
        named = [Channel("red", "FF0000"), Channel("green", "00FF00"), Channel("blue", "0000FF")]
    elif space == _YCBCR:
        named = [Channel("Y"), Channel("Cb"), Channel("Cr")]
    elif space == _CMYK:
        named = [Channel("cyan"), Channel("magenta"), Channel("yellow"), Channel("black")]
    else:
        return ()
    extra = page.tags.valueof(_EXTRA_SAMPLES) or ()
    kinds = [int(kind) for kind in (extra if isinstance(extra, tuple) else (extra,))]
    named += [Channel("alpha" if kind in _ALPHA else None) for kind in kinds]
    named += [Channel()] * (count - len(named))
    return tuple(named[:count])


def palette_color(page: tifffile.TiffPage, warnings: list[str]) -> str | None:
    """Return the colour of a palette that is one colour of growing brightness; grey is none."""
    if page.photometric != _PALETTE:
        return None
    table = page.tags.valueof(_COLOR_MAP)
    if table is None or getattr(table, "ndim", 0) != 2:
        return None
    rows = table.tolist()
    if max(map(max, rows)) > 255:  # 16 bits, as they should be; some writers take 8
        rows = [[value >> 8 for value in row] for row in rows]
    color = ramp_color(rows, 255)
    if color is None:
        warnings.append("pixels are indices into a colour table: it is not carried over")
    return None if color is None or color == 3 * color[:2] else color
