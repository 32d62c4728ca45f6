"""A conversion that is stopped anywhere goes on there, and makes the very same store."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from stores import tree

import ngff_convert
from ngff_convert import Options, convert, machine, sink
from ngff_convert.convert import decide
from ngff_convert.errors import ReadError, TargetError, WriteError
from ngff_convert.events import Event, ImageStarted, RegionDone
from ngff_convert.journal import JOURNAL_FOLDER, Journal
from ngff_convert.plan import Resources
from ngff_convert.readers.imaris_source import ImarisPixels
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable

    from ngff_convert.model import Box

SHAPE = (2, 2, 16, 200, 200)
# Chunks of this size, and little memory, make hundreds of regions in several passes.
SMALL = Options(chunks=(8, 32, 32), memory=10_000_000, workers=2, min_size=16)


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.ims"
    write_ims(path, coded_pixels(SHAPE), chunks=(8, 32, 32))
    return path


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The store that nothing interrupted."""
    target = tmp_path_factory.mktemp("whole") / "out"
    convert(source, target, SMALL)
    return tree(target)


def stop_after(count: int) -> Callable[[Event], None]:
    def stop(event: Event) -> None:
        nonlocal count
        count -= isinstance(event, RegionDone)
        if count == 0:
            raise Killed

    return stop


def interrupted(source: Path, target: Path, options: Options = SMALL, after: int = 12) -> Path:
    with pytest.raises(Killed):
        convert(source, target, options, stop_after(after))
    return target.with_name("out.partial")


def in_pass(source: Path, number: int) -> int:
    """Return after how many regions a pass has begun, and not ended."""
    with ngff_convert.open(source) as opened:
        (item,) = decide(opened, SMALL, "in")
    counts = [step.n_regions for step in item.plan.passes]
    assert counts[number] > 6
    return sum(counts[:number]) + 4


