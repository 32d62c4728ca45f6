"""What commands tell, and where: lines for people, JSON for programs, a report in a file."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ngff_convert.errors import ConversionError, TargetError, WriteError
from ngff_convert.signals import Stopped
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ngff_convert.events import Event, Observer
    from ngff_convert.readers.contract import Source

REPORT_VERSION = 1
"""Of the file that ``--report`` writes: fields may be added to it, none removed or changed."""

MAX_SHOWN = 10
"""Causes that a message shows before it only counts."""


# -- a conversion ------------------------------------------------------------------------------------------


@contextmanager
def outcome(
    source: str, target: str, log_format: str, report_file: str | None, *, quiet: bool, verbose: bool
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
    """
    from ngff_convert import describe, events
    from ngff_convert.commit import Target
    from ngff_convert.verification import Progress, verification_lines

    end: dict[str, Any] = {"status": "done", "exit_code": 0}
    seen: list[Event] = []  # but regions and boxes, which may be a million

    def tell(event: Event) -> None:
        if not isinstance(event, events.RegionDone | Progress):
            seen.append(event)
        observe(event)

    report = partial(write_report, report_file, source, target)
    report({"status": "running"})  # what it says where nobody is left to say more
    try:
        with _observer(log_format, quiet=quiet, verbose=verbose) as observe:
            yield tell
    except (ConversionError, Stopped) as error:
        if isinstance(error, Stopped) and any(isinstance(event, events.ImageStarted) for event in seen):
            error.remark = f"; the work so far is kept in {Target(Path(target)).partial}"
        status = "stopped" if isinstance(error, Stopped) else "failed"
        end.update(status=status, exit_code=error.exit_code, error=str(error))
        if log_format == "json":
            from ngff_convert.json_log import JsonLines

            JsonLines(sys.stderr).failed(str(error), error.exit_code)
            raise click.exceptions.Exit(error.exit_code) from error
        raise
    except Exception as error:
        end.update(status="failed", exit_code=1, error=repr(error))
        raise
    finally:
        for event in seen:
            if isinstance(event, events.Verified):
                end["verification"] = event.verification.to_json()
                if not quiet:
                    print_lines(verification_lines(event.verification))
            if isinstance(event, events.Finished):
                end.update(describe.report_json(event.report))
                if not quiet:
                    print_lines(describe.report_lines(event.report))
        report(end)


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
    try:
        if not _is_report(path):
            raise TargetError(f"{path}: exists already and is no report; choose another name for --report")
        Path(path).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except TargetError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: the report cannot be written: {error.strerror}") from error


def _is_report(path: str) -> bool:
    """Return whether a file is an earlier report, or not there, or empty: nothing else is ever replaced."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(20)
    except FileNotFoundError:
        return True
    return not start or start.replace(b" ", b"").startswith(b'{\n"report":')


# -- standard output ---------------------------------------------------------------------------------------


def some(lines: Sequence[str]) -> str:
    """Return the first of some lines in one, and how many more there are."""
    more = f"; and {len(lines) - MAX_SHOWN} more, which --report lists" if len(lines) > MAX_SHOWN else ""
    return "; ".join(lines[:MAX_SHOWN]) + more


def print_notes(source: Source) -> None:
    """Print what is odd about an input."""
    print_lines(f"note: {line}" for line in (*source.warnings, *source.missing))


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
