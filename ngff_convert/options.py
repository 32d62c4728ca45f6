"""What a user can choose; every default is stated here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ngff_convert.errors import OptionError
from ngff_convert.model import AXES, DTYPES, Codec, MaybeTriple

Span: TypeAlias = tuple[int | None, int | None]
Auto: TypeAlias = Literal["auto"]

NGFF_VERSIONS = ("0.4", "0.5")
METHODS = ("mean", "nearest", "mode", "max", "min", "median")
PYRAMIDS = ("build", "native")
LAYOUTS = ("auto", "single", "bioformats2raw")
OUTPUT_AXES = ("auto", "tczyx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything about a conversion but its input and output.

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
        Unit of `spacing` and `origin`, and of the source's sizes where those are not given.
    origin
        Centre of the first voxel (z, y, x), instead of what the source says.
    channel_names, channel_colors
        One for each channel that is written, instead of what the source says; colours are 6 hex digits.
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
    spacing: MaybeTriple | None = None
    unit: str | None = None
    origin: MaybeTriple | None = None
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

    def __post_init__(self) -> None:
        _one_of("NGFF version", self.ngff_version, NGFF_VERSIONS)
        _one_of("method", self.method or METHODS[0], METHODS)
        _one_of("pyramid", self.pyramid, PYRAMIDS)
        _one_of("layout", self.layout, LAYOUTS)
        _one_of("output axes", self.output_axes, OUTPUT_AXES)
        _one_of("dtype", self.dtype or DTYPES[0], DTYPES)
        for name, sizes in (("chunks", self.chunks), ("shards", self.shards)):
            if not isinstance(sizes, str) and (len(sizes) not in (3, len(AXES)) or min(sizes) < 1):
                raise OptionError(f"--{name} takes 3 (z,y,x) or 5 (t,c,z,y,x) sizes of at least 1")
        for name, number in (
            ("levels", self.levels),
            ("min-size", self.min_size),
            ("workers", self.workers),
            ("memory", self.memory),
        ):
            if number is not None and number < 1:
                raise OptionError(f"--{name} is at least 1, not {number}")
        if any(min(step) < 1 for step in self.factors):
            raise OptionError(f"--factors are whole numbers of at least 1, not {self.factors}")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.ngff_version == "0.4":
            if not isinstance(self.shards, str):
                raise OptionError("NGFF 0.4 has no shards: leave --shards out, or use --ngff-version 0.5")
        elif self.codec.name == "zlib":
            raise OptionError("zlib is for NGFF 0.4 (Zarr v2) only: use gzip, or --ngff-version 0.4")
        if self.pyramid == "native" and (self.method or self.factors or self.min_size):
            raise OptionError("--pyramid native copies levels: leave --method, --factors and --min-size out")
        if self.factors and self.min_size:
            raise OptionError("--factors states the levels: leave --min-size out, or use --levels with it")


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"{value!r} is not a known {what}: {', '.join(known)}")
