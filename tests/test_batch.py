"""Many files by one command: what each becomes, how each ends, and what the next batch makes of it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from label_files import objects, write_labels
from servers import s3_server
from stores import attributes, levels, tree

from ngff_convert import batch, batch_record, convert
from ngff_convert.batch import WORST_FIRST, Job, pairs, worst
from ngff_convert.batch_record import RECORDS, finished
from ngff_convert.cli import commands, main
from ngff_convert.commit import PLAN_FILE, Target
from ngff_convert.errors import ConversionError, OptionError, TargetError, UnsupportedInput
from ngff_convert.events import Finished, RegionDone, ignore
from ngff_convert.journal import JOURNAL_FOLDER, anything_finished
from ngff_convert.options import Options
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from ngff_convert.events import Event

COMMAND = [sys.executable, "-m", "ngff_convert", "batch"]
SHAPE = (1, 2, 4, 40, 50)
README = Path(__file__).parent.parent / "README.md"


def pixels(number: int, shape: tuple[int, ...] = SHAPE) -> Any:
    """Return pixels that tell of which file they are."""
    return coded_pixels(shape) + np.uint16(number)


def write(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_ims(path, pixels(number))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the command: three files, one of them below another folder."""
    write(tmp_path / "data/a.ims", 1)
    write(tmp_path / "data/b c.ims", 2)
    write(tmp_path / "data/run 1/d.ims", 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: object) -> int:
    return main(["batch", *map(str, words)])


def damage(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def rows(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses(path: str | Path = "r.csv") -> list[tuple[str, str]]:
    return [(Path(row["target"]).name, row["status"]) for row in rows(path)]


def holds(store: str | Path, number: int, version: str = "0.5") -> None:
    np.testing.assert_array_equal(levels(Path(store), version)[0], pixels(number)[0])


def table(text: str, name: str = "jobs.csv") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


# -- which input makes which output ------------------------------------------------------------------------


def test_a_pattern_keeps_the_folders_below_its_wildcards(here: Path) -> None:
    assert run("data/**/*.ims", "out") == 0
    for name, number in {"a": 1, "b c": 2, "run 1/d": 3}.items():
        holds(here / "out" / f"{name}.ome.zarr", number)
    assert pairs(["data/*/d.ims"], "out") == [("data/run 1/d.ims", "out/run 1/d.ome.zarr")]
    assert pairs([f"{here}/data/*.ims"], "o") == [
        (f"{here}/data/a.ims", "o/a.ome.zarr"),
        (f"{here}/data/b c.ims", "o/b c.ome.zarr"),
    ]


def test_paths_and_patterns_together_name_each_file_once(here: Path) -> None:
    assert here.is_dir()
    found = pairs(["data/run 1/d.ims", "data/a*", "data/*.ims", "data/none.ims"], "out")
    assert [source for source, _ in found] == [
        "data/run 1/d.ims",
        "data/a.ims",
        "data/b c.ims",
        "data/none.ims",
    ]
    assert found[0][1] == "out/d.ome.zarr"


def test_a_name_with_wildcards_in_it_is_that_file(here: Path) -> None:
    write(here / "data/a[1]*.ims", 4)
    write(here / "data/a1.ims", 5)
    assert pairs(["data/a[1]*.ims"], "out") == [("data/a[1]*.ims", "out/a[1]*.ome.zarr")]
    Path("data/a[1]*.ims").unlink()
    assert pairs(["data/a[1]*.ims"], "out") == [("data/a1.ims", "out/a1.ome.zarr")]


def test_a_pattern_with_a_slash_at_its_end_is_of_folders_that_are_images(here: Path) -> None:
    for folder, number in (("one", 1), ("two", 2)):
        (here / "series" / folder).mkdir(parents=True)
        for z in range(4):
            name = here / "series" / folder / f"z{z}.tif"
            tifffile.imwrite(name, pixels(number)[0, 0, z], compression="zlib")
    assert pairs(["series/*/"], "out") == [
        ("series/one/", "out/one.ome.zarr"),
        ("series/two/", "out/two.ome.zarr"),
    ]
    assert run("series/*/", "out") == 0
    np.testing.assert_array_equal(levels(here / "out/two.ome.zarr", "0.5")[0].squeeze(), pixels(2)[0, 0])
    with pytest.raises(OptionError, match="pattern for folders ends with /"):
        pairs(["series/*"], "out")


def test_what_is_in_stores_is_no_input(here: Path) -> None:
    assert run("data/*.ims", "data") == 0
    write(here / "data/c.ome.zarr.partial/0/inside.ims", 9)
    inputs = [source for source, _ in pairs(["data/**/*"], "data")]
    assert inputs == ["data/a.ims", "data/b c.ims", "data/run 1/d.ims"]
    assert run("data/*.ims", "data", "--report", "r.csv") == 0
    assert {status for _, status in statuses()} == {"skipped"}


def test_a_pattern_of_one_image_and_an_address_are_left_as_they_are() -> None:
    for word in ("s{t}.tif", "https://host/x/a.ims", "s3://bucket/a.ims"):
        ((source, _),) = pairs([word], "out")
        assert source == word
    with pytest.raises(UnsupportedInput, match="a pattern of names on a server"):
        pairs(["https://host/x/*.ims"], "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data/*.tif", "out"], "data/*.tif: matches no file"),
        (["data/a.ims"], "OUTDIR"),
        ([], "IN"),
        (["data/a.ims", "data/b c.ims"], "is not a folder"),
        (
            ["data/a.ims", "data/run 1/../a.ims", "out"],
            "out/a.ome.zarr: would be the output of data/a.ims and",
        ),
        (["data/*.ims", "out", "--files-from", "x"], "use it in a --table"),
        (["data/*.ims", "out", "--labels", "a=b.tif"], "use a column labels in a --table"),
        (["data/*.ims", "out", "--levels", "0"], "--levels"),
        (["data/*.ims", "out", "--report", "r.txt"], ".csv or .json"),
    ],
)
def test_a_wrong_command_line_is_refused_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    before = tree(here)
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert tree(here) == before


