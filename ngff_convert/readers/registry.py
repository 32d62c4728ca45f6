"""Which reader opens a file: content first, then the file name, and the user's word above both."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from ngff_convert.errors import OptionError, UnsupportedInput
from ngff_convert.readers.contract import addressed, is_remote, is_stored, open_bytes, read_head

if TYPE_CHECKING:
    from ngff_convert.readers.contract import Reader

GROUP = "ngff_convert.readers"


def readers() -> dict[str, Reader]:
    """Return every installed reader that works by its name, built-in ones and plugins alike."""
    return dict(_installed()[0])


def broken() -> dict[str, str]:
    """Return why each other reader is not used, in one line, by the name of its entry point."""
    return dict(_installed()[1])


@cache
def _installed() -> tuple[dict[str, Reader], dict[str, str]]:
    """Load every reader by itself: a plugin that fails must not take the others along."""
    found: dict[str, Reader] = {}
    failed: dict[str, list[str]] = {}
    built_in_first = sorted(
        entry_points(group=GROUP), key=lambda e: (not e.value.startswith("ngff_convert."), e.name, e.value)
    )
    for entry in built_in_first:
        try:
            reader: Reader = entry.load()()
            name, _, _ = str(reader.name), reader.description, "".endswith(tuple(reader.suffixes))
            frozenset(reader.settings)
            if name in found:
                raise ValueError(f"another reader is called {name!r}")
            found[name] = reader
        except Exception as error:  # noqa: BLE001 - other people's code
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            failed.setdefault(entry.name, []).append(f"{entry.value} cannot be used: {reason}")
    return dict(sorted(found.items())), {name: "; ".join(reasons) for name, reasons in failed.items()}


def pick(path: str, name: str | None = None) -> Reader:
    """Return the reader for a file.

    Parameters
    ----------
    path
        The input: a file, a folder, or a pattern of file names with braces.
    name
        A reader's name, which is then taken at its word.

    Raises
    ------
    OptionError
        No reader has that name, or it does not work.
    ReadError
        The file is missing, empty or not readable.
    UnsupportedInput
        No reader recognises the file.
    """
    known = readers()
    if name is not None:
        if name in known:
            return known[name]
        if reason := broken().get(name):
            raise OptionError(f"--reader {name}: {reason}; repair or remove that plugin")
        raise OptionError(f"--reader {name}: there is no such reader; there are {', '.join(known)}")
    path = addressed(path)
    several = _is_folder_or_pattern(path)
    head = b"" if several else read_head(path)
    able = [reader for reader in known.values() if _recognises(reader, path, head)]
    if is_remote(path) and not several:
        open_bytes(path).check()  # a reader that could not look does not recognise anything
    able.sort(key=lambda reader: _claim(reader, path), reverse=True)
    if not able and several:
        raise UnsupportedInput(
            f"{path}: is a folder, or a pattern of names, in which no reader finds what it knows; "
            "`ngff-convert formats` lists what can be read"
        )
    if not able:
        raise UnsupportedInput(
            f"{path}: no reader recognises this file (it begins with {head[:8]!r}); "
            "`ngff-convert formats` lists what can be read"
        )
    return able[0]


def _claim(reader: Reader, path: str) -> tuple[bool, bool]:
    """Return how good a reader's claim to a file is that several recognise.

    One that takes whatever has the first bytes of its family says so, and comes last; of the others, the one
    whose suffix fits is the more particular.
    """
    return not getattr(reader, "is_last", False), path.lower().endswith(tuple(reader.suffixes))


def _is_folder_or_pattern(path: str) -> bool:
    if is_remote(path):  # of a store, it is not looked before it is opened
        return is_stored(path)
    is_pattern = not {"{", "*"}.isdisjoint(path) and not os.path.lexists(path)
    return is_pattern or os.path.isdir(path)  # noqa: PTH112 - that never raises, whatever the name


def _recognises(reader: Reader, path: str, head: bytes) -> bool:
    try:
        return bool(reader.can_read(path, head))
    except Exception:  # noqa: BLE001 - it promised not to raise; the other readers are asked all the same
        return False
