"""Chunks of Zarr found, decoded and placed one by one, without tensorstore: the second way, for verification.

Knows the codecs that are usual. What else there is has no second way.
"""

from __future__ import annotations

import bz2
import gzip
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.model import AXES, Box
from ngff_convert.readers.zarr_nodes import list_of, object_of
from ngff_convert.storage import Folder, Unreachable, Zipped, at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ngff_convert.readers.zarr_nodes import Json
    from ngff_convert.readers.zarr_pixels import ZarrPixels
    from ngff_convert.storage import Storage

_NOTHING = 2**64 - 1
"""In the index of a shard: there is no such chunk."""

_CHECKSUM_BYTES = 4

_SPARE_BYTES = 2**20
"""By which an encoded chunk may be larger than its pixels."""


def _blosc(data: bytes) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.blosc_decode(data))


def _zstd(data: bytes) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_decode(data))


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "blosc": _blosc,
    "bz2": bz2.decompress,
    "crc32c": lambda data: data[:-_CHECKSUM_BYTES],
    "gzip": gzip.decompress,
    "zlib": zlib.decompress,
    "zstd": _zstd,
}

_SHUFFLE = "shuffle"
"""The filter of Zarr v2 that puts the first bytes of all voxels before the second ones."""


def _unshuffled(data: bytes, itemsize: int) -> bytes:
    return np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a chunk is stored.

    Attributes
    ----------
    dtype
        Of the stored numbers, with their byte order.
    order
        The dimensions as they follow one another in the bytes, slowest first.
    codecs
        Names of what was done to the bytes, in that order.
    fill
        The value where nothing is stored.
    index_codecs
        The same of the index of a shard; None where there are no shards.
    index_first
        Whether that is at the beginning.
    """

    dtype: np.dtype[Any]
    order: tuple[int, ...]
    codecs: tuple[str, ...]
    fill: Any
    index_codecs: tuple[str, ...] | None = None
    index_first: bool = False


def encoding(document: Json, dtype: np.dtype[Any]) -> Encoding | None:
    """Return how chunks are stored; None where that is more than is known here."""
    rank = len(list_of(document.get("shape")))
    try:
        fill = _fill(document.get("fill_value"), dtype)
        if document.get("zarr_format") == 2:
            return _v2(document, rank, fill)
        codecs = [object_of(codec) for codec in list_of(document.get("codecs"))]
        if [codec.get("name") for codec in codecs] == ["sharding_indexed"]:
            inner = object_of(codecs[0].get("configuration"))
            index = [str(object_of(codec).get("name")) for codec in list_of(inner.get("index_codecs"))]
            if index[0] != "bytes" or not set(index[1:]) <= {"crc32c"}:
                return None
            made = _v3([object_of(codec) for codec in list_of(inner.get("codecs"))], rank, dtype, fill)
            first = inner.get("index_location") == "start"
            return made and Encoding(made.dtype, made.order, made.codecs, made.fill, tuple(index[1:]), first)
        return _v3(codecs, rank, dtype, fill)
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _fill(stated: Any, dtype: np.dtype[Any]) -> Any:  # noqa: ANN401 - from foreign metadata
    if isinstance(stated, str) and stated not in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(f"{stated} is one of bytes")
    return np.array(float(stated) if isinstance(stated, str) else (stated or 0)).astype(dtype)[()]


def _v2(document: Json, rank: int, fill: Any) -> Encoding | None:  # noqa: ANN401
    compressor = document.get("compressor")
    filters = [str(one["id"]) for one in document.get("filters") or ()]
    names = (*filters, *((str(compressor["id"]),) if compressor else ()))
    dimensions = range(rank) if document.get("order", "C") == "C" else reversed(range(rank))
    known = set(names) <= {_SHUFFLE, *_DECODERS}
    return Encoding(np.dtype(document["dtype"]), tuple(dimensions), names, fill) if known else None


def _v3(codecs: list[Json], rank: int, dtype: np.dtype[Any], fill: Any) -> Encoding | None:  # noqa: ANN401
    order = tuple(range(rank))
    if codecs[0].get("name") == "transpose":
        order = tuple(map(int, codecs[0]["configuration"]["order"]))
        codecs = codecs[1:]
    first, *rest = codecs
    names = tuple(str(codec.get("name")) for codec in rest)
    if first.get("name") != "bytes" or not set(names) <= _DECODERS.keys():
        return None
    endian = object_of(first.get("configuration")).get("endian", "little")
    return Encoding(dtype.newbyteorder("<" if endian == "little" else ">"), order, names, fill)


# -- reading -------------------------------------------------------------------------------------------------


def read(pixels: ZarrPixels, stored: Encoding, box: Box) -> NDArray[Any]:
    """Read a box chunk by chunk.

    Raises
    ------
    ReadError
        A chunk is damaged.
    """
    block = np.full(box.shape, stored.fill, pixels.dtype)
    for place in pixels.cells(box, pixels.objects):
        key = pixels.key(place)
        corner = tuple(n * size for n, size in zip(place, pixels.objects, strict=True))
        try:
            for start, data in _chunks(pixels, stored, key, corner, box):
                _put(block, box, start, _decoded(pixels, stored, data))
        except Unreachable:
            raise
        except Exception as error:  # a decoder fails in its own way
            raise ReadError(
                f"{at(pixels.storage, key)}: cannot be decoded: {error}; copy it again"
            ) from error
    return block


def _chunks(
    pixels: ZarrPixels, stored: Encoding, key: str, corner: tuple[int, ...], box: Box
) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Yield the chunks of a file that a box touches: first voxel, and bytes."""
    if not pixels.storage.has(key):
        return
    raw = prod(pixels.grid) * pixels.dtype.itemsize
    if stored.index_codecs is None:
        yield corner, pixels.storage.read(key, 2 * raw + _SPARE_BYTES)
        return
    counts = tuple(o // c for o, c in zip(pixels.objects, pixels.grid, strict=True))
    index = _index(pixels.storage, key, stored, prod(counts))
    inner = Box(corner, tuple(a + n for a, n in zip(corner, pixels.objects, strict=True)))
    part = Box(tuple(map(max, box.start, inner.start)), tuple(map(min, box.stop, inner.stop)))
    for cell in pixels.cells(part, pixels.grid):
        at_in = [n - a // c for n, a, c in zip(cell, corner, pixels.grid, strict=True)]
        by_axis = dict(zip(AXES, zip(at_in, counts, strict=True), strict=True))
        number = 0
        for axis in pixels.axes:  # the index is in the order of the stored dimensions
            number = number * by_axis[axis][1] + by_axis[axis][0]
        offset, size = (int(n) for n in index[number])
        if offset != _NOTHING:
            start = tuple(n * c for n, c in zip(cell, pixels.grid, strict=True))
            yield start, _piece(pixels.storage, key, offset, size)


def _index(storage: Storage, key: str, stored: Encoding, count: int) -> NDArray[Any]:
    size = 16 * count + _CHECKSUM_BYTES * len(stored.index_codecs or ())
    data = _piece(storage, key, 0 if stored.index_first else -size, size)
    return np.frombuffer(data[: 16 * count], "<u8").reshape(count, 2)


def _piece(storage: Storage, key: str, offset: int, size: int) -> bytes:
    """Return some bytes of a file of a folder or an archive on a disk; counted from the end if negative."""
    whence = 2 if offset < 0 else 0
    if isinstance(storage, Folder):
        with open(storage.located(key) or "", "rb") as file:  # noqa: PTH123
            file.seek(offset, whence)
            data = file.read(size)
    else:
        with zipfile.ZipFile(storage.name) as archive, archive.open(key) as entry:
            entry.seek(offset, whence)
            data = entry.read(size)
    if len(data) != size:
        raise ValueError(f"ends within {size} bytes at {offset}")
    return data


def has_pieces(storage: Storage) -> bool:
    """Whether a part of a file can be read, which shards take."""
    return isinstance(storage, Folder | Zipped)


def _decoded(pixels: ZarrPixels, stored: Encoding, data: bytes) -> NDArray[Any]:
    """Return a chunk as (t, c, z, y, x)."""
    for name in reversed(stored.codecs):
        data = _unshuffled(data, stored.dtype.itemsize) if name == _SHUFFLE else _DECODERS[name](data)
    sizes = dict(zip(AXES, pixels.grid, strict=True))
    shape = [sizes[axis] for axis in pixels.axes]
    chunk = np.frombuffer(data, stored.dtype).reshape([shape[n] for n in stored.order])
    chunk = chunk.transpose(np.argsort(stored.order))
    letters = [axis for axis in AXES if axis in pixels.axes]
    return chunk.transpose([pixels.axes.index(axis) for axis in letters]).reshape(pixels.grid)


def _put(block: NDArray[Any], box: Box, start: tuple[int, ...], chunk: NDArray[Any]) -> None:
    """Copy what a box has of a chunk."""
    stop = tuple(a + n for a, n in zip(start, chunk.shape, strict=True))
    part = Box(tuple(map(max, start, box.start)), tuple(map(min, stop, box.stop)))
    to = tuple(slice(a - o, b - o) for a, b, o in zip(part.start, part.stop, box.start, strict=True))
    of = tuple(slice(a - o, b - o) for a, b, o in zip(part.start, part.stop, start, strict=True))
    block[to] = chunk[of]
