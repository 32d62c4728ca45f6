"""Label images of a store that is there: added, listed and removed, whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import foreign_stores
import numpy as np
import ome_tiffs
import pytest
import tifffile
import yaozarrs
import zarr
from label_files import CHUNKS, SHAPE, mask, objects, region, write_image, write_labels
from remote_stores import upload
from stores import attributes, tree
from stores import levels as stored_levels
from test_faults import small_disk

from ngff_convert import Options, convert, labels_store
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, TargetError
from ngff_convert.events import Event, Note, RegionDone
from ngff_convert.labels_store import add, remove
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from servers import S3Server

VERSIONS = ("0.4", "0.5", "0.6")
SMALL: dict[str, Any] = {"chunks": (4, 32, 32), "memory": 10 * 2**20, "workers": 1}


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "seg.tif", objects())


@pytest.fixture(params=VERSIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    ims = write_image(tmp_path / "in.ims")
    convert(ims, tmp_path / "out.ome.zarr", Options(**CHUNKS, ngff_version=request.param))
    return tmp_path / "out.ome.zarr"


@pytest.fixture
def store_05(tmp_path: Path) -> Path:
    convert(write_image(tmp_path / "in.ims"), tmp_path / "out.ome.zarr", Options(**CHUNKS))
    return tmp_path / "out.ome.zarr"


def version_of(store: Path) -> str:
    return "0.4" if (store / ".zattrs").exists() else attributes(store, "0.5")["version"]


def listed(store: Path) -> list[str]:
    place = store / "labels"
    if not (place / "zarr.json").exists() and not (place / ".zattrs").exists():
        return []
    found: list[str] = attributes(place, version_of(store))["labels"]
    return found


def level_0(store: Path, name: str = "nuclei") -> Any:
    return np.asarray(stored_levels(store / "labels" / name, version_of(store))[0])


def check(store: Path, n_labels: int) -> None:
    """Hold a store against everything that reads it."""
    validation = validate(store, deep=True)
    assert not validation.errors
    assert not [one for one in validation.warnings if one.rule.startswith("label")]
    assert validation.labels == n_labels
    if validation.version != "0.6":
        yaozarrs.validate_zarr_store(str(store))


# -- added, listed, removed --------------------------------------------------------------------------------


def test_a_label_image_is_added_and_removed(store: Path, seg: Path, tmp_path: Path) -> None:
    before = tree(store)
    (tmp_path / "t.csv").write_text("label,area\n1,12\n")
    options = Options(**SMALL, verify="full")
    add(store, "nuclei", str(seg), options, properties=str(tmp_path / "t.csv"))
    np.testing.assert_array_equal(level_0(store), objects())
    check(store, 1)
    said = attributes(store / "labels/nuclei", version_of(store))["image-label"]
    values = np.unique(objects()).tolist()
    assert said["properties"][:2] == [{"label-value": 0}, {"label-value": 1, "area": 12}]
    assert [entry["label-value"] for entry in said["properties"]] == values
    assert [entry["label-value"] for entry in said["colors"]] == values
    add(store, "cells", str(seg), Options(label_method="nearest"))
    assert listed(store) == ["nuclei", "cells"]
    check(store, 2)
    assert verify(
        tmp_path / "in.ims", store, Options(labels=(("nuclei", str(seg)), ("cells", str(seg))))
    ).complete
    remove(store, "nuclei")
    assert listed(store) == ["cells"]
    check(store, 1)
    remove(store, "cells")
    assert tree(store) == before
    assert not (store / "labels").exists()


def test_it_has_as_many_levels_as_its_image_by_the_same_factors(store: Path, seg: Path) -> None:
    add(store, "nuclei", str(seg))
    version = version_of(store)
    of, own = (stored_levels(place, version) for place in (store, store / "labels/nuclei"))
    assert [level.shape for level in own] == [level.shape[-3:] for level in of]


def test_one_of_that_name_is_replaced_only_if_wanted(store_05: Path, seg: Path, tmp_path: Path) -> None:
    add(store_05, "nuclei", str(seg))
    before = tree(store_05)
    other = write_labels(tmp_path / "other.tif", objects(step=2))
    with pytest.raises(TargetError, match=r"labels/nuclei: exists already; use --overwrite"):
        add(store_05, "nuclei", str(other))
    assert tree(store_05) == before
    add(store_05, "nuclei", str(other), Options(overwrite=True))
    np.testing.assert_array_equal(level_0(store_05), objects(step=2))
    assert listed(store_05) == ["nuclei"]
    check(store_05, 1)


def test_what_others_listed_stays(store_05: Path, seg: Path) -> None:
    add(store_05, "nuclei", str(seg))
    path = store_05 / "labels/zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["made by"] = "hand"
    path.write_text(json.dumps(document))
    add(store_05, "cells", str(seg))
    assert json.loads(path.read_text())["attributes"]["made by"] == "hand"
    remove(store_05, "cells")
    assert json.loads(path.read_text())["attributes"]["made by"] == "hand"


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_that_would_not_know_of_it_go(
    tmp_path: Path, seg: Path, zarr_format: int
) -> None:
    version = "0.4" if zarr_format == 2 else "0.5"
    store = tmp_path / "out.ome.zarr"
    convert(write_image(tmp_path / "in.ims"), store, Options(**CHUNKS, ngff_version=version, ome_xml=False))
    zarr.consolidate_metadata(store, zarr_format=zarr_format)  # type: ignore[arg-type]
    events: list[Event] = []
    add(store, "nuclei", str(seg), None, events.append)
    assert [e for e in events if isinstance(e, Note) and "consolidated" in e.message]
    assert "labels" in zarr.open_group(store, mode="r")
    check(store, 1)


def test_a_field_of_a_plate_and_an_image_of_a_collection(tmp_path: Path) -> None:
    plate = tmp_path / "plate.ome.zarr"
    foreign_stores.write_plate(plate, "0.4")
    field = next(path for path in ("A/1/1", "A/1/0") if (plate / path).exists())
    shape = zarr.open_array(plate / field / "0", mode="r").shape
    own = objects(shape[-3:])
    seg = write_labels(tmp_path / "seg.tif", own)
    assert main(["labels", "add", str(plate), f"cells={seg}", "--image", field]) == 0
    found = np.asarray(stored_levels(plate / field / "labels/cells", "0.4")[0])
    np.testing.assert_array_equal(found, own)
    check(plate, 1)
    image = ome_tiffs.coded(z=3, y=shape[-2], x=shape[-1])
    xml = ome_tiffs.document(
        *(ome_tiffs.image(image, ome_tiffs.data(IFD=3 * n, PlaneCount=3), number=n) for n in range(2))
    )
    source = ome_tiffs.write(tmp_path / "two.ome.tif", ome_tiffs.pages_of(image) * 2, xml)
    convert(source, tmp_path / "two.ome.zarr", Options())
    add(tmp_path / "two.ome.zarr", "cells", str(seg), image="1")
    check(tmp_path / "two.ome.zarr", 1)
    assert (tmp_path / "two.ome.zarr/1/labels/cells").exists()


def test_masks_and_a_part_of_the_file(tmp_path: Path, store_05: Path) -> None:
    image = ome_tiffs.coded(t=2, z=9, y=70, x=90)
    bits = np.arange(200).reshape(10, 20) % 3 == 0
    xml = ome_tiffs.document(ome_tiffs.image(image), after=region(1, mask(bits, 5, 6)))
    source = ome_tiffs.write(tmp_path / "rois.ome.tif", ome_tiffs.pages_of(image), xml)
    add(store_05, "rois", f"{source}#masks")
    assert level_0(store_05, "rois").sum() == 2 * 9 * bits.sum()
    larger = write_labels(tmp_path / "larger.tif", np.pad(objects(), ((3, 2), (0, 0), (1, 0))))
    crop = ((None, None), (None, None), (3, 12), (None, None), (1, None))
    add(store_05, "nuclei", str(larger), Options(crop=crop, verify="full"))
    np.testing.assert_array_equal(level_0(store_05), objects())


# -- refused -----------------------------------------------------------------------------------------------


def test_what_does_not_fit_changes_nothing(store_05: Path, tmp_path: Path) -> None:
    before = tree(store_05)
    floats = write_labels(tmp_path / "floats.tif", objects(dtype="float32"))
    small = write_labels(tmp_path / "small.tif", objects()[:5])
    for seg, says in ((floats, "whole numbers"), (small, "is of 1 x 5 x 70 x 90")):
        with pytest.raises(OptionError, match=says):
            add(store_05, "nuclei", str(seg))
    with pytest.raises(OptionError, match="is called by letters"):
        add(store_05, "../x", str(small))
    assert tree(store_05) == before


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_image_is_answered_with_those_to_choose_from(tmp_path: Path, version: str) -> None:
    plate, many, one = (tmp_path / f"{name}.ome.zarr" for name in ("plate", "many", "one"))
    foreign_stores.write_plate(plate, version)
    foreign_stores.write_collection(many, version)
    foreign_stores.write_image(one, version)
    fields = r"is no image: the fields of the well B/2 are B/2/0, B/2/1: say which by --image"
    for image in ("B2", "b02", "B/2", "B/2/7", "/B/2/"):
        with pytest.raises(OptionError, match=f"--image {image.strip('/')}: {fields}"):
            add(plate, "cells", "none.tif", image=image)
    for where, image in ((r"plate\.ome\.zarr", ""), ("--image Z/9", "Z/9")):
        with pytest.raises(
            OptionError, match=f"{where}: is no image: its wells are A/1, B/2: say which field of one"
        ):
            add(plate, "cells", "none.tif", image=image)
    with pytest.raises(OptionError, match=r"many\.ome\.zarr: is no image: its images are 0, 1: say"):
        remove(many, "cells")
    with pytest.raises(
        OptionError, match=r"--image 7: is no image: its only image is the store itself: leave"
    ):
        remove(one, "cells", image="7")


@pytest.mark.parametrize("repeats", [1, 2])
def test_pages_that_the_file_calls_channels(store_05: Path, tmp_path: Path, repeats: int) -> None:
    stack = np.concatenate([objects()] * repeats)
    tifffile.imwrite(tmp_path / "seg.tif", stack, imagej=True)  # its z planes are channels to ImageJ
    command = ["labels", "add", str(store_05), f"nuclei={tmp_path}/seg.tif"]
    with pytest.raises(
        OptionError, match=f"has {9 * repeats} channels; .* if its pages are others, "
    ) as found:
        add(store_05, "nuclei", f"{tmp_path}/seg.tif")
    said = re.search(r"labels add OUT nuclei=FILE (--axes [^;]*); else save each channel", str(found.value))
    assert said
    assert said[1] == ("--axes Z" if repeats == 1 else "--axes TZ --shape 2,9")
    assert main([*command, *said[1].split(), "-q"]) == 0
    np.testing.assert_array_equal(level_0(store_05).reshape(stack.shape), stack)


def test_archives_and_servers_are_not_changed(store_05: Path, seg: Path) -> None:
    assert main(["pack", str(store_05)]) == 0
    archive = store_05.with_name("out.ozx")
    with pytest.raises(TargetError, match=r"is an archive.*unpack .*pack it again"):
        add(archive, "nuclei", str(seg))
    with pytest.raises(TargetError, match="nothing can be written there"):
        remove("http://127.0.0.1:9/out.ome.zarr", "nuclei")


def test_what_is_not_there_is_not_removed(store_05: Path, seg: Path) -> None:
    with pytest.raises(OptionError, match="has no label image nuclei: it has none"):
        remove(store_05, "nuclei")
    add(store_05, "cells", str(seg))
    with pytest.raises(OptionError, match="has no label image nuclei: there are cells"):
        remove(store_05, "nuclei")
    before = tree(store_05)
    for name in ("..", "../0", "cells/0", ""):
        with pytest.raises(OptionError):
            remove(store_05, name)
    assert tree(store_05) == before


# -- interrupted -------------------------------------------------------------------------------------------


def test_a_run_that_was_interrupted_is_gone_on_with(store_05: Path, seg: Path) -> None:
    before = listed(store_05)

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(store_05, "nuclei", str(seg), Options(**SMALL), stop)
    assert listed(store_05) == before
    check(store_05, 0)
    events: list[Event] = []
    add(store_05, "nuclei", str(seg), Options(**SMALL), events.append)
    assert [e for e in events if isinstance(e, Note) and "is taken up" in e.message]
    assert not (store_05 / "labels/nuclei.partial").exists()
    np.testing.assert_array_equal(level_0(store_05), objects())
    check(store_05, 1)


def test_what_is_there_and_not_listed_is_made_again(
    store_05: Path, seg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def fails(self: Any, how: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(labels_store._Names, "change", fails)
        with pytest.raises(KeyboardInterrupt):
            add(store_05, "nuclei", str(seg))
    assert (store_05 / "labels/nuclei/zarr.json").exists()
    assert listed(store_05) == []
    assert not validate(store_05).errors
    add(store_05, "nuclei", str(seg))
    check(store_05, 1)


def test_a_removal_that_was_interrupted_is_gone_on_with(
    store_05: Path, seg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store_05, "nuclei", str(seg))
    add(store_05, "cells", str(seg))
    from ngff_convert.storage_disk import Folder

    own = Folder.remove
    with monkeypatch.context() as patch:

        def fails(self: Folder, path: str) -> None:
            if path == "labels/nuclei":
                shutil.rmtree(store_05 / "labels/nuclei/0")
                raise KeyboardInterrupt
            own(self, path)

        patch.setattr(Folder, "remove", fails)
        with pytest.raises(KeyboardInterrupt):
            remove(store_05, "nuclei")
    check(store_05, 1)
    remove(store_05, "nuclei")
    assert not (store_05 / "labels/nuclei").exists()
    check(store_05, 1)


def test_a_process_killed_at_any_moment_leaves_the_store_whole(store_05: Path, tmp_path: Path) -> None:
    own = write_labels(tmp_path / "seg.tif", objects())
    before = tree(store_05)
    command = [
        *(sys.executable, "-m", "ngff_convert", "labels", "add", str(store_05), f"nuclei={own}"),
        *("--chunks", "2,8,8", "--workers", "1", "--memory", "10MiB", "--fsync", "region", "-q"),
    ]
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen(command)
        try:
            process.wait(timeout=0.15 + 0.12 * attempt)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            validation = validate(store_05, deep=True)
            assert not validation.errors
            found = tree(store_05)
            assert {path: found[path] for path in before} == before
            if "nuclei" in listed(store_05):  # killed when all was done
                break
            continue
        assert process.returncode == 0
        break
    assert kills
    np.testing.assert_array_equal(level_0(store_05), objects())
    check(store_05, 1)
    assert sorted(path.name for path in (store_05 / "labels").iterdir()) == ["nuclei", "zarr.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_a_full_disk_leaves_the_store_as_it_was(
    store_05: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seg = write_labels(tmp_path / "seg.tif", objects())
    with small_disk(tmp_path / "disk", 2**23) as disk:
        store = Path(shutil.copytree(store_05, disk / "store"))
        old = tree(store)
        room = os.statvfs(disk)
        with (disk / "other").open("wb") as other:
            other.write(bytes(room.f_bavail * room.f_frsize - 2**14))
        words = ["labels", "add", "-q", str(store), f"nuclei={seg}", "--chunks", "4,8,8"]
        assert main(words) == 6
        said = capsys.readouterr().err
        assert said.endswith(
            "cannot write: No space left on device; mend that and run the same command again\n"
        )
        assert said.count("\n") == 1
        assert old == {path: bytes_ for path, bytes_ in tree(store).items() if ".partial" not in path}
        assert not validate(store).errors
        (disk / "other").unlink()
        assert main(words) == 0
        np.testing.assert_array_equal(level_0(store), objects())
        check(store, 1)


def test_two_at_once_are_both_listed(store_05: Path, seg: Path) -> None:
    names = [f"n{k}" for k in range(4)]
    command = [sys.executable, "-m", "ngff_convert", "labels", "add", str(store_05), "-q", "--workers", "1"]
    processes = [subprocess.Popen([*command, f"{name}={seg}"]) for name in names]
    assert [process.wait() for process in processes] == [0] * 4
    assert sorted(listed(store_05)) == names
    check(store_05, 4)


def test_another_run_that_changes_the_list_is_waited_for(
    store_05: Path, seg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(labels_store, "PATIENCE_S", 0.1)
    handle = os.open(store_05, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(TargetError, match="another run is changing its labels"):
            add(store_05, "nuclei", str(seg))
    finally:
        os.close(handle)
    add(store_05, "nuclei", str(seg))
    check(store_05, 1)


# -- in a bucket -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_in_a_bucket(
    server: S3Server, tmp_path: Path, seg: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "out.ome.zarr"
    convert(
        write_image(tmp_path / "in.ims"), local, Options(chunks=SHAPE[2:], levels=3, ngff_version=version)
    )
    upload(server, local, f"labels-{version}/out.ome.zarr")
    address = f"s3://{server.bucket}/labels-{version}/out.ome.zarr"
    options = Options(**SMALL)

    def labels() -> int:
        validation = validate(address, deep=True)
        assert not validation.errors
        return validation.labels

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(address, "nuclei", str(seg), options, stop)
    assert labels() == 0
    add(address, "nuclei", str(seg), options)
    assert labels() == 1
    with pytest.raises(TargetError, match="--overwrite"):
        add(address, "nuclei", str(seg), options)
    other = write_labels(tmp_path / "other.tif", objects(step=2))
    again = Options(**SMALL, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        add(address, "nuclei", str(other), again, stop)
    assert labels() == 0
    add(address, "nuclei", str(other), again)
    assert labels() == 1
    given = Options(labels=(("nuclei", str(other)),))
    assert verify(tmp_path / "in.ims", address, given).complete
    remove(address, "nuclei")
    assert labels() == 0
    convert(address, tmp_path / "back.ome.zarr", Options(**CHUNKS, ngff_version=version))
    assert not (tmp_path / "back.ome.zarr/labels").exists()


# -- the command line --------------------------------------------------------------------------------------


def test_the_commands(store_05: Path, seg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "list", str(store_05)]) == 0
    assert capsys.readouterr().out == "no label images\n"
    assert main(["labels", "add", str(store_05), f"nuclei={seg}", f"cells={seg}", "--chunks", "4,32,32"]) == 0
    assert capsys.readouterr().out.count("labels/") == 2
    assert main(["labels", "list", str(store_05)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name}  t1 c1 z9 y70 x90, uint16, 90 values with a colour, 0 with properties"
        for name in ("nuclei", "cells")
    ]
    assert main(["labels", "list", str(store_05), "--json"]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert [label["name"] for label in image["labels"]] == ["nuclei", "cells"]
    assert main(["labels", "remove", str(store_05), "cells"]) == 0
    assert main(["labels", "remove", str(store_05), "cells"]) == OptionError.exit_code
    assert main(["labels", "add", str(store_05), f"nuclei={seg}"]) == TargetError.exit_code
    assert main(["labels", "add", str(store_05), "nuclei"]) == 2


def test_the_background_is_no_value_with_a_colour(
    store_05: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seg = write_labels(tmp_path / "seg.tif", np.where(objects(), 7, 0).astype("uint8"))
    (tmp_path / "t.csv").write_text("label,area\n7,12\n")
    command = [
        "labels",
        "add",
        str(store_05),
        f"nuclei={seg}",
        "--label-properties",
        f"nuclei={tmp_path}/t.csv",
    ]
    assert main([*command, "-q"]) == 0
    assert main(["labels", "list", str(store_05)]) == 0
    assert capsys.readouterr().out.endswith("uint8, 1 value with a colour, 1 with properties\n")
    assert main(["labels", "list", str(store_05), "--json"]) == 0
    ((label,),) = (image["labels"] for image in json.loads(capsys.readouterr().out)["images"])
    assert (label["colors"], label["properties"]) == (1, 1)


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n### Labels\n")[2].partition("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("ngff-convert ")]
    assert len(lines) >= 8
    monkeypatch.chdir(tmp_path)
    write_image(Path("in.ims"))
    write_labels(Path("nuclei.tif"), objects())
    write_labels(Path("cells.tif"), objects(step=3))
    Path("cells.csv").write_text("label,area\n3,12\n")
    image = ome_tiffs.coded(t=2, z=9, y=70, x=90)
    xml = ome_tiffs.document(ome_tiffs.image(image), after=region(1, mask(np.ones((4, 5), bool), 5, 6)))
    ome_tiffs.write(Path("in.ome.tif"), ome_tiffs.pages_of(image), xml)
    foreign_stores.write_plate(Path("plate.ome.zarr"), "0.5")
    shape = zarr.open_array("plate.ome.zarr/A/1/1/0", mode="r").shape
    write_labels(Path("A1.tif"), objects(shape[-3:]))
    for line in lines:
        assert main(line.partition("  #")[0].split()[1:]) == 0, line
    assert not validate("out.ome.zarr").errors
