"""The OME-XML that a source brought along, carried on into the sidecar.

What the source says is kept, but what the sidecar says of the output without it wins. The work is done on
the tree of elements, by their names in the schema: giving IDs new names and taking out references is then the
same for every kind. A result that the schema refuses is mended by ome-types, as far as that can.
"""

from __future__ import annotations

from copy import deepcopy
from math import isclose
from typing import TYPE_CHECKING, Any, TypeAlias

from lxml import etree

from ngff_convert.ome_schema import LONGEST_FAULT, NAMESPACE, fault, mended, parsed
from ngff_convert.units import SPACE_UNITS, TIME_UNITS, space_unit, time_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ngff_convert.model import Image, Shape

Places: TypeAlias = "dict[str, dict[int, int]]"
"""For each of TheT, TheC and TheZ: number in the source -> number in the output, of what the output has."""

Element: TypeAlias = Any
"""lxml is untyped."""

_OME = f"{{{NAMESPACE}}}"

# Order of elements: OME-XML 2016-06, ome.xsd.
_IN_OME = (
    *("Rights", "Project", "Dataset", "Folder", "Experiment", "Plate", "Screen", "Experimenter"),
    *("ExperimenterGroup", "Instrument", "Image", "StructuredAnnotations", "ROI"),
)
_IN_IMAGE = (
    *("AcquisitionDate", "ExperimenterRef", "Description", "ExperimentRef", "ExperimenterGroupRef"),
    *("InstrumentRef", "ObjectiveSettings", "ImagingEnvironment", "StageLabel", "Pixels", "ROIRef"),
    *("MicrobeamManipulationRef", "AnnotationRef"),
)


def carry_on(document: Element, images: Sequence[Image], noted: list[str]) -> Element:
    """Return the sidecar with what the sources of its images say besides.

    Parameters
    ----------
    document
        Root of what is known without the sources' own documents: an ``Image`` for each of `images`, in order.
    images
        As they are written. Where they are of several documents, IDs that occur again are changed.
    noted
        Gets a line where the sources have documents that cannot be carried on.

    Returns
    -------
    Element
        Root of a valid document; `document` as it is where the sources have none, or none that can be read.
    """
    if not any(image.ome for image in images):
        return document
    try:
        carried = _carried(deepcopy(document), images)
        if fault(carried):
            carried = parsed(mended(etree.tostring(carried, encoding="unicode")))
        reason = fault(carried)
    except Exception as error:  # noqa: BLE001 - one by others can be wrong in any way, and the pixels are written
        reason = " ".join(str(error).split())[:LONGEST_FAULT] or type(error).__name__
    if reason:
        noted.append(f"the source's OME-XML cannot be carried on: {reason}")
        return document
    return carried


def _carried(root: Element, images: Sequence[Image]) -> Element:
    for number, xml in enumerate(dict.fromkeys(image.ome.xml for image in images if image.ome)):
        _merge(root, parsed(xml), xml, images, number)
    known = _ids(root)
    _take_out(root, lambda element: _is_of_others(element, known))
    known = _ids(root)
    _take_out(root, lambda element: _refers(element) and element.get("ID") not in known)
    for annotation in root.iterfind(f"{_OME}StructuredAnnotations/*"):
        if annotation.get("Annotator") not in known:
            annotation.attrib.pop("Annotator", None)
    _sort(root, _IN_OME)
    for image in root.iterfind(f"{_OME}Image"):
        _sort(image, _IN_IMAGE)
    return _with_prefix(root) if any(not element.tag.startswith("{") for element in root.iter()) else root


def _is_of_others(element: Element, known: set[str]) -> bool:
    """Say whether an element is a plate, or a field of one, of which no image is in the output."""
    if element.tag not in (f"{_OME}Plate", f"{_OME}WellSample"):
        return False
    images = {reference.get("ID") for reference in element.iterfind(f".//{_OME}ImageRef")}
    return bool(images) and images.isdisjoint(known)


def _with_prefix(root: Element) -> Element:
    """Return a document without a default namespace, which lxml would give to elements that have none."""
    prefixed = etree.Element(root.tag, dict(root.attrib), nsmap={"OME": NAMESPACE})
    prefixed.extend(list(root))
    etree.cleanup_namespaces(prefixed)
    return prefixed


def _sort(parent: Element, names: Sequence[str]) -> None:
    """Put elements into the order of the schema; those that it does not know stay last, and are its fault."""
    place = {f"{_OME}{name}": number for number, name in enumerate(names)}
    parent[:] = sorted(parent, key=lambda element: place.get(element.tag, len(names)))


# -- a whole document ----------------------------------------------------------------------------------------


