"""What slide scanners write into TIFF files: Aperio, PerkinElmer, Hamamatsu, Leica, Ventana, Philips, Indica.

A slide's file has the specimen in one series, in several resolutions, and pictures of the label and the whole
slide in others; what is said of the specimen's pixels is not taken for those.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ngff_convert.model import Channel
from ngff_convert.ome_schema import local
from ngff_convert.readers.tiff_values import (
    Found,
    Length,
    MaybeLengths,
    Sizes,
    as_sections,
    clean,
    even_step,
    length,
    number,
    positive,
    ratio,
    rgb,
    scaled,
    stamp,
    tag_value,
    text_or_none,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tifffile

_X_RESOLUTION, _Y_RESOLUTION, _X_POSITION, _Y_POSITION, _RESOLUTION_UNIT = 282, 283, 286, 287, 296
_XMP, _NDPI_Z_OFFSET = 700, 65424
_CENTIMETER = 3


def parse_xml(text: str) -> ElementTree.Element:
    """Parse XML of a file that may be hostile.

    Raises
    ------
    ValueError
        It declares entities, which no microscope needs and which can grow without end, or is no XML.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("its XML declares entities")
    try:
        return ElementTree.fromstring(text.strip("\0 \r\n\t\ufeff"))
    except ElementTree.ParseError as error:
        raise ValueError(f"its XML is damaged: {error}") from error


