from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from reference import shrunk

from ngff_convert import options
from ngff_convert.downsample import METHODS, shrink

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


def test_the_methods_are_those_that_can_be_chosen() -> None:
    assert tuple(METHODS) == options.METHODS


@given(
    dtype=st.sampled_from(INTEGERS),
    factors=st.tuples(*[st.integers(1, 4)] * 3),
    method=st.sampled_from(sorted(METHODS)),
    data=st.data(),
)
def test_integers_equal_the_reference(
    dtype: str, factors: tuple[int, ...], method: str, data: st.DataObject
) -> None:
    block = data.draw(arrays(dtype, array_shapes(min_dims=3, max_dims=3, max_side=9)))
    expected = shrunk(block, factors, method)
    result = shrink(block, factors, method)
    assert result.dtype == block.dtype
    np.testing.assert_array_equal(result, expected)


@given(
    factors=st.tuples(*[st.integers(1, 3)] * 3),
    method=st.sampled_from(sorted(METHODS)),
    block=arrays(
        "float32",
        array_shapes(min_dims=3, max_dims=3, max_side=7),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
)
def test_floats_equal_the_reference(factors: tuple[int, ...], method: str, block: NDArray[Any]) -> None:
    result = shrink(block, factors, method)
    assert result.dtype == block.dtype
    np.testing.assert_allclose(result, shrunk(block, factors, method), rtol=1e-5, atol=0.25)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_largest_and_smallest_values_do_not_overflow(dtype: str) -> None:
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        block = np.full((1, 1, 4, 4, 4), value, dtype)
        for method in METHODS:
            assert (shrink(block, (1, 1, 2, 2, 2), method) == value).all(), method


def test_many_of_the_largest_value_do_not_overflow() -> None:
    block = np.full((1, 40, 40), 255, np.uint8)
    assert shrink(block, (1, 40, 40), "mean").item() == 255


def test_the_mean_does_not_drift_over_levels() -> None:
    block = np.random.default_rng(1).integers(0, 50, (64, 256, 256), np.uint16)
    mean = block.mean()
    for _ in range(4):
        block = shrink(block, (2, 2, 2), "mean")
    assert abs(block.mean() - mean) < 0.6, "rounding half up costs at most an eighth a level"


def test_nan_stays_nan_and_does_not_spread() -> None:
    block = np.ones((1, 4, 4), np.float32)
    block[0, 0, 0] = math.nan
    for method in ("mean", "max", "min", "median"):
        result = shrink(block, (1, 2, 2), method)
        assert math.isnan(result[0, 0, 0]), method
        assert (result.ravel()[1:] == 1).all(), method


def test_infinity_is_data() -> None:
    block = np.full((1, 2, 2), np.inf, np.float32)
    assert shrink(block, (1, 2, 2), "mean").item() == math.inf


def test_float16_sums_do_not_overflow() -> None:
    block = np.full((2, 2, 2), 60000, np.float16)
    assert shrink(block, (2, 2, 2), "mean").item() == 60000


def test_booleans_become_what_half_or_more_of_them_are() -> None:
    block = np.array([[[True, False, False, False], [True, False, False, True]]])
    assert shrink(block, (1, 2, 2), "mean").tolist() == [[[True, False]]]


def test_a_slab_is_no_border(monkeypatch: pytest.MonkeyPatch) -> None:
    block = np.random.default_rng(2).integers(0, 60000, (1, 1, 21, 33, 35), np.uint16)
    whole = shrink(block, (1, 1, 2, 2, 2), "mean")
    monkeypatch.setattr("ngff_convert.downsample.SLAB_BYTES", 1)
    np.testing.assert_array_equal(shrink(block, (1, 1, 2, 2, 2), "mean"), whole)
