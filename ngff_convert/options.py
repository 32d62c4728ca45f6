"""What a user can choose; every default is stated here and nowhere else."""

from __future__ import annotations

import operator
import os
import re
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ngff_convert.errors import OptionError
from ngff_convert.model import AXES, Triple
from ngff_convert.readers.contract import Reading
from ngff_convert.units import space_unit
from ngff_convert.write_plan import DTYPES, Codec

if TYPE_CHECKING:
    from collections.abc import Collection

Span: TypeAlias = tuple[int | None, int | None]
Auto: TypeAlias = Literal["auto"]
Given: TypeAlias = Any
"""What a caller hands over, of whatever type."""

NGFF_VERSIONS = ("0.4", "0.5")
METHODS = ("mean", "nearest", "mode", "max", "min", "median")
PYRAMIDS = ("build", "native")
LAYOUTS = ("auto", "single", "bioformats2raw")
OUTPUT_AXES = ("auto", "tczyx")
ON_ERROR = ("stop", "fill")
FSYNC = ("none", "region")
SHARES = {"none": 0.0, "sample": 0.05, "full": 1.0}
"""What of the boxes of each level a verification compares."""

RUNNING = ("workers", "memory", "on_error", "overwrite", "restart", "fsync", "verify")
"""Options that say how a conversion runs and not what it writes: another run may go on with others."""

