"""What a batch has made: a record for each output, by which the next batch knows what is done.

Records lie beside the outputs, in `RECORDS`, a file for each: of which files the output was made, with which
options, and what its root is. An output that is there and has no such record, or another one, is not the
batch's: it is refused like any other that exists.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ngff_convert import label_sources, resume
from ngff_convert.commit import HIERARCHY_FILES, PLAN_FILE, Target
from ngff_convert.convert import open_with
from ngff_convert.errors import TargetError, WriteError
from ngff_convert.journal import UNFINISHED, Journal
from ngff_convert.options import Options
from ngff_convert.plan import Resources
from ngff_convert.storage import storage_of
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.storage import Writable

Record: TypeAlias = dict[str, Any]
"""JSON-ready. What an output was made of: `source`, `missing` and `options`, as `resume.Begun` has them. What
it is: `root`, `filled` (what of the input is 0 in it), `verified` (the share that was compared), and
`stored_bytes`, None where that is not known."""

RECORDS = f"{UNFINISHED}-batch"
"""The folder of records, beside the outputs."""

RECORD_VERSION = 1

MAX_BYTES = 2**30
"""Of a record in a bucket, with a line for each file of the input."""


def finished(source: str, target: str, options: Options) -> Record | None:
    """Return the record of an output that is there; None if there is none yet, or another one to be replaced.

    The output counts if it was made of the same files with the same options, and its root's metadata are
    what they were; its pixels are not looked at.

    Raises
    ------
    TargetError
        There is an output, and it was not made like this.
    ConversionError
        The input cannot be opened.
    """
    if is_remote(target):
        if not _is_whole(target, options):
            return None
        record = _kept(target, options)
    elif not os.path.lexists(target):
        return None
    else:
        record = _kept(target, options) or _of_killed(source, target, options)
    if record is None:
        different = "no batch has recorded what it was made of"
    else:
        now = made_of(source, options)
        # An option that is new since then was not given; what is not kept, such as images, follows.
        before = {**now, **record, "options": {**_unchosen(), **record["options"]}}
        if _decisive(before) == _decisive(now):
            return record
        different = f"was made otherwise: {resume.differences(before, now)}"
    if options.overwrite:
        return None
    raise TargetError(
        f"{target}: exists already, and {different}; use --overwrite to replace it, or another folder"
    )


def is_begun(target: str) -> bool:
    """Return whether an output's partial store is there."""
    return not is_remote(target) and Target(Path(target)).partial.is_dir()


def is_remote(target: str) -> bool:
    """Return whether an output is no folder of this machine's."""
    return "://" in target


def of_new(
    target: str, options: Options, *, filled: Sequence[str], verified: float, stored_bytes: int | None
) -> Record:
    """Return the record of an output that has just got its name, and keep it.

    Raises
    ------
    WriteError
        It cannot be kept.
    """
    facts = {"filled": list(filled), "verified": verified, "stored_bytes": stored_bytes}
    begun = _parsed(_content(target, PLAN_FILE, options))
    if begun is None:
        raise WriteError(f"{target}: is whole, but {PLAN_FILE} in it is gone, so it cannot be recorded")
    return keep(target, options, {**begun, **facts})


def keep(target: str, options: Options, record: Record) -> Record:
    """Write the record of an output, in one step; return it with the root as it is.

    Raises
    ------
    WriteError
        It cannot be written.
    """
    names = ("source", "missing", "options", "filled", "verified", "stored_bytes")
    kept = {name: record[name] for name in names}
    kept = {"record": RECORD_VERSION, "version": __version__, **kept, "root": _root(target, options)}
    text = json.dumps(kept, indent=1) + "\n"
    folder, name = _place(target)
    try:
        if is_remote(target):
            cast("Writable", storage_of(folder, options.storage_options)).write(name, text.encode())
        else:
            path = Path(folder, name)
            half = path.with_name(f".{path.name}.{os.getpid()}")
            path.parent.mkdir(exist_ok=True)
            half.write_text(text, encoding="utf-8")
            half.replace(path)
    except OSError as error:
        raise WriteError(
            f"{folder}/{name}: the record of {target}, which is whole, cannot be written: {error.strerror}"
        ) from error
    return kept


