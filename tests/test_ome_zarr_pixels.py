from __future__ import annotations

import json
import os
import pickle
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from peaks import assert_within, needs_proc
from test_ome_zarr import axes, read

import ngff_convert
from ngff_convert import Codec, Options, convert
from ngff_convert.errors import ReadError, TargetError, UnsupportedInput
from ngff_convert.model import Box
from ngff_convert.readers.ome_zarr import OmeZarrReader
from ngff_convert.readers.zarr_pixels import ZarrPixels
from ngff_convert.testing import check_reader, coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

Json = dict[str, Any]
SHAPE = (5, 40, 60)
CHUNKS = (2, 16, 25)


def put(path: Path, metadata: Json, data: NDArray[Any] | None = None, letters: str = "zyx") -> NDArray[Any]:
    """Write an image of one level by tensorstore, with metadata as they are given."""
    data = coded_pixels(SHAPE) if data is None else data
    is_v2 = "dtype" in metadata
    spec = {
        "driver": "zarr" if is_v2 else "zarr3",
        "kvstore": {"driver": "file", "path": f"{path}/0/"},
        "metadata": {"shape": list(data.shape), **metadata},
    }
    ts.open(spec, create=True).result().write(data).result()
    version = "0.4" if is_v2 else "0.5"
    ome = {"multiscales": [{"version": version, "axes": axes(letters), "datasets": [{"path": "0"}]}]}
    if is_v2:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(ome))
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": version, **ome}}}
        (path / "zarr.json").write_text(json.dumps(group))
    return data


def v2(**changes: Any) -> Json:
    return {
        "chunks": list(CHUNKS),
        "dtype": "<u2",
        "compressor": {"id": "zlib", "level": 1},
        "fill_value": 0,
        "filters": None,
        "order": "C",
        "dimension_separator": "/",
        **changes,
    }


def v3(*codecs: Json, **changes: Any) -> Json:
    grid = {"name": "regular", "configuration": {"chunk_shape": list(CHUNKS)}}
    codecs = codecs or ({"name": "bytes", "configuration": {"endian": "little"}},)
    return {"data_type": "uint16", "chunk_grid": grid, "codecs": list(codecs), "fill_value": 0, **changes}


BIG = {"name": "bytes", "configuration": {"endian": "big"}}
TURNED = {"name": "transpose", "configuration": {"order": [2, 0, 1]}}


def sharded(*inner: Json, location: str = "end") -> Json:
    configuration = {
        "chunk_shape": [1, 8, 5],
        "codecs": list(inner),
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": location,
    }
    return {"name": "sharding_indexed", "configuration": configuration}


WAYS: dict[str, Json] = {
    "v2, dots": v2(dimension_separator="."),
    "v2, none": v2(compressor=None),
    "v2, big-endian": v2(dtype=">u2"),
    "v2, Fortran": v2(order="F"),
    "v2, blosc": v2(compressor={"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 2, "blocksize": 0}),
    "v2, bz2": v2(compressor={"id": "bz2", "level": 1}),
    "v2, gzip": v2(compressor={"id": "gzip", "level": 1}),
    "v2, zstd": v2(compressor={"id": "zstd", "level": 1}),
    "v2, null": v2(fill_value=None),
    "v3, none": v3(),
    "v3, big-endian": v3(BIG),
    "v3, keys of v2": v3(chunk_key_encoding={"name": "v2", "configuration": {"separator": "."}}),
    "v3, dots": v3(chunk_key_encoding={"name": "default", "configuration": {"separator": "."}}),
    "v3, turned": v3(TURNED, BIG, {"name": "gzip", "configuration": {"level": 1}}, {"name": "crc32c"}),
    "v3, zstd": v3(BIG, {"name": "zstd", "configuration": {"level": 1}}),
    "v3, shards": v3(
        sharded(BIG, {"name": "zstd", "configuration": {"level": 1}}),
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2, 16, 25]}},
    ),
    "v3, shards, index first": v3(sharded(TURNED, BIG, location="start")),
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_in_which_chunks_are_stored(tmp_path: Path, name: str) -> None:
    data = put(tmp_path / "a.zarr", WAYS[name])
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[0, 0], data)
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        pixels = source.images[0].pixels
        assert pixels.library == "imagecodecs"
        assert pixels.chunks[2:] == ((1, 8, 5) if "shards" in name else CHUNKS)
        np.testing.assert_array_equal(pixels.read_by_library(Box((0,) * 5, (1, 1, *SHAPE)))[0, 0], data)
    check_reader(OmeZarrReader(), str(tmp_path / "a.zarr"))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_types(tmp_path: Path, dtype: str) -> None:
    data = coded_pixels(SHAPE, dtype)
    for order in "<>":
        stated = f"|{dtype}" if dtype.endswith("1") else f"{order}{dtype}"
        put(tmp_path / f"{order}.zarr", v2(dtype=stated), data)
        found = read(tmp_path / f"{order}.zarr")
        assert found.dtype == np.dtype(dtype)
        assert found.dtype.isnative
        np.testing.assert_array_equal(found[0, 0], data)


