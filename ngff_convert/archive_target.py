"""An output that is one file, an .ozx archive: the work is done in a folder beside it, which is then packed.

So a conversion into an archive is gone on with like any other; one that was stopped while it packed packs
again. What is needed on the disk meanwhile is twice the size of the output.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ngff_convert import file_system
from ngff_convert.archive import check_free, packed
from ngff_convert.commit import PLAN_FILE, Target
from ngff_convert.errors import WriteError
from ngff_convert.journal import UNFINISHED, flush_folder

if TYPE_CHECKING:
    from pathlib import Path

PACKED_FILE = f"{UNFINISHED}-packed.json"
"""In the partial store: which file it was packed into, just before that got its name."""


@dataclass(slots=True)
class ArchiveTarget(Target):
    """Where the archive goes; attributes are those of `Target`."""

    def commit(self) -> None:
        """Pack the whole store, and give the archive its final name.

        Raises
        ------
        TargetError
            Something else has its name by now, or another run packs it.
        WriteError
            It cannot be written.
        """
        self._check_free()
        with packed(self.partial, self.path) as whole:
            self._check_free()
            try:
                with (self.partial / PACKED_FILE).open("w", encoding="utf-8") as file:
                    json.dump(_identity(whole.half), file)
                    file.flush()
                    os.fsync(file.fileno())
                whole.half.replace(self.path)
                flush_folder(self.path.absolute().parent)
            except OSError as error:
                raise WriteError(
                    f"{self.path}: cannot be given its name: {error.strerror}; "
                    f"the finished store is {self.partial}"
                ) from error

    def tidy(self) -> None:
        """Remove the folder; the file by which it is known last."""
        self.abandon()

    def _check_free(self) -> None:
        check_free(self.path, overwrite=self.overwrite)

    def take_over(self) -> None:
        """Remove the folder of a run that was killed when the archive had its name; not of one that works."""
        with suppress(OSError, ValueError):  # no such folder, or nobody finished writing that file
            if self._needs_no_more() and file_system.is_free(self.partial / PLAN_FILE):
                self.abandon()

    def _needs_no_more(self) -> bool:
        """Return whether all of the folder is in the archive, or somebody had begun to remove it."""
        if not (self.partial / PLAN_FILE).stat().st_size:
            return True
        packed_into = json.loads((self.partial / PACKED_FILE).read_bytes())
        return bool(packed_into == _identity(self.path))


def _identity(path: Path) -> list[int]:
    status = os.stat(path)  # noqa: PTH116
    return [status.st_ino, status.st_size, status.st_mtime_ns]
