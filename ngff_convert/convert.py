"""The conversion, step by step: open, decide, write pixels region by region, then metadata, then commit."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert import copied, events, label_sources, labels, layout, machine, overrides, plan, resume
from ngff_convert.errors import OptionError, ReadError, VerificationError
from ngff_convert.options import SHARES, Options
from ngff_convert.readers import registry
from ngff_convert.readers.contract import addressed, located, name_in
from ngff_convert.story import Story
from ngff_convert.write_plan import Decided, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ngff_convert.display import Window
    from ngff_convert.engine import Engine
    from ngff_convert.events import Observer
    from ngff_convert.journal import Noted
    from ngff_convert.plan import Resources
    from ngff_convert.readers.contract import Source
    from ngff_convert.storage import Writable
    from ngff_convert.targets import Place

MANY_FILES = "files"
"""The reader that takes a list of files."""

Deciding: TypeAlias = "Callable[[Source, Options, str], tuple[Decided, ...]]"

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
        `axes`, `shape`, `files_from` and `dataset`, as `Options` has them.

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
    path = addressed(path, options.storage_options)
    reader = registry.pick(path, options.reader or (MANY_FILES if options.files_from else None))
    reading = options.reading
    for field in fields(reading):
        if getattr(reading, field.name) != field.default and field.name not in reader.settings:
            raise OptionError(
                f"--{field.name.replace('_', '-')}: the reader {reader.name}, which opens {path}, "
                "does not take it"
            )
    return label_sources.attached(reader.open(path, reading), options)


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
    placed = layout.placed(source.images, options, name)
    some_native = options.pyramid == "native" and any(item.original.native_levels for item in placed)
    decided = []
    of_labels: list[Decided] = []
    for item in placed:
        own = options
        if some_native and not item.original.native_levels:  # such as the label of a slide
            own = replace(options, pyramid="build", levels=1)
        write_plan = plan.build(item.image, own, available, copied.copies(item.image, own))
        crop = overrides.crop_of(item.image)
        decided.append(Decided(item.image, write_plan, item.folder, item.number, crop))
        of_labels += labels.decided(decided[-1], item.original, options, available)
    return (*decided, *of_labels)


def name_of(source: str | os.PathLike[str]) -> str:
    """Return what an image is called that has no name of its own: the input's name without its endings.

    Examples
    --------
    >>> name_of("data/cells.v2.ome.tif"), name_of("run 7/"), name_of("https://host/my%20cells.ims?key=1")
    ('cells.v2', 'run 7', 'my cells')
    """
    path = Path(name_in(os.fspath(source)))
    stem = path.name if os.path.isdir(source) else path.stem  # noqa: PTH112 - never raises
    return stem.removesuffix(".zarr").removesuffix(".ome").removesuffix(".companion")


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
    return carry_out(source, target, options or Options(), observer)


def carry_out(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: Options,
    observer: Observer,
    *,
    parts: int = 0,
    deciding: Deciding = decide,
) -> Report:
    """Do what `convert` promises; with `parts`, what is still to be done of a conversion begun in so many."""
    from ngff_convert.targets import target_of

    path = os.fspath(source)
    if options.is_spread:  # other processes are in other folders
        path, target, options = elsewhere(path, target, options)
    story = Story(observer)
    with target_of(target, options) as place:
        with opened_for(place, path, options) as (opened, files), _engine(options, story) as engine:
            work = begin(
                place, path, opened, files, options, engine.resources, story, parts=parts, deciding=deciding
            )
            try:
                windows = _write_pixels(place, work, options, engine, story)
            except OptionError:  # a value does not fit: going on with these options will never help
                place.abandon()
                raise
            _verify(place, path, work.decided, len(opened.images), options, story)
        place.make_ready(sweep=work.again or engine.repeats)
        decided = labels.coloured(work.decided, work.journal, story)
        _write_metadata(place.storage, decided, windows, options, story)
        report = story.report(place, work.decided, tuple(opened.missing))
        place.commit()
        story(events.Finished(report))
        place.tidy()
    return report


def elsewhere(
    source: str | os.PathLike[str], target: str | os.PathLike[str], options: Options
) -> tuple[str, str, Options]:
    """Return the names of input, output and a list of files as other processes can use them."""
    from ngff_convert.targets import is_bucket

    if options.files_from is not None:
        options = replace(options, files_from=os.path.abspath(options.files_from))  # noqa: PTH100
    out = os.fspath(target)
    return (
        located(os.fspath(source), options.storage_options),
        out if is_bucket(out) else os.path.abspath(out),  # noqa: PTH100
        label_sources.elsewhere(options),
    )


@contextmanager
def opened_for(
    place: Place, path: str, options: Options
) -> Iterator[tuple[Source, Sequence[resume.FileFacts]]]:
    """Open the input of a conversion into a place; yields it, and what tells that its files stay the same.

    Raises
    ------
    ReadError
        A file of the input was changed between the beginning and the end of the block.
    TargetError
        The output may not be made in that place.
    """
    place.check(path)
    before = os.stat(path) if os.path.isfile(path) else None  # noqa: PTH113, PTH116 - never raise
    with open_with(path, options) as opened:
        for folder in {os.path.dirname(name) for name in opened.paths}:  # noqa: PTH120 - may be many
            place.check(folder)
        files = [resume.facts(name) for name in opened.paths]
        resume.check_as_opened(path, before, files)
        yield opened, files
        resume.check_unchanged(files)


@contextmanager
def _engine(options: Options, story: Story) -> Iterator[Engine]:
    """Start what runs the jobs."""
    if options.is_spread:
        from ngff_convert import cluster

        with cluster.started(options, story) as engine:
            yield engine
    else:
        from ngff_convert.engine import Threads

        yield Threads(machine.resources())


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done.

    Attributes
    ----------
    decided
        The images.
    journal
        Where it is noted what is done of it.
    again
        Whether an earlier run has begun it.
    """

    decided: tuple[Decided, ...]
    journal: Noted
    again: bool


