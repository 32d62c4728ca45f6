"""What a pipeline is told: JSON lines, a report, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ngff_convert.cli import EXIT_CODES, commands, main
from ngff_convert.commit import Target
from ngff_convert.errors import ConversionError
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (2, 1, 8, 100, 100)
COMMAND = [sys.executable, "-m", "ngff_convert"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_ims(tmp_path / "in.ims", coded_pixels(SHAPE), chunks=(8, 32, 32))
    return tmp_path / "in.ims"


def log_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_events_are_json_lines_and_nothing_else(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--chunks", "8,16,16", "--verify", "full", "--log-format", "json")
    assert run(source, tmp_path / "out", *words) == 0
    log = log_of(capsys.readouterr().err)
    assert {line["log"] for line in log} == {1}
    assert all("T" in line["time"] for line in log)
    events = [line["event"] for line in log]
    assert events[0] == "plan"
    assert events[-1] == "done"
    plan, done = log[0], log[-1]
    regions = [line for line in log if line["event"] == "region"]
    assert len(regions) == plan["regions"]
    assert sum(line["read_bytes"] for line in regions) == plan["total_bytes"] == done["read_bytes"]
    assert regions[-1]["done_bytes"] == plan["total_bytes"]
    assert [line["path"] for line in log if line["event"] == "level"] == [
        level["path"] for level in plan["levels"]
    ]
    assert plan["levels"][0]["shape"] == [2, 1, 8, 100, 100]
    assert done["images"][0]["digest"] == plan["digest"]
    assert done["verification"]["passed"]


def test_a_failure_is_a_json_line_and_the_exit_code(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert run(source, tmp_path / "out", "--log-format", "json") == 5
    (line,) = log_of(capsys.readouterr().err)
    assert (line["event"], line["exit_code"]) == ("error", 5)
    assert "is not an OME-Zarr store" in line["message"]


def test_notes_are_warnings_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels(SHAPE).astype("uint64"))
    assert run(tmp_path / "in.ims", tmp_path / "out", "--log-format", "json") == 0
    log = log_of(capsys.readouterr().err)
    notes = [line["message"] for line in log if line["event"] == "warning"]
    assert any("web viewers refuse" in note for note in notes)
    assert log[-1]["warnings"] == notes


def test_quiet_leaves_errors(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(source, tmp_path / "out", "--quiet", "--log-format", "json") == 0
    assert capsys.readouterr() == ("", "")
    assert run(source, tmp_path / "out", "--quiet", "--log-format", "json") == 5
    assert [line["event"] for line in log_of(capsys.readouterr().err)] == ["error"]


# -- the report --------------------------------------------------------------------------------------------


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["report"] == 1
    return report


def test_the_report_tells_what_was_done(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert run(source, tmp_path / "out", "--report", path, "--verify", "full", "--quiet") == 0
    report = report_of(path)
    assert (report["status"], report["exit_code"]) == ("done", 0)
    assert report["source"] == str(source)
    assert report["target"] == str(tmp_path / "out")
    assert report["read_bytes"] == 2 * 8 * 100 * 100 * 2
    levels = report["images"][0]["levels"]
    assert [level["path"] for level in levels] == list(report["stored_bytes_of"])
    compared = report["verification"]["images"][0]["levels"]
    assert all(level["chunks"] == level["of_chunks"] for level in compared)


def test_the_report_tells_what_failed(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    source.write_bytes(source.read_bytes()[:3000])
    code = run(source, tmp_path / "out", "--report", path)
    report = report_of(path)
    assert code == 3
    assert (report["status"], report["exit_code"]) == ("failed", 3)
    assert "in.ims" in report["error"]


def test_the_report_of_a_killed_run_says_that_it_runs(source: Path, tmp_path: Path) -> None:
    """An earlier report, which said "done", must not be left standing."""
    path = tmp_path / "report.json"
    words = [str(source), str(tmp_path / "out"), "--report", str(path), "--overwrite", "--log-format", "json"]
    assert main(words) == 0
    assert report_of(path)["status"] == "done"
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "plan"
        process.send_signal(signal.SIGSTOP)
        status = report_of(path)["status"]
        process.kill()
    assert status == "running"


def test_nothing_but_a_report_is_replaced_by_one(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = source.read_bytes()
    assert run(source, tmp_path / "out", "--report", source) == 5
    assert "in.ims: exists already and is no report" in capsys.readouterr().err
    assert source.read_bytes() == content
    assert not (tmp_path / "out").exists()
    (tmp_path / "notes.json").write_text('{"notes": "mine"}')
    assert run(source, tmp_path / "out", "--report", tmp_path / "notes.json") == 5
    assert (tmp_path / "notes.json").read_text() == '{"notes": "mine"}'
    assert run(source, tmp_path / "out", "--report", tmp_path / "gone" / "report.json") == 6
    assert not (tmp_path / "out").exists()


def test_a_report_that_cannot_be_written_hides_no_error(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    source.write_bytes(source.read_bytes()[:3000])
    write_text = type(folder).write_text

    def once(path: Path, text: str, **settings: Any) -> int:
        if path.parent == folder and "failed" in text:
            raise OSError(28, "No space left on device")
        return write_text(path, text, **settings)

    monkeypatch.setattr(type(folder), "write_text", once)
    assert run(source, tmp_path / "out", "--report", folder / "r.json") == 3
    said = capsys.readouterr().err
    assert "in.ims" in said
    assert "r.json: the report cannot be written: No space left" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")  # noqa: PTH110
def test_the_report_is_whole_before_anything_is_printed(source: Path, tmp_path: Path) -> None:
    command = [*COMMAND, str(source), str(tmp_path / "out"), "--report", str(tmp_path / "r.json")]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 6
    assert "standard output" in result.stderr
    assert report_of(tmp_path / "r.json")["status"] == "done"


def test_the_report_goes_through_a_pipe_too(source: Path, tmp_path: Path) -> None:
    command = [*COMMAND, str(source), str(tmp_path / "out"), "--quiet", "--report", "/dev/stdout"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(result.stdout)["status"] == "done"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--levels", "x"], 2),
        (["--chunks", "0,1,1"], 2),
        (["--nonsense"], 2),
        (["--report", "gone/r.json"], 6),
    ],
)
@pytest.mark.parametrize("log", [["--log-format", "json"], ["--log-format=json"]])
def test_every_error_is_json_where_that_is_asked_for(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    log: list[str],
) -> None:
    assert run(source, tmp_path / "out", *words, *log) == code
    (line,) = log_of(capsys.readouterr().err)
    assert (line["event"], line["exit_code"]) == ("error", code)


def test_a_signal_after_the_store_got_its_name_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tidy = Target.tidy

    def told_to_end(place: Target) -> None:
        signal.raise_signal(signal.SIGTERM)
        tidy(place)

    monkeypatch.setattr(Target, "tidy", told_to_end)
    assert run(source, tmp_path / "out", "--quiet", "--report", tmp_path / "r.json") == 143
    assert capsys.readouterr().err == f"ngff-convert: terminated; {tmp_path / 'out'} is whole\n"
    assert report_of(tmp_path / "r.json")["read_bytes"] > 0
    monkeypatch.undo()
    assert run(source, tmp_path / "out", "--quiet") == 5
    assert not list((tmp_path / "out").glob(".ngff-convert*"))


def test_an_interruption_while_it_loads_has_no_traceback(source: Path, tmp_path: Path) -> None:
    code = """
