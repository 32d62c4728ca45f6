"""The options of every command, in words -> `Options`, which alone knows the defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import cloup

from ngff_convert.errors import OptionError
from ngff_convert.option_values import COLORS
from ngff_convert.options import (
    CLUSTERS,
    FSYNC,
    LABEL_METHODS,
    LAYOUTS,
    METHODS,
    NGFF_VERSIONS,
    ON_ERROR,
    OUTPUT_AXES,
    PYRAMIDS,
    SHARES,
    Options,
)
from ngff_convert.words import BYTES, NAMES, NUMBERS, PAIR, SIZES, SPAN, STEP, TRIPLE
from ngff_convert.write_plan import CODEC_LEVELS, COMPRESSORS, DTYPES, SHUFFLES, Codec

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULTS = Options()

LOG_FORMATS = ("text", "json")


def _option(words: str, text: str, kind: Any = None, default: object = None, **settings: Any) -> Any:  # noqa: ANN401 - cloup's
    """Return an option that is None unless it is given, so that `Options` alone knows the defaults.

    Parameters
    ----------
    words
        Its name, and ``=field`` if its field of the options differs; then what its value is called in the
        help, but where that is one of a few words.
    text
        What it does.
    kind
        What its value is: a type of click's, or the words to choose from.
    default
        What happens without it, for the help; by default the default of its field.
    settings
        Further ones of click's.
    """
    name, _, metavar = words.partition(" ")
    names = name.split("=")
    default = default or getattr(DEFAULTS, names[-1].strip("-").replace("-", "_"), None)
    return cloup.option(
        *names,
        type=click.Choice(tuple(kind)) if isinstance(kind, tuple | dict) else kind,
        metavar=metavar or None,
        default=None,
        help=f"{text}  [default: {default}]" if isinstance(default, str) else text,
        **settings,
    )


_EFFORTS = ", ".join(f"{name} {level}" for name, (level, _, _) in CODEC_LEVELS.items() if level)
_PARTS = {"t": "time points", "c": "channels", "z": "planes", "y": "rows", "x": "columns"}

CHUNKING = (
    _option(
        "--chunks Z,Y,X", "Unit of compression, voxels; auto is about 1 MiB on the source's own grid.", SIZES
    ),
    _option(
        "--shards Z,Y,X", "File of chunks, voxels, or none; auto shards levels of over 10,000 chunks.", SIZES
    ),
    _option(
        "--compressor",
        "How chunks are compressed; zlib is for 0.4 only. source copies the input's chunks as they are.",
        COMPRESSORS,
        default=DEFAULTS.codec.name,
    ),
    _option("--compression-level N", "Effort.", int, default=_EFFORTS),
    _option("--shuffle", "What blosc sorts before it compresses.", SHUFFLES, default=DEFAULTS.codec.shuffle),
)
OVERWRITE = _option(
    "--overwrite", "Replace an existing OME-Zarr store once the new one is whole.", is_flag=True
)
STORE = cloup.option_group(
    "Output",
    _option("--ngff-version", "Version of OME-Zarr: 0.5 and 0.6 are Zarr v3, 0.4 is Zarr v2.", NGFF_VERSIONS),
    *CHUNKING,
    _option(
        "--dtype TYPE",
        "Type of the pixels, such as uint16; refused where a value does not fit.",
        DTYPES,
        default="the source's",
    ),
    _option(
        "--layout",
        "One image at the root, numbered images below it, a plate of wells, or a store of each image, "
        "OUT_NAME.ome.zarr; auto makes a plate of a plate, and else goes by how many images there are.",
        LAYOUTS,
    ),
    _option("--output-axes", "auto leaves t out when there is one time point.", OUTPUT_AXES),
    OVERWRITE,
)
PYRAMID = cloup.option_group(
    "Pyramid",
    _option("--method", "How voxels of lower levels are made.", METHODS, default="mean, for labels mode"),
    _option(
        "--levels N", "Number of levels, the full size included.", int, default="until y and x fit in a chunk"
    ),
    _option("--min-size N", "Halve an axis only while it is larger than this.", int, default="the chunk"),
    _option(
        "--factors Z,Y,X",
        "Factors to the next level; repeat for further levels, the last one goes on.",
        STEP,
        default="towards cubic voxels",
        multiple=True,
    ),
    _option("--pyramid", "Make the lower levels, or copy the source's own.", PYRAMIDS),
)
_SPANS = tuple(
    _option(f"--{axis} FROM:TO", f"Range of {what}, from 0, TO excluded.", SPAN, default="all")
    for axis, what in _PARTS.items()
)
SPANS = cloup.option_group("Selection", *_SPANS)
SELECTION = cloup.option_group(
    "Selection",
    _option("--images N,...", "Numbers of the images to convert, from 0.", NUMBERS, default="all"),
    _option("--wells B02,...", "Wells of a plate.", NAMES, default="all"),
    _option(
        "--fields NAME,...", "Fields of each well, by name; 0:4 are the first four.", NAMES, default="all"
    ),
    *_SPANS,
    _option("--no-labels=own_labels", "Leave the label images out that the input has.", flag_value=False),
)
LABELS_ADDED = (
    _option(
        "--label-properties NAME=CSV",
        "Properties of the values of a label image; its first column, or that called label, has the values.",
        PAIR,
        multiple=True,
    ),
    _option("--label-method", "How voxels of their lower levels are made.", LABEL_METHODS, default="mode"),
)
LABELS_GIVEN = (
    _option(
        "--labels NAME=FILE",
        "Add a label image to the image; FILE#masks takes masks of its OME-XML. May be repeated.",
        PAIR,
        multiple=True,
    ),
)
LABELS = cloup.option_group("Labels", *LABELS_GIVEN, *LABELS_ADDED)
INPUT = cloup.option_group(
    "Input, where it does not tell itself",
    _option(
        "--axes AXES",
        "Axes of pages of a TIFF, of files in order, or of HDF5 datasets, slowest first: CYX, TZCYX, ZYXC.",
        default="what the input says",
    ),
    _option(
        "--shape N,...",
        "Pages along each of --axes but y and x, such as 5,20,3; one may be -1.",
        NUMBERS,
        default="what the input says",
    ),
    _option(
        "--dataset PATH",
        "A dataset of an HDF5 file that is an image; repeat for further images.",
        default="all of 2 to 5 dimensions",
        multiple=True,
    ),
    _option("--files-from LIST", "The files of an image, one a line; IN is left out, or a pattern of names."),
    _option(
        "--on-error",
        "Stop where a part of the input is missing or damaged, or fill it with 0: then the exit code is 3.",
        ON_ERROR,
    ),
    _option("--reader NAME", "Reader to use; `ngff-convert formats` lists them.", default="by content"),
)
METADATA = cloup.option_group(
    "Metadata, instead of what the source says",
    _option("--spacing Z,Y,X", "Voxel size.", TRIPLE),
    _option("--origin Z,Y,X", "Centre of the first voxel.", TRIPLE),
    _option(
        "--unit UNIT",
        "Unit of --spacing and --origin, such as um; what is kept of the source is converted into it. "
        "Alone, it corrects a wrong unit: the source's numbers stay as they are.",
        default="the source's",
    ),
    _option("--channel-names NAME,...", "One for each channel written.", NAMES),
    _option(
        "--channel-colors COLOR,...", f"One for each channel written: RRGGBB, or {', '.join(COLORS)}.", NAMES
    ),
    _option("--name NAME", "Name of the image."),
    _option("--no-ome-xml=ome_xml", "Leave OME/METADATA.ome.xml out.", flag_value=False),
    _option(
        "--no-original-metadata=original_metadata",
        "Leave the source's own metadata out of it, for privacy.",
        flag_value=False,
    ),
)
_RESOURCES = (
    _option("--workers N", "Regions in work at once.", int, default="one a processor"),
    _option(
        "--memory SIZE",
        "Memory to work in, such as 2GiB.",
        BYTES,
        default="a quarter of what there is, at most 4GiB",
    ),
)
STORAGE_OPTIONS = _option(
    "--storage-options KEY=VALUE",
    "How buckets are reached: endpoint, region, profile, anonymous=true; may be repeated.",
    PAIR,
    default="what the environment says",
    multiple=True,
)
RESOURCES = cloup.option_group("Running", *_RESOURCES, STORAGE_OPTIONS)
CLUSTER = cloup.option_group(
    "Running on a cluster",
    _option("--scheduler ADDRESS", "Use the dask.distributed cluster at this address: tcp://host:8786."),
    _option("--cluster", "Start one: processes of this machine, or jobs of a batch scheduler.", CLUSTERS),
    _option("--jobs N", "How many processes or jobs.", int, default="local: as processors allow"),
    _option("--job-cores N", "Regions in work at once in each.", int, default="1"),
    _option("--job-memory SIZE", "Memory of each, such as 8GiB; half of it is for regions.", BYTES),
    _option("--job-time TIME", "How long a job may take, as its scheduler spells it."),
    _option("--queue NAME", "Queue or partition of the jobs."),
    _option(
        "--job-extra WORDS",
        "A further directive of the scheduler, such as --account=imaging; may be repeated.",
        multiple=True,
    ),
)
RUN = cloup.option_group(
    "Running",
    *_RESOURCES,
    _option("--restart", "Throw away what an interrupted run left, instead of going on there.", is_flag=True),
    _option(
        "--fsync",
        "region: a finished region survives a power cut; none: it is checked before it is believed in.",
        FSYNC,
    ),
    _option("--verify", "Compare with the source, read in another way, before OUT gets its name.", SHARES),
    STORAGE_OPTIONS,
)


LOG_FORMAT = cloup.option(
    "--log-format",
    type=click.Choice(LOG_FORMATS),
    default=LOG_FORMATS[0],
    help="How progress, notes and errors are told on standard error; json: a line an event.  "
    f"[default: {LOG_FORMATS[0]}]",
)
REPORT = cloup.option(
    "--report", "report_file", metavar="FILE", help="Write what was done, or why not, to FILE as JSON."
)


def conversion_options(command: Command) -> Command:
    """Add the options of a conversion, wherever it runs, to a command."""
    for group in reversed((INPUT, STORE, PYRAMID, SELECTION, METADATA, RUN)):
        command = group(command)
    return command


def options_from(words: dict[str, Any]) -> Options:
    """Return the options for the words that were given; what was not given has its default."""
    crop = tuple(words.pop(axis, None) or (None, None) for axis in "tczyx")
    codec = {
        "name": words.pop("compressor", None),
        "level": words.pop("compression_level", None),
        "shuffle": words.pop("shuffle", None),
    }
    given = {name: value for name, value in words.items() if value is not None and value != ()}
    try:
        codec_given = Codec(**{key: value for key, value in codec.items() if value is not None})
    except ValueError as error:
        raise OptionError(f"--compressor: {error}") from error
    return Options(crop=crop, codec=codec_given, **given)
