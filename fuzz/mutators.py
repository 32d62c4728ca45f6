"""Changes to files that know a little of the format, so that more than the first check of it is reached.

Half of the time libFuzzer's own changes are made, by its own judgement and its dictionary.
"""

from __future__ import annotations

import re
import struct
from random import Random
from typing import NamedTuple

import atheris

SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 32, 64, 127, 128, 255, 256, 1000, 4096, 65535, 65536)
LARGE = (2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
TEXTS = (
    *("", "0", "1", "-1", "2", "7", "1e308", "1e400", "-1e-320", "nan", "inf", "4294967296", "65536"),
    *("99999999999999999999", "0x10", "1_0", "\u0661", "true", "uint8", "uint16", "float", "double", "bit"),
    *("XYZCT", "XYCZT", "\u00b5m", "um", "parsec", "reference frame", "2020-01-01T00:00:00"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999", "Channel:0:0", "Image:0", "&#10;", "\ud7ff"),
)


def number(random: Random, old: int, n_bytes: int, size: int) -> int:
    """Return a number in place of an old one in a file of `size` bytes, cut to `n_bytes`."""
    choice = random.randrange(8)
    if choice < 2:
        value = old + random.choice((-2, -1, 1, 2))
    elif choice == 2:
        value = old ^ 1 << random.randrange(8 * n_bytes)
    elif choice == 3:
        value = random.choice((old * 2, old // 2, -old, old * 256, old // 256))
    elif choice == 4:
        value = random.choice((size, size - 1, size - 8, size // 2, random.randrange(size)))
    elif choice == 5:
        value = random.choice(LARGE)
    else:
        value = random.choice(SMALL)
    return value % (1 << 8 * n_bytes)


def _own(data: bytes | bytearray, max_size: int) -> bytearray:
    return bytearray(atheris.Mutate(bytes(data), max_size))


# -- OME-XML -------------------------------------------------------------------------------------------------

_VALUE = re.compile(r'(?<==)"[^"<>]*"')
_ELEMENT = re.compile(r"<(\w+)[^<>]*(?:/>|>[^<>]*</\1>)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def changed_text(text: str, random: Random) -> str:
    """Change values, or repeat, move and drop whole elements; numbers where it is no XML."""
    for _ in range(random.choice((1, 1, 2, 4))):
        values = list(_VALUE.finditer(text))
        elements = list(_ELEMENT.finditer(text))
        choice = random.randrange(6)
        if choice < 3 and values:
            value = random.choice(values)
            new = random.choice((f'"{random.choice(TEXTS)}"', random.choice(values)[0]))
            text = text[: value.start()] + new + text[value.end() :]
        elif choice < 5 and elements:
            one, other = random.choice(elements), random.choice(elements)
            new = random.choice(("", one[0] * 2, other[0], one[0][:-1]))
            text = text[: one.start()] + new + text[one.end() :]
        elif numbers := list(_NUMBER.finditer(text)):
            match = random.choice(numbers)
            text = text[: match.start()] + random.choice(TEXTS) + text[match.end() :]
    return text


def mutate_omexml(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a document."""
    random = Random(seed)
    if random.random() < 0.4:
        return bytes(_own(data, max_size))
    text = data.decode("utf-8", "surrogateescape")
    return changed_text(text, random).encode("utf-8", "surrogateescape")[:max_size]


# -- TIFF ----------------------------------------------------------------------------------------------------

_SIZES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of the numbers of each type of tag where they are not 1; rationals are two numbers."""

_CODES = (
    *(254, 255, 256, 257, 258, 259, 262, 266, 269, 270, 271, 272, 273, 274, 277, 278, 279, 282, 283, 284),
    *(285, 286, 287, 296, 297, 305, 306, 317, 318, 320, 322, 323, 324, 325, 330, 338, 339, 340, 347, 512),
    *(513, 514, 520, 529, 530, 532, 32781, 32997, 32998, 33432, 33471, 33560, 33628, 33629, 33630, 33631),
    *(33723, 34118, 34122, 34361, 34362, 34412, 34665, 34675, 34680, 34682, 36867, 37706, 37707, 37724),
    *(39424, 40001, 40100, 42112, 42113, 43314, 50288, 50296, 50838, 50839, 51023, 51123, 65420, 65421),
    *(65422, 65426, 65439, 65441, 65442, 65449, 65458, 65459),
)
_COMPRESSIONS = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 33003, 33004, 33005, 33007, 34712, 34887, 34892, 34925, 34926),
    *(34927, 34933, 34934, 50000, 50001, 50002, 52546, 65000),
)


class Entry(NamedTuple):
    """A tag of a page: where its entry is, and where its value."""

    at: int
    code: int
    kind: int
    n: int
    value_at: int


class Form(NamedTuple):
    """How the numbers of a file are stored: byte order, then formats of tag counts and offsets."""

    order: str
    big: bool

    @property
    def word(self) -> str:
        """Of an offset."""
        return self.order + ("Q" if self.big else "I")

    @property
    def tags(self) -> str:
        """Of how many tags a page has."""
        return self.order + ("Q" if self.big else "H")

    @property
    def entry_bytes(self) -> int:
        """Of one tag."""
        return 20 if self.big else 12


def _form(data: bytes | bytearray) -> Form | None:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        return None
    return Form(order, struct.unpack_from(order + "H", data, 2)[0] == 43)


def _pages(data: bytearray, form: Form) -> tuple[list[Entry], list[int], list[int]]:
    """Return the tags of all pages, where the links to the next page are, and where pages begin."""
    entries: list[Entry] = []
    links: list[int] = []
    starts: list[int] = []
    width = struct.calcsize(form.word)
    waiting = [8 if form.big else 4]
    try:
        while waiting and len(starts) < 20:
            link = waiting.pop()
            links.append(link)
            (start,) = struct.unpack_from(form.word, data, link)
            (count,) = struct.unpack_from(form.tags, data, start)
            if not start or start in starts or count > 200:
                continue
            starts.append(start)
            first = start + struct.calcsize(form.tags)
            for at in range(first, first + count * form.entry_bytes, form.entry_bytes):
                code, kind, n = struct.unpack_from(form.order + "HH" + form.word[1], data, at)
                value_at = at + 4 + width
                n_bytes = n * _SIZES.get(kind, 1) * (2 if kind in (5, 10) else 1)
                if n_bytes > width:
                    (value_at,) = struct.unpack_from(form.word, data, value_at)
                entries.append(Entry(at, code, kind, n, value_at))
                if code == 330 and n:
                    waiting.append(value_at)
            waiting.append(first + count * form.entry_bytes)
    except (struct.error, OverflowError, IndexError):  # that far and no further
        pass
    return entries, links, starts


def mutate_tiff(data: bytes, max_size: int, seed: int) -> bytes:
    """Change tags, values of tags, links between pages and texts."""
    random = Random(seed)
    changed = bytearray(data)
    form = _form(changed)
    if form is None or random.random() < 0.35:
        return bytes(_own(data, max_size))
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        entries, links, starts = _pages(changed, form)
        try:
            if random.random() < 0.08 and links:
                to = number(random, random.choice(starts or [0]), 4, len(changed))
                struct.pack_into(form.word, changed, random.choice(links), random.choice([*starts, to]))
            elif entries:
                _change_tag(changed, form, random.choice(entries), entries, random)
        except (struct.error, OverflowError, IndexError):  # the tag, or its value, is not within the file
            pass
    if random.random() < 0.2:
        changed = _own(changed, max_size)
    return bytes(changed[:max_size])


def _change_tag(data: bytearray, form: Form, tag: Entry, entries: list[Entry], random: Random) -> None:
    size = _SIZES.get(tag.kind, 1)
    choice = random.randrange(12)
    if choice == 0:
        struct.pack_into(form.order + "H", data, tag.at, random.choice(_CODES))
    elif choice == 1:
        struct.pack_into(form.order + "H", data, tag.at + 2, random.randrange(19))
    elif choice == 2:
        struct.pack_into(form.word, data, tag.at + 4, number(random, tag.n, 4, len(data)))
    elif choice == 3:  # what another tag has
        other = random.choice(entries)
        n = form.entry_bytes - 2
        data[tag.at + 2 : tag.at + 2 + n] = data[other.at + 2 : other.at + 2 + n]
    elif choice == 4 or tag.kind == 2:
        _change_value_text(data, form, tag, random)
    elif tag.code == 259:
        struct.pack_into(form.order + "H", data, tag.value_at, random.choice(_COMPRESSIONS))
    else:
        index = random.randrange(max(1, min(tag.n, 64)))
        letter = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        (old,) = struct.unpack_from(form.order + letter, data, tag.value_at + index * size)
        new = number(random, old, size, len(data))
        struct.pack_into(form.order + letter, data, tag.value_at + index * size, new)


def _change_value_text(data: bytearray, form: Form, tag: Entry, random: Random) -> None:
    """Put a changed copy of a value at the end of the file, and let the tag point there."""
    n_bytes = tag.n * _SIZES.get(tag.kind, 1)
    value = bytes(data[tag.value_at : tag.value_at + n_bytes])
    value = changed_text(value.decode("latin-1"), random).encode("latin-1", "replace")
    width = struct.calcsize(form.word)
    count = len(value) // _SIZES.get(tag.kind, 1)
    struct.pack_into(form.word, data, tag.at + 4, count)
    if len(value) <= width:
        data[tag.at + 4 + width : tag.at + 4 + 2 * width] = value.ljust(width, b"\0")
    else:
        data += b"\0" * (len(data) % 2)
        struct.pack_into(form.word, data, tag.at + 4 + width, len(data))
        data += value


# -- HDF5 ----------------------------------------------------------------------------------------------------

_SIGNATURES = re.compile(rb"OHDR|OCHK|TREE|SNOD|HEAP|GCOL|BTHD|BTLF|BTIN|FRHP|FHDB|FHIB|FAHD|FADB|EAHD|EAIB")
_HEADER_1 = re.compile(rb"\x01\x00[\x01-\x20]\x00[\x01-\x08]\x00\x00\x00")
"""How an object header of version 1 begins, which has no signature: messages, and references to it."""

SUPERBLOCK_BYTES = 44
"""Before the checksum of a superblock, where offsets have 8 bytes."""


def mutate_hdf5(data: bytes, max_size: int, seed: int) -> bytes:
    """Change numbers, most of them in the structure of the file, and mend the checksums over them."""
    random = Random(seed)
    if len(data) < 64 or random.random() < 0.3:
        return bytes(_with_checksums(data, _own(data, max_size)))
    changed = bytearray(data)
    anchors = [m.start() for pattern in (_SIGNATURES, _HEADER_1) for m in pattern.finditer(data)]
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        if anchors and random.random() < 0.85:
            at = random.choice(anchors) + random.randrange(random.choice((16, 64, 256)))
        else:
            at = random.randrange(len(changed))
        n_bytes = random.choice((1, 1, 2, 4, 8))
        at = min(at, len(changed) - n_bytes)
        old = int.from_bytes(changed[at : at + n_bytes], "little")
        if n_bytes == 8 and anchors and random.random() < 0.4:  # a pointer to something else
            new = random.choice(anchors)
        else:
            new = number(random, old, n_bytes, len(changed))
        changed[at : at + n_bytes] = new.to_bytes(n_bytes, "little")
    return bytes(_with_checksums(data, changed)[:max_size])


def _with_checksums(before: bytes, changed: bytearray) -> bytearray:
    """Mend the checksums of superblocks and object headers where what they cover has changed.

    Those over the heads of B-trees, arrays and heaps are left wrong, and so is every one where chunks are
    found by arrays: with them right, HDF5 2.0 trusts what it reads (a size of 0 ends the process in
    `H5B2__hdr_init`, a larger dataset in `H5FA_get`), and no check of ours comes before that.
    """
    if b"FAHD" in changed or b"EAHD" in changed:
        return changed
    for start, end in _checked(changed):
        if changed[start : end + 4] != before[start : end + 4]:
            changed[end : end + 4] = lookup3(bytes(changed[start:end])).to_bytes(4, "little")
    return changed


def _checked(data: bytearray) -> list[tuple[int, int]]:
    """Return the first byte of what each checksum covers, and where the checksum is."""
    found = []
    if len(data) >= SUPERBLOCK_BYTES + 4 and data[:4] == b"\x89HDF" and data[8] in (2, 3):
        found.append((0, SUPERBLOCK_BYTES))
    for match in re.finditer(rb"OHDR\x02", data):
        start = match.start()
        flags = int.from_bytes(data[start + 5 : start + 6], "little")
        at = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        end = at + width + int.from_bytes(data[at : at + width], "little")
        if end + 4 <= len(data):
            found.append((start, end))
    return found


_MASK = 2**32 - 1


def lookup3(data: bytes) -> int:
    """Return the checksum of HDF5: Bob Jenkins' lookup3, little-endian, seed 0."""
    a = b = c = 0xDEADBEEF + len(data) & _MASK
    blocks = max(0, len(data) - 1) // 12
    for at in range(0, blocks * 12, 12):
        x, y, z = struct.unpack_from("<3I", data, at)
        a, b, c = _mixed(a + x & _MASK, b + y & _MASK, c + z & _MASK)
    rest = data[blocks * 12 :]
    if not rest:
        return c
    x, y, z = struct.unpack("<3I", rest.ljust(12, b"\0"))
    return _finished(a + x & _MASK, b + y & _MASK, c + z & _MASK)


def _turned(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _MASK


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a, c = (a - c & _MASK) ^ _turned(c, by), c + b & _MASK
        a, b, c = b, c, a
    return a, b, c


def _finished(a: int, b: int, c: int) -> int:
    for first, second, third in ((14, 11, 25), (16, 4, 14)):
        c = (c ^ b) - _turned(b, first) & _MASK
        a = (a ^ c) - _turned(c, second) & _MASK
        b = (b ^ a) - _turned(a, third) & _MASK
    return (c ^ b) - _turned(b, 24) & _MASK
