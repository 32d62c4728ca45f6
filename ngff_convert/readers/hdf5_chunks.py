"""Boxes of HDF5 datasets at the speed of the codec: HDF5 says where the chunks are, the rest is done here.

HDF5 holds one lock for the whole process while it reads and inflates with zlib. Here it is asked once per
dataset for offsets and sizes of the chunks; their bytes are read with `os.preadv` and decoded with
libdeflate or LZ4 by as many threads as like. What is not understood (other filters, virtual, compact or
external storage, odd number formats) is read by HDF5 as ever.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.readers.hdf5_files import Place, damage_named, locate
from ngff_convert.readers.hdf5_filters import DECODERS, Filter, check_size, decode, require
from ngff_convert.readers.stored_bytes import Contiguous, read_contiguous, runs, scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.hdf5_files import Hdf5File, Hdf5Files
    from ngff_convert.readers.stored_bytes import Bytes

BATCH = 1024
"""So many chunks are described as objects at a time."""


@dataclass(frozen=True, eq=False, slots=True)
class ChunkTable:
    """Where the chunks of a dataset lie that were ever written.

    Attributes
    ----------
    number
        Place in the grid of chunks, counted in C order; sorted.
    offset, size
        Bytes from the beginning of the file, and stored bytes.
    mask
        Bit i is set where filter i was left out.
    """

    number: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    mask: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return sum(column.nbytes for column in (self.number, self.offset, self.size, self.mask))

    def within(
        self, first: NDArray[np.int64], stop: NDArray[np.int64], grid: Sequence[int]
    ) -> NDArray[np.int64]:
        """Return the rows of the chunks in a box of the grid, in the order in which they lie in the file."""
        steps = [np.arange(a, b) * n for a, b, n in zip(first, stop, _strides(grid), strict=True)]
        numbers: NDArray[np.int64] = reduce(np.add.outer, steps).reshape(-1)
        rows: NDArray[np.int64] = np.searchsorted(self.number, numbers)
        rows = rows[np.take(self.number, rows, mode="clip") == numbers] if self.number.size else rows[:0]
        return rows[np.argsort(self.offset[rows])]


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
        return Storage(
            place=place,
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunks=dataset.chunks,
            filters=filters,
            fill=dataset.fillvalue,
            layout=layout,
            offset=dataset.id.get_offset() if layout == "contiguous" else None,
            table=_chunk_table(dataset) if with_table and layout == "chunked" else None,
        )


def storage_of(files: Hdf5Files, path: str, name: str) -> Storage | None:
    """Return how a dataset is stored, with its chunk table, which is built once and kept a while."""

    def make() -> tuple[Storage | None, int]:
        storage = inspect(files, path, name, with_table=True)
        return storage, 1000 + (storage.table.nbytes if storage and storage.table else 0)

    storage: Storage | None = files.cache.get(Place(path, name), make)
    return storage


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
    plain_numbers = (
        dataset.dtype.kind in "iuf"
        and dataset.dtype.itemsize in (1, 2, 4, 8)
        # Numbers of, say, 12 bits in 16 look like uint16 to numpy, but HDF5 has to unpack them.
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)
    )
    # Older versions of HDF5 leave the user block out of the offsets of chunks.
    if not plain_numbers or dataset.file.userblock_size or not dataset.shape or max(dataset.shape) >= 2**62:
        return "library"
    layout = properties.get_layout()
    if layout == h5py.h5d.CONTIGUOUS and not properties.get_external_count():
        return "contiguous"
    if layout == h5py.h5d.CHUNKED and all(f.code in DECODERS for f in filters):
        return "chunked" if prod(_grid(dataset.shape, dataset.chunks)) < 2**63 else "library"
    return "library"


def _chunk_table(dataset: Any) -> ChunkTable:  # noqa: ANN401
    # Flat arrays of machine numbers: a million chunks take tens of megabytes, not hundreds.
    corners, offsets, sizes, masks = array("q"), array("q"), array("q"), array("q")

    def note(chunk: Any) -> None:  # noqa: ANN401 - h5py is untyped
        if chunk.byte_offset is not None and chunk.size:
            corners.extend(chunk.chunk_offset)
            offsets.append(chunk.byte_offset)
            sizes.append(chunk.size)
            masks.append(chunk.filter_mask)

    dataset.id.chunk_iter(note)
    grid = _grid(dataset.shape, dataset.chunks)
    cells = np.array(corners, np.int64).reshape(-1, len(grid)) // np.array(dataset.chunks)
    inside = (cells < np.array(grid)).all(axis=1)
    number = cells @ _strides(grid)
    order = np.argsort(number, kind="stable")
    order = order[inside[order]]
    columns = (np.array(column, np.int64)[order] for column in (offsets, sizes, masks))
    return ChunkTable(number[order], *columns)


def _grid(shape: Sequence[int], chunks: Sequence[int]) -> list[int]:
    return [-(-n // c) for n, c in zip(shape, chunks, strict=True)]


def _strides(grid: Sequence[int]) -> NDArray[np.int64]:
    """Return the steps, in C order, that turn a cell of the grid into its number."""
    return np.array([prod(grid[axis + 1 :]) for axis in range(len(grid))], np.int64)


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
    chunks = np.array(storage.chunks, np.int64)
    begin = np.array(start, np.int64)
    first, stop = begin // chunks, -(-(begin + out.shape) // chunks)
    rows = table.within(first, stop, _grid(storage.shape, storage.chunks or ()))
    if rows.size < prod((stop - first).tolist()):
        out[...] = storage.fill
    # As objects, chunks take a kilobyte each: only a few are such at a time.
    for at in range(0, rows.size, BATCH):
        pieces = _pieces(storage, table, rows[at : at + BATCH], begin, out.shape)
        for run in runs(pieces):
            data = _fetch(file, storage, run)
            base = run[0].offset
            for piece in run:
                stored = data[piece.offset - base : piece.offset - base + piece.size]
                try:
                    _place(stored, piece, storage, out[piece.outer])
                except (RuntimeError, ValueError, MemoryError) as error:
                    where = _where(storage, piece)
                    raise ReadError(f"{where} is damaged: {error or 'no memory'}; copy it again") from error


def _pieces(
    storage: Storage,
    table: ChunkTable,
    rows: NDArray[np.int64],
    begin: NDArray[np.int64],
    shape: tuple[int, ...],
) -> list[_Piece]:
    """List a batch of the chunks that a box touches."""
    corners = _cells(storage, table.number[rows]) * np.array(storage.chunks) - begin
    low = np.maximum(corners, 0)
    high = np.minimum(corners + np.array(storage.chunks), shape)
    columns = (column[rows].tolist() for column in (table.number, table.offset, table.size, table.mask))
    outer = (tuple(map(slice, a, b)) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return list(map(_Piece, *columns, outer, (low - corners).tolist()))


def _cells(storage: Storage, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places in the grid of chunks, one row each."""
    grid = _grid(storage.shape, storage.chunks or ())
    return numbers[:, np.newaxis] // _strides(grid) % np.array(grid, np.int64)


def _where(storage: Storage, piece: _Piece) -> str:
    (cell,) = _cells(storage, np.array([piece.number])).tolist()
    return f"{storage.place}: chunk {tuple(cell)} ({piece.size} bytes at {piece.offset})"


def _fetch(file: Hdf5File, storage: Storage, run: list[_Piece]) -> Bytes:
    for piece in run:
        if piece.offset + piece.size > file.size:
            where = _where(storage, piece)
            raise ReadError(f"{where} lies beyond the end of the file, {file.size} bytes; copy it again")
    data = scratch("file", max(piece.offset + piece.size for piece in run) - run[0].offset)
    try:
        file.read_into(run[0].offset, data)
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


def _read_by_library(file: Hdf5File, storage: Storage, start: Sequence[int], out: NDArray[Any]) -> None:
    require(storage.filters, str(storage.place))
    box = tuple(slice(a, a + n) for a, n in zip(start, out.shape, strict=True))
    where = f"{storage.place}: the box from {tuple(start)} of {out.shape}"
    with damage_named(where):
        out[...] = file.h5[storage.place.name][box]
