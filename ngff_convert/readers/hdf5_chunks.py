"""Boxes of HDF5 datasets at the speed of the codec: HDF5 says where the chunks are, the rest is done here.

HDF5 holds one lock for the whole process while it reads and inflates with zlib. Here it is asked once per
dataset for offsets and sizes of the chunks; their bytes are read with `os.preadv` and decoded with
libdeflate or LZ4 by as many threads as like. What is not understood (other filters, virtual, compact or
external storage, odd number formats) is read by HDF5 as ever.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.hdf5_files import Place, damage_named, locate
from ngff_convert.readers.hdf5_filters import BUILT_INTO_HDF5, DECODERS, Filter, check_size, decode, scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.hdf5_files import Hdf5Files, OpenFile
    from ngff_convert.readers.hdf5_filters import Bytes

READ_AT_ONCE = 4 * 2**20
"""Neighbours in the file are read together up to this many bytes: small chunks would be all calls."""

GAP_READ_OVER = 32 * 2**10
"""Bytes between two chunks that are read and dropped rather than skipped by another call."""


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

    def find(self, numbers: NDArray[np.int64]) -> tuple[list[int], list[int], list[int]]:
        """Return offset, size and mask of each chunk; offset -1 where it was never written."""
        if not self.number.size:
            return ([-1] * numbers.size,) * 3
        rows = np.searchsorted(self.number, numbers).clip(max=self.number.size - 1)
        offset = np.where(self.number[rows] == numbers, self.offset[rows], -1)
        return offset.tolist(), self.size[rows].tolist(), self.mask[rows].tolist()


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
    with files.using(place.path) as file, damage_named(f"{place.path}: {place.name}"):
        return _inspect(file, place, with_table)


def storage_of(files: Hdf5Files, path: str, name: str) -> Storage | None:
    """Return how a dataset is stored, with its chunk table, which is built once and kept a while."""
    key = Place(path, name)
    storage: Storage | None = files.cache.get(key)
    if storage is None:
        with files.cache.building:
            storage = files.cache.get(key)
            if storage is None:
                storage = inspect(files, path, name, with_table=True)
                if storage is not None:
                    files.cache.put(key, storage, 1000 + (storage.table.nbytes if storage.table else 0))
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
        if storage.layout == "library" or (storage.layout == "chunked" and storage.table is None):
            _read_by_library(file, storage, start, out)
        elif storage.table is not None:
            _read_chunked(file, storage, storage.table, start, out)
        elif storage.offset is None:
            out[...] = storage.fill
        else:
            _read_contiguous(file, storage, storage.offset, start, out)


def _inspect(file: OpenFile, place: Place, with_table: bool) -> Storage:
    dataset = file.h5[place.name]
    if not isinstance(dataset, h5py.Dataset):
        raise TypeError("it is no dataset")
    if dataset.shape is None:
        raise TypeError("it is a dataset without a shape")
    properties = dataset.id.get_create_plist()
    filters = tuple(
        Filter(code, tuple(values))
        for code, _, values, _ in map(properties.get_filter, range(properties.get_nfilters()))
    )
    layout = _layout(file, dataset, properties, filters)
    table = None
    if with_table and layout == "chunked":
        table = _chunk_table(dataset.id, dataset.shape, dataset.chunks)
    return Storage(
        place=place,
        shape=dataset.shape,
        dtype=dataset.dtype,
        chunks=dataset.chunks,
        filters=filters,
        fill=dataset.fillvalue,
        layout=layout,
        offset=dataset.id.get_offset() if layout == "contiguous" else None,
        table=table,
    )


def _layout(file: OpenFile, dataset: Any, properties: Any, filters: tuple[Filter, ...]) -> str:  # noqa: ANN401
    """Return how to read it: ``"library"`` unless everything about it is known to be plain."""
    plain_numbers = (
        dataset.dtype.kind in "iuf"
        and dataset.dtype.itemsize in (1, 2, 4, 8)
        # Numbers of, say, 12 bits in 16 look like uint16 to numpy, but HDF5 has to unpack them.
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)
    )
    # Older versions of HDF5 leave the user block out of the offsets of chunks.
    if not plain_numbers or file.h5.userblock_size or not dataset.shape or max(dataset.shape) >= 2**62:
        return "library"
    layout = properties.get_layout()
    if layout == h5py.h5d.CONTIGUOUS and not properties.get_external_count():
        return "contiguous"
    if layout == h5py.h5d.CHUNKED and all(f.code in DECODERS for f in filters):
        return "chunked" if prod(_grid(dataset.shape, dataset.chunks)) < 2**63 else "library"
    return "library"


def _chunk_table(dataset: Any, shape: tuple[int, ...], chunks: tuple[int, ...]) -> ChunkTable:  # noqa: ANN401
    # Flat arrays of machine numbers: a million chunks take tens of megabytes, not hundreds.
    corners, offsets, sizes, masks = array("q"), array("q"), array("q"), array("q")

    def note(chunk: Any) -> None:  # noqa: ANN401 - h5py is untyped
        if chunk.byte_offset is not None and chunk.size:
            corners.extend(chunk.chunk_offset)
            offsets.append(chunk.byte_offset)
            sizes.append(chunk.size)
            masks.append(chunk.filter_mask)

    dataset.chunk_iter(note)
    grid = _grid(shape, chunks)
    cells = np.array(corners, np.int64).reshape(-1, len(shape)) // np.array(chunks)
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
    """A chunk that a box touches: where its bytes lie, which of its voxels are wanted, where they go."""

    cell: list[int]
    offset: int
    size: int
    mask: int
    inner: tuple[slice, ...]
    outer: tuple[slice, ...]


def _read_chunked(
    file: OpenFile, storage: Storage, table: ChunkTable, start: Sequence[int], out: NDArray[Any]
) -> None:
    pieces = _pieces(storage, table, start, out.shape)
    written = [piece for piece in pieces if piece.offset >= 0]
    if len(written) < len(pieces):
        for piece in pieces:
            if piece.offset < 0:
                out[piece.outer] = storage.fill
    written.sort(key=lambda piece: piece.offset)
    for run in _runs(written):
        data = _fetch(file, storage, run)
        base = run[0].offset
        for piece in run:
            stored = data[piece.offset - base : piece.offset - base + piece.size]
            try:
                _place(stored, piece, storage, out[piece.outer])
            except (RuntimeError, ValueError, MemoryError) as error:
                where = _where(storage, piece.cell, piece.size, piece.offset)
                raise ReadError(f"{where} is damaged: {error or 'no memory'}") from error


def _pieces(
    storage: Storage, table: ChunkTable, start: Sequence[int], shape: tuple[int, ...]
) -> list[_Piece]:
    """List the chunks that a box touches, in C order; offset -1: never written."""
    chunks = np.array(storage.chunks, np.int64)
    begin = np.array(start, np.int64)
    end = begin + shape
    grid = _grid(storage.shape, chunks.tolist())
    axes = [np.arange(a, b) for a, b in zip(begin // chunks, -(-end // chunks), strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    corners = cells * chunks
    first = np.maximum(begin, corners)
    last = np.minimum(end, corners + chunks)
    columns = (
        cells.tolist(),
        *table.find(cells @ _strides(grid)),
        _slices(first - corners, last - corners),
        _slices(first - begin, last - begin),
    )
    return list(map(_Piece._make, zip(*columns, strict=True)))


def _slices(start: NDArray[np.int64], stop: NDArray[np.int64]) -> list[tuple[slice, ...]]:
    return [tuple(map(slice, a, b)) for a, b in zip(start.tolist(), stop.tolist(), strict=True)]


def _runs(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Cut chunks, sorted by offset, into runs that one read fetches."""
    run: list[_Piece] = []
    end = 0
    for piece in pieces:
        far = piece.offset - end > GAP_READ_OVER
        if run and (far or piece.offset + piece.size - run[0].offset > READ_AT_ONCE):
            yield run
            run = []
        run.append(piece)
        end = piece.offset + piece.size
    if run:
        yield run


