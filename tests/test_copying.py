"""Chunks copied as they are stored: other libraries read the same pixels, and what cannot be is refused."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr
from servers import http_files, s3_server
from stores import assert_valid, tree

import ngff_convert
from ngff_convert import Codec, Options, array_job, copying, machine
from ngff_convert.cli import main
from ngff_convert.convert import open_source
from ngff_convert.errors import OptionError, ReadError, VerificationError, WriteError
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

README = Path(__file__).parent.parent / "README.md"
SHAPE = (2, 2, 20, 150, 170)  # no axis of space is whole chunks of 8, 64, 64
SOURCE = Codec("source")


def stored_as(path: Path, level: int = 0, **settings: Any) -> None:
    """Store the datasets of a level in another way."""

    def again(group: Any, pixels: NDArray[Any]) -> None:
        group.create_dataset("Data", data=pixels, **settings)

    changed(path, again, level)


def changed(path: Path, make: Callable[[Any, NDArray[Any]], None], level: int = 0) -> None:
    with h5py.File(path, "r+") as file:
        times = file[f"DataSet/ResolutionLevel {level}"]
        for group in [times[t][c] for t in times for c in times[t]]:
            pixels = group["Data"][...]
            del group["Data"]
            make(group, pixels)


def source_levels(path: Path) -> list[NDArray[Any]]:
    with open_source(str(path)) as opened:
        image = opened.images[0]
        return [image.pixels[...], *(level.pixels[...] for level in image.native_levels)]


def copied(source: Path, out: Path, **options: Any) -> list[Any]:
    """Convert with the source's codec, hold the store against it in every way, and return its levels."""
    chosen = Options(codec=SOURCE, **options)
    report = ngff_convert.convert(source, out, chosen)
    assert report.plans[0].levels[0].copied is not None
    again = verify(source, out)
    assert again.passed
    assert again.complete
    found = validate(out, deep=True)
    assert {finding.rule for finding in found.findings} <= {"missing-chunks"}
    return [zarr.open_array(out / str(n), mode="r") for n in range(len(report.plans[0].levels))]


def chunk_files(level: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(level)): path.read_bytes()
        for path in level.rglob("*")
        if path.is_file() and not path.name.startswith((".z", "zarr"))
    }


FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "deflate": {"compression": "gzip", "compression_opts": 4},
    "shuffle + deflate": {"compression": "gzip", "shuffle": True},
    "shuffle": {"shuffle": True},
}


# -- Imaris --