COLORS = {
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "white": "FFFFFF",
}
"""Colours that have a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything about a conversion but its input and output.

    What cannot be carried out is refused with an `OptionError` when the record is made. Sequences become
    tuples; units, colours and types may be spelled in any usual way and are kept as the attributes say.

    Attributes
    ----------
    ngff_version
        Version of OME-NGFF to write, one of `NGFF_VERSIONS`.
    chunks
        Unit of compression in voxels, (z, y, x) or (t, c, z, y, x); ``"auto"`` is about 1 MiB, on the grid
        of the source where that has a useful size.
    shards
        File of chunks in voxels, as `chunks`; ``"auto"`` shards levels of more than 10,000 chunks;
        ``"none"`` makes each chunk a file.
    codec
        How chunks are compressed.
    method
        How voxels of lower levels are made, one of `METHODS`; None is mean, for label images mode.
    levels
        Number of levels, level 0 included; None leaves it to the size of the image.
    min_size
        An axis is halved only while it is larger than this, voxels; None is the chunk.
    factors
        Factors (z, y, x) from each level to the next, instead of halving towards isotropic voxels; the last
        one repeats.
    pyramid
        ``"build"`` makes the lower levels; ``"native"`` copies those of the source.
    images
        Numbers, from 0, of the images to convert; None is all.
    crop
        For each of the axes t, c, z, y, x the first voxel and the one after the last; None is its end.
    spacing
        Voxel size (z, y, x), instead of what the source says.
    unit
        Unit of the `spacing` and `origin` that are given, as OME-NGFF spells it; None is the source's. Where
        only one of the two is given, the source's other one is converted into this unit. Where neither is,
        the unit itself is corrected: the source's numbers stay, and are in this unit.
    origin
        Centre of the first voxel (z, y, x), instead of what the source says.
    channel_names, channel_colors
        One for each channel that is written, instead of what the source says; a colour is 6 hex digits
        RRGGBB (or was a name of `COLORS`).
    name
        Name of the image, instead of the source's.
    layout
        ``"single"`` puts one image at the root; ``"bioformats2raw"`` numbers images below the root;
        ``"auto"`` does the one or the other by the number of images.
    output_axes
        ``"auto"`` leaves t out when there is one time point; ``"tczyx"`` keeps all five axes.
    dtype
        Type of the pixels written, checked to hold every value; None is the source's.
    ome_xml
        Whether to write ``OME/METADATA.ome.xml``.
    original_metadata
        Whether that file keeps what the source says, section by section.
    workers
        Regions in work at once; None is one for each processor this process may use.
    memory
        Memory to work in, bytes; None is a quarter of what this process may use, at most 4 GiB.
    overwrite
        Whether an existing output is replaced once the new one is whole.
    reader
        Name of the reader to use; None picks by the file's content.
    axes
        What the pages of a TIFF, or the files that make up an image, are along, slowest first, with the axes
        of a page at the end or without: ``"TZCYX"``, ``"tzc"``, which it is kept as; None is what the input
        says.
    shape
        How many pages or files there are along each of `axes` but y and x; one may be -1: what is left.
    files_from
        A text file that lists the files the image is made of, one path a line; relative ones are relative to
        its folder.
    on_error
        What is done where a part of the input is not there or cannot be decoded: ``"stop"``, or ``"fill"``
        it with 0 and tell.
    restart
        Whether a partial store that an earlier run left is thrown away instead of being taken up.
    fsync
        ``"region"``: a region counts as finished only when it is on the disk, and survives a power cut;
        ``"none"`` leaves that to the system: a region survives the end of the process, and is held against
        its checksum before a later run believes in it.
    verify
        Whether the pixels are held against the source, read in another way, before the output gets its name:
        a key of `SHARES`.
    """

    ngff_version: str = "0.5"
    chunks: tuple[int, ...] | Auto = "auto"
    shards: tuple[int, ...] | Auto | Literal["none"] = "auto"
    codec: Codec = field(default_factory=Codec)
    method: str | None = None
    levels: int | None = None
    min_size: int | None = None
    factors: tuple[tuple[int, int, int], ...] = ()
    pyramid: str = "build"
    images: tuple[int, ...] | None = None
    crop: tuple[Span, ...] = ((None, None),) * 5
    spacing: Triple | None = None
    unit: str | None = None
    origin: Triple | None = None
    channel_names: tuple[str, ...] | None = None
    channel_colors: tuple[str, ...] | None = None
    name: str | None = None
    layout: str = "auto"
    output_axes: str = "auto"
    dtype: str | None = None
    ome_xml: bool = True
    original_metadata: bool = True
    workers: int | None = None
    memory: int | None = None
    overwrite: bool = False
    reader: str | None = None
    axes: str | None = None
    shape: tuple[int, ...] | None = None
    files_from: str | None = None
    on_error: str = "stop"
    restart: bool = False
    fsync: str = "none"
    verify: str = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.codec, Codec):
            raise OptionError(f"codec is a Codec, such as Codec('zstd', 3), not {self.codec!r}")
        required = (
            ("ngff_version", _one_of, NGFF_VERSIONS),
            ("pyramid", _one_of, PYRAMIDS),
            ("layout", _one_of, LAYOUTS),
            ("output_axes", _one_of, OUTPUT_AXES),
            ("chunks", _sizes, ("auto",)),
            ("shards", _sizes, ("auto", "none")),
            ("factors", _factors),
            ("crop", _crop),
            ("on_error", _one_of, ON_ERROR),
            ("fsync", _one_of, FSYNC),
            ("verify", _one_of, SHARES),
        )
        optional = (
            ("method", _one_of, METHODS),
            ("dtype", _dtype),
            ("levels", _count),
            ("min_size", _count),
            ("workers", _count),
            ("memory", _count),
            ("images", _images),
            ("spacing", _spacing),
            ("origin", _triple),
            ("unit", _unit),
            ("channel_names", _names),
            ("channel_colors", _colors),
            ("name", _text),
            ("axes", _axes),
            ("shape", _shape),
            ("files_from", _path),
        )
        given = [check for check in optional if getattr(self, check[0]) is not None]
        for name, read, *settings in (*required, *given):
            value = read(f"--{name.replace('_', '-')}", getattr(self, name), *settings)
            object.__setattr__(self, name, value)
        self._check_combinations()

    @property
    def reading(self) -> Reading:
        """What a reader is told."""
        return Reading(self.axes, self.shape, self.files_from)

    def _check_combinations(self) -> None:
        if self.shape is not None and self.axes is None:
            raise OptionError("--shape says how many there are along each of --axes: give --axes too")
        if self.shape is not None and len(self.shape) != len(self.axes or ""):
            raise OptionError(
                f"--shape {_listed(self.shape)}: --axes has {len(self.axes or '')} axes besides y and x, "
                f"not {len(self.shape)}"
            )
        if self.ngff_version == "0.4":
            if not isinstance(self.shards, str):
                raise OptionError("NGFF 0.4 has no shards: leave --shards out, or use --ngff-version 0.5")
        elif self.codec.name == "zlib":
            raise OptionError("zlib is for NGFF 0.4 (Zarr v2) only: use gzip, or --ngff-version 0.4")
        if self.pyramid == "native" and (self.method or self.factors or self.min_size):
            raise OptionError("--pyramid native copies levels: leave --method, --factors and --min-size out")
        if self.factors and self.min_size:
            raise OptionError("--factors states the levels: leave --min-size out, or use --levels with it")


# -- one option: its name and value -> the value as it is kept ---------------------------------------------


def _one_of(what: str, value: Given, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"{what}: {value!r} is not one of {', '.join(known)}")
    return value


def _integers(value: Given, lowest: int) -> tuple[int, ...] | None:
    """Return whole numbers of at least `lowest`; None where it is anything else."""
    try:
        numbers = tuple(operator.index(number) for number in value)
    except TypeError:
        return None
    return numbers if numbers and min(numbers) >= lowest else None


def _count(what: str, value: Given) -> int:
    number = _integers([value], 1)
    if number is None:
        raise OptionError(f"{what} is a whole number of at least 1, not {value!r}")
    return number[0]


