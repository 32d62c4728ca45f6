"""Where region jobs run: one after another or on threads here, elsewhere in `cluster`. The job is the same.

Everything heavy in a job (reading, decoding, shrinking, encoding, writing) releases Python's global lock.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ngff_convert.plan import Resources

Item = TypeVar("Item")
Done = TypeVar("Done")


class Engine(Protocol):
    """Something that runs jobs."""

    @property
    def resources(self) -> Resources:
        """What each process that runs jobs may use."""

    @property
    def repeats(self) -> bool:
        """Whether a job may be run again after it was begun, because a process was lost."""

    def run(self, job: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[Done]:
        """Run a job for every item, as the function `run` does; `workers` at once in each process."""


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

    def run(self, job: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[Done]:
        """Run a job for every item on threads of this process."""
        return run(job, items, workers)


def run(job: Callable[[Item], Done], items: Sequence[Item], workers: int) -> Iterator[Done]:
    """Run a job for every item, such as the number of a region, and yield what each made, as they finish.

    The first job that fails ends the run: no further job is started, those that run are waited for, and its
    error is raised. Stopping the iteration does the same.

    Parameters
    ----------
    job
        Takes an item.
    items
        Started in this order.
    workers
        Jobs at once; 1 runs them in the caller's own thread.
    """
    if workers == 1 or len(items[:2]) == 1:  # of 2^70 there is no length
        yield from map(job, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="region") as pool:
        waiting = iter(items)
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
