"""Boxes of HDF5 datasets as HDF5 itself finds them, to hold what is read elsewhere against.

HDF5 looks every chunk up and hands out its bytes; zlib-ng, of which nothing else here makes use, inflates
them, because HDF5 does so under one lock for the whole process. Whatever is not shuffle and deflate, HDF5
decodes too.
"""

from __future__ import annotations

from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from h5py._objects import phil

from ngff_convert.errors import ReadError
from ngff_convert.readers.hdf5_files import HDF5_ERRORS, damage_named, name_bytes
from ngff_convert.readers.hdf5_filters import DEFLATE, SHUFFLE, require
from ngff_convert.readers.hdf5_heads import fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.hdf5_chunks import Storage
    from ngff_convert.readers.hdf5_files import Hdf5File, Hdf5Files

_inflate: Any = imagecodecs.zlibng_decode
_INFLATED_HERE = ((DEFLATE,), (SHUFFLE, DEFLATE))


def read_box_by_library(files: Hdf5Files, storage: Storage, start: Sequence[int], out: NDArray[Any]) -> None:
    """Read a box of a dataset; parameters and errors are those of `hdf5_chunks.read_box`.

    Of `storage` only the name, the kind of filters and the plainness of its numbers are used.
    """
    with files.using(storage.place.path) as file:
        codes = tuple(step.code for step in storage.filters)
        if storage.layout != "chunked" or codes not in _INFLATED_HERE:
            read_whole(file, storage, start, out)
            return
        stop = [a + n for a, n in zip(start, out.shape, strict=True)]
        with damage_named(str(storage.place)):
            dataset = file.h5[name_bytes(storage.place.name)]
        edges = [range(a - a % size, b, size) for a, b, size in zip(start, stop, dataset.chunks, strict=True)]
        for corner in product(*edges):
            low = [max(a, b) for a, b in zip(corner, start, strict=True)]
            high = [min(a + n, b) for a, n, b in zip(corner, dataset.chunks, stop, strict=True)]
            target = out[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))]
            chunk = _chunk(dataset, corner, codes)
            if chunk is None:  # never written, or damaged: HDF5 fills in the one and names the other
                read_whole(file, storage, low, target)
            else:
                target[...] = chunk[
                    tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
                ]


def _chunk(dataset: Any, corner: tuple[int, ...], codes: tuple[int, ...]) -> NDArray[Any] | None:  # noqa: ANN401
    """Return a chunk; None where HDF5 has no bytes for it, or they are not what they should be."""
    try:
        with phil:  # older versions of h5py do not take it here, and HDF5 is not made for threads
            mask, stored = dataset.id.read_direct_chunk(corner)
        n_bytes = dataset.dtype.itemsize * int(np.prod(dataset.chunks))
        raw = np.empty(n_bytes, np.uint8)
        n_decoded = len(_inflate(stored, out=raw))
    except (*HDF5_ERRORS, imagecodecs.ZlibngError):  # whoever asks lets HDF5 say what it is
        return None
    if mask or n_decoded != n_bytes:
        return None
    if SHUFFLE in codes:
        mixed = raw.reshape(dataset.dtype.itemsize, -1)
        raw = np.empty(mixed.shape[::-1], np.uint8)
        for place, column in enumerate(mixed):
            raw[:, place] = column
    numbers: NDArray[Any] = raw.reshape(-1).view(dataset.dtype).reshape(dataset.chunks)
    return numbers


def read_whole(file: Hdf5File, storage: Storage, start: Sequence[int], out: NDArray[Any]) -> None:
    """Read a box of a dataset by HDF5 alone, under its lock; a chunk that it cannot decode is named."""
    try:
        _read(file, storage, start, out)
    except ReadError:
        for corner, target in _by_chunk(storage, start, out):
            _read(file, storage, corner, target)
        raise


def _by_chunk(
    storage: Storage, start: Sequence[int], out: NDArray[Any]
) -> Iterator[tuple[list[int], NDArray[Any]]]:
    """Cut a box at the edges of chunks; yields where each part begins, and where it goes."""
    edges = [
        sorted({a, *range(a + size - a % size, a + n, size), a + n})
        for a, n, size in zip(start, out.shape, storage.chunks or out.shape, strict=True)
    ]
    for spans in product(*map(pairwise, edges)):
        yield (
            [a for a, _ in spans],
            out[tuple(slice(a - s, b - s) for (a, b), s in zip(spans, start, strict=True))],
        )


def _read(file: Hdf5File, storage: Storage, start: Sequence[int], out: NDArray[Any]) -> None:
    n_bytes = prod(storage.chunks or ()) * storage.dtype.itemsize
    require(storage.filters, str(storage.place), n_bytes)
    box = tuple(slice(a, a + n) for a, n in zip(start, out.shape, strict=True))
    where = f"{storage.place}: the box from {tuple(start)} of {out.shape}"
    with damage_named(where):
        dataset = file.h5[name_bytes(storage.place.name)]
        if dataset.dtype.newbyteorder("=") != out.dtype:
            raise ReadError(f"{where}: is {dataset.dtype.name}, not {out.dtype.name}")
        _look_at_chunks(file, dataset, storage, start, out.shape)
        out[...] = dataset[box]


def _look_at_chunks(
    file: Hdf5File,
    dataset: Any,  # noqa: ANN401 - h5py is untyped
    storage: Storage,
    start: Sequence[int],
    shape: Sequence[int],
) -> None:
    """Refuse chunks of a box that HDF5 would decode to something else than a chunk, see `hdf5_heads`."""
    if not storage.chunks or not dataset.chunks or file.h5.userblock_size:
        return
    n_bytes = prod(dataset.chunks) * storage.dtype.itemsize
    edges = [
        range(a - a % size, a + n, size) for a, n, size in zip(start, shape, dataset.chunks, strict=True)
    ]
    for corner in product(*edges):
        chunk = dataset.id.get_chunk_info_by_coord(corner)
        if chunk.byte_offset is None:
            continue  # never written
        steps = [s for i, s in enumerate(storage.filters) if not chunk.filter_mask >> i & 1]
        where = f"{storage.place}: the chunk at {corner} ({chunk.size} bytes at {chunk.byte_offset})"
        if chunk.byte_offset + chunk.size > file.size:
            raise ReadError(f"{where} lies beyond the end of the file, {file.size} bytes; copy it again")
        stored = bytearray(chunk.size)
        file.read_into(chunk.byte_offset, stored)
        if wrong := fault(bytes(stored), steps, n_bytes):
            raise ReadError(f"{where} is damaged: {wrong}; copy it again")
