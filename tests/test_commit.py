from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ngff_convert import file_system
from ngff_convert.commit import HIERARCHY_FILES, PLAN_FILE, Target
from ngff_convert.errors import TargetError, WriteError
from ngff_convert.events import RegionDone
from ngff_convert.journal import Journal
from ngff_convert.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from ngff_convert.resume import Begun


def begun(digest: str) -> Begun:
    """Return a record of a conversion."""
    options = {**{field.name: None for field in fields(Options)}, "name": digest}
    nothing: dict[str, Any] = {"source": [], "missing": [], "parts": 0, "images": []}
    return {"digest": digest, "version": "1", "options": options, **nothing}


def finish(target: Target) -> None:
    target.commit()
    target.tidy()


def finish_a_region(target: Target, digest: str) -> None:
    journal = Journal(str(target.partial), digest, flush=False)
    journal.create()
    journal.record(RegionDone(0, 0, 0, (0, 0), 1, 1))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "in.ims").write_text("pixels")
    return str(tmp_path / "in.ims")


def test_the_output_appears_only_at_the_end(tmp_path: Path, source: str) -> None:
    target = Target(tmp_path / "deep" / "out.ome.zarr", overwrite=False)
    target.check(source)
    assert not target.begin(begun("one"))
    assert json.loads((target.partial / PLAN_FILE).read_text())["digest"] == "one"
    (target.partial / "zarr.json").write_text("{}")
    assert not target.path.exists()
    finish(target)
    assert names(target.path) == ["zarr.json"]
    assert names(target.path.parent) == ["out.ome.zarr"]


def store(path: Path, marker: str = "zarr.json") -> Path:
    path.mkdir()
    (path / marker).write_text("old")
    return path


def replace(target: Target, source: str) -> None:
    target.check(source)
    with target:
        target.begin(begun("one"))
        (target.partial / "new").write_text("new")
        finish(target)


def test_an_existing_output_is_refused_and_untouched(tmp_path: Path, source: str) -> None:
    store(tmp_path / "out")
    with pytest.raises(TargetError, match="exists already; use --overwrite"):
        Target(tmp_path / "out", overwrite=False).check(source)
    assert (tmp_path / "out" / "zarr.json").read_text() == "old"


def test_a_dangling_link_counts_as_an_existing_output(tmp_path: Path, source: str) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    for overwrite in (False, True):
        with pytest.raises(TargetError, match="exists already"):
            Target(tmp_path / "out", overwrite).check(source)


# -- what may be removed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", HIERARCHY_FILES)
def test_overwrite_keeps_the_old_output_until_the_new_one_is_whole(
    tmp_path: Path, source: str, marker: str
) -> None:
    store(tmp_path / "out", marker)
    target = Target(tmp_path / "out", overwrite=True)
    target.check(source)
    target.begin(begun("one"))
    (target.partial / "new").write_text("new")
    assert names(target.path) == [marker]
    finish(target)
    assert names(target.path) == ["new"]
    assert names(tmp_path) == ["in.ims", "out"]


def test_overwrite_replaces_an_empty_folder(tmp_path: Path, source: str) -> None:
    (tmp_path / "out").mkdir()
    replace(Target(tmp_path / "out", overwrite=True), source)
    assert names(tmp_path / "out") == ["new"]


