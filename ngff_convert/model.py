"""The frozen records that readers, the plan and the writer share; each is checked when it is made.

Axes are always ``t, c, z, y, x``; triples are ``z, y, x``. Sizes are voxels and positions are voxel indices
unless a name says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from ngff_convert.units import SPACE_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import dask.array as da
    import numpy as np
    from numpy.typing import NDArray

    from ngff_convert.plates import PlateField

Shape: TypeAlias = tuple[int, ...]
Triple: TypeAlias = tuple[float, ...]
MaybeTriple: TypeAlias = tuple[float | None, ...]

AXES = "tczyx"
UNKNOWN: MaybeTriple = (None, None, None)


class Box(NamedTuple):
    """A box of voxels, ``start`` inclusive and ``stop`` exclusive, each (t, c, z, y, x)."""

    start: Shape
    stop: Shape

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index of a 5-D array."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def __str__(self) -> str:
        spans = (f"{axis}={a}:{b}" for axis, a, b in zip(AXES, self.start, self.stop, strict=True))
        return " ".join(spans)


class PixelArray(Protocol):
    """One level of an image that is read box by box; pickles as an address, never as an open handle."""

    @property
    def shape(self) -> Shape:
        """True size, (t, c, z, y, x), voxels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, in native byte order."""

    @property
    def chunks(self) -> Shape:
        """The grid in which the source decodes, (t, c, z, y, x), voxels."""

    @property
    def offset(self) -> Shape:
        """Where voxel 0 lies in that grid: 0 along each axis, but for a cropped image."""

    @property
    def compression(self) -> str:
        """How the source compresses its chunks, for people: ``"shuffle + deflate 4"``, ``"none"``."""

    @property
    def index_bytes(self) -> int:
        """Most memory that knowing where the chunks lie takes, bytes, whatever is read of them."""

    @property
    def library(self) -> str:
        """What `read_by_library` reads through; empty where that is no other way than the usual one."""

    @property
    def shared(self) -> str:
        """What the two ways have in common all the same, as a sentence; empty is nothing."""

    def __getitem__(self, index: Any, /) -> NDArray[Any]:  # noqa: ANN401 - any basic numpy index
        """Read a box; every source chunk it touches is decoded once."""

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read the same voxels another way, for verification."""

    def stored_chunks(self, within: Box | None = None) -> Iterator[StoredChunks]:
        """Say where the stored chunks lie, t by t and c by c; `UnsupportedInput` where that is no use.

        Of a box, at least those that it touches.
        """


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, as a person set it up.

    Attributes
    ----------
    name
        What the channel is called; None if the source does not say.
    color
        Six hex digits RRGGBB, upper case, no ``#``; None if unknown.
    emission_nm, excitation_nm
        Wavelengths in nanometres; None if unknown.
    window
        Display limits (start, end) in units of the pixel values, start < end; None if unknown.
    """

    name: str | None = None
    color: str | None = None
    emission_nm: float | None = None
    excitation_nm: float | None = None
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.color is not None and not re.fullmatch("[0-9A-F]{6}", self.color):
            raise ValueError(f"a colour is six upper-case hex digits, not {self.color!r}")
        if self.window is not None and not (
            isfinite(self.window[0]) and isfinite(self.window[1]) and self.window[0] < self.window[1]
        ):
            raise ValueError(f"a display window is start < end, not {self.window}")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where voxels are in space and time; None is unknown and never a made-up 1.0.

    Attributes
    ----------
    zyx
        Voxel size (z, y, x) in `unit`.
    unit
        Name of a length unit as OME-NGFF spells it (`units.SPACE_UNITS`).
    t_s
        Time between two time points in seconds, only where it is constant.
    origin_zyx
        Centre of the first voxel (z, y, x) in `unit`.
    start_s
        Seconds from the source's first time point to the image's; above 0 for a part of a series.
    """

    zyx: MaybeTriple = UNKNOWN
    unit: str | None = None
    t_s: float | None = None
    origin_zyx: MaybeTriple = UNKNOWN
    start_s: float = 0.0

    def __post_init__(self) -> None:
        for size in (*self.zyx, self.t_s):
            if size is not None and not (isfinite(size) and size > 0):
                raise ValueError(f"a voxel size or time step is finite and above 0, not {size}")
        if any(x is not None and not isfinite(x) for x in self.origin_zyx):
            raise ValueError(f"an origin is finite, not {self.origin_zyx}")
        if self.unit is not None and self.unit not in SPACE_UNITS:
            raise ValueError(f"{self.unit!r} is not a length unit of OME-NGFF")


@dataclass(frozen=True, slots=True)
class NativeLevel:
    """A lower level that the source brought along.

    Attributes
    ----------
    pixels
        The level, same t, c and dtype as the image.
    factor
        Size of a voxel of this level in voxels of level 0, (z, y, x).
    shift
        Centre of the level's first voxel minus that of level 0's, in voxels of level 0, (z, y, x).
    """

    pixels: PixelArray
    factor: Triple
    shift: Triple


