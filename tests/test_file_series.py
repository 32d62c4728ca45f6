"""Many files that are one image: every pixel at its place, and every way in which files do not fit."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file
from stores import assert_valid, levels

import ngff_convert
from ngff_convert.commit import PLAN_FILE
from ngff_convert.convert import convert
from ngff_convert.errors import ConversionError, OptionError, ReadError, TargetError, UnsupportedInput
from ngff_convert.events import RegionDone
from ngff_convert.model import Box
from ngff_convert.options import Options
from ngff_convert.readers import open_files, tiff_files
from ngff_convert.readers.file_series import FileSeriesReader
from ngff_convert.readers.open_files import MAX_OPEN_FILES
from ngff_convert.testing import coded_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

SHAPE = (2, 3, 4, 11, 13)
PLANES = "scan_t{t}_c{c}_z{z}.tif"


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """Write one file; options are those of `tifffile.imwrite`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options.setdefault("metadata", None)
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(path, pixels, **options)
    return path


def write_planes(
    folder: Path,
    template: str = PLANES,
    pixels: NDArray[Any] | None = None,
    without: Sequence[tuple[int, int, int]] = (),
    names: Sequence[str] = ("0", "1", "2"),
    **options: Any,
) -> NDArray[Any]:
    """Write one file a plane, and return the image that they are, 0 where one is left out."""
    pixels = coded_pixels(SHAPE) if pixels is None else pixels
    pixels = pixels.copy()
    for t, c, z in np.ndindex(*pixels.shape[:3]):
        if (t, c, z) in without:
            pixels[t, c, z] = 0
        else:
            write(folder / template.format(t=t, c=names[c], z=z), pixels[t, c, z], **options)
    return pixels


def read(path: object, **wishes: Any) -> NDArray[Any]:
    """Return all pixels of an input of one image."""
    with ngff_convert.open(str(path), **wishes) as source:
        (image,) = source.images
        return image.pixels[...]


def channel_names(path: object, **wishes: Any) -> list[str | None]:
    with ngff_convert.open(str(path), **wishes) as source:
        return [channel.name for channel in source.images[0].channels]


def listed(path: Path, names: Iterable[object]) -> str:
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return str(path)


# -- one plane a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        (PLANES, PLANES),
        ("scan_t{t}_c{c}_z{z}.tif", "scan_t{T:d}_c{C:d}_z{Z:d}.tif"),
        ("t{t}/c{c}/{z}.tif", "t{t}/c{c}/{z}.tif"),
        ("a#1 µ{{x}}_{z}_{c}_{t}.TIFF", "a#1 µ{{x}}_{z}_{c}_{t}.TIFF"),
    ],
)
def test_a_pattern(tmp_path: Path, template: str, pattern: str) -> None:
    pixels = write_planes(tmp_path, template)
    np.testing.assert_array_equal(read(tmp_path / pattern), pixels)


def test_folder_list_and_list_with_a_pattern_are_the_same_image(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "._scan_t0_c0_z0.tif").write_bytes(b"what macOS leaves behind")
    files = sorted((tmp_path / "in").glob("scan*.tif"), reverse=True)
    every = listed(tmp_path / "every.txt", files)
    more = listed(tmp_path / "more.txt", [*files, write(tmp_path / "in" / "mean.tif", pixels[0, 0, 0])])
    np.testing.assert_array_equal(read(every, files_from=every), pixels)
    np.testing.assert_array_equal(read(PLANES, files_from=more), pixels)
    with pytest.raises(OptionError, match="give a pattern such as"):
        read(more, files_from=more)
    (tmp_path / "in" / "mean.tif").unlink()
    np.testing.assert_array_equal(read(tmp_path / "in"), pixels)


@pytest.mark.parametrize("dtype", ["uint8", ">i2", "float32", "bool"])
def test_types_and_byte_orders(tmp_path: Path, dtype: str) -> None:
    pixels = coded_pixels((1, 1, 3, 9, 7), "uint8").astype(dtype)
    write_planes(tmp_path, "z{z}.tif", pixels)
    found = read(tmp_path)
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype.isnative


def test_names_in_braces_are_names_of_channels(tmp_path: Path) -> None:
    write_planes(tmp_path, "img_{t}_{c}_{z}.tif", names=("GFP", "Cy3", "DAPI"))
    for source in (tmp_path, tmp_path / "img_{t}_{c}_{z}.tif"):
        assert channel_names(source) == ["Cy3", "DAPI", "GFP"]
        np.testing.assert_array_equal(read(source), coded_pixels(SHAPE)[:, [1, 2, 0]])
    assert channel_names(tmp_path / "img_{t}_DAPI_{z}.tif") == [None]
    only = listed(tmp_path / "only.txt", [tmp_path / f"img_0_DAPI_{z}.tif" for z in range(4)])
    assert channel_names("img_{t}_{c}_{z}.tif", files_from=only) == ["DAPI"]


