"""The passes over an image: what is still to be done of each, done by an engine and noted in the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ngff_convert import engine, events
from ngff_convert.region import PassTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ngff_convert.engine import Engine
    from ngff_convert.events import Observer, RegionDone
    from ngff_convert.journal import Noted
    from ngff_convert.sink import Sink
    from ngff_convert.write_plan import Decided


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
    levels = (item.image.pixels, *(level.pixels for level in item.image.native_levels))
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
        )
        for at, step in enumerate(item.plan.passes)
    ]


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


def kept(todo: Sequence[PassTask], entries: Journalling, workers: int) -> list[Kept]:
    """Return for each pass of an image what need not be done again.

    What was filled is read again where that is to end the conversion; and what was made of it in later
    passes is made again.
    """
    found: list[Kept] = []
    stale = False
    for task in todo:
        known = Journalled() if stale else entries.get((task.image, task.number), Journalled())
        flushed = {n: size for n, size in known.flushed.items() if n < task.step.n_regions}
        intact = _intact(task, [done for done in known.unsure if done.region not in flushed], workers)
        stale = stale or any(done.filled and intact.get(done.region) != done for done in known.unsure)
        found.append(
            Kept(
                frozenset(flushed) | frozenset(intact),
                sum(flushed.values()) + sum(done.read_bytes for done in intact.values()),
                tuple(line for done in intact.values() for line in done.filled),
            )
        )
    return found


def _intact(task: PassTask, unsure: Sequence[RegionDone], workers: int) -> dict[int, RegionDone]:
    """Return the regions whose pixels have their checksum."""

    def look(done: RegionDone) -> RegionDone | None:
        return done if task.intact(done) else None

    wanted = [d for d in unsure if d.region < task.step.n_regions and (task.fills or not d.filled)]
    return {done.region: done for done in engine.run(look, wanted, workers) if done is not None}


def run(
    task: Callable[[int], RegionDone],
    regions: Sequence[int],
    workers: int,
    runs: Engine,
    journal: Noted,
    observe: Observer,
) -> None:
    """Do regions of a pass, and note each in the journal as it is done."""
    try:
        for done in runs.run(task, regions, workers):
            journal.record(done)
            observe(done)
    finally:
        journal.settle()


def missing(task: PassTask, there: frozenset[int], regions: range | None = None) -> Sequence[int]:
    """Return the regions that are still to be done, of all or of some."""
    every = range(task.step.n_regions) if regions is None else regions
    return [region for region in every if region not in there] if there else every


def tell_levels(task: PassTask, item: Decided, observe: Observer) -> None:
    """Say that all levels of a pass are written."""
    for level in task.step.write_levels:
        observe(events.LevelDone(task.image, level, f"{item.folder}/{level}".lstrip("/")))
