"""Images whose rows or columns are stored in another order than they are seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.model import Box, Calibration, NativeLevel
from ngff_convert.readers.contract import LazyPixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ngff_convert.model import Image, PixelArray, Shape

TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""Values of the TIFF tag Orientation but 1 (TIFF 6.0, page 36): whether rows are columns, then whether what
is seen is upside down, and whether it is mirrored."""


@dataclass(frozen=True, eq=False)
class Turned(LazyPixels):
    """A level as it is seen.

    Attributes
    ----------
    stored
        As it is stored.
    transpose, flip_y, flip_x
        As in `TURNS`.
    """

    stored: PixelArray
    transpose: bool
    flip_y: bool
    flip_x: bool
    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    compression: str
    offset: Shape
    library: str
    shared: str
    index_bytes: int

    def read(self, box: Box) -> NDArray[Any]:
        """Read the stored box and turn it."""
        return self._as_seen(self.stored[self._as_stored(box).slices])

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read the stored box the other way and turn it."""
        return self._as_seen(self.stored.read_by_library(self._as_stored(box)))

    def _as_stored(self, box: Box) -> Box:
        spans = list(zip(box.start, box.stop, strict=True))
        for axis, flip in ((3, self.flip_y), (4, self.flip_x)):
            if flip:
                spans[axis] = (self.shape[axis] - spans[axis][1], self.shape[axis] - spans[axis][0])
        start, stop = zip(*_swapped(tuple(spans), swap=self.transpose), strict=True)
        return Box(start, stop)

    def _as_seen(self, block: NDArray[Any]) -> NDArray[Any]:
        if self.transpose:
            block = block.swapaxes(3, 4)
        block = block[..., :: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(block)


def upright(image: Image, orientation: int, warnings: list[str]) -> Image:
    """Return an image as its TIFF tag Orientation says that it is to be seen.

    Origins are left out where rows or columns are turned: they are those of another corner.
    """
    turn = TURNS.get(orientation)
    if turn is None:
        return image
    warnings.append(f"orientation {orientation}: rows and columns are turned as the file says they are seen")
    z, y, x = image.calibration.zyx
    calibration = Calibration(
        zyx=(z, x, y) if turn[0] else (z, y, x), unit=image.calibration.unit, t_s=image.calibration.t_s
    )
    full = _turned(image.pixels, turn)
    levels = tuple(_turned_level(level, turn, full.shape) for level in image.native_levels)
    return replace(
        image,
        pixels=full,
        calibration=calibration,
        native_levels=levels,
        ome=None,  # what it says of places, such as regions of interest, is in stored rows and columns
    )


def _turned_level(level: NativeLevel, turn: tuple[bool, bool, bool], full: Shape) -> NativeLevel:
    """Return a lower level as it is seen; what writers drop at its end is at its beginning, where flipped."""
    pixels = _turned(level.pixels, turn)
    factor, shift = (_zyx(values, swap=turn[0]) for values in (level.factor, level.shift))
    seen = tuple(
        (n - 1) - first - size * (lower - 1) if flip else first
        for n, lower, size, first, flip in zip(
            full[2:], pixels.shape[2:], factor, shift, (False, *turn[1:]), strict=True
        )
    )
    return NativeLevel(pixels, factor, seen)


def _turned(pixels: PixelArray, turn: tuple[bool, bool, bool]) -> Turned:
    transpose, flip_y, flip_x = turn
    shape, chunks = (_swapped(sizes, swap=transpose) for sizes in (pixels.shape, pixels.chunks))
    # Counted from the other end, the grid of chunks begins within a chunk.
    offset = tuple(
        -n % chunk if flip else 0
        for n, chunk, flip in zip(shape, chunks, (False, False, False, flip_y, flip_x), strict=True)
    )
    return Turned(
        stored=pixels,
        transpose=transpose,
        flip_y=flip_y,
        flip_x=flip_x,
        shape=shape,
        dtype=pixels.dtype,
        chunks=chunks,
        compression=pixels.compression,
        offset=offset,
        library=pixels.library,
        shared=pixels.shared,
        index_bytes=pixels.index_bytes,
    )


def _swapped(values: tuple[Any, ...], *, swap: bool) -> tuple[Any, ...]:
    t, c, z, y, x = values
    return (t, c, z, x, y) if swap else values


def _zyx(values: tuple[float, ...], *, swap: bool) -> tuple[float, ...]:
    z, y, x = values
    return (z, x, y) if swap else values