def test_images_are_called_by_what_stands_before_the_first_brace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_planes(tmp_path / "run 3", "scan_t{t}_c{c}_z{z}.tif")
    write_planes(tmp_path / "run 3", "t{t}_c{c}_z{z}.tif")
    files = listed(tmp_path / "all.txt", (tmp_path / "run 3").glob("scan*"))

    def name(path: object, **wishes: Any) -> str:
        with ngff_convert.open(str(path), **wishes) as source:
            return source.images[0].name

    assert name(tmp_path / "run 3" / PLANES) == "scan"
    assert name(tmp_path / "run 3" / "t{t}_c{c}_z{z}.tif") == "run 3"
    assert name(files, files_from=files) == "all"
    monkeypatch.chdir(tmp_path / "run 3")
    assert name("t{t}_c{c}_z{z}.tif") == "run 3"
    for path in Path().glob("scan*"):
        path.unlink()
    assert name(".") == "run 3"
    assert name("../*/t{t}_c{c}_z{z}.tif") == tmp_path.name
    (tmp_path / "run 3").rename(tmp_path / "run {t}")
    assert name(tmp_path / "run {t}") == "run {t}"
    assert name(f"{tmp_path}/run {{{{t}}}}/{{c:d}}*.tif".replace("{c:d}*", "t{t}_c{c}_z0")) == "run {t}"


def test_micro_manager_names(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 3, 8, 9))
    for (t, c, z), name in zip(
        np.ndindex(2, 2, 3), product(("000000000", "000000001"), ("Cy3", "DAPI"), range(3)), strict=True
    ):
        write(tmp_path / "Pos0" / "img_{}_{}_{:03}.tif".format(*name), pixels[t, c, z])
    (tmp_path / "Pos0" / "metadata.txt").write_text("{}")
    np.testing.assert_array_equal(read(tmp_path / "Pos0"), pixels)
    assert channel_names(tmp_path / "Pos0") == ["Cy3", "DAPI"]


# -- lists -------------------------------------------------------------------------------------------------


def test_a_list_as_people_and_windows_write_it(tmp_path: Path) -> None:
    folder = tmp_path / "größe µ" / "a b"
    pixels = coded_pixels((1, 1, 3, 6, 7))
    names = [write(folder / f"ü z{z}.tif", pixels[0, 0, z]).name for z in range(3)]
    lines = ["", f"a b/{names[0]}", "   ", f"  ./a b/{names[1]}\t", str(folder / names[2]), ""]
    path = folder.parent / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    np.testing.assert_array_equal(read(path, files_from=str(path)), pixels)


def test_the_order_of_a_list_is_that_of_the_axis_that_is_told(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 3, 1, 6, 7))
    names = ["nuclei", "actin 2", "actin 10"]
    for c, name in enumerate(names):
        write(tmp_path / f"{name}.tif", pixels[0, c, 0])
    files = listed(tmp_path / "list", [f"{name}.tif" for name in names])
    for axes in ("CYX", "c", "CYXS"):
        np.testing.assert_array_equal(read(files, files_from=files, axes=axes), pixels)
    assert channel_names(files, files_from=files, axes="CYX") == names
    np.testing.assert_array_equal(read(files, files_from=files, axes="T"), pixels.transpose(1, 0, 2, 3, 4))
    assert channel_names(files, files_from=files, axes="T") == [None]
    listed(tmp_path / "list", [f"{names[0]}.tif"] * 2)
    np.testing.assert_array_equal(read(files, files_from=files, axes="Z")[0, 0, 1], pixels[0, 0, 0])