def _where(storage: Storage, cell: list[int], size: int, offset: int) -> str:
    return f"{storage.place.path}: {storage.place.name}: chunk {tuple(cell)} ({size} bytes at {offset})"


def _fetch(file: OpenFile, storage: Storage, run: list[_Piece]) -> Bytes:
    base = run[0].offset
    for piece in run:
        if piece.offset + piece.size > file.size:
            where = _where(storage, piece.cell, piece.size, piece.offset)
            raise ReadError(f"{where} lies beyond the end of the file, {file.size} bytes; copy it again")
    data = scratch("file", max(piece.offset + piece.size for piece in run) - base)
    try:
        file.read_into(base, data)
    except ReadError as error:
        raise ReadError(f"{_where(storage, run[0].cell, data.size, base)}: {error}") from error
    return data


def _place(stored: Bytes, piece: _Piece, storage: Storage, target: NDArray[Any]) -> None:
    """Decode a chunk and put the part of it that is wanted where it goes."""
    chunks = storage.chunks or ()
    n_bytes = prod(chunks) * storage.dtype.itemsize
    steps = storage.filters
    if piece.mask:
        steps = tuple(step for i, step in enumerate(steps) if not piece.mask >> i & 1)
    check_size(stored.size, steps, n_bytes)
    if not steps:
        target[...] = stored.view(storage.dtype).reshape(chunks)[piece.inner]
    elif target.shape == chunks and target.flags.c_contiguous and target.dtype == storage.dtype:
        decode(stored, steps, target.reshape(-1).view(np.uint8))
    else:
        block = scratch("chunk", n_bytes)
        decode(stored, steps, block)
        target[...] = block.view(storage.dtype).reshape(chunks)[piece.inner]


