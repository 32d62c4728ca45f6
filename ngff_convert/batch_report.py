"""The report of a batch: a row a file, as CSV or JSON, whole after every row."""

from __future__ import annotations

import csv
import io
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ConversionError, OptionError, TargetError, WriteError
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ngff_convert.batch import Outcome

REPORT_VERSION = 1
"""Fields may be added to it, none removed or changed."""

COLUMNS = ("status", "exit_code", "source", "target", "seconds", "stored_bytes", "filled", "message")
"""Of a report: what it says of each file; `filled` is how many parts of the input are 0 in the output."""


@contextmanager
def writing(path: str | None) -> Iterator[Callable[[Outcome], None]]:
    """Yield what adds the row of a file to a report; the file is whole after every row.

    Raises
    ------
    OptionError
        Its name is not that of a report.
    TargetError
        There is a file of that name which is no report of a batch.
    WriteError
        It cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    kind = Path(path).suffix.lower()
    if kind not in (".csv", ".json"):
        raise OptionError(
            f"--report {path}: a batch writes .csv or .json; give the file one of these endings"
        )
    as_json = kind == ".json"
    mark = f'{{"report": {REPORT_VERSION}, "batch": ' if as_json else _csv(COLUMNS)
    head = f'{mark}"{__version__}", "files": [' if as_json else mark
    tail = "\n]}\n" if as_json else ""
    with _written(path), _opened(path, mark) as file:
        file.write(_bytes(head + tail))
        end, comma = len(_bytes(head)), ""

        def add(outcome: Outcome) -> None:
            nonlocal end, comma
            row = _bytes(f"{comma}\n{json.dumps(_row(outcome))}" if as_json else _csv(_row(outcome).values()))
            with _written(path):
                os.pwrite(file.fileno(), row + _bytes(tail), end)  # in one step
            end, comma = end + len(row), ","

        yield add


def _opened(path: str, mark: str) -> io.FileIO:
    """Open a new report, or empty an earlier one."""
    file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
    start = file.read(len(_bytes(mark)))
    if start not in (b"", _bytes(mark)):
        file.close()
        raise TargetError(f"{path}: exists already and is no report of a batch; choose another name")
    file.seek(0)
    file.truncate()
    return file


@contextmanager
def _written(path: str) -> Iterator[None]:
    try:
        yield
    except ConversionError:
        raise
    except OSError as error:
        raise WriteError(
            f"{path}: the report cannot be written: {error.strerror}; choose another place for it"
        ) from error


def _row(outcome: Outcome) -> dict[str, Any]:
    job = outcome.job
    seconds = round(outcome.seconds, 3)
    values = (outcome.status, outcome.exit_code, job.source, job.target, seconds, outcome.stored_bytes)
    return dict(zip(COLUMNS, (*values, len(outcome.filled), outcome.message), strict=True))


def _csv(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # names of files need not be text
