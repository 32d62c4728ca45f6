"""The order of system calls: nothing is told as finished before it is on the disk."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="watches system calls with strace")


class Call(NamedTuple):
    name: str
    path: str


def calls(trace: Path) -> list[Call]:
    """Return what was flushed, renamed and written, by finished calls, in their order."""
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        rest = line.partition(" ")[2].strip()
        if match := re.match(r"(fsync|write|syncfs)\(\d+<([^>]*)>", rest):
            found.append(Call(match[1], match[2]))
        elif match := re.match(r'rename\("[^"]*", "([^"]*)"', rest):
            found.append(Call("rename", match[1]))
    return found


def traced(folder: Path, *words: str) -> list[Call]:
    write_ims(folder / "in.ims", coded_pixels((2, 1, 8, 100, 100)), chunks=(8, 32, 32))
    command = ["strace", "-f", "-y", "-e", "trace=fsync,syncfs,rename,write", "-o", str(folder / "trace")]
    command += [sys.executable, "-m", "ngff_convert", str(folder / "in.ims"), str(folder / "out")]
    # One region at a time: calls of several would be told in pieces.
    command += ["--workers", "1", "--chunks", "8,16,16", "--memory", "10MB", "--quiet", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in result.stderr:
        pytest.skip("processes cannot be watched here")
    assert result.returncode == 0, result.stderr
    return calls(folder / "trace")


def test_a_region_is_journalled_when_its_chunks_and_their_folders_are_flushed(tmp_path: Path) -> None:
    not_flushed: set[str] = set()
    lines = 0
    for call in traced(tmp_path, "--fsync", "region"):
        folder = call.path.rpartition("/")[0]
        if call.name == "rename" and "/c/" in call.path:
            not_flushed.add(folder)
        elif call.name == "fsync":
            not_flushed.discard(call.path)
        elif call.name == "write" and "-journal" in call.path:
            lines += 1
            assert not not_flushed
    assert lines > 1


@pytest.mark.parametrize("fsync", ["none", "region"])
def test_the_store_gets_its_name_when_all_of_it_is_flushed(tmp_path: Path, fsync: str) -> None:
    made = traced(tmp_path, "--fsync", fsync)
    names = [call.name for call in made]
    renamed = made.index(Call("rename", str(tmp_path / "out")))
    flushed = names.index("syncfs")
    between = [call for call in made[flushed:renamed] if call.name in ("rename", "write")]
    assert flushed < renamed
    assert not [call for call in between if "out.partial" in call.path]
    assert Call("fsync", str(tmp_path)) in made[renamed:]


def test_without_flushing_regions_only_the_record_is_waited_for(tmp_path: Path) -> None:
    made = traced(tmp_path)
    flushed = [
        call.path for call in made[: [call.name for call in made].index("syncfs")] if call.name == "fsync"
    ]
    partial = str(tmp_path / "out.partial")
    assert flushed == [f"{partial}/.ngff-convert-plan.json", partial, str(tmp_path)]
