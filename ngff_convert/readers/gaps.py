"""What is missing of an image, in words: the places of planes or files, whatever they are read from."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.readers.contract import MAX_NAMED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Span = tuple[str, int, int]


def gaps_in_words(
    mask: NDArray[np.bool_], axes: Sequence[str] = "tcz", labels: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Name the places where a mask is true, compactly; an axis that is whole is not named.

    Parameters
    ----------
    mask
        True at a gap, one axis for each of `axes`.
    axes
        What to call each axis.
    labels
        What to call each place along an axis; of axes that are not in it, places are counted from 0.

    Returns
    -------
    str
        At most `MAX_NAMED` blocks with a semicolon between, and how many gaps are in none of them; empty if
        there is no gap.

    Examples
    --------
    >>> mask = np.zeros((9, 2, 6), bool)
    >>> mask[3, 1, :5] = mask[6:8] = True
    >>> gaps_in_words(mask)
    't 3, c 1, z 0-4; t 6-7'
    >>> gaps_in_words(mask, labels={"c": ("DAPI", "GFP")})
    't 3, c GFP, z 0-4; t 6-7'
    """
    texts = labels or {}

    def words(spans: list[Span]) -> str:
        ends = [(axis, dict.fromkeys((first, last))) for axis, first, last in spans]
        return ", ".join(
            f"{axis} {'-'.join(texts[axis][n] if axis in texts else str(n) for n in numbers)}"
            for axis, numbers in ends
        )

    blocks = list(islice(_blocks(mask, axes), MAX_NAMED))
    more = int(mask.sum()) - sum(count for _, count in blocks)
    return "; ".join(words(spans) or "all" for spans, _ in blocks) + (f" and {more} more" if more else "")


def _blocks(mask: NDArray[np.bool_], axes: Sequence[str]) -> Iterator[tuple[list[Span], int]]:
    """Yield the blocks that make up the mask, and how many places each is.

    They are runs of equal rows, and the blocks within a row; the span of an axis that is whole is left out.
    """
    rows = mask.reshape(len(mask), -1)
    changes = np.flatnonzero((rows[1:] != rows[:-1]).any(axis=1)) + 1
    for start, stop in pairwise([0, *changes.tolist(), len(mask)]):
        if not rows[start].any():
            continue
        size = stop - start
        own = [(axes[0], start, stop - 1)] if size < len(mask) else []
        for spans, count in [([], 1)] if mask.ndim == 1 else _blocks(mask[start], axes[1:]):
            yield own + spans, size * count
