"""OME-XML, of an OME-TIFF or a companion file -> what it says about each image; no TIFF is touched.

Values are read by hand in the spelling of every schema from 2003 to 2016, so a document that ome-types
refuses still tells its sizes and channels; ome-types upgrades and checks what is carried on to the output.
``ome_elements`` makes elements of text, ``ome_metadata`` says what they mean, ``ome_planes`` where planes
are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ngff_convert.errors import ReadError
from ngff_convert.model import Calibration
from ngff_convert.ome_schema import local
from ngff_convert.readers import ome_metadata as meaning
from ngff_convert.readers.ome_elements import carried_on, child, children, decode, tree, whole
from ngff_convert.readers.ome_planes import TiffData
from ngff_convert.readers.ome_plates import plate_fields, sample_positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from xml.etree.ElementTree import Element

    from ngff_convert.model import Channel, Shape
    from ngff_convert.plates import PlateField

MAX_STATED_PLANES = 10**7
"""Planes that an image may state; more is a damaged document, and a table of them would fill the memory."""

MAX_STATED_CHANNELS = 2**16 - 1
"""Channels that an image may state: each becomes a record, unlike a plane."""

ORDERS = frozenset({"XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"})

_DTYPES = {
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
    "bit": "bool",
    "float": "float32",
    "double": "float64",
    "complex": "complex64",
    "double-complex": "complex128",
}
_CHANNELS = "Channel", "LogicalChannel", "ChannelInfo"  # since 2009-09, until 2008-09, in 2003


@dataclass(frozen=True, slots=True)
class OmeImage:
    """What OME-XML says about one image.

    Attributes
    ----------
    name
        May be empty.
    shape
        (t, c, z, y, x), voxels; c counts samples, so an RGB plane counts 3.
    order
        Dimensions from the fastest: ``"XYZCT"``.
    dtype
        As numpy spells it: ``"uint16"``, ``"bool"``, ``"complex64"``.
    samples
        Samples per pixel of each logical channel; their sum is the c of `shape`.
    channels
        One record for each c of `shape`.
    calibration
        Voxel size, time step and origin.
    time_stamps
        When each time point was taken, with a time zone where the document states one; empty unless all are
        known.
    tiff_data
        Where the planes are, as stated; `ome_planes.place_planes` makes sense of it.
    plate_field
        Where in a plate it was taken; None if it is not of a plate.
    """

    name: str
    shape: Shape
    order: str
    dtype: str
    samples: tuple[int, ...]
    channels: tuple[Channel, ...]
    calibration: Calibration
    time_stamps: tuple[datetime, ...]
    tiff_data: tuple[TiffData, ...]
    plate_field: PlateField | None = None


@dataclass(frozen=True, slots=True)
class OmeDocument:
    """What OME-XML says.

    Attributes
    ----------
    xml
        The document in the schema of 2016-06, to carry on: plates, instruments and annotations are in it,
        pixels and the places of planes are not. Its images are those of `images`. Empty where there are
        none, and where ome-types refuses the document.
    uuid
        Of the file that holds the document, lower case, without ``urn:uuid:``; None if not stated.
    images
        In the order of the document.
    binary_only
        (file name, UUID) of the file that has the real metadata; None if this document has them.
    warnings
        What was odd, one line each.
    """

    xml: str
    uuid: str | None
    images: tuple[OmeImage, ...]
    binary_only: tuple[str | None, str | None] | None
    warnings: tuple[str, ...]


def parse(xml: str | bytes, where: str) -> OmeDocument:
    """Read OME-XML of any schema from 2003 to 2016-06.

    Parameters
    ----------
    xml
        The document, as text or as the bytes of a file or a TIFF tag.
    where
        What holds it, for messages: a path.

    Raises
    ------
    ReadError
        It is no OME-XML, declares a document type, has no image (and does not say which file has), or
        an image does not state a usable size, order of dimensions and type of pixels.
    """
    warnings: list[str] = []
    root = tree(decode(xml, warnings), where)
    uuid = _bare_uuid(root.get("UUID"))
    binary_only = None
    if (element := child(root, "BinaryOnly")) is not None:
        binary_only = element.get("MetadataFile"), _bare_uuid(element.get("UUID"))
    elements = list(children(root, "Image"))
    if not elements:
        if binary_only is None:
            raise ReadError(f"{where}: the OME-XML describes no image")
        return OmeDocument("", uuid, (), binary_only, tuple(warnings))
    images = []
    noted: dict[str, list[int]] = {}  # images of a plate are often odd in the same way
    fields = plate_fields(root, warnings)
    positions = sample_positions(root)
    for index, element in enumerate(elements):
        lines: list[str] = []
        position = positions.get(element.get("ID", ""), {})
        image = _image(element, position, f"{where}: image {index} of the OME-XML", lines)
        images.append(replace(image, plate_field=fields.get(index)))
        for line in lines:
            noted.setdefault(line, []).append(index)
    warnings += [_of_images(indices, len(images)) + line for line, indices in noted.items()]
    carried = carried_on(root, warnings)  # last, because it takes the tree apart
    return OmeDocument(carried, uuid, tuple(images), binary_only, tuple(warnings))


def _of_images(indices: Sequence[int], n_images: int) -> str:
    if len(indices) == n_images:
        return ""
    more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    return f"image {', '.join(map(str, indices[:5]))}{more}: "


def _bare_uuid(text: str | None) -> str | None:
    return (text or "").strip().lower().removeprefix("urn:uuid:") or None


def _image(image: Element, position: Mapping[str, str], where: str, noted: list[str]) -> OmeImage:
    every = list(children(image, "Pixels"))
    if not every:
        raise ReadError(f"{where} has no Pixels")
    pixels = every[0]
    if len(every) > 1:
        noted.append(f"of {len(every)} Pixels of one image, only the first are taken")
    shape, order, dtype = _layout(pixels, where)
    described = [*children(pixels, *_CHANNELS)] or [*children(image, *_CHANNELS)]
    samples = meaning.samples(described, shape[1], noted)
    planes = [_plane(element) for element in children(pixels, "Plane")]
    zyx, unit = meaning.voxel_size(image, pixels, noted)
    delta_t = meaning.delta_t(planes, shape[0])
    t_s = meaning.time_step(pixels, delta_t, shape[0], noted)
    return OmeImage(
        name=image.get("Name") or "",
        shape=shape,
        order=order,
        dtype=dtype,
        samples=samples,
        channels=meaning.channels(described, samples),
        calibration=Calibration(zyx, unit, t_s, meaning.origin(image, planes, position, unit)),
        # One time point was taken when the image was, whether or not its planes say how much later.
        time_stamps=meaning.time_stamps(meaning.acquired(image, noted), delta_t or (0.0,) * (shape[0] == 1)),
        tiff_data=tuple(_tiff_data(element) for element in children(pixels, "TiffData")),
    )


def _layout(pixels: Element, where: str) -> tuple[Shape, str, str]:
    """Return shape, order and dtype, without which nothing can be read."""
    sizes = {axis: whole(pixels.get(f"Size{axis}")) for axis in "TCZYX"}
    bad = [f"Size{axis} {pixels.get(f'Size{axis}')!r}" for axis, size in sizes.items() if not size]
    order = pixels.get("DimensionOrder", "")
    if order not in ORDERS:
        bad.append(f"DimensionOrder {order!r}")
    stated = pixels.get("Type", pixels.get("PixelType", ""))
    dtype = _DTYPES.get(stated.lower())
    if dtype is None:
        bad.append(f"Type {stated!r}")
    shape = tuple(size or 0 for size in sizes.values())
    if shape[0] * shape[1] * shape[2] > MAX_STATED_PLANES:
        bad.append(f"{shape[0]} x {shape[1]} x {shape[2]} planes (t, c, z)")
    elif shape[1] > MAX_STATED_CHANNELS:
        bad.append(f"{shape[1]} channels")
    if bad or dtype is None:
        raise ReadError(f"{where} cannot be meant: {', '.join(bad)}")
    return shape, order, dtype


def _tiff_data(element: Element) -> TiffData:
    uuid = child(element, "UUID")
    return TiffData(
        ifd=whole(element.get("IFD")),
        plane_count=whole(element.get("PlaneCount", element.get("NumPlanes"))),
        first_t=whole(element.get("FirstT")) or 0,
        first_c=whole(element.get("FirstC")) or 0,
        first_z=whole(element.get("FirstZ")) or 0,
        file_name=None if uuid is None else uuid.get("FileName") or None,
        uuid=None if uuid is None else _bare_uuid(uuid.text),
    )


def _plane(element: Element) -> Mapping[str, str]:
    """Return what a Plane states; until 2008 times and positions were elements within it."""
    attributes = element.attrib
    for inner in element:
        if local(inner) in ("PlaneTiming", "StagePosition"):
            attributes = {**inner.attrib, **attributes}
    return attributes
