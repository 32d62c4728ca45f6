"""One store for each image: their names, and that each is whole when it is there, whatever happens."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lxml import etree
from plate_source import FIELDS, Source, made, pixels_of, write
from servers import s3_server
from stores import assert_valid, attributes, levels, tree

from ngff_convert import Options, batch_record, convert_each
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, TargetError
from ngff_convert.events import Event, Finished, ImageStarted, Note
from ngff_convert.ome_schema import NAMESPACE, fault
from ngff_convert.separate import names_of, safe
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["made"]
pytestmark = pytest.mark.usefixtures("made")
NAMES = ["nuclei", "Über/alles #1", "nuclei", ""]
STORES = ["out_nuclei_0", "out_Uber_alles_1", "out_nuclei_2", "out_3"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "in.made", [{"name": name} for name in NAMES])


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "in.made")


def stop_after(count: int, kind: type[Event]) -> Callable[[Event], None]:
    """Return an observer that ends the run at an event, as a signal does."""
    left = count

    def observe(event: Event) -> None:
        nonlocal left
        left -= isinstance(event, kind)
        if left == 0:
            left = -1
            raise KeyboardInterrupt

    return observe


def test_each_image_is_a_store_of_its_own(source: Path, tmp_path: Path) -> None:
    assert main([str(source), str(tmp_path / "out.ome.zarr"), "--layout", "separate", "-q"]) == 0
    assert there(tmp_path) == sorted(f"{name}.ome.zarr" for name in STORES)
    for number, name in enumerate(STORES):
        store = tmp_path / f"{name}.ome.zarr"
        np.testing.assert_array_equal(levels(store, "0.5")[0], pixels_of(number)[0])
        assert_valid(store, store)
        assert validate(store).findings == ()
        assert verify(source, store).passed
        own = NAMES[number] or "in 3"
        assert attributes(store, "0.5")["multiscales"][0]["name"] == own
        root = etree.parse(store / "OME/METADATA.ome.xml").getroot()
        assert fault(root) == ""
        assert [image.get("Name") for image in root.iterfind(f"{{{NAMESPACE}}}Image")] == [own]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("x.zarr", "x_a.zarr"), ("x", "x_a"), ("x.OME.ZARR/", "x_a.OME.ZARR"), ("x.ozx", "x_a.ozx")],
)
def test_the_names_follow_that_of_the_output(tmp_path: Path, target: str, expected: str) -> None:
    source = write(tmp_path / "in.made", [{"name": "a"}])
    (store,) = convert_each(source, f"{tmp_path}/{target}")
    assert store.target == str(tmp_path / expected)
    assert there(tmp_path) == [expected]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "A", "b"], ["a_0", "A_1", "b"]),
        (["a", "a", "a_1"], ["0_a", "1_a", "2_a_1"]),
        (["", "1", "細"], ["0", "1", "2"]),
        (["", "0"], ["0", "1_0"]),
        (["x" * 300, "x" * 301], [f"{'x' * 100}_0", f"{'x' * 100}_1"]),
        ([".hidden", "-rf", "a..b"], ["hidden", "rf", "a..b"]),
    ],
)
def test_no_two_stores_have_one_name(tmp_path: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    source = write(tmp_path / "in.made", [{"name": name} for name in names])
    found = names_of(Source(str(source)).images)
    assert len({name.lower() for name in found}) == len(names)
    assert found == expected


def test_names_need_no_care() -> None:
    assert safe("a b\tc\n") == "a_b_c"
    assert safe("Å µm 50%.tif") == "A_um_50_.tif"


def test_the_name_of_a_store_does_not_depend_on_what_is_chosen(source: Path, tmp_path: Path) -> None:
    convert_each(source, tmp_path / "out.ome.zarr", Options(images=(2, 1)))
    assert there(tmp_path) == ["out_Uber_alles_1.ome.zarr", "out_nuclei_2.ome.zarr"]
    with pytest.raises(OptionError, match="--images names 2 twice"):
        convert_each(source, tmp_path / "b.ome.zarr", Options(images=(2, 2)))


def test_fields_of_a_plate_are_named_by_their_place(tmp_path: Path) -> None:
    source = write(tmp_path / "in.made", FIELDS)
    words = [str(source), str(tmp_path / "out.ome.zarr"), "--layout=separate", "--wells=B02"]
    assert main(words) == 0
    assert there(tmp_path) == ["out_B02_0.ome.zarr", "out_B02_1.ome.zarr"]
    np.testing.assert_array_equal(levels(tmp_path / "out_B02_1.ome.zarr", "0.5")[0], pixels_of(3)[0])


@pytest.mark.parametrize(("count", "kind"), [(1, Finished), (2, Finished), (3, ImageStarted)])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx"])
def test_the_same_call_goes_on(
    source: Path, tmp_path: Path, count: int, kind: type[Event], suffix: str
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    convert_each(source, whole / f"out{suffix}")
    with pytest.raises(KeyboardInterrupt):
        convert_each(source, tmp_path / f"out{suffix}", observer=stop_after(count, kind))
    finished = count if kind is Finished else count - 1
    notes: list[str] = []
    stores = convert_each(
        source,
        tmp_path / f"out{suffix}",
        observer=lambda event: notes.append(event.message) if isinstance(event, Note) else None,
    )
    assert [store.report is None for store in stores] == [n < finished for n in range(4)]
    assert sum("an earlier run has made it" in note for note in notes) == finished
    shutil.move(source, whole)  # so that nothing but outputs is beside it
    assert there(tmp_path) == sorted(["whole", *(f"{name}{suffix}" for name in STORES)])
    for name in STORES:
        if suffix == ".ozx":
            with zipfile.ZipFile(tmp_path / f"{name}.ozx") as a, zipfile.ZipFile(whole / f"{name}.ozx") as b:
                assert {n: a.read(n) for n in a.namelist()} == {n: b.read(n) for n in b.namelist()}
        else:
            assert tree(tmp_path / f"{name}.ome.zarr") == tree(whole / f"{name}.ome.zarr")


def test_a_store_that_is_in_the_way_is_told_before_anything_is_done(source: Path, tmp_path: Path) -> None:
    convert_each(source, tmp_path / "out.ome.zarr", Options(images=(3,)))
    before = there(tmp_path)
    with pytest.raises(TargetError, match=r"out_3\.ome\.zarr: exists already"):
        convert_each(source, tmp_path / "out.ome.zarr")
    assert there(tmp_path) == before
    stores = convert_each(source, tmp_path / "out.ome.zarr", Options(overwrite=True))
    assert all(store.report for store in stores)
    assert len(there(tmp_path)) == 4


def test_another_conversion_does_not_go_on(source: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        convert_each(source, tmp_path / "out.ome.zarr", observer=stop_after(1, Finished))
    with pytest.raises(TargetError, match='was made otherwise: --method is "max", was not given'):
        convert_each(source, tmp_path / "out.ome.zarr", Options(method="max"))


def test_records_of_others_are_left(source: Path, tmp_path: Path) -> None:
    assert main(["batch", str(source), str(tmp_path), "-q"]) == 0
    records = tree(tmp_path / batch_record.RECORDS)
    convert_each(source, tmp_path / "out.ome.zarr")
    assert tree(tmp_path / batch_record.RECORDS) == records


def test_reports_and_events(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    words = [str(source), str(tmp_path / "out.ome.zarr"), "--layout", "separate", "--verify", "full"]
    assert main([*words, "--log-format", "json", "--report", str(report)]) == 0
    said = capsys.readouterr()
    targets = [str(tmp_path / f"{name}.ome.zarr") for name in STORES]
    events = [json.loads(line) for line in said.err.splitlines()]
    assert [event["target"] for event in events if event["event"] == "done"] == targets
    found = json.loads(report.read_text())
    assert (found["status"], found["exit_code"]) == ("done", 0)
    assert [store["target"] for store in found["stores"]] == targets
    assert all(store["verification"]["passed"] for store in found["stores"])
    assert [line for line in said.out.splitlines() if line.startswith(str(tmp_path))]
    assert said.out.count("stored of") == 4


def test_a_failure_is_reported_with_what_is_whole(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out_nuclei_2.ome.zarr.partial").write_text("not ours")
    report = tmp_path / "report.json"
    words = [str(source), str(tmp_path / "out.ome.zarr"), "--layout", "separate", "-q"]
    assert main([*words, "--report", str(report)]) == 5
    found = json.loads(report.read_text())
    assert found["status"] == "failed"
    assert [store["target"] for store in found["stores"]] == [
        str(tmp_path / f"{name}.ome.zarr") for name in STORES[:2]
    ]
    (tmp_path / "out_nuclei_2.ome.zarr.partial").unlink()
    assert main(words) == 0


def test_a_dry_run_says_which_stores_there_would_be(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(source), str(tmp_path / "out.ome.zarr"), "--layout", "separate", "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(f"{tmp_path}/{name}.ome.zarr\nimage " in said for name in STORES)
    assert main([*words, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [item["target"] for item in found] == [str(tmp_path / f"{name}.ome.zarr") for name in STORES]
    assert there(tmp_path) == []


def test_jobs_and_batches_make_one_store_each(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ["plan", str(source), str(tmp_path / "o.ome.zarr"), "-n", "2", "-o", str(tmp_path / "job")]
    assert main([*plan, "--layout", "separate"]) == 2
    assert "--layout separate makes several stores, and a job one" in capsys.readouterr().err
    assert main(["batch", str(source), str(tmp_path / "b"), "--layout", "separate"]) == 2
    assert "--layout separate makes several stores of one input, and a batch one" in capsys.readouterr().err
    assert there(tmp_path) == []


def test_stores_in_a_bucket(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        out = f"s3://{server.bucket}/run/out.ome.zarr"
        with pytest.raises(KeyboardInterrupt):
            convert_each(source, out, observer=stop_after(2, Finished))
        stores = convert_each(source, out)
        assert [store.report is None for store in stores] == [True, True, False, False]
        assert [store.target for store in stores] == [
            f"s3://{server.bucket}/run/{name}.ome.zarr" for name in STORES
        ]
        assert all(validate(store.target).errors == () for store in stores)
        assert verify(source, stores[1].target).passed
        with pytest.raises(TargetError, match="exists already"):
            convert_each(source, out)
