"""What fuzzing found: damaged files that once ended in a traceback, or in a message of many lines."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import imagecodecs
import numpy as np
import ome_tiffs
import pytest
from tiffs import READER, page, tiff_bytes

from ngff_convert.errors import ConversionError, ReadError, UnsupportedInput
from ngff_convert.readers.hdf5_filters import BITSHUFFLE, NBIT, SCALE_OFFSET, SHUFFLE, SZIP, Filter, require
from ngff_convert.readers.hdf5_heads import ZSTD, fault
from ngff_convert.readers.imaris import ImarisReader
from ngff_convert.readers.ome_xml import parse
from ngff_convert.readers.tiff_files import MOST_LINES
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiffs import Ifd


def made(tmp_path: Path, *pages: Ifd) -> str:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(pages))
    return str(path)


def test_xml_of_a_slide_scanner_that_is_no_xml(tmp_path: Path) -> None:
    xml = b'<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><image></scn>\0'
    path = made(tmp_path, page((4, 4), [bytes(16)], t270=("s", [xml])))
    with pytest.raises(ReadError, match=r"a.tif cannot be read: mismatched tag"):
        READER.open(path)


@pytest.mark.parametrize("code", ["t259", "t317"])
def test_text_in_place_of_a_number_makes_no_message_of_many_lines(tmp_path: Path, code: str) -> None:
    tags: dict[str, Any] = {"t259": ("H", [8]), code: ("s", [b"1\n2\n3\0"])}
    path = made(tmp_path, page((4, 4), [bytes(16)], **tags))
    with pytest.raises(UnsupportedInput, match=r"(compression|predictor) '1\\n2\\n3' is not supported$"):
        READER.open(path)


def test_tiles_without_samples(tmp_path: Path) -> None:
    tiles: dict[str, Any] = {"t322": ("H", [16]), "t323": ("H", [16]), "t277": ("H", [0])}
    path = made(tmp_path, page((16, 32), [bytes(256), bytes(256)], **tiles))
    with pytest.raises(ReadError, match=r"page 0: .* samples"), READER.open(path) as source:
        _ = source.images[0].pixels[...]


@pytest.mark.parametrize("code", ["t277", "t32997"])
def test_several_values_of_what_is_one_number_take_no_memory(tmp_path: Path, code: str) -> None:
    tags: dict[str, Any] = {"t257": ("I", [2**31 - 1]), "t278": ("H", [1]), "t284": ("H", [2])}
    tags[code] = ("H", [1, 1, 1])
    first, other = page((4, 4), [bytes(16)]), page((4, 4), [bytes(16)], **tags)
    with pytest.raises(
        ReadError, match=rf"tag {code[1:]} of the page at byte \d+ has 3 values instead of one"
    ):
        READER.open(made(tmp_path, first, other))


def test_more_samples_than_tiff_can_have_take_no_memory(tmp_path: Path) -> None:
    path = made(tmp_path, page((4, 4), [zlib.compress(bytes(16))], t259=("H", [8]), t277=("I", [2**31 - 1])))
    with pytest.raises(ReadError, match=r"page 0: 2147483647 samples a pixel cannot be meant"):
        READER.open(path)


def test_more_channels_than_anybody_has_take_no_memory() -> None:
    stated = ome_tiffs.image(ome_tiffs.coded(), SizeC=9_999_999)
    with pytest.raises(ReadError, match=r"image 0 of the OME-XML cannot be meant: 9999999 channels"):
        parse(ome_tiffs.document(stated), "a.ome.tif")


def test_of_a_file_that_is_nothing_but_damage_not_every_tag_is_listed(tmp_path: Path) -> None:
    odd: dict[str, Any] = {f"t{code}": ("H", [1, 2, 3]) for code in range(50000, 50800)}
    content = tiff_bytes([page((4, 4), [bytes(16)], **odd)])
    for code in range(50000, 50800):  # of a type that there is not
        content = content.replace(struct.pack("<HHI", code, 3, 3), struct.pack("<HHI", code, 77, 3))
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with READER.open(str(path)) as source:
        assert len(source.warnings) == MOST_LINES
        assert source.warnings[-1] == "more of the file is odd, which is not listed"
        assert source.images[0].pixels.shape == (1, 1, 1, 4, 4)


def test_text_in_place_of_an_orientation(tmp_path: Path) -> None:
    path = made(tmp_path, page((4, 4), [bytes(16)], t274=("s", [b"tifffile.py\0"])))
    with READER.open(path) as source:
        assert source.images[0].pixels.shape == (1, 1, 1, 4, 4)


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (SZIP, (2,)),
        (NBIT, ()),
        (NBIT, (8, 0, 64)),
        (NBIT, (8, 0, 65, 1, 2, 0, 12, 0)),
        (SCALE_OFFSET, (2, 0, 64, 0, 4, *range(15))),
        (SCALE_OFFSET, (2, 0, 64, 0, 2)),
        (NBIT, (8, 0, 64, 2, 2, 0, 12, 0)),
        (SZIP, (141, 0, 16, 64)),
        (BITSHUFFLE, (0, 4)),
        (BITSHUFFLE, (0, 4, 0, 0, 2)),
    ],
)
def test_settings_by_which_hdf5_would_leave_its_memory(code: int, values: tuple[int, ...]) -> None:
    with pytest.raises(ReadError, match=r"the place: the settings of its filter .* are damaged"):
        require([Filter(SHUFFLE, (2,)), Filter(code, values)], "the place", 128)


def test_settings_that_are_sound() -> None:
    sound = [
        Filter(NBIT, (8, 0, 64, 1, 2, 0, 12, 0)),
        Filter(NBIT, (3, 1, 9)),
        Filter(SCALE_OFFSET, (2, 0, 64, 0, 2, *range(15))),
        Filter(SZIP, (141, 16, 16, 64)),
        Filter(BITSHUFFLE, (0, 4, 2, 0, 2)),
    ]
    require(sound, "the place", 128)


def test_damaged_settings_of_a_filter_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ims"
    with h5py.File(path, "w") as file:  # in structures that have no checksum
        name = "DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
        file.create_dataset(name, data=coded_pixels((8, 8, 8)), chunks=(8, 8, 8), scaleoffset=0)
    written = struct.pack("<5I", 2, 0, 512, 0, 2)
    content = path.read_bytes()
    assert content.count(written) == 1
    path.write_bytes(content.replace(written, struct.pack("<5I", 2, 0, 4, 0, 2)))
    with (
        ImarisReader().open(str(path)) as source,
        pytest.raises(ReadError, match="Channel 0/Data: the settings of its filter scale-offset are damaged"),
    ):
        _ = source.images[0].pixels[...]


@pytest.mark.parametrize(
    ("filters", "encode"),
    [
        ({"fletcher32": True}, lambda raw: raw + bytes(4)),
        (dict(hdf5plugin.Zstd()), imagecodecs.zstd_encode),
        (dict(hdf5plugin.Blosc()), imagecodecs.blosc_encode),
        ({"fletcher32": True, **hdf5plugin.LZ4()}, imagecodecs.lz4h5_encode),
        (dict(hdf5plugin.Bitshuffle()), lambda raw: struct.pack(">QII", len(raw), 8192, len(raw)) + raw),
        (dict(hdf5plugin.Bitshuffle(cname="none")), bytes),
    ],
    ids=["fletcher32", "zstd", "blosc", "lz4", "bitshuffle with lz4", "bitshuffle"],
)
def test_a_chunk_that_is_too_short_does_not_become_what_follows_in_memory(
    tmp_path: Path, filters: dict[str, Any], encode: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.ims"
    write_ims(path, coded_pixels((1, 1, 8, 8, 8)), chunks=(8, 8, 8), filters=filters)
    with ImarisReader().open(str(path)) as source:
        assert np.array_equal(source.images[0].pixels[0, 0], coded_pixels((8, 8, 8)))
    with h5py.File(path, "a") as file:
        dataset = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        dataset.id.write_direct_chunk((0, 0, 0), encode(bytes(range(128))))
    with (
        ImarisReader().open(str(path)) as source,
        pytest.raises(ReadError, match=r"chunk at \(0, 0, 0\) .* is damaged: 128 bytes where 1024"),
    ):
        _ = source.images[0].pixels[...]


def test_blocks_that_reach_beyond_a_chunk_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.ims"
    write_ims(path, coded_pixels((1, 1, 8, 8, 8)), chunks=(8, 8, 8), filters=dict(hdf5plugin.Bitshuffle()))
    with h5py.File(path, "a") as file:
        dataset = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        _, stored = dataset.id.read_direct_chunk((0, 0, 0))
        dataset.id.write_direct_chunk((0, 0, 0), struct.pack(">QI", 2**40, 16) + stored[12:])
    with (
        ImarisReader().open(str(path)) as source,
        pytest.raises(ReadError, match="its blocks reach beyond its end"),
    ):
        _ = source.images[0].pixels[...]


def test_packed_numbers_of_which_some_are_not_there() -> None:
    step = Filter(NBIT, (8, 0, 64, 1, 2, 0, 12, 0))
    assert fault(bytes(96), [step], 128) == ""
    assert fault(bytes(95), [step], 128) == "95 bytes of 64 numbers of 12 bits"


@pytest.mark.parametrize("n", [1, 255, 256, 70000])
def test_the_size_of_a_frame_of_zstandard(n: int) -> None:
    stored = bytes(imagecodecs.zstd_encode(bytes(n)))
    assert fault(stored, [Filter(ZSTD, ())], n) == ""
    assert fault(stored, [Filter(ZSTD, ())], n + 1) == f"{n} bytes where {n + 1} were expected"
    assert fault(stored, [Filter(2, (2,)), Filter(ZSTD, ()), Filter(40000, ())], n + 1) == ""


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (1, 8, 8, 8)])
def test_a_channel_of_no_voxels_or_of_other_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.ims"
    write_ims(path, coded_pixels((1, 2, 8, 8, 8), "uint8"), chunks=(8, 8, 8))
    with h5py.File(path, "a") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 1"]
        del group["Data"]
        sizes = {"chunks": (8,) * len(shape), "maxshape": (None,) * len(shape)}
        group.create_dataset("Data", shape, "uint8", **sizes)
    with ImarisReader().open(str(path)) as source:
        pixels = source.images[0].pixels
        assert pixels[0, 0].any()
        with pytest.raises(ConversionError, match="Channel 1"):
            _ = pixels[0, 1]