def test_channels_of_files_are_named_by_files_only_where_each_file_is_one(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 1, 6, 7))
    for t in range(2):
        write(tmp_path / f"at {t}.tif", pixels[t, :, 0])
    np.testing.assert_array_equal(read(tmp_path, axes="TC"), pixels)
    assert channel_names(tmp_path, axes="TC") == [None, None]
    assert channel_names(tmp_path, axes="CT") == ["at 0", "at 1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \r\n\n", "lists no file; one path a line is needed"),
        (b"\xff\xfea\0", "cannot be read as a list of files, one path a line: 'utf-8' codec"),
        (
            b"z0.tif\nz1.tif\ngone.tif\n",
            "lists what is no file: '.*gone.tif'; relative paths are relative to",
        ),
        (b"z0.tif\nfolder\n", "lists what is no file: '.*folder'"),
        (b"z0.tif\nz1.tif z2.tif\n", "lists what is no file: '.*z1.tif z2.tif'"),
        (b"z0.tif\na\0b.tif\n", r"lists what is no file: '.*a\\x00b.tif'"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_planes(tmp_path, "z{z}.tif", coded_pixels((1, 1, 3, 6, 7)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ReadError, match=message) as caught:
        read(tmp_path / "list", files_from=str(tmp_path / "list"))
    assert "\n" not in str(caught.value)


def test_many_files_of_a_list_that_are_not_there_are_counted(tmp_path: Path) -> None:
    files = listed(tmp_path / "list", [f"z{z}.tif" for z in range(500)])
    with pytest.raises(ReadError, match=r"z9\.tif' and 490 more") as caught:
        read(files, files_from=files)
    assert "z10.tif" not in str(caught.value)


def test_a_list_may_be_spelled_in_two_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_planes(tmp_path, "z{z}.tif", coded_pixels((1, 1, 3, 6, 7)))
    path = Path(listed(tmp_path / "list", ["z0.tif", "z1.tif", "z2.tif"]))
    monkeypatch.chdir(tmp_path)
    for one, other in (("list", "./list"), (path, "list"), ("list", path)):
        with ngff_convert.open(one, files_from=other) as source:
            np.testing.assert_array_equal(source.images[0].pixels[...], pixels)
    convert(path, "out", Options(files_from=path))  # type: ignore[arg-type]
    np.testing.assert_array_equal(levels(Path("out"), "0.5")[0][0], pixels[0, 0])


def test_a_list_beside_another_input_is_refused(tmp_path: Path) -> None:
    write_planes(tmp_path, "z{z}.tif", coded_pixels((1, 1, 3, 6, 7)))
    files = listed(tmp_path / "list", ["z0.tif", "z1.tif"])
    with pytest.raises(OptionError, match=r"leave the folder .* out, or give a pattern"):
        read(tmp_path, files_from=files)
    with pytest.raises(OptionError, match=r"z2\.tif: no \{t\}, \{c\} or \{z\} in it"):
        read(tmp_path / "z2.tif", files_from=files)


def test_numbers_that_do_not_count_are_told_with_how_many_they_are(tmp_path: Path) -> None:
    for t in (1, 2, 4, 5, 1000):
        write(tmp_path / f"t{t}.tif", coded_pixels((6, 7)))
    with ngff_convert.open(str(tmp_path)) as source:
        assert source.images[0].pixels.shape[0] == 5
        assert source.warnings[0].endswith("t{t}.tif: t 1 to 1000 (5)")
        assert not source.missing


# -- several pages a file ----------------------------------------------------------------------------------


def test_stacks_of_pages_without_names_are_z(tmp_path: Path) -> None:
    pixels = coded_pixels((3, 1, 5, 6, 7))
    for t in range(3):
        write(tmp_path / f"t{t}.tif", pixels[t, 0])
    np.testing.assert_array_equal(read(tmp_path), pixels)
    np.testing.assert_array_equal(read(tmp_path / "t{t}.tif"), pixels)


def test_pages_are_t_where_names_count_z(tmp_path: Path) -> None:
    pixels = coded_pixels((5, 1, 3, 6, 7))
    for z in range(3):
        write(tmp_path / f"z{z}.tif", pixels[:, 0, z])
    np.testing.assert_array_equal(read(tmp_path), pixels)


def test_pages_are_c_where_names_count_t_and_z_and_nothing_where_they_count_all(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 3, 6, 7))
    for t, z in np.ndindex(2, 3):
        write(tmp_path / "in" / f"t{t}_z{z}.tif", pixels[t, :, z])
    np.testing.assert_array_equal(read(tmp_path / "in"), pixels)
    write_planes(tmp_path / "more", PLANES, np.repeat(pixels, 2, axis=4))
    for path in (tmp_path / "more").iterdir():
        write(path, coded_pixels((2, 6, 7)))
    with pytest.raises(UnsupportedInput, match="more than t, c and z; say with --axes"):
        read(tmp_path / "more")


def test_pages_that_imagej_named(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 3, 6, 7))
    for t in range(2):  # of different lengths, so that pixels begin elsewhere in each file
        info = {"Info": "x" * 1000 * (t + 1), "spacing": 2.5, "unit": "um"}
        stack = pixels[t].transpose(1, 0, 2, 3)
        path = tmp_path / f"t{t}.tif"
        write(path, stack, imagej=True, metadata={"axes": "ZCYX", **info}, resolution=(4.0, 4.0))
    offsets = []
    for path in sorted(tmp_path.iterdir()):
        with tifffile.TiffFile(path) as tif:
            offsets.append(tif.pages.first.dataoffsets[0])
    assert offsets[0] != offsets[1]
    np.testing.assert_array_equal(read(tmp_path), pixels)
    with ngff_convert.open(str(tmp_path)) as source:
        assert source.images[0].calibration.zyx == (2.5, 0.25, 0.25)


def test_the_same_axis_in_names_and_pages_goes_on_from_file_to_file(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 6, 6, 7))
    for part in range(3):
        path = tmp_path / f"z{part}.tif"
        write(path, pixels[0, 0, 2 * part : 2 * part + 2], imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(read(tmp_path), pixels)


def test_samples_of_a_pixel_are_channels_of_each_file(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 6, 1, 8, 9), "uint8")
    for t, c in np.ndindex(2, 2):
        rgb = np.moveaxis(pixels[t, 3 * c : 3 * c + 3, 0], 0, -1)
        write(tmp_path / f"t{t}_{('DAPI', 'GFP')[c]}.tif", rgb, photometric="rgb")
    np.testing.assert_array_equal(read(tmp_path), pixels)
    assert channel_names(tmp_path) == [
        f"{name} {s}" for name in ("DAPI", "GFP") for s in ("red", "green", "blue")
    ]


