from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ngff_convert.commit import PLAN_FILE, Target
from ngff_convert.errors import TargetError, WriteError

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "in.ims").write_text("pixels")
    return str(tmp_path / "in.ims")


def test_the_output_appears_only_at_the_end(tmp_path: Path, source: str) -> None:
    target = Target(tmp_path / "deep" / "out.ome.zarr", overwrite=False)
    target.check(source)
    assert not target.begin("one", {"plans": []})
    assert json.loads((target.partial / PLAN_FILE).read_text())["digest"] == "one"
    (target.partial / "zarr.json").write_text("{}")
    assert not target.path.exists()
    target.finish()
    assert names(target.path) == ["zarr.json"]
    assert names(target.path.parent) == ["out.ome.zarr"]


def test_an_existing_output_is_refused_and_untouched(tmp_path: Path, source: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(TargetError, match="exists already; use --overwrite"):
        Target(tmp_path / "out", overwrite=False).check(source)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_a_dangling_link_counts_as_an_existing_output(tmp_path: Path, source: str) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TargetError, match="exists already"):
        Target(tmp_path / "out", overwrite=False).check(source)


def test_overwrite_keeps_the_old_output_until_the_new_one_is_whole(tmp_path: Path, source: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    target = Target(tmp_path / "out", overwrite=True)
    target.check(source)
    target.begin("one", {})
    (target.partial / "new").write_text("new")
    assert names(target.path) == ["old"]
    target.finish()
    assert names(target.path) == ["new"]
    assert names(tmp_path) == ["in.ims", "out"]


def test_overwrite_replaces_a_file_or_a_link_and_not_what_it_points_to(tmp_path: Path, source: str) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    target = Target(tmp_path / "out", overwrite=True)
    target.check(source)
    target.begin("one", {})
    target.finish()
    assert (tmp_path / "precious").is_dir()
    assert not (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_input_is_never_overwritten(tmp_path: Path, source: str, overwrite: bool) -> None:
    for output in (tmp_path / "in.ims", tmp_path, tmp_path / "x" / ".." / "in.ims"):
        with pytest.raises(TargetError, match="is, or holds, the input"):
            Target(output, overwrite).check(source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(TargetError, match="is, or holds, the input"):
        Target(tmp_path / "link", overwrite).check(source)


def test_an_equal_plan_takes_up_what_is_there(tmp_path: Path) -> None:
    target = Target(tmp_path / "out", overwrite=False)
    target.begin("one", {})
    (target.partial / "chunk").write_text("pixels")
    assert target.begin("one", {})
    assert (target.partial / "chunk").is_file()


@pytest.mark.parametrize("left", ["plan", "no plan", "rubbish", "list"])
def test_another_partial_store_is_refused_unless_overwritten(tmp_path: Path, left: str) -> None:
    target = Target(tmp_path / "out", overwrite=False)
    target.begin("one", {})
    match left:
        case "no plan":
            (target.partial / PLAN_FILE).unlink()
        case "rubbish":
            (target.partial / PLAN_FILE).write_bytes(b"\xff\x00")
        case "list":
            (target.partial / PLAN_FILE).write_text("[1]")
    (target.partial / "chunk").write_text("pixels")
    with pytest.raises(TargetError, match="left by another conversion"):
        target.begin("two", {})
    assert (target.partial / "chunk").is_file()
    assert not Target(tmp_path / "out", overwrite=True).begin("two", {})
    assert names(target.partial) == [PLAN_FILE]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/out\.partial: cannot be written: Not a directory"):
        Target(tmp_path / "file" / "out", overwrite=False).begin("one", {})
