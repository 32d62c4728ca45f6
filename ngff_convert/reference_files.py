"""References on the disk: one JSON file, or a folder of Parquet tables, as fsspec reads them.

JSON is version 1 of https://fsspec.github.io/kerchunk/spec.html: the source's files are templates, so that
whoever moves them changes one line. Tables are what fsspec's `LazyReferenceMapper` opens: all metadata in
``.zmetadata``, and for each array ``refs.0.parq``, ``refs.1.parq``, ... of so many chunks each, of which a
reader fetches those that it needs.

Either gets its name when it is whole and on the disk. What a run that was killed leaves has a hidden name
beside it, and the next run of that name removes it, or puts it back where it is the only one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ngff_convert import file_system
from ngff_convert.errors import ConversionError, OptionError, TargetError, WriteError, reason
from ngff_convert.journal import flush_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ngff_convert.model import Shape

JSON_SUFFIX, TABLE_SUFFIXES = ".json", (".parquet", ".parq")

RECORD_SIZE = 100_000
"""Chunks in a table."""

LINES_AT_ONCE = 2**16

_METADATA = ".zmetadata"
_TABLE = re.compile(r"refs\.\d+\.parq")
_JSON = re.compile(
    rb'\s*\{\s*("version"\s*:\s*1\s*,.*"refs"\s*:\s*\{|"\.z(group|attrs|array)"\s*:)', re.DOTALL
)
_HEAD_BYTES = 2**16


_COLUMNS = {
    "path": ("unicode", "object"),
    "offset": ("int64", "int64"),
    "size": ("int64", "int64"),
    "raw": ("bytes", "object"),
}
_FOR_PANDAS = {
    "pandas": json.dumps(
        {
            "index_columns": [],
            "column_indexes": [],
            "columns": [
                {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
                for name, (kind, dtype) in _COLUMNS.items()
            ],
            "pandas_version": "2.0.0",
        }
    )
}
"""Types of the columns of a table: without them fastparquet makes floats of integers."""


# -- JSON --------------------------------------------------------------------------------------------------


class JsonReferences:
    """References in one JSON file, written as they come.

    Attributes
    ----------
    separator
        What is between the numbers of a chunk.
    """

    separator = "/"

    def __init__(self, path: Path, locate: Callable[[str], str]) -> None:
        self._locate = locate
        self._templates: dict[str, str] = {}
        self._file: IO[str] = path.open("w", encoding="ascii")
        self._file.write('{\n"version": 1,\n"refs": {')
        self._between = "\n"
        self._path, self._grid = "", np.empty(0, np.int64)

    def document(self, path: str, content: dict[str, Any]) -> None:
        """Write the metadata of a group or array."""
        self._put([f"{json.dumps(path)}: {json.dumps(json.dumps(content, allow_nan=False))}"])

    def begin(self, path: str, grid: Shape) -> None:
        """Begin an array."""
        self._path, self._grid = path, np.array(grid)

    def absent(self, chunk: Callable[[], bytes]) -> None:
        """Do nothing: what is absent is just not there."""

    def add(
        self, path: str, number: NDArray[np.int64], offset: NDArray[np.int64], size: NDArray[np.int64]
    ) -> None:
        """Write a line a chunk."""
        template = self._template(path)
        line = f'"{self._path}/%d/%d/%d/%d/%d": ["{{{{{template}}}}}", %d, %d]'
        for at in range(0, number.size, LINES_AT_ONCE):
            part = slice(at, at + LINES_AT_ONCE)
            cells = np.unravel_index(number[part], self._grid)
            columns = (column.tolist() for column in (*cells, offset[part], size[part]))
            self._put([line % row for row in zip(*columns, strict=True)])

    def end(self, document: dict[str, Any]) -> None:
        """Write the metadata of the array."""
        self.document(f"{self._path}/.zarray", document)

    def close(self) -> None:
        """Write the templates, and have it all on the disk."""
        names = {name: self._locate(path) for path, name in self._templates.items()}
        self._file.write(f'\n}},\n"templates": {json.dumps(names)}\n}}\n')
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of it, whole or not."""
        with suppress(OSError):  # what is left of it is removed anyhow
            self._file.close()

    def _template(self, path: str) -> str:
        return self._templates.setdefault(path, f"f{len(self._templates)}")

    def _put(self, lines: list[str]) -> None:
        if lines:
            self._file.write(self._between + ",\n".join(lines))
            self._between = ",\n"


# -- Parquet -----------------------------------------------------------------------------------------------


