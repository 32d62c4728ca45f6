"""Convert an Imaris file by one worker process and by two, and print how much faster two are.

Workers have one thread each, and are held to a processor each, as a batch scheduler holds them to what their
job asked for; with ``--free`` they are not, and one worker then encodes on the other processor too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import distributed

from ngff_convert import Options, convert
from ngff_convert.events import Event, ImageStarted, LevelDone

if TYPE_CHECKING:
    from collections.abc import Generator


def held(dask_worker: distributed.Worker, processors: list[int]) -> None:
    """Hold a worker and its threads to one processor."""
    own = {processors[int(dask_worker.name) % len(processors)]}
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        os.sched_setaffinity(int(thread.name), own)


def seconds(source: Path, folder: Path, jobs: int, *, free: bool) -> Generator[tuple[float, int]]:
    """Convert again and again; yield the time from the first region to the last, and how many there are."""
    with (
        distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local) as client,
    ):
        if not free:
            client.run(held, processors=sorted(os.sched_getaffinity(0)))
        options = Options(scheduler=local.scheduler_address, overwrite=True, memory=2**30)
        while True:
            times: list[float] = []

            def watch(event: Event, times: list[float] = times) -> None:
                if isinstance(event, ImageStarted | LevelDone):
                    times.append(time.perf_counter())

            report = convert(source, folder / "out.ome.zarr", options, watch)
            yield times[-1] - times[0], sum(step.n_regions for step in report.plans[0].passes)


def main() -> None:
    """Take turns, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--free", action="store_true", help="do not hold workers to processors")
    words = parser.parse_args()
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        runs = {}
        for jobs in (1, 2):
            measured = seconds(words.source, Path(made), jobs, free=words.free)
            next(measured)  # the first one reads what is imported
            runs[jobs] = [next(measured) for _ in range(words.rounds)]
            measured.close()
        shutil.rmtree(Path(made) / "out.ome.zarr")
    median = {jobs: statistics.median(took for took, _ in each) for jobs, each in runs.items()}
    facts = {
        "regions": runs[1][0][1],
        "one_s": [round(took, 2) for took, _ in runs[1]],
        "two_s": [round(took, 2) for took, _ in runs[2]],
        "times_as_fast": round(median[1] / median[2], 2),
    }
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
