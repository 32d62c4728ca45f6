"""The conversion, step by step: open, decide, write pixels region by region, then metadata, then commit."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ngff_convert import events, machine, overrides, plan
from ngff_convert.errors import OptionError, ReadError, WriteError
from ngff_convert.model import Report
from ngff_convert.options import Options
from ngff_convert.readers import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.events import Observer
    from ngff_convert.model import Image, WritePlan
    from ngff_convert.ngff import Attributes, Window
    from ngff_convert.readers.contract import Source

_WIDE = ("float64", "int64", "uint64")


@dataclass(frozen=True, slots=True)
class Decided:
    """One image as it will be written, and everything decided about it.

    Attributes
    ----------
    image
        Cropped and with every override applied.
    plan
        How it is written.
    folder
        Where its group is in the store: ``""`` is the root.
    """

    image: Image
    plan: WritePlan
    folder: str


def open_source(path: str | os.PathLike[str], reader: str | None = None) -> Source:
    """Open a microscopy file.

    Parameters
    ----------
    path
        The file.
    reader
        Name of the reader to use; None picks by the file's content.

    Returns
    -------
    Source
        A context manager; `images` holds every image of the file, each with its level 0 as a lazy dask
        array `data` of axes t, c, z, y, x.

    Raises
    ------
    ReadError
        The file is missing, damaged or truncated.
    UnsupportedInput
        No reader handles it.
    """
    path = os.fspath(path)
    return registry.pick(path, reader).open(path)


def decide(source: Source, options: Options, name: str) -> tuple[Decided, ...]:
    """Decide how every chosen image is written; nothing is read but metadata, and nothing is written.

    Parameters
    ----------
    source
        The open file.
    options
        What is not to be done by default.
    name
        What an image is called that has no name of its own; several get a number too.

    Raises
    ------
    OptionError
        An option does not fit the images.
    MemoryBudgetError
        No plan fits the memory given.
    """
    available = machine.resources()
    chosen = _chosen(source.images, options)
    single = options.layout == "single" or (options.layout == "auto" and len(chosen) == 1)
    if options.layout == "single" and len(chosen) > 1:
        raise OptionError(
            f"--layout single takes one image, but {len(chosen)} are to be written: choose one with --images"
        )
    decided = []
    for number, original in enumerate(chosen):
        image = overrides.apply(original, options)
        if not image.name:
            image = replace(image, name=name if len(chosen) == 1 else f"{name} {number}")
        decided.append(Decided(image, plan.build(image, options, available), "" if single else str(number)))
    return tuple(decided)


def _chosen(images: Sequence[Image], options: Options) -> list[Image]:
    numbers = range(len(images)) if options.images is None else options.images
    outside = [number for number in numbers if not 0 <= number < len(images)]
    if outside or not numbers:
        raise OptionError(f"--images {outside or ''}: the input has images 0 to {len(images) - 1}")
    return [images[number] for number in numbers]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: Options | None = None,
    observer: Observer = events.ignore,
) -> Report:
    """Convert a microscopy file to OME-Zarr.

    The output appears under its name only when it is whole.

    Parameters
    ----------
    source
        The input file.
    target
        The output folder, by custom ``NAME.ome.zarr``.
    options
        What is not to be done by default.
    observer
        Is called with each event, in this thread.

    Returns
    -------
    Report
        What was done.

    Raises
    ------
    ConversionError
        One of the errors of `ngff_convert.errors`, by what went wrong.

    Examples
    --------
    >>> from ngff_convert import Codec, Options, convert
    >>> report = convert("in.ims", "out.ome.zarr", Options(codec=Codec("zstd")))  # doctest: +SKIP
    """
    options = options or Options()
    from ngff_convert.commit import Target

    started = time.monotonic()
    notes: list[str] = []
    read_bytes = written_bytes = 0

    def observe(event: events.Event) -> None:
        nonlocal read_bytes, written_bytes
        if isinstance(event, events.Note):
            notes.append(event.message)
        if isinstance(event, events.RegionDone):
            read_bytes += event.read_bytes
            written_bytes += event.written_bytes
        observer(event)

    place = Target(Path(target), options.overwrite)
    place.check(os.fspath(source))
    with open_source(source, options.reader) as opened:
        decided = decide(opened, options, Path(source).stem)
        for message in (*opened.warnings, *_remarks(decided)):
            observe(events.Note(message))
        if place.begin(_digest(source, decided), {"plans": [d.plan.to_json() for d in decided]}):
            observe(
                events.Note(f"{place.partial}: taking up an unfinished conversion; its regions are redone")
            )
        windows = [_write_pixels(place.partial, number, decided, observe) for number in range(len(decided))]
    _write_metadata(place.partial, decided, windows, options, observe)
    _check(place.partial, decided)
    place.finish()
    report = Report(
        target=str(place.path),
        plans=tuple(d.plan for d in decided),
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        stored_bytes=_stored_bytes(place.path, decided),
        seconds=time.monotonic() - started,
        warnings=tuple(notes),
    )
    observe(events.Finished(report))
    return report


def _remarks(decided: Sequence[Decided]) -> list[str]:
    """Return what the user should know about the plans before they are carried out."""
    remarks = []
    for item in decided:
        if item.plan.dtype in _WIDE:
            remarks.append(
                f"{item.plan.dtype} pixels are kept as they are, but web viewers refuse them; "
                "--dtype converts them"
            )
        twice = max(step.decoded_twice for step in item.plan.passes)
        if twice > 0.05:
            remarks.append(f"regions cut across the source's chunks: {twice:.0%} of them are decoded again")
    return list(dict.fromkeys(remarks))


def _digest(source: str | os.PathLike[str], decided: Sequence[Decided]) -> str:
    """Name what will be written by the plans and by the input's path, size and time of change."""
    try:
        status = Path(source).stat()
    except OSError as error:
        raise ReadError(f"{source}: cannot be read: {error.strerror}") from error
    facts = [str(Path(source).resolve()), status.st_size, status.st_mtime_ns]
    facts += [[item.folder, item.plan.digest] for item in decided]
    return sha256(json.dumps(facts).encode()).hexdigest()


