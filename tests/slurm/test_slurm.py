"""examples/slurm and `--cluster slurm` on a real Slurm of one node: `make test-slurm`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stores import assert_valid, tree

from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples/slurm"
PROGRAM = Path(sys.executable).parent / "ngff-convert"
CANNOT = 77
"""Exit code of start_slurm.sh where there is no Slurm, and none can be installed."""
PATIENCE_S = 120
SHAPE = (1, 2, 64, 512, 512)
# 67 MB in 128 chunks; so little memory makes 32 regions.
OPTIONS = ("--chunks", "16,128,128", "--compressor", "none", "--memory", "16MiB", "--workers", "1")

STOPPING_PROGRAM = """#!{python}
# ngff-convert, but parts 2 and 4 stand still after their first region when they are run for the first time.
import os, signal, sys
from pathlib import Path
from ngff_convert import array_job
from ngff_convert.cli import main
from ngff_convert.events import RegionDone

run = array_job.run

def stopping(job, part, resources, observe):
    mark = Path("{marks}", f"stopped-{{part}}")

    def told(event):
        observe(event)
        if isinstance(event, RegionDone) and part in (2, 4) and not mark.exists():
            mark.with_suffix(".half").write_text(str(os.getpid()))
            mark.with_suffix(".half").rename(mark)
            os.kill(os.getpid(), signal.SIGSTOP)

    return run(job, part, resources, told)

