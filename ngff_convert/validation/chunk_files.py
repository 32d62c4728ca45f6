"""The files in an array's folder against its grid of chunks; the grid is arithmetic and never listed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ngff_convert.storage_contract import joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.storage_contract import Storage
    from ngff_convert.validation.arrays import ArrayInfo, Sizes
    from ngff_convert.validation.findings import Findings

MAX_KNOWN = 2**20
"""Stored chunks of a level whose places are kept, to compare missing ones with other levels."""

EMPTY = "is an empty file, which no reader can decode"

_OWN_FILES = {2: (".zarray", ".zattrs"), 3: ("zarr.json",)}


class ChunkFile(NamedTuple):
    """A stored chunk, or shard: where in the grid, its path from the root, its bytes where they are known."""

    cell: Sizes
    path: str
    n_bytes: int | None


@dataclass
class Tally:
    """What was met in an array's folder.

    Attributes
    ----------
    n_stored
        Files that belong to the grid.
    linked
        Whether a link was refused: reading at its place would leave the store.
    unlisted
        Why it cannot be listed; empty if it can be, or what cannot is a finding already.
    cells
        Numbers of the stored files, row by row through the grid; at most `MAX_KNOWN`.
    """

    n_stored: int = 0
    linked: bool = False
    unlisted: str = ""
    cells: set[int] = field(default_factory=set)

    def missing(self, array: ArrayInfo) -> Iterator[Sizes]:
        """Yield where no chunk is stored, in a grid that is small enough to be gone through."""
        for number in range(array.n_chunks):
            if number not in self.cells:
                yield _cell(number, array.grid)


def stored_chunks(store: Storage, array: ArrayInfo, tally: Tally, findings: Findings) -> Iterator[ChunkFile]:
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
    for file in _files(store, array, tally, findings):
        if file.n_bytes == 0:
            findings.error(file.path, "empty-chunk", EMPTY)
        tally.n_stored += 1
        if keep:
            tally.cells.add(_number(file.cell, array.grid))
        yield file


def _files(store: Storage, array: ArrayInfo, tally: Tally, findings: Findings) -> Iterator[ChunkFile]:
    for entry in store.walk(array.path, lambda names: _is_prefix(array, names)):
        path = "/".join((array.path, *entry.names)).lstrip("/")
        if entry.kind == "closed" and not store.is_local:
            tally.unlisted = entry.reason
        elif entry.kind == "closed":
            findings.error(path, "array-metadata", f"cannot be listed: {entry.reason}")
        elif len(entry.names) == 1 and entry.names[0] in _OWN_FILES[array.zarr_format]:
            continue
        elif entry.kind == "link":
            tally.linked = True
            findings.error(path, "link", "is a link to a folder, out of the store, or to nowhere: not read")
        elif entry.kind == "file" and (cell := cell_of(array, entry.names)) is not None:
            yield ChunkFile(cell, path, entry.n_bytes)
        else:
            findings.warning(path, "stray-file", "belongs to no chunk of this array's grid")


def all_chunks(array: ArrayInfo) -> Iterator[ChunkFile]:
    """Yield every chunk file that an array can have, in a grid that is small enough to be gone through."""
    for number in range(array.n_chunks):
        cell = _cell(number, array.grid)
        yield ChunkFile(cell, joined(array.path, _key(array, cell)), None)


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


def _key(array: ArrayInfo, cell: Sizes) -> str:
    """Return the path of a chunk in the array's folder."""
    numbers = [str(index) for index in cell]
    if not array.prefixed:
        return array.separator.join(numbers or ["0"])
    return array.separator.join(["c", *numbers])


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