def begin(
    place: Place,
    source: str,
    opened: Source,
    files: Sequence[resume.FileFacts],
    options: Options,
    machine_has: Resources,
    story: Story,
    *,
    parts: int = 0,
    deciding: Deciding = decide,
) -> Work:
    """Decide everything, and make the partial store or take up the one that is there."""
    now = resume.wanted(options, machine_has)
    first = resume.earlier(place.left(), now)  # regions are those of the earlier run, if there was one
    planned = deciding(opened, replace(options, **asdict(first)), name_of(source))
    _tell(story, source, opened, planned, options)
    begun = resume.begun(files, tuple(opened.missing), options, first, planned, parts)
    again = place.begin(begun)
    journal = place.journal(place.mark, flush=parts > 0 or options.fsync == "region")
    journal.create()
    if again and not parts:
        story(events.Note(f"{place.partial}: an unfinished conversion is taken up"))
    return Work(resume.fitted(planned, now), journal, again)


def _tell(
    observe: Observer,
    source: str,
    opened: Source,
    decided: Sequence[Decided],
    options: Options,
) -> None:
    """Say what is odd about the input, and refuse what is missing unless it is to be filled."""
    refuse_missing(source, opened, options)
    for message in (
        *opened.warnings,
        *opened.missing,
        *layout.remarks(decided, options),
        *_remarks(decided),
    ):
        observe(events.Note(message))


def refuse_missing(source: str, opened: Source, options: Options) -> None:
    """Refuse an input of which something is missing, unless it is to be filled."""
    if opened.missing and options.on_error == "stop":
        raise ReadError(
            f"{source}: {'; '.join(opened.missing)}; "
            "bring what is missing, or use --on-error fill to go on without it"
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


def _write_pixels(
    place: Place, work: Work, options: Options, engine: Engine, story: Story
) -> list[tuple[Window, ...]]:
    """Write all levels of all images but what is there already; return the display windows of each image."""
    from ngff_convert import passes, store

    decided, journal = work.decided, work.journal
    again, fills = work.again or engine.repeats, options.on_error == "fill"
    workers = passes.at_once(decided)
    with store.sinks(place.storage, decided, flush=journal.flush, mark=journal.mark) as sinks:
        todo = [
            passes.tasks(number, item, sink, fills=fills, again=again)
            for number, (item, sink) in enumerate(zip(decided, sinks, strict=True))
        ]
        kept = passes.kept(todo, passes.journalled(journal), workers)
        for number, (item, known) in enumerate(zip(decided, kept, strict=True)):
            total, kept_bytes = item.plan.read_bytes, sum(there.read_bytes for there in known)
            story(events.ImageStarted.of(decided, number, total, kept_bytes))
            for there in known:
                story.keep(there.read_bytes, there.filled)
        passes.run_all(decided, todo, kept, engine, journal, story)
        return passes.windows(decided, sinks, workers)


def _verify(
    place: Place, source: str, decided: Sequence[Decided], n_images: int, options: Options, story: Story
) -> None:
    """Hold the store against its source, before it gets its name."""
    if options.verify == "none":
        return
    from ngff_convert import compare

    verification = compare.verify_images(
        place.storage,
        decided,
        source=source,
        share=SHARES[options.verify],
        fills=options.on_error == "fill",
        of_images=n_images,
        observe=story,
    )
    verification = replace(verification, store=str(place.path))
    story(events.Verified(verification))
    if not verification.passed:
        raise VerificationError(
            f"{place.partial}: {verification.summary}: the output is not made; "
            "is the disk or the memory sound? use --restart to begin anew"
        )


def _write_metadata(
    storage: Writable,
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

        described = [(item.image, item.plan) for item in decided if item.label_of is None]
        noted: list[str] = []
        try:
            xml = omexml.build(described, noted, original_metadata=options.original_metadata)
        except omexml.PixelTypeError as error:
            noted.append(str(error))
        for line in noted:
            observe(events.Note(line))
    files = store.documents(decided, windows, xml)
    store.write(storage, files)
    store.check(storage, decided, files)
