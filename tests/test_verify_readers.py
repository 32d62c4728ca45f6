"""Pixels through the formats' own libraries: the same, damage named, and nothing of the fast path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import tifffile
from data_folder import data_file, data_names

from ngff_convert.convert import open_with
from ngff_convert.errors import ReadError
from ngff_convert.model import Box
from ngff_convert.options import Options
from ngff_convert.overrides import apply
from ngff_convert.readers import (
    hdf5_chunks,
    hdf5_filters,
    imaris_source,
    stored_bytes,
    tiff_pixels,
    tiff_planes,
)
from ngff_convert.readers.imaris import ImarisReader
from ngff_convert.readers.imaris_source import ImarisPixels
from ngff_convert.testing import check_reader, coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from ngff_convert.readers.contract import Source

FAST = {
    hdf5_chunks: ("read_box", "_place", "_fetch"),
    hdf5_filters: ("decode",),
    imaris_source: ("read_box",),
    stored_bytes: ("read_contiguous",),
    tiff_pixels: ("read_page",),
    tiff_planes: ("read_page", "read_contiguous", "_place", "_fetch"),
}


def opened(path: Path) -> Source:
    return open_with(str(path), Options())


@pytest.fixture
def without_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in FAST.items():
        for name in names:
            monkeypatch.setattr(module, name, None)


def tif(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, **options)
    return path


@pytest.mark.usefixtures("without_the_fast_path")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
        {"tile": (16, 48), "compression": "lzw"},
        {"tile": (16, 48)},
        {"bigtiff": True, "compression": "zstd"},
    ],
)
def test_tiff_needs_nothing_of_the_fast_path(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = coded_pixels((3, 50, 70))
    with opened(tif(tmp_path / "in.tif", pixels, **options)) as source:
        (image,) = source.images
        for box in (
            Box((0,) * 5, (1, 1, 3, 50, 70)),
            Box((0, 0, 1, 6, 47), (1, 1, 3, 8, 49)),
            Box((0, 0, 2, 49, 69), (1, 1, 3, 50, 70)),
        ):
            with pytest.raises(TypeError, match="not callable"):
                image.pixels[box.slices]
            found = image.pixels.read_by_library(box)
            np.testing.assert_array_equal(found, pixels[np.newaxis, np.newaxis][box.slices])
            assert found.dtype == np.uint16
            assert found.dtype.isnative


@pytest.mark.usefixtures("without_the_fast_path")
@pytest.mark.parametrize(
    "filters",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True},
        {},
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2"])
def test_imaris_needs_nothing_of_the_fast_path(tmp_path: Path, filters: dict[str, Any], dtype: str) -> None:
    pixels = coded_pixels((1, 2, 9, 50, 70), dtype)
    write_ims(tmp_path / "in.ims", pixels, chunks=(4, 32, 32), filters=filters)
    with opened(tmp_path / "in.ims") as source:
        (image,) = source.images
        for box in (Box((0,) * 5, pixels.shape), Box((0, 1, 3, 31, 0), (1, 2, 5, 50, 33))):
            with pytest.raises(TypeError, match="not callable"):
                image.pixels[box.slices]
            np.testing.assert_array_equal(image.pixels.read_by_library(box), pixels[box.slices])
        assert image.pixels.library == "h5py"


@pytest.mark.parametrize(
    "filters",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf"},
        {"compression": 32015},
    ],
)
def test_what_only_hdf5_reads_is_not_called_independent(tmp_path: Path, filters: dict[str, Any]) -> None:
    pytest.importorskip("hdf5plugin")
    pixels = coded_pixels((1, 1, 9, 50, 70))
    write_ims(tmp_path / "in.ims", pixels, chunks=(4, 32, 32), filters=filters, levels=2)
    crop = ((None, None), (None, None), (1, 5), (None, None), (None, None))
    with opened(tmp_path / "in.ims") as source:
        (image,) = source.images
        assert image.pixels.library == ""
        assert [level.pixels.library for level in image.native_levels] == [""]
        assert apply(image, Options(crop=crop)).pixels.library == ""
        box = Box((0,) * 5, pixels.shape)
        np.testing.assert_array_equal(image.pixels.read_by_library(box), pixels)


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_both_ways_share_is_said(tmp_path: Path, orientation: int) -> None:
    path = tif(tmp_path / "in.tif", coded_pixels((3, 50, 70)), extratags=[(274, 3, 1, orientation, True)])
    crop = ((None, None), (None, None), (1, 2), (None, None), (None, None))
    with opened(path) as source:
        (image,) = source.images
        for pixels in (image.pixels, apply(image, Options(crop=crop)).pixels):
            assert "what they decode to" in pixels.shared


REAL = [*data_names("ims/**/*.ims"), *data_names("tiff/*.tif")]
NOT_TO_BE_OPENED = ("quirks/truncated.ims", "bdp2-missing/image-binned-8bit-crop.ims")


@pytest.mark.parametrize("name", [name for name in REAL if not name.endswith(NOT_TO_BE_OPENED)])
def test_real_files_are_the_same_both_ways(name: str) -> None:
    with opened(data_file(name)) as source:
        for image in source.images:
            stop = tuple(min(n, 600) for n in image.pixels.shape)
            box = Box((0,) * 5, (min(stop[0], 2), stop[1], min(stop[2], 9), *stop[3:]))
            assert image.pixels.library in ("h5py", "tifffile", "")
            np.testing.assert_array_equal(image.pixels.read_by_library(box), image.pixels[box.slices])


def overwritten(path: Path) -> None:
    with h5py.File(path) as file:
        data = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        where = data.id.get_chunk_info(1).byte_offset
    with path.open("r+b") as stream:
        stream.seek(where + 10)
        stream.write(b"\xff" * 64)


def shortened(path: Path) -> None:
    with tifffile.TiffFile(path) as tiff:
        end = tiff.pages[2].dataoffsets[-1]
    with path.open("r+b") as stream:
        stream.seek(end)
        stream.write(b"\xff" * 40)


@pytest.mark.parametrize(("name", "spoil"), [("in.ims", overwritten), ("in.tif", shortened)])
def test_damage_is_named(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / name
    if path.suffix == ".ims":
        write_ims(path, coded_pixels((1, 1, 9, 50, 70)), chunks=(4, 32, 32))
    else:
        tif(path, coded_pixels((3, 50, 70)), compression="zlib", rowsperstrip=20)
    spoil(path)
    with opened(path) as source:
        pixels = source.images[0].pixels
        with pytest.raises(ReadError, match=name) as caught:
            pixels.read_by_library(Box((0,) * 5, pixels.shape))
        assert "\n" not in str(caught.value)


def test_a_reader_whose_ways_differ_breaks_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 9, 50, 70)))
    monkeypatch.setattr(ImarisPixels, "read_by_library", lambda self, box: self.read(box) + 1)
    with pytest.raises(AssertionError, match="is read as something else through h5py"):
        check_reader(ImarisReader(), str(tmp_path / "in.ims"))
