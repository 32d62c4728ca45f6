"""Region jobs on dask.distributed: on a cluster that is there, on processes here, in jobs of a scheduler.

A job - the plan, and where to read and write - travels to the cluster once, jobs of few regions together;
after that only numbers of regions do. What a lost worker had is done elsewhere, which costs nothing but time:
a region can be written again. Only a few regions are with the cluster at a time, as many in one task as take
a tenth of a second, so that a million regions are not a million tasks.
"""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ngff_convert import machine
from ngff_convert.errors import ConversionError, OptionError, WriteError, first_line
from ngff_convert.events import Note
from ngff_convert.plan import Resources
from ngff_convert.version import __version__

try:
    import distributed
except ImportError as error:
    raise OptionError(
        "a cluster needs more packages: install them with `pip install 'ngff-convert[cluster]'`"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ngff_convert.engine import Work
    from ngff_convert.events import Observer
    from ngff_convert.options import Options

Item = TypeVar("Item")
Done = TypeVar("Done")

ATTEMPTS = 3
"""So often a region is tried before its error ends the run."""

TASK_SECONDS = 0.1
"""What a task is to take: many small regions are given out together, as a task costs a millisecond or two."""

JOINED_ITEMS = 64
"""Jobs of fewer items, such as those of small images, are joined up to so many."""

TASKS_LEFT = 4
"""Tasks for each thread that are left to be given out, at least, so that all end at about the same time."""

QUEUED = 2
"""Tasks with the cluster for each of its threads: the next one is there when one is done."""

BATCH_SCHEDULERS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
}
"""Classes of dask_jobqueue."""

CONNECT_SECONDS = 20

WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """The engine of a cluster.

    Attributes
    ----------
    client
        Its connection.
    resources
        What each worker may use.
    """

    client: distributed.Client
    resources: Resources
    repeats: bool = True

    def run(self, work: Work[Item, Done], workers: int) -> Iterator[Done]:
        """Run jobs for every item of each, `workers` at once on each worker, and yield what each made.

        Parameters
        ----------
        work
            Jobs that pickle, each with its items; started in this order.
        workers
            Jobs at once on each worker, however many threads it has.

        Raises
        ------
        WriteError
            The workers that had a region died, again and again.
        ConversionError
            What the job raised, each time it was tried.
        """

        def shared(job: Callable[[Any], Any]) -> distributed.Future:
            # A task of its own, which is run again where whoever held its result is lost.
            return self.client.submit(pickle.loads, pickle.dumps(job), pure=False)

        waiting = _Batches(_joined(work), shared)
        running: dict[distributed.Future, _Batch] = {}
        finished = distributed.as_completed()
        threads = _Threads(self.client)

        def give_out() -> None:
            while len(running) < QUEUED * threads.count and (batch := waiting.next(threads.count)):
                future = self.client.submit(
                    _run_batch, *batch, workers, __version__, pure=False, retries=ATTEMPTS - 1
                )
                running[future] = batch
                finished.add(future)

        try:
            give_out()
            for future in finished:
                job, items = running.pop(future)
                made, seconds = _result(future)
                waiting.took(len(made), seconds)
                waiting.back(_Batch(job, items[len(made) :]))
                give_out()
                yield from made
        except ConversionError:
            with suppress(*_LOST):
                distributed.wait(list(running))
            raise
        finally:
            with suppress(*_LOST):
                self.client.cancel(list(running))


_LOST = (distributed.CancelledError, OSError, TimeoutError)
"""What dask raises where nothing can be asked of a cluster any more."""


@dataclass(frozen=True, slots=True)
class _Jobs:
    """Several jobs as one, whose items are pairs: which job, and its item."""

    jobs: tuple[Callable[[Any], Any], ...]

    def __call__(self, item: tuple[int, Any]) -> Any:  # noqa: ANN401 - whatever the job makes
        number, own = item
        return self.jobs[number](own)


