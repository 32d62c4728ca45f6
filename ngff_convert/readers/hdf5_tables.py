"""Where the chunks of an HDF5 dataset lie: asked of HDF5 once, and kept as columns of numbers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

COUNTED_AT_ONCE = 3 * 2**16
"""So many coordinates of chunks are kept until they become numbers."""


@dataclass(frozen=True, eq=False, slots=True)
class ChunkTable:
    """Where the chunks of a dataset lie that were ever written.

    Attributes
    ----------
    number
        Place in the grid of chunks, counted in C order; sorted. None where every chunk was written.
    offset, size
        Bytes from the beginning of the file, and stored bytes.
    mask
        Bit i is set where filter i was left out; None where none ever was.
    """

    number: NDArray[np.int64] | None
    offset: NDArray[np.int64]
    size: NDArray[np.int64] | NDArray[np.uint32]
    mask: NDArray[np.uint32] | None

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        columns = (self.number, self.offset, self.size, self.mask)
        return sum(column.nbytes for column in columns if column is not None)

    def within(
        self, first: NDArray[np.int64], stop: NDArray[np.int64], grid: Sequence[int]
    ) -> NDArray[np.int64]:
        """Return the rows of the chunks in a box of the grid, in the order in which they lie in the file."""
        steps = [np.arange(a, b) * n for a, b, n in zip(first, stop, strides(grid), strict=True)]
        rows: NDArray[np.int64] = reduce(np.add.outer, steps).reshape(-1)
        if self.number is not None:
            numbers, rows = rows, np.searchsorted(self.number, rows)
            rows = rows[np.take(self.number, rows, mode="clip") == numbers] if self.number.size else rows[:0]
        return rows[np.argsort(self.offset[rows])]

    def columns(self, rows: NDArray[np.int64]) -> Iterator[list[int]]:
        """Yield number, offset, size and mask of some rows."""
        yield rows.tolist() if self.number is None else self.number[rows].tolist()
        yield self.offset[rows].tolist()
        yield self.size[rows].tolist()
        yield [0] * len(rows) if self.mask is None else self.mask[rows].tolist()


def chunk_table(dataset: Any) -> ChunkTable:  # noqa: ANN401 - h5py is untyped
    """List the chunks of an open chunked dataset that were ever written."""
    # Flat arrays of machine numbers: a million chunks take tens of megabytes, not hundreds.
    corners, numbers, offsets, sizes, masks = (array("q") for _ in range(5))
    grid = grid_of(dataset.shape, dataset.chunks)

    def note(chunk: Any) -> None:  # noqa: ANN401 - h5py is untyped
        if chunk.byte_offset is not None and chunk.size:
            corners.extend(chunk.chunk_offset)
            offsets.append(chunk.byte_offset)
            sizes.append(chunk.size)
            masks.append(chunk.filter_mask)
            if len(corners) > COUNTED_AT_ONCE:
                count()

    def count() -> None:
        cells = np.array(corners, np.int64).reshape(-1, len(grid)) // np.array(dataset.chunks)
        inside = (cells < np.array(grid)).all(axis=1)
        numbers.frombytes(np.where(inside, cells @ strides(grid), -1).tobytes())
        del corners[:]

    dataset.id.chunk_iter(note)
    count()
    number, offset, size, mask = (
        np.frombuffer(column, np.int64) for column in (numbers, offsets, sizes, masks)
    )
    return _sorted(number, offset, size, mask, prod(grid))


def _sorted(
    number: NDArray[np.int64],
    offset: NDArray[np.int64],
    size: NDArray[np.int64],
    mask: NDArray[np.int64],
    n_cells: int,
) -> ChunkTable:
    """Return columns as a table without what goes without saying; `number` is -1 outside the dataset."""
    if number.size and (number[0] < 0 or (number[1:] <= number[:-1]).any()):
        order = np.argsort(number, kind="stable")
        order = order[np.searchsorted(number[order], 0) :]
        number, offset, size, mask = (column[order] for column in (number, offset, size, mask))
    whole = 0 < number.size == n_cells and number[0] == 0 and number[-1] == n_cells - 1
    return ChunkTable(
        None if whole and (number[1:] > number[:-1]).all() else number,
        offset,
        size.astype(np.uint32) if size.max(initial=0) < 2**32 else size,
        mask.astype(np.uint32) if mask.any() else None,
    )


def grid_of(shape: Sequence[int], chunks: Sequence[int]) -> list[int]:
    """Return how many chunks there are along each axis."""
    return [-(-n // c) for n, c in zip(shape, chunks, strict=True)]


def strides(grid: Sequence[int]) -> NDArray[np.int64]:
    """Return the steps, in C order, that turn a cell of the grid into its number."""
    return np.array([prod(grid[axis + 1 :]) for axis in range(len(grid))], np.int64)