def test_overwrite_replaces_a_link_to_a_store_and_not_what_it_points_to(tmp_path: Path, source: str) -> None:
    store(tmp_path / "precious")
    (tmp_path / "out").symlink_to("precious")
    replace(Target(tmp_path / "out", overwrite=True), source)
    assert names(tmp_path / "precious") == ["zarr.json"]
    assert not (tmp_path / "out").is_symlink()
    assert names(tmp_path) == ["in.ims", "out", "precious"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder", "link to a file", "link to a folder"])
def test_what_is_no_store_is_never_replaced(tmp_path: Path, source: str, kind: str, overwrite: bool) -> None:
    kept = tmp_path / ("out" if "link" not in kind else "kept")
    if "folder" in kind:
        kept.mkdir()
        kept /= "thesis.txt"
    kept.write_text("years of work")
    if "link" in kind:
        (tmp_path / "out").symlink_to("kept")
    with pytest.raises(TargetError, match="is not an OME-Zarr store; choose another name"):
        replace(Target(tmp_path / "out", overwrite), source)
    assert kept.read_text() == "years of work"


def test_what_has_a_name_like_that_of_the_old_output_is_left_alone(tmp_path: Path, source: str) -> None:
    store(tmp_path / "out")
    mine = [tmp_path / "out.replaced", tmp_path / ".out.replaced-00000000"]
    for path in mine:
        path.write_text("mine")
    replace(Target(tmp_path / "out", overwrite=True), source)
    assert [path.read_text() for path in mine] == ["mine", "mine"]
    assert names(tmp_path / "out") == ["new"]
    assert len(names(tmp_path)) == 4


def test_what_appears_during_the_conversion_is_not_replaced(tmp_path: Path, source: str) -> None:
    target = Target(tmp_path / "out", overwrite=False)
    target.check(source)
    with target:
        target.begin(begun("one"))
        (tmp_path / "out").write_text("mine")
        with pytest.raises(TargetError, match=r"is not an OME-Zarr.*the finished store is .*out\.partial"):
            finish(target)
    assert (tmp_path / "out").read_text() == "mine"
    assert names(target.partial) == [PLAN_FILE]


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Path], bool], error: BaseException) -> None:
    rename = Path.rename

    def renamed(self: Path, target: Path) -> Path:
        if fails(self):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renamed)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), KeyboardInterrupt()])
