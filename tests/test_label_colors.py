"""Which values a label image has, and their colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngff_convert.label_colors import MAX_COLORS, SLAB_VOXELS, colors, distinct, together


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64"])
def test_every_value_of_a_block_is_found(dtype: str) -> None:
    block = np.zeros((1, 1, 3, 40, 50), dtype)
    block[0, 0, 0, 0, 0], block[0, 0, 1, 5, 7:9], block[-1, -1, -1, -1, -1] = 3, 100, np.iinfo(dtype).min
    block[0, 0, 2, :, 20:] = np.iinfo(dtype).max
    assert distinct(block, 1000) == tuple(sorted(set(block.ravel().tolist())))


def test_values_at_the_edges_of_what_is_looked_at_at_a_time_are_found() -> None:
    block = np.zeros(2 * SLAB_VOXELS + 1, np.uint32)
    block[[SLAB_VOXELS - 1, SLAB_VOXELS, 2 * SLAB_VOXELS]] = 7, 8, 9
    assert distinct(block, 1000) == (0, 7, 8, 9)


def test_too_many_values_are_none() -> None:
    block = np.arange(1001, dtype=np.uint16)
    assert distinct(block, 1000) is None
    assert distinct(block, 1001) == tuple(range(1001))
    assert together([(1, 2), (2, 5), ()]) == (1, 2, 5)
    assert together([(1,), None]) is None
    assert together([tuple(range(MAX_COLORS)), (MAX_COLORS,)]) is None


def test_a_value_has_the_same_colour_wherever_it_is_and_no_two_the_same() -> None:
    many = colors(range(MAX_COLORS + 1))
    assert len(set(many.values())) == MAX_COLORS + 1
    assert many[0] == (0, 0, 0, 0)
    assert all(color[3] == 255 and max(color) == 255 for value, color in many.items() if value)
    assert all(colors([value])[value] == many[value] for value in range(MAX_COLORS + 1))


@given(st.sets(st.integers(-(2**63), 2**64 - 1), max_size=300))
def test_no_two_of_any_values_have_the_same(values: set[int]) -> None:
    found = colors(sorted(values))
    assert set(found) == values
    assert len(set(found.values())) == len(values)
