"""The files of one source: opened on demand, once per process, few at a time, and what is learnt of them."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from weakref import WeakValueDictionary

from ngff_convert.readers.addresses import Address
from ngff_convert.readers.contract import open_bytes
from ngff_convert.readers.read_ahead import Wanted
from ngff_convert.readers.remote_files import RemoteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from types import TracebackType

    from ngff_convert.model import Image

MAX_OPEN_FILES = 64
"""A time series may be one file a time point; a process may usually open 1024 files."""

CACHE_BYTES = 64 * 2**20


class OpenFile:
    """One open file: its bytes; formats add what understands its structure."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.users = 0
        self.bytes = open_bytes(path)
        self.size = self.bytes.size
        try:
            self.understand()
        except BaseException:  # whatever it is, nobody else can close this
            self.bytes.close()
            raise

    def understand(self) -> None:
        """Open the structure of the file, where a format has one; `bytes` and `size` are there."""

    def close(self) -> None:
        """Close it."""
        self.bytes.close()

    def read_into(self, offset: int, buffer: Any) -> None:  # noqa: ANN401 - anything writable and contiguous
        """Fill `buffer` with the bytes at `offset`; `ReadError` where they cannot be had."""
        self.bytes.read_into(offset, buffer)

    def wanted(self, ranges: Iterable[tuple[int, int]]) -> Iterator[Wanted]:
        """Yield ranges of a remote file, offset and number of bytes, as `read_ahead` takes them."""
        if isinstance(self.bytes, RemoteFile):
            for offset, size in ranges:
                yield Wanted(self.bytes, offset, size)


F = TypeVar("F", bound=OpenFile)


class Cache:
    """What was learnt about files, the oldest forgotten beyond a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}
        self._entries: dict[Hashable, tuple[Any, int]] = {}

    def get(self, key: Hashable, make: Callable[[], tuple[Any, int]]) -> Any:  # noqa: ANN401 - whatever is made
        """Return what is kept under `key`, or make it and count its bytes; the newest is always kept.

        It is made once, and whoever wants the same waits; others do not.
        """
        kept = self._entries.get(key)
        if kept is not None:
            return kept[0]
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            kept = self._entries.get(key)
            if kept is None:
                try:
                    kept = make()
                    self._keep(key, kept)
                finally:
                    with self._lock:
                        self._making.pop(key, None)
        return kept[0]

    def _keep(self, key: Hashable, made: tuple[Any, int]) -> None:
        with self._lock:
            self._bytes += made[1]
            while self._entries and self._bytes > self._limit:
                self._bytes -= self._entries.pop(next(iter(self._entries)))[1]
            self._entries[key] = made


class FilePool(ABC, Generic[F]):
    """The files that one source reads; pickles as a name, so that one process has one of it.

    A pixel array refers to it and to paths, never to an open file. Unpickled in the process it came from, it
    is the same object, closed with the source; elsewhere, a new one that opens files when they are needed and
    closes them when nothing refers to it any more.
    """

    def __init__(self, token: bytes | None = None) -> None:
        self.token = token or os.urandom(16)
        self.cache = Cache(CACHE_BYTES)
        self.closed = False
        self._lock = threading.RLock()
        self._open: OrderedDict[str, F] = OrderedDict()
        self._opening: dict[str, threading.Lock] = {}
        _LIVE[self.token] = self

    def __reduce__(self) -> tuple[Any, tuple[type[FilePool[F]], bytes]]:
        return _unpickle, (type(self), self.token)

    def __del__(self) -> None:
        self.close()

    @abstractmethod
    def open_file(self, path: str) -> F:
        """Open a file of the format; raises what `using` does."""

    @contextmanager
    def using(self, path: str) -> Iterator[F]:
        """Open a file, or take the open one; it stays open at least until the block ends.

        Raises
        ------
        ReadError
            It is missing, damaged, truncated, empty or no regular file.
        UnsupportedInput
            It is a folder, or of another format.
        """
        file = self._taken(path) or self._opened(path)
        try:
            yield file
        finally:
            with self._lock:
                file.users -= 1
                if self.closed:
                    self._close_idle(keep=0)

    def _taken(self, path: str) -> F | None:
        """Return an open file, which has one more user now; None where it is not open."""
        with self._lock:
            if self.closed:
                raise ValueError(f"{path}: the source was closed")
            file = self._open.get(path)
            if file is not None:
                self._open.move_to_end(path)
                file.users += 1
            return file

    def _opened(self, path: str) -> F:
        """Open a file, once for all who want it; who wants another one need not wait."""
        with self._lock:
            opening = self._opening.setdefault(path, threading.Lock())
        with opening:
            file = self._taken(path)
            if file is None:
                try:
                    file = self.open_file(path)
                    self._add(path, file)
                finally:
                    with self._lock:
                        self._opening.pop(path, None)
            return file

    def _add(self, path: str, file: F) -> None:
        with self._lock:
            if self.closed:
                file.close()
                raise ValueError(f"{path}: the source was closed")
            file.users += 1
            self._open[path] = file
            self._close_idle(keep=MAX_OPEN_FILES)

    def close(self) -> None:
        """Close every file, those in use as soon as they no longer are."""
        with self._lock:
            self.closed = True
            self._close_idle(keep=0)
            self.cache = Cache(0)

    def _close_idle(self, keep: int) -> None:
        for path in [path for path, file in self._open.items() if file.users == 0]:
            if len(self._open) <= keep:
                return
            self._open.pop(path).close()


P = TypeVar("P", bound="FilePool[Any]")


class PooledSource(Generic[P]):
    """A `contract.Source` whose files are in a pool, which it closes.

    Attributes
    ----------
    images, warnings, paths, missing
        As a source has them; whoever derives from this fills them in, within `opening`.
    """

    def __init__(self, files: P, paths: Iterable[str]) -> None:
        self._files = files
        self.images: Sequence[Image] = []
        self.warnings: list[str] = []
        self.paths = list(paths)
        self.missing: list[str] = []

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Close the files where the block fails: nobody else can."""
        try:
            yield
            for path in self.paths:
                if isinstance(path, Address):  # libraries make do with what they could not read
                    path.opened().check()
        except BaseException:  # whatever it is, nobody else can close them
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._files.close()


_LIVE: WeakValueDictionary[bytes, FilePool[Any]] = WeakValueDictionary()


def _unpickle(kind: type[FilePool[F]], token: bytes) -> FilePool[F]:
    pool = _LIVE.get(token)
    return pool if pool is not None and not pool.closed else kind(token)