def test_the_old_output_is_put_back_where_the_new_one_cannot_be_named(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    store(tmp_path / "out")
    failing(monkeypatch, lambda path: path.name == "out.partial", error)
    with pytest.raises((WriteError, KeyboardInterrupt)) as caught:
        replace(Target(tmp_path / "out", overwrite=True), source)
    if isinstance(caught.value, WriteError):
        assert str(caught.value) == (
            f"{tmp_path}/out: cannot be given its name: Permission denied; the finished store is "
            f"{tmp_path}/out.partial, the old output is back in its place"
        )
    assert names(tmp_path) == ["in.ims", "out", "out.partial"]
    assert names(tmp_path / "out") == ["zarr.json"]


def test_an_old_output_that_cannot_be_put_back_is_named(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "out")
    failing(monkeypatch, lambda path: path.name != "out", PermissionError(13, "Permission denied"))
    with pytest.raises(WriteError, match="the old output is") as caught:
        replace(Target(tmp_path / "out", overwrite=True), source)
    old = Path(str(caught.value).rpartition(" ")[2])
    assert names(old) == ["zarr.json"]


# -- what is not a place for an output ---------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_input_is_never_overwritten(tmp_path: Path, source: str, overwrite: bool) -> None:
    for output in (tmp_path / "in.ims", tmp_path, tmp_path / "x" / ".." / "in.ims"):
        with pytest.raises(TargetError, match="is, or holds, the input"):
            Target(output, overwrite).check(source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(TargetError, match="is, or holds, the input"):
        Target(tmp_path / "link", overwrite).check(source)


@pytest.mark.parametrize("given", ["in.zarr", "in.zarr/B/2/0", "link"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_written_into_the_store_that_is_read(tmp_path: Path, given: str, overwrite: bool) -> None:
    for folder in ("in.zarr", "in.zarr/B/2/0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / ".zgroup").touch()
    (tmp_path / "link").symlink_to("in.zarr")
    for output in ("in.zarr/out", "in.zarr/B/2/0/out", "link/B/2/1", "in.zarr/B/../out"):
        with pytest.raises(TargetError, match="is within the input"):
            Target(tmp_path / output, overwrite).check(str(tmp_path / given))
    Target(tmp_path / "out", overwrite).check(str(tmp_path / given))


@pytest.mark.parametrize("given", ["o4.partial", "o4.partial/in.ims", "o4.partial/link.ims"])
def test_the_input_is_not_where_the_work_will_be(tmp_path: Path, source: str, given: str) -> None:
    path = tmp_path / given
    path.parent.mkdir(exist_ok=True)
    if path.name == "link.ims":
        path.symlink_to(source)
    else:
        path.write_text("pixels")
    with pytest.raises(TargetError, match=r"o4\.partial: is, or holds, the input"):
        Target(tmp_path / "o4", overwrite=True).check(str(path))


def test_a_path_in_a_circle_of_links_is_an_error_in_one_line(tmp_path: Path, source: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(TargetError, match="exists already"):
        Target(tmp_path / "loop", overwrite=True).check(source)
    target = Target(tmp_path / "loop" / "out", overwrite=True)
    target.check(source)
    with pytest.raises(WriteError, match="Too many levels of symbolic links"):
        target.begin(begun("one"))


@pytest.mark.parametrize("name", ["out\udcff", "a\udcff/out", "out\0"])
def test_a_name_that_is_not_utf8_is_refused_early(source: str, name: str) -> None:
    with pytest.raises(TargetError, match=r"(udcff|x00).*is not a name in UTF-8") as caught:
        Target(Path(name), overwrite=False).check(source)
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["", ".", "/", "..", "a/.."])
def test_an_output_needs_a_name(source: str, name: str) -> None:
    with pytest.raises(TargetError, match="needs a name"):
        Target(Path(name), overwrite=True).check(source)


# -- the partial store -------------------------------------------------------------------------------------


def test_an_equal_plan_takes_up_what_is_there(tmp_path: Path) -> None:
    with Target(tmp_path / "out", overwrite=False) as target:
        target.begin(begun("one"))
        (target.partial / "chunk").write_text("pixels")
    with Target(tmp_path / "out", overwrite=False) as target:
        assert target.begin(begun("one"))
    assert (target.partial / "chunk").is_file()


@pytest.mark.parametrize("left", ["plan", "rubbish", "list", "nothing"])
def test_another_partial_store_is_refused_unless_overwritten(tmp_path: Path, left: str) -> None:
    with Target(tmp_path / "out", overwrite=False) as target:
        target.begin(begun("one"))
    match left:
        case "rubbish":
            (target.partial / PLAN_FILE).write_bytes(b"\xff\x00")
        case "list":
            (target.partial / PLAN_FILE).write_text("[1]")
        case "nothing":
            (target.partial / PLAN_FILE).write_text("")
    (target.partial / "chunk").write_text("pixels")
    finish_a_region(target, "one")
    said = '--name is "two", was "one"' if left == "plan" else "its record is damaged"
    for overwrite in (False, True):
        with Target(tmp_path / "out", overwrite) as target, pytest.raises(TargetError, match=said):
            target.begin(begun("two"))
        assert (target.partial / "chunk").is_file()
    with Target(tmp_path / "out", restart=True) as target:
        assert not target.begin(begun("two"))
        assert names(target.partial) == [PLAN_FILE]


def test_what_is_begun_anew_is_not_taken_up(tmp_path: Path) -> None:
    with Target(tmp_path / "out") as target:
        target.begin(begun("one"))
        finish_a_region(target, "one")
    with Target(tmp_path / "out", restart=True) as target:
        assert not target.begin(begun("one"))
        assert names(target.partial) == [PLAN_FILE]


def test_nothing_finished_is_nothing_lost(tmp_path: Path) -> None:
    with Target(tmp_path / "out") as target:
        target.begin(begun("one"))
        (target.partial / "chunk").write_text("pixels")
    with Target(tmp_path / "out") as target:
        assert target.left() is None
        assert not target.begin(begun("two"))
        assert names(target.partial) == [PLAN_FILE]


def test_what_a_killed_run_had_not_finished_writing_is_removed(tmp_path: Path) -> None:
    with Target(tmp_path / "out") as target:
        target.begin(begun("one"))
        chunks = target.partial / "0" / "c"
        chunks.mkdir(parents=True)
        for name in ("0", "0_0123456789abcdef.__lock", "5_f.__lock", "0_0123456789abcdef.__lock.txt"):
            (chunks / name).write_text("pixels")
    with Target(tmp_path / "out") as target:
        assert target.begin(begun("one"))
        target.make_ready(sweep=True)
        assert names(chunks) == ["0", "0_0123456789abcdef.__lock.txt"]


# -- a process that was killed near the end ----------------------------------------------------------------


def test_a_run_killed_after_the_store_got_its_name_leaves_a_whole_store(tmp_path: Path, source: str) -> None:
    with Target(tmp_path / "out") as target:
        target.begin(begun("one"))
        finish_a_region(target, "one")
        (target.partial / "zarr.json").write_text("{}")
        target.partial.rename(target.path)
    with pytest.raises(TargetError, match="exists already"):
        Target(tmp_path / "out").check(source)
    assert names(tmp_path / "out") == ["zarr.json"]


def test_what_has_its_name_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[Path, bool]] = []
    monkeypatch.setattr(
        file_system, "flush_file_system", lambda p: flushed.append((p, (tmp_path / "out").exists()))
    )
    with Target(tmp_path / "out") as target:
        target.begin(begun("one"))
        finish(target)
    assert flushed == [(tmp_path / "out.partial", False)]


def between_the_last_renames(folder: Path) -> Target:
    """Be killed when the old output has made way, and the new one has not its name yet."""
    store(folder / "out")
    with Target(folder / "out", overwrite=True) as target:
        target.begin(begun("one"))
        finish_a_region(target, "one")
        (target.partial / "new").write_text("new")
        target.path.rename(target._old)
    return target


def test_a_run_killed_between_the_last_renames_leaves_nothing_behind(tmp_path: Path, source: str) -> None:
    between_the_last_renames(tmp_path)
    with Target(tmp_path / "out", overwrite=True) as target:
        target.check(source)
        assert target.begin(begun("one"))
        finish(target)
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["in.ims", "out"]


def test_after_a_kill_between_the_last_renames_the_old_output_is_back(tmp_path: Path, source: str) -> None:
    between_the_last_renames(tmp_path)
    with pytest.raises(TargetError, match="exists already; use --overwrite"):
        Target(tmp_path / "out", restart=True).check(source)
    assert names(tmp_path / "out") == ["zarr.json"]
    assert names(tmp_path) == ["in.ims", "out", "out.partial"]


def test_an_old_output_is_not_put_back_under_a_run_that_is_just_replacing_it(
    tmp_path: Path, source: str
) -> None:
    between_the_last_renames(tmp_path)
    with Target(tmp_path / "out", overwrite=True) as first:
        assert first.begin(begun("one"))
        Target(tmp_path / "out", overwrite=True).check(source)
        finish(first)
    assert names(tmp_path / "out") == ["new"]


def test_an_old_output_that_nobody_put_back_is_not_lost(tmp_path: Path) -> None:
    between_the_last_renames(tmp_path)
    store(tmp_path / "out")
    with Target(tmp_path / "out", overwrite=True) as target:
        assert target.begin(begun("one"))
        with pytest.raises(TargetError, match="is an old output that an interrupted run moved there"):
            target.commit()
    assert names(target._old) == ["zarr.json"]


def test_a_run_killed_while_it_tidied_is_tidied_after(tmp_path: Path, source: str) -> None:
    between_the_last_renames(tmp_path)
    (tmp_path / "out.partial").rename(tmp_path / "out")
    with pytest.raises(TargetError, match="exists already"):
        Target(tmp_path / "out").check(source)
    assert names(tmp_path / "out") == ["new"]
    assert names(tmp_path) == ["in.ims", "out"]


def test_two_runs_that_tidy_the_same_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    rmtree = shutil.rmtree

    def gone_before(path: Path) -> None:
        rmtree(path)
        rmtree(path)

    with Target(tmp_path / "out") as target:
        target.begin(begun("one"))
        finish_a_region(target, "one")
        target.commit()
        monkeypatch.setattr(shutil, "rmtree", gone_before)
        target.tidy()
    assert names(tmp_path / "out") == []


def test_a_kill_while_a_partial_store_is_abandoned_leaves_one_that_can_be_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def killed(path: Path) -> None:
        removed.append(path.name)
        raise KeyboardInterrupt

    for _ in range(2):
        with Target(tmp_path / "out", restart=True) as target:
            target.begin(begun("one"))
            finish_a_region(target, "one")
            with monkeypatch.context() as patch:
                patch.setattr(file_system, "remove", killed)
                with pytest.raises(KeyboardInterrupt):
                    target.abandon()
    assert PLAN_FILE not in removed
    with Target(tmp_path / "out", restart=True) as target:
        assert not target.begin(begun("two"))


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_has_the_name_of_the_partial_store_and_is_none_stays(tmp_path: Path, kind: str) -> None:
    partial = tmp_path / "out.partial"
    match kind:
        case "folder":
            partial.mkdir()
            (partial / "thesis.txt").write_text("years of work")
        case "file":
            partial.write_text("years of work")
        case "link":
            (tmp_path / "elsewhere").mkdir()
            partial.symlink_to("elsewhere")
    for overwrite in (False, True):
        with pytest.raises(TargetError, match=r"out\.partial: is not an unfinished conversion"):
            Target(tmp_path / "out", overwrite).begin(begun("one"))
    if kind == "link":
        assert names(tmp_path / "elsewhere") == []
    else:
        text = partial / "thesis.txt" if kind == "folder" else partial
        assert text.read_text() == "years of work"


def test_a_run_that_ended_before_it_wrote_its_plan_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    with Target(tmp_path / "out", overwrite=False) as target:
        target.partial.mkdir()
        assert not target.begin(begun("one"))
    (target.partial / PLAN_FILE).write_text("")
    with Target(tmp_path / "out", overwrite=False) as target:
        assert not target.begin(begun("two"))


# -- one run at a time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("digest", ["one", "two"])
def test_a_second_run_is_kept_out_until_the_first_ends(tmp_path: Path, overwrite: bool, digest: str) -> None:
    second = Target(tmp_path / "out", overwrite)
    with Target(tmp_path / "out", overwrite=False) as first:
        first.begin(begun("one"))
        (first.partial / "chunk").write_text("pixels")
        with pytest.raises(TargetError, match=r"out\.partial: another run is writing it"):
            second.begin(begun(digest))
        assert (first.partial / "chunk").is_file()
    with second:
        assert second.begin(begun("one"))


def test_the_lock_is_gone_after_a_failure_to_begin(tmp_path: Path) -> None:
    with Target(tmp_path / "out", overwrite=False) as target:
        target.begin(begun("one"))
        finish_a_region(target, "one")
    refused = Target(tmp_path / "out", overwrite=False)
    with pytest.raises(TargetError, match="is the work of another conversion"):
        refused.begin(begun("two"))
    with Target(tmp_path / "out", overwrite=False) as target:
        assert target.begin(begun("one"))


def test_a_process_that_died_keeps_no_lock(tmp_path: Path) -> None:
    code = f"""
import pathlib
from ngff_convert.commit import Target
target = Target(pathlib.Path({str(tmp_path / "out")!r}), False)
target.begin({{"digest": "one"}})
print("begun", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        with pytest.raises(TargetError, match="another run is writing it"):
            Target(tmp_path / "out", overwrite=False).begin(begun("one"))
        other.kill()
    with Target(tmp_path / "out", overwrite=False) as target:
        assert target.begin(begun("one"))


def test_a_run_that_waited_for_the_lock_of_one_that_finished_begins_anew(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Target(tmp_path / "out", overwrite=True) for _ in range(2))
    lock = file_system.lock

    def finished_just_before(handle: int) -> bool:
        monkeypatch.setattr(file_system, "lock", lock)
        finish(first)
        return lock(handle)

    with first, second:
        first.begin(begun("one"))
        store(first.partial / "0")
        (first.partial / "zarr.json").write_text("{}")
        monkeypatch.setattr(file_system, "lock", finished_just_before)
        assert not second.begin(begun("one"))
        assert names(tmp_path / "out") == ["0", "zarr.json"]
        assert names(second.partial) == [PLAN_FILE]


def test_without_locks_there_is_none(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_system, "HAS_LOCKS", False)
    first, second = (Target(tmp_path / "out", overwrite=False) for _ in range(2))
    assert not first.begin(begun("one"))
    assert second.begin(begun("one"))
    finish(first)
    assert names(tmp_path / "out") == []


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_handle: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with Target(tmp_path / "out", overwrite=False) as target:
        assert not target.begin(begun("one"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/out\.partial: cannot be written: Not a directory"):
        Target(tmp_path / "file" / "out", overwrite=False).begin(begun("one"))


def test_another_run_is_seen_over_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a lock that others are shut out by is refused for a file that was opened for reading only."""
    real = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(handle, operation)

    monkeypatch.setattr("fcntl.flock", flock)
    path = tmp_path / PLAN_FILE
    path.write_text("{}")
    assert file_system.is_free(path)
    with path.open("r+") as file:
        assert file_system.lock(file.fileno())
        assert not file_system.is_free(path)