class ParquetReferences:
    """References in a folder of tables; attributes as `JsonReferences` has them.

    A chunk that is absent is there as what it would be: a reader of tables has no sure word for nothing, it
    depends on its version of pandas.
    """

    separator = "."  # LazyReferenceMapper takes no other

    def __init__(self, path: Path, locate: Callable[[str], str], record_size: int = RECORD_SIZE) -> None:
        self._folder, self._locate, self._record_size = path, locate, record_size
        self._metadata: dict[str, Any] = {}
        self._files: dict[str, int] = {}
        self._path, self._n_chunks, self._record = "", 0, 0
        self._fill = b""
        self._file, self._offset, self._size = self._empty()

    def document(self, path: str, content: dict[str, Any]) -> None:
        """Keep the metadata of a group or array."""
        self._metadata[path] = content

    def begin(self, path: str, grid: Shape) -> None:
        """Begin an array."""
        self._path, self._n_chunks, self._record, self._fill = path, prod(grid), 0, b""
        (self._folder / path).mkdir(parents=True)

    def absent(self, chunk: Callable[[], bytes]) -> None:
        """Keep what stands for chunks that are not there."""
        self._fill = chunk()

    def add(
        self, path: str, number: NDArray[np.int64], offset: NDArray[np.int64], size: NDArray[np.int64]
    ) -> None:
        """Put chunks into their tables; one is written when chunks of the next come."""
        index = self._files.setdefault(path, len(self._files))
        while number.size:
            first = self._record * self._record_size
            count = int(np.searchsorted(number, first + self._record_size))
            rows = number[:count] - first
            self._file[rows], self._offset[rows], self._size[rows] = index, offset[:count], size[:count]
            number, offset, size = number[count:], offset[count:], size[count:]
            if number.size:
                self._flush()

    def end(self, document: dict[str, Any]) -> None:
        """Write the tables that are left, and keep the metadata of the array."""
        while self._record * self._record_size < self._n_chunks:
            self._flush()
        self.document(f"{self._path}/.zarray", document)

    def close(self) -> None:
        """Write the metadata, and have it all on the disk."""
        content = {
            "metadata": self._metadata,
            "record_size": self._record_size,
            "zarr_consolidated_format": 1,
        }
        (self._folder / _METADATA).write_text(json.dumps(content, allow_nan=False), encoding="ascii")
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with Path(folder, name).open("rb") as file:
                    os.fsync(file.fileno())
            flush_folder(Path(folder))

    def abandon(self) -> None:
        """Let go of it, whole or not."""

    def _empty(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        n = self._record_size
        return np.full(n, -1, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)

    def _flush(self) -> None:
        """Write one table."""
        import pyarrow
        import pyarrow.parquet

        n = min(self._record_size, self._n_chunks - self._record * self._record_size)
        absent = self._file[:n] < 0
        places = pyarrow.array([self._locate(path) for path in self._files] or [""])
        columns = {
            "path": pyarrow.DictionaryArray.from_arrays(np.maximum(self._file[:n], 0), places),
            "offset": pyarrow.array(self._offset[:n]),
            "size": pyarrow.array(self._size[:n]),
        }
        if absent.any():  # what stands there counts before the other columns
            every = pyarrow.array(np.zeros(n, np.int64), mask=~absent)
            fill = pyarrow.DictionaryArray.from_arrays(every, pyarrow.array([self._fill], pyarrow.binary()))
            columns["raw"] = fill.cast(pyarrow.binary())
        pyarrow.parquet.write_table(
            pyarrow.table(columns).replace_schema_metadata(_FOR_PANDAS),
            self._folder / self._path / f"refs.{self._record}.parq",
            compression="zstd",
            write_statistics=False,
            use_dictionary=["path", "raw"],
            dictionary_pagesize_limit=max(2**20, 2 * len(self._fill)),
        )
        self._record += 1
        self._file, self._offset, self._size = self._empty()


# -- names -------------------------------------------------------------------------------------------------


@contextmanager
def written(
    target: Path, locate: Callable[[str], str], *, overwrite: bool = False, record_size: int = RECORD_SIZE
) -> Iterator[JsonReferences | ParquetReferences]:
    """Open references to be written; at the end of the block they get their name.

    Parameters
    ----------
    target
        ``NAME.json`` or ``NAME.parquet``; there is nothing of that name before.
    locate
        What a reader finds a file by, of its path.
    overwrite
        Whether other references of that name are replaced.
    record_size
        Chunks in a table.

    Raises
    ------
    OptionError
        The name has another ending, or needs pyarrow, which is not installed.
    TargetError
        Something of that name is there.
    WriteError
        It cannot be written.
    """
    suffix = target.suffix.lower()
    if suffix != JSON_SUFFIX and suffix not in TABLE_SUFFIXES:
        raise OptionError(f"{target}: references are called NAME.json or NAME.parquet; choose such a name")
    if suffix != JSON_SUFFIX:
        _check_pyarrow(target)
    try:
        _sweep(target)
        check_free(target, overwrite=overwrite)
        with _half(target, is_folder=suffix != JSON_SUFFIX) as half:
            out: JsonReferences | ParquetReferences
            if suffix == JSON_SUFFIX:
                out = JsonReferences(half, locate)
            else:
                out = ParquetReferences(half, locate, record_size)
            try:
                yield out
                out.close()
            finally:
                out.abandon()
            check_free(target, overwrite=overwrite)
            _rename(half, target)
    except OSError as error:
        if isinstance(error, ConversionError):
            raise
        raise WriteError(
            f"{target}: cannot be written: {reason(error)}; mend that and run the same command again"
        ) from error


def check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a name that is taken; nothing but references is ever replaced.

    Raises
    ------
    TargetError
        It is, and not to be replaced.
    """
    if not os.path.lexists(target):
        return
    if not is_references(target):
        raise TargetError(f"{target}: exists already and holds no references; choose another name")
    if not overwrite:
        raise TargetError(f"{target}: exists already; use --overwrite to replace it, or another name")


def is_references(path: Path) -> bool:
    """Whether something is JSON references, by its beginning, or a folder of nothing but tables."""
    try:
        if path.is_dir() and not path.is_symlink():
            files = [file for file in path.rglob("*") if not file.is_dir()]
            return "record_size" in json.loads((path / _METADATA).read_bytes()) and all(
                file == path / _METADATA or _TABLE.fullmatch(file.name) for file in files
            )
        with path.open("rb") as file:
            return _JSON.match(file.read(_HEAD_BYTES)) is not None
    except (OSError, ValueError):
        return False


def size_of(path: Path) -> int:
    """Return the bytes of references."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _check_pyarrow(target: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401 - said before any work
    except ImportError as error:
        raise OptionError(
            f"{target}: Parquet needs pyarrow, which is not installed: pip install 'ngff-convert[virtual]', "
            "or choose NAME.json"
        ) from error


# -- what is unfinished ------------------------------------------------------------------------------------

_HALF, _REPLACED = ".partial", ".replaced"


def _hidden(target: Path) -> str:
    """Return what names of unfinished references begin with; every file system has room for the rest."""
    return f".{target.name[:40]}-{sha256(os.fsencode(target.name)).hexdigest()[:16]}."


@contextmanager
def _half(target: Path, *, is_folder: bool) -> Iterator[Path]:
    """Make what gets the name when it is whole, and lock it; removes what did not get it."""
    half, handle = _made(target, is_folder=is_folder)
    try:
        yield half
    finally:
        _remove(half)
        os.close(handle)


def _made(target: Path, *, is_folder: bool) -> tuple[Path, int]:
    while True:
        half = target.with_name(f"{_hidden(target)}{secrets.token_hex(4)}{_HALF}")
        if is_folder:
            half.mkdir()
        else:
            half.touch(exist_ok=False)
        with suppress(FileNotFoundError):  # another run swept it away before it was locked
            handle = _handle(half)
            if file_system.lock(handle) and half.exists():
                return half, handle
            os.close(handle)


def _handle(path: Path) -> int:
    return os.open(path, os.O_NOFOLLOW | (os.O_RDONLY if path.is_dir() else os.O_RDWR))


def _sweep(target: Path) -> None:
    """Do what runs that were killed had still to do: put back what one moved away, and remove the rest."""
    try:
        names = {name for name in file_system.names(target.parent) if name.startswith(_hidden(target))}
    except OSError:  # who writes there says why that cannot be
        return
    for half in {target.with_name(name).with_suffix(_HALF) for name in names}:
        old = half.with_suffix(_REPLACED)
        with suppress(OSError):  # another run was quicker
            handle = _handle(half) if half.name in names else None
            try:
                if handle is not None and not file_system.lock(handle, otherwise=False):
                    continue
                if old.name in names and not os.path.lexists(target):
                    old.rename(target)
                for left in (old, half):
                    _remove(left)
            finally:
                if handle is not None:
                    os.close(handle)


def _rename(half: Path, target: Path) -> None:
    """Give references their name; at every moment there is something whole of it, where that can be."""
    if not half.is_dir() or not os.path.lexists(target):
        half.rename(target)
    elif not file_system.exchange(half, target):  # a folder does not take the place of another by itself
        old = half.with_suffix(_REPLACED)
        target.rename(old)
        try:
            half.rename(target)
        except OSError:
            with suppress(OSError):
                old.rename(target)
            raise
        flush_folder(target.absolute().parent)
        _remove(old)
    flush_folder(target.absolute().parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
