"""Bytes in a file -> memory: neighbours are read together, and buffers are used again."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ngff_convert.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ngff_convert.readers.open_files import OpenFile

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]

READ_AT_ONCE = 2**20
"""Neighbours in the file are read together up to this many bytes: small chunks would be all calls, and more
would not stay in the cache of a processor until they are decoded."""

GAP_READ_OVER = 32 * 2**10
"""Bytes between two chunks that are read and dropped rather than skipped by another call."""

ROW_GAP_READ_OVER = 8 * 2**10
"""The same between rows: a call for one takes as long as reading 11 KiB more out of the page cache."""

KEPT_SCRATCH = 64 * 2**20
"""Larger buffers are given back after use instead of being kept for the thread's next chunk."""


class Stored(Protocol):
    """Bytes of something in a file."""

    @property
    def offset(self) -> int:
        """First byte, from the beginning of the file."""

    @property
    def size(self) -> int:
        """How many bytes."""


P = TypeVar("P", bound=Stored)


@dataclass(frozen=True, slots=True)
class Contiguous:
    """An array that lies in one piece in a file.

    Attributes
    ----------
    where
        What it is, for errors: the file and the place in it.
    offset
        Its first byte.
    shape
        Along each axis, C order.
    dtype
        In the file's byte order.
    """

    where: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def runs(pieces: Iterable[P]) -> Iterator[list[P]]:
    """Cut pieces, sorted by offset, into runs that one read fetches."""
    run: list[P] = []
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


def span(run: Sequence[P]) -> tuple[int, int]:
    """Return where a run begins, and how many bytes it has with the gaps in it."""
    return run[0].offset, max(piece.offset + piece.size for piece in run) - run[0].offset


def read_contiguous(file: OpenFile, array: Contiguous, start: Sequence[int], out: NDArray[Any]) -> None:
    """Read a box of an array that lies in one piece in a file.

    Rows are read together up to `READ_AT_ONCE`; one by one where much lies between what is wanted of them.

    Parameters
    ----------
    file
        The file.
    array
        Where and what it is.
    start
        First voxel of the box along each axis; the box lies within the array.
    out
        Where the voxels go, of the box's shape, in the array's dtype in native byte order.

    Raises
    ------
    ReadError
        The file ends before the array does.
    """
    itemsize = array.dtype.itemsize
    if array.offset + prod(array.shape) * itemsize > file.size:
        raise ReadError(
            f"{array.where}: {prod(array.shape) * itemsize} bytes at {array.offset} "
            f"lie beyond the end of the file, {file.size} bytes; copy it again"
        )
    out = out[np.newaxis]
    line, width = array.shape[-1], out.shape[-1]
    for band in _bands(array, start, out.shape[1:]):
        target = out[band.lead][band.row : band.row + band.n_rows]
        whole = width == line or len(target) == 1
        if whole and target.dtype == array.dtype and target.flags.c_contiguous:
            file.read_into(band.offset, target)
            continue
        block = scratch("file", len(target) * line * itemsize)
        file.read_into(band.offset, block[: band.size])
        target[...] = block.view(array.dtype).reshape(-1, line)[:, :width]


def contiguous_ranges(
    array: Contiguous, start: Sequence[int], shape: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield where `read_contiguous` reads, and how many bytes; parameters are as it has them."""
    return ((band.offset, band.size) for band in _bands(array, start, shape))


class _Band(NamedTuple):
    """Rows of a box that one call reads, and what lies between them."""

    lead: tuple[int, ...]
    row: int
    n_rows: int
    offset: int
    size: int


def _bands(array: Contiguous, start: Sequence[int], box: Sequence[int]) -> Iterator[_Band]:
    shape, begin, box = (1, *array.shape), (0, *start), (1, *box)
    itemsize = array.dtype.itemsize
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    n_rows, width = box[-2:]
    line = shape[-1]
    at_once = max(1, READ_AT_ONCE // (line * itemsize))
    if (line - width) * itemsize > ROW_GAP_READ_OVER:
        at_once = 1
    for lead in product(*map(range, box[:-2])):
        corner = sum((b + i) * s for b, i, s in zip(begin, (*lead, 0, 0), steps, strict=True))
        for row in range(0, n_rows, at_once):
            count = min(at_once, n_rows - row)
            where = array.offset + (corner + row * line) * itemsize
            yield _Band(lead, row, count, where, ((count - 1) * line + width) * itemsize)


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.buffers: dict[str, Bytes] = {}


_SCRATCH = _Scratch()


def scratch(purpose: str, n_bytes: int) -> Bytes:
    """Return this thread's buffer for a purpose, of `n_bytes`; it holds until the next call for it."""
    if n_bytes > KEPT_SCRATCH:
        return np.empty(n_bytes, np.uint8)
    buffer = _SCRATCH.buffers.get(purpose)
    if buffer is None or buffer.size < n_bytes:
        buffer = _SCRATCH.buffers[purpose] = np.empty(n_bytes, np.uint8)
    return buffer[:n_bytes]
