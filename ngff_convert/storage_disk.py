"""Stores on a local disk: a folder, or a zip archive."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
import zlib
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from ngff_convert.errors import ReadError, first_line
from ngff_convert.storage_contract import NO_FILE, SUFFIX, Entry, in_zip, joined, too_large, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ngff_convert.storage_contract import Names, Spec

# -- folders -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """A folder on a local disk, from which nothing leads out.

    Attributes
    ----------
    name
        Its path, as it was given.
    root
        Its real path.
    """

    name: str
    root: str
    is_local: ClassVar[bool] = True

    @classmethod
    def of(cls, name: str) -> Folder:
        """Return a folder by its path, which need not be there."""
        try:
            return cls(name, os.path.realpath(name))
        except ValueError as error:  # a NUL
            raise ReadError(f"{name!r}: cannot be read: {error}; give the folder of an OME-Zarr") from error

    def reach(self) -> None:
        """Look whether it is a folder that can be listed; else raise a `ReadError`."""
        try:
            os.listdir(os.path.realpath(self.name, strict=True))  # noqa: PTH208 - fails where it may not be read
        except (OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error)
            raise ReadError(f"{self.name}: cannot be read: {text}; give the folder of an OME-Zarr") from error

    def located(self, path: str) -> str | None:
        """Return the real path of what is at a path; None if nothing is, or it is outside the store."""
        try:
            real = os.path.realpath(os.path.join(self.root, path), strict=True)  # noqa: PTH118
        except (OSError, ValueError):  # not there, links that go in circles, a NUL
            return None
        inside = real == self.root or real.startswith(self.root.rstrip(os.sep) + os.sep)
        return real if inside else None

    def kvstore(self, path: str = "") -> Spec:
        """Return how tensorstore gets at what is below a path."""
        real = self.located(path) or os.path.join(self.root, path)  # noqa: PTH118
        return {"driver": "file", "path": f"{real}/"}

    def has(self, path: str) -> bool:
        """Return whether a name is there, even one that leads nowhere or out of the store."""
        try:
            return os.path.lexists(os.path.join(self.root, path))  # noqa: PTH118
        except ValueError:  # a NUL
            return False

    def present(self, path: str, names: Iterable[str]) -> list[str]:
        """Return which of some names are in a folder."""
        return [name for name in names if self.has(joined(path, name))]

    has_folder = has

    def leads_out(self, path: str) -> bool:
        """Return whether a name is there, but leads out of the store, or nowhere."""
        return self.located(path) is None and self.has(path)

    def blocks(self, path: str) -> bool:
        """Return whether there is something else than a file, such as a pipe, that can block a reader."""
        try:
            return not stat.S_ISREG(os.stat(os.path.join(self.root, path)).st_mode)  # noqa: PTH116, PTH118
        except OSError:  # it is not there, or whoever reads it is told why that cannot be
            return False

    def size(self, path: str) -> int | None:
        """Return the bytes of a regular file; None if there is none: other kinds can block a reader."""
        real = self.located(path)
        if real is None:
            return None
        found = os.stat(real)  # noqa: PTH116
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, path: str, limit: int) -> bytes:
        """Read a regular file; `OSError` if it cannot be, leads out, or is larger than the limit."""
        real, size = self.located(path), self.size(path)
        if real is None or size is None:
            raise OSError(NO_FILE)
        if size > limit:
            raise OSError(too_large(size, limit))
        with open(real, "rb") as stream:  # noqa: PTH123
            return stream.read(limit)

    def write(self, path: str, content: bytes) -> None:
        """Write a file, and the folders it is in; raises `OSError`."""
        place = os.path.join(self.root, path)  # noqa: PTH118
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
        half = f"{place}_{os.getpid():x}.__lock"  # as tensorstore calls them, and swept away like those
        try:
            with open(half, "wb") as stream:  # noqa: PTH123
                stream.write(content)
            os.replace(half, place)  # noqa: PTH105
        except OSError:
            with suppress(OSError):
                os.unlink(half)  # noqa: PTH108
            raise

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there; raises `OSError`."""
        place = os.path.join(self.root, path)  # noqa: PTH118
        if os.path.isdir(place) and not os.path.islink(place):  # noqa: PTH112, PTH114
            shutil.rmtree(place)
        elif os.path.lexists(place):
            os.unlink(place)  # noqa: PTH108

    def walk(self, path: str, into: Callable[[Names], bool] = lambda _: False) -> Iterator[Entry]:
        """Yield what is in a folder, and in those below it that are to be gone into."""
        yield from self._walk(os.path.join(self.root, path), path, (), into)  # noqa: PTH118

    def _walk(self, folder: str, path: str, names: Names, into: Callable[[Names], bool]) -> Iterator[Entry]:
        try:
            entries = os.scandir(folder)
        except OSError as error:
            yield Entry(names, "closed", reason=error.strerror or str(error))
            return
        with entries:
            for entry in entries:
                below = (*names, entry.name)
                kind, n_bytes = self._kind(entry, f"{path}/{'/'.join(below)}".lstrip("/"))
                if kind == "folder" and into(below):
                    yield from self._walk(entry.path, path, below, into)
                else:
                    yield Entry(below, kind, n_bytes)

    def _kind(
        self, entry: os.DirEntry[str], path: str
    ) -> tuple[Literal["file", "folder", "link", "other"], int | None]:
        """Return what an entry is, and its bytes if it is a file."""
        try:
            if not entry.is_symlink():
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    return "folder", None
                return ("file", found.st_size) if stat.S_ISREG(found.st_mode) else ("other", None)
        except OSError:  # it went away
            return "other", None
        size = self.size(path)
        return ("link", None) if size is None else ("file", size)


