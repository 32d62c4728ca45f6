"""Lower levels that files bring along: their factors, and those that are not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from images import NoPixels
from stores import levels
from tiffs import READER, Ifd, page, tiff_bytes

from ngff_convert import Options, convert
from ngff_convert.readers.native_levels import factor, native_level
from ngff_convert.testing import check_reader, coded_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FULL = coded_pixels((2, 67, 90))
HALF, QUARTER = FULL[:, 1:66:2, ::2] + 1, FULL[:, 1:65:4, :88:4] + 2


@given(n=st.integers(1, 10**6), k=st.integers(0, 12), up=st.booleans())
def test_sizes_rounded_down_or_up_are_powers_of_two(n: int, k: int, up: bool) -> None:
    reduced = n
    for _ in range(k):
        reduced = -(-reduced // 2) if up else max(1, reduced // 2)
    found = factor(n, reduced)
    assert found == 2.0 ** round(np.log2(found))
    assert n / found == pytest.approx(reduced, abs=1)
    if n >= 2 ** (k + 1):
        assert found == 2.0**k


@given(n=st.integers(1, 10**6), m=st.integers(1, 10**6))
def test_other_sizes_divide_the_extent(n: int, m: int) -> None:
    full, reduced = max(n, m), min(n, m)
    found = factor(full, reduced)
    assert found >= 1
    if found != full / reduced:
        assert full >> int(np.log2(found)) <= reduced <= -(-full // int(found))


def test_where_voxels_of_a_level_lie() -> None:
    level = native_level((1, 1, 9, 333, 300), NoPixels((1, 1, 9, 84, 200)))
    assert (level.factor, level.shift) == ((1, 4, 1.5), (0, 1.5, 0.25))


def found_levels(path: Path) -> tuple[list[NDArray[Any]], list[tuple[float, ...]], list[str]]:
    with READER.open(str(path)) as source:
        (image,) = source.images
        pixels = [image.pixels[...], *(level.pixels[...] for level in image.native_levels)]
        return pixels, [level.factor for level in image.native_levels], list(source.warnings)


def in_sub_pages(path: Path, each: bool, **options: Any) -> None:
    """Write a pyramid whose levels are sub-pages: page by page, or as tifffile's own series."""
    with tifffile.TiffWriter(path) as writer:
        for z in range(2) if each else [slice(None)]:
            for pixels in (FULL, HALF, QUARTER):
                top: dict[str, Any] = {"subifds": 2} if pixels is FULL else {"subfiletype": 1}
                writer.write(pixels[z], tile=(16, 16), photometric="minisblack", **top, **options)


def after_one_another(path: Path, **options: Any) -> None:
    with tifffile.TiffWriter(path) as writer:
        for pixels in (FULL, HALF, QUARTER):
            kind: dict[str, Any] = {} if pixels is FULL else {"subfiletype": 1}
            writer.write(pixels, tile=(16, 16), photometric="minisblack", **kind, **options)


@pytest.mark.parametrize("how", ["sub-pages", "sub-pages of a series", "tifffile's own", "pages"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pyramids(tmp_path: Path, how: str, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    if how == "pages":
        after_one_another(path, compression=compression, metadata=None)
    elif how == "sub-pages":
        in_sub_pages(path, each=True, compression=compression, metadata=None)
    else:
        metadata = {"axes": "TYX"} if how == "tifffile's own" else None
        in_sub_pages(path, each=False, compression=compression, metadata=metadata)
    pixels, factors, warnings = found_levels(path)
    assert factors == [(1, 2, 2), (1, 4, 4)]
    assert warnings == []
    for found, expected in zip(pixels, (FULL, HALF, QUARTER), strict=True):
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    if compression:
        return
    check_reader(READER, str(path))
    convert(path, tmp_path / "out.ome.zarr", Options(pyramid="native"))
    for found, expected in zip(levels(tmp_path / "out.ome.zarr", "0.5"), pixels, strict=True):
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_a_level_with_fewer_pages_is_not_used(tmp_path: Path) -> None:
    full = [page((20, 24), [bytes([z]) * 480]) for z in range(3)]
    path = tmp_path / "a.tif"
    smaller = [page((10, 12), [bytes(120)]) for _ in range(2)]
    subs = [Ifd(top.tags, top.segments, [sub]) for top, sub in zip(full, smaller, strict=False)]
    path.write_bytes(tiff_bytes([*subs, full[2]]))
    with READER.open(str(path)) as source:
        first = source.images[0]
        np.testing.assert_array_equal(first.pixels[0, 0, :, 0, 0], [0, 1, 2])
        assert first.native_levels == ()


def test_pages_of_another_type_are_no_level(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes([page((20, 24), [bytes(480)]), page((10, 12), [bytes(240)], 16)]))
    with READER.open(str(path)) as source:
        assert [image.pixels.dtype.name for image in source.images] == ["uint8", "uint16"]
        assert [image.native_levels for image in source.images] == [(), ()]
