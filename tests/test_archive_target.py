"""Conversions into an archive: what packing a plain conversion makes, or nothing."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import zipfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from stores import tree
from test_faults import noise, small_disk

from ngff_convert import Options, convert
from ngff_convert.archive import pack
from ngff_convert.cli import main
from ngff_convert.commit import PLAN_FILE
from ngff_convert.errors import OptionError, TargetError
from ngff_convert.events import Event, RegionDone
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.validate import validate
from ngff_convert.verify import verify
from ngff_convert.zip_writer import read_back

if TYPE_CHECKING:
    from collections.abc import Callable

README = Path(__file__).parent.parent / "README.md"
MIB = 2**20
SHAPE = (2, 1, 16, 100, 120)
SMALL: dict[str, Any] = {"chunks": (8, 32, 32), "memory": 10_000_000, "workers": 2}
WORDS = ["--chunks", "8,32,32", "--memory", "10000000", "--workers", "2"]


class Stop(BaseException):
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.ims"
    write_ims(path, coded_pixels(SHAPE), chunks=(8, 32, 32))
    return path


def packed(source: Path, folder: Path, **settings: Any) -> bytes:
    """Return the archive of the store of a plain conversion."""
    store, archive = folder / "plain.ome.zarr", folder / "plain.ozx"
    convert(source, store, Options(**{**SMALL, **settings}))
    pack(store, archive)
    return archive.read_bytes()


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return packed(source, tmp_path_factory.mktemp("expected"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.ozx"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stopped(source: Path, out: Path, after: int = 9, **settings: Any) -> None:
    """Begin a conversion, and be stopped after some regions."""
    numbers = count(1)

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and next(numbers) == after:
            raise Stop

    with pytest.raises(Stop):
        convert(source, out, Options(**{**SMALL, **settings}), stop)


# -- what it is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shards": (8, 64, 64)},
        {"layout": "bioformats2raw"},
        {"verify": "full", "fsync": "region"},
        {"ome_xml": False, "output_axes": "tczyx", "crop": ((1, 2), *[(None, None)] * 4)},
    ],
)
def test_it_is_what_packing_makes(source: Path, out: Path, settings: dict[str, Any]) -> None:
    report = convert(source, out, Options(**{**SMALL, **settings}))
    assert names(out.parent) == ["out.ozx"]
    assert report.target == str(out)
    assert out.read_bytes() == packed(source, out.parent, **settings)


def test_zarr_reads_it(source: Path, out: Path) -> None:
    convert(source, out, Options(**SMALL))
    with zarr.storage.ZipStore(out, mode="r") as store:
        root = zarr.open_group(store, mode="r")
        found = np.asarray(root["0"][...])  # type: ignore[index]
    np.testing.assert_array_equal(found, coded_pixels(SHAPE))


def test_it_is_verified_and_valid(source: Path, out: Path) -> None:
    convert(source, out, Options(**SMALL))
    verification = verify(str(source), str(out))
    assert verification.passed
    assert verification.complete
    result = validate(str(out), deep=True)
    assert result.findings == ()
    assert result.levels == 3


def test_a_voxel_that_differs_is_found(source: Path, out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.ims"
    pixels = coded_pixels(SHAPE).copy()
    pixels[1, 0, 9, 50, 60] += 1
    write_ims(other, pixels, chunks=(8, 32, 32))
    convert(other, out, Options(**SMALL))
    assert not verify(str(source), str(out)).passed


def test_the_command_tells_of_the_archive(
    source: Path, out: Path, expected: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    assert main([str(source), str(out), *WORDS, "--verify", "full", "--report", str(report)]) == 0
    assert out.read_bytes() == expected
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1]
    assert f"{out} is the same as {source}" in printed
    assert ".partial" not in printed
    facts = json.loads(report.read_text())
    assert (facts["status"], facts["target"]) == ("done", str(out))


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.ozx", "OUT.OZX"])
def test_an_archive_of_04_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"an archive is of OME-Zarr 0\.5"):
        convert(source, tmp_path / name, Options(ngff_version="0.4"))
    assert main([str(source), str(tmp_path / name), "--ngff-version", "0.4"]) == 2
    assert names(tmp_path) == []


@pytest.mark.parametrize("address", ["s3://images/out.ozx", "gs://images/a/out.ozx"])
def test_an_archive_in_a_bucket_is_refused(
    source: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(source), address]) == 2
    assert "an archive is made on a disk; make it there, and copy it" in capsys.readouterr().err


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["text", "zip", "empty", "folder", "store", "dangling"])
def test_nothing_but_an_archive_is_replaced(source: Path, out: Path, kind: str, overwrite: bool) -> None:
    match kind:
        case "text":
            out.write_text("four years of work")
        case "zip":
            with zipfile.ZipFile(out, "w") as file:
                file.writestr("thesis.txt", "four years of work")
        case "empty":
            out.touch()
        case "folder":
            out.mkdir()
        case "store":
            convert(source, out.with_name("a"), Options(**SMALL))
            out.with_name("a").rename(out)
        case "dangling":
            out.symlink_to("nowhere")
    before = tree(out) if out.is_dir() else out.read_bytes() if out.exists() else None
    with pytest.raises(TargetError, match=r"exists already and is not an \.ozx archive"):
        convert(source, out, Options(**SMALL, overwrite=overwrite))
    assert names(out.parent) == ["out.ozx"]
    assert before == (tree(out) if out.is_dir() else out.read_bytes() if out.exists() else None)


def test_an_archive_is_replaced_where_that_is_wanted_and_at_the_end(
    source: Path, out: Path, expected: bytes
) -> None:
    convert(source, out, Options(**{**SMALL, "chunks": (4, 16, 16)}))
    old = out.read_bytes()
    with pytest.raises(TargetError, match="exists already; use --overwrite"):
        convert(source, out, Options(**SMALL))
    stopped(source, out, overwrite=True)
    assert out.read_bytes() == old
    convert(source, out, Options(**SMALL, overwrite=True))
    assert out.read_bytes() == expected != old
    assert names(out.parent) == ["out.ozx"]


def test_what_appears_meanwhile_is_not_replaced(source: Path, out: Path, expected: bytes) -> None:
    def appear(event: Event) -> None:
        if isinstance(event, RegionDone):
            out.write_text("four years of work")

    with pytest.raises(TargetError, match="exists already"):
        convert(source, out, Options(**SMALL), appear)
    assert out.read_text() == "four years of work"
    out.unlink()
    assert convert(source, out, Options(**SMALL)).read_bytes == 0  # all of it was done
    assert out.read_bytes() == expected


def test_what_has_the_name_of_the_half_archive_stays(source: Path, out: Path, expected: bytes) -> None:
    half = out.with_name("out.ozx.packing")
    half.write_text("four years of work")
    with pytest.raises(TargetError, match="not an unfinished archive"):
        convert(source, out, Options(**SMALL))
    assert half.read_text() == "four years of work"
    assert not out.exists()
    half.unlink()
    convert(source, out, Options(**SMALL))
    assert out.read_bytes() == expected


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    path = tmp_path / "in.ozx"
    write_ims(path, coded_pixels((1, 1, 4, 20, 20)))
    before = path.read_bytes()
    for overwrite in (False, True):
        assert main([str(path), str(path), *(["--overwrite"] if overwrite else [])]) == 5
    assert path.read_bytes() == before


# -- interruptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 30, 70])
def test_an_interrupted_conversion_is_gone_on_with(
    source: Path, out: Path, expected: bytes, after: int
) -> None:
    stopped(source, out, after)
    assert names(out.parent) == ["out.ozx.partial"]
    done: list[Event] = []
    report = convert(source, out, Options(**SMALL), done.append)
    assert report.kept_bytes > 0
    total = sum(step.n_regions for step in report.plans[0].passes)
    assert sum(isinstance(event, RegionDone) for event in done) == total - after
    assert out.read_bytes() == expected
    assert names(out.parent) == ["out.ozx"]


def test_a_signal_tells_where_the_work_is(
    source: Path,
    out: Path,
    expected: bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ngff_convert import archive_target

    def interrupted(*_: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(archive_target, "packed", interrupted)
        assert main([str(source), str(out), *WORDS]) == 143
    assert f"the work so far is kept in {out}.partial" in capsys.readouterr().err
    assert main([str(source), str(out), *WORDS]) == 0
    assert out.read_bytes() == expected


def test_a_second_run_is_kept_out(source: Path, out: Path) -> None:
    stopped(source, out)
    with (out.with_name("out.ozx.partial") / PLAN_FILE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TargetError, match="another run is writing it"):
            convert(source, out, Options(**SMALL))


def test_other_options_are_refused_until_the_work_is_thrown_away(
    source: Path, out: Path, expected: bytes
) -> None:
    stopped(source, out, chunks=(4, 16, 16))
    with pytest.raises(TargetError, match="--chunks is"):
        convert(source, out, Options(**SMALL))
    convert(source, out, Options(**SMALL, restart=True))
    assert out.read_bytes() == expected


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from ngff_convert import archive, archive_target, file_system
from ngff_convert.cli import main

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

match sys.argv[1]:
    case "packing":  # the entries are written, and not where they are
        archive.ZipWriter.finish = kill
    case "reading back":
        archive.read_back = kill
    case "naming":
        Path.replace = kill
    case "named":
        archive_target.flush_folder = kill
    case "tidying":
        remove = file_system.remove
        def some(path, left=[3]):
            left[0] -= 1
            kill() if not left[0] else remove(path)
        file_system.remove = some
sys.exit(main(sys.argv[2:]))
"""


