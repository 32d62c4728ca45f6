"""What is known so far of a level that is compared: of one box, of all, and what wrong chunks should be."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.verification import MAX_DIFFERENCES, Difference, LevelVerified

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ngff_convert.model import Box, Shape
    from ngff_convert.stored import StoredLevel

KEPT_BYTES = 64 * 2**20
"""So much of what wrong chunks should be is kept for the passes that begin at them."""


@dataclass(slots=True)
class Part:
    """What one box of one level is.

    Attributes
    ----------
    level
        Its number.
    numbers, crcs
        For each chunk that was compared its place in the grid, counted in C order, and its checksum.
    voxels
        That were compared.
    decoded
        Chunks that were only decoded.
    skipped
        Chunks that were not compared, because it is not known what they should be.
    undecodable
        Chunks that cannot be decoded.
    differing
        Where chunks differ.
    differences
        The first `MAX_DIFFERENCES` of them.
    filled
        What of the source cannot be read and is taken as 0, one line each.
    """

    level: int
    numbers: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    voxels: int = 0
    decoded: int = 0
    skipped: int = 0
    undecodable: int = 0
    differing: list[Shape] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    filled: tuple[str, ...] = ()

    def note(self, difference: Difference) -> None:
        """Add a chunk that differs."""
        self.differing.append(difference.chunk)
        if len(self.differences) < MAX_DIFFERENCES:
            self.differences.append(difference)


class Tally:
    """What is known of one level so far.

    Parameters
    ----------
    level
        As it is stored.
    checked
        Whether all of it is compared, so that it gets a checksum.
    """

    def __init__(self, level: StoredLevel, *, checked: bool) -> None:
        self.level = level
        self.chunks = self.voxels = self.decoded = self.skipped = self.undecodable = 0
        self.differing: set[Shape] = set()
        self.crcs = np.zeros(prod(level.grid), "<u4") if checked else None
        self.differences: list[Difference] = []

    def add(self, part: Part) -> None:
        """Add what one box is."""
        self.chunks += len(part.numbers)
        self.voxels += part.voxels
        self.decoded += part.decoded
        self.skipped += part.skipped
        self.undecodable += part.undecodable
        new = [difference for difference in part.differences if difference.chunk not in self.differing]
        self.differing.update(part.differing)
        if self.crcs is not None:
            self.crcs[part.numbers] = part.crcs
        if new:
            merged = sorted([*self.differences, *new], key=lambda difference: difference.chunk)
            self.differences = merged[:MAX_DIFFERENCES]

    def checksums(self) -> NDArray[Any] | None:
        """Return the checksum of each chunk; None if not all were compared, or one cannot be decoded."""
        return self.crcs if self.chunks == prod(self.level.grid) and not self.undecodable else None

    def result(self, number: int, compared_with: str, not_compared: str, crc32: int | None) -> LevelVerified:
        """Return all that is known, of level `number`; the others are as `LevelVerified` has them."""
        if self.skipped:
            chunks = "1 chunk is" if self.skipped == 1 else f"{self.skipped} chunks are"
            not_compared = f"{chunks} not compared, because what they are made of is wrong in the level above"
        return LevelVerified(
            level=number,
            path=self.level.path,
            compared_with=compared_with,
            not_compared=not_compared,
            chunks=self.chunks,
            of_chunks=prod(self.level.grid),
            decoded=self.decoded,
            voxels=self.voxels,
            crc32=crc32,
            differing=len(self.differing),
            differences=tuple(self.differences),
        )


class ShouldBe:
    """What wrong chunks of levels should be, as far as there is room for it."""

    def __init__(self) -> None:
        self._chunks: dict[tuple[int, Shape], NDArray[Any] | None] = {}
        self._bytes = 0

    def keep(self, level: int, cell: Shape, block: NDArray[Any]) -> None:
        """Note that a chunk is wrong, and what it should be if there is room."""
        room = self._bytes + block.nbytes <= KEPT_BYTES
        self._chunks[level, cell] = block.copy() if room else None
        self._bytes += block.nbytes if room else 0

    def within(self, level: StoredLevel, number: int, box: Box) -> dict[Shape, NDArray[Any] | None]:
        """Return the wrong chunks that a box touches, and what each should be; None is not kept."""
        if not self._chunks:
            return {}
        wrong = ((cell, (number, cell)) for cell in level.cells(box))
        return {cell: self._chunks[key] for cell, key in wrong if key in self._chunks}
