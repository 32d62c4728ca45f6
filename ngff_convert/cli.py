"""The command line: words -> `Options`, errors -> exit codes. The only place that exits."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import contextmanager, nullcontext, suppress
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import cloup

from ngff_convert.errors import ConversionError, OptionError, ReadError, WriteError
from ngff_convert.model import CODEC_LEVELS, DTYPES, SHUFFLES, Codec
from ngff_convert.options import (
    COLORS,
    LAYOUTS,
    METHODS,
    NGFF_VERSIONS,
    ON_ERROR,
    OUTPUT_AXES,
    PYRAMIDS,
    Options,
)
from ngff_convert.version import __version__
from ngff_convert.words import BYTES, NAMES, NUMBERS, SIZES, SPAN, STEP, TRIPLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

    from ngff_convert.events import Event
    from ngff_convert.model import WritePlan
    from ngff_convert.progress import Bar, Lines
    from ngff_convert.readers.contract import Source

DEFAULTS = Options()

EXIT_CODES = """\
\b
0 done                               5 the output exists, or is another's
1 a bug in this program              6 writing failed
2 the command line is wrong          7 not possible within the memory given
3 the input cannot be read           8 a check found a difference
4 the input is not supported         130, 143 interrupted, terminated
"""


# -- commands ----------------------------------------------------------------------------------------------


class _ConvertByDefault(cloup.Group):
    """A group whose first word is the input of ``convert`` where it is not a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--version", *self.commands}
        if args and args[0] not in own:
            self._check_spelling(args[0])
            args = ["convert", *args]
        return super().parse_args(ctx, args)

    def _check_spelling(self, word: str) -> None:
        close = get_close_matches(word, self.commands, 1, 0.7)
        if close and not Path(word).suffix and not os.path.lexists(word):
            raise OptionError(f"{word}: no such file; did you mean the command {close[0]}?")


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