@pytest.mark.parametrize("way", [v2(dtype="|b1", fill_value=False), v3(data_type="bool", fill_value=False)])
def test_truth_values_are_0_and_1(tmp_path: Path, way: Json) -> None:
    data = coded_pixels(SHAPE) % 2 == 0
    put(tmp_path / "a.zarr", way, data)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[0, 0], data.astype("u1"))
    assert read(tmp_path / "a.zarr").dtype == np.uint8


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (v2(fill_value=7), 7),
        (v3(fill_value=7), 7),
        (v2(fill_value=None), 0),
        (v2(dtype=">f4", fill_value="NaN"), np.nan),
        (v3(data_type="float32", fill_value="-Infinity"), -np.inf),
        (v3(sharded(BIG), fill_value=9), 9),
    ],
)
def test_chunks_that_are_not_stored_are_the_fill_value(tmp_path: Path, way: Json, value: float) -> None:
    dtype = "u2" if way.get("data_type") == "uint16" or way.get("dtype") == "<u2" else "f4"
    data = coded_pixels(SHAPE, dtype)
    data[2:4, 16:32] = value
    put(tmp_path / "a.zarr", way, data)
    for file in (tmp_path / "a.zarr" / "0").rglob("1/1/*"):
        file.unlink(missing_ok=True)  # where nothing is the fill value, tensorstore stores zeros
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[0, 0], data)
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        box = Box((0, 0, 1, 10, 3), (1, 1, 4, 35, 58))
        found = source.images[0].pixels.read_by_library(box)
        np.testing.assert_array_equal(found[0, 0], data[1:4, 10:35, 3:58])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filters": [{"id": "delta", "dtype": "<u2"}]}, 'the filter "delta"'),
        ({"compressor": {"id": "lz4", "acceleration": 1}}, '"lz4" is not registered'),
        ({"compressor": {"id": "lzma"}}, '"lzma" is not registered'),
        ({"dtype": "<c8", "fill_value": None}, "of type complex64"),
        ({"dtype": "pixels"}, '"pixels"'),
        ({"dtype": [["a", "<u2"], ["b", "<u2"]], "fill_value": None}, "is stored in a way"),
    ],
)
def test_v2_that_is_not_handled_is_refused_by_name(tmp_path: Path, change: Json, words: str) -> None:
    put(tmp_path / "a.zarr", v2())
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UnsupportedInput, match=words):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pcodec"}]},
            '"numcodecs.pcodec" is not registered',
        ),
        ({"codecs": [{"name": "vlen-bytes"}]}, '"vlen-bytes" is not registered'),
        ({"data_type": "complex64", "fill_value": [0, 0]}, "of type complex64"),
    ],
)
def test_v3_that_is_not_handled_is_refused_by_name(tmp_path: Path, change: Json, words: str) -> None:
    put(tmp_path / "a.zarr", v3())
    file = tmp_path / "a.zarr" / "0" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UnsupportedInput, match=words):
        read(tmp_path / "a.zarr")


def test_how_a_codec_was_set_does_not_matter(tmp_path: Path) -> None:
    data = put(tmp_path / "a.zarr", v2())
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    for settings in ({"level": -1}, {"level": 99, "new": True}, {}):
        compressor = {"compressor": {"id": "zlib", **settings}, "stranger": 1}
        file.write_text(json.dumps({**json.loads(file.read_text()), **compressor}))
        np.testing.assert_array_equal(read(tmp_path / "a.zarr")[0, 0], data)


# -- reading -------------------------------------------------------------------------------------------------


def test_a_box_reads_the_files_that_it_touches_and_no_others(tmp_path: Path) -> None:
    data = put(tmp_path / "a.zarr", v2())
    for file in (tmp_path / "a.zarr" / "0").rglob("*"):
        if file.is_file() and not file.name.startswith(".") and file.relative_to(tmp_path).parts[2] != "1":
            file.write_bytes(b"damaged")
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        found = source.images[0].pixels[0, 0, 2:4]
    np.testing.assert_array_equal(found, data[2:4])


