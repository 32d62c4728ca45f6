"""Small TIFF files: written by tifffile, or by hand where it writes nothing of the kind."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from ngff_convert.readers.contract import Reading
from ngff_convert.readers.tiff import TiffReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

READER = TiffReader()

KINDS = {"B": 1, "s": 2, "H": 3, "I": 4, "Q": 16}
"""How values of tags are packed -> their TIFF type."""

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS = 256, 257, 258, 259, 262, 266, 273
SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR, PREDICTOR = 277, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_SIZES, SUB_IFDS, SAMPLE_FORMAT = 322, 323, 324, 325, 330, 339
ORIENTATION, YCBCR_SUBSAMPLING, PALETTE = 274, 530, 320


def write(path: Path, pixels: Any, **options: Any) -> Path:
    """Write pixels; options are those of `tifffile.imwrite`."""
    options.setdefault("metadata", None)
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(path, pixels, **options)
    return path


def read(path: Path, axes: str | None = None, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return all pixels of a file of one image."""
    with READER.open(str(path), Reading(axes, shape)) as source:
        (image,) = source.images
        return image.pixels[...]


def as_tczyx(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """Bring an array with tifffile's names of axes into the order t, c, z, y, x; samples are channels.

    Axes without a name are z, as long as there is one of them.
    """
    axes = axes.replace("I", "Z").replace("Q", "Z")
    for axis in "TCZSYX":
        if axis not in axes:
            axes, pixels = axis + axes, pixels[np.newaxis]
    t, c, z, s, y, x = (axes.index(axis) for axis in "TCZSYX")
    turned = pixels.transpose(t, c, s, z, y, x)
    return turned.reshape(len(turned), -1, *turned.shape[3:])


def seen(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return rows and columns as TIFF 6.0, page 36, has them seen, by its words on row 0 and column 0."""
    row_0, column_0 = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    if row_0 in ("left", "right"):
        stored, row_0, column_0 = np.swapaxes(stored, -1, -2), column_0, row_0
    if row_0 == "bottom":
        stored = np.flip(stored, -2)
    return np.flip(stored, -1) if column_0 == "right" else stored


@dataclass
class Ifd:
    """One page: its tags, code -> (kind, values), and its strips or tiles, None for one never written."""

    tags: dict[int, tuple[str, Sequence[Any]]]
    segments: list[bytes | None]
    subs: list[Ifd] = field(default_factory=list)


def page(shape: tuple[int, int], segments: Sequence[bytes | None], bits: int = 8, **more: Any) -> Ifd:
    """Describe a gray page (y, x) of one strip a segment; `more` are tags by number: ``t322=("H", [16])``."""
    y, x = shape
    rows = -(-y // max(1, len(segments)))
    tags: dict[int, tuple[str, Sequence[Any]]] = {
        WIDTH: ("I", [x]),
        LENGTH: ("I", [y]),
        BITS: ("H", [bits]),
        COMPRESSION: ("H", [1]),
        PHOTOMETRIC: ("H", [1]),
        SAMPLES: ("H", [1]),
        ROWS_PER_STRIP: ("I", [rows]),
    }
    tags |= {int(name[1:]): value for name, value in more.items()}
    if TILE_WIDTH in tags:
        del tags[ROWS_PER_STRIP]
    return Ifd(tags, list(segments))


def tiff_bytes(
    pages: Sequence[Ifd], order: str = "<", *, big: bool = False, last: int | None = None
) -> bytes:
    """Put a file together.

    Parameters
    ----------
    pages
        In their order; tags given by the caller win over those made here of the segments.
    order
        ``"<"`` or ``">"``.
    big
        Whether it is BigTIFF.
    last
        The page to which the last one points as the next; None: there is none.
    """
    form = _Form(order, big)
    data = bytearray(form.header(0))
    starts: list[int] = []
    links: list[int] = []
    for each in pages:
        link = _append(data, each, form)
        starts.append(link[0])
        links.append(link[1])
    data[: len(form.header(0))] = form.header(starts[0])
    following = [*starts[1:], 0 if last is None else starts[last]]
    for link_at, start in zip(links, following, strict=True):
        struct.pack_into(order + form.word, data, link_at, start)
    return bytes(data)


class _Form:
    def __init__(self, order: str, big: bool) -> None:
        self.order, self.big = order, big
        self.word, self.count = ("Q", "Q") if big else ("I", "H")
        self.inline = 8 if big else 4

    def header(self, first: int) -> bytes:
        magic = b"II" if self.order == "<" else b"MM"
        if self.big:
            return magic + struct.pack(self.order + "HHHQ", 43, 8, 0, first)
        return magic + struct.pack(self.order + "HI", 42, first)


def _append(data: bytearray, ifd: Ifd, form: _Form) -> tuple[int, int]:
    """Append a page; returns where it is, and where its pointer to the next one is."""
    offsets = []
    for segment in ifd.segments:
        offsets.append(0 if segment is None else len(data))
        data += segment or b""
        data += b"\0" * (len(data) % 2)
    codes = (TILE_OFFSETS, TILE_SIZES) if TILE_WIDTH in ifd.tags else (STRIP_OFFSETS, STRIP_SIZES)
    sizes = [len(segment or b"") for segment in ifd.segments]
    tags = {codes[0]: (form.word, offsets), codes[1]: ("I", sizes)}
    if ifd.subs:
        tags[SUB_IFDS] = (form.word, [_append(data, sub, form)[0] for sub in ifd.subs])
    entries = b""
    for code, (kind, values) in sorted({**tags, **ifd.tags}.items()):
        packed = values[0] if kind == "s" else struct.pack(f"{form.order}{len(values)}{kind}", *values)
        n = len(packed) if kind == "s" else len(values)
        if len(packed) > form.inline:
            at = len(data)
            data += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(form.order + form.word, at)
        entries += struct.pack(f"{form.order}HH{form.word}", code, KINDS[kind], n)
        entries += packed.ljust(form.inline, b"\0")
    start = len(data)
    n_tags = len(entries) // (12 if not form.big else 20)
    data += struct.pack(form.order + form.count, n_tags) + entries
    link = len(data)
    data += struct.pack(form.order + form.word, 0)
    return start, link


def micro_manager_stack(
    path: Path,
    planes: Sequence[NDArray[Any]],
    places: Sequence[tuple[int, int, int]],
    summary: dict[str, Any],
) -> Path:
    """Write planes of uint16 as Micro-Manager 1.4 and 2.0 do, one after another as they were taken.

    Parameters
    ----------
    places
        For each plane its (t, c, z), which the index at the end of the file states.
    summary
        ``Frames``, ``Channels``, ``Slices`` and what else the header says.
    """
    header = json.dumps(
        {"MicroManagerVersion": "1.4", "Positions": 1, "Prefix": path.stem.partition("_")[0], **summary}
    ).encode()
    y, x = planes[0].shape
    n_tags, n_bytes = 13, y * x * 2
    size = 2 + 12 * n_tags + 4 + n_bytes
    first = 40 + len(header) + len(header) % 2
    offsets = [first + number * size for number in range(len(planes))]
    end = first + len(planes) * size
    out = struct.pack(
        "<2sHI8I", b"II", 42, first, 54773648, end + 16, 483765892, 0, 99384722, 0, 2355492, len(header)
    )
    out = (out + header).ljust(first, b"\0")
    for number, (plane, offset) in enumerate(zip(planes, offsets, strict=True)):
        tags = [
            (254, 4, 1, 0),
            (256, 4, 1, x),
            (257, 4, 1, y),
            (258, 3, 1, 16),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
        ]
        tags += [(273, 4, 1, offset + size - n_bytes), (277, 3, 1, 1), (278, 4, 1, y), (279, 4, 1, n_bytes)]
        tags += [(282, 5, 1, end), (296, 3, 1, 1), (51123, 2, 8, end + 8)]
        following = offsets[number + 1] if number + 1 < len(planes) else 0
        entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
        out += (
            struct.pack("<H", n_tags) + entries + struct.pack("<I", following) + plane.astype("<u2").tobytes()
        )
    out += struct.pack("<II", 1, 1) + b'{"a": 1}' + struct.pack("<II", 3453623, len(planes))
    for (t, c, z), offset in zip(places, offsets, strict=True):
        out += struct.pack("<5I", c, z, t, 0, offset)
    path.write_bytes(out)
    return path
