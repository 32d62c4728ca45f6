"""Boxes of HDF5 datasets at the speed of the codec: HDF5 says where the chunks are, the rest is done here.

HDF5 holds one lock for the whole process while it reads and inflates with zlib. Here it is asked once per
dataset for offsets and sizes of the chunks; their bytes are read with `os.preadv` and decoded with
libdeflate or LZ4 by as many threads as like. What is not understood (other filters, virtual, compact or
external storage, odd number formats) is read by HDF5 as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.readers.hdf5_files import Place, check_elsewhere, locate
from ngff_convert.readers.hdf5_filters import DECODERS, Filter, check_size, decode
from ngff_convert.readers.hdf5_library import read_whole as _read_by_library
from ngff_convert.readers.hdf5_tables import chunk_table, grid_of, strides
from ngff_convert.readers.open_files import CACHE_BYTES
from ngff_convert.readers.stored_bytes import (
    Contiguous,
    contiguous_ranges,
    read_contiguous,
    runs,
    scratch,
    span,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.hdf5_files import Hdf5File, Hdf5Files
    from ngff_convert.readers.hdf5_tables import ChunkTable
    from ngff_convert.readers.stored_bytes import Bytes

BATCH = 1024
"""So many chunks are described as objects at a time."""

STORAGE_BYTES = 1000
"""What is kept about a dataset besides its chunks."""

TABLE_BYTES = 24
"""What is kept about one chunk at the most; about all of a dataset that lacks none, half of it."""

LISTING_BYTES = 56
"""What one chunk takes besides while they are listed; measured."""

INDEXED_BYTES = 8
"""A compressed chunk takes at least so much of the file."""


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """How one dataset is stored.

    Attributes
    ----------
    place
        The file and the path in it, links followed.
    shape
        Voxels along each axis.
    dtype
        As stored, in the file's byte order.
    chunks
        Voxels of a chunk along each axis; None where it is not chunked.
    filters
        In the order in which they were applied.
    fill
        Value of voxels that were never written.
    layout
        ``"chunked"``, ``"contiguous"``, or ``"library"`` for what only HDF5 itself can read.
    offset
        First byte of a contiguous dataset; None if nothing was written.
    table
        The chunks of a chunked dataset that was opened for reading.
    """

    place: Place
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    filters: tuple[Filter, ...]
    fill: Any
    layout: str
    offset: int | None = None
    table: ChunkTable | None = None

    @property
    def compression(self) -> str:
        """The filters, for people: ``"shuffle + deflate 4"``."""
        return " + ".join(map(str, self.filters)) or "none"


def inspect(files: Hdf5Files, path: str, name: str, *, with_table: bool = False) -> Storage | None:
    """Find out how a dataset is stored; reads no pixels.

    Returns
    -------
    Storage or None
        None where there is nothing of that name.

    Raises
    ------
    ReadError
        A link leads nowhere, it is no dataset, or it is damaged.
    """
    place = locate(files, path, name)
    if place is None:
        return None
    with files.object(place) as dataset:
        if not isinstance(dataset, h5py.Dataset):
            raise TypeError("it is no dataset")
        if dataset.shape is None:
            raise TypeError("it is a dataset without a shape")
        properties = dataset.id.get_create_plist()
        steps = map(properties.get_filter, range(properties.get_nfilters()))
        filters = tuple(Filter(code, tuple(values)) for code, _, values, _ in steps)
        layout = _layout(dataset, properties, filters)
        if layout == "library":
            check_elsewhere(files, place, dataset)
        return Storage(
            place=place,
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=dataset.chunks,
            filters=filters,
            fill=dataset.fillvalue,
            layout=layout,
            offset=dataset.id.get_offset() if layout == "contiguous" else None,
            table=chunk_table(dataset) if with_table and layout == "chunked" else None,
        )


def storage_of(files: Hdf5Files, path: str, name: str) -> Storage | None:
    """Return how a dataset is stored, with its chunk table, which is built once and kept a while."""

    def make() -> tuple[Storage | None, int]:
        storage = inspect(files, path, name, with_table=True)
        return storage, STORAGE_BYTES + (storage.table.nbytes if storage and storage.table else 0)

    storage: Storage | None = files.cache.get(Place(path, name), make)
    return storage


def index_bytes(storage: Storage, file_bytes: int, n_datasets: int) -> int:
    """Return the most memory that the chunk tables of datasets such as one take: kept, and while one is made.

    Parameters
    ----------
    storage
        One of them.
    file_bytes
        Size of its file, which limits how many chunks were ever written.
    n_datasets
        How many there are.
    """
    kept = STORAGE_BYTES
    listing = 0
    if storage.layout == "chunked" and storage.chunks:
        least = INDEXED_BYTES if storage.filters else prod(storage.chunks) * storage.dtype.itemsize
        n_chunks = min(prod(grid_of(storage.shape, storage.chunks)), file_bytes // least)
        kept, listing = kept + n_chunks * TABLE_BYTES, n_chunks * LISTING_BYTES
    return min(n_datasets * kept, CACHE_BYTES + kept) + listing


def read_box(files: Hdf5Files, storage: Storage, start: Sequence[int], out: NDArray[Any]) -> None:
    """Read a box of a dataset; every chunk it touches is read and decoded once.

    Parameters
    ----------
    files
        Where files are opened.
    storage
        The dataset, from `storage_of`.
    start
        First voxel of the box along each axis; the box lies within the dataset.
    out
        Where the voxels go, of the box's shape, in the dataset's dtype in native byte order; any strides,
        but fastest where C-contiguous.

    Raises
    ------
    ReadError
        The file is damaged; the chunk and its offset are named.
    UnsupportedInput
        It takes a filter that is not installed.
    """
    with files.using(storage.place.path) as file:
        if storage.table is not None:
            _read_chunked(file, storage, storage.table, start, out)
        elif storage.layout != "contiguous":
            _read_by_library(file, storage, start, out)
        elif storage.offset is None:
            out[...] = storage.fill
        else:
            array = Contiguous(str(storage.place), storage.offset, storage.shape, storage.dtype)
            read_contiguous(file, array, start, out)


def _layout(dataset: Any, properties: Any, filters: tuple[Filter, ...]) -> str:  # noqa: ANN401
    """Return how to read it: ``"library"`` unless everything about it is known to be plain."""
    # Older versions of HDF5 leave the user block out of the offsets of chunks.
    if (
        not _are_plain(dataset)
        or dataset.file.userblock_size
        or not dataset.shape
        or max(dataset.shape) >= 2**62
    ):
        return "library"
    layout = properties.get_layout()
    if layout == h5py.h5d.CONTIGUOUS and not properties.get_external_count():
        return "contiguous"
    if layout == h5py.h5d.CHUNKED and all(f.code in DECODERS for f in filters):
        return "chunked" if prod(grid_of(dataset.shape, dataset.chunks)) < 2**63 else "library"
    return "library"


def _are_plain(dataset: Any) -> bool:  # noqa: ANN401 - h5py is untyped
    """Whether the numbers of a dataset are, byte by byte, what numpy takes them for; names of numbers are."""
    kind, dtype = dataset.id.get_type(), dataset.dtype
    if isinstance(kind, h5py.h5t.TypeEnumID):
        kind = kind.get_super()
        dtype = np.dtype(f"{dtype.byteorder}{dtype.kind.replace('b', 'i')}{dtype.itemsize}")
    if dtype.kind not in "iuf" or dtype.itemsize not in (1, 2, 4, 8):
        return False
    # Numbers of, say, 12 bits in 16 look like uint16 to numpy, but HDF5 has to unpack them.
    return bool(kind == h5py.h5t.py_create(dtype))


class _Piece(NamedTuple):
    """A chunk that a box touches: where its bytes lie, where its voxels go, how many before them do not."""

    number: int
    offset: int
    size: int
    mask: int
    outer: tuple[slice, ...]
    skipped: list[int]


def _read_chunked(
    file: Hdf5File, storage: Storage, table: ChunkTable, start: Sequence[int], out: NDArray[Any]
) -> None:
    rows, n_cells = _rows(storage, table, start, out.shape)
    if rows.size < n_cells:
        out[...] = storage.fill
    for run in _runs(storage, table, rows, start, out.shape):
        data = _fetch(file, storage, run)
        base = run[0].offset
        for piece in run:
            stored = data[piece.offset - base : piece.offset - base + piece.size]
            try:
                _place(stored, piece, storage, out[piece.outer])
            except (RuntimeError, ValueError, MemoryError) as error:
                where = _where(storage, piece)
                raise ReadError(f"{where} is damaged: {error or 'no memory'}; copy it again") from error


def ranges(storage: Storage, start: Sequence[int], shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield what `read_box` reads of the file: offsets, and numbers of bytes; parameters are as it has them.

    What only HDF5 itself can read is not among it.
    """
    if storage.table is not None:
        rows, _ = _rows(storage, storage.table, start, shape)
        yield from map(span, _runs(storage, storage.table, rows, start, shape))
    elif storage.layout == "contiguous" and storage.offset is not None:
        array = Contiguous(str(storage.place), storage.offset, storage.shape, storage.dtype)
        yield from contiguous_ranges(array, start, shape)


