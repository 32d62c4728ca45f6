"""The passes over images: what is still to be done of each, done by an engine and noted in the journal.

A pass is of all images together: their regions are one sequence of jobs, so that images of one region each
keep all processors busy, and only between passes is anything waited for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ngff_convert import display, engine, events
from ngff_convert.copying import Copying
from ngff_convert.region import PassTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ngff_convert.display import Window
    from ngff_convert.engine import Engine, Work
    from ngff_convert.events import Observer, RegionDone
    from ngff_convert.journal import Noted
    from ngff_convert.model import PixelArray
    from ngff_convert.sink import Sink
    from ngff_convert.write_plan import Decided, Pass


@dataclass(slots=True)
class Journalled:
    """What the journal says of one pass.

    Attributes
    ----------
    flushed
        Regions whose pixels were on the disk, with the bytes that were read for each; nothing of them was
        filled.
    unsure
        Those of which only the pixels can tell: what was filled may have been read well by another run.
    """

    flushed: dict[int, int] = field(default_factory=dict)
    unsure: list[RegionDone] = field(default_factory=list)


_Place: TypeAlias = tuple[int, int, int]
"""Numbers of an image, of a pass, of a region."""

Journalling: TypeAlias = "Mapping[tuple[int, int], Journalled]"
"""By the numbers of the image and of the pass."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier run has done of one pass.

    Attributes
    ----------
    regions
        Their numbers.
    read_bytes
        What was read for them.
    filled
        What of it was filled.
    """

    regions: frozenset[int]
    read_bytes: int
    filled: tuple[str, ...]


def tasks(number: int, item: Decided, sink: Sink, *, fills: bool, again: bool) -> list[PassTask]:
    """Return what is to be done for each pass of an image.

    Parameters
    ----------
    number
        Of the image among those that are written.
    item
        The image and its plan.
    sink
        Where its levels are written.
    fills
        Whether source chunks that cannot be read are filled with 0.
    again
        Whether another run may have left something of a region.
    """
    levels = item.image.levels
    return [
        PassTask(
            image=number,
            number=at,
            step=step,
            pixels=levels[step.read_level] if step.native else None,
            sink=sink,
            dtype=item.plan.dtype,
            method=item.plan.method,
            again=again,
            fills=fills,
            copying=_copying(item, step, levels, sink),
            is_label=item.label_of is not None,
        )
        for at, step in enumerate(item.plan.passes)
    ]


def _copying(item: Decided, step: Pass, levels: Sequence[PixelArray], sink: Sink) -> Copying | None:
    """Return what copies the first level of a pass; None where its chunks are made."""
    number = step.write_levels[0]
    level = item.plan.levels[number]
    if level.copied is None:
        return None
    return Copying(levels[number], sink, number, level.copied, level.chunks)


def journalled(journal: Noted) -> Journalling:
    """Return what the journal says, pass by pass."""
    found: dict[tuple[int, int], Journalled] = {}
    for done, flushed in journal.finished():
        entries = found.setdefault((done.image, done.step), Journalled())
        if flushed and not done.filled:
            entries.flushed[done.region] = done.read_bytes
        else:
            entries.unsure.append(done)
    return found


def kept(todo: Sequence[Sequence[PassTask]], entries: Journalling, workers: int) -> list[list[Kept]]:
    """Return for each pass of each image what need not be done again.

    What was filled is read again where that is to end the conversion; and what was made of it in later
    passes of the image is made again.
    """
    intact = _intact([task for tasks in todo for task in tasks], entries, workers)
    return [_kept(tasks, entries, intact) for tasks in todo]


def _kept(todo: Sequence[PassTask], entries: Journalling, looked: Mapping[_Place, RegionDone]) -> list[Kept]:
    found: list[Kept] = []
    stale = False
    for task in todo:
        known = Journalled() if stale else entries.get((task.image, task.number), Journalled())
        flushed = {n: size for n, size in known.flushed.items() if n < task.step.n_regions}
        places = {done.region: _place(done) for done in known.unsure}
        intact = {region: looked[place] for region, place in places.items() if place in looked}
        stale = stale or any(done.filled and intact.get(done.region) != done for done in known.unsure)
        found.append(
            Kept(
                frozenset(flushed) | frozenset(intact),
                sum(flushed.values()) + sum(done.read_bytes for done in intact.values()),
                tuple(line for done in intact.values() for line in done.filled),
            )
        )
    return found


def _place(done: RegionDone) -> _Place:
    return done.image, done.step, done.region


def _intact(todo: Sequence[PassTask], entries: Journalling, workers: int) -> dict[_Place, RegionDone]:
    """Return the regions, of those only the pixels can tell of, whose pixels have their checksum."""

    def look(wanted: tuple[PassTask, RegionDone]) -> RegionDone | None:
        task, done = wanted
        return done if task.intact(done) else None

    unsure = (
        (task, done)
        for task in todo
        if (known := entries.get((task.image, task.number)))
        for done in known.unsure
        if done.region not in known.flushed
        and done.region < task.step.n_regions
        and (task.fills or not done.filled)
    )
    return {_place(done): done for done in engine.run(look, unsure, workers) if done is not None}


def run(work: Work[int, RegionDone], workers: int, runs: Engine, journal: Noted, observe: Observer) -> None:
    """Do regions of passes that need not wait for each other, and note each in the journal as it is done."""
    try:
        for done in runs.run(work, workers):
            journal.record(done)
            observe(done)
    finally:
        journal.settle()


def run_all(
    decided: Sequence[Decided],
    todo: Sequence[Sequence[PassTask]],
    there: Sequence[Sequence[Kept]],
    runs: Engine,
    journal: Noted,
    observe: Observer,
) -> None:
    """Do what is missing of every pass, one after another, each of all images together.

    Parameters
    ----------
    decided
        The images.
    todo, there
        For each of them its passes, and what need not be done again of each.
    runs
        Does the regions.
    journal
        Where each is noted.
    observe
        Is called with each event.
    """
    for number in range(max(map(len, todo))):
        images = [
            (item, tasks[number], kept[number])
            for item, tasks, kept in zip(decided, todo, there, strict=True)
            if number < len(tasks)
        ]
        _run_pass(images, at_once(decided), runs, journal, observe)


def _run_pass(
    images: Sequence[tuple[Decided, PassTask, Kept]],
    workers: int,
    runs: Engine,
    journal: Noted,
    observe: Observer,
) -> None:
    """Do what is missing of a pass of images; their arrays are made as it is their turn."""
    left: dict[int, int] = {}

    def work() -> Iterator[tuple[PassTask, Sequence[int]]]:
        for item, task, there in images:
            if task.number == 0:
                task.sink.create(item.plan)
            left[task.image] = task.step.n_regions - len(there.regions)
            if not left[task.image]:
                _tell_levels(task, item, observe)
            yield task, missing(task, there.regions)

    def watch(done: events.Event) -> None:
        observe(done)
        if isinstance(done, events.RegionDone):
            left[done.image] -= 1
            if not left[done.image]:
                item, task, _ = by_image[done.image]
                _tell_levels(task, item, observe)

    by_image = {task.image: (item, task, there) for item, task, there in images}
    run(work(), workers, runs, journal, watch)


def at_once(decided: Sequence[Decided]) -> int:
    """Return how many regions of any images may be in work at once: as the largest have room."""
    return min(item.plan.workers for item in decided)


def windows(
    decided: Sequence[Decided], sinks: Sequence[display.Levels], workers: int
) -> list[tuple[Window, ...]]:
    """Return the display windows of each image, whose levels are all written.

    Of chunks that were copied undecoded the source is asked, so that damage is told as the source's.
    """

    def look(number: int) -> tuple[int, tuple[Window, ...]]:
        item = decided[number]
        if item.label_of is not None:  # it has colours of values instead
            return number, ()
        is_copied = item.plan.levels[-1].copied is not None
        levels = display.SourceLevels(item.image) if is_copied else sinks[number]
        return number, display.windows(item.image, item.plan, levels)

    found = dict(engine.run(look, range(len(decided)), workers))
    return [found[number] for number in range(len(decided))]


def missing(task: PassTask, there: frozenset[int], regions: range | None = None) -> Sequence[int]:
    """Return the regions that are still to be done, of all or of some."""
    every = range(task.step.n_regions) if regions is None else regions
    return [region for region in every if region not in there] if there else every


def _tell_levels(task: PassTask, item: Decided, observe: Observer) -> None:
    """Say that all levels of a pass are written."""
    for level in task.step.write_levels:
        observe(events.LevelDone(task.image, level, f"{item.folder}/{level}".lstrip("/")))
