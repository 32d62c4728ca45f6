"""Where the chunks of an HDF5 dataset lie, for others that read them: only what Zarr v2 has words for.

That is none, deflate and shuffle, in any order of the two that it knows; what is stored in one piece is
described as chunks of whole planes. Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import AXES, StoredChunks
from ngff_convert.readers.hdf5_filters import DEFLATE, SHUFFLE
from ngff_convert.readers.hdf5_tables import grid_of, strides

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Box, Shape
    from ngff_convert.readers.hdf5_chunks import Storage
    from ngff_convert.readers.hdf5_files import Hdf5Files
    from ngff_convert.readers.hdf5_filters import Filter
    from ngff_convert.readers.hdf5_tables import ChunkTable

PIECE_BYTES = 2**20
"""About so much of what is stored in one piece is a chunk, but a whole plane at the least."""

_INSTEAD = "convert it instead"


def stored_chunks(
    files: Hdf5Files, storage: Storage, t: int, c: int, true_zyx: Sequence[int]
) -> StoredChunks:
    """Say where the chunks of a dataset lie.

    Parameters
    ----------
    files
        Where files are opened.
    storage
        The dataset, from `storage_of`.
    t, c
        What it is of.
    true_zyx
        Its size without padding, voxels; chunks that hold nothing but padding are left out.

    Raises
    ------
    UnsupportedInput
        It is stored in a way that Zarr v2 does not know; filters are named.
    ReadError
        Chunks lie beyond the end of the file, or are of a wrong size.
    """
    _refuse(storage)
    if storage.table is not None:
        found, steps = _written(storage, storage.table, t, c, true_zyx)
    else:
        found, steps = _pieces(storage, t, c, true_zyx), storage.filters
    return _checked(files, storage, found, steps)


def stored_array(
    files: Hdf5Files, storage: Storage, axes: str, shape: Shape, dtype: np.dtype[Any]
) -> StoredChunks:
    """Say where the chunks of a dataset lie that is a level by itself.

    Parameters
    ----------
    files, storage
        As `stored_chunks` has them.
    axes
        What its dimensions are: a letter each, of t, c, z, y, x.
    shape
        Its size, (t, c, z, y, x), voxels.
    dtype
        What its numbers are seen as, of the same number of bytes.

    Raises
    ------
    UnsupportedInput
        Besides what `stored_chunks` raises: voxels follow one another in another order than t, c, z, y, x.
    ReadError
        As `stored_chunks` does.
    """
    _refuse(storage)
    in_dataset = storage.chunks or _piece(storage, axes)
    _refuse_order(storage, axes, in_dataset)
    by_axis = dict(zip(axes, in_dataset, strict=True))
    t, c, z, y, x = chunks = tuple(by_axis.get(axis, 1) for axis in AXES)
    grid = grid_of(shape, chunks)
    own = grid_of(storage.shape, in_dataset)
    number, offset, size, steps = _whereabouts(storage, in_dataset, prod(grid))
    order: Any = slice(None)
    if list(axes) != sorted(axes, key=AXES.index):  # else axes of one chunk that it lacks change no number
        places = dict(zip(axes, np.unravel_index(number, own), strict=True))
        none = np.zeros(number.size, np.int64)
        number = np.ravel_multi_index(tuple(places.get(axis, none) for axis in AXES), grid)
        order = np.argsort(number)
    seen = dtype.newbyteorder(storage.dtype.byteorder)
    found = StoredChunks(
        t=0,
        c=0,
        path=storage.place.path,
        chunks=(z, y, x),
        dtype=seen,
        codecs=(),
        fill=np.array(storage.fill, storage.dtype).view(seen)[()],
        told=prod(grid),
        number=number[order],
        offset=offset[order],
        size=size[order].astype(np.int64),
        n_tc=(shape[0], shape[1]),
        chunks_tc=(t, c),
    )
    return _checked(files, storage, found, steps)


def one_by_one(every: StoredChunks, shape: Shape, within: Box) -> Iterator[StoredChunks]:
    """Yield what tells about all of an array for each time point and channel of a box by itself.

    Raises
    ------
    UnsupportedInput
        Chunks are of several time points or channels.
    """
    if every.chunks_tc != (1, 1):
        raise UnsupportedInput(
            f"{every.path}: its chunks are of {every.chunks_tc[0]} time points and {every.chunks_tc[1]} "
            f"channels, not of one: {_INSTEAD}"
        )
    told = prod(grid_of(shape[2:], every.chunks))
    for t, c in product(*map(range, within.start[:2], within.stop[:2])):
        first = (t * shape[1] + c) * told
        rows = slice(*np.searchsorted(every.number, [first, first + told]).tolist())
        yield replace(
            every,
            t=t,
            c=c,
            told=told,
            number=every.number[rows] - first,
            offset=every.offset[rows],
            size=every.size[rows],
            n_tc=(1, 1),
        )


def _refuse(storage: Storage) -> None:
    _refuse_filters(storage)
    if storage.layout == "library":
        raise UnsupportedInput(
            f"{storage.place}: is stored as only HDF5 reads it (virtual, compact, external, or numbers of an "
            f"odd format): {_INSTEAD}"
        )


def _refuse_order(storage: Storage, axes: str, chunks: Sequence[int]) -> None:
    """Refuse chunks whose voxels do not lie in the order in which Zarr has them: of one voxel, any do."""
    along = [axis for axis, n in zip(axes, chunks, strict=True) if n > 1]
    if along != sorted(along, key=AXES.index):
        raise UnsupportedInput(
            f"{storage.place}: its voxels lie in the order {','.join(axes)}, in chunks of "
            f"{','.join(map(str, chunks))}; an OME-Zarr has them in the order t,c,z,y,x: {_INSTEAD}"
        )


def _checked(
    files: Hdf5Files, storage: Storage, found: StoredChunks, steps: Sequence[Filter]
) -> StoredChunks:
    """Return chunks with the words for what they went through, if the file can hold them."""
    found = replace(found, codecs=tuple(word for step in steps for word in _words(storage, step)))
    with files.using(storage.place.path) as file:
        n_bytes = prod(found.chunks) * prod(found.chunks_tc) * found.dtype.itemsize
        if (found.offset + found.size).max(initial=0) > file.size:
            raise ReadError(f"{storage.place}: chunks lie beyond the end of the file; copy it again")
    if DEFLATE not in (step.code for step in steps) and (found.size != n_bytes).any():
        raise ReadError(f"{storage.place}: chunks are not of {n_bytes} bytes; copy it again")
    return found


def without_any(like: StoredChunks, fill: float) -> StoredChunks:
    """Return what is stored alike, but of which no chunk was written."""
    none = np.empty(0, np.int64)
    return replace(like, fill=fill, number=none, offset=none, size=none)


def _refuse_filters(storage: Storage) -> None:
    foreign = [str(step) for step in storage.filters if step.code not in (DEFLATE, SHUFFLE)]
    if foreign:
        raise UnsupportedInput(
            f"{storage.place}: its chunks are compressed with {' and '.join(foreign)}; only deflate, with or "
            f"without shuffle, and none can be referred to: {_INSTEAD}"
        )


def _words(storage: Storage, step: Filter) -> tuple[str, ...]:
    """Return a filter as numcodecs describes it; nothing for a shuffle of single bytes."""
    if step.code == DEFLATE:
        return ('{"id": "zlib", "level": 1}',)  # the level does not matter to who reads
    width = step.values[0] if step.values else 1
    n_bytes = prod(storage.chunks or ()) * storage.dtype.itemsize
    before = storage.filters[: storage.filters.index(step)]
    if width > 1 and (n_bytes % width or any(other.code == DEFLATE for other in before)):
        raise UnsupportedInput(
            f"{storage.place}: its filters are {storage.compression}, in this order; Zarr knows no such "
            f"shuffle: {_INSTEAD}"
        )
    return (f'{{"id": "shuffle", "elementsize": {width}}}',) if width > 1 else ()


def _written(
    storage: Storage, table: ChunkTable, t: int, c: int, true_zyx: Sequence[int]
) -> tuple[StoredChunks, tuple[Filter, ...]]:
    """Return the chunks within the true size, and the filters that all of them went through."""
    chunks = storage.chunks or ()
    stored, grid = grid_of(storage.shape, chunks), grid_of(true_zyx, chunks)
    number = np.arange(table.offset.size) if table.number is None else table.number
    rows: Any = slice(None)
    if stored != grid:
        cells = number[:, np.newaxis] // strides(stored) % np.array(stored, np.int64)
        rows = (cells < np.array(grid)).all(axis=1)
        number = cells[rows] @ strides(grid)
    steps = _steps(storage, table, rows)
    return _record(storage, t, c, chunks, prod(grid), number, table.offset[rows], table.size[rows]), steps


def _whereabouts(
    storage: Storage, piece: Sequence[int], count: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], tuple[Filter, ...]]:
    """Return number, offset and size, bytes, of each chunk in the file, and the filters they went through."""
    if (table := storage.table) is not None:
        number = np.arange(table.offset.size) if table.number is None else table.number
        return number, table.offset, table.size, _steps(storage, table)
    n_bytes = prod(piece) * storage.dtype.itemsize
    number = np.arange(0 if storage.offset is None else count)
    return number, (storage.offset or 0) + number * n_bytes, np.full(number.size, n_bytes), storage.filters


def _steps(storage: Storage, table: ChunkTable, rows: Any = slice(None)) -> tuple[Filter, ...]:  # noqa: ANN401
    """Return the filters that all chunks in some rows of the table went through."""
    masks = {0} if table.mask is None else set(np.unique(table.mask[rows]).tolist()) or {0}
    if len(masks) > 1:
        raise UnsupportedInput(
            f"{storage.place}: some of its chunks, which did not get smaller, are stored without "
            f"{storage.compression}, others with it; Zarr has one codec for all: {_INSTEAD}"
        )
    (mask,) = masks
    return tuple(step for bit, step in enumerate(storage.filters) if not mask >> bit & 1)


def _piece(storage: Storage, axes: str) -> tuple[int, ...]:
    """Return the chunks of a dataset that is stored in one piece: as many planes as divide it."""
    first = min(axes.index("y"), axes.index("x"))
    plane = storage.shape[first:]
    if not first or axes[first - 1] != "z":
        return (1,) * first + plane
    depth = _depth(storage.shape[first - 1], prod(plane) * storage.dtype.itemsize)
    return (*(1,) * (first - 1), depth, *plane)


def _depth(n_planes: int, plane: int) -> int:
    """Return how many planes of so many bytes are a chunk, so that chunks are all alike."""
    return max(
        n for n in range(1, n_planes + 1) if n_planes % n == 0 and (n == 1 or n * plane <= PIECE_BYTES)
    )


def _pieces(storage: Storage, t: int, c: int, true_zyx: Sequence[int]) -> StoredChunks:
    """Return what is stored in one piece as chunks of as many planes as divide it."""
    z, y, x = storage.shape
    plane = y * x * storage.dtype.itemsize
    depth = _depth(z, plane)
    # Along y and x all of it is one chunk; only along z does the true size end sooner.
    told = -(-true_zyx[0] // depth)
    number = np.arange(0 if storage.offset is None else told)
    offset = (storage.offset or 0) + number * depth * plane
    return _record(storage, t, c, (depth, y, x), told, number, offset, np.full(number.size, depth * plane))


def _record(
    storage: Storage,
    t: int,
    c: int,
    chunks: tuple[int, ...],
    told: int,
    number: NDArray[np.int64],
    offset: NDArray[np.int64],
    size: NDArray[Any],
) -> StoredChunks:
    z, y, x = chunks
    return StoredChunks(
        t=t,
        c=c,
        path=storage.place.path,
        chunks=(z, y, x),
        dtype=storage.dtype,
        codecs=(),
        fill=storage.fill,
        told=told,
        number=number,
        offset=offset,
        size=size.astype(np.int64),
    )
