from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ngff_convert.errors import WriteError
from ngff_convert.events import RegionDone
from ngff_convert.journal import Journal, anything_finished


def done(region: int) -> RegionDone:
    return RegionDone(0, 1, region, (0, 2), 10 * region, 12 * region, 2**32 - 1, ("in.ims: chunk 3",))


def made(folder: Path, digest: str = "plan", *, flush: bool = False) -> Journal:
    journal = Journal(str(folder), digest, flush)
    journal.create()
    return journal


def only_file(journal: Journal) -> Path:
    (path,) = journal.path.iterdir()
    return path


def test_what_is_recorded_is_found_again(tmp_path: Path) -> None:
    journal = made(tmp_path)
    assert list(journal.finished()) == []
    assert not anything_finished(tmp_path)
    for region in (3, 1, 2):
        journal.record(done(region))
    assert list(journal.finished()) == [(done(region), False) for region in (3, 1, 2)]
    assert anything_finished(tmp_path)


def test_a_region_is_one_line_of_json(tmp_path: Path) -> None:
    journal = made(tmp_path)
    for region in range(3):
        journal.record(done(region))
    lines = only_file(journal).read_text().splitlines()
    assert [json.loads(line)["region"] for line in lines if line] == [0, 1, 2]
    assert json.loads(lines[1]) == {
        "plan": "plan",
        "flushed": False,
        "image": 0,
        "step": 1,
        "region": 0,
        "levels": [0, 2],
        "read_bytes": 0,
        "written_bytes": 0,
        "crc32": 2**32 - 1,
        "filled": ["in.ims: chunk 3"],
    }


def test_lines_of_another_plan_are_not_believed(tmp_path: Path) -> None:
    made(tmp_path, "other").record(done(0))
    made(tmp_path).record(done(1))
    assert [entry.region for entry, _ in made(tmp_path).finished()] == [1]


def test_a_line_that_was_cut_off_anywhere_is_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    journal = made(tmp_path)
    journal.record(done(0))
    whole = only_file(journal).read_bytes()
    for length in range(len(whole)):
        only_file(journal).write_bytes(whole[:length])
        assert list(journal.finished()) == []
        journal.record(done(1))
        assert [entry.region for entry, _ in journal.finished()] == [1]


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 4096, b"[1]", b"{}", b'{"plan": "plan"}', b"null", b"\xff\xfe", b"7" * 5000]
)
def test_what_is_no_line_is_passed_over(tmp_path: Path, rubbish: bytes) -> None:
    journal = made(tmp_path)
    (journal.path / "other.jsonl").write_bytes(rubbish)
    journal.record(done(5))
    assert [entry.region for entry, _ in journal.finished()] == [5]


def write_many(folder: str, first: int) -> None:
    journal = Journal(folder, "plan", flush=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(journal.record, map(done, range(first, first + 200))))


def test_many_writers_lose_no_line(tmp_path: Path) -> None:
    journal = made(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=write_many, args=(str(tmp_path), 200 * i)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(entry.region for entry, _ in journal.finished()) == list(range(800))
    assert len(list(journal.path.iterdir())) >= 4


def test_a_process_that_was_copied_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    journal = made(tmp_path)
    journal.record(done(0))
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=journal.record, args=(done(1),))
    process.start()
    process.join()
    assert len(list(journal.path.iterdir())) == 2


def test_flushed_lines_are_on_the_disk_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = made(tmp_path, flush=True)
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    journal.record(done(0))
    assert synced == [str(only_file(journal)), str(journal.path)]
    assert list(journal.finished()) == [(done(0), True)]


def test_a_full_disk_is_an_error_and_the_region_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = made(tmp_path)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:40]))
        with pytest.raises(WriteError, match="is the disk full"):
            journal.record(done(0))
    journal.record(done(1))
    assert [entry.region for entry, _ in journal.finished()] == [1]


def test_a_journal_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"\.ngff-convert-journal: cannot be written or read"):
        made(tmp_path / "file")
    journal = made(tmp_path)
    journal.path.rmdir()
    with pytest.raises(WriteError, match="No such file"):
        journal.record(done(0))
