"""The output appears under its final name only when it is whole.

Work happens in ``TARGET.partial`` beside it, which says in `PLAN_FILE` what it was begun with; a lock on that
file keeps a second run out, and ends with the process. The last step is one rename. A partial store that an
interrupted run left is taken up by the next run that would write the same.

Nothing is ever removed but an OME-Zarr store that is to be replaced, and a partial store of this program.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ngff_convert import file_system, resume
from ngff_convert.errors import ConversionError, TargetError, WriteError
from ngff_convert.journal import JOURNAL_FOLDER, UNFINISHED, Journal, anything_finished, flush_folder
from ngff_convert.storage import Folder

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
    _seen: tuple[int, int, int] | None = field(default=None, init=False, repr=False, compare=False)
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
        if not file_system.is_utf8(name) or "\0" in name:
            raise TargetError(f"{name!r}: is not a name in UTF-8, as OME-Zarr needs; choose another output")
        if self.path.name in ("", ".."):
            raise TargetError(f"{self.path}: the output needs a name")
        if len(os.fsencode(self.path.name)) > LONGEST_NAME:
            raise WriteError(
                f"{self.path}: File name too long: more than {LONGEST_NAME} bytes; choose a shorter one"
            )
        for place in (self.path, self.partial):
            if file_system.is_or_holds(place, source):
                raise TargetError(f"{place}: is, or holds, the input {source}; choose another output")
        for store in _stores_around(source):
            if file_system.is_or_holds(store, str(self.path)):
                raise TargetError(f"{self.path}: is within the input {store}; choose another output")
        self.take_over()
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
        try:  # `begin` looks again, with the lock
            record = _record((self.partial / PLAN_FILE).read_text(encoding="utf-8", errors="replace"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise WriteError(
                f"{self.partial / PLAN_FILE}: cannot be read: {error.strerror}; who began it may have to"
            ) from error
        return record if not self.restart and self._counts(record) else None

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
                file.write(json.dumps(left))  # in one step, which is ten times as fast as `dump`
                file.flush()
                os.fsync(file.fileno())  # without it, nothing can be gone on with
                flush_folder(self.partial)
                flush_folder(self.path.parent)
            self.mark = resume.mark_of(left)
        except OSError as error:
            self.close()
            if isinstance(error, ConversionError):
                raise
            raise WriteError(
                f"{self.partial}: cannot be written: {error.strerror}; "
                "mend that and run the same command again"
            ) from error
        if not file_system.HAS_LOCKS:
            self.close()
        return taken_up

    def is_there(self) -> bool:
        """Return whether there is something of the output's name."""
        return os.path.lexists(self.path)

    def is_current(self, mark: str) -> bool:
        """Return whether the partial store is still that of a mark, not finished or begun anew meanwhile."""
        with suppress(OSError):
            status = (self.partial / PLAN_FILE).stat()
            found = (status.st_ino, status.st_size, status.st_mtime_ns)
            if found != self._seen:
                text = (self.partial / PLAN_FILE).read_text(encoding="utf-8", errors="replace")
                if resume.mark_of(_record(text)) != mark:
                    return False
                self._seen = found
            return True
        return False

    def forget(self) -> None:
        """Remove what was written where a partial store is no more; nobody else can have use for it."""
        if not os.path.lexists(self.partial / PLAN_FILE):
            with suppress(OSError):
                file_system.remove(self.partial)

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
            file_system.flush_file_system(self.partial)
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
                file_system.remove(leftover)
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

    def take_over(self) -> None:
        """Do what a run that was killed at its end had still to do, unless one is just there."""
        with suppress(OSError):
            if (self.path / PLAN_FILE).is_file() and file_system.is_free(self.path / PLAN_FILE):
                self.tidy()
            if os.path.lexists(self._old) and file_system.is_free(self.partial / PLAN_FILE):
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
            file_system.remove(self.partial)
        except OSError as error:
            raise WriteError(f"{self.partial}: cannot be removed: {error.strerror}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Let other runs have the partial store."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # of a full disk, which was told where the record was to be on it
                file.close()

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
                if not file_system.lock(handle):
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
                file_system.remove(self.partial)
            raise

    def _make_partial(self) -> None:
        try:
            content = file_system.names(self.partial)
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
        for name in file_system.names(self.partial) - {PLAN_FILE}:
            file_system.remove(self.partial / name)


def _record(text: str) -> dict[str, Any]:
    """Return what a plan file says; nothing where nobody has finished writing it."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_store(path: Path) -> bool:
    """Return whether a path is a Zarr hierarchy, or an empty folder, or a link to one."""
    try:
        content = file_system.names(path)
    except OSError:
        return False
    return not content or not content.isdisjoint(HIERARCHY_FILES)


def _stores_around(source: str) -> list[Path]:
    """Return the Zarr group that a source is, and those it is in; nothing is to be written into them."""

    def is_group(folder: Path) -> bool:
        return any(os.path.lexists(folder / name) for name in HIERARCHY_FILES)

    try:
        place = Path(os.path.realpath(source))
        return [place, *filter(is_group, place.parents)] if is_group(place) else []
    except (OSError, ValueError):
        return []
