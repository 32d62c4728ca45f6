"""How one page is stored: numbers, compressions, strips, tiles, samples; damage; what is read and decoded."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from data_folder import data_file
from hypothesis import given, settings
from hypothesis import strategies as st
from tiffs import READER, Ifd, as_tczyx, page, read, tiff_bytes, write

from ngff_convert import Options, convert
from ngff_convert.errors import ReadError, UnsupportedInput
from ngff_convert.readers.open_files import OpenFile
from ngff_convert.testing import check_reader, coded_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DEFLATE = ("H", [8])
GRAY = coded_pixels((41, 53), "uint8")
ROWS = [GRAY[at : at + 7].tobytes() for at in range(0, 41, 7)]


def made(path: Path, *pages: Ifd, **options: Any) -> Path:
    path.write_bytes(tiff_bytes(pages, **options))
    return path


# -- numbers -----------------------------------------------------------------------------------------------

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_type(tmp_path: Path, dtype: str, order: str, big: bool) -> None:
    pixels = coded_pixels((3, 19, 23), dtype)
    for options in ({}, {"compression": "zlib", "rowsperstrip": 5}, {"tile": (16, 16)}):
        path = write(tmp_path / "a.tif", pixels, byteorder=order, bigtiff=big, **options)
        found = read(path)
        assert found.dtype == np.dtype(dtype)
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, pixels[np.newaxis, np.newaxis])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], ids=str)
def test_one_bit_is_0_and_1(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = coded_pixels((2, 20, 27), "uint8") % 3 == 1
    found = read(write(tmp_path / "a.tif", pixels, **options))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0, 0], pixels)
    check_reader(READER, str(tmp_path / "a.tif"))


@pytest.mark.parametrize(
    ("bits", "packed", "expected", "dtype"),
    [
        (2, [0b00011011, 0b01000000], [0, 1, 2, 3, 1], "u1"),
        (4, [0x12, 0xE0], [1, 2, 14], "u1"),
        (10, [0b11111111, 0b11000000, 0b00010000], [1023, 1], "u2"),
        (12, [0x12, 0x3A, 0xBC, 0xFF, 0xF0], [0x123, 0xABC, 0xFFF], "u2"),
    ],
)
def test_other_numbers_of_bits(
    tmp_path: Path, bits: int, packed: list[int], expected: list[int], dtype: str
) -> None:
    rows = page((2, len(expected)), [bytes(packed * 2)], bits)
    found = read(made(tmp_path / "a.tif", rows))
    assert found.dtype == np.dtype(dtype)
    assert found[0, 0, 0].tolist() == [expected, expected]


def test_one_bit_samples_side_by_side(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (5, 8, 3)).astype("u1")
    rgb = page((5, 8), [np.packbits(bits).tobytes()], t258=("H", [1] * 3), t277=("H", [3]), t262=("H", [2]))
    np.testing.assert_array_equal(read(made(tmp_path / "a.tif", rgb))[0, :, 0], np.moveaxis(bits, -1, 0))


@pytest.mark.parametrize(
    ("ifd", "words"),
    [
        (page((1, 2), [bytes(16)], 64, t339=("H", [6])), r"complex numbers \(complex64\)"),
        (page((1, 2), [bytes(8)], 32, t339=("H", [5])), "complex numbers"),
        (page((2, 5), [bytes(6)], 4, t339=("H", [2])), "pixels of 4 bits, sample format 2"),
        (page((1, 2), [bytes(6)], t258=("H", [8, 16]), t277=("H", [2])), r"pixels of \(8, 16\) bits"),
        (page((2, 2), [bytes(6)], t259=("H", [34713])), "compression 34713 is not supported"),
        (page((2, 2), [bytes(6)], t259=("H", [12345])), "compression 12345 is not supported"),
        (page((2, 2), [bytes(6)], t259=DEFLATE, t317=("H", [99])), "predictor 99 is not supported"),
        (
            page((2, 2), [bytes(99)], t258=("H", [8] * 3), t277=("H", [3]), t262=("H", [6])),
            "colours at a lower resolution than brightness",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_nothing_here_decodes_is_unsupported(tmp_path: Path, ifd: Ifd, words: str) -> None:
    path = made(tmp_path / "a.tif", ifd)
    with pytest.raises(UnsupportedInput, match=rf"a\.tif: page 0: .*{words}") as refused:
        READER.open(str(path))
    assert refused.value.exit_code == 4


def test_an_image_that_cannot_be_read_is_left_out_of_several(tmp_path: Path) -> None:
    gray = page((2, 2), [b"abcd"])
    complexes = page((1, 2), [bytes(16)], 64, t339=("H", [6]))
    with READER.open(str(made(tmp_path / "a.tif", gray, complexes))) as source:
        assert [image.pixels.shape for image in source.images] == [(1, 1, 1, 2, 2)]
        (line,) = source.warnings
        assert line.startswith(f"left out: {tmp_path / 'a.tif'}: page 1: pixels are complex numbers")


# -- compressions ------------------------------------------------------------------------------------------

BYTES = ["none", "lzw", "adobe_deflate", "deflate", "packbits", "lzma", "zstd", "zstd_deprecated", "pixtiff"]
LOSSLESS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(BYTES, ("u1", "u2", "f4", "rgb")),
    **dict.fromkeys(("jpegxl", "jpegxl_dng", "jpegxr", "jpegxr_ndpi", "lerc"), ("u1", "u2", "f4", "rgb")),
    **dict.fromkeys(("png", "jpeg2000", "jpeg_2000_lossy"), ("u1", "u2", "rgb")),
    **dict.fromkeys(("aperio_jp2000_rgb", "aperio_jp2000_ycbc"), ("u1", "u2", "rgb")),
    **dict.fromkeys(("webp", "webp_deprecated"), ("rgb",)),
}
LOSSY = dict.fromkeys(("jpeg", "jpeg_lossy"), ("u1", "u2", "rgb"))
KINDS = [(name, kind) for name, kinds in {**LOSSLESS, **LOSSY}.items() for kind in kinds]


def of_kind(kind: str) -> tuple[NDArray[Any], str]:
    if kind == "rgb":
        return coded_pixels((45, 70, 3), "u1"), "rgb"
    pixels = coded_pixels((45, 70), kind)
    return (pixels % 4096 if kind == "u2" else pixels), "minisblack"


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_every_compression(tmp_path: Path, name: str, kind: str) -> None:
    pixels, photometric = of_kind(kind)
    code = tifffile.COMPRESSION[name.upper()]
    for layout in ({"tile": (16, 32)}, {"rowsperstrip": 16}):
        path = write(tmp_path / "a.tif", pixels, photometric=photometric, compression=code, **layout)
        stored = tifffile.imread(path)
        if name in LOSSLESS:
            np.testing.assert_array_equal(stored, pixels)
        expected = as_tczyx(stored, "YXS" if kind == "rgb" else "YX")
        with READER.open(str(path)) as source:
            (image,) = source.images
            assert image.pixels.compression == name.removeprefix("adobe_")
            np.testing.assert_array_equal(image.pixels[...], expected)
            np.testing.assert_array_equal(image.pixels[..., 13:37, 29:66], expected[..., 13:37, 29:66])


def test_no_compression_that_can_be_written_is_left_out(tmp_path: Path) -> None:
    listed = {tifffile.COMPRESSION[name.upper()] for name in (*LOSSLESS, *LOSSY)}
    written = set()
    for code in tifffile.COMPRESSION:
        for kind in ("u1", "rgb"):
            pixels, photometric = of_kind(kind)
            try:
                write(tmp_path / "a.tif", pixels, photometric=photometric, compression=code)
            except (KeyError, ValueError, ImportError):
                continue
            written.add(code)
    assert written == listed


def packed_bits(*codes: str) -> bytes:
    bits = "".join(codes).replace(" ", "")
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


WHITE_8, BLACK_8, EOL = "10011", "000101", "000000000001"


@pytest.mark.parametrize(
    ("compression", "name", "stored"),
    [
        (2, "ccittrle", packed_bits(WHITE_8, BLACK_8) * 4),
        (3, "ccittfax3", packed_bits(*[EOL, WHITE_8, BLACK_8] * 4, *[EOL] * 6)),
        (4, "ccittfax4", packed_bits("001", WHITE_8, BLACK_8, "11" * 3, EOL, EOL)),
    ],
)
def test_fax_compressions(tmp_path: Path, compression: int, name: str, stored: bytes) -> None:
    ifd = page((4, 16), [stored], 1, t259=("H", [compression]), t262=("H", [0]))
    with READER.open(str(made(tmp_path / "a.tif", ifd))) as source:
        (image,) = source.images
        assert image.pixels.compression == name
        found = image.pixels[...]
    assert found.dtype == np.uint8
    assert found[0, 0, 0].tolist() == [[0] * 8 + [1] * 8] * 4


def test_a_real_fax(tmp_path: Path) -> None:
    path = data_file("tiff/g4_orientation_5.tif")
    found = read(path)
    assert found.shape == (1, 1, 1, 88, 590)
    np.testing.assert_array_equal(found[0, 0, 0], tifffile.imread(path).T)


@pytest.mark.parametrize(
    ("dtype", "predictor", "compression", "words"),
    [
        ("u1", 2, "zlib", "deflate, horizontal predictor"),
        ("u2", 2, "lzw", "lzw, horizontal predictor"),
        ("i4", 2, "zstd", "zstd, horizontal predictor"),
        ("f4", 3, "zlib", "deflate, floating-point predictor"),
        ("f8", 3, "zstd", "zstd, floating-point predictor"),
        ("f2", 3, "lzw", "lzw, floating-point predictor"),
    ],
)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("rgb", [False, True], ids=["gray", "rgb"])
def test_predictors(
    tmp_path: Path,
    dtype: str,
    predictor: int,
    compression: str,
    words: str,
    order: str,
    rgb: bool,
) -> None:
    pixels = coded_pixels((37, 45, 3) if rgb else (37, 45), dtype)
    photometric = "rgb" if rgb else "minisblack"
    for layout in ({"tile": (16, 16)}, {"rowsperstrip": 8}):
        options = {"predictor": predictor, "compression": compression, "byteorder": order, **layout}
        path = write(tmp_path / "a.tif", pixels, photometric=photometric, **options)
        with READER.open(str(path)) as source:
            (image,) = source.images
            assert image.pixels.compression == words
            np.testing.assert_array_equal(image.pixels[...], as_tczyx(pixels, "YXS" if rgb else "YX"))


def turned_bits(stored: bytes) -> bytes:
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in stored)


@pytest.mark.parametrize("strips", [[GRAY.tobytes()], ROWS], ids=["one strip", "strips"])
def test_a_fill_order_and_a_predictor_without_compression_are_followed(
    tmp_path: Path, strips: list[bytes]
) -> None:
    more: dict[str, Any] = {"t278": ("I", [7 if len(strips) > 1 else 41])}
    turned = page((41, 53), [turned_bits(strip) for strip in strips], t266=("H", [2]), **more)
    np.testing.assert_array_equal(read(made(tmp_path / "a.tif", turned))[0, 0, 0], GRAY)
    steps = np.diff(GRAY, axis=1, prepend=np.uint8(0)).tobytes()
    cut = [steps[at : at + len(strips[0])] for at in range(0, len(steps), len(strips[0]))]
    differences = page((41, 53), cut, t317=("H", [2]), **more)
    np.testing.assert_array_equal(read(made(tmp_path / "a.tif", differences))[0, 0, 0], GRAY)


# -- strips, tiles, samples, volumes -----------------------------------------------------------------------

STACK = coded_pixels((3, 41, 53))
COLORS = coded_pixels((2, 41, 53, 3), "uint8")
PLANAR = coded_pixels((2, 4, 41, 53), "uint8")
VOLUME = coded_pixels((19, 41, 53))
RGB: dict[str, Any] = {"photometric": "rgb", "planarconfig": "contig"}
APART: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "separate"}
CUBES: dict[str, Any] = {"tile": (16, 16, 32), "volumetric": True}
Z: dict[str, Any] = {"compression": "zlib"}

LAYOUTS: dict[str, tuple[NDArray[Any], str, dict[str, Any]]] = {
    "one strip": (STACK, "ZYX", {}),
    "one strip, compressed": (STACK, "ZYX", {"rowsperstrip": 41, **Z}),
    "strips in a row": (STACK, "ZYX", {"rowsperstrip": 7}),
    "strips": (STACK, "ZYX", {"rowsperstrip": 7, **Z}),
    "tiles": (STACK, "ZYX", {"tile": (16, 32)}),
    "tiles, compressed": (STACK, "ZYX", {"tile": (16, 32), **Z}),
    "tiles of the page's width": (coded_pixels((2, 32, 48)), "ZYX", {"tile": (16, 48)}),
    "tiles larger than the page": (STACK, "ZYX", {"tile": (64, 64), **Z}),
    "big-endian": (STACK, "ZYX", {"byteorder": ">"}),
    "big-endian tiles": (STACK, "ZYX", {"tile": (16, 32), "byteorder": ">", **Z}),
    "RGB": (COLORS, "ZYXS", RGB),
    "RGB big-endian": (COLORS.astype("u2"), "ZYXS", {"byteorder": ">", **RGB}),
    "RGB strips": (COLORS, "ZYXS", {"rowsperstrip": 7, **RGB, **Z}),
    "RGB tiles": (COLORS, "ZYXS", {"tile": (16, 32), **RGB, **Z}),
    "RGBA": (coded_pixels((41, 53, 4), "u1"), "YXS", {**RGB, "extrasamples": ["unassalpha"]}),
    "extra samples": (coded_pixels((41, 53, 6), "u2"), "YXS", {**RGB, "tile": (16, 32), **Z}),
    "gray with extra samples": (coded_pixels((41, 53, 2), "u2"), "YXS", {"planarconfig": "contig"}),
    "planar": (PLANAR, "ZSYX", APART),
    "planar strips": (PLANAR, "ZSYX", {"rowsperstrip": 7, **APART, **Z}),
    "planar tiles": (PLANAR, "ZSYX", {"tile": (16, 32), **APART, **Z}),
    "volume": (VOLUME, "ZYX", {"volumetric": True}),
    "volume strips": (VOLUME, "ZYX", {"volumetric": True, "rowsperstrip": 7, **Z}),
    "volume tiles": (VOLUME, "ZYX", CUBES),
    "volume tiles, compressed": (VOLUME, "ZYX", {**CUBES, **Z}),
    "RGB volume": (coded_pixels((19, 21, 33, 3), "u1"), "ZYXS", {**CUBES, **RGB, **Z}),
    "planar volume": (coded_pixels((3, 19, 21, 33), "u1"), "SZYX", {**CUBES, **APART, **Z}),
}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, NDArray[Any]]]:
    """Write a file of every layout."""
    folder = tmp_path_factory.mktemp("layouts")
    found = {}
    for number, (name, (pixels, axes, options)) in enumerate(LAYOUTS.items()):
        found[name] = (write(folder / f"{number}.tif", pixels, **options), as_tczyx(pixels, axes))
    loose = page((41, 53), ROWS, t278=("I", [7]))  # of an odd number of bytes: they do not touch
    found["strips apart"] = (made(folder / "apart.tif", loose), GRAY[(np.newaxis,) * 3])
    return found


NAMES = [*LAYOUTS, "strips apart"]


@pytest.mark.parametrize("name", NAMES)
def test_every_layout(layouts: dict[str, tuple[Path, NDArray[Any]]], name: str) -> None:
    path, expected = layouts[name]
    np.testing.assert_array_equal(read(path), expected)
    check_reader(READER, str(path))


@given(data=st.data(), name=st.sampled_from(NAMES))
@settings(max_examples=250)
def test_any_box_of_any_layout(
    layouts: dict[str, tuple[Path, NDArray[Any]]], name: str, data: st.DataObject
) -> None:
    path, expected = layouts[name]
    box = []
    for n in expected.shape:
        start = data.draw(st.integers(0, n - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, n))))
    with READER.open(str(path)) as source:
        np.testing.assert_array_equal(source.images[0].pixels[tuple(box)], expected[tuple(box)])


@pytest.mark.parametrize(
    ("name", "chunks"),
    [
        ("one strip", (1, 1, 1, 1, 53)),
        ("one strip, compressed", (1, 1, 1, 41, 53)),
        ("strips", (1, 1, 1, 7, 53)),
        ("tiles, compressed", (1, 1, 1, 16, 32)),
        ("tiles larger than the page", (1, 1, 1, 64, 64)),
        ("RGB tiles", (1, 3, 1, 16, 32)),
        ("planar tiles", (1, 1, 1, 16, 32)),
        ("volume tiles, compressed", (1, 1, 16, 16, 32)),
    ],
)
def test_chunks_are_what_is_decoded_together(
    layouts: dict[str, tuple[Path, NDArray[Any]]], name: str, chunks: tuple[int, ...]
) -> None:
    with READER.open(str(layouts[name][0])) as source:
        assert source.images[0].pixels.chunks == chunks


def test_pages_that_are_stored_otherwise_than_others(tmp_path: Path) -> None:
    pages = [
        page((41, 53), [zlib.compress(GRAY.tobytes())], t259=DEFLATE),
        page((41, 53), ROWS, t278=("I", [7])),
        page((41, 52), [GRAY[:, :52].tobytes()]),
        page((41, 53), [GRAY[::-1].tobytes()]),
    ]
    with READER.open(str(made(tmp_path / "a.tif", *pages))) as source:
        found = [image.pixels[...][0, 0] for image in source.images]
    expected = [[GRAY], [GRAY], [GRAY[:, :52]], [GRAY[::-1]]]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_palette_is_said_and_its_indices_kept(tmp_path: Path) -> None:
    colors = np.arange(768, dtype="u2").reshape(3, 256)
    path = write(tmp_path / "a.tif", GRAY, photometric="palette", colormap=colors)
    with READER.open(str(path)) as source:
        np.testing.assert_array_equal(source.images[0].pixels[0, 0, 0], GRAY)
        assert any("colour table" in line for line in source.warnings)


# -- strips and tiles that were never written --------------------------------------------------------------


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiles_never_written_are_the_fill_value(tmp_path: Path, fill: int, compression: str | None) -> None:
    tiles = [None if number % 2 else np.full((16, 16), 40 + number, "u2") for number in range(6)]
    tags = [(42113, 2, 0, str(fill), True)] if fill else []
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"extratags": tags, "compression": compression, "metadata": None}
    tifffile.imwrite(path, iter(tiles), shape=(30, 40), dtype="u2", tile=(16, 16), **options)
    expected = np.full((32, 48), fill, "u2")
    for number, tile in enumerate(tiles):
        if tile is not None:
            y, x = 16 * (number // 3), 16 * (number % 3)
            expected[y : y + 16, x : x + 16] = tile
    np.testing.assert_array_equal(read(path)[0, 0, 0], expected[:30, :40])
    check_reader(READER, str(path))


def test_strips_never_written_are_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert not read(made(path, page((41, 53), [None]))).any()
    assert not read(made(path, page((41, 53), [None], t259=DEFLATE))).any()
    halves = page((10, 53), [None, GRAY[5:10].tobytes()])
    found = read(made(path, halves))[0, 0, 0]
    assert not found[:5].any()
    np.testing.assert_array_equal(found[5:], GRAY[5:10])


# -- what is read and decoded ------------------------------------------------------------------------------


@contextmanager
def counted_bytes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    counts: list[int] = []
    read_into = OpenFile.read_into

    def counting(self: OpenFile, offset: int, buffer: Any) -> None:
        counts.append(memoryview(buffer).nbytes)
        read_into(self, offset, buffer)

    with monkeypatch.context() as patch:
        patch.setattr(OpenFile, "read_into", counting)
        yield counts


def test_of_one_huge_strip_only_the_rows_wanted_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = coded_pixels((2000, 6000))
    colors = pixels.reshape(2000, 2000, 3)
    for stored, box, expected, most in (
        (pixels, np.s_[..., 700:720, :], pixels[700:720], 20 * 12000),
        (pixels, np.s_[..., 700:720, 100:200], pixels[700:720, 100:200], 20 * 200),
        (colors, np.s_[:, 1, :, 700:720, :], colors[700:720, :, 1], 20 * 12000),
    ):
        photometric = "rgb" if stored.ndim == 3 else "minisblack"
        path = write(tmp_path / "a.tif", stored, rowsperstrip=2000, photometric=photometric)
        with READER.open(str(path)) as source, counted_bytes(monkeypatch) as counts:
            tracemalloc.start()
            found = source.images[0].pixels[box]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)
        assert sum(counts) <= most
        assert peak < 2 * 2**20


def test_only_tiles_that_a_box_touches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (1024, 1024)).astype("u2")
    path = write(tmp_path / "a.tif", pixels, tile=(256, 256), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        sizes = tif.pages.first.databytecounts
    with READER.open(str(path)) as source, counted_bytes(monkeypatch) as counts:
        found = source.images[0].pixels[..., 250:260, 600:610]
    np.testing.assert_array_equal(found[0, 0, 0], pixels[250:260, 600:610])
    assert sum(counts) <= sizes[2] + sizes[6] + 3 * sizes[3]  # those between are cheaper to read than to skip


def counting_decoders(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count calls of whatever decodes deflate, by the sizes of what it is given."""
    calls: list[int] = []

    def counting(decode: Callable[..., Any]) -> Callable[..., Any]:
        def decoding(data: Any, *args: Any, **options: Any) -> Any:
            calls.append(len(data))
            return decode(data, *args, **options)

        return decoding

    for name in ("deflate_decode", "zlib_decode"):
        monkeypatch.setattr(imagecodecs, name, counting(getattr(imagecodecs, name)))
    known: Any = tifffile.TIFF.DECOMPRESSORS
    monkeypatch.setitem(known._codecs, 8, counting(known[8]))
    return calls


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 64}], ids=str)
def test_a_conversion_decodes_each_strip_or_tile_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any]
) -> None:
    pixels = coded_pixels((4, 512, 512))
    path = write(tmp_path / "a.tif", pixels, compression="zlib", **layout)
    with tifffile.TiffFile(path) as tif:
        stored = sorted(size for one in tif.pages for size in one.databytecounts)
    calls = counting_decoders(monkeypatch)
    report = convert(path, tmp_path / "out.ome.zarr", Options(chunks=(1, 128, 128), workers=2, ome_xml=False))
    assert len(report.plans[0].levels) > 1
    assert len(stored) == 4 * (64 if "tile" in layout else 8)
    assert sorted(calls) == stored