def _merge(root: Element, source: Element, xml: str, images: Sequence[Image], number: int) -> None:
    """Put one source's document into the sidecar's: its images over those made of them, and the rest."""
    theirs = source.findall(f"{_OME}Image")
    chosen = [
        (own, theirs[image.ome.index], image.pixels.offset)
        for own, image in zip(root.findall(f"{_OME}Image"), images, strict=True)
        if image.ome and image.ome.xml == xml and image.ome.index < len(theirs)
    ]
    if not chosen:
        raise ValueError("it does not describe the images that are said to be in it")
    taken = _ids(root)
    names = {name: f"{name}:{number}" for name in _ids(source) if name in taken}
    names |= {their.attrib["ID"]: own.attrib["ID"] for own, their, _ in reversed(chosen)}
    for element in _elements(source):
        for key in ("ID", "Annotator"):
            if element.get(key) in names:
                element.set(key, names[element.attrib[key]])
    referred = _referred(source)
    _fit_rois(source, theirs, chosen)
    for own, their, offset in chosen:
        root[list(root).index(own)] = _image(own, deepcopy(their), offset)
    if "Creator" in source.attrib:
        root.set("Creator", f"{root.get('Creator')} (from a document by {source.get('Creator')})")
    for element in list(source):
        there = root.find(element.tag)
        if element.tag == f"{_OME}StructuredAnnotations" and there is not None:
            there.extend(list(element))
        elif element.tag != f"{_OME}Image" and (element.tag != f"{_OME}Rights" or there is None):
            root.append(element)
    _forget(root, referred)


def _forget(root: Element, referred: set[str]) -> None:
    """Take out instruments and annotations that were referred to, but only by what is no longer there."""
    holders = (root, *root.iterfind(f"{_OME}StructuredAnnotations"))
    while gone := [
        (holder, element)
        for unused in [referred - _referred(root)]
        for holder in holders
        for element in holder
        if element.get("ID") in unused and (holder is not root or element.tag == f"{_OME}Instrument")
    ]:
        for holder, element in gone:
            holder.remove(element)


def _fit_rois(
    source: Element, theirs: Iterable[Element], chosen: Sequence[tuple[Element, Element, Shape]]
) -> None:
    """Move regions of interest with the corner of their image; those of other images go.

    One that no image refers to may be of any, and is taken for the first's.
    """
    fits = [(their, _places(_pixels(own), _pixels(their), at), at) for own, their, at in reversed(chosen)]
    homes = {name: fit for fit in fits for name in _roi_refs(fit[0])}
    others = {name for their in theirs for name in _roi_refs(their)} - set(homes)
    for roi in source.findall(f"{_OME}ROI"):
        _, places, offset = homes.get(roi.get("ID"), fits[-1])
        for union in roi.iterfind(f"{_OME}Union"):
            union[:] = [shape for shape in union if _placed(shape, places)]
            for shape in union:
                _shift(shape, *offset[3:])
        if roi.get("ID") in others or roi.find(f"{_OME}Union/*") is None:
            source.remove(roi)


def _roi_refs(image: Element) -> Iterator[str | None]:
    return (reference.get("ID") for reference in image.iterfind(f"{_OME}ROIRef"))


def _shift(shape: Element, y: int, x: int) -> None:
    """Move a shape up and left, whatever it is made of: by what is added last to each of its points."""
    if x == y == 0:
        return
    transform = shape.find(f"{_OME}Transform")
    if transform is None:
        unmoved = {"A00": "1", "A10": "0", "A01": "0", "A11": "1", "A02": "0", "A12": "0"}
        transform = etree.SubElement(shape, f"{_OME}Transform", unmoved)
    for name, by in (("A02", x), ("A12", y)):
        transform.set(name, str(float(transform.attrib[name]) - by))


# -- one image -----------------------------------------------------------------------------------------------


def _image(own: Element, kept: Element, offset: Shape) -> Element:
    """Return what the source says of an image, brought up to what the output says of it."""
    _take(kept, own, ("ID", "Name"))
    _fit_pixels(_pixels(kept), _pixels(own), offset)
    for element in list(own):
        if element.tag == f"{_OME}AnnotationRef" or kept.find(element.tag) is None:
            kept.append(element)
    return kept


