"""The command as a user runs it: a process of its own, its words, its exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
import tifffile
from stores import assert_valid, attributes, levels

from ngff_convert.cli import commands, main
from ngff_convert.errors import (
    MemoryBudgetError,
    OptionError,
    ReadError,
    TargetError,
    UnsupportedInput,
    VerificationError,
    WriteError,
)
from ngff_convert.options import Options
from ngff_convert.readers import registry
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = (1, 2, 20, 150, 140)
COMMAND = Path(sys.executable).with_name("ngff-convert")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "a file #1 µ.ims"
    write_ims(path, coded_pixels(SHAPE), levels=3, voxel_zyx=(0.5, 0.25, 0.25))
    return path


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, words)], capture_output=True, text=True, check=False, timeout=60, cwd=cwd
    )


def test_the_short_form_converts(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "out.ome.zarr")
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(levels(tmp_path / "out.ome.zarr", "0.5")[0], coded_pixels(SHAPE)[0])
    first, *tree = result.stdout.splitlines()
    assert first.startswith(str(tmp_path / "out.ome.zarr"))
    assert [line[:5] for line in tree] == ["├── 0", "└── 1"]
    assert "1×2×20×150×140, chunks" in tree[0]
    assert "scale 0.5 0.25 0.25" in tree[0]


def test_the_long_form_and_the_module_do_the_same(source: Path, tmp_path: Path) -> None:
    assert run("convert", source, tmp_path / "a").returncode == 0
    module = [sys.executable, "-m", "ngff_convert", str(source), str(tmp_path / "b")]
    assert subprocess.run(module, capture_output=True, check=False).returncode == 0
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    for name in files:
        if name.name != "METADATA.ome.xml":
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_options_before_the_input_and_after_it(source: Path, tmp_path: Path) -> None:
    assert run("--levels", 1, "-q", source, tmp_path / "a").returncode == 0
    assert run(source, tmp_path / "b", "-q", "--levels", 1).returncode == 0
    assert len(levels(tmp_path / "a", "0.5")) == len(levels(tmp_path / "b", "0.5")) == 1


def test_every_option_reaches_the_store(source: Path, tmp_path: Path) -> None:
    words = [
        "--ngff-version",
        "0.4",
        "--chunks",
        "8,64,64",
        "--compressor",
        "zlib",
        "--compression-level",
        "3",
        "--method",
        "max",
        "--levels",
        "2",
        "--t",
        "0",
        "--c",
        "1:",
        "--z",
        "2:18",
        "--y",
        ":100",
        "--x",
        "20:120",
        "--spacing",
        "1,0.5,0.5",
        "--unit",
        "nm",
        "--origin=-5,0,2.5",
        "--channel-names",
        "GFP",
        "--channel-colors",
        "magenta",
        "--name",
        "mine",
        "--layout",
        "single",
        "--output-axes",
        "tczyx",
        "--dtype",
        "float32",
        "--no-ome-xml",
        "--workers",
        "1",
        "--memory",
        "300MB",
        "--reader",
        "imaris",
        "--images",
        "0",
        "--quiet",
    ]
    result = run(source, tmp_path / "out", *words)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    found, pixels = attributes(tmp_path / "out", "0.4"), levels(tmp_path / "out", "0.4")
    np.testing.assert_array_equal(
        pixels[0], coded_pixels(SHAPE)[0:1, 1:, 2:18, :100, 20:120].astype("float32")
    )
    multiscales = found["multiscales"][0]
    assert multiscales["type"] == "max"
    assert multiscales["axes"][2] == {"name": "z", "type": "space", "unit": "nanometer"}
    assert multiscales["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1, 1, 1, 0.5, 0.5]},
        {"type": "translation", "translation": [0, 0, -5 + 2, 0, 2.5 + 10]},
    ]
    channel = found["omero"]["channels"][0]
    assert (channel["label"], channel["color"]) == ("GFP", "FF00FF")
    array = json.loads((tmp_path / "out" / "0" / ".zarray").read_text())
    assert array["compressor"] == {"id": "zlib", "level": 3}
    assert array["chunks"] == [1, 1, 8, 64, 64]


def test_options_that_exclude_those_above_reach_the_store_too(source: Path, tmp_path: Path) -> None:
    words = (
        "--chunks 8,32,32 --shards 16,64,64 --compressor blosc-zstd --shuffle byte --no-original-metadata -q"
    )
    assert run(source, tmp_path / "out", *words.split(), "--min-size", 100).returncode == 0
    array = json.loads((tmp_path / "out" / "0" / "zarr.json").read_text())
    inner = array["codecs"][0]["configuration"]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [1, 16, 64, 64]
    assert inner["chunk_shape"] == [1, 8, 32, 32]
    assert inner["codecs"][1]["configuration"]["cname"] == "zstd"
    assert inner["codecs"][1]["configuration"]["shuffle"] == "shuffle"
    assert "OriginalMetadata" not in (tmp_path / "out" / "OME" / "METADATA.ome.xml").read_text()
    assert [level.shape[1:] for level in levels(tmp_path / "out", "0.5")] == [(20, 150, 140), (20, 75, 70)]
    words = "--factors 1,3,3 --factors 2,2,2 --levels 3 --overwrite -q"
    assert run(source, tmp_path / "out", *words.split()).returncode == 0
    sizes = [level.shape[1:] for level in levels(tmp_path / "out", "0.5")]
    assert sizes == [(20, 150, 140), (20, 50, 47), (10, 25, 24)]
    assert run(source, tmp_path / "native", "--pyramid", "native", "-q").returncode == 0
    assert attributes(tmp_path / "native", "0.5")["multiscales"][0]["type"] == "native"


def test_every_field_of_the_options_has_an_option() -> None:
    convert = commands.commands["convert"]
    words = {parameter.name for parameter in convert.params}
    shown = {
        "source",
        "target",
        "dry_run",
        "as_json",
        "quiet",
        "verbose",
        "help",
        "log_format",
        "report_file",
    }
    codec = {"compressor", "compression_level", "shuffle"}
    fields = set(Options.__dataclass_fields__)
    assert words - shown - codec - set("tczyx") == fields - {"codec", "crop"}
    assert all(isinstance(p, click.Argument) or p.help for p in convert.params)


def test_progress_without_a_terminal_is_plain_lines(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "out", "--verbose")
    assert "\x1b" not in result.stdout + result.stderr
    assert "pass 0   reads the source once" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pseudo-terminal")
def test_progress_on_a_terminal_is_a_bar(source: Path, tmp_path: Path) -> None:
    import pty

    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, source, tmp_path / "out"],
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(terminal)
    seen = b""
    try:
        while part := os.read(control, 4096):
            seen += part
    except OSError:  # the other end is closed
        pass
    os.close(control)
    assert process.wait(60) == 0
    text = seen.decode()
    assert "levels 0-1" in text
    assert "MB" in text


def test_notes_go_to_standard_error_unless_quiet(tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 4, 20, 20), "float64"))
    assert "note: float64 pixels" in run(tmp_path / "in.ims", tmp_path / "a").stderr
    assert run(tmp_path / "in.ims", tmp_path / "b", "--quiet").stderr == ""


# -- looking without writing -------------------------------------------------------------------------------


def test_inspect_tells_what_is_there_and_what_would_be(source: Path) -> None:
    result = run("inspect", source)
    assert result.returncode == 0
    for words in (
        "t1 c2 z20 y150 x140, uint16",
        "8×64×64 (z y x), compression deflate 2",
        "0.5 × 0.25 × 0.25 µm",
        "level 0  1×2×20×150×140",
        "pass 0   reads the source once",
    ):
        assert words in result.stdout


def test_inspect_as_json(source: Path) -> None:
    found = json.loads(run("inspect", source, "--json").stdout)
    image = found["images"][0]
    assert image["shape"] == {"t": 1, "c": 2, "z": 20, "y": 150, "x": 140}
    assert image["spacing"] == {"z": 0.5, "y": 0.25, "x": 0.25}
    assert image["unit"] == "micrometer"
    assert [level["factor"] for level in image["native_levels"]] == [
        {"z": 2, "y": 2, "x": 2},
        {"z": 4, "y": 4, "x": 4},
    ]
    assert image["plan"]["levels"][0]["shape"] == list(SHAPE)


@pytest.mark.parametrize(("error", "code"), [(MemoryBudgetError, 7), (OptionError, 2)])
def test_inspect_shows_what_is_there_where_no_plan_can_be_made(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise error("it does not fit; do this")

    monkeypatch.setattr("ngff_convert.plan.build", refuse)
    assert main(["inspect", str(source)]) == code
    shown = capsys.readouterr()
    assert "t1 c2 z20 y150 x140, uint16" in shown.out
    assert "would become" not in shown.out
    assert shown.err == "ngff-convert: it does not fit; do this\n"
    assert main(["inspect", str(source), "--json"]) == code
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert (image["dtype"], image["plan"]) == ("uint16", None)


def test_formats_lists_the_readers_and_those_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run("formats").stdout.splitlines()
    assert "imaris       Imaris 5.5 (HDF5)" in lines
    assert lines[lines.index("imaris       Imaris 5.5 (HDF5)") + 1] == "             .ims"
    assert any(line.startswith("files        Many TIFF files: a folder, a pattern such as") for line in lines)
    monkeypatch.setattr(registry, "broken", lambda: {"mine": "mine:Reader cannot be used: ImportError: no"})
    assert main(["formats"]) == 0
    assert "mine         not used: mine:Reader cannot be used: ImportError: no" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    text = run(source, tmp_path / "out", "--dry-run", "--chunks", "8,64,64")
    assert "chunks 8×64×64" in text.stdout
    plan = json.loads(run(source, tmp_path / "out", "--dry-run", "--json", "--levels", 1).stdout)
    assert len(plan[0]["plan"]["levels"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_in_groups_and_names_defaults() -> None:
    text = run("convert", "--help").stdout
    for words in ("Output:", "Pyramid:", "Selection:", "Running:", "[default: 0.5]", "Exit codes:"):
        assert words in text
    short = run("--help").stdout
    assert "Exit codes:" in short
    assert "  ngff-convert inspect IN.tif                 show what is in it\n" in short


# -- errors ------------------------------------------------------------------------------------------------


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ngff-convert: ")
    return lines[0]


def test_each_failure_is_one_line_and_its_exit_code(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.ims").write_bytes(b"")
    (tmp_path / "text.ims").write_text("no image")
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    for code, words, said in [
        (2, (source, tmp_path / "o", "--t", "5:6"), "--t 5:6 is not within the image"),
        (2, (source, tmp_path / "o", "--ngff-version", "0.4", "--shards", "8,64,64"), "no shards"),
        (2, (source, tmp_path / "o", "--reader", "czi"), "there is no such reader"),
        (
            2,
            (source, tmp_path / "o", "--compressor", "gzip", "--compression-level", "10"),
            "gzip has no level 10",
        ),
        (3, (tmp_path / "missing.ims", tmp_path / "o"), "No such file"),
        (3, (tmp_path / "empty.ims", tmp_path / "o"), "is empty"),
        (4, (tmp_path / "text.ims", tmp_path / "o"), "text.ims"),
        (5, (source, tmp_path / "there"), "exists already"),
        (5, (source, source, "--overwrite"), "is, or holds, the input"),
        (5, (source, tmp_path / "file", "--overwrite"), "is not an OME-Zarr store"),
        (2, ("inpsect", source), "inpsect: no such file; did you mean the command inspect?"),
        (2, ("-q", "inspect", source), "inspect: a command comes first: ngff-convert inspect ..."),
        (6, (source, tmp_path / "file" / "o"), "Not a directory"),
        (7, (source, tmp_path / "o", "--memory", "1MB"), "--memory allows 1 MiB"),
    ]:
        result = run(*words)
        assert result.returncode == code, (words, result.stderr)
        assert said in one_line(result)
        assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--chunks", "8,,64"], "'8,,64': whole numbers with commas between are needed, such as 64,256,256"),
        (["--chunks", "none"], "--chunks takes 3"),
        (["--t", "a:b"], "a range is FROM:TO"),
        (["--t", "5:3"], "--t 5:3: a range begins at 0 or later and ends after that, such as 3:8"),
        (["--images", "1-2"], "such as 0,2"),
        (["--origin", "nan,0,0"], "--origin takes three numbers z,y,x, such as 0.5,0.2,0.2, not nan,0.0,0.0"),
        (["--spacing", "inf,1,1"], "--spacing takes three numbers"),
        (["--name", "\udcff"], "--name takes text in UTF-8"),
        (["--levels", "0"], "--levels is a whole number of at least 1"),
        (["--chunks", "8,64"], "takes 3"),
        (["--spacing", "1,1"], "three numbers z,y,x"),
        (["--spacing", "0,1,1"], "above 0"),
        (["--unit", "pixel"], "not a unit of length"),
        (["--memory", "much"], "a number with a unit"),
        (["--channel-colors", "pink-ish"], "not a colour"),
        (["--factors", "2,2"], "three whole numbers"),
        (["--quiet", "--verbose"], "exclude each other"),
        (["--json"], "use it with --dry-run"),
        (["--no-such-option"], "No such option"),
        (["--method", "average"], "average"),
        (["--dtype", "uint17"], "uint17"),
        (["--axes", "XZ"], "--axes takes axes, slowest first, such as TZCYX"),
        (["--axes", ""], "in any order), not ''"),
        (["--axes", "TZ", "--shape", "2;3"], "whole numbers with commas between are needed"),
        (["--axes", "TZ", "--shape", "-1,-1"], "of which one may be -1: what is left; not -1,-1"),
        (["--on-error", "ignore"], "'ignore' is not one of 'stop', 'fill'"),
    ],
)
def test_words_that_cannot_be_meant_end_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], source: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    assert main([str(source), str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_words_at_all_show_the_help() -> None:
    result = run()
    assert result.returncode == 2
    assert "Usage: ngff-convert" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError, 2),
        (ReadError, 3),
        (UnsupportedInput, 4),
        (TargetError, 5),
        (WriteError, 6),
        (MemoryBudgetError, 7),
        (VerificationError, 8),
    ],
)
def test_every_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Any, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("it went wrong; do this")

    monkeypatch.setattr(commands, "main", fail)
    assert main([]) == code
    assert capsys.readouterr().err == "ngff-convert: it went wrong; do this\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "main", fail)
    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_soon_and_leaves_a_partial_store(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 1, 64, 512, 512)))
    # Small regions, one worker and a slow compressor, so that there is time to interrupt.
    words = [
        "--chunks",
        "8,64,64",
        "--memory",
        "20MB",
        "--compressor",
        "gzip",
        "--compression-level",
        "9",
        "--workers",
        "1",
    ]
    process = subprocess.Popen([COMMAND, source, tmp_path / "out", *words], stderr=subprocess.PIPE, text=True)
    partial = tmp_path / "out.partial"
    until = time.monotonic() + 30
    while not list(partial.glob("0/c/*/*")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    what = "interrupted" if sent == signal.SIGINT else "terminated"
    assert said.splitlines()[-1] == f"ngff-convert: {what}; the work so far is kept in {partial}"
    assert "Traceback" not in said
    assert partial.is_dir()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("words", [["inspect"], ["--dry-run"], ["--quiet"]])
def test_a_signal_before_there_is_any_work_promises_none(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: Path,
    tmp_path: Path,
    words: list[str],
    sent: signal.Signals,
    code: int,
    said: str,
) -> None:
    before = signal.getsignal(sent)
    monkeypatch.setattr(registry, "pick", lambda *_: os.kill(os.getpid(), sent))
    target = [] if words == ["inspect"] else [str(tmp_path / "out")]
    assert main([*words, str(source), *target]) == code
    assert capsys.readouterr().err == f"ngff-convert: {said}\n"
    assert signal.getsignal(sent) == before


def test_a_file_may_be_called_like_a_command(source: Path, tmp_path: Path) -> None:
    (tmp_path / "inspekt").symlink_to(source)
    result = run("inspekt", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "No such file" in one_line(run("inspect.ims", "other", cwd=tmp_path))


# -- many files --------------------------------------------------------------------------------------------

FILES_SHAPE = (2, 2, 3, 20, 24)
PATTERN = "scan_t{t}_{c}_z{z}.tif"


def write_files(folder: Path, without: str = "") -> np.ndarray[Any, Any]:
    """Write one TIFF file a plane, and return the image, 0 where a file is left out."""
    folder.mkdir()
    pixels = coded_pixels(FILES_SHAPE)
    for t, c, z in np.ndindex(2, 2, 3):
        name = PATTERN.format(t=t, c=("DAPI", "GFP")[c], z=z)
        if name == without:
            pixels[t, c, z] = 0
        else:
            tifffile.imwrite(folder / name, pixels[t, c, z], metadata=None)
    return pixels


@pytest.mark.parametrize(
    "words",
    [
        [f"in/{PATTERN}", "out"],
        ["in", "out"],
        ["--files-from", "list", "out"],
        [PATTERN, "out", "--files-from", "list"],
        ["convert", "--files-from=list", "in/scan*_t{t}_{c}_z{z:d}.tif".replace("scan*", "s*n"), "out"],
        ["in", "out", "--axes", "TCZYX", "--shape", "2,2,-1"],
    ],
)
def test_many_files_become_one_image(tmp_path: Path, words: list[str]) -> None:
    pixels = write_files(tmp_path / "in")
    lines = [f"in/{path.name}" for path in (tmp_path / "in").iterdir()]
    (tmp_path / "list").write_text("\r\n".join(lines))
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], pixels)
    if "--axes" in words:
        assert (
            "files are counted as they come, from in/scan_t0_DAPI_z0.tif to in/scan_t1_GFP_z2.tif"
            in result.stderr
        )
    else:
        channels = attributes(tmp_path / "out", "0.5")["omero"]["channels"]
        assert [channel["label"] for channel in channels] == ["DAPI", "GFP"]
        assert "t 0 1, c DAPI GFP, z 0 1 2" in result.stderr


def test_gaps_are_shown_before_they_stop_a_conversion_or_are_filled(tmp_path: Path) -> None:
    pixels = write_files(tmp_path / "in", without="scan_t1_GFP_z2.tif")
    gap = "1 of 12 files is missing: t 1, c GFP, z 2"
    shown = run("inspect", "in", cwd=tmp_path).stdout.splitlines()
    assert shown[1] == f"note: file names are read as in/{PATTERN}: t 0 1, c DAPI GFP, z 0 1 2"
    assert shown[2] == f"note: {gap}"
    assert "  size         t2 c2 z3 y20 x24, uint16, 11.5 kB" in shown
    found = json.loads(run("inspect", "in", "--json", cwd=tmp_path).stdout)
    assert found["missing"] == [gap]
    assert gap not in found["warnings"]
    assert f"note: {gap}" in run("in", "out", "--dry-run", cwd=tmp_path).stdout
    stopped = run("in", "out", cwd=tmp_path)
    assert stopped.returncode == 3
    assert one_line(stopped) == (
        f"ngff-convert: in: {gap}; bring what is missing, or use --on-error fill to go on without it"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    filled = run("in", "out", "--on-error", "fill", cwd=tmp_path)
    assert filled.returncode == 3
    assert filled.stdout.startswith("out  ")
    assert filled.stderr.splitlines()[-1] == f"ngff-convert: in: not whole: {gap}; out is made without that"
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], pixels)
    assert_valid(tmp_path / "out", tmp_path / "out")
    quiet = run("in", "quiet", "--on-error", "fill", "--quiet", cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout) == (3, "")
    assert gap in one_line(quiet)


def test_each_failure_of_many_files_is_one_line_and_its_exit_code(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "in")
    for folder in ("empty", "twice", "other", "more", "damaged"):
        (tmp_path / folder).mkdir()
        for name in ("z1.tif", "z2.tif", "z3.tif") if folder != "empty" else ():
            tifffile.imwrite(tmp_path / folder / name, np.ones((20, 24), "uint16"), metadata=None)
    tifffile.imwrite(tmp_path / "twice" / "z01.tif", np.ones((20, 24), "uint16"), metadata=None)
    tifffile.imwrite(tmp_path / "other" / "z2.tif", np.ones((20, 25), "uint16"), metadata=None)
    tifffile.imwrite(tmp_path / "more" / "z2.tif", np.ones((2, 20, 24), "uint16"), metadata=None)
    (tmp_path / "damaged" / "z2.tif").write_bytes((tmp_path / "damaged" / "z1.tif").read_bytes()[:-100])
    (tmp_path / "folder7.tif").mkdir()
    (tmp_path / "list").write_text("in/scan_t0_DAPI_z0.tif\nin/gone.tif\n")
    for code, words, said in [
        (3, ["in/y{t}.tif", "o"], "in/y{t}.tif: no file matches"),
        (3, ["folder{t}.tif", "o"], "no file matches"),
        (3, ["other", "o"], "other/z2.tif: page 0 is uint16 of 1 x 1 x 20 x 25"),
        (3, ["more", "o"], "more/z2.tif: has 2 pages, the first file 1"),
        (3, ["damaged", "o"], "damaged/z2.tif"),
        (3, ["--files-from", "list", "o"], "list: lists what is no file: 'in/gone.tif'"),
        (3, ["--files-from", "nolist", "o"], "nolist: No such file"),
        (4, ["empty", "o"], "empty: is a folder, or a pattern of names, in which no reader"),
        (2, ["twice", "o"], "twice/z01.tif and twice/z1.tif are both z=01"),
        (2, ["in/scan_t{q}.tif", "o"], "{q} is not understood; a brace holds t, c or z"),
        (2, ["in/*.tif", "o"], "no {t}, {c} or {z} in it; put one where the names differ"),
        (2, [str(source), "o", "--axes", "TCZYX"], "--axes: the reader imaris, which opens"),
        (
            2,
            [str(source), "o", "--files-from", "list", "--reader", "imaris"],
            "--files-from: the reader imaris",
        ),
        (2, ["in", "o", "--shape", "2,2,3"], "--shape says how many there are along each of --axes"),
        (2, ["in", "o", "--axes", "TCZYX", "--shape", "2,2,4"], "--shape 2,2,4: the series of 12 files"),
        (2, ["in", "o", "--axes", "TCZYX", "--shape", "2,2"], "--shape 2,2: --axes has 3 axes"),
        (2, ["in", "o", "--axes", "TCZYX"], "not 3; say with --shape"),
        (2, ["in", "o", "--files-from", "list"], "leave the folder in out"),
        (5, ["in", "in", "--overwrite"], "is, or holds, the input"),
    ]:
        found = main([*words, "--quiet"])
        (line,) = capsys.readouterr().err.splitlines()
        assert found == code, (words, line)
        assert said in line
        assert not (tmp_path / "o").exists()
        shutil.rmtree(tmp_path / "o.partial", ignore_errors=True)


def test_the_output_may_lie_beside_the_files(tmp_path: Path) -> None:
    pixels = write_files(tmp_path / "in")
    for words in ("--quiet", "--quiet --overwrite"):
        result = run(".", "out.ome.zarr", *words.split(), cwd=tmp_path / "in")
        assert (result.returncode, result.stderr) == (0, "")
        np.testing.assert_array_equal(levels(tmp_path / "in" / "out.ome.zarr", "0.5")[0], pixels)
    assert attributes(tmp_path / "in" / "out.ome.zarr", "0.5")["multiscales"][0]["name"] == "in"


# -- who reads what is printed -----------------------------------------------------------------------------


@pytest.fixture
def nobody() -> Iterator[int]:
    """Return a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("words", [["inspect"], ["inspect", "--json"], ["convert", "--dry-run"], ["convert"]])
