"""What electron microscopes and their old companions write into TIFF files: FEI, Zeiss, TVIPS, NIH Image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngff_convert.model import Channel
from ngff_convert.readers.tiff_values import (
    Found,
    Length,
    Sizes,
    as_sections,
    bare,
    length,
    lengths_in,
    positive,
    stamp,
    text_or_none,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import tifffile

_NIH_UNITS = {
    5: "nm",
    6: "um",
    7: "mm",
    8: "cm",
    9: "m",
    10: "km",
    11: "inch",
    12: "ft",
    13: "mi",
}
"""``UnitsID`` of an NIH Image header, of versions after 1.53."""


def fei(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the settings of an FEI or Thermo Fisher microscope; None for other files.

    ``PixelWidth`` and ``PixelHeight`` of the section of the beam that made the image (``Scan``, else
    ``EScan`` of the electrons or ``IScan`` of the ions) are metres.
    """
    if not tif.is_fei:
        return None
    data = tif.fei_metadata or {}
    y, x = (
        next(
            filter(
                None, (length(_section(data, s).get(key), factor=1e6) for s in ("Scan", "EScan", "IScan"))
            ),
            None,
        )
        for key in ("PixelHeight", "PixelWidth")
    )
    detector = _section(data, "Detectors").get("Name")
    return Found(
        channels=(Channel(text_or_none(detector)),) if sizes.planes == 1 else (),
        size=(None, y, x),
        sections=as_sections("FEI", data),
    )


def _section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def zeiss_sem(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the settings of a Zeiss electron microscope: (label, value, unit); None for other files.

    ``ap_image_pixel_size`` is that of the stored image, ``ap_pixel_size`` that of the scan: they differ where
    the image was stored at another size.
    """
    if not tif.is_sem:
        return None
    data = tif.sem_metadata or {}
    size = _measured(data.get("ap_image_pixel_size")) or _measured(data.get("ap_pixel_size"))
    date, time = (_said(data.get(key)) for key in ("ap_date", "ap_time"))
    taken = stamp(f"{date} {time}", "%d %b %Y %H:%M:%S")
    detector = _said(data.get("dp_detector_channel")) or _said(data.get("dp_detector_type"))
    return Found(
        channels=(Channel(text_or_none(detector)),) if sizes.planes == 1 else (),
        size=(None, size, size),
        time_stamps=(taken,) if taken and sizes.t == 1 else (),
        sections=as_sections("Zeiss SEM", {key or "unnamed": value for key, value in data.items()}),
    )


def _measured(entry: object) -> Length | None:
    return lengths_in(entry[2], entry[1])[0] if isinstance(entry, tuple) and len(entry) == 3 else None


def _said(entry: object) -> object:
    return entry[1] if isinstance(entry, tuple) and len(entry) >= 2 else None


def tvips(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the header of a TVIPS camera (EM-MENU); ``PixelSizeX`` of version 2 is nanometres.

    Version 1 has only the size of a pixel of the camera, which is no size of the specimen.
    """
    if not tif.is_tvips:
        return None
    data = tif.tvips_metadata or {}
    y, x = (length(data.get(f"PixelSize{axis}"), "nanometer") for axis in "YX")
    name = data.get("ImageName")
    return Found(
        name=text_or_none(name) or "",
        size=(None, y, x),
        sections=as_sections("TVIPS", data),
    )


def nih_image(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the header of NIH Image; None for other files.

    As ImageJ's ``TiffDecoder.decodeNIHImageHeader``: ``XScale`` is pixels along x in a unit; pixels are
    ``PixelAspectRatio`` times as wide as high; ``FrameInterval`` is seconds; versions up to 1.53 count their
    units from 0. In which unit ``SliceSpacing`` is depends on the program that made the stack: z is unknown.
    """
    if not tif.is_nih:
        return None
    data = tif.nih_metadata or {}
    scale = positive(data.get("XScale"))
    aspect = positive(data.get("PixelAspectRatio")) or 1.0
    code = int(data.get("UnitsID", 0)) + (5 if int(data.get("Version", 0)) <= 153 else 0)
    unit = _NIH_UNITS.get(code) or bare(data.get("XUnit", ""))
    x, y = lengths_in(unit, 1 / scale, 1 / scale / aspect) if scale else (None, None)
    interval = positive(data.get("FrameInterval"))
    return Found(
        size=(None, y, x),
        t_s=interval if sizes.t > 1 else None,
        sections=as_sections("NIH Image", data),
    )
