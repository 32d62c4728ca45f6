"""Rows and columns as TIFF 6.0 says that they are seen."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file
from hypothesis import given
from hypothesis import strategies as st
from images import ArrayPixels, image
from stores import levels
from tiffs import READER, seen, write

from ngff_convert import Options, convert
from ngff_convert.model import NativeLevel
from ngff_convert.readers.orientation import upright
from ngff_convert.testing import check_reader, coded_pixels

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (2, 2, 3, 21, 34)
PIXELS = coded_pixels(SHAPE)

CORNERS = {
    1: ("first", "last column", "last row"),
    2: ("last column", "first", "both"),
    3: ("both", "last row", "last column"),
    4: ("last row", "both", "first"),
    5: ("first", "last row", "last column"),
    6: ("last row", "first", "both"),
    7: ("both", "last column", "last row"),
    8: ("last column", "both", "first"),
}
"""What stored corner is seen at the top left, the top right, and the bottom left (TIFF 6.0, page 36)."""


def turned(orientation: int) -> tuple[Any, list[str]]:
    warnings: list[str] = []
    chunks = (1, 1, 1, 8, 16)
    return upright(image(ArrayPixels(PIXELS, chunks)), orientation, warnings), warnings


@pytest.mark.parametrize("orientation", range(1, 9))
def test_corners_are_where_the_specification_has_them(orientation: int) -> None:
    plane = PIXELS[0, 0, 0]
    corner = {"first": plane[0, 0], "last column": plane[0, -1]}
    corner |= {"last row": plane[-1, 0], "both": plane[-1, -1]}
    found = turned(orientation)[0].pixels[0, 0, 0]
    top_left, top_right, bottom_left = (corner[name] for name in CORNERS[orientation])
    assert (found[0, 0], found[0, -1], found[-1, 0]) == (top_left, top_right, bottom_left)
    assert found.shape == ((21, 34) if orientation < 5 else (34, 21))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_pixel_is_seen_where_it_should_be(orientation: int) -> None:
    found, warnings = turned(orientation)
    np.testing.assert_array_equal(found.pixels[...], seen(PIXELS, orientation))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(found.pixels))[...],
        seen(PIXELS, orientation),
    )
    if orientation == 1:
        assert warnings == []
        return
    assert warnings == [
        f"orientation {orientation}: rows and columns are turned as the file says they are seen"
    ]
    assert found.calibration.zyx == (1, 0.25, 0.25)
    assert found.calibration.origin_zyx == (None, None, None)


@pytest.mark.parametrize("orientation", [0, 9, -1, 99])
def test_values_that_mean_nothing_change_nothing(orientation: int) -> None:
    found, warnings = turned(orientation)
    np.testing.assert_array_equal(found.pixels[...], PIXELS)
    assert warnings == []


@given(data=st.data(), orientation=st.integers(2, 8))
def test_any_box_is_read_once(data: st.DataObject, orientation: int) -> None:
    expected = seen(PIXELS, orientation)
    found = turned(orientation)[0].pixels
    box = []
    for n in expected.shape:
        start = data.draw(st.integers(0, n - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, n))))
    block = found[tuple(box)]
    np.testing.assert_array_equal(block, expected[tuple(box)])
    assert block.flags.c_contiguous
    (read,) = found.stored.reads
    assert np.prod(read.shape) == block.size


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_grid_of_chunks_is_that_of_the_source(orientation: int) -> None:
    """Numbers of stored chunks change exactly where `chunks` and `offset` say that one ends."""
    y, x = np.indices(SHAPE[3:])
    expected = seen((y // 8) * 100 + x // 16, orientation)
    pixels = turned(orientation)[0].pixels
    y, x = np.indices(expected.shape)
    own = (y + pixels.offset[3]) // pixels.chunks[3] * 100 + (x + pixels.offset[4]) // pixels.chunks[4]
    pairs = set(zip(expected.ravel().tolist(), own.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(expected)) == len(np.unique(own))


def test_lower_levels_and_voxel_sizes_are_turned_too() -> None:
    lower = PIXELS[..., ::2, ::3].copy()
    levels = (NativeLevel(ArrayPixels(lower), (1, 2, 3), (0, 0.5, 1)),)
    found = upright(image(ArrayPixels(PIXELS), (5, 2, 3), levels), 6, [])
    assert found.calibration.zyx == (5, 3, 2)
    assert found.calibration.unit == "micrometer"
    (level,) = found.native_levels
    assert (level.factor, level.shift) == ((1, 3, 2), (0, 1, -0.5))
    np.testing.assert_array_equal(level.pixels[...], seen(lower, 6))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files(tmp_path: Path, orientation: int) -> None:
    pixels = coded_pixels((3, 21, 34))
    tags = [(274, 3, 1, orientation, True)]
    path = write(tmp_path / "a.tif", pixels, compression="zlib", rowsperstrip=4, extratags=tags)
    with READER.open(str(path)) as source:
        np.testing.assert_array_equal(source.images[0].pixels[0, 0], seen(pixels, orientation))
    check_reader(READER, str(path))


def test_native_levels_of_a_turned_file_are_converted(tmp_path: Path) -> None:
    path = data_file("tiff/test_orient6.tif")
    options = Options(pyramid="native", ngff_version="0.5")
    convert(path, tmp_path / "out.ome.zarr", options)
    found = levels(tmp_path / "out.ome.zarr", "0.5")
    with tifffile.TiffFile(path) as tif:
        stored = [level.asarray() for level in tif.series[0].levels]
    assert len(found) == len(stored) == 3
    for one, other in zip(found, stored, strict=True):
        np.testing.assert_array_equal(one.reshape(one.shape[-2:]), seen(other, 6))