def test_of_a_shard_only_chunks_that_are_touched_are_decoded(tmp_path: Path) -> None:
    data = put(tmp_path / "a.zarr", v3(sharded(BIG, {"name": "gzip", "configuration": {"level": 1}})))
    shard = tmp_path / "a.zarr" / "0" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    count = 2 * 2 * 5
    index = np.frombuffer(bytes(content[-16 * count - 4 : -4]), "<u8").reshape(count, 2)
    offset, size = map(int, index[-1])
    content[offset : offset + size] = bytes(size)
    shard.write_bytes(content)
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        pixels = source.images[0].pixels
        np.testing.assert_array_equal(pixels[0, 0, :2, :8], data[:2, :8])
        with pytest.raises(
            ReadError, match=r"a\.zarr/0/c/0/0/0: the chunk at .* z=1:2 y=8:16 x=20:25 cannot"
        ):
            _ = pixels[:]


def test_a_closed_source_is_not_read(tmp_path: Path) -> None:
    put(tmp_path / "a.zarr", v2())
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        pixels = source.images[0].pixels
    with pytest.raises(ValueError, match="the source was closed"):
        _ = pixels[:]


def test_pixels_are_small_to_send(tmp_path: Path) -> None:
    put(tmp_path / "a.zarr", v2())
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        assert len(pickle.dumps(source.images[0].pixels)) < 3000


def test_one_file_of_a_chunk_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.zarr", v2())
    boxes: list[Box] = []
    own = ZarrPixels.read

    def noted(pixels: ZarrPixels, box: Box) -> NDArray[Any]:
        boxes.append(box)
        return own(pixels, box)

    monkeypatch.setattr(ZarrPixels, "read", noted)
    convert(tmp_path / "a.zarr", tmp_path / "out.zarr", Options(levels=2))
    assert sum(np.prod(box.shape) for box in boxes) == np.prod(SHAPE)


# -- damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["v2, blosc", "v2, none", "v2, zstd", "v3, turned", "v3, shards"])
def test_a_truncated_chunk_is_named(tmp_path: Path, way: str) -> None:
    put(tmp_path / "a.zarr", WAYS[way])
    key = "1/1/1" if "v2" in way else "c/1/1/1"
    file = tmp_path / "a.zarr" / "0" / key
    file.write_bytes(file.read_bytes()[:9])
    with pytest.raises(ReadError, match=rf"a\.zarr/0/{key}: the chunk at t=0:1 c=0:1 z=2:.*copy it again"):
        read(tmp_path / "a.zarr")
    with ngff_convert.open(tmp_path / "a.zarr") as source, pytest.raises(ReadError, match=f"a.zarr/0/{key}"):
        source.images[0].pixels.read_by_library(Box((0,) * 5, (1, 1, *SHAPE)))