def _rows(
    storage: Storage, table: ChunkTable, start: Sequence[int], shape: Sequence[int]
) -> tuple[NDArray[np.int64], int]:
    """Return the rows of the chunks that a box touches, and how many it would touch if all were written."""
    chunks = np.array(storage.chunks, np.int64)
    begin = np.array(start, np.int64)
    first, stop = begin // chunks, -(-(begin + shape) // chunks)
    rows = table.within(first, stop, grid_of(storage.shape, storage.chunks or ()))
    return rows, prod((stop - first).tolist())


def _runs(
    storage: Storage,
    table: ChunkTable,
    rows: NDArray[np.int64],
    start: Sequence[int],
    shape: Sequence[int],
) -> Iterator[list[_Piece]]:
    # As objects, chunks take a kilobyte each: only a few are such at a time.
    for at in range(0, rows.size, BATCH):
        yield from runs(
            _pieces(storage, table, rows[at : at + BATCH], np.array(start, np.int64), tuple(shape))
        )


def _pieces(
    storage: Storage,
    table: ChunkTable,
    rows: NDArray[np.int64],
    begin: NDArray[np.int64],
    shape: tuple[int, ...],
) -> list[_Piece]:
    """List a batch of the chunks that a box touches."""
    numbers, *columns = table.columns(rows)
    corners = _cells(storage, np.array(numbers, np.int64)) * np.array(storage.chunks) - begin
    low = np.maximum(corners, 0)
    high = np.minimum(corners + np.array(storage.chunks), shape)
    outer = (tuple(map(slice, a, b)) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return list(map(_Piece, numbers, *columns, outer, (low - corners).tolist()))


def _cells(storage: Storage, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places in the grid of chunks, one row each."""
    grid = grid_of(storage.shape, storage.chunks or ())
    return numbers[:, np.newaxis] // strides(grid) % np.array(grid, np.int64)


def _where(storage: Storage, piece: _Piece) -> str:
    (cell,) = _cells(storage, np.array([piece.number])).tolist()
    return f"{storage.place}: chunk {tuple(cell)} ({piece.size} bytes at {piece.offset})"


def _fetch(file: Hdf5File, storage: Storage, run: list[_Piece]) -> Bytes:
    for piece in run:
        if piece.offset + piece.size > file.size:
            where = _where(storage, piece)
            raise ReadError(f"{where} lies beyond the end of the file, {file.size} bytes; copy it again")
    offset, size = span(run)
    data = scratch("file", size)
    try:
        file.read_into(offset, data)
    except ReadError as error:
        raise ReadError(f"{_where(storage, run[0])}: {error}") from error
    return data


def _place(stored: Bytes, piece: _Piece, storage: Storage, target: NDArray[Any]) -> None:
    """Decode a chunk and put the part of it that is wanted where it goes."""
    chunks = storage.chunks or ()
    n_bytes = prod(chunks) * storage.dtype.itemsize
    steps = storage.filters
    if piece.mask:
        steps = tuple(step for i, step in enumerate(steps) if not piece.mask >> i & 1)
    check_size(stored.size, steps, n_bytes)
    whole = target.shape == chunks
    if steps and whole and target.flags.c_contiguous and target.dtype == storage.dtype:
        decode(stored, steps, target.reshape(-1).view(np.uint8))
        return
    if steps:
        block = scratch("chunk", n_bytes)
        decode(stored, steps, block)
        stored = block
    voxels = stored.view(storage.dtype).reshape(chunks)
    wanted = () if whole else tuple(slice(a, a + n) for a, n in zip(piece.skipped, target.shape, strict=True))
    target[...] = voxels[wanted]
