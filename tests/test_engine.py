from __future__ import annotations

import threading
import time

import pytest

from ngff_convert import engine
from ngff_convert.errors import ReadError
from ngff_convert.events import RegionDone


def done(index: int) -> RegionDone:
    return RegionDone(0, 0, index, (0, 0), index, 0)


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 100])
def test_every_region_runs_once(workers: int, count: int) -> None:
    results = [event.read_bytes for event in engine.run(done, range(count), workers)]
    assert sorted(results) == list(range(count))


def test_no_more_than_the_workers_run_at_once() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def job(index: int) -> RegionDone:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return done(index)

    assert len(list(engine.run(job, range(40), 3))) == 40
    assert most == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_failure_ends_the_run(workers: int) -> None:
    started = []

    def job(index: int) -> RegionDone:
        started.append(index)
        if index == 10:
            raise ReadError("chunk 10 is damaged")
        return done(index)

    with pytest.raises(ReadError, match="chunk 10"):
        list(engine.run(job, range(10_000), workers))
    assert len(started) < 100


def test_an_observer_that_stops_ends_the_run() -> None:
    started = []

    def job(index: int) -> RegionDone:
        started.append(index)
        return done(index)

    for _ in engine.run(job, range(10_000), 2):
        break
    assert len(started) < 100
