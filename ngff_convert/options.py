"""What a user can choose; every default is stated here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from ngff_convert import option_values as values
from ngff_convert.errors import OptionError
from ngff_convert.readers.contract import Reading
from ngff_convert.write_plan import SOURCE, Codec

if TYPE_CHECKING:
    from ngff_convert.model import Triple
    from ngff_convert.option_values import Span

Auto: TypeAlias = Literal["auto"]

NGFF_VERSIONS = ("0.4", "0.5", "0.6")
METHODS = ("mean", "nearest", "mode", "max", "min", "median")
PYRAMIDS = ("build", "native")
LABEL_METHODS = ("nearest", "mode")
LAYOUTS = ("auto", "single", "bioformats2raw", "plate", "separate")
OUTPUT_AXES = ("auto", "tczyx")
ON_ERROR = ("stop", "fill")
FSYNC = ("none", "region")
SHARES = {"none": 0.0, "sample": 0.05, "full": 1.0}
"""What of the boxes of each level a verification compares."""

CLUSTERS = ("local", "slurm", "pbs", "lsf", "sge")
PLACE = (
    *("workers", "memory", "scheduler", "cluster", "jobs", "job_cores", "job_memory", "job_time", "queue"),
    *("job_extra", "storage_options"),
)
"""Options that say where a conversion runs and what it may use there."""

RUNNING = (*PLACE, "on_error", "overwrite", "restart", "fsync", "verify")
"""Options that say how a conversion runs and not what it writes: another run may go on with others."""


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
        How chunks are compressed; ``Codec("source")`` copies those of the source's levels as they are, and
        compresses levels that are made as is the default.
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
    wells, fields
        Of a plate, which wells (``"B02"`` or ``"B/02"``), and which fields: their names, or a range of all of
        them by their order, ``"0:4"``; None is all.
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
        ``"plate"`` puts each where it is in its plate; ``"separate"`` makes a store of each, which is for
        `convert_each` alone; ``"auto"`` makes a plate where all images are fields of one, else the first or
        the second by the number of images; a single one of `images` is at the root.
    labels
        Label images that are added to the image: pairs of a name and what is read, a file or whatever else a
        reader opens; with ``#1`` at its end that image of it, with ``#masks`` the masks in its OME-XML.
    label_properties
        Tables of properties of their values: pairs of a name of `labels` and a file of CSV.
    label_method
        How voxels of lower levels of label images are made, one of `LABEL_METHODS`; None is mode.
    own_labels
        Whether the label images that the source itself has are written too.
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
        of a page at the end or without: ``"TZCYX"``, ``"tzc"``, which it is kept as. Arrays, such as HDF5
        datasets, have y and x anywhere: ``"zyxc"``. None is what the input says.
    shape
        How many pages or files there are along each of `axes` but y and x; one may be -1: what is left.
    files_from
        A text file that lists the files the image is made of, one path a line; relative ones are relative to
        its folder.
    dataset
        Paths of the datasets of an HDF5 file that are its images; none are all that can be.
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
    scheduler
        Address of a dask.distributed scheduler, whose workers do the regions: ``"tcp://10.0.0.1:8786"``.
    cluster
        What is started for that instead, one of `CLUSTERS`: processes of this machine, or jobs of a batch
        scheduler.
    jobs
        How many processes or jobs there are; None is as many processes as processors allow.
    job_cores
        Regions in work at once in each; None is 1.
    job_memory
        Memory of each, bytes; half of it is for regions unless `memory` says.
    job_time, queue
        How long a job may take, as its scheduler spells it, and in which queue or partition it waits.
    job_extra
        Further directives of the scheduler: ``"--account=imaging"``.
    storage_options
        How buckets and servers are reached: pairs of a key and a value, see `storage`.
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
    wells: tuple[str, ...] | None = None
    fields: tuple[str, ...] | None = None
    crop: tuple[Span, ...] = ((None, None),) * 5
    spacing: Triple | None = None
    unit: str | None = None
    origin: Triple | None = None
    channel_names: tuple[str, ...] | None = None
    channel_colors: tuple[str, ...] | None = None
    name: str | None = None
    layout: str = "auto"
    labels: tuple[tuple[str, str], ...] = ()
    label_properties: tuple[tuple[str, str], ...] = ()
    label_method: str | None = None
    own_labels: bool = True
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
    dataset: tuple[str, ...] = ()
    on_error: str = "stop"
    restart: bool = False
    fsync: str = "none"
    verify: str = "none"
    scheduler: str | None = None
    cluster: str | None = None
    jobs: int | None = None
    job_cores: int | None = None
    job_memory: int | None = None
    job_time: str | None = None
    queue: str | None = None
    job_extra: tuple[str, ...] = ()
    storage_options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.codec, Codec):
            raise OptionError(f"codec is a Codec, such as Codec('zstd', 3), not {self.codec!r}")
        required = (
            ("ngff_version", values.one_of, NGFF_VERSIONS),
            ("pyramid", values.one_of, PYRAMIDS),
            ("layout", values.one_of, LAYOUTS),
            ("output_axes", values.one_of, OUTPUT_AXES),
            ("chunks", values.sizes, ("auto",)),
            ("shards", values.sizes, ("auto", "none")),
            ("factors", values.factors),
            ("crop", values.crop),
            ("on_error", values.one_of, ON_ERROR),
            ("fsync", values.one_of, FSYNC),
            ("verify", values.one_of, SHARES),
            ("dataset", values.words),
            ("job_extra", values.words),
            ("labels", values.label_pairs),
            ("label_properties", values.label_pairs),
            ("storage_options", values.pairs),
        )
        optional = (
            ("method", values.one_of, METHODS),
            ("label_method", values.one_of, LABEL_METHODS),
            ("dtype", values.dtype),
            ("levels", values.count),
            ("min_size", values.count),
            ("workers", values.count),
            ("memory", values.count),
            ("images", values.images),
            ("wells", values.names),
            ("fields", values.names),
            ("spacing", values.spacing),
            ("origin", values.triple),
            ("unit", values.unit),
            ("channel_names", values.words),
            ("channel_colors", values.colors),
            ("name", values.text),
            ("axes", values.page_axes),
            ("shape", values.page_shape),
            ("files_from", values.path),
            ("scheduler", values.text),
            ("cluster", values.one_of, CLUSTERS),
            ("jobs", values.count),
            ("job_cores", values.count),
            ("job_memory", values.count),
            ("job_time", values.text),
            ("queue", values.text),
        )
        given = [check for check in optional if getattr(self, check[0]) is not None]
        for name, read, *settings in (*required, *given):
            value = read(f"--{name.replace('_', '-')}", getattr(self, name), *settings)
            object.__setattr__(self, name, value)
        self._check_combinations()

    @property
    def reading(self) -> Reading:
        """What a reader is told."""
        return Reading(self.axes, self.shape, self.files_from, self.dataset)

    def _check_combinations(self) -> None:
        if self.shape is not None and self.axes is None:
            raise OptionError("--shape says how many there are along each of --axes: give --axes too")
        if self.shape is not None and len(self.shape) != len(self.axes or ""):
            raise OptionError(
                f"--shape {values.listed(self.shape)}: --axes has {len(self.axes or '')} axes "
                f"besides y and x, not {len(self.shape)}"
            )
        self._check_cluster()
        for name, _ in self.label_properties:
            if name not in dict(self.labels):
                raise OptionError(f"--label-properties {name}: there is no --labels {name}=FILE")
        if self.ngff_version == "0.4":
            if not isinstance(self.shards, str):
                raise OptionError("NGFF 0.4 has no shards: leave --shards out, or use --ngff-version 0.5")
        elif self.codec.name == "zlib":
            raise OptionError("zlib is for NGFF 0.4 (Zarr v2) only: use gzip, or --ngff-version 0.4")
        if self.pyramid == "native" and (self.method or self.factors or self.min_size):
            raise OptionError("--pyramid native copies levels: leave --method, --factors and --min-size out")
        if self.factors and self.min_size:
            raise OptionError("--factors states the levels: leave --min-size out, or use --levels with it")

        if self.codec.name == SOURCE and not isinstance(self.shards, str):
            raise OptionError("--compressor source copies each chunk as a file: leave --shards out")
        if self.codec.name == SOURCE and self.on_error == "fill":
            raise OptionError(
                "--compressor source copies chunks unread, so what is damaged in them is neither found nor "
                "filled: leave it out, or --on-error fill"
            )

    def _check_cluster(self) -> None:
        if self.scheduler is not None and self.cluster is not None:
            raise OptionError(
                "--scheduler is a cluster that is there, --cluster starts one: give one of them"
            )
        batch = self.cluster not in (None, "local")
        of_jobs = {"jobs": self.jobs, "job-cores": self.job_cores, "job-memory": self.job_memory}
        of_batch = {"job-time": self.job_time, "queue": self.queue, "job-extra": self.job_extra or None}
        for name, value in {**of_jobs, **of_batch}.items():
            if value is not None and self.cluster is None:
                raise OptionError(f"--{name} is for a cluster that is started: give --cluster too")
            if value is not None and name in of_batch and not batch:
                raise OptionError(f"--{name} is for jobs of a batch scheduler, not for --cluster local")
        if batch and (self.jobs is None or self.job_memory is None):
            raise OptionError(f"--cluster {self.cluster}: say how many --jobs, and the --job-memory of each")

    @property
    def is_spread(self) -> bool:
        """Whether regions are done by other processes than this one."""
        return self.scheduler is not None or self.cluster is not None
