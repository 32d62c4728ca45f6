"""What a TIFF file says of an image besides pixels: channels, calibration, times, and everything as text.

TIFF itself has resolution tags, colour tables and one date. Everything else is said by the program that
wrote the file, each in its own way: `PARSERS` lists those that are understood. Where several say the same
thing, the first of them is taken at its word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, TypeAlias

from ngff_convert.model import Calibration, Channel
from ngff_convert.readers.tiff_electron import fei, nih_image, tvips, zeiss_sem
from ngff_convert.readers.tiff_imagej import imagej
from ngff_convert.readers.tiff_scanning import fluoview, lsm, scanimage
from ngff_convert.readers.tiff_slides import aperio, hamamatsu, indica, leica, perkin_elmer, philips, ventana
from ngff_convert.readers.tiff_tags import palette_color, plain_tags, sample_channels, shaped
from ngff_convert.readers.tiff_values import (
    NOTHING,
    Found,
    Length,
    Sections,
    Sizes,
    as_sections,
    clean,
    positive,
    scaled,
)
from ngff_convert.readers.tiff_vendors import metaseries, micromanager, sis, stk
from ngff_convert.units import space_factor

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import tifffile

    from ngff_convert.readers.tiff_values import MaybeLengths

    Parser: TypeAlias = Callable[[tifffile.TiffFile, tifffile.TiffPageSeries, Sizes, list[str]], Found | None]

_MIN_IS_WHITE = 0
MAX_METADATA = 4_000_000
"""Characters of original metadata that are kept of an image."""

_OTHERS = ("andor", "pilatus", "epics", "mdgel", "nuvu", "astrotiff", "streak", "eer")


@dataclass(frozen=True, slots=True)
class Described:
    """What a file says of one image.

    Attributes
    ----------
    name
        What the image is called; may be empty.
    channels
        One record a channel; samples of a pixel are channels.
    calibration
        Voxel size, time step, origin.
    time_stamps
        When each time point was taken; empty if unknown.
    original_metadata
        Section -> key -> text.
    """

    name: str
    channels: tuple[Channel, ...]
    calibration: Calibration
    time_stamps: tuple[datetime, ...]
    original_metadata: dict[str, dict[str, str]]


def describe(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    sizes: tuple[int, int, int],
    samples: int,
    warnings: list[str],
) -> Described:
    """Describe an image.

    Parameters
    ----------
    tif, series
        The open file and the series of it that is the image.
    sizes
        (t, c, z) as the reader understood the pages; c counts samples.
    samples
        Samples of a pixel within c: 3 for RGB, mostly 1.
    warnings
        Gets a line for whatever is odd, once.

    Returns
    -------
    Described
        Never raises for what metadata says: what cannot be read or meant is unknown, and a warning.
    """
    page = series.keyframe
    t, c, z = sizes
    samples = samples if samples > 0 and c % samples == 0 else 1
    size = Sizes(t, c, z, samples, page.imagelength, page.imagewidth)
    noted: list[str] = []
    found: list[Found] = []
    for title, parser in PARSERS:
        try:
            part = parser(tif, series, size, noted)
        except Exception as error:  # noqa: BLE001 - damaged tags fail in every way there is
            reason = clean(f"{type(error).__name__}: {error}".replace("\n", " "))[:200]
            noted.append(f"{title} metadata cannot be read: {reason}")
            continue
        if part is not None:
            found.append(part)
    stamps = next((part.time_stamps for part in found if len(part.time_stamps) == t), ())
    name = next((part.name for part in found if part.name), "") or series.name
    described = Described(
        name=clean(name),
        channels=_channels(found, page, size, noted),
        calibration=_calibration(found, noted),
        time_stamps=stamps,
        original_metadata=_bounded([part.sections for part in found], noted),
    )
    warnings += [line for line in dict.fromkeys(noted) if line not in warnings]
    return described


def _bounded(parts: list[Sections], warnings: list[str]) -> Sections:
    """Put sections together as long as they are small enough to be copied into an image's metadata."""
    sections: Sections = {}
    left = MAX_METADATA
    for title, section in (item for part in parts for item in part.items()):
        for key, text in section.items():
            left -= len(key) + len(text)
            if left < 0:
                warnings.append(f"more than {MAX_METADATA} characters of metadata: the rest is left out")
                return sections
            sections.setdefault(title, {})[key] = text
    return sections