import signal, sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "ngff_convert.cli":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupted())
from ngff_convert.__main__ import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGINT
    assert result.stderr == ""


# -- verify ------------------------------------------------------------------------------------------------


def test_a_wrong_pixel_ends_with_exit_code_8_and_its_place(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zarr

    assert run(source, tmp_path / "out", "--quiet") == 0
    assert run("verify", source, tmp_path / "out") == 0
    assert "is the same as" in capsys.readouterr().out
    array = zarr.open_array(tmp_path / "out" / "0")
    value: int = np.asarray(array[1, 0, 3, 70, 5]).item()
    array[1, 0, 3, 70, 5] = value ^ 64
    assert run("verify", source, tmp_path / "out", "--report", tmp_path / "r.json") == 8
    shown = capsys.readouterr()
    place = (
        f"image 0, level 0, chunk 1,0,0,0,0: 1 voxel, the first at 1,0,3,70,5 is {value ^ 64}, not {value}"
    )
    assert place in shown.out
    assert place in shown.err
    assert shown.err.count("\n") == 1
    assert report_of(tmp_path / "r.json")["verification"]["differing"] == 1
    assert run("verify", source, tmp_path / "out", "--json") == 8
    assert (
        json.loads(capsys.readouterr().out)["images"][0]["levels"][0]["differences"][0]["found"] == value ^ 64
    )


def test_a_sample_is_a_share_or_a_percentage(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(source, tmp_path / "out", "--quiet") == 0
    for share in ("5%", "0.05"):
        assert run("verify", source, tmp_path / "out", "--sample", share, "--json") == 0
        assert json.loads(capsys.readouterr().out)["share"] == 0.05
    for wrong in ("0%", "101%", "-1", "some"):
        assert run("verify", source, tmp_path / "out", "--sample", wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("verify", ["sample", "full"])
def test_what_differs_does_not_get_its_name(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verify: str,
) -> None:
    from ngff_convert.readers.imaris_source import ImarisPixels

    read = ImarisPixels.read
    monkeypatch.setattr(ImarisPixels, "read", lambda pixels, box: read(pixels, box) + 1)
    assert run(source, tmp_path / "out", "--verify", verify, "--report", tmp_path / "r.json", "--quiet") == 8
    assert "the output is not made" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    report = report_of(tmp_path / "r.json")
    assert report["exit_code"] == 8
    assert not report["verification"]["passed"]


def test_what_cannot_be_read_of_the_source_is_not_called_the_same(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import h5py

    with h5py.File(source) as file:
        chunk = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0/Data"].id.get_chunk_info(3)
    with source.open("r+b") as raw:
        raw.seek(chunk.byte_offset + 2)
        raw.write(b"\xff" * 30)
    fill = ("--on-error", "fill")
    assert run(source, tmp_path / "out", *fill, "--log-format", "json") == 3
    done, error = log_of(capsys.readouterr().err)[-2:]
    assert (done["event"], done["exit_code"], error["event"], error["exit_code"]) == ("done", 3, "error", 3)
    assert run("verify", source, tmp_path / "out", *fill, "--report", tmp_path / "r.json") == 3
    shown = capsys.readouterr()
    assert "0 in place of what cannot be read" in shown.out
    assert "but for what of it cannot be read: 1 places" in shown.out
    assert "cannot be read everywhere" in shown.err
    report = report_of(tmp_path / "r.json")
    assert report["exit_code"] == 3
    assert len(report["verification"]["images"][0]["filled"]) == 1
    assert run("verify", source, tmp_path / "out", "--report", tmp_path / "r.json") == 3
    assert report_of(tmp_path / "r.json")["status"] == "failed"


def test_a_store_that_is_not_there_is_not_called_different(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", source, tmp_path / "gone", "--report", tmp_path / "r.json") == 3
    assert report_of(tmp_path / "r.json")["exit_code"] == 3
    (tmp_path / "folder").mkdir()
    assert run("verify", source, tmp_path / "folder") == 4
    assert run("validate", tmp_path / "gone") == 3
    assert run("validate", tmp_path / "folder") == 4
    assert capsys.readouterr().err.count("\n") == 4


def test_a_source_that_lacks_pages_is_refused_by_verify_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tifffile

    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, coded_pixels((1, 1, 6, 20, 20))[0, 0], metadata={"axes": "ZYX"}, ome=True)
    with tifffile.TiffFile(path) as tiff:
        (offset,) = tiff.pages[3].dataoffsets
    path.write_bytes(path.read_bytes()[:offset])
    assert run(path, tmp_path / "out", "--on-error", "fill", "--quiet") == 3
    assert run("verify", path, tmp_path / "out") == 3
    assert run("verify", path, tmp_path / "out", "--on-error", "fill") == 3
    capsys.readouterr()


# -- exit codes --------------------------------------------------------------------------------------------


def test_every_exit_code_is_in_the_help() -> None:
    codes = {error.exit_code for error in ConversionError.__subclasses__()} | {0, 1, 129, 130, 143}
    assert codes <= {int(word.strip(",")) for word in EXIT_CODES.split() if word.strip(",").isdigit()}
    assert EXIT_CODES in str(commands.epilog)
    assert EXIT_CODES in str(commands.commands["convert"].epilog)


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 64, 512, 512)))
    words = ["--chunks", "8,32,32", "--compressor", "gzip", "--compression-level", "9", "--memory", "20MB"]
    command = [*COMMAND, str(tmp_path / "in.ims"), str(tmp_path / "out"), "--log-format", "json", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        while json.loads(first.stderr.readline())["event"] != "region":
            pass
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 5
        assert "another run is writing it" in second.stderr
        assert first.poll() is None, "the first run ended too soon for this test"
        first.kill()
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert log_of(third.stderr)[0]["message"].endswith("an unfinished conversion is taken up")
    assert next(line for line in log_of(third.stderr) if line["event"] == "plan")["finished_bytes"] > 0
    shutil.rmtree(tmp_path / "out")
