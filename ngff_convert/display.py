"""Display windows of channels: what the source states, else percentiles of the smallest level's pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from ngff_convert.model import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ngff_convert.model import Image
    from ngff_convert.write_plan import Level, WritePlan

Span: TypeAlias = tuple[float, float]

PERCENTILES = (0.1, 99.9)

SAMPLE_VOXELS = 2**18
"""About so many voxels of a channel are looked at."""

SORTED_VOXELS = 2**16
"""About so many of them tell the percentiles: 65 are beyond each."""

NARROW = ("bool", "int8", "uint8", "int16", "uint16")
"""Types whose every value fits on a slider."""


class Levels(Protocol):
    """Levels that can be read."""

    def read(self, level: int, box: Box) -> NDArray[Any]:
        """Read a box of a level, as (t, c, z, y, x)."""


@dataclass(frozen=True, slots=True)
class SourceLevels:
    """The levels that an image has in its source."""

    image: Image

    def read(self, level: int, box: Box) -> NDArray[Any]:
        """Read a box of a level, as (t, c, z, y, x)."""
        return self.image.levels[level][box.slices]


def windows(image: Image, plan: WritePlan, levels: Levels) -> tuple[Window, ...]:
    """Return the display window of each channel; its pixels can be read already.

    A sample is read only where it is needed: for a channel without limits of its own, and for types so wide
    that the range of a slider must come from the data.
    """
    wide = plan.dtype not in NARROW
    return tuple(
        window_limits(
            plan.dtype,
            channel.window,
            _estimate(levels, plan, number) if wide or channel.window is None else None,
        )
        for number, channel in enumerate(image.channels)
    )


def _estimate(levels: Levels, plan: WritePlan, channel: int) -> Estimate | None:
    level = len(plan.levels) - 1
    boxes = _sample(plan.levels[level], channel)
    sample = np.concatenate([levels.read(level, box).ravel() for box in boxes])
    known = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    if not known.size:
        return None
    ordered = np.sort(known[:: max(1, known.size // SORTED_VOXELS)])
    low, high = (_quantile(ordered, percent / 100) for percent in PERCENTILES)
    return Estimate(low, high, float(known.min()), float(known.max()))


def _quantile(ordered: NDArray[Any], share: float) -> float:
    """Return the value that a share of ordered ones is below: on a line between two, as in `np.quantile`.

    Sorting them is ten times as fast as `np.quantile`, which does not use what the processor has for it.
    """
    place = (ordered.size - 1) * share
    below = float(ordered[int(place)])
    above = float(ordered[min(int(place) + 1, ordered.size - 1)])
    return below + (above - below) * (place - int(place))


def _sample(level: Level, channel: int) -> Iterator[Box]:
    """Yield planes spread evenly over the middle time point; of too large ones the middle rows."""
    t, _, z, y, x = level.shape
    rows = min(y, max(1, SAMPLE_VOXELS // x))
    planes = min(z, max(1, SAMPLE_VOXELS // (rows * x)))
    top = (y - rows) // 2
    for plane in ((2 * i + 1) * z // (2 * planes) for i in range(planes)):
        yield Box((t // 2, channel, plane, top, 0), (t // 2 + 1, channel + 1, plane + 1, top + rows, x))


class Estimate(NamedTuple):
    """What a sample of a channel's pixels says about their values; NaN and infinity count as unknown.

    Attributes
    ----------
    low, high
        Values between which a picture looks right: the 0.1 and 99.9 percentiles, say.
    smallest, largest
        The extremes.
    """

    low: float
    high: float
    smallest: float
    largest: float


@dataclass(frozen=True, slots=True)
class Window:
    """How a channel is displayed: `start` is black and `end` is full colour, between `min` and `max`."""

    min: float
    max: float
    start: float
    end: float


def window_limits(dtype: str, window: Span | None, estimate: Estimate | None = None) -> Window:
    """Return the display window of one channel.

    Parameters
    ----------
    dtype
        Of the pixels written, as numpy spells it: ``"uint16"``.
    window
        Display limits that the source states (`Channel.window`).
    estimate
        What a sample of the pixels says.

    Returns
    -------
    Window
        ``start`` and ``end`` are the first of these that is a span of finite numbers after it was clipped to
        the values an integer type has: the source's window, the estimate's percentiles, its extremes. Where
        there is none, they are ``min`` and ``max``.
        ``min`` and ``max`` are all the values that bool and 8 and 16 bit integers have. That would be no use
        as the range of a slider for wider types: there they just cover all the spans named above. Where there
        is none, they are all the values of the integer type, or 0 and 1 for floats.

    Examples
    --------
    >>> window_limits("uint16", (100.0, 70000.0))
    Window(min=0, max=65535, start=100, end=65535)
    >>> window_limits("float32", None, Estimate(0.1, 0.9, -2.5, 8.0))
    Window(min=-2.5, max=8, start=0.1, end=0.9)
    """
    values = _values(dtype)
    known = [window] if window else []
    if estimate:
        known += [(estimate.low, estimate.high), (estimate.smallest, estimate.largest)]
    finite = (span for span in known if isfinite(span[0]) and isfinite(span[1]))
    spans = [(start, end) for start, end in (_clip(span, values) for span in finite) if start < end]
    limits: Span = values or (0, 1)
    if spans and dtype not in NARROW:
        limits = min(start for start, _ in spans), max(end for _, end in spans)
    start, end = spans[0] if spans else limits
    return Window(*(_number(value) for value in (*limits, start, end)))


def _values(dtype: str) -> tuple[int, int] | None:
    """Return the smallest and largest value of an integer type; None for any other type."""
    if dtype == "bool":
        return 0, 1
    integer = re.fullmatch(r"(u?)int(\d+)", dtype)
    if not integer:
        return None
    bits = int(integer[2])
    return (0, 2**bits - 1) if integer[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _clip(span: Span, values: Span | None) -> Span:
    if values is None:
        return span
    start, end = (min(max(value, values[0]), values[1]) for value in span)
    return start, end


def _number(value: float) -> float:
    """Return whole numbers as int, as far as a float holds them exactly, and any other as a plain float."""
    if isinstance(value, int):
        return value
    plain = float(value)
    return int(plain) if plain.is_integer() and abs(plain) <= 2**53 else plain
