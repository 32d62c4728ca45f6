"""Conversions in parts: whatever runs them, in whatever order, the store is that of one run."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import ome_tiffs
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from label_files import objects, write_labels
from servers import http_files
from stores import attributes, tree

from ngff_convert import Options, array_job, convert, machine, resume
from ngff_convert import job_file as job_files
from ngff_convert.array_job import PART_VARIABLES, array_spec
from ngff_convert.cli import main
from ngff_convert.commit import PLAN_FILE
from ngff_convert.errors import ConversionError, OptionError, ReadError, TargetError
from ngff_convert.events import Event, Note, RegionDone, ignore
from ngff_convert.journal import JOURNAL_FOLDER, Journal, line_of
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.write_plan import Pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from ngff_convert.job_file import Job

README = Path(__file__).parent.parent / "README.md"
MIB = 2**20
SHAPE = (2, 1, 16, 100, 120)
# Little memory makes dozens of regions, and several passes.
SMALL: dict[str, Any] = {"chunks": (8, 32, 32), "memory": 10_000_000, "workers": 2}
WORDS = ["--chunks", "8,32,32", "--memory", "10000000", "--workers", "2"]
N_REGIONS = 64
"""That read the source, with these options."""

KILLED = -signal.SIGKILL


class Stop(BaseException):
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.ims"
    write_ims(path, coded_pixels(SHAPE), chunks=(8, 32, 32), levels=3)
    return path


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The store that one run makes."""
    store = tmp_path_factory.mktemp("expected") / "out.ome.zarr"
    report = convert(source, store, Options(**SMALL))
    assert [step.native for step in report.plans[0].passes] == [True, False, False]
    assert report.plans[0].passes[0].n_regions == N_REGIONS
    return tree(store)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.ome.zarr"


@pytest.fixture(autouse=True)
def _not_in_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PART_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def planned(source: object, out: Path, parts: int = 3, **settings: Any) -> Job:
    """Return a job that went through its file."""
    job = array_job.plan(str(source), out, parts, Options(**{**SMALL, **settings}), ignore)
    job_files.save(job, job_file(out))
    assert job_files.load(job_file(out)) == replace(job, options=replace(job.options, restart=False))
    return job_files.load(job_file(out))


def job_file(out: Path) -> Path:
    return out.with_name("job.json")


def run(job: Job, *parts: int, observe: Callable[[Event], None] = ignore) -> list[int]:
    return [array_job.run(job, part, machine.resources(), observe) for part in parts]


def finish(job: Job, observe: Callable[[Event], None] = ignore) -> Any:
    return array_job.finish(job, Options(), observe)


def begin(job: Job, part: int, regions: int) -> None:
    """Do some regions of a part, and be stopped."""
    numbers = count(1)

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and next(numbers) == regions:
            raise Stop

    with pytest.raises(Stop):
        run(job, part, observe=stop)


def several_images(folder: Path) -> Path:
    one, two = ome_tiffs.coded(c=2, z=6, y=90, x=100), ome_tiffs.coded(z=4, y=130, x=70)
    inner = ome_tiffs.data(IFD=0, PlaneCount=12), ome_tiffs.data(IFD=12, PlaneCount=4)
    xml = ome_tiffs.document(ome_tiffs.image(one, inner[0]), ome_tiffs.image(two, inner[1], number=1))
    pages = ome_tiffs.pages_of(one) + ome_tiffs.pages_of(two)
    return ome_tiffs.write(folder / "in.ome.tif", pages, xml, tile=(32, 32))


def stack(path: Path, t: int) -> None:
    tifffile.imwrite(path, coded_pixels((4, 40, 50), "uint16") + t, photometric="minisblack")


def as_in_one_run(source: Path, out: Path, **settings: Any) -> dict[str, str]:
    one = out.with_name("one.ome.zarr")
    convert(source, one, Options(**{**SMALL, **settings}))
    return tree(one)


# -- the store is that of one run --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        (1, {}),
        (7, {}),
        (100, {}),
        (5, {"ngff_version": "0.4"}),
        (5, {"shards": (8, 64, 64)}),
        (5, {"pyramid": "native"}),
        (5, {"layout": "bioformats2raw", "crop": ((1, 2), *[(None, None)] * 4)}),
        (2, {"dtype": "float32", "fsync": "region", "min_size": 16}),
    ],
)
def test_the_store_is_that_of_one_run(source: Path, out: Path, parts: int, settings: dict[str, Any]) -> None:
    job = planned(source, out, parts, **settings)
    assert sum(run(job, *range(1, parts + 1))) == sum(array_job.status(job).regions)
    finish(job)
    assert tree(out) == as_in_one_run(source, out, **settings)
    assert sorted(path.name for path in out.parent.iterdir()) == ["job.json", "one.ome.zarr", "out.ome.zarr"]


@pytest.mark.parametrize("parts", [2, 9])
def test_several_images_are_shared_out_too(tmp_path: Path, out: Path, parts: int) -> None:
    source = several_images(tmp_path)
    job = planned(source, out, parts)
    assert sum(run(job, *range(1, parts + 1))) == 24 + 15
    report = finish(job)
    assert report.folders == ("0", "1")
    assert tree(out) == as_in_one_run(source, out)


def test_label_images_are_shared_out_with_their_image(source: Path, out: Path) -> None:
    seg = write_labels(out.with_name("seg.tif"), objects(SHAPE[2:]))
    (table := out.with_name("seg.csv")).write_text("label,area\n1,5\n2,6\n")
    labels = {"labels": (("nuclei", str(seg)),), "label_properties": (("nuclei", str(table)),)}
    job = planned(source, out, 3, **labels)
    assert sum(run(job, 3, 1, 2, 1)) > N_REGIONS
    finish(job)
    assert tree(out) == as_in_one_run(source, out, **labels)
    assert len(attributes(out / "labels/nuclei", "0.5")["image-label"]["colors"]) > 50


