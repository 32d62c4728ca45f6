"""Lower levels that a source brings along: how large their voxels are, and where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngff_convert.model import NativeLevel

if TYPE_CHECKING:
    from ngff_convert.model import PixelArray, Shape


def native_level(full: Shape, pixels: PixelArray) -> NativeLevel:
    """Describe a lower level of an image of size `full` (t, c, z, y, x), voxels."""
    z, y, x = (factor(a, b) for a, b in zip(full[2:], pixels.shape[2:], strict=True))
    # A voxel of a lower level is the mean of those it covers, so its centre is theirs.
    return NativeLevel(pixels, (z, y, x), ((z - 1) / 2, (y - 1) / 2, (x - 1) / 2))


def factor(full: int, reduced: int) -> float:
    """Return how many voxels of level 0 one voxel of a lower level covers along an axis.

    Writers that halve round down and drop what is left over, or round up; either way the factor is a power
    of two although the quotient of the sizes is not. Others divide the whole extent.

    Examples
    --------
    >>> factor(333, 166), factor(333, 84), factor(300, 200), factor(5, 5)
    (2.0, 4.0, 1.5, 1.0)
    """
    halvings = (k for k in range(full.bit_length()) if full >> k <= reduced <= -(-full >> k))
    power = next(halvings, None)
    return full / reduced if power is None else float(2**power)
