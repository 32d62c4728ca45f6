"""The conversion, step by step: open, decide, write pixels region by region, then metadata, then commit."""

from __future__ import annotations

import json
import os
import time
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngff_convert import events, machine, overrides, plan
from ngff_convert.errors import OptionError, ReadError
from ngff_convert.model import Decided, Report
from ngff_convert.options import Options
from ngff_convert.readers import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.display import Window
    from ngff_convert.events import Observer
    from ngff_convert.model import Image
    from ngff_convert.readers.contract import Source

MANY_FILES = "files"
"""The reader that takes a list of files."""

_WIDE = ("float64", "int64", "uint64")


def open_source(path: str | os.PathLike[str], reader: str | None = None, **wishes: Any) -> Source:  # noqa: ANN401
    """Open a microscopy file, or several that make up images.

    Parameters
    ----------
    path
        The file; or a folder, or a pattern of file names such as ``"t{t}_c{c}.tif"``.
    reader
        Name of the reader to use; None picks by the file's content.
    wishes
        `axes`, `shape` and `files_from`, as `Options` has them.

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
    OptionError
        The reader does not follow a wish, or the input does not fit it.
    """
    return open_with(os.fspath(path), Options(reader=reader, **wishes))


def open_with(path: str, options: Options) -> Source:
    """Open an input as the options say; raises what `open_source` does."""
    reader = registry.pick(path, options.reader or (MANY_FILES if options.files_from else None))
    reading = options.reading
    for field in fields(reading):
        if getattr(reading, field.name) != field.default and field.name not in reader.settings:
            raise OptionError(
                f"--{field.name.replace('_', '-')}: the reader {reader.name}, which opens {path}, "
                "does not take it"
            )
    return reader.open(path, reading)


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
    some_native = options.pyramid == "native" and any(image.native_levels for image in chosen)
    for number, original in enumerate(chosen):
        image = overrides.apply(original, options)
        own = options
        if some_native and not original.native_levels:  # such as the label of a slide
            own = replace(options, pyramid="build", levels=1)
        if not image.name:
            image = replace(image, name=name if len(chosen) == 1 else f"{name} {number}")
        decided.append(Decided(image, plan.build(image, own, available), "" if single else str(number)))
    return tuple(decided)


def name_of(source: str | os.PathLike[str]) -> str:
    """Return what an image is called that has no name of its own: the input's name without its endings.

    Examples
    --------
    >>> name_of("data/cells.v2.ome.tif"), name_of("run 7/")
    ('cells.v2', 'run 7')
    """
    path = Path(source)
    stem = path.name if os.path.isdir(path) else path.stem  # noqa: PTH112 - never raises
    return stem.removesuffix(".ome").removesuffix(".companion")


def _chosen(images: Sequence[Image], options: Options) -> list[Image]:
    numbers = range(len(images)) if options.images is None else options.images
    outside = [number for number in numbers if not 0 <= number < len(images)]
    if outside or not numbers:
        wanted = ",".join(map(str, outside))
        raise OptionError(f"--images {wanted}: the input has images 0 to {len(images) - 1}")
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
    from ngff_convert.commit import Target

    options = options or Options()
    with Target(Path(target), options.overwrite) as place:
        place.check(os.fspath(source))
        with open_with(os.fspath(source), options) as opened:
            for folder in {os.path.dirname(path) for path in opened.paths}:  # noqa: PTH120 - may be many
                place.check(folder)
            decided = decide(opened, options, name_of(source))
            story = _Story(observer)
            missing = tuple(opened.missing)
            if missing and options.on_error == "stop":
                raise ReadError(
                    f"{source}: {'; '.join(missing)}; "
                    "bring what is missing, or use --on-error fill to go on without it"
                )
            for message in (*opened.warnings, *missing, *_remarks(decided)):
                story(events.Note(message))
            if place.begin(_digest(opened.paths, decided), {"plans": [d.plan.to_json() for d in decided]}):
                story(
                    events.Note(
                        f"{place.partial}: an unfinished conversion is taken up; its regions are redone"
                    )
                )
            try:
                windows = [
                    _write_pixels(place.partial, number, decided, story) for number in range(len(decided))
                ]
            except OptionError:  # a value does not fit: going on with these options will never help
                place.abandon()
                raise
        _write_metadata(place.partial, decided, windows, options, story)
        place.finish()
        report = story.report(place.path, decided, missing)
    story(events.Finished(report))
    return report


