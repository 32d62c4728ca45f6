"""Whether a chunk that is not stored is one without pixels, by the levels next to it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.validation.chunk_files import MAX_KNOWN
from ngff_convert.validation.decoding import read_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.validation.arrays import ArrayInfo, Sizes
    from ngff_convert.validation.chunk_files import Tally
    from ngff_convert.validation.decoding import Decoder, Span
    from ngff_convert.validation.findings import Findings

MARGIN = 2
"""Voxels of a smaller level, at the edges of a hole, that other chunks may have had a part in."""

MAX_HOLES = 100_000
"""Missing chunks of a level that are compared."""


def check_holes(levels: Sequence[tuple[Decoder, Tally]], findings: Findings) -> None:
    """Compare missing chunks of each level of an image with the levels above and below.

    Parameters
    ----------
    levels
        All levels that can be decoded, the largest first.
    findings
        Where findings go.
    """
    for number, (decoder, tally) in enumerate(levels):
        array = decoder.array
        n_missing = array.n_chunks - tally.n_stored
        next_to = [levels[n][0] for n in (number - 1, number + 1) if 0 <= n < len(levels)]
        next_to = [other for other in next_to if len(other.array.shape) == len(array.shape)]
        if not n_missing or not next_to:
            continue
        if array.n_chunks > MAX_KNOWN or n_missing > MAX_HOLES or any(tally.linked for _, tally in levels):
            message = f"the {n_missing} missing chunks are too many, or the levels not safe, to compare"
            findings.warning(array.path, "hole-unchecked", message)
            continue
        for cell in tally.missing(array):
            for other in next_to:
                if _has_pixels(decoder, other, cell):
                    message = f"chunk {list(cell)} is not stored, but {other.array.path} has pixels there"
                    findings.error(array.path, "hole", message)
                    break


def _has_pixels(decoder: Decoder, other: Decoder, cell: Sizes) -> bool:
    """Return whether another level shows that a missing chunk cannot have been empty.

    In a smaller level one voxel that is not empty shows it: it was made of some here. In a larger level every
    voxel must be: of some only, nothing may have been left.
    """
    array = decoder.array
    smaller = prod(other.array.shape) < prod(array.shape)
    block = read_box(other, _box(array, other.array, cell, MARGIN if smaller else 0))
    if block is None:
        return False
    pixels = _not_fill(other, block)
    return bool(np.any(pixels) if smaller else np.all(pixels))


def _box(array: ArrayInfo, other: ArrayInfo, cell: Sizes, margin: int) -> tuple[Span, ...]:
    """Return which voxels of another level lie within a chunk, without those near its edges."""
    box = []
    for index, chunk, n, n_other in zip(cell, array.chunks, array.shape, other.shape, strict=True):
        start, stop = index * chunk, min((index + 1) * chunk, n)
        keep = margin if n_other != n else 0
        first = -(-start * n_other // n) + (keep if start > 0 else 0)
        last = stop * n_other // n - (keep if stop < n else 0)
        box.append((first, max(first, last)))
    return tuple(box)


def _not_fill(decoder: Decoder, block: Any) -> Any:  # noqa: ANN401 - an array of any type
    fill = decoder.handle.fill_value
    fill = np.zeros((), block.dtype) if fill is None else np.asarray(fill)
    return ~np.isnan(block) if fill.dtype.kind == "f" and np.isnan(fill) else block != fill