array_job.run = stopping
sys.exit(main())
"""


@dataclass(frozen=True)
class Cluster:
    """A Slurm of one node.

    Attributes
    ----------
    environment
        What its commands, and jobs, are run with.
    """

    environment: dict[str, str]

    def __call__(self, *words: object, **more: str) -> str:
        """Run a command on the cluster's front end; return what it prints."""
        command = [str(word) for word in words]
        where = self.environment | more
        result = subprocess.run(
            command, env=where, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        assert result.returncode == 0, f"{command}: {result.stderr}{result.stdout}"
        return result.stdout

    def queue(self) -> str:
        """Return the jobs that are not over, a line each, parts of an array on their own."""
        return self("squeue", "--noheader", "--array", "--format=%F_%K %T %r")

    def field(self, job: str, name: str) -> str:
        """Return a value that Slurm has for a job, such as its `ExitCode`."""
        (value,) = re.findall(rf"\b{name}=(\S+)", self("scontrol", "show", "job", job))
        return str(value)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    # Not below pytest's own folder, which others may not enter: munge insists.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    started = subprocess.run([HERE / "start_slurm.sh", folder], capture_output=True, text=True, check=False)
    if started.returncode == CANNOT:
        shutil.rmtree(folder)
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    own |= {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    yield Cluster(own | {"CORES": "1", "MEMORY_MB": "1000"})
    subprocess.run([HERE / "stop_slurm.sh", folder], check=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "an image.ims"
    write_ims(path, coded_pixels(SHAPE), chunks=(16, 128, 128))
    return path


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The store that one machine makes."""
    target = tmp_path_factory.mktemp("whole") / "out.ome.zarr"
    subprocess.run([PROGRAM, "convert", source, target, *OPTIONS, "--quiet"], check=True)
    return tree(target)


def wait_until(true: Callable[[], object], what: Callable[[], str]) -> None:
    """Look again and again; what is the case instead is in the failure's message."""
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until, what()
        time.sleep(0.2)


def wait_until_done(slurm: Cluster, job: Path) -> None:
    wait_until(lambda: not slurm.queue(), lambda: slurm.queue() + logs(job))


def logs(job: Path) -> str:
    return "".join(f"\n{path.name}: {path.read_text()}" for path in sorted(job.glob("*.log")))


def ids(printed: str) -> dict[str, str]:
    """Return the numbers that submit.sh and resubmit.sh print."""
    return dict(re.findall(r"(plan|run|finish) (\d+)", printed))


def test_submit_makes_the_store_that_one_machine_makes(
    slurm: Cluster, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out.ome.zarr"
    job = tmp_path / "out.ome.zarr.job"
    found = ids(slurm(EXAMPLES / "submit.sh", source, out, 3, *OPTIONS))
    assert set(found) == {"plan", "run", "finish"}
    wait_until_done(slurm, job)
    assert slurm.field(found["finish"], "ExitCode") == "0:0", logs(job)
    assert tree(out) == whole
    assert_valid(out, out)
    assert {path.name for path in job.glob("part-*.log")} == {f"part-{n}.log" for n in (1, 2, 3)}


def test_parts_that_were_killed_are_resubmitted(
    slurm: Cluster, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out.ome.zarr"
    job = tmp_path / "out.ome.zarr.job"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/ngff-convert"
    program.write_text(STOPPING_PROGRAM.format(python=sys.executable, marks=tmp_path))
    program.chmod(0o755)
    path = f"{program.parent}:{slurm.environment['PATH']}"
    found = ids(slurm(EXAMPLES / "submit.sh", source, out, 6, *OPTIONS, PATH=path))

    # Two parts stand still in the middle of writing: there is no processor for the last two.
    marks = {tmp_path / "stopped-2", tmp_path / "stopped-4"}
    wait_until(lambda: set(tmp_path.glob("stopped-*")) == marks or not slurm.queue(), lambda: logs(job))
    assert set(tmp_path.glob("stopped-*")) == marks, logs(job)
    run = found["run"]
    slurm("scancel", f"{run}_5")
    slurm("scancel", f"{run}_2")
    os.kill(int((tmp_path / "stopped-4").read_text()), signal.SIGKILL)  # as for lack of memory
    wait_until_done(slurm, job)
    assert slurm.field(f"{run}_2", "JobState") == "CANCELLED"
    assert slurm.field(f"{run}_4", "ExitCode") == "0:9"
    assert slurm.field(f"{run}_4", "JobState") == "FAILED"
    assert slurm.field(f"{run}_6", "JobState") == "COMPLETED"

    log = (job / "finish.log").read_text()
    assert slurm.field(found["finish"], "ExitCode") == "5:0", log
    assert "2,4-5" in log
    assert not out.exists()
    status = json.loads(slurm(PROGRAM, "status", job / "job.json", "--json"))
    assert (status["done"], status["begun"], status["missing"]) == ([1, 3, 6], [2, 4], [5])

    again = ids(slurm(EXAMPLES / "resubmit.sh", job / "job.json"))
    wait_until_done(slurm, job)
    assert slurm.field(again["finish"], "ExitCode") == "0:0", logs(job)
    told = "".join((job / f"part-{part}.log").read_text() for part in (2, 4, 5))
    assert (
        status["regions_done"] + sum(map(int, re.findall(r"(\d+) regions? now", told))) == status["regions"]
    )
    assert tree(out) == whole


def test_nothing_waits_for_ever_when_the_plan_fails(slurm: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    job = tmp_path / "out.ome.zarr.job"
    found = ids(slurm(EXAMPLES / "submit.sh", tmp_path / "no.ims", out, 3))
    wait_until_done(slurm, job)
    assert slurm.field(found["plan"], "ExitCode") == "3:0"
    assert slurm.field(found["finish"], "JobState") == "FAILED"
    assert "no.ims" in logs(job)
    assert not list(job.glob("part-*.log"))  # parts were never started
    assert not out.exists()


@contextmanager
def on_jobs_of_dask(slurm: Cluster, source: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Convert with two jobs that dask-jobqueue starts; they write slurm-ID.out into the folder."""
    words = ("--cluster", "slurm", "--jobs", "2", "--job-memory", "1GiB", "--job-time", "00:10:00")
    command = [str(PROGRAM), "convert", str(source), "out.ome.zarr", *OPTIONS, *words, "--log-format", "json"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=slurm.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        late = threading.Timer(PATIENCE_S, process.kill)
        late.start()
        try:
            yield process
        finally:
            late.cancel()
            process.terminate()


def events(process: subprocess.Popen[str]) -> Iterator[str]:
    """Return the events that a conversion tells, as they come."""
    assert process.stderr
    for line in process.stderr:
        assert line.startswith("{"), line + process.stderr.read()
        yield str(json.loads(line)["event"])


@pytest.mark.skipif(not find_spec("dask_jobqueue"), reason="dask-jobqueue is not installed")
def test_jobs_of_dask_make_the_store_that_one_machine_makes(
    slurm: Cluster, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    with on_jobs_of_dask(slurm, source, tmp_path) as process:
        told = list(events(process))
        assert process.wait() == 0
    assert told[-1] == "done"
    assert len(list(tmp_path.glob("slurm-*.out"))) == 2
    assert tree(tmp_path / "out.ome.zarr") == whole
    wait_until(lambda: not slurm.queue(), slurm.queue)


@pytest.mark.skipif(not find_spec("dask_jobqueue"), reason="dask-jobqueue is not installed")
def test_a_job_of_dask_that_is_cancelled_is_done_by_the_other(
    slurm: Cluster, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    with on_jobs_of_dask(slurm, source, tmp_path) as process:
        told = events(process)
        assert "region" in told  # the first one is done
        job = slurm("squeue", "--noheader", "--states=RUNNING", "--format=%A").split()[0]
        slurm("scancel", job)
        assert list(told)[-1] == "done"
        assert process.wait() == 0
    assert slurm.field(job, "JobState") == "CANCELLED"
    assert tree(tmp_path / "out.ome.zarr") == whole
    wait_until(lambda: not slurm.queue(), slurm.queue)
