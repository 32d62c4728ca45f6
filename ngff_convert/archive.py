"""An OME-Zarr in one file: a zip archive of its files, by custom ``NAME.ozx``.

It is written as RFC-9 of OME-NGFF has it, in the text that answers its reviews
(https://ngff.openmicroscopy.org/rfc/9/): every file of the store is an entry, stored and not compressed; the
root of the archive is that of the store, and nothing precedes the first entry. All ``zarr.json`` come first,
the root's before all, breadth first; the comment tells readers so, ``{"ome": {"version": ..., "zipFile":
{"centralDirectory": {"jsonFirst": true}}}}``, as ngff-zarr and iohub write it too. The ZIP64 end records are
there at any size. A store without a ``zarr.json`` in its root, as of OME-Zarr 0.4 and earlier, cannot be one.

The bytes of an archive depend on the store alone, not on times, owners or the order of a folder. It gets its
name when it is on the disk and reads back as it was written.
"""

from __future__ import annotations

import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from struct import error as StructError  # noqa: N812 - it is an exception
from typing import TYPE_CHECKING, BinaryIO
from zlib import error as ZlibError  # noqa: N812 - it is an exception

from ngff_convert.errors import ConversionError, ReadError, TargetError, UnsupportedInput, WriteError
from ngff_convert.journal import UNFINISHED, flush_folder
from ngff_convert.storage_contract import SUFFIX
from ngff_convert.zip_writer import BLOCK_BYTES, LOCAL, ZipWriter, read_back

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METADATA = "zarr.json"

DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    ArithmeticError,
    EOFError,
    StructError,
    ZlibError,
)
"""What `zipfile` raises where an archive is damaged, or of a kind that it does not read."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that is whole and on the disk, and has not got its name.

    Attributes
    ----------
    half
        Where it is; to be renamed.
    version
        Of OME-Zarr.
    files
        How many there are in it.
    size
        Bytes of the archive.
    """

    half: Path
    version: str
    files: int
    size: int


def pack(
    store: Path, archive: Path, *, overwrite: bool = False, tell: Callable[[int, int], object] | None = None
) -> Packed:
    """Make an archive of a store.

    Parameters
    ----------
    store
        An OME-Zarr of version 0.5 or later, finished.
    archive
        What is made: there is nothing of that name until all of it is on the disk, and reads back as written.
    overwrite
        Whether another archive of that name is replaced.
    tell
        Is told how many bytes are done, and of how many.

    Raises
    ------
    ReadError
        The store cannot be read, is not whole, has links that lead out of it, or changes meanwhile.
    UnsupportedInput
        It is not an OME-Zarr, or of a version that has no ``zarr.json``.
    TargetError
        The archive exists already, or is not one, or would be in the store, or another run writes it.
    WriteError
        It cannot be written.
    """
    if store.name.endswith(".partial") and any(store.glob(f"{UNFINISHED}*")):
        raise ReadError(
            f"{store}: is an unfinished conversion; run its command again, then pack what it makes"
        )
    if _within(archive, store):
        raise TargetError(f"{archive}: is in the store that would go into it; choose another name")
    check_free(archive, overwrite=overwrite)
    with packed(store, archive, tell) as whole:
        check_free(archive, overwrite=overwrite)
        try:
            whole.half.replace(archive)
            flush_folder(archive.absolute().parent)
        except OSError as error:
            raise WriteError(f"{archive}: cannot be given its name: {error.strerror}") from error
    return whole


def check_free(archive: Path, *, overwrite: bool) -> None:
    """Refuse a name that is taken; nothing but an archive is ever replaced.

    Raises
    ------
    TargetError
        It is, and not to be replaced.
    """
    if not os.path.lexists(archive):
        return
    if not is_archive(archive):
        raise TargetError(f"{archive}: exists already and is not an {SUFFIX} archive; choose another name")
    if not overwrite:
        raise TargetError(f"{archive}: exists already; use --overwrite to replace it, or another name")


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip with a ``zarr.json`` in its root, if only the start of one."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(LOCAL.size + len(METADATA))
        if head.startswith(b"PK\3\4") and head.endswith(METADATA.encode()):
            return True
        with zipfile.ZipFile(path) as other:
            return METADATA in other.namelist()
    except (OSError, *DAMAGED):
        return False


