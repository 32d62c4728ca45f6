"""Stores that were made to do harm: nothing outside is read, nothing hangs, memory stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from foreign_stores import chunk, edit, edit_ome, write_collection, write_image, write_plate

from ngff_convert.errors import UnsupportedInput
from ngff_convert.validate import Validation, validate
from ngff_convert.validation import holes, nodes
from ngff_convert.validation.findings import LONGEST_MESSAGE, MAX_OF_A_RULE

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("0.4", "0.5", "0.6")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path, version: str) -> Path:
    write_image(tmp_path / "store", version)
    return tmp_path / "store"


def found(result: Validation) -> list[tuple[str, str, str]]:
    return [(finding.grade, finding.path, finding.rule) for finding in result.findings]


def array_file(array: Path, version: str) -> Path:
    return array / (".zarray" if version == "0.4" else "zarr.json")


def attributes_file(group: Path, version: str) -> Path:
    return group / (".zattrs" if version == "0.4" else "zarr.json")


# -- links and paths that lead out -------------------------------------------------------------------------


def test_a_level_behind_a_link_that_leads_out_is_not_read(store: Path) -> None:
    (store / "2").rename(store.parent / "outside")
    (store / "2").symlink_to(store.parent / "outside")
    result = validate(store, deep=True)
    assert found(result) == [("error", "2", "link")]
    assert result.levels == 5


@pytest.mark.parametrize("target", ["outside", "nowhere", "loop", "."])
def test_a_chunk_behind_a_link_that_leads_out_is_not_read(store: Path, version: str, target: str) -> None:
    file = chunk(store / "0", version, 0, 0, 0, 0)
    file.rename(store.parent / "outside")
    file.symlink_to({"outside": store.parent / "outside", "loop": file}.get(target, file.parent / target))
    result = validate(store, deep=True)
    path = str(file.relative_to(store))
    assert ("error", path, "link") in found(result)
    assert result.stored == result.decoded == result.chunks - 1
    assert ("warning", "0", "hole-unchecked") in found(result)


def test_a_link_within_the_store_is_followed(store: Path, version: str) -> None:
    file = chunk(store / "0", version, 0, 0, 0, 0)
    file.unlink()
    file.symlink_to(chunk(store / "0", version, 1, 0, 0, 0))
    (store / "2").rename(store / "two")
    (store / "2").symlink_to("two")
    assert validate(store, deep=True).findings == ()


def test_metadata_behind_a_link_that_leads_out_are_not_read(store: Path, version: str) -> None:
    file = array_file(store / "1", version)
    file.rename(store.parent / "outside")
    file.symlink_to(store.parent / "outside")
    assert ("error", f"1/{file.name}", "json") in found(validate(store))


@pytest.mark.parametrize(
    "path", ["../other/0", "0/../../other/0", "/etc", "./0", "0//1", "", "a\0b", 7, None]
)
def test_a_path_that_leads_out_is_not_followed(store: Path, version: str, path: Any) -> None:
    write_image(store.parent / "other", version)
    edit_ome(store, version, lambda ome: ome["multiscales"][0]["datasets"][0].update(path=path))
    result = validate(store, deep=True)
    assert ("error", "", "path") in found(result)
    assert result.levels == 5


def test_a_pipe_does_not_block(store: Path, version: str) -> None:
    for file in (chunk(store / "0", version, 0, 0, 0, 0), array_file(store / "1", version)):
        file.unlink()
        os.mkfifo(file)
    result = validate(store, deep=True)
    assert ("error", str(array_file(store / "1", version).relative_to(store)), "json") in found(result)
    assert (
        "warning",
        str(chunk(store / "0", version, 0, 0, 0, 0).relative_to(store)),
        "stray-file",
    ) in found(result)


# -- metadata ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'{"a":' * 200_000, b"", b"\xff\xfe", b'{"a": 1e', b'{"a": ' + b"9" * 5000 + b"}"],
)
def test_json_that_cannot_be_read(store: Path, version: str, text: bytes) -> None:
    file = attributes_file(store / "labels", version)
    file.write_bytes(text)
    assert ("error", f"labels/{file.name}", "json") in found(validate(store))
    file = attributes_file(store, version)
    file.write_bytes(text)
    result = validate(store)
    assert found(result) == [("error", file.name, "json")]
    assert result.version is None


def test_huge_json_is_not_read(store: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_JSON_BYTES", 100_000)
    file = attributes_file(store / "labels" / "cells", version)
    edit(file, lambda document: document.update(more="x" * 100_000))
    assert ("error", f"labels/cells/{file.name}", "json") in found(validate(store))


WRONG: list[Any] = [None, "text", [{}, {}], True, -1, 1.5, [], {}, [None], [[[]]], {"a": {}}, 10**30]


@pytest.mark.parametrize(
    "value", [pytest.param(v, marks=[pytest.mark.slow] * (n > 0), id=repr(v)) for n, v in enumerate(WRONG)]
)
def test_wrong_types_anywhere_are_findings(tmp_path: Path, version: str, value: Any) -> None:
    for kind, write in (("image", write_image), ("plate", write_plate), ("collection", write_collection)):
        write(tmp_path / kind, version)
    files = [
        *(
            f
            for f in (tmp_path / "image").rglob("*")
            if f.name in ("zarr.json", ".zattrs", ".zarray", ".zgroup")
        ),
        *(attributes_file(tmp_path / "plate" / name, version) for name in ("", "A/1")),
        *(attributes_file(tmp_path / "collection" / name, version) for name in ("", "OME")),
    ]
    n_errors = 0
    for file in files:
        text = file.read_text()
        for changed in variants(json.loads(text), value):
            file.write_text(json.dumps(changed))
            try:
                n_errors += len(validate(tmp_path / file.relative_to(tmp_path).parts[0]).errors) > 0
            except UnsupportedInput:
                n_errors += 1
        file.write_text(text)
    assert n_errors > 20


def variants(document: Any, value: Any) -> list[Any]:
    """Return a document once for every place in it, with another value there."""
    found = [value]
    if isinstance(document, dict):
        for key, inner in document.items():
            found += [{**document, key: other} for other in variants(inner, value)]
    elif isinstance(document, list):
        for n, inner in enumerate(document[:2]):
            found += [[*document[:n], other, *document[n + 1 :]] for other in variants(inner, value)]
    return found


def test_findings_end_and_cannot_command_a_terminal(store: Path, version: str) -> None:
    datasets = [{"path": f"x{n}"} for n in range(500)]
    edit_ome(store, version, lambda ome: ome["multiscales"][0]["datasets"].extend(datasets))

    def spoil(ome: dict[str, Any]) -> None:
        image = ome["multiscales"][0]
        axes = image["coordinateSystems"][0]["axes"] if version == "0.6" else image["axes"]
        axes[1].update(unit="\x1b[2J\n" + "u" * 9999)

    edit_ome(store, version, spoil)
    result = validate(store)
    missing = [finding for finding in result.findings if finding.rule == "node-missing"]
    assert len(missing) == MAX_OF_A_RULE + 1
    assert missing[-1].message == "400 more of this kind are not listed"
    for finding in result.findings:
        assert finding.message.isprintable()
        assert len(finding.message) <= LONGEST_MESSAGE


def test_a_node_that_is_named_twice_is_checked_once(tmp_path: Path, version: str) -> None:
    write_collection(tmp_path / "store", version)
    edit_ome(tmp_path / "store" / "OME", version, lambda ome: ome.update(series=["0", "1"] * 1000))
    assert validate(tmp_path / "store").images == 2


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><OME>&b;</OME>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><OME>&a;</OME>',
        "<a>" * 100_000 + "</a>" * 100_000,
        "\0",
    ],
)
def test_xml_that_does_harm_is_not_parsed(tmp_path: Path, version: str, text: str) -> None:
    write_collection(tmp_path / "store", version)
    (tmp_path / "store/OME/METADATA.ome.xml").write_text(text)
    (finding,) = validate(tmp_path / "store").findings
    assert (finding.grade, finding.path, finding.rule) == ("error", "OME/METADATA.ome.xml", "ome-xml")


# -- arrays ------------------------------------------------------------------------------------------------


def change_array(array: Path, version: str, shape: list[int], chunks: list[int]) -> None:
    def change(document: dict[str, Any]) -> None:
        document["shape"] = shape
        if version == "0.4":
            document["chunks"] = chunks
        else:
            document["chunk_grid"]["configuration"]["chunk_shape"] = chunks

    edit(array_file(array, version), change)


def test_a_huge_grid_is_counted_and_not_listed(store: Path, version: str) -> None:
    for level in range(3):
        change_array(
            store / str(level), version, [2, 2**60 >> level, 40 >> level, 2**60 >> level], [1, 3, 16, 16]
        )
    result = validate(store, deep=True)
    (warning,) = [f for f in result.findings if (f.path, f.rule) == ("0", "missing-chunks")]
    total = 2 * (-(-(2**60) // 3)) * 3 * 2**56
    assert warning.message.startswith(f"{total - 12} of {total} chunk files")
    assert ("warning", "0", "hole-unchecked") in found(result)


def test_a_huge_chunk_is_not_decoded(store: Path, version: str) -> None:
    change_array(store / "0", version, [2, 3, 40, 32], [1, 2**20, 2**20, 1])
    result = validate(store, deep=True)
    if version == "0.4":  # Blosc, which is the limit
        assert ("error", "0", "chunk-size") in found(result)
    else:
        assert {("warning", "0", "chunk-size"), ("warning", "0", "array-unchecked")} <= set(found(result))
        assert not result.errors
    assert "chunk-decode" not in {rule for _, _, rule in found(result)}


@pytest.mark.parametrize(
    "shape", [[2, 3, 2**63, 32], [2, 3, -1, 32], [2, 3, 40, 32.0], [True, 3, 40, 32], [1] * 99]
)
def test_a_shape_that_cannot_be(store: Path, version: str, shape: list[Any]) -> None:
    change_array(store / "0", version, shape, [1, 3, 16, 16])
    assert ("error", "0", "array-metadata") in found(validate(store, deep=True))


@pytest.mark.parametrize("size", [2**34, 2**58])
def test_a_shard_of_endless_chunks_is_not_gone_through(tmp_path: Path, size: int) -> None:
    write_image(tmp_path / "store", "0.5", sharded=True)
    change_array(tmp_path / "store/0", "0.5", [2, 3, size, 32], [2, 3, size, 32])
    errors = {(path, rule) for _, path, rule in found(validate(tmp_path / "store", deep=True))}
    assert errors & {("0/c/0/0/0/0", "chunk-decode"), ("0", "array-metadata")}


def test_a_chunk_file_that_is_far_too_long_is_not_read(store: Path, version: str) -> None:
    file = chunk(store / "0", version, 0, 0, 0, 0)
    os.truncate(file, 2**42)  # a hole in the file: it takes no room
    (finding,) = validate(store, deep=True).findings
    assert (finding.path, finding.rule) == (str(file.relative_to(store)), "chunk-decode")
    assert "far more than its pixels take" in finding.message


def test_more_holes_than_can_be_compared(store: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "MAX_HOLES", 1)
    for x in range(2):
        chunk(store / "0", version, 0, 0, 0, x).unlink()
    assert found(validate(store, deep=True)) == [
        ("warning", "0", "missing-chunks"),
        ("warning", "0", "hole-unchecked"),
    ]


def test_deep_validation_takes_little_memory(store: Path, version: str) -> None:
    """Chunks are taken as they are needed, however many wait."""
    change_array(store / "0", version, [2, 3, 16 * 400, 32], [1, 3, 16, 16])
    folder = chunk(store / "0", version, 0, 0, 0, 0).parent.parent
    content = (folder / "0" / "0").read_bytes()
    for y in range(400):
        (folder / str(y)).mkdir(exist_ok=True)
        (folder / str(y) / "0").write_bytes(content)
    code = f"""
import resource
from ngff_convert.errors import UnsupportedInput
from ngff_convert.validate import validate
limit = 2**31
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(validate({str(store)!r}, deep=True, workers=2).decoded)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    decoded, peak_kib = map(int, result.stdout.split())
    assert decoded >= 400
    assert peak_kib < 2**20
