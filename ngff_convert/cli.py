"""The command line: words -> `Options`, errors -> exit codes. The only place that exits."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import cloup

from ngff_convert.errors import ConversionError, OptionError
from ngff_convert.model import CODEC_LEVELS, DTYPES, SHUFFLES, Codec
from ngff_convert.options import LAYOUTS, METHODS, NGFF_VERSIONS, OUTPUT_AXES, PYRAMIDS, Options
from ngff_convert.version import __version__
from ngff_convert.words import BYTES, COLORS, NAMES, NUMBERS, POSITION, SIZES, SPACING, SPAN, STEP, UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

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
            args = ["convert", *args]
        return super().parse_args(ctx, args)


def _option(*names: str, **settings: Any) -> Any:  # noqa: ANN401 - cloup's own type
    """Return an option that is None unless it is given; its help ends with what happens then."""
    default = settings.pop("default", None)
    if default is not None:
        settings["help"] = f"{settings['help']}  [default: {default}]"
    return cloup.option(*names, default=None, **settings)


_STORE = cloup.option_group(
    "Output",
    _option(
        "--ngff-version",
        type=click.Choice(NGFF_VERSIONS),
        default=DEFAULTS.ngff_version,
        help="Version of OME-Zarr: 0.5 is Zarr v3, 0.4 is Zarr v2.",
    ),
    _option(
        "--chunks",
        type=SIZES,
        metavar="Z,Y,X",
        default=DEFAULTS.chunks,
        help="Unit of compression, voxels; auto is about 1 MiB on the source's own grid.",
    ),
    _option(
        "--shards",
        type=SIZES,
        metavar="Z,Y,X",
        default=DEFAULTS.shards,
        help="File of chunks, voxels, or none; auto shards levels of over 10,000 chunks.",
    ),
    _option(
        "--compressor",
        type=click.Choice(list(CODEC_LEVELS)),
        default=DEFAULTS.codec.name,
        help="How chunks are compressed; zlib is for 0.4 only.",
    ),
    _option(
        "--compression-level",
        type=int,
        metavar="N",
        default=", ".join(f"{name} {level}" for name, (level, _, _) in CODEC_LEVELS.items() if level),
        help="Effort.",
    ),
    _option(
        "--shuffle",
        type=click.Choice(SHUFFLES),
        default=DEFAULTS.codec.shuffle,
        help="What blosc sorts before it compresses.",
    ),
    _option(
        "--dtype",
        type=click.Choice(DTYPES),
        metavar="TYPE",
        default="the source's",
        help="Type of the pixels, such as uint16; refused where a value does not fit.",
    ),
    _option(
        "--layout",
        type=click.Choice(LAYOUTS),
        default=DEFAULTS.layout,
        help="One image at the root, or numbered images below it; auto goes by how many there are.",
    ),
    _option(
        "--output-axes",
        type=click.Choice(OUTPUT_AXES),
        default=DEFAULTS.output_axes,
        help="auto leaves t out when there is one time point.",
    ),
    _option("--overwrite", is_flag=True, help="Replace an existing output once the new one is whole."),
)
_PYRAMID = cloup.option_group(
    "Pyramid",
    _option(
        "--method",
        type=click.Choice(METHODS),
        default="mean, for labels mode",
        help="How voxels of lower levels are made.",
    ),
    _option(
        "--levels",
        type=click.IntRange(min=1),
        metavar="N",
        default="until y and x fit in a chunk",
        help="Number of levels, the full size included.",
    ),
    _option(
        "--min-size",
        type=click.IntRange(min=1),
        metavar="N",
        default="the chunk",
        help="Halve an axis only while it is larger than this.",
    ),
    _option(
        "--factors",
        type=STEP,
        metavar="Z,Y,X",
        multiple=True,
        default="towards cubic voxels",
        help="Factors to the next level; repeat for further levels, the last one goes on.",
    ),
    _option(
        "--pyramid",
        type=click.Choice(PYRAMIDS),
        default=DEFAULTS.pyramid,
        help="Make the lower levels, or copy the source's own.",
    ),
)
_SELECTION = cloup.option_group(
    "Selection",
    _option(
        "--images",
        type=NUMBERS,
        metavar="N,...",
        default="all",
        help="Numbers of the images to convert, from 0.",
    ),
    *(
        _option(
            f"--{axis}",
            type=SPAN,
            metavar="FROM:TO",
            default="all",
            help=f"Range of {what}, from 0, TO excluded.",
        )
        for axis, what in zip("tczyx", ("time points", "channels", "planes", "rows", "columns"), strict=True)
    ),
)
_METADATA = cloup.option_group(
    "Metadata, instead of what the source says",
    _option("--spacing", type=SPACING, metavar="Z,Y,X", help="Voxel size."),
    _option("--unit", type=UNIT, metavar="UNIT", help="Unit of voxel size and origin, such as um."),
    _option("--origin", type=POSITION, metavar="Z,Y,X", help="Centre of the first voxel."),
    _option(
        "--channel-names",
        type=NAMES,
        metavar="NAME,...",
        help="One for each channel written.",
    ),
    _option(
        "--channel-colors",
        type=COLORS,
        metavar="COLOR,...",
        help="One for each channel written: RRGGBB or a name.",
    ),
    _option("--name", metavar="NAME", help="Name of the image."),
    _option("--no-ome-xml", "ome_xml", flag_value=False, help="Leave OME/METADATA.ome.xml out."),
    _option(
        "--no-original-metadata",
        "original_metadata",
        flag_value=False,
        help="Leave the source's own metadata out of it, for privacy.",
    ),
)
_RUN = cloup.option_group(
    "Running",
    _option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        default="one a processor",
        help="Regions in work at once.",
    ),
    _option(
        "--memory",
        type=BYTES,
        metavar="SIZE",
        default="a quarter of what there is, at most 4GiB",
        help="Memory to work in, such as 2GiB.",
    ),
    _option(
        "--reader",
        metavar="NAME",
        default="by content",
        help="Reader to use; `ngff-convert formats` lists them.",
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
    r"""Convert microscopy files to OME-Zarr (NGFF).

    \b
    ngff-convert IN.ims OUT.ome.zarr      convert a file
    ngff-convert inspect IN.ims           show what is in it
    ngff-convert convert --help           all options of a conversion
    """


@commands.command("convert", epilog=f"Exit codes:\n\n{EXIT_CODES}")
@cloup.argument("source", metavar="IN", help="A microscopy file; `ngff-convert formats` lists which.")
@cloup.argument("target", metavar="OUT", help="The store to make, by custom NAME.ome.zarr.")
@_STORE
@_PYRAMID
@_SELECTION
@_METADATA
@_RUN
@_SHOW
def convert_command(
    source: str, target: str, dry_run: bool, as_json: bool, quiet: bool, verbose: bool, **words: object
) -> None:
    """Convert IN to the OME-Zarr store OUT; `ngff-convert IN OUT` is the same.

    OUT appears only when it is whole; until then the work is in OUT.partial.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if as_json and not dry_run:
        raise click.UsageError("--json shows a plan: use it with --dry-run")
    options = _options(words)
    if dry_run:
        _show_plan(source, options, as_json)
        return
    from ngff_convert.convert import convert
    from ngff_convert.describe import report_lines
    from ngff_convert.events import ignore
    from ngff_convert.machine import one_heap

    one_heap()
    observer: Any = nullcontext(ignore) if quiet else _observer(verbose)
    with observer as observe:
        report = convert(source, target, options, observe)
    if not quiet:
        _print_lines(report_lines(report))


