"""Images and their plans -> OME-XML 2016-06, the sidecar ``OME/METADATA.ome.xml``.

The document is built as a tree of elements in the order of the schema: ome-types, whose classes would do it
too, takes 0.4 CPU seconds to import, half of what a small conversion takes.
"""

from __future__ import annotations

from itertools import count
from math import isfinite
from typing import TYPE_CHECKING, Any

from lxml import etree

from ngff_convert.ome_schema import MAX_PLANES, NAMESPACE, legal
from ngff_convert.omexml_plate import add_plates
from ngff_convert.omexml_source import carry_on
from ngff_convert.units import SPACE_SYMBOLS
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ngff_convert.model import Calibration, Channel, Image, MaybeTriple
    from ngff_convert.write_plan import WritePlan

ORIGINAL_METADATA = "openmicroscopy.org/OriginalMetadata"
"""Namespace of the annotations that keep what the source said, one a section."""

ORIGIN_LABEL = "centre of the first voxel"
"""Name of the stage label that holds an image's origin."""

PIXEL_TYPES = {
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
    "float32": "float",
    "float64": "double",
    "bool": "bit",
}
"""Types of pixels: numpy's name -> OME's."""

_XSI = "http://www.w3.org/2001/XMLSchema-instance"


class PixelTypeError(ValueError):
    """OME-XML has no name for the type of an image's pixels, so the store goes without this document."""


def build(images: Sequence[tuple[Image, WritePlan]], noted: list[str], *, original_metadata: bool) -> str:
    """Describe images in OME-XML.

    Parameters
    ----------
    images
        Each image as it is written (cropped and with every override applied) and its plan, in the order of
        the series.
    noted
        Gets a line where what a source says in its own OME-XML cannot be kept.
    original_metadata
        Whether to keep what the source says: its own OME-XML, and the rest section by section.

    Returns
    -------
    str
        The document, to be encoded as UTF-8. It holds what is known and leaves out the rest. A size in an
        unknown unit is left out too, because OME-XML would take it for micrometres. Characters that XML
        cannot hold are replaced by U+FFFD.

    Raises
    ------
    PixelTypeError
        For float16 and 64-bit integers. The document describes all images of a store or none.
    """
    root = etree.Element(_tag("OME"), nsmap={None: NAMESPACE, "xsi": _XSI})
    root.set(f"{{{_XSI}}}schemaLocation", f"{NAMESPACE} {NAMESPACE}/ome.xsd")
    root.set("Creator", f"ngff-convert {__version__}")
    annotations = etree.Element(_tag("StructuredAnnotations"))
    numbers = count()  # to ask lxml how many there are is to count them
    for index, (image, plan) in enumerate(images):
        element = _image(root, index, image, plan)
        if original_metadata:
            _original_metadata(element, annotations, numbers, image.original_metadata)
    if len(annotations):
        root.append(annotations)
    etree.indent(root)
    described = [image for image, _ in images]
    if original_metadata:
        root = carry_on(root, described, noted)
    add_plates(root, described)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + str(etree.tostring(root, encoding="unicode")) + "\n"


def _image(root: Any, index: int, image: Image, plan: WritePlan) -> Any:  # noqa: ANN401 - lxml is untyped
    element = _add(root, "Image", ID=f"Image:{index}", Name=image.name or None)
    if image.time_stamps:
        _add(element, "AcquisitionDate").text = image.time_stamps[0].isoformat()
    # The position of level 0, of which the plan has the whole.
    known = image.calibration.origin_zyx
    if origin := dict(_lengths("", image.calibration, known, plan.levels[0].translation)):
        _add(element, "StageLabel", Name=ORIGIN_LABEL, **origin)
    pixels = _pixels(element, index, image, plan)
    for number, channel in enumerate(image.channels):
        _channel(pixels, f"Channel:{index}:{number}", channel)
    _add(pixels, "MetadataOnly")
    _planes(pixels, image)
    return element


