"""Which levels an image gets: arithmetic on its shape and voxel size.

An axis is halved while that brings the voxel nearer to isotropic and the axis is larger than a limit (its
chunk); y and x are so as long as one of them is larger than its own, so that square pixels stay square.
Among the axes that can still be halved, halving makes a voxel more isotropic where its edge is shorter than
the square root of 2 times the shortest: the ratio of edges is then nearer to 1 after both have been halved
than after halving the shortest alone. t and c are never shrunk.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import MaybeTriple, Shape
    from ngff_convert.write_plan import Factor

_Z, _Y, _X = 2, 3, 4


def levels(
    shape: Shape,
    voxel_zyx: MaybeTriple,
    limit_zyx: Sequence[int],
    *,
    count: int | None = None,
    steps: Sequence[tuple[int, int, int]] = (),
) -> tuple[Factor, ...]:
    """Return the factor of every level.

    Parameters
    ----------
    shape
        Size of level 0, (t, c, z, y, x), voxels.
    voxel_zyx
        Voxel size in any unit; an unknown size counts as the smallest known one.
    limit_zyx
        An axis is halved only while it is larger than this, voxels; when y and x are not, the pyramid ends.
    count
        How many levels, level 0 included. More than the limit allows are made until one voxel is left.
    steps
        Factors (z, y, x) from each level to the next, instead of the rule; the last one repeats.

    Returns
    -------
    tuple of Factor
        Voxels of level 0 that a voxel covers along each axis, level 0 (all ones) first. A level's size is
        the shape divided by this, rounded up.

    Examples
    --------
    >>> levels((1, 1, 40, 1000, 1000), (1.0, 0.25, 0.25), (16, 256, 256))
    ((1, 1, 1, 1, 1), (1, 1, 1, 2, 2), (1, 1, 1, 4, 4))
    """
    made: list[Factor] = [(1, 1, 1, 1, 1)]
    while count is None or len(made) < count:
        size = level_shape(shape, made[-1])
        if count is None and size[_Y] <= limit_zyx[1] and size[_X] <= limit_zyx[2]:
            break
        if steps:
            step = steps[min(len(made) - 1, len(steps) - 1)]
        else:
            step = _halve(size, made[-1], voxel_zyx, limit_zyx)
            if step == (1, 1, 1) and count is not None:
                step = _halve(size, made[-1], voxel_zyx, (1, 1, 1))
        factor: Factor = (1, 1, *(a * b for a, b in zip(made[-1][2:], step, strict=True)))
        if level_shape(shape, factor) == size:
            break
        made.append(factor)
    return tuple(made)


def level_shape(shape: Shape, factor: Sequence[float]) -> Shape:
    """Return the size of a level; a last voxel may cover fewer voxels than `factor`."""
    return tuple(ceil(n / f) for n, f in zip(shape, factor, strict=True))


def _halve(
    size: Shape, factor: Factor, voxel_zyx: MaybeTriple, limit_zyx: Sequence[int]
) -> tuple[int, int, int]:
    """Return the step to the next level: 2 for the axes that are halved, 1 for the others."""
    smallest = min((v for v in voxel_zyx if v is not None), default=1.0)
    z_open = size[_Z] > limit_zyx[0]
    yx_open = size[_Y] > limit_zyx[1] or size[_X] > limit_zyx[2]
    edges = {
        axis: (voxel or smallest) * factor[axis]
        for axis, voxel, is_open in zip((_Z, _Y, _X), voxel_zyx, (z_open, yx_open, yx_open), strict=True)
        if is_open and size[axis] > 1
    }
    shortest = min(edges.values(), default=0.0)
    z, y, x = (2 if axis in edges and edges[axis] < sqrt(2) * shortest else 1 for axis in (_Z, _Y, _X))
    return z, y, x
