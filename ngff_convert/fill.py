"""Reading on where chunks of the source are damaged: those are filled with 0, and named.

Any reader will do: where a box cannot be read, each of its source chunks is read by itself.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError
from ngff_convert.model import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ngff_convert.model import PixelArray


def read(pixels: PixelArray, box: Box) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Read a box; what cannot be read of it is 0.

    Parameters
    ----------
    pixels
        The level.
    box
        At least one voxel within it.

    Returns
    -------
    tuple
        The pixels, and one line for each cause: what is the matter, how many source chunks are filled, and
        the box around them.
    """
    try:
        return pixels[box.slices], ()
    except ReadError:  # met again, chunk by chunk
        pass
    block = np.zeros(box.shape, pixels.dtype)
    damaged: dict[str, list[Box]] = {}
    for part in _by_chunk(pixels, box):
        within = tuple(
            slice(a - origin, b - origin)
            for a, b, origin in zip(part.start, part.stop, box.start, strict=True)
        )
        try:
            block[within] = pixels[part.slices]
        except ReadError as error:
            damaged.setdefault(str(error), []).append(part)
    return block, tuple(_line(cause, parts) for cause, parts in damaged.items())


def _by_chunk(pixels: PixelArray, box: Box) -> Iterator[Box]:
    """Cut a box at the edges of the source's chunks."""
    edges = [
        sorted({start, *range(start + chunk - (start + offset) % chunk, stop, chunk), stop})
        for start, stop, chunk, offset in zip(*box, pixels.chunks, pixels.offset, strict=True)
    ]
    for spans in product(*(pairwise(along) for along in edges)):
        yield Box(tuple(a for a, _ in spans), tuple(b for _, b in spans))


def _line(cause: str, parts: list[Box]) -> str:
    around = Box(
        tuple(map(min, *(part.start for part in parts), parts[0].start)),
        tuple(map(max, *(part.stop for part in parts), parts[0].stop)),
    )
    chunks = "1 chunk" if len(parts) == 1 else f"{len(parts)} chunks"
    return f"{cause}; {chunks} filled with 0 in {around}"
