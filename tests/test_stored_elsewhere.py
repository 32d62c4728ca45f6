"""`verify` and `validate` of stores in a bucket, in an archive and on a web server: as of the same folder."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from foreign_stores import WRITERS
from remote_stores import put, upload
from servers import Faults, http_files, s3_server
from test_storage import zipped
from verified import CASES, Case, converted, ims, two_images

from ngff_convert import Options
from ngff_convert.cli import main
from ngff_convert.errors import ReadError, UnsupportedInput, VerificationError
from ngff_convert.validate import RULES, Validation, validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import S3Server

LAYOUTS = {
    "0.5": CASES["ims"],
    "0.4": CASES["ims, 0.4"],
    "shards": CASES["ims, shards"],
    "two images": Case(two_images),
    "two images, 0.4": CASES["two images, the other way round"],
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Return a source and its store of each layout; not to be changed."""
    found = {}
    for name, case in LAYOUTS.items():
        source, store, _ = converted(tmp_path_factory.mktemp("sound"), case)
        found[name] = source, store
    return found


def elsewhere(kind: str, server: S3Server, store: Path, name: str) -> str:
    """Copy a store to where it is to be read, under a name that was not used before."""
    prefix = f"{name.replace(' ', '-')}/out.ome.zarr"
    if kind == "bucket":
        upload(server, store, prefix)
        return f"s3://{server.bucket}/{prefix}"
    archive = zipped(store, store.parent / "out.ozx")
    if kind == "archive":
        return str(archive)
    put(server, f"{prefix}.ozx", archive.read_bytes())
    return f"s3://{server.bucket}/{prefix}.ozx"


PLACES = ("bucket", "archive", "archive in a bucket")


def nameless(text: str) -> str:
    """Return what tensorstore says of a file without how it calls the file."""
    return re.sub(r'(local file )?"[^"]*"( in local file "[^"]*")?', "a file", text)


def of_the_store(result: Validation) -> list[tuple[str, ...]]:
    """Return what was found but for what concerns an archive alone."""
    return sorted(
        (finding.grade, finding.path, finding.rule, nameless(finding.message))
        for finding in result.findings
        if not finding.rule.startswith("archive-")
    )


# -- sound stores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        *product(LAYOUTS, ["archive"]),
        *(("0.5", "bucket"), ("two images, 0.4", "bucket"), ("shards", "archive in a bucket")),
        *(
            pytest.param(*these, marks=pytest.mark.slow)
            for these in [
                *product(("0.4", "shards", "two images"), ["bucket"]),
                *product(("0.5", "0.4", "two images", "two images, 0.4"), ["archive in a bucket"]),
            ]
        ),
    ],
)
def test_a_sound_store(
    server: S3Server, sound: dict[str, tuple[Path, Path]], layout: str, place: str
) -> None:
    source, store = sound[layout]
    address = elsewhere(place, server, store, f"sound {layout}")
    here, there = verify(source, store), verify(source, address)
    assert there.passed
    assert there.images == here.images
    assert there.store == address
    deep = validate(address, deep=True)
    assert of_the_store(deep) == of_the_store(validate(store, deep=True)) == []
    counts = ("version", "images", "levels", "chunks", "stored", "decoded")
    assert [getattr(deep, key) for key in counts] == [
        getattr(validate(store, deep=True), key) for key in counts
    ]
    shallow = of_the_store(validate(address))
    assert [rule for _, _, rule, _ in shallow] == ([] if place == "archive" else ["chunks-unlisted"])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", WRITERS)
def test_stores_of_other_programs(server: S3Server, tmp_path: Path, kind: str, version: str) -> None:
    store = tmp_path / "store"
    WRITERS[kind](store, version)
    for place in PLACES:
        address = elsewhere(place, server, store, f"{kind} {version}")
        result, expected = validate(address, deep=True), validate(store, deep=True)
        assert of_the_store(result) == []
        counts = ("images", "plates", "wells", "labels", "levels", "chunks", "stored", "decoded")
        assert [getattr(result, n) for n in counts] == [getattr(expected, n) for n in counts]


def test_a_web_server_lists_nothing_but_all_is_compared(sound: dict[str, tuple[Path, Path]]) -> None:
    for source, store in sound.values():
        with http_files(store.parent) as web:
            address = f"{web.url}/{store.name}"
            assert verify(source, address).images == verify(source, store).images
            expected = validate(store, deep=True)
            result = validate(address, deep=True)
            unlisted = [f.path for f in result.findings if f.rule == "chunks-unlisted"]
            assert len(unlisted) == len(set(unlisted)) == expected.levels
            others = {finding.rule for finding in result.findings} - {"chunks-unlisted"}
            assert others == (set() if expected.images == 1 else {"image-unlisted"})
            assert (result.decoded, result.chunks) == (expected.decoded, 0)


