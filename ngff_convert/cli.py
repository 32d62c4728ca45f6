"""The command line: words -> `Options`, errors -> exit codes. The only place that exits."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from ngff_convert.cli_archive import pack_command, unpack_command
from ngff_convert.cli_batch import batch_command
from ngff_convert.cli_checks import validate_command, verify_command
from ngff_convert.cli_jobs import finish_command, plan_command, run_command, status_command
from ngff_convert.cli_labels import labels_command
from ngff_convert.cli_options import (
    CLUSTER,
    INPUT,
    LABELS,
    LOG_FORMAT,
    REPORT,
    conversion_options,
    options_from,
)
from ngff_convert.cli_output import not_whole, outcome, print_json, print_lines, print_notes, told
from ngff_convert.cli_upgrade import upgrade_command
from ngff_convert.cli_virtual import virtual_command
from ngff_convert.describe import one_line
from ngff_convert.errors import ConversionError, OptionError
from ngff_convert.signals import Stopped, stopped_by_signals
from ngff_convert.version import PROGRAM, __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.options import Options
    from ngff_convert.write_plan import WritePlan

EXIT_CODES = """\
\b
0 done                               5 the output exists, or is another's
1 a bug in this program              6 writing failed
2 the command line is wrong          7 not possible within the memory given
3 the input cannot be read           8 a check found a difference
4 the input is not supported         129, 130, 143 ended by a signal
"""


# -- commands ----------------------------------------------------------------------------------------------


class _ConvertByDefault(cloup.Group):
    """A group whose first word is the input of ``convert`` where it is not a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"-h", "--help", "--version", *self.commands}
        if args and args[0] not in own:
            self._check_order(args)
            self._check_spelling(args[0])
            args = ["convert", *args]
        return super().parse_args(ctx, args)

    def _check_order(self, args: list[str]) -> None:
        flags = {
            name
            for option in self.commands["convert"].params
            if isinstance(option, click.Option) and option.is_flag
            for name in option.opts
        }
        word = next((word for word in args if word not in flags), "")
        if word in self.commands and not os.path.lexists(word):
            raise OptionError(f"{word}: a command comes first: ngff-convert {word} ...")

    def _check_spelling(self, word: str) -> None:
        close = get_close_matches(word, self.commands, 1, 0.7)
        if close and not Path(word).suffix and not os.path.lexists(word):
            raise OptionError(f"{word}: no such file; did you mean the command {close[0]}?")


_CONVERSION = cloup.Section("Conversion", [batch_command])
_SECTIONS = (
    _CONVERSION,
    cloup.Section("In parts, for array jobs", [plan_command, run_command, status_command, finish_command]),
    cloup.Section(
        "Stores",
        [
            labels_command,
            virtual_command,
            verify_command,
            validate_command,
            upgrade_command,
            pack_command,
            unpack_command,
        ],
    ),
)
_SHOW = cloup.option_group(
    "Display",
    cloup.option("--dry-run", is_flag=True, help="Show what would be done, and stop."),
    cloup.option("--json", "as_json", is_flag=True, help="With --dry-run: show it as JSON."),
    LOG_FORMAT,
    REPORT,
    cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
    cloup.option("-v", "--verbose", is_flag=True, help="Print the plan too."),
)
_SETTINGS = cloup.Context.settings(
    help_option_names=["-h", "--help"],
    formatter_settings=cloup.HelpFormatter.settings(max_width=110, col1_max_width=32),
)


@cloup.group(
    cls=_ConvertByDefault,
    sections=_SECTIONS,
    context_settings=_SETTINGS,
    epilog=f"Exit codes:\n\n{EXIT_CODES}",
)
@cloup.version_option(__version__, prog_name=PROGRAM)
def commands() -> None:
    """Convert microscopy files to OME-Zarr (NGFF).

    \b
    ngff-convert IN.ims OUT.ome.zarr            convert a file
    ngff-convert 't{t}_z{z}.tif' OUT.ome.zarr   convert many files that are one image
    ngff-convert batch '*.ims' OUTDIR           convert many files
    ngff-convert inspect IN.tif                 show what is in it
    ngff-convert verify IN.ims OUT.ome.zarr     compare all pixels
    ngff-convert validate OUT.ome.zarr          check an OME-Zarr, whoever wrote it
    ngff-convert virtual IN.ims OUT.json        make IN itself an OME-Zarr, without a copy
    ngff-convert labels add OUT cells=SEG.tif   add a label image to an OME-Zarr
    ngff-convert pack OUT.ome.zarr OUT.ozx      one file of it; unpack makes a folder again
    ngff-convert plan IN OUT -n 200 -o JOB      plan it in parts, for array jobs of a cluster
    ngff-convert convert --help                 all options of a conversion
    """  # noqa: D301 - click's mark for a block is this very character


