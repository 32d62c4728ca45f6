"""Verification: what is right passes, and every wrong bit is found where it is."""

from __future__ import annotations

import json
import shutil
import zlib
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from random import Random
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from images import ArrayPixels
from stores import attributes
from verified import CASES, SMALL, Case, converted, ims, in_small_boxes, tif, two_images

from ngff_convert import Codec, Options, compare, convert, tally
from ngff_convert.compare import chosen, verify_images
from ngff_convert.convert import decide, open_with
from ngff_convert.errors import OptionError, ReadError
from ngff_convert.model import Box
from ngff_convert.overrides import Cropped
from ngff_convert.pyramid import level_shape
from ngff_convert.readers.imaris_source import ImarisPixels
from ngff_convert.readers.orientation import Turned
from ngff_convert.readers.tiff_pixels import TiffPixels
from ngff_convert.testing import coded_pixels
from ngff_convert.verification import Progress, verification_lines
from ngff_convert.verify import verify
from ngff_convert.verify_boxes import Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


# -- what is right -----------------------------------------------------------------------------------------


def checksum(array: Any) -> int:
    """Return the checksum of a level by its definition."""
    cells = product(*(range(-(-n // c)) for n, c in zip(array.shape, array.chunks, strict=True)))
    pixels = np.asarray(array[...])
    numbers = b""
    for cell in cells:
        box = tuple(slice(i * c, (i + 1) * c) for i, c in zip(cell, array.chunks, strict=True))
        little = pixels[box].astype(pixels.dtype.newbyteorder("<"))
        numbers += zlib.crc32(little.tobytes()).to_bytes(4, "little")
    return zlib.crc32(numbers)


@pytest.mark.parametrize("name", CASES)
def test_what_was_converted_is_the_same(tmp_path: Path, name: str) -> None:
    source, store, options = converted(tmp_path, CASES[name])
    found = verify(source, store, Options(on_error=options.on_error))
    assert found.passed, list(verification_lines(found))
    assert found.differences == ()
    numbers = options.images or range(len(found.images))
    assert [image.source_image for image in found.images] == list(numbers)
    assert found.complete
    for image in found.images:
        assert image.independent == (name != "ims, LZF")  # which only HDF5 itself decodes
        assert image.library in ("h5py" if source.suffix == ".ims" else "tifffile", "")
        assert ("tifffile says" in image.shared) == (source.suffix != ".ims")
        listed = attributes(store / image.folder, options.ngff_version)["multiscales"][0]["datasets"]
        assert len(image.levels) == len(listed)
        for level in image.levels:
            array = zarr.open_array(store / level.path, mode="r")
            n_chunks = prod(-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True))
            assert (level.chunks, level.of_chunks, level.voxels) == (n_chunks, n_chunks, array.size)
            assert level.crc32 == checksum(array)
            assert level.compared_with
    assert verify(source, store, Options(on_error=options.on_error), share=0.2).passed


def test_what_is_compared_with_what(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, CASES["ims, its own levels"])
    (image,) = verify(source, store).images
    assert [level.compared_with for level in image.levels][:2] == [
        "the source through h5py",
        "the source's level 1 through h5py",
    ]
    shutil.rmtree(store)
    convert(source, store, Options(chunks=SMALL[1:]))
    (image,) = verify(source, store).images
    assert [level.compared_with for level in image.levels][:2] == [
        "the source through h5py",
        "level 0 by mean",
    ]


def damaged_ims(folder: Path) -> Path:
    path = ims(folder)
    with h5py.File(path) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0/Data"]
        where = data.id.get_chunk_info(4).byte_offset
    overwrite(path, where)
    return path


def damaged_tif(folder: Path) -> Path:
    path = tif(folder, compression="zlib", rowsperstrip=20)
    with tifffile.TiffFile(path) as tiff:
        where = tiff.pages[3].dataoffsets[1]
    overwrite(path, where)
    return path


def overwrite(path: Path, where: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(where + 10)
        stream.write(b"\xff" * 30)


@pytest.mark.parametrize("make", [damaged_ims, damaged_tif])
def test_what_was_filled_is_0_both_ways(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source, store, options = converted(tmp_path, Case(make, {"on_error": "fill"}))
    assert verify(source, store, options).passed
    with pytest.raises(ReadError, match=source.name):
        verify(source, store)


def test_checksums_do_not_depend_on_the_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    (usual,) = verify(source, store).images
    (one,) = verify(source, store, Options(workers=1)).images
    in_small_boxes(monkeypatch)
    (small,) = verify(source, store).images
    assert [level.crc32 for level in usual.levels] == [level.crc32 for level in small.levels]
    assert usual.levels == one.levels == small.levels


def test_not_a_number_is_equal_to_itself(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 5, 70, 90), "float32")
    pixels[..., 3, 5], pixels[..., 30:50, 40], pixels[..., 9] = np.nan, np.inf, -0.0
    source = tif(tmp_path, pixels[0, 0], compression="zlib")
    convert(source, tmp_path / "out", Options(chunks=SMALL[1:]))
    assert verify(source, tmp_path / "out").passed
    array = zarr.open_array(tmp_path / "out" / "0", mode="r+")
    array[0, 2, 3, 5], array[0, 2, 8, 9] = 1.0, np.nan
    found = verify(source, tmp_path / "out").differences
    assert [(d.index, d.count) for d in found] == [((0, 0, 2, 3, 5), 2)]
    assert np.isnan(found[0].expected or 0)
    text = json.dumps(verify(source, tmp_path / "out").to_json(), allow_nan=False)
    assert '"expected": "nan"' in text


# -- what is wrong -----------------------------------------------------------------------------------------

DAMAGED = {
    "lz4": Case(ims, {}),
    "0.4, not compressed": Case(two_images, {"ngff_version": "0.4", "codec": Codec("none")}),
    "shards": Case(lambda f: ims(f, dtype="uint8"), {"shards": (8, 32, 64), "codec": Codec("none")}),
    "gzip": Case(lambda f: ims(f, dtype="float32"), {"codec": Codec("gzip")}),
    "zstd": Case(two_images, {"codec": Codec("zstd")}),
    "its own levels": Case(lambda f: ims(f, levels=3), {"pyramid": "native", "codec": Codec("blosc-zstd")}),
}

FLIPS = 25


@pytest.mark.parametrize("name", DAMAGED)
def test_one_flipped_bit_is_found_where_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store, options = converted(tmp_path, DAMAGED[name])
    random = Random(name)
    if random.random() < 0.5:
        in_small_boxes(monkeypatch)
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and path.name.isdecimal()]
    harmless = 0
    for _ in range(FLIPS):
        path = random.choice(files)
        good = path.read_bytes()
        damaged = bytearray(good)
        damaged[random.randrange(len(good))] ^= 1 << random.randrange(8)
        before = pixels_of(path)
        path.write_bytes(damaged)
        found = verify(source, store)
        if found.passed:
            # Such as the time in the head of gzip: every voxel is what it was.
            assert np.array_equal(before, pixels_of(path), equal_nan=True)
            harmless += 1
        else:
            image, level, places = chunks_of(path, store, options)
            for difference in found.differences:
                assert (difference.image, difference.level) == (image, level)
                assert difference.chunk in places
            assert found.differing == 1 or options.shards != "auto"  # the index of a shard is of all chunks
        path.write_bytes(good)
    assert verify(source, store).passed
    print(f"{name}: {harmless} of {FLIPS} flips change no voxel")  # noqa: T201 - seen with pytest -s
    assert harmless <= FLIPS // 10


def array_of(path: Path) -> Path:
    return next(p for p in path.parents if (p / "zarr.json").exists() or (p / ".zarray").exists())


def pixels_of(path: Path) -> NDArray[Any]:
    return np.asarray(zarr.open_array(array_of(path), mode="r")[...])


def chunks_of(path: Path, store: Path, options: Options) -> tuple[int, int, set[tuple[int, ...]]]:
    """Return the image, the level and the chunks (t, c, z, y, x) that a file holds."""
    folder = array_of(path)
    parts = folder.relative_to(store).parts
    image, level = (0, int(parts[0])) if len(parts) == 1 else (int(parts[0]), int(parts[1]))
    array = zarr.open_array(folder, mode="r")
    key = [int(part) for part in path.relative_to(folder).parts if part != "c"]
    each = [s // c for s, c in zip(array.shards or array.chunks, array.chunks, strict=True)]
    cells = product(*(range(k * n, (k + 1) * n) for k, n in zip(key, each, strict=True)))
    return image, level, {(0,) * (5 - len(cell)) + cell for cell in cells}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_bit_beyond_the_edge_is_found(tmp_path: Path, version: str) -> None:
    options = {"ngff_version": version, "codec": Codec("none"), "shards": "none"}
    source, store, _ = converted(tmp_path, Case(ims, options))
    path = store / "0" / ("1/1/2/4/2" if version == "0.4" else "c/1/1/2/4/2")
    stored = bytearray(path.read_bytes())
    stored[-1] ^= 1
    path.write_bytes(stored)
    (difference,) = verify(source, store).differences
    assert (difference.chunk, difference.index) == ((1, 1, 2, 4, 2), (1, 1, 11, 79, 95))
    assert (difference.expected, difference.found, difference.count) == (0, 256, 1)
    assert difference.reason == "beyond the level's edge"


def test_a_wrong_voxel_is_located_with_both_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    level0, level1 = (zarr.open_array(store / path, mode="r+") for path in "01")
    right = [int(level0[1, 0, 8, 69, 40]), int(level1[0, 1, 3, 20, 44])]  # type: ignore[arg-type]
    level0[1, 0, 8, 69, 40], level1[0, 1, 3, 20, 44:] = 9, 10
    for _ in range(2):
        one, two = verify(source, store).differences
        assert (one.image, one.level, one.chunk, one.index) == (0, 0, (1, 0, 2, 4, 1), (1, 0, 8, 69, 40))
        assert (one.expected, one.found, one.count) == (right[0], 9, 1)
        assert (two.level, two.index, two.expected, two.found) == (1, (0, 1, 3, 20, 44), right[1], 10)
        assert two.count == 1
        in_small_boxes(monkeypatch)
    assert "voxel, the first at 1,0,8,69,40 is 9, not" in str(one)


def test_a_wrong_level_makes_no_other_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    in_small_boxes(monkeypatch)
    n_levels = len(verify(source, store).images[0].levels)
    assert n_levels > 2
    for number in range(n_levels):
        array = zarr.open_array(store / str(number), mode="r+")
        good = np.asarray(array[...])
        array[...] = good + 1
        (image,) = verify(source, store).images
        assert [level.differing > 0 for level in image.levels] == [k == number for k in range(n_levels)]
        assert image.levels[number].differing == image.levels[number].of_chunks
        array[...] = good


def test_swapped_channels_are_found(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    for path in "01":
        array = zarr.open_array(store / path, mode="r+")
        array[...] = np.asarray(array[...])[:, ::-1]
    (image,) = verify(source, store).images
    assert all(level.differing == level.of_chunks for level in image.levels[:2])
    assert not any(level.differing for level in image.levels[2:])


def test_a_lost_chunk_is_named(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    (store / "0" / "c" / "1" / "0" / "2" / "1" / "2").unlink()
    (difference,) = verify(source, store).differences
    assert difference.chunk == (1, 0, 2, 1, 2)
    assert difference.reason == "0/c/1/0/2/1/2 is not there"
    assert difference.found == 0


def test_a_chunk_that_cannot_be_decoded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    for path in ("0/c/0/1/0/3/1", "1/c/1/0/1/0/0"):
        (store / path).write_bytes(b"not Blosc at all")
    for _ in range(2):
        found = verify(source, store)
        assert [(d.level, d.chunk, d.index) for d in found.differences] == [
            (0, (0, 1, 0, 3, 1), None),
            (1, (1, 0, 1, 0, 0), None),
        ]
        assert all(d.reason and "\n" not in d.reason for d in found.differences)
        assert [level.crc32 is None for level in found.images[0].levels][:3] == [True, True, False]
        in_small_boxes(monkeypatch)


def test_many_differences_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_DIFFERENCES", 5)
    source, store, _ = converted(tmp_path, CASES["ims"])
    array = zarr.open_array(store / "0", mode="r+")
    array[...] = 0
    (image,) = verify(source, store).images
    level = image.levels[0]
    assert level.differing == level.of_chunks == 4 * 3 * 5 * 3
    assert [difference.chunk for difference in level.differences] == [(0, 0, 0, 0, x) for x in (0, 1, 2)] + [
        (0, 0, 0, 1, x) for x in (0, 1)
    ]


FAST_PATHS: dict[str, tuple[Any, str]] = {
    "ims": (ImarisPixels, "ims"),
    "TIFF": (TiffPixels, "TIFF"),
    "TIFF, strips": (TiffPixels, "TIFF, strips"),
    "TIFF, turned": (Turned, "TIFF, turned"),
    "ims, cropped": (Cropped, "ims, cropped"),
    "files": (TiffPixels, "files"),
}


@pytest.mark.parametrize("name", FAST_PATHS)
def test_a_wrong_pixel_of_the_fast_path_is_found(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, case = FAST_PATHS[name]
    right: Callable[[Any, Box], NDArray[Any]] = kind.read

    def wrong(self: Any, box: Box) -> NDArray[Any]:
        block = right(self, box)
        if box.start[:3] == (0, 0, 0):
            block[0, 0, 0, 1, 2] ^= 4
        return block

    monkeypatch.setattr(kind, "read", wrong)
    source, store, _ = converted(tmp_path, CASES[case])
    found = verify(source, store).differences
    assert (found[0].level, found[0].index, found[0].count) == (0, (0, 0, 0, 1, 2), 1)
    assert found[0].expected is not None
    assert int(found[0].expected) ^ 4 == found[0].found


# -- samples -----------------------------------------------------------------------------------------------


def test_a_sample_reads_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ims(tmp_path, shape=(3, 2, 16, 128, 128))
    convert(source, tmp_path / "out", Options(chunks=(4, 32, 32)))
    monkeypatch.setattr("ngff_convert.verify_boxes.SMALLEST_BOX_BYTES", 2**10)
    monkeypatch.setattr("ngff_convert.verify.BOX_BYTES", 2**15)
    read: list[Box] = []
    usual = ImarisPixels.read_by_library

    def noted(self: ImarisPixels, box: Box) -> NDArray[Any]:
        read.append(box)
        return usual(self, box)

    monkeypatch.setattr(ImarisPixels, "read_by_library", noted)
    assert verify(source, tmp_path / "out").passed
    n_boxes, n_voxels = len(read), sum(prod(box.shape) for box in read)
    assert n_voxels == 3 * 2 * 16 * 128 * 128
    assert n_boxes >= 96
    read.clear()
    found = verify(source, tmp_path / "out", share=0.05)
    assert len(read) == -(-n_boxes * 5 // 100)
    assert sum(prod(box.shape) for box in read) <= 0.07 * n_voxels
    assert {box.start[0] for box in read} == {0, 1, 2}
    for level in found.images[0].levels:
        assert level.chunks >= 1
        assert level.crc32 is None
    assert (found.share, found.seed) == (0.05, compare.SEED)
    again = verify(source, tmp_path / "out", share=0.05)
    assert again == found


@dataclass
class Grid:
    """A level, as far as boxes are concerned."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any = np.dtype("uint16")  # noqa: RUF009 - never changed


@given(
    shape=st.tuples(*[st.integers(1, n) for n in (3, 3, 40, 300, 300)]),
    chunk=st.tuples(*[st.integers(1, n) for n in (2, 2, 16, 90, 90)]),
    source=st.tuples(*[st.integers(1, n) for n in (1, 3, 16, 90, 300)]),
    steps=st.lists(st.tuples(*[st.integers(1, 3)] * 3), max_size=4),
    box_bytes=st.sampled_from([1, 2**12, 2**16, 2**25]),
)
def test_every_level_is_compared_once_in_whole_chunks(
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    source: tuple[int, ...],
    steps: list[tuple[int, ...]],
    box_bytes: int,
) -> None:
    factors: list[tuple[int, ...]] = [(1,) * 5]
    for step in steps:
        factors.append((1, 1, *(a * b for a, b in zip(factors[-1][2:], step, strict=True))))
    levels = [Grid(level_shape(shape, f), tuple(map(min, chunk, level_shape(shape, f)))) for f in factors]
    request: Any = Request(tuple(levels), tuple(factors), (Grid(shape, source),), False, box_bytes)  # type: ignore[arg-type]
    passes = request.passes()
    assert [k for step in passes for k in step.write_levels] == list(range(len(levels)))
    for step in passes:
        assert step.native == (step.write_levels[0] == 0)
        assert step.read_level == max(0, step.write_levels[0] - 1)
        for k, factor in zip(step.write_levels, step.factors, strict=True):
            sides = zip(step.region, step.shape, levels[k].chunks, factor, strict=True)
            assert all(r == n or r % (c * f) == 0 for r, n, c, f in sides)
        if len(step.write_levels) > 1:
            assert 2 * prod(step.region) <= box_bytes


def test_boxes_of_a_sample_are_spread() -> None:
    for count, share in product((1, 7, 100, 1001), (0.001, 0.05, 0.3, 1.0)):
        numbers = chosen(count, share, Random(3))
        assert 1 <= len(numbers) <= share * count + 1
        assert sorted(set(numbers)) == numbers
        assert numbers[0] >= 0
        assert numbers[-1] < count
        widest = max(b - a for a, b in zip([0, *numbers], [*numbers, count], strict=True))
        assert widest <= 2 * -(-count // len(numbers))
    assert chosen(40, 1.0, Random(3)) == list(range(40))


def test_a_sample_can_find_what_it_reads(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    array = zarr.open_array(store / "0", mode="r+")
    array[...] = np.asarray(array[...]) + 1
    found = verify(source, store, share=0.01)
    level = found.images[0].levels[0]
    assert level.differing == level.chunks > 0


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_that_cannot_be(tmp_path: Path, share: float) -> None:
    source, store, _ = converted(tmp_path, CASES["TIFF"])
    with pytest.raises(OptionError, match="share"):
        verify(source, store, share=share)


# -- before a store has its name ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ims, cropped", "two images", "ims, its own levels", "ims, another type"])
def test_images_of_an_open_source(tmp_path: Path, name: str) -> None:
    source, store, options = converted(tmp_path, CASES[name])
    seen: list[Progress] = []
    with open_with(str(source), options) as opened:
        decided = decide(opened, options, "in")
        found = verify_images(store, decided, source=str(source), observe=seen.append)
        assert found.passed
        again = verify(source, store).images
        shapes = [image.source_shape if image.crop is None else None for image in again]
        assert found.images == tuple(
            replace(image, source_shape=shape) for image, shape in zip(again, shapes, strict=True)
        )
        assert {event.image for event in seen} == set(range(len(decided)))
        assert seen[-1].done == seen[-1].total
        path = decided[-1].folder + "/0"
        array = zarr.open_array(store / path.lstrip("/"), mode="r+")
        array[(0,) * array.ndim] = 0
        spoilt = verify_images(store, decided, source=str(source))
        assert [(d.image, d.level) for d in spoilt.differences] == [(len(decided) - 1, 0)]


def test_a_reader_with_one_way_only_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    usual = ImarisPixels.__init__

    def without(self: ImarisPixels, **fields: Any) -> None:
        usual(self, **{**fields, "library": ""})

    monkeypatch.setattr(ImarisPixels, "__init__", without)
    found = verify(source, store)
    assert not found.images[0].independent
    assert found.images[0].levels[0].compared_with == "the source as conversions read it"
    assert found.to_json()["images"][0]["independent"] is False
    assert "by the code that conversions use" in next(verification_lines(found))
    pixels = ArrayPixels(coded_pixels((1, 1, 1, 4, 4)))
    assert pixels.library == ""
    assert np.array_equal(pixels.read_by_library(Box((0,) * 5, (1, 1, 1, 2, 3))), pixels.array[..., :2, :3])


def test_the_report_is_json_and_words(tmp_path: Path) -> None:
    source, store, _ = converted(tmp_path, CASES["ims"])
    right = verify(source, store)
    data = json.loads(json.dumps(right.to_json(), allow_nan=False))
    assert (data["source"], data["store"], data["share"]) == (str(source), str(store), 1)
    assert (data["passed"], data["differing"]) == (True, 0)
    assert data["images"][0]["levels"][0]["crc32"] == f"{right.images[0].levels[0].crc32:08x}"
    assert list(verification_lines(right))[-1] == f"{store} is the same as {source} (every chunk)"
    sampled = verify(source, store, share=0.05)
    assert list(verification_lines(sampled))[-1] == (
        f"{store} is the same as {source} (5% of the boxes, seed {compare.SEED})"
    )
    array = zarr.open_array(store / "0", mode="r+")
    array[...] = 0
    wrong = verify(source, store)
    lines = list(verification_lines(wrong))
    assert lines[-1] == f"{store}: 180 chunks differ from {source} (every chunk)"
    assert "  and 170 more chunks" in lines
    assert "180 of 180 chunks compared with the source through h5py: 180 differ, CRC-32" in lines[0]
    assert json.loads(json.dumps(wrong.to_json()))["images"][0]["levels"][0]["differences"][0]["found"] == 0
