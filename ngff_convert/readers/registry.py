"""Which reader opens a file: content first, then the file name, and the user's word above both."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ngff_convert.errors import OptionError, ReadError, UnsupportedInput

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reader

GROUP = "ngff_convert.readers"
HEAD_BYTES = 4096


@cache
def readers() -> dict[str, Reader]:
    """Return every installed reader by its name, built-in ones and plugins alike."""
    found = (cast("Reader", entry.load()()) for entry in entry_points(group=GROUP))
    return {reader.name: reader for reader in sorted(found, key=lambda reader: reader.name)}


def pick(path: str, name: str | None = None) -> Reader:
    """Return the reader for a file.

    Parameters
    ----------
    path
        The input.
    name
        A reader's name, which is then taken at its word.

    Raises
    ------
    OptionError
        No reader has that name.
    ReadError
        The file is missing, empty or not readable.
    UnsupportedInput
        No reader recognises the file.
    """
    known = readers()
    if name is not None:
        if name not in known:
            raise OptionError(f"--reader {name}: there is no such reader; there are {', '.join(known)}")
        return known[name]
    head = _head(path)
    able = [reader for reader in known.values() if reader.can_read(path, head)]
    # Where two formats share their first bytes, the one whose suffix fits is the more particular one.
    able.sort(key=lambda reader: not path.lower().endswith(reader.suffixes))
    if not able:
        raise UnsupportedInput(
            f"{path}: no reader recognises this file (it begins with {head[:8]!r}); "
            "`ngff-convert formats` lists what can be read"
        )
    return able[0]


def _head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
    except IsADirectoryError:
        raise UnsupportedInput(f"{path}: is a folder; give a file") from None
    except (OSError, ValueError) as error:
        raise ReadError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise ReadError(f"{path}: is empty (0 bytes); copy it again")
    return head