@commands.command("convert", section=_CONVERSION, epilog=f"Exit codes:\n\n{EXIT_CODES}")
@cloup.argument(
    "source", metavar="IN", help="A file, an address, a folder, or a pattern such as 't{t}_c{c}_z{z}.tif'."
)
@cloup.argument(
    "target",
    metavar="OUT",
    required=False,
    help="The store to make, by custom NAME.ome.zarr; or NAME.ozx, or s3://BUCKET/NAME.",
)
@conversion_options
@LABELS
@CLUSTER
@_SHOW
def convert_command(
    source: str,
    target: str | None,
    dry_run: bool,
    as_json: bool,
    log_format: str,
    report_file: str | None,
    quiet: bool,
    verbose: bool,
    **words: object,
) -> None:
    """Convert IN to OUT; `ngff-convert IN OUT` is the same.

    OUT appears only when it is whole; until then the work is in OUT.partial.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if as_json and not dry_run:
        raise click.UsageError("--json shows a plan: use it with --dry-run")
    options = options_from(words)
    source, target = _in_and_out(source, target, options)
    if dry_run:
        _show_plan(source, target, options, as_json)
        return
    from ngff_convert.convert import convert
    from ngff_convert.machine import tune_process
    from ngff_convert.separate import convert_each

    tune_process()
    several = options.layout == "separate"
    with outcome(
        source, target, log_format, report_file, quiet=quiet, verbose=verbose, several=several
    ) as observe:
        if several:
            made = convert_each(source, target, options, observe)
            filled = tuple(line for store in made for line in store.filled)
            not_whole(source, ", ".join(store.target for store in made if store.filled), filled)
        else:
            not_whole(source, target, convert(source, target, options, observe).filled)


def _in_and_out(source: str, target: str | None, options: Options) -> tuple[str, str]:
    """With a list of files, the only argument is the output."""
    if target is None and options.files_from is None:
        raise click.UsageError("Missing argument 'OUT'.")
    if target is None:
        return str(options.files_from), source
    return told(source, options), target


def _show_plan(source: str, target: str, options: Options, as_json: bool) -> None:
    from ngff_convert.convert import decide, name_of, open_with
    from ngff_convert.describe import decided_json, decided_lines
    from ngff_convert.separate import planned

    with open_with(source, options) as opened:
        name, several = name_of(source), options.layout == "separate"
        stores = planned(opened.images, options, target, name) if several else ()
        parts = [(store.target, decide(opened, store.options, name)) for store in stores]
        parts = parts or [("", decide(opened, options, name))]
        if as_json:
            print_json([fact for place, decided in parts for fact in decided_json(decided, place)])
            return
        print_notes(opened)
        for place, decided in parts:
            print_lines([place] if place else [])
            print_lines(decided_lines(decided))


@commands.command("inspect", section=_CONVERSION)
@cloup.argument("source", metavar="[IN]", required=False, help="A file, a folder, or a pattern of names.")
@INPUT
@cloup.option("--all", "every", is_flag=True, help="Show each image of a plate, also where many are alike.")
@cloup.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect_command(source: str | None, every: bool, as_json: bool, **words: object) -> None:
    """Show what is in IN, and what would become of it."""
    from ngff_convert.convert import decide, name_of, open_with
    from ngff_convert.inspection import images_json, lines, missing_lists

    options = options_from(words)
    source = source or options.files_from
    if source is None:
        raise click.UsageError("Missing argument 'IN'.")
    source = told(source, options)
    with open_with(source, options) as opened:
        refused: ConversionError | None = None
        plans: list[WritePlan | None] = [None] * len(opened.images)
        try:
            plans = [item.plan for item in decide(opened, options, name_of(source)) if item.label_of is None]
        except ConversionError as error:  # what is in the file is worth showing all the same
            refused = error
        described = list(zip(opened.images, plans, strict=True))
        if as_json:
            notes = {"warnings": list(opened.warnings), "missing": list(opened.missing)}
            print_json({"source": source, **notes, **images_json(described)})
        else:
            print_lines([source])
            print_notes(opened, said=missing_lists(opened.images))
            print_lines(lines(described, every=every))
        if refused:
            raise refused


@commands.command("formats", section=_CONVERSION)
def formats_command() -> None:
    """List the readers: the formats that can be converted."""
    from ngff_convert.readers.registry import broken, readers

    for name, reader in readers().items():
        print_lines([f"{name:<12} {reader.description}"])
        print_lines([f"{'':<12} {' '.join(reader.suffixes)}"] if reader.suffixes else [])
    print_lines(f"{name:<12} not used: {reason}" for name, reason in broken().items())


# -- errors -> exit codes ----------------------------------------------------------------------------------


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
    failed = partial(_failed, as_json=_logs_json(sys.argv[1:] if arguments is None else arguments))
    try:
        with stopped_by_signals(failed):
            commands.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return failed(_one_line(error), error.exit_code)
    except (ConversionError, Stopped) as error:
        return failed(str(error), error.exit_code)
    return 0


def _logs_json(words: Sequence[str]) -> bool:
    """Whether errors are told as JSON too; those of the command line itself are met before it is read."""
    return "--log-format=json" in words or ("--log-format", "json") in pairwise(words)


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if "unexpected extra argument" in message:
        return f"{message}; many files that are one image are given as a folder, a quoted pattern, or a list"
    return f"{message} (ngff-convert --help tells more)" if isinstance(error, click.UsageError) else message


def _failed(message: str, exit_code: int, *, as_json: bool) -> int:
    if as_json:
        from ngff_convert.json_log import JsonLines

        JsonLines(sys.stderr).failed(message, exit_code)
        return exit_code
    with suppress(OSError):  # the exit code tells it too
        click.echo(f"{PROGRAM}: {one_line(message)}", err=True)
    return exit_code
