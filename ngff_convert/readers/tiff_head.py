"""The first bytes of a TIFF file, read without tifffile: whether it is one, and whether it holds OME-XML.

TIFF 6.0, section 2, and BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from ngff_convert.errors import ConversionError
from ngff_convert.readers.contract import open_file

MAGICS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
"""How a file begins: its byte order, and whether it is BigTIFF."""

IMAGE_DESCRIPTION = 270
MAX_TAGS = 4096
END_BYTES = 16
OME_END = b"OME>"
"""How OME-XML ends, whatever the prefix of its namespace."""


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins so is TIFF or BigTIFF."""
    return head[:4] in MAGICS


def holds_ome_xml(path: str, head: bytes) -> bool:
    """Whether the description of a TIFF file's first page ends as OME-XML does; never raises."""
    if not is_tiff(head):
        return False
    try:
        descriptor = open_file(path)
    except ConversionError:
        return False
    try:
        return _description_end(descriptor, head).strip(b"\0 \r\n\t").endswith(OME_END)
    except (OSError, OverflowError, ValueError, struct.error):  # damaged: whoever opens it will say so
        return False
    finally:
        os.close(descriptor)


class _Form(NamedTuple):
    """How the numbers of a page's list of tags are stored."""

    n_tags: str
    offset: str
    entry: str
    first: int
    inline: int


_CLASSIC = _Form("H", "I", "HHI4s", first=4, inline=4)
_BIG = _Form("Q", "Q", "HHQ8s", first=8, inline=8)


def _description_end(descriptor: int, head: bytes) -> bytes:
    """Return the last bytes of the first page's description; empty where it has none."""
    order, big = MAGICS[head[:4]]
    form = _BIG if big else _CLASSIC
    (first,) = struct.unpack_from(order + form.offset, head, form.first)
    count_size = struct.calcsize(order + form.n_tags)
    (count,) = struct.unpack(order + form.n_tags, os.pread(descriptor, count_size, first))
    entry_size = struct.calcsize(order + form.entry)
    tags = os.pread(descriptor, min(count, MAX_TAGS) * entry_size, first + count_size)
    for code, _, size, value in struct.iter_unpack(order + form.entry, tags):
        if code == IMAGE_DESCRIPTION:
            if size <= form.inline:
                return bytes(value[:size])
            (offset,) = struct.unpack(order + form.offset, value)
            wanted = min(size, END_BYTES)
            return os.pread(descriptor, wanted, offset + size - wanted)
    return b""
