"""A folder, an archive, a bucket and a web server: what is read, looked at and listed there is the same."""

from __future__ import annotations

import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import tensorstore as ts
from remote_stores import put, upload
from servers import Faults, http_files

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.storage import Entry, Folder, Storage, Unreachable, Zipped, at, storage_of
from ngff_convert.storage_remote import Remote, s3_members, s3_options

if TYPE_CHECKING:
    from pathlib import Path

    from servers import S3Server

FILES = {
    "zarr.json": b"{}",
    "0/zarr.json": b'{"level": 0}',
    "0/c/0/0": b"x" * 1000,
    "0/c/0/1": b"y" * 1001,
    "0/c/1/0": b"z" * 7,
    "0/junk/deep/er": b"?",
    "OME/METADATA.ome.xml": b"<OME/>",
    "a b/\u00b5 (1).txt": b"odd names",
    "0.txt": b"sorts between 0 and 0/",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("storage") / "store"
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def zipped(folder: Path, archive: Path, **settings: Any) -> Path:
    with zipfile.ZipFile(archive, "w", **settings) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


@pytest.fixture(scope="module")
def storages(folder: Path, server: S3Server) -> dict[str, Storage]:
    archive = zipped(folder, folder.parent / "store.ozx")
    packed = zipped(folder, folder.parent / "packed.zip", compression=zipfile.ZIP_DEFLATED)
    upload(server, folder, "some/prefix")
    put(server, "archives/store.ozx", archive.read_bytes())
    return {
        "folder": storage_of(folder),
        "archive": storage_of(archive),
        "compressed archive": storage_of(packed),
        "bucket": storage_of(f"s3://{server.bucket}/some/prefix/"),
        "archive in a bucket": storage_of(f"s3://{server.bucket}/archives/store.ozx"),
    }


KINDS = ("folder", "archive", "compressed archive", "bucket", "archive in a bucket")


@pytest.mark.parametrize("kind", KINDS)
def test_all_storages_say_the_same(storages: dict[str, Storage], kind: str) -> None:
    storage = pickle.loads(pickle.dumps(storages[kind]))
    storage.reach()
    for name, content in FILES.items():
        assert storage.has(name)
        assert storage.read(name, len(content)) == content
        assert not storage.leads_out(name)
        assert not storage.blocks(name)
        with pytest.raises(OSError, match=f"{len(content)} bytes, more than the {len(content) - 1} that are"):
            storage.read(name, len(content) - 1)
    for name in ("1/zarr.json", "zarr.jso", "0/c/0/00"):
        assert not storage.has(name)
        with pytest.raises(OSError, match="no regular file within the store"):
            storage.read(name, 10)
    assert storage.has_folder("OME")
    assert storage.has_folder("0/c")
    assert not storage.has_folder("0/c/2")


@pytest.mark.parametrize("kind", KINDS)
def test_all_storages_list_the_same(storages: dict[str, Storage], kind: str) -> None:
    storage = storages[kind]

    def size(name: str) -> int | None:
        return len(FILES[name]) if storage.is_local else None

    chunks = {("c", "0", "0"), ("c", "0", "1"), ("c", "1", "0")}
    expected = {Entry(names, "file", size("/".join(("0", *names)))) for names in chunks}
    expected |= {Entry(("zarr.json",), "file", size("0/zarr.json")), Entry(("junk",), "folder")}
    found = list(storage.walk("0", lambda names: names[0] == "c"))
    assert len(found) == len(expected)
    assert set(found) == expected
    top = {(entry.names, entry.kind) for entry in storage.walk("")}
    files, folders = ("zarr.json", "0.txt"), ("0", "OME", "a b")
    assert top == {((name,), "file") for name in files} | {((name,), "folder") for name in folders}


@pytest.mark.parametrize("kind", KINDS)
def test_tensorstore_gets_the_same(storages: dict[str, Storage], kind: str) -> None:
    for path in ("", "0", "a b"):
        start = f"{path}/" if path else ""
        kvstore = ts.KvStore.open(storages[kind].kvstore(path)).result()
        for name, content in FILES.items():
            if name.startswith(start):
                assert kvstore.read(name.removeprefix(start)).result().value == content


def test_a_web_server_is_read_but_not_listed(folder: Path) -> None:
    with http_files(folder.parent) as server:
        storage = storage_of(f"{server.url}/store/")
        storage.reach()
        assert storage.read("0/c/0/1", 2000) == FILES["0/c/0/1"]
        assert storage.has("0/zarr.json")
        assert not storage.has("1/zarr.json")
        assert not storage.has_folder("OME")
        (entry,) = storage.walk("")
        assert (entry.kind, entry.reason) == ("closed", "a web server lists nothing")
        zipped(folder, folder.parent / "web.ozx")
        inner = storage_of(f"{server.url}/web.ozx")
        assert {entry.names for entry in inner.walk("0/c")} == {("0",), ("1",)}


def test_what_an_address_is(tmp_path: Path) -> None:
    (tmp_path / "folder.ozx").mkdir()
    (tmp_path / "text").write_text("PK, but no archive")
    assert isinstance(storage_of(tmp_path / "folder.ozx"), Folder)
    assert isinstance(storage_of(tmp_path / "text"), Folder)
    assert isinstance(storage_of(tmp_path / "not there.ozx"), Zipped)
    assert isinstance(storage_of("S3://bucket/a"), Remote)
    named = storage_of("https://host:81/a/b.zarr?token=secret")
    assert at(named, "0/zarr.json") == "https://host:81/a/b.zarr/0/zarr.json"
    assert named.kvstore("0")["base_url"] == "https://host:81?token=secret"
    assert storage_of(named) is named


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("s3://", {}, "names no bucket"),
        ("http://me:secret@host/a", {}, "without user and password"),
        ("s3://bucket/a", {"secret": "x"}, "--storage-options secret: there is no such key"),
    ],
)
def test_what_is_no_address(address: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        storage_of(address, options)
    assert "me:secret" not in str(caught.value)


def test_what_an_s3_server_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    assert s3_members(s3_options({})) == {}
    assert s3_members(s3_options({"endpoint": "http://host:9000/"})) == {
        "endpoint": "http://host:9000",
        "aws_region": "us-east-1",
    }
    members = s3_members(s3_options({"region": "eu-west-1", "profile": "lab"}))
    assert (members["aws_credentials"]["profile"], members["aws_region"]) == ("lab", "eu-west-1")
    assert s3_members({"anonymous": "True"}) == {"aws_credentials": {"type": "anonymous"}}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other:9000")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage = pickle.dumps(storage_of("s3://bucket/a", (("region", "eu-west-1"),)))
    assert b"secret" not in storage
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # an address keeps where it leads
    spec = pickle.loads(storage).kvstore("0")
    assert spec["endpoint"] == "http://other:9000"
    assert spec["aws_region"] == "eu-west-1"
    assert spec["aws_credentials"] == {"type": "environment"}
    assert spec["path"] == "a/0/"


def test_what_is_no_archive(tmp_path: Path, folder: Path) -> None:
    whole = zipped(folder, tmp_path / "whole.ozx").read_bytes()
    for name, content in {"cut": whole[:-60], "half": whole[:500], "empty": b"", "none": b"x" * 999}.items():
        (tmp_path / f"{name}.ozx").write_bytes(content)
        with pytest.raises(ReadError, match="cannot be read as a zip archive: File is not a zip file; is it"):
            storage_of(tmp_path / f"{name}.ozx").reach()
    with zipfile.ZipFile(tmp_path / "nothing.ozx", "w"):
        pass
    with pytest.raises(ReadError, match="is an empty archive"):
        storage_of(tmp_path / "nothing.ozx").reach()
    with pytest.raises(ReadError, match="No such file"):
        storage_of(tmp_path / "other.ozx").reach()
    os.mkfifo(tmp_path / "pipe.ozx")
    with pytest.raises(ReadError, match="is no file"):
        storage_of(tmp_path / "pipe.ozx").reach()
    at_start = whole.index(FILES["0/c/1/0"])
    (tmp_path / "flipped.ozx").write_bytes(whole[:at_start] + b"Q" + whole[at_start + 1 :])
    with pytest.raises(OSError, match="Bad CRC-32"):
        storage_of(tmp_path / "flipped.ozx").read("0/c/1/0", 100)


def test_an_archive_that_changes_is_read_again(tmp_path: Path, folder: Path) -> None:
    storage = storage_of(zipped(folder, tmp_path / "a.ozx"))
    assert not storage.has("new")
    with zipfile.ZipFile(tmp_path / "a.ozx", "a") as file:
        file.writestr("new", "")
    assert storage.has("new")


def test_faults_of_a_network_are_tried_again(server: S3Server, storages: dict[str, Storage]) -> None:
    storage = storages["bucket"]
    server.traffic.faults = Faults(every=2)
    try:
        assert {name: storage.read(name, 2000) for name in FILES} == FILES
        assert len(list(storage.walk("0", lambda _: True))) == 5
        assert set(server.traffic.failed) == {"503", "drop", "cut"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ngff_convert.storage_remote.RETRIES", {"max_retries": 1, "initial_delay": "1ms"})
            server.traffic.faults = Faults(every=1)
            down = storage_of(f"s3://{server.bucket}/down")
            with pytest.raises(Unreachable, match="s3://images/down: cannot be read: All 1 retry") as caught:
                down.read("zarr.json", 10)
            assert "\n" not in str(caught.value)
    finally:
        server.traffic.faults = Faults()


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("s3://no-such-bucket/a", {}, "cannot be read: NoSuchBucket"),
        ("s3://images/no/such/prefix", {}, "there is no OME-Zarr: neither zarr.json nor .zgroup"),
        ("s3://images/some/prefix", {"anonymous": "true"}, "may not be read: AccessDenied: .*credentials"),
        ("s3://images/some/prefix", {"endpoint": "http://127.0.0.1:1"}, "Could not connect"),
        ("s3://X/a", {}, "Invalid S3 bucket name"),
        ("s3://images/no.ozx", {}, "there is no OME-Zarr"),
        ("http://127.0.0.1:1/a", {}, "Could not connect"),
    ],
)
def test_what_cannot_be_reached(
    storages: dict[str, Storage], address: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ReadError, match=message) as caught:
        storage_of(address, options).reach()
    assert "\n" not in str(caught.value)