def test_every_native_level_is_shared_out_and_nothing_is_read_to_finish(source: Path, out: Path) -> None:
    job = planned(source, out, 4, pyramid="native")
    assert sum(run(job, 1, 2, 3, 4)) == sum(array_job.status(job).regions) == 64 + 8 + 2
    assert finish(job).read_bytes == 0


def test_what_needs_no_source_is_left_to_finish(source: Path, out: Path) -> None:
    job = planned(source, out)
    run(job, 1, 2, 3)
    events: list[Event] = []
    finish(job, events.append)
    done = [(event.step, event.region) for event in events if isinstance(event, RegionDone)]
    assert sorted(done) == [(1, n) for n in range(8)] + [(2, n) for n in range(2)]


def test_there_may_be_more_parts_than_regions(source: Path, out: Path) -> None:
    notes: list[Event] = []
    job = array_job.plan(str(source), out, 70, Options(**SMALL), notes.append)
    said = [event.message for event in notes if isinstance(event, Note)]
    assert "there are only 64 regions: 6 parts have nothing to do" in said
    status = array_job.status(job)
    assert sum(status.regions) == N_REGIONS
    assert len(status.parts("done")) == 6
    assert run(job, *status.parts("done")) == [0] * 6


@pytest.mark.parametrize("seed", range(3))
def test_any_order_and_again(source: Path, out: Path, expected: dict[str, str], seed: int) -> None:
    rng = random.Random(seed)
    job = planned(source, out, 6)
    order = [*range(1, 7), *rng.choices(range(1, 7), k=6)]
    rng.shuffle(order)
    done: Counter[int] = Counter()
    for part in order:
        (regions,) = run(job, part)
        assert regions == (0 if done[part] else array_job.status(job).regions[part - 1])
        done[part] += 1
    finish(job)
    assert tree(out) == expected


# -- several processes -------------------------------------------------------------------------------------


def started(job: Path, part: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ngff_convert", "run", str(job), "--part", str(part)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_all_parts_at_once_in_processes_of_their_own(
    source: Path, out: Path, expected: dict[str, str]
) -> None:
    job = planned(source, out)
    for process in [started(job_file(out), part) for part in (1, 2, 3)]:
        said, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert re.fullmatch(r"part \d of 3 is done: 2[12] regions now\n", said)
    finish(job)
    assert tree(out) == expected


TOGETHER = """
import os, sys, time
from pathlib import Path
from ngff_convert import array_job, job_file as job_files, machine
from ngff_convert.events import ImageStarted

meeting = Path(sys.argv[3])

def wait(event):
    if isinstance(event, ImageStarted):  # what is done already has been looked up by now
        (meeting / str(os.getpid())).touch()
        while len(list(meeting.iterdir())) < 2:
            time.sleep(0.005)

print(array_job.run(job_files.load(Path(sys.argv[1])), int(sys.argv[2]), machine.resources(), wait))
"""


