"""Stores of an older version become ones of a later: metadata, pixels, interruptions, refusals."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaozarrs
import zarr
from foreign_stores import WRITERS, edit, edit_ome
from numcodecs import BZ2, LZ4, LZMA, Blosc, GZip, Shuffle, Zlib, Zstd
from ome_zarr_models import open_ome_zarr
from remote_stores import bucket, put, upload
from stores import tree
from test_faults import small_disk
from test_ngff_06 import schema_errors

from ngff_convert import Options, convert, upgrade_rebuild
from ngff_convert import upgrade as upgrade_module
from ngff_convert.cli import main
from ngff_convert.commit import PLAN_FILE
from ngff_convert.errors import (
    ConversionError,
    ReadError,
    TargetError,
    UnsupportedInput,
    VerificationError,
    WriteError,
)
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.upgrade import Upgraded, upgrade
from ngff_convert.upgrade_chunks import Carrier
from ngff_convert.upgrade_metadata import plan_array
from ngff_convert.validate import validate

if TYPE_CHECKING:
    from servers import S3Server

Json = dict[str, Any]


def arrays(store: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the pixels of every array of a store by its path."""
    files = [*store.rglob(".zarray"), *(p for p in store.rglob("zarr.json") if '"array"' in p.read_text())]
    return {
        str(p.parent.relative_to(store)): np.asarray(zarr.open_array(p.parent, mode="r")[...]) for p in files
    }


def assert_same(before: dict[str, np.ndarray[Any, Any]], after: dict[str, np.ndarray[Any, Any]]) -> None:
    assert before.keys() == after.keys() != set()
    for path, pixels in before.items():
        np.testing.assert_array_equal(after[path], pixels, strict=True)


def ome(group: Path) -> Json:
    found: Json = json.loads((group / "zarr.json").read_text()).get("attributes", {}).get("ome", {})
    return found


def assert_accepted(store: Path, version: str) -> None:
    result = validate(store, deep=True)
    assert result.findings == ()
    assert result.version == version
    if version == "0.5":
        yaozarrs.validate_zarr_store(str(store))
        for path in store.rglob("zarr.json"):
            if ome(path.parent).keys() & {"multiscales", "plate", "well"}:
                with warnings.catch_warnings(action="error"):
                    open_ome_zarr(zarr.open_group(path.parent, mode="r"))
    else:
        for path in store.rglob("zarr.json"):
            if found := ome(path.parent):
                assert found["version"] == "0.6"
                strict = {
                    **found,
                    "multiscales": [{**m, "type": "", "metadata": {}} for m in found.get("multiscales", ())],
                }
                assert schema_errors(strict if "multiscales" in found else found) == []


# -- whole stores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("before", "to"), [("0.4", "0.5"), ("0.4", "0.6"), ("0.5", "0.6")])
def test_every_kind_of_store(kind: str, before: str, to: str, tmp_path: Path) -> None:
    store = tmp_path / "store.ome.zarr"
    WRITERS[kind](store, before)
    others = {"kept": {"a": [1, None]}, "_creator": "x"}
    edit(
        store / (".zattrs" if before == "0.4" else "zarr.json"),
        lambda d: d.get("attributes", d).update(others),
    )
    edit_ome(store, before, lambda d: d.update({"unknown": 1}) if before != "0.4" else None)
    pixels, n_images = arrays(store), validate(store).images
    done = upgrade(store, to)
    assert (done.before, done.version) == (before, to)
    assert_same(pixels, arrays(store))
    assert_accepted(store, to)
    assert validate(store).images == n_images
    attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    assert {key: attributes[key] for key in others} == others
    assert before == "0.4" or attributes["ome"]["unknown"] == 1
    assert not {p.name for p in tmp_path.iterdir()} - {store.name}
    assert not [p for p in store.rglob("*") if p.name.startswith(".z") or ".ngff-convert" in p.name]
    if kind == "collection":
        assert "<Image" in (store / "OME/METADATA.ome.xml").read_text()
        assert ome(store / "OME")["series"] == ["0", "1"]
    again = tree(store)
    assert upgrade(store, to) == Upgraded(str(store), to, to)
    assert tree(store) == again