def test_a_reader_who_has_gone_is_no_failure(
    source: Path, tmp_path: Path, nobody: int, words: list[str]
) -> None:
    target = [str(tmp_path / "out")] if words[0] == "convert" else []
    result = subprocess.run(
        [COMMAND, *words, str(source), *target], stdout=nobody, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (result.returncode, "Traceback" in result.stderr, "Broken" in result.stderr) == (0, False, False)
    assert (tmp_path / "out").is_dir() == (words == ["convert"])


def test_a_conversion_goes_on_without_a_reader_of_its_progress(
    source: Path, tmp_path: Path, nobody: int
) -> None:
    result = subprocess.run(
        [COMMAND, source, tmp_path / "out", "--verbose"], stdout=subprocess.PIPE, stderr=nobody, check=False
    )
    assert result.returncode == 0
    assert result.stdout.startswith(str(tmp_path / "out").encode())
    failed = subprocess.run([COMMAND, source, tmp_path / "out"], stderr=nobody, check=False)
    assert failed.returncode == 5


def test_no_standard_output_at_all(source: Path) -> None:
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", COMMAND, "inspect", source], stderr=subprocess.PIPE, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_below_standard_output_is_one_line(source: Path) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [COMMAND, "inspect", source], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 6
    assert "standard output: cannot be written: No space left" in one_line(result)


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are no text")
@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_names_that_are_no_text_can_be_printed(source: Path, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "in\udcff\N{MICRO SIGN}.ims").symlink_to(source)
    (name,) = tmp_path.iterdir()
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    text = subprocess.run([COMMAND, "inspect", name], capture_output=True, env=env, check=False)
    assert (text.returncode, text.stderr) == (0, b"")
    assert b"in\\udcff" in text.stdout
    found = subprocess.run([COMMAND, "inspect", "--json", name], capture_output=True, env=env, check=False)
    assert json.loads(found.stdout)["source"] == str(name)