def test_the_second_image_is_lost_on_a_web_server(
    sound: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    source, sound_store = sound["two images"]
    store = tmp_path / "out"
    shutil.copytree(sound_store, store)
    shutil.rmtree(store / "1")
    with http_files(tmp_path) as web, pytest.raises(UnsupportedInput) as caught:
        verify(source, f"{web.url}/out")
    with pytest.raises(UnsupportedInput) as expected:
        verify(source, store)
    assert str(caught.value).replace(f"{web.url}/out", "") == str(expected.value).replace(str(store), "")


# -- faults ------------------------------------------------------------------------------------------------


def chunk_file(store: Path) -> Path:
    """Return a file of chunks of the first level."""
    files = [path for path in (store / "0").rglob("*") if path.is_file() and path.name.isdecimal()]
    return max(files, key=lambda path: (path.stat().st_size, path))


def flip(store: Path) -> None:
    path = chunk_file(store)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def altered(store: Path) -> None:
    import zarr

    array = zarr.open_array(store / "0", mode="r+")
    array[..., 3, 5] = 1


def emptied(store: Path) -> None:
    chunk_file(store).write_bytes(b"")


def cut(store: Path) -> None:
    path = chunk_file(store)
    path.write_bytes(path.read_bytes()[:-9])


def strayed(store: Path) -> None:
    (store / "0" / "junk" / "deep").mkdir(parents=True)
    (store / "0" / "junk" / "deep" / "er").write_text("?")
    (store / "0" / "note.txt").write_text("?")


def unlisted(store: Path) -> None:
    shutil.copytree(store / "0", store / "labels" / "0")
    for name in ("zarr.json", ".zgroup", ".zattrs"):
        if (store / name).exists():
            shutil.copy(store / name, store / "labels" / name)


def no_json(store: Path) -> None:
    for path in (*store.glob("1/zarr.json"), *store.glob("1/.zarray")):
        path.write_text("{")


FAULTS: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "a missing chunk": lambda store: chunk_file(store).unlink(),
    "other pixels": altered,
    "an empty chunk": emptied,
    "a chunk that is cut": cut,
    "strays": strayed,
    "a group that nothing lists": unlisted,
    "no JSON": no_json,
    "a missing level": lambda store: shutil.rmtree(store / "1"),
}


def compared(source: Path, store: str) -> Any:
    """Return every difference, or why the store cannot be compared."""
    try:
        differences = verify(source, store).differences
    except VerificationError as error:
        return str(error).replace(store, "")
    return [replace(difference, reason=nameless(difference.reason)) for difference in differences]


DEFAULT = [
    *(("0.5", fault) for fault in ("a flipped bit", "a missing level", "no JSON")),
    *(("0.4", "other pixels"), ("shards", "a flipped bit"), ("two images", "a missing chunk")),
]
EVERY = [
    *(("0.5", fault) for fault in FAULTS),
    *product(("0.4", "shards", "two images"), ("a flipped bit", "a missing chunk", "other pixels")),
]


@pytest.mark.parametrize(
    ("layout", "fault"),
    [pytest.param(*these, marks=[pytest.mark.slow] * (these not in DEFAULT)) for these in EVERY],
)
def test_a_fault_is_found_with_the_same_words(
    server: S3Server, sound: dict[str, tuple[Path, Path]], tmp_path: Path, layout: str, fault: str
) -> None:
    source, sound_store = sound[layout]
    store = tmp_path / "out.ome.zarr"
    shutil.copytree(sound_store, store)
    FAULTS[fault](store / "0" if layout == "two images" else store)
    findings, expected = of_the_store(validate(store, deep=True)), compared(source, str(store))
    assert findings or expected, "the fault is none"
    for place in ("bucket", "archive"):
        address = elsewhere(place, server, store, f"{layout} {fault}")
        assert of_the_store(validate(address, deep=True)) == findings
        assert compared(source, address) == expected