def _options(words: dict[str, Any]) -> Options:
    """Return the options for the words that were given; what was not given has its default."""
    crop = tuple(words.pop(axis) or (None, None) for axis in "tczyx")
    codec = {
        "name": words.pop("compressor"),
        "level": words.pop("compression_level"),
        "shuffle": words.pop("shuffle"),
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
    import json

    from ngff_convert.convert import decide, open_source
    from ngff_convert.describe import plan_lines

    with open_source(source, options.reader) as opened:
        decided = decide(opened, options, Path(source).stem)
        if as_json:
            plans = [{"name": d.image.name, "folder": d.folder, "plan": d.plan.to_json()} for d in decided]
            click.echo(json.dumps(plans, indent=2))
            return
        _print_notes(opened)
        for item in decided:
            click.echo(f"image {item.image.name or '(no name)'}")
            _print_lines(f"  {line}" for line in plan_lines(item.plan))


@commands.command("inspect")
@cloup.argument("source", metavar="IN", help="A microscopy file.")
@cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
@cloup.option("--reader", metavar="NAME", help="Reader to use.  [default: by content]")
def inspect_command(source: str, as_json: bool, reader: str | None) -> None:
    """Show what is in IN, and what a conversion would make of it."""
    import json

    from ngff_convert.convert import decide, open_source
    from ngff_convert.describe import image_json, image_lines, plan_lines

    with open_source(source, reader) as opened:
        decided = decide(opened, Options(reader=reader), Path(source).stem)
        if as_json:
            images = [{**image_json(item.image), "plan": item.plan.to_json()} for item in decided]
            found = {"source": source, "warnings": list(opened.warnings), "images": images}
            click.echo(json.dumps(found, indent=2, ensure_ascii=False))
            return
        click.echo(source)
        _print_notes(opened)
        for number, item in enumerate(decided):
            click.echo(f"\nimage {number}: {item.image.name or '(no name)'}")
            _print_lines(f"  {line}" for line in image_lines(item.image))
            click.echo("  would become")
            _print_lines(f"    {line}" for line in plan_lines(item.plan))


@commands.command("formats")
def formats_command() -> None:
    """List the readers: the formats that can be converted."""
    from ngff_convert.readers.registry import readers

    for name, reader in readers().items():
        click.echo(f"{name:<12} {' '.join(reader.suffixes):<16} {reader.description}")


def _print_notes(source: Source) -> None:
    _print_lines(f"note: {warning}" for warning in source.warnings)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


# -- errors -> exit codes ----------------------------------------------------------------------------------


class _Terminated(BaseException):
    """The process was told to end (SIGTERM)."""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    arguments
        The words after the command's name; None takes those of this process.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        commands.main(arguments, prog_name="ngff-convert", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConversionError as error:
        return _failed(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _failed("interrupted; the work so far is kept beside the output, as OUT.partial", 130)
    except _Terminated:
        return _failed("terminated; the work so far is kept beside the output, as OUT.partial", 143)
    return 0


def _failed(message: str, exit_code: int) -> int:
    click.echo(f"ngff-convert: {message}", err=True)
    return exit_code
