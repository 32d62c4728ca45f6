"""Small OME-TIFF files: plain TIFF pages, and OME-XML written by hand that may say anything about them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import tifffile

from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
TYPES = {"float32": "float", "float64": "double", "bool": "bit", "complex64": "complex"}


def attributes(**fields: Any) -> str:
    return "".join(f' {name}="{escape(str(value), {chr(34): "&quot;"})}"' for name, value in fields.items())


def channel(number: int = 0, **fields: Any) -> str:
    return f"<Channel{attributes(ID=f'Channel:0:{number}', **fields)}/>"


def data(file: str | None = None, uuid: str = "", **fields: Any) -> str:
    """Return a TiffData element, of a file if one is named."""
    name = "" if file is None else attributes(FileName=file)
    inner = f"<UUID{name}>urn:uuid:{uuid}</UUID>" if file is not None or uuid else ""
    return f"<TiffData{attributes(**fields)}>{inner}</TiffData>"


def image(
    pixels: NDArray[Any], inner: str = "<TiffData/>", *, number: int = 0, before: str = "", **fields: Any
) -> str:
    """Return the Image of a block t, c, z, y, x; fields are those of Pixels that are to be others."""
    stated = {
        "ID": f"Pixels:{number}",
        "DimensionOrder": "XYZCT",
        "Type": TYPES.get(pixels.dtype.name, pixels.dtype.name),
        **{f"Size{axis}": n for axis, n in zip("TCZYX", pixels.shape, strict=True)},
        **fields,
    }
    head = attributes(ID=f"Image:{number}", Name=f"image {number}")
    return f"<Image{head}>{before}<Pixels{attributes(**stated)}>{inner}</Pixels></Image>"


def document(*images: str, uuid: str = "", before: str = "", after: str = "") -> str:
    """Return a whole document; `before` and `after` are elements beside the images."""
    own = attributes(UUID=f"urn:uuid:{uuid}") if uuid else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{SCHEMA}"{own}>'
        f"{before}{''.join(images)}{after}</OME>"
    )


def pages_of(pixels: NDArray[Any], order: str = "XYZCT") -> list[NDArray[Any]]:
    """Return the planes of a block t, c, z, y, x in an order of dimensions."""
    slowest_first = order[:1:-1]
    sizes = [range(pixels.shape["TCZ".index(axis)]) for axis in slowest_first]
    places = (dict(zip(slowest_first, place, strict=True)) for place in product(*sizes))
    return [pixels[place["T"], place["C"], place["Z"]] for place in places]


def write(path: Path, pages: Iterable[NDArray[Any]], xml: str | bytes = "", **options: Any) -> Path:
    """Write pages, the first one with a description; options are those of `tifffile.TiffWriter.write`."""
    file = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
    text = xml.encode() if isinstance(xml, str) else xml
    options = {"photometric": "minisblack", **options}
    with tifffile.TiffWriter(path, **file) as tif:
        for number, page in enumerate(pages):
            tif.write(page, description=text if number == 0 else b"", metadata=None, **options)
    return path


def one(path: Path, pixels: NDArray[Any], inner: str = "<TiffData/>", **fields: Any) -> Path:
    """Write a file of one image in its usual order."""
    return write(path, pages_of(pixels), document(image(pixels, inner, **fields)))


def file_set(
    folder: Path, pixels: NDArray[Any], names: Sequence[str], companion: str = "", *, spelt: str = "{}"
) -> list[Path]:
    """Write a set of one file a time point, each with the whole document or a word where that is.

    Parameters
    ----------
    names
        Of the files.
    companion
        The file with the document, where it is a file of its own or a member alone has it.
    spelt
        How the document names a file.
    """
    per_file = pixels.shape[1] * pixels.shape[2]
    inner = "".join(
        data(spelt.format(name), uuid_of(name), FirstT=t, IFD=0, PlaneCount=per_file)
        for t, name in enumerate(names)
    )
    described = image(pixels, inner)
    elsewhere = f"<BinaryOnly{attributes(MetadataFile=companion, UUID='urn:uuid:' + uuid_of(companion))}/>"
    for t, name in enumerate(names):
        whole = companion in ("", name)
        xml = document(*([described] if whole else []), uuid=uuid_of(name), before="" if whole else elsewhere)
        write(folder / name, pages_of(pixels[t : t + 1]), xml)
    if companion and companion not in names:
        (folder / companion).write_text(document(described, uuid=uuid_of(companion)), encoding="utf-8")
    return [folder / name for name in names]


def uuid_of(name: str) -> str:
    """Return a UUID that is always the same for a name."""
    digits = name.encode().hex()[-32:].rjust(32, "0")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def coded(t: int = 1, c: int = 1, z: int = 1, y: int = 6, x: int = 9, dtype: str = "uint16") -> NDArray[Any]:
    """Return pixels that tell their place."""
    return coded_pixels((t, c, z, y, x), np.dtype(dtype))
