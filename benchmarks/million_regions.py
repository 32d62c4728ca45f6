"""Plan a job of a million regions, look how far it is, and give out its regions to jobs that do nothing.

What is measured is what a job costs besides its pixels: `ngff-convert plan`, `status`, and an engine's way
from region to region. Print JSON; each step is a process of its own, so that each has its own peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ngff_convert import Options, array_job, engine, job_file, machine, plan
from ngff_convert.events import RegionDone, ignore
from ngff_convert.journal import JOURNAL_FOLDER, line_of

SIDE = 64
PARTS = 1000
DONE = 0.9
JOBS, JOB_SECONDS = 500, 0.02


def source_of(folder: Path, regions: int) -> Path:
    """Make an ImageJ file of `regions` planes in one piece, a hole in which no pixel is stored."""
    import tifffile

    path = folder / "in.tif"
    shape = (1, regions, 1, SIDE, SIDE)
    described = f"ImageJ=1.11a\nimages={regions}\nslices={regions}\nhyperstack=true\n"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(shape=shape[-2:], dtype="uint16", description=described, metadata=None)
    start = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(start + (regions - 1) * SIDE * SIDE * 2)
    return path


def planned(folder: Path) -> Path:
    """Plan the job, each plane of which is a region."""
    plan.REGION_BYTES = plan.SMALLEST_GROWN_BYTES = SIDE * SIDE * 2
    options = Options(chunks=(1, SIDE, SIDE), levels=1, reader="tiff", shards="none")
    job = array_job.plan(folder / "in.tif", folder / "out.ome.zarr", PARTS, options, ignore)
    job_file.save(job, folder / "job.json")
    return folder / "job.json"


def journalled(folder: Path) -> None:
    """Write the lines of the regions that are done, each as `Journal.record` does; not measured."""
    job = job_file.load(folder / "job.json")
    total = sum(array_job.status(job).regions)
    for part in range(0, int(PARTS * DONE)):
        name = folder / "out.ome.zarr.partial" / JOURNAL_FOLDER / f"part-{part + 1}.node-{part}.jsonl"
        own = range(part * total // PARTS, (part + 1) * total // PARTS)
        lines = (RegionDone(0, 0, region, (0, 0), SIDE * SIDE * 2, SIDE * SIDE * 2) for region in own)
        name.write_text("".join(f"\n{line_of(done, job.mark, flushed=True)}" for done in lines))


def nothing(region: int) -> int:
    """Do nothing."""
    return region


def short(region: int) -> int:
    """Take as long as a small region takes, without a processor."""
    time.sleep(JOB_SECONDS)
    return region


def given_out(regions: int, kind: str) -> dict[str, float]:
    """Give regions to jobs that do nothing, and to jobs that wait; return what each costs besides."""
    options = Options(cluster="local", jobs=2)
    if kind == "distributed":
        from ngff_convert import cluster

        place: Any = cluster.started(options, ignore)
    else:
        place = nullcontext(engine.Threads(machine.resources()))
    with place as runs:
        started = time.perf_counter()
        done = sum(1 for _ in runs.run([(nothing, range(regions))], 2))
        empty = time.perf_counter() - started
        started = time.perf_counter()
        for _ in runs.run([(short, range(JOBS))], 2 if kind == "threads" else 1):
            pass
        waited = time.perf_counter() - started
    return {
        "regions": done,
        "empty_jobs_s": round(empty, 2),
        "ms_a_region_of_20_ms": round(1000 * (waited * 2 / JOBS - JOB_SECONDS), 2),
    }


def step(name: str, folder: Path, regions: int) -> dict[str, Any]:
    """Do one step, and tell what it took."""
    started = time.perf_counter()
    facts: dict[str, Any] = {}
    if name == "plan":
        planned(folder)
    elif name == "status":
        status = array_job.status(job_file.load(folder / "job.json"))
        facts = {"regions": sum(status.regions), "done": sum(status.done), "undone_parts": len(status.undone)}
    else:
        facts = given_out(regions, name)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(time.perf_counter() - started, 2), "peak_mb": round(peak), **facts}


def main() -> None:
    """Do every step in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=1_000_000)
    parser.add_argument(
        "--step", nargs=2, metavar=("NAME", "FOLDER"), help="only one, in a folder made before"
    )
    words = parser.parse_args()
    if words.step:
        print(json.dumps(step(words.step[0], Path(words.step[1]), words.regions)))
        return
    with TemporaryDirectory() as made:
        folder = Path(made)
        source_of(folder, words.regions)
        for name in ("plan", "status", "threads", "distributed"):
            if name == "status":
                journalled(folder)
            command = [sys.executable, __file__, "--regions", str(words.regions), "--step", name, made]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            print(f"{name:<12} {result.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