def test_channels_in_names_and_in_pages(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 4, 1, 6, 7))
    for c, name in enumerate(("left", "right")):
        part = pixels[:, 2 * c : 2 * c + 2, 0]
        write(tmp_path / "plain" / f"x_{name}_s.tif", part, imagej=True, metadata={"axes": "TCYX"})
        ome = {"axes": "TCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
        write(tmp_path / "ome" / f"x_{name}_s.ome.tif", part, ome=True, metadata=ome)
    for folder, words in (("plain", ("0", "1")), ("ome", ("DAPI", "GFP"))):
        np.testing.assert_array_equal(read(tmp_path / folder), pixels)
        assert channel_names(tmp_path / folder) == [f"{a} {b}" for a in ("left", "right") for b in words]


def test_axes_with_a_pattern_tell_what_the_pages_of_each_file_are(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 3, 6, 7))
    for t in range(2):
        write(tmp_path / f"t{t}.tif", pixels[t].reshape(6, 6, 7))
    pattern = tmp_path / "t{t}.tif"
    np.testing.assert_array_equal(read(pattern, axes="CZYX", shape=(2, 3)), pixels)
    np.testing.assert_array_equal(read(pattern, axes="cz", shape=(-1, 3)), pixels)
    np.testing.assert_array_equal(read(pattern, axes="C")[:, :, 0], pixels.reshape(2, 6, 6, 7))
    for wishes, message in (
        ({"axes": "CZ", "shape": (4, 2)}, "--shape 4,2: .*t0.tif has 6 pages"),
        ({"axes": "CZ"}, "--axes CZ: .*t0.tif has 6 pages along 1 axes"),
        ({"axes": "YX"}, "--axes"),
    ):
        with pytest.raises(OptionError, match=message):
            read(pattern, **wishes)


def test_axes_with_a_folder_count_all_pages_of_all_files_in_order(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 3, 4, 6, 7))
    pages = pixels.reshape(24, 6, 7)
    for n in range(6):
        write(tmp_path / f"part {n + 5}.tif", pages[4 * n : 4 * n + 4])
    np.testing.assert_array_equal(read(tmp_path, axes="TCZYX", shape=(2, 3, 4)), pixels)
    np.testing.assert_array_equal(read(tmp_path, axes="tcz", shape=(2, 3, -1)), pixels)
    np.testing.assert_array_equal(read(tmp_path, axes="CZ"), pages.reshape(1, 6, 4, 6, 7))
    np.testing.assert_array_equal(read(tmp_path, axes="Z"), pages.reshape(1, 1, 24, 6, 7))
    files = listed(tmp_path / "list", [f"part {n + 5}.tif" for n in reversed(range(6))])
    backwards = pages.reshape(6, 4, 6, 7)[::-1]
    np.testing.assert_array_equal(read(files, files_from=files, axes="TZ")[:, 0], backwards)
    for wishes, message in (
        (
            {"axes": "TCZ"},
            "6 files from .*part 5.tif on has 24 pages along 2 axes .6 x 4., not 3; say with --shape",
        ),
        ({"axes": "TZ", "shape": (5, 5)}, "--shape 5,5: .* has 24 pages"),
        ({"axes": "TZ", "shape": (5, -1)}, "--shape 5,-1: .* has 24 pages"),
    ):
        with pytest.raises(OptionError, match=message):
            read(tmp_path, **wishes)


def test_only_the_first_of_several_images_of_each_file_is_taken_and_said(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 2, 6, 7))
    for z in range(2):
        with tifffile.TiffWriter(tmp_path / f"z{z}.tif") as tif:
            tif.write(pixels[0, 0, z], metadata=None)
            tif.write(np.zeros((20, 30), "uint8"), metadata=None)
    with ngff_convert.open(str(tmp_path)) as source:
        np.testing.assert_array_equal(source.images[0].pixels[...], pixels)
        assert "only the first of the 2 images of each file is taken" in source.warnings


def test_native_levels_of_pyramidal_files(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 2, 3, 64, 48))
    for c, z in np.ndindex(2, 3):
        with tifffile.TiffWriter(tmp_path / f"c{c}_z{z}.tif") as tif:
            tile: dict[str, Any] = {"tile": (16, 16), "metadata": None}
            tif.write(pixels[0, c, z], subifds=2, **tile)
            tif.write(pixels[0, c, z, ::2, ::2], subfiletype=1, **tile)
            tif.write(pixels[0, c, z, ::4, ::4], subfiletype=1, **tile)
    with ngff_convert.open(str(tmp_path)) as source:
        (image,) = source.images
        assert [level.factor for level in image.native_levels] == [(1, 2, 2), (1, 4, 4)]
        np.testing.assert_array_equal(image.pixels[...], pixels)
        for step, level in zip((2, 4), image.native_levels, strict=True):
            np.testing.assert_array_equal(level.pixels[...], pixels[..., ::step, ::step])
    convert(tmp_path, tmp_path / "out", Options(pyramid="native"))
    found = levels(tmp_path / "out", "0.5")
    np.testing.assert_array_equal(found[2].reshape(2, 3, 16, 12), pixels[0, ..., ::4, ::4])


