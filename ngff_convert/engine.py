"""Where region jobs run: one after another or on threads here, elsewhere in `cluster`. The job is the same.

Everything heavy in a job (reading, decoding, shrinking, encoding, writing) releases Python's global lock.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ngff_convert.plan import Resources

Item = TypeVar("Item")
Done = TypeVar("Done")

Work: TypeAlias = "Iterable[tuple[Callable[[Item], Done], Sequence[Item]]]"
"""Jobs, each with the items that it is to be run for; asked for only as there is room for them."""


class Engine(Protocol):
    """Something that runs jobs."""

    @property
    def resources(self) -> Resources:
        """What each process that runs jobs may use."""

    @property
    def repeats(self) -> bool:
        """Whether a job may be run again after it was begun, because a process was lost."""

    def run(self, work: Work[Item, Done], workers: int) -> Iterator[Done]:
        """Run jobs for every item of each, as the function `run` does; `workers` at once in each process."""


@dataclass(frozen=True, slots=True)
class Threads:
    """The engine of one machine.

    Attributes
    ----------
    resources
        What this process may use.
    """

    resources: Resources
    repeats: bool = False

    def run(self, work: Work[Item, Done], workers: int) -> Iterator[Done]:
        """Run jobs for every item of each on threads of this process."""
        return run(_call, ((job, item) for job, items in work for item in items), workers)


def _call(wanted: tuple[Callable[[Item], Done], Item]) -> Done:
    job, item = wanted
    return job(item)


def run(job: Callable[[Item], Done], items: Iterable[Item], workers: int) -> Iterator[Done]:
    """Run a job for every item, such as the number of a region, and yield what each made, as they finish.

    The first job that fails ends the run: no further job is started, those that run are waited for, and its
    error is raised. Stopping the iteration does the same.

    Parameters
    ----------
    job
        Takes an item.
    items
        Started in this order; asked for, in this thread, only as there is room for them.
    workers
        Jobs at once; 1 runs them in the caller's own thread.
    """
    waiting = iter(items)
    first = list(islice(waiting, 2))
    waiting = chain(first, waiting)
    if workers == 1 or len(first) < 2:
        yield from map(job, waiting)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="region") as pool:
        # Few are queued at a time, so that a million regions are not a million futures.
        running: set[Future[Done]] = {pool.submit(job, item) for item in islice(waiting, 2 * workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(job, item) for item in islice(waiting, len(done))}
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