def test_a_second_image_that_nothing_lists(
    server: S3Server, sound: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    source, sound_store = sound["two images"]
    store = tmp_path / "out"
    shutil.copytree(sound_store, store)
    path = store / "OME" / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["ome"]["series"] = ["0"]
    path.write_text(json.dumps(document))
    expected = of_the_store(validate(store))
    assert [rule for _, _, rule, _ in expected] == ["image-unlisted", "ome-xml-images"] or expected
    for place in PLACES:
        address = elsewhere(place, server, store, "unlisted image")
        found = [item for item in of_the_store(validate(address)) if item[2] != "chunks-unlisted"]
        assert found == expected
        with pytest.raises(VerificationError, match="leaves out the image 1, which is there"):
            verify(source, address)


def test_a_bucket_that_may_not_be_listed(
    server: S3Server, sound: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> list[str]:
        raise PermissionError("AccessDenied")

    source, store = sound["two images"]
    address = elsewhere("bucket", server, store, "denied")
    monkeypatch.setattr("ngff_convert.storage_remote.Remote._keys", denied)
    assert verify(source, address).images == verify(source, store).images
    expected, result = validate(store, deep=True), validate(address, deep=True)
    assert {finding.rule for finding in result.findings} == {"chunks-unlisted", "image-unlisted"}
    assert result.decoded == expected.decoded


# -- networks ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_faults_of_the_network_change_nothing(server: S3Server, sound: dict[str, tuple[Path, Path]]) -> None:
    source, store = sound["shards"]
    address = elsewhere("bucket", server, store, "faulty network")
    server.traffic.failed.clear()
    server.traffic.faults = Faults(every=4)
    try:
        assert verify(source, address).images == verify(source, store).images
        assert of_the_store(validate(address, deep=True)) == []
        assert set(server.traffic.failed) == {"503", "drop", "cut"}
    finally:
        server.traffic.faults = Faults()


@pytest.mark.parametrize("after", [6, 30, 60])
def test_a_network_that_goes_down_is_no_fault_of_the_store(
    server: S3Server, sound: dict[str, tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    source, store = sound["0.5"]
    address = elsewhere("bucket", server, store, f"down after {after}")
    monkeypatch.setattr("ngff_convert.storage_remote.RETRIES", {"max_retries": 1, "initial_delay": "1ms"})
    traffic, original = server.traffic, server.traffic.next_fault
    start = 0

    def goes_down() -> str:
        original()
        return "drop" if len(traffic.requests) - start >= after else ""

    runs: list[Callable[[], object]] = [
        lambda: verify(source, address),
        lambda: validate(address, deep=True),
    ]
    for run in runs:
        start = len(traffic.requests)
        with monkeypatch.context() as patch:
            patch.setattr(traffic, "next_fault", goes_down)
            with pytest.raises(ReadError, match=r"^s3://.*: cannot be read: .*retry") as caught:
                run()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "extra", "message"),
    [
        ("s3://no-such-bucket/a", [], "NoSuchBucket"),
        ("s3://images/no/such/prefix", [], "there is no OME-Zarr"),
        ("s3://images/x", ["--storage-options", "anonymous=true"], "may not be read: AccessDenied"),
        ("s3://images/x", ["--storage-options", "endpoint=http://127.0.0.1:1"], "Could not connect"),
    ],
)
def test_the_commands_end_with_one_line(
    server: S3Server,
    sound: dict[str, tuple[Path, Path]],
    capfd: pytest.CaptureFixture[str],
    address: str,
    extra: list[str],
    message: str,
) -> None:
    for words in (["validate", address], ["verify", str(sound["0.5"][0]), address]):
        assert main([*words, *extra]) == 3
        (line,) = capfd.readouterr().err.splitlines()
        assert message in line


def commands_of_the_readme() -> list[list[str]]:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = text.partition("Both take a folder, an `.ozx` archive")[2].split("```")[1]
    return [line.split() for line in block.strip().splitlines()]


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ims(tmp_path, shape=(1, 1, 9, 70, 90))
    monkeypatch.chdir(tmp_path)
    assert main(["in.ims", "out.ome.zarr"]) == 0
    packed(Path("out.ome.zarr"), Path("out.ozx"))
    with s3_server(tmp_path / "s3", public=True) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        upload(server, Path("out.ome.zarr"), "out.ome.zarr")
        endpoint = server.endpoint
        for _, *words in commands_of_the_readme():
            told = [
                w.replace("BUCKET", server.bucket).replace("http://127.0.0.1:9000", endpoint) for w in words
            ]
            if f"endpoint={endpoint}" in told:
                monkeypatch.delenv("AWS_ENDPOINT_URL")
                told += ["--report", "report.json"]
            assert main(told) == 0
    assert "test-secret" not in Path("report.json").read_text()


# -- archives ----------------------------------------------------------------------------------------------


def packed(store: Path, archive: Path, *, comment: bytes | None = None, **settings: Any) -> Path:
    """Pack a store as RFC-9 has it."""
    files = [path for path in store.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.name != "zarr.json", len(path.parts), str(path)))
    with zipfile.ZipFile(archive, "w", **settings) as file:
        for path in files:
            file.write(path, path.relative_to(store))
        file.comment = b'{"ome": {"version": "0.5"}}' if comment is None else comment
    return archive


def archive_findings(path: Path) -> list[tuple[str, str]]:
    found = [(finding.grade, finding.rule) for finding in validate(path, deep=True).findings]
    return [item for item in found if item != ("warning", "archive-zip64")]


def test_how_an_archive_is_packed(sound: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    _, store = sound["0.5"]
    assert archive_findings(packed(store, tmp_path / "good.ozx")) == []
    plain = validate(tmp_path / "good.ozx").findings
    assert [finding.rule for finding in plain] == ["archive-zip64"]
    assert archive_findings(packed(store, tmp_path / "name.zip")) == [("warning", "archive-name")]
    deflated = packed(store, tmp_path / "deflated.ozx", compression=zipfile.ZIP_DEFLATED)
    assert archive_findings(deflated) == [("warning", "archive-compression")]
    for comment in (b"", b"{", b"[1]", b'{"ome": {"version": "0.4"}}', b"\xff", b"[" * 9999):
        path = packed(store, tmp_path / "comment.ozx", comment=comment)
        assert archive_findings(path) == [("warning", "archive-comment")]
    ended = packed(store, tmp_path / "ended.ozx", comment=b'{"ome": {"version": "0.5"}}\0')
    assert archive_findings(ended) == []
    last = zipped(store, tmp_path / "last.ozx")
    assert ("warning", "archive-order") in archive_findings(last)
    with zipfile.ZipFile(last, "a") as file:
        said = {"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}}
        file.comment = json.dumps(said).encode()
    assert archive_findings(last) == [("warning", "archive-order"), ("error", "archive-order")]
    old = packed(sound["0.4"][1], tmp_path / "old.ozx", comment=b'{"ome": {"version": "0.4"}}')
    assert archive_findings(old) == [("warning", "archive-root")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_lead_astray(sound: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    source, store = sound["0.5"]
    path = packed(store, tmp_path / "twice.ozx")
    with zipfile.ZipFile(path, "a") as file:
        file.write(chunk_file(store), chunk_file(store).relative_to(store))
        file.writestr("inner.ozx", b"PK")
        file.writestr("../outside", b"never written anywhere")
    found = archive_findings(path)
    assert ("error", "archive-twice") in found
    assert ("error", "archive-nested") in found
    with pytest.raises(VerificationError, match=r"cannot be opened: .*Duplicate filename"):
        verify(source, path)


def test_an_archive_with_zip64_records(sound: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    from ngff_convert.archive import pack

    source, store = sound["0.5"]
    whole = pack(store, tmp_path / "out.ozx")
    assert isinstance(whole.half, Path)
    assert validate(tmp_path / "out.ozx", deep=True).findings == ()
    assert verify(source, tmp_path / "out.ozx").passed


def test_a_damaged_archive(
    sound: dict[str, tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, store = sound["0.5"]
    whole = packed(store, tmp_path / "out.ozx").read_bytes()
    (tmp_path / "cut.ozx").write_bytes(whole[: len(whole) // 2])
    at = whole.index(b'"zarr_format"')
    (tmp_path / "flipped.ozx").write_bytes(whole[:at] + b"'" + whole[at + 1 :])
    for name, code in (("cut", 3), ("flipped", 8)):
        for words in (["validate"], ["verify", str(source)]):
            assert main([*words, str(tmp_path / f"{name}.ozx")]) == code
            assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_rule_of_archives_has_a_test() -> None:
    tested = {"name", "root", "order", "compression", "comment", "zip64", "nested", "twice", "unchecked"}
    assert {f"archive-{rule}" for rule in tested} == {rule for rule in RULES if rule.startswith("archive-")}


def test_the_form_of_an_archive_elsewhere_is_not_checked(
    server: S3Server, sound: dict[str, tuple[Path, Path]]
) -> None:
    address = elsewhere("archive in a bucket", server, sound["0.5"][1], "form")
    result = validate(address, deep=True)
    assert [finding.rule for finding in result.findings] == ["archive-unchecked"]


def test_the_options_of_the_storage_are_for_the_store(
    server: S3Server, sound: dict[str, tuple[Path, Path]]
) -> None:
    source, store = sound["0.5"]
    address = elsewhere("bucket", server, store, "options")
    with pytest.raises(ReadError, match="may not be read"):
        verify(source, address, Options(storage_options=(("anonymous", "true"),)))
    assert verify(source, store, Options(storage_options=(("anonymous", "true"),))).passed