@dataclass(frozen=True, eq=False, slots=True)
class StoredChunks:
    """Where chunks of a level lie in a file of the source: of one time point and channel, or of several.

    Attributes
    ----------
    t, c
        Which; of several the first.
    path
        The file they are in.
    chunks
        Voxels of a chunk, (z, y, x). At the level's edges chunks are stored whole all the same.
    dtype
        As stored, in the file's byte order.
    codecs
        What a chunk went through when it was written, in that order, as numcodecs describes it in JSON:
        ``'{"id": "shuffle", "elementsize": 2}'``.
    fill
        Value of voxels that were never written.
    told
        How many chunks this tells about, written or not.
    number
        Places in the grid of chunks (z, y, x) of the level's true size, counted in C order, rising; of those
        chunks that were written. Of several channels and time points, counting goes on with the next
        channel, and then with the next time point.
    offset, size
        Bytes from the beginning of the file, and stored bytes, of each.
    n_tc
        How many time points and channels it tells about; more than one of either are all of the level.
    chunks_tc
        How many time points and channels are in a chunk.
    """

    t: int
    c: int
    path: str
    chunks: tuple[int, int, int]
    dtype: np.dtype[Any]
    codecs: tuple[str, ...]
    fill: Any
    told: int
    number: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    n_tc: tuple[int, int] = (1, 1)
    chunks_tc: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class SourceOme:
    """OME-XML that a source brought along.

    Attributes
    ----------
    xml
        The whole document, OME 2016-06, without pixels and without the places of planes (BinData, TiffData);
        all images of a source share it.
    index
        Which of its images this one is, from 0.
    """

    xml: str
    index: int


def values_of(kind: np.dtype[Any]) -> range:
    """Return the whole numbers that a type of integers, or bool, can hold.

    Examples
    --------
    >>> import numpy as np
    >>> values_of(np.dtype("int8")), values_of(np.dtype("bool"))
    (range(-128, 128), range(0, 2))
    """
    bits = 1 if kind.kind == "b" else 8 * kind.itemsize - (kind.kind == "i")
    return range(-(2**bits) if kind.kind == "i" else 0, 2**bits)


Rgba: TypeAlias = tuple[int, int, int, int]
"""Red, green, blue and opacity, each 0 to 255."""


@dataclass(frozen=True, slots=True)
class Legend:
    """What the values of a label image mean, as far as somebody said so.

    Attributes
    ----------
    colors
        Of some values; empty where nobody said any.
    properties
        Of some values, each a name and a number or text; empty where nobody said any.
    """

    colors: Mapping[int, Rgba] = field(default_factory=dict)
    properties: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """One image of a source.

    Attributes
    ----------
    name
        What the image is called; may be empty.
    pixels
        Level 0.
    channels
        One record a channel.
    calibration
        Voxel size, time step, origin.
    time_stamps
        When each time point was taken; empty if unknown. Kept even where the steps are uneven.
    native_levels
        Lower levels of the source, largest first; empty if there are none or they are incomplete.
    is_label
        Whether voxels are object numbers, which must never be averaged.
    original_metadata
        What the source says, section by section, key by key, as text.
    ome
        The source's own OME-XML, which the sidecar carries on; None if it has none.
    plate_field
        Where in a plate of wells it was taken; None if it is not of a plate.
    legend
        Of a label image, what its values mean.
    labels
        Label images of this image, each with the name that it has among them.
    """

    name: str
    pixels: PixelArray
    channels: tuple[Channel, ...]
    calibration: Calibration = Calibration()
    time_stamps: tuple[datetime, ...] = ()
    native_levels: tuple[NativeLevel, ...] = ()
    is_label: bool = False
    original_metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ome: SourceOme | None = None
    plate_field: PlateField | None = None
    legend: Legend = Legend()
    labels: tuple[Image, ...] = ()

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != len(AXES) or min(shape) < 1:
            raise ValueError(f"an image has five axes t, c, z, y, x of at least 1 voxel, not {shape}")
        if len(self.channels) != shape[1]:
            raise ValueError(f"{shape[1]} channels of pixels, but {len(self.channels)} described")
        if self.time_stamps and len(self.time_stamps) != shape[0]:
            raise ValueError(f"{shape[0]} time points of pixels, but {len(self.time_stamps)} time stamps")
        for level in self.native_levels:
            if level.pixels.shape[:2] != shape[:2] or level.pixels.dtype != self.pixels.dtype:
                raise ValueError("a native level has the t, c and dtype of its image")

    @property
    def levels(self) -> tuple[PixelArray, ...]:
        """Level 0 and the native levels, largest first."""
        return (self.pixels, *(level.pixels for level in self.native_levels))

    @cached_property
    def data(self) -> da.Array:
        """Level 0 as a lazy dask array, axes t, c, z, y, x.

        Made on first use: a dask chunk is a whole number of source chunks and about 32 MiB, so that the
        graph of a large image stays small.
        """
        import dask.array as da  # costs most of a second, so only who asks for it pays
        import numpy as np

        pixels = self.pixels
        chunks = list(pixels.chunks)
        itemsize = pixels.dtype.itemsize
        for axis in (4, 3, 2):
            while chunks[axis] < pixels.shape[axis] and 2 * prod(chunks) * itemsize <= 32 * 2**20:
                chunks[axis] = min(2 * chunks[axis], pixels.shape[axis])
        meta = np.empty((0,) * 5, pixels.dtype)
        lazy: da.Array = da.from_array(pixels, chunks=tuple(chunks), lock=False, asarray=False, meta=meta)  # type: ignore[no-untyped-call]
        return lazy