def test_one_version_after_another_is_the_same_as_at_once(tmp_path: Path) -> None:
    WRITERS["plate"](tmp_path / "a", "0.4")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    upgrade(tmp_path / "a", "0.6")
    upgrade(tmp_path / "b", "0.5")
    upgrade(tmp_path / "b", "0.6")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


@pytest.mark.parametrize("layout", ["single", "bioformats2raw"])
def test_what_this_program_wrote(layout: str, tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((2, 2, 5, 70, 90)), voxel_zyx=(0.5, 0.25, 0.2))
    made = {}
    for version in ("0.4", "0.5", "0.6"):
        made[version] = tmp_path / version
        convert(tmp_path / "in.ims", made[version], Options(ngff_version=version, layout=layout))
    for start, to in (("0.4", "0.5"), ("0.5", "0.6"), ("0.4", "0.6")):
        store = tmp_path / f"{start}-{to}"
        shutil.copytree(made[start], store)
        upgrade(store, to)
        assert_accepted(store, to)
        names = {p for p in tree(made[to]) if p.endswith("zarr.json")}
        for name in names:
            expected, found = (json.loads((root / name).read_text()) for root in (made[to], store))
            keys = ("attributes", "codecs", "chunk_grid", "dimension_names", "fill_value")
            for key in keys:  # the others have several spellings
                assert (found.get(key) or None) == (expected.get(key) or None), f"{name}: {key}"
        assert main(["verify", str(tmp_path / "in.ims"), str(store)]) == 0