def _joined(work: Work[Any, Any]) -> Iterator[tuple[Callable[[Any], Any], Sequence[Any]]]:
    """Join jobs of few items with their neighbours: a job is a task too, before any of its items."""
    jobs: list[Callable[[Any], Any]] = []
    items: list[tuple[int, Any]] = []

    def joined() -> Iterator[tuple[Callable[[Any], Any], Sequence[Any]]]:
        if items:
            yield _Jobs(tuple(jobs)), tuple(items)
        jobs.clear()
        items.clear()

    for job, own in work:
        if len(own) >= JOINED_ITEMS:
            yield from joined()
            yield job, own
        elif len(own):
            items += [(len(jobs), item) for item in own]
            jobs.append(job)
            if len(items) >= JOINED_ITEMS:
                yield from joined()
    yield from joined()


class _Batch(NamedTuple):
    """What is one task: a job, as the cluster has it, and items."""

    job: distributed.Future
    items: Sequence[Any]


class _Batches:
    """Items in batches, as large as take about `TASK_SECONDS`; each job is shared once."""

    def __init__(
        self,
        work: Iterator[tuple[Callable[[Any], Any], Sequence[Any]]],
        share: Callable[[Callable[[Any], Any]], distributed.Future],
    ) -> None:
        self._work = ((share(job), items) for job, items in work)
        self._job: distributed.Future | None = None
        self._items: Sequence[Any] = ()
        self._back: deque[_Batch] = deque()
        self._next = 0
        self._size = 1

    def back(self, batch: _Batch) -> None:
        """Take back the end of a batch, to be a batch of its own."""
        if len(batch.items):
            self._back.append(batch)

    def next(self, threads: int) -> _Batch | None:
        """Return the next batch for one of so many threads; None at the end."""
        if self._back:
            return self._back.popleft()
        if self._next == len(self._items):
            self._job, self._items = next(self._work, (None, ()))
            self._next = 0
        left = len(self._items) - self._next
        items = self._items[self._next : self._next + max(1, min(self._size, left // (TASKS_LEFT * threads)))]
        self._next += len(items)
        return _Batch(self._job, items) if len(items) else None

    def took(self, n_items: int, seconds: float) -> None:
        """Learn from a batch; the size at most doubles."""
        each = max(seconds / n_items, 1e-6)
        self._size = max(1, min(2 * self._size, int(TASK_SECONDS / each)))


class _Threads:
    """How many threads a cluster has; workers come and go, and asking takes milliseconds."""

    def __init__(self, client: distributed.Client) -> None:
        self._client = client
        self._asked = 0.0
        self._count = 1

    @property
    def count(self) -> int:
        if time.monotonic() - self._asked > 1:
            self._count = max(1, sum(self._client.nthreads().values()))
            self._asked = time.monotonic()
        return self._count


def _run_batch(
    job: Callable[[Item], Done], items: Sequence[Item], at_once: int, version: str
) -> tuple[list[Done], float]:
    """Run a job on a worker for items, up to one that fails; return also the seconds that took.

    An item that fails is given out again as the first one of a batch, and only there is its error one of the
    batch, which is then tried again. A worker of another version of this program does nothing: it may have
    joined later than the others.
    """
    if version != __version__:
        raise OptionError(
            f"a worker has ngff-convert {__version__}, not {version}: install the same everywhere"
        )
    with _turn(at_once):
        started = time.perf_counter()
        made: list[Done] = []
        try:
            for item in items:
                made.append(job(item))
        except ConversionError:
            if not made:
                raise
        return made, time.perf_counter() - started


@lru_cache(maxsize=8)
def _turn(at_once: int) -> threading.BoundedSemaphore:
    """Return what keeps jobs of one process to what its memory has room for."""
    return threading.BoundedSemaphore(at_once)


def _result(future: distributed.Future) -> Any:  # noqa: ANN401 - whatever the job makes
    try:
        return future.result()
    except distributed.KilledWorker as error:
        raise WriteError(
            f"regions killed {error.allowed_failures + 1} workers that had them, the last one "
            f"{getattr(error.last_worker, 'address', '')}: is --job-memory enough? what is finished is kept"
        ) from error
    except ConversionError:  # of the job: some of them are errors of the system too
        raise
    except _LOST as error:
        raise WriteError(
            f"the cluster is gone: {first_line(error)}; run the same command again to go on"
        ) from error


# -- which cluster -----------------------------------------------------------------------------------------


@contextmanager
def started(options: Options, observe: Observer) -> Iterator[Cluster]:
    """Connect to a cluster, or start one and end it with the block.

    Parameters
    ----------
    options
        `scheduler`, or `cluster` and what its jobs are.
    observe
        Is told where the dashboard is.

    Raises
    ------
    OptionError
        There is no cluster at that address, or it cannot be started, or its workers are not as this program.
    """
    for name in ("distributed", "tornado.application", "asyncio"):  # what happens is told in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cluster: Any = None
    with ExitStack() as stack:
        try:
            if options.scheduler is not None:
                client = stack.enter_context(distributed.Client(options.scheduler, timeout=CONNECT_SECONDS))
            else:
                # Not in the working folder, which may be read-only; nothing large is ever put there.
                scratch = stack.enter_context(TemporaryDirectory(prefix="ngff-convert-"))
                with _unheard(signal.SIGINT):
                    cluster = _new(options, scratch)
                stack.callback(cluster.close)
                client = stack.enter_context(distributed.Client(cluster, timeout=CONNECT_SECONDS))
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise OptionError(
                f"{options.scheduler or options.cluster}: no cluster to work with: {first_line(error)}"
            ) from error
        observe(Note(f"dashboard of the cluster: {client.dashboard_link}"))
        if not client.nthreads():
            observe(Note("waiting for the first worker of the cluster"))
        while not client.nthreads():
            if refused := getattr(cluster, "refused", None):
                raise OptionError(f"{options.cluster}: takes no job: {refused[0]}")
            time.sleep(WAIT_SECONDS)
        _check_versions(client)
        client.register_plugin(_Worker())
        yield Cluster(client, _resources(client, options))


@contextmanager
def _unheard(number: signal.Signals) -> Iterator[None]:
    """Let processes that are started by the block, or by threads of it, not hear a signal.

    Ctrl-C reaches every process of a terminal; this one ends the others in order.
    """
    resource_tracker.ensure_running()  # starting it later would end the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _new(options: Options, scratch: str) -> Any:  # noqa: ANN401 - dask_jobqueue has no types
    """Start a cluster; processes of this machine have their own files in the folder `scratch`."""
    if options.cluster == "local":
        cores = options.job_cores or 1
        return distributed.LocalCluster(
            n_workers=options.jobs or max(1, machine.resources().workers // cores),
            threads_per_worker=cores,
            memory_limit=options.job_memory or "auto",
            local_directory=scratch,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )
    import dask_jobqueue

    kind = getattr(dask_jobqueue, BATCH_SCHEDULERS[str(options.cluster)])
    refused: list[str] = []

    class Job(kind.job_cls):  # type: ignore[name-defined, misc]
        """A job whose refusal is told."""

        async def _submit_job(self, script: str) -> Any:  # noqa: ANN401 - the scheduler's words
            try:
                return await super()._submit_job(script)
            except RuntimeError as error:
                refused.append(" ".join(str(error).partition("stderr:")[2].split()) or first_line(error))
                self.status = distributed.Status.failed  # else the cluster cannot be closed
                raise

    settings = {"walltime": options.job_time, "queue": options.queue}
    cluster = kind(
        cores=options.job_cores or 1,
        processes=1,
        memory=f"{options.job_memory}B",
        job_extra_directives=list(options.job_extra),
        job_cls=Job,
        scheduler_options={"dashboard_address": ":0"},
        **{name: value for name, value in settings.items() if value is not None},
    )
    cluster.refused = refused
    cluster.scale(jobs=options.jobs)
    return cluster


def _resources(client: distributed.Client, options: Options) -> Resources:
    """Return what the smallest worker has; half its memory is for regions, the rest for the program."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    memory = min(worker["memory_limit"] or machine.resources().memory for worker in workers)
    return Resources(min(worker["nthreads"] for worker in workers), int(memory) // 2)


def _check_versions(client: distributed.Client) -> None:
    """Refuse workers of another version of this program, which might write something else."""
    for worker, version in client.run(_version, on_error="return").items():
        if version != __version__:
            found = version if isinstance(version, str) else first_line(version)
            raise OptionError(
                f"{worker}: has not ngff-convert {__version__} but: {found}; install the same everywhere"
            )


def _version() -> str:
    return __version__


class _Worker(distributed.WorkerPlugin):  # type: ignore[misc]
    """What each worker does when it starts."""

    def setup(self, worker: distributed.Worker) -> None:
        """Set what suits a conversion."""
        del worker
        machine.tune_process()
