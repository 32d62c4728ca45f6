"""HDF5 files read through a stream that looks at every heap of texts before HDF5 does.

Text of variable length is kept in collections of objects, the global heap. HDF5 goes from object to object by
their sizes, and goes on for ever where one of them is damaged so that it ends where it begins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ngff_convert.readers.remote_files import Stream

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ngff_convert.readers.contract import FileBytes

HEAD_BYTES = 16
"""Of a collection, and of each object in it."""

LONGEST_READ = 2**16
"""Longer ones are of pixels: of a collection, HDF5 reads 4 KiB first."""

_COLLECTION = re.compile(rb"GCOL\x01\0\0\0")


class CheckedStream(Stream):
    """A file as h5py reads it; a read that meets a damaged collection fails.

    Attributes
    ----------
    length_bytes
        How long numbers of bytes are in the file; known when it is open.
    """

    def __init__(self, file: FileBytes, name: str) -> None:
        super().__init__(file, name)
        self.length_bytes = 8

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer as far as the file goes.

        Raises
        ------
        OSError
            A collection that begins there would be read for ever.
        """
        at = self.tell()
        count = super().readinto(buffer)
        if count > LONGEST_READ:
            return count
        before = min(7, at)  # HDF5 reads on from what it has: the signature may be in two pieces
        read = self._file.pread(before, at - before) + bytes(memoryview(buffer).cast("B")[:count])
        for found in _COLLECTION.finditer(read):
            self._check(at - before + found.start())
        return count

    def _check(self, at: int) -> None:
        size = self._length(self._file.pread(HEAD_BYTES, at))
        if size > self._file.size - at:
            return  # HDF5 says so itself
        collection = self._file.pread(size, at)
        place = HEAD_BYTES
        while place + HEAD_BYTES <= size:
            head = collection[place : place + HEAD_BYTES]
            length = self._length(head)
            # The free space, object 0, counts its own head; others do not, and are filled up to 8 bytes.
            step = HEAD_BYTES + -(-length // 8) * 8 if any(head[:2]) else length
            if not 0 < step <= size - place:
                raise OSError(f"damaged heap at byte {at}: an object of {length} bytes")
            place += step

    def _length(self, head: bytes) -> int:
        return int.from_bytes(head[8 : 8 + self.length_bytes], "little")