# -- how files end -----------------------------------------------------------------------------------------


def test_a_batch_goes_on_after_every_failure(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(write(here / "data/broken.ims", 4))
    (here / "data/text.ims").write_text("no image")
    (here / "out/taken.ome.zarr").mkdir(parents=True)
    (here / "out/taken.ome.zarr/mine.txt").write_text("mine")
    write(here / "data/taken.ims", 5)
    words = ["data/*.ims", "data/missing.ims", "data/run 1/d.ims", "out", "--report", "r.csv"]
    assert run(*words) == 3
    found = {row["target"].removeprefix("out/"): (row["status"], row["exit_code"]) for row in rows("r.csv")}
    assert found == {
        "a.ome.zarr": ("done", "0"),
        "b c.ome.zarr": ("done", "0"),
        "broken.ome.zarr": ("failed", "3"),
        "missing.ome.zarr": ("failed", "3"),
        "taken.ome.zarr": ("failed", "5"),
        "text.ome.zarr": ("failed", "4"),
        "d.ome.zarr": ("done", "0"),
    }
    shown, said = capsys.readouterr()
    assert len(shown.splitlines()) == len(found) + 1
    assert shown.splitlines()[-1] == "7 files: 3 done, 4 failed"
    assert re.search(r"^done +data/a\.ims -> out/a\.ome\.zarr +[\d.]+ kB in [\d.]+ s$", shown, re.MULTILINE)
    assert re.search(
        r"^failed +data/text\.ims -> .* exit code 4: data/text\.ims: no reader", shown, re.MULTILINE
    )
    assert "7 files, of which 4 did not end well" in said.splitlines()[-1]
    holds(here / "out/d.ome.zarr", 3)
    assert tree(here / "out/taken.ome.zarr").keys() == {"mine.txt"}


def test_the_worst_exit_code_is_of_a_known_order() -> None:
    kinds: list[type[ConversionError]] = [ConversionError, *ConversionError.__subclasses__()]
    known = {0, *(kind.exit_code for kind in kinds)}
    assert set(WORST_FIRST) == known
    assert [worst([0, code]) for code in WORST_FIRST] == list(WORST_FIRST)
    assert worst([5, 4, 8, 0]) == 8
    assert worst([5, 2]) == 2


def test_a_bug_in_one_conversion_is_that_one_s(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def buggy(source: str, *rest: Any) -> Any:
        if "a.ims" in source:
            raise KeyError("a bug")
        return convert(source, *rest)

    monkeypatch.setattr(batch, "convert", buggy)
    assert run("data/*.ims", "out", "--report", "r.csv") == 1
    assert statuses() == [("a.ome.zarr", "failed"), ("b c.ome.zarr", "done")]
    assert "Traceback" in capsys.readouterr().err
    assert "KeyError" in rows("r.csv")[0]["message"]


def test_what_is_filled_is_no_success_the_second_time_either(here: Path) -> None:
    (here / "s").mkdir()
    for t, z in ((0, 0), (0, 1), (1, 0)):
        tifffile.imwrite(here / f"s/t{t}_z{z}.tif", pixels(1)[0, 0, z])
    assert run("s", "data/a.ims", "out", "--report", "r.csv", "--on-error", "fill") == 3
    assert statuses() == [("s.ome.zarr", "filled"), ("a.ome.zarr", "done")]
    assert run("s", "data/a.ims", "out", "--report", "r.csv") == 3
    assert statuses() == [("s.ome.zarr", "skipped"), ("a.ome.zarr", "skipped")]
    assert rows("r.csv")[0]["exit_code"] == "3"


# -- what is done already ----------------------------------------------------------------------------------


def test_what_is_done_is_skipped_without_reading_pixels(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("data/**/*.ims", "out") == 0
    before = tree(here / "out")
    monkeypatch.setattr(batch, "convert", None)  # which cannot be called
    assert run("data/**/*.ims", "out", "--report", "r.csv", "--workers", 1, "--overwrite") == 0
    assert {status for _, status in statuses()} == {"skipped"}
    assert tree(here / "out") == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("change", ["input", "option", "record", "store"])
def test_what_was_made_otherwise_is_not_done(
    here: Path, capsys: pytest.CaptureFixture[str], change: str, *, overwrite: bool
) -> None:
    assert run("data/*.ims", "out") == 0
    words: list[object] = ["data/*.ims", "out", "--report", "r.csv"]
    said = "was made otherwise: "
    if change == "input":
        write(here / "data/a.ims", 7)
        said = "data/a.ims has "
    elif change == "option":
        words += ["--name", "other"]
        said += '--name is "other", was not given'
    elif change == "record":
        shutil.rmtree(here / "out" / RECORDS)
        said = "no batch has recorded"
    else:  # by a command of its own
        convert("data/b c.ims", "out/a.ome.zarr", Options(overwrite=True))
        said = "no batch has recorded"
    capsys.readouterr()
    assert run(*words, *["--overwrite"] * overwrite) == (0 if overwrite else 5)
    assert statuses()[0] == ("a.ome.zarr", "done" if overwrite else "failed")
    assert (said in capsys.readouterr().out) is not overwrite
    if overwrite:
        holds(here / "out/a.ome.zarr", 7 if change == "input" else 1)
        assert run(*words) == 0
        assert {status for _, status in statuses()} == {"skipped"}


def test_a_folder_that_was_copied_with_its_times_is_still_done(here: Path) -> None:
    assert run("data/*.ims", "out") == 0
    shutil.copytree("out", "elsewhere/out")
    shutil.copytree("data", "elsewhere/data")
    os.chdir("elsewhere")
    assert run(f"{here}/elsewhere/data/*.ims", "out", "--report", "r.csv") == 0
    assert {status for _, status in statuses()} == {"skipped"}


class Killed(BaseException):
    pass


def test_an_output_whose_run_was_killed_before_it_was_recorded_is_done(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(event: Event) -> None:
        if isinstance(event, Finished):
            raise Killed

    with pytest.raises(Killed):
        convert("data/a.ims", "out/a.ome.zarr", observer=killed)
    assert (here / "out/a.ome.zarr" / PLAN_FILE).exists()
    monkeypatch.setattr(batch, "convert", None)
    assert run("data/a.ims", "out", "--report", "r.csv") == 0
    assert statuses() == [("a.ome.zarr", "skipped")]
    assert not (here / "out/a.ome.zarr" / PLAN_FILE).exists()
    assert not (here / "out/a.ome.zarr" / JOURNAL_FOLDER).exists()
    assert run("data/a.ims", "out") == 0
    with pytest.raises(TargetError, match="--levels is 1"):
        finished("data/a.ims", "out/a.ome.zarr", Options(levels=1))


def test_what_was_filled_before_a_kill_is_still_known(here: Path) -> None:
    with h5py.File("data/a.ims") as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1/Data"]
        place = data.id.get_chunk_info(0).byte_offset
    with Path("data/a.ims").open("r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 50)

    def killed(event: Event) -> None:
        if isinstance(event, Finished):
            raise Killed

    with pytest.raises(Killed):
        convert("data/a.ims", "out/a.ome.zarr", Options(on_error="fill"), killed)
    assert run("data/a.ims", "out", "--report", "r.csv") == 3
    assert statuses() == [("a.ome.zarr", "skipped")]
    assert "data/a.ims: not whole: " in rows("r.csv")[0]["message"]
    assert rows("r.csv")[0]["filled"] == "1"


@pytest.mark.parametrize("moment", ["plan", "journal"])
def test_an_output_that_its_run_is_just_tidying_is_done(
    here: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    assert run("data/a.ims", "out") == 0
    kept = next((here / "out" / RECORDS).iterdir()).read_bytes()
    looks: list[Path] = []
    read = batch_record._content

    def late(folder: str, name: str, options: Options) -> bytes | None:
        """The record appears when the plan file has just been looked for."""
        looks.append(Path(name))
        if name == PLAN_FILE:
            next((here / "out" / RECORDS).iterdir()).write_bytes(kept)
            return kept if moment == "journal" else None
        return read(folder, name, options)

    monkeypatch.setattr(batch_record, "_content", late)
    next((here / "out" / RECORDS).iterdir()).write_text("{}")
    assert run("data/a.ims", "out", "--report", "r.csv") == 0
    assert statuses() == [("a.ome.zarr", "skipped")]
    assert any(path.name == PLAN_FILE for path in looks)
    assert next((here / "out" / RECORDS).iterdir()).read_bytes() == kept


def test_options_that_are_newer_than_a_record_were_not_given(here: Path) -> None:
    assert run("data/a.ims", "out") == 0
    (path,) = (here / "out" / RECORDS).iterdir()
    record = json.loads(path.read_text())
    del record["options"]["dtype"]
    del record["options"]["labels"]
    path.write_text(json.dumps(record))
    assert finished("data/a.ims", "out/a.ome.zarr", Options())
    with pytest.raises(TargetError, match="--dtype"):
        finished("data/a.ims", "out/a.ome.zarr", Options(dtype="uint32"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"source": 1, "missing": [], "options": {}}',
        '{"source": [], "missing": [], "options": {"labels": 5}}',
        '{"a": ',
    ],
)
def test_a_damaged_record_is_none(here: Path, text: str) -> None:
    assert run("data/a.ims", "out") == 0
    (path,) = (here / "out" / RECORDS).iterdir()
    path.write_text(text)
    assert run("data/a.ims", "out") == 5


def test_what_is_skipped_is_verified_where_it_was_not(here: Path) -> None:
    assert run("data/*.ims", "out") == 0
    chunk = next(path for path in (here / "out/a.ome.zarr/0/c").rglob("*") if path.is_file())
    other = next(path for path in (here / "out/b c.ome.zarr/0/c").rglob("*") if path.is_file())
    words = ("data/*.ims", "out", "--verify", "full", "--report", "r.csv")
    right = chunk.read_bytes()
    chunk.write_bytes(other.read_bytes())
    assert run(*words) == 8
    assert statuses() == [("a.ome.zarr", "failed"), ("b c.ome.zarr", "skipped")]
    assert run("data/*.ims", "out") == 0
    chunk.write_bytes(right)
    assert run(*words) == 0
    chunk.write_bytes(other.read_bytes())
    assert run(*words) == 0  # it is known to have been right


def test_a_dry_run_shows_what_would_be_done_and_does_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data/a.ims", "out") == 0
    (here / "out/d.ome.zarr.partial").mkdir()
    (here / "out/x.ome.zarr").write_text("mine")
    write(here / "data/x.ims", 5)
    before = tree(here)
    capsys.readouterr()
    assert run("data/*.ims", "data/run 1/d.ims", "out", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "done     data/a.ims -> out/a.ome.zarr"
    assert [line.split()[0] for line in lines] == ["done", "new", "refused", "partial"]
    assert tree(here) == before


def test_a_batch_into_a_bucket(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(here / "server") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        out = f"s3://{server.bucket}/some/out"
        words = ("data/**/*.ims", out, "--report", "r.csv")
        assert run(*words) == 0
        assert {status for _, status in statuses()} == {"done"}
        assert rows("r.csv")[2]["target"] == f"{out}/run 1/d.ome.zarr"
        with monkeypatch.context() as patch:
            patch.setattr(batch, "convert", None)
            assert run(*words) == 0
        assert {status for _, status in statuses()} == {"skipped"}
        assert run(*words, "--levels", "1") == 5
        assert "--levels is 1, was not given" in rows("r.csv")[0]["message"]
        assert run("data/a.ims", out, "--verify", "full", "--report", "r.csv") == 0


def test_a_batch_takes_every_option_of_a_conversion() -> None:
    own = {"source", "target", "as_json", "verbose"}
    convert_words = {option.name for option in commands.commands["convert"].params} - own
    assert convert_words <= {option.name for option in commands.commands["batch"].params}


# -- reports and events ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_report_is_whole_after_every_file(here: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    name = f"r.{kind}"
    seen: list[int] = []

    def counting(*words: Any) -> Any:
        seen.append(len(rows(name) if kind == "csv" else json.loads(Path(name).read_text())["files"]))
        return convert(*words)

    damage(write(here / 'data/"a, b".ims', 4))
    monkeypatch.setattr(batch, "convert", counting)
    assert run("data/**/*.ims", "out", "--report", name) == 3
    assert seen == [0, 1, 2, 3]
    files = rows(name) if kind == "csv" else json.loads(Path(name).read_text())["files"]
    assert [str(file["exit_code"]) for file in files] == ["3", "0", "0", "0"]
    assert files[0]["source"] == 'data/"a, b".ims'
    assert "truncated" in files[0]["message"]
    assert int(files[1]["stored_bytes"]) == sum(
        path.stat().st_size for path in Path(files[1]["target"]).rglob("*") if path.is_file()
    )
    assert run("data/a.ims", "out", "--report", name) == 0  # an earlier report may be replaced
    again = rows(name) if kind == "csv" else json.loads(Path(name).read_text())["files"]
    assert [file["status"] for file in again] == ["skipped"]


@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_nothing_but_a_report_is_replaced_by_one(here: Path, name: str) -> None:
    (here / name).write_text("status,of,mine\n")
    assert run("data/a.ims", "out", "--report", name) == 5
    assert (here / name).read_text() == "status,of,mine\n"
    assert run("data/a.ims", "out", "--report", f"nowhere/{name}") == 6
    assert not (here / "out").exists()


def test_events_tell_their_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(write(here / "data/broken.ims", 4))
    assert run("data/a.ims", "out") == 0
    capsys.readouterr()
    assert run("data/*.ims", "out", "--log-format", "json") == 3
    log = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events: dict[str, list[str]] = {}
    for line in log[:-2]:
        events.setdefault(line["file"], []).append(line["event"])
    assert events["data/a.ims"] == ["skipped"]
    assert events["data/broken.ims"] == ["error"]
    assert (events["data/b c.ims"][0], events["data/b c.ims"][-1]) == ("plan", "done")
    assert (log[-2]["event"], log[-2]["files"]) == ("batch", {"skipped": 1, "done": 1, "failed": 1})
    assert (log[-1]["event"], log[-1]["exit_code"]) == ("error", 3)
    assert "file" not in log[-1]


def test_quiet_leaves_errors(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(write(here / "data/broken.ims", 4))
    assert run("data/*.ims", "out", "-q") == 3
    shown, said = capsys.readouterr()
    assert shown == ""
    first, last = said.splitlines()
    assert "broken.ims: truncated" in first
    assert last.startswith("ngff-convert: 3 files, of which 1")


def test_notes_tell_their_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ims(here / "data/wide.ims", coded_pixels(SHAPE).astype("uint64"))
    assert run("data/wide.ims", "out") == 0
    assert "note: data/wide.ims: uint64 pixels are kept" in capsys.readouterr().err


# -- tables ------------------------------------------------------------------------------------------------


def test_a_table_has_options_of_its_own_for_each_row(here: Path) -> None:
    text = (
        "\N{ZERO WIDTH NO-BREAK SPACE}source,target,NGFF-version,--spacing,channel_names,"
        "no-ome-xml,z,factors,levels\r\n"
        'data/a.ims,one.zarr,0.4,"2,0.5,0.25","A ""1"", B",yes,1:3,"1,2,2 1,1,2",3\r\n'
        ",,,,,,,,\r\n"
        "data/b c.ims,,,,,false,,,\r\n"
    )
    words = ("out", "--unit", "mm", "--channel-names", "P,Q", "--spacing", "1,1,1", "--no-ome-xml")
    assert run("--table", table(text), *words) == 0
    one = attributes(here / "out/one.zarr", "0.4")
    np.testing.assert_array_equal(levels(here / "out/one.zarr", "0.4")[0], pixels(1)[0, :, 1:3])
    scale = one["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale[-3:] == [2, 0.5, 0.25]
    assert [channel["label"] for channel in one["omero"]["channels"]] == ['A "1"', "B"]
    assert [axis.get("unit") for axis in one["multiscales"][0]["axes"]][-1] == "millimeter"
    sizes = [level.shape[-2:] for level in levels(here / "out/one.zarr", "0.4")]
    assert sizes == [(40, 50), (20, 25), (20, 13)]
    assert not (here / "out/one.zarr/OME").exists()
    two = attributes(here / "out/b c.ome.zarr", "0.5")
    assert [channel["label"] for channel in two["omero"]["channels"]] == ["P", "Q"]
    assert (here / "out/b c.ome.zarr/OME").exists()  # the row's no is above the command line's yes
    assert run("--table", "jobs.csv", *words, "--report", "r.csv") == 0
    assert {status for _, status in statuses()} == {"skipped"}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_of_a_spreadsheet(here: Path, mark: str) -> None:
    (here / "sub").mkdir()
    lines = [["in", "out", "chunks", ""], ["../data/a.ims", "x/a.zarr", "4,16,16", ""]]
    table("\n".join(mark.join(line) for line in lines), "sub/jobs.csv")
    assert run("--table", "sub/jobs.csv") == 0
    holds(here / "sub/x/a.zarr", 1)


def test_a_row_may_have_label_images(here: Path) -> None:
    found = {name: objects(SHAPE[2:], step=n) for n, name in enumerate(("nuclei", "cells"), 1)}
    for name, labels in found.items():
        write_labels(here / f"data/{name} of a.tif", labels)
    table("label,area\n1,5\n", "data/n.csv")
    table(
        "in,labels,label-properties,label-method\n"
        "a.ims,nuclei=nuclei of a.tif cells=cells of a.tif,nuclei=n.csv,nearest\nb c.ims,,,\n",
        "data/jobs.csv",
    )
    words = ("--table", "data/jobs.csv", "out", "--report", "r.csv")
    assert run(*words) == 0
    for name, labels in found.items():
        store = here / "out/a.ome.zarr/labels" / name
        np.testing.assert_array_equal(levels(store, "0.5")[0], labels)
    said = attributes(here / "out/a.ome.zarr/labels/nuclei", "0.5")["image-label"]["properties"]
    assert {"label-value": 1, "area": 5} in said
    assert not (here / "out/b c.ome.zarr/labels").exists()
    assert run(*words, "--verify", "full") == 0
    assert {status for _, status in statuses()} == {"skipped"}
    write_labels(here / "data/cells of a.tif", found["nuclei"])
    assert run(*words) == 5
    assert [status for _, status in statuses()] == ["failed", "skipped"]


def test_a_row_may_name_a_list_of_files(here: Path) -> None:
    for z in range(4):
        tifffile.imwrite(here / f"data/z{z}.tif", pixels(1)[0, 0, z])
    (here / "data/list.txt").write_text("".join(f"z{z}.tif\n" for z in range(4)))
    assert run("--table", table("files-from,name\ndata/list.txt,mine\n"), "out") == 0
    np.testing.assert_array_equal(levels(here / "out/list.ome.zarr", "0.5")[0].squeeze(), pixels(1)[0, 0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "in,spaceing\ndata/a.ims,1\n",
            "the column 'spaceing' is no option of a conversion; did you mean spacing?",
        ),
        ("in,source\ndata/a.ims,data/a.ims\n", "two columns in"),
        ("in,\ndata/a.ims,1\n", "the column ''"),
        ("out\nx\n", "no column in"),
        ("", "is empty"),
        ("in\n", "no row"),
        ("in,out\n,x\n", "line 2: has no input"),
        ("in,spacing\ndata/a.ims,1,1,1\n", "line 2: has 4 cells for 2 columns; a cell with commas is quoted"),
        ('in,spacing\ndata/a.ims,"1,1"\n', "line 2: --spacing takes three numbers"),
        ("in,levels\ndata/a.ims,1\ndata/b c.ims,two\n", "line 3: --levels: 'two' is not a valid integer"),
        ("in,ngff-version\ndata/a.ims,0.7\n", "line 2: --ngff-version: '0.7' is not one of"),
        ("in,overwrite\ndata/a.ims,maybe\n", "line 2: --overwrite: 'maybe' is not one of true, yes"),
        ("in,out\ndata/a.ims,x\ndata/b c.ims,./x\n", "would be the output of"),
        ("in,dry-run\ndata/a.ims,yes\n", "the column 'dry-run' is no option"),
        ('in,out\n"data/a.ims,x\n', "is not CSV"),
    ],
)
def test_a_wrong_table_is_refused_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    table(text)
    before = tree(here)
    assert run("--table", "jobs.csv", "out") == 2
    assert said in capsys.readouterr().err
    assert tree(here) == before


def test_a_table_needs_a_place_for_outputs_and_to_be_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table("in\ndata/a.ims\n")
    assert run("--table", "jobs.csv") == 2
    assert "has no output" in capsys.readouterr().err
    assert run("--table", "jobs.csv", "data/a.ims", "out") == 2
    assert run("--table", "none.csv", "out") == 3
    (here / "jobs.csv").write_bytes("in\nµ\n".encode("utf-16"))
    assert run("--table", "jobs.csv", "out") == 3
    assert "UTF-8" in capsys.readouterr().err


# -- processes ---------------------------------------------------------------------------------------------

LARGE = (1, 2, 16, 200, 200)
SLOW = ("--chunks", "8,16,16", "--memory", "10MB", "--workers", "1", "--min-size", "16")


def large(folder: Path, names: str = "abc") -> None:
    folder.mkdir()
    for number, name in enumerate(names):
        write_ims(folder / f"{name}.ims", pixels(number, LARGE), chunks=(8, 32, 32))


def until_in_work(partial: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not (partial.is_dir() and anything_finished(partial)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_batch_that_is_ended_midway_goes_on_there(tmp_path: Path, sent: signal.Signals) -> None:
    large(tmp_path / "data")
    words = [*COMMAND, "data/*.ims", "out", "--report", "r.json", *SLOW]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until_in_work(tmp_path / "out/b.ome.zarr.partial", process)
    process.send_signal(sent)
    _, said = process.communicate()
    assert process.returncode == (143 if sent == signal.SIGTERM else -9), said
    files = json.loads((tmp_path / "r.json").read_text())["files"]
    assert [file["status"] for file in files] == ["done", "stopped"][: 2 if sent == signal.SIGTERM else 1]
    assert sent == signal.SIGKILL or "terminated at data/b.ims" in said
    assert not (tmp_path / "out/c.ome.zarr.partial").exists()
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "an unfinished conversion is taken up" in again.stderr
    files = json.loads((tmp_path / "r.json").read_text())["files"]
    assert [file["status"] for file in files] == ["skipped", "done", "done"]
    for number, name in enumerate("abc"):
        np.testing.assert_array_equal(
            levels(tmp_path / f"out/{name}.ome.zarr", "0.5")[0], pixels(number, LARGE)[0]
        )


def test_two_batches_at_once_share_the_work(tmp_path: Path) -> None:
    large(tmp_path / "data", "abcd")
    words = [*COMMAND, "data/*.ims", "out", *SLOW, "--report"]
    first, second = (
        subprocess.Popen(
            [*words, f"{name}.json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    )
    said = [process.communicate() for process in (first, second)]
    reports = [json.loads((tmp_path / f"{name}.json").read_text())["files"] for name in ("one", "two")]
    done = [file["source"] for report in reports for file in report if file["status"] == "done"]
    assert sorted(done) == [f"data/{name}.ims" for name in "abcd"], said
    assert {file["status"] for report in reports for file in report} == {"done", "skipped"}
    assert first.returncode == second.returncode == 0
    for number, name in enumerate("abcd"):
        np.testing.assert_array_equal(
            levels(tmp_path / f"out/{name}.ome.zarr", "0.5")[0], pixels(number, LARGE)[0]
        )


def test_what_another_run_writes_is_tried_again_at_the_end(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def locked(source: str, target: str, *rest: Any) -> Any:
        tried.append(source)
        if tried == ["data/a.ims"]:
            Target(Path(target)).partial.mkdir(parents=True)
            raise TargetError(f"{target}.partial: another run is writing it")
        return convert(source, target, *rest)

    monkeypatch.setattr(batch, "convert", locked)
    assert run("data/*.ims", "out", "--report", "r.csv") == 0
    assert tried == ["data/a.ims", "data/b c.ims", "data/a.ims"]
    assert statuses() == [("b c.ome.zarr", "done"), ("a.ome.zarr", "done")]


def test_a_partial_store_that_stays_in_the_way_is_told_in_the_end(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone):
            raise Stop

    with pytest.raises(Stop):
        convert("data/a.ims", "out/a.ome.zarr", Options(levels=1), stop)
    monkeypatch.setattr(batch, "PATIENCE_SECONDS", 0.1)
    assert run("data/*.ims", "out", "--report", "r.csv") == 5
    assert statuses() == [("b c.ome.zarr", "done"), ("a.ome.zarr", "failed")]
    assert "use --restart" in rows("r.csv")[1]["message"]
    assert run("data/*.ims", "out", "--report", "r.csv", "--restart") == 0
    assert statuses() == [("a.ome.zarr", "done"), ("b c.ome.zarr", "skipped")]


def test_what_another_batch_made_meanwhile_is_skipped(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(source: str, target: str, options: Options, *rest: Any) -> Any:
        monkeypatch.undo()
        monkeypatch.chdir(here)
        assert [outcome.status for outcome in _run([Job(source, target, options)])] == ["done"]
        return convert(source, target, options, *rest)

    monkeypatch.setattr(batch, "convert", late)
    assert run("data/a.ims", "out", "--report", "r.csv") == 0
    assert statuses() == [("a.ome.zarr", "skipped")]


def _run(jobs: list[Job]) -> list[batch.Outcome]:
    return list(batch.run(jobs, lambda _: nullcontext(ignore)))


def n_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_nothing_leaks_from_file_to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_ims(tmp_path / "0.ims", pixels(0))
    for number in range(1, 50):
        shutil.copy(tmp_path / "0.ims", tmp_path / f"{number}.ims")
    damage(tmp_path / "7.ims")
    counts: list[int] = []

    def counting(*words: Any) -> Any:
        counts.append(n_open())
        return convert(*words)

    monkeypatch.setattr(batch, "convert", counting)
    assert run("*.ims", "out") == 3
    assert len(counts) == 50
    # tensorstore closes what it wrote a moment later
    assert max(counts[10:]) <= max(counts[:10]) + 5
    until = time.monotonic() + 5
    while n_open() > counts[1] + 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert n_open() <= counts[1] + 1


def test_the_commands_of_the_readme(here: Path) -> None:
    section = (
        README.read_text(encoding="utf-8").partition("\n### A batch of files\n")[2].partition("\n### ")[0]
    )
    blocks = re.findall(r"```(\w*)\n(.*?)```", section, re.DOTALL)
    (text,) = (block for kind, block in blocks if kind == "csv")
    commands = "".join(block for kind, block in blocks if not kind)
    table(text)
    for name in re.findall(r"^([^,\n]+\.ims)", text, re.MULTILINE):
        write(here / name, 4)
    assert commands.count("ngff-convert batch") >= 3
    own = Path(sys.executable).parent
    script = f"PATH='{own}':$PATH\n{commands}"
    result = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(list((here / "out").rglob("*.ome.zarr"))) >= 3
    assert (here / "out" / RECORDS).is_dir()
