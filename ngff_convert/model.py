"""The frozen records that readers, the plan and the writer share; each is checked when it is made.

Axes are always ``t, c, z, y, x``; triples are ``z, y, x``. Sizes are voxels and positions are voxel indices
unless a name says otherwise.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from ngff_convert.units import SPACE_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import dask.array as da
    import numpy as np
    from numpy.typing import NDArray

    from ngff_convert.verification import Verification

Shape: TypeAlias = tuple[int, ...]
Factor: TypeAlias = tuple[int, ...]
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

    def __getitem__(self, index: Any, /) -> NDArray[Any]:  # noqa: ANN401 - any basic numpy index
        """Read a box; every source chunk it touches is decoded once."""

    def read_by_library(self, box: Box) -> NDArray[Any]:
        """Read the same voxels another way, for verification."""


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


@dataclass(frozen=True, slots=True)
class Codec:
    """How chunks are compressed.

    Attributes
    ----------
    name
        One of `CODEC_LEVELS`.
    level
        Effort; None for ``none``.
    shuffle
        ``bit``, ``byte`` or ``none``; Blosc only.
    """

    name: str = "blosc-lz4"
    level: int | None = None
    shuffle: str | None = None

    def __post_init__(self) -> None:
        if self.name not in CODEC_LEVELS:
            raise ValueError(f"{self.name!r} is not one of {', '.join(CODEC_LEVELS)}")
        default, lowest, highest = CODEC_LEVELS[self.name]
        if self.level is None:
            object.__setattr__(self, "level", default)
        elif default is None or not lowest <= self.level <= highest:
            raise ValueError(
                f"{self.name} has no level {self.level}"
                + ("" if default is None else f": {lowest} to {highest}")
            )
        if not self.name.startswith("blosc"):
            if self.shuffle is not None:
                raise ValueError(f"{self.name} does not shuffle: only the blosc compressors do")
        elif self.shuffle is None:
            object.__setattr__(self, "shuffle", "bit")
        elif self.shuffle not in SHUFFLES:
            raise ValueError(f"a shuffle is one of {', '.join(SHUFFLES)}, not {self.shuffle!r}")


DTYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64"),
)
"""Types of pixels that Zarr and OME-Zarr know, as numpy spells them."""

SHUFFLES = ("bit", "byte", "none")

CODEC_LEVELS: dict[str, tuple[int | None, int, int]] = {
    "blosc-lz4": (5, 0, 9),
    "blosc-zstd": (1, 0, 9),
    "zstd": (1, 1, 22),
    "gzip": (2, 0, 9),
    "zlib": (2, 0, 9),
    "none": (None, 0, 0),
}
"""Compressors: (default level, lowest, highest)."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the output.

    Attributes
    ----------
    shape
        (t, c, z, y, x), voxels.
    factor
        Voxels of level 0 that one voxel covers along each axis. Whole numbers for levels this program
        makes; a native level may have others.
    chunks
        Unit of compression, (t, c, z, y, x), voxels.
    shards
        The file of chunks, a whole number of chunks along each axis; None where each chunk is a file.
    scale
        Voxel size (t, c, z, y, x): seconds, 1, and the image's length unit; 1 times the factor where unknown.
    translation
        Centre of the first voxel (t, c, z, y, x), same units.
    """

    shape: Shape
    factor: tuple[float, ...]
    chunks: Shape
    shards: Shape | None
    scale: tuple[float, ...]
    translation: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.shards and any(s % c for s, c in zip(self.shards, self.chunks, strict=True)):
            raise ValueError(f"a shard is whole chunks: {self.shards} is not a multiple of {self.chunks}")

    @property
    def write_object(self) -> Shape:
        """What one file or key holds: the shard where there is one, else the chunk."""
        return self.shards or self.chunks


def itemsize(dtype: str) -> int:
    """Return the bytes of a voxel of a type as numpy spells it, without numpy.

    Examples
    --------
    >>> itemsize("uint16"), itemsize("float64"), itemsize("bool")
    (2, 8, 1)
    """
    return int("".join(filter(str.isdigit, dtype)) or 8) // 8


@dataclass(frozen=True, slots=True)
class Pass:
    """The levels that are made from one reading of their source, region by region.

    Attributes
    ----------
    native
        Whether the source file's own level is read; otherwise a level that an earlier pass stored.
    read_level
        The level that is read.
    shape
        Size of the level that is read, (t, c, z, y, x).
    write_levels
        The levels that are written, largest first.
    factors
        For each of them, voxels of `read_level` per voxel.
    region
        Size of a region in voxels of `read_level`; it starts at a multiple of itself and ends at the image's
        edge at the latest. At every written level it is whole write objects.
    job_bytes
        Memory that one region needs at the most, bytes.
    decoded_twice
        Share of the source's chunks that are decoded again because a region's edge cuts them; 0 is none.
    """

    native: bool
    read_level: int
    shape: Shape
    write_levels: tuple[int, ...]
    factors: tuple[Factor, ...]
    region: Shape
    job_bytes: int
    decoded_twice: float

    @property
    def grid(self) -> Shape:
        """Regions along each axis."""
        return tuple(-(-n // r) for n, r in zip(self.shape, self.region, strict=True))

    @property
    def n_regions(self) -> int:
        """How many regions there are."""
        return prod(self.grid)

    def box(self, index: int) -> Box:
        """Return region number `index` (C order) in voxels of `read_level`."""
        start, stop = [], []
        for n, size, count in reversed(list(zip(self.shape, self.region, self.grid, strict=True))):
            index, at = divmod(index, count)
            start.append(at * size)
            stop.append(min(n, (at + 1) * size))
        return Box(tuple(reversed(start)), tuple(reversed(stop)))

    def box_at(self, box: Box, factor: Factor) -> Box:
        """Return where a region lies at a written level; a last voxel may cover fewer than `factor`."""
        start = tuple(a // f for a, f in zip(box.start, factor, strict=True))
        stop = tuple(-(-b // f) for b, f in zip(box.stop, factor, strict=True))
        return Box(start, stop)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Everything decided about one image before its first byte is written.

    Attributes
    ----------
    levels
        Largest first.
    passes
        In the order they run.
    dtype
        Of every level, as numpy spells it without byte order: ``"uint16"``.
    codec
        How chunks are compressed.
    ngff_version
        ``"0.4"`` or ``"0.5"``.
    axes
        The axes that are stored, a subset of ``tczyx``; one that is left out has size 1.
    method
        How voxels of a lower level are made: a key of `downsample.METHODS`, or ``"native"``.
    workers
        Regions in work at once.
    budget_bytes
        Memory that the plan was made for; ``workers`` times any pass's ``job_bytes`` is at most this.
    """

    levels: tuple[Level, ...]
    passes: tuple[Pass, ...]
    dtype: str
    codec: Codec
    ngff_version: str
    axes: str
    method: str
    workers: int
    budget_bytes: int

    @property
    def read_bytes(self) -> int:
        """Uncompressed bytes that all passes together read."""
        return sum(prod(step.shape) for step in self.passes) * itemsize(self.dtype)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data; `from_json` makes it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WritePlan:
        """Make a plan again from what `to_json` returned, also after a trip through JSON text."""
        frozen = _tuples(data)
        return cls(
            **{
                **frozen,
                "levels": tuple(Level(**level) for level in frozen["levels"]),
                "passes": tuple(Pass(**step) for step in frozen["passes"]),
                "codec": Codec(**frozen["codec"]),
            }
        )

    @property
    def digest(self) -> str:
        """A name for what will be written: equal digests write equal stores, region by region.

        Workers and memory are left out: they matter only where they change the regions.
        """
        decided = self.to_json()
        for key in ("workers", "budget_bytes"):
            del decided[key]
        return sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()


