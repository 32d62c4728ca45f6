"""The groups of a finished store: their metadata files, written when all pixels are, the root's last."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ngff_convert import ngff, ngff_label, ngff_plate
from ngff_convert.errors import VerificationError, WriteError
from ngff_convert.journal import UNFINISHED
from ngff_convert.sink import Sink, forget_arrays
from ngff_convert.storage import at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ngff_convert.display import Window
    from ngff_convert.ngff import Attributes
    from ngff_convert.storage import Writable
    from ngff_convert.write_plan import Decided


MAX_TOLD = 100
"""Where there are more images, only the first and the last say of which images the store is made."""


def sink(storage: Writable, item: Decided, *, flush: bool = False, mark: str = "") -> Sink:
    """Return where the pixels of an image of a store go; `flush` and `mark` as `Sink` has them."""
    plan = item.plan
    return Sink(storage, item.folder, plan.ngff_version, plan.axes, plan.workers, flush, mark)


@contextmanager
def sinks(
    storage: Writable, decided: Sequence[Decided], *, flush: bool = False, mark: str = ""
) -> Iterator[list[Sink]]:
    """Yield where the pixels of each image of a store go; their arrays are forgotten at the end."""
    try:
        yield [sink(storage, item, flush=flush, mark=mark) for item in decided]
    finally:
        forget_arrays()


def documents(
    decided: Sequence[Decided], windows: Sequence[Sequence[Window]], xml: str | None
) -> dict[str, str]:
    """Return every file of the store that is not an array's: path -> content, the root's last.

    Parameters
    ----------
    decided
        The images.
    windows
        For each image, the display window of each channel.
    xml
        What the sidecar holds; None leaves it out.
    """
    version = decided[0].plan.ngff_version
    images = [item for item in decided if item.label_of is None]
    folders = [item.folder for item in images if item.folder]
    found: dict[str, str] = {}
    if xml is not None:
        found["OME/METADATA.ome.xml"] = xml
    if folders or xml is not None:
        found |= _group("OME/", version, ngff.ome_group_attributes(version, folders))
    for item in decided:
        if item.label_of is not None:
            found |= _group(f"{item.folder}/" if item.folder else "", version, ngff_label.attributes(item))
    for folder, names in ngff_label.listed(decided).items():
        found |= _group(f"{folder}/", version, ngff.labels_attributes(version, names))
    numbers = [item.number for item in images]
    told = {0, len(images) - 1} if len(images) > MAX_TOLD else set(range(len(images)))
    for index, (item, limits) in enumerate(zip(images, windows, strict=False)):  # images come first
        prefix = f"{item.folder}/" if item.folder else ""
        attributes = ngff.image_attributes(
            item.image,
            item.plan,
            limits,
            number=item.number,
            crop=item.crop,
            chosen=numbers if index in told else (),
        )
        found |= _group(prefix, version, attributes)
    if fields := ngff_plate.fields_of(decided):
        for path, keys in ngff_plate.groups(version, fields).items():
            prefix = f"{path}/" if path else ""
            found |= _group(prefix, version, ngff.enveloped(version, keys) if keys else {})
    elif folders:
        found |= _group("", version, ngff.collection_attributes(version))
    return found


def _group(prefix: str, version: str, attributes: Attributes) -> dict[str, str]:
    return {
        prefix + name: json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        for name, document in ngff.group_documents(version, attributes).items()
    }


def write(storage: Writable, files: dict[str, str]) -> None:
    """Write the files of `documents`; what an earlier, interrupted run left of ``OME`` goes.

    Raises
    ------
    WriteError
        One of them cannot be written.
    """
    path = "OME"
    try:
        storage.remove(path)
        for path, content in files.items():
            storage.write(path, content.encode())
    except OSError as error:
        raise WriteError(
            f"{at(storage, path)}: cannot be written: {error.strerror}; "
            "mend that and run the same command again"
        ) from error


def check(storage: Writable, decided: Sequence[Decided], files: dict[str, str]) -> None:
    """Read every group and open every level anew, and hold them against what was decided.

    Raises
    ------
    VerificationError
        What is stored is not what was decided.
    """
    for name, content in files.items():
        if storage.read(name, len(content.encode())) != content.encode():
            raise VerificationError(f"{at(storage, name)}: is not what was written; is the disk sound?")
    with sinks(storage, decided) as found:
        for item, levels in zip(decided, found, strict=True):
            levels.check(item.plan)


def stored_bytes(storage: Writable, decided: Sequence[Decided]) -> dict[str, int]:
    """Return the bytes of all files of each level by its path, and of everything by ``""``.

    Nothing where sizes are not known, as in a bucket.
    """
    if not storage.is_local:
        return {}
    levels = {f"{d.folder}/{number}".lstrip("/") for d in decided for number in range(len(d.plan.levels))}
    depths = sorted({path.count("/") + 1 for path in levels})
    sizes = dict.fromkeys(["", *sorted(levels)], 0)
    for entry in storage.walk("", into=lambda names: not names[0].startswith(UNFINISHED)):
        if not entry.names[0].startswith(UNFINISHED):
            sizes[""] += entry.n_bytes or 0
            level = next(
                (path for path in ("/".join(entry.names[:n]) for n in depths) if path in levels), None
            )
            if level is not None:
                sizes[level] += entry.n_bytes or 0
    return sizes
