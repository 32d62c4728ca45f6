"""TIFF files as wholes: real ones, ImageJ's, several images, damaged and very long ones, conversions."""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file, data_names
from stores import assert_valid, levels
from tiffs import READER, Ifd, as_tczyx, micro_manager_stack, page, read, seen, tiff_bytes, write

from ngff_convert import Options, convert
from ngff_convert.errors import ConversionError, ReadError
from ngff_convert.readers.contract import Reading
from ngff_convert.testing import check_reader, coded_pixels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# -- real files --------------------------------------------------------------------------------------------

SUFFIXES = (".tif", ".tiff", ".svs")
NAMES = [name for name in data_names("tiff/**/*") + data_names("other/svs/*") if name.endswith(SUFFIXES)]
DAMAGED = [name for name in NAMES if "broken/" in name]
WHOLE = [name for name in NAMES if name not in DAMAGED]


@pytest.mark.parametrize("name", WHOLE)
def test_real_files_are_what_tifffile_reads(name: str) -> None:
    path = data_file(name)
    with READER.open(str(path)) as source, tifffile.TiffFile(path) as tif:
        for image, series in zip(source.images, tif.series, strict=True):
            orientation = int(series.keyframe.tags.valueof(274, 1))
            found = [image.pixels, *(level.pixels for level in image.native_levels)]
            for pixels, stored in zip(found, series.levels, strict=True):
                expected = seen(as_tczyx(stored.asarray(), stored.axes), orientation)
                assert pixels.shape == expected.shape
                assert pixels.dtype == (np.uint8 if expected.dtype == bool else expected.dtype)
                box = np.s_[..., -3000:, -3000:]  # of one, all would be 150 MB
                np.testing.assert_array_equal(pixels[box], expected[box])


@pytest.mark.parametrize("name", [name for name in WHOLE if "yb10kx5k" not in name and "svs" not in name])
def test_the_contract_is_kept_on_real_files(name: str) -> None:
    check_reader(READER, str(data_file(name)))


@pytest.mark.parametrize("name", data_names("tiff/*.truth.json"))
def test_files_with_known_pixels(name: str) -> None:
    path = data_file(name)
    truth = json.loads(path.read_text())
    found = read(path.with_name(path.name.removesuffix(".truth.json")))
    t, c, z, y, x = found.shape
    sizes = {"T": t, "C": c, "S": c, "Z": z, "Y": y, "X": x}
    axes = truth["axes"].replace("(5 pages)", "Z")
    assert [sizes[axis] for axis in axes] == truth["shape"]
    order = ["TCZYX".index(axis) for axis in axes.replace("S", "C")]
    rest = [axis for axis in range(5) if axis not in order]
    stored = found.transpose(*rest, *order).reshape(truth["shape"])
    assert stored.dtype == truth["dtype"]
    assert sha256(np.ascontiguousarray(stored).tobytes()).hexdigest() == truth["sha256"]


def read_every_image(path: Path) -> None:
    with READER.open(str(path)) as source:
        for image in source.images:
            image.pixels[...]


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_fail_in_one_line(name: str) -> None:
    path = data_file(name)
    if "loop" in name:
        with READER.open(str(path)) as source:
            assert source.images[0].pixels[...].shape == (1, 1, 1, 10, 10)
            assert any("circular" in line for line in source.warnings)
        return
    with pytest.raises(ConversionError) as error:
        read_every_image(path)
    assert error.value.exit_code in (3, 4)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# -- ImageJ and tifffile -----------------------------------------------------------------------------------


def dimensions(letters: str) -> list[str]:
    chosen = product(*((letter, "") for letter in letters))
    return ["".join(letters) for letters in chosen]


LAYOUTS: dict[str, dict[str, Any]] = {
    "in a row": {},
    "compressed": {"compression": "zlib"},
    "one page": {"truncate": True},
    "strips": {"rowsperstrip": 4, "compression": "lzw"},
}


