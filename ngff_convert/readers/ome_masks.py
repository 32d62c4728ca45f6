"""Masks in the OME-XML of an OME-TIFF, as a label image: the regions of interest are its objects.

A region of interest (ROI) may have several masks, on planes and time points of their own; without TheZ or
TheT a mask is on all of them. Its voxels have the number of the ROI, from 1 in the order in which the
document has those of the image; where masks overlap, that of the last one. Shapes other than masks, such as
polygons, are not drawn.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import zlib
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Channel, Image, Legend
from ngff_convert.ome_schema import local
from ngff_convert.readers.contract import LazyPixels
from ngff_convert.readers.ome_elements import child, children, decode, number, tree, whole
from ngff_convert.readers.ome_tiff_source import OmeTiffSource, described_by, xml_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray

    from ngff_convert.model import Box, PixelArray
    from ngff_convert.readers.contract import Reading

MAX_MASK_VOXELS = 2**31
"""Of one mask; more is a damaged document."""


@dataclass(frozen=True, eq=False, slots=True)
class Mask:
    """One mask.

    Attributes
    ----------
    value
        Number of its region of interest.
    t, z
        Where it is; None is everywhere.
    y, x
        Its first voxel; may lie outside of the image.
    bits
        Which voxels are in it, (y, x), eight in a byte, each row from a byte of its own.
    width
        Voxels of a row.
    """

    value: int
    t: int | None
    z: int | None
    y: int
    x: int
    bits: NDArray[np.uint8]
    width: int

    def draw(self, plane: NDArray[Any], top: int, left: int) -> None:
        """Put its value where it is into a part of a plane that begins at (top, left)."""
        y0, x0 = max(self.y, top), max(self.x, left)
        y1 = min(self.y + len(self.bits), top + plane.shape[0])
        x1 = min(self.x + self.width, left + plane.shape[1])
        if y0 < y1 and x0 < x1:
            rows = np.unpackbits(self.bits[y0 - self.y : y1 - self.y], axis=1)
            inside = rows[:, x0 - self.x : x1 - self.x].astype(bool)
            plane[y0 - top : y1 - top, x0 - left : x1 - left][inside] = self.value


class MaskPixels(LazyPixels):
    """A label image that is drawn box by box."""

    compression = "masks in OME-XML"

    def __init__(self, of: PixelArray, masks: tuple[Mask, ...]) -> None:
        t, _, z, y, x = of.shape
        self.shape = (t, 1, z, y, x)
        self.chunks = (1, 1, 1, min(y, 512), min(x, 512))
        self.dtype = np.min_scalar_type(max(mask.value for mask in masks)) if masks else np.dtype("uint8")
        self.index_bytes = sum(mask.bits.nbytes for mask in masks)
        self._masks = masks

    def read(self, box: Box) -> NDArray[Any]:
        """Draw a box."""
        block = np.zeros(box.shape, self.dtype)
        _, _, _, top, left = box.start
        for mask in self._masks:
            for t in range(box.start[0], box.stop[0]) if mask.t is None else (mask.t,):
                for z in range(box.start[2], box.stop[2]) if mask.z is None else (mask.z,):
                    if box.start[0] <= t < box.stop[0] and box.start[2] <= z < box.stop[2]:
                        mask.draw(block[t - box.start[0], 0, z - box.start[2]], top, left)
        return block


class OmeMasksSource(OmeTiffSource):
    """An open OME-TIFF, whose images are label images of its masks."""

    def _read(self, path: str, reading: Reading) -> None:
        super()._read(path, reading)
        holder, _ = described_by(path, self._files)
        found = masks_in(xml_of(holder, self._files), holder)
        self.images = [_label_image(image, *found.get(_index(image), ((), {}))) for image in self.images]


def _index(image: Image) -> int:
    return image.ome.index if image.ome is not None else -1


def _label_image(image: Image, masks: tuple[Mask, ...], properties: dict[int, dict[str, Any]]) -> Image:
    return Image(
        name=image.name,
        pixels=MaskPixels(image.pixels, masks),
        channels=(Channel(),),
        calibration=image.calibration,
        is_label=True,
        legend=Legend(properties=properties),
    )


def masks_in(xml: str | bytes, where: str) -> dict[int, tuple[tuple[Mask, ...], dict[int, dict[str, Any]]]]:
    """Return the masks of each image of a document, and what it says of the regions of interest.

    Raises
    ------
    ReadError
        The document, or a mask in it, is damaged.
    UnsupportedInput
        There are none; or it is not known which image they are of.
    """
    root = tree(decode(xml, []), where)
    regions = [one for one in children(root, "ROI") if any(local(part) == "Mask" for part in one.iter())]
    if not regions:
        raise UnsupportedInput(f"{where}: there are no masks in its OME-XML; give a label image instead")
    images = list(children(root, "Image"))
    found: dict[int, tuple[tuple[Mask, ...], dict[int, dict[str, Any]]]] = {}
    for index, image in enumerate(images):
        ids = [reference.get("ID") for reference in children(image, "ROIRef")]
        own = regions if len(images) == 1 and not ids else [r for r in regions if r.get("ID") in ids]
        if own:
            masks = [
                _mask(part, value, f"{where}: {region.get('ID') or f'ROI {value}'}")
                for value, region in enumerate(own, 1)
                for part in region.iter()
                if local(part) == "Mask"
            ]
            found[index] = tuple(masks), {value: _said(region) for value, region in enumerate(own, 1)}
    if not found:
        raise UnsupportedInput(
            f"{where}: has {len(regions)} regions of interest with masks, but no image refers to one (ROIRef)"
        )
    return found


def _said(region: Element) -> dict[str, Any]:
    """Return what is said of a region of interest: its ID, name, description, and the text of its masks."""
    described = child(region, "Description")
    texts = [part.get("Text") for part in region.iter() if local(part) == "Mask"]
    said = {
        "id": region.get("ID"),
        "name": region.get("Name"),
        "text": ", ".join(dict.fromkeys(filter(None, texts))),
        "description": described.text if described is not None else None,
    }
    return {key: text.strip() for key, text in said.items() if text and text.strip()}


def _mask(element: Element, value: int, where: str) -> Mask:
    size = [number(element.get(name)) for name in ("Height", "Width", "Y", "X")]
    stored = child(element, "BinData")
    if None in size or stored is None:
        raise ReadError(f"{where}: a mask has no place, size or BinData; was it saved whole?")
    height, width, y, x = (round(n or 0) for n in size)
    if not (height > 0 and width > 0 and height * width <= MAX_MASK_VOXELS):
        raise ReadError(f"{where}: a mask of {width} x {height} voxels; was it saved whole?")
    content = _content(stored, height * width, where)
    bits = np.frombuffer(content, np.uint8)
    if bits.size == ceil(height * width / 8):  # one row right after the other
        rows = np.unpackbits(bits, count=height * width).reshape(height, width)
    elif bits.size == height * width:
        rows = bits.reshape(height, width) != 0
    else:
        raise ReadError(
            f"{where}: a mask of {width} x {height} voxels has {bits.size} bytes, where a bit each are "
            f"{ceil(height * width / 8)}"
        )
    return Mask(
        value, whole(element.get("TheT")), whole(element.get("TheZ")), y, x, np.packbits(rows, axis=1), width
    )


def _content(stored: Element, most: int, where: str) -> bytes:
    """Return the bytes of a BinData element; of a compressed one, no more than a mask can have."""
    kind = stored.get("Compression", "none")
    try:
        raw = base64.b64decode("".join((stored.text or "").split()), validate=True)
        if kind == "none":
            return raw
        if kind == "zlib":
            return zlib.decompressobj().decompress(raw, most + 1)
        if kind == "bzip2":
            return bz2.BZ2Decompressor().decompress(raw, most + 1)
    except (binascii.Error, zlib.error, OSError, EOFError) as error:
        raise ReadError(f"{where}: its mask cannot be decoded: {error}; was it saved whole?") from error
    raise UnsupportedInput(f"{where}: a mask is compressed by {kind[:40]!r}, which is not known")
