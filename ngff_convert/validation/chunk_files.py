"""The files in an array's folder against its grid of chunks; the grid is arithmetic and never listed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ngff_convert.validation.nodes import joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.validation.arrays import ArrayInfo, Sizes
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Store

MAX_KNOWN = 2**20
"""Stored chunks of a level whose places are kept, to compare missing ones with other levels."""

_OWN_FILES = {2: (".zarray", ".zattrs"), 3: ("zarr.json",)}


class ChunkFile(NamedTuple):
    """A stored chunk, or shard: where in the grid, its path from the root of the store, its bytes."""

    cell: Sizes
    path: str
    n_bytes: int


@dataclass
class Tally:
    """What was met in an array's folder.

    Attributes
    ----------
    n_stored
        Files that belong to the grid.
    linked
        Whether a link was refused: reading at its place would leave the store.
    cells
        Numbers of the stored files, row by row through the grid; at most `MAX_KNOWN`.
    """

    n_stored: int = 0
    linked: bool = False
    cells: set[int] = field(default_factory=set)

    def missing(self, array: ArrayInfo) -> Iterator[Sizes]:
        """Yield where no chunk is stored, in a grid that is small enough to be gone through."""
        for number in range(array.n_chunks):
            if number not in self.cells:
                yield _cell(number, array.grid)


def stored_chunks(store: Store, array: ArrayInfo, tally: Tally, findings: Findings) -> Iterator[ChunkFile]:
    """Yield every chunk file of an array; what else is in its folder becomes a finding.

    Parameters
    ----------
    store
        The store.
    array
        The array.
    tally
        Filled on the way.
    findings
        Where findings go.
    """
    keep = array.n_chunks <= MAX_KNOWN
    for file in _files(store, array, (), tally, findings):
        if file.n_bytes == 0:
            findings.error(file.path, "empty-chunk", "is an empty file, which no reader can decode")
        tally.n_stored += 1
        if keep:
            tally.cells.add(_number(file.cell, array.grid))
        yield file


def _files(
    store: Store, array: ArrayInfo, parts: Sizes | tuple[str, ...], tally: Tally, findings: Findings
) -> Iterator[ChunkFile]:
    names = tuple(map(str, parts))
    folder = "/".join((array.path, *names)).lstrip("/")
    try:
        entries = os.scandir(os.path.join(store.root, folder))  # noqa: PTH118
    except OSError as error:
        findings.error(folder, "array-metadata", f"cannot be listed: {error.strerror}")
        return
    with entries:
        for entry in entries:
            path = joined(folder, entry.name)
            if not names and entry.name in _OWN_FILES[array.zarr_format]:
                continue
            kind, n_bytes = _kind(store, entry, path)
            below = (*names, entry.name)
            if kind == "link":
                tally.linked = True
                message = "is a link to a folder, out of the store, or to nowhere: not read"
                findings.error(path, "link", message)
            elif kind == "folder" and _is_prefix(array, below):
                yield from _files(store, array, below, tally, findings)
            elif kind == "file" and (cell := cell_of(array, below)) is not None:
                yield ChunkFile(cell, path, n_bytes)
            else:
                findings.warning(path, "stray-file", "belongs to no chunk of this array's grid")


def _kind(store: Store, entry: os.DirEntry[str], path: str) -> tuple[str, int]:
    """Return what an entry is, and its bytes if it is a file."""
    try:
        if not entry.is_symlink():
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                return "folder", 0
            return ("file", found.st_size) if stat.S_ISREG(found.st_mode) else ("other", 0)
    except OSError:  # it went away
        return "other", 0
    size = store.size(path)
    return ("link", 0) if size is None else ("file", size)


# -- names and numbers of chunks ---------------------------------------------------------------------------


def cell_of(array: ArrayInfo, parts: tuple[str, ...]) -> Sizes | None:
    """Return where in the grid a file is, by its path in the array's folder; None if nowhere."""
    if array.separator == ".":
        parts = tuple(parts[0].split(".")) if len(parts) == 1 else ()
    if array.prefixed:
        if parts[:1] != ("c",):
            return None
        parts = parts[1:]
    if not array.grid:
        return () if parts == (() if array.prefixed else ("0",)) else None
    numbers = [_index(part, n) for part, n in zip(parts, array.grid, strict=False)]
    cell = tuple(number for number in numbers if number is not None)
    return cell if len(parts) == len(cell) == len(array.grid) else None


def _is_prefix(array: ArrayInfo, parts: tuple[str, ...]) -> bool:
    """Return whether chunks can be below a folder."""
    if array.separator != "/":
        return False
    if array.prefixed:
        if parts[0] != "c":
            return False
        parts = parts[1:]
    if len(parts) >= len(array.grid):
        return False
    return all(_index(part, n) is not None for part, n in zip(parts, array.grid, strict=False))


def _index(text: str, n: int) -> int | None:
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or (text[0] == "0" and text != "0"):
        return None
    return int(text) if int(text) < n else None


def _number(cell: Sizes, grid: Sizes) -> int:
    number = 0
    for index, n in zip(cell, grid, strict=True):
        number = number * n + index
    return number


def _cell(number: int, grid: Sizes) -> Sizes:
    cell = []
    for n in reversed(grid):
        number, index = divmod(number, n)
        cell.append(index)
    return tuple(reversed(cell))