@pytest.mark.parametrize("how", LAYOUTS)
@pytest.mark.parametrize("axes", dimensions("TZC"))
def test_imagej_hyperstacks(tmp_path: Path, axes: str, how: str) -> None:
    sizes = {"T": 4, "Z": 3, "C": 2}
    pixels = coded_pixels((*(sizes[axis] for axis in axes), 17, 23))
    options = LAYOUTS[how]
    path = write(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": f"{axes}YX"}, **options)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_imagej
        assert len(tif.pages) == (1 if how == "one page" else pixels[..., 0, 0].size)
    np.testing.assert_array_equal(read(path), as_tczyx(pixels, f"{axes}YX"))
    if axes == "TZC":
        check_reader(READER, str(path))


@pytest.mark.parametrize("axes", dimensions("TZ"))
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"truncate": True}], ids=str)
def test_imagej_colors(tmp_path: Path, axes: str, options: dict[str, Any]) -> None:
    pixels = coded_pixels((*({"T": 4, "Z": 3}[axis] for axis in axes), 17, 23, 3), "uint8")
    metadata = {"axes": f"{axes}YXS"}
    path = write(tmp_path / "a.tif", pixels, imagej=True, photometric="rgb", metadata=metadata, **options)
    np.testing.assert_array_equal(read(path), as_tczyx(pixels, f"{axes}YXS"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("n_pages", [1, 2, 3, 6])
@pytest.mark.parametrize("claimed", [2, 3, 5])
def test_imagej_pages_apart_from_one_another(tmp_path: Path, n_pages: int, claimed: int, order: str) -> None:
    """Each page's tags lie behind its pixels, as other programs that keep the description write them."""
    text = f"ImageJ=1.53\nimages={claimed}\nslices={claimed}\n\0".encode()
    pages = [page((20, 24), [bytes([z + 1]) * 480]) for z in range(n_pages)]
    pages[0].tags[270] = ("s", [text])
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes(pages, order))
    found = read(path)
    assert found.shape[0] * found.shape[2] == n_pages
    assert found[:, 0, :, 0, 0].ravel().tolist() == list(range(1, n_pages + 1))
    assert (found == found[..., :1, :1]).all()


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("shape", [(5, 1, 7), (1, 7), (7, 1), (3, 2, 5, 6), (1, 1)])
def test_series_of_tifffile(tmp_path: Path, shape: tuple[int, ...], truncate: bool) -> None:
    pixels = coded_pixels(shape)
    axes = "TZYX"[-len(shape) :]
    path = write(tmp_path / "a.tif", pixels, metadata={"axes": axes}, truncate=truncate)
    np.testing.assert_array_equal(read(path), as_tczyx(pixels, axes))


def test_rows_and_columns_that_pages_have_not_are_said(tmp_path: Path) -> None:
    pixels = coded_pixels((12, 13, 4))
    path = write(tmp_path / "a.tif", pixels, metadata={"axes": "YXC"})
    with READER.open(str(path)) as source:
        np.testing.assert_array_equal(source.images[0].pixels[0, 0], pixels)
        assert source.warnings == ["axes YXC, as the file has them, are not those of pages: rows are y"]


def test_several_images(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    many = [coded_pixels((3, 17, 23)), coded_pixels((2, 30, 20), "uint8"), coded_pixels((9, 9), "float32")]
    described: list[dict[str, Any] | None] = [{}, None]
    for metadata in described:
        with tifffile.TiffWriter(path) as writer:
            for pixels in many:
                writer.write(pixels, metadata=metadata, photometric="minisblack")
        with READER.open(str(path)) as source:
            assert len(source.images) == 3
            for image, pixels in zip(source.images, many, strict=True):
                np.testing.assert_array_equal(image.pixels[0, 0], pixels.reshape(-1, *pixels.shape[-2:]))
        check_reader(READER, str(path))
    convert(path, tmp_path / "out.ome.zarr", Options())
    for number, pixels in enumerate(many):
        found = levels(tmp_path / "out.ome.zarr" / str(number), "0.5")[0]
        np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)


def test_an_ome_tiff_is_read_as_if_it_were_none(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    pixels = coded_pixels((2, 3, 17, 23))
    tifffile.imwrite(path, pixels, metadata={"axes": "TCYX"}, photometric="minisblack")
    assert not READER.can_read(str(path), path.read_bytes()[:4096])
    np.testing.assert_array_equal(read(path), pixels.reshape(1, 1, 6, 17, 23))


# -- chains of pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_pages", "last"), [(1, 0), (3, 0), (3, 1), (3, 2)])
def test_a_chain_that_loops_ends(tmp_path: Path, n_pages: int, last: int) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes([page((2, 3), [bytes([n] * 6)]) for n in range(n_pages)], last=last))
    with READER.open(str(path)) as source:
        (image,) = source.images
        found = image.pixels[0, 0, :, 0, 0].tolist()
        assert found == list(range(n_pages))[: len(found)]
        assert any("circular reference" in line for line in source.warnings)


def test_a_loop_of_pages_of_different_sizes_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_bytes([page((2, 3), [b"abcdef"]), page((1, 3), [b"ghi"])], last=0))
    with READER.open(str(path)) as source:
        assert [image.pixels.shape for image in source.images] == [(1, 1, 1, 2, 3), (1, 1, 1, 1, 3)]
        assert any("circular reference" in line for line in source.warnings)