def forget(target: str, options: Options) -> None:
    """Remove the record of an output, and the folder of records where nothing else is in it.

    Raises
    ------
    WriteError
        It cannot be removed.
    """
    folder, name = _place(target)
    try:
        if is_remote(target):
            cast("Writable", storage_of(folder, options.storage_options)).remove(name)
            return
        Path(folder, name).unlink(missing_ok=True)
        with suppress(OSError):  # others are in it
            Path(folder, RECORDS).rmdir()
    except OSError as error:
        raise WriteError(
            f"{folder}/{name}: cannot be removed: {error.strerror}; {target} is whole"
        ) from error


def _place(target: str) -> tuple[str, str]:
    """Return the folder of an output, and the place of the record in it."""
    folder, name = os.path.split(target.rstrip("/") if is_remote(target) else Path(target))
    mark = sha256(os.fsencode(name)).hexdigest()[:16]
    return folder, f"{RECORDS}/{name[:40]}-{mark}.json"


def _content(folder: str, name: str, options: Options) -> bytes | None:
    """Return a file; None where there is none."""
    try:
        if is_remote(folder):
            return storage_of(folder, options.storage_options).read(name, MAX_BYTES)
        return Path(folder, name).read_bytes()
    except OSError:  # not there, for whoever asks: what cannot be read says nothing
        return None


def _is_whole(target: str, options: Options) -> bool:
    """Return whether there is a store in a bucket, and nothing that only an unfinished one has."""
    storage = storage_of(target, options.storage_options)
    return any(map(storage.has, HIERARCHY_FILES)) and not storage.has(PLAN_FILE)


def _kept(target: str, options: Options) -> Record | None:
    record = _parsed(_content(*_place(target), options))
    known = {"filled", "verified", "stored_bytes"} <= record.keys() if record else False
    return record if record and known and record.get("root") == _root(target, options) else None


def _of_killed(source: str, target: str, options: Options) -> Record | None:
    """Return the record of an output that got its name just before its run was killed; it still says all.

    Where that run is not killed but at its end, it keeps the record before it removes what is read here.
    """
    begun = _parsed(_content(target, PLAN_FILE, options))
    filled: list[str] = []
    if begun:
        journal = Journal(target, resume.mark_of(begun), flush=False)
        with suppress(WriteError):  # it is just being removed
            filled = [line for region, _ in journal.finished() for line in region.filled]
    record = _kept(target, options)
    if record or not begun:
        return record
    facts = {"filled": [*begun["missing"], *filled], "verified": 0.0, "stored_bytes": None}
    record = keep(target, options, {**begun, **facts})
    with suppress(
        TargetError
    ):  # it exists, and what only a partial store needs is removed before that is told
        Target(Path(target)).check(source)
    return record


def _parsed(content: bytes | None) -> Record | None:
    """Return a record, or what a conversion was begun with; None where it does not say what is needed."""
    try:
        record: Record = json.loads(content or b"")
        return record if _decisive(record) and isinstance(record["options"], dict) else None
    except (ValueError, KeyError, TypeError):  # not there, or damaged, or of another program
        return None


def _root(target: str, options: Options) -> list[Any]:
    """Return what tells that a store is still the same one: content and time of its root's metadata.

    Of an archive, its size and time.
    """
    if not is_remote(target) and os.path.isfile(target):  # noqa: PTH113 - never raises
        status = Path(target).stat()
        return [str(status.st_size), status.st_mtime_ns]
    digest, time_ns = sha256(), 0
    for name in HIERARCHY_FILES:
        digest.update(_content(target, name, options) or b"")
        with suppress(OSError):
            if not is_remote(target):  # buckets know no time that a copy would keep
                time_ns = max(time_ns, Path(target, name).stat().st_mtime_ns)
    return [digest.hexdigest(), time_ns]


def made_of(source: str, options: Options) -> Record:
    """Return what a conversion would be begun with now."""
    with open_with(source, options) as opened:
        files = [resume.facts(name) for name in opened.paths]
        missing = tuple(opened.missing)
    return resume.begun(files, missing, label_sources.elsewhere(options), Resources(1, 1), ())


def _unchosen() -> dict[str, Any]:
    """Return the options of a conversion for which none was given."""
    options: dict[str, Any] = resume.begun((), (), Options(), Resources(1, 1), ())["options"]
    return options


def _decisive(record: Record) -> str:
    files = [[Path(f["path"]).name, f["size"], f["mtime_ns"], f["ends"]] for f in record["source"]]
    options = dict(record["options"])
    for name in ("labels", "label_properties"):  # whose files are among those of the input
        options[name] = [[key, Path(file).name] for key, file in options.get(name, ())]
    return json.dumps([files, record["missing"], options], sort_keys=True)