class Watch:
    """An observer that keeps events, and counts the voxels read of the source."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Event] = []
        self.voxels = 0
        read = ImarisPixels.read

        def counted(pixels: ImarisPixels, box: Box) -> Any:
            self.voxels += int(np.prod(box.shape))
            return read(pixels, box)

        monkeypatch.setattr(ImarisPixels, "read", counted)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def regions(self) -> list[tuple[int, int, int]]:
        return [(e.image, e.step, e.region) for e in self.events if isinstance(e, RegionDone)]


@pytest.mark.parametrize("fsync", ["none", "region"])
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_finished_regions_are_not_read_again_and_the_store_is_the_same(
    source: Path,
    tmp_path: Path,
    whole: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    passes: int,
    fsync: str,
) -> None:
    after = in_pass(source, passes)
    options = replace(SMALL, fsync=fsync)
    partial = interrupted(source, tmp_path / "out", options, after)
    lines = (partial / JOURNAL_FOLDER).glob("*.jsonl")
    journalled = sum(path.read_text().count('"plan"') for path in lines)
    assert journalled >= after
    watch = Watch(monkeypatch)
    report = convert(source, tmp_path / "out", options, watch)
    n_regions = sum(step.n_regions for step in report.plans[0].passes)
    assert len(watch.regions()) == n_regions - journalled
    assert min(step for _, step, _ in watch.regions()) == passes
    first = {region for _, step, region in watch.regions() if step == 0}
    assert watch.voxels == sum(np.prod(report.plans[0].passes[0].box(region).shape) for region in first)
    (started,) = (event for event in watch.events if isinstance(event, ImageStarted))
    assert started.finished_bytes == report.kept_bytes > 0
    assert report.kept_bytes + report.read_bytes == report.plans[0].read_bytes
    assert tree(tmp_path / "out") == whole


def test_it_goes_on_again_and_again(source: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    for _ in range(5):
        interrupted(source, tmp_path / "out", after=5)
    convert(source, tmp_path / "out", SMALL)
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize("options", [Options(workers=1), Options(memory=2**30), Options(workers=5)])
def test_another_machine_goes_on_with_the_regions_of_the_first(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Options
) -> None:
    monkeypatch.setattr("ngff_convert.plan.SMALLEST_GROWN_BYTES", 2**20)  # so that there are several
    convert(source, tmp_path / "reference")
    monkeypatch.setattr(machine, "resources", lambda: Resources(2, 60_000_000))
    interrupted(source, tmp_path / "out", Options(), after=2)
    watch = Watch(monkeypatch)
    monkeypatch.setattr(machine, "resources", lambda: Resources(4, 2**31))
    report = convert(source, tmp_path / "out", options, watch)
    assert report.kept_bytes > 0
    assert tree(tmp_path / "out") == tree(tmp_path / "reference")


# -- what the disk has lost --------------------------------------------------------------------------------


def chunk_files(partial: Path, level: int) -> list[Path]:
    return sorted(path for path in partial.glob(f"{level}/c/**/*") if path.is_file())


def test_an_array_of_which_only_the_name_is_left_is_described_again(
    source: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    partial = interrupted(source, tmp_path / "out")
    (partial / "1" / "zarr.json").write_bytes(b"")
    assert convert(source, tmp_path / "out", SMALL).kept_bytes > 0
    assert tree(tmp_path / "out") == whole


@pytest.mark.parametrize("passes", [0, 1, 2])
@pytest.mark.parametrize("loss", ["gone", "empty", "zeros", "another value"])
def test_what_a_power_cut_took_is_done_again(
    source: Path,
    tmp_path: Path,
    whole: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    loss: str,
    passes: int,
) -> None:
    """Without flushing, a finished region is believed in only if its pixels have their checksum."""
    partial = interrupted(source, tmp_path / "out", after=in_pass(source, passes))
    with ngff_convert.open(source) as opened:
        (item,) = decide(opened, SMALL, "in")
    level = item.plan.passes[passes].write_levels[0]
    files = chunk_files(partial, level)
    lost = random.Random(0).choice(files)
    content = lost.read_bytes()
    match loss:
        case "gone":
            lost.unlink()
        case "empty":
            lost.write_bytes(b"")
        case "zeros":
            lost.write_bytes(bytes(len(content)))
        case "another value":
            lost.write_bytes(next(f for f in files if f.read_bytes() != content).read_bytes())
    watch = Watch(monkeypatch)
    report = convert(source, tmp_path / "out", SMALL, watch)
    assert report.kept_bytes > 0
    assert passes in {step for _, step, _ in watch.regions()}
    assert tree(tmp_path / "out") == whole


def test_flushed_regions_are_believed_in(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(SMALL, fsync="region")
    interrupted(source, tmp_path / "out", options)
    monkeypatch.setattr("ngff_convert.region.PassTask.intact", lambda *_: pytest.fail("it is read back"))
    assert convert(source, tmp_path / "out", options).kept_bytes > 0


def test_a_region_is_journalled_only_after_its_chunks_are_stored(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Journal.record
    checked = 0

    def stored(journal: Journal, done: RegionDone) -> None:
        nonlocal checked
        checked += 1
        record(journal, done)
        shutil.copytree(journal.folder, tmp_path / "then", dirs_exist_ok=True)

    monkeypatch.setattr(Journal, "record", stored)
    options = replace(SMALL, workers=1)
    with pytest.raises(Killed):
        convert(source, tmp_path / "out", options, stop_after(3))
    assert checked == 3
    monkeypatch.undo()
    (tmp_path / "then").rename(tmp_path / "out2.partial")
    watch = Watch(monkeypatch)
    convert(source, tmp_path / "out2", options, watch)
    assert not {(0, 0, 0), (0, 0, 1), (0, 0, 2)} & set(watch.regions())


def test_fsync_reaches_the_sink(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    context = sink._context

    def watched(workers: int, flush: bool) -> Any:
        seen.add(flush)
        return context(workers, flush)

    monkeypatch.setattr(sink, "_context", watched)
    synced: list[str] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    convert(source, tmp_path / "out", SMALL)
    assert seen == {False}
    assert not [path for path in synced if "journal" in path]
    seen.clear()
    convert(source, tmp_path / "out", replace(SMALL, fsync="region", overwrite=True))
    assert True in seen
    assert [path for path in synced if path.endswith(".jsonl")]


# -- what is not gone on with ------------------------------------------------------------------------------


def test_restart_begins_anew(
    source: Path, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(source, tmp_path / "out", replace(SMALL, method="max"))
    with pytest.raises(TargetError, match='--method is not given, was "max"; use --restart'):
        convert(source, tmp_path / "out", SMALL)
    report = convert(source, tmp_path / "out", replace(SMALL, restart=True))
    assert report.kept_bytes == 0
    assert tree(tmp_path / "out") == whole


def test_a_source_that_changes_while_it_is_read_makes_no_output(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.ims"
    shutil.copy(source, path)

    def touch(event: Event) -> None:
        if isinstance(event, RegionDone):
            os.utime(path, ns=(1, 1))

    with pytest.raises(ReadError, match=r"in\.ims: was changed while it was read.*--restart"):
        convert(path, tmp_path / "out", SMALL, touch)
    assert not (tmp_path / "out").exists()
    with pytest.raises(TargetError, match=r"was changed meanwhile, or copied .*; use --restart"):
        convert(path, tmp_path / "out", SMALL)
    convert(path, tmp_path / "out", replace(SMALL, restart=True))


def test_a_source_that_is_cut_off_while_it_is_read_is_an_error(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.ims"
    shutil.copy(source, path)

    def cut(event: Event) -> None:
        if isinstance(event, RegionDone):
            os.truncate(path, 20_000)

    with pytest.raises(ReadError, match=r"in\.ims"):
        convert(path, tmp_path / "out", SMALL, cut)
    assert not (tmp_path / "out").exists()


def damaged(source: Path, folder: Path) -> Path:
    path = folder / "in.ims"
    shutil.copy(source, path)
    with h5py.File(path) as file:
        chunk = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1/Data"].id.get_chunk_info(30)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset + 2)
        file.write(b"\xff" * 30)
    return path


def test_after_a_damaged_chunk_the_rest_is_gone_on_with_and_filled(source: Path, tmp_path: Path) -> None:
    path = damaged(source, tmp_path)
    with pytest.raises(ReadError, match="chunk"):
        convert(path, tmp_path / "out", SMALL)
    report = convert(path, tmp_path / "out", replace(SMALL, on_error="fill"))
    assert report.kept_bytes > 0
    assert len(report.filled) == 1
    assert "1 chunk filled with 0 in t=1:2 c=1:2" in report.filled[0]


def test_what_was_filled_is_told_after_an_interruption_too_and_is_not_believed_without_filling(
    source: Path, tmp_path: Path
) -> None:
    path = damaged(source, tmp_path)
    filling = replace(SMALL, on_error="fill")
    interrupted(path, tmp_path / "out", filling, after=in_pass(path, 2))
    with pytest.raises(ReadError, match="chunk"):
        convert(path, tmp_path / "out", SMALL)
    report = convert(path, tmp_path / "out", filling)
    assert len(report.filled) == 1


@pytest.mark.parametrize("fsync", ["none", "region"])
@pytest.mark.parametrize("then", ["stop", "fill"])
def test_nothing_of_what_was_filled_stays_where_the_source_is_whole_again(
    source: Path, tmp_path: Path, whole: dict[str, str], fsync: str, then: str
) -> None:
    """Lower levels that were made of the zeros go too; with filling, what is kept is told."""
    path = damaged(source, tmp_path)
    os.utime(path, ns=(1, source.stat().st_mtime_ns))
    filling = replace(SMALL, on_error="fill", fsync=fsync)
    interrupted(path, tmp_path / "out", filling, after=in_pass(path, 2))
    shutil.copy2(source, path)
    report = convert(path, tmp_path / "out", replace(SMALL, on_error=then, fsync=fsync))
    if then == "stop":
        assert report.filled == ()
        assert tree(tmp_path / "out") == whole
    else:
        assert len(report.filled) == 1


def test_what_is_stale_stays_so_over_another_interruption(
    source: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    path = damaged(source, tmp_path)
    os.utime(path, ns=(1, source.stat().st_mtime_ns))
    filling = replace(SMALL, on_error="fill", fsync="region")
    interrupted(path, tmp_path / "out", filling, after=in_pass(path, 3))
    shutil.copy2(source, path)
    interrupted(path, tmp_path / "out", replace(SMALL, fsync="region"), after=1)
    for options in (filling, SMALL):
        shutil.copytree(tmp_path / "out.partial", tmp_path / "copy.partial")
        report = convert(path, tmp_path / "copy", options)
        assert report.filled == ()
        assert tree(tmp_path / "copy") == whole
        shutil.rmtree(tmp_path / "copy")


def test_chunks_of_a_region_that_failed_are_not_written_after_the_run_ended(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = sink.PendingWrite.finish
    ended: list[str] = []

    def slow(write: sink.PendingWrite) -> None:
        finish(write)
        ended.append(write._where)
        if len(ended) == 1:
            raise WriteError("no space left")

    monkeypatch.setattr(sink.PendingWrite, "finish", slow)
    started: list[str] = []
    write = sink.Sink.write

    def counted(place: sink.Sink, level: int, box: Box, block: Any, **how: Any) -> sink.PendingWrite:
        pending = write(place, level, box, block, **how)
        started.append(pending._where)
        return pending

    monkeypatch.setattr(sink.Sink, "write", counted)
    with pytest.raises(WriteError, match="no space left"):
        convert(source, tmp_path / "out", replace(SMALL, chunks=(8, 16, 16), workers=1))
    assert sorted(started) == sorted(ended)
    assert len(started) > 1


# -- processes that are really killed ----------------------------------------------------------------------

KILLS = 50


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--fsync", "region", "--ngff-version", "0.4")], ids=["0.5", "0.4"])
def test_a_process_killed_at_any_moment_loses_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 2, 32, 512, 512), np.uint16)
    write_ims(tmp_path / "in.ims", pixels, chunks=(8, 128, 128))
    words = (*words, "--chunks", "8,64,64", "--memory", "30MB", "--quiet")
    command = [sys.executable, "-m", "ngff_convert", str(tmp_path / "in.ims")]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole"), *words], check=True)
    seconds = time.monotonic() - started
    expected = tree(tmp_path / "whole")
    moments = random.Random(1)
    kills = finished = 0
    while kills < KILLS // 2:
        process = subprocess.Popen([*command, str(tmp_path / "out"), *words], stderr=subprocess.PIPE)
        assert process.stderr is not None
        try:
            process.wait(moments.uniform(0.1, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        said = process.communicate()[1].decode()
        exists = "exists already" in said  # the kill before came after the last rename
        assert process.returncode in (0, -signal.SIGKILL) or exists, said
        if process.returncode == 0 or exists:
            finished += 1
            assert tree(tmp_path / "out") == expected
            shutil.rmtree(tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) in (
            ["in.ims", "whole"],
            ["in.ims", "out", "whole"],
            ["in.ims", "out.partial", "whole"],
        )
    assert finished
