from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from images import ArrayPixels, NoPixels, image

from ngff_convert.model import Box, Calibration, Channel, NativeLevel
from ngff_convert.options import Options
from ngff_convert.testing import coded_pixels
from ngff_convert.write_plan import CODEC_LEVELS, DTYPES, Codec, Level, itemsize


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (lambda: Channel(color="00ff00"), "six upper-case hex"),
        (lambda: Channel(color="#00FF00"), "six upper-case hex"),
        (lambda: Channel(window=(5.0, 5.0)), "start < end"),
        (lambda: Channel(window=(0.0, float("nan"))), "start < end"),
        (lambda: Calibration(zyx=(1.0, 0.0, 1.0)), "above 0"),
        (lambda: Calibration(zyx=(1.0, float("inf"), 1.0)), "finite"),
        (lambda: Calibration(t_s=-1.0), "above 0"),
        (lambda: Calibration(origin_zyx=(0.0, 0.0, float("nan"))), "finite"),
        (lambda: Calibration(unit="um"), "not a length unit"),
        (lambda: Codec("lzma"), "not one of blosc-lz4"),
        (lambda: Codec("zstd", 23), "1 to 22"),
        (lambda: Codec("none", 1), "has no level 1"),
        (lambda: Codec("gzip", shuffle="bit"), "does not shuffle"),
        (lambda: Codec(shuffle="words"), "a shuffle is one of"),
        (lambda: image(NoPixels((1, 1, 0, 5, 5))), "at least 1 voxel"),
        (lambda: image(NoPixels((1, 2, 1, 5, 5)), channels=(Channel(),)), "2 channels of pixels, but 1"),
        (lambda: image(NoPixels((3, 1, 1, 5, 5)), time_stamps=(datetime(2024, 1, 1),)), "3 time points"),
        (
            lambda: image(
                NoPixels((1, 1, 1, 5, 5)),
                native_levels=(NativeLevel(NoPixels((1, 1, 1, 2, 2), "uint8"), (1, 2, 2), (0, 0.5, 0.5)),),
            ),
            "the t, c and dtype of its image",
        ),
        (
            lambda: Level((1,) * 5, (1,) * 5, (1, 1, 4, 4, 4), (1, 1, 6, 8, 8), (1,) * 5, (0,) * 5),
            "whole chunks",
        ),
    ],
)
def test_records_refuse_what_cannot_be(record: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        record()


def test_codecs_fill_in_their_defaults() -> None:
    assert Codec() == Codec("blosc-lz4", 5, "bit") == Options().codec
    assert Codec("gzip") == Codec("gzip", CODEC_LEVELS["gzip"][0])
    assert Codec("none").level is None


def test_sizes_of_types_are_numpys() -> None:
    assert {dtype: itemsize(dtype) for dtype in DTYPES} == {
        dtype: np.dtype(dtype).itemsize for dtype in DTYPES
    }


def test_a_box() -> None:
    box = Box((0, 1, 2, 3, 4), (1, 2, 4, 6, 8))
    assert box.shape == (1, 1, 2, 3, 4)
    assert str(box) == "t=0:1 c=1:2 z=2:4 y=3:6 x=4:8"


def test_dask_chunks_are_large_and_the_graph_small() -> None:
    data = image(NoPixels((2, 3, 1000, 4000, 4000))).data
    assert data.chunksize[3:] == (4000, 4000) or np.prod(data.chunksize) * 2 > 8 * 2**20
    assert data.npartitions < 10_000
    assert np.prod(data.chunksize) * 2 <= 64 * 2**20


INDICES: list[Any] = [
    np.s_[0],
    np.s_[..., 3],
    np.s_[:, 1, ::2, -5:, 3:30:4],
    np.s_[1, 0, ::-1, 5:2:-1, ::-3],
    np.s_[0:0],
    np.s_[-1, -1, -1, -1, -1],
    np.s_[:, :, :, :, 100:],
    np.s_[1, ..., 2:4],
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_lazy_pixels_take_every_basic_index(index: Any) -> None:
    array = coded_pixels((2, 2, 5, 20, 40))
    np.testing.assert_array_equal(ArrayPixels(array)[index], array[index])


def test_lazy_pixels_refuse_what_is_outside() -> None:
    pixels = ArrayPixels(coded_pixels((1, 1, 2, 8, 8)))
    with pytest.raises(IndexError):
        pixels[0, 0, 2]
    with pytest.raises(IndexError, match="6 indices for 5 axes"):
        pixels[0, 0, 0, 0, 0, 0]
