"""The output appears under its final name only when it is whole.

Work happens in ``TARGET.partial`` beside it, which names the plan it belongs to in `PLAN_FILE`; a lock on
that file keeps a second run out. The last step is one rename. A partial store that an interrupted run left is
taken up by the next run of an equal plan.

Nothing is ever removed but an OME-Zarr store that is to be replaced, and a partial store of this program.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ngff_convert.errors import ConversionError, TargetError, WriteError

try:
    import fcntl
except ImportError:  # Windows, which would not rename a folder with an open file either
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

PLAN_FILE = ".ngff-convert-plan.json"
"""In the partial store: the plan, the digest that names it, and the lock of the run that writes it."""

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
    """

    path: Path
    overwrite: bool
    _file: TextIO | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def partial(self) -> Path:
        """Where the store is until it is whole."""
        return self.path.with_name(f"{self.path.name}.partial")

    def check(self, source: str) -> None:
        """Refuse what could destroy something, before any work.

        Raises
        ------
        TargetError
            The output exists and is not to be replaced, or it, or its partial store, is or holds the input;
            or its name cannot be one.
        """
        name = str(self.path)
        if not _is_utf8(name) or "\0" in name:
            raise TargetError(f"{name!r}: is not a name in UTF-8, as OME-Zarr needs; choose another output")
        if self.path.name in ("", ".."):
            raise TargetError(f"{self.path}: the output needs a name")
        for place in (self.path, self.partial):
            if _is_or_holds(place, source):
                raise TargetError(f"{place}: is, or holds, the input {source}; choose another output")
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

    def begin(self, digest: str, decided: Mapping[str, Any]) -> bool:
        """Make the partial store, or take up the one of an equal plan; from now on it is this run's alone.

        Parameters
        ----------
        digest
            Names the plan; a partial store of another one is never mixed with it.
        decided
            The plan, for people and for whoever goes on with it: a few kilobytes an image.

        Returns
        -------
        bool
            Whether there was one.

        Raises
        ------
        TargetError
            Another run is writing it; or there is one of another plan and it is not to be replaced; or what
            has its name is no partial store; or the output has appeared since `check`.
        WriteError
            The folder cannot be made.
        """
        try:
            self._file = file = self._locked()
            left = self._left_digest(file)
            if left != digest:
                if left is not None:
                    self._discard(file)
                json.dump({"digest": digest, **decided}, file, indent=1)
                file.flush()
        except OSError as error:
            self.close()
            if isinstance(error, ConversionError):
                raise
            raise WriteError(f"{self.partial}: cannot be written: {error.strerror}") from error
        if fcntl is None:
            self.close()
        return left == digest

    def finish(self) -> None:
        """Give the whole store its final name, and only then remove what had it before.

        Raises
        ------
        TargetError
            Something else has its name by now.
        WriteError
            It cannot be renamed; the old output is in its place again. Or a leftover cannot be removed.
        """
        # Never a name that something of the user's has; short enough wherever the partial store's name is.
        old = self.path.with_name(f".{self.path.name[:40]}.replaced-{secrets.token_hex(4)}")
        try:
            self._check_free()
            if os.path.lexists(self.path):
                self.path.rename(old)
            self.partial.rename(self.path)
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
        finally:
            self.close()
        for leftover in (self.path / PLAN_FILE, old):
            try:
                _remove(leftover)
            except OSError as error:
                raise WriteError(
                    f"{leftover}: cannot be removed: {error.strerror}; the new store is whole, in {self.path}"
                ) from error

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
        """Remove the partial store, which this run began and no run can finish."""
        try:
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
            file = open(handle, "r+", encoding="utf-8")  # noqa: PTH123, SIM115 - `close` closes it
            try:
                if not _lock(handle):
                    raise TargetError(
                        f"{self.partial}: another run is writing it; wait for its end, or choose another name"
                    )
                # The lock counts only if no other run has finished or removed the file before it was taken.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), path.stat()):
                        return file
            except BaseException:  # whatever it is, the lock must not be kept
                file.close()
                raise
            file.close()

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

    def _left_digest(self, file: TextIO) -> str | None:
        """Return the digest of what is there already; None if nothing is, "" if there is no telling."""
        try:
            text = file.read()
            record = json.loads(text) if text else None
        except ValueError:
            return ""
        if not text and _names(self.partial) == {PLAN_FILE}:
            return None
        return str(record.get("digest", "")) if isinstance(record, dict) else ""

    def _discard(self, file: TextIO) -> None:
        """Remove all that another conversion left, its digest first, and keep the lock."""
        if not self.overwrite:
            raise TargetError(
                f"{self.partial}: is left by another conversion (other options, input or version): "
                "remove it, or use --overwrite"
            )
        file.seek(0)
        file.truncate()
        for name in _names(self.partial) - {PLAN_FILE}:
            _remove(self.partial / name)


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


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
