"""Boxes in which a store is held against its source: how large, and at which levels at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, prod
from typing import TYPE_CHECKING

from ngff_convert.model import AXES
from ngff_convert.write_plan import Pass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.model import PixelArray, Shape
    from ngff_convert.stored import StoredLevel
    from ngff_convert.write_plan import Factor

SMALLEST_BOX_BYTES = 4 * 2**20
BOXES = 64
"""Boxes are not grown beyond what makes so many of an image, or beyond the smallest of them."""

SPARE_BYTES = 16 * 2**20
"""What one box in work takes besides pixels: buffers of files, and of shrinking."""

BLOCKS = 4
"""So many times a box is in memory: as read, as shrunk, as stored, and as it was decoded."""

CHECKSUM_BYTES = 4
"""What is kept of each chunk that is compared."""


@dataclass(frozen=True, slots=True)
class Request:
    """What boxes are made for.

    Attributes
    ----------
    levels
        Largest first.
    factors
        Of those that are compared.
    pixels
        Levels of the source.
    native
        Whether each level is compared with the source's own.
    box_bytes
        The largest box, unless chunks are larger.
    """

    levels: tuple[StoredLevel, ...]
    factors: tuple[Factor, ...]
    pixels: tuple[PixelArray, ...]
    native: bool
    box_bytes: int

    def passes(self) -> tuple[Pass, ...]:
        """Return what is read once each, with as many levels at once as a box has room for.

        Levels without a factor are only decoded.
        """
        decoded = [self._step(False, k, ()) for k in range(len(self.factors), len(self.levels))]
        if self.native:
            return tuple(self._step(True, k, (k,)) for k in range(len(self.factors)))
        passes: list[Pass] = []
        first, end = 0, len(self.factors)
        while first < end:
            native, read = first == 0, max(0, first - 1)
            for last in range(end - 1, first - 1, -1):
                written = tuple(range(first, last + 1))
                if last == first or self._bytes(self._smallest(read, written)) <= self.box_bytes:
                    break
            passes.append(self._step(native, read, written))
            first = last + 1
        return (*passes, *decoded)

    def kept_bytes(self) -> int:
        """Return what is in memory however many boxes are: where the source's chunks lie, and checksums."""
        used = range(len(self.factors) if self.native else 1)
        chunks = sum(prod(level.grid) for level in self.levels[: len(self.factors)])
        return sum(self.pixels[k].index_bytes for k in used) + CHECKSUM_BYTES * chunks

    def _bytes(self, region: Shape) -> int:
        return prod(region) * self.levels[0].dtype.itemsize

    def _stored_bytes(self, k: int, region: Sequence[int], factor: Factor) -> int:
        """Return the bytes of the chunks of a level that a region touches, also beyond the edge."""
        touched = [-(-r // f) for r, f in zip(region, factor, strict=True)]
        return self._bytes(tuple(-(-n // c) * c for n, c in zip(touched, self.levels[k].chunks, strict=True)))

    def _ratios(self, read: int, written: Sequence[int]) -> tuple[Factor, ...]:
        if not written:
            return ()
        base = self.factors[read]
        return tuple(tuple(f // b for f, b in zip(self.factors[k], base, strict=True)) for k in written)

    def _smallest(self, read: int, written: Sequence[int]) -> Shape:
        """Return the smallest region that is whole chunks at every level."""
        sides: list[Sequence[int]] = [
            [chunk * f for chunk, f in zip(self.levels[k].chunks, ratio, strict=True)]
            for k, ratio in zip(written, self._ratios(read, written), strict=True)
        ] or [self.levels[read].chunks]
        along = zip(self.levels[read].shape, *sides, strict=True)
        return tuple(min(n, lcm(*chunks)) for n, *chunks in along)

    def _step(self, native: bool, read: int, written: tuple[int, ...]) -> Pass:
        shape = self.levels[read].shape
        region = list(self._smallest(read, written))
        source = self.pixels[read].chunks if native else self.levels[read].chunks

        def grow(axis: int, size: int, limit: int) -> bool:
            larger = [
                min(size, n) if a == axis else r for a, (r, n) in enumerate(zip(region, shape, strict=True))
            ]
            if larger == region or self._bytes(tuple(larger)) > limit:
                return False
            region[:] = larger
            return True

        for axis in reversed(range(len(AXES))):
            grow(axis, lcm(region[axis], source[axis]), self.box_bytes)
        wanted = min(self.box_bytes, max(SMALLEST_BOX_BYTES, self._bytes(shape) // BOXES))
        for axis in reversed(range(len(AXES))):
            while grow(axis, 2 * region[axis], wanted):
                pass
        ratios = self._ratios(read, written)
        held = [self._stored_bytes(k, region, ratio) for k, ratio in zip(written, ratios, strict=True)]
        if not native:
            held.append(self._stored_bytes(read, region, (1,) * len(AXES)))
        job_bytes = BLOCKS * max(self._bytes(tuple(region)), *held) + SPARE_BYTES
        if native:
            job_bytes += 3 * prod(source) * self.pixels[read].dtype.itemsize
        return Pass(
            native=native,
            read_level=read,
            shape=shape,
            write_levels=written,
            factors=ratios,
            region=tuple(region),
            job_bytes=job_bytes,
            decoded_twice=0.0,
        )