def half_of(archive: Path) -> Path:
    """Return what an archive is called until it is whole."""
    name = f"{archive.name}.packing"
    if len(os.fsencode(name)) > 255:
        name = f"{archive.name[:40]}-{sha256(os.fsencode(archive.name)).hexdigest()[:16]}.packing"
    return archive.with_name(name)


@contextmanager
def packed(store: Path, archive: Path, tell: Callable[[int, int], object] | None = None) -> Iterator[Packed]:
    """Write the archive of a store beside the name it is to have, which is for the block to give it.

    Until the end of the block no other run writes there; what has not been renamed by then is removed. A run
    that was killed leaves it, and the next one overwrites it.

    Parameters
    ----------
    store, archive, tell
        As in `pack`.

    Raises
    ------
    ReadError, UnsupportedInput, TargetError, WriteError
        As in `pack`.
    """
    half = half_of(archive)
    version = _version(store)
    content = _look(os.path.realpath(store))
    with _locked(half) as file:
        try:
            yield _written(file, half, content, version, tell or _ignore)
        finally:
            with suppress(OSError):
                if os.path.samestat(os.fstat(file.fileno()), half.stat()):
                    half.unlink()


def _written(
    file: BinaryIO, half: Path, content: _Content, version: str, tell: Callable[[int, int], object]
) -> Packed:
    told = 0

    def advance(size: int) -> None:
        nonlocal told
        told += size
        tell(told, 2 * content.size)

    comment = _comment(version)
    rest = (name for name, _ in _walk(content.store) if not _is_metadata(name))
    try:
        with ZipWriter(file, advance) as writer:
            names = chain(content.metadata, rest)
            writer.add_all((name, os.path.join(content.store, name)) for name in names)  # noqa: PTH118
            if writer.files != content.files or _look(content.store) != content:
                raise ReadError(f"{content.store}: was changed while it was packed; wait until it is written")
            writer.finish(comment)
        with ThreadPoolExecutor(1) as beside:
            flushed = beside.submit(os.fsync, file.fileno())
            read_back(half, content.files, comment, advance)
            flushed.result()
    except OSError as error:
        if isinstance(error, ConversionError):
            raise
        raise WriteError(f"{half}: cannot be written: {error.strerror}; the store is as it was") from error
    return Packed(half, version, content.files, file.tell())


# -- the store ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Content:
    """What is in a store.

    Attributes
    ----------
    store
        Its real path.
    metadata
        Names of all ``zarr.json``, in the order of an archive.
    files
        How many there are in all.
    size
        Bytes of them all.
    changed_ns
        When the last of them was changed.
    """

    store: str
    metadata: tuple[str, ...]
    files: int
    size: int
    changed_ns: int