def test_consolidated_metadata_are_upgraded_too(tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, "0.5")
    with warnings.catch_warnings(action="ignore"):
        zarr.consolidate_metadata(store)
    upgrade(store, "0.6")
    assert_accepted(store, "0.6")
    repeated = json.loads((store / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    assert repeated["labels/cells"]["attributes"]["ome"]["version"] == "0.6"


def test_consolidated_metadata_of_0_4_are_left_out(tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, "0.4")
    zarr.consolidate_metadata(store)
    done = upgrade(store)
    assert done.notes == (".zmetadata: is left out: readers do without it",)
    assert_accepted(store, "0.5")


# -- arrays --------------------------------------------------------------------------------------------------

Case = tuple[Any, Json, str]
CODECS: dict[str, Case] = {
    "none": (None, {}, "copy"),
    "blosc lz4": (Blosc("lz4", 5, Blosc.BITSHUFFLE), {}, "copy"),
    "blosc zstd": (Blosc("zstd", 3, Blosc.SHUFFLE), {}, "copy"),
    "blosc auto": (Blosc("lz4", 5, Blosc.AUTOSHUFFLE), {}, "copy"),
    "blosc none": (Blosc("zlib", 1, Blosc.NOSHUFFLE), {}, "copy"),
    "zstd": (Zstd(3), {}, "copy"),
    "gzip": (GZip(4), {}, "copy"),
    "zlib": (Zlib(2), {}, "wrap"),
    "bz2": (BZ2(2), {}, "recode"),
    "lz4": (LZ4(), {}, "recode"),
    "lzma": (LZMA(), {}, "recode"),
    "shuffled": (Zlib(2), {"filters": [Shuffle(2)]}, "recode"),
    "columns first": (Zstd(3), {"order": "F"}, "recode"),
    "big-endian": (Blosc("lz4"), {"dtype": ">u2"}, "recode"),
    "big-endian columns first": (None, {"dtype": ">i4", "order": "F"}, "recode"),
    "bool": (Zstd(1), {"dtype": "bool"}, "copy"),
    "complex": (None, {"dtype": "<c8"}, "copy"),
    "float": (Blosc("lz4"), {"dtype": "<f8", "fill_value": np.nan}, "copy"),
    "points in names": (Zstd(1), {"separator": "."}, "copy"),
    "points in names, recoded": (LZ4(), {"separator": "."}, "recode"),
}


def write_old(store: Path, compressor: Any = None, **settings: Any) -> np.ndarray[Any, Any]:
    """Write an image of 0.4 of one level, of which one chunk is not stored."""
    pixels = np.random.default_rng(1).integers(1, 250, (5, 37, 41))
    dtype = np.dtype(settings.get("dtype", "<u2"))
    root = zarr.create_group(store, zarr_format=2)
    array = root.create_array(
        "0",
        shape=pixels.shape,
        chunks=(2, 16, 16),
        dtype=dtype,
        compressors=compressor,
        filters=settings.get("filters"),
        order=settings.get("order", "C"),
        fill_value=settings.get("fill_value", 7 if dtype.kind == "u" else None),
        chunk_key_encoding={"name": "v2", "separator": settings.get("separator", "/")},
    )
    array[:, :32] = pixels[:, :32].astype(dtype)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    steps = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    datasets: Any = [{"path": "0", "coordinateTransformations": steps}]
    root.attrs["multiscales"] = [{"version": "0.4", "name": "i", "axes": axes, "datasets": datasets}]
    return np.asarray(array[...])


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("name", CODECS)
def test_codecs_and_layouts_of_chunks(name: str, tmp_path: Path) -> None:
    compressor, settings, way = CODECS[name]
    store = tmp_path / "store"
    pixels = write_old(store, compressor, **settings)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    old = sorted(
        p.read_bytes() for p in (store / "0").rglob("*") if p.is_file() and not p.name.startswith(".")
    )
    done = upgrade(store)
    found = zarr.open_array(store / "0", mode="r")
    np.testing.assert_array_equal(np.asarray(found[...]), pixels, strict=True)
    assert found.chunks == (2, 16, 16)
    assert getattr(found.metadata, "dimension_names", None) == ("z", "y", "x")
    new = sorted(p.read_bytes() for p in (store / "0/c").rglob("*") if p.is_file())
    assert len(new) == len(old) > 0
    assert (new == old) == (way == "copy")
    assert (done.kept, done.encoded) == ((len(old), 0) if way == "copy" else (0, len(old)))
    assert not [f for f in validate(store, deep=True).errors if f.rule != "hole"]


def test_a_stream_of_zlib_is_not_compressed_anew(tmp_path: Path) -> None:
    write_old(tmp_path / "store", Zlib(2))
    old = (tmp_path / "store/0/0/0/0").read_bytes()
    upgrade(tmp_path / "store")
    new = (tmp_path / "store/0/c/0/0/0").read_bytes()
    assert new[10:-8] == old[2:-4]


def test_chunks_are_copied_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_old(tmp_path / "store", Zstd(1))

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert upgrade(tmp_path / "store").kept > 0
    np.testing.assert_array_equal(np.asarray(zarr.open_array(tmp_path / "store/0", mode="r")[...]), pixels)


@pytest.mark.parametrize("compressor", [None, Blosc(), Zlib(), Zstd()], ids=["none", "blosc", "zlib", "zstd"])
def test_tables_of_texts_beside_an_image_are_kept(compressor: Any, tmp_path: Path) -> None:
    store, texts = tmp_path / "store", np.array(["a", "", "ü" * 300, "B02", "z"], object)
    WRITERS["image"](store, "0.4")
    group = zarr.open_group(store / "tables/wells", mode="w", zarr_format=2)
    group.attrs["encoding-type"] = "anndata"
    for name, shape, chunks in (("kind", (5,), (2,)), ("one", (), ())):
        made = group.create_array(name, shape=shape, chunks=chunks, dtype=str, compressors=compressor)
        made[...] = texts if shape else texts[2]
        made.attrs["encoding-type"] = "string-array"
    upgrade(store, "0.5")
    assert_accepted(store, "0.5")
    with warnings.catch_warnings(action="ignore"):  # of what is not of every Zarr v3
        found = zarr.open_group(store / "tables/wells", mode="r")
        kind, one = (zarr.open_array(store / "tables/wells" / name, mode="r") for name in ("kind", "one"))
        assert dict(found.attrs) == {"encoding-type": "anndata"}
        assert np.asarray(kind[...]).tolist() == texts.tolist()
        assert np.asarray(one[...]).tolist() == texts[2]
        assert kind.attrs["encoding-type"] == "string-array"
    assert {p.name for p in tmp_path.iterdir()} == {"store"}


def test_texts_that_would_be_encoded_anew_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, "0.4")
    group = zarr.open_group(store, mode="a", zarr_format=2)
    group.create_array("texts", shape=(5,), chunks=(2,), dtype=str, compressors=LZ4())
    refused(store, UnsupportedInput, "store/texts: texts .* lz4")


def test_files_beside_chunks_stay_and_chunks_outside_the_array_are_named(tmp_path: Path) -> None:
    write_old(tmp_path / "store", Zstd(1))
    (tmp_path / "store/0/9").mkdir()
    kept = ("readme.txt", "0/notes.txt", "0/c/notes.txt", "0/within/.zattrs")
    for name in ("0/9/9", *kept):
        (tmp_path / "store" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "store" / name).write_text("{}")
    notes = upgrade(tmp_path / "store").notes
    assert notes == ("0/9/9: is no chunk of its array and is left out",)
    assert {name: (tmp_path / "store" / name).read_text() for name in kept} == dict.fromkeys(kept, "{}")


# -- older versions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3"])
def test_versions_before_0_4(version: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    root = zarr.create_group(store, zarr_format=2)
    separator = "." if version == "0.1" else "/"
    pixels = np.arange(2 * 3 * 20 * 30, dtype="uint16").reshape(1, 2, 3, 20, 30)
    for level, data in enumerate((pixels, pixels[..., ::2, ::2])):
        encoding: Any = {"name": "v2", "separator": separator}
        array = root.create_array(
            str(level),
            shape=data.shape,
            chunks=(1, 1, 3, 16, 16),
            dtype="uint16",
            chunk_key_encoding=encoding,
        )
        array[...] = data
    item: Json = {"version": version, "name": "old", "datasets": [{"path": "0"}, {"path": "1"}], "extra": 5}
    if version == "0.3":
        item["axes"] = list("tczyx")
    root.attrs["multiscales"] = [item]
    assert upgrade(store, "0.5").before == version
    assert_accepted(store, "0.5")
    (found,) = ome(store)["multiscales"]
    assert found["extra"] == 5
    assert [axis["type"] for axis in found["axes"]] == ["time", "channel", "space", "space", "space"]
    assert found["datasets"][1]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 1, 1, 2, 2]}
    ]
    np.testing.assert_array_equal(arrays(store)["0"], pixels)


