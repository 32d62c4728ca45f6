"""Which levels and chunks the vendor's library gives an Imaris file."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pixels import Size


def pyramid(size: Size, max_voxels: int) -> list[Size]:
    """Sizes of all resolution levels by the vendor's rule.

    Parameters
    ----------
    size
        Level 0, voxels.
    max_voxels
        The first level that is no larger is the last.

    Returns
    -------
    list of (z, y, x)
        An axis is halved, rounding down, while 100 times its square exceeds the product of the others.
    """
    sizes = [size]
    while math.prod(sizes[-1]) > max_voxels:
        halved = next_size(sizes[-1])
        if halved == sizes[-1]:
            break
        sizes.append(halved)
    return sizes


def next_size(size: Size) -> Size:
    """Size of the level below one of this size."""
    z, y, x = (s // 2 if s > 1 and (10 * s) ** 2 * s > math.prod(size) else s for s in size)
    return z, y, x


@dataclass(frozen=True, order=True)
class BlockCost:
    """What a chunk shape costs the vendor's viewer; the smallest wins."""

    slices: float
    geometry: float
    memory: float
    block: Size


def block_candidates(size: Size, n_times: int, voxels: int, least: Size) -> Iterator[BlockCost]:
    """Yield every chunk shape of powers of two that the vendor's rule admits, with its cost."""
    powers = [1 << k for k in range(voxels.bit_length())]
    for z, y, x in itertools.product(powers, powers, powers):
        if z * y * x > voxels or any(b < m for b, m in zip((z, y, x), least, strict=True)):
            continue
        square_texture = size[0] > 1 and x == y and z > 2
        flat = size[0] == 1 and z == 1 and x <= 4 * y and y <= 4 * x
        if square_texture or flat:
            yield block_cost(size, n_times, (z, y, x), voxels // (z * y * x))


def block_cost(size: Size, n_times: int, block: Size, block_times: int) -> BlockCost:
    """Cost of one chunk shape: blocks met by three slices, surface, padding."""
    nz, ny, nx = (-(-s // b) for s, b in zip(size, block, strict=True))
    nt = -(-n_times // block_times)
    z, y, x = block
    slices = 1.0 + nx * ny + nx * nz + ny * nz - nx - ny - nz
    padded = nz * z * ny * y * nx * x * nt * block_times
    return BlockCost(slices, float(x * y + x * z + y * z), padded / (math.prod(size) * n_times), block)


def chunk_shapes(sizes: Sequence[Size], n_times: int, voxels: int) -> list[Size]:
    """Chunk shape of each level by the vendor's rule.

    Parameters
    ----------
    sizes
        Size of each level, voxels.
    n_times
        Time points; where the image is small, part of the chunk's voxels is reserved for them.
    voxels
        Voxels of a chunk, a power of two.
    """
    chunks: list[Size] = []
    for level, size in enumerate(sizes):
        least: Size = (1, 1, 1) if level == 0 else least_chunk(chunks[-1], sizes[level - 1], size)
        ordered = sorted(block_candidates(size, n_times, voxels, least))
        thrifty = [cost for cost in ordered if cost.memory <= 2]
        chunks.append((thrifty or ordered)[0].block)
    return chunks


def least_chunk(chunk: Size, size: Size, halved: Size) -> Size:
    """Smallest chunk that the level below may have: this one's, halved where the level is."""
    z, y, x = (max(1, c // 2) if s // 2 == h else c for c, s, h in zip(chunk, size, halved, strict=True))
    return z, y, x