def elements(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the elements of a name at and below `root`, whatever their namespace."""
    return [element for element in root.iter() if local(element) == name]


def xml_text(root: ElementTree.Element, name: str) -> str | None:
    """Return the text of the first element of a name; None where there is none, or no text in it."""
    texts = (element.text.strip() for element in elements(root, name) if element.text)
    return next(filter(None, texts), None)


def _per_centimeter(page: tifffile.TiffPage) -> tuple[Length | None, Length | None]:
    """Return the pixel size (y, x) of resolution tags per centimetre."""
    if page.tags.valueof(_RESOLUTION_UNIT) != _CENTIMETER:
        return None, None
    rates = [positive(ratio(page.tags.valueof(code))) for code in (_Y_RESOLUTION, _X_RESOLUTION)]
    sizes = [Length(scaled(1 / rate, 10_000)) if rate else None for rate in rates]
    return sizes[0], sizes[1]


def aperio(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the description of an Aperio SVS file; ``MPP`` is micrometres a pixel of the full resolution.

    Dates are written month first, by scanners everywhere. Other series, thumbnail, label and macro, have no
    size: ``MPP`` is stated there as well, but is that of the specimen.
    """
    if not tif.is_svs:
        return None
    page = series.keyframe
    if not page.description.startswith("Aperio "):
        return None
    header, *parts = page.description.split("|")
    pairs = (part.partition("=") for part in parts)
    data = {"Header": header} | {key.strip(): value.strip() for key, _, value in pairs if key.strip()}
    mpp = length(data.get("MPP")) if page.index == 0 else None
    taken = stamp(f"{data.get('Date')} {data.get('Time')}", "%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S")
    return Found(
        name=(text_or_none(data.get("Filename")) or "") if page.index == 0 else "",
        size=(None, mpp, mpp),
        time_stamps=(taken,) if taken and sizes.t == 1 else (),
        sections=as_sections("Aperio", data),
    )


def perkin_elmer(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the XML of each page of a PerkinElmer or Akoya QPTIFF; None for other files.

    ``Name`` and ``Color`` (red, green, blue) describe the page's channel; the resolution and position tags,
    per centimetre and in centimetres, its pixels and its upper left corner on the slide (Akoya, "QPTIFF
    File Format").
    """
    if not tif.is_qpi:
        return None
    page = series.keyframe
    pages = [p for p in series.pages[: sizes.planes] if p is not None]
    roots = [parse_xml(tag_value(p, 270)) for p in pages if isinstance(tag_value(p, 270), str)]
    channels: tuple[Channel, ...] = ()
    if sizes.samples == 1 and len(roots) == sizes.planes:
        channels = tuple(_qpi_channel(root) for root in roots)
    sections = {
        f"PerkinElmer page {n}": {local(e): clean(e.text) for e in root.iter() if e.text and e.text.strip()}
        for n, root in enumerate(roots)
    }
    y, x = _per_centimeter(page)
    return Found(
        name=(xml_text(roots[0], "SlideID") or "") if roots else "",
        channels=channels,
        size=(None, y, x),
        origin=_qpi_origin(page, y, x),
        sections=sections,
    )


def _qpi_channel(root: ElementTree.Element) -> Channel:
    color = (xml_text(root, "Color") or "").split(",")
    name, marker = xml_text(root, "Name"), xml_text(root, "Biomarker")
    return Channel(text_or_none(name or marker), rgb(*color) if len(color) == 3 else None)


def _qpi_origin(page: tifffile.TiffPage, y: Length | None, x: Length | None) -> MaybeLengths:
    corners = [number(ratio(page.tags.valueof(code))) for code in (_Y_POSITION, _X_POSITION)]
    found = [
        Length(scaled(corner, 10_000) + size.value / 2) if corner is not None and size else None
        for corner, size in zip(corners, (y, x), strict=True)
    ]
    return None, found[0], found[1]


def hamamatsu(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the tags of a Hamamatsu NDPI file: resolution per centimetre, heights of planes in nanometres."""
    if not tif.is_ndpi:
        return None
    page = series.keyframe
    heights = [number(tag_value(p, _NDPI_Z_OFFSET)) for p in series.pages[: sizes.z]]
    known = [height for height in heights if height is not None]
    step = None
    if sizes.z > 1 and len(known) == sizes.z:
        step = even_step(known) or even_step(known[::-1])
    y, x = _per_centimeter(page)
    private = {key: v for key, v in (page.ndpi_tags or {}).items() if getattr(v, "size", 0) < 10_000}
    return Found(
        size=(length(step, factor=1e-3), y, x),
        sections=as_sections("Hamamatsu", private),
    )


def leica(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the XML of a Leica SCN file; None for other files.

    ``view`` is the part of the slide in nanometres that ``pixels`` covers; offsets are of its corner.
    """
    if not tif.is_scn:
        return None
    text = tif.scn_metadata or ""
    for image in elements(parse_xml(text), "image"):
        pages = [d.get("ifd") for d in elements(image, "dimension")]
        if str(series.keyframe.index) in pages:
            return _leica_image(image, sizes)
    return Found(sections={"Leica SCN": {"xml": clean(text)}})


def _leica_image(image: ElementTree.Element, sizes: Sizes) -> Found:
    views, pixels = elements(image, "view"), elements(image, "pixels")
    size: list[Length | None] = [None, None]
    origin: list[Length | None] = [None, None]
    spacing = None
    if views and pixels:
        view = views[0]
        spacing = length(view.get("spacingZ"), factor=1e-3) if sizes.z > 1 else None
        for n, axis in enumerate("YX"):
            extent, count = positive(view.get(f"size{axis}")), positive(pixels[0].get(f"size{axis}"))
            corner = number(view.get(f"offset{axis}"))
            if extent and count:
                size[n] = Length(scaled(extent / count, 1e-3))
                if corner is not None:
                    origin[n] = Length(scaled(corner + extent / count / 2, 1e-3))
    named = sorted(elements(image, "channel"), key=lambda c: number(c.get("index")) or 0)
    channels = [Channel(text_or_none(c.get("name")), _leica_color(c.get("rgb"))) for c in named]
    created = (xml_text(image, "creationDate") or "")[:19]
    taken = stamp(created, "%Y-%m-%dT%H:%M:%S")
    return Found(
        name=image.get("name") or "",
        channels=tuple(channels) if len(channels) == sizes.planes and sizes.samples == 1 else (),
        size=(spacing, size[0], size[1]),
        origin=(None, origin[0], origin[1]),
        time_stamps=(taken,) if taken and sizes.t == 1 else (),
        sections={"Leica SCN": {"xml": clean(ElementTree.tostring(image, encoding="unicode"))}},
    )


def _leica_color(text: str | None) -> str | None:
    match = re.fullmatch("#([0-9a-fA-F]{6})", text or "")
    return match[1].upper() if match else None


def ventana(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the XML of a Ventana or Roche BIF file; ``ScanRes`` is micrometres a pixel of the specimen."""
    if not tif.is_bif:
        return None
    found: list[ElementTree.Element] = []
    for page in tif.pages[:3]:  # it is in the page of the label, or of the specimen, or in both
        xmp = tag_value(page, _XMP)
        if isinstance(xmp, bytes) and b"<iScan" in xmp:
            found += elements(parse_xml(xmp.decode("utf-8", "replace")), "iScan")
    data = dict(found[0].attrib) if found else {}
    specimen = "level" in series.keyframe.description
    size = length(data.get("ScanRes")) if specimen else None
    return Found(size=(None, size, size), sections=as_sections("Ventana iScan", data))


def philips(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the XML of a Philips file; the first ``DICOM_PIXEL_SPACING`` is that of level 0, (y, x) in mm."""
    if not tif.is_philips:
        return None
    text = tif.philips_metadata or ""
    attributes: dict[str, list[str]] = {}
    for element in elements(parse_xml(text), "Attribute"):
        attributes.setdefault(element.get("Name", ""), []).append((element.text or "").strip())
    size: Sequence[Length | None] = (None, None)
    # The first is stated for the whole slide image, where it is that of level 0 as well.
    spacings = [s.replace('"', "").split() for s in attributes.get("DICOM_PIXEL_SPACING", [])]
    if series.keyframe.index == 0 and spacings and len(spacings[0]) == 2:
        size = [length(value, factor=1e3) for value in spacings[0]]
    date = attributes.get("DICOM_ACQUISITION_DATETIME", [""])[0]
    taken = stamp(date, "%Y%m%d%H%M%S.%f", "%Y%m%d%H%M%S")
    kept = {key: values[0] for key, values in attributes.items() if values[0] and len(values[0]) < 10_000}
    return Found(
        size=(None, size[0], size[1]),
        time_stamps=(taken,) if taken and sizes.t == 1 else (),
        sections=as_sections("Philips", kept),
    )


def indica(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, sizes: Sizes, warnings: list[str]
) -> Found | None:
    """Read the names of the channels of an Indica Labs file; None for other files."""
    if not tif.is_indica:
        return None
    text = tif.indica_metadata or ""
    names = [element.get("name") for element in elements(parse_xml(text), "channel")]
    match = len(names) == sizes.planes and sizes.samples == 1
    return Found(
        channels=tuple(Channel(text_or_none(name)) for name in names) if match else (),
        sections={"Indica": {"xml": clean(text)}},
    )