def test_damage_is_filled_if_asked_for(tmp_path: Path) -> None:
    data = put(tmp_path / "a.zarr", v2())
    (tmp_path / "a.zarr" / "0" / "1" / "1" / "1").write_bytes(b"")
    with pytest.raises(ReadError, match="0/1/1/1"):
        convert(tmp_path / "a.zarr", tmp_path / "out.zarr")
    report = convert(tmp_path / "a.zarr", tmp_path / "out.zarr", Options(on_error="fill"))
    assert len(report.filled) == 1
    assert "0/1/1/1" in report.filled[0]
    data[2:4, 16:32, 25:50] = 0
    np.testing.assert_array_equal(read(tmp_path / "out.zarr")[0, 0], data)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe for a chunk": (lambda path: os.mkfifo(path / "0" / "0" / "0" / "0"), "is no regular file"),
    "a folder for a chunk": (lambda path: (path / "0" / "0" / "0" / "0").mkdir(), "is no regular file"),
    "a link out for a chunk": (
        lambda path: (path / "0" / "0" / "0" / "0").symlink_to("/etc/passwd"),
        "leads out of the store",
    ),
    "a link to itself": (
        lambda path: (path / "0" / "0" / "0" / "0").symlink_to("0"),
        "leads out of the store",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_chunks_that_are_no_files_of_the_store(tmp_path: Path, name: str) -> None:
    change, words = HOSTILE[name]
    path = tmp_path / "a.zarr"
    put(path, v2())
    (path / "0" / "0" / "0" / "0").unlink()
    change(path)
    with pytest.raises(ReadError, match=rf"a\.zarr/0/0/0/0: {words}"):
        read(path)
    with ngff_convert.open(path) as source, pytest.raises(ReadError, match=words):
        source.images[0].pixels.read_by_library(Box((0,) * 5, (1, 1, *SHAPE)))


def test_folders_that_lead_out(tmp_path: Path) -> None:
    put(tmp_path / "a.zarr", v2())
    put(tmp_path / "b.zarr", v2())
    shutil.rmtree(tmp_path / "a.zarr" / "0" / "1")
    (tmp_path / "a.zarr" / "0" / "1").symlink_to(tmp_path / "b.zarr" / "0" / "1")
    with pytest.raises(ReadError, match=r"a\.zarr/0/1/0: leads out of the store"):
        read(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr" / "0")
    (tmp_path / "a.zarr" / "0").symlink_to(tmp_path / "b.zarr" / "0")
    with pytest.raises(ReadError, match=r"a\.zarr/0: leads out of the store"):
        read(tmp_path / "a.zarr")


def test_links_within_the_store_are_followed(tmp_path: Path) -> None:
    data = put(tmp_path / "a.zarr", v2())
    (tmp_path / "a.zarr" / "0" / "1").rename(tmp_path / "a.zarr" / "elsewhere")
    (tmp_path / "a.zarr" / "0" / "1").symlink_to("../elsewhere")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr")[0, 0], data)
    (tmp_path / "link.zarr").symlink_to("a.zarr")
    np.testing.assert_array_equal(read(tmp_path / "link.zarr")[0, 0], data)


def _huge(file: Path) -> None:
    file.touch()
    os.truncate(file, 2**30)


METADATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (lambda file: os.mkfifo(file), "no regular file within the store"),
    "a link out": (lambda file: file.symlink_to("/etc/passwd"), "no regular file within the store"),
    "huge": (_huge, "more than the"),
    "nested": (lambda file: file.write_text("[" * 100_000), "is no JSON: nested too deep"),
    "no object": (lambda file: file.write_text("[1]"), r"holds \[1\], not an object"),
    "cut off": (lambda file: file.write_text('{"multi'), "is no JSON"),
    "no text": (lambda file: file.write_bytes(b"\xff\xfe\0"), "is no JSON"),
}


@pytest.mark.parametrize("name", METADATA)
@pytest.mark.parametrize("place", [".zattrs", "0/.zarray"])
def test_metadata_that_are_none(tmp_path: Path, name: str, place: str) -> None:
    change, words = METADATA[name]
    path = tmp_path / "a.zarr"
    put(path, v2())
    (path / place).unlink()
    change(path / place)
    with pytest.raises(ReadError, match=rf"a\.zarr/{place}: .*{words}"):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [5, 40]},
        {"shape": [5, 40, -1]},
        {"shape": [0, 40, 60]},
        {"chunks": [0, 0, 0]},
        {"chunks": "none"},
        {"shape": None},
        {"order": "X"},
    ],
)
def test_arrays_that_cannot_be_meant(tmp_path: Path, change: Json) -> None:
    put(tmp_path / "a.zarr", v2())
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ReadError, match=r"a\.zarr/0: "):
        read(tmp_path / "a.zarr")


def test_enormous_chunks_are_refused_within_the_memory_given(tmp_path: Path) -> None:
    put(tmp_path / "a.zarr", v2(compressor=None))
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    huge = {"shape": [2**20] * 3, "chunks": [2**14] * 3}
    file.write_text(json.dumps({**json.loads(file.read_text()), **huge}))
    with pytest.raises(ngff_convert.errors.MemoryBudgetError, match="decoded whole"):
        convert(tmp_path / "a.zarr", tmp_path / "out.zarr", Options(memory=2**28))


def test_plates_that_go_in_circles(tmp_path: Path) -> None:
    path = tmp_path / "plate.zarr"
    root = zarr.create_group(path, zarr_format=2)
    root.attrs["plate"] = {"version": "0.4", "wells": [{"path": "A/1"}]}
    well = root.create_group("A").create_group("1")
    for image in ("../..", "", ".", "/", "0/../../../..", None, "x" * 5000, "a\0b"):
        well.attrs["well"] = {"images": [{"path": image}]}
        with pytest.raises(ReadError, match="does not lead down"):
            ngff_convert.open(path)
    well.attrs["well"] = {"images": [{"path": "0"}]}
    (path / "A" / "1" / "0").symlink_to("../..")
    with pytest.raises(ReadError, match="has no multiscales"):
        ngff_convert.open(path)


