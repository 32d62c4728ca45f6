"""Which values a label image has, and a colour for each: always the same one for the same value."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ngff_convert.model import Rgba

MAX_COLORS = 1000
"""Values of a label image that get a colour each. Of more none gets one: viewers that are told some colours
draw all other values as nothing (napari), and have colours of their own where they are told none."""

BACKGROUND: Rgba = (0, 0, 0, 0)
"""Of the value 0, which is no object."""

SLAB_VOXELS = 2**18
"""So many voxels are looked at at a time."""

HUES, STEP = 1530, 947
"""Colours of full strength that 8 bits have; and a prime near their golden section, so that the hues of
numbers in a row lie far apart, and none comes twice before all have come."""

_STRENGTHS = ((1.0, 1.0), (0.55, 1.0), (1.0, 0.7), (0.6, 0.75))
"""Saturation and brightness of one round of hues after another."""


def distinct(block: NDArray[Any], limit: int) -> tuple[int, ...] | None:
    """Return the values in a block of whole numbers, ascending; None where there are more than a limit.

    Objects are many voxels wide, so that only voxels that differ from the one before are compared with all.
    """
    import numpy as np

    flat = block.reshape(-1)
    small = flat.dtype.itemsize <= 2
    found: set[int] = set()
    for start in range(0, flat.size, SLAB_VOXELS):
        slab = flat[start : start + SLAB_VOXELS]
        changes = slab[1:] != slab[:-1]
        few = 8 * np.count_nonzero(changes) < slab.size
        ends = slab[np.append(np.flatnonzero(changes), slab.size - 1)] if few else slab
        if small:  # a table of all values is faster than sorting
            seen = np.zeros(256**flat.dtype.itemsize, bool)
            seen[ends.view(f"u{flat.dtype.itemsize}")] = True
            ends = np.flatnonzero(seen).astype(f"u{flat.dtype.itemsize}").view(flat.dtype)
        else:
            ends = np.unique(ends)
        found.update(ends.tolist())
        if len(found) > limit:
            return None
    return tuple(sorted(found))


def together(parts: Iterable[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Return the values of an image from those of its parts, ascending; None where they are too many."""
    found: set[int] = set()
    for part in parts:
        if part is None:
            return None
        found.update(part)
        if len(found) > MAX_COLORS:
            return None
    return tuple(sorted(found))


def colors(values: Iterable[int]) -> dict[int, Rgba]:
    """Return a colour for each of some values; no two have the same.

    Examples
    --------
    >>> colors([0, 1, 2])
    {0: (0, 0, 0, 0), 1: (0, 73, 255, 255), 2: (146, 255, 0, 255)}
    """
    found: dict[int, Rgba] = {}
    taken: set[Rgba] = set()
    for value in values:
        number = abs(value)
        while (color := _color(number) if value else BACKGROUND) in taken:
            number += 1  # only values that are far apart, or below 0, meet
        found[value] = color
        taken.add(color)
    return found


def _color(number: int) -> Rgba:
    saturation, brightness = _STRENGTHS[number // HUES % len(_STRENGTHS)]
    red, green, blue = hsv_to_rgb(number * STEP % HUES / HUES, saturation, brightness)
    return round(red * 255), round(green * 255), round(blue * 255), 255
