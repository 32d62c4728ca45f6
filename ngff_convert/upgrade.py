"""An OME-Zarr store becomes one of a later version under the same name; a kill at any moment loses nothing.

From 0.5 to 0.6 the Zarr format stays: the metadata of each group are written beside the old ones and renamed,
those of the root last. What is done already says so itself, so a repeated run does the rest.

What is Zarr v2 is made anew, see `upgrade_rebuild`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert import file_system
from ngff_convert.commit import HIERARCHY_FILES, PLAN_FILE, Target
from ngff_convert.errors import ConversionError, ReadError, TargetError, UnsupportedInput, WriteError
from ngff_convert.journal import flush_folder
from ngff_convert.storage import SUFFIX, Folder, Zipped, at, joined, storage_of
from ngff_convert.upgrade_chunks import replace
from ngff_convert.upgrade_metadata import OLDER, NotUpgradable, upgraded
from ngff_convert.upgrade_rebuild import json_text, locked, rebuild
from ngff_convert.upgrade_scan import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ngff_convert.storage import Storage, Writable
    from ngff_convert.upgrade_metadata import Json
    from ngff_convert.upgrade_rebuild import Tell

VERSIONS = ("0.5", "0.6")
"""What a store can become."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was done.

    Attributes
    ----------
    store
        Its address, as it was given.
    before, version
        Of OME-Zarr: what it was, and is.
    documents
        Metadata files that were written.
    kept, encoded
        Chunks that kept their bytes, and that did not.
    notes
        What its owner should know.
    """

    store: str
    before: str
    version: str
    documents: int = 0
    kept: int = 0
    encoded: int = 0
    notes: tuple[str, ...] = ()


def upgrade(
    store: str | os.PathLike[str],
    to: str = VERSIONS[0],
    *,
    workers: int | None = None,
    storage_options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    tell: Tell | None = None,
) -> Upgraded:
    """Make an OME-Zarr one of a later version; all of its hierarchy.

    Parameters
    ----------
    store
        Its folder; or from 0.5 on its address in a bucket.
    to
        One of `VERSIONS`.
    workers
        Chunks in work at once; None takes one a processor.
    storage_options
        How a bucket is reached.
    tell
        Is told how many chunks are done, and of how many.

    Raises
    ------
    ReadError
        There is no such store, or it cannot be read.
    UnsupportedInput
        It cannot be upgraded, as it is of a later version, an archive or of a form that is not known; the
        message says what to do.
    TargetError
        A conversion into it is under way, or unfinished.
    WriteError
        It cannot be written.
    VerificationError
        What was made is not sound; the old store is as it was.
    """
    storage = storage_of(store, storage_options)
    if isinstance(storage, Zipped) or storage.name.lower().rstrip("/").endswith(SUFFIX):
        raise UnsupportedInput(
            f"{storage.name}: is an archive: unpack it, upgrade the store, and pack that again"
        )
    if not isinstance(storage, Folder):
        return _upgrade_bucket(storage, to)
    target = Target(Path(os.path.abspath(storage.name)), overwrite=True)  # noqa: PTH100
    target.take_over()
    storage = Folder.of(storage.name)
    storage.reach()
    if Path(storage.name).is_symlink():
        raise UnsupportedInput(f"{storage.name}: is a link; give the folder that it leads to: {storage.root}")
    if (above := _store_above(Path(storage.root))) is not None:
        raise UnsupportedInput(
            f"{storage.name}: is a part of {above}, and a hierarchy has one version: upgrade all of it"
        )
    version = _version(storage, to)
    if version in OLDER:
        workers = workers or len(os.sched_getaffinity(0))
        made = rebuild(target, storage, version, to, workers, tell)
        return Upgraded(storage.name, version, to, made.documents, made.kept, made.encoded, made.notes)
    with locked(target, {"upgrade": to, "in": "place"}):
        try:
            return _rewrite(storage, to)
        finally:
            target.abandon()  # nothing is in it but the lock


def _store_above(folder: Path) -> Path | None:
    """Return the outermost Zarr hierarchy that a folder is within; None if it is in none."""
    found = None
    for parent in folder.parents:
        if not any((parent / name).is_file() for name in HIERARCHY_FILES):
            break
        found = parent
    return found


def _version(storage: Storage, to: str) -> str:
    """Return the version of a store that can become another one."""
    document = read_document(storage, "")
    if document is None:
        raise UnsupportedInput(f"{storage.name}: is no Zarr group: neither zarr.json nor .zgroup is there")
    version = document.version
    if version is None:
        raise UnsupportedInput(f"{storage.name}: names no version of OME-Zarr; only an OME-Zarr is upgraded")
    if version not in (*OLDER, *VERSIONS):
        raise UnsupportedInput(
            f"{storage.name}: is of OME-NGFF {version}; 0.1 to {VERSIONS[-1]} are known here"
        )
    if float(version) > float(to):
        raise UnsupportedInput(
            f"{storage.name}: is of OME-NGFF {version} already, which is later than {to}; "
            f"for an earlier one convert it: ngff-convert {storage.name} OUT --ngff-version {to}"
        )
    return version


# -- metadata in place -------------------------------------------------------------------------------------


def _upgrade_bucket(storage: Storage, to: str) -> Upgraded:
    name = storage.name
    if name.lower().startswith(("http://", "https://")):
        raise UnsupportedInput(f"{name}: a web server cannot be written; convert the store to another place")
    _check_idle(storage)
    storage.reach()
    version = _version(storage, to)
    if version in OLDER:
        raise UnsupportedInput(
            f"{name}: is Zarr v2, which is only upgraded on a disk; "
            f"convert it to another name: ngff-convert {name} OUT --ngff-version {to}"
        )
    return _rewrite(storage, to)  # type: ignore[arg-type]  # it has write


def _check_idle(storage: Storage) -> None:
    """Refuse a store in a bucket, where there are no locks, whose record tells that another run writes it."""
    if storage.has(PLAN_FILE):
        raise TargetError(
            f"{storage.name}: a conversion into it is under way, or unfinished: finish it first"
        )


def _rewrite(storage: Writable, to: str) -> Upgraded:
    """Rewrite the metadata of all groups, the root's last; nothing where one of them cannot be."""
    changed: dict[str, bytes] = {}
    root = read_document(storage, "")
    before = (root.version if root else None) or to
    for path, document in _groups(storage):
        try:
            new = _rewritten(document, to)
        except NotUpgradable as error:
            raise UnsupportedInput(f"{at(storage, path)}: {error}; nothing was changed") from error
        if new != document:
            changed[joined(path, "zarr.json")] = json_text(new)
    try:
        for path, content in sorted(changed.items(), key=lambda item: item[0] == "zarr.json"):
            _put(storage, path, content, last=path == "zarr.json")
    except OSError as error:
        if isinstance(error, ConversionError):
            raise
        raise WriteError(
            f"{storage.name}: cannot be written: {error.strerror or error}; "
            "mend that and run the same command again"
        ) from error
    return Upgraded(storage.name, before, to, documents=len(changed))