@pytest.mark.parametrize(
    "dtype", ["uint16", *(pytest.param(d, marks=pytest.mark.slow) for d in ("uint8", "float32"))]
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("filters", list(FILTERS))
@pytest.mark.parametrize("pyramid", ["native", "build"])
def test_every_level_of_an_imaris_file(
    pyramid: str, filters: str, version: str, dtype: str, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.ims", tmp_path / "out.ome.zarr"
    write_ims(source, coded_pixels(SHAPE).astype(dtype), levels=3, filters=FILTERS[filters])
    if version == "0.5" and "shuffle" in filters and dtype != "uint8":
        with pytest.raises(OptionError, match="shuffled"):
            ngff_convert.convert(source, out, Options(codec=SOURCE))
        assert not out.exists()
        return
    found = copied(source, out, ngff_version=version, pyramid=pyramid)
    expected = source_levels(source)
    np.testing.assert_array_equal(found[0][...], expected[0])
    if pyramid == "native":
        assert len(found) == len(expected)
        for array, pixels in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array[...], pixels)
    else:
        ngff_convert.convert(source, tmp_path / "made", Options(ngff_version=version, chunks=(8, 64, 64)))
        for n, array in enumerate(found):
            other = zarr.open_array(tmp_path / "made" / str(n), mode="r")
            np.testing.assert_array_equal(array[...], other[...])
    assert_valid(out, out)


def test_the_bytes_are_those_of_the_source(tmp_path: Path) -> None:
    source, out = tmp_path / "in.ims", tmp_path / "out"
    write_ims(source, coded_pixels(SHAPE), filters=FILTERS["shuffle + deflate"])
    copied(source, out, ngff_version="0.4")
    files = chunk_files(out / "0")
    assert len(files) == 2 * 2 * 3 * 3 * 3
    with h5py.File(source) as file:
        for t, c in np.ndindex(2, 2):
            data = file[f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}/Data"]
            for z, y, x in np.ndindex(3, 3, 3):
                mask, stored = data.id.read_direct_chunk((8 * z, 64 * y, 64 * x))
                assert mask == 0
                assert files[f"{t}/{c}/{z}/{y}/{x}"] == stored
    document = json.loads((out / "0/.zarray").read_text())
    assert document["filters"] == [{"id": "shuffle", "elementsize": 2}]
    assert document["compressor"]["id"] == "zlib"


def test_gzip_holds_the_stream_of_the_source(tmp_path: Path) -> None:
    source, out = tmp_path / "in.ims", tmp_path / "out"
    write_ims(source, coded_pixels((1, 1, 8, 64, 64)), filters=FILTERS["deflate"])
    copied(source, out)
    with h5py.File(source) as file:
        _, stored = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"].id.read_direct_chunk(
            (0, 0, 0)
        )
    assert (out / "0/c/0/0/0/0").read_bytes()[10:-8] == stored[2:-4]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_numbers_in_the_other_byte_order(version: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels(SHAPE))
    stored_as(source, chunks=(8, 64, 64), compression="gzip", shuffle=version == "0.4", dtype=">u2")
    (level, *_) = copied(source, tmp_path / "out", ngff_version=version)
    np.testing.assert_array_equal(level[...], source_levels(source)[0])
    np.testing.assert_array_equal(level[...], coded_pixels(SHAPE))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_stored_in_one_piece(version: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels(SHAPE))
    stored_as(source)
    (level, *_) = copied(source, tmp_path / "out", ngff_version=version)
    assert level.chunks[-2:] == (192, 192)  # the padding of Imaris too
    np.testing.assert_array_equal(level[...], coded_pixels(SHAPE))


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_that_were_never_written(version: str, fill: int, tmp_path: Path) -> None:
    source, out = tmp_path / "in.ims", tmp_path / "out"
    pixels = coded_pixels(SHAPE)
    write_ims(source, pixels)

    def holes(group: Any, whole: NDArray[Any]) -> None:
        settings = {"chunks": (8, 64, 64), "compression": "gzip", "fillvalue": fill}
        made = group.create_dataset("Data", whole.shape, whole.dtype, **settings)
        made[8:16, :64, :64] = whole[8:16, :64, :64]

    changed(source, holes)
    (level, *_) = copied(source, out, ngff_version=version)
    assert len(chunk_files(out / "0")) == 4
    expected = np.full(SHAPE, fill, np.uint16)
    expected[:, :, 8:16, :64, :64] = pixels[:, :, 8:16, :64, :64]
    np.testing.assert_array_equal(level[...], expected)


def test_padding_keeps_what_the_source_has_there(tmp_path: Path) -> None:
    source, out = tmp_path / "in.ims", tmp_path / "out"
    write_ims(source, coded_pixels((1, 1, 5, 50, 60)))

    def padded(group: Any, whole: NDArray[Any]) -> None:
        whole[5:] = 9
        whole[:, 50:] = 9
        group.create_dataset("Data", data=whole, chunks=(8, 64, 64), compression="gzip")

    changed(source, padded)
    (level, *_) = copied(source, out, ngff_version="0.4", verify="full")
    np.testing.assert_array_equal(level[...], coded_pixels((1, 1, 5, 50, 60))[0])


def test_a_missing_group_is_zero(tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels(SHAPE))
    with h5py.File(source, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0"]
    (level, *_) = copied(source, tmp_path / "out", ngff_version="0.4")
    assert not level[1, 0].any()
    np.testing.assert_array_equal(level[1, 1], coded_pixels(SHAPE)[1, 1])


def test_a_part_that_begins_where_chunks_begin(tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels(SHAPE))
    crop = ((1, 2), (0, 2), (8, 19), (64, 100), (0, 170))
    (level, *_) = copied(source, tmp_path / "out", ngff_version="0.4", crop=crop)
    np.testing.assert_array_equal(level[...], coded_pixels(SHAPE)[1, :, 8:19, 64:100])


def test_many_regions_by_many_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngff_convert.plan.REGION_BYTES", 2 * 8 * 64 * 64 * 2)
    monkeypatch.setattr("ngff_convert.plan.SMALLEST_GROWN_BYTES", 1)
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels(SHAPE), levels=2)
    options = Options(codec=SOURCE, pyramid="native", workers=4)
    report = ngff_convert.convert(source, tmp_path / "out", options)
    assert report.plans[0].passes[0].n_regions > 20
    assert verify(source, tmp_path / "out").passed


