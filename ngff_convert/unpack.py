"""An ``.ozx`` archive, whoever made it, becomes a folder again; nothing in it is trusted.

The names of all entries are looked at before anything is written: none may lead out of the store, be there
twice, or be a link; what they would become together is bounded. Each is then copied, and its checksum held
against that of the archive. Compressed entries are read too: RFC-9 forbids them, and yet they are found.
"""

from __future__ import annotations

import json
import stat
import zipfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path, PureWindowsPath
from typing import IO, TYPE_CHECKING

from ngff_convert.archive import DAMAGED, METADATA
from ngff_convert.commit import HIERARCHY_FILES, Target
from ngff_convert.errors import ConversionError, ReadError, TargetError, UnsupportedInput, WriteError
from ngff_convert.journal import UNFINISHED
from ngff_convert.resume import facts
from ngff_convert.zip_writer import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from io import FileIO

MAX_RATIO = 100
"""What is unpacked may be so many times as large as the archive..."""

SMALL_BYTES = 2**26
"""... or this large: blocks of one value compress to a thousandth."""

_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A store that was unpacked.

    Attributes
    ----------
    files
        How many there are in it.
    size
        Bytes of them all.
    """

    files: int
    size: int


def unpack(
    archive: Path, store: Path, *, overwrite: bool = False, tell: Callable[[int, int], object] | None = None
) -> Unpacked:
    """Make a store of an archive; it has its name when it is whole and on the disk.

    Parameters
    ----------
    archive
        An ``.ozx``, or any other zip with a Zarr hierarchy in its root.
    store
        The folder to make; the work is done in ``STORE.partial``.
    overwrite
        Whether an OME-Zarr store of that name is replaced.
    tell
        Is told how many bytes are done, and of how many.

    Raises
    ------
    ReadError
        The archive cannot be read, is damaged, or holds what no archive of a store does.
    UnsupportedInput
        It is encrypted, or compressed in another way than with deflate.
    TargetError
        The store exists already, or what exists is not one, or another run writes it.
    WriteError
        It cannot be written.
    """
    target = Target(store, overwrite)
    if store.is_file():
        raise TargetError(f"{store}: exists already and is not an OME-Zarr store; choose another name")
    target.check(str(archive))
    source = facts(str(archive))
    if target.left() is not None:
        raise TargetError(
            f"{target.partial}: is an unfinished conversion; finish it, or choose another output"
        )
    begun = {"unpacked": asdict(source)}
    digest = sha256(json.dumps(begun, sort_keys=True).encode()).hexdigest()
    try:
        with zipfile.ZipFile(archive) as file, target:
            entries = _entries(file, archive, source.size)
            again = target.begin({"digest": digest, **begun})
            try:
                unpacked = _extract(file, entries, target.partial, tell, again=again)
            except BaseException:  # nothing of it is gone on with
                with suppress(WriteError):
                    target.abandon()
                raise
            target.commit()
            target.tidy()
    except DAMAGED as error:
        if isinstance(error, ConversionError):
            raise
        raise ReadError(f"{archive}: is damaged, or not a zip: {error}; fetch or pack it again") from error
    return unpacked


def _entries(file: zipfile.ZipFile, archive: Path, size: int) -> list[zipfile.ZipInfo]:
    """Return the entries that are files, when all may be unpacked."""
    entries = [entry for entry in file.infolist() if not entry.filename.endswith("/")]
    names: set[str] = set()
    for entry in entries:
        if problem := _problem(entry):
            raise ReadError(f"{archive}: entry {entry.orig_filename!r} {problem}; nothing was unpacked")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _READ:
            how = "encrypted" if entry.flag_bits & _ENCRYPTED else f"of method {entry.compress_type}"
            raise UnsupportedInput(f"{archive}: entry {entry.filename!r} is {how}; pack it again without")
        if entry.filename in names:
            raise ReadError(f"{archive}: entry {entry.filename!r} is there twice; nothing was unpacked")
        names.add(entry.filename)
    for folder in {name.rpartition("/")[0] for name in names}:
        while folder:
            if folder in names:
                raise ReadError(f"{archive}: entry {folder!r} is a file and a folder; nothing was unpacked")
            folder = folder.rpartition("/")[0]
    if names.isdisjoint(HIERARCHY_FILES):
        raise ReadError(f"{archive}: has no {METADATA} in its root, so it is not an OME-Zarr archive")
    _check_sizes(entries, archive, size)
    return entries


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry must not be written; None where it may."""
    name = entry.orig_filename
    parts = name.split("/")
    if name.startswith("/") or PureWindowsPath(name).anchor or "\\" in name or "\0" in name:
        return "has a name that is no relative path"
    if not {"", ".", ".."}.isdisjoint(parts):
        return "leads out of the store, or nowhere"
    if any(part.startswith(UNFINISHED) for part in parts):
        return "is not a part of a store"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device"
    return None


def _check_sizes(entries: Sequence[zipfile.ZipInfo], archive: Path, size: int) -> None:
    """Refuse what would grow without bounds: `zipfile` gives no more of an entry than it declares."""
    if sum(entry.compress_size for entry in entries) > size:
        raise ReadError(f"{archive}: its entries overlap, or are cut off; fetch or pack it again")
    whole = sum(entry.file_size for entry in entries)
    if whole > max(SMALL_BYTES, MAX_RATIO * size):
        raise ReadError(
            f"{archive}: would become {whole} bytes, over {MAX_RATIO} times its own; nothing was unpacked"
        )


def _extract(
    file: zipfile.ZipFile,
    entries: Sequence[zipfile.ZipInfo],
    folder: Path,
    tell: Callable[[int, int], object] | None,
    *,
    again: bool,
) -> Unpacked:
    made: set[Path] = set()
    done, whole = 0, sum(entry.file_size for entry in entries)
    for entry in entries:
        path = folder / entry.filename
        with file.open(entry) as source, _created(path, made, again=again) as out:
            left = entry.file_size
            while block := _block(source, path):
                _write(out, block, path)
                left -= len(block)
                done += len(block)
                if tell:
                    tell(done, whole)
        if left:
            raise ReadError(f"{file.filename}: entry {entry.filename!r} is cut off; fetch or pack it again")
    return Unpacked(len(entries), whole)


def _created(path: Path, made: set[Path], *, again: bool) -> FileIO:
    """Open a file to be written, and make the folders that it is in."""
    try:
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        # A name that the disk takes for another one must not replace it; what an earlier run left may be.
        return path.open("wb" if again else "xb", buffering=0)
    except FileExistsError as error:
        raise ReadError(f"{path}: two entries have this name on this disk; unpack to another one") from error
    except OSError as error:
        raise _unwritable(path, error) from error


def _write(out: FileIO, block: bytes, path: Path) -> None:
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as error:
        raise _unwritable(path, error) from error


def _block(source: IO[bytes], path: Path) -> bytes:
    try:
        return source.read(BLOCK_BYTES)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read from the archive: {error.strerror}") from error


def _unwritable(path: Path, error: OSError) -> WriteError:
    return WriteError(f"{path}: cannot be written: {error.strerror}; the archive is as it was")