def test_wells_of_an_old_plate_get_their_indices(tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["plate"](store, "0.4")
    for path in store.rglob(".zattrs"):
        path.write_text(path.read_text().replace('"0.4"', '"0.2"'))

    def strip(document: Json) -> None:
        for well in document["plate"]["wells"]:
            del well["rowIndex"], well["columnIndex"]

    edit(store / ".zattrs", strip)
    upgrade(store, "0.6")
    assert_accepted(store, "0.6")
    assert ome(store)["plate"]["wells"][1] == {"rowIndex": 1, "columnIndex": 1, "path": "B/2"}


# -- interruptions -------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from ngff_convert import upgrade_chunks, upgrade_rebuild, file_system
from ngff_convert.upgrade import upgrade
upgrade_rebuild.SECONDS_BETWEEN, upgrade_rebuild.BATCH = 0, 2
where, left = sys.argv[2], int(sys.argv[3])
def dying(name, owner):
    real = getattr(owner, name)
    def wrapper(*args, **kwargs):
        global left
        if where == name:
            left -= 1
            if left < 0:
                os._exit(9)
        return real(*args, **kwargs)
    setattr(owner, name, wrapper)
dying("carry", upgrade_chunks.Carrier)
dying("rename", Path)
dying("replace", Path)
dying("remove", file_system)
dying("flush_file_system", file_system)
upgrade(sys.argv[1], sys.argv[4], workers=1)
"""


@pytest.mark.parametrize("before", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("where", "count"),
    [
        *(
            ("carry", 9),
            ("rename", 0),
            ("replace", 1),
            ("replace", 5),
            ("remove", 1),
            ("flush_file_system", 0),
        ),
        *(pytest.param("carry", n, marks=pytest.mark.slow) for n in (0, 1, 50)),
        pytest.param("rename", 1, marks=pytest.mark.slow),
        *(pytest.param("replace", n, marks=pytest.mark.slow) for n in (0, 2)),
        *(pytest.param("remove", n, marks=pytest.mark.slow) for n in (0, 2)),
        pytest.param("flush_file_system", 3, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_moment_loses_nothing(before: str, where: str, count: int, tmp_path: Path) -> None:
    store, whole = tmp_path / "store", tmp_path / "whole"
    WRITERS["plate"](store, before)
    shutil.copytree(store, whole)
    upgrade(whole, "0.6")
    pixels = arrays(store)
    command = [sys.executable, "-c", KILLED, str(store), where, str(count), "0.6"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    happens = {
        "0.4": ("carry", "rename", "remove", "flush_file_system"),
        "0.5": ("replace", "remove", "flush_file_system"),
    }
    assert result.returncode in (0, 9), result.stderr
    assert result.returncode == 9 or count or where not in happens[before]
    upgrade(store, "0.6")
    assert_same(pixels, arrays(store))
    assert tree(store) == tree(whole)
    assert {p.name for p in tmp_path.iterdir()} == {"store", "whole"}


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, "0.4")
    command = [sys.executable, "-c", KILLED, str(store), "carry", "15", "0.5"]
    assert subprocess.run(command, check=False).returncode == 9
    carried = []
    real = Carrier.carry

    def noted(self: Carrier, name: str) -> None:
        carried.append(name)
        real(self, name)

    monkeypatch.setattr(Carrier, "carry", noted)
    total = upgrade(store, "0.5", workers=1)
    assert 0 < len(carried) <= total.kept + total.encoded - 12


def test_an_upgrade_that_is_half_done_goes_to_no_other_version(tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, "0.4")
    command = [sys.executable, "-c", KILLED, str(store), "carry", "15", "0.5"]
    assert subprocess.run(command, check=False).returncode == 9
    with pytest.raises(TargetError, match="unfinished"):
        upgrade(store, "0.6")
    upgrade(store, "0.5")
    assert_accepted(store, "0.5")


def test_a_store_of_two_versions_is_finished(tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["collection"](store, "0.5")
    shutil.copytree(store, tmp_path / "other")
    upgrade(tmp_path / "other", "0.6")
    shutil.copy(tmp_path / "other/0/zarr.json", store / "0/zarr.json")
    assert {finding.rule for finding in validate(store).errors} >= {"version-mixed"}
    assert upgrade(store, "0.6").documents == 3
    assert tree(store) == tree(tmp_path / "other")


FULL = """
import resource, sys
from ngff_convert.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
sys.exit(main(["upgrade", "-q", sys.argv[1], "--to", "0.6"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of what is written")
@pytest.mark.parametrize("before", ["0.4", "0.5"])
def test_a_disk_without_a_byte_left_is_told_and_nothing_is_lost(before: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, before)
    old = tree(store)
    command = [sys.executable, "-c", FULL, str(store)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (6, 1), result.stderr
    assert "store.partial: cannot be written: File too large" in result.stderr
    assert tree(store) == old
    upgrade(store, "0.6")
    assert_accepted(store, "0.6")
    assert {p.name for p in tmp_path.iterdir()} == {"store"}


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
@pytest.mark.parametrize("compressor", [BZ2(1), Zlib(1)], ids=["encoded anew", "wrapped anew"])
def test_a_disk_that_is_full_amid_the_chunks(
    compressor: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 3 * 2**19) as disk:
        pixels = write_old(disk / "store", compressor)
        old = tree(disk / "store")
        room = os.statvfs(disk)
        with (disk / "other").open("wb") as other:
            other.write(bytes(room.f_bavail * room.f_frsize - 2**15))
        assert main(["upgrade", "-q", str(disk / "store")]) == 6
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.endswith(
            "cannot be written: No space left on device; mend that and run the same command again\n"
        )
        assert anything_carried(disk / "store.partial")
        assert tree(disk / "store") == old
        (disk / "other").unlink()
        assert main(["upgrade", "-q", str(disk / "store")]) == 0
        np.testing.assert_array_equal(np.asarray(zarr.open_array(disk / "store/0", mode="r")[...]), pixels)
        assert {path.name for path in disk.iterdir()} == {"store"}


def test_what_cannot_be_removed_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_old(tmp_path / "store")
    real = os.unlink

    def fails(path: Any, *words: Any, **settings: Any) -> None:
        if os.fspath(path) == ".zattrs":  # the system names it so, as it is told the folder otherwise
            raise PermissionError(1, "Operation not permitted", path)
        real(path, *words, **settings)

    monkeypatch.setattr(os, "unlink", fails)
    with pytest.raises(WriteError, match="the new store is whole") as caught:
        upgrade(tmp_path / "store")
    monkeypatch.undo()
    place = Path(str(caught.value).partition(": cannot be removed: Operation not permitted")[0])
    assert place.parent == tmp_path
    assert (place / ".zattrs").is_file()
    upgrade(tmp_path / "store")
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def anything_carried(partial: Path) -> bool:
    return any(path.is_file() for path in (partial / "0/c").rglob("*"))


# -- refusals ------------------------------------------------------------------------------------------------


def refused(store: Path, error: type[ConversionError], match: str, to: str = "0.5") -> None:
    """Hold that a store is refused, and stays as it is."""
    before = tree(store) if store.is_dir() else {}
    with pytest.raises(error, match=match):
        upgrade(store, to)
    assert before == (tree(store) if store.is_dir() else {})


def test_two_upgrades_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_old(tmp_path / "store", Zstd(1))
    plan = upgrade_rebuild._planned

    def overtaken(*words: Any) -> Any:
        monkeypatch.undo()
        upgrade(tmp_path / "store", "0.5")
        return plan(*words)

    monkeypatch.setattr(upgrade_rebuild, "_planned", overtaken)
    with pytest.raises(TargetError, match="was changed by another run"):
        upgrade(tmp_path / "store", "0.5")
    assert {p.name for p in tmp_path.iterdir()} == {"store"}
    np.testing.assert_array_equal(np.asarray(zarr.open_array(tmp_path / "store/0", mode="r")[...]), pixels)


def test_what_is_no_store(tmp_path: Path) -> None:
    refused(tmp_path / "none", ReadError, "cannot be read")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", UnsupportedInput, "is no Zarr group")
    zarr.create_group(tmp_path / "plain")
    refused(tmp_path / "plain", UnsupportedInput, "names no version of OME-Zarr")


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "store", "0.5")
    assert main(["pack", str(tmp_path / "store"), str(tmp_path / "a.ozx"), "-q"]) == 0
    refused(tmp_path / "a.ozx", UnsupportedInput, "unpack it")


def test_an_earlier_version_is_to_be_converted(tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "store", "0.6")
    refused(tmp_path / "store", UnsupportedInput, r"later than 0\.5.*--ngff-version 0\.5")


def test_a_later_version_is_not_known(tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "store", "0.9.dev1")
    refused(tmp_path / "store", UnsupportedInput, r"is of OME-NGFF 0\.9\.dev1")


def test_links_are_refused(tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "store", "0.4")
    (tmp_path / "link").symlink_to("store")
    refused(tmp_path / "link", UnsupportedInput, "give the folder that it leads to")
    (tmp_path / "store/labels/more").symlink_to(tmp_path)
    refused(tmp_path / "store", UnsupportedInput, "only plain folders and files")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_part_of_a_store_is_refused(version: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["plate"](store, version)
    before = tree(store)
    refused(store / "A/1/0", UnsupportedInput, f"is a part of {store}, .* upgrade all of it", to="0.6")
    assert tree(store) == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dtype": "|S3"}, "data type"),
        ({"compressor": {"id": "jpeg2000"}}, "compressor jpeg2000"),
        ({"filters": [{"id": "delta", "dtype": "<u2"}]}, "filter delta"),
        ({"chunks": None}, "makes no sense"),
    ],
)
def test_arrays_of_unknown_kinds_are_refused(change: Json, match: str, tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "store", "0.4")
    edit(tmp_path / "store/1/.zarray", lambda document: document.update(change))
    refused(tmp_path / "store", UnsupportedInput, match)


@pytest.mark.parametrize("before", ["0.4", "0.5"])
def test_transformations_that_have_no_form_are_refused(before: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, before)
    steps = [{"type": "affine", "affine": []}]
    edit_ome(
        store / "labels/cells",
        before,
        lambda ome: ome["multiscales"][0]["datasets"][1].update(coordinateTransformations=steps),
    )
    refused(store, UnsupportedInput, "affine", to="0.6")
    assert {p.name for p in tmp_path.iterdir()} == {"store"}


def test_a_damaged_chunk_stops_what_decodes_it(tmp_path: Path) -> None:
    write_old(tmp_path / "store", Zlib(2))
    (tmp_path / "store/0/0/0/1").write_bytes(b"rubbish")
    refused(tmp_path / "store", ReadError, "0/0/0/1: cannot be decoded")


def test_a_store_that_another_run_writes_is_refused(tmp_path: Path) -> None:
    for version in ("0.4", "0.5"):
        WRITERS["image"](tmp_path / version, version)
        (tmp_path / f"{version}.partial").mkdir()
        with (tmp_path / f"{version}.partial" / PLAN_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            refused(tmp_path / version, TargetError, "another run is writing it", to="0.6")


class Lost:
    """An array that stores nothing."""

    def __getitem__(self, _: Any) -> Lost:
        return self

    def write(self, _: Any = None) -> Lost:
        return self

    read = write

    def result(self) -> Any:
        return np.zeros((2, 16, 16), "uint16")


def test_what_differs_from_the_old_pixels_is_found(tmp_path: Path) -> None:
    write_old(tmp_path / "store", LZ4())
    document = json.loads((tmp_path / "store/0/.zarray").read_text())
    plan = plan_array("0", document, {}, None)
    with pytest.raises(VerificationError, match="is not what was written"):
        Carrier(plan, tmp_path / "store/0", tmp_path / "new", Lost()).carry("0/0/0")


# -- in a bucket ---------------------------------------------------------------------------------------------


def test_metadata_in_a_bucket(server: S3Server, tmp_path: Path) -> None:
    WRITERS["plate"](tmp_path / "store", "0.5")
    upload(server, tmp_path / "store", "plate")
    upgrade(tmp_path / "store", "0.6")
    address = f"s3://{server.bucket}/plate"
    assert upgrade(address, "0.6").documents == 7
    for name in tree(tmp_path / "store"):
        assert bucket(server)[f"plate/{name}"] == (tmp_path / "store" / name).read_bytes()
    assert upgrade(address, "0.6").documents == 0


def test_a_conversion_that_begins_amid_an_upgrade_in_a_bucket_stops_it(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS["image"](tmp_path / "store", "0.5")
    upload(server, tmp_path / "store", "taken")
    real = upgrade_module._put

    def overtaken(storage: Any, path: str, content: bytes, *, last: bool) -> None:
        if last:
            storage.write(PLAN_FILE, b"{}")
        real(storage, path, content, last=last)

    monkeypatch.setattr(upgrade_module, "_put", overtaken)
    with pytest.raises(TargetError, match="under way"):
        upgrade(f"s3://{server.bucket}/taken", "0.6")
    assert bucket(server)["taken/zarr.json"] == (tmp_path / "store/zarr.json").read_bytes()


def test_what_a_bucket_cannot(server: S3Server, tmp_path: Path) -> None:
    WRITERS["image"](tmp_path / "store", "0.4")
    upload(server, tmp_path / "store", "old")
    address = f"s3://{server.bucket}/old"
    with pytest.raises(UnsupportedInput, match="convert it to another name"):
        upgrade(address, "0.6")
    put(server, f"old/{PLAN_FILE}", b"{}")
    with pytest.raises(TargetError, match="under way"):
        upgrade(address, "0.6")
    with pytest.raises(UnsupportedInput, match="web server"):
        upgrade(f"{server.endpoint}/{server.bucket}/old", "0.6")


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    WRITERS["image"](store, "0.4")
    assert main(["upgrade", str(store)]) == 0
    out = capsys.readouterr().out
    assert "OME-Zarr 0.4, now 0.5: 9 metadata files, " in out
    assert main(["upgrade", str(store), "--to", "0.6", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["upgrade", str(store), "--to", "0.6"]) == 0
    assert "is OME-Zarr 0.6 already" in capsys.readouterr().out
    assert main(["upgrade", str(store)]) == 4
    assert main(["upgrade", str(store), "--to", "0.4"]) == 2


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = text.partition("\n### Versions\n")[2].split("```")[1]
    commands = [line.partition("#")[0].split() for line in block.strip().splitlines()]
    assert len(commands) == 5
    monkeypatch.chdir(tmp_path)
    pixels = coded_pixels((1, 2, 4, 40, 50))
    write_ims(tmp_path / "in.ims", pixels)
    for program, *words in commands:
        assert (program, main(words)) == ("ngff-convert", 0)
    for name in ("old", "new"):
        assert ome(tmp_path / f"{name}.ome.zarr")["version"] == "0.6"
        np.testing.assert_array_equal(arrays(tmp_path / f"{name}.ome.zarr")["0"], pixels[0])
