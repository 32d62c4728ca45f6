"""Outputs in a bucket on this machine: the same bytes as in a folder, whatever fails on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tensorstore as ts
from servers import Faults, s3_server
from stores import tree

from ngff_convert import Options, array_job, convert, job_file, machine
from ngff_convert.bucket_target import BucketTarget
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, TargetError, WriteError
from ngff_convert.events import Event, Note, RegionDone
from ngff_convert.journal import JOURNAL_FOLDER
from ngff_convert.targets import target_of
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from servers import S3Server

SMALL: dict[str, Any] = {"chunks": (8, 64, 64), "memory": 12 * 2**20}


@pytest.fixture
def out(server: S3Server, request: pytest.FixtureRequest) -> str:
    """An address that no other test uses."""
    name = sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return f"s3://{server.bucket}/{name}/out.ome.zarr"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.ims"
    write_ims(path, coded_pixels((2, 1, 20, 150, 150)), chunks=(8, 64, 64))
    return path


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("expected") / "out.ome.zarr"
    convert(source, store, Options(**SMALL))
    return tree(store)


def kvstore(address: str) -> Any:
    return ts.KvStore.open(target_of(address, Options()).storage.kvstore()).result()


def keys(address: str) -> list[str]:
    return sorted(key.decode() for key in kvstore(address).list().result())


def stored(address: str) -> dict[str, str]:
    """Return every object below an address with a hash of its bytes."""
    store = kvstore(address)
    reads = {key: store.read(key) for key in keys(address)}
    return {key: sha256(read.result().value).hexdigest() for key, read in reads.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {"ngff_version": "0.4"},
        {"shards": (16, 64, 64)},
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in ({}, {"verify": "full"}, {"layout": "bioformats2raw"})
        ),
    ],
)
def test_the_objects_are_the_files_of_a_folder(
    source: Path, out: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    options = Options(**{**SMALL, **settings})
    convert(source, tmp_path / "out.ome.zarr", options)
    convert(source, out, options)
    assert stored(out) == tree(tmp_path / "out.ome.zarr")
    assert verify(str(source), out).passed
    assert not validate(out).errors


def test_the_command_line_writes_there_too(
    source: Path, out: str, expected: dict[str, str], server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    words = ["--storage-options", f"endpoint={server.endpoint}", "--storage-options", "region=us-east-1"]
    assert (
        main([str(source), out, "--chunks", "8,64,64", "--memory", "12MiB", "--verify", "full", *words]) == 0
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    assert stored(out) == expected
    assert main(["verify", str(source), out]) == 0


def test_the_metadata_of_the_root_come_last(source: Path, out: str, server: S3Server) -> None:
    del server.requests[:]
    convert(source, out, Options(**SMALL))
    puts = [r.path.partition("out.ome.zarr/")[2] for r in server.requests if r.method == "PUT"]
    assert puts[0] == ".ngff-convert-plan.json"
    assert puts[-1] == "zarr.json"
    assert puts.count("zarr.json") == 1
    assert not [key for key in keys(out) if key.startswith(".ngff-convert")]


@pytest.mark.slow
def test_nothing_is_lost_where_requests_fail(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(
        chunks=(8, 64, 64), crop=((0, 1), *[(None, None)] * 4), memory=16 * 2**20, verify="full"
    )
    convert(source, tmp_path / "out", options)
    with s3_server(tmp_path, faults=Faults(every=6)) as failing:
        for name, value in failing.environment.items():
            monkeypatch.setenv(name, value)
        address = f"s3://{failing.bucket}/failing/out.ome.zarr"
        convert(source, address, options)
        assert stored(address) == tree(tmp_path / "out")
        assert len(failing.traffic.failed) > 10


def test_an_interrupted_run_is_gone_on_with(source: Path, out: str, expected: dict[str, str]) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and event.region == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, out, Options(**SMALL), stop)
    assert "zarr.json" not in keys(out)
    events: list[Event] = []
    report = convert(source, out, Options(**SMALL), events.append)
    assert report.kept_bytes > 0
    assert any(isinstance(e, Note) and "taken up" in e.message for e in events)
    assert stored(out) == expected


def test_a_killed_run_is_no_store_and_is_gone_on_with(
    source: Path, out: str, expected: dict[str, str], server: S3Server
) -> None:
    words = ["--chunks", "8,64,64", "--memory", "12MiB", "--workers", "1"]
    command = [sys.executable, "-m", "ngff_convert", str(source), out, *words]
    process = subprocess.Popen(command, env={**os.environ, **server.environment}, stderr=subprocess.DEVNULL)
    while not [key for key in keys(out) if "/c/" in key] and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = keys(out)
    assert ".ngff-convert-plan.json" in left
    assert "zarr.json" not in left
    convert(source, out, Options(**SMALL))
    assert stored(out) == expected


def test_what_is_there_is_kept_unless_it_is_to_be_replaced(source: Path, out: str, tmp_path: Path) -> None:
    convert(source, out, Options(**SMALL))
    before = stored(out)
    with pytest.raises(TargetError, match="exists already; use --overwrite"):
        convert(source, out, Options(chunks=(4, 64, 64)))
    (tmp_path / "no.ims").write_bytes(b"no image")
    assert main([str(tmp_path / "no.ims"), out, "--overwrite"]) in (3, 4)
    assert stored(out) == before
    options = Options(chunks=(4, 64, 64), overwrite=True)
    convert(source, out, options)
    convert(source, tmp_path / "out", options)
    assert stored(out) == tree(tmp_path / "out")


@pytest.mark.parametrize("stopped_at", ["journal", "root"])
def test_a_run_killed_at_its_end_leaves_a_store_that_is_not_replaced(
    source: Path, out: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    def killed(self: BucketTarget) -> None:
        if stopped_at == "journal":
            self.storage.remove(JOURNAL_FOLDER)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BucketTarget, "tidy", killed)
        with pytest.raises(KeyboardInterrupt):
            convert(source, out, Options(**SMALL))
    with pytest.raises(TargetError, match="exists already"):
        convert(source, out, Options(chunks=(4, 16, 16)))
    assert stored(out) == expected


@pytest.mark.slow
def test_a_run_killed_while_it_removes_the_old_store_can_be_gone_on_with(
    source: Path, out: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(source, out, Options(chunks=(4, 16, 16)))

    def killed(self: BucketTarget) -> None:
        self.storage.remove("zarr.json")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BucketTarget, "_clear", killed)
        with pytest.raises(KeyboardInterrupt):
            convert(source, out, Options(**SMALL, overwrite=True))
    convert(source, out, Options(**SMALL))
    assert stored(out) == expected


def test_the_input_is_not_in_the_output(out: str) -> None:
    for source in (f"{out}/in.ims", out, f"{out}/"):
        with pytest.raises(TargetError, match="is, or holds, the input"):
            target_of(out, Options()).check(source)


def test_a_key_without_a_name_is_refused(source: Path, server: S3Server) -> None:
    for address in (f"s3://{server.bucket}//out.ome.zarr", f"s3://{server.bucket}/a//out.ome.zarr"):
        with pytest.raises(OptionError, match="an empty name between two slashes"):
            convert(source, address)


def test_what_is_no_store_is_never_replaced(source: Path, out: str) -> None:
    kvstore(out).write("thesis.docx", b"four years of work").result()
    with pytest.raises(TargetError, match="not an OME-Zarr store"):
        convert(source, out, Options(overwrite=True))
    assert keys(out) == ["thesis.docx"]


def test_a_neighbour_of_the_same_beginning_is_not_touched(source: Path, out: str) -> None:
    kvstore(f"{out}2").write("zarr.json", b"{}").result()
    convert(source, out, Options(**SMALL))
    convert(source, out, Options(**SMALL, overwrite=True))
    assert keys(f"{out}2") == ["zarr.json"]


def test_another_conversion_is_refused_until_it_is_thrown_away(
    source: Path, out: str, expected: dict[str, str]
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RegionDone) and event.region == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, out, Options(chunks=(4, 16, 16), memory=12 * 2**20), stop)
    with pytest.raises(TargetError, match="--chunks is"):
        convert(source, out, Options(**SMALL))
    convert(source, out, Options(**SMALL, restart=True))
    assert stored(out) == expected


def test_of_two_conversions_one_is_refused_before_anything_is_finished(
    source: Path, out: str, expected: dict[str, str]
) -> None:
    def meanwhile(event: Event) -> None:
        if isinstance(event, RegionDone) and event.region == 0:
            with pytest.raises(TargetError, match="is the work of another conversion: --chunks"):
                convert(source, out, Options(chunks=(4, 16, 16), memory=12 * 2**20))

    convert(source, out, Options(**SMALL), meanwhile)
    assert stored(out) == expected


def test_a_run_whose_work_was_thrown_away_gives_up(source: Path, out: str) -> None:
    other = Options(**SMALL, name="other", restart=True)

    def stop(event: Event) -> None:
        if isinstance(event, RegionDone):
            raise KeyboardInterrupt

    def meanwhile(event: Event) -> None:
        if isinstance(event, RegionDone) and event.region == 0:
            with pytest.raises(KeyboardInterrupt):
                convert(source, out, other, stop)

    with pytest.raises(TargetError, match="this one gives up"):
        convert(source, out, Options(**SMALL), meanwhile)
    assert "zarr.json" not in keys(out)


def test_of_two_that_begin_at_once_one_gets_it(out: str) -> None:
    storage: Any = target_of(out, Options()).storage
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: storage.claim("claim", b"%d" % n), range(8)))
    assert got.count(True) == 1
    assert storage.read("claim", 10) == b"%d" % got.index(True)
    assert not storage.claim("claim", b"9")


def test_parts_are_done_by_any_process(source: Path, out: str, expected: dict[str, str]) -> None:
    job = array_job.plan(source, out, 3, Options(**SMALL), lambda _: None)
    resources = machine.resources()
    for part in (3, 1):
        array_job.run(job, part, resources, lambda _: None)
    assert array_job.status(job).undone == [2]
    with pytest.raises(TargetError, match="1 of 3 parts are not done: 2"):
        array_job.finish(job, Options(), lambda _: None)
    array_job.run(job, 2, resources, lambda _: None)
    array_job.finish(job, Options(), lambda _: None)
    assert stored(out) == expected


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("s3://no-such-bucket/out.ome.zarr", WriteError, "no-such-bucket"),
        ("s3://images", OptionError, "name the store in it"),
        ("https://host/out.ome.zarr", OptionError, "nothing can be written there"),
    ],
)
def test_where_nothing_can_be_written_is_told(
    source: Path, server: S3Server, address: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        convert(source, address, Options(**SMALL))


def test_no_secret_is_written_anywhere(source: Path, out: str, server: S3Server, tmp_path: Path) -> None:
    job = array_job.plan(source, out, 2, Options(**SMALL), lambda _: None)
    job_file.save(job, tmp_path / "job.json")
    array_job.run(job, 1, machine.resources(), lambda _: None)
    store = kvstore(out)
    everything = [store.read(key).result().value for key in keys(out)] + [
        (tmp_path / "job.json").read_bytes()
    ]
    secret = server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    assert not [content for content in everything if secret in content]
    assert json.loads((tmp_path / "job.json").read_bytes())["target"] == out


def test_the_commands_of_the_readme(
    source: Path, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = text.partition("\n### Into a bucket\n")[2].split("```")[1]
    shutil.copy(source, tmp_path / "in.ims")
    monkeypatch.chdir(tmp_path)
    commands = block.strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        assert main(command.replace("BUCKET", server.bucket).split()[1:]) == 0
