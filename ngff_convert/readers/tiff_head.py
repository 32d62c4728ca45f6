"""The first bytes of a TIFF file, read without tifffile: whether it is one, and whether it holds OME-XML.

TIFF 6.0, section 2, and BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from ngff_convert.errors import ConversionError
from ngff_convert.readers.contract import open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.readers.contract import FileBytes

MAGICS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
"""How a file begins: its byte order, and whether it is BigTIFF."""

IMAGE_DESCRIPTION = 270
SUB_IFDS = 330
MAX_TAGS = 4096
MOST_VALUES = 2**22
"""A tag of more numbers is not read: each takes a hundred bytes as an object of Python."""

MOST_TEXT = 2**28
"""Nor is one of more bytes of text."""

SMALLEST_HUGE = 2 * MOST_VALUES
"""A file of fewer bytes has no such tag."""

ONE_NUMBER = (277, 32997)
"""SamplesPerPixel and ImageDepth."""

NEVER_ASKED_FOR = (34377, 37724)
"""Photoshop's resources and layers: they may be gigabytes, and are bytes that nobody here reads."""

WINDOW_BYTES = 4096
"""What is read of a file at once where pages are looked through: a page's tags are mostly some 200 bytes."""

PAGES_LOOKED_AT = 64
"""Later pages are not held against `ONE_NUMBER`: of thousands, it would take as long as reading them."""

VALUE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Bytes of a value of each TIFF type."""

TEXT_TYPES = (1, 2, 6, 7)

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
        file = open_bytes(path)
    except ConversionError:
        return False
    try:
        return _description_end(file, head).strip(b"\0 \r\n\t").endswith(OME_END)
    except (ConversionError, OSError, OverflowError, ValueError, struct.error):
        return False  # damaged: whoever opens it will say so
    finally:
        file.close()


class _Form(NamedTuple):
    """How the numbers of a page's list of tags are stored."""

    n_tags: str
    offset: str
    entry: str
    first: int
    inline: int


_CLASSIC = _Form("H", "I", "HHI4s", first=4, inline=4)
_BIG = _Form("Q", "Q", "HHQ8s", first=8, inline=8)


def _description_end(file: FileBytes, head: bytes) -> bytes:
    """Return the last bytes of the first page's description; empty where it has none."""
    order, big = MAGICS[head[:4]]
    form = _BIG if big else _CLASSIC
    (first,) = struct.unpack_from(order + form.offset, head, form.first)
    count_size = struct.calcsize(order + form.n_tags)
    (count,) = struct.unpack(order + form.n_tags, file.pread(count_size, first))
    entry_size = struct.calcsize(order + form.entry)
    tags = file.pread(min(count, MAX_TAGS) * entry_size, first + count_size)
    for code, _, size, value in struct.iter_unpack(order + form.entry, tags):
        if code == IMAGE_DESCRIPTION:
            if size <= form.inline:
                return bytes(value[:size])
            (offset,) = struct.unpack(order + form.offset, value)
            wanted = min(size, END_BYTES)
            return file.pread(wanted, offset + size - wanted)
    return b""


class HugeTag(NamedTuple):
    """A tag that would take too much memory."""

    code: int
    n_values: int
    ifd: int


def huge_tag(file: FileBytes) -> HugeTag | None:
    """Find a tag of more than `MOST_VALUES` numbers or `MOST_TEXT` bytes, in any page or sub-page.

    Parameters
    ----------
    file
        The open file, whose first bytes are those of a TIFF file. Tags that say they reach beyond its end are
        nobody's concern: they are not read.
    """
    size = file.size
    if size < SMALLEST_HUGE:
        return None
    pages = _Pages(file)
    left = [pages.first()]
    seen = {0}
    while left:
        at = left.pop()
        if at in seen:  # the end of a chain, or one that leads back into itself
            continue
        seen.add(at)
        tags, following = pages.read(at)
        left.append(following)
        if max(tags[2::4], default=0) <= MOST_VALUES and SUB_IFDS not in tags[::4]:
            continue  # almost every page of a long file
        for code, kind, count, value in _one_by_one(tags):
            if count * VALUE_SIZES.get(kind, 0) > size or code in NEVER_ASKED_FOR:
                continue
            if count > (MOST_TEXT if kind in TEXT_TYPES else MOST_VALUES):
                return HugeTag(code, count, at)
            if code == SUB_IFDS:
                left += pages.listed(count, value)
    return None


def several_values(file: FileBytes) -> HugeTag | None:
    """Find a tag that is one number and has several values, in the first pages; arguments as `huge_tag`.

    tifffile multiplies by these numbers, and several values times a number are gigabytes of values.
    """
    pages = _Pages(file)
    at = pages.first()
    for _ in range(PAGES_LOOKED_AT):
        if not at:
            break
        tags, following = pages.read(at)
        for code, _kind, count, _value in _one_by_one(tags):
            if code in ONE_NUMBER and count > 1:
                return HugeTag(code, count, at)
        at = following
    return None


def _one_by_one(tags: tuple[Any, ...]) -> Iterator[tuple[int, int, int, bytes]]:
    """Return the tags of a page - code, type, count, value - from a row of them all."""
    return zip(tags[::4], tags[1::4], tags[2::4], tags[3::4], strict=True)


class _Pages:
    """The lists of tags of an open TIFF file, each fetched by one read, or with the one before it."""

    def __init__(self, file: FileBytes) -> None:
        order, big = MAGICS[file.pread(4, 0)]
        self._file = file
        self._order, self._form = order, _BIG if big else _CLASSIC
        self._count = struct.Struct(order + self._form.n_tags)
        self._offset = struct.Struct(order + self._form.offset)
        self._entry = self._form.entry
        self._forms: dict[int, struct.Struct] = {}
        self._start, self._window = 0, b""

    def first(self) -> int:
        """Return where the first page is; 0 where the file ends before."""
        return self._number(self._offset, self._form.first)

    def read(self, at: int) -> tuple[tuple[Any, ...], int]:
        """Return the tags of a page - code, type, count, value, code, ... - and where the next page is."""
        n_tags = min(self._number(self._count, at), MAX_TAGS)
        form = self._forms.get(n_tags)
        if form is None:
            form = self._forms[n_tags] = struct.Struct(self._order + n_tags * self._entry + self._form.offset)
        data = self._bytes(at + self._count.size, form.size)
        if len(data) == form.size:
            found = form.unpack(data)
            return found[:-1], found[-1]
        entry = struct.calcsize(self._order + self._entry)
        return struct.unpack_from(self._order + len(data) // entry * self._entry, data), 0

    def listed(self, count: int, value: bytes) -> list[int]:
        """Return the sub-pages that a tag lists, which has as many values as `huge_tag` lets pass."""
        size = count * self._offset.size
        (at,) = self._offset.unpack(value)
        data = value if size <= self._form.inline else self._bytes(at, size)
        whole = data[: len(data) // self._offset.size * self._offset.size]
        return [int(offset) for (offset,) in self._offset.iter_unpack(whole)]

    def _number(self, form: struct.Struct, at: int) -> int:
        """Return the number at a place; 0 where the file ends before."""
        data = self._bytes(at, form.size)
        return int(form.unpack(data)[0]) if len(data) == form.size else 0

    def _bytes(self, at: int, count: int) -> bytes:
        """Return the bytes at a place, fewer where the file ends."""
        skip = at - self._start
        if skip < 0 or skip + count > len(self._window):
            at = min(at, 2**63 - 2**20)  # no system seeks further
            self._window = self._file.pread(max(count, WINDOW_BYTES), at)
            self._start, skip = at, 0
        return self._window[skip : skip + count]