class _Story:
    """Hands events on to the observer, and keeps what the report is made of."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._started = time.monotonic()
        self._notes: list[str] = []
        self._read_bytes = self._written_bytes = 0

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Note):
            self._notes.append(event.message)
        if isinstance(event, events.RegionDone):
            self._read_bytes += event.read_bytes
            self._written_bytes += event.written_bytes
        self._observer(event)

    def report(self, path: Path, decided: Sequence[Decided], filled: tuple[str, ...]) -> Report:
        from ngff_convert import store

        return Report(
            target=str(path),
            plans=tuple(d.plan for d in decided),
            read_bytes=self._read_bytes,
            written_bytes=self._written_bytes,
            stored_bytes=store.stored_bytes(path, decided),
            seconds=time.monotonic() - self._started,
            warnings=tuple(self._notes),
            filled=filled,
        )


def _remarks(decided: Sequence[Decided]) -> list[str]:
    """Return what the user should know about the plans before they are carried out."""
    remarks = []
    for item in decided:
        if item.plan.dtype in _WIDE and item.plan.dtype == item.image.pixels.dtype.name:
            remarks.append(
                f"{item.plan.dtype} pixels are kept as they are, but web viewers refuse them; "
                "--dtype converts them"
            )
        twice = max(step.decoded_twice for step in item.plan.passes)
        if twice > 0.05:
            remarks.append(
                f"regions cut across the source's chunks: {twice:.0%} of them are decoded again; "
                "more --memory, or no --chunks, may spare that"
            )
    return list(dict.fromkeys(remarks))


def _digest(paths: Sequence[str], decided: Sequence[Decided]) -> str:
    """Name what will be written by the plans and by each input file's path, size and time of change."""
    facts: list[Any] = []
    folders: dict[str, str] = {}  # files may be many, and their folders are few
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            raise ReadError(f"{path}: cannot be read: {error.strerror}") from error
        real = os.path.realpath(path) if os.path.islink(path) else f"{folders[folder]}/{name}"  # noqa: PTH114
        facts.append([real, status.st_size, status.st_mtime_ns])
    facts += [[item.folder, item.plan.digest] for item in decided]
    return sha256(json.dumps(facts).encode()).hexdigest()


def _write_pixels(
    partial: Path, number: int, decided: Sequence[Decided], observe: Observer
) -> tuple[Window, ...]:
    """Write all levels of one image and return its channels' display windows."""
    from ngff_convert import display, engine, store
    from ngff_convert.region import PassTask

    item = decided[number]
    image, decision = item.image, item.plan
    observe(events.ImageStarted(number, len(decided), image.name, decision))
    levels = (image.pixels, *(level.pixels for level in image.native_levels))
    with store.sink(partial, item) as sink:
        sink.create(decision)
        for step in decision.passes:
            pixels = levels[step.read_level] if step.native else None
            task = PassTask(step, pixels, sink, decision.dtype, decision.method)
            for done in engine.run(task, step.n_regions, decision.workers):
                observe(done)
        return display.windows(image, decision, sink)


def _write_metadata(
    partial: Path,
    decided: Sequence[Decided],
    windows: Sequence[Sequence[Window]],
    options: Options,
    observe: Observer,
) -> None:
    """Write every group, and hold the whole store against what was decided."""
    from ngff_convert import store

    xml = None
    if options.ome_xml:
        from ngff_convert import omexml

        described = [(item.image, item.plan) for item in decided]
        noted: list[str] = []
        try:
            xml = omexml.build(described, noted, original_metadata=options.original_metadata)
        except omexml.PixelTypeError as error:
            noted.append(str(error))
        for line in noted:
            observe(events.Note(line))
    files = store.documents(decided, windows, xml)
    store.write(partial, files)
    store.check(partial, decided, files)
