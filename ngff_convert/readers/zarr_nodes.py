"""Groups and arrays of a Zarr store, whatever its version: their JSON, read with care.

Nothing that leads out of the store, is no regular file, or is larger than metadata are, is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.errors import ReadError
from ngff_convert.storage import Storage, Unreachable, at, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

Json: TypeAlias = dict[str, Any]

MAX_JSON_BYTES = 32 * 2**20
"""Larger metadata files are not read: in Python they take some ten times as much."""

LONGEST_SHOWN = 60

_V2_FILES = (".zarray", ".zgroup", ".zattrs")


class StoredFile(str):
    """A file of a store on a server: as text its address, and known by what it holds.

    Attributes
    ----------
    storage, within
        The store, and where the file is in it.
    """

    storage: Storage
    within: str

    def facts(self, count: int) -> tuple[int, int, bytes]:
        """Return what `contract.remote_facts` does; what the file holds tells its version.

        Raises
        ------
        ReadError
            It is not there any more, or cannot be read.
        """
        content = read_file(self.storage, self.within)
        version = int.from_bytes(sha256(content).digest()[:7], "big")
        return len(content), version, content[:count] + content[max(0, len(content) - count) :]


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a store.

    Attributes
    ----------
    path
        From the root: ``""`` is the root.
    ome
        What it says of OME-Zarr, the envelope of 0.5 taken off.
    others
        Its other attributes.
    """

    path: str
    ome: Json
    others: Json


class Nodes:
    """The metadata of a store; notes which files were read.

    Attributes
    ----------
    storage
        The store.
    files
        The paths within it of what was read so far.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.files: list[str] = []

    def group(self, path: str) -> Group | None:
        """Return a group; None where an array is.

        Raises
        ------
        ReadError
            There is none, or it cannot be read.
        """
        found = self._present(path)
        if "zarr.json" in found:
            document = self._json(joined(path, "zarr.json"))
            if document.get("node_type") == "array":
                return None
            attributes = object_of(document.get("attributes"))
        elif ".zarray" in found:
            return None
        else:
            attributes = self._json(joined(path, ".zattrs")) if ".zattrs" in found else {}
        if isinstance(attributes.get("ome"), dict):
            return Group(path, attributes["ome"], {k: v for k, v in attributes.items() if k != "ome"})
        return Group(path, attributes, {})

    def array(self, path: str) -> Json:
        """Return the metadata of an array, ``.zarray`` or ``zarr.json``; raises what `group` does."""
        found = self._present(path)
        name = "zarr.json" if "zarr.json" in found else ".zarray"
        document = self._json(joined(path, name))
        if name == "zarr.json" and document.get("node_type") != "array":
            raise ReadError(f"{at(self.storage, path)}: is no array, but the metadata name it as one")
        return document if name == "zarr.json" else {**document, "zarr_format": 2}

    def is_there(self, path: str) -> bool:
        """Return whether there is a group or array at a path; raises a `ReadError` as `group`."""
        return bool(self._reached(path, ("zarr.json", *_V2_FILES)))

    def text(self, path: str) -> bytes | None:
        """Return what a file holds that need not be there.

        Raises
        ------
        ReadError
            It is there and cannot be read.
        """
        folder, _, name = path.rpartition("/")
        return self._read(path) if self._reached(folder, (name,)) else None

    def _present(self, path: str) -> Sequence[str]:
        where = at(self.storage, path)
        if path and self.storage.leads_out(path):
            raise ReadError(f"{where}: leads out of the store, or nowhere; nothing outside it is read")
        found = self._reached(path, ("zarr.json", *_V2_FILES))
        if not found:
            raise ReadError(f"{where}: there is no group or array; is the store whole?")
        return found

    def _reached(self, path: str, names: Sequence[str]) -> Sequence[str]:
        try:
            return self.storage.present(path, names)
        except Unreachable as error:
            raise ReadError(str(error)) from error

    def _read(self, path: str) -> bytes:
        content = read_file(self.storage, path)
        self.files.append(path)
        return content

    def _json(self, path: str) -> Json:
        try:
            document = json.loads(self._read(path).decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else error
            raise ReadError(f"{at(self.storage, path)}: is no JSON: {reason}; copy it again") from error
        if not isinstance(document, dict):
            raise ReadError(
                f"{at(self.storage, path)}: holds {shown(document)}, not an object; copy it again"
            )
        return document


def read_file(storage: Storage, path: str) -> bytes:
    """Return what a file of metadata holds.

    Raises
    ------
    ReadError
        It cannot be read, is too large for metadata, or leads out of the store.
    """
    try:
        return storage.read(path, MAX_JSON_BYTES)
    except Unreachable as error:
        raise ReadError(str(error)) from error
    except ReadError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise ReadError(f"{at(storage, path)}: cannot be read: {reason}; is the store whole?") from error


def below(storage: Storage, base: str, path: Any) -> str:  # noqa: ANN401 - from foreign metadata
    """Return where a path in the metadata of a group leads, which has to be down; else a `ReadError`."""
    good = isinstance(path, str) and "\0" not in path and len(path) < 4096
    if good and all(part not in ("", ".", "..") for part in path.strip("/").split("/")):
        return joined(base, path.strip("/"))
    raise ReadError(f"{at(storage, base)}: its path {shown(path)} does not lead down; nothing else is read")


def object_of(value: Any) -> Json:  # noqa: ANN401 - from foreign metadata
    """Return an object, an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:  # noqa: ANN401 - from foreign metadata
    """Return a list, an empty one where it is something else."""
    return value if isinstance(value, list) else []


def text_of(value: Any) -> str:  # noqa: ANN401 - from foreign metadata
    """Return a text without blanks around it, an empty one where it is something else."""
    return value.strip() if isinstance(value, str) else ""


def shown(value: Any) -> str:  # noqa: ANN401 - from foreign metadata
    """Return a value of foreign metadata for a message: one line, and not a long one.

    Examples
    --------
    >>> shown({"a": [1, None]}), shown("x" * 100)[-5:]
    ('{"a": [1, null]}', 'xx...')
    """
    text = json.dumps(value, default=str)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
