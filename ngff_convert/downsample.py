"""One numpy block -> a smaller one.

Sizes round up: where a block's size is no multiple of the factor, the last voxel is made from what is there,
so no border is lost. Integer means are summed in a wider type and rounded half up, so that a pyramid does not
drift darker level by level; float means stay in their own type and NaN stays NaN.
"""

from __future__ import annotations

from itertools import pairwise, product
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Method: TypeAlias = "Callable[[Block, Block, tuple[int, ...]], None]"

Block: TypeAlias = NDArray[Any]

SLAB_BYTES = 2**20
"""Voxels are worked on in slabs of about this size, so that sums stay in the processor's cache."""


def shrink(block: Block, factors: Sequence[int], method: str) -> Block:
    """Shrink a block by whole factors.

    Parameters
    ----------
    block
        At least three axes.
    factors
        Voxels that become one along each axis.
    method
        A key of `METHODS`.

    Returns
    -------
    numpy.ndarray
        Same dtype; each size is that of `block` divided by the factor, rounded up.

    Examples
    --------
    >>> shrink(np.array([[[1, 2, 9], [3, 5, 8]]], "u2"), (1, 2, 2), "mean")
    array([[[3, 9]]], dtype=uint16)
    """
    out = np.empty([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    _fill(out, block, tuple(factors), METHODS[method], 0)
    return out


def _fill(out: Block, block: Block, factors: tuple[int, ...], method: Method, axis: int) -> None:
    """Fill `out`, splitting off along each axis a last voxel that covers fewer voxels than its factor."""
    if axis == block.ndim:
        for outer, inner in _slabs(out, block, factors):
            method(outer, inner, factors)
        return
    factor = factors[axis]
    whole, rest = divmod(block.shape[axis], factor)
    before = (slice(None),) * axis
    if whole:
        inner = block[(*before, slice(0, whole * factor))]
        _fill(out[(*before, slice(0, whole))], inner, factors, method, axis + 1)
    if rest:
        inner = block[(*before, slice(whole * factor, None))]
        shorter = (*factors[:axis], rest, *factors[axis + 1 :])
        _fill(out[(*before, slice(whole, None))], inner, shorter, method, axis + 1)


def _slabs(out: Block, block: Block, factors: tuple[int, ...]) -> Iterator[tuple[Block, Block]]:
    """Cut along z, and along y where a single plane is larger than a slab."""
    n_z, n_y = out.shape[-3:-1]
    f_z, f_y = factors[-3:-1]
    row_bytes = max(1, block.nbytes // (n_z * n_y))
    planes = max(1, SLAB_BYTES // (row_bytes * n_y))
    rows = n_y if planes > 1 else max(1, SLAB_BYTES // row_bytes)
    for z, y in product(range(0, n_z, planes), range(0, n_y, rows)):
        inner = block[..., z * f_z : (z + planes) * f_z, y * f_y : (y + rows) * f_y, :]
        yield out[..., z : z + planes, y : y + rows, :], inner


def _offsets(block: Block, factors: Sequence[int]) -> list[Block]:
    """Return every n-th voxel, once for each place in a cell; together they are the whole block."""
    return [
        block[tuple(slice(o, None, f) for o, f in zip(offset, factors, strict=True))]
        for offset in product(*map(range, factors))
    ]


def _mean(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    count = prod(factors)
    if block.dtype.kind in "iu" and block.dtype.itemsize == 8:
        _mean_64_bit(out, block, factors)
    elif block.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN are data
            total = _sum(block, factors, np.promote_types(block.dtype, np.float32))
            np.divide(total, total.dtype.type(count), out=out, casting="same_kind")
    else:
        total = _sum(block, factors, _sum_dtype(block.dtype, count))
        # The count's half, rounded down, rounds half up for odd counts too: no half can occur there.
        total += total.dtype.type(count // 2)
        if count & (count - 1) == 0:
            np.right_shift(total, total.dtype.type(count.bit_length() - 1), out=out, casting="unsafe")
        else:
            np.floor_divide(total, total.dtype.type(count), out=out, casting="unsafe")


def _sum_dtype(dtype: np.dtype[Any], count: int) -> np.dtype[Any]:
    """Return the narrowest integer type that holds `count` values and the rounding term."""
    largest = 1 if dtype.kind == "b" else int(np.iinfo(dtype).max) + 1
    kinds = ("i2", "i4", "i8") if dtype.kind == "i" else ("u2", "u4", "u8")
    return next(np.dtype(k) for k in kinds if np.iinfo(k).max >= (largest + 1) * count)


def _sum(block: Block, factors: tuple[int, ...], wide: np.dtype[Any]) -> Block:
    """Sum each cell: rows first, which are contiguous, then columns."""
    rows = _offsets(block, (*factors[:-1], 1))
    total = rows[0].astype(wide) if len(rows) == 1 else np.add(rows[0], rows[1], dtype=wide)
    for row in rows[2:]:
        np.add(total, row, out=total, dtype=wide)
    fx = factors[-1]
    if fx == 1:
        return total
    columns: Block = total[..., 0::fx] + total[..., 1::fx]
    for x in range(2, fx):
        columns += total[..., x::fx]
    return columns


def _mean_64_bit(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    """Mean of 64-bit integers, which have no wider type: quotients and remainders are summed apart."""
    count = block.dtype.type(prod(factors))
    cells = _offsets(block, factors)
    remainder = sum((cell % count for cell in cells), np.zeros(out.shape, block.dtype))
    out[...] = (remainder + count // block.dtype.type(2)) // count
    for cell in cells:
        out += cell // count


def _nearest(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    out[...] = block[tuple(slice(None, None, f) for f in factors)]


def _max(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    _nearest(out, block, factors)
    for cell in _offsets(block, factors)[1:]:
        np.maximum(out, cell, out=out)


def _min(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    _nearest(out, block, factors)
    for cell in _offsets(block, factors)[1:]:
        np.minimum(out, cell, out=out)


def _median(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    """Median; of an even count the mean of the two middle values, integers rounded half up."""
    cells = np.sort(_offsets(block, factors), axis=0)
    low, high = cells[(len(cells) - 1) // 2], cells[len(cells) // 2]
    if out.dtype.kind == "f":
        out[...] = low / 2 + high / 2
        out[np.isnan(cells[-1])] = np.nan  # NaN sorts last
    else:
        out[...] = (low >> 1) + (high >> 1) + ((low | high) & 1)  # cannot overflow


def _mode(out: Block, block: Block, factors: tuple[int, ...]) -> None:
    """Most frequent value; of several equally frequent ones the smallest.

    Within an object all voxels of a cell are the same: only those of other cells are counted.
    """
    first, *others = _offsets(block, factors)
    out[...] = first
    mixed = np.zeros(out.shape, bool)
    for cell in others:
        mixed |= cell != first
    cells = np.sort([cell[mixed] for cell in (first, *others)], axis=0)
    found = cells[0].copy()
    run = np.ones(found.shape, np.uint32)
    longest = run.copy()
    for previous, cell in pairwise(cells):
        run = np.where(cell == previous, run + 1, 1).astype(np.uint32)
        longer = run > longest
        longest[longer] = run[longer]
        found[longer] = cell[longer]
    out[mixed] = found


METHODS: dict[str, Method] = {
    "mean": _mean,
    "nearest": _nearest,
    "mode": _mode,
    "max": _max,
    "min": _min,
    "median": _median,
}
"""How the voxels of a cell become one."""
