"""The frozen records of what is decided before the first byte is written, and of what was done.

Axes are always ``t, c, z, y, x``; triples are ``z, y, x``. Sizes are voxels and positions are voxel indices
unless a name says otherwise.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.model import Box, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ngff_convert.model import Image
    from ngff_convert.verification import Verification

Factor: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Codec:
    """How chunks are compressed.

    Attributes
    ----------
    name
        One of `CODEC_LEVELS`; or `SOURCE`: chunks of the source are copied as they are stored there.
    level
        Effort; None for ``none``.
    shuffle
        ``bit``, ``byte`` or ``none``; Blosc only.
    """

    name: str = "blosc-lz4"
    level: int | None = None
    shuffle: str | None = None

    def __post_init__(self) -> None:
        if self.name not in COMPRESSORS:
            raise ValueError(f"{self.name!r} is not one of {', '.join(COMPRESSORS)}")
        default, lowest, highest = CODEC_LEVELS.get(self.name, (None, 0, 0))
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

SOURCE = "source"
COMPRESSORS = (*CODEC_LEVELS, SOURCE)


@dataclass(frozen=True, slots=True)
class Copied:
    """How chunks are stored that are copied from the source, byte by byte, and not decoded.

    Attributes
    ----------
    dtype
        As numpy spells it, with byte order: ``">u2"``.
    codecs
        What chunks went through, in this order: of ``"shuffle"``, by the bytes of a voxel, and ``"zlib"``.
    fill
        Value of the voxels of chunks that were never written, as Zarr has it in JSON.
    """

    dtype: str
    codecs: tuple[str, ...]
    fill: float | str


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
    copied
        How the source stores its chunks, where they are copied; None where they are made.
    """

    shape: Shape
    factor: tuple[float, ...]
    chunks: Shape
    shards: Shape | None
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    copied: Copied | None = None

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
        How chunks are compressed that are not copied.
    ngff_version
        ``"0.4"``, ``"0.5"`` or ``"0.6"``.
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
        return {
            **_fields(self),
            "levels": [_of_level(level) for level in self.levels],
            "passes": [_fields(step) for step in self.passes],
            "codec": _fields(self.codec),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WritePlan:
        """Make a plan again from what `to_json` returned, also after a trip through JSON text."""
        frozen = _tuples(data)
        return cls(
            **{
                **frozen,
                "levels": tuple(map(_level, frozen["levels"])),
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


def _fields(record: WritePlan | Level | Pass | Codec) -> dict[str, Any]:
    """Return the fields of a record; `asdict` copies what is in them too, which takes ten times as long."""
    return {field: getattr(record, field) for field in record.__slots__}


def _of_level(level: Level) -> dict[str, Any]:
    return {**_fields(level), "copied": level.copied and asdict(level.copied)}


def _level(data: dict[str, Any]) -> Level:
    copied = data.get("copied")
    return Level(**{**data, "copied": copied and Copied(**copied)})


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
    label_of
        The group of the image that it is a label image of; None where it is no label image.
    """

    image: Image
    plan: WritePlan
    folder: str
    number: int = 0
    crop: Box | None = None
    label_of: str | None = None


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
        Bytes of all files of each level, by its path in the store; ``""`` is everything. Empty where sizes
        are not known, as in a bucket.
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
