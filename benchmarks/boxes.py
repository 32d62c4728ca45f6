"""Boxes of voxels, and where the time goes: what the bare loop and what it reads from have in common."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Pixels = NDArray[np.unsignedinteger[Any]]
"""A block of unsigned integers, axes z, y, x."""
Triple = tuple[int, int, int]
"""A size, place or factor in the order z, y, x, voxels."""


@dataclass
class Steps:
    """Seconds spent in each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Add the time until the block ends to a step."""
        started = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started


def triple(values: Sequence[int]) -> Triple:
    """Name three integers z, y, x."""
    z, y, x = values
    return z, y, x


def shrunk(size: Triple, factor: Triple) -> Triple:
    """Size after shrinking, rounded up."""
    return triple([-(-s // f) for s, f in zip(size, factor, strict=True)])


def corners(size: Triple, step: Triple) -> Iterator[Triple]:
    """Yield the first voxel of every box of a grid."""
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(size, step, strict=True))):
        yield triple(corner)


def box(corner: Triple, size: Triple) -> tuple[slice, slice, slice]:
    """Slices of the box that begins at a corner."""
    z, y, x = (slice(c, c + s) for c, s in zip(corner, size, strict=True))
    return z, y, x
