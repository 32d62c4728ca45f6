"""The records of a zip file of uncompressed entries, written one after the other and read back.

`zipfile` holds every entry in memory, and leaves out the ZIP64 end records of a small archive. What is
written here is by APPNOTE.TXT 6.3, the parts of it that https://ngff.openmicroscopy.org/rfc/9/ allows: method
"stored", no times, ZIP64 end records at any size, no extra field but that of ZIP64 where a number needs it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, TypeAlias
from zlib import crc32

from ngff_convert.errors import ReadError, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO

BLOCK_BYTES = 2**20
"""So much of a file is in memory at a time."""

SMALL_BYTES = 2**18
"""A file of no more is read as a whole, before its turn: where opening one takes long, many are at once."""

READERS = 8

BATCH = 16
"""Files that a reader takes at once."""

LOCAL = Struct("<4s5H3L2H")
"""Before an entry's name and bytes: signature, version, flags, method, time, date, CRC, sizes, lengths."""

_Batch: TypeAlias = tuple[tuple[str, str], ...]
_Small: TypeAlias = "tuple[bytes, int] | None"

_CENTRAL = Struct("<4s6H3L5H2L")
_END64 = Struct("<4sQ2H2L4Q")
_LOCATOR = Struct("<4sLQL")
_END = Struct("<4s4H2LH")
_NUMBERS = Struct("<2H")
_VERSION = 45  # with ZIP64
_UNIX = 3 << 8
_UTF8 = 0x800
_DATE = 0x21  # 1980-01-01, the first day there is
_MODE = (stat.S_IFREG | 0o644) << 16
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64 = 1
_SPOOL_BYTES = 2**24


@dataclass(slots=True)
class ZipWriter:
    """Writes entries, then the records that say where they are; a context manager.

    Attributes
    ----------
    out
        Where it goes, from its start.
    advance
        Is told how many bytes more of the files are written.
    files
        Entries so far.
    """

    out: BinaryIO
    advance: Callable[[int], object]
    files: int = 0
    _offset: int = 0
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(BLOCK_BYTES)))
    _central: IO[bytes] = field(default_factory=lambda: SpooledTemporaryFile(_SPOOL_BYTES))  # noqa: SIM115

    def __enter__(self) -> ZipWriter:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what is not the archive."""
        self._central.close()

    def add_all(self, files: Iterable[tuple[str, str]]) -> None:
        """Copy files into entries, in their order; small ones are read side by side, ahead of that.

        Parameters
        ----------
        files
            The name of each entry, and the path of its file.

        Raises
        ------
        ReadError
            A file cannot be read, or changes meanwhile.
        """
        left = iter(files)
        batches = iter(lambda: tuple(islice(left, BATCH)), ())
        ahead: deque[tuple[_Batch, Future[list[_Small]]]] = deque()
        with ThreadPoolExecutor(READERS) as pool:
            for batch in chain(batches, repeat((), READERS)):
                ahead.append((batch, pool.submit(_small_ones, batch)))
                if len(ahead) > READERS:
                    ready, found = ahead.popleft()
                    for (name, path), small in zip(ready, found.result(), strict=True):
                        self._add(name, path, small)

    def _add(self, name: str, path: str, small: _Small) -> None:
        """Write an entry; its checksum is that of the bytes that are written."""
        label = name.encode()
        if small:
            content, crc = small
            size = len(content)
            self.out.write(_local(label, crc, size))
            self.out.write(content)
            self.advance(size)
        else:
            crc, size = self._copy(label, path)
        self._central.write(_central(label, crc, size, self._offset))
        self._offset += len(_local(label, crc, size)) + size
        self.files += 1

    def _copy(self, label: bytes, path: str) -> tuple[int, int]:
        """Write an entry block by block; return its checksum, which is known at its end, and its size."""
        crc = 0
        with _unchanging(path) as (source, size):
            self.out.write(_local(label, crc, size))
            left = size
            while part := _next(source, self._buffer[:left], path):
                self.out.write(part)
                crc, left = crc32(part, crc), left - len(part)
                self.advance(len(part))
        if left:
            raise _changed(path)
        self.out.seek(self._offset)
        self.out.write(_local(label, crc, size))
        self.out.seek(0, os.SEEK_END)
        return crc, size

    def finish(self, comment: bytes) -> None:
        """Write the central directory, and the ends of both kinds."""
        begin, size, files = self._offset, self._central.tell(), self.files
        self._central.seek(0)
        shutil.copyfileobj(self._central, self.out)
        versions = (_UNIX | _VERSION, _VERSION)
        self.out.write(
            _END64.pack(b"PK\6\6", _END64.size - 12, *versions, 0, 0, files, files, size, begin)
            + _LOCATOR.pack(b"PK\6\7", 0, begin + size, 1)
        )
        # Readers that know no ZIP64 find all that fits here too.
        counts = (0, 0, min(files, _FULL16), min(files, _FULL16))
        ends = (min(size, _FULL32), min(begin, _FULL32), len(comment))
        self.out.write(_END.pack(b"PK\5\6", *counts, *ends) + comment)
        self.out.flush()


def _small_ones(batch: _Batch) -> list[_Small]:
    """Return the bytes of each file, and their checksum; None for a file that is not small."""
    return [_small(path) for _, path in batch]


def _small(path: str) -> _Small:
    with _unchanging(path) as (source, size):
        if size > SMALL_BYTES:
            return None
        content = bytearray(size)
        got = _next(source, memoryview(content), path)
    if len(got) != size:
        raise _changed(path)
    return bytes(content), crc32(content)


@contextmanager
def _unchanging(path: str) -> Iterator[tuple[FileIO, int]]:
    """Open a file, which has its size and its time of change at the end of the block too."""
    try:
        # What has become a pipe since it was looked at must not hold the run up.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
    with open(handle, "rb", buffering=0) as source:  # noqa: PTH123 - a number
        before = os.fstat(handle)
        yield source, before.st_size
        after = os.fstat(handle)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise _changed(path)


def _next(source: FileIO, buffer: memoryview, path: str) -> memoryview:
    try:
        return buffer[: source.readinto(buffer)]
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}") from error


def _changed(path: str) -> ReadError:
    return ReadError(f"{path}: was changed while it was packed; wait until it is written")


def _local(label: bytes, crc: int, size: int) -> bytes:
    """Return what is before an entry's bytes."""
    wide = _wide([size, size] if size >= _FULL32 else [])
    flags, short = 0 if label.isascii() else _UTF8, min(size, _FULL32)
    numbers = (_VERSION, flags, 0, 0, _DATE, crc, short, short, len(label), len(wide))
    return LOCAL.pack(b"PK\3\4", *numbers) + label + wide


