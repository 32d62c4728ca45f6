"""Chunks of the source as chunks of the store: their bytes, as they are, in no other memory where that works.

Nothing is decoded but for Zarr v3, whose gzip has another checksum of the pixels than deflate has in HDF5 and
TIFF: they are inflated for it. So only there is it found that a chunk is damaged.
"""

from __future__ import annotations

import os
import zlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

import imagecodecs
import numpy as np

from ngff_convert.errors import ReadError, WriteError
from ngff_convert.journal import flush_folder
from ngff_convert.readers.contract import is_remote, open_bytes, open_file
from ngff_convert.storage import Folder, at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.model import Box, PixelArray, Shape, StoredChunks
    from ngff_convert.sink import Sink
    from ngff_convert.write_plan import Copied

_GZIP_HEADER = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF))

HAS_COPY = hasattr(os, "copy_file_range")
"""Whether the system copies from file to file by itself."""

PIECE_BYTES = 2**20

_Place: TypeAlias = "tuple[Shape, int, int]"
"""A chunk: its place in the grid (t, c, z, y, x), where it is in its file, and its bytes."""


@dataclass(frozen=True, slots=True)
class Copying:
    """What all regions of a level have in common whose chunks are copied; pickles as addresses.

    Attributes
    ----------
    pixels
        The level of the source.
    sink, level
        Where it goes.
    form
        How its chunks are stored.
    chunks
        Their size, (t, c, z, y, x), voxels.
    """

    pixels: PixelArray
    sink: Sink
    level: int
    form: Copied
    chunks: Shape

    def __call__(self, box: Box) -> None:
        """Copy the chunks in a box, which is whole chunks or ends at the level's edge.

        Raises
        ------
        ReadError
            A chunk cannot be read; or, for Zarr v3, inflated.
        WriteError
            One cannot be written.
        """
        is_local = isinstance(self.sink.storage, Folder)
        for stored, places in self._placed(box):
            if is_local and not self._is_wrapped and not is_remote(stored.path):
                self._copy(stored.path, places)
            else:
                self._write(stored.path, places)
        if is_local and self.sink.flush:
            self._flush(box)

    def intact(self, box: Box) -> bool:
        """Return whether the chunks in a box are stored as they would be written."""
        for stored, places in self._placed(box):
            contents = self._contents(stored.path, places)
            if any(self.sink.get(self.level, cell) != content for cell, content in contents):
                return False
        return True

    @property
    def _is_wrapped(self) -> bool:
        """Whether chunks get another envelope."""
        return self.sink.ngff_version != "0.4" and "zlib" in self.form.codecs

    def _placed(self, box: Box) -> Iterator[tuple[StoredChunks, list[_Place]]]:
        """Yield what a box has of each file of the source."""
        grid = [-(-n // c) for n, c in zip(self.pixels.shape[2:], self.chunks[2:], strict=True)]
        first = [a // c for a, c in zip(box.start[2:], self.chunks[2:], strict=True)]
        stop = [-(-b // c) for b, c in zip(box.stop[2:], self.chunks[2:], strict=True)]
        axes = np.ix_(*map(np.arange, first, stop))
        wanted = np.ravel_multi_index(axes, grid).reshape(-1)
        for stored in self.pixels.stored_chunks(box):
            if not stored.number.size:
                continue
            rows = np.searchsorted(stored.number, wanted)
            rows = rows[np.take(stored.number, rows, mode="clip") == wanted]
            cells = np.stack(np.unravel_index(stored.number[rows], grid), axis=-1).tolist()
            offsets, sizes = stored.offset[rows].tolist(), stored.size[rows].tolist()
            yield (
                stored,
                [
                    ((stored.t, stored.c, *cell), offset, size)
                    for cell, offset, size in zip(cells, offsets, sizes, strict=True)
                ],
            )

    # -- from file to file ---------------------------------------------------------------------------------

    def _copy(self, path: str, places: list[_Place]) -> None:
        """Copy chunks of a local file into files, which at no moment lack what was there."""
        source = open_file(path)
        try:
            for cell, offset, size in places:
                key = self.sink.key(self.level, cell)
                try:
                    target = self._opened(key)
                    try:
                        _copy_bytes(source, target, offset, size)
                        if os.fstat(target).st_size != size:
                            os.ftruncate(target, size)  # an earlier run left something else
                        if self.sink.flush:
                            os.fsync(target)
                    finally:
                        os.close(target)
                except _SourceError as error:
                    where = f"a chunk ({size} bytes at {offset})"
                    raise ReadError(f"{path}: {where} cannot be read: {error}; copy it again") from error
                except OSError as error:
                    raise self._error(key, error) from error
        finally:
            os.close(source)

    def _opened(self, key: str) -> int:
        """Open a file for writing, its folders made if need be."""
        place = os.path.join(self.sink.storage.root, key)  # type: ignore[attr-defined]  # noqa: PTH118
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(place, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
            return os.open(place, flags, 0o666)

    def _flush(self, box: Box) -> None:
        """Have the names of the chunks in a box on the disk."""
        folders: set[PurePosixPath] = set()
        for _, places in self._placed(box):
            for cell, _, _ in places:
                path = PurePosixPath(self.sink.key(self.level, cell))
                folders.update(path.parents)
        for folder in folders:
            flush_folder(Path(at(self.sink.storage, str(folder))))

    def _error(self, key: str, error: OSError) -> WriteError:
        where = at(self.sink.storage, key)
        return WriteError(
            f"{where}: cannot write: {error.strerror}; mend that and run the same command again"
        )

    # -- by way of memory ----------------------------------------------------------------------------------

    def _write(self, path: str, places: list[_Place]) -> None:
        with ExitStack() as writes:  # at its end all are waited for, also where one failed
            for cell, content in self._contents(path, places):
                writes.callback(self.sink.put(self.level, cell, content).finish)

    def _contents(self, path: str, places: list[_Place]) -> Iterator[tuple[Shape, bytes]]:
        """Yield what is to be stored of each chunk."""
        source = open_bytes(path)
        try:
            for cell, offset, size in places:
                data = bytearray(size)
                source.read_into(offset, data)
                if not self._is_wrapped:
                    yield cell, bytes(data)
                    continue
                try:
                    yield cell, as_gzip(bytes(data), prod(self.chunks) * np.dtype(self.form.dtype).itemsize)
                except (ValueError, RuntimeError, zlib.error) as error:
                    where = f"{path}: chunk {cell[2:]} of t {cell[0]}, c {cell[1]} ({size} bytes at {offset})"
                    raise ReadError(f"{where} is damaged: {error}; copy it again") from error
        finally:
            source.close()


def as_gzip(stream: bytes, n_bytes: int) -> bytes:
    """Return a stream of zlib in the envelope of gzip; it is inflated to know its checksum.

    Parameters
    ----------
    stream
        The stream.
    n_bytes
        What it holds, inflated.

    Raises
    ------
    ValueError, RuntimeError, zlib.error
        It is damaged, or holds another number of bytes.
    """
    out: Any = np.empty(n_bytes, np.uint8)
    pixels: Any = imagecodecs.deflate_decode(stream, out=out)
    if len(pixels) != n_bytes:
        raise ValueError(f"decodes to {len(pixels)} bytes, not {n_bytes}")
    end = int(imagecodecs.deflate_adler32(pixels)).to_bytes(4, "big")
    if not stream.endswith(end):  # something follows the stream
        reader = zlib.decompressobj()
        reader.decompress(stream)
        stream = stream[: len(stream) - len(reader.unused_data)]
    crc32 = int(imagecodecs.deflate_crc32(pixels)).to_bytes(4, "little")
    return b"".join((_GZIP_HEADER, stream[2:-4], crc32, (n_bytes % 2**32).to_bytes(4, "little")))


class _SourceError(Exception):
    """Bytes cannot be had."""


def _copy_bytes(source: int, target: int, offset: int, size: int) -> None:
    """Copy bytes from one open file to the beginning of another; `_SourceError` where it is at fault."""
    done = 0
    with suppress(OSError):  # not between these two: what is the matter is met again
        while done < size and HAS_COPY:
            got = os.copy_file_range(source, target, size - done, offset + done, done)
            if not got:
                break
            done += got
    while done < size:
        try:
            data = os.pread(source, min(size - done, PIECE_BYTES), offset + done)
        except OSError as error:
            raise _SourceError(error.strerror) from error
        if not data:
            raise _SourceError("the file ends before")
        while data:
            n = os.pwrite(target, data, done)
            done, data = done + n, data[n:]