def test_files_that_are_stored_differently(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 6, 40, 50))
    ways: list[dict[str, Any]] = [
        {},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "rowsperstrip": 7},
        {"tile": (16, 32)},
        {"bigtiff": True},
        {"byteorder": ">", "compression": "zstd"},
    ]
    for z, way in enumerate(ways):
        write(tmp_path / f"z{z}.tif", pixels[0, 0, z], **way)
    np.testing.assert_array_equal(read(tmp_path), pixels)


# -- OME-TIFF ----------------------------------------------------------------------------------------------


def test_ome_tiff_files_of_one_plane_each(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 2, 3, 8, 9))
    for t, c, z in np.ndindex(2, 2, 3):
        metadata = {
            "axes": "YX",
            "Name": f"t{t}",
            "PhysicalSizeX": 0.25,
            "PhysicalSizeY": 0.5,
            "Channel": {"Name": ("DAPI", "GFP")[c], "EmissionWavelength": (450, 520)[c]},
        }
        write(tmp_path / "in" / f"t{t}_c{c}_z{z}.ome.tif", pixels[t, c, z], ome=True, metadata=metadata)
    for source in (tmp_path / "in", tmp_path / "in" / "t{t}_c{c}_z{z}.ome.tif"):
        np.testing.assert_array_equal(read(source), pixels)
        with ngff_convert.open(str(source)) as opened:
            image = opened.images[0]
            assert [channel.name for channel in image.channels] == ["DAPI", "GFP"]
            assert [channel.emission_nm for channel in image.channels] == [450, 520]
            assert image.calibration.zyx[1:] == (0.5, 0.25)


def test_stacks_in_ome_tiff_keep_the_order_that_their_xml_states(tmp_path: Path) -> None:
    pixels = coded_pixels((3, 2, 4, 8, 9))
    for t in range(3):
        stack = pixels[t].transpose(1, 0, 2, 3)
        write(tmp_path / f"t{t}.ome.tif", stack, ome=True, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read(tmp_path), pixels)


@pytest.mark.parametrize("name", ["ometiff/bf_multifile", "ometiff/bf_companion"])
def test_a_folder_that_is_a_set_is_what_its_xml_says(name: str) -> None:
    folder = data_file(name)
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".ome.tif", ".ome.tiff")))
    whole = next((path for path in folder.iterdir() if path.name.endswith(".companion.ome")), files[0])
    with ngff_convert.open(str(folder)) as opened, ngff_convert.open(str(whole)) as alone:
        assert [image.name for image in opened.images] == [image.name for image in alone.images]
        assert opened.images[0].ome is not None
        for one, other in zip(opened.images, alone.images, strict=True):
            np.testing.assert_array_equal(one.pixels[...], other.pixels[...])


def test_a_folder_with_one_tiff_is_that_tiff(tmp_path: Path) -> None:
    pixels = coded_pixels((2, 1, 3, 6, 7))
    path = write(tmp_path / "only.tif", pixels[:, 0], imagej=True, metadata={"axes": "TZYX"})
    np.testing.assert_array_equal(read(tmp_path), read(path))
    np.testing.assert_array_equal(read(tmp_path), pixels)
    assert read(tmp_path, axes="C").shape == (1, 6, 1, 6, 7)


def test_what_is_no_file_in_a_folder_is_left_out(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path, "z{z}.tif", coded_pixels((1, 1, 3, 6, 7)))
    (tmp_path / "z4.tif").mkdir()
    os.mkfifo(tmp_path / "z5.tif")
    (tmp_path / "z6.tif").symlink_to("gone")
    for source in (tmp_path, tmp_path / "z{z}.tif"):
        np.testing.assert_array_equal(read(source), pixels)
    files = listed(tmp_path / "list", ["z5.tif"])
    with pytest.raises(ReadError, match="lists what is no file"):
        read(files, files_from=files)
    with pytest.raises(UnsupportedInput, match=r"z4\.tif: is a folder; give a file"):
        read(tmp_path / "z4.tif", files_from=str(tmp_path / "z4.tif"))


def test_a_folder_with_two_companion_files_is_two_inputs(tmp_path: Path) -> None:
    for name in ("a.companion.ome", "b.companion.ome", "a.tif"):
        (tmp_path / name).write_bytes(b"<OME/>")
    with pytest.raises(OptionError, match=r"a\.companion\.ome and .*b\.companion\.ome: each describes"):
        read(tmp_path)


# -- gaps --------------------------------------------------------------------------------------------------


def test_gaps_are_named_and_read_as_0(tmp_path: Path) -> None:
    gaps = [(1, 0, 1), (1, 0, 2)]
    pixels = write_planes(tmp_path, without=gaps)
    with ngff_convert.open(str(tmp_path)) as source:
        assert list(source.missing) == ["2 of 24 files are missing: t 1, c 0, z 1-2"]
        np.testing.assert_array_equal(source.images[0].pixels[...], pixels)
        (note,) = source.warnings
        assert note == f"file names are read as {tmp_path}/{PLANES}: t 0 1, c 0 1 2, z 0 1 2 3"


