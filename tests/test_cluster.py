"""Conversions on dask.distributed: real processes, some of which are killed."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_files import CHUNKS, objects, write_image, write_labels
from stores import tree

from ngff_convert import Options, convert
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, ReadError, WriteError
from ngff_convert.events import Event, LevelDone, Note, RegionDone
from ngff_convert.journal import Journal
from ngff_convert.plan import Resources
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

distributed = pytest.importorskip("distributed")

from ngff_convert import cluster  # noqa: E402 - needs distributed

SMALL: dict[str, Any] = {"chunks": (8, 32, 32), "memory": 12 * 2**20}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.ims"
    write_ims(path, coded_pixels((2, 2, 20, 200, 200)), chunks=(8, 64, 64))
    return path


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster of two processes that are started again where they die."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as local:
        yield local.scheduler_address


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("expected") / "out.ome.zarr"
    report = convert(source, store, Options(**SMALL))
    assert sum(step.n_regions for step in report.plans[0].passes) > 20
    return tree(store)


def pids(address: str) -> list[int]:
    with distributed.Client(address) as client:
        return list(client.run(os.getpid).values())


def test_the_store_is_that_of_one_machine(
    source: Path, expected: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--cluster", "local", "--jobs", "2", "--memory", "12MiB", "--chunks", "8,32,32"]
    assert main([str(source), str(tmp_path / "out.ome.zarr"), *words]) == 0
    assert "dashboard of the cluster: http" in capsys.readouterr().err
    assert tree(tmp_path / "out.ome.zarr") == expected


def test_label_images_are_those_of_one_machine(scheduler: str, tmp_path: Path) -> None:
    image, seg = write_image(tmp_path / "in.ims"), write_labels(tmp_path / "seg.tif", objects())
    options = Options(**CHUNKS, memory=12 * 2**20, labels=(("nuclei", str(seg)),))
    convert(image, tmp_path / "one", options)
    convert(image, tmp_path / "many", replace(options, scheduler=scheduler))
    assert tree(tmp_path / "many") == tree(tmp_path / "one")
    assert (tmp_path / "many/labels/nuclei/2").is_dir()


def test_names_are_those_of_this_process_wherever_workers_are(
    source: Path,
    expected: dict[str, str],
    scheduler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(source.parent)
    (tmp_path / "here").mkdir()
    out = os.path.relpath(tmp_path / "here" / "out.ome.zarr")
    convert(source.name, out, Options(**SMALL, scheduler=scheduler))
    assert tree(tmp_path / "here" / "out.ome.zarr") == expected


def test_what_killed_workers_had_is_done_by_others(
    source: Path, expected: dict[str, str], scheduler: str, tmp_path: Path
) -> None:
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        if sum(isinstance(e, RegionDone) for e in events) in (3, 9) and isinstance(event, RegionDone):
            os.kill(pids(scheduler)[0], signal.SIGKILL)

    report = convert(source, tmp_path / "out.ome.zarr", Options(**SMALL, scheduler=scheduler), watch)
    assert tree(tmp_path / "out.ome.zarr") == expected
    done = [(e.image, e.step, e.region) for e in events if isinstance(e, RegionDone)]
    assert len(done) == len(set(done)) == sum(step.n_regions for step in report.plans[0].passes)
    assert [e.level for e in events if isinstance(e, LevelDone)] == list(range(len(report.plans[0].levels)))


def test_a_region_that_keeps_failing_ends_the_run_with_its_reason_and_the_rest_is_kept(
    source: Path, expected: dict[str, str], scheduler: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "in.ims"
    content = bytearray(source.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 2000] = b"\0" * 2000
    damaged.write_bytes(content)
    os.utime(damaged, ns=(source.stat().st_mtime_ns,) * 2)
    out = tmp_path / "out.ome.zarr"
    options = Options(**SMALL, scheduler=scheduler)
    with pytest.raises(ReadError, match="chunk"):
        convert(damaged, out, options)
    assert not out.exists()
    damaged.write_bytes(source.read_bytes())
    os.utime(damaged, ns=(source.stat().st_mtime_ns,) * 2)
    report = convert(damaged, out, Options(**SMALL))  # on this machine
    assert report.kept_bytes > 0
    assert tree(out) == expected


def test_what_one_machine_began_a_cluster_goes_on_with(
    source: Path, expected: dict[str, str], scheduler: str, tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and event.region == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out.ome.zarr"
    places: list[dict[str, Any]] = [{}, {"scheduler": scheduler}]
    for place in places:
        with pytest.raises(KeyboardInterrupt):
            convert(source, out, Options(**SMALL, **place, fsync="region"), stop)
    journal = list((tmp_path / "out.ome.zarr.partial").glob(".ngff-convert-journal/*.jsonl"))
    assert journal
    report = convert(source, out, Options(**SMALL, scheduler=scheduler, fsync="region"))
    assert report.kept_bytes > 0
    assert tree(out) == expected


def test_workers_that_die_of_a_region_end_the_run(tmp_path: Path) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as local,
        distributed.Client(local) as client,
    ):
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        engine = cluster.Cluster(client, cluster._resources(client, Options()))
        with pytest.raises(WriteError, match="killed 1 workers"):
            list(engine.run([(die, range(3))], 1))


def die(_: int) -> None:
    os._exit(1)


class FailsOnce:
    """A job that fails where it has not been tried before, and counts how often it is pickled."""

    pickled = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getstate__(self) -> dict[str, Any]:
        FailsOnce.pickled += 1
        return self.__dict__

    def __call__(self, item: int) -> int:
        mark = self.folder / str(item)
        if item % 7 == 3 and not mark.exists():
            mark.touch()
            raise WriteError("the network is not there")
        return item


def engine_of(client: Any) -> cluster.Cluster:
    return cluster.Cluster(client, cluster._resources(client, Options()))


def test_what_fails_once_is_tried_again_and_the_job_travels_once(scheduler: str, tmp_path: Path) -> None:
    FailsOnce.pickled = 0
    with distributed.Client(scheduler) as client:
        made = list(engine_of(client).run([(FailsOnce(tmp_path), range(100))], 1))
    assert sorted(made) == list(range(100))
    assert len(list(tmp_path.iterdir())) == 14
    assert FailsOnce.pickled == 1


class AtOnce:
    """A job that tells how many of it run in its process."""

    lock = threading.Lock()
    running = 0

    def __call__(self, _: int) -> int:
        with AtOnce.lock:
            AtOnce.running += 1
        time.sleep(0.01)
        with AtOnce.lock:
            seen, AtOnce.running = AtOnce.running, AtOnce.running - 1
        return seen


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_with_many_threads_does_as_many_regions_as_its_memory_has_room_for(workers: int) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=4, dashboard_address=":0", silence_logs=50
        ) as local,
        distributed.Client(local) as client,
    ):
        seen = list(engine_of(client).run([(AtOnce(), range(40))], workers))
    assert max(seen) == workers


def test_no_cluster_at_an_address_is_told_in_seconds(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(OptionError, match="no cluster to work with"):
        convert(source, tmp_path / "out", Options(scheduler="tcp://127.0.0.1:1"))
    assert not (tmp_path / "out.partial" / ".ngff-convert-plan.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"scheduler": "tcp://x:1", "cluster": "local"}, "give one of them"),
        ({"jobs": 2}, "give --cluster too"),
        ({"cluster": "local", "queue": "long"}, "not for --cluster local"),
        ({"cluster": "slurm"}, "say how many --jobs"),
        ({"cluster": "cloud"}, "not one of local, slurm, pbs, lsf, sge"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Options(**words)


@given(st.lists(st.integers(0, 300), max_size=5), st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_batches_are_all_items_once_in_order(counts: list[int], seconds: list[float]) -> None:
    shared: list[Any] = []

    def share(job: Any) -> Any:
        shared.append(job)
        return job

    jobs = [(str(number), range(count)) for number, count in enumerate(counts)]
    batches = cluster._Batches(((job, items) for job, items in jobs if items), share)  # type: ignore[misc]
    found: list[tuple[Any, int]] = []
    at = 0
    while batch := batches.next(1 + at % 3):
        size = batches._size
        found += [(batch.job, item) for item in batch.items]
        assert len(batch.items) <= size
        batches.took(len(batch.items), seconds[at % len(seconds)])
        assert 1 <= batches._size <= 2 * size
        at += 1
    assert found == [(job, item) for job, items in jobs for item in items]
    assert shared == [job for job, items in jobs if items]  # each once


@given(st.lists(st.integers(0, 2 * cluster.JOINED_ITEMS), max_size=20))
def test_jobs_of_few_items_are_joined_and_no_item_is_lost(counts: list[int]) -> None:
    def job_of(number: int) -> Any:
        return lambda item: (number, item)

    joined = list(cluster._joined((job_of(number), range(count)) for number, count in enumerate(counts)))
    made = [job(item) for job, items in joined for item in items]
    assert made == [(number, item) for number, count in enumerate(counts) for item in range(count)]
    assert all(items for _, items in joined)
    assert len(joined) <= 1 + 2 * sum(counts) // cluster.JOINED_ITEMS


def test_the_journal_is_kept_where_the_run_was_started(
    source: Path, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[RegionDone] = []
    record = Journal.record

    def noted(journal: Journal, done: RegionDone) -> None:
        lines.append(done)
        record(journal, done)

    monkeypatch.setattr(Journal, "record", noted)
    events: list[Event] = []
    convert(source, tmp_path / "out", Options(**SMALL, scheduler=scheduler), events.append)
    assert lines == [e for e in events if isinstance(e, RegionDone)]
    assert any(isinstance(e, Note) and "dashboard" in e.message for e in events)
    assert np.prod([2, 2, 20, 200, 200]) * 2 <= sum(line.read_bytes for line in lines)


def test_the_commands_of_the_readme(
    source: Path, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = text.partition("\n### On a cluster\n")[2].partition("\n### ")[0].split("```")
    shutil.copy(source, tmp_path / "in.ims")
    monkeypatch.chdir(tmp_path)
    commands = blocks[1].strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        assert main(command.replace("tcp://127.0.0.1:8786", scheduler).split()[1:]) == 0
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "out2.ome.zarr")
    # Of the jobs of a scheduler, that its words are understood: there is none here.
    words = blocks[3].removeprefix("sh\n").replace("\\\n", " ").split()
    asked: list[Options] = []

    def refused(options: Options, _: str) -> None:
        asked.append(options)
        raise RuntimeError("no cluster here")

    monkeypatch.setattr(cluster, "_new", refused)
    assert main(words[1:]) == 5  # out.ome.zarr is there
    assert main([*words[1:], "--overwrite"]) == 2
    assert (asked[0].jobs, asked[0].job_cores, asked[0].job_memory) == (20, 4, 16 * 2**30)
    assert asked[0].job_extra == ("--account=lab",)


@pytest.mark.parametrize("kind", sorted(cluster.BATCH_SCHEDULERS))
def test_jobs_of_a_scheduler_ask_for_what_was_given(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script that a job would be, of a scheduler that is not there."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    scaled: list[int] = []

    def scale(_: Any, n: int = 0, jobs: int = 0, **_more: Any) -> None:
        scaled.append(n or jobs)

    monkeypatch.setattr(getattr(jobqueue, cluster.BATCH_SCHEDULERS[kind]), "scale", scale)
    options = Options(
        cluster=kind,
        jobs=3,
        job_cores=4,
        job_memory=2**33,
        job_time="02:00",
        queue="imaging",
        job_extra=("-A lab",),
    )
    with cluster._new(options, "") as started:
        script = started.job_script()
    assert 3 in scaled
    for words in ("--nthreads 4", "02:00", "imaging", "-A lab", "8.00GiB"):
        assert words in script, words


def test_a_worker_of_another_version_does_nothing() -> None:
    """It may have joined when the others had been asked already."""
    made, _ = cluster._run_batch(abs, [-1, 2], 1, __version__)
    assert made == [1, 2]
    with pytest.raises(OptionError, match=r"not 0\.0\.1: install the same everywhere"):
        cluster._run_batch(abs, [-1, 2], 1, "0.0.1")


def test_workers_of_another_version_are_refused_at_the_start() -> None:
    class Client:
        def run(self, _function: Any, on_error: str) -> dict[str, object]:
            assert on_error == "return"
            return {"tcp://a:1": __version__, "tcp://b:1": "0.0.1"}

    with pytest.raises(OptionError, match=r"tcp://b:1.*0\.0\.1"):
        cluster._check_versions(Client())


def test_the_smallest_worker_counts_and_half_its_memory_is_for_regions() -> None:
    class Client:
        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            assert n_workers == -1
            sizes = {"a": (4, 2**33), "b": (2, 2**34)}
            return {"workers": {name: {"nthreads": n, "memory_limit": m} for name, (n, m) in sizes.items()}}

    assert cluster._resources(Client(), Options()) == Resources(2, 2**32)


def test_a_worker_that_stays_does_not_take_one_store_for_another(scheduler: str, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    for number, dtype in enumerate(("uint16", "uint8", "float32")):
        pixels = coded_pixels((1, 1, 12, 100, 100), "uint8").astype(dtype)
        write_ims(tmp_path / f"{number}.ims", pixels, chunks=(8, 32, 32))
        options = Options(chunks=(4 + number, 32, 32), scheduler=scheduler, overwrite=True, verify="full")
        report = convert(tmp_path / f"{number}.ims", out, options)
        assert report.verification is not None
        assert report.verification.passed


def test_a_scheduler_that_goes_away_ends_the_run_with_one_line(source: Path, tmp_path: Path) -> None:
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    )

    def close(event: Event) -> None:
        if isinstance(event, RegionDone) and event.region == 3:
            threading.Thread(target=local.close).start()
            time.sleep(2)

    try:
        options = Options(**SMALL, scheduler=local.scheduler_address)
        with pytest.raises(WriteError, match="the cluster is gone"):
            convert(source, tmp_path / "out", options, close)
    finally:
        local.close()
    assert convert(source, tmp_path / "out", Options(**SMALL)).kept_bytes > 0


def test_ctrl_c_at_a_terminal_says_one_line(source: Path, tmp_path: Path) -> None:
    """It reaches the workers too."""
    words = ["--cluster", "local", "--jobs", "2", "--chunks", "4,8,8", "--memory", "12MiB"]
    command = [sys.executable, "-m", "ngff_convert", str(source), str(tmp_path / "out"), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert "dashboard" in process.stderr.readline()
        while not list(tmp_path.glob("out.partial/0/c/*")):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("ngff-convert: interrupted; the work so far is kept")
    assert "Traceback" not in said


def test_what_a_scheduler_refuses_is_told_in_its_words(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dask_jobqueue")
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: Invalid account' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    words = ["--cluster", "slurm", "--jobs", "2", "--job-memory", "2GiB"]
    assert main([str(source), str(tmp_path / "out"), *words]) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "ngff-convert: slurm: takes no job: sbatch: error: Invalid account"
    gc.collect()  # what was not closed warns now
    assert not [line for line in said if "Traceback" in line]
