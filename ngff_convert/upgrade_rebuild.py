"""A store of Zarr v2 becomes one of v3, made in ``STORE.partial`` out of the same chunks.

When it is whole and was looked through, it takes the place of the old one, which is removed only after that.
A journal tells a later run what is done: of all chunks in the order of their names, so many arrays, and so
many chunks of the next. A line is written when everything before it is on the disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngff_convert import file_system, upgrade_chunks
from ngff_convert.errors import ConversionError, TargetError, UnsupportedInput, VerificationError, WriteError
from ngff_convert.events import RegionDone
from ngff_convert.storage import at, joined
from ngff_convert.upgrade_metadata import NotUpgradable, group_of, plan_array
from ngff_convert.upgrade_scan import scan
from ngff_convert.validate import validate
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ngff_convert.commit import Target
    from ngff_convert.journal import Journal
    from ngff_convert.storage import Folder
    from ngff_convert.upgrade_metadata import ArrayPlan, Json
    from ngff_convert.upgrade_scan import OldStore

SECONDS_BETWEEN = 5.0
"""Between two lines of the journal; each waits until everything is on the disk."""

BATCH = 64
"""Chunks a worker that are handed out at once."""

Tell = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was done.

    Attributes
    ----------
    documents
        Metadata files that were written.
    kept, encoded
        Chunks that kept their bytes, and that did not.
    notes
        What the owner of the store should know.
    """

    documents: int
    kept: int
    encoded: int
    notes: tuple[str, ...]


@contextmanager
def locked(target: Target, what: Json) -> Iterator[bool]:
    """Hold the lock on a store as a conversion into it does; yields whether an earlier run was interrupted.

    Parameters
    ----------
    target
        The store.
    what
        Names what is done to it.

    Raises
    ------
    TargetError
        Another run has the lock, or an unfinished one is something else.
    """
    begun = {**what, "version": __version__}
    digest = sha256(json.dumps(begun, sort_keys=True).encode()).hexdigest()
    left = target.left()
    if left is not None and left.get("digest") != digest:
        raise TargetError(
            f"{target.partial}: is an unfinished conversion, or an upgrade of a store that was another then; "
            "finish that, or remove this folder"
        )
    try:
        yield target.begin({"digest": digest, **begun})
    finally:
        target.close()


def rebuild(
    target: Target, storage: Folder, version: str, to: str, workers: int, tell: Tell | None = None
) -> Rebuilt:
    """Make a store of Zarr v3 of one of v2, and have it take its place; raises what `upgrade` does."""
    old = scan(storage)
    seen = old.digest
    documents, arrays = _planned(old, storage, version, to)
    listings = [upgrade_chunks.listed(Path(storage.root, plan.path), plan) for plan in arrays]
    notes = [f"{path}: is left out: readers do without it" for path in old.left_out]
    for plan, (_, others) in zip(arrays, listings, strict=True):
        for name in others:
            if upgrade_chunks.is_foreign(name):
                old.files.append(joined(plan.path, name))
            else:
                notes.append(f"{plan.path}/{name}: is no chunk of its array and is left out")
    chunks = [names for names, _ in listings]
    faults = _error_rules(storage.name)
    what = {"upgrade": to, "of": old.digest, "chunks": list(map(len, chunks))}
    with locked(target, what) as again:
        _check_same(target, storage, seen)
        journal = target.journal(target.mark, flush=True)
        journal.create()
        try:
            _carry(target.partial, storage, arrays, chunks, journal, workers, tell)
            _write_files(target.partial, storage, old.files, documents)
        except OSError as error:
            if isinstance(error, ConversionError):
                raise
            raise WriteError(
                f"{target.partial}: cannot be written: {error.strerror or error}; "
                "mend that and run the same command again"
            ) from error
        target.make_ready(sweep=again)
        _check(target.partial, arrays, faults)
        target.commit()
        target.tidy()
    n_kept = sum(len(names) for plan, names in zip(arrays, chunks, strict=True) if plan.way == "copy")
    n_encoded = sum(map(len, chunks)) - n_kept
    return Rebuilt(len(documents) + len(arrays), n_kept, n_encoded, tuple(notes))


def _check_same(target: Target, storage: Folder, seen: str) -> None:
    """Refuse a store that another run has upgraded between the look at it and the lock on it."""
    try:
        same = scan(storage).digest == seen
    except ConversionError:
        same = False
    if not same:
        target.abandon()
        raise TargetError(
            f"{storage.name}: was changed by another run; run the same command again if need be"
        )