def test_gaps_of_stacks_are_whole_stacks(tmp_path: Path) -> None:
    pixels = coded_pixels((4, 1, 3, 6, 7))
    for t in (0, 1, 3):
        write(tmp_path / f"t{t}.tif", pixels[t, 0])
    pixels[2] = 0
    with ngff_convert.open(str(tmp_path / "t{t}.tif")) as source:
        assert list(source.missing) == ["1 of 4 files is missing: t 2"]
        np.testing.assert_array_equal(source.images[0].pixels[...], pixels)


def test_the_first_plane_may_be_missing(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path, without=[(0, 0, z) for z in range(4)])
    np.testing.assert_array_equal(read(tmp_path), pixels)


def test_gaps_stop_a_conversion_unless_they_may_be_filled(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path / "in", without=[(1, 2, 3)])
    with pytest.raises(ReadError, match=r"in: 1 of 24 files is missing: t 1, c 2, z 3; .* --on-error fill"):
        convert(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    report = convert(tmp_path / "in", tmp_path / "out", Options(on_error="fill"))
    assert report.filled == ("1 of 24 files is missing: t 1, c 2, z 3",)
    assert report.filled[0] in report.warnings
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], pixels)
    assert_valid(tmp_path / "out", tmp_path / "out")
    assert convert(
        tmp_path / "in", tmp_path / "out2", Options(on_error="fill", crop=((0, 1), *[(None, None)] * 4))
    )


