"""Chunks of Zarr v2 -> chunks of v3, one file at a time, from one folder on a disk into another.

Where the bytes of a chunk are the same in both formats, the new file is a hard link to the old one, or a copy
where the file system has no links. A chunk that is decoded and encoded is read back and compared.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngff_convert.errors import ReadError, VerificationError, WriteError, first_line, reason
from ngff_convert.journal import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ngff_convert.upgrade_metadata import ArrayPlan, Json

_BLOCK_BYTES = 2**20
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_ZLIB_ENDS = 2, 4
_NEW = ".ngff-convert-new"
_CHUNK_LIKE = re.compile(r"c|(c/)?\d+([./]\d+)*")


def listed(array: Path, plan: ArrayPlan) -> tuple[list[str], list[str]]:
    """Return the names of the chunks of an array of Zarr v2, sorted, and of what else is in its folder."""
    grid = [-(-n // size) for n, size in zip(plan.old["shape"], plan.old["chunks"], strict=True)]
    pattern = re.compile(re.escape(plan.separator).join([r"(0|[1-9]\d*)"] * plan.rank) or "0")
    chunks, others = [], []
    for name in _files(array, ""):
        found = pattern.fullmatch(name)
        within = found and all(int(n) < size for n, size in zip(found.groups(), grid, strict=True))
        if within:
            chunks.append(name)
        elif name not in (".zarray", ".zattrs"):
            others.append(name)
    return sorted(chunks), sorted(others)


def is_foreign(name: str) -> bool:
    """Return whether a file in the folder of an array is its owner's: no chunk outside it, and no remains.

    Examples
    --------
    >>> is_foreign("README.txt"), is_foreign("7.0"), is_foreign("c/0/0"), is_foreign("0.0.ngff-convert-new")
    (True, False, False, False)
    """
    return _CHUNK_LIKE.fullmatch(name) is None and UNFINISHED not in name


def _files(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


@dataclass(frozen=True, slots=True)
class Carrier:
    """Carries the chunks of one array.

    Attributes
    ----------
    plan
        What becomes of it.
    source, target
        The folders of the old array and of the new one.
    array
        The new one, open, where chunks are encoded.
    """

    plan: ArrayPlan
    source: Path
    target: Path
    array: Any = None

    def carry(self, name: str) -> None:
        """Carry a chunk; what an earlier run left of it is replaced.

        Raises
        ------
        ReadError
            It cannot be read or decoded.
        WriteError
            It cannot be written.
        VerificationError
            It is not what was written.
        """
        old = self.source / name
        cell = name.split(self.plan.separator) if self.plan.rank else []
        new = self.target.joinpath("c", *cell)
        if not old.is_file() or old.is_symlink():
            raise ReadError(f"{old}: is no plain file; convert the store instead")
        if self.plan.way == "recode":
            self._recode(old, tuple(map(int, cell)))
            return
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            if self.plan.way == "wrap":
                replace(new, wrapped(old.read_bytes()))
            else:
                link(old, new)
        except (ValueError, zlib.error) as error:
            raise ReadError(f"{old}: cannot be decoded: {error}; restore the store from a copy") from error
        except OSError as error:
            raise _unwritable(new, error) from error

    def _recode(self, old: Path, cell: tuple[int, ...]) -> None:
        try:
            chunk = decoded(old.read_bytes(), self.plan)
        except Exception as error:  # a decoder fails in its own way
            raise ReadError(
                f"{old}: cannot be decoded: {first_line(error)}; restore the store from a copy"
            ) from error
        spans = zip(cell, self.plan.old["chunks"], self.plan.old["shape"], strict=True)
        box = tuple(slice(n * size, min((n + 1) * size, whole)) for n, size, whole in spans)
        chunk = chunk[tuple(slice(0, span.stop - span.start) for span in box)]
        try:
            self.array[box].write(chunk).result()
            again = np.asarray(self.array[box].read().result())
        except (ValueError, OSError) as error:
            raise _unwritable(self.target, error) from error
        if again.tobytes() != np.ascontiguousarray(chunk, again.dtype).tobytes():
            raise VerificationError(
                f"{self.target}: the chunk {cell} is not what was written; is the disk sound?"
            )


def replace(path: Path, content: bytes) -> None:
    """Write a file beside its name, and give it the name when it is on the disk; raises `OSError`."""
    beside = path.with_name(path.name + _NEW)
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def link(old: Path, new: Path) -> None:
    """Have a file under another name too: as a hard link, or a copy where there are none."""
    try:
        os.link(old, new)
    except FileExistsError:
        if not os.path.samefile(old, new):  # noqa: PTH121
            new.unlink()
            link(old, new)
    except OSError:  # another file system, one without links, or too many of them
        beside = new.with_name(new.name + _NEW)
        shutil.copyfile(old, beside)
        beside.replace(new)


def wrapped(data: bytes) -> bytes:
    """Return a stream of zlib as one of gzip; what is between their ends is the same.

    Examples
    --------
    >>> import gzip
    >>> gzip.decompress(wrapped(zlib.compress(b"pixels")))
    b'pixels'
    """
    decoder = zlib.decompressobj()
    checksum, size, rest = 0, 0, data
    while rest and not decoder.eof:
        block = decoder.decompress(rest, _BLOCK_BYTES)
        checksum, size, rest = zlib.crc32(block, checksum), size + len(block), decoder.unconsumed_tail
    if not decoder.eof or decoder.unused_data:
        raise ValueError("is no whole stream of zlib")
    head, tail = _ZLIB_ENDS
    return b"".join((_GZIP_HEAD, data[head:-tail], struct.pack("<II", checksum, size % 2**32)))


# -- decoding ----------------------------------------------------------------------------------------------


def decoded(data: bytes, plan: ArrayPlan) -> NDArray[Any]:
    """Return the pixels of a chunk of Zarr v2, in native byte order."""
    compressor = plan.old.get("compressor")
    if compressor:
        data = _DECODERS[compressor["id"]](data)
    for one in reversed(plan.old.get("filters") or []):
        data = _unshuffled(data, one)
    shape = plan.old["chunks"]
    flat = np.frombuffer(data, plan.dtype)
    chunk = flat.reshape(shape[::-1]).T if plan.old.get("order", "C") == "F" else flat.reshape(shape)
    return np.ascontiguousarray(chunk, plan.dtype.newbyteorder("="))


def _unshuffled(data: bytes, settings: Json) -> bytes:
    size = int(settings.get("elementsize", 4))
    n = len(data) // size * size
    block = np.frombuffer(data[:n], np.uint8).reshape(size, -1)
    return block.T.tobytes() + data[n:]


def _imagecodecs(name: str, **settings: bool) -> Callable[[bytes], bytes]:
    def decode(data: bytes) -> bytes:
        import imagecodecs

        return bytes(getattr(imagecodecs, f"{name}_decode")(data, **settings))

    return decode


_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "blosc": _imagecodecs("blosc"),
    "bz2": bz2.decompress,
    "gzip": _imagecodecs("gzip"),
    "lz4": _imagecodecs("lz4", header=True),
    "lzma": lzma.decompress,
    "zlib": zlib.decompress,
    "zstd": _imagecodecs("zstd"),
}


def _unwritable(path: Path, error: Exception) -> WriteError:
    return WriteError(f"{path}: cannot be written: {reason(error)}; mend that and run the same command again")
