"""The output appears under its final name only when it is whole.

Work happens in ``TARGET.partial`` beside it, which names the plan it belongs to in `PLAN_FILE`. The last
step is one rename. A partial store that an interrupted run left is taken up by the next run of an equal plan.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import TargetError, WriteError

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAN_FILE = ".ngff-convert-plan.json"
"""In the partial store: the plan, and the digest that names it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the output goes.

    Attributes
    ----------
    path
        The final name.
    overwrite
        Whether what has that name is replaced.
    """

    path: Path
    overwrite: bool

    @property
    def partial(self) -> Path:
        """Where the store is until it is whole."""
        return self.path.with_name(f"{self.path.name}.partial")

    def check(self, source: str) -> None:
        """Refuse what could destroy something, before any work.

        Raises
        ------
        TargetError
            The output exists and is not to be replaced, or it is, or holds, the input.
        """
        real, given = self.path.resolve(), Path(source).resolve()
        if real == given or real in given.parents:
            raise TargetError(
                f"{self.path}: the output is, or holds, the input {source}; give another output"
            )
        if not self.path.name:
            raise TargetError(f"{self.path}: the output needs a name")
        if os.path.lexists(self.path) and not self.overwrite:
            raise TargetError(f"{self.path}: exists already; use --overwrite to replace it, or another name")

    def begin(self, digest: str, decided: Mapping[str, Any]) -> bool:
        """Make the partial store, or take up the one of an equal plan.

        Returns
        -------
        bool
            Whether there was one.

        Raises
        ------
        TargetError
            There is one of another plan and it is not to be replaced.
        WriteError
            The folder cannot be made.
        """
        left = self._left_digest()
        if left is not None and left != digest:
            if not self.overwrite:
                raise TargetError(
                    f"{self.partial}: is left by another conversion (other options, input or version): "
                    "remove it, or use --overwrite"
                )
            self._remove(self.partial)
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            record = {"digest": digest, **decided}
            (self.partial / PLAN_FILE).write_text(json.dumps(record, indent=1) + "\n")
        except OSError as error:
            raise WriteError(f"{self.partial}: cannot be written: {error.strerror}") from error
        return left == digest

    def finish(self) -> None:
        """Give the whole store its final name, and only then remove what had it before.

        Raises
        ------
        WriteError
            It cannot be renamed.
        """
        old = self.path.with_name(f"{self.path.name}.replaced")
        try:
            if self.overwrite and os.path.lexists(self.path):
                self._remove(old)
                self.path.rename(old)
            self.partial.rename(self.path)
            (self.path / PLAN_FILE).unlink()
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be given its name: {error.strerror}") from error
        self._remove(old)

    def _left_digest(self) -> str | None:
        if not os.path.lexists(self.partial):
            return None
        try:
            record = json.loads((self.partial / PLAN_FILE).read_text())
        except (OSError, ValueError):
            return ""
        return str(record.get("digest", "")) if isinstance(record, dict) else ""

    def _remove(self, path: Path) -> None:
        if not os.path.lexists(path):
            return
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise WriteError(f"{path}: cannot be removed: {error.strerror}") from error
