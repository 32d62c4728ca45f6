"""Which regions are finished: files beside the data to which each writer appends a line a region.

A line is written only after the region's pixels are; what nobody finished writing, such as the last line of
a process that was killed, is no line. Each writer has a file of its own, so that any number of them, on any
number of machines, write without a lock: file systems that are shared over a network do not append in one
step. A line is a JSON object: `plan` (the mark of the record in the partial store), the fields of a
`RegionDone`, and `flushed`: whether its pixels were on the disk before. Where they were not, a later run can
tell by the checksum `crc32` whether they are there.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ngff_convert.errors import WriteError
from ngff_convert.events import RegionDone

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFINISHED = ".ngff-convert"
"""What only a partial store has begins with this."""

JOURNAL_FOLDER = f"{UNFINISHED}-journal"
"""In the partial store; holds nothing but the journal."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one partial store; pickles as an address.

    Attributes
    ----------
    folder
        The partial store.
    mark
        Names what is written, and which beginning it was; lines of anything else are not believed.
    flush
        Whether pixels are on the disk before `record` is called, and the line is when it returns.
    writer
        What the files of this writer begin with; others are then not read. Empty is all of them.
    """

    folder: str
    mark: str
    flush: bool
    writer: str = ""

    @property
    def path(self) -> Path:
        """Where the files of all writers are."""
        return Path(self.folder, JOURNAL_FOLDER)

    def create(self) -> None:
        """Make the folder.

        Raises
        ------
        WriteError
            It cannot be made.
        """
        try:
            self.path.mkdir(exist_ok=True)
            if self.flush:
                flush_folder(self.path.parent)
        except OSError as error:
            raise _error(self.path, error) from error

    def record(self, done: RegionDone) -> None:
        """Append what a region wrote, which is stored by now as far as it is to be.

        Raises
        ------
        WriteError
            It cannot be written; then the region counts as unfinished.
        """
        path = self.path / f"{self.writer}{_writer(os.getpid())}"
        line = line_of(done, self.mark, flushed=self.flush)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                new = os.fstat(descriptor).st_size == 0
                # The line break comes first: what an earlier call could not finish is a line of its own.
                data = f"\n{line}".encode()
                if os.write(descriptor, data) != len(data):
                    raise OSError(0, "only a part was written; is the disk full?")
                if self.flush:
                    os.fsync(descriptor)
                if self.flush and new:
                    flush_folder(self.path)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _error(path, error) from error

    def settle(self) -> None:
        """Need nothing: every line is written at once."""

    def finished(self) -> Iterator[tuple[RegionDone, bool]]:
        """Yield the regions that are finished, and whether each was flushed; one may come twice.

        Raises
        ------
        WriteError
            The journal is there but cannot be read.
        """
        try:
            for name in sorted(_listed(self.path)):
                if not (name.startswith(self.writer) and name.endswith(".jsonl")):
                    continue
                with (self.path / name).open("rb") as lines:
                    for line in lines:
                        entry = entry_of(line, self.mark)
                        if entry is not None:
                            yield entry
        except OSError as error:
            raise _error(self.path, error) from error


class Noted(Protocol):
    """A journal, wherever it is kept."""

    @property
    def mark(self) -> str:
        """Names what is written, and which beginning it was."""

    @property
    def flush(self) -> bool:
        """Whether pixels are to be stored for good before a region is noted."""

    def create(self) -> None:
        """Make ready to `record`."""

    def record(self, done: RegionDone) -> None:
        """Note what a region wrote."""

    def settle(self) -> None:
        """Have all that was noted stored."""

    def finished(self) -> Iterator[tuple[RegionDone, bool]]:
        """Yield the regions that are finished, and whether each was flushed; one may come twice."""


def anything_finished(folder: Path) -> bool:
    """Return whether the journal in a partial store has a line of any plan."""
    return any(path.stat().st_size for path in (folder / JOURNAL_FOLDER).glob("*.jsonl"))


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder, none where there is no folder; raises `OSError` where it is closed."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - raises where it may not be read
    except FileNotFoundError:
        return []


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=1)
def _writer(process: int) -> str:
    """Return the name of this process's own file; a copy of a process is another one."""
    return f"{socket.gethostname()}-{process}-{secrets.token_hex(4)}.jsonl"


def line_of(done: RegionDone, mark: str, *, flushed: bool) -> str:
    """Return the line of a region, which `entry_of` reads again."""
    record = asdict(done)
    if done.values == ():  # of all but label images
        del record["values"]
    return json.dumps({"plan": mark, "flushed": flushed, **record})


def entry_of(line: bytes, mark: str) -> tuple[RegionDone, bool] | None:
    """Return what a line says; None if it says nothing of this plan, or was not finished."""
    try:
        record: dict[str, Any] = json.loads(line)
        if record.pop("plan") != mark:
            return None
        flushed = record.pop("flushed") is True
        levels, filled = tuple(record.pop("levels")), tuple(record.pop("filled"))
        values = None if (seen := record.pop("values", ())) is None else tuple(seen)
        done = RegionDone(**record, levels=levels, filled=filled, values=values)
    except (ValueError, KeyError, TypeError, AttributeError):  # cut off, or not of this program
        return None
    numbers = (*record.values(), *levels)
    whole = all(type(number) is int and number >= 0 for number in numbers)
    whole = whole and all(type(value) is int for value in values or ())
    return (done, flushed) if whole and all(isinstance(line, str) for line in filled) else None


def _error(path: Path, error: OSError) -> WriteError:
    return WriteError(
        f"{path}: cannot be written or read: {error.strerror}; mend that and run the same command again"
    )