def _put(storage: Writable, path: str, content: bytes, *, last: bool) -> None:
    if not isinstance(storage, Folder):
        _check_idle(storage)  # else metadata of the old store would be among those of the new one
        storage.write(path, content)  # objects are replaced as a whole
        return
    place = Path(storage.root, path)
    if last:
        file_system.flush_file_system(place.parent)
    mode = place.stat().st_mode
    replace(place, content)
    place.chmod(mode & 0o7777)
    flush_folder(place.parent)


def _groups(storage: Storage) -> Iterator[tuple[str, Json]]:
    """Yield every group of a store of Zarr v3: its path, and its ``zarr.json``."""
    if not storage.is_local:
        for entry in storage.walk("", lambda _: True):
            if entry.kind == "closed":
                raise ReadError(f"{storage.name}: cannot be listed: {entry.reason}")
            if entry.names[-1] == "zarr.json":
                yield from _group(storage, "/".join(entry.names[:-1]))
        return
    waiting = [""]
    while waiting:
        path = waiting.pop()
        found = list(_group(storage, path))
        yield from found
        if found or not storage.has(joined(path, "zarr.json")):  # arrays hold nothing but chunks
            entries = list(storage.walk(path))
            if any(entry.kind == "closed" for entry in entries):
                raise ReadError(f"{at(storage, path)}: cannot be listed: {entries[0].reason}")
            waiting += [joined(path, entry.names[-1]) for entry in entries if entry.kind == "folder"]


def _group(storage: Storage, path: str) -> Iterator[tuple[str, Json]]:
    document = read_document(storage, path) if storage.has(joined(path, "zarr.json")) else None
    if document is not None and document.document.get("node_type") == "group":
        yield path, document.document


def _rewritten(document: Json, to: str) -> Json:
    """Return a group's ``zarr.json`` in a later version, what it repeats of other nodes included."""
    found = dict(document)
    attributes = found.get("attributes")
    ome = attributes.get("ome") if isinstance(attributes, dict) else None
    if isinstance(ome, dict) and ome.get("version") != to:
        if ome.get("version", "0.5") != "0.5":
            raise NotUpgradable(f"is of OME-NGFF {ome['version']}, which its store is not")
        found["attributes"] = {**found["attributes"], "ome": upgraded(ome, "0.5", to, _no_shape)}
    repeated = found.get("consolidated_metadata")
    nodes = repeated.get("metadata") if isinstance(repeated, dict) else None
    if isinstance(nodes, dict):
        new = {key: _rewritten(node, to) if isinstance(node, dict) else node for key, node in nodes.items()}
        found["consolidated_metadata"] = {**found["consolidated_metadata"], "metadata": new}
    return found


def _no_shape(path: str) -> tuple[int, ...]:
    raise NotUpgradable(f"the level {path} has no scale")
