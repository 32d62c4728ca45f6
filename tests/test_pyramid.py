from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ngff_convert.pyramid import level_shape, levels

SHAPES = st.tuples(*[st.integers(1, 5000)] * 5)
VOXELS = st.tuples(*[st.none() | st.floats(0.01, 100)] * 3)
LIMITS = st.tuples(*[st.integers(1, 512)] * 3)


@given(shape=SHAPES, voxel=VOXELS, limit=LIMITS)
def test_the_pyramid_ends_where_y_and_x_fit(
    shape: tuple[int, ...], voxel: tuple[float | None, ...], limit: tuple[int, ...]
) -> None:
    factors = levels(shape, voxel, limit)
    sizes = [level_shape(shape, factor) for factor in factors]
    assert factors[0] == (1, 1, 1, 1, 1)
    assert sizes[-1][3] <= limit[1]
    assert sizes[-1][4] <= limit[2]
    assert all(size[3] > limit[1] or size[4] > limit[2] for size in sizes[:-1])


@given(shape=SHAPES, voxel=VOXELS, limit=LIMITS)
def test_each_step_halves_an_axis_that_is_open_or_stays_square_with_one(
    shape: tuple[int, ...], voxel: tuple[float | None, ...], limit: tuple[int, ...]
) -> None:
    factors = levels(shape, voxel, limit)
    for before, after in itertools.pairwise(factors):
        steps = [b // a for a, b in zip(before, after, strict=True)]
        assert steps[:2] == [1, 1]
        assert set(steps[2:]) <= {1, 2}
        assert 2 in steps
        z, y, x = level_shape(shape, before)[2:]
        assert steps[2] == 1 or z > limit[0]
        assert y > limit[1] or x > limit[2]


@given(shape=SHAPES, limit=LIMITS, count=st.integers(1, 12))
def test_as_many_levels_as_asked_for_until_one_voxel_is_left(
    shape: tuple[int, ...], limit: tuple[int, ...], count: int
) -> None:
    factors = levels(shape, (1.0, 1.0, 1.0), limit, count=count)
    assert len(factors) == count or level_shape(shape, factors[-1])[2:] == (1, 1, 1)


def test_a_coarse_z_is_halved_only_when_y_and_x_have_come_near_to_it() -> None:
    factors = levels((1, 1, 200, 4000, 4000), (1.0, 0.25, 0.25), (16, 256, 256))
    assert [f[2:] for f in factors] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]


def test_cubic_voxels_are_halved_along_all_axes() -> None:
    factors = levels((1, 1, 500, 500, 500), (0.3, 0.3, 0.3), (64, 64, 64))
    assert [f[2:] for f in factors] == [(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8)]


def test_a_fine_z_is_halved_first() -> None:
    factors = levels((1, 1, 4000, 600, 600), (0.1, 0.4, 0.4), (64, 256, 256))
    assert [f[2:] for f in factors] == [(1, 1, 1), (2, 1, 1), (4, 1, 1), (8, 2, 2), (16, 4, 4)]


def test_unknown_voxel_sizes_count_as_equal() -> None:
    shape, limit = (1, 1, 100, 1000, 1000), (64, 256, 256)
    assert levels(shape, (None, None, None), limit) == levels(shape, (1.0, 1.0, 1.0), limit)
    assert levels(shape, (None, 0.2, 0.2), limit) == levels(shape, (0.2, 0.2, 0.2), limit)


def test_a_plane_keeps_its_one_z() -> None:
    assert levels((3, 2, 1, 1000, 1000), (5.0, 0.1, 0.1), (16, 256, 256))[-1] == (1, 1, 1, 4, 4)


def test_a_small_image_has_one_level() -> None:
    assert levels((9, 9, 400, 256, 256), (1.0, 1.0, 1.0), (16, 256, 256)) == ((1, 1, 1, 1, 1),)


def test_given_factors_are_taken_and_the_last_one_repeats() -> None:
    factors = levels((1, 1, 100, 4096, 4096), (1.0, 1.0, 1.0), (16, 256, 256), steps=[(1, 4, 4), (3, 2, 2)])
    assert [f[2:] for f in factors] == [(1, 1, 1), (1, 4, 4), (3, 8, 8), (9, 16, 16)]


def test_factors_that_shrink_nothing_any_more_end_the_pyramid() -> None:
    factors = levels((1, 1, 3, 1000, 1000), (1.0, 1.0, 1.0), (1, 1, 1), steps=[(2, 1, 1)])
    assert [f[2:] for f in factors] == [(1, 1, 1), (2, 1, 1), (4, 1, 1)]


def test_square_pixels_stay_square_until_both_axes_fit() -> None:
    factors = levels((1, 1, 5, 901, 1203), (1.0, 0.3, 0.3), (5, 256, 256))
    assert [f[2:] for f in factors] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)]
