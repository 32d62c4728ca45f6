"""The command ``batch``: many files, one conversion each, and for each a line, an event, a row of a report.

With ``--log-format json`` every event of `json_log` has `file`, the input, besides. An `error` ends the file
that it names, and one without `file` the batch. There are two further events: `skipped`, with `target`, and
at the end `batch`, with the `exit_code` and how many `files` ended in which way.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from ngff_convert import batch_report, describe
from ngff_convert.cli_options import CLUSTER, LABELS, LOG_FORMAT, conversion_options, options_from
from ngff_convert.cli_output import print_lines, some, told
from ngff_convert.errors import ConversionError, OptionError
from ngff_convert.events import ImageStarted, Note, ignore
from ngff_convert.json_log import JsonLines
from ngff_convert.version import PROGRAM
from ngff_convert.words import PAIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ngff_convert.batch import Job, Outcome
    from ngff_convert.events import Event, Observer

_NAMES = {"in": "in", "source": "in", "out": "out", "target": "out"}
_YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@cloup.command("batch")
@cloup.argument(
    "words", nargs=-1, metavar="IN... OUTDIR", help="Files, quoted patterns, and where outputs go."
)
@cloup.option_group(
    "Files",
    cloup.option(
        "--table",
        "table_file",
        metavar="CSV",
        help="A row a file, instead of IN: columns in, out, and any option without its dashes.",
    ),
)
@conversion_options
@LABELS
@CLUSTER
@cloup.option_group(
    "Display",
    cloup.option("--dry-run", is_flag=True, help="Show what would be done, and stop."),
    LOG_FORMAT,
    cloup.option(
        "--report",
        "report_file",
        metavar="FILE",
        help="Write a row a file to FILE, a .csv or .json, as it goes.",
    ),
    cloup.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
)
@click.pass_context
def batch_command(
    context: click.Context,
    /,
    words: tuple[str, ...],
    table_file: str | None,
    dry_run: bool,
    log_format: str,
    report_file: str | None,
    quiet: bool,
    **given: object,
) -> None:
    """Convert many files, each into a folder OUTDIR.

    Each becomes OUTDIR/NAME.ome.zarr, with the options of `convert`.

    A quoted pattern such as 'data/**/*.ims' keeps folders below its wildcards; one that ends with a slash
    stands for folders, each of which is one image. Files that fail do not stop the others; what an earlier
    batch has made is skipped, what it has begun goes on. The exit code is the worst of all files':
    1, 8, 6, 3, 7, 4, 2, 5, 0.
    """
    from ngff_convert import batch

    if table_file is None:
        jobs = _from_patterns(words, given)
    else:
        jobs = _from_table(context, table_file, words, given)
    batch.check_outputs(jobs)
    if dry_run:
        print_lines(describe.one_line(line) for line in _foreseen(jobs))
        return
    from ngff_convert.machine import tune_process

    tune_process()
    with batch_report.writing(report_file) as write:
        telling = _Telling(log_format, quiet=quiet)
        for outcome in batch.run(jobs, telling.observing):
            write(outcome)
            telling(outcome)
        telling.end(batch.worst(telling.codes))


# -- words -> jobs -----------------------------------------------------------------------------------------


def _from_patterns(words: tuple[str, ...], given: dict[str, object]) -> list[Job]:
    from ngff_convert.batch import Job, pairs

    options = options_from(dict(given))
    if not words:
        raise click.UsageError("Missing argument 'IN'.")
    if len(words) == 1:
        raise click.UsageError("Missing argument 'OUTDIR', the folder for the outputs, after the input.")
    if options.files_from is not None:
        raise click.UsageError("--files-from names the files of one image: use it in a --table")
    if options.labels:
        raise click.UsageError("--labels are of one image: use a column labels in a --table")
    *inputs, folder = words
    _check_folder(folder)
    return [Job(told(source, options), target, options) for source, target in pairs(inputs, folder)]


def _check_folder(folder: str) -> None:
    if os.path.lexists(folder) and not Path(folder).is_dir():
        raise OptionError(f"{folder}: is not a folder; the last argument is the one that outputs go to")


def _from_table(
    context: click.Context, path: str, words: tuple[str, ...], given: dict[str, object]
) -> list[Job]:
    from ngff_convert.batch import table

    if len(words) > 1:
        raise click.UsageError("With --table, the only argument is OUTDIR; inputs are in the table.")
    for folder in words:
        _check_folder(folder)
    names, rows = table(path)
    known: dict[str, click.Option] = {
        word.lstrip("-"): option
        for option in context.command.params
        if isinstance(option, click.Option) and option.name in given
        for word in option.opts
    }
    columns = _columns(path, names, rows, known)
    jobs = []
    for line, row in rows:
        cells = {name: cell for name, cell in zip(columns, row, strict=False) if cell}
        try:
            jobs.append(_job(context, path, words[0] if words else None, cells, known, given))
        except (OptionError, click.UsageError) as error:
            message = error.format_message() if isinstance(error, click.UsageError) else str(error)
            raise OptionError(f"{path}, line {line}: {message}") from error
    if not jobs:
        raise OptionError(f"{path}: has no row besides its first line, which names the columns")
    return jobs


def _columns(
    path: str,
    names: Sequence[str],
    rows: Sequence[tuple[int, Sequence[str]]],
    known: Mapping[str, click.Option],
) -> list[str]:
    """Return the columns of a table as options are called; one without a name and without cells is none."""
    columns = [_NAMES.get(name, name) for name in (n.lower().lstrip("-").replace("_", "-") for n in names)]
    every = [*_NAMES, *known]
    for number, (name, column) in enumerate(zip(names, columns, strict=True)):
        if not column and not any(row[number : number + 1] != [""] for _, row in rows if len(row) > number):
            continue
        if column not in every:
            close = get_close_matches(column, every, 1, 0.0)
            raise OptionError(
                f"{path}: the column {name!r} is no option of a conversion; did you mean {close[0]}?"
            )
        if column in columns[:number]:
            raise OptionError(f"{path}: there are two columns {column}")
    if not {"in", "files-from"} & set(columns):
        raise OptionError(f"{path}: has no column in (or source), which names the inputs")
    return columns


def _job(
    context: click.Context,
    path: str,
    folder: str | None,
    cells: dict[str, str],
    known: Mapping[str, click.Option],
    given: Mapping[str, object],
) -> Job:
    """Return what a row says: its cells, and what was given on the command line where it has none."""
    from ngff_convert.batch import Job, output

    place = str(Path(path).parent)
    source, target = cells.pop("in", None), cells.pop("out", None)
    if "files-from" in cells:
        cells["files-from"] = _below(place, cells["files-from"])
    values = {known[name].name: _value(context, known[name], cell) for name, cell in cells.items()}
    for name in ("labels", "label_properties"):
        if name in values:
            values[name] = tuple((key, _below(place, file)) for key, file in values[name])
    options = options_from({**given, **values})
    source = _below(place, source) if source else options.files_from
    if not source:
        raise OptionError("has no input: the column in (or source) is empty")
    if target:
        return Job(told(source, options), _below(folder if folder is not None else place, target), options)
    if folder is None:
        raise OptionError("has no output: fill the column out (or target), or give OUTDIR")
    return Job(told(source, options), output(folder, "", source), options)


def _below(folder: str, path: str) -> str:
    """Return a path that is relative to a folder."""
    return path if "://" in path else os.path.join("" if folder == "." else folder, path)  # noqa: PTH118


def _value(context: click.Context, option: click.Option, cell: str) -> Any:  # noqa: ANN401 - click's
    """Return the value of a cell, as the command line would have it."""
    if not option.is_flag:
        words: Any = cell
        if option.multiple:  # a value such as NAME=FILE may have spaces in it
            words = re.split(r"\s+(?=[^\s=]+=)" if option.type is PAIR else r"\s+", cell)
        try:
            return option.type_cast_value(context, words)
        except click.BadParameter as error:
            raise OptionError(f"{option.opts[0]}: {error.message}") from error
    if cell.lower() not in _YES_NO:
        raise OptionError(f"{option.opts[0]}: {cell!r} is not one of {', '.join(_YES_NO)}")
    return option.flag_value if _YES_NO[cell.lower()] else not option.flag_value


def _foreseen(jobs: Sequence[Job]) -> Iterator[str]:
    """Yield a line a job: what would be done."""
    from ngff_convert.batch_record import finished, is_begun

    for job in jobs:
        remark = ""
        try:
            done = finished(job.source, job.target, job.options)
            status = "done" if done else "partial" if is_begun(job.target) else "new"
        except ConversionError as error:
            status, remark = "refused", f"  exit code {error.exit_code}: {error}"
        yield f"{status:<8} {job.source} -> {job.target}{remark}"


# -- outcomes -> lines, events, rows -----------------------------------------------------------------------


class _FileLines(JsonLines):
    """Events of one file of many."""

    def __init__(self, file: str) -> None:
        super().__init__(sys.stderr)
        self._file = file

    def ended(self, outcome: Outcome) -> None:
        """Tell what no event of the conversion has told."""
        if outcome.status == "skipped":
            self._say("skipped", target=outcome.job.target)
        if outcome.exit_code:
            self.failed(outcome.message, outcome.exit_code)

    def _say(self, event: str, **facts: Any) -> None:  # noqa: ANN401 - JSON of any kind
        super()._say(event, file=self._file, **facts)


class _BatchLines(JsonLines):
    """Events of the batch."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def ended(self, exit_code: int, counts: Mapping[str, int]) -> None:
        """Tell how it ended."""
        self._say("batch", exit_code=exit_code, files=dict(counts))


