"""Archives: what is in them by the rules of RFC-9, other libraries read them; hostile ones; faults."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from stores import levels, tree
from test_faults import small_disk

from ngff_convert import Options, convert, unpack, zip_writer
from ngff_convert.archive import half_of, is_archive, pack, packed
from ngff_convert.cli import main
from ngff_convert.errors import ReadError, TargetError, UnsupportedInput, WriteError
from ngff_convert.testing import coded_pixels, write_ims

SHAPE = (1, 2, 8, 70, 90)
SMALL = Options(chunks=(4, 32, 32), min_size=16)
COMMENT = {"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}}
README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_ims(folder / "in.ims", coded_pixels(SHAPE), chunks=(4, 32, 32))
    convert(folder / "in.ims", folder / "image.ome.zarr", SMALL)
    convert(folder / "in.ims", folder / "old.ome.zarr", Options(ngff_version="0.4"))
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "image.ome.zarr", tmp_path / "image.ome.zarr"))


@pytest.fixture
def archive(store: Path) -> Path:
    pack(store, store.with_name("image.ozx"))
    return store.with_name("image.ozx")


def is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] == "zarr.json"


# -- what is in one ----------------------------------------------------------------------------------------


def test_every_file_is_an_entry_as_it_is(store: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        found = {name: file.read(name) for name in file.namelist()}
        assert len(found) == len(file.namelist())
        for entry in file.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.extra == b""
            assert entry.external_attr >> 16 == 0o100644
        assert file.infolist()[0].header_offset == 0
        assert json.loads(file.comment) == COMMENT
    assert found == {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def test_metadata_comes_first_and_breadth_first(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        offsets = [entry.header_offset for entry in file.infolist()]
    assert offsets == sorted(offsets)
    assert names[0] == "zarr.json"
    count = sum(map(is_metadata, names))
    assert count > 3
    assert all(map(is_metadata, names[:count]))
    depths = [name.count("/") for name in names[:count]]
    assert depths == sorted(depths)


def test_the_order_of_chunks_is_that_of_numbers(tmp_path: Path, store: Path) -> None:
    for number in range(12):
        (store / "0" / "c" / str(number)).mkdir(exist_ok=True)
        (store / "0" / "c" / str(number) / "x").write_bytes(bytes([number]))
    pack(store, tmp_path / "out.ozx")
    with zipfile.ZipFile(tmp_path / "out.ozx") as file:
        names = [name for name in file.namelist() if name.startswith("0/c/") and name.endswith("/x")]
    assert names == [f"0/c/{number}/x" for number in range(12)]


def test_the_zip64_end_is_there_at_any_size(archive: Path) -> None:
    end = archive.read_bytes()[-22 - len(json.dumps(COMMENT, separators=(",", ":"))) - 76 :]
    assert end[:4] == b"PK\6\6"
    assert end[56:60] == b"PK\6\7"
    assert end[76:80] == b"PK\5\6"


def test_other_libraries_read_the_pixels(store: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        shape = json.loads(file.read("0/zarr.json"))["shape"]
    expected = levels(store, "0.5")
    np.testing.assert_array_equal(expected[0], coded_pixels(SHAPE).reshape(shape))
    opened = zarr.storage.ZipStore(archive, mode="r")
    group = zarr.open_group(opened, mode="r")
    for number, level in enumerate(expected):
        array = group[str(number)]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(np.asarray(array[...]), level)
        kvstore = {"driver": "zip", "base": {"driver": "file", "path": str(archive)}, "path": f"{number}/"}
        other = ts.open({"driver": "zarr3", "kvstore": kvstore}).result().read().result()
        np.testing.assert_array_equal(other, level)
    opened.close()


@pytest.mark.skipif(not shutil.which("unzip"), reason="Info-ZIP is not installed")
def test_info_zip_finds_no_fault(archive: Path) -> None:
    subprocess.run(["unzip", "-tq", str(archive)], check=True, capture_output=True)


def test_it_depends_on_the_store_alone(tmp_path: Path, store: Path, archive: Path) -> None:
    other = tmp_path / "other"
    for path in sorted(store.rglob("*"), reverse=True):  # made in another order, at another time
        if path.is_file():
            (other / path.relative_to(store)).parent.mkdir(parents=True, exist_ok=True)
            (other / path.relative_to(store)).write_bytes(path.read_bytes())
            os.utime(other / path.relative_to(store), (5, 5))
    (other / "0" / "zarr.json").chmod(0o600)
    pack(other, tmp_path / "other.ozx")
    assert (tmp_path / "other.ozx").read_bytes() == archive.read_bytes()


def test_pack_and_unpack_give_the_same_tree(tmp_path: Path, store: Path, archive: Path) -> None:
    told: list[tuple[int, int]] = []
    unpacked = unpack.unpack(archive, tmp_path / "again", tell=lambda done, total: told.append((done, total)))
    assert tree(tmp_path / "again") == tree(store)
    assert unpacked.files == len(tree(store))
    assert told[-1] == (unpacked.size, unpacked.size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "image.ome.zarr", "image.ozx"]
    assert not list((tmp_path / "again").glob(".*"))


def test_files_of_every_size_are_whole(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_writer, "SMALL_BYTES", 100)
    monkeypatch.setattr(zip_writer, "BLOCK_BYTES", 64)
    random = np.random.default_rng(0)
    sizes = (0, 1, 63, 64, 65, 99, 100, 101, 127, 128, 129, 1000)
    for size in sizes:
        (store / "0" / f"of {size} é").write_bytes(random.bytes(size))
    told: list[tuple[int, int]] = []
    pack(store, tmp_path / "out.ozx", tell=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    unpack.unpack(tmp_path / "out.ozx", tmp_path / "again")
    assert tree(tmp_path / "again") == tree(store)


def test_sizes_and_places_over_4_gib(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are those of ZIP64 wherever a number is over a limit, which is small here."""
    monkeypatch.setattr(zip_writer, "_FULL32", 3000)
    monkeypatch.setattr(zip_writer, "_FULL16", 4)
    (store / "0" / "large").write_bytes(b"0123456789" * 1000)
    local = zip_writer._local(b"large", 7, 10_000)
    assert local[-20:] == b"\1\0\x10\0" + (10_000).to_bytes(8, "little") * 2
    central = zip_writer._central(b"large", 7, 10_000, 2999)
    assert central[-20:] == b"\1\0\x10\0" + (10_000).to_bytes(8, "little") * 2
    central = zip_writer._central(b"large", 7, 10_000, 5000)
    assert central[-28:-20] == b"\1\0\x18\0" + (10_000).to_bytes(8, "little")[:4]
    assert central[-8:] == (5000).to_bytes(8, "little")
    assert pack(store, tmp_path / "out.ozx").files > 4  # and it reads back


