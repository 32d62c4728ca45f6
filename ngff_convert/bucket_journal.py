"""The journal of a store in a bucket: objects of lines, as nothing can be appended to one.

Lines are the same as in `journal`. A writer collects them and stores them together, every few seconds at
first and less often later, so that a run of days is not a million objects: what is lost with a process that
is killed is a hundredth of its work, and is done again. An object is there as soon as it is stored, and so
are the pixels of its regions: every line is flushed.
"""

from __future__ import annotations

import secrets
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ngff_convert.errors import WriteError
from ngff_convert.journal import JOURNAL_FOLDER, entry_of, line_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.events import RegionDone
    from ngff_convert.storage import Writable

SECONDS = 2.0
"""Between two objects, at least."""

SHARE = 0.01
"""Of the time since the beginning, that is between two objects."""

MAX_OBJECT_BYTES = 256 * 2**20


@dataclass(slots=True)
class BucketJournal:
    """The journal of one unfinished store in a bucket.

    Attributes
    ----------
    storage
        The store.
    mark
        Names what is written, and which beginning it was; lines of anything else are not believed.
    """

    storage: Writable
    mark: str
    flush: bool = True
    _lines: list[str] = field(default_factory=list, init=False, repr=False)
    _started: float = field(default_factory=time.monotonic, init=False, repr=False)
    _stored: float = field(default_factory=time.monotonic, init=False, repr=False)
    _name: str = field(
        default_factory=lambda: f"{socket.gethostname()}-{secrets.token_hex(6)}", init=False, repr=False
    )
    _objects: int = field(default=0, init=False, repr=False)

    def create(self) -> None:
        """Need nothing: there are no folders."""

    def record(self, done: RegionDone) -> None:
        """Note what a region wrote; it is stored with the next ones, or by `settle`.

        Raises
        ------
        WriteError
            They cannot be stored.
        """
        self._lines.append(line_of(done, self.mark, flushed=True))
        now = time.monotonic()
        if now - self._stored > max(SECONDS, SHARE * (now - self._started)):
            self.settle()

    def settle(self) -> None:
        """Store what was noted.

        Raises
        ------
        WriteError
            It cannot be stored.
        """
        if not self._lines:
            return
        name = f"{JOURNAL_FOLDER}/{self._name}-{self._objects:06}.jsonl"
        try:
            self.storage.write(name, "\n".join(self._lines).encode())
        except OSError as error:
            raise WriteError(
                f"{self.storage.name}: cannot be written: {error.strerror}; run the same command again"
            ) from error
        self._lines.clear()
        self._objects += 1
        self._stored = time.monotonic()

    def finished(self) -> Iterator[tuple[RegionDone, bool]]:
        """Yield the regions that are finished, each flushed; one may come twice.

        Raises
        ------
        WriteError
            The journal is there but cannot be read.
        """
        try:
            for item in self.storage.walk(JOURNAL_FOLDER):
                content = self.storage.read("/".join((JOURNAL_FOLDER, *item.names)), MAX_OBJECT_BYTES)
                for line in content.splitlines():
                    found = entry_of(line, self.mark)
                    if found is not None:
                        yield found
        except OSError as error:
            raise WriteError(
                f"{self.storage.name}: its journal cannot be read: {error.strerror or error}; try again"
            ) from error