# -- damage ------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    """Return why reading all pixels is refused: at opening, or after it."""
    with pytest.raises(ReadError) as error:
        read(path)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3
    return str(error.value)


@pytest.mark.parametrize("tiled", [True, False])
def test_a_damaged_tile_is_named(tmp_path: Path, tiled: bool) -> None:
    layout: dict[str, Any] = {"tile": (16, 32)} if tiled else {"rowsperstrip": 16}
    path = write(tmp_path / "a.tif", STACK, compression="zlib", **layout)
    with tifffile.TiffFile(path) as tif:
        offset, size = tif.pages[1].dataoffsets[2], tif.pages[1].databytecounts[2]
    stored = bytearray(path.read_bytes())
    for at in range(offset, offset + size, 3):
        stored[at] ^= 0xFF
    path.write_bytes(stored)
    with READER.open(str(path)) as source:
        pixels = source.images[0].pixels
        words = rf"a\.tif: page 1: strip or tile 2 \({size} bytes at {offset}\) is damaged: .*; copy the file"
        with pytest.raises(ReadError, match=words):
            pixels[...]
        for z in (0, 2):
            np.testing.assert_array_equal(pixels[0, 0, z], STACK[z])


def test_a_truncated_file_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    whole = tiff_bytes([page((41, 53), [b"x"], t259=DEFLATE, t273=("I", [5000]), t279=("I", [80]))])
    path.write_bytes(whole)
    size = len(whole)
    assert refused(path).startswith(
        f"{path}: page 0: strip or tile 0 (80 bytes at 5000) lies beyond the end of the file, {size} bytes"
    )
    whole = tiff_bytes([page((41, 53), [b"x"], t273=("I", [100]))])
    path.write_bytes(whole)
    assert f"page 0: 2173 bytes at 100 lie beyond the end of the file, {len(whole)} bytes" in refused(path)


