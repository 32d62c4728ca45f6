"""What one job does: read a region once, write it, shrink it, write that, for every level of its pass.

A job is a pure function of its task and the region's number. It touches only files that belong to that
region, so it can run anywhere, in any order, and again. Who runs it notes in the journal that it is done.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from ngff_convert import fill
from ngff_convert.downsample import shrink
from ngff_convert.errors import OptionError, WriteError
from ngff_convert.events import RegionDone
from ngff_convert.label_colors import MAX_COLORS, distinct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ngff_convert.copying import Copying
    from ngff_convert.model import Box, PixelArray
    from ngff_convert.sink import Sink
    from ngff_convert.write_plan import Pass

CAST_VOXELS = 2**18
"""So many voxels are cast at a time, to keep what is needed besides the block small."""


@dataclass(frozen=True, slots=True)
class PassTask:
    """What all regions of a pass share; pickles as addresses.

    Attributes
    ----------
    image, number
        Numbers of the image and of the pass.
    step
        The pass.
    pixels
        What is read; None where the pass reads an earlier level.
    sink
        What is written, and read where the pass reads an earlier level.
    dtype
        Type of the pixels that are written.
    method
        How voxels of lower levels are made: a key of `downsample.METHODS`.
    again
        Whether an earlier run may have left something of a region.
    fills
        Whether source chunks that cannot be read are filled with 0, instead of ending the conversion.
    copying
        Copies the chunks of the first level that is written; None where they are made.
    is_label
        Whether the values that level 0 has are noted.
    """

    image: int
    number: int
    step: Pass
    pixels: PixelArray | None
    sink: Sink
    dtype: str
    method: str
    again: bool
    fills: bool
    copying: Copying | None = None
    is_label: bool = False

    def __call__(self, index: int) -> RegionDone:
        """Write region number `index` at every level of the pass.

        Raises
        ------
        ReadError
            A source chunk cannot be read or decoded.
        OptionError
            A value does not fit the type that was asked for.
        WriteError
            A chunk cannot be written.
        """
        step = self.step
        box = step.box(index)
        levels = (step.write_levels[0], step.write_levels[-1])
        read_bytes = self.read_bytes([index])
        if self.copying is not None:
            self.copying(box)
            if levels[0] == levels[-1]:
                return RegionDone(self.image, self.number, index, levels, read_bytes, read_bytes)
        block, filled = self._read(box)
        values = distinct(block, MAX_COLORS) if self.is_label and step.write_levels[0] == 0 else ()
        done: tuple[int, ...] = (1,) * len(box.start)
        written_bytes = crc32 = 0
        with ExitStack() as writes:  # at its end all are waited for, also where one failed
            for level, factor in zip(step.write_levels, step.factors, strict=True):
                ratio = tuple(f // d for f, d in zip(factor, done, strict=True))
                if max(ratio) > 1:
                    block = shrink(block, ratio, self.method)
                done = factor
                written_bytes += block.nbytes
                if self.copying is not None and level == levels[0]:
                    continue
                # Encoding and writing go on in other threads while the next level is made here.
                place = step.box_at(box, factor)
                writes.callback(self.sink.write(level, place, block, afresh=self.again).finish)
                crc32 = checksum(block, crc32)
        return RegionDone(
            self.image, self.number, index, levels, read_bytes, written_bytes, crc32, filled, values
        )

    def read_bytes(self, regions: Iterable[int]) -> int:
        """Return the uncompressed bytes that some regions read."""
        dtype = self.dtype if self.pixels is None else self.pixels.dtype
        return sum(prod(self.step.box(index).shape) for index in regions) * np.dtype(dtype).itemsize

    def intact(self, finished: RegionDone) -> bool:
        """Return whether what a region wrote is stored: its pixels have the checksum they had.

        Chunks that are copied are held against the source's.
        """
        box = self.step.box(finished.region)
        crc32 = 0
        made = list(zip(self.step.write_levels, self.step.factors, strict=True))
        try:
            if self.copying is not None:
                if not self.copying.intact(box):
                    return False
                del made[0]
            for level, factor in made:
                crc32 = checksum(self.sink.read(level, self.step.box_at(box, factor)), crc32)
        except WriteError:  # a chunk that cannot be decoded
            return False
        return crc32 == finished.crc32

    def _read(self, box: Box) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Return the pixels of a box, and what of them is made up because it cannot be read."""
        if self.pixels is None:
            return self.sink.read(self.step.read_level, box), ()
        block, filled = fill.read(self.pixels, box) if self.fills else (self.pixels[box.slices], ())
        return cast_exactly(block, np.dtype(self.dtype), box), filled


def checksum(block: NDArray[Any], value: int = 0) -> int:
    """Return the CRC-32 of pixels in C order, little-endian, going on from that of earlier ones."""
    little = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
    pixels: Any = little.reshape(-1).view(np.uint8)
    return int(imagecodecs.deflate_crc32(pixels, value))


def cast_exactly(block: NDArray[Any], dtype: np.dtype[Any], box: Box) -> NDArray[Any]:
    """Change the type of pixels; every value must fit, and only the precision of floats may be lost.

    Floats become integers by rounding to the nearest, which must be in range; NaN never is. Integers become
    floats only as far as the type holds every whole number.

    Raises
    ------
    OptionError
        A value does not fit; it is named with the box it is in.
    """
    if block.dtype == dtype:
        return block
    cast = np.empty(block.shape, dtype)
    before, after = block.reshape(-1), cast.reshape(-1)
    lowest, highest = _exact_range(dtype, from_float=block.dtype.kind == "f")
    for start in range(0, before.size, CAST_VOXELS):
        values = before[start : start + CAST_VOXELS]
        if block.dtype.kind == "f" and dtype.kind != "f":
            values = np.rint(values)
        # NaN and infinity are floats of any type, and no integers.
        ranged = values[np.isfinite(values)] if block.dtype.kind == dtype.kind == "f" else values
        smallest, largest = (ranged.min().item(), ranged.max().item()) if ranged.size else (0, 0)
        if not (isfinite(smallest) and isfinite(largest)):  # as dtype is one of integers
            raise OptionError(
                f"--dtype {dtype.name}: NaN or infinity, which is at {box}, has no place in an integer type; "
                "choose a float type, or leave --dtype out"
            )
        if not (lowest <= smallest and largest <= highest):  # in Python's numbers
            raise OptionError(
                f"--dtype {dtype.name}: values from {smallest} to {largest} at {box} do not fit; "
                "choose a wider type, or leave --dtype out"
            )
        after[start : start + CAST_VOXELS] = values.astype(dtype)
    return cast


def _exact_range(dtype: np.dtype[Any], *, from_float: bool) -> tuple[float, float]:
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        info = np.finfo(dtype)
        highest = float(info.max) if from_float else min(2 ** (info.nmant + 1), int(info.max))
        return -highest, highest
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