def _pixels(element: Any, index: int, image: Image, plan: WritePlan) -> Any:  # noqa: ANN401
    if plan.dtype not in PIXEL_TYPES:
        raise PixelTypeError(
            f"OME-XML has no pixel type for {plan.dtype} (image {index}), so OME/METADATA.ome.xml is left out"
        )
    level, calibration = plan.levels[0], image.calibration
    return _add(
        element,
        "Pixels",
        ID=f"Pixels:{index}",
        DimensionOrder="XYZCT",  # fastest first: the arrays are tczyx in C order
        Type=PIXEL_TYPES[plan.dtype],
        BigEndian="false",
        **{f"Size{axis}": str(size) for axis, size in zip("TCZYX", level.shape, strict=True)},
        **dict(_lengths("PhysicalSize", calibration, calibration.zyx, level.scale)),
        **_quantity("TimeIncrement", calibration.t_s, "s"),
    )


def _channel(pixels: Any, identifier: str, channel: Channel) -> None:  # noqa: ANN401
    light: dict[str, str] = {}
    for name, nm in (("Emission", channel.emission_nm), ("Excitation", channel.excitation_nm)):
        if nm is not None and isfinite(nm) and nm > 0:  # no light has another, and the schema refuses it
            light |= _quantity(f"{name}Wavelength", nm, "nm")
    color = None if channel.color is None else str(_rgba(channel.color))
    _add(
        pixels, "Channel", ID=identifier, Name=channel.name or None, SamplesPerPixel="1", Color=color, **light
    )


def _rgba(color: str) -> int:
    """Return an opaque colour as OME packs it: RGBA in a signed 32-bit integer.

    Examples
    --------
    >>> _rgba("FFFFFF"), _rgba("00FF00")
    (-1, 16711935)
    """
    return int.from_bytes(bytes.fromhex(color + "FF"), "big", signed=True)


def _planes(pixels: Any, image: Image) -> None:  # noqa: ANN401
    """Say when each time point was taken, if no constant step does: one plane a time point.

    What is beyond `MAX_PLANES` is left out here; the multiscales metadata keep every time stamp.
    """
    stamps = image.time_stamps
    if image.calibration.t_s is not None or len(stamps) < 2:
        return
    for t, stamp in enumerate(stamps[:MAX_PLANES]):
        seconds = _quantity("DeltaT", (stamp - stamps[0]).total_seconds(), "s")
        _add(pixels, "Plane", TheZ="0", TheC="0", TheT=str(t), **seconds)


def _original_metadata(
    element: Any,  # noqa: ANN401
    annotations: Any,  # noqa: ANN401
    numbers: Iterator[int],
    sections: Mapping[str, Mapping[str, str]],
) -> None:
    """Keep what the source says: one annotation a section, which the image refers to."""
    for section, entries in sections.items():
        identifier = f"Annotation:OriginalMetadata:{next(numbers)}"  # lest it be one of the source's own
        annotation = _add(annotations, "MapAnnotation", ID=identifier, Namespace=ORIGINAL_METADATA)
        _add(annotation, "Description").text = legal(section)
        value = _add(annotation, "Value")
        for key, text in entries.items():
            _add(value, "M", K=key).text = legal(text)
        _add(element, "AnnotationRef", ID=identifier)


def _lengths(
    prefix: str, calibration: Calibration, known: MaybeTriple, values: Sequence[float]
) -> Iterator[tuple[str, str]]:
    """Yield the attributes of those lengths along z, y and x that are known; `values` are for t and c too."""
    if calibration.unit is not None:
        for axis, given, value in zip("ZYX", known, values[2:], strict=True):
            size = None if given is None else value
            yield from _quantity(f"{prefix}{axis}", size, SPACE_SYMBOLS[calibration.unit]).items()


def _quantity(name: str, value: float | None, unit: str) -> dict[str, str]:
    """Return the attributes of a value and its unit; none of an unknown value, lest the unit stand alone."""
    return {} if value is None else {name: repr(float(value)), f"{name}Unit": unit}


def _add(parent: Any, name: str, /, **attributes: str | None) -> Any:  # noqa: ANN401
    """Add an element with those attributes that are known."""
    known = {key: legal(value) for key, value in attributes.items() if value is not None}
    return etree.SubElement(parent, _tag(name), known)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