def _fit_pixels(kept: Element, own: Element, offset: Shape) -> None:
    places = _places(own, kept, offset)
    channels = own.findall(f"{_OME}Channel")
    for number, channel in enumerate(kept.findall(f"{_OME}Channel")):
        at = places["TheC"].get(number)
        if at is not None:  # the first of a channel's samples has what is said of the channel
            channels[at] = _channel(channels[at], channel)
    planes = [plane for plane in kept.findall(f"{_OME}Plane") if _placed(plane, places)]
    for plane in planes:
        for digest in plane.findall(f"{_OME}HashSHA1"):  # of bytes that are stored otherwise now
            plane.remove(digest)
    kept[:] = [*channels, *own.findall(f"{_OME}MetadataOnly"), *(planes or own.findall(f"{_OME}Plane"))]
    kept.attrib.pop("Interleaved", None)
    if kept.get("Type") != own.get("Type"):
        kept.attrib.pop("SignificantBits", None)
    _take(kept, own, ("ID", "DimensionOrder", "Type", "BigEndian", *(f"Size{axis}" for axis in "TCZYX")))
    for axis in "ZYX":
        _measure(kept, own, f"PhysicalSize{axis}", "µm")
    _measure(kept, own, "TimeIncrement", "s")


def _channel(own: Element, kept: Element) -> Element:
    _take(kept, own, ("ID", "Name", "SamplesPerPixel"))
    if _rgb(own) != _rgb(kept):  # the source's has an alpha besides
        _take(kept, own, ("Color",))
    for light in ("Emission", "Excitation"):
        _measure(kept, own, f"{light}Wavelength", "nm")
    return kept


def _rgb(channel: Element) -> int:
    return int(channel.get("Color", "-1")) >> 8 & 0xFFFFFF


def _take(kept: Element, own: Element, names: Iterable[str]) -> None:
    """Take over the attributes that are known; of those that are not, the source may know more."""
    kept.attrib.update((name, own.attrib[name]) for name in names if name in own.attrib)


def _measure(kept: Element, own: Element, name: str, default: str) -> None:
    """Take over a size and its unit, unless the source says the same in its own unit."""
    ours, theirs = (_in_base_unit(element, name, default) for element in (own, kept))
    if ours is not None and (theirs is None or not isclose(ours, theirs)):
        _take(kept, own, (name, f"{name}Unit"))


def _in_base_unit(element: Element, name: str, default: str) -> float | None:
    """Return a size in metres or seconds; None where it or its unit is unknown."""
    unit = element.get(f"{name}Unit", default)
    factor = TIME_UNITS.get(time_unit(unit) or "") or SPACE_UNITS.get(space_unit(unit) or "")
    return float(element.attrib[name]) * factor if factor and name in element.attrib else None


def _places(own: Element, theirs: Element, offset: Shape) -> Places:
    """Return where each time point, channel and z of the source is in the output, if it is there.

    A channel of several samples is as many channels in the output, and lies where the first of them does.
    """
    t, c, z = offset[:3]
    size_t, size_c, size_z = (int(own.attrib[f"Size{axis}"]) for axis in "TCZ")
    samples = [int(channel.get("SamplesPerPixel", "1")) for channel in theirs.iterfind(f"{_OME}Channel")]
    channels = [number for number, count in enumerate(samples) for _ in range(count)]
    channels += range(len(samples), len(samples) + c + size_c - len(channels))  # those it does not describe
    return {
        "TheT": {t + at: at for at in range(size_t)},
        "TheC": {channels[c + at]: at for at in reversed(range(size_c))},
        "TheZ": {z + at: at for at in range(size_z)},
    }


def _placed(element: Element, places: Places) -> bool:
    """Give a plane or shape the output's numbers; return whether it lies in the output."""
    for name, new in places.items():
        if name in element.attrib:
            at = new.get(int(element.attrib[name]))
            if at is None:
                return False
            element.set(name, str(at))
    return True


# -- elements ------------------------------------------------------------------------------------------------


def _pixels(image: Element) -> Element:
    return next(image.iterfind(f"{_OME}Pixels"))


def _elements(parent: Element) -> Iterator[Element]:
    """Yield what is below an element, at any depth; but not what annotations hold, which may be any XML."""
    for child in parent:
        yield child
        if child.tag != f"{_OME}Value":
            yield from _elements(child)


def _take_out(parent: Element, unwanted: Callable[[Element], bool]) -> None:
    for child in list(parent):
        if unwanted(child):
            parent.remove(child)
        elif child.tag != f"{_OME}Value":
            _take_out(child, unwanted)


def _refers(element: Element) -> bool:
    """Say whether an element's ID is that of another one."""
    return "ID" in element.attrib and element.tag.endswith(("Ref", "Settings", "Leader", "Contact", "Pump"))


def _referred(root: Element) -> set[str]:
    return {element.attrib["ID"] for element in _elements(root) if _refers(element)}


def _ids(root: Element) -> set[str]:
    return {e.attrib["ID"] for e in _elements(root) if "ID" in e.attrib and not _refers(e)}