def _tuples(data: Any) -> Any:  # noqa: ANN401 - JSON of any kind
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(map(_tuples, data)) if isinstance(data, list | tuple) else data


@dataclass(frozen=True, slots=True)
class Decided:
    """One image as it will be written, and everything decided about it.

    Attributes
    ----------
    image
        Cropped and with every override applied.
    plan
        How it is written.
    folder
        Where its group is in the store: ``""`` is the root.
    number
        Which of the source's images it is, from 0.
    crop
        What of the source's image it is; None is all.
    """

    image: Image
    plan: WritePlan
    folder: str
    number: int = 0
    crop: Box | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a finished conversion did.

    Attributes
    ----------
    target
        The store.
    plans, folders
        For each image its plan, and where its group is in the store: ``""`` is the root.
    read_bytes, written_bytes
        Uncompressed bytes of pixels.
    kept_bytes
        Uncompressed bytes of pixels that an earlier, interrupted run had read already.
    stored_bytes
        Bytes of all files of each level, by its path in the store; ``""`` is everything.
    seconds
        Wall time.
    warnings
        Everything that was noted on the way.
    filled
        What of the input was not there, or damaged, and is 0 in the store, because the user wanted that.
    verification
        What was held against the source; None if that was not asked for.
    """

    target: str
    plans: tuple[WritePlan, ...]
    folders: tuple[str, ...]
    read_bytes: int
    written_bytes: int
    kept_bytes: int
    stored_bytes: Mapping[str, int]
    seconds: float
    warnings: tuple[str, ...]
    filled: tuple[str, ...] = ()
    verification: Verification | None = None
