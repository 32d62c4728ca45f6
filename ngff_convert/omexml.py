"""Images and their plans -> OME-XML 2016-06, the sidecar ``OME/METADATA.ome.xml``."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from ome_types import model, to_xml

from ngff_convert.omexml_source import carry_on
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Calibration, Channel, Image, MaybeTriple, WritePlan

ORIGINAL_METADATA = "openmicroscopy.org/OriginalMetadata"
"""Namespace of the annotations that keep what the source said, one a section."""

ORIGIN_LABEL = "centre of the first voxel"
"""Name of the stage label that holds an image's origin."""

MAX_PLANES = 10_000
"""Time stamps beyond this many are left out here; the multiscales metadata keep them all."""

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class PixelTypeError(ValueError):
    """OME-XML has no name for the type of an image's pixels, so the store goes without this document."""


def build(images: Sequence[tuple[Image, WritePlan]], *, original_metadata: bool) -> str:
    """Describe images in OME-XML.

    Parameters
    ----------
    images
        Each image as it is written (cropped and with every override applied) and its plan, in the order of
        the series.
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
    annotations = model.StructuredAnnotations()
    described = []
    for index, (image, plan) in enumerate(images):
        own = _original_metadata(image, len(annotations)) if original_metadata else []
        annotations.map_annotations.extend(own)
        described.append(_image(index, image, plan, own))
    # Each part has been checked as it was made; checking the whole would only link the references, which
    # takes a third of the time where there are thousands of planes.
    ome = model.OME.model_construct(
        creator=f"ngff-convert {__version__}",
        images=described,
        structured_annotations=annotations or None,
    )
    # Without lxml, ome-types leaves carriage returns in text as they are, and a parser reads newlines.
    document = to_xml(ome).replace("\r", "&#13;")
    if original_metadata:
        document = carry_on(document, [image for image, _ in images])
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + document


def _image(
    index: int, image: Image, plan: WritePlan, annotations: Sequence[model.MapAnnotation]
) -> model.Image:
    # The position of level 0, of which the plan has the whole.
    origin = _lengths("", image.calibration, image.calibration.origin_zyx, plan.levels[0].translation)
    return model.Image(
        id=f"Image:{index}",
        name=_xml(image.name) or None,
        acquisition_date=image.time_stamps[0] if image.time_stamps else None,
        stage_label=model.StageLabel(name=ORIGIN_LABEL, **origin) if origin else None,
        pixels=_pixels(index, image, plan),
        annotation_refs=[model.AnnotationRef(id=annotation.id) for annotation in annotations],
    )


def _pixels(index: int, image: Image, plan: WritePlan) -> model.Pixels:
    types = {str(kind.numpy_dtype): kind for kind in model.PixelType}
    if plan.dtype not in types:
        raise PixelTypeError(
            f"OME-XML has no pixel type for {plan.dtype} (image {index}), so OME/METADATA.ome.xml is left out"
        )
    level, calibration = plan.levels[0], image.calibration
    size_t, size_c, size_z, size_y, size_x = level.shape
    return model.Pixels(
        id=f"Pixels:{index}",
        dimension_order=model.Pixels_DimensionOrder.XYZCT,  # fastest first: the arrays are tczyx in C order
        type=types[plan.dtype],
        big_endian=False,
        size_t=size_t,
        size_c=size_c,
        size_z=size_z,
        size_y=size_y,
        size_x=size_x,
        channels=[_channel(f"Channel:{index}:{c}", channel) for c, channel in enumerate(image.channels)],
        metadata_only=model.MetadataOnly(),
        planes=_planes(image),
        **_lengths("physical_size_", calibration, calibration.zyx, level.scale),
        **_quantity("time_increment", calibration.t_s, model.UnitsTime.SECOND),
    )


def _channel(identifier: str, channel: Channel) -> model.Channel:
    fields: dict[str, Any] = {}
    if channel.color is not None:
        fields["color"] = model.Color(f"#{channel.color}")
    for light, nm in (("emission", channel.emission_nm), ("excitation", channel.excitation_nm)):
        if nm is not None and isfinite(nm) and nm > 0:  # no light has another, and the schema refuses it
            fields |= _quantity(f"{light}_wavelength", nm, model.UnitsLength.NANOMETER)
    return model.Channel(id=identifier, name=_xml(channel.name or "") or None, samples_per_pixel=1, **fields)


def _planes(image: Image) -> list[model.Plane]:
    """Say when each time point was taken, if no constant step does: one plane a time point."""
    stamps = image.time_stamps
    if image.calibration.t_s is not None or len(stamps) < 2:
        return []
    seconds = [(stamp - stamps[0]).total_seconds() for stamp in stamps[:MAX_PLANES]]
    return [
        model.Plane(the_z=0, the_c=0, the_t=t, delta_t=delta, delta_t_unit=model.UnitsTime.SECOND)
        for t, delta in enumerate(seconds)
    ]


def _original_metadata(image: Image, first: int) -> list[model.MapAnnotation]:
    """Keep what the source says: one annotation a section, numbered from `first`."""
    return [
        model.MapAnnotation(
            id=f"Annotation:OriginalMetadata:{number}",  # lest it be one of the source's own
            namespace=ORIGINAL_METADATA,
            description=_xml(section),
            # Not given as a dict: of one with the single key "ms", ome-types would take the value for a list.
            value=model.Map(ms=[model.Map.M(k=_xml(key), value=_xml(text)) for key, text in entries.items()]),
        )
        for number, (section, entries) in enumerate(image.original_metadata.items(), first)
    ]


def _lengths(
    prefix: str, calibration: Calibration, known: MaybeTriple, values: Sequence[float]
) -> dict[str, Any]:
    """Return the fields of those lengths along z, y and x that are known; `values` are for t and c too."""
    fields: dict[str, Any] = {}
    if calibration.unit is not None:
        unit = model.UnitsLength[calibration.unit.upper()]
        for axis, given, value in zip("zyx", known, values[2:], strict=True):
            fields |= _quantity(f"{prefix}{axis}", None if given is None else value, unit)
    return fields


def _quantity(name: str, value: float | None, unit: model.UnitsLength | model.UnitsTime) -> dict[str, Any]:
    """Return the fields of a value and its unit; none of an unknown value, lest the unit stand alone."""
    return {} if value is None else {name: value, f"{name}_unit": unit}


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