def _central(label: bytes, crc: int, size: int, offset: int) -> bytes:
    """Return an entry's record in the central directory."""
    wide = _wide(([size, size] if size >= _FULL32 else []) + ([offset] if offset >= _FULL32 else []))
    flags, short = 0 if label.isascii() else _UTF8, min(size, _FULL32)
    numbers = (_UNIX | _VERSION, _VERSION, flags, 0, 0, _DATE, crc, short, short)
    rest = (len(label), len(wide), 0, 0, 0, _MODE, min(offset, _FULL32))
    return _CENTRAL.pack(b"PK\1\2", *numbers, *rest) + label + wide


def _wide(numbers: list[int]) -> bytes:
    return _NUMBERS.pack(_ZIP64, 8 * len(numbers)) + _bytes(numbers) if numbers else b""


def _bytes(numbers: list[int]) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


# -- reading back ------------------------------------------------------------------------------------------


def read_back(path: Path, files: int, comment: bytes, advance: Callable[[int], object]) -> None:
    """Hold every entry of a file that a `ZipWriter` wrote against the checksum in its central directory.

    Parameters
    ----------
    path
        The file.
    files, comment
        How many entries it has, and what its comment is.
    advance
        Is told how many bytes more of the entries are read.

    Raises
    ------
    WriteError
        It is not what was written.
    """
    with path.open("rb", buffering=2**16) as central, path.open("rb", buffering=2**16) as entries:
        try:
            begin, end = _ends(central, comment, files, path)
            central.seek(begin)
            buffer = memoryview(bytearray(BLOCK_BYTES))
            for _ in range(files):
                record = _CENTRAL.unpack(central.read(_CENTRAL.size))
                label = central.read(record[10])
                size, offset = _sizes(record, central.read(record[11]))
                if offset != entries.tell() or not _holds(entries, label, record[7], size, buffer, advance):
                    raise _differs(path, label.decode(errors="replace"))
        except (StructError, IndexError) as error:  # cut off
            raise _differs(path, "its central directory") from error
        if (entries.tell(), central.tell()) != (begin, end):
            raise _differs(path, "its central directory")


def _ends(file: BinaryIO, comment: bytes, files: int, path: Path) -> tuple[int, int]:
    """Return where the central directory begins and ends."""
    size = _END64.size + _LOCATOR.size + _END.size + len(comment)
    file.seek(-size, os.SEEK_END)
    end = file.tell()
    tail = file.read()
    record = _END64.unpack_from(tail)
    locator = _LOCATOR.unpack_from(tail, _END64.size)
    known = (b"PK\6\6", files, end, b"PK\6\7", end, comment)
    if (record[0], record[7], record[8] + record[9], locator[0], locator[2], tail[-len(comment) :]) != known:
        raise _differs(path, "its end")
    return record[9], end


def _sizes(record: tuple[int, ...], extra: bytes) -> tuple[int, int]:
    """Return an entry's size and its place, which are in the extra field where they do not fit."""
    wide = [int.from_bytes(extra[at : at + 8], "little") for at in range(4, len(extra), 8)]
    offset = wide.pop() if record[16] == _FULL32 else record[16]
    return wide[0] if record[9] == _FULL32 else record[9], offset


def _holds(
    entries: BinaryIO,
    label: bytes,
    crc: int,
    size: int,
    buffer: memoryview,
    advance: Callable[[int], object],
) -> bool:
    head = _local(label, crc, size)
    if entries.read(len(head)) != head:
        return False
    found = 0
    while size and (got := entries.readinto(buffer[:size])):  # type: ignore[attr-defined]
        found = crc32(buffer[:got], found)
        size -= got
        advance(got)
    return size == 0 and found == crc


def _differs(path: Path, what: str) -> WriteError:
    return WriteError(f"{path}: {what} is not as it was written; is the disk sound?")
