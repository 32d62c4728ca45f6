"""What commands tell, and where: lines for people, JSON for programs, a report in a file."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ngff_convert.errors import ConversionError, ReadError, TargetError, WriteError
from ngff_convert.signals import Stopped
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ngff_convert.events import Event, Observer
    from ngff_convert.options import Options
    from ngff_convert.readers.contract import Source

REPORT_VERSION = 1
"""Of the file that ``--report`` writes: fields may be added to it, none removed or changed."""

MAX_SHOWN = 10
"""Causes that a message shows before it only counts."""

SECONDS_BETWEEN = 0.1
"""Between two looks of a bar."""


# -- a conversion ------------------------------------------------------------------------------------------


@contextmanager
def outcome(
    source: str,
    target: str,
    log_format: str,
    report_file: str | None,
    *,
    quiet: bool,
    verbose: bool,
    several: bool = False,
) -> Iterator[Observer]:
    """Tell how a conversion goes and how it ends; yields its observer.

    Parameters
    ----------
    source, target
        As the user gave them.
    log_format
        ``"text"``, or ``"json"``: then nothing but JSON lines goes to standard error, and an error becomes
        one of them and the exit code.
    report_file
        Where a report in JSON goes, however it ends; None writes none.
    quiet, verbose
        Whether nothing is shown but errors; whether the plan is shown too.
    several
        Whether several stores are made: the report then has a list, `stores`, of what one has of one.
    """
    from ngff_convert import describe, events
    from ngff_convert.verification import verification_lines

    shown: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, events.Verified):
            if not several:
                end["verification"] = event.verification.to_json()
            shown.extend(verification_lines(event.verification))
        if isinstance(event, events.Finished):
            facts = describe.report_json(event.report)
            if several:
                end["stores"] = [*end.get("stores", []), facts]
            else:
                end.update(facts)
            shown.extend(describe.report_lines(event.report))
            if not several:
                told()  # before anybody is told that all is done
        observe(event)

    try:
        with reported(report_file, source, target) as (end, told):
            try:
                with _observer(log_format, quiet=quiet, verbose=verbose) as observe:
                    yield tell
            except Stopped as stopped:
                if several:
                    stopped.remark = "; what is whole, and the work so far, is kept"
                else:
                    stopped.remark = _what_is_left(target, whole="target" in end)
                raise
    finally:
        if not quiet:
            print_lines(shown)


def _what_is_left(target: str, *, whole: bool) -> str:
    """Return what there is of a conversion that was stopped, for its message."""
    from ngff_convert.commit import Target
    from ngff_convert.targets import is_bucket

    if whole:
        return f"; {target} is whole"
    if is_bucket(target):
        return f"; the work so far is kept in {target}"
    partial_store = Target(Path(target)).partial
    return f"; the work so far is kept in {partial_store}" if partial_store.is_dir() else ""


def _report_failure(report: Callable[[], None], error: BaseException) -> None:
    """Write the last report; where that fails too, the first error is the one to tell."""
    try:
        report()
    except ConversionError as another:
        if isinstance(error, ConversionError) and str(another) != str(error):
            raise type(error)(f"{error}; {another}") from error


@contextmanager
def reported(
    report_file: str | None, source: str, target: str
) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """Write a report of the block, however it ends.

    Yields
    ------
    tuple
        What the report is to hold besides, and a function that writes it before the end; the same report is
        not written again.
    """
    facts: dict[str, Any] = {"status": "running"}
    written: dict[str, Any] = {}

    def report() -> None:
        if facts != written:
            write_report(report_file, source, target, facts)
            written.clear()
            written.update(facts)

    report()  # what it says where nobody is left to say more
    facts |= {"status": "done", "exit_code": 0}
    try:
        yield facts, report
    except (ConversionError, Stopped) as error:
        status = "stopped" if isinstance(error, Stopped) else "failed"
        facts |= {"status": status, "exit_code": error.exit_code, "error": str(error)}
        _report_failure(report, error)
        raise
    except Exception as error:  # a bug, of which the report should know too
        facts |= {"status": "failed", "exit_code": 1, "error": repr(error)}
        _report_failure(report, error)
        raise
    report()


def _observer(
    log_format: str, *, quiet: bool, verbose: bool
) -> AbstractContextManager[Callable[[Event], None]]:
    from ngff_convert.events import ignore
    from ngff_convert.json_log import JsonLines
    from ngff_convert.progress import Bar, Lines

    if quiet:
        return nullcontext(ignore)
    if log_format == "json":
        return JsonLines(sys.stderr)
    return Bar(verbose=verbose) if sys.stderr.isatty() else Lines(sys.stderr, verbose=verbose)


def told(source: str, options: Options) -> str:
    """Return an input as it may be shown and written: a URL is still one, but its text has no signature."""
    from ngff_convert.readers.contract import addressed

    return addressed(source, options.storage_options)


def write_report(path: str | None, source: str, target: str, facts: dict[str, Any]) -> None:
    """Write a report to a file, if there is to be one.

    Raises
    ------
    TargetError
        There is a file of that name which is no report.
    WriteError
        It cannot be written.
    """
    if path is None:
        return
    report = {"report": REPORT_VERSION, "version": __version__, "source": source, "target": target, **facts}
    text = json.dumps(report, indent=2) + "\n"
    place = Path(path)
    try:
        if place.exists() and not place.is_file():  # a pipe or a device, which is told the end alone
            if facts["status"] != "running":
                place.write_text(text, encoding="utf-8")
            return
        if not _is_report(place):
            raise TargetError(f"{path}: exists already and is no report; choose another name for --report")
        half = place.with_name(f".{place.name[:40]}.{os.getpid()}")
        half.write_text(text, encoding="utf-8")
        half.replace(place)
    except TargetError:
        raise
    except OSError as error:
        raise WriteError(
            f"{path}: the report cannot be written: {error.strerror}; choose another place for it"
        ) from error


def _is_report(path: Path) -> bool:
    """Return whether a file is an earlier report, or not there, or empty: nothing else is ever replaced."""
    try:
        with path.open("rb") as file:
            start = file.read(20)
    except FileNotFoundError:
        return True
    return not start or start.replace(b" ", b"").startswith(b'{\n"report":')


# -- standard output ---------------------------------------------------------------------------------------


def not_whole(source: str, target: str, filled: Sequence[str]) -> None:
    """End with the exit code of an input that cannot be read where a part of it was filled.

    Raises
    ------
    ReadError
        It was.
    """
    if filled:
        raise ReadError(f"{source}: not whole: {some(filled)}; {target} is made without that")


def some(lines: Sequence[str]) -> str:
    """Return the first of some lines in one, and how many more there are."""
    more = f"; and {len(lines) - MAX_SHOWN} more, which --report lists" if len(lines) > MAX_SHOWN else ""
    return "; ".join(lines[:MAX_SHOWN]) + more


def print_notes(source: Source, said: Sequence[str] = ()) -> None:
    """Print what is odd about an input, except for notes that end with what is said elsewhere."""
    notes = (line for line in source.warnings if not line.endswith(tuple(said)))
    print_lines(f"note: {line}" for line in (*notes, *source.missing))


def print_json(data: object) -> None:
    """Print JSON."""
    print_lines([json.dumps(data, indent=2)])  # ASCII, so that no encoding of a terminal's breaks it


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, as long as anybody reads them."""
    for line in lines:
        try:
            click.echo(line)
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise WriteError(f"standard output: cannot be written: {error.strerror}") from error
            # Nobody reads any more: the rest goes nowhere, and the exit code is that of the work.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- a bar -------------------------------------------------------------------------------------------------


@contextmanager
def bar(title: str, *, quiet: bool) -> Iterator[Callable[[int, int], object] | None]:
    """Show a bar on a terminal, and nothing elsewhere; yields what it is to be told."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from ngff_convert import describe

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    last = 0.0
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task(describe.one_line(title), total=None)

        def tell(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > SECONDS_BETWEEN:
                last = time.monotonic()
                bar.update(task, completed=done, total=total)

        yield tell