# -- pixels ------------------------------------------------------------------------------------------------


def _write_pixels(
    store: Path, number: int, decided: Sequence[Decided], observe: Observer
) -> tuple[Window, ...]:
    """Write all levels of one image and return its channels' display windows."""
    from ngff_convert import display, engine
    from ngff_convert.region import PassTask
    from ngff_convert.sink import Sink

    item = decided[number]
    image, decision = item.image, item.plan
    observe(events.ImageStarted(number, len(decided), image.name, decision))
    sink = Sink(str(store / item.folder), decision.ngff_version, decision.axes, decision.workers)
    try:
        sink.create(decision)
        for step in decision.passes:
            native = (
                image.native_levels[step.read_level - 1].pixels if step.native and step.read_level else None
            )
            task = PassTask(step, native or image.pixels, sink, decision.dtype, decision.method)
            for done in engine.run(task, step.n_regions, decision.workers):
                observe(done)
        return display.windows(image, decision, sink)
    finally:
        sink.close()


# -- metadata ----------------------------------------------------------------------------------------------


def _write_metadata(
    store: Path,
    decided: Sequence[Decided],
    windows: Sequence[Sequence[Window]],
    options: Options,
    observe: Observer,
) -> None:
    """Write every group, the root last."""
    from ngff_convert import ngff, omexml

    version = options.ngff_version
    folders = [item.folder for item in decided if item.folder]
    if options.ome_xml:
        described = [(item.image, item.plan) for item in decided]
        try:
            xml = omexml.build(described, original_metadata=options.original_metadata)
        except omexml.PixelTypeError as error:
            observe(events.Note(f"OME/METADATA.ome.xml is left out: {error}"))
        else:
            _write(store / "OME" / "METADATA.ome.xml", xml)
    if folders or options.ome_xml:
        _write_group(store / "OME", version, ngff.ome_group_attributes(version, folders))
    for item, limits in zip(decided, windows, strict=True):
        attributes = ngff.image_attributes(item.image, item.plan, limits)
        _write_group(store / item.folder, version, attributes)
    if folders:
        _write_group(store, version, ngff.collection_attributes(version))


def _write_group(folder: Path, version: str, attributes: Attributes) -> None:
    from ngff_convert import ngff

    for name, document in ngff.group_documents(version, attributes).items():
        _write(folder / name, json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{path}: cannot write: {error.strerror}") from error


def _check(store: Path, decided: Sequence[Decided]) -> None:
    """Open every level anew and hold it against the plan.

    Raises
    ------
    VerificationError
        What is stored is not what was decided.
    """
    from ngff_convert.sink import Sink

    for item in decided:
        sink = Sink(str(store / item.folder), item.plan.ngff_version, item.plan.axes, item.plan.workers)
        try:
            sink.check(item.plan)
        finally:
            sink.close()


def _stored_bytes(store: Path, decided: Sequence[Decided]) -> dict[str, int]:
    levels = [f"{d.folder}/{number}".lstrip("/") for d in decided for number in range(len(d.plan.levels))]
    return {path: _bytes(store / path) for path in ("", *levels)}


def _bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    with os.scandir(folder) as entries:
        return sum(_bytes(Path(e)) if e.is_dir() else e.stat().st_size for e in entries)
