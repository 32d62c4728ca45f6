"""What is in a store of Zarr v2: its groups, its arrays, and other files. Nothing is changed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.journal import UNFINISHED
from ngff_convert.storage import at, joined
from ngff_convert.validation import nodes
from ngff_convert.validation.findings import Findings

if TYPE_CHECKING:
    from ngff_convert.storage import Folder, Storage

Json = dict[str, Any]

_CONSOLIDATED = ".zmetadata"
_V2_FILES = (".zgroup", ".zarray", ".zattrs", _CONSOLIDATED)


@dataclass(frozen=True, slots=True)
class Document:
    """What a node says of itself.

    Attributes
    ----------
    document
        Its ``zarr.json``, ``.zgroup`` or ``.zarray``.
    attributes
        Its user attributes.
    version
        Of OME-Zarr; None if it names none.
    """

    document: Json
    attributes: Json
    version: str | None


def read_document(storage: Storage, path: str) -> Document | None:
    """Read what a node says; None where there is none.

    Raises
    ------
    ReadError
        It cannot be read.
    """
    if not nodes.is_there(storage, path):
        return None
    findings = Findings()
    node = nodes.read_node(storage, path, findings)
    if node is None:
        raise ReadError(f"{at(storage, path)}: {findings.listed()[-1].message}; is the store whole?")
    return Document(node.document, node.attributes, nodes.own_version(node))


@dataclass
class OldStore:
    """A store of Zarr v2.

    Attributes
    ----------
    groups
        Attributes of each group by its path from the root, which is ``""``.
    arrays
        ``.zarray`` and ``.zattrs`` of each array.
    files
        Paths of what is neither metadata nor chunk.
    left_out
        Paths of what is only repeated metadata, or left by an interrupted run.
    digest
        Of all metadata.
    """

    groups: dict[str, Json] = field(default_factory=dict)
    arrays: dict[str, tuple[Json, Json]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Of all metadata, and of what else is carried."""
        text = json.dumps([self.groups, self.arrays, self.files], sort_keys=True)
        return sha256(text.encode()).hexdigest()


def scan(storage: Folder) -> OldStore:
    """Find everything in a store of Zarr v2.

    Raises
    ------
    ReadError
        Something cannot be read.
    UnsupportedInput
        There is a link in it, or metadata of Zarr v3.
    """
    found = OldStore()
    waiting = [""]
    while waiting:
        path = waiting.pop()
        folders, files = _entries(storage, path)
        if "zarr.json" in files:
            raise UnsupportedInput(
                f"{at(storage, path)}: has metadata of Zarr v3 and of v2; remove either, then upgrade"
            )
        document = read_document(storage, path)
        if ".zarray" in files and document is not None:
            found.arrays[path] = (document.document, document.attributes)
            continue
        if document is not None:
            found.groups[path] = document.attributes
        for name in files:
            if name == _CONSOLIDATED or name.startswith(UNFINISHED):
                found.left_out.append(joined(path, name))
            elif name not in _V2_FILES:
                found.files.append(joined(path, name))
        waiting += [joined(path, name) for name in folders if not name.startswith(UNFINISHED)]
    found.files.sort()
    return found


def _entries(storage: Folder, path: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(os.path.join(storage.root, path)) as entries:  # noqa: PTH118
            for entry in entries:
                if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                    raise UnsupportedInput(
                        f"{at(storage, joined(path, entry.name))}: is a link, or no file: "
                        "only plain folders and files are upgraded; convert the store instead"
                    )
                (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise ReadError(f"{at(storage, path)}: cannot be read: {error.strerror}") from error
    return sorted(folders), sorted(files)
