"""What the user says about an image, applied to it: crop, sizes, unit, origin, names, colours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import OptionError
from ngff_convert.model import AXES, Box, Channel, Image
from ngff_convert.readers.contract import LazyPixels
from ngff_convert.units import along, space_factor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ngff_convert.model import Calibration, MaybeTriple, PixelArray, Shape, StoredChunks
    from ngff_convert.option_values import Span
    from ngff_convert.options import Options


def apply(image: Image, options: Options) -> Image:
    """Return the image as it will be written.

    Raises
    ------
    OptionError
        A range lies outside the image, or the number of channel names or colours is not that of channels.
    """
    spans = zip(AXES, image.pixels.shape, options.crop, strict=True)
    bounds = [_bounds(axis, size, span) for axis, size, span in spans]
    box = Box(tuple(start for start, _ in bounds), tuple(stop for _, stop in bounds))
    image = replace(image, calibration=_calibration(image.calibration, options))
    if box.shape != image.pixels.shape:
        image = _cropped(image, box)
    return replace(
        image, name=image.name if options.name is None else options.name, channels=_channels(image, options)
    )


def crop_of(image: Image) -> Box | None:
    """Return what of its source an image of `apply` is; None where it is all of it."""
    return image.pixels.box if isinstance(image.pixels, Cropped) else None


def _bounds(axis: str, size: int, span: Span) -> tuple[int, int]:
    start = 0 if span[0] is None else span[0]
    stop = size if span[1] is None else span[1]
    if not 0 <= start < stop <= size:
        raise OptionError(f"--{axis} {start}:{stop} is not within the image, which has {axis} from 0:{size}")
    return start, stop


def _cropped(image: Image, box: Box) -> Image:
    t, c = box.slices[:2]
    known = image.calibration
    origin = tuple(
        at if first == 0 else along(at or 0.0, voxel or 1.0, first)
        for at, voxel, first in zip(known.origin_zyx, known.zyx, box.start[2:], strict=True)
    )
    return replace(
        image,
        pixels=Cropped(image.pixels, box),
        channels=image.channels[c],
        calibration=replace(
            known,
            origin_zyx=origin,
            start_s=along(known.start_s, known.t_s or 0.0, box.start[0]),
        ),
        time_stamps=image.time_stamps[t],
        native_levels=(),  # their voxels do not end where the crop does
    )


def _calibration(known: Calibration, options: Options) -> Calibration:
    """Return sizes and positions in one unit: what is kept of the source is converted into the user's.

    With a unit alone the user says that the source states a wrong one: then its numbers stay as they are.
    """
    factor = 1.0
    if options.unit and known.unit and (options.spacing or options.origin):
        factor = space_factor(known.unit, options.unit)
    return replace(
        known,
        zyx=options.spacing or _times(known.zyx, factor),
        unit=options.unit or known.unit,
        origin_zyx=options.origin or _times(known.origin_zyx, factor),
    )


def in_unit(known: Calibration, unit: str | None) -> Calibration:
    """Return sizes and positions in another unit; as they are where they have none."""
    if unit is None or known.unit in (None, unit):
        return known
    factor = space_factor(known.unit, unit)
    return replace(
        known, zyx=_times(known.zyx, factor), unit=unit, origin_zyx=_times(known.origin_zyx, factor)
    )


def _times(values: MaybeTriple, factor: float) -> MaybeTriple:
    if factor == 1:
        return values
    return tuple(value if value is None else along(0.0, value, factor) for value in values)


def _channels(image: Image, options: Options) -> tuple[Channel, ...]:
    channels = image.channels
    for what, values in (("names", options.channel_names), ("colors", options.channel_colors)):
        if values is not None and len(values) != len(channels):
            raise OptionError(
                f"--channel-{what} gives {len(values)}, but {len(channels)} channels are written: "
                "give one for each"
            )
    if options.channel_names is not None:
        channels = tuple(replace(c, name=n) for c, n in zip(channels, options.channel_names, strict=True))
    if options.channel_colors is not None:
        channels = tuple(replace(c, color=v) for c, v in zip(channels, options.channel_colors, strict=True))
    return channels


class Cropped(LazyPixels):
    """A box of a level, as a level."""

    def __init__(self, base: PixelArray, box: Box) -> None:
        self.base = base
        self.box = box
        self.shape = box.shape
        self.dtype = base.dtype
        self.chunks = base.chunks
        self.offset = _sum(base.offset, box.start)
        self.compression = base.compression
        self.library = base.library
        self.shared = base.shared
        self.index_bytes = base.index_bytes

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of the box."""
        return self.base[self._inner(box).slices]

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read a box of the box the other way."""
        return self.base.read_by_library(self._inner(box))

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where those chunks lie that are in the box, which has to begin on their edges.

        Raises
        ------
        OptionError
            It does not.
        """
        for stored in self.base.stored_chunks(within and self._inner(within)):
            t, c = (at - first for at, first in zip((stored.t, stored.c), self.box.start[:2], strict=True))
            if stored.n_tc != (1, 1):
                yield self._within(stored, 0, 0)
            elif 0 <= t < self.shape[0] and 0 <= c < self.shape[1]:
                yield self._within(stored, t, c)

    def _within(self, stored: StoredChunks, t: int, c: int) -> StoredChunks:
        """Return what lies in the box, of which `t` and `c` are the first."""
        import numpy as np

        chunks = (*stored.chunks_tc, *stored.chunks)
        for axis, first, size in zip(AXES, self.box.start, chunks, strict=True):
            if first % size:
                raise OptionError(
                    f"--{axis} {first}: chunks are not cut, and begin at multiples of {size}: begin at "
                    f"{first // size * size}, or convert it instead"
                )
        grid, base = (
            tuple(-(-n // size) for n, size in zip(shape, chunks, strict=True))
            for shape in (self.shape, self.base.shape)
        )
        moved = np.array([first // size for first, size in zip(self.box.start, chunks, strict=True)])
        before = np.ravel_multi_index((stored.t // chunks[0], stored.c // chunks[1], 0, 0, 0), base)
        cells = np.stack(np.unravel_index(stored.number + before, base), axis=-1) - moved
        inside = ((cells >= 0) & (cells < np.array(grid))).all(axis=1)
        number = np.ravel_multi_index(tuple(cells[inside].T), grid)
        number -= np.ravel_multi_index((t // chunks[0], c // chunks[1], 0, 0, 0), grid)
        is_whole = stored.number.size == stored.told
        return replace(
            stored,
            t=t,
            c=c,
            n_tc=(1, 1) if stored.n_tc == (1, 1) else (self.shape[0], self.shape[1]),
            told=number.size + (not is_whole),  # what is absent may be outside, which does no harm
            number=number,
            offset=stored.offset[inside],
            size=stored.size[inside],
        )

    def _inner(self, box: Box) -> Box:
        return Box(_sum(box.start, self.box.start), _sum(box.stop, self.box.start))


def _sum(a: Shape, b: Shape) -> Shape:
    return tuple(i + j for i, j in zip(a, b, strict=True))
