from __future__ import annotations

import json
import pickle
import shutil
from typing import TYPE_CHECKING, Any

import foreign_stores
import numpy as np
import pytest
from remote_stores import upload
from servers import Faults, http_files, s3_server
from stores import tree

import ngff_convert
from ngff_convert import Options, convert, resume, storage_remote
from ngff_convert.cli import main
from ngff_convert.errors import ConversionError, ReadError, TargetError, UnsupportedInput
from ngff_convert.readers import registry, urls
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import HttpFiles, S3Server

SHAPE = (1, 2, 8, 60, 70)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image of 0.4, one in shards, and one in an archive."""
    folder = tmp_path / "served"
    folder.mkdir()
    write_ims(tmp_path / "in.ims", coded_pixels(SHAPE), voxel_zyx=(2.0, 0.5, 0.25), name="cells")
    for name, options in (
        ("a.ome.zarr", Options(ngff_version="0.4", chunks=(4, 32, 32))),
        ("b.ome.zarr", Options(chunks=(4, 16, 16), shards=(8, 32, 32))),
        ("c.ozx", Options()),
    ):
        convert(tmp_path / "in.ims", folder / name, options)
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[HttpFiles]:
    with http_files(folder) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def credentials(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.zarr/", "b.ome.zarr", "c.ozx"])
def test_the_output_is_that_of_the_local_store(
    tmp_path: Path, folder: Path, server: HttpFiles, name: str
) -> None:
    convert(f"{server.url}/{name}", tmp_path / "remote.ome.zarr")
    convert(folder / name.rstrip("/"), tmp_path / "local.ome.zarr")
    assert tree(tmp_path / "remote.ome.zarr") == tree(tmp_path / "local.ome.zarr")


def test_only_chunks_of_a_part_are_asked_for(tmp_path: Path, server: HttpFiles) -> None:
    crop = ((None, None), (1, 2), (0, 4), (0, 32), (0, 32))
    convert(f"{server.url}/a.ome.zarr", tmp_path / "out.ome.zarr", Options(crop=crop, levels=1))
    chunks = [r.path for r in server.requests if "/0/" in r.path and r.path[-1].isdigit()]
    assert chunks == ["/a.ome.zarr/0/1/0/0/0"]


@pytest.mark.usefixtures("credentials")
def test_a_bucket(tmp_path: Path, folder: Path, bucket: S3Server) -> None:
    upload(bucket, folder / "b.ome.zarr", "images/b.ome.zarr")
    where = f"s3://{bucket.bucket}/images/b.ome.zarr"
    convert(where, tmp_path / "out.ome.zarr", Options(ngff_version="0.4", verify="full"))
    convert(folder / "b.ome.zarr", tmp_path / "local.ome.zarr", Options(ngff_version="0.4"))
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "local.ome.zarr")
    assert verify(where, tmp_path / "out.ome.zarr").passed
    convert(where, f"s3://{bucket.bucket}/images/c.ome.zarr", Options(chunks=(8, 64, 64)))
    assert verify(folder / "b.ome.zarr", f"s3://{bucket.bucket}/images/c.ome.zarr").passed
    for place in (where, f"{where}/more.ome.zarr", f"s3://{bucket.bucket}/images"):
        with pytest.raises(TargetError, match=r"the input"):
            convert(where, place, Options(overwrite=True))


@pytest.mark.usefixtures("credentials")
def test_a_plate_in_a_bucket(tmp_path: Path, bucket: S3Server) -> None:
    foreign_stores.write_plate(tmp_path / "plate.zarr", "0.5")
    upload(bucket, tmp_path / "plate.zarr", "plate.zarr")
    with ngff_convert.open(f"s3://{bucket.bucket}/plate.zarr") as source:
        assert [image.name for image in source.images][1:3] == ["A01 field 1", "B02 field 0"]
        assert [path.rpartition("plate.zarr/")[2] for path in source.paths] == [
            "A/1/zarr.json",
            "B/2/zarr.json",
            "zarr.json",
        ]
    field = f"s3://{bucket.bucket}/plate.zarr/B/2/1"
    with ngff_convert.open(field) as source:
        np.testing.assert_array_equal(source.images[0].pixels[:], foreign_stores.pixels()[None])


def test_facts_are_those_of_the_metadata(folder: Path, server: HttpFiles) -> None:
    with ngff_convert.open(f"{server.url}/a.ome.zarr") as source:
        paths = list(source.paths)
    names = [path.removeprefix(f"{server.url}/a.ome.zarr/") for path in paths]
    assert names == [".zattrs", "0/.zarray", "1/.zarray", "2/.zarray", "OME/.zattrs", "OME/METADATA.ome.xml"]
    facts = [resume.facts(path) for path in pickle.loads(pickle.dumps(paths))]
    assert [fact.size for fact in facts] == [(folder / "a.ome.zarr" / name).stat().st_size for name in names]
    resume.check_unchanged(facts)
    text = (folder / "a.ome.zarr" / ".zattrs").read_text()
    (folder / "a.ome.zarr" / ".zattrs").write_text(text.replace("cells", "cellx"))
    with pytest.raises(ReadError, match=r"\.zattrs: was changed while it was read"):
        resume.check_unchanged(facts)


def test_an_interrupted_conversion_goes_on(tmp_path: Path, server: HttpFiles) -> None:
    out = tmp_path / "out.ome.zarr"
    options = Options(chunks=(1, 16, 16), workers=1, memory=2**24)

    def stop(event: Any) -> None:
        if type(event).__name__ == "RegionDone":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(f"{server.url}/a.ome.zarr", out, options, stop)
    notes: list[str] = []
    convert(f"{server.url}/a.ome.zarr", out, options, lambda event: notes.append(str(event)))
    assert any("an unfinished conversion is taken up" in note for note in notes)
    with ngff_convert.open(out) as source:
        np.testing.assert_array_equal(source.images[0].pixels[:], coded_pixels(SHAPE))


def test_a_server_that_dies_is_no_damage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        storage_remote, "RETRIES", {"max_retries": 1, "initial_delay": "1ms", "max_delay": "1ms"}
    )
    with http_files(folder) as server:
        opened = ngff_convert.open(f"{server.url}/a.ome.zarr")
    with opened as source, pytest.raises(ConversionError, match="cannot be read") as raised:
        _ = source.images[0].pixels[:]
    assert raised.value.exit_code == 3
    assert not isinstance(raised.value, ReadError)  # which --on-error fill would fill


def test_faults_lose_nothing(tmp_path: Path, folder: Path) -> None:
    with http_files(folder, faults=Faults(every=5)) as server:
        convert(f"{server.url}/a.ome.zarr", tmp_path / "out.ome.zarr")
        assert server.traffic.failed
    with ngff_convert.open(tmp_path / "out.ome.zarr") as source:
        np.testing.assert_array_equal(source.images[0].pixels[:], coded_pixels(SHAPE))


def test_what_is_not_there(server: HttpFiles, folder: Path) -> None:
    with pytest.raises(ReadError, match=r"nowhere\.zarr: there is no OME-Zarr"):
        ngff_convert.open(f"{server.url}/nowhere.zarr")
    (folder / "broken.ozx").write_bytes(b"PK, but no archive")
    with pytest.raises(ReadError, match=r"broken\.ozx"):
        ngff_convert.open(f"{server.url}/broken.ozx")
    with pytest.raises(UnsupportedInput, match="is a Zarr array"):
        ngff_convert.open(f"{server.url}/a.ome.zarr/0")
    (folder / "a.ome.zarr" / "0" / ".zarray").write_text("{}")
    with pytest.raises(ReadError, match="metadata are damaged"):
        ngff_convert.open(f"{server.url}/a.ome.zarr")


def test_a_store_of_another_name_takes_the_reader(folder: Path, server: HttpFiles) -> None:
    shutil.move(folder / "a.ome.zarr", folder / "6001240")
    with ngff_convert.open(f"{server.url}/6001240", reader="ome-zarr") as source:
        assert source.images[0].name == "cells"


def test_nothing_is_asked_for_to_recognise_a_store(server: HttpFiles) -> None:
    assert registry.pick(f"{server.url}/a.ome.zarr/B/2/0").name == "ome-zarr"
    assert registry.pick(f"{server.url}/c.ozx?key=1").name == "ome-zarr"
    assert not server.requests


@pytest.mark.parametrize(
    ("url", "is_store"),
    [
        ("s3://bucket/a.ome.zarr", True),
        ("s3://bucket/A.ZARR/", True),
        ("s3://a.zarr/b.ims", False),
        ("https://host.zarr/b.ims", False),
        ("https://host/b.ims?of=a.zarr", False),
        ("https://host/a.zarr/0/?key=x/y", True),
        ("gs://bucket/a.ozx", True),
        ("gs://bucket/a.ozx/b.tif", False),
    ],
)
def test_names_of_stores(url: str, is_store: bool) -> None:
    assert urls.is_store(url) is is_store


def test_a_query_stays_secret_and_in_use(folder: Path, server: HttpFiles, tmp_path: Path) -> None:
    del folder
    where = f"{server.url}/a.ome.zarr/?signature=s1gned"
    notes: list[str] = []
    convert(where, tmp_path / "out.ome.zarr", Options(), lambda event: notes.append(repr(event)))
    assert "s1gned" not in "".join(notes)
    assert not any(b"s1gned" in p.read_bytes() for p in tmp_path.glob("out*/**/*") if p.is_file())
    assert all("signature=s1gned" in request.path for request in server.requests)
    with ngff_convert.open(where) as source:
        assert not any("s1gned" in path for path in source.paths)


def test_the_command_inspects(server: HttpFiles, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", f"{server.url}/a.ome.zarr", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["name"] == "cells"
