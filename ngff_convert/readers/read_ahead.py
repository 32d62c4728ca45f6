"""What a box will read of remote files is asked for ahead: few requests, and several of them at a time.

Readers say what they are about to read, in the order in which they will (`ahead`), and then read as they
read any file; `taken` is where remote files look first. Neighbours are asked for together.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ngff_convert.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from ngff_convert.readers.remote_files import RemoteFile

REQUEST_BYTES = 2 * 2**20
"""Neighbours are fetched together up to this."""

GAP_READ_OVER = 32 * 2**10
"""Bytes between two of them that are fetched and dropped rather than left out by another request."""

SMALLEST_PIXELS = 16 * 2**10
"""What is read without having been asked for, and is smaller, is structure."""

AT_ONCE = 8
"""Requests of one box that are in flight, or wait to be taken."""

MOST_AT_ONCE = 32
"""Requests of all boxes of a process that are in flight."""

FLIGHT_BYTES = 64 * 2**20
"""What all boxes of a process may have asked for ahead, but for one request of each, which it waits for."""


class Wanted(NamedTuple):
    """Bytes of a file that will be read."""

    file: RemoteFile
    offset: int
    size: int


class _Flight:
    """Bytes that are asked for ahead in this process."""

    def __init__(self) -> None:
        self._bytes = 0
        self._lock = threading.Lock()

    def begin(self, size: int) -> bool:
        with self._lock:
            fits = self._bytes + size <= FLIGHT_BYTES
            self._bytes += size if fits else 0
            return fits

    def end(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


_FLIGHT = _Flight()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_AT_ONCE, "remote")


class _Request:
    """Bytes that were asked for ahead; `counted` are those that count against `FLIGHT_BYTES`."""

    def __init__(self, wanted: Wanted, given_up: threading.Event, counted: int) -> None:
        self.wanted = wanted
        self.counted = counted
        self.taken = False
        self.bytes: Future[memoryview] = _threads().submit(
            wanted.file.fetch, wanted.offset, wanted.size, given_up
        )

    def holds(self, file: RemoteFile, offset: int, size: int) -> bool:
        own = self.wanted
        return own.file is file and own.offset <= offset and offset + size <= own.offset + own.size


class _Ahead:
    """What one thread has asked for ahead for one box."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._left = deque(_together(wanted))
        self._requests: deque[_Request] = deque()
        self._given_up = threading.Event()

    def take(self, file: RemoteFile, offset: int, size: int) -> memoryview | None:
        """Return bytes that were asked for; None where they were not."""
        self._ask()
        found = next((request for request in self._requests if request.holds(file, offset, size)), None)
        if found is None:
            if len(self._requests) == AT_ONCE and size >= SMALLEST_PIXELS:  # they come in another order
                self._drop()
            return None
        while self._requests[0] is not found and self._requests[0].taken:
            self._drop()
        found.taken = True
        self._ask()
        data = found.bytes.result()
        start = offset - found.wanted.offset
        return data[start : start + size]

    def end(self) -> None:
        self._given_up.set()
        while self._requests:
            self._drop()

    def _ask(self) -> None:
        while self._left and len(self._requests) < AT_ONCE:
            counted = _FLIGHT.begin(self._left[0].size)
            if not counted and any(not request.taken for request in self._requests):
                return  # this box has something to wait for as it is
            wanted = self._left.popleft()
            self._requests.append(_Request(wanted, self._given_up, wanted.size if counted else 0))

    def _drop(self) -> None:
        dropped = self._requests.popleft()
        dropped.bytes.cancel()
        _FLIGHT.end(dropped.counted)


def _together(wanted: Iterable[Wanted]) -> Iterator[Wanted]:
    """Put neighbours together; ends where it cannot be said what will be read."""
    last: Wanted | None = None
    try:
        for item in wanted:
            if last is not None and item.file is last.file:
                gap = item.offset - last.offset - last.size
                size = item.offset + item.size - last.offset
                if 0 <= gap <= GAP_READ_OVER and size <= REQUEST_BYTES:
                    last = Wanted(last.file, last.offset, size)
                    continue
            if last is not None:
                yield last
            last = item if item.offset + item.size <= item.file.size else None
    except ConversionError:  # whoever reads it meets it too, and says where it was
        pass
    if last is not None:
        yield last


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.ahead: _Ahead | None = None


_OF_THREAD = _OfThread()


@contextmanager
def ahead(wanted: Iterable[Wanted]) -> Iterator[None]:
    """Ask ahead for what this thread will read in the block.

    Parameters
    ----------
    wanted
        In about the order in which it will be read. All of it is looked at before anything is read: to tell
        what it is, structure is read, under locks.
    """
    asked = _OF_THREAD.ahead = _Ahead(wanted)
    try:
        yield
    finally:
        _OF_THREAD.ahead = None
        asked.end()


def taken(file: RemoteFile, offset: int, size: int) -> memoryview | None:
    """Return bytes that this thread asked for ahead; None where it did not."""
    return None if _OF_THREAD.ahead is None else _OF_THREAD.ahead.take(file, offset, size)