def _read_contiguous(
    file: OpenFile, storage: Storage, offset: int, start: Sequence[int], out: NDArray[Any]
) -> None:
    """Read row by row, as many rows at once as lie one after another and fit `READ_AT_ONCE`."""
    shape = (1, *storage.shape)
    begin = (0, *start)
    out = out[np.newaxis]
    itemsize = storage.dtype.itemsize
    if offset + prod(shape) * itemsize > file.size:
        raise ReadError(
            f"{storage.place.path}: {storage.place.name}: {prod(shape) * itemsize} bytes at {offset} "
            f"lie beyond the end of the file, {file.size} bytes; copy it again"
        )
    steps = _strides(shape).tolist()
    n_rows, width = out.shape[-2:]
    at_once = max(1, READ_AT_ONCE // (shape[-1] * itemsize))
    for lead in product(*map(range, out.shape[:-2])):
        corner = sum((b + i) * s for b, i, s in zip(begin, (*lead, 0, 0), steps, strict=True))
        for row in range(0, n_rows, at_once):
            rows = min(at_once, n_rows - row)
            line = shape[-1] if rows > 1 else width
            block = scratch("file", rows * line * itemsize)
            n_bytes = ((rows - 1) * line + width) * itemsize
            file.read_into(offset + (corner + row * shape[-1]) * itemsize, block[:n_bytes])
            out[lead][row : row + rows] = block.view(storage.dtype).reshape(rows, line)[:, :width]


def _read_by_library(file: OpenFile, storage: Storage, start: Sequence[int], out: NDArray[Any]) -> None:
    _require_filters(storage)
    box = tuple(slice(a, a + n) for a, n in zip(start, out.shape, strict=True))
    where = f"{storage.place.path}: {storage.place.name}: the box from {tuple(start)} of {out.shape}"
    with damage_named(where):
        out[...] = file.h5[storage.place.name][box]


def _require_filters(storage: Storage) -> None:
    foreign = [f for f in storage.filters if f.code not in BUILT_INTO_HDF5]
    if foreign:
        import hdf5plugin  # noqa: F401 - registers its filters with HDF5; only files that need one pay for it
    for step in storage.filters:
        if not h5py.h5z.filter_avail(step.code):
            raise UnsupportedInput(
                f"{storage.place.path}: {storage.place.name}: compressed with {step}, which is not installed"
            )
