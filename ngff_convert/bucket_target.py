"""An output in a bucket, where nothing can be renamed: it is whole when the metadata of its root are there.

Everything is written under its final name, the root's metadata last; so what is not whole is no OME-Zarr.
Until then a record of the conversion lies beside it, as in a partial store on a disk, by which another run
goes on. There are no locks: two runs of one conversion write the same objects, and another one is refused,
even where nothing is finished yet: the run that began may still be at work.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ngff_convert import resume
from ngff_convert.bucket_journal import BucketJournal
from ngff_convert.commit import HIERARCHY_FILES, PLAN_FILE
from ngff_convert.errors import ConversionError, TargetError, WriteError
from ngff_convert.journal import JOURNAL_FOLDER
from ngff_convert.storage import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from ngff_convert.storage import Bucket

MAX_RECORD_BYTES = 2**30


@dataclass(slots=True)
class BucketTarget(AbstractContextManager["BucketTarget"]):
    """Where the output goes.

    Attributes
    ----------
    storage
        The bucket, and the prefix of the store in it.
    overwrite
        Whether a store that is there is replaced; it is removed before anything is written.
    restart
        Whether what an earlier run left is thrown away.
    mark
        From `begin` on: what lines of the journal are marked with.
    """

    storage: Bucket
    overwrite: bool = False
    restart: bool = False
    mark: str = field(default="", init=False, compare=False)

    @property
    def path(self) -> str:
        """The address of the store."""
        return self.storage.name

    @property
    def partial(self) -> str:
        """The same: what is unfinished lies under its final name."""
        return self.path

    def check(self, source: str) -> None:
        """Refuse what could destroy something, before any work.

        Raises
        ------
        TargetError
            There is a store that is not to be replaced, or something else, or the input.
        WriteError
            The bucket cannot be reached.
        """
        place, name = self.path.rstrip("/"), str(source).rstrip("/")
        if f"{name}/".startswith(f"{place}/"):
            raise TargetError(f"{place}: is, or holds, the input {source}; choose another output")
        if f"{place}/".startswith(f"{name}/"):
            raise TargetError(f"{place}: is within the input {source}; choose another output")
        with self._reaching():
            if self._record() is not None:
                if not self._is_whole():
                    return
                self.tidy()  # a run that was killed at its end had only this to do
            if any(self.storage.has(file) for file in HIERARCHY_FILES):
                if not self.overwrite:
                    raise TargetError(
                        f"{self.path}: exists already; use --overwrite to replace it, or another name"
                    )
            elif self.storage.has_folder(""):
                raise TargetError(
                    f"{self.path}: exists already and is not an OME-Zarr store; choose another name"
                )

    def left(self) -> dict[str, Any] | None:
        """Return what an earlier run was begun with, or one that still runs: there are no locks; or None."""
        with self._reaching():
            record = None if self.restart else self._record()
            return None if record is None or "clearing" in record else record

    def begin(self, begun: resume.Begun) -> bool:
        """Begin anew, or take up what was begun with an equal digest; return which.

        Raises
        ------
        TargetError
            There is the work of another conversion, or another run has begun just now.
        WriteError
            The bucket cannot be written.
        """
        with self._reaching():
            record = self._record()
            if record is not None and not self.restart and "clearing" not in record:
                if record.get("digest") == begun["digest"]:
                    self.mark = resume.mark_of(record)
                    return True
                raise TargetError(
                    f"{self.path}: is the work of another conversion: "
                    f"{resume.differences(record, begun)}; use --restart to throw it away"
                )
            signed = resume.signed(begun)
            # Until all that was there is gone, the record says so, for whoever comes after a kill.
            clearing = json.dumps({**signed, "clearing": True}).encode()
            if record is not None:
                self.storage.write(PLAN_FILE, clearing)
            elif not self.storage.claim(PLAN_FILE, clearing):
                raise TargetError(f"{self.path}: another run has just begun to write it; run this one again")
            self._clear()
            self.storage.write(PLAN_FILE, json.dumps(signed, indent=1).encode())
            self.mark = resume.mark_of(signed)
            return False

    def journal(self, mark: str, *, flush: bool, writer: str = "") -> BucketJournal:
        """Return the journal of a conversion; what it says is always flushed."""
        del flush, writer
        return BucketJournal(self.storage, mark)

    def is_there(self) -> bool:
        """Return whether there is a whole store."""
        with self._reaching():
            return self._is_whole()

    def is_current(self, mark: str) -> bool:
        """Return whether the store is still that of a mark, not finished or begun anew meanwhile."""
        with self._reaching():
            return resume.mark_of(self._record() or {}) == mark

    def forget(self) -> None:
        """Do nothing: what another run writes is not known from what this one wrote."""

    def make_ready(self, *, sweep: bool) -> None:
        """Refuse to finish what another run has thrown away meanwhile.

        Raises
        ------
        TargetError
            It has.
        """
        del sweep  # objects are there whole, or not at all
        if not self.is_current(self.mark):
            raise TargetError(
                f"{self.path}: another run has begun to write it anew (--restart); this one gives up"
            )

    def commit(self) -> None:
        """Do nothing: the root's metadata were written, and that was it."""

    def tidy(self) -> None:
        """Remove what only an unfinished store needs; the record by which it is known last."""
        with self._reaching():
            self.storage.remove(JOURNAL_FOLDER)
            self.storage.remove(PLAN_FILE)

    def abandon(self) -> None:
        """Remove what no run can finish."""
        with self._reaching():
            self._clear()
            self.storage.remove(PLAN_FILE)

    def _clear(self) -> None:
        """Remove everything but the record, first that by which it is known as a store."""
        for file in HIERARCHY_FILES:
            self.storage.remove(file)
        self.storage.clear(but=PLAN_FILE)

    def _is_whole(self) -> bool:
        """Return whether the last file of a store is there, that of its root's attributes."""
        return self.storage.has("zarr.json") or self.storage.has(".zattrs")

    def _record(self) -> dict[str, Any] | None:
        """Return the record that is there; None if there is none."""
        try:
            record = json.loads(self.storage.read(PLAN_FILE, MAX_RECORD_BYTES))
        except ValueError:
            return {}
        except PermissionError:
            raise
        except OSError:  # it is not there
            return None
        return record if isinstance(record, dict) else {}

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say of a bucket that cannot be reached that the output cannot be written."""
        try:
            yield
        except Unreachable as error:
            raise WriteError(str(error)) from error
        except OSError as error:
            if isinstance(error, ConversionError):
                raise
            raise WriteError(
                f"{self.path}: cannot be read and written: {error.strerror or error}; check the address, the "
                "credentials (AWS_ACCESS_KEY_ID, ..., a profile) and --storage-options"
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Need nothing: nothing is held."""
