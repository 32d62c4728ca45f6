"""Whether a store is a sound OME-Zarr: metadata, arrays, chunk files and, asked for, every chunk decoded.

It takes any store in a folder or an archive, also one that was made to do harm: what it reads is bounded, and
nothing outside the folder is opened. A store in a bucket or on a web server is one that its user trusts. The
rules are those of OME-NGFF 0.4 to 0.6 and a few that viewers make; `RULES` lists them all.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.storage import SUFFIX, Unreachable, Zipped, storage_of
from ngff_convert.validation.findings import RULES, Finding, Findings
from ngff_convert.validation.nodes import (
    OME_KEYS,
    check_root_version,
    is_there,
    own_version,
    read_node,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ngff_convert.storage import Storage
    from ngff_convert.validation.images import Pyramid
    from ngff_convert.validation.tree import Tree

__all__ = ["RULES", "Finding", "Validation", "validate"]


REMOTE_READS = 16
"""Chunks in work at once where they come over a network: most of the time is waiting."""


@dataclass(frozen=True, slots=True)
class Validation:
    """What was found in a store.

    Attributes
    ----------
    store
        Its address, as it was given.
    version
        Of OME-Zarr; None if it could not be told.
    findings
        In the order they were met.
    images, plates, wells, labels, levels
        How many there are; label images are not among the images, but their levels among the levels.
    chunks
        Files that complete levels would have: chunks, or shards; but of levels that cannot be listed.
    stored
        Those of them that are there.
    decoded
        Those that were decoded without fault; 0 unless that was asked for.
    """

    store: str
    version: str | None
    findings: tuple[Finding, ...]
    images: int = 0
    plates: int = 0
    wells: int = 0
    labels: int = 0
    levels: int = 0
    chunks: int = 0
    stored: int = 0
    decoded: int = 0

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.grade == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return tuple(finding for finding in self.findings if finding.grade == "warning")

    def to_json(self) -> dict[str, Any]:
        """Return it as an object that `json.dumps` takes."""
        return {**asdict(self), "valid": not self.errors, "findings": [asdict(f) for f in self.findings]}


def validate(
    path: str | os.PathLike[str],
    *,
    deep: bool = False,
    workers: int | None = None,
    storage_options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Validation:
    """Check an OME-Zarr.

    Parameters
    ----------
    path
        Its folder, its archive, or its address: ``s3://``, ``gs://``, ``http://`` or ``https://``.
    deep
        Whether to decode every stored chunk, and to compare missing chunks with the levels next to them.
    workers
        Threads that decode; None takes one a processor, and more where chunks come over a network.
    storage_options
        How a bucket is reached: `storage.OPTIONS`.

    Returns
    -------
    Validation
        What was found; `errors` is empty for a sound store.

    Raises
    ------
    ReadError
        There is no such store, or it cannot be read, or not any more.
    UnsupportedInput
        It is no OME-Zarr.
    OptionError
        The address, or an option of the storage, cannot be meant.
    """
    store = storage_of(path, storage_options)
    store.reach()
    try:
        return _validated(store, deep, workers)
    except Unreachable as error:
        raise ReadError(str(error)) from error


def _validated(store: Storage, deep: bool, workers: int | None) -> Validation:
    name = store.name
    if not is_there(store, ""):
        raise UnsupportedInput(f"{name}: is no Zarr: it has neither zarr.json nor .zgroup")
    findings = Findings()
    root = read_node(store, "", findings)
    version = own_version(root) if root is not None else None
    if root is None or (version is None and findings.listed()):  # it cannot be read
        return Validation(name, None, findings.listed())
    if root.kind == "array":
        raise UnsupportedInput(f"{name}: is a Zarr array, not an OME-Zarr: give the folder of its image")
    if version is None:
        keys = ", ".join(key for key in OME_KEYS[:-1] if key != "image-label")
        raise UnsupportedInput(f"{name}: is a Zarr group, but not an OME-Zarr: it has none of {keys}")
    from ngff_convert.validation.tree import Tree, walk  # pydantic: only for a store

    check_root_version(version, findings)
    if isinstance(store, Zipped):
        from ngff_convert.validation import archives

        archives.check(store, version, findings)
    tree = Tree(store, findings, version)
    walk(tree, root)
    n_processors = len(os.sched_getaffinity(0))
    workers = workers or (n_processors if store.is_local else max(REMOTE_READS, n_processors))
    counts = _check_chunks(tree, deep, workers)
    _tell_what_is_not_checked(store, deep, findings)
    return Validation(
        name, version, findings.listed(), tree.n_images, tree.n_plates, tree.n_wells, tree.n_labels, *counts
    )


def _tell_what_is_not_checked(store: Storage, deep: bool, findings: Findings) -> None:
    if store.is_local:
        return
    if store.name.lower().rstrip("/").endswith(SUFFIX):
        message = "whether it is packed as it should be is only checked of an archive on a disk"
        findings.warning("", "archive-unchecked", message)
    if not deep and all(finding.rule != "chunks-unlisted" for finding in findings.listed()):
        message = "sizes of chunks are not listed here: empty ones are only found with --deep"
        findings.warning("", "chunks-unlisted", message)


def _check_chunks(tree: Tree, deep: bool, workers: int) -> tuple[int, int, int, int]:
    """Check the files of every level; return the numbers of levels, chunks, stored and decoded chunks."""
    seen: set[str] = set()
    counts = [0, 0, 0, 0]
    for pyramid in tree.pyramids:
        for index, count in enumerate(_check_pyramid(tree, pyramid, seen, deep, workers)):
            counts[index] += count
    n_levels, n_chunks, n_stored, n_decoded = counts
    return n_levels, n_chunks, n_stored, n_decoded


def _check_pyramid(tree: Tree, pyramid: Pyramid, seen: set[str], deep: bool, workers: int) -> list[int]:
    from ngff_convert.validation import chunk_files, decoding, holes

    counts = [0, 0, 0, 0]
    decoders = []
    for level in pyramid.levels:
        array = level.array
        if array is None or array.path in seen:
            continue
        seen.add(array.path)
        decoder = decoding.open_array(tree.store, array, workers, tree.findings)
        tally = chunk_files.Tally()
        files = chunk_files.stored_chunks(tree.store, array, tally, tree.findings)
        n_decoded = 0
        if deep and decoder is not None:
            n_decoded = decoding.decode_all(decoder, files, workers, tree.findings)
            if tally.unlisted and array.n_chunks <= chunk_files.MAX_KNOWN:
                every = chunk_files.all_chunks(array)
                n_decoded += decoding.decode_all(decoder, every, workers, tree.findings)
            decoders.append((decoder, tally))
        else:
            for _ in files:  # to count them
                pass
        if tally.unlisted:
            message = f"which of its {array.n_chunks} chunks are stored is not known: {tally.unlisted}"
            tree.findings.warning(array.path, "chunks-unlisted", message)
            counts = [a + b for a, b in zip(counts, (1, 0, 0, n_decoded), strict=True)]
            continue
        if tally.n_stored < array.n_chunks:
            n_missing = array.n_chunks - tally.n_stored
            message = f"{n_missing} of {array.n_chunks} chunk files are not stored and read as the fill value"
            tree.findings.warning(array.path, "missing-chunks", message)
        new = (1, array.n_chunks, tally.n_stored, n_decoded)
        counts = [a + b for a, b in zip(counts, new, strict=True)]
    if deep:
        holes.check_holes(decoders, tree.findings)
    return counts