# -- TIFF --


def write_tiff(path: Path, dtype: str = "uint16", **settings: Any) -> NDArray[Any]:
    pixels = coded_pixels((2, 3, 4, 96, 80)).astype(dtype)
    tifffile.imwrite(path, pixels, metadata={"axes": "TCZYX"}, **settings)
    return pixels


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tile": (32, 48)},
        {"tile": (32, 48), "compression": "zlib"},
        {"tile": (32, 48), "compression": "zlib", "byteorder": ">"},
        {"rowsperstrip": 32, "compression": "zlib", "dtype": "float32"},
        {"byteorder": ">"},
    ],
    ids=str,
)
def test_ome_tiff(settings: dict[str, Any], version: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ome.tif"
    pixels = write_tiff(source, **settings)
    (level, *_) = copied(source, tmp_path / "out", ngff_version=version)
    np.testing.assert_array_equal(level[...], pixels)
    size = settings.get("tile", (settings.get("rowsperstrip", 96), 80))
    assert level.chunks == (1, 1, 1, *size)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_native_levels_of_a_tiff(version: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ome.tif"
    pixels = coded_pixels((1, 2, 3, 96, 80))[0]
    with tifffile.TiffWriter(source, ome=True) as tif:
        settings: dict[str, Any] = {"tile": (32, 32), "compression": "zlib"}
        tif.write(pixels, subifds=1, metadata={"axes": "CZYX"}, **settings)
        tif.write(pixels[..., ::2, ::2], subfiletype=1, **settings)
    levels = copied(source, tmp_path / "out", ngff_version=version, pyramid="native")
    assert len(levels) == 2
    for array, expected in zip(levels, (pixels, pixels[..., ::2, ::2]), strict=True):
        np.testing.assert_array_equal(array[...], expected)


# -- refusals --


def write_other(path: Path, **settings: Any) -> None:
    write_ims(path, coded_pixels(SHAPE))
    stored_as(path, chunks=(8, 64, 64), **settings)


def some_unfiltered(path: Path) -> None:
    write_ims(path, coded_pixels((1, 1, 8, 64, 100)), filters=FILTERS["deflate"])
    with h5py.File(path, "r+") as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        data.id.write_direct_chunk((0, 0, 0), bytes(2 * 8 * 64 * 64), filter_mask=1)


def of_two_sizes(path: Path) -> None:
    write_ims(path, coded_pixels((2, 1, 8, 64, 100)))
    with h5py.File(path, "r+") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0"]
        pixels = group["Data"][...]
        del group["Data"]
        group.create_dataset("Data", data=pixels, chunks=(8, 32, 32), compression="gzip")


def a_tile_of_the_whole_file(path: Path) -> None:
    write_tiff(path, tile=(32, 48), compression="zlib")
    with path.open("ab") as file:
        file.write(bytes(3 * 2**20))
    with tifffile.TiffFile(path, mode="r+") as tif:
        tag = tif.pages.first.tags["TileByteCounts"]
        tag.overwrite((3 * 2**20, *tag.value[1:]), dtype="I")


def tiff(**settings: Any) -> Callable[[Path], object]:
    return lambda path: write_tiff(path, **settings)


def ims(path: Path) -> None:
    write_ims(path, coded_pixels(SHAPE), levels=2, filters=FILTERS["deflate"])


REFUSED: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "lzf": (lambda path: write_other(path, compression="lzf"), {}, "lzf"),
    "fletcher": (lambda path: write_other(path, compression="gzip", fletcher32=True), {}, "fletcher32"),
    "some not compressed": (some_unfiltered, {}, "some of its chunks"),
    "chunks of two sizes": (of_two_sizes, {}, "one way for all its chunks"),
    "tiff, lzw": (tiff(compression="lzw", tile=(32, 48)), {}, "lzw"),
    "tiff, jpeg": (tiff(compression="jpeg", tile=(32, 48), dtype="uint8"), {}, "jpeg"),
    "tiff, predictor": (tiff(compression="zlib", predictor=True, tile=(32, 48)), {}, "delta"),
    "tiff, shorter last strip": (tiff(compression="zlib", rowsperstrip=40), {}, "incomplete chunks"),
    "tiff, a tile that cannot be": (a_tile_of_the_whole_file, {}, "far more than its pixels"),
    "a crop within chunks": (
        ims,
        {"crop": ((0, 1), (0, 1), (4, 20), (0, 150), (0, 170))},
        "--z 4.*begin at 0",
    ),
    "another chunk": (ims, {"chunks": (8, 64, 32)}, "chunks are of 1,1,8,64,64.*--chunks"),
    "another type": (ims, {"dtype": "uint32"}, "are not cast.*--dtype"),
    "shards": (ims, {"ngff_version": "0.5", "shards": (16, 64, 64)}, "leave --shards out"),
    "filling": (ims, {"on_error": "fill"}, "neither found nor filled"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_copied_is_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    make, options, words = REFUSED[name]
    source = tmp_path / ("in.ome.tif" if name.startswith("tiff") else "in.ims")
    make(source)
    chosen: dict[str, Any] = {"ngff_version": "0.4", "codec": SOURCE} | options
    with pytest.raises(OptionError, match=words) as refused:
        ngff_convert.convert(source, tmp_path / "out", Options(**chosen))
    assert "--compressor source" in str(refused.value)
    assert "leave" in str(refused.value)
    assert "convert it" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_interleaved_samples_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((32, 32, 3), np.uint8), photometric="rgb")
    with pytest.raises(OptionError, match="3 samples of a pixel"):
        ngff_convert.convert(tmp_path / "in.tif", tmp_path / "out", Options(codec=SOURCE))


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--compressor", "source"], 2), (["--compressor", "source", "--x", "64:"], 2), ([], 4)],
)
def test_an_ome_zarr_is_refused_with_what_to_do_instead(
    words: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ims(tmp_path / "in.ims")
    assert main([str(tmp_path / "in.ims"), str(tmp_path / "in.ome.zarr"), "-q"]) == 0
    command = ["convert", str(tmp_path / "in.ome.zarr"), str(tmp_path / "out")]
    if not words:
        command = ["virtual", str(tmp_path / "in.ome.zarr"), str(tmp_path / "out.json")]
    assert main([*command, *words]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is in an OME-Zarr, of which no chunk is copied or referred to" in said
    assert "`ngff-convert upgrade`" in said
    assert "turned" not in said


def test_the_same_chunks_may_be_asked_for(tmp_path: Path) -> None:
    ims(tmp_path / "in.ims")
    copied(tmp_path / "in.ims", tmp_path / "out", ngff_version="0.4", chunks=(8, 64, 64))


@pytest.mark.parametrize("words", ["--compression-level 3", "--shuffle bit"])
def test_the_codec_has_no_settings(words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ims(tmp_path / "in.ims")
    command = [str(tmp_path / "in.ims"), str(tmp_path / "out"), "--compressor", "source", *shlex.split(words)]
    assert main(command) == 2
    assert "source" in capsys.readouterr().err


# -- damage --


def damaged(source: Path) -> None:
    write_ims(source, coded_pixels((1, 1, 20, 150, 170)), filters=FILTERS["deflate"])
    with h5py.File(source) as file:
        info = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"].id.get_chunk_info(5)
    with source.open("r+b") as file:
        file.seek(info.byte_offset + info.size // 2)
        file.write(b"\xff\x00\xff\x00\xff\x00" * 4)


@pytest.mark.parametrize(
    "options",
    [
        {"ngff_version": "0.5", "pyramid": "native"},
        {"ngff_version": "0.4", "levels": 2},
        {"ngff_version": "0.4", "pyramid": "native", "verify": "full"},
    ],
    ids=str,
)
def test_a_damaged_chunk_is_found_where_chunks_are_decoded(options: dict[str, Any], tmp_path: Path) -> None:
    write_ims(tmp_path / "ok.ims", coded_pixels((1, 1, 4, 20, 30)))
    damaged(tmp_path / "in.ims")
    if options.get("pyramid") == "native":
        with h5py.File(tmp_path / "in.ims", "r+") as file:
            file.copy("DataSet/ResolutionLevel 0", "DataSet/ResolutionLevel 1")
    with pytest.raises((ReadError, VerificationError)):
        ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", Options(codec=SOURCE, **options))
    assert not (tmp_path / "out").exists()


def test_a_damaged_chunk_is_copied_unread_and_found_later(tmp_path: Path) -> None:
    damaged(tmp_path / "in.ims")
    options = Options(codec=SOURCE, ngff_version="0.4", levels=1)
    ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", options)
    assert [f.rule for f in validate(tmp_path / "out", deep=True).errors] == ["chunk-decode"]
    with pytest.raises(ReadError, match="damaged"):
        verify(tmp_path / "in.ims", tmp_path / "out")


def test_damage_that_is_met_on_the_way_is_told_as_the_sources(tmp_path: Path) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "data", data=coded_pixels((1, 1, 4, 20, 30))[0, 0], chunks=(4, 20, 30), compression="gzip"
        )
        where = made.id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(where + 200)
        raw.write(b"\xff" * 100)
    options = Options(codec=SOURCE, ngff_version="0.4", levels=1, dataset=("data",), axes="zyx")
    with pytest.raises(ReadError, match=r"in\.h5"):
        ngff_convert.convert(path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_source_that_ends_too_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is cut off after the file was looked at."""
    ims(tmp_path / "in.ims")
    whole = copying._copy_bytes

    def short(source: int, target: int, offset: int, size: int) -> None:
        whole(source, target, (tmp_path / "in.ims").stat().st_size - size // 2, size)

    monkeypatch.setattr(copying, "_copy_bytes", short)
    with pytest.raises(ReadError, match=r"in.ims: a chunk .* cannot be read: the file ends before"):
        ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", Options(codec=SOURCE, ngff_version="0.4"))


def test_a_disk_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ims(tmp_path / "in.ims")

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(copying, "HAS_COPY", False)
    whole = copying._copy_bytes

    def copy(*words: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "pread", broken)
            whole(*words)

    monkeypatch.setattr(copying, "_copy_bytes", copy)
    options = Options(codec=SOURCE, ngff_version="0.4", workers=1)
    with pytest.raises(ReadError, match=r"in.ims: a chunk .* cannot be read: Input/output error"):
        ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", options)


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ims(tmp_path / "in.ims")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full, raising=False)
    monkeypatch.setattr(os, "pwrite", full)
    options = Options(codec=SOURCE, ngff_version="0.4", workers=1)
    with pytest.raises(WriteError, match=r"0/0/0/0/0: cannot write: No space left"):
        ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", options)


@pytest.mark.parametrize("cause", ["none", "fails", "stops"])
def test_a_system_that_does_not_copy_from_file_to_file(
    cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.ims"
    ims(source)
    ngff_convert.convert(source, tmp_path / "usual", Options(codec=SOURCE, ngff_version="0.4"))

    def copy(*_: object) -> int:
        if cause == "fails":
            raise OSError(18, "Invalid cross-device link")
        return 0

    monkeypatch.setattr(copying, "HAS_COPY", cause != "none")
    monkeypatch.setattr(os, "copy_file_range", copy, raising=False)
    monkeypatch.setattr(copying, "PIECE_BYTES", 1000)
    ngff_convert.convert(source, tmp_path / "other", Options(codec=SOURCE, ngff_version="0.4"))
    assert tree(tmp_path / "usual") == tree(tmp_path / "other")


# -- interrupted, elsewhere, in parts --


class Stopped(Exception):  # noqa: N818 - no error
    """Somebody stopped it."""


def stop_after(n: int) -> Callable[[Any], None]:
    def observe(event: Any) -> None:
        nonlocal n
        n -= isinstance(event, ngff_convert.events.RegionDone)
        if not n:
            raise Stopped

    return observe


@pytest.mark.parametrize("fsync", ["none", "region"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("pyramid", ["native", "build"])
def test_interrupted_and_gone_on_with(
    pyramid: str, version: str, fsync: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngff_convert.plan.REGION_BYTES", 8 * 128 * 128 * 2 * 4)
    monkeypatch.setattr("ngff_convert.plan.SMALLEST_GROWN_BYTES", 1)
    source, out = tmp_path / "in.ims", tmp_path / "out"
    ims(source)
    options = Options(codec=SOURCE, ngff_version=version, pyramid=pyramid, fsync=fsync, workers=1)
    ngff_convert.convert(source, tmp_path / "at once", options)
    with pytest.raises(Stopped):
        ngff_convert.convert(source, out, options, stop_after(4))
    partial = tmp_path / "out.partial"
    files = sorted(path for path in (partial / "0").rglob("*") if path.is_file() and path.name.isdecimal())
    if fsync == "none":  # one that the journal believes in is damaged, one is cut off
        files[0].write_bytes(files[0].read_bytes()[:-1] + b"\xaa")
        files[1].write_bytes(files[1].read_bytes()[:5])
    report = ngff_convert.convert(source, out, options)
    assert report.kept_bytes > 0
    assert tree(out) == tree(tmp_path / "at once")


def test_an_archive(tmp_path: Path) -> None:
    source, out = tmp_path / "in.ims", tmp_path / "out.ozx"
    ims(source)
    ngff_convert.convert(source, out, Options(codec=SOURCE, pyramid="native", verify="full"))
    assert verify(source, out).passed
    spec = {"driver": "zip", "base": {"driver": "file", "path": str(out)}, "path": "0/"}
    array = ts.open({"driver": "zarr3", "kvstore": spec}).result()
    np.testing.assert_array_equal(array.read().result(), coded_pixels(SHAPE))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_bucket(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in.ims"
    ims(source)
    (tmp_path / "served").mkdir()
    with s3_server(tmp_path / "served") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        out = f"s3://{server.bucket}/out"
        options = Options(codec=SOURCE, ngff_version=version, pyramid="native", verify="full")
        ngff_convert.convert(source, out, options)
        assert verify(source, out).passed


@pytest.mark.parametrize("pyramid", ["native", "build"])
def test_in_parts(pyramid: str, tmp_path: Path) -> None:
    source = str(tmp_path / "in.ims")
    ims(tmp_path / "in.ims")
    options = Options(codec=SOURCE, ngff_version="0.4", pyramid=pyramid)
    job = array_job.plan(source, tmp_path / "out", 3, options, ngff_convert.events.ignore)
    for part in (3, 1, 2):
        array_job.run(job, part, machine.resources(), ngff_convert.events.ignore)
    array_job.finish(job, Options(), ngff_convert.events.ignore)
    ngff_convert.convert(source, tmp_path / "at once", options)
    assert tree(tmp_path / "out") == tree(tmp_path / "at once")


def test_by_processes_of_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    ims(tmp_path / "in.ims")
    options: dict[str, Any] = {"codec": SOURCE, "ngff_version": "0.5", "pyramid": "native"}
    ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", Options(cluster="local", jobs=1, **options))
    ngff_convert.convert(tmp_path / "in.ims", tmp_path / "at once", Options(**options))
    assert tree(tmp_path / "out") == tree(tmp_path / "at once")


@pytest.mark.parametrize("pyramid", ["native", "build"])
def test_a_source_on_a_server(pyramid: str, tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    (tmp_path / "served").mkdir()
    source = tmp_path / "served" / "in.ims"
    ims(source)
    options = Options(codec=SOURCE, ngff_version="0.4", pyramid=pyramid)
    with http_files(source.parent) as server:
        ngff_convert.convert(f"{server.url}/in.ims", tmp_path / "out", options)
    ngff_convert.convert(source, tmp_path / "from disk", options)
    assert tree(tmp_path / "out" / "0") == tree(tmp_path / "from disk" / "0")
    assert verify(source, tmp_path / "out").passed


def test_names_are_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --fsync region, every folder of a chunk is flushed, up to the store's root."""
    ims(tmp_path / "in.ims")
    flushed: set[str] = set()
    monkeypatch.setattr(copying, "flush_folder", lambda folder: flushed.add(str(folder)))
    options = Options(codec=SOURCE, ngff_version="0.4", levels=1, fsync="region")
    ngff_convert.convert(tmp_path / "in.ims", tmp_path / "out", options)
    partial = str(tmp_path / "out.partial")
    assert {partial, f"{partial}/0", f"{partial}/0/1", f"{partial}/0/1/1", f"{partial}/0/1/1/2/2"} <= flushed


def test_a_plan_says_what_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ims(tmp_path / "in.ims")
    command = [
        str(tmp_path / "in.ims"),
        str(tmp_path / "out"),
        "--compressor",
        "source",
        "--ngff-version",
        "0.4",
    ]
    assert main([*command, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "chunks 8×64×64, copied" in text


# -- the README --


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        README.read_text(encoding="utf-8").partition("\n### Chunks as they are\n")[2].partition("\n### ")[0]
    )
    commands = [shlex.split(line, comments=True)[1:] for line in text.split("```")[1].strip().splitlines()]
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    ims(tmp_path / "in.ims")
    for command in commands:
        assert main(command) == 0
    assert len(list(zarr.open_group("copied.ome.zarr", mode="r").arrays())) == 2
    for name in ("copied", "built"):
        level: Any = zarr.open_array(f"{name}.ome.zarr/0", mode="r")
        np.testing.assert_array_equal(level[...], coded_pixels(SHAPE))
