"""What a conversion was begun with, and what is different now.

A run may go on where an earlier one was stopped only if it would write the very same store: from the same
files, with the same options, by a program that plans the same. The record of all that lies in the partial
store; how many workers and how much memory the earlier run had is in it too, because regions depend on them.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.errors import MemoryBudgetError, ReadError
from ngff_convert.options import RUNNING, Options
from ngff_convert.plan import Resources
from ngff_convert.readers.contract import remote_facts
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ngff_convert.write_plan import Decided, WritePlan

Begun: TypeAlias = dict[str, Any]
"""JSON-ready: `version`, `source`, `options`, `resources`, `images`, and the `digest` of what is written; in
a partial store also `mark`, which no other has."""

END_BYTES = 4096
"""So much of a file's beginning, and of its end, goes into its hash."""

MAX_NAMED = 5
"""Differences that a message names before it only counts."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What tells that a file is still the same one; its folder may be another.

    Attributes
    ----------
    path
        Where it is, for messages.
    size
        Bytes.
    mtime_ns
        When it was last changed, as the file system has it; of a file on a server, a number that is another
        one when the file is.
    ends
        SHA-256 of its first and last `END_BYTES`.
    """

    path: str
    size: int
    mtime_ns: int
    ends: str


def facts(path: str) -> FileFacts:
    """Look at a file.

    Raises
    ------
    ReadError
        It cannot be read.
    """
    if (remote := remote_facts(path, END_BYTES)) is not None:
        size, version, ends = remote
        return FileFacts(path, size, version, sha256(ends).hexdigest())
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - may be 100,000 files
            status = os.fstat(file.fileno())
            head = os.pread(file.fileno(), END_BYTES, 0)
            tail = os.pread(file.fileno(), END_BYTES, max(0, status.st_size - END_BYTES))
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; is it still there?") from error
    return FileFacts(path, status.st_size, status.st_mtime_ns, sha256(head + tail).hexdigest())


def check_as_opened(path: str, before: os.stat_result | None, source: Sequence[FileFacts]) -> None:
    """Refuse a file that was changed between its opening and the look at it.

    Raises
    ------
    ReadError
        It was.
    """
    now = next((file for file in source if file.path == path), None)
    if before and now and (before.st_size, before.st_mtime_ns) != (now.size, now.mtime_ns):
        raise ReadError(f"{path}: was changed while it was opened; wait until it is written")


def recorded(record: Mapping[str, Any], opened: Sequence[str] = ()) -> list[FileFacts]:
    """Return the files of an earlier run, from its record.

    Parameters
    ----------
    record
        What the run was begun with.
    opened
        The paths as they are opened now: those on a server know how it is reached, which is not recorded.
    """
    known = {path: path for path in opened}
    files = [FileFacts(**file) for file in record["source"]]
    return [replace(file, path=known.get(file.path, file.path)) for file in files]


def check_unchanged(source: Sequence[FileFacts]) -> None:
    """Refuse pixels of which some may be from before a change, and some from after it.

    Raises
    ------
    ReadError
        A file is not what it was.
    """
    for before in source:
        if _size_and_time(before.path) != (before.size, before.mtime_ns):
            raise ReadError(
                f"{before.path}: was changed while it was read, and the output would be of both; "
                "wait until it is written, and use --restart"
            )


def _size_and_time(path: str) -> tuple[int, int]:
    if (remote := remote_facts(path, 0, anew=True)) is not None:
        return remote[:2]
    try:
        status = os.stat(path)  # noqa: PTH116 - may be 100,000 files
    except OSError as error:
        raise ReadError(
            f"{path}: is gone since the conversion was begun: {error.strerror}; "
            "bring it back and run the same command again"
        ) from error
    return status.st_size, status.st_mtime_ns


def begun(
    source: Sequence[FileFacts],
    missing: Sequence[str],
    options: Options,
    resources: Resources,
    decided: Sequence[Decided],
    parts: int = 0,
) -> Begun:
    """Return the record of a conversion.

    Parameters
    ----------
    source, missing
        The files of the input, and what should be there and is not.
    options
        What the user chose.
    resources, decided
        What the regions were planned for, and the plans.
    parts
        In how many parts other processes do the regions; 0 where they do not.
    """
    record = {
        "version": __version__,
        "source": [asdict(file) for file in source],
        "missing": list(missing),
        "parts": parts,
        "options": _lasting(options),
        "resources": asdict(resources),
        "images": [_described(item) for item in decided],
    }
    return {"digest": _digest(record, decided), **record}


def signed(begun: Begun) -> Begun:
    """Return a record with a mark of its own, so that nothing that is begun anew is taken for it."""
    return {**begun, "mark": secrets.token_hex(8)}


def mark_of(record: Mapping[str, Any]) -> str:
    """Return what lines of the journal are marked with: what is written, and which beginning it was."""
    return f"{record.get('digest')}-{record.get('mark')}"


def _described(item: Decided) -> dict[str, Any]:
    """Return what goes into the metadata of an image that another run may see in another way."""
    image = item.image
    field = image.plate_field
    of_plate = [field.plate.name, field.row, field.column, field.field, field.acquisition] if field else None
    return {
        **({"plate": of_plate} if of_plate else {}),
        "name": image.name,
        "channels": [asdict(channel) for channel in image.channels],
        "calibration": asdict(image.calibration),
        "folder": item.folder,
        "plan": item.plan.to_json(),
    }


