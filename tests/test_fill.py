from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import ArrayPixels

from ngff_convert import fill
from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.model import Box
from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (2, 1, 5, 17, 13)
CHUNK = (1, 1, 2, 8, 4)


class Damaged(ArrayPixels):
    """Pixels of which some chunks cannot be read; counted from an offset, as in a cropped image."""

    def __init__(self, bad: set[tuple[int, ...]], offset: tuple[int, ...], error: Exception | None) -> None:
        super().__init__(coded_pixels(SHAPE), CHUNK)
        self.offset = offset
        self.bad = bad
        self.error = error

    def chunk_of(self, voxel: tuple[int, ...]) -> tuple[int, ...]:
        return tuple((v + o) // c for v, o, c in zip(voxel, self.offset, CHUNK, strict=True))

    def read(self, box: Box) -> NDArray[Any]:
        last = tuple(n - 1 for n in box.stop)
        low, high = self.chunk_of(box.start), self.chunk_of(last)
        for chunk in sorted(self.bad):
            if all(a <= c <= b for a, c, b in zip(low, chunk, high, strict=True)):
                raise self.error or ReadError(f"in.ims: chunk {chunk}")
        return super().read(box)


@given(
    bad=st.sets(st.tuples(*(st.integers(0, -(-n // c)) for n, c in zip(SHAPE, CHUNK, strict=True)))),
    offset=st.tuples(*(st.integers(0, c - 1) for c in CHUNK)),
    spans=st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in SHAPE)),
)
def test_what_can_be_read_is_read_and_the_rest_is_0_and_named(
    bad: set[tuple[int, ...]], offset: tuple[int, ...], spans: tuple[tuple[int, int], ...]
) -> None:
    box = Box(tuple(a for a, _ in spans), tuple(max(a + 1, b) for a, b in spans))
    pixels = Damaged(bad, offset, None)
    block, lines = fill.read(pixels, box)
    expected = coded_pixels(SHAPE)[box.slices].copy()
    met = set()
    for place in np.ndindex(expected.shape):
        chunk = pixels.chunk_of(tuple(p + a for p, a in zip(place, box.start, strict=True)))
        if chunk in bad:
            expected[place] = 0
            met.add(chunk)
    np.testing.assert_array_equal(block, expected)
    assert {line.partition(";")[0] for line in lines} == {f"in.ims: chunk {chunk}" for chunk in met}
    assert all("1 chunk filled with 0 in t=" in line for line in lines)


def test_one_cause_is_one_line_with_the_number_of_chunks() -> None:
    bad: set[tuple[int, ...]] = {(0, 0, 0, 1, 2), (0, 0, 1, 1, 2), (1, 0, 0, 0, 0)}
    pixels = Damaged(bad, (0,) * 5, ReadError("in.ims: is gone"))
    _, lines = fill.read(pixels, Box((0,) * 5, SHAPE))
    assert lines == ("in.ims: is gone; 3 chunks filled with 0 in t=0:2 c=0:1 z=0:4 y=0:16 x=0:12",)


def test_only_damage_is_filled() -> None:
    pixels = Damaged({(0,) * 5}, (0,) * 5, UnsupportedInput("in.ims: a filter is not installed"))
    with pytest.raises(UnsupportedInput):
        fill.read(pixels, Box((0,) * 5, SHAPE))
