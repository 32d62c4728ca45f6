"""The servers of the tests do what the tests rely on: ranges, faults, a bucket."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import tensorstore as ts
from servers import SIGNED, Faults, S3Server, http_files, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BYTES = bytes(range(256)) * 8


def ask(
    url: str, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a file.bin").write_bytes(BYTES)
    (tmp_path / "secret").write_bytes(b"outside")
    return tmp_path / "web"


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        (None, 200, BYTES),
        ("bytes=3-9", 206, BYTES[3:10]),
        ("bytes=2000-", 206, BYTES[2000:]),
        ("bytes=-7", 206, BYTES[-7:]),
        ("bytes=2040-9999", 206, BYTES[2040:]),
        ("bytes=2048-2050", 416, b""),
    ],
)
def test_ranges(folder: Path, asked: str | None, status: int, expected: bytes) -> None:
    with http_files(folder) as server:
        found = ask(server.url, "/a%20file.bin", {"Range": asked} if asked else {})
        head = ask(server.url, "/a%20file.bin", method="HEAD")
    assert (found[0], found[2]) == (status, expected)
    assert head[0] == 200
    assert head[1]["Content-Length"] == str(len(BYTES))
    assert head[1]["ETag"] == found[1]["ETag"]
    assert [(r.method, r.status) for r in server.requests] == [("GET", status), ("HEAD", 200)]


def test_requests_are_logged(folder: Path) -> None:
    with http_files(folder) as server:
        ask(server.url, "/a%20file.bin?x=1", {"Range": "bytes=3-9"})
        ask(server.url, "/../secret")
    assert server.requests == [
        ("GET", "/a%20file.bin?x=1", 3, 9, 206),
        ("GET", "/../secret", None, None, 404),
    ]


def test_a_changed_file_has_another_etag(folder: Path) -> None:
    with http_files(folder) as server:
        etag = ask(server.url, "/a%20file.bin")[1]["ETag"]
        assert ask(server.url, "/a%20file.bin", {"If-Match": etag})[0] == 200
        assert ask(server.url, "/a%20file.bin", {"If-None-Match": etag})[0] == 304
        (folder / "a file.bin").write_bytes(b"other")
        assert ask(server.url, "/a%20file.bin", {"If-Match": etag})[0] == 412


def test_faults_of_files(folder: Path) -> None:
    with http_files(folder, faults=Faults(every=2)) as server:
        assert ask(server.url, "/a%20file.bin")[2] == BYTES
        status, headers, _ = ask(server.url, "/a%20file.bin")
        assert (status, headers["Retry-After"]) == (503, "0")
        assert ask(server.url, "/a%20file.bin")[2] == BYTES
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server.url, "/a%20file.bin")
        assert ask(server.url, "/a%20file.bin")[2] == BYTES
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(server.url, "/a%20file.bin")
    assert caught.value.partial == BYTES[: len(BYTES) // 2]
    assert server.traffic.failed == ["503", "drop", "cut"]
    assert [r.status for r in server.requests] == [200, 503, 200, 0, 200, 200]


def test_idle_connections_do_not_hold_the_end_up(folder: Path) -> None:
    with (
        http_files(folder) as server,
        closing(http.client.HTTPConnection(urlsplit(server.url).netloc)) as kept,
    ):
        for _ in range(2):
            kept.request("GET", "/a%20file.bin")
            assert kept.getresponse().read() == BYTES


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_server(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def bucket_of(server: S3Server) -> Any:
    spec = {"driver": "s3", "bucket": server.bucket, "endpoint": server.endpoint, "aws_region": "us-east-1"}
    return ts.KvStore.open(spec).result()


def test_a_bucket(s3: S3Server) -> None:
    store = bucket_of(s3)
    for key in ("a/b c+d", "a/e", "f"):
        store[key] = key.encode()
    assert store["a/b c+d"] == b"a/b c+d"
    assert sorted(store.list().result()) == [b"a/b c+d", b"a/e", b"f"]
    store.delete_range(ts.KvStore.KeyRange("a/", "a0")).result()
    assert store.list().result() == [b"f"]
    assert {r.method for r in s3.requests} == {"PUT", "GET", "DELETE"}


def test_a_bucket_needs_a_signature(s3: S3Server) -> None:
    assert ask(s3.endpoint, f"/{s3.bucket}/x")[0] == 403


def test_a_public_bucket_needs_none(tmp_path: Path) -> None:
    with s3_server(tmp_path, public=True) as server:
        assert ask(server.endpoint, f"/{server.bucket}/x", method="PUT", body=b"pixels")[0] == 200
        assert ask(server.endpoint, f"/{server.bucket}/x", {"Range": "bytes=1-3"})[2] == b"ixe"


def test_only_one_writer_makes_a_key(s3: S3Server) -> None:
    key, signed = f"/{s3.bucket}/claim", {"Authorization": SIGNED, "If-None-Match": "*"}
    assert ask(s3.endpoint, key, signed, "PUT", b"first")[0] == 200
    assert ask(s3.endpoint, key, signed, "PUT", b"second")[0] == 412


def test_faults_of_a_bucket(s3: S3Server) -> None:
    signed = {"Authorization": SIGNED}
    key = f"/{s3.bucket}/x"
    s3.traffic.faults = Faults(every=1, kinds=("503", "drop", "cut"))
    assert ask(s3.endpoint, key, signed, "PUT", b"first")[0] == 503
    with pytest.raises(ConnectionError):
        ask(s3.endpoint, key, signed, "PUT", b"second")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(s3.endpoint, key, signed, "PUT", b"third")
    s3.traffic.faults = Faults()
    assert ask(s3.endpoint, key, signed)[2] == b"third"


def test_the_server_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, servers\n"
        f"with servers.s3_server(pathlib.Path({str(tmp_path)!r})) as server:\n"
        "    print(server.endpoint, flush=True)\n"
        "    os._exit(3)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=60)
    assert ended.returncode == 3
    assert ended.stdout.startswith(b"http://127.0.0.1:")