_STORE = cloup.option_group(
    "Output",
    _option("--ngff-version", "Version of OME-Zarr: 0.5 is Zarr v3, 0.4 is Zarr v2.", NGFF_VERSIONS),
    _option(
        "--chunks Z,Y,X", "Unit of compression, voxels; auto is about 1 MiB on the source's own grid.", SIZES
    ),
    _option(
        "--shards Z,Y,X", "File of chunks, voxels, or none; auto shards levels of over 10,000 chunks.", SIZES
    ),
    _option(
        "--compressor",
        "How chunks are compressed; zlib is for 0.4 only.",
        CODEC_LEVELS,
        default=DEFAULTS.codec.name,
    ),
    _option("--compression-level N", "Effort.", int, default=_EFFORTS),
    _option("--shuffle", "What blosc sorts before it compresses.", SHUFFLES, default=DEFAULTS.codec.shuffle),
    _option(
        "--dtype TYPE",
        "Type of the pixels, such as uint16; refused where a value does not fit.",
        DTYPES,
        default="the source's",
    ),
    _option(
        "--layout",
        "One image at the root, or numbered images below it; auto goes by how many there are.",
        LAYOUTS,
    ),
    _option("--output-axes", "auto leaves t out when there is one time point.", OUTPUT_AXES),
    _option("--overwrite", "Replace an existing OME-Zarr store once the new one is whole.", is_flag=True),
)
_PYRAMID = cloup.option_group(
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
_SELECTION = cloup.option_group(
    "Selection",
    _option("--images N,...", "Numbers of the images to convert, from 0.", NUMBERS, default="all"),
    *(
        _option(f"--{axis} FROM:TO", f"Range of {what}, from 0, TO excluded.", SPAN, default="all")
        for axis, what in _PARTS.items()
    ),
)
_INPUT = cloup.option_group(
    "Input, where it does not tell itself",
    _option(
        "--axes AXES",
        "Axes of the pages of a TIFF, or of files in order, slowest first: CYX if all are channels, TZCYX.",
        default="what the input says",
    ),
    _option(
        "--shape N,...",
        "Pages along each of --axes but y and x, such as 5,20,3; one may be -1.",
        NUMBERS,
        default="what the input says",
    ),
    _option("--files-from LIST", "The files of an image, one a line; IN is left out, or a pattern of names."),
    _option("--on-error", "Stop where a part of the input is not there, or fill it with 0.", ON_ERROR),
    _option("--reader NAME", "Reader to use; `ngff-convert formats` lists them.", default="by content"),
)
_METADATA = cloup.option_group(
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
_RUN = cloup.option_group(
    "Running",
    _option("--workers N", "Regions in work at once.", int, default="one a processor"),
    _option(
        "--memory SIZE",
        "Memory to work in, such as 2GiB.",
        BYTES,
        default="a quarter of what there is, at most 4GiB",
    ),
)
_SHOW = cloup.option_group(
    "Display",
    cloup.option("--dry-run", is_flag=True, help="Show what would be done, and stop."),
    cloup.option("--json", "as_json", is_flag=True, help="With --dry-run: show it as JSON."),
    cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
    cloup.option("-v", "--verbose", is_flag=True, help="Print the plan too."),
)
_SETTINGS = cloup.Context.settings(
    help_option_names=["-h", "--help"],
    formatter_settings=cloup.HelpFormatter.settings(max_width=110, col1_max_width=32),
)


@cloup.group(cls=_ConvertByDefault, context_settings=_SETTINGS, epilog=f"Exit codes:\n\n{EXIT_CODES}")
@cloup.version_option(__version__, prog_name="ngff-convert")
def commands() -> None:
    """Convert microscopy files to OME-Zarr (NGFF).

    \b
    ngff-convert IN.ims OUT.ome.zarr            convert a file
    ngff-convert 't{t}_z{z}.tif' OUT.ome.zarr   convert many files that are one image
    ngff-convert inspect IN.tif                 show what is in it
    ngff-convert convert --help                 all options of a conversion
    """  # noqa: D301 - click's mark for a block is this very character


@commands.command("convert", epilog=f"Exit codes:\n\n{EXIT_CODES}")
@cloup.argument("source", metavar="IN", help="A file, a folder, or a pattern such as 't{t}_c{c}_z{z}.tif'.")
@cloup.argument("target", metavar="OUT", required=False, help="The store to make, by custom NAME.ome.zarr.")
@_INPUT
@_STORE
@_PYRAMID
@_SELECTION
@_METADATA
@_RUN
@_SHOW
def convert_command(
    source: str, target: str | None, dry_run: bool, as_json: bool, quiet: bool, verbose: bool, **words: object
) -> None:
    """Convert IN to the OME-Zarr store OUT; `ngff-convert IN OUT` is the same.

    OUT appears only when it is whole; until then the work is in OUT.partial.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if as_json and not dry_run:
        raise click.UsageError("--json shows a plan: use it with --dry-run")
    options = _options(words)
    source, target = _in_and_out(source, target, options)
    if dry_run:
        _show_plan(source, options, as_json)
        return
    from ngff_convert.commit import Target
    from ngff_convert.convert import convert
    from ngff_convert.describe import report_lines
    from ngff_convert.events import ImageStarted, ignore
    from ngff_convert.machine import tune_process

    tune_process()
    place = Target(Path(target), options.overwrite)
    observer: Any = nullcontext(ignore) if quiet else _observer(verbose)
    begun = False

    def tell(event: Event) -> None:
        nonlocal begun
        begun = begun or isinstance(event, ImageStarted)
        observe(event)

    try:
        with observer as observe:
            report = convert(source, target, options, tell)
    except _Stopped as stopped:
        if begun and place.partial.is_dir():
            stopped.remark = f"; the work so far is kept in {place.partial}"
        raise
    if not quiet:
        _print_lines(report_lines(report))
    if report.filled:
        raise ReadError(f"{source}: not whole: {'; '.join(report.filled)}; {target} is made without that")


def _in_and_out(source: str, target: str | None, options: Options) -> tuple[str, str]:
    """With a list of files, the only argument is the output."""
    if target is None and options.files_from is None:
        raise click.UsageError("Missing argument 'OUT'.")
    if target is None:
        return str(options.files_from), source
    return source, target


def _options(words: dict[str, Any]) -> Options:
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


def _observer(verbose: bool) -> Bar | Lines:
    from ngff_convert.progress import Bar, Lines

    return Bar(verbose=verbose) if sys.stderr.isatty() else Lines(sys.stderr, verbose=verbose)


def _show_plan(source: str, options: Options, as_json: bool) -> None:
    from ngff_convert.convert import decide, name_of, open_with
    from ngff_convert.describe import plan_lines

    with open_with(source, options) as opened:
        decided = decide(opened, options, name_of(source))
        if as_json:
            plans = [{"name": d.image.name, "folder": d.folder, "plan": d.plan.to_json()} for d in decided]
            _print_json(plans)
            return
        _print_notes(opened)
        for item in decided:
            _print_lines([f"image {item.image.name or '(no name)'}"])
            _print_lines(f"  {line}" for line in plan_lines(item.plan))


@commands.command("inspect")
@cloup.argument("source", metavar="[IN]", required=False, help="A file, a folder, or a pattern of names.")
@_INPUT
@cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect_command(source: str | None, as_json: bool, **words: object) -> None:
    """Show what is in IN, and what a conversion would make of it."""
    from ngff_convert.convert import decide, name_of, open_with
    from ngff_convert.describe import image_json, image_lines, plan_lines

    options = _options(words)
    source = source or options.files_from
    if source is None:
        raise click.UsageError("Missing argument 'IN'.")
    with open_with(source, options) as opened:
        refused: ConversionError | None = None
        plans: list[WritePlan | None] = [None] * len(opened.images)
        try:
            plans = [item.plan for item in decide(opened, options, name_of(source))]
        except ConversionError as error:  # what is in the file is worth showing all the same
            refused = error
        described = list(zip(opened.images, plans, strict=True))
        if as_json:
            images = [{**image_json(image), "plan": plan and plan.to_json()} for image, plan in described]
            notes = {"warnings": list(opened.warnings), "missing": list(opened.missing)}
            _print_json({"source": source, **notes, "images": images})
        else:
            _print_lines([source])
            _print_notes(opened)
            for number, (image, plan) in enumerate(described):
                _print_lines(["", f"image {number}: {image.name or '(no name)'}"])
                _print_lines(f"  {line}" for line in image_lines(image))
                if plan:
                    _print_lines(["  would become", *(f"    {line}" for line in plan_lines(plan))])
        if refused:
            raise refused


@commands.command("formats")
def formats_command() -> None:
    """List the readers: the formats that can be converted."""
    from ngff_convert.readers.registry import broken, readers

    for name, reader in readers().items():
        _print_lines([f"{name:<12} {reader.description}"])
        _print_lines([f"{'':<12} {' '.join(reader.suffixes)}"] if reader.suffixes else [])
    _print_lines(f"{name:<12} not used: {reason}" for name, reason in broken().items())


def _print_notes(source: Source) -> None:
    _print_lines(f"note: {line}" for line in (*source.warnings, *source.missing))


def _print_json(data: object) -> None:
    import json

    _print_lines([json.dumps(data, indent=2)])  # ASCII, so that no encoding of a terminal's breaks it


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        try:
            click.echo(line)
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise WriteError(f"standard output: cannot be written: {error.strerror}") from error
            # Nobody reads any more: the rest goes nowhere, and the exit code is that of the work.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- errors -> exit codes ----------------------------------------------------------------------------------


class _Stopped(BaseException):
    """The process was told to end, by SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.remark = ""

    def __str__(self) -> str:
        return ("interrupted" if self.number == signal.SIGINT else "terminated") + self.remark


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise _Stopped(number)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):  # ignored in the background of a script
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments
        The words after the command's name; None takes those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        with _stopped_by_signals():
            commands.main(arguments, prog_name="ngff-convert", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _failed(_one_line(error), error.exit_code)
    except ConversionError as error:
        return _failed(str(error), error.exit_code)
    except _Stopped as stopped:
        return _failed(str(stopped), 128 + stopped.number)
    return 0


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if "unexpected extra argument" in message:
        return f"{message}; many files that are one image are given as a folder, a quoted pattern, or a list"
    return f"{message} (ngff-convert --help tells more)" if isinstance(error, click.UsageError) else message


def _failed(message: str, exit_code: int) -> int:
    with suppress(OSError):  # the exit code tells it too
        click.echo(f"ngff-convert: {message}", err=True)
    return exit_code