@pytest.mark.slow
def test_an_entry_and_an_archive_of_over_4_gib(tmp_path: Path, store: Path) -> None:
    with (store / "0" / "large").open("wb") as file:
        file.truncate(2**32 + 5)
        file.seek(2**32)
        file.write(b"end")
    (store / "1" / "after").write_bytes(b"after it")
    pack(store, tmp_path / "out.ozx")
    with zipfile.ZipFile(tmp_path / "out.ozx") as opened:
        assert opened.getinfo("0/large").file_size == 2**32 + 5
        assert opened.getinfo("1/after").header_offset > 2**32
        assert opened.read("1/after") == b"after it"
        assert opened.testzip() is None


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from ngff_convert.archive import pack
print(pack(Path(sys.argv[1]), Path(sys.argv[2])).files, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    for count in (1000, 100_000):
        store = tmp_path / str(count)
        for number in range(count):
            folder = store / "0" / "c" / str(number // 1000)
            if number % 1000 == 0:
                folder.mkdir(parents=True)
            (folder / str(number % 1000)).write_bytes(b"chunk")
        (store / "zarr.json").write_text(json.dumps({"attributes": {"ome": {"version": "0.5"}}}))
        words = [sys.executable, "-c", script, str(store), str(tmp_path / f"{count}.ozx")]
        done = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert int(done[0]) == count + 1
        peaks.append(int(done[1]) / (1 if sys.platform == "darwin" else 2**-10))
        with zipfile.ZipFile(tmp_path / f"{count}.ozx") as file:  # over 65,535, which needs ZIP64
            assert len(file.namelist()) == count + 1
    assert peaks[1] - peaks[0] < 32e6


# -- what is refused ---------------------------------------------------------------------------------------


def test_what_is_not_of_the_store_stays_out(tmp_path: Path, store: Path, archive: Path) -> None:
    (store / ".ngff-convert-plan.json").write_text("{}")
    (store / ".ngff-convert-journal").mkdir()
    (store / ".ngff-convert-journal" / "a.jsonl").write_text("{}")
    pack(store, tmp_path / "out.ozx")
    assert (tmp_path / "out.ozx").read_bytes() == archive.read_bytes()


def test_an_unfinished_conversion_is_not_packed(tmp_path: Path, store: Path) -> None:
    half = store.rename(tmp_path / "out.ome.zarr.partial")
    (half / ".ngff-convert-plan.json").write_text("{}")
    with pytest.raises(ReadError, match="unfinished conversion"):
        pack(half, tmp_path / "out.ozx")


def test_a_store_of_0_4_is_refused(tmp_path: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(made / "old.ome.zarr"), str(tmp_path / "out.ozx")]) == 4
    assert "--ngff-version 0.5" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_zip_of_0_4_is_unpacked(tmp_path: Path, made: Path) -> None:
    shutil.make_archive(str(tmp_path / "old"), "zip", made / "old.ome.zarr")  # compressed, with folders
    unpack.unpack(tmp_path / "old.zip", tmp_path / "again")
    assert tree(tmp_path / "again") == tree(made / "old.ome.zarr")


@pytest.mark.parametrize("root", ["[]", '{"attributes": {}}', '{"attributes": {"ome": {"version": 5}}}'])
def test_what_is_no_ome_zarr_is_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "zarr.json").write_text(root)
    with pytest.raises(UnsupportedInput, match="only an OME-Zarr"):
        pack(tmp_path / "x", tmp_path / "out.ozx")


