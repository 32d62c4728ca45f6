"""Display limits of channels whose source states none: percentiles of the smallest level's pixels."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ngff_convert.model import Box
from ngff_convert.ngff import Estimate, window_limits

if TYPE_CHECKING:
    from ngff_convert.model import Image, Level, WritePlan
    from ngff_convert.ngff import Window
    from ngff_convert.sink import Sink

PERCENTILES = (0.1, 99.9)
SAMPLE_VOXELS = 4 * 2**20
"""No more than about this many voxels of a channel are looked at."""

_ALL_VALUES_SHOWN = ("bool", "int8", "uint8", "int16", "uint16")


def windows(image: Image, plan: WritePlan, sink: Sink) -> tuple[Window, ...]:
    """Return the display window of each channel; its pixels are written already.

    A sample is read only where it is needed: for a channel without limits of its own, and for types so wide
    that the range of a slider must come from the data.
    """
    wide = plan.dtype not in _ALL_VALUES_SHOWN
    return tuple(
        window_limits(
            plan.dtype,
            channel.window,
            _estimate(sink, plan, number) if wide or channel.window is None else None,
        )
        for number, channel in enumerate(image.channels)
    )


def _estimate(sink: Sink, plan: WritePlan, channel: int) -> Estimate | None:
    level = len(plan.levels) - 1
    sample = sink.read(level, _middle(plan.levels[level], channel)).astype(np.float64)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, PERCENTILES)
    return Estimate(float(low), float(high), float(finite.min()), float(finite.max()))


def _middle(level: Level, channel: int) -> Box:
    """Return the middle of the middle time point: all planes if they are few, else the middle ones."""
    t, _, z, y, x = level.shape
    planes = min(z, max(1, SAMPLE_VOXELS // prod((y, x))))
    rows = min(y, max(1, SAMPLE_VOXELS // x))
    first, top = (z - planes) // 2, (y - rows) // 2
    return Box((t // 2, channel, first, top, 0), (t // 2 + 1, channel + 1, first + planes, top + rows, x))