class _Telling:
    """Tells how each file goes and ends, on standard output and standard error."""

    def __init__(self, log_format: str, *, quiet: bool) -> None:
        self._json = log_format == "json"
        self._quiet = quiet
        self._failures: list[str] = []
        self._counts: Counter[str] = Counter()
        self.codes: set[int] = set()

    def observing(self, job: Job) -> AbstractContextManager[Observer]:
        """Return the observer of a file."""
        from ngff_convert.progress import Bar, Lines

        if self._quiet:
            return nullcontext(ignore)
        if self._json:
            return _FileLines(job.source)
        return _named(
            Bar(verbose=False) if sys.stderr.isatty() else Lines(sys.stderr, verbose=False), job.source
        )

    def __call__(self, outcome: Outcome) -> None:
        """Tell how a file ended."""
        self._counts[outcome.status] += 1
        self.codes.add(outcome.exit_code)
        if outcome.exit_code:
            self._failures.append(outcome.message)
        if self._json and (outcome.exit_code or not self._quiet):
            _FileLines(outcome.job.source).ended(outcome)
        if outcome.trace and not self._json:
            _to_stderr(outcome.trace)
        if not self._quiet:
            print_lines([describe.one_line(_line(outcome))])
        elif outcome.exit_code and not self._json:
            _to_stderr(f"{PROGRAM}: {describe.one_line(outcome.message)}")

    def end(self, exit_code: int) -> None:
        """Tell how many files ended how; raises where not all of them ended well."""
        counts = ", ".join(f"{number} {status}" for status, number in self._counts.items())
        total = describe.counted(self._counts.total(), "file")
        if not self._quiet:
            print_lines([f"{total}: {counts}"])
            if self._json:
                _BatchLines().ended(exit_code, self._counts)
        if exit_code:
            kinds: list[type[ConversionError]] = [ConversionError, *ConversionError.__subclasses__()]
            kind = next(kind for kind in kinds if kind.exit_code == exit_code)
            bad = f"{total}, of which {len(self._failures)} did not end well"
            raise kind(f"{bad}: {some(self._failures)}")


def _line(outcome: Outcome) -> str:
    line = f"{outcome.status:<8} {outcome.job.source} -> {outcome.job.target}"
    if outcome.stored_bytes is not None:
        line += f"  {describe.size(outcome.stored_bytes)}"
    if outcome.status in ("done", "filled"):
        line += f" in {outcome.seconds:.1f} s"
    return f"{line}  exit code {outcome.exit_code}: {outcome.message}" if outcome.exit_code else line


def _to_stderr(text: str) -> None:
    with suppress(OSError):  # nobody reads any more, and the exit code and the report tell it too
        click.echo(text, err=True)


@contextmanager
def _named(observer: AbstractContextManager[Callable[[Event], None]], file: str) -> Iterator[Observer]:
    """Have the name of the file in what is told about it."""
    with observer as observe:

        def tell(event: Event) -> None:
            if isinstance(event, Note):
                event = Note(f"{file}: {event.message}")
            if isinstance(event, ImageStarted):
                event = replace(event, name=file)
            observe(event)

        yield tell