def _sizes(what: str, value: Given, words: tuple[str, ...]) -> tuple[int, ...] | str:
    if isinstance(value, str) and value in words:
        return value
    sizes = _integers(value, 1)
    if sizes is None or len(sizes) not in (3, len(AXES)):
        raise OptionError(
            f"{what} takes 3 (z,y,x) or 5 (t,c,z,y,x) sizes of at least 1, such as 64,256,256, "
            f"or {' or '.join(words)}, not {_listed(value)}"
        )
    return sizes


def _factors(what: str, value: Given) -> tuple[tuple[int, ...], ...]:
    given = _items(what, value)
    steps = tuple(_integers(step, 1) or () for step in given)
    if any(len(step) != 3 for step in steps):
        raise OptionError(
            f"{what}: a step is three whole numbers z,y,x of at least 1, such as 1,2,2, not "
            + " ".join(map(_listed, given))
        )
    return steps


def _images(what: str, value: Given) -> tuple[int, ...]:
    numbers = _integers(value, 0)
    if numbers is None:
        raise OptionError(f"{what} takes numbers from 0, such as 0,2, not {_listed(value)}")
    return numbers


def _crop(_what: str, value: Given) -> tuple[Span, ...]:
    try:
        spans = tuple(
            (None if a is None else operator.index(a), None if b is None else operator.index(b))
            for a, b in value
        )
    except (TypeError, ValueError):
        spans = ()
    if len(spans) != len(AXES):
        raise OptionError(f"crop is a pair (first, end) for each of {', '.join(AXES)}, not {value!r}")
    for axis, (start, stop) in zip(AXES, spans, strict=True):
        if (start or 0) < 0 or (stop is not None and stop <= (start or 0)):
            shown = f"{'' if start is None else start}:{'' if stop is None else stop}"
            raise OptionError(
                f"--{axis} {shown}: a range begins at 0 or later and ends after that, such as 3:8"
            )
    return spans


def _axes(what: str, value: Given) -> str:
    text = value.lower() if isinstance(value, str) else ""
    pages = re.sub("(s?yxs?)$", "", text)
    if not text or not set(pages) <= set("tcz") or len(set(pages)) < len(pages):
        raise OptionError(
            f"{what} takes axes, slowest first, such as TZCYX (t, c and z at most once, y and x last or not "
            f"at all), not {value!r}"
        )
    return pages


def _shape(what: str, value: Given) -> tuple[int, ...]:
    sizes = _integers(value, -1)
    if sizes is None or 0 in sizes or sizes.count(-1) > 1:
        raise OptionError(
            f"{what} takes numbers of pages or files along each of --axes, such as 5,20,3, of which one may "
            f"be -1: what is left; not {_listed(value)}"
        )
    return sizes


def _path(what: str, value: Given) -> str:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
    if not path:
        raise OptionError(f"{what} takes the name of a file, not {value!r}")
    return str(path)


def _triple(what: str, value: Given) -> Triple:
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(numbers) != 3 or not all(map(isfinite, numbers)):
        raise OptionError(f"{what} takes three numbers z,y,x, such as 0.5,0.2,0.2, not {_listed(value)}")
    return numbers


def _spacing(what: str, value: Given) -> Triple:
    sizes = _triple(what, value)
    if min(sizes) <= 0:
        raise OptionError(f"{what}: a voxel size is above 0, not {_listed(value)}")
    return sizes


def _unit(what: str, value: Given) -> str:
    unit = space_unit(value) if isinstance(value, str) else None
    if unit is None:
        raise OptionError(
            f"{what}: {value!r} is not a unit of length that OME-NGFF knows; micrometer, nm and mm are"
        )
    return unit


def _dtype(what: str, value: Given) -> str:
    name = getattr(value, "name", None) or getattr(value, "__name__", None) or value  # np.dtype, np.uint16
    return _one_of(what, name, DTYPES)


def _items(what: str, value: Given) -> tuple[Given, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise OptionError(f"{what} takes a list, not {value!r}")
    return tuple(value)


def _text(what: str, value: Given) -> str:
    try:
        value.encode("utf-8")
    except (AttributeError, UnicodeEncodeError):
        raise OptionError(f"{what} takes text in UTF-8, not {value!r}") from None
    return str(value)


def _names(what: str, value: Given) -> tuple[str, ...]:
    return tuple(_text(what, name) for name in _items(what, value))


def _colors(what: str, value: Given) -> tuple[str, ...]:
    names = [name.strip().lower() for name in _names(what, value)]
    colors = tuple(COLORS.get(name, name.removeprefix("#").upper()) for name in names)
    for color in colors:
        if not re.fullmatch("[0-9A-F]{6}", color):
            raise OptionError(f"{what}: {color} is not a colour: 6 hex digits, or one of {', '.join(COLORS)}")
    return colors


def _listed(value: Given) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else repr(value)