# -- files that do not fit ---------------------------------------------------------------------------------


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda p: write(p, coded_pixels((12, 13))),
            ReadError,
            "z2.tif: page 0 is uint16 of 1 x 1 x 12 x 13",
        ),
        (
            lambda p: write(p, coded_pixels((11, 13), "uint8")),
            ReadError,
            "z2.tif: page 0 is uint8 .* is the file one",
        ),
        (
            lambda p: write(p, coded_pixels((2, 11, 13))),
            ReadError,
            "z2.tif: has 2 pages, the first file 1; is it one",
        ),
        (shortened, ReadError, "z2.tif"),
        (lambda p: p.write_bytes(b"II*\0 and no more"), ReadError, "z2.tif"),
        (lambda p: p.write_bytes(b""), ReadError, "z2.tif: is empty"),
        (lambda p: p.write_bytes(b"no image at all"), UnsupportedInput, "z2.tif: not a TIFF"),
        (Path.unlink, ReadError, "z2.tif"),
    ],
)
def test_a_file_in_the_middle_that_is_of_another_kind_is_named(
    tmp_path: Path, spoil: Callable[[Path], object], error: type[ConversionError], message: str
) -> None:
    write_planes(tmp_path / "in", "z{z}.tif", coded_pixels((1, 1, 4, 11, 13)))
    with ngff_convert.open(str(tmp_path / "in")) as source:
        spoil(tmp_path / "in" / "z2.tif")
        source.images[0].pixels[0, 0, :2]
        with pytest.raises(error, match=message) as caught:
            source.images[0].pixels[...]
        assert "\n" not in str(caught.value)
    if (tmp_path / "in" / "z2.tif").exists():
        with pytest.raises(error, match=r"z2\.tif"):
            convert(tmp_path / "in", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_fewer_pages_than_the_first_file_has(tmp_path: Path) -> None:
    for t in range(3):
        write(tmp_path / f"t{t}.tif", coded_pixels((2 if t == 1 else 3, 6, 7)))
    with pytest.raises(ReadError, match=r"t1\.tif: has 2 pages, the first file 3"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("files", "source", "error", "message"),
    [
        (["a.txt"], "", UnsupportedInput, "is a folder, or a pattern of names, in which no reader"),
        (["z1.tif"], "y{z}.tif", ReadError, "y{z}.tif: no file matches"),
        (["z1.tif"], "*.tif", OptionError, "no {t}, {c} or {z} in it; put one where the names differ"),
        (["z1.tif"], "{q}.tif", OptionError, "{q} is not understood; a brace holds t, c or z"),
        (["z1.tif"], "{t}{z}.tif", OptionError, "nothing tells where {t} ends"),
        (["z1.tif", "z01.tif"], "z{z}.tif", OptionError, "z01.tif and .*z1.tif are both z=0?1"),
        (["a/z1.tif", "b/z1.tif"], "*/z{z}.tif", OptionError, "are both z=1"),
        (["z1.tif", "z2.tif"], "z{z}.tif", ReadError, "z1.tif: is empty"),
        (["one.tif", "two 2.tif"], "", ReadError, "one.tif: is empty"),
        (["x_s1_z1.tif", "x_s2_z1.tif"], "", ReadError, "is empty"),
        (["z1.tif/x.tif"], "z{z}.tif", ReadError, "no file matches"),
        (["a/b.tif"], "", UnsupportedInput, "is a folder, or a pattern"),
    ],
)
def test_what_is_no_series(
    tmp_path: Path, files: list[str], source: str, error: type[ConversionError], message: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(error, match=message) as caught:
        read(tmp_path / source if source else tmp_path)
    assert "\n" not in str(caught.value)


def test_names_of_several_images_are_refused_with_a_pattern_for_one_of_them(tmp_path: Path) -> None:
    for s, z in np.ndindex(2, 3):
        write(tmp_path / f"x_s{s + 1}_z{z}.tif", coded_pixels((6, 7)) + s)
    with pytest.raises(OptionError, match="s1 and s2 look like positions") as caught:
        read(tmp_path)
    pattern = str(caught.value).split("'")[1]
    assert pattern == f"{tmp_path}/x_s1_z{{z}}.tif"
    assert read(pattern).shape == (1, 1, 3, 6, 7)


def test_a_folder_that_is_named_to_the_reader_and_has_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput, match=f"{tmp_path}: has no TIFF files in it"):
        read(tmp_path, reader="files")


def test_a_file_whose_name_has_braces_is_that_file(tmp_path: Path) -> None:
    pixels = coded_pixels((6, 7))
    path = write(tmp_path / "scan_{t}.tif", pixels)
    write(tmp_path / "scan_1.tif", pixels + 1)
    np.testing.assert_array_equal(read(path)[0, 0, 0], pixels)
    assert read(path, reader="files").shape == (2, 1, 1, 6, 7)


def test_recognising_a_folder_leaves_nothing_open_and_never_raises(tmp_path: Path) -> None:
    reader = FileSeriesReader()
    write_planes(tmp_path)
    assert reader.can_read(str(tmp_path), b"")  # an iterator left open would be a warning, and so an error
    assert reader.can_read(str(tmp_path / "t{t}.tif"), b"")
    for path, head in ((tmp_path / "gone", b""), ("a\0b", b""), (tmp_path, b"II*\0")):
        assert not reader.can_read(str(path), head)


# -- the output beside the input, and runs one after another -----------------------------------------------


def test_the_output_may_be_within_the_folder_and_is_not_taken_up(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path)
    for _ in range(2):
        convert(tmp_path, tmp_path / "out.ome.zarr", Options(overwrite=True))
        np.testing.assert_array_equal(levels(tmp_path / "out.ome.zarr", "0.5")[0], pixels)
    with pytest.raises(TargetError, match="is, or holds, the input"):
        convert(tmp_path, tmp_path, Options(overwrite=True))


def interrupted(source: Path, target: Path, options: Options | None = None) -> None:
    """Begin a conversion, and leave it when its first pixels are written."""

    def stop(event: object) -> None:
        if isinstance(event, RegionDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, target, options, stop)
    assert (target.with_name(f"{target.name}.partial") / PLAN_FILE).is_file()


@pytest.mark.parametrize("change", ["nothing", "time", "size", "content and name"])
def test_a_changed_member_makes_another_conversion(tmp_path: Path, change: str) -> None:
    write_planes(tmp_path / "in")
    interrupted(tmp_path / "in", tmp_path / "out")
    member = tmp_path / "in" / "scan_t1_c2_z1.tif"
    status = member.stat()
    if change == "time":
        os.utime(member, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "size":
        member.write_bytes(member.read_bytes() + b"\0")
        os.utime(member, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "content and name":
        shutil.copytree(tmp_path / "in", tmp_path / "other")
    source = tmp_path / ("other" if change == "content and name" else "in")
    if change == "nothing":
        report = convert(source, tmp_path / "out")
        assert any("an unfinished conversion is taken up" in line for line in report.warnings)
        return
    with pytest.raises(TargetError, match="is the work of another conversion"):
        convert(source, tmp_path / "out")


def test_an_input_that_is_reached_through_a_link_is_the_same(tmp_path: Path) -> None:
    write_planes(tmp_path / "in")
    (tmp_path / "link").symlink_to("in")
    interrupted(tmp_path / "in", tmp_path / "out", Options(name="cells"))
    report = convert(tmp_path / "link", tmp_path / "out", Options(name="cells"))
    assert any("an unfinished conversion is taken up" in line for line in report.warnings)


# -- what a reader promises of its pixels ------------------------------------------------------------------


def test_boxes_are_parts_of_the_whole_in_any_thread(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path, without=[(1, 1, 1)], compression="zlib")
    random = np.random.default_rng(0)
    corners = [np.sort(random.integers(0, np.array(SHAPE) + 1, (2, 5)), axis=0) for _ in range(60)]
    boxes = [Box(tuple(a.tolist()), tuple(b.tolist())) for a, b in corners if (a < b).all()]
    assert len(boxes) > 5
    with ngff_convert.open(str(tmp_path)) as source, ThreadPoolExecutor(4) as pool:
        level: Any = source.images[0].pixels
        for box, found in zip(boxes * 4, pool.map(level.read, boxes * 4), strict=True):
            np.testing.assert_array_equal(found, pixels[box.slices])
            assert found.flags.c_contiguous
        np.testing.assert_array_equal(level[-1, 0, ..., ::-2], pixels[-1, 0, ..., ::-2])
        np.testing.assert_array_equal(np.asarray(source.images[0].data), pixels)


def test_pixels_travel_as_addresses_and_outlive_their_source(tmp_path: Path) -> None:
    pixels = write_planes(tmp_path, without=[(0, 1, 2)])
    with ngff_convert.open(str(tmp_path)) as source:
        level: Any = source.images[0].pixels
        level[0, 0, 0]
        pickled = pickle.dumps(level)
        assert pickle.loads(pickled).files is level.files
    with pytest.raises(ValueError, match="the source was closed"):
        level[...]
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again[...], pixels)
    again.files.close()


def test_a_source_does_not_follow_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_planes(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    with ngff_convert.open("in") as source:
        monkeypatch.chdir("/")
        np.testing.assert_array_equal(source.images[0].pixels[...], pixels)
        assert all(Path(path).is_absolute() for path in source.paths)


def test_a_file_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    write_planes(tmp_path, names=("a", "b", "c"))
    (tmp_path / "scan_t0_cc_z0.tif").write_bytes(b"II*\0 and no more")  # the first of its channel
    (tmp_path / "scan_t1_cc_z3.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(ReadError, match=r"scan_t._cc_z.\.tif"):
        ngff_convert.open(str(tmp_path))


# -- very many files ---------------------------------------------------------------------------------------

MANY = 2000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    pixels = coded_pixels((MANY, 8, 8))
    template = write(folder / "first.tif", pixels[0]).read_bytes()
    (folder / "first.tif").unlink()
    at = template.index(pixels[0].tobytes())
    for n in range(MANY):
        bytes_ = template[:at] + pixels[n].tobytes() + template[at + pixels[n].nbytes :]
        (folder / f"img_t{n // 50:03}_z{n % 50:02}.tif").write_bytes(bytes_)
    return folder


def open_files_now() -> list[str]:
    targets = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):  # closed meanwhile
            targets.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
    return targets


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_files_are_opened_once_and_few_at_a_time(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[str, int] = {}
    most_open = 0
    lock = threading.Lock()
    understand = tiff_files.TiffHandle.understand

    def counted(handle: tiff_files.TiffHandle) -> None:
        nonlocal most_open
        understand(handle)
        with lock:
            opened[handle.path] = opened.get(handle.path, 0) + 1
            if len(opened) % 100 == 50:
                most_open = max(most_open, sum(target.startswith(str(many)) for target in open_files_now()))

    monkeypatch.setattr(tiff_files.TiffHandle, "understand", counted)
    convert(many, tmp_path / "out", Options(workers=2))
    assert len(opened) == MANY
    assert max(opened.values()) <= 2
    assert sum(opened.values()) <= MANY + 10
    # A file has one descriptor for its structure and one for its bytes.
    assert MAX_OPEN_FILES <= most_open <= 2 * (MAX_OPEN_FILES + 3)
    found = levels(tmp_path / "out", "0.5")[0]
    np.testing.assert_array_equal(found.reshape(MANY, 8, 8), coded_pixels((MANY, 8, 8)))


def test_nothing_is_kept_of_a_file_that_was_read(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "CACHE_BYTES", 100_000)
    with ngff_convert.open(str(many)) as source:  # what is imported for it stays, and is not of the files
        source.images[0].pixels[0]
    tracemalloc.start()
    try:
        with ngff_convert.open(str(many)) as source:
            assert tracemalloc.get_traced_memory()[1] < 2000 * MANY
            pixels = source.images[0].pixels
            for t in range(10):
                pixels[t]
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for t in range(10, 25):
                pixels[t]
            gc.collect()
            # A file that was kept is 3 kB; that it is known is some 150 bytes, in a set that grows in leaps.
            assert tracemalloc.get_traced_memory()[0] - before < 15 * 50 * 400
    finally:
        tracemalloc.stop()


# -- files that are stored unlike the first ------------------------------------------------------------------


@pytest.mark.parametrize("imagej", [False, True])
def test_a_later_file_whose_pages_do_not_follow_one_another(tmp_path: Path, imagej: bool) -> None:
    pixels = coded_pixels((2, 5, 40, 50))
    metadata: Any = {"axes": "ZYX"} if imagej else None
    tifffile.imwrite(
        tmp_path / "t0.tif", pixels[0], imagej=imagej, photometric="minisblack", metadata=metadata
    )
    with tifffile.TiffWriter(tmp_path / "t1.tif") as writer:
        for page in pixels[1]:
            writer.write(page, contiguous=False, metadata=None, description="tags between the pixels")
    np.testing.assert_array_equal(read(tmp_path / "t{t}.tif")[:, 0], pixels)


def test_a_store_that_holds_the_files_is_never_replaced(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", coded_pixels((20, 30)))
    convert(tmp_path / "a.tif", tmp_path / "out.ome.zarr")
    inside = tmp_path / "out.ome.zarr/in/a.tif"
    inside.parent.mkdir()
    shutil.copy(tmp_path / "a.tif", inside)
    (tmp_path / "list.txt").write_text(f"{inside}\n")
    options = Options(files_from=str(tmp_path / "list.txt"), overwrite=True)
    with pytest.raises(TargetError, match="is, or holds, the input"):
        convert(tmp_path / "list.txt", tmp_path / "out.ome.zarr", options)
    assert inside.is_file()
