"""The unit of compression: the source's own grid where that is useful, else about 1 MiB and near-cubic."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import Calibration, Image, PixelArray, Shape
    from ngff_convert.options import Options

CHUNK_BYTES = 2**20
"""What a chunk aims at where the source's grid is not kept."""

MOST_BEYOND = 1 / 4
"""Of an axis, how much chunks may reach beyond its end."""

SOURCE_CHUNK_BYTES = (256 * 2**10, 8 * 2**20)
"""A source grid of at least and at most this is kept."""


def chunk_shape(image: Image, options: Options, itemsize: int, region_bytes: int) -> Shape:
    """Return the chunk (t, c, z, y, x), voxels, before it is clipped to any level.

    Parameters
    ----------
    image
        As it will be written.
    options
        What the user chose.
    itemsize
        Bytes of a voxel as it is written.
    region_bytes
        What a region aims at; chunks are flat where a region of them could not be whole source chunks.
    """
    if not isinstance(options.chunks, str):
        return five(options.chunks)
    lowest, highest = SOURCE_CHUNK_BYTES
    source = image.pixels.chunks
    if lowest <= prod(source) * itemsize <= highest and source[:2] == (1, 1):
        return source
    return _near_cubic(image.pixels, image.calibration, itemsize, region_bytes)


def five(sizes: Sequence[int]) -> Shape:
    """Return sizes (z, y, x) or (t, c, z, y, x) as the latter; each time point and channel is apart."""
    return (1, 1, *sizes) if len(sizes) == 3 else tuple(sizes)


def _near_cubic(pixels: PixelArray, calibration: Calibration, itemsize: int, region_bytes: int) -> Shape:
    """Return powers of two of about `CHUNK_BYTES` with edges as equal as possible in physical space.

    A region is to be whole source chunks as well: where those are large, such as planes, new chunks are flat.
    Short axes are divided evenly instead.
    """
    known = [size for size in calibration.zyx if size is not None]
    edge = [size or min(known, default=1.0) for size in calibration.zyx]
    source, shape = pixels.chunks[2:], pixels.shape[2:]
    largest = max(region_bytes // itemsize, prod(source))
    sizes = [1, 1, 1]
    open_axes = [2, 1, 0]
    while open_axes and 2 * prod(sizes) * itemsize <= CHUNK_BYTES:
        axis = min(open_axes, key=lambda axis: sizes[axis] * edge[axis])
        longer = [2 * size if a == axis else size for a, size in enumerate(sizes)]
        if sizes[axis] < shape[axis] and prod(map(max, longer, source)) <= largest:
            sizes = longer
        else:
            open_axes.remove(axis)
    return (1, 1, *map(_even, sizes, shape, source))


def _even(size: int, length: int, source: int) -> int:
    """Return a size that few chunks divide an axis by evenly, as what is beyond its end is encoded too.

    Examples
    --------
    >>> _even(1024, 1080, 1080), _even(512, 1080, 1080), _even(128, 1080, 1080), _even(512, 1080, 256)
    (1080, 540, 128, 512)
    """
    count = -(-length // size)
    if count * size <= (1 + MOST_BEYOND) * length or 1 < source < length:  # those keep to the source's grid
        return size
    return -(-length // max(1, round(length / size)))
