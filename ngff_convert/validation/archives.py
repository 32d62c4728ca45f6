"""How a store is packed into an archive, held against RFC-9 of OME-NGFF."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED

from ngff_convert.storage_contract import SUFFIX
from ngff_convert.validation.findings import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zipfile import ZipInfo

    from ngff_convert.storage_disk import Zipped
    from ngff_convert.validation.findings import Findings

_METADATA = "zarr.json"


def check(store: Zipped, version: str, findings: Findings) -> None:
    """Check an archive.

    Parameters
    ----------
    store
        The archive.
    version
        Of its OME-Zarr.
    findings
        Where findings go: errors where readers can go wrong, else warnings.
    """
    directory = store.directory
    entries = directory.listed
    if not store.name.lower().endswith(SUFFIX):
        findings.warning("", "archive-name", f"the name does not end with {SUFFIX}, by which viewers know it")
    if not directory.is_zip64:
        findings.warning("", "archive-zip64", "is no ZIP64 archive")
    seen: set[str] = set()
    for entry in entries:
        if entry.filename in seen:
            findings.error(entry.filename, "archive-twice", "is there twice: readers take one or the other")
        seen.add(entry.filename)
        if entry.filename.lower().endswith(SUFFIX):
            findings.error(entry.filename, "archive-nested", "is an archive within this one")
    packed = [entry for entry in entries if entry.compress_type != ZIP_STORED]
    if packed:
        message = f"{len(packed)} of {len(entries)} entries are compressed, so parts of them cannot be read"
        findings.warning(packed[0].filename, "archive-compression", message)
    if _METADATA not in seen:
        message = f"there is no zarr.json in the root: OME-Zarr {version} is not known in archives"
        findings.warning("", "archive-root", message)
    ordered = _is_ordered(entries)
    if not ordered:
        message = "its zarr.json are not first, the root's before all, breadth first"
        findings.warning("", "archive-order", message)
    _check_comment(directory.comment, version, ordered, findings)


def _is_ordered(entries: Sequence[ZipInfo]) -> bool:
    """Return whether the metadata are first, in the directory and in the file."""
    names = [entry.filename for entry in entries]
    n_metadata = sum(_is_metadata(name) for name in names)
    depths = [name.count("/") for name in names[:n_metadata]]
    offsets = [entry.header_offset for entry in entries[:n_metadata]]
    behind = min((entry.header_offset for entry in entries[n_metadata:]), default=None)
    in_directory = all(map(_is_metadata, names[:n_metadata])) and depths == sorted(depths)
    in_file = offsets == sorted(offsets) and (not offsets or behind is None or offsets[-1] < behind)
    return in_directory and in_file


def _is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] == _METADATA


def _check_comment(comment: bytes, version: str, ordered: bool, findings: Findings) -> None:
    try:
        said: Any = json.loads(comment.rstrip(b"\0").decode("utf-8"))
    except (ValueError, RecursionError):
        said = None
    ome = _object(_object(said).get("ome"))
    if ome.get("version") != version:
        stated = shown(ome["version"]) if "version" in ome else "no version"
        message = f"the comment of the archive has {stated}, not {shown(version)}"
        findings.warning("", "archive-comment", message)
    if _object(_object(ome.get("zipFile")).get("centralDirectory")).get("jsonFirst") is True and not ordered:
        message = "the comment says jsonFirst, but the zarr.json are not first: readers miss some"
        findings.error("", "archive-order", message)


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - from foreign metadata
    return value if isinstance(value, dict) else {}
