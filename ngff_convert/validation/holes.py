"""Whether a chunk that is not stored is one without pixels, by the levels next to it."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.validation.chunk_files import MAX_KNOWN
from ngff_convert.validation.decoding import read_box

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ngff_convert.validation.arrays import ArrayInfo, Sizes
    from ngff_convert.validation.chunk_files import Tally
    from ngff_convert.validation.decoding import Decoder, Span
    from ngff_convert.validation.findings import Findings

MARGIN = 2
"""Voxels of a smaller level, at the edges of a hole, that other chunks may have had a part in."""

SMALL_MARGIN = 1
"""The same for a chunk that would have no voxels left; then all that are left must agree."""

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
        if not n_missing or not next_to or tally.unlisted:  # where they are listed, that is known
            continue
        if array.n_chunks > MAX_KNOWN or n_missing > MAX_HOLES or any(tally.linked for _, tally in levels):
            message = f"the {n_missing} missing chunks are too many, or the levels not safe, to compare"
            findings.warning(array.path, "hole-unchecked", message)
            continue
        n_unclear = sum(_is_unclear(decoder, next_to, cell, findings) for cell in tally.missing(array))
        if n_unclear:
            message = f"whether {n_unclear} missing chunks had pixels cannot be told by the levels next to it"
            findings.warning(array.path, "hole-unchecked", message)


def _is_unclear(decoder: Decoder, next_to: Sequence[Decoder], cell: Sizes, findings: Findings) -> bool:
    """Add a finding where a missing chunk is a hole; return whether that cannot be told."""
    unclear = False
    for other in next_to:
        pixels = _has_pixels(decoder, other, cell)
        if pixels:
            message = f"chunk {list(cell)} is not stored, but {other.array.path} has pixels there"
            findings.error(decoder.array.path, "hole", message)
            return False
        unclear |= pixels is None
    return unclear


def _has_pixels(decoder: Decoder, other: Decoder, cell: Sizes) -> bool | None:
    """Return whether another level shows that a missing chunk cannot have been empty; None: it cannot tell.

    In a smaller level one voxel that is not empty shows it, if it is far enough from the edges of the chunk:
    it was made of some here. Of a chunk too small for that, every voxel must be. In a larger level every
    voxel must be too: of some only, nothing may have been left.
    """
    array = decoder.array
    if prod(other.array.shape) >= prod(array.shape):
        return _any_or_all(decoder, other, _box(array, other.array, cell, 0), np.all)
    if _is_box(box := _box(array, other.array, cell, MARGIN)):
        return _any_or_all(decoder, other, box, np.any)
    if _is_box(box := _box(array, other.array, cell, SMALL_MARGIN)):
        return _any_or_all(decoder, other, box, np.all)
    around = _any_or_all(decoder, other, _around(array, other.array, cell), np.any)
    return False if around is False else None


def _any_or_all(
    decoder: Decoder, other: Decoder, box: tuple[Span, ...], judge: Callable[[Any], Any]
) -> bool | None:
    """Return whether any, or all, voxels of a box differ from a missing chunk; None if not read."""
    block = read_box(other, box)
    return None if block is None else bool(judge(_not_fill(decoder, block)))


def _is_box(box: tuple[Span, ...]) -> bool:
    return all(a < b for a, b in box)


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


def _around(array: ArrayInfo, other: ArrayInfo, cell: Sizes) -> tuple[Span, ...]:
    """Return which voxels of a smaller level a chunk may have had a part in."""
    box = []
    for index, chunk, n, n_other in zip(cell, array.chunks, array.shape, other.shape, strict=True):
        start, stop = index * chunk, min((index + 1) * chunk, n)
        box.append((start * n_other // n, -(-stop * n_other // n)))
    return tuple(box)


def _not_fill(decoder: Decoder, block: Any) -> Any:  # noqa: ANN401 - an array of any type
    fill = decoder.handle.fill_value
    fill = np.zeros((), block.dtype) if fill is None else np.asarray(fill)
    return ~np.isnan(block) if fill.dtype.kind == "f" and np.isnan(fill) else block != fill
