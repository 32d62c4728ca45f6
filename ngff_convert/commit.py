"""The output appears under its final name only when it is whole.

Work happens in ``TARGET.partial`` beside it, which says in `PLAN_FILE` what it was begun with; a lock on that
file keeps a second run out, and ends with the process. The last step is one rename. A partial store that an
interrupted run left is taken up by the next run that would write the same.

Nothing is ever removed but an OME-Zarr store that is to be replaced, and a partial store of this program.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ngff_convert import resume
from ngff_convert.errors import ConversionError, TargetError, WriteError
from ngff_convert.journal import JOURNAL_FOLDER, UNFINISHED, Journal, anything_finished, flush_folder
from ngff_convert.storage import Folder

try:
    import fcntl
except ImportError:  # Windows, which would not rename a folder with an open file either
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

PLAN_FILE = f"{UNFINISHED}-plan.json"
"""In the partial store: what it was begun with (`resume.Begun`), and the lock of the run that writes it."""

LONGEST_NAME = 255
"""Bytes of a name that every file system has room for."""

HALF_WRITTEN = re.compile(r".+_[0-9a-f]{1,16}\.__lock")
"""Files that tensorstore writes and then renames; a process that is killed leaves them."""

HIERARCHY_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
"""A folder with one of these is a Zarr hierarchy."""


@dataclass(slots=True)
class Target(AbstractContextManager["Target"]):
    """Where the output goes; a context manager, which holds the lock from `begin` to its end.

    Attributes
    ----------
    path
        The final name.
    overwrite
        Whether a store that has that name is replaced.
    restart
        Whether a partial store of an earlier run is thrown away.
    mark
        From `begin` on: what lines of the journal are marked with.
    """

    path: Path
    overwrite: bool = False
    restart: bool = False
    mark: str = field(default="", init=False, compare=False)
    _file: TextIO | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def partial(self) -> Path:
        """Where the store is until it is whole."""
        name = f"{self.path.name}.partial"
        if len(os.fsencode(name)) <= LONGEST_NAME:
            return self.path.with_name(name)
        return self.path.with_name(f"{self.path.name[:40]}-{self._short}.partial")

    @property
    def storage(self) -> Folder:
        """The partial store, as what is stored in it is addressed."""
        return Folder.of(str(self.partial))

    def journal(self, mark: str, *, flush: bool, writer: str = "") -> Journal:
        """Return the journal of a conversion, of one writer or of all."""
        return Journal(str(self.partial), mark, flush, writer)

    @property
    def _short(self) -> str:
        return sha256(os.fsencode(self.path.name)).hexdigest()[:16]

    def check(self, source: str) -> None:
        """Refuse what could destroy something, before any work.

        Raises
        ------
        TargetError
            The output exists and is not to be replaced, or it, or its partial store, is or holds the input;
            or its name cannot be one.
        WriteError
            Its name is too long.
        """
        name = str(self.path)
        if not _is_utf8(name) or "\0" in name:
            raise TargetError(f"{name!r}: is not a name in UTF-8, as OME-Zarr needs; choose another output")
        if self.path.name in ("", ".."):
            raise TargetError(f"{self.path}: the output needs a name")
        if len(os.fsencode(self.path.name)) > LONGEST_NAME:
            raise WriteError(
                f"{self.path}: File name too long: more than {LONGEST_NAME} bytes; choose a shorter one"
            )
        for place in (self.path, self.partial):
            if _is_or_holds(place, source):
                raise TargetError(f"{place}: is, or holds, the input {source}; choose another output")
        self._take_over()
        self._check_free()

    def _check_free(self) -> None:
        if not os.path.lexists(self.path):
            return
        if not _is_store(self.path):
            raise TargetError(
                f"{self.path}: exists already and is not an OME-Zarr store; choose another name"
            )
        if not self.overwrite:
            raise TargetError(f"{self.path}: exists already; use --overwrite to replace it, or another name")

    def left(self) -> dict[str, Any] | None:
        """Return what an earlier run was begun with; None if it has finished nothing that could be lost."""
        with suppress(OSError):  # `begin` looks again, with the lock
            record = _record((self.partial / PLAN_FILE).read_text(encoding="utf-8", errors="replace"))
            if not self.restart and self._counts(record):
                return record
        return None

    def _counts(self, record: Mapping[str, Any]) -> bool:
        """Return whether an earlier run would be missed: it has finished a region, or others rely on it."""
        return bool(record.get("parts")) or anything_finished(self.partial)

    def begin(self, begun: resume.Begun) -> bool:
        """Make the partial store, or take up the one of an equal digest; from now on it is this run's alone.

        Parameters
        ----------
        begun
            The record of this conversion, from `resume.begun`.

        Returns
        -------
        bool
            Whether there was one.

        Raises
        ------
        TargetError
            Another run is writing it; or there is one of another conversion, of which something is finished;
            or what has its name is no partial store; or the output has appeared since `check`.
        WriteError
            The folder cannot be made.
        """
        try:
            self._file = file = self._locked()
            text = file.read()
            left = _record(text)
            taken_up = left.get("digest") == begun["digest"] and not self.restart
            if not taken_up:
                self._discard(left, begun)
                left = resume.signed(begun)
                file.seek(0)
                file.truncate()
                json.dump(left, file, indent=1)
                file.flush()
                os.fsync(file.fileno())  # without it, nothing can be gone on with
                flush_folder(self.partial)
                flush_folder(self.path.parent)
            self.mark = resume.mark_of(left)
        except OSError as error:
            self.close()
            if isinstance(error, ConversionError):
                raise
            raise WriteError(f"{self.partial}: cannot be written: {error.strerror}") from error
        if fcntl is None:
            self.close()
        return taken_up

    def make_ready(self, *, sweep: bool) -> None:
        """Remove what processes that were killed had not finished writing.

        Parameters
        ----------
        sweep
            Whether there may have been such processes.

        Raises
        ------
        WriteError
            It cannot be removed.
        """
        if not sweep:
            return
        try:
            for place, _, names in os.walk(self.partial):
                for name in filter(HALF_WRITTEN.fullmatch, names):
                    os.unlink(os.path.join(place, name))  # noqa: PTH108, PTH118 - may be a million files
        except OSError as error:
            raise WriteError(f"{error.filename}: cannot be removed: {error.strerror}") from error

    def commit(self) -> None:
        """Have the whole store on the disk, and give it its final name.

        Raises
        ------
        TargetError
            Something else has its name by now.
        WriteError
            It cannot be renamed, and the old output is in its place again; or the disk reports an error.
        """
        old = self._old
        try:
            self._check_free()
            _flush_file_system(self.partial)
            if os.path.lexists(self.path):
                self._make_way(old)
            self.partial.rename(self.path)
            flush_folder(self.path.parent)
        except TargetError as error:
            raise TargetError(f"{error} (the finished store is {self.partial})") from error
        except OSError as error:
            raise WriteError(
                f"{self.path}: cannot be given its name: {error.strerror}; "
                f"the finished store is {self.partial}{self._put_back(old)}"
            ) from error
        except BaseException:  # a signal between the two
            self._put_back(old)
            raise

    def _make_way(self, old: Path) -> None:
        if os.path.lexists(old):
            raise TargetError(f"{old}: is an old output that an interrupted run moved there; move it away")
        self.path.rename(old)

    def tidy(self) -> None:
        """Remove the old output, and what only a partial store needs; the file by which it is known last.

        Raises
        ------
        WriteError
            Something cannot be removed; the next run into this output tries again.
        """
        try:
            for leftover in (self._old, self.path / JOURNAL_FOLDER, self.path / PLAN_FILE):
                _remove(leftover)
        except OSError as error:
            raise WriteError(
                f"{error.filename}: cannot be removed: {error.strerror}; "
                f"the new store is whole, in {self.path}"
            ) from error
        finally:
            self.close()

    @property
    def _old(self) -> Path:
        """What the old output is called while the new one takes its place.

        The same for every run into this output, so that one that goes on where another was killed finds it;
        short enough wherever the partial store's name is.
        """
        return self.path.with_name(f".{self.path.name[:40]}.replaced-{self._short}")

    def _take_over(self) -> None:
        """Do what a run that was killed at its end had still to do, unless one is just there."""
        with suppress(OSError):
            if (self.path / PLAN_FILE).is_file() and is_free(self.path / PLAN_FILE):
                self.tidy()
            if os.path.lexists(self._old) and is_free(self.partial / PLAN_FILE):
                self._put_back(self._old)

    def _put_back(self, old: Path) -> str:
        """Give the old output its name again; return where it is, for a message."""
        if not os.path.lexists(old) or os.path.lexists(self.path):
            return ""
        try:
            old.rename(self.path)
        except OSError:
            return f", the old output is {old}"
        return ", the old output is back in its place"

    def abandon(self) -> None:
        """Remove the partial store, which no run can finish; the file by which it is known last."""
        try:
            self._empty()
            _remove(self.partial)
        except OSError as error:
            raise WriteError(f"{self.partial}: cannot be removed: {error.strerror}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Let other runs have the partial store."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Let other runs have the partial store."""
        self.close()

    # -- the partial store ---------------------------------------------------------------------------------

    def _locked(self) -> TextIO:
        """Open the plan file, made if need be, and lock it."""
        while True:
            self._check_free()  # another run may have just finished
            self._make_partial()
            path = self.partial / PLAN_FILE
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            except FileNotFoundError:  # another run has renamed the folder meanwhile
                continue
            file = open(handle, "r+", encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 - `close` closes it
            try:
                if not _lock(handle):
                    raise TargetError(
                        f"{self.partial}: another run is writing it; wait for its end, or choose another name"
                    )
                # The lock counts only if no other run has finished or removed the file before it was taken.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), path.stat()):
                        self._check_still_free(file)
                        return file
            except BaseException:  # whatever it is, the lock must not be kept
                file.close()
                raise
            file.close()

    def _check_still_free(self, file: TextIO) -> None:
        """Look again: where another run has just finished, the partial store is one that this run made."""
        try:
            self._check_free()
        except TargetError:
            if not os.fstat(file.fileno()).st_size:
                _remove(self.partial)
            raise

    def _make_partial(self) -> None:
        try:
            content = _names(self.partial)
        except FileNotFoundError:
            content = set()
        except NotADirectoryError:
            if os.path.lexists(self.partial):
                raise self._not_ours() from None
            raise
        if self.partial.is_symlink() or (content and PLAN_FILE not in content):
            raise self._not_ours()
        self.partial.mkdir(parents=True, exist_ok=True)

    def _not_ours(self) -> TargetError:
        return TargetError(
            f"{self.partial}: is not an unfinished conversion, and this one would need that name: "
            "move it away, or choose another output"
        )

    def _discard(self, left: Mapping[str, Any], begun: resume.Begun) -> None:
        """Remove all that another conversion left, its record first, and keep the lock.

        What nobody has finished a region of is nobody's loss.
        """
        if not self.restart and self._counts(left):
            raise TargetError(
                f"{self.partial}: is the work of another conversion: {resume.differences(left, begun)}; "
                "use --restart to throw it away"
            )
        self._empty()

    def _empty(self) -> None:
        """Remove all of the partial store but its record, which then says nothing any more."""
        (self.partial / PLAN_FILE).write_bytes(b"")
        for name in _names(self.partial) - {PLAN_FILE}:
            _remove(self.partial / name)


def _record(text: str) -> dict[str, Any]:
    """Return what a plan file says; nothing where nobody has finished writing it."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _lock(handle: int) -> bool:
    """Take the exclusive lock on an open file; return whether no other run has it."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: two runs at once are then not told apart
            return True
    return True


def _is_store(path: Path) -> bool:
    """Return whether a path is a Zarr hierarchy, or an empty folder, or a link to one."""
    try:
        content = _names(path)
    except OSError:
        return False
    return not content or not content.isdisjoint(HIERARCHY_FILES)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _is_or_holds(place: Path, source: str) -> bool:
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


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Return whether no run holds the lock on a plan file, which need not be there."""
    try:
        with path.open("rb") as file:
            return _lock(file.fileno())
    except FileNotFoundError:
        return True


def _flush_file_system(folder: Path) -> None:
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


def _remove(path: Path) -> None:
    """Remove what may be there; another run may be removing it too."""
    while os.path.lexists(path):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
