"""Where a store is: a folder, a zip archive, a bucket or a web server, read all the same way.

A `Storage` is an address. It holds no open file and no connection, so it can be pickled and sent anywhere.
Paths in it are those of keys, with ``/`` between names, from the root of the store.

Arrays are read by tensorstore, to which `kvstore` tells the way; metadata and what else is small by `read`.
Readers of a store ask it for nothing else, so what works in a folder works in a bucket.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert.storage_contract import (
    SUFFIX,
    Bucket,
    Entry,
    Storage,
    Unreachable,
    Writable,
    at,
    check_reached,
    joined,
)
from ngff_convert.storage_disk import Folder, Zipped
from ngff_convert.storage_remote import OPTIONS, remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "OPTIONS",
    "SUFFIX",
    "Bucket",
    "Entry",
    "Folder",
    "Storage",
    "Unreachable",
    "Writable",
    "Zipped",
    "at",
    "check_reached",
    "joined",
    "storage_of",
]


def storage_of(
    where: str | os.PathLike[str] | Storage,
    options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Storage:
    """Return the storage of an address, without looking whether anything is there.

    Parameters
    ----------
    where
        A folder; an archive, by its suffix or by how it begins; ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``,
        ``http://`` or ``https://``, also of an archive.
    options
        Those of ``--storage-options``, which matter to a bucket alone.

    Raises
    ------
    OptionError
        An option is not known, or the address cannot be meant.
    """
    if not isinstance(where, str | os.PathLike):
        return where
    text = os.fspath(where)
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in ("s3", "gs", "http", "https"):
        return remote(scheme, text, dict(options))
    return Zipped(text) if _is_zip(Path(text)) else Folder.of(text)


def _is_zip(path: Path) -> bool:
    if path.is_dir():
        return False
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == b"PK\3\4"
    except (OSError, ValueError):  # who reads it as a folder says why that cannot be
        return False
