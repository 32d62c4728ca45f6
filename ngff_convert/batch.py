"""Many conversions, one after another: which input makes which output, and how each ends."""

from __future__ import annotations

import csv
import glob
import os
import re
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngff_convert import batch_record, events
from ngff_convert.convert import convert, name_of
from ngff_convert.errors import ConversionError, OptionError, ReadError, TargetError, VerificationError
from ngff_convert.options import SHARES, Options
from ngff_convert.signals import Stopped
from ngff_convert.storage import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ngff_convert.batch_record import Record
    from ngff_convert.events import Event, Observer

WORST_FIRST = (1, 8, 6, 3, 7, 4, 2, 5, 0)
"""Exit codes, that of a batch first: wrong output before none, and what was there already last."""

PATIENCE_SECONDS = 10.0
"""So long a batch that has done all else waits for files that other runs are writing."""

_IN_STORE = re.compile(r"\.zarr(\.partial)?$")


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion of a batch.

    Attributes
    ----------
    source, target, options
        As `convert` takes them.
    """

    source: str
    target: str
    options: Options


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one conversion ended.

    Attributes
    ----------
    job
        Which one.
    status
        ``"done"``; ``"filled"``: done, and a part of the input is 0; ``"skipped"``: done before;
        ``"failed"``; ``"stopped"`` by a signal.
    exit_code
        What the command for this file alone would end with; 3 too where one that is skipped was filled.
    message
        The error, or why it is skipped; ``""`` where all is well.
    seconds
        Wall time.
    stored_bytes
        Of the output; None where that is not known.
    filled
        What of the input is 0 in the output, one line each.
    trace
        Where in the program a bug is.
    """

    job: Job
    status: str
    exit_code: int
    message: str
    seconds: float
    stored_bytes: int | None = None
    filled: tuple[str, ...] = ()
    trace: str = ""


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of a batch.

    Examples
    --------
    >>> worst([0, 5, 3, 4]), worst([])
    (3, 0)
    """
    return min(codes, key=WORST_FIRST.index, default=0)


# -- which input makes which output ------------------------------------------------------------------------


def pairs(words: Sequence[str], folder: str) -> list[tuple[str, str]]:
    """Return the input and the output of each conversion.

    Parameters
    ----------
    words
        Inputs as `convert` takes them, and patterns with ``*``, ``?``, ``[...]`` and ``**``. A pattern stands
        for files, or for folders if it ends with a slash; what is in a Zarr store does not count, and stores
        themselves only where it ends with ``.zarr``.
    folder
        Where outputs go, as ``NAME.ome.zarr``, in the folders that a pattern has wildcards for.

    Raises
    ------
    OptionError
        A pattern matches nothing.
    """
    found: dict[str, str] = {}
    for word in words:
        if os.path.lexists(word) or "://" in word or "{" in word or not glob.has_magic(word):
            found.setdefault(word, output(folder, "", word))
            continue
        base = _fixed_part(word)
        for path in _matches(word, base):
            found.setdefault(path, output(folder, os.path.relpath(Path(path).parent, base or "."), path))
    return list(found.items())


def _fixed_part(pattern: str) -> str:
    """Return the folders of a pattern before the first wildcard.

    Examples
    --------
    >>> _fixed_part("data/run*/**/a.ims"), _fixed_part("/*.ims"), _fixed_part("*.ims")
    ('data', '/', '')
    """
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first])) if first else ""


def _matches(pattern: str, base: str) -> list[str]:
    of_stores = pattern.rstrip("/").endswith(".zarr")
    folders = of_stores or pattern.endswith("/")
    kind = os.path.isdir if folders else os.path.isfile
    found = [path for path in sorted(glob.glob(pattern, recursive=True)) if kind(path)]  # noqa: PTH207
    last = -1 if of_stores else None
    found = [path for path in found if not any(map(_IN_STORE.search, _inner(path, base)[:last]))]
    if not found:
        what = "no folder" if folders else "no file (a pattern for folders ends with /)"
        raise OptionError(f"{pattern}: matches {what}; look at its spelling and the folder you are in")
    return found


def _inner(path: str, base: str) -> tuple[str, ...]:
    return Path(path).parts[len(Path(base).parts) :]


def output(folder: str, inner: str, source: str) -> str:
    """Return the output that an input gets in a folder, in a folder `inner` in that."""
    name = name_of(source)
    if not name:
        raise OptionError(f"{source}: has no name that an output could have; use --table")
    return os.path.join(folder, inner if inner != "." else "", f"{name}.ome.zarr")  # noqa: PTH118 - may be a URL


def check_outputs(jobs: Sequence[Job]) -> None:
    """Refuse outputs that two inputs would get.

    Raises
    ------
    OptionError
        There is such an output.
    """
    first: dict[str, Job] = {}
    for job in jobs:
        if job.target.lower().endswith(SUFFIX):
            raise OptionError(
                f"{job.target}: a batch makes folders; `ngff-convert pack` makes one file of each"
            )
        if job.options.layout == "separate":
            raise OptionError(
                f"{job.source}: --layout separate makes several stores of one input, and a batch one: "
                "convert it by itself, or give an --images to each row of a --table"
            )
        other = first.setdefault(_place(job.target), job)
        if other is not job:
            raise OptionError(
                f"{job.target}: would be the output of {other.source} and of {job.source}; convert them into "
                "different folders, keep their folders by one quoted pattern, or name outputs in a --table"
            )


def _place(target: str) -> str:
    return target if "://" in target else os.path.normcase(os.path.realpath(target))


def table(path: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a table of jobs: CSV in UTF-8, with commas, or with semicolons or tabs in its first line.

    Returns
    -------
    tuple
        The names of the columns, and each row with the number of its last line; rows of nothing are left out.

    Raises
    ------
    ReadError
        It cannot be read.
    OptionError
        It is no table.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123 - /dev/stdin too
            text = file.read()
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ReadError(f"{path}: is not text in UTF-8; save it as CSV UTF-8") from None
    lines = text.splitlines(keepends=True)
    header = lines[0] if lines else ""
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, [cell.strip() for cell in row]) for row in reader)
    except csv.Error as error:
        raise OptionError(f"{path}, line {reader.line_num}: is not CSV: {error}") from error
    if not rows:
        raise OptionError(f"{path}: is empty; its first line names the columns, such as in,out,levels")
    columns = rows[0][1]
    for number, row in rows[1:]:
        if len(row) > len(columns) and any(row[len(columns) :]):
            raise OptionError(
                f"{path}, line {number}: has {len(row)} cells for {len(columns)} columns; "
                'a cell with commas is quoted: "2,0.5,0.5"'
            )
    return columns, [(number, row) for number, row in rows[1:] if any(row)]


# -- one after another -------------------------------------------------------------------------------------


def run(
    jobs: Sequence[Job], observing: Callable[[Job], AbstractContextManager[Observer]]
) -> Iterator[Outcome]:
    """Carry jobs out, whatever becomes of the others, and yield how each ended.

    What another run is just writing is left for the end, and then waited for a little.

    Parameters
    ----------
    jobs
        In this order.
    observing
        Gives the observer of a job.

    Raises
    ------
    Stopped
        By a signal, after the outcome of the job that was in work.
    """
    held: list[Job] = []
    for outcome in _each(jobs, observing):
        if _is_held(outcome):
            held.append(outcome.job)
        else:
            yield outcome
    until = time.monotonic() + PATIENCE_SECONDS
    while held:
        last, again, held = time.monotonic() > until, held, []
        for outcome in _each(again, observing):
            if _is_held(outcome) and not last:
                held.append(outcome.job)
            else:
                yield outcome
        if held:
            time.sleep(PATIENCE_SECONDS / 20)


def _is_held(outcome: Outcome) -> bool:
    """Return whether a partial store is in the way, which another run may just be writing."""
    return outcome.exit_code == TargetError.exit_code and batch_record.is_begun(outcome.job.target)


def _each(
    jobs: Sequence[Job], observing: Callable[[Job], AbstractContextManager[Observer]]
) -> Iterator[Outcome]:
    for job in jobs:
        try:
            outcome = attempt(job, observing)
        except Stopped as stopped:
            stopped.remark = f" at {job.source}; the same command goes on there"
            yield Outcome(job, "stopped", stopped.exit_code, str(stopped), 0.0)
            raise
        yield outcome


def attempt(job: Job, observing: Callable[[Job], AbstractContextManager[Observer]]) -> Outcome:
    """Carry one job out, unless it is done; nothing but a signal is raised."""
    started = time.monotonic()

    def ended(status: str, exit_code: int, message: str, **facts: Any) -> Outcome:  # noqa: ANN401 - of `Outcome`
        return Outcome(job, status, exit_code, message, time.monotonic() - started, **facts)

    try:
        with observing(job) as observe:
            status, record = _made(job, observe)
            _verify(job, record, observe)
    except ConversionError as error:
        return ended("failed", error.exit_code, str(error))
    except Exception as error:  # noqa: BLE001 - a bug, from which the other files need not suffer
        return ended("failed", 1, f"a bug in this program: {error!r}", trace=traceback.format_exc())
    filled = tuple(record["filled"])
    if not filled:
        return ended(status, 0, "", stored_bytes=record["stored_bytes"])
    more = f"; and {len(filled) - 1} more" if len(filled) > 1 else ""
    return ended(
        "filled" if status == "done" else status,
        ReadError.exit_code,
        f"{job.source}: not whole: {filled[0]}{more}",
        stored_bytes=record["stored_bytes"],
        filled=filled,
    )


def _made(job: Job, observe: Observer) -> tuple[str, Record]:
    """Convert a file unless that is done; return the status and the record."""
    if record := batch_record.finished(job.source, job.target, job.options):
        return "skipped", record
    try:
        return "done", _converted(job, observe)
    except TargetError:
        if record := batch_record.finished(job.source, job.target, job.options):
            return "skipped", record  # another batch has made it meanwhile
        raise


def _converted(job: Job, observe: Observer) -> Record:
    made: Record = {}

    def watch(event: Event) -> None:
        if isinstance(event, events.Finished):  # the output has its name, and still says what it was made of
            report, share = event.report, SHARES[job.options.verify]
            made.update(
                batch_record.of_new(
                    job.target,
                    job.options,
                    filled=report.filled,
                    verified=share,
                    stored_bytes=report.stored_bytes.get(""),
                )
            )
        observe(event)

    convert(job.source, job.target, job.options, watch)
    return made


def _verify(job: Job, record: Record, observe: Observer) -> None:
    """Hold an output that was there against its source, if less of it was compared than is asked for."""
    share = SHARES[job.options.verify]
    if share <= record["verified"]:
        return
    from ngff_convert.verify import verify

    of_input = ("reader", "axes", "shape", "files_from", "dataset", "on_error", "labels")
    named = (*of_input, "workers", "memory", "storage_options")
    options = replace(Options(), **{name: getattr(job.options, name) for name in named})
    verification = verify(job.source, job.target, options, share, observe)
    if not verification.passed:
        raise VerificationError(f"{job.target}: {verification.summary}")
    batch_record.keep(job.target, job.options, {**record, "verified": share})
