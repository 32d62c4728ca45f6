"""Where region jobs run: one after another, or on threads. All engines run the same function.

Everything heavy in a job (reading, decoding, shrinking, encoding, writing) releases Python's global lock.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ngff_convert.events import RegionDone


def run(job: Callable[[int], RegionDone], count: int, workers: int) -> Iterator[RegionDone]:
    """Run a job for every region and yield what each one did, as they finish.

    The first job that fails ends the run: no further job is started, those that run are waited for, and its
    error is raised. Stopping the iteration does the same.

    Parameters
    ----------
    job
        Takes the number of a region.
    count
        Regions are numbered from 0 to `count` - 1 and started in this order.
    workers
        Jobs at once; 1 runs them in the caller's own thread.
    """
    if workers == 1 or count == 1:
        yield from map(job, range(count))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="region") as pool:
        indices = iter(range(count))
        # Few are queued at a time, so that a million regions are not a million futures.
        running: set[Future[RegionDone]] = {pool.submit(job, i) for i in islice(indices, 2 * workers)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(job, i) for i in islice(indices, len(done))}
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
