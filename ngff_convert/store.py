"""The groups of a finished store: their metadata files, written when all pixels are, the root's last."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert import ngff
from ngff_convert.errors import VerificationError, WriteError
from ngff_convert.journal import UNFINISHED
from ngff_convert.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.display import Window
    from ngff_convert.ngff import Attributes
    from ngff_convert.write_plan import Decided


def sink(folder: Path, item: Decided, *, flush: bool = False) -> Sink:
    """Return where the pixels of an image of a store go, and whether each write waits for the disk."""
    plan = item.plan
    return Sink(str(folder / item.folder), plan.ngff_version, plan.axes, plan.workers, flush)


def documents(
    decided: Sequence[Decided], windows: Sequence[Sequence[Window]], xml: str | None
) -> dict[str, str]:
    """Return every file of the store that is not an array's: path -> content, the root's last.

    Parameters
    ----------
    decided
        The images.
    windows
        For each image, the display window of each channel.
    xml
        What the sidecar holds; None leaves it out.
    """
    version = decided[0].plan.ngff_version
    folders = [item.folder for item in decided if item.folder]
    found: dict[str, str] = {}
    if xml is not None:
        found["OME/METADATA.ome.xml"] = xml
    if folders or xml is not None:
        found |= _group("OME/", version, ngff.ome_group_attributes(version, folders))
    for item, limits in zip(decided, windows, strict=True):
        prefix = f"{item.folder}/" if item.folder else ""
        attributes = ngff.image_attributes(
            item.image,
            item.plan,
            limits,
            number=item.number,
            crop=item.crop,
            chosen=[one.number for one in decided],
        )
        found |= _group(prefix, version, attributes)
    if folders:
        found |= _group("", version, ngff.collection_attributes(version))
    return found


def _group(prefix: str, version: str, attributes: Attributes) -> dict[str, str]:
    return {
        prefix + name: json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        for name, document in ngff.group_documents(version, attributes).items()
    }


def write(store: Path, files: dict[str, str]) -> None:
    """Write the files of `documents`; what an earlier, interrupted run left of ``OME`` goes.

    Raises
    ------
    WriteError
        One of them cannot be written.
    """
    path = store / "OME"
    try:
        if path.is_dir():
            shutil.rmtree(path)
        for name, content in files.items():
            path = store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written: {error.strerror}; mend that and run the same command again"
        ) from error


def check(store: Path, decided: Sequence[Decided], files: dict[str, str]) -> None:
    """Read every group and open every level anew, and hold them against what was decided.

    Raises
    ------
    VerificationError
        What is stored is not what was decided.
    """
    for name, content in files.items():
        if (store / name).read_bytes() != content.encode():
            raise VerificationError(f"{store / name}: is not what was written; is the disk sound?")
    for item in decided:
        with sink(store, item) as levels:
            levels.check(item.plan)


def stored_bytes(store: Path, decided: Sequence[Decided]) -> dict[str, int]:
    """Return the bytes of all files of each level by its path, and of everything by ``""``."""
    levels = [f"{d.folder}/{number}".lstrip("/") for d in decided for number in range(len(d.plan.levels))]
    sizes = {path: _bytes(store / path, frozenset()) for path in levels}
    return {"": sum(sizes.values()) + _bytes(store, frozenset(str(store / path) for path in levels)), **sizes}


def _bytes(folder: Path, but: frozenset[str]) -> int:
    """Return the bytes of all files below a folder, but for some folders."""
    with os.scandir(folder) as entries:
        return sum(
            _bytes(Path(entry), but) if entry.is_dir() else entry.stat().st_size
            for entry in entries
            if entry.path not in but and not entry.name.startswith(UNFINISHED)
        )