@pytest.mark.parametrize("stored", [GRAY.tobytes()[:1000], zlib.compress(GRAY.tobytes()[:1000]), b"garbage"])
def test_a_strip_that_holds_too_little_is_not_filled_up(tmp_path: Path, stored: bytes) -> None:
    compression = ("H", [1 if len(stored) == 1000 else 8])
    strips = [GRAY[:20].tobytes() if compression[1] == [1] else zlib.compress(GRAY[:20].tobytes()), stored]
    ifd = page((40, 53), strips, t259=compression)
    assert "strip or tile 1 " in refused(made(tmp_path / "a.tif", ifd))


def with_count(stored: bytes, code: int, count: int) -> bytes:
    """Change how many values a tag of type LONG has."""
    at = stored.index(struct.pack("<HH", code, 4)) + 4
    return stored[:at] + struct.pack("<I", count) + stored[at + 4 :]


HUGE = 2**31
ABSURD: dict[str, tuple[bytes, str]] = {
    "a page": (tiff_bytes([page((HUGE, HUGE), [b"abc"])]), "4611686018427387904 bytes at 8 lie beyond"),
    "a strip": (
        tiff_bytes([page((HUGE, 20), [zlib.compress(b"abc")], t259=DEFLATE)]),
        r"strip or tile 0 \(11 bytes at 8\) cannot hold 42949672960 bytes",
    ),
    "a page of tiles": (
        tiff_bytes([page((HUGE, HUGE), [b"abc"], t322=("H", [16]), t323=("H", [16]))]),
        r"18014398509481984 strips or tiles .* make up the page, but it lists 1 places and 1 sizes",
    ),
    "a tile": (
        tiff_bytes([page((9, 9), [b"abc"], t322=("I", [HUGE]), t323=("I", [HUGE]), t259=DEFLATE)]),
        "cannot hold 4611686018427387904 bytes",
    ),
    "places": (with_count(tiff_bytes([page((9, 9), [b"abc"])]), 273, HUGE), "lists 0 places and 1 sizes"),
    "no places": (with_count(tiff_bytes([page((9, 9), [b"abc"])]), 273, 0), "lists 0 places and 1 sizes"),
    "no rows": (tiff_bytes([page((9, 9), [b"abc"], t278=("I", [0]))]), "holds no pixels"),
    "no columns": (tiff_bytes([page((9, 0), [b"abc"])]), "without a page that has pixels"),
    "a bad JPEG": (tiff_bytes([page((9, 9), [bytes(99)], t259=("H", [7]))]), "strip or tile 0 .* is damaged"),
    "a cut list of tags": (tiff_bytes([page((9, 9), [bytes(81)])])[:100], "corrupted IFD structure"),
    "no tags": (tiff_bytes([page((9, 9), [bytes(81)])])[:80], "without a page that has pixels, as a trunc"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_are_refused_without_taking_memory(tmp_path: Path, name: str) -> None:
    stored, words = ABSURD[name]
    path = tmp_path / "a.tif"
    path.write_bytes(stored)
    tracemalloc.start()
    try:
        with pytest.raises(ReadError, match=words), READER.open(str(path)) as source:
            source.images[0].pixels[..., :5, :5]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