def test_opening_takes_no_longer_for_many_samples_than_for_their_number(tmp_path: Path) -> None:
    """20,000 samples a pixel: what is done for each of all of them, for each, would take minutes."""
    n = 20000
    path = tmp_path / "a.tif"
    pixels = np.zeros((2, 3, n), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", planarconfig="contig", extrasamples=[0] * (n - 3))
    with READER.open(str(path)) as source:
        assert len(source.images[0].channels) == n


def test_a_sub_page_that_is_its_own_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    top = page((2, 3), [b"abcdef"])
    start = tiff_bytes([Ifd({**top.tags, 330: ("I", [8])}, top.segments)])[4:8]
    path.write_bytes(
        tiff_bytes([Ifd({**top.tags, 330: ("I", [int.from_bytes(start, "little")])}, top.segments)])
    )
    assert read(path).tobytes() == b"abcdef"


def test_twenty_thousand_pages_take_little_memory(tmp_path: Path) -> None:
    n = 20000
    path = tmp_path / "a.tif"
    path.write_bytes(
        tiff_bytes([page((4, 4), [zlib.compress(bytes([z % 251] * 16))], t259=("H", [8])) for z in range(n)])
    )
    tracemalloc.start()
    try:
        with READER.open(str(path)) as source:
            kept, peak = tracemalloc.get_traced_memory()
            pixels = source.images[0].pixels
            assert pixels.shape == (1, 1, n, 4, 4)
            for z in (0, 1, 7777, n - 1):
                assert (pixels[0, 0, z] == z % 251).all()
            assert (pixels[0, 0, -300:, 2, 2] == np.arange(n - 300, n) % 251).all()
            _, late = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 600 * n
    assert max(peak, late) < 1200 * n


def test_threads_read_at_once(tmp_path: Path) -> None:
    pixels = coded_pixels((40, 33, 50))
    path = write(tmp_path / "a.tif", pixels, tile=(16, 16), compression="zlib")
    with READER.open(str(path)) as source, ThreadPoolExecutor(8) as pool:
        found = source.images[0].pixels
        order = np.random.default_rng(0).permutation(40).tolist() * 4
        blocks = pool.map(lambda z: found[0, 0, z, 3:30], order)
        for z, block in zip(order, blocks, strict=True):
            np.testing.assert_array_equal(block, pixels[z, 3:30])


def test_a_file_that_was_cut_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    """Wherever the end is lost: refused, or said, or all that is left is right."""
    pixels = coded_pixels((6, 21, 30))
    whole = write(tmp_path / "whole.tif", pixels, compression="zlib", rowsperstrip=8).read_bytes()
    path = tmp_path / "a.tif"
    for n_bytes in range(100, len(whole), 97):
        path.write_bytes(whole[:n_bytes])
        try:
            with READER.open(str(path)) as source:
                found = source.images[0].pixels[0, 0]
                said = [*source.warnings, *source.missing]
        except ReadError:
            continue
        np.testing.assert_array_equal(found, pixels[: len(found)])
        assert len(found) == len(pixels) or said


# -- from end to end ---------------------------------------------------------------------------------------

KINDS: dict[str, tuple[NDArray[Any], str, dict[str, Any]]] = {
    "strips": (coded_pixels((5, 70, 90)), "ZYX", {"rowsperstrip": 16, "compression": "lzw"}),
    "rows": (coded_pixels((5, 70, 90), "int16"), "ZYX", {"byteorder": ">"}),
    "tiles": (coded_pixels((300, 400), "float32"), "YX", {"tile": (64, 64), "compression": "zstd"}),
    "RGB": (coded_pixels((130, 90, 3), "uint8"), "YXS", {"photometric": "rgb", "compression": "zlib"}),
    "planar": (coded_pixels((3, 130, 90), "uint8"), "SYX", {"photometric": "rgb"}),
    "bits": (coded_pixels((70, 90), "uint8") % 3 == 1, "YX", {}),
    "volume": (coded_pixels((20, 33, 40)), "ZYX", {"volumetric": True, "tile": (16, 16, 16)}),
    "ImageJ": (coded_pixels((3, 4, 2, 30, 31)), "TZCYX", {"imagej": True, "metadata": {"axes": "TZCYX"}}),
    "turned": (coded_pixels((70, 90)), "YX", {"extratags": [(274, 3, 1, 6, True)]}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_conversion(tmp_path: Path, kind: str, version: str) -> None:
    pixels, axes, options = KINDS[kind]
    path = write(tmp_path / "a.tif", pixels, **options)
    store = tmp_path / "out.ome.zarr"
    convert(path, store, Options(ngff_version=version))
    expected = seen(as_tczyx(pixels, axes), 6 if kind == "turned" else 1)
    found = levels(store, version)[0]
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    assert found.dtype.newbyteorder("=") == (np.uint8 if pixels.dtype == bool else pixels.dtype)
    assert_valid(store, store)


def test_conversion_with_other_axes(tmp_path: Path) -> None:
    pixels = coded_pixels((60, 12, 14))
    path = write(tmp_path / "a.tif", pixels, compression="zlib")
    convert(path, tmp_path / "out.ome.zarr", Options(axes="tzc", shape=(5, -1, 3)))
    expected = pixels.reshape(5, 4, 3, 12, 14).swapaxes(1, 2)
    np.testing.assert_array_equal(levels(tmp_path / "out.ome.zarr", "0.5")[0], expected)


def test_a_damaged_tile_leaves_no_output(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", coded_pixels((70, 90)), compression="zlib", tile=(32, 32))
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[4]
    stored = bytearray(path.read_bytes())
    stored[offset : offset + 20] = bytes(20)
    path.write_bytes(stored)
    with pytest.raises(ReadError, match=r"a\.tif: page 0: strip or tile 4 .* is damaged"):
        convert(path, tmp_path / "out.ome.zarr")
    assert not (tmp_path / "out.ome.zarr").exists()


@pytest.mark.parametrize(
    ("dtype", "window"), [("uint8", (0, 255)), ("uint16", None)], ids=["a photograph", "16 bits"]
)
def test_photographs_keep_their_colors(tmp_path: Path, dtype: str, window: tuple[int, int] | None) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", coded_pixels((20, 30, 4), dtype), photometric="rgb", extrasamples=[2]
    )
    with READER.open(str(tmp_path / "a.tif")) as source:
        assert [channel.window for channel in source.images[0].channels] == [window] * 3 + [None]


# -- what is not as it could be ------------------------------------------------------------------------------


def test_a_wide_image_is_read_in_parts_of_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((3, 40_000), np.uint16), photometric="minisblack")
    with READER.open(str(path)) as source:
        assert source.images[0].pixels.chunks == (1, 1, 1, 1, 8192)


def test_a_lower_level_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = coded_pixels((64, 64))
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=1, photometric="minisblack")
        writer.write(pixels[::2, ::2].astype(np.complex64), subfiletype=1, photometric="minisblack")
    with READER.open(str(path)) as source:
        image = source.images[0]
        np.testing.assert_array_equal(image.pixels[0, 0, 0], pixels)
        assert image.native_levels == ()


def test_levels_of_a_slide_beside_its_label(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = coded_pixels((96, 128))
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=1, photometric="minisblack", metadata=None)
        writer.write(pixels[::2, ::2], subfiletype=1, photometric="minisblack", metadata=None)
        writer.write(pixels[:20, :30], photometric="minisblack", metadata=None)
    convert(path, tmp_path / "out", Options(pyramid="native"))
    assert [level.shape[-2:] for level in levels(tmp_path / "out/0", "0.5")] == [(96, 128), (48, 64)]
    assert [level.shape[-2:] for level in levels(tmp_path / "out/1", "0.5")] == [(20, 30)]


def test_sizes_stay_with_the_axis_that_they_are_of(tmp_path: Path) -> None:
    metadata = {"axes": "TZYX", "spacing": 0.5, "finterval": 2.0, "unit": "um"}
    path = tmp_path / "a.tif"
    pixels = coded_pixels((2, 3, 20, 30))
    tifffile.imwrite(path, pixels, imagej=True, resolution=(4, 4), metadata=metadata)
    for axes, z, t_s in ((None, 0.5, 2.0), ("tz", 0.5, 2.0), ("cz", 0.5, None), ("zc", None, None)):
        with READER.open(str(path), Reading(axes=axes)) as source:
            calibration = source.images[0].calibration
            assert (calibration.zyx, calibration.t_s) == ((z, 0.25, 0.25), t_s)
            assert any("--axes calls otherwise: unknown along z" in w for w in source.warnings) == (z is None)


@pytest.mark.parametrize("order", ["tcz", "tzc", "zct"])
def test_micro_managers_index_tells_where_planes_are(tmp_path: Path, order: str) -> None:
    pixels = coded_pixels((2, 2, 3, 16, 17))
    sizes = dict(zip("tcz", pixels.shape, strict=False))
    counted = product(*(range(sizes[axis]) for axis in order))
    t, c, z = map(order.index, "tcz")
    places = [(at[t], at[c], at[z]) for at in counted]
    summary = {"Frames": 2, "Channels": 2, "Slices": 3, "SlicesFirst": True, "TimeFirst": False}
    planes = [pixels[t, c, z] for t, c, z in places]
    path = micro_manager_stack(tmp_path / "a_MMStack.tif", planes, places, summary)
    np.testing.assert_array_equal(read(path), pixels)
    check_reader(READER, str(path))
    # The same in two files, of which either is opened.
    micro_manager_stack(tmp_path / "b_MMStack.tif", planes[:6], places[:6], summary)
    micro_manager_stack(tmp_path / "b_MMStack_1.tif", planes[6:], places[6:], summary)
    np.testing.assert_array_equal(read(tmp_path / "b_MMStack.tif"), pixels)


def test_messages_name_the_file_as_it_was_given(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", coded_pixels((4, 40, 50)), photometric="minisblack", compression="zlib")
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    with READER.open(str(tmp_path / "link.tif")) as source:
        assert source.paths == [str(tmp_path / "link.tif")]
        (image,) = source.images
        os.truncate(tmp_path / "a.tif", 300)
        with pytest.raises(ReadError, match=r"link\.tif: "):
            image.pixels[...]