def killed_at(where: str, *words: object) -> None:
    command = [sys.executable, "-c", KILLED_AT, where, *map(str, words), *WORDS, "--quiet"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("where", ["packing", "reading back", "naming"])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_killed_before_it_has_its_name_it_is_packed_again(
    source: Path, out: Path, expected: bytes, where: str, overwrite: list[str]
) -> None:
    if overwrite:
        convert(source, out, Options(**{**SMALL, "chunks": (4, 16, 16)}))
    old = out.read_bytes() if overwrite else None
    killed_at(where, source, out, *overwrite)
    assert (out.read_bytes() if out.exists() else None) == old
    assert "out.ozx.packing" in names(out.parent)
    report = convert(source, out, Options(**SMALL, overwrite=bool(overwrite)))
    assert report.read_bytes == 0
    assert out.read_bytes() == expected
    assert names(out.parent) == ["out.ozx"]


@pytest.mark.parametrize("where", ["named", "tidying"])
def test_killed_when_it_has_its_name_it_is_whole(
    source: Path, out: Path, expected: bytes, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_at(where, source, out)
    assert names(out.parent) == ["out.ozx", "out.ozx.partial"]
    assert out.read_bytes() == expected
    assert main([str(source), str(out), *WORDS]) == 5
    assert f"{out}: exists already; use --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == expected
    assert names(out.parent) == ["out.ozx"]


def test_the_folder_of_a_run_that_is_just_removing_it_is_left_to_that(
    source: Path, out: Path, expected: bytes
) -> None:
    killed_at("named", source, out)
    with (out.with_name("out.ozx.partial") / PLAN_FILE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TargetError, match="exists already"):
            convert(source, out, Options(**SMALL))
    assert names(out.parent) == ["out.ozx", "out.ozx.partial"]


def test_work_for_an_archive_that_was_replaced_since_is_not_removed(source: Path, out: Path) -> None:
    killed_at("naming", source, out)
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("zarr.json", "{}")
    with pytest.raises(TargetError, match="exists already"):
        convert(source, out, Options(**SMALL))
    out.unlink()
    assert convert(source, out, Options(**SMALL)).read_bytes == 0


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
@pytest.mark.parametrize("share", [0.3, 1.5, 1.9])
def test_a_full_disk_leaves_nothing_that_looks_whole(
    tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    source = noise(tmp_path)
    words = ["--chunks", "8,64,64", "--memory", "20MB", "--workers", "2", "--quiet"]
    assert main([str(source), str(tmp_path / "whole.ozx"), *words]) == 0
    size = (tmp_path / "whole.ozx").stat().st_size
    with small_disk(tmp_path / "disk", int(share * size)) as disk:
        out = disk / "out.ozx"
        assert main([str(source), str(out), *words]) == 6
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "space" in said.lower(), said
        assert names(disk) == ["out.ozx.partial"]
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        report = tmp_path / "report.json"
        assert main([str(source), str(out), *words, "--report", str(report)]) == 0
        assert (json.loads(report.read_text())["read_bytes"] == 0) == (share > 1)
        assert out.read_bytes() == (tmp_path / "whole.ozx").read_bytes()
        assert names(disk) == ["out.ozx"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"\0" * len(data)])
def test_an_archive_that_does_not_read_back_gets_no_name(
    source: Path,
    out: Path,
    expected: bytes,
    damage: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ngff_convert import archive

    def damaged(half: Path, *words: Any) -> None:
        half.write_bytes(damage(half.read_bytes()))
        read_back(half, *words)

    with monkeypatch.context() as patch:
        patch.setattr(archive, "read_back", damaged)
        assert main([str(source), str(out), *WORDS]) == 6
    assert names(out.parent) == ["out.ozx.partial"]
    convert(source, out, Options(**SMALL))
    assert out.read_bytes() == expected


# -- the README --------------------------------------------------------------------------------------------


def test_the_command_of_the_readme(source: Path, tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition("\n### One file\n")[2].partition("\n### ")[0]
    command = "ngff-convert in.ims out.ozx"
    assert f"`{command}`" in section
    (tmp_path / "in.ims").write_bytes(source.read_bytes())
    script = f"PATH='{Path(sys.executable).parent}':$PATH\n{command}"
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, check=True)
    assert names(tmp_path) == ["in.ims", "out.ozx"]
    assert verify(str(source), str(tmp_path / "out.ozx")).passed
