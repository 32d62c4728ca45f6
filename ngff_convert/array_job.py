"""A conversion in parts that any number of processes do, on any machines that share a folder: an array job.

`plan` decides everything, makes the empty arrays and writes a job file. `run` does one part: a share of the
regions that are read from the source, each of which owns its write objects, so parts need no lock, and may
run in any order, at once, and again. `status` reads from the journal what is done. `finish` does the rest on
one machine: the levels made of stored levels, metadata, checks, and the final name.

Regions of parts are always flushed before they are journalled: only then do other machines see them for sure.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from ngff_convert import machine, passes, resume, store
from ngff_convert.convert import begin, carry_out, decide, elsewhere, name_of, open_with, opened_for
from ngff_convert.engine import Threads
from ngff_convert.errors import OptionError, ReadError, TargetError
from ngff_convert.events import ImageStarted, Note
from ngff_convert.job_file import Job
from ngff_convert.options import PLACE
from ngff_convert.readers.contract import addressed
from ngff_convert.story import Story
from ngff_convert.targets import target_of
from ngff_convert.write_plan import WritePlan

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ngff_convert.events import Observer, RegionDone
    from ngff_convert.journal import Noted
    from ngff_convert.options import Options
    from ngff_convert.plan import Resources
    from ngff_convert.region import PassTask
    from ngff_convert.write_plan import Decided, Report

PART_VARIABLES = (
    "SLURM_ARRAY_TASK_ID",
    "PBS_ARRAY_INDEX",
    "PBS_ARRAYID",
    "LSB_JOBINDEX",
    "SGE_TASK_ID",
)
"""Where Slurm, PBS Pro, Torque, LSF and Grid Engine say which part of an array a process is."""


class JobFinished(TargetError):  # noqa: N818 - said of the job
    """There is nothing to do any more."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a job is.

    Attributes
    ----------
    regions, done
        For each part, how many regions it has, and how many of them are finished.
    finished
        Whether the store is there; nothing more is known of the parts then.
    """

    regions: tuple[int, ...]
    done: tuple[int, ...]
    finished: bool = False

    def parts(self, state: str) -> list[int]:
        """Return the parts, from 1, that are ``"done"``, ``"begun"`` or ``"missing"``."""
        return [
            part
            for part, (n, done) in enumerate(zip(self.regions, self.done, strict=True), 1)
            if state == ("done" if done == n else "begun" if done else "missing")
        ]

    @property
    def undone(self) -> list[int]:
        """Parts that have to be run, again or at all."""
        return sorted(self.parts("begun") + self.parts("missing"))


def array_spec(parts: Sequence[int]) -> str:
    """Return part numbers, ascending, as schedulers take them.

    Examples
    --------
    >>> array_spec([3, 17, 18, 19, 20]), array_spec([])
    ('3,17-20', '')
    """
    spans: list[list[int]] = []
    for part in parts:
        if spans and part == spans[-1][1] + 1:
            spans[-1][1] = part
        else:
            spans.append([part, part])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def plan(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    parts: int,
    options: Options,
    observer: Observer,
) -> Job:
    """Decide everything and make the empty arrays; what earlier runs of the same job have finished is kept.

    Parameters
    ----------
    source, target
        The input, and the output to be.
    parts
        How many there are to be.
    options
        Of the conversion; `workers` and `memory` are those of the machines that run parts.
    observer
        Is called with each event.

    Raises
    ------
    ConversionError
        What `convert` raises before the first pixel is read.
    """
    path, out, options = elsewhere(source, target, options)
    if options.layout == "separate":
        raise OptionError(
            "--layout separate makes several stores, and a job one: plan each image by itself, with --images"
        )
    if getattr(path, "url", path) != path:
        raise OptionError(
            f"{path}: the URL has a query or a password, which may be secret and is not kept in a job file: "
            "name a file without, or convert it in one process"
        )
    story = Story(observer)
    with (
        target_of(out, options) as place,
        opened_for(place, path, options) as (opened, files),
    ):
        work = begin(place, path, opened, files, options, machine.resources(), story, parts=parts)
        with store.sinks(place.storage, work.decided, flush=True) as sinks:
            for item, sink in zip(work.decided, sinks, strict=True):
                sink.create(item.plan)
        regions = sum(n for _, _, n in _shared(item.plan for item in work.decided))
        if parts > regions:
            story(Note(f"there are only {regions} regions: {parts - regions} parts have nothing to do"))
    return Job(path, out, parts, work.journal.mark, options)


def run(job: Job, part: int, resources: Resources, observer: Observer) -> int:
    """Do what is not yet done of a part; return how many regions that were.

    Parameters
    ----------
    job
        The job.
    part
        From 1.
    resources
        What this machine gives to it.
    observer
        Is called with each event.

    Raises
    ------
    OptionError
        There is no such part.
    TargetError
        The partial store is not that of this job, or is finished.
    ReadError
        The input has changed since the job was planned, or cannot be read.
    """
    if not 1 <= part <= job.parts:
        raise OptionError(f"--part {part}: the job has parts 1 to {job.parts}")
    record = _record(job)
    journal = job.journal(f"part-{part}.")
    story = Story(observer)
    files = _same_files(job, record)
    with open_with(job.source, job.options) as opened:
        first = resume.earlier(record, resources)
        planned = decide(
            opened,
            replace(job.options, workers=first.workers, memory=first.memory),
            name_of(job.source),
        )
        now = resume.begun(files, tuple(opened.missing), job.options, first, planned, job.parts)
        if [file.path for file in files] != list(opened.paths):
            now["source"] = [asdict(resume.facts(path)) for path in opened.paths]
        _check_same(job, record, now)
        done = _run_part(job, part, resume.fitted(planned, resources), journal, story)
        resume.check_unchanged(files)
    return done


def _same_files(job: Job, record: Mapping[str, Any]) -> list[resume.FileFacts]:
    """Look at the input, before it is opened: that fails in other ways where it is another one."""
    paths = [addressed(file.path, job.options.storage_options) for file in resume.recorded(record)]
    files = [resume.facts(path) for path in paths]
    _check_same(job, record, {**record, "source": [asdict(file) for file in files]})
    return files


def _check_same(job: Job, record: Mapping[str, Any], now: dict[str, Any]) -> None:
    if now["source"] != record["source"] or now["digest"] != record["digest"]:
        raise ReadError(
            f"{job.source}: is not what it was when the job was planned: "
            f"{resume.differences(record, now)}; plan it again with --restart"
        )


def _run_part(job: Job, part: int, decided: Sequence[Decided], journal: Noted, story: Story) -> int:
    """Do the regions of a part that the journal does not have."""
    journal.create()
    own = list(_of_part(job.parts, part, [item.plan for item in decided]))
    fills, workers = job.options.on_error == "fill", passes.at_once(decided)
    with store.sinks(job.place.storage, decided, flush=True, mark=job.mark) as sinks:
        todo = [
            passes.tasks(number, decided[number], sinks[number], fills=fills, again=True)[at]
            for number, at, _ in own
        ]
        # Passes that read the source are made of no other: each is for itself.
        kept = passes.kept([[task] for task in todo], passes.journalled(journal), workers)
        work = [
            (task, regions, passes.missing(task, there.regions, regions))
            for task, (_, _, regions), (there,) in zip(todo, own, kept, strict=True)
        ]
        for number, shares in groupby(work, lambda share: share[0].image):
            story(_started(number, decided, list(shares)))
        checked = ((_while_current(job, task), missing) for task, _, missing in work)
        passes.run(checked, workers, Threads(machine.resources()), journal, story)
    return sum(len(missing) for _, _, missing in work)


def _started(
    number: int, decided: Sequence[Decided], shares: Sequence[tuple[PassTask, Sequence[int], Sequence[int]]]
) -> ImageStarted:
    """Say what a part has of an image: of some of its passes, regions, and those that are missing."""
    total = sum(task.read_bytes(regions) for task, regions, _ in shares)
    missing = sum(task.read_bytes(missing) for task, _, missing in shares)
    return ImageStarted.of(decided, number, total, total - missing)


def _while_current(job: Job, task: PassTask) -> Callable[[int], RegionDone]:
    """Return a task that fails, and is not noted, where the job was finished or planned anew meanwhile."""
    place = job.place

    def checked(region: int) -> RegionDone:
        done = task(region)
        if not place.is_current(job.mark):
            place.forget()
            raise TargetError(
                f"{place.partial}: was finished or planned anew while this part ran; if it was planned anew, "
                "plan it again with --restart, as this part may have written into it"
            )
        return done

    return checked


def status(job: Job) -> Status:
    """Return how far a job is, from its journal.

    Raises
    ------
    TargetError
        The partial store is not that of this job.
    """
    try:
        plans = [WritePlan.from_json(image["plan"]) for image in _record(job)["images"]]
    except JobFinished:
        return Status((), (), finished=True)
    shared = list(_shared(plans))
    total = sum(n for _, _, n in shared)
    # Where the regions of a pass begin among those of all, and which of them are finished.
    first, seen, before = {}, bytearray(total), 0
    for number, at, n in shared:
        first[number, at] = (before, n)
        before += n
    for done, _ in job.journal().finished():
        start, n = first.get((done.image, done.step), (0, 0))
        if done.region < n:
            seen[start + done.region] = 1
    edges = [part * total // job.parts for part in range(job.parts + 1)]
    return Status(
        tuple(b - a for a, b in pairwise(edges)), tuple(seen.count(1, a, b) for a, b in pairwise(edges))
    )


def finish(job: Job, options: Options, observer: Observer) -> Report:
    """Do what is left when all parts are done, and give the output its name.

    Parameters
    ----------
    job
        The job.
    options
        How this runs: `workers`, `memory` and where; the rest, and `storage_options`, are the job's.
    observer
        Is called with each event.

    Raises
    ------
    TargetError
        Parts are missing; they are named.
    ReadError
        The input has changed since the job was planned.
    ConversionError
        What `convert` raises.
    """
    with suppress(TargetError):  # which `status` says better
        job.place.check(job.source)  # does what a run that was killed at its very end had still to do
    if undone := status(job).undone:
        raise TargetError(
            f"{job.place.partial}: {len(undone)} of {job.parts} parts are not done: {array_spec(undone)}; "
            "run them, then finish"
        )
    _same_files(job, _record(job))
    running = {name: getattr(options, name) for name in PLACE if name != "storage_options"}
    return carry_out(
        job.source, job.target, replace(job.options, restart=False, **running), observer, parts=job.parts
    )


# -- which regions are whose -------------------------------------------------------------------------------


def _shared(plans: Iterable[WritePlan]) -> Iterator[tuple[int, int, int]]:
    """Yield the passes that are done in parts, those that read the source: image, pass, regions."""
    for number, decided in enumerate(plans):
        for at, step in enumerate(decided.passes):
            if step.native:
                yield number, at, step.n_regions


def _of_part(parts: int, part: int, plans: Sequence[WritePlan]) -> Iterator[tuple[int, int, range]]:
    """Yield what a part has of each pass: image, pass, regions; neighbours, as they share source chunks."""
    total = sum(n for _, _, n in _shared(plans))
    start, stop = (part - 1) * total // parts, part * total // parts
    before = 0
    for number, at, n in _shared(plans):
        own = range(max(start - before, 0), min(stop - before, n))
        if own:
            yield number, at, own
        before += n


def part_of_this_process(environment: Mapping[str, str]) -> int | None:
    """Return the part that a scheduler gave to this process; None where there is none.

    Examples
    --------
    >>> part_of_this_process({"SLURM_ARRAY_TASK_ID": "17"})
    17
    >>> part_of_this_process({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0"})  # not of an array
    """
    numbers = (environment.get(name, "") for name in PART_VARIABLES)
    return next((int(text) for text in numbers if text.isdecimal() and int(text)), None)


def _record(job: Job) -> dict[str, Any]:
    """Return what the partial store of a job was begun with."""
    place = job.place
    left = place.left()
    if left is not None and resume.mark_of(left) == job.mark:
        return left
    if left is None and place.is_there():
        raise JobFinished(f"{job.target}: is there already: the job is finished, or the output is another's")
    found = "nothing of the job is there;" if left is None else "is of another plan;"
    raise TargetError(f"{place.partial}: {found} plan the job again, or use its newest job file")