def _planned(
    old: OldStore, storage: Folder, version: str, to: str
) -> tuple[dict[str, bytes], list[ArrayPlan]]:
    """Return the metadata files of all groups, the root's last, and what becomes of each array."""
    documents: dict[str, bytes] = {}
    names: dict[str, list[str]] = {}
    for path, attributes in sorted(old.groups.items(), key=lambda item: (item[0] == "", item[0])):

        def shape_of(level: str, path: str = path) -> list[int]:
            array = old.arrays.get(joined(path, level))
            if array is None:
                raise NotUpgradable(f"its level {level} is not there")
            return list(array[0]["shape"])

        try:
            documents[joined(path, "zarr.json")] = json_text(group_of(attributes, version, to, shape_of))
            names |= _dimension_names(path, group_of(attributes, version, "0.5", shape_of))
        except NotUpgradable as error:
            raise UnsupportedInput(f"{at(storage, path)}: {error}; convert the store instead") from error
    plans = []
    for path, (document, attributes) in sorted(old.arrays.items()):
        try:
            plans.append(plan_array(path, document, attributes, names.get(path)))
        except NotUpgradable as error:
            raise UnsupportedInput(f"{at(storage, path)}: {error}; convert the store instead") from error
    return documents, plans


def _dimension_names(path: str, group: Json) -> dict[str, list[str]]:
    """Return the names of the dimensions of the levels of an image, by the level's path from the root."""
    items = group["attributes"].get("ome", {}).get("multiscales", [])
    return {
        joined(path, dataset["path"]): [axis["name"] for axis in item["axes"]]
        for item in items
        for dataset in item["datasets"]
    }


def _carry(
    partial: Path,
    storage: Folder,
    arrays: Sequence[ArrayPlan],
    chunks: Sequence[Sequence[str]],
    journal: Journal,
    workers: int,
    tell: Tell | None,
) -> None:
    """Carry the chunks of all arrays that an earlier run has not carried."""
    array_done, chunk_done = max(
        ((entry.image, entry.region) for entry, _ in journal.finished()), default=(0, 0)
    )
    total, n_done, noted_at = sum(map(len, chunks)), 0, time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        for number, (plan, names) in enumerate(zip(arrays, chunks, strict=True)):
            carrier = _carrier(plan, storage, partial)
            first = len(names) if number < array_done else chunk_done if number == array_done else 0
            n_done += first
            for start in range(first, len(names), BATCH * workers):
                batch = names[start : start + BATCH * workers]
                for _ in pool.map(carrier.carry, batch):
                    n_done += 1
                    if tell:
                        tell(n_done, total)
                if time.monotonic() - noted_at > SECONDS_BETWEEN:
                    file_system.flush_file_system(partial)
                    journal.record(RegionDone(number, 0, start + len(batch), (0, 0), 0, 0))
                    noted_at = time.monotonic()


def _carrier(plan: ArrayPlan, storage: Folder, partial: Path) -> upgrade_chunks.Carrier:
    target = partial / plan.path
    target.mkdir(parents=True, exist_ok=True)
    (target / "zarr.json").write_bytes(json_text(plan.new))
    array = _opened(target) if plan.way == "recode" else None
    return upgrade_chunks.Carrier(plan, Path(storage.root, plan.path), target, array)


def _opened(folder: Path) -> Any:  # noqa: ANN401 - tensorstore has no types
    import tensorstore as ts

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
    return ts.open(spec, open=True, context=context).result()


def _write_files(partial: Path, storage: Folder, files: Sequence[str], documents: dict[str, bytes]) -> None:
    """Write what is no array: the metadata of groups, and other files as they are."""
    for path in (*files, *documents):
        new = partial / path
        new.parent.mkdir(parents=True, exist_ok=True)
        if path in documents:
            new.write_bytes(documents[path])
        else:
            upgrade_chunks.link(Path(storage.root, path), new)


def _error_rules(store: str) -> set[str]:
    return {finding.rule for finding in validate(store).errors}


def _check(partial: Path, arrays: list[ArrayPlan], known: set[str]) -> None:
    """Open every array anew, and validate the whole store: it has no fault that the old one has not."""
    for plan in arrays:
        if plan.dtype.hasobject:  # texts, which tensorstore does not read; their chunks are the old ones
            continue
        try:
            array = _opened(partial / plan.path)
            found = [list(array.shape), array.dtype.name, list(array.chunk_layout.read_chunk.shape)]
        except (ValueError, OSError) as error:
            raise VerificationError(f"{partial / plan.path}: cannot be opened: {error}") from error
        wanted = [plan.new["shape"], plan.new["data_type"], plan.old["chunks"]]
        if found != wanted:
            raise VerificationError(f"{partial / plan.path}: is {found}, but should be {wanted}")
    for finding in validate(partial).errors:
        if finding.rule not in known:
            raise VerificationError(
                f"{partial}: {finding.path or '/'}: {finding.message}; the old store is as it was"
            )


def json_text(document: Json) -> bytes:
    """Return what a metadata file holds."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