def test_the_same_part_twice_at_once(source: Path, out: Path, expected: dict[str, str]) -> None:
    job = planned(source, out, 2)
    meeting = out.with_name("meeting")
    meeting.mkdir()
    command = [sys.executable, "-c", TOGETHER, str(job_file(out)), "2", str(meeting)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [process.communicate(timeout=60)[0] for process in both] == ["32\n", "32\n"]
    finally:
        for process in both:
            process.kill()
    status = array_job.status(job)
    assert (status.done, status.undone) == ((0, 32), [1])
    run(job, 1)
    finish(job)
    assert tree(out) == expected


def journal_lines(out: Path) -> int:
    folder = out.with_name("out.ome.zarr.partial") / JOURNAL_FOLDER
    return sum(path.read_bytes().count(b'"plan"') for path in folder.glob("*.jsonl"))


@pytest.mark.parametrize("seed", range(2))
def test_parts_that_are_killed_are_run_again(
    source: Path, out: Path, expected: dict[str, str], seed: int
) -> None:
    rng = random.Random(seed)
    job = planned(source, out, 2)
    ended: list[int] = []
    for part in (1, 2, 1):
        process = started(job_file(out), part)
        until = journal_lines(out) + rng.randrange(1, 16)
        while process.poll() is None and journal_lines(out) < until:
            time.sleep(0.001)
        time.sleep(rng.random() / 50)
        process.kill()
        process.communicate()
        ended.append(process.returncode)
        assert not out.exists()
    assert KILLED in ended
    before = sum(array_job.status(job).done)
    assert before > 0
    assert sum(run(job, *array_job.status(job).undone)) == N_REGIONS - before
    finish(job)
    assert tree(out) == expected


def test_a_part_takes_no_lock_and_waits_for_none(source: Path, out: Path) -> None:
    job = planned(source, out)
    with (out.with_name("out.ome.zarr.partial") / PLAN_FILE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(job, 2) == [21]
        assert array_job.status(job).done == (0, 21, 0)
        with pytest.raises(TargetError, match="another run is writing it"):
            planned(source, out)


@pytest.mark.skipif(not shutil.which("strace"), reason="watches system calls with strace")
def test_no_library_locks_a_file_for_a_part_either(source: Path, out: Path) -> None:
    def locks(*words: str) -> list[str]:
        trace = out.with_name("trace")
        command = ["strace", "-f", "-y", "--seccomp-bpf", "-e", "trace=flock,fcntl", "-o", str(trace)]
        command += [sys.executable, "-m", "ngff_convert", *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if "ptrace" in result.stderr:
            pytest.skip("processes cannot be watched here")
        assert result.returncode == 0, result.stderr
        found = trace.read_text(errors="replace").splitlines()
        return [line for line in found if re.search(r" flock\(|F_(OFD_)?SETLK", line)]

    planning = ["plan", str(source), str(out), "-n", "9", "-o", str(job_file(out)), *WORDS]
    assert [line for line in locks(*planning) if f"{out}.partial" in line]  # this is how one is seen
    # HDF5 asks of its own files whether anybody writes them, and does without an answer.
    reading = f"<{source}>, LOCK_SH|LOCK_NB"
    assert [line for line in locks("run", str(job_file(out)), "--part", "4") if reading not in line] == []


# -- how far it is -----------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """Run a command, and return what it printed; on failure, its one line."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    printed = capsys.readouterr()
    if code:
        assert printed.err.count("\n") == 1, printed.err
    return printed.err if code else printed.out


def test_status_after_each_step(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = job_file(out)
    words = said(capsys, "plan", source, out, "-n", 5, "-o", path, *WORDS)
    assert words == f"{path}: 5 parts, numbered from 1; the work is in {out}.partial\n"
    job = job_files.load(path)
    n = [12, 13, 13, 13, 13]  # regions of each

    def check(done: list[int], resubmit: str, table: list[str]) -> None:
        status = array_job.status(job)
        assert list(status.regions) == n
        assert list(status.done) == done
        states = {
            "done": [p for p in range(1, 6) if done[p - 1] == n[p - 1]],
            "begun": [p for p in range(1, 6) if 0 < done[p - 1] < n[p - 1]],
            "missing": [p for p in range(1, 6) if not done[p - 1]],
        }
        assert {state: status.parts(state) for state in states} == states
        facts = json.loads(said(capsys, "status", path, "--json"))
        assert facts == {
            "source": str(source),
            "target": str(out),
            "finished": False,
            "regions": 64,
            "regions_done": sum(done),
            **states,
            "resubmit": resubmit,
        }
        assert said(capsys, "status", path, "--missing") == f"{resubmit}\n"
        lines = [" ".join(line.split()) for line in said(capsys, "status", path).splitlines()]
        assert lines == [f"{source} -> {out}", *table, f"resubmit {resubmit or 'nothing'}"]

    nothing = "0 parts 0 of 0 regions"
    check([0] * 5, "1-5", [f"done {nothing}", f"begun {nothing}", "missing 5 parts 0 of 64 regions 1-5"])
    words = said(capsys, "run", path, "--part", 2)
    assert words == "part 2 of 5 is done: 13 regions now\n"
    begin(job, 4, 1)
    check(
        [0, 13, 0, 1, 0],
        "1,3-5",
        [
            "done 1 part 13 of 13 regions 2",
            "begun 1 part 1 of 13 regions 4",
            "missing 3 parts 0 of 38 regions 1,3,5",
        ],
    )
    begin(job, 4, 11)
    begin(job, 5, 2)
    check(
        [0, 13, 0, 12, 2],
        "1,3-5",
        [
            "done 1 part 13 of 13 regions 2",
            "begun 2 parts 14 of 26 regions 4-5",
            "missing 2 parts 0 of 25 regions 1,3",
        ],
    )
    words = said(capsys, "run", path, "--part", 4)
    assert words == "part 4 of 5 is done: 1 region now\n"
    run(job, 1, 3, 5)
    check([*n], "", ["done 5 parts 64 of 64 regions 1-5", f"begun {nothing}", f"missing {nothing}"])
    assert said(capsys, "run", path, "--part", 4) == "part 4 of 5 is done: 0 regions now\n"
    assert "exclude each other" in said(capsys, "status", path, "--json", "--missing", code=2)


def test_what_a_killed_part_had_not_finished_writing_does_not_count(source: Path, out: Path) -> None:
    job = planned(source, out)
    begin(job, 2, 5)
    (lines,) = (out.with_name("out.ome.zarr.partial") / JOURNAL_FOLDER).glob("part-2.*")
    content = lines.read_bytes()
    lines.write_bytes(content[:-20])
    assert array_job.status(job).done == (0, 4, 0)
    assert run(job, 2) == [17]


@given(st.sets(st.integers(1, 60)))
def test_array_specs_name_the_parts_and_no_others(parts: set[int]) -> None:
    spans = [span.partition("-") for span in array_spec(sorted(parts)).split(",") if span]
    named = [n for first, _, last in spans for n in range(int(first), int(last or first) + 1)]
    assert named == sorted(parts)
    assert all(int(b[0]) > int(a[2] or a[0]) + 1 for a, b in pairwise(spans))


@given(
    images=st.lists(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=4), max_size=4),
    parts=st.integers(1, 50),
)
def test_every_region_is_of_one_part(images: list[list[tuple[bool, int]]], parts: int) -> None:
    def plan_of(passes: list[tuple[bool, int]]) -> Any:
        ones = (1,) * 5
        return SimpleNamespace(
            passes=[Pass(native, 0, (1, n, 1, 1, 1), (0,), (ones,), ones, 1, 0.0) for native, n in passes]
        )

    plans = [plan_of(passes) for passes in images]
    shares = [list(array_job._of_part(parts, part, plans)) for part in range(1, parts + 1)]
    found = [(image, at, region) for share in shares for image, at, own in share for region in own]
    assert found == [
        (image, at, region)
        for image, passes in enumerate(images)
        for at, (native, n) in enumerate(passes)
        if native
        for region in range(n)
    ]
    sizes = [sum(len(own) for _, _, own in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


STATUS_MEMORY = """
import resource, sys
from pathlib import Path
from ngff_convert import array_job, job_file as job_files

job = job_files.load(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = array_job.status(job)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(status.done), len(status.parts("begun")), after - before)
"""


def test_the_status_of_many_regions_takes_little_memory(source: Path, out: Path) -> None:
    planned(source, out, 200)
    partial = out.with_name("out.ome.zarr.partial")
    record = json.loads((partial / PLAN_FILE).read_text())
    step = record["images"][0]["plan"]["passes"][0]
    step["shape"] = [200_000 * step["region"][0], *step["region"][1:]]
    (partial / PLAN_FILE).write_text(json.dumps(record))
    mark, regions = resume.mark_of(record), range(0, 200_000, 2)
    line = line_of(RegionDone(0, 0, 10**9, (0, 0), 1000, 1000, 1, ()), mark, flushed=True)
    for writer in ("part-1.a.jsonl", "part-2.b.jsonl"):  # 200,000 lines, each region twice
        with (partial / JOURNAL_FOLDER / writer).open("w") as file:
            file.writelines("\n" + line.replace(str(10**9), str(region)) for region in regions)
    command = [sys.executable, "-c", STATUS_MEMORY, str(job_file(out))]
    n_done, n_begun, kib = map(int, subprocess.check_output(command, text=True).split())
    assert (n_done, n_begun) == (100_000, 200)
    assert kib < 16 * 1024  # they are 40 MB


# -- the end -----------------------------------------------------------------------------------------------


def test_finish_names_what_is_missing(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = planned(source, out, 6)
    run(job, 2)
    begin(job, 5, 3)
    before = tree(out.with_name("out.ome.zarr.partial"))
    said_so = said(capsys, "finish", job_file(out), code=5)
    assert "5 of 6 parts are not done: 1,3-6; run them, then finish" in said_so
    assert tree(out.with_name("out.ome.zarr.partial")) == before
    assert not out.exists()


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from ngff_convert import Options, array_job, commit, job_file as job_files, store

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

where = sys.argv[2]
if where == "metadata":
    store.check = kill
if where == "name":
    commit.Target.commit = kill
array_job.finish(
    job_files.load(Path(sys.argv[1])), Options(), lambda event: type(event).__name__ == where and kill()
)
"""


def killed_at(out: Path, where: str) -> None:
    command = [sys.executable, "-c", KILLED_AT, str(job_file(out)), where]
    assert subprocess.run(command, check=False).returncode == KILLED


@pytest.mark.parametrize("where", ["RegionDone", "LevelDone", "metadata", "name"])
def test_finish_that_is_killed_is_repeated(
    source: Path, out: Path, expected: dict[str, str], where: str
) -> None:
    job = planned(source, out)
    run(job, 1, 2, 3)
    killed_at(out, where)
    assert not out.exists()
    assert array_job.status(job).undone == []
    assert run(job, 2) == [0]
    events: list[Event] = []
    report = finish(job, events.append)
    assert report.kept_bytes >= np.prod(SHAPE) * 2
    done = [event.step for event in events if isinstance(event, RegionDone)]
    assert len(done) == {"RegionDone": 9, "LevelDone": 10}.get(where, 0)
    assert tree(out) == expected


@pytest.mark.parametrize("overwrite", [False, True])
def test_finish_that_is_killed_when_the_store_has_its_name_leaves_nothing_but_that(
    source: Path, out: Path, expected: dict[str, str], overwrite: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if overwrite:
        convert(source, out, Options(chunks=(4, 16, 16)))
    job = planned(source, out, overwrite=overwrite)
    run(job, 1, 2, 3)
    killed_at(out, "Finished")
    assert "is there already: the job is finished" in said(capsys, "finish", job_file(out), code=5)
    assert tree(out) == expected
    assert sorted(path.name for path in out.parent.iterdir()) == ["job.json", "out.ome.zarr"]


def test_what_is_finished_is_told_by_every_command(
    source: Path, out: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    job = planned(source, out, 2)
    run(job, 1, 2)
    finish(job)
    # A scheduler may run a part again, and scripts ask how far it is: neither is a failure.
    for command, code in (("run", 0), ("status", 0), ("finish", 5)):
        rest = ["--part", "1"] if command == "run" else []
        told = said(capsys, command, job_file(out), *rest, code=code)
        assert "is there already: the job is finished" in told
    facts = json.loads(said(capsys, "status", job_file(out), "--json"))
    assert (facts["finished"], facts["resubmit"]) == (True, "")
    assert said(capsys, "status", job_file(out), "--missing") == "\n"
    words = ["plan", str(source), str(out), "-n", "2", "-o", str(job_file(out)), *WORDS]
    assert "exists already; use --overwrite" in said(capsys, *words, code=5)
    assert tree(out) == expected


def test_an_old_store_stays_until_the_end(
    source: Path, out: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    convert(source, out, Options(chunks=(4, 16, 16)))
    old = tree(out)
    said(capsys, "plan", source, out, "-n", 2, "-o", job_file(out), "--overwrite", *WORDS)
    for part in (2, 1):
        said(capsys, "run", job_file(out), "--part", part)
    assert tree(out) == old
    said(capsys, "finish", job_file(out))
    assert tree(out) == expected


def test_a_verification_that_is_planned_is_carried_out(
    source: Path, out: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said(capsys, "plan", source, out, "-n", 2, "-o", job_file(out), "--verify", "full", *WORDS)
    run(job_files.load(job_file(out)), 1, 2)
    chunks = sorted(path for path in Path(f"{out}.partial", "0", "c").rglob("*") if path.is_file())
    sound = chunks[0].read_bytes()
    chunks[0].write_bytes(chunks[1].read_bytes())
    assert "level 0, chunk 0,0,0,0,0" in said(capsys, "finish", job_file(out), "--quiet", code=8)
    assert not out.exists()
    chunks[0].write_bytes(sound)
    # What was made of it has to be made again.
    said(capsys, "plan", source, out, "-n", 2, "-o", job_file(out), "--verify", "full", "--restart", *WORDS)
    run(job_files.load(job_file(out)), 1, 2)
    report = tmp_path / "report.json"
    assert "is the same as" in said(capsys, "finish", job_file(out), "--report", report)
    assert json.loads(report.read_text())["verification"]["passed"] is True
    assert tree(out) == expected


# -- damaged and changed inputs ----------------------------------------------------------------------------


@pytest.fixture
def copied(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy2(source, tmp_path / "in.ims"))


def damage(path: Path) -> None:
    """Damage one chunk of the full size."""
    with h5py.File(path) as file:
        chunk = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0/Data"].id.get_chunk_info(3)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)


def test_what_is_filled_in_a_part_is_told_at_the_end(
    copied: Path, out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    damage(copied)
    said(capsys, "plan", copied, out, "-n", 4, "-o", job_file(out), "--on-error", "fill", *WORDS)
    for part in (1, 2, 3, 4):
        said(capsys, "run", job_file(out), "--part", part, "--quiet")
    report = tmp_path / "report.json"
    assert main(["finish", str(job_file(out)), "--report", str(report)]) == 3
    assert "not whole" in capsys.readouterr().err
    facts = json.loads(report.read_text())
    assert facts["exit_code"] == 3
    assert len(facts["filled"]) == 1
    assert "1 chunk filled with 0" in facts["filled"][0]
    assert tree(out) == as_in_one_run(copied, out, on_error="fill")


def test_a_damaged_part_fails_alone(
    copied: Path, out: Path, expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    sound = copied.read_bytes()
    mtime = copied.stat().st_mtime_ns
    damage(copied)
    os.utime(copied, ns=(mtime, mtime))
    job = planned(copied, out, 4)
    codes = {part: main(["run", str(job_file(out)), "--part", str(part)]) for part in (1, 2, 3, 4)}
    assert sorted(codes.values()) == [0, 0, 0, 3]
    assert re.search(r"Data.* chunk", capsys.readouterr().err)
    (failed,) = array_job.status(job).undone
    assert codes[failed] == 3
    copied.write_bytes(sound)
    os.utime(copied, ns=(mtime, mtime))
    run(job, failed)
    finish(job)
    assert tree(out) == expected


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def another_content(path: Path) -> None:
    """Change a file so that its size and its time do not tell it."""
    mtime = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        byte = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte[0] ^ 255]))
    os.utime(path, ns=(mtime, mtime))


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (longer, "in.ims has .* bytes, had "),
        (another_content, "in.ims has another content"),
        (touched, "in.ims was changed meanwhile"),
        (lambda path: path.write_text("moved away\n"), "in.ims has 11 bytes, had "),
        (lambda path: path.write_bytes(b""), "in.ims has 0 bytes, had "),
        (Path.unlink, "is it still there"),
    ],
)
def test_a_source_that_was_changed_is_refused(
    copied: Path,
    out: Path,
    change: Callable[[Path], None],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = planned(copied, out, 3)
    run(job, 1)
    change(copied)
    refused = said(capsys, "run", job_file(out), "--part", 2, code=3)
    assert re.search(named, refused), refused
    assert array_job.status(job).done == (21, 0, 0)


def test_a_source_that_was_changed_before_the_end_makes_no_store(copied: Path, out: Path) -> None:
    job = planned(copied, out, 1)
    run(job, 1)
    touched(copied)
    with pytest.raises(ReadError, match=r"in\.ims was changed meanwhile.*; plan it again with --restart"):
        finish(job)
    assert not out.exists()


def test_a_file_of_a_set_that_is_gone_is_named(tmp_path: Path, out: Path) -> None:
    for t in range(3):
        stack(tmp_path / f"a_t{t}.tif", t)
    job = planned(tmp_path / "a_t{t}.tif", out, 2)
    (tmp_path / "a_t1.tif").unlink()
    assert main(["run", str(job_file(out)), "--part", "1"]) == 3
    assert array_job.status(job).done[0] == 0


# -- how a part tells and ends -----------------------------------------------------------------------------


def test_a_part_that_is_terminated_says_so_and_is_gone_on_with(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = planned(source, out, 2)
    record, numbers = Journal.record, count(1)

    def terminated(journal: Journal, done: RegionDone) -> None:
        record(journal, done)
        if next(numbers) == 7:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", terminated)
        assert main(["run", str(job_file(out)), "--part", "2"]) == 143
    assert f"terminated; the work so far is kept in {out}.partial" in capsys.readouterr().err
    assert array_job.status(job).done == (0, 7)
    assert run(job, 2) == [25]


def test_parts_tell_programs_in_json(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def events(*words: object, code: int = 0) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert main([*map(str, words), "--log-format", "json"]) == code
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    events("plan", source, out, "-n", 2, "-o", job_file(out), *WORDS)
    regions = [event for event in events("run", job_file(out), "--part", 1) if event["event"] == "region"]
    assert len(regions) == 32
    (refused,) = events("finish", job_file(out), code=5)
    assert (refused["event"], refused["exit_code"]) == ("error", 5)
    assert "1 of 2 parts are not done: 2" in refused["message"]
    events("run", job_file(out), "--part", 2)
    assert events("finish", job_file(out))[-1]["event"] == "done"


# -- which part --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PART_VARIABLES)
def test_the_scheduler_says_which_part(
    source: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = planned(source, out, 4)
    for other in set(PART_VARIABLES) - {name}:
        monkeypatch.setenv(other, random.Random(other).choice(["undefined", "0", ""]))
    monkeypatch.setenv(name, "3")
    assert main(["run", str(job_file(out))]) == 0
    assert array_job.status(job).parts("done") == [3]
    assert main(["run", str(job_file(out)), "--part", "1"]) == 0  # what is given is above it
    assert array_job.status(job).parts("done") == [1, 3]


@pytest.mark.parametrize("value", [None, "undefined", "0", "", "-1", "1.5"])
def test_no_part_is_an_error(
    source: Path,
    out: Path,
    value: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = planned(source, out, 4)
    if value is not None:
        for name in PART_VARIABLES:
            monkeypatch.setenv(name, value)
    refused = said(capsys, "run", job_file(out), code=2)
    assert "--part: is not given, and none of SLURM_ARRAY_TASK_ID, " in refused
    assert not any(array_job.status(job).done)


@pytest.mark.parametrize("part", ["0", "5", "-1"])
def test_parts_that_are_not_there_are_refused(
    source: Path, out: Path, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(source, out, 4)
    refused = said(capsys, "run", job_file(out), f"--part={part}", code=2)
    assert f"--part {part}: the job has parts 1 to 4" in refused
    if part == "5":
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", part)
        assert "the job has parts 1 to 4" in said(capsys, "run", job_file(out), code=2)


@pytest.mark.parametrize("n", ["0", "-3", "1000001", "many"])
def test_so_many_parts_are_refused(
    source: Path, out: Path, n: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "plan", source, out, f"--parts={n}", "-o", job_file(out), code=2)
    assert list(out.parent.iterdir()) == []


# -- the job file ------------------------------------------------------------------------------------------


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for name in names[:-1]:
            record = record[name]
        del record[names[-1]]

    return change


def having(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update(values)


@pytest.mark.parametrize(
    "change",
    [
        without("mark"),
        without("job"),
        without("options", "chunks"),
        without("options", "codec"),
        having(parts="3"),
        having(parts=0),
        having(parts=True),
        having(source=None),
        having(options=[]),
        lambda record: record["options"].update(chunks=[0, 0]),
        lambda record: record["options"]["codec"].update(name="zip"),
    ],
)
def test_a_damaged_job_file_is_refused(
    source: Path,
    out: Path,
    change: Callable[[dict[str, Any]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    planned(source, out)
    record = json.loads(job_file(out).read_text())
    change(record)
    job_file(out).write_text(json.dumps(record))
    for words in (["run", "--part", "1"], ["status"], ["finish"]):
        command, *rest = words
        refused = said(capsys, command, job_file(out), *rest, code=2)
        assert "is no job file; `ngff-convert plan` makes them" in refused


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"1", b"\xff\0", b"[" * 100_000, b'{"job": 1', None])
def test_what_is_no_job_file_is_refused(
    source: Path, out: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = job_file(out)
    if content is None:
        planned(source, out)
        content = path.read_bytes()[:-30]
    path.write_bytes(content)
    assert "is no job file" in said(capsys, "status", path, code=2)


def test_a_job_of_another_version_is_told(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(source, out)
    record = json.loads(job_file(out).read_text())
    job_file(out).write_text(json.dumps({"job": 2, "version": "99.1", "work": []}))
    refused = said(capsys, "run", job_file(out), "--part", 1, code=2)
    assert "is a job of ngff-convert 99.1; plan it again" in refused
    job_file(out).write_text(json.dumps({**record, "new field": 1}))  # such may be added
    assert said(capsys, "status", job_file(out), "--missing") == "1-3\n"


def test_a_job_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "job.json", tmp_path):
        for words in (["run", "--part", "1"], ["status"], ["finish"]):
            command, *rest = words
            assert f"{path}: cannot be read" in said(capsys, command, path, *rest, code=3)


def identity(path: Path) -> tuple[int, ...]:
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


@pytest.mark.parametrize("kind", ["text", "report", "empty", "folder", "link", "dangling", "newer"])
def test_nothing_but_a_job_is_replaced(
    source: Path, out: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = job_file(out)
    content = {"report": '{\n"report": 1}', "empty": "", "newer": '{"job": 2, "version": "9"}'}
    if kind == "folder":
        path.mkdir()
    elif kind in ("link", "dangling"):
        path.symlink_to(out.with_name("other"))
        if kind == "link":
            path.write_text("something else")
    else:
        path.write_text(content.get(kind, "my notes"))
    before = identity(path)
    refused = said(capsys, "plan", source, out, "-n", 2, "-o", path, *WORDS, code=5)
    assert "exists and is no job of this version" in refused
    assert identity(path) == before
    assert not out.with_name("out.ome.zarr.partial").exists()  # it was refused before any work


def test_a_job_file_that_cannot_be_written_is_told(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = out.with_name("nowhere") / "job.json"
    refused = said(capsys, "plan", source, out, "-n", 2, "-o", path, "--quiet", code=6)
    assert "nowhere/job.json: its folder is not there" in refused
    assert not out.with_name("out.ome.zarr.partial").exists()


def test_a_job_file_may_be_moved(source: Path, out: Path, expected: dict[str, str]) -> None:
    planned(source, out, 1)
    moved = job_file(out).rename(out.with_name("moved.json"))
    assert main(["run", str(moved), "--part", "1"]) == 0
    assert main(["finish", str(moved)]) == 0
    assert tree(out) == expected


def test_no_secret_is_in_it(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "AWS_SESSION_TOKEN": "FwoGZXIvYXdz"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    planned(source, out, storage_options=(("region", "us-east-1"),))
    left = [path.read_bytes() for path in out.parent.rglob("*") if path.is_file()]
    assert any(b"us-east-1" in content for content in left)
    assert not [content for content in left for value in secrets.values() if value.encode() in content]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/in.ims?X-Signature=abc", "http://me:abc@127.0.0.1:9/in.ims"]
)
def test_a_url_with_a_secret_in_it_is_refused(
    out: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = said(capsys, "plan", url, out, "-n", 2, "-o", job_file(out), code=2)
    assert "may be secret" in refused
    assert "abc" not in refused
    assert list(out.parent.iterdir()) == []


def test_how_servers_are_reached_is_kept_unless_it_is_said_anew(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, anew = (("region", "us-east-1"),), (("region", "eu-west-1"),)
    job = planned(source, out, 1, storage_options=kept)
    run(job, 1)
    used = []
    for name in ("run", "carry_out"):

        def note(*words: Any, name: str = name, **_: Any) -> Any:
            used.append((name, words[2] if name == "carry_out" else words[0].options))
            raise OptionError("enough")

        monkeypatch.setattr(array_job, name, note)
    for words in (["run", "--part", "1"], ["finish"]):
        command, *rest = words
        for more in ([], ["--storage-options", "region=eu-west-1"]):
            assert main([command, str(job_file(out)), *rest, *more]) == 2
    found = [(name, options.storage_options) for name, options in used]
    assert found == [("run", kept), ("run", anew), ("carry_out", kept), ("carry_out", anew)]


# -- planning again, and other runs ------------------------------------------------------------------------


def test_planning_again_keeps_what_is_done(source: Path, out: Path, expected: dict[str, str]) -> None:
    job = planned(source, out, 3)
    run(job, 2)
    begin(job, 3, 4)
    before = array_job.status(job)
    assert planned(source, out, 3) == job
    assert planned(source, out, 3, workers=1, memory=20_000_000).mark == job.mark
    assert array_job.status(job_files.load(job_file(out))) == before
    assert run(job, 3, 1) == [18, 21]
    finish(job)
    assert tree(out) == expected


def test_another_plan_is_refused_until_the_first_is_thrown_away(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = planned(source, out, 3)
    older = job_file(out).rename(out.with_name("older.json"))
    run(old, 1)
    words = ["plan", str(source), str(out), "-o", str(job_file(out)), *WORDS]
    refused = said(capsys, *words, "-n", "3", "--compressor", "zstd", code=5)
    assert "is the work of another conversion: --compressor is name zstd" in refused
    assert "use --restart" in refused
    assert "planned in 3 parts, not 4" in said(capsys, *words, "-n", "4", code=5)
    assert not job_file(out).exists()
    assert array_job.status(old).done == (21, 0, 0)
    said(capsys, *words, "-n", "3", "--compressor", "zstd", "--restart")
    new = job_files.load(job_file(out))
    assert not new.options.restart
    assert array_job.status(new).done == (0, 0, 0)
    for command, *rest in (["run", "--part", "1"], ["status"], ["finish"]):
        refused = said(capsys, command, older, *rest, code=5)
        assert "is of another plan; plan the job again, or use its newest job file" in refused
    run(new, 1, 2, 3)
    finish(new)
    convert(source, out.with_name("one"), Options(**SMALL, codec=new.options.codec))
    assert tree(out) == tree(out.with_name("one"))


def test_a_plain_conversion_leaves_a_plan_alone(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = planned(source, out, 3)
    before = tree(out.with_name("out.ome.zarr.partial"))
    refused = said(capsys, source, out, *WORDS, code=5)
    assert "it is planned in 3 parts, which `ngff-convert finish` makes a store of" in refused
    assert tree(out.with_name("out.ome.zarr.partial")) == before
    run(job, 1, 2, 3)
    assert "`ngff-convert finish`" in said(capsys, source, out, *WORDS, code=5)
    finish(job)


def test_a_plan_leaves_a_plain_conversion_alone(source: Path, out: Path) -> None:
    numbers = count(1)

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and next(numbers) == 5:
            raise Stop

    with pytest.raises(Stop):
        convert(source, out, Options(**SMALL), stop)
    with pytest.raises(TargetError, match="it is not planned in parts"):
        planned(source, out)
    assert convert(source, out, Options(**SMALL)).kept_bytes > 0


def test_a_job_whose_work_was_removed_is_told(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(source, out)
    shutil.rmtree(out.with_name("out.ome.zarr.partial"))
    for command, *rest in (["run", "--part", "1"], ["status"], ["finish"]):
        refused = said(capsys, command, job_file(out), *rest, code=5)
        assert "out.ome.zarr.partial: nothing of the job is there; plan the job again" in refused
    assert not out.with_name("out.ome.zarr.partial").exists()


def test_a_machine_with_less_memory_says_so(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(source, out)
    assert "--memory" in said(capsys, "run", job_file(out), "--part", 1, "--memory", "1000", code=7)


# -- from anywhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "pattern", "folder", "list"])
def test_relative_names_are_those_of_the_folder_of_the_plan(
    source: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "data").mkdir(parents=True)
    there.mkdir()
    shutil.copy2(source, here / "in.ims")
    for t in range(3):
        stack(here / f"data/a_t{t}.tif", t)
    (here / "list.txt").write_text("".join(f"data/a_t{t}.tif\n" for t in range(3)))
    given = {"file": ["in.ims"], "pattern": ["data/a_t{t}.tif"], "folder": ["data"]}.get(
        kind, ["data/a_t{t}.tif", "--files-from", "list.txt"]
    )
    monkeypatch.chdir(here)
    assert main([given[0], "../one.ome.zarr", *given[1:], *WORDS]) == 0
    words = ["-n", "2", "-o", "../job.json", *WORDS]
    assert main(["plan", given[0], "../out.ome.zarr", *given[1:], *words]) == 0
    monkeypatch.chdir(there)
    for part in ("2", "1"):
        assert main(["run", "../job.json", "--part", part]) == 0
    assert main(["finish", "../job.json"]) == 0
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "one.ome.zarr")
    assert list(there.iterdir()) == []


def test_an_input_may_be_on_a_server(source: Path, out: Path) -> None:
    with http_files(source.parent) as server:
        job = planned(f"{server.url}/in.ims", out, 2, memory=256 * MIB)
        run(job, 2, 1)
        finish(job)
    assert tree(out) == as_in_one_run(source, out)


def test_an_archive_is_made_in_parts_too(source: Path, tmp_path: Path) -> None:
    job = planned(source, tmp_path / "out.ozx", 2)
    run(job, 1, 2)
    finish(job)
    convert(source, tmp_path / "one.ozx", Options(**SMALL))
    assert (tmp_path / "out.ozx").read_bytes() == (tmp_path / "one.ozx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "one.ozx", "out.ozx"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_finish_that_is_killed_when_the_archive_has_its_name_leaves_nothing_but_that(
    source: Path, tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out.ozx"
    convert(source, tmp_path / "one.ozx", Options(**SMALL))
    if overwrite:
        convert(source, out, Options(chunks=(4, 16, 16)))
    job = planned(source, out, 2, overwrite=overwrite)
    run(job, 1, 2)
    killed_at(out, "Finished")
    with pytest.raises(TargetError, match="is there already: the job is finished"):
        finish(job)
    assert out.read_bytes() == (tmp_path / "one.ozx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "one.ozx", "out.ozx"]


def test_options_survive_the_job_file(source: Path, out: Path) -> None:
    settings: dict[str, Any] = {
        "crop": ((0, 1), (None, None), (2, None), (None, 60), (None, None)),
        "factors": ((1, 2, 2), (2, 2, 2)),
        "spacing": (2.0, 0.5, 0.5),
        "unit": "um",
        "channel_names": ("DAPI",),
        "channel_colors": ("blue",),
        "storage_options": (("region", "us-east-1"),),
        "name": "µ",
    }
    job = planned(source, out, **settings)
    assert asdict(job.options) == asdict(Options(**SMALL, **settings))
    run(job, 1, 2, 3)
    finish(job)
    assert tree(out) == as_in_one_run(source, out, **settings)


# -- the README --------------------------------------------------------------------------------------------

SBATCH = """#!{python}
# Does what an array job does, one part after the other.
import os, subprocess, sys
array, command = sys.argv[1].removeprefix("--array="), sys.argv[sys.argv.index("--wrap") + 1]
for span in array.split(","):
    first, _, last = span.partition("-")
    for part in range(int(first), int(last or first) + 1):
        number = {{"SLURM_ARRAY_TASK_ID": str(part)}}
        subprocess.run(["bash", "-c", command], env=os.environ | number, check=True)
"""


@pytest.mark.parametrize("again", [False, True])
def test_the_commands_of_the_readme(source: Path, tmp_path: Path, again: bool) -> None:
    section = README.read_text(encoding="utf-8").partition("\n### In parts: array jobs\n")[2]
    blocks = re.findall(r"```\n(.*?)```", section.partition("\n### ")[0], re.DOTALL)
    assert len(blocks) == 1
    commands = blocks[0].replace("200", "3").replace("8GiB", "64MiB").replace("--part 17", "--part 2")
    for name in ("plan", "run", "status", "finish"):
        assert f"ngff-convert {name} " in commands
    if again:
        (resubmit,) = re.findall(r"`(sbatch .*?)`", section.partition("\n### ")[0])
        assert "--missing" in resubmit
        commands, n = re.subn(r"^sbatch .*$", lambda _: resubmit, commands, flags=re.MULTILINE)
        assert n == 1
    programs = tmp_path / "programs"
    programs.mkdir()
    sbatch = programs / "sbatch"
    sbatch.write_text(SBATCH.format(python=sys.executable))
    sbatch.chmod(0o755)
    shutil.copy2(source, tmp_path / "in.ims")
    script = f"PATH='{programs}':'{Path(sys.executable).parent}':$PATH\n{commands}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "resubmit" in result.stdout
    convert(source, tmp_path / "one", Options(memory=64 * MIB, workers=4))
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "one")


def test_what_a_part_writes_while_the_job_is_planned_anew_is_not_believed(
    source: Path, out: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = planned(source, out, 2)
    record = Journal.record
    calls = count()
    again: list[Job] = []

    def interrupted(journal: Journal, done: RegionDone) -> None:
        if next(calls) == 2:  # its chunks are stored, and then removed, before it is noted
            again.append(planned(source, out, 2, restart=True))
        record(journal, done)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "record", interrupted)
        with suppress(ConversionError):  # it may notice
            run(job, 1)
    with pytest.raises(TargetError, match="plan"):
        run(job, 2)
    assert array_job.status(again[0]).undone == [1, 2]
    run(again[0], 1, 2)
    finish(again[0])
    assert tree(out) == expected