def _version(store: Path) -> str:
    """Return the version of OME-Zarr that the root of a store names."""
    try:
        root = json.loads((store / METADATA).read_bytes())
    except FileNotFoundError as error:
        if (store / ".zgroup").exists() or (store / ".zarray").exists():
            raise UnsupportedInput(
                f"{store}: is OME-Zarr 0.4 or earlier; an {SUFFIX} archive holds 0.5 or later: "
                "convert with --ngff-version 0.5"
            ) from error
        raise ReadError(f"{store}: is not an OME-Zarr store, or is not there: no {METADATA}") from error
    except OSError as error:
        raise ReadError(f"{store}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ReadError(f"{store / METADATA}: is not JSON: {error}") from error
    with suppress(KeyError, TypeError):
        version = root["attributes"]["ome"]["version"]
        if isinstance(version, str) and 0 < len(version) < 100:
            return version
    raise UnsupportedInput(f"{store / METADATA}: names no version of OME-Zarr; only an OME-Zarr is packed")


def _comment(version: str) -> bytes:
    facts = {"version": version, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
    return json.dumps({"ome": facts}, separators=(",", ":")).encode()


def _look(store: str) -> _Content:
    """Look at every name in a store; refuse what cannot be in an archive before any work."""
    metadata: list[str] = []
    files = size = changed_ns = 0
    for name, entry in _walk(store):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ReadError(f"{store}: {name!r} is not a name in UTF-8, as OME-Zarr needs") from error
        if name.lower().endswith(SUFFIX):
            raise UnsupportedInput(f"{store}: {name} is an archive, which cannot be in another; move it away")
        if _is_metadata(name):
            metadata.append(name)
        files += 1
        status = entry.stat()
        size += status.st_size
        changed_ns = max(changed_ns, status.st_mtime_ns)
    metadata.sort(key=lambda name: (name.count("/"), [(len(part), part) for part in name.split("/")]))
    return _Content(store, tuple(metadata), files, size, changed_ns)


def _is_metadata(name: str) -> bool:
    return name == METADATA or name.endswith(f"/{METADATA}")


def _walk(store: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the name of each file of a store; in an order that is always the same, and that of numbers."""
    ahead = [_sorted(store)]
    while ahead:
        entry = next(ahead[-1], None)
        if entry is None:
            ahead.pop()
        elif entry.name.startswith(UNFINISHED):
            continue
        elif entry.is_dir(follow_symlinks=False):
            ahead.append(_sorted(entry.path))
        else:
            _check_kind(entry, store)
            yield entry.path[len(store) :].lstrip(os.sep).replace(os.sep, "/"), entry


def _sorted(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: (len(entry.name), entry.name)))
    except OSError as error:
        raise ReadError(f"{folder}: cannot be read: {error.strerror}") from error


def _check_kind(entry: os.DirEntry[str], store: str) -> None:
    """Refuse what is no file, and a link that does not stay within the store."""
    if entry.is_file(follow_symlinks=False):
        return
    if not entry.is_symlink():
        raise ReadError(f"{entry.path}: is neither a file nor a folder; move it out of the store")
    if not entry.is_file() or not Path(os.path.realpath(entry.path)).is_relative_to(store):
        raise ReadError(
            f"{entry.path}: is a link out of the store, or not to a file; put a file there instead"
        )


def _within(path: Path, folder: Path) -> bool:
    """Return whether a file would be in a folder; links are followed."""
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))


def _ignore(_done: int, _total: int) -> None:
    """Tell nobody."""


# -- writing -----------------------------------------------------------------------------------------------


@contextmanager
def _locked(half: Path) -> Iterator[BinaryIO]:
    """Open the file for this run alone; what a run that was killed left in it goes."""
    try:
        while True:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            with open(os.open(half, flags, 0o666), "r+b", buffering=BLOCK_BYTES) as file:  # noqa: PTH123
                _lock(file, half)
                # The lock counts only if no other run has renamed or removed the file before it was taken.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), half.stat()):
                        if file.read(2) not in (b"", b"PK"):
                            raise _not_ours(half)
                        file.seek(0)
                        file.truncate()
                        yield file
                        return
    except OSError as error:
        if isinstance(error, ConversionError):
            raise
        if os.path.lexists(half) and not half.is_file():
            raise _not_ours(half) from error
        raise WriteError(f"{half}: cannot be written: {error.strerror}") from error


def _lock(file: BinaryIO, half: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TargetError(f"{half}: another run is writing it; wait for its end") from None
    except OSError:  # a file system without locks: two runs at once are then not told apart
        return


def _not_ours(half: Path) -> TargetError:
    return TargetError(f"{half}: is not an unfinished archive, and that name is needed: move it away")
