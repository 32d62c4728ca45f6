"""OME-TIFF: files and sets by other programs, and small ones made here for every order and every oddity."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import ome_types
import pytest
import tifffile
from data_folder import DATA, data_file, data_names
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_tiffs import channel, coded, data, document, file_set, image, one, pages_of, uuid_of, write
from stores import assert_valid, attributes, levels

from ngff_convert import Options, convert
from ngff_convert.errors import ConversionError, OptionError, ReadError, UnsupportedInput
from ngff_convert.model import UNKNOWN, Calibration, Channel
from ngff_convert.readers.contract import HEAD_BYTES, NO_WISHES, Reading
from ngff_convert.readers.ome_tiff import OmeTiffReader
from ngff_convert.readers.ome_tiff_source import COUNTED_FILES, alone_in, set_of
from ngff_convert.readers.ome_xml import ORDERS
from ngff_convert.readers.tiff_files import TiffFiles
from ngff_convert.testing import check_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ngff_convert.model import Image
    from ngff_convert.readers.ome_tiff_source import OmeTiffSource

READER = OmeTiffReader()
UPSIDE_DOWN = (274, 3, 1, 4, True)
RGB = [Channel("red", "FF0000"), Channel("green", "00FF00"), Channel("blue", "0000FF")]
PHOTO = [replace(channel, window=(0, 255)) for channel in RGB]
OWN_STRUCTURE = "the structure of the TIFF itself is used, not its OME-XML: "


def opened(path: Path, reading: Reading = NO_WISHES) -> OmeTiffSource:
    return READER.open(str(path), reading)


def read(path: Path, reading: Reading = NO_WISHES) -> tuple[Image, NDArray[Any], list[str]]:
    """Return the only image of a file, its pixels, and the warnings."""
    with opened(path, reading) as source:
        (found,) = source.images
        assert source.missing == []
        return found, found.pixels[...], list(source.warnings)


def assert_clean(path: Path, pixels: NDArray[Any]) -> Image:
    """The file has this one image, and nothing is odd."""
    found, block, warnings = read(path)
    assert warnings == []
    assert block.dtype == pixels.dtype
    np.testing.assert_array_equal(block, pixels)
    return found


# -- real files ----------------------------------------------------------------------------------------------

ALONE = [name for name in data_names("ometiff/*.tif*") if not name.endswith(".json")]
MEMBERS = [
    *(name for name in data_names("ometiff/*/*") if name.endswith((".tif", ".tiff", ".companion.ome"))),
]
DIRECTIONS = {"T": 0, "C": 1, "S": 1, "Z": 2, "Y": 3, "X": 4}


def truth_of(name: str) -> list[dict[str, Any]]:
    """Return what is known of each image of a file; nothing where nothing is."""
    path = DATA / f"{name}.truth.json"
    if not path.exists():
        return []
    truth: dict[str, Any] = json.loads(path.read_text())
    known: list[dict[str, Any]] = truth.get("series_as_read_by_tifffile") or [truth]
    return known + ([truth["second"]] if "second" in truth else [])


def assert_pixels(found: Image, truth: dict[str, Any]) -> None:
    """Hold an image against the digest of an array whose axes may be other and fewer ones."""
    along = [DIRECTIONS[axis] for axis in truth["axes"]]
    dropped = [axis for axis in range(5) if axis not in along]
    assert [found.pixels.shape[axis] for axis in dropped] == [1] * len(dropped)
    block = found.pixels[...].transpose(dropped + along).reshape(truth["shape"])
    assert block.dtype == truth["dtype"]
    assert sha256(np.ascontiguousarray(block).tobytes()).hexdigest() == truth["sha256"]


def by_tifffile(series: tifffile.TiffPageSeries) -> NDArray[Any]:
    block: NDArray[Any] = tifffile.transpose_axes(series.asarray(), series.axes, "TCSZYX")
    t, c, s, z, y, x = block.shape
    return block.reshape(t, c * s, z, y, x)


@pytest.mark.parametrize("name", ALONE)
def test_files_by_other_programs(name: str) -> None:
    path = data_file(name)
    with opened(path) as source, tifffile.TiffFile(path) as tif:
        assert source.warnings == []
        assert source.missing == []
        assert source.paths == [str(path)]
        assert len(source.images) == len(tif.series)
        truths = truth_of(name)
        assert len(truths) in (0, len(tif.series))
        for found, truth in zip(source.images, truths, strict=False):
            assert_pixels(found, truth)
            assert_calibration(found, truth)
        for found, series in zip(source.images, tif.series, strict=True):
            theirs = [by_tifffile(level) for level in series.levels]
            ours = [found.pixels[...], *(level.pixels[...] for level in found.native_levels)]
            assert len(ours) == len(theirs)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(a, b)
            assert all(level.factor[1] == level.factor[2] for level in found.native_levels)
            assert found.ome is not None


def assert_calibration(found: Image, truth: dict[str, Any]) -> None:
    if "pixel_nm" in truth:
        assert found.calibration.zyx[1:] == (250, 250)
    if "pixel_size_xyz" in truth:
        x, y, z = truth["pixel_size_xyz"]
        # One writer states no size along z where there is none.
        assert found.calibration.zyx[1:] == (y, x)
        assert found.calibration.zyx[0] == z or found.pixels.shape[2] == 1 or truth.get("channels") is None
        assert found.calibration.unit == "micrometer"
    if truth.get("channels"):
        assert [c.name for c in found.channels] == truth["channels"]
    assert found.calibration.t_s == truth.get("extra", {}).get("TimeIncrement")


def test_what_is_said_of_real_files() -> None:
    with opened(data_file("ometiff/bf_bigendian_series3.ome.tif")) as source:
        assert [i.calibration for i in source.images] == [Calibration((1.5, 0.4, 0.4), "micrometer")] * 3
    with opened(data_file("ometiff/tf_two_series.ome.tif")) as source:
        first, second = source.images
        assert first.name == "first"
        assert [str(found.pixels.dtype) for found in source.images] == ["uint16", "uint8"]
        assert second.calibration == Calibration((None, 250, 250), "nanometer")
    with opened(data_file("ometiff/tf_zyx_f32_be.ome.tif")) as source:
        assert source.images[0].calibration == Calibration((3, 1.3, 1.3), "micrometer")
        assert source.images[0].pixels.dtype.isnative
    for name in ("bf_rgb", "cells"):
        with opened(data_file(f"ometiff/{name}.ome.tif")) as source:
            assert list(source.images[0].channels) == PHOTO


@pytest.mark.parametrize("name", MEMBERS)
def test_each_member_of_a_set_is_the_whole_image(name: str) -> None:
    path = data_file(name)
    others = sorted(p for p in path.parent.iterdir() if p.suffix != ".json")
    truths = list(path.parent.glob("*.truth.json"))
    with opened(path) as source:
        (found,) = source.images
        assert source.warnings == []
        assert source.missing == []
        assert sorted(source.paths) == [str(p) for p in others]
        assert set_of(str(path)) == {str(p) for p in others}
        if truths:
            truth = json.loads(truths[0].read_text())
            assert_pixels(found, truth)
            assert_calibration(found, truth)
            assert [c.name for c in found.channels] == ["ch0", "ch1"]
        else:
            planes = [tifffile.imread(p, is_ome=False) for p in others if p.suffix == ".tiff"]
            np.testing.assert_array_equal(found.pixels[0, 0], planes)


CHECKED = [
    *(name for name in ALONE if "bf_plate" not in name),
    *(name for name in MEMBERS if name.endswith(("p.companion.ome", "_t1.ome.tiff", "m_t1_c0_z2.ome.tif"))),
]


@pytest.mark.parametrize("name", CHECKED)
def test_the_contract_is_kept_on_real_files(name: str) -> None:
    check_reader(READER, str(data_file(name)))


# -- which files they are ------------------------------------------------------------------------------------


def test_files_are_recognised_by_their_description(tmp_path: Path) -> None:
    pixels = coded()
    one(tmp_path / "a.ome.tif", pixels)
    one(tmp_path / "renamed.tif", pixels)
    write(tmp_path / "big.tif", pages_of(pixels), document(image(pixels)), bigtiff=True, byteorder=">")
    write(tmp_path / "plain.ome.tif", pages_of(pixels))
    write(tmp_path / "word.tif", pages_of(pixels), "just words")
    (tmp_path / "a.companion.ome").write_text(f"\ufeff {document(image(pixels))}", encoding="utf-8")
    (tmp_path / "b.companion.ome").write_bytes(b"\x89HDF")
    (tmp_path / "xml.ome").write_text(document(image(pixels)))
    yes = {"a.ome.tif", "renamed.tif", "big.tif", "a.companion.ome"}
    for path in tmp_path.iterdir():
        assert READER.can_read(str(path), path.read_bytes()[:HEAD_BYTES]) is (path.name in yes), path.name


def test_a_description_at_the_end_of_the_file(tmp_path: Path) -> None:
    pixels = coded(3, y=100, x=120)
    path = write(tmp_path / "a.tif", pages_of(pixels), "short")
    tifffile.tiffcomment(path, document(image(pixels, before=f"<Description>{'x' * 9999}</Description>")))
    with tifffile.TiffFile(path) as tif:
        assert tif.pages.first.tags[270].valueoffset > path.stat().st_size - 20_000
    assert READER.can_read(str(path), path.read_bytes()[:HEAD_BYTES])
    assert_clean(path, pixels)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.ome.tif").write_text("no TIFF")
    (tmp_path / "empty.companion.ome").touch()
    (tmp_path / "bad.companion.ome").write_text("<OME><Image></OME>")
    (tmp_path / "other.companion.ome").write_text("<html/>")
    (tmp_path / "cut.ome.tif").write_bytes(b"II*\0\x08\0")
    for name, kind, words in (
        ("none.ome.tif", ReadError, "No such file"),
        (".", UnsupportedInput, "is a folder"),
        ("empty.companion.ome", ReadError, "is empty"),
        ("bad.companion.ome", ReadError, r"bad\.companion\.ome: the OME-XML cannot be read"),
        ("other.companion.ome", ReadError, "not OME-XML: the root is 'html'"),
        ("text.ome.tif", UnsupportedInput, "not an OME-TIFF file"),
        ("cut.ome.tif", ReadError, r"cut\.ome\.tif"),
    ):
        with pytest.raises(kind, match=words) as caught:
            opened(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_after_closing_nothing_is_read(tmp_path: Path) -> None:
    with opened(one(tmp_path / "a.ome.tif", coded())) as source:
        pixels = source.images[0].pixels
    with pytest.raises(ValueError, match="closed"):
        pixels[0]


# -- orders, types, forms of TIFF ----------------------------------------------------------------------------

SIZES = st.integers(1, 3)


@settings(max_examples=60)
@given(order=st.sampled_from(sorted(ORDERS)), t=SIZES, c=SIZES, z=SIZES, explicit=st.booleans())
def test_every_order_of_dimensions(order: str, t: int, c: int, z: int, explicit: bool) -> None:
    pixels = coded(t, c, z, 2, 3)
    inner = data(IFD=0, PlaneCount=t * c * z) if explicit else ""
    with tempfile.TemporaryDirectory() as folder:
        xml = document(image(pixels, inner, DimensionOrder=order))
        path = write(Path(folder, "a.ome.tif"), pages_of(pixels, order), xml)
        assert_clean(path, pixels)


def test_planes_anywhere(tmp_path: Path) -> None:
    pixels = coded(2, 2, 3)
    places = np.random.default_rng(0).permutation(12)
    pages = np.empty((12, 6, 9), "uint16")
    inner = ""
    for (t, c, z), page in zip(np.ndindex(2, 2, 3), places, strict=True):
        pages[page] = pixels[t, c, z]
        inner += data(IFD=page, FirstT=t, FirstC=c, FirstZ=z)
    path = write(tmp_path / "a.ome.tif", pages, document(image(pixels, inner)))
    assert_clean(path, pixels)
    check_reader(READER, str(path))


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]
)
@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", True)])
def test_every_type_of_pixels(
    tmp_path: Path, dtype: str, byteorder: Literal["<", ">"], bigtiff: bool
) -> None:
    pixels = coded(2, c=2, dtype=dtype)
    stored = [page.astype(page.dtype.newbyteorder(byteorder)) for page in pages_of(pixels)]
    xml = document(image(pixels, BigEndian=str(byteorder == ">").lower()))
    assert_clean(write(tmp_path / "a.ome.tif", stored, xml, byteorder=byteorder, bigtiff=bigtiff), pixels)


def test_pixels_of_one_bit(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((2, 1, 1, 5, 11)) > 0.5
    assert_clean(one(tmp_path / "a.ome.tif", bits), bits.astype("uint8"))


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    path = one(tmp_path / "a.ome.tif", np.ones((1, 1, 1, 5, 7), "complex64"))
    with pytest.raises(UnsupportedInput, match=r"a\.ome\.tif: page 0: pixels are complex numbers"):
        opened(path)


def test_several_images(tmp_path: Path) -> None:
    blocks = [coded(2, 1, 3), coded(1, 2, 1, 20, 30, "uint8"), coded(1, 1, 1, 7, 5, "float32")]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for block in blocks:
            tif.write(block, metadata={"axes": "TCZYX", "Name": f"of {block.dtype}"})
    with opened(tmp_path / "a.ome.tif") as source:
        assert source.warnings == []
        assert [found.name for found in source.images] == ["of uint16", "of uint8", "of float32"]
        for found, block in zip(source.images, blocks, strict=True):
            np.testing.assert_array_equal(found.pixels[...], block)
    report = convert(tmp_path / "a.ome.tif", tmp_path / "out")
    assert report.warnings == ()
    assert_valid(tmp_path / "out", tmp_path / "out" / "1")
    np.testing.assert_array_equal(levels(tmp_path / "out" / "1", "0.5")[0], blocks[1][0])


def test_an_image_that_is_not_supported_is_left_out(tmp_path: Path) -> None:
    good, bad = coded(), np.ones((1, 1, 1, 6, 9), "complex64")
    images = image(bad, data(IFD=0)), image(good, data(IFD=1), number=1)
    path = write(tmp_path / "a.ome.tif", [bad[0, 0, 0], good[0, 0, 0]], document(*images))
    with opened(path) as source:
        assert [found.name for found in source.images] == ["image 1"]
        assert source.warnings == [
            f"left out: {path}: page 0: " + source.warnings[0].partition("page 0: ")[2]
        ]
        np.testing.assert_array_equal(source.images[0].pixels[...], good)


def test_hundreds_of_images_in_one_file_are_all_looked_at(tmp_path: Path) -> None:
    pixels = coded(1, 1, 1, 1, 2)
    n = COUNTED_FILES + 4
    images = [image(pixels, data(IFD=i, PlaneCount=1 + (i == n - 1)), number=i, SizeT=2) for i in range(n)]
    path = write(tmp_path / "a.ome.tif", [pixels[0, 0, 0]] * n, document(*images))
    with opened(path) as source:
        assert len(source.images) == n
        # The last one has a plane beyond the end, which only counting its pages tells.
        assert f"should be in IFD {n} to {n}" in source.warnings[-2]


# -- colours -------------------------------------------------------------------------------------------------


def rgb_pages(pixels: NDArray[Any], *, planar: bool) -> list[NDArray[Any]]:
    """Return pages of three samples, in the order XYCZT."""
    t, c, z, y, x = pixels.shape
    grouped = pixels.reshape(t, c // 3, 3, z, y, x).transpose(0, 3, 1, 2, 4, 5).reshape(-1, 3, y, x)
    return list(grouped if planar else grouped.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 1), (2, 3, 2), (2, 6, 3)])
def test_samples_are_channels(tmp_path: Path, planar: bool, shape: tuple[int, int, int]) -> None:
    pixels = coded(*shape, y=12, x=16, dtype="uint8")
    names = [{}, {"Name": "second"}][: shape[1] // 3]
    inner = "".join(channel(n, SamplesPerPixel=3, **name) for n, name in enumerate(names)) + "<TiffData/>"
    xml = document(image(pixels, inner, DimensionOrder="XYCZT", Interleaved=str(not planar).lower()))
    config = {"photometric": "rgb", "planarconfig": "separate" if planar else "contig"}
    path = write(tmp_path / "a.ome.tif", rgb_pages(pixels, planar=planar), xml, **config)
    found = assert_clean(path, pixels)
    assert list(found.channels[:3]) == PHOTO
    assert [c.name for c in found.channels[3:]] == [f"second {c.name}" for c in RGB][: shape[1] - 3]
    assert found.ome is not None
    check_reader(READER, str(path))


@pytest.mark.parametrize("name", [None, "dye"])
def test_pages_know_how_many_samples_they_have(tmp_path: Path, name: str | None) -> None:
    pixels = coded(2, 3, dtype="uint8")
    named = {"Name": name, "Color": -1} if name else {}
    inner = "".join(channel(n, SamplesPerPixel=1, **named) for n in range(3)) + "<TiffData/>"
    xml = document(image(pixels, inner, DimensionOrder="XYCZT"))
    path = write(tmp_path / "a.ome.tif", rgb_pages(pixels, planar=False), xml, photometric="rgb")
    found = assert_clean(path, pixels)
    assert list(found.channels) == ([Channel("dye", "FFFFFF")] * 3 if name else PHOTO)
    inner = channel(SamplesPerPixel=3) + "<TiffData/>"
    path = write(tmp_path / "b.ome.tif", pages_of(pixels), document(image(pixels, inner)))
    assert list(assert_clean(path, pixels).channels) == RGB


def test_colours_that_the_document_does_not_know_of(tmp_path: Path) -> None:
    pixels = coded(1, 3, dtype="uint8")
    xml = document(image(pixels, SizeC=1))
    path = write(tmp_path / "a.ome.tif", rgb_pages(pixels, planar=False), xml, photometric="rgb")
    found, block, warnings = read(path)
    np.testing.assert_array_equal(block, pixels)
    assert list(found.channels) == PHOTO
    assert found.ome is None
    assert warnings == ["OME-XML states c 1, the pages have c 3, which is taken"]


# -- pyramids ------------------------------------------------------------------------------------------------


def pyramid(path: Path, pixels: NDArray[Any], lower: Sequence[NDArray[Any]], **options: Any) -> Path:
    """Write a file whose every page has lower levels as its sub-pages."""
    with tifffile.TiffWriter(path, ome=True) as tif:
        axes = {"axes": "TCZYX"}
        tif.write(pixels, subifds=len(lower), metadata=axes, **options)
        for level in lower:
            tif.write(level, subfiletype=1, metadata=axes, **options)
    return path


def test_lower_levels(tmp_path: Path) -> None:
    pixels = coded(2, 2, 3, 100, 131)
    lower = [coded(2, 2, 3, 50, 65), coded(2, 2, 3, 25, 33) + 7]
    path = pyramid(tmp_path / "a.ome.tif", pixels, lower, tile=(32, 48), compression="zlib")
    found, block, warnings = read(path)
    assert warnings == []
    np.testing.assert_array_equal(block, pixels)
    assert [level.factor for level in found.native_levels] == [(1, 2, 2), (1, 4, 4)]
    assert [level.shift for level in found.native_levels] == [(0, 0.5, 0.5), (0, 1.5, 1.5)]
    check_reader(READER, str(path))
    convert(path, tmp_path / "out", Options(pyramid="native"))
    for stored, level in zip(levels(tmp_path / "out", "0.5"), [pixels, *lower], strict=True):
        np.testing.assert_array_equal(stored, level)


def test_lower_levels_that_grow_are_not_used(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.ome.tif", coded(2), [coded(2, y=3, x=5), coded(2, y=4, x=5)])
    found, _, warnings = read(path)
    assert found.native_levels == ()
    assert warnings == ["lower levels are not used: level 2 is larger than the level above it"]


# -- planes that are not there -------------------------------------------------------------------------------


def test_planes_that_nothing_places_are_zero_and_said(tmp_path: Path) -> None:
    pixels = coded(3, 2, 2)
    places = [(t, c, z) for t, c, z in np.ndindex(3, 2, 2) if (t, c, z) != (0, 1, 1) and t != 2]
    inner = "".join(data(IFD=i, FirstT=t, FirstC=c, FirstZ=z) for i, (t, c, z) in enumerate(places))
    path = write(tmp_path / "a.ome.tif", [pixels[p] for p in places], document(image(pixels, inner)))
    _, block, warnings = read(path)
    pixels[0, 1, 1] = pixels[2] = 0
    np.testing.assert_array_equal(block, pixels)
    assert warnings == ["no page holds these planes, which read as 0: t 0, c 1, z 1; t 2"]
    check_reader(READER, str(path))
    report = convert(path, tmp_path / "out")
    assert warnings[0] in report.warnings
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], pixels)


def test_fewer_pages_than_planes(tmp_path: Path) -> None:
    pixels = coded(5)
    path = write(tmp_path / "a.ome.tif", pages_of(pixels[:3]), document(image(pixels, "")))
    _, block, warnings = read(path)
    np.testing.assert_array_equal(block[:3], pixels[:3])
    assert not block[3:].any()
    assert warnings == [
        "the file has 3 IFDs, but 2 planes should be in IFD 3 to 4 of it: missing",
        "no page holds these planes, which read as 0: t 3-4",
    ]


def test_a_page_of_another_size_is_found_when_it_is_read(tmp_path: Path) -> None:
    pixels = coded(2)
    path = write(tmp_path / "a.ome.tif", [pixels[0, 0, 0], coded(y=4)[0, 0, 0]], document(image(pixels)))
    with opened(path) as source:
        np.testing.assert_array_equal(source.images[0].pixels[0], pixels[0])
        with pytest.raises(ReadError, match=r"a\.ome\.tif: page 1 is uint16 of 1 x 1 x 4 x 9 \(sample"):
            source.images[0].pixels[1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"SizeX": 90}, "OME-XML states x 90, the pages have x 9, which is taken"),
        ({"SizeX": 6, "SizeY": 9}, "OME-XML states y 9, x 6, the pages have y 6, x 9, which is taken"),
        ({"Type": "uint8"}, "OME-XML states uint8 pixels, the pages have uint16, which are taken"),
        ({"Type": "float"}, "OME-XML states float32 pixels, the pages have uint16, which are taken"),
    ],
)
def test_pages_are_believed(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    pixels = coded(2)
    path = one(tmp_path / "a.ome.tif", pixels, **fields)
    _, block, warnings = read(path)
    np.testing.assert_array_equal(block, pixels)
    assert warnings == [said]
    convert(path, tmp_path / "out")
    written = sidecar(tmp_path / "out").images[0].pixels
    assert (written.size_x, written.size_y, written.type.value) == (9, 6, "uint16")


# -- sets of files -------------------------------------------------------------------------------------------

NAMES = ["a_t0.ome.tif", "a_t1.ome.tif", "a_t2.ome.tif"]
SET = coded(3, 2, 2)


@pytest.mark.parametrize("companion", ["", "a.companion.ome", "a_t1.ome.tif"])
def test_any_file_of_a_set_opens_it(tmp_path: Path, companion: str) -> None:
    file_set(tmp_path, SET, NAMES, companion)
    for path in tmp_path.iterdir():
        assert_clean(path, SET)
        with opened(path) as source:
            assert sorted(source.paths) == sorted(map(str, tmp_path.iterdir()))


@pytest.mark.parametrize("companion", ["", "a.companion.ome"])
def test_files_that_are_missing(tmp_path: Path, companion: str) -> None:
    file_set(tmp_path, SET, NAMES, companion)
    (tmp_path / NAMES[1]).unlink()
    first = tmp_path / (companion or NAMES[0])
    total = 3 + bool(companion)
    said = f"1 of {total} files of the set are missing: a_t1.ome.tif"
    with opened(first) as source:
        assert source.missing == [said]
        assert source.warnings == ["no page holds these planes, which read as 0: t 1"]
        block = source.images[0].pixels[...]
    with pytest.raises(ReadError, match=f"{said}; .* --on-error fill"):
        convert(first, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = convert(first, tmp_path / "out", Options(on_error="fill"))
    assert report.filled == (said,)
    expected = SET.copy()
    expected[1] = 0
    np.testing.assert_array_equal(block, expected)
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], expected)


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("ngff-convert")
    return subprocess.run(
        [command, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_ends_with_3_where_files_are_missing(tmp_path: Path) -> None:
    path = file_set(tmp_path, SET, NAMES)[0]
    (tmp_path / NAMES[2]).unlink()
    stopped = run(path, tmp_path / "out")
    assert (stopped.returncode, (tmp_path / "out").exists()) == (3, False)
    assert NAMES[2] in stopped.stderr
    assert "Traceback" not in stopped.stderr
    filled = run(path, tmp_path / "out", "--on-error", "fill")
    assert (filled.returncode, (tmp_path / "out").exists()) == (3, True)
    assert f"{path}: not whole: 1 of 3 files of the set are missing: {NAMES[2]}" in filled.stderr


def test_places_outside_the_image_are_none(tmp_path: Path) -> None:
    path = one(tmp_path / "a.ome.tif", coded(2), data(IFD=0, FirstT=7))
    with pytest.raises(ReadError, match=r"a\.ome\.tif: none of the pages of image 0 is there"):
        opened(path)


@pytest.mark.parametrize(("content", "kind"), [(b"", ReadError), (b"no TIFF", UnsupportedInput)])
def test_a_member_that_is_no_tiff_is_named(tmp_path: Path, content: bytes, kind: type[Exception]) -> None:
    paths = file_set(tmp_path, SET, NAMES)
    paths[1].write_bytes(content)
    with pytest.raises(kind, match=str(paths[1])):
        opened(paths[0])


def test_many_missing_files_are_counted(tmp_path: Path) -> None:
    pixels = coded(30)
    names = [f"t{t:02}.ome.tif" for t in range(30)]
    file_set(tmp_path, pixels, names)
    for name in names[3:]:
        (tmp_path / name).unlink()
    with opened(tmp_path / names[1]) as source:
        named = ", ".join(names[3:13])
        assert source.missing == [f"27 of 30 files of the set are missing: {named} and 17 more"]


def test_images_whose_files_are_missing_are_left_out(tmp_path: Path) -> None:
    pixels = coded()
    images = [image(pixels, data(f"{n}.ome.tif", uuid_of(str(n)), IFD=0), number=n) for n in range(3)]
    for n in (0, 2):
        write(tmp_path / f"{n}.ome.tif", pages_of(pixels + n), document(*images, uuid=uuid_of(str(n))))
    with opened(tmp_path / "0.ome.tif") as source:
        assert [found.name for found in source.images] == ["image 0", "image 2"]
        np.testing.assert_array_equal(source.images[1].pixels[...], pixels + 2)
        assert source.missing == [
            "1 of 3 files of the set are missing: 1.ome.tif",
            f"left out: {tmp_path}/0.ome.tif: none of the pages of image 1 is there",
        ]
    (tmp_path / "a.companion.ome").write_text(document(images[1]))
    with pytest.raises(ReadError, match=r"a\.companion\.ome: none of the pages .* missing: 1\.ome\.tif"):
        opened(tmp_path / "a.companion.ome")


def test_one_file_under_another_name(tmp_path: Path) -> None:
    for uuid in ("", uuid_of("x")):  # by its UUID, or because no other can be meant
        inner = data("before.ome.tif", uuid_of("x"), IFD=0, PlaneCount=4)
        xml = document(image(SET[:1], inner), uuid=uuid)
        assert_clean(write(tmp_path / "after.ome.tif", pages_of(SET[:1]), xml), SET[:1])


def test_a_member_under_another_name_is_known_by_its_uuid(tmp_path: Path) -> None:
    paths = file_set(tmp_path, SET, NAMES)
    paths[1].rename(tmp_path / "other.ome.tif")
    assert_clean(tmp_path / "other.ome.tif", SET)


def test_a_changed_copy_beside_the_file_it_was_made_of(tmp_path: Path) -> None:
    inner = data("a.ome.tif", uuid_of("a"), IFD=0, PlaneCount=4)
    xml = document(image(SET[:1], inner), uuid=uuid_of("a"))
    write(tmp_path / "a.ome.tif", pages_of(SET[:1]), xml)
    write(tmp_path / "b.ome.tif", pages_of(SET[:1] + 1), xml)
    assert_clean(tmp_path / "a.ome.tif", SET[:1])
    assert_clean(tmp_path / "b.ome.tif", SET[:1] + 1)


def test_a_set_whose_files_all_claim_the_uuid_of_the_first(tmp_path: Path) -> None:
    paths = file_set(tmp_path, SET, NAMES)
    xml = tifffile.tiffcomment(paths[0])
    for path in paths[1:]:
        tifffile.tiffcomment(path, xml)
        assert_clean(path, SET)


@pytest.mark.parametrize("name", ["deep/er/a.ome.tif", "./a.ome.tif", r"deep\er\a.ome.tif"])
def test_files_in_folders_below(tmp_path: Path, name: str) -> None:
    place = tmp_path / name.replace("\\", "/")
    place.parent.mkdir(parents=True, exist_ok=True)
    write(place, pages_of(SET[:1]))
    (tmp_path / "x.companion.ome").write_text(document(image(SET[:1], data(name, "1", PlaneCount=4))))
    assert_clean(tmp_path / "x.companion.ome", SET[:1])


@pytest.mark.parametrize(
    "name",
    ["../secret.tif", "{}/secret.tif", r"..\secret.tif", r"C:\data\secret.tif", "in/../../secret.tif"],
)
def test_names_never_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    secret = write(tmp_path / "secret.tif", pages_of(SET[:1] + 9))
    name = name.format(tmp_path)
    folder = tmp_path / "set"
    (folder / "in").mkdir(parents=True)
    companion = folder / "x.companion.ome"
    companion.write_text(document(image(SET[:1], data(name, "1", PlaneCount=4))))
    with pytest.raises(ReadError, match="1 of 2 files of the set are missing: "):
        opened(companion)
    assert str(secret) not in set_of(str(companion))
    write(folder / "secret.tif", pages_of(SET[:1]))  # what a name of another machine means
    assert_clean(companion, SET[:1])


@pytest.mark.parametrize("name", ["", ".", "..", "/", "\\", "a" * 5000, "a&#9;b", "*"])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.companion.ome").write_text(document(image(SET[:1], data("@", "1")).replace("@", name)))
    with pytest.raises(ReadError, match="files of the set are missing: "):
        opened(tmp_path / "x.companion.ome")


def test_hundreds_of_files(tmp_path: Path) -> None:
    n = COUNTED_FILES + 50
    pixels = coded(n, z=2, y=3, x=4)
    names = [f"t{t}.ome.tif" for t in range(n)]
    paths = file_set(tmp_path, pixels, names, "all.companion.ome")
    assert_clean(paths[n - 1], pixels)
    write(paths[-1], [pixels[-1, 0, 0]])  # pages of so many files are not counted, but missed later
    with opened(paths[0]) as source:
        assert source.warnings == []
        np.testing.assert_array_equal(source.images[0].pixels[:-1], pixels[:-1])
        with pytest.raises(ReadError, match=rf"{names[-1]}: page 1 cannot be read"):
            source.images[0].pixels[-1]


# -- where the document is -----------------------------------------------------------------------------------


def test_a_document_elsewhere_that_is_missing(tmp_path: Path) -> None:
    path = file_set(tmp_path, SET, NAMES, "a.companion.ome")[0]
    (tmp_path / "a.companion.ome").unlink()
    found, block, (said,) = read(path)
    where = "is described by the OME-XML in a.companion.ome, which is missing; put it beside"
    assert said == f"{OWN_STRUCTURE}{path}: {where}"
    np.testing.assert_array_equal(block.reshape(4, 6, 9), SET[0].reshape(4, 6, 9))
    assert found.ome is None


def test_a_document_in_what_is_no_document(tmp_path: Path) -> None:
    xml = document(before='<BinaryOnly MetadataFile="scan.bin" UUID="urn:uuid:1"/>')
    path = write(tmp_path / "a.ome.tif", pages_of(SET[0:1]), xml)
    with (tmp_path / "scan.bin").open("wb") as file:
        file.write(b"\1" * 99)
        file.truncate(2**40)  # sparse
    _, _, (said,) = read(path)
    assert said == f"{OWN_STRUCTURE}{tmp_path / 'scan.bin'}: is neither TIFF nor XML"


def test_documents_that_refer_in_a_circle(tmp_path: Path) -> None:
    def referring(name: str) -> str:
        return document(before=f'<BinaryOnly MetadataFile="{name}" UUID="urn:uuid:1"/>')

    for name, other in (("a.tif", "b.tif"), ("b.tif", "a.tif"), ("c.tif", "c.tif")):
        write(tmp_path / name, pages_of(SET[:1]), referring(other))
        assert set_of(str(tmp_path / name)) == set()
    for name in ("a.tif", "b.tif", "c.tif"):
        _, block, (said,) = read(tmp_path / name)
        assert said.startswith(OWN_STRUCTURE)
        assert said.endswith("but refers to another file")
        assert block.size == SET[:1].size
    (tmp_path / "x.companion.ome").write_text(referring("x.companion.ome"))
    with pytest.raises(ReadError, match="refers to another file"):
        opened(tmp_path / "x.companion.ome")


BOMB = '<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{}]>'.format(
    "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
)


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ("<OME><Image></OME>", "cannot be read: mismatched tag"),
        (document(), "describes no image"),
        (document(image(SET, SizeT=10**9)), "1000000000 x 2 x 2 planes"),
        (document(image(SET, SizeZ="9" * 400)), "planes"),
        (document(image(SET, DimensionOrder="TZC")), "DimensionOrder 'TZC'"),
        (
            document(image(SET, before="<Description>&a11;</Description>")).replace("<OME", f"{BOMB}<OME"),
            "DOCTYPE",
        ),
    ],
    ids=["tags", "no image", "10^9", "digits", "order", "bomb"],
)
def test_a_document_that_cannot_be_meant_is_not_used(tmp_path: Path, xml: str, said: str) -> None:
    path = write(tmp_path / "a.tif", pages_of(SET), xml)
    tracemalloc.start()
    try:
        _, block, warnings = read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20
    assert warnings[0].startswith(OWN_STRUCTURE)
    assert said in warnings[0]
    np.testing.assert_array_equal(block.reshape(12, 6, 9), pages_of(SET))
    report = convert(path, tmp_path / "out")
    assert report.filled == ()
    assert any(said in line for line in report.warnings)


def test_thousands_of_places(tmp_path: Path) -> None:
    pixels = coded(y=2, x=2)
    inner = "".join(data(f"{n}.tif", str(n), IFD=0, FirstT=n) for n in range(20_000))
    path = write(
        tmp_path / "a.ome.tif", pages_of(pixels), document(image(pixels, inner + data(), SizeT=30_000))
    )
    start = process_time()
    with opened(path) as source:
        assert "20000 of 20001 files of the set are missing: 0.tif, 1.tif, " in source.missing[0]
        np.testing.assert_array_equal(source.images[0].pixels[0], pixels[0])
    assert process_time() - start < 15


def test_a_million_time_points_that_are_not_there(tmp_path: Path) -> None:
    path = one(tmp_path / "a.ome.tif", coded(2), SizeT=10**6)
    tracemalloc.start()
    try:
        with opened(path) as source:
            _, peak = tracemalloc.get_traced_memory()
            assert source.images[0].pixels.shape[0] == 10**6
            assert source.warnings == ["no page holds these planes, which read as 0: t 2-999999"]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.999])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
def test_a_file_that_was_cut_is_never_passed_off_as_whole(
    tmp_path: Path, share: float, options: dict[str, Any]
) -> None:
    pixels = coded(5, y=40, x=50)
    whole = write(
        tmp_path / "whole.ome.tif", pages_of(pixels), document(image(pixels)), **options
    ).read_bytes()
    path = tmp_path / "a.ome.tif"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises((ReadError, UnsupportedInput), match=r"a\.ome\.tif") as caught:
        convert(path, tmp_path / "out", Options(reader="ome-tiff"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_was_cut_stops_whichever_reader_takes_it(
    tmp_path: Path, share: float, compression: str | None
) -> None:
    # Here the description, by which a reader knows it, is at the end.
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, coded(5, y=64, x=65)[:, 0, 0], metadata={"axes": "TYX"}, compression=compression)
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    with pytest.raises(
        ReadError, match=r"a\.ome\.tif.*(ends before all of its pages|beyond the end|cannot be)"
    ):
        convert(path, tmp_path / "out")
    with pytest.raises(ReadError):
        convert(path, tmp_path / "out", Options(reader="ome-tiff"))


def test_a_file_that_ends_between_two_pages(tmp_path: Path) -> None:
    pixels = coded(5, y=40, x=50)
    path = one(tmp_path / "a.ome.tif", pixels)
    with tifffile.TiffFile(path) as tif:
        third = tif.pages[3].offset
    with path.open("r+b") as file:
        file.truncate(third)
    said = f"{path} ends before all of its pages, as if truncated"
    with opened(path) as source:
        assert source.missing == [said]
        assert source.warnings == ["no page holds these planes, which read as 0: t 3-4"]
        np.testing.assert_array_equal(source.images[0].pixels[:2], pixels[:2])
    with pytest.raises(ReadError, match="as if truncated"):
        convert(path, tmp_path / "out")


# -- axes that the user states -------------------------------------------------------------------------------


def test_time_points_that_are_channels(tmp_path: Path) -> None:
    pixels = coded(5)
    sizes: dict[str, Any] = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    path = one(tmp_path / "a.ome.tif", pixels, **sizes)
    found, block, warnings = read(path, Reading(axes="c"))
    np.testing.assert_array_equal(block, pixels.swapaxes(0, 1))
    assert found.calibration == Calibration((2, 0.5, 0.25), "micrometer")
    assert found.channels == (Channel(),) * 5
    assert warnings == []
    convert(path, tmp_path / "out", Options(axes="cyx"))
    written = sidecar(tmp_path / "out").images[0].pixels
    assert (written.size_t, written.size_c, written.physical_size_x) == (1, 5, 0.25)
    assert len(written.channels) == 5


def test_axes_in_another_order(tmp_path: Path) -> None:
    pixels = coded(3, 1, 4)
    path = one(tmp_path / "a.ome.tif", pixels)
    _, block, _ = read(path, Reading(axes="zc"))
    np.testing.assert_array_equal(block[0], pixels[:, 0].swapaxes(0, 1))
    _, block, _ = read(path, Reading(axes="tcz", shape=(2, -1, 3)))
    np.testing.assert_array_equal(block, pixels.reshape(2, 2, 3, 6, 9))


def test_axes_that_do_not_fit(tmp_path: Path) -> None:
    path = one(tmp_path / "a.ome.tif", coded(3, 1, 4))
    for reading, said in (
        (Reading(axes="tcz"), "has 12 pages along 2 axes (3 x 4), not 3"),
        (Reading(axes="tz", shape=(5, 2)), "has 12 pages"),
    ):
        with pytest.raises(OptionError, match=re.escape(said)):
            opened(path, reading)
    with pytest.raises(OptionError, match="--files-from: the reader ome-tiff"):
        convert(path, tmp_path / "out", Options(reader="ome-tiff", files_from=str(path)))


# -- what is carried over ------------------------------------------------------------------------------------


def sidecar(store: Path) -> Any:
    xml = (store / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8")
    ome_types.validate_xml(xml)
    return ome_types.from_xml(xml.encode())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_metadata_reach_the_store(tmp_path: Path, version: str) -> None:
    pixels = coded(3, 2, 4)
    inner = (
        channel(0, Name="DAPI & co", Color=65535, EmissionWavelength=461)
        + channel(1, Name="GFP", Color=16711935)
        + "<TiffData/>"
        + "".join(
            f'<Plane TheT="{t}" TheC="{c}" TheZ="{z}" DeltaT="{2500 * t + z}" DeltaTUnit="ms" '
            f'PositionX="0.1" PositionXUnit="mm" PositionY="-7" PositionYUnit="µm" PositionZ="{3 + z}" '
            'PositionZUnit="µm"/>'
            for t, c, z in np.ndindex(3, 2, 4)
        )
    )
    sizes = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    sizes |= {"TimeIncrement": 2.5, "TimeIncrementUnit": "s"}
    date = "<AcquisitionDate>2024-02-29T12:00:00</AcquisitionDate>"
    path = one(tmp_path / "a.ome.tif", pixels, inner, before=date, **sizes)
    report = convert(path, tmp_path / "out", Options(ngff_version=version))
    assert report.warnings == ()
    assert_valid(tmp_path / "out", tmp_path / "out")
    found = attributes(tmp_path / "out", version)
    multiscales = found["multiscales"][0]
    assert multiscales["name"] == "image 0"
    assert [(axis["name"], axis.get("unit")) for axis in multiscales["axes"]] == [
        ("t", "second"),
        ("c", None),
        *((axis, "nanometer") for axis in "zyx"),
    ]
    scale, translation = multiscales["datasets"][0]["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [2.5, 1, 2000, 500, 250]}
    assert translation == {"type": "translation", "translation": [0, 0, 3000, -7000, 100_000]}
    shown = found["omero"]["channels"]
    assert [(c["label"], c["color"]) for c in shown] == [("DAPI & co", "0000FF"), ("GFP", "00FF00")]
    written = sidecar(tmp_path / "out").images[0]
    assert written.acquisition_date.isoformat() == "2024-02-29T12:00:00"
    assert written.pixels.channels[0].emission_wavelength == 461
    assert written.pixels.planes[-1].delta_t == 5003


def test_times_that_are_uneven_are_kept(tmp_path: Path) -> None:
    inner = "<TiffData/>" + "".join(
        f'<Plane TheT="{t}" TheC="0" TheZ="0" DeltaT="{seconds}"/>' for t, seconds in enumerate((0, 1, 7.5))
    )
    date = "<AcquisitionDate>2024-02-29T12:00:00</AcquisitionDate>"
    path = one(tmp_path / "a.ome.tif", coded(3), inner, before=date)
    found, _, (said,) = read(path)
    assert said.startswith("the time steps are uneven, 1 to 6.5 s")
    assert found.calibration.t_s is None
    assert [(stamp - found.time_stamps[0]).total_seconds() for stamp in found.time_stamps] == [0, 1, 7.5]
    convert(path, tmp_path / "out")
    assert [plane.delta_t for plane in sidecar(tmp_path / "out").images[0].pixels.planes] == [0, 1, 7.5]


def test_rows_that_are_stored_upside_down(tmp_path: Path) -> None:
    pixels = coded(2)
    path = write(tmp_path / "a.ome.tif", pages_of(pixels), document(image(pixels)), extratags=[UPSIDE_DOWN])
    found, block, (said,) = read(path)
    np.testing.assert_array_equal(block, pixels[..., ::-1, :])
    assert said.startswith("orientation 4: ")
    assert found.ome is None  # regions of interest would be elsewhere


def test_an_image_without_a_name_is_called_as_its_file(tmp_path: Path) -> None:
    xml = document(image(coded())).replace(' Name="image 0"', "")
    write(tmp_path / "cells.v2.ome.tif", pages_of(coded()), xml)
    convert(tmp_path / "cells.v2.ome.tif", tmp_path / "out")
    assert attributes(tmp_path / "out", "0.5")["multiscales"][0]["name"] == "cells.v2"


def test_what_is_not_stated_is_unknown(tmp_path: Path) -> None:
    found = assert_clean(one(tmp_path / "a.ome.tif", coded(2, 2)), coded(2, 2))
    assert found.calibration == Calibration(UNKNOWN, None, None, UNKNOWN)
    assert found.time_stamps == ()
    assert found.channels == (Channel(),) * 2


RICH = {
    "before": """<Instrument ID="Instrument:0"><Microscope Model="brass"/><Detector ID="Detector:0"/>
        <Objective ID="Objective:0" LensNA="1.4"/></Instrument>""",
    "after": """<StructuredAnnotations><MapAnnotation ID="Annotation:0"><Value><M K="gain">7</M></Value>
        </MapAnnotation></StructuredAnnotations><ROI ID="ROI:0"><Union>
        <Rectangle ID="Shape:0" X="5" Y="4" Width="2" Height="1" TheT="1"/></Union></ROI>""",
}
REFERRING = '</Pixels><ROIRef ID="ROI:0"/>'


def rich(path: Path) -> Path:
    """Write a file of two images, the first with an instrument and a region of interest."""
    pixels = coded(2, 2)
    first = image(pixels, before='<InstrumentRef ID="Instrument:0"/>').replace("</Pixels>", REFERRING)
    second = image(pixels, data(IFD=4, PlaneCount=4), number=1)
    first = first.replace("<TiffData></TiffData>", "").replace("<TiffData/>", data(IFD=0, PlaneCount=4))
    return write(path, pages_of(pixels) + pages_of(pixels + 100), document(first, second, **RICH))


def test_the_source_s_own_document_is_carried_on(tmp_path: Path) -> None:
    path = rich(tmp_path / "a.ome.tif")
    assert convert(path, tmp_path / "all").warnings == ()
    whole = sidecar(tmp_path / "all")
    assert whole.instruments[0].microscope.model == "brass"
    assert whole.images[0].instrument_ref.id == "Instrument:0"
    assert [shape.x for shape in whole.rois[0].union] == [5]
    assert len(whole.structured_annotations) == 1
    turned = convert(path, tmp_path / "turned", Options(images=(1, 0)))
    assert turned.warnings == ()
    whole = sidecar(tmp_path / "turned")
    assert [found.name for found in whole.images] == ["image 1", "image 0"]
    assert [len(found.roi_refs) for found in whole.images] == [0, 1]
    convert(path, tmp_path / "second", Options(images=(1,)))
    assert sidecar(tmp_path / "second").rois == []
    convert(path, tmp_path / "bare", Options(original_metadata=False))
    bare = sidecar(tmp_path / "bare")
    assert (bare.instruments, bare.rois, bool(bare.structured_annotations)) == ([], [], False)
    assert [found.name for found in bare.images] == ["image 0", "image 1"]


def test_a_crop_moves_what_is_carried_on(tmp_path: Path) -> None:
    path = rich(tmp_path / "a.ome.tif")
    crop = ((1, 2), (None, None), (None, None), (2, 6), (3, 9))
    convert(path, tmp_path / "out", Options(images=(0,), crop=crop))
    whole = sidecar(tmp_path / "out")
    (shape,) = whole.rois[0].union
    assert (shape.the_t, shape.transform.a02, shape.transform.a12) == (0, -3, -2)
    assert (whole.images[0].pixels.size_x, whole.images[0].pixels.size_t) == (6, 1)


def test_a_plate_by_another_program(tmp_path: Path) -> None:
    path = data_file("ometiff/bf_plate.ome.tif")
    report = convert(path, tmp_path / "out")
    assert report.warnings == ()
    whole = sidecar(tmp_path / "out")
    samples = [sample.image_ref.id for well in whole.plates[0].wells for sample in well.well_samples]
    assert sorted(samples) == [found.id for found in whole.images] == [f"Image:{n}" for n in range(8)]
    assert whole.instruments
    assert len(whole.rois) == len(ome_types.from_tiff(path).rois)
    with opened(path) as source:
        for number, found in enumerate(source.images):
            stored = levels(tmp_path / "out" / report.folders[number], "0.5")[0]
            np.testing.assert_array_equal(stored, found.pixels[0])
            assert_pixels(found, truth_of("ometiff/bf_plate.ome.tif")[number])


def test_a_document_that_cannot_be_carried_on_is_said(tmp_path: Path) -> None:
    pixels = coded(2, 2)
    points = '<Point ID="Shape:0" X="1" Y="2"/><Point ID="Shape:0" X="3" Y="4"/>'  # two of one name
    after = f'<ROI ID="ROI:0"><Union>{points}</Union></ROI>'
    path = write(tmp_path / "a.ome.tif", pages_of(pixels), document(image(pixels), after=after))
    (said,) = convert(path, tmp_path / "out").warnings
    assert said.startswith("the source's OME-XML cannot be carried on: ")
    assert "Shape:0" in said
    assert "\n" not in said
    assert sidecar(tmp_path / "out").rois == []
    assert convert(path, tmp_path / "bare", Options(original_metadata=False)).warnings == ()


def test_an_invalid_document_is_said_and_its_sizes_are_used(tmp_path: Path) -> None:
    path = one(tmp_path / "a.ome.tif", coded(2), before="<NoSuchElement/>", PhysicalSizeX=0.5)
    found, _, (said,) = read(path)
    assert said.startswith("OME-XML is invalid: ")
    assert said.endswith("not carried on")
    assert found.calibration.zyx == (None, None, 0.5)
    convert(path, tmp_path / "out")
    assert sidecar(tmp_path / "out").images[0].pixels.physical_size_x == 0.5


# -- one file among others -----------------------------------------------------------------------------------


def test_a_file_of_its_own(tmp_path: Path) -> None:
    file_set(tmp_path, SET, NAMES)
    lone = one(tmp_path / "lone.ome.tif", SET)
    bad = write(tmp_path / "bad.tif", pages_of(SET), "<OME></OME>")
    two = rich(tmp_path / "two.ome.tif")
    shutil.copy(lone, tmp_path / "copy.ome.tif")
    files = TiffFiles()
    warnings: list[str] = []
    try:
        found = alone_in(str(lone), files, warnings)
        assert found is not None
        assert (found.stack.axes.letters, found.stack.axes.sizes) == ("TCZ", (3, 2, 2))
        assert alone_in(str(tmp_path / NAMES[0]), files, warnings) is None
        assert alone_in(str(two), files, warnings) is None
        assert warnings == []
        assert alone_in(str(bad), files, warnings) is None
        assert warnings[0].startswith(OWN_STRUCTURE)
    finally:
        files.close()


def test_nothing_is_raised_but_errors_of_one_line(tmp_path: Path) -> None:
    pixels = coded(3, y=20, x=30)
    whole = bytearray(one(tmp_path / "a.ome.tif", pixels).read_bytes())
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = whole.copy()
        for place in random.integers(0, len(whole), 8):
            damaged[place] = random.integers(0, 256)
        path = tmp_path / "b.ome.tif"
        path.write_bytes(damaged)
        said = ""
        try:
            with opened(path) as source:
                for found in source.images:
                    if found.pixels.shape[0] < 100:
                        found.pixels[:, :, :1, :100, :100]
        except ConversionError as error:
            said = str(error)
        assert "\n" not in said