def others(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Keep as text what detectors and other programs write, of which nothing is understood."""
    sections: Sections = {}
    for kind in _OTHERS:
        data = getattr(tif, f"{kind}_metadata")
        if isinstance(data, dict):
            sections |= as_sections(kind, data)
    return Found(sections=sections) if sections else None


PARSERS: tuple[tuple[str, Parser], ...] = (
    ("Micro-Manager", micromanager),
    ("LSM", lsm),
    ("MetaMorph", stk),
    ("MetaSeries", metaseries),
    ("ScanImage", scanimage),
    ("FluoView", fluoview),
    ("FEI", fei),
    ("Zeiss SEM", zeiss_sem),
    ("TVIPS", tvips),
    ("NIH Image", nih_image),
    ("Olympus SIS", sis),
    ("Aperio", aperio),
    ("PerkinElmer", perkin_elmer),
    ("Hamamatsu", hamamatsu),
    ("Leica SCN", leica),
    ("Ventana", ventana),
    ("Philips", philips),
    ("Indica", indica),
    ("ImageJ", imagej),
    ("tifffile", shaped),
    ("other", others),
    ("TIFF tag", plain_tags),
)
"""Every kind of metadata and what reads it, those first that are the most likely to be right."""


def _channels(
    found: list[Found], page: tifffile.TiffPage, sizes: Sizes, warnings: list[str]
) -> tuple[Channel, ...]:
    """Put together what was found of each channel; names and colours of samples are those of the pixels."""
    merged = [Channel()] * sizes.c
    planes: list[str | None] = [None] * sizes.planes
    for part in found:
        n = len(part.channels)
        if n == sizes.c:
            merged = [_filled(old, new) for old, new in zip(merged, part.channels, strict=True)]
        elif n == sizes.planes:
            planes = [old or new.name for old, new in zip(planes, part.channels, strict=True)]
            bare = [replace(channel, name=None, color=None) for channel in part.channels]
            spread = [bare[m // sizes.samples] for m in range(sizes.c)]
            merged = [_filled(old, new) for old, new in zip(merged, spread, strict=True)]
        elif n:
            warnings.append(f"{n} channels are described, the image has {sizes.c}: their names are not used")
    samples = sample_channels(page) if sizes.samples > 1 else ()
    if len(samples) == sizes.samples:
        for m in range(sizes.c):
            at, sample = m // sizes.samples, samples[m % sizes.samples]
            name = (
                f"{planes[at] or at + 1} {sample.name}" if sizes.planes > 1 and sample.name else sample.name
            )
            merged[m] = _filled(merged[m], replace(sample, name=name))
    color = palette_color(page, warnings)
    if page.photometric == _MIN_IS_WHITE:
        warnings.append("0 is white in this file (MinIsWhite): pixel values are kept as they are")
    if sizes.samples == 1 and color is not None:
        merged = [_filled(channel, Channel(color=color)) for channel in merged]
    return tuple(merged)


def _filled(old: Channel, new: Channel) -> Channel:
    """Return a channel with what is unknown of it taken from another."""
    return Channel(
        name=old.name or new.name,
        color=old.color or new.color,
        emission_nm=old.emission_nm or new.emission_nm,
        excitation_nm=old.excitation_nm or new.excitation_nm,
        window=old.window or new.window,
    )


def _calibration(found: list[Found], warnings: list[str]) -> Calibration:
    """Put together voxel size and origin in one unit: that of x, or else of y, or of z."""
    size, origin = _first(found, "size"), _first(found, "origin")
    unit = next((step.unit for step in reversed(size) if step is not None and step.unit), None)
    if unit is None:
        unit = next((at.unit for at in reversed(origin) if at is not None and at.unit), None)
    elif any(step is not None and step.unit is None for step in size):
        warnings.append("the voxel size has a unit along some axes only: it is unknown along the others")
    z, y, x = (_in_unit(step, unit, positive_only=True, warnings=warnings) for step in size)
    origins = [_in_unit(at, unit, positive_only=False, warnings=warnings) for at in origin]
    t_s = next((part.t_s for part in found if part.t_s is not None), None)
    if t_s is not None and positive(t_s) is None:
        warnings.append(f"a time step of {t_s:g} s: unknown")
        t_s = None
    known = any(value is not None for value in (z, y, x, *origins))
    return Calibration((z, y, x), unit if known else None, t_s, (origins[0], origins[1], origins[2]))


def _first(found: list[Found], what: str) -> MaybeLengths:
    """Return what is known first of each axis."""
    axes: list[Length | None] = list(NOTHING)
    for part in found:
        axes = [old if old is not None else new for old, new in zip(axes, getattr(part, what), strict=True)]
    return axes[0], axes[1], axes[2]


def _in_unit(
    value: Length | None, unit: str | None, *, positive_only: bool, warnings: list[str]
) -> float | None:
    if value is None or (value.unit is None and unit is not None):
        return None
    number = value.value
    if value.unit is not None and unit is not None and value.unit != unit:
        number = scaled(number, space_factor(value.unit, unit))
    if not isfinite(number) or (positive_only and number <= 0):
        warnings.append(f"{value.value:g} {value.unit or ''} is no voxel size or position: unknown")
        return None
    return number