# -- archives on a local disk ------------------------------------------------------------------------------

DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What `zipfile` raises where an archive is damaged, or of a kind that it does not read."""


@dataclass(frozen=True)
class Zipped:
    """A zip archive on a local disk that holds one store, its root the store's.

    Attributes
    ----------
    name
        Its path.
    """

    name: str
    is_local: ClassVar[bool] = True

    @property
    def directory(self) -> Directory:
        """What is in it; read again where the file changed.

        Raises
        ------
        ReadError
            It is no archive, or not whole.
        """
        try:
            found = os.stat(self.name)  # noqa: PTH116
            if not stat.S_ISREG(found.st_mode):
                raise ReadError(f"{self.name}: is no file; give an {SUFFIX} archive")
            return _directory(os.path.realpath(self.name), found.st_mtime_ns, found.st_size)
        except ReadError:
            raise
        except (OSError, *DAMAGED) as error:
            text = getattr(error, "strerror", None) or first_line(error)
            raise ReadError(
                f"{self.name}: cannot be read as a zip archive: {text}; is it whole? Get it again"
            ) from error

    def reach(self) -> None:
        """Look whether it is an archive with something in it; else raise a `ReadError`."""
        if not self.directory.entries:
            raise ReadError(f"{self.name}: is an empty archive; give one of an OME-Zarr")

    def kvstore(self, path: str = "") -> Spec:
        """Return how tensorstore gets at what is below a path."""
        return in_zip({"driver": "file", "path": os.path.realpath(self.name)}, path)

    def has(self, path: str) -> bool:
        """Return whether a file is there."""
        return path in self.directory.entries

    def present(self, path: str, names: Iterable[str]) -> list[str]:
        """Return which of some names are in a folder."""
        return [name for name in names if self.has(joined(path, name))]

    def has_folder(self, path: str) -> bool:
        """Return whether there is something of a name, or below it."""
        return self.has(path) or bool(self.directory.below(f"{path}/"))

    def leads_out(self, path: str) -> bool:
        """Return False: links in an archive are files."""
        return False

    def blocks(self, path: str) -> bool:
        """Return False: there are only files."""
        return False

    def read(self, path: str, limit: int) -> bytes:
        """Read a file and check its checksum; `OSError` if it cannot be, or is larger than the limit."""
        entry = self.directory.entries.get(path)
        if entry is None:
            raise OSError(NO_FILE)
        if entry.file_size > limit:
            raise OSError(too_large(entry.file_size, limit))
        try:
            with zipfile.ZipFile(self.name) as archive:
                return archive.read(entry)
        except DAMAGED as error:
            raise OSError(first_line(error)) from error

    def walk(self, path: str, into: Callable[[Names], bool] = lambda _: False) -> Iterator[Entry]:
        """Yield what is in a folder, and in those below it that are to be gone into."""
        start = f"{path}/" if path else ""
        directory = self.directory
        names = directory.below(start)
        sizes = {name.removeprefix(start): directory.entries[name].file_size for name in names}
        yield from tree(sizes, into, sizes.get)


@dataclass(frozen=True)
class Directory:
    """What is in an archive.

    Attributes
    ----------
    entries
        Every file by its name; of several of one name the last.
    names
        The names, sorted.
    listed
        All of them, in the order of the directory.
    comment
        What the archive says of itself.
    is_zip64
        Whether it has the records of ZIP64.
    """

    entries: dict[str, zipfile.ZipInfo]
    names: list[str]
    listed: tuple[zipfile.ZipInfo, ...]
    comment: bytes
    is_zip64: bool

    def below(self, start: str) -> list[str]:
        """Return the names that begin so; it is empty, or ends with ``/``."""
        if not start:
            return self.names
        first = bisect_left(self.names, start)
        return self.names[first : bisect_left(self.names, start[:-1] + chr(ord("/") + 1), first)]


_END_BYTES, _LOCATOR_BYTES, _LOCATOR = 22, 20, b"PK\6\7"


@lru_cache(maxsize=4)
def _directory(path: str, _modified: int, _size: int) -> Directory:
    with zipfile.ZipFile(path) as archive:
        listed = tuple(entry for entry in archive.infolist() if not entry.is_dir())
        comment = archive.comment
    with open(path, "rb") as file:  # noqa: PTH123
        file.seek(max(0, _size - len(comment) - _END_BYTES - _LOCATOR_BYTES))
        is_zip64 = file.read(4) == _LOCATOR
    entries = {entry.filename: entry for entry in listed}
    return Directory(entries, sorted(entries), listed, comment, is_zip64)
