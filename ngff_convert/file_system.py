"""What a commit asks of a file system: locks, names, removal, and that all is on the disk."""

from __future__ import annotations

import ctypes
import os
import shutil
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, which would not rename a folder with an open file either
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None

_HERE, _EXCHANGE = -100, 2
"""``AT_FDCWD`` and ``RENAME_EXCHANGE`` of Linux."""


def lock(handle: int, *, otherwise: bool = True) -> bool:
    """Take the exclusive lock on an open file; return whether no other run has it.

    Parameters
    ----------
    handle
        The file.
    otherwise
        What is returned where there are no locks: two runs at once are then not told apart.
    """
    if not HAS_LOCKS:
        return otherwise
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return otherwise
    return True


def names(folder: Path) -> set[str]:
    """Return what is in a folder; raises `OSError`."""
    return {path.name for path in folder.iterdir()}


def is_or_holds(place: Path, source: str) -> bool:
    """Return whether a file would be lost if what is in a place were."""
    try:
        known = Path(os.path.realpath(place)).stat()
        # Where the input is a link, neither the link may be lost nor what it points to.
        real = Path(os.path.realpath(source))
        link = Path(os.path.realpath(Path(source).parent), Path(source).name)
    except (OSError, ValueError):
        return False
    for path in (real, *real.parents, link, *link.parents):
        with suppress(OSError):
            if os.path.samestat(path.stat(), known):
                return True
    return False


def is_utf8(text: str) -> bool:
    """Return whether a name can be one in an OME-Zarr."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Return whether no run holds the lock on a plan file, which need not be there."""
    try:
        with path.open("r+b") as file:  # over NFS only a file that may be written can be locked
            return lock(file.fileno())
    except FileNotFoundError:
        return True


def exchange(one: Path, other: Path) -> bool:
    """Have two names change places in one step; return whether the system and the file system could."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    names = _HERE, os.fsencode(one), _HERE, os.fsencode(other)
    return bool(library.renameat2(*names, _EXCHANGE) == 0)


def flush_file_system(folder: Path) -> None:
    """Wait until all that was written to a file system is on its disk, or over its network."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if library.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove what may be there; another run may be removing it too; errors have its whole path."""
    while os.path.lexists(path):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:  # which names what is deep in a folder by its last name only
            if not Path(error.filename or "").is_absolute():
                error.filename = str(path)
            raise