# -- where the output goes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["a.zarr", "a.zarr/out.zarr", "a.zarr/0/out.zarr", ".", "a.zarr/out.ozx"])
def test_the_output_is_neither_the_input_nor_in_it(tmp_path: Path, place: str) -> None:
    put(tmp_path / "a.zarr", v3())
    before = sorted(tmp_path.rglob("*"))
    for source in ("a.zarr", "link.zarr"):
        (tmp_path / "link.zarr").unlink(missing_ok=True)
        (tmp_path / "link.zarr").symlink_to("a.zarr")
        with pytest.raises(TargetError):
            convert(tmp_path / source, tmp_path / place, Options(overwrite=True))
    (tmp_path / "link.zarr").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_output_is_not_in_the_store_that_an_image_is_in(tmp_path: Path) -> None:
    put(tmp_path / "a.zarr", v2())
    root = zarr.create_group(tmp_path / "plate.zarr", zarr_format=2)
    root.create_group("A").create_group("1")
    shutil.move(tmp_path / "a.zarr", tmp_path / "plate.zarr" / "A" / "1" / "0")
    with pytest.raises(TargetError, match=r"is within the input"):
        convert(tmp_path / "plate.zarr" / "A" / "1" / "0", tmp_path / "plate.zarr" / "new")


def test_metadata_that_change_meanwhile_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    put(path, v2())

    def change(event: object) -> None:
        file = path / "0" / ".zarray"
        file.write_text(json.dumps(json.loads(file.read_text())))

    with pytest.raises(ReadError, match=r"\.zarray: was changed while it was read"):
        convert(path, tmp_path / "out.zarr", Options(), change)


# -- memory --------------------------------------------------------------------------------------------------


def _noise(path: Path, kind: str) -> None:
    shape = {"planes": (20, 2300, 2300), "tiny chunks": (32, 512, 512)}.get(kind, (64, 1024, 1024))
    of_file = {"planes": [1, 2300, 2300], "tiny chunks": [32, 512, 512], "shards": [64, 512, 512]}
    chunk = of_file.get(kind, [8, 256, 256])
    grid = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}}}
    inner = sharded(BIG, {"name": "gzip", "configuration": {"level": 0}})
    inner["configuration"]["chunk_shape"] = [1, 8, 16] if kind == "tiny chunks" else [8, 64, 64]
    metadata = v3(inner, **grid) if kind in ("shards", "tiny chunks") else v2(chunks=chunk)
    put(path, metadata, np.random.default_rng(0).integers(1, 65535, shape, np.uint16))


@needs_proc
@pytest.mark.parametrize(
    ("kind", "words", "budget"),
    [
        pytest.param("chunks", "", 200, marks=pytest.mark.slow),
        ("chunks", "--verify full", 200),
        pytest.param("planes", "", 300, marks=pytest.mark.slow),
        ("tiny chunks", "", 120),
        pytest.param("shards", "", 200, marks=pytest.mark.slow),
        ("shards", "--verify full", 200),
    ],
)
def test_the_budget_is_kept(tmp_path: Path, kind: str, words: str, budget: int) -> None:
    _noise(tmp_path / "in.zarr", kind)
    assert_within(budget, tmp_path / "in.zarr", tmp_path / "out", *words.split())


@pytest.mark.parametrize("filters", [{"compression": "gzip", "shuffle": True}, {"shuffle": True}])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_store_whose_shuffled_chunks_were_copied_is_read(
    tmp_path: Path, filters: dict[str, Any], dtype: str
) -> None:
    data = coded_pixels((1, 2, *SHAPE), dtype)
    write_ims(tmp_path / "in.ims", data, chunks=(2, 16, 25), filters=filters)
    convert(tmp_path / "in.ims", tmp_path / "a.zarr", Options(codec=Codec("source"), ngff_version="0.4"))
    assert json.loads((tmp_path / "a.zarr" / "0" / ".zarray").read_text())["filters"]
    check_reader(OmeZarrReader(), str(tmp_path / "a.zarr"))
    box = Box((0, 1, 1, 10, 3), (1, 2, 4, 35, 58))
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        pixels = source.images[0].pixels
        assert isinstance(pixels, ZarrPixels)
        np.testing.assert_array_equal(pixels.read(box), data[box.slices])
        np.testing.assert_array_equal(pixels.read_by_library(box), data[box.slices])
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr", Options(verify="full"))
    np.testing.assert_array_equal(read(tmp_path / "b.zarr"), data)


def test_a_shuffle_of_another_width_than_the_voxels_is_refused_by_name(tmp_path: Path) -> None:
    put(tmp_path / "a.zarr", v2(chunks=[1, 16, 25]))
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    shuffle = {"id": "shuffle", "elementsize": 4}
    file.write_text(json.dumps({**json.loads(file.read_text()), "filters": [shuffle]}))
    with pytest.raises(UnsupportedInput, match='the filter "shuffle"'):
        read(tmp_path / "a.zarr")