def _lasting(options: Options) -> dict[str, Any]:
    """Return the options that say what is written, as JSON has them."""
    chosen: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return {name: value for name, value in chosen.items() if name not in RUNNING}


def _digest(record: Begun, decided: Sequence[Decided]) -> str:
    """Name what is written; workers, memory and the program's version matter only as far as they change that.

    Every other option counts: a partial store is begun anew rather than gone on with where it may differ.
    """
    decisive = [
        [[_name(file), file["size"], file["mtime_ns"], file["ends"]] for file in record["source"]],
        [{**image, "plan": item.plan.digest} for image, item in zip(record["images"], decided, strict=True)],
        record["missing"],
        record["parts"],
        record["options"],
    ]
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _name(file: Mapping[str, Any]) -> str:
    """Return the name of a file, which may tell what it is a part of."""
    return str(os.path.basename(file["path"]))  # noqa: PTH119 - may be 100,000 files


def wanted(options: Options, machine: Resources) -> Resources:
    """Return what a run may use: what the user allows, else what the machine has."""
    return Resources(options.workers or machine.workers, options.memory or machine.memory)


def earlier(left: Mapping[str, Any] | None, otherwise: Resources) -> Resources:
    """Return what an earlier run was planned for; `otherwise` where there was none."""
    had = left.get("resources") if left else None
    workers, memory = (had.get("workers"), had.get("memory")) if isinstance(had, dict) else (None, None)
    if not (isinstance(workers, int) and isinstance(memory, int) and workers > 0 and memory > 0):
        return otherwise
    return Resources(workers, memory)


def fitted(decided: Sequence[Decided], resources: Resources) -> tuple[Decided, ...]:
    """Return the plans with as many regions at once as there are workers and memory for now.

    Raises
    ------
    MemoryBudgetError
        There is not enough for one region: the earlier run had more.
    """
    return tuple(replace(item, plan=_fitted(item.plan, resources)) for item in decided)


def _fitted(plan: WritePlan, resources: Resources) -> WritePlan:
    needed = max(step.job_bytes for step in plan.passes)
    if needed > resources.memory:
        raise MemoryBudgetError(
            f"the conversion that was begun needs {needed / 2**20:.0f} MiB for a region, but --memory allows "
            f"{resources.memory / 2**20:.0f} MiB: give as much memory as to the first run, or use --restart"
        )
    at_once = min(resources.workers, resources.memory // needed)
    return replace(plan, workers=at_once, budget_bytes=resources.memory)


def differences(before: Mapping[str, Any], now: Begun) -> str:
    """Say in what two conversions differ, for a message; the first may be any JSON object."""
    try:
        found = [
            *_different_files(before["source"], now["source"]),
            *_different_options(before["options"], now["options"]),
            *_different_names(before["images"], now["images"]),
            *([] if before["missing"] == now["missing"] else ["what of the input is missing"]),
            *_different_parts(before["parts"], now["parts"]),
        ]
        if not found and before["version"] != now["version"]:
            found = [f"ngff-convert {before['version']} planned it otherwise than {now['version']} does"]
    except (KeyError, TypeError):
        found = ["its record is damaged or of another program version"]
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return ("; ".join(found[:MAX_NAMED]) or "the images are described otherwise") + more


def _different_files(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(before) != len(now):
        return [f"the input is {len(now)} files, was {len(before)}"]
    found = []
    for old, new in zip(before, now, strict=True):
        if _name(old) != _name(new):
            found.append(f"{new['path']} was called {_name(old)}")
        elif old["size"] != new["size"]:
            found.append(f"{new['path']} has {new['size']} bytes, had {old['size']}")
        elif old["ends"] != new["ends"]:
            found.append(f"{new['path']} has another content")
        elif old["mtime_ns"] != new["mtime_ns"]:
            found.append(f"{new['path']} was changed meanwhile, or copied without its time (cp -p keeps it)")
    return found


def _different_options(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = [field.name for field in fields(Options) if field.name not in RUNNING]
    return [
        f"{_words(name)} is {_shown(now[name])}, was {_shown(before[name])}"
        for name in names
        if before[name] != now[name]
    ]


def _different_names(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"an image is called {_shown(new['name'])}, was {_shown(old['name'])}"
        for old, new in zip(before, now, strict=False)
        if old["name"] != new["name"]
    ]


def _different_parts(before: int, now: int) -> list[str]:
    if before == now:
        return []
    if not now:
        return [f"it is planned in {before} parts, which `ngff-convert finish` makes a store of"]
    return [f"it is planned in {before} parts, not {now}" if before else "it is not planned in parts"]


def _words(name: str) -> str:
    return {"codec": "--compressor", "crop": "the range t, c, z, y, x"}.get(
        name, f"--{name.replace('_', '-')}"
    )


def _shown(value: Any) -> str:  # noqa: ANN401 - JSON of any kind
    if isinstance(value, dict):  # a codec
        return " ".join(f"{key} {part}" for key, part in value.items() if part is not None)
    return "not given" if value is None else json.dumps(value)