def test_links_pipes_and_archives_in_a_store_are_refused(tmp_path: Path, store: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    odd = store / "0" / "odd"

    def refused(kind: type[Exception], words: str) -> None:
        with pytest.raises(kind, match=words):
            pack(store, tmp_path / "out.ozx")
        assert not (tmp_path / "out.ozx").exists()
        assert not half_of(tmp_path / "out.ozx").exists()
        odd.unlink()

    for target in (tmp_path / "secret", tmp_path, tmp_path / "nothing", store):
        odd.symlink_to(target)
        refused(ReadError, "odd: is a link")
    os.mkfifo(odd)
    refused(ReadError, "odd: is neither a file nor a folder")
    odd = store / "0" / "odd.ozx"
    odd.write_bytes(b"PK")
    refused(UnsupportedInput, "is an archive")
    Path(os.fsdecode(os.fsencode(store) + b"/\xff")).write_bytes(b"")
    odd = Path(os.fsdecode(os.fsencode(store) + b"/\xff"))
    refused(ReadError, "UTF-8")


def test_a_link_within_the_store_is_its_content(tmp_path: Path, store: Path) -> None:
    (store / "0" / "link").symlink_to("zarr.json")
    store.rename(tmp_path / "real")
    store.symlink_to(tmp_path / "real")
    pack(store, tmp_path / "out.ozx")
    with zipfile.ZipFile(tmp_path / "out.ozx") as file:
        assert file.read("0/link") == file.read("0/zarr.json")


def test_nothing_but_an_archive_is_replaced(tmp_path: Path, store: Path, archive: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(TargetError, match="use --overwrite"):
        pack(store, archive)
    assert archive.read_bytes() == before
    (store / "0" / "more").write_bytes(b"more")
    pack(store, archive, overwrite=True)
    assert archive.read_bytes() != before
    for content in (b"", b"PK", b"a thesis"):
        (tmp_path / "other.ozx").write_bytes(content)
        with pytest.raises(TargetError, match=r"is not an \.ozx archive"):
            pack(store, tmp_path / "other.ozx", overwrite=True)
        assert (tmp_path / "other.ozx").read_bytes() == content
    (tmp_path / "folder.ozx").mkdir()
    with pytest.raises(TargetError, match=r"is not an \.ozx archive"):
        pack(store, tmp_path / "folder.ozx", overwrite=True)
    with pytest.raises(TargetError, match="is in the store"):
        pack(store, store / "0" / "in.ozx")
    half_of(tmp_path / "new.ozx").write_bytes(b"somebody's")
    with pytest.raises(TargetError, match="move it away"):
        pack(store, tmp_path / "new.ozx")
    assert half_of(tmp_path / "new.ozx").read_bytes() == b"somebody's"


def test_an_archive_of_another_program_is_known(tmp_path: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(tmp_path / "other.ozx", "w") as out:
        for name in reversed(source.namelist()):
            out.writestr(name, source.read(name))
    assert is_archive(tmp_path / "other.ozx")
    with zipfile.ZipFile(tmp_path / "thesis.zip", "w") as out:
        out.writestr("thesis.txt", "")
    assert not is_archive(tmp_path / "thesis.zip")


def test_unpack_replaces_nothing_but_a_store(tmp_path: Path, store: Path, archive: Path) -> None:
    with pytest.raises(TargetError, match="use --overwrite"):
        unpack.unpack(archive, store)
    (store / "0" / "zarr.json").unlink()
    unpack.unpack(archive, store, overwrite=True)
    assert (store / "0" / "zarr.json").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "mine").write_text("")
    for name in ("mine", "file", "new", "image.ozx"):
        with pytest.raises(TargetError):
            unpack.unpack(archive, tmp_path / name, overwrite=True)
    assert (tmp_path / "new.partial" / "mine").exists()
    inner = Path(shutil.copy(archive, store / "in.ozx"))
    with pytest.raises(TargetError, match="holds, the input"):
        unpack.unpack(inner, store, overwrite=True)
    assert inner.exists()


# -- hostile and damaged archives --------------------------------------------------------------------------


def with_entry(path: Path, name: str, content: bytes = b"x", **facts: Any) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("zarr.json", "{}")
        entry = zipfile.ZipInfo(name)
        for key, value in facts.items():
            setattr(entry, key, value)
        file.writestr(entry, content)
    return path


HOSTILE = [
    "../evil",
    "a/../../evil",
    "/tmp/evil",
    "//evil",
    "./zarr.json",
    "a//b",
    "..\\evil",
    "C:\\evil",
    "C:evil",
    ".ngff-convert-plan.json",
    "zarr.json/x",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "deep").mkdir()
    path = with_entry(tmp_path / "deep" / "in.ozx", name)
    with pytest.raises(ReadError, match="nothing was unpacked"):
        unpack.unpack(path, tmp_path / "deep" / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["deep", "in.ozx"]


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    path = with_entry(tmp_path / "in.ozx", "a~b")
    path.write_bytes(path.read_bytes().replace(b"a~b", b"a\0b"))
    with pytest.raises(ReadError, match="no relative path"):
        unpack.unpack(path, tmp_path / "out")


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = with_entry(tmp_path / "in.ozx", "link", b"/etc/passwd", external_attr=0o120777 << 16)
    with pytest.raises(ReadError, match="link or a device"):
        unpack.unpack(path, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = with_entry(tmp_path / "in.ozx", "zarr.json")
    with pytest.raises(ReadError, match="is there twice"):
        unpack.unpack(path, tmp_path / "out")


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = with_entry(tmp_path / "in.ozx", "secret")
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(signature) + place] |= 1
    path.write_bytes(content)
    with pytest.raises(UnsupportedInput, match="encrypted"):
        unpack.unpack(path, tmp_path / "out")


def test_another_compression_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.ozx", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("zarr.json", "{}")
    with pytest.raises(UnsupportedInput, match="method 14"):
        unpack.unpack(tmp_path / "in.ozx", tmp_path / "out")


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.ozx", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("zarr.json", "{}")
        file.writestr("0", bytes(unpack.SMALL_BYTES))
    with pytest.raises(ReadError, match=r"over 100 times its own"):
        unpack.unpack(tmp_path / "in.ozx", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in.ozx"]


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = with_entry(tmp_path / "in.ozx", "0", os.urandom(1000))
    content = path.read_bytes()
    at, end = content.rindex(b"PK\1\2"), content.rindex(b"PK\5\6")
    record, tail = content[at:end], bytearray(content[end:])
    copies = b"".join(record[:-1] + bytes([48 + number]) for number in range(9))
    tail[8:12] = (10).to_bytes(2, "little") * 2
    tail[12:16] = (at - content.index(b"PK\1\2") + len(copies)).to_bytes(4, "little")
    path.write_bytes(content[:at] + copies + tail)
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) == 10
    with pytest.raises(ReadError, match="overlap"):
        unpack.unpack(path, tmp_path / "out")


def test_a_lie_about_a_size_is_found(tmp_path: Path) -> None:
    path = with_entry(tmp_path / "in.ozx", "0", b"0123456789" * 100)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\1\2") + 24
    content[at : at + 4] = (2000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"cut off|overlap|damaged"):
        unpack.unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in.ozx"]


def test_a_flipped_bit_is_found_and_leaves_nothing(tmp_path: Path, archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        entry = file.infolist()[-1]
    content[entry.header_offset + 30 + len(entry.filename) + entry.file_size // 2] ^= 1
    (tmp_path / "bad.ozx").write_bytes(content)
    with pytest.raises(ReadError, match=r"damaged.*CRC"):
        unpack.unpack(tmp_path / "bad.ozx", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_no_cut_and_no_flip_is_a_traceback(tmp_path: Path, archive: Path) -> None:
    whole = archive.read_bytes()
    random = np.random.default_rng(0)
    names = len(whole) - whole.index(b"PK\1\2")
    for number in range(90):
        content = bytearray(whole)
        if number % 3 == 0:
            del content[random.integers(len(whole)) :]
        else:
            for _ in range(3):
                content[-random.integers(1, names)] = random.integers(256)
        (tmp_path / "bad.ozx").write_bytes(content)
        try:
            unpack.unpack(tmp_path / "bad.ozx", tmp_path / "out")
        except (ReadError, UnsupportedInput, WriteError):
            assert not list(tmp_path.glob("out*"))
        else:
            assert number % 3
            shutil.rmtree(tmp_path / "out")


def test_an_archive_without_a_root_or_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "in.ozx", "w") as file:
        file.writestr("image.ome.zarr/zarr.json", "{}")
    (tmp_path / "text.ozx").write_text("text")
    for name, words in (
        ("in", "no zarr.json in its root"),
        ("text", "not a zip"),
        ("none", "cannot be read"),
    ):
        assert main(["unpack", str(tmp_path / f"{name}.ozx"), str(tmp_path / "out")]) == 3
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


# -- faults ------------------------------------------------------------------------------------------------


def test_a_file_that_changes_meanwhile_makes_no_archive(tmp_path: Path, store: Path) -> None:
    (store / "0" / "large").write_bytes(os.urandom(2**21))

    def change(done: int, total: int) -> None:
        with (store / "0" / "large").open("ab") as file:
            file.write(b"more")

    with pytest.raises(ReadError, match=r"large: was changed"):
        pack(store, tmp_path / "out.ozx", tell=change)
    assert [p.name for p in tmp_path.iterdir()] == [store.name]


def test_a_file_that_comes_or_goes_meanwhile_makes_no_archive(tmp_path: Path, store: Path) -> None:
    def add(done: int, total: int) -> None:
        (store / "9").write_bytes(b"new")

    with pytest.raises(ReadError, match=r"was changed"):
        pack(store, tmp_path / "out.ozx", tell=add)
    assert not list(tmp_path.glob("out*"))


def test_what_the_disk_does_not_give_back_is_found(tmp_path: Path, store: Path) -> None:
    half = half_of(tmp_path / "out.ozx")
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())

    def damage(done: int, total: int) -> None:
        if done > size and not hurt:  # while it is read back
            hurt.append(done)
            content = bytearray(half.read_bytes())
            content[size // 2] ^= 1
            half.write_bytes(content)

    hurt: list[int] = []
    (store / "0" / "large").write_bytes(os.urandom(2**22))
    with pytest.raises(WriteError, match="not as it was written"):
        pack(store, tmp_path / "out.ozx", tell=damage)
    assert hurt
    assert not list(tmp_path.glob("out*"))


def test_a_killed_pack_looks_like_nothing_and_the_next_is_whole(tmp_path: Path, store: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from ngff_convert.archive import pack
def tell(done, total):
    if done > total * float(sys.argv[3]):
        print("there", flush=True)
        time.sleep(60)
pack(Path(sys.argv[1]), Path(sys.argv[2]), tell=tell)
"""
    archive = tmp_path / "out.ozx"
    for share in ("0", "0.3", "0.9"):
        words = [sys.executable, "-c", script, str(store), str(archive), share]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"there\n"
            with pytest.raises(TargetError, match="another run"):
                pack(store, archive)
            process.send_signal(signal.SIGKILL)
        assert not archive.exists()
        assert half_of(archive).exists()
    before = tree(store)
    pack(store, archive)
    assert tree(store) == before
    assert not half_of(archive).exists()
    unpack.unpack(archive, tmp_path / "again")
    assert tree(tmp_path / "again") == before


def test_what_a_killed_run_left_may_be_larger(tmp_path: Path, store: Path, archive: Path) -> None:
    half_of(tmp_path / "out.ozx").write_bytes(b"PK" + bytes(2**22))
    pack(store, tmp_path / "out.ozx")
    assert (tmp_path / "out.ozx").read_bytes() == archive.read_bytes()


def test_a_terminated_pack_leaves_nothing(tmp_path: Path, store: Path) -> None:
    (store / "0" / "large").write_bytes(os.urandom(2**27))
    words = [sys.executable, "-m", "ngff_convert", "pack", str(store), str(tmp_path / "out.ozx")]
    half = half_of(tmp_path / "out.ozx")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        while not (half.exists() and half.stat().st_size > 2**20) and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert process.returncode in (0, 143)  # or it was faster
    assert (tmp_path / "out.ozx").exists() == (process.returncode == 0)
    assert not half.exists()


def test_a_killed_unpack_is_done_again(tmp_path: Path, store: Path, archive: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from ngff_convert.unpack import unpack
def tell(done, total):
    if done > total / 2:
        os.kill(os.getpid(), signal.SIGKILL)
unpack(Path(sys.argv[1]), Path(sys.argv[2]), tell=tell)
"""
    words = [sys.executable, "-c", script, str(archive), str(tmp_path / "again")]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "again").exists()
    assert (tmp_path / "again.partial").is_dir()
    unpack.unpack(archive, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(store)
    assert not (tmp_path / "again.partial").exists()


def test_an_unfinished_conversion_is_not_lost_to_unpack(tmp_path: Path, made: Path, archive: Path) -> None:
    from test_interruption import interrupted

    half = interrupted(made / "in.ims", tmp_path / "out", after=3)
    before = tree(half)
    with pytest.raises(TargetError, match="unfinished conversion"):
        unpack.unpack(archive, tmp_path / "out")
    assert tree(half) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_a_full_disk_ends_it_and_leaves_nothing(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store / "0" / "large").write_bytes(os.urandom(2**22))
    pack(store, tmp_path / "whole.ozx")
    with small_disk(tmp_path / "disk", 2**21) as disk:
        commands: list[list[str]] = [
            ["pack", str(store), str(disk / "out.ozx")],
            ["unpack", str(tmp_path / "whole.ozx"), str(disk / "out")],
        ]
        for words in commands:
            assert main(words) == 6
            said = capsys.readouterr().err
            assert "No space left" in said
            assert said.count("\n") == 1
            assert list(disk.iterdir()) == []


def test_a_limit_of_open_files_is_no_limit_of_entries(tmp_path: Path, store: Path, archive: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        pack(store, tmp_path / "out.ozx")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (tmp_path / "out.ozx").read_bytes() == archive.read_bytes()


def test_what_is_packed_and_not_renamed_goes(tmp_path: Path, store: Path) -> None:
    with packed(store, tmp_path / "out.ozx") as whole:
        assert whole.half == half_of(tmp_path / "out.ozx")
        assert whole.size == whole.half.stat().st_size
        assert zipfile.ZipFile(whole.half).testzip() is None
    assert not whole.half.exists()


def test_a_long_name_has_a_short_half(tmp_path: Path, store: Path) -> None:
    name = "n" * 251 + ".ozx"
    pack(store, tmp_path / name)
    assert [p.name for p in tmp_path.glob("*.ozx")] == [name]


# -- the commands ------------------------------------------------------------------------------------------


def test_the_commands_name_their_outputs(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    before = tree(store)
    assert main(["pack", "image.ome.zarr/"]) == 0
    assert re.fullmatch(r"image\.ozx  OME-Zarr 0\.5: \d+ files, .* .B\n", capsys.readouterr().out)
    assert main(["pack", "image.ome.zarr"]) == 5
    assert main(["pack", "image.ome.zarr", "--overwrite", "-q"]) == 0
    assert capsys.readouterr().out == ""
    shutil.rmtree(store)
    assert main(["unpack", "image.ozx"]) == 0
    assert re.fullmatch(r"image\.ome\.zarr  \d+ files, .* .B\n", capsys.readouterr().out)
    assert tree(store) == before
    assert main(["pack", "image.ome.zarr", "image.zip"]) == 2
    assert main(["unpack", "image.ozx", "other.ozx"]) == 2
    assert main(["pack", "nothing"]) == 3


def test_a_bar_is_shown_on_a_terminal(store: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    (store / "0" / "large").write_bytes(os.urandom(2**22))
    words = [sys.executable, "-m", "ngff_convert", "pack", str(store)]
    subprocess.run(words, stderr=follower, stdout=subprocess.PIPE, check=True)
    os.close(follower)
    assert b"packing image.ome.zarr" in os.read(leader, 100_000)
    os.close(leader)


def section(title: str) -> str:
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"^### {title}\n(.*?)^##", text, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def test_the_commands_of_the_readme(made: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```\n(.*?)```", section("One file"), re.DOTALL)
    assert len(blocks) == 1
    shutil.copytree(made / "image.ome.zarr", tmp_path / "out.ome.zarr")
    own = Path(sys.executable).parent
    script = f"PATH='{own}':$PATH\n{blocks[0]}"
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out.ozx").exists()
    assert tree(tmp_path / "copy.ome.zarr") == tree(tmp_path / "out.ome.zarr")
