"""Plates in parts, in batches, in archives and buckets, and gone on with: the same store every time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plate_source import FIELDS, IN_PROCESS, made, pixels_of, write
from servers import s3_server
from stores import attributes, levels, tree

from ngff_convert import Options, array_job, convert
from ngff_convert.cli import main
from ngff_convert.events import Event, RegionDone
from ngff_convert.plan import Resources
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["made"]
pytestmark = pytest.mark.usefixtures("made")
SERIES = ["A/01/0", "A/01/1", "B/02/0", "B/02/1", "C/04/1"]
SMALL = Options(chunks=(1, 16, 32), memory=2**30)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "in.made", FIELDS)


@pytest.fixture
def whole(source: Path, tmp_path: Path) -> dict[str, str]:
    """What a run that nothing stops makes."""
    convert(source, tmp_path / "whole.ome.zarr", SMALL)
    return tree(tmp_path / "whole.ome.zarr")


def ignore(_event: Event) -> None:
    pass


def stop_at(number: int) -> Callable[[Event], None]:
    """Return an observer that ends the run when so many regions are done."""
    left = number

    def observe(event: Event) -> None:
        nonlocal left
        left -= isinstance(event, RegionDone)
        if not left:
            left = -1
            raise KeyboardInterrupt

    return observe


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_a_job_in_parts_makes_the_same_plate(
    source: Path, tmp_path: Path, whole: dict[str, str], parts: int
) -> None:
    out = tmp_path / "out.ome.zarr"
    job = array_job.plan(source, out, parts, SMALL, ignore)
    partial = tmp_path / "out.ome.zarr.partial"
    assert {path.parent.relative_to(partial).as_posix() for path in partial.rglob("zarr.json")} >= {
        f"{folder}/0" for folder in SERIES
    }
    done = [array_job.run(job, part, Resources(2, 2**30), ignore) for part in range(parts, 0, -1)]
    assert sum(done) == sum(array_job.status(job).regions) >= len(SERIES)
    report = array_job.finish(job, Options(), ignore)
    assert report.folders == tuple(SERIES)
    assert tree(out) == whole
    assert verify(source, out).passed


def test_a_part_that_was_stopped_goes_on(source: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    job = array_job.plan(source, tmp_path / "out.ome.zarr", 2, SMALL, ignore)
    with pytest.raises(KeyboardInterrupt):
        array_job.run(job, 1, Resources(1, 2**30), stop_at(1))
    first = array_job.run(job, 1, Resources(1, 2**30), ignore)
    assert first == array_job.status(job).regions[0] - 1
    array_job.run(job, 2, Resources(1, 2**30), ignore)
    array_job.finish(job, Options(), ignore)
    assert tree(tmp_path / "out.ome.zarr") == whole


def test_the_commands_of_a_job_take_wells(source: Path, tmp_path: Path) -> None:
    job, out = str(tmp_path / "job"), tmp_path / "out.ome.zarr"
    assert main(["plan", str(source), str(out), "-n", "2", "-o", job, "--wells=B02", "--fields=1", "-q"]) == 0
    assert [main(["run", job, "--part", part, "-q"]) for part in ("1", "2")] == [0, 0]
    assert main(["finish", job, "-q"]) == 0
    np.testing.assert_array_equal(levels(out / "B/02/1", "0.5")[0], pixels_of(3)[0])
    assert [well["path"] for well in attributes(out, "0.5")["plate"]["wells"]] == ["B/02"]


@pytest.mark.parametrize("regions", [1, 3, 5])
def test_a_run_that_was_stopped_goes_on(
    source: Path, tmp_path: Path, whole: dict[str, str], regions: int
) -> None:
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(KeyboardInterrupt):
        convert(source, out, SMALL, stop_at(regions))
    assert not out.exists()
    report = convert(source, out, SMALL)
    assert report.kept_bytes > 0
    assert tree(out) == whole


def test_other_wells_do_not_go_on(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.ome.zarr"
    with pytest.raises(KeyboardInterrupt):
        convert(source, out, SMALL, stop_at(1))
    assert main([str(source), str(out), "--chunks=1,16,32", "--memory=1GiB", "--wells=A01"]) == 5
    assert '--wells is ["A01"], was not given' in capsys.readouterr().err


def test_a_process_that_was_killed_goes_on(source: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    out = tmp_path / "out.ome.zarr"
    words = [str(source), str(out), "--chunks=1,16,32", "--memory=1GiB", "-q"]
    script = IN_PROCESS.format(tests=str(Path(__file__).parent), words=words)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    partial = tmp_path / "out.ome.zarr.partial"
    while process.poll() is None and not list(partial.glob("B/02/0/0/c/0/*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert again.returncode == 0 or "exists already" in again.stderr, again.stderr
    assert tree(out) == whole


def test_a_plate_in_an_archive(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ozx"
    with pytest.raises(KeyboardInterrupt):
        convert(source, out, SMALL, stop_at(2))
    convert(source, out, SMALL)
    assert validate(out).findings == ()
    assert (validate(out).wells, validate(out).images) == (3, 5)
    assert verify(source, out).passed


def test_a_plate_in_a_bucket(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        out = f"s3://{server.bucket}/plate.ome.zarr"
        with pytest.raises(KeyboardInterrupt):
            convert(source, out, SMALL, stop_at(2))
        report = convert(source, out, SMALL)
        assert report.folders == tuple(SERIES)
        found = validate(out)
        assert (found.errors, found.wells, found.images) == ((), 3, 5)
        assert verify(source, out).passed


def test_plates_in_a_batch(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "other.made", [{"well": "C/01", "field": "7"}])
    words = ["batch", str(tmp_path / "*.made"), str(tmp_path / "all")]
    assert main(words) == 0
    assert "plate" in attributes(tmp_path / "all/in.ome.zarr", "0.5")
    assert attributes(tmp_path / "all/other.ome.zarr", "0.5")["plate"]["wells"][0]["path"] == "C/01"
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr().out.count("skipped") >= 2
    assert main([*words[:2], str(tmp_path / "some"), "--wells", "A01"]) == 2
    assert attributes(tmp_path / "some/in.ome.zarr", "0.5")["plate"]["field_count"] == 2
    assert source.exists()


def lines(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert main(words) == 0
    return capsys.readouterr().out.splitlines()


def test_plans_and_reports_show_images_that_are_alike_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [
        {"well": f"{row}/0{column}", "field": "0", "origin": (None, n, n)}
        for n, (row, column) in enumerate((row, column) for row in "ABC" for column in (1, 2, 3, 4))
    ]
    source = write(tmp_path / "in.made", many)
    words = [str(source), str(tmp_path / "out.ome.zarr")]
    plan = lines([*words, "--dry-run"], capsys)
    assert plan[:2] == ["plate run 7: 12 of 3 × 4 wells, 12 fields", "image run 7 A/01/0 and 11 more like it"]
    assert len(plan) < 10
    told = lines(words, capsys)
    stored = sum(p.stat().st_size for p in tmp_path.glob("out.ome.zarr/*/*/0/0/**/*") if p.is_file())
    assert told[1].startswith("└── A/01/0/0 and 11 more like it  1×2×1×40×50")
    assert told[1].endswith(f", {stored / 1000:.3g} kB")
    found = json.loads("\n".join(lines([*words, "--dry-run", "--json"], capsys)))
    assert [item["folder"] for item in found] == [f"{said['well']}/0" for said in many]
