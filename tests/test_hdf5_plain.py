"""Datasets of HDF5 files that no program's layout describes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from data_folder import data_file
from servers import http_files
from stores import levels

import ngff_convert
from ngff_convert import Options
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.model import Calibration
from ngff_convert.readers import registry
from ngff_convert.readers.hdf5_plain import PlainHdf5Reader
from ngff_convert.testing import check_reader, coded_pixels, write_ims

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = Path(__file__).parent.parent
SIZES = {"t": 3, "c": 2, "z": 5, "y": 37, "x": 41}
"""Of every axis another one, so that none is taken for another."""


def pixels_along(axes: str, dtype: str = "uint16") -> NDArray[Any]:
    return coded_pixels([SIZES[axis] for axis in axes], dtype)


def as_tczyx(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    present = [axis for axis in "tczyx" if axis in axes]
    shape = [pixels.shape[axes.index(axis)] if axis in axes else 1 for axis in "tczyx"]
    return pixels.transpose([axes.index(axis) for axis in present]).reshape(shape)


def axistags(axes: str, **resolution: float) -> str:
    tags = [{"key": axis, "typeFlags": 2, "resolution": resolution.get(axis, 0)} for axis in axes]
    return json.dumps({"axes": tags})


def write(path: Path, pixels: NDArray[Any], name: str = "data", **settings: Any) -> Any:
    """Write a dataset; what is not a setting of h5py is an attribute."""
    known = ("chunks", "compression", "compression_opts", "shuffle", "fletcher32", "dtype", "fillvalue")
    with h5py.File(path, "a") as file:
        made = file.create_dataset(
            name, data=pixels, **{key: settings.pop(key) for key in known if key in settings}
        )
        for key, value in settings.items():
            made.attrs[key] = value
    return path


def only_image(path: Path | str, **wishes: Any) -> tuple[ngff_convert.Image, NDArray[Any], list[str]]:
    with ngff_convert.open(str(path), **wishes) as source:
        [image] = source.images
        return image, image.pixels[...], list(source.warnings)


# -- axes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "axes", ["yx", "xy", "yxc", "cyx", "tyx", "zyx", "xyz", "zyxc", "tzyxc", "tczyx", "cxzyt", "xyzct"]
)
@pytest.mark.parametrize("chunked", [True, False])
def test_axes_in_any_order(axes: str, chunked: bool, tmp_path: Path) -> None:
    pixels = pixels_along(axes)
    sizes = tuple(-(-n // 2) for n in pixels.shape) if chunked else None
    filters: dict[str, Any] = {"chunks": sizes, "compression": "gzip", "shuffle": True} if chunked else {}
    path = write(tmp_path / "in.h5", pixels, axistags=axistags(axes), **filters)
    image, read, warnings = only_image(path)
    np.testing.assert_array_equal(read, as_tczyx(pixels, axes))
    assert not warnings
    assert image.name == "data"
    check_reader(PlainHdf5Reader(), str(path))


@pytest.mark.parametrize(
    ("attributes", "axes"),
    [
        ({"axes": "xyz"}, "xyz"),
        ({"axes": ["X", "Y", "Time"]}, "xyt"),
        ({"axes": '["c", "y", "x"]'}, "cyx"),
        ({"axes": "channel, height, width"}, "cyx"),
        ({"element_size_um": [2.0, 0.5, 0.25]}, "zyx"),
        ({"CLASS": "IMAGE", "IMAGE_SUBCLASS": "IMAGE_TRUECOLOR", "INTERLACE_MODE": "INTERLACE_PIXEL"}, "yxc"),
        ({"CLASS": "IMAGE", "IMAGE_SUBCLASS": "IMAGE_TRUECOLOR", "INTERLACE_MODE": "INTERLACE_PLANE"}, "cyx"),
    ],
)
def test_what_attributes_say(attributes: dict[str, Any], axes: str, tmp_path: Path) -> None:
    pixels = coded_pixels((11, 12, 13))
    _, read, warnings = only_image(write(tmp_path / "in.h5", pixels, **attributes))
    np.testing.assert_array_equal(read, as_tczyx(pixels, axes))
    assert not warnings


def test_labels_and_scales_of_dimensions(tmp_path: Path) -> None:
    pixels = coded_pixels((4, 12, 13))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        data = file.create_dataset("data", data=pixels)
        for at, (name, step, unit) in enumerate([("time", 0.5, "min"), ("x", 0.25, "um"), ("y", 500, "nm")]):
            scale = file.create_dataset(name, data=10 * step + step * np.arange(pixels.shape[at]))
            scale.make_scale(name)
            scale.attrs["units"] = unit
            data.dims[at].attach_scale(scale)
    image, read, warnings = only_image(tmp_path / "in.h5")
    np.testing.assert_array_equal(read, as_tczyx(pixels, "txy"))
    assert image.calibration == Calibration((None, 0.5, 0.25), "micrometer", 30.0, (None, 5.0, 2.5))
    assert not warnings
    with h5py.File(tmp_path / "in.h5", "r+") as file:
        for dim, label in zip(file["data"].dims, "zyx", strict=True):
            dim.label = label
    _, read, _ = only_image(tmp_path / "in.h5")
    np.testing.assert_array_equal(read, as_tczyx(pixels, "zyx"))


def test_steps_that_are_not_even_are_unknown(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        data = file.create_dataset("data", data=coded_pixels((4, 5)))
        for at, name in enumerate("yx"):
            scale = file.create_dataset(name, data=np.arange(4 + at) ** 2.0)
            scale.make_scale(name)
            data.dims[at].attach_scale(scale)
    image, _, _ = only_image(tmp_path / "in.h5")
    assert image.calibration == Calibration()


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((20, 30), "yx"),
        ((5, 20, 30), "zyx"),
        ((20, 30, 3), "yxc"),
        ((2, 3, 20, 30), "czyx"),
        ((5, 20, 30, 4), "zyxc"),
        ((2, 3, 4, 20, 30), "tczyx"),
        ((2, 5, 20, 30, 1), "tzyxc"),
        ((3, 3, 3), "zyx"),
    ],
)
def test_what_is_assumed_is_said(shape: tuple[int, ...], axes: str, tmp_path: Path) -> None:
    pixels = coded_pixels(shape)
    _, read, warnings = only_image(write(tmp_path / "in.h5", pixels))
    np.testing.assert_array_equal(read, as_tczyx(pixels, axes))
    if axes == "yx":
        assert not warnings
    else:
        [line] = warnings
        assert f"taken as {axes}" in line
        assert f"--axes {axes.upper()}" in line


def test_the_user_knows_better(tmp_path: Path) -> None:
    pixels = coded_pixels((5, 6, 7))
    path = write(tmp_path / "in.h5", pixels, axistags=axistags("zyx"))
    for words, axes in (("TYX", "tyx"), ("c", "cyx"), ("XYZ", "xyz"), ("yxc", "yxc")):
        _, read, warnings = only_image(path, axes=words)
        np.testing.assert_array_equal(read, as_tczyx(pixels, axes))
        assert not warnings
    with pytest.raises(
        OptionError, match=r"--axes TZYX: .* no dataset of 4 dimensions, but data \(5, 6, 7\)"
    ):
        only_image(path, axes="TZYX")


def test_axes_that_are_not_understood_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", coded_pixels((5, 6, 7)), axistags=axistags(["n", "y", "x"]))  # type: ignore[arg-type]
    _, _, warnings = only_image(path)
    assert warnings[0] == "data: its axistags say n, y, x, which is not understood"
    path = write(tmp_path / "no.h5", coded_pixels((5, 6)), axistags=axistags("tc"))
    with pytest.raises(UnsupportedInput, match="its axistags are tc, without y and x"):
        only_image(path)


def test_sizes(tmp_path: Path) -> None:
    pixels = coded_pixels((5, 6, 7))
    path = write(tmp_path / "a.h5", pixels, axistags=axistags("xyz", x=0.5, z=2.0))
    assert only_image(path)[0].calibration == Calibration((2.0, None, 0.5))
    path = write(tmp_path / "b.h5", pixels, axistags=axistags("xyz"), element_size_um=[2.0, 0.5, 0.25])
    assert only_image(path)[0].calibration == Calibration((2.0, 0.5, 0.25), "micrometer")


def test_what_ilastik_exports_as_labels_is_one(tmp_path: Path) -> None:
    pixels = coded_pixels((20, 30, 1), "uint8")
    tags = axistags("yxc")
    for name, attributes, expected in (
        ("in_Simple Segmentation.h5", {"axistags": tags}, True),
        ("in_Object Identities.h5", {"axistags": tags}, True),
        ("in_Simple Segmentation.h5", {}, False),
        ("in_Probabilities.h5", {"axistags": tags}, False),
        ("any.h5", {"axistags": tags, "display_mode": "random-colortable"}, True),
        ("other.h5", {"axistags": tags, "display_mode": "default"}, False),
    ):
        (tmp_path / name).unlink(missing_ok=True)
        image, _, _ = only_image(write(tmp_path / name, pixels, "exported_data", **attributes))
        assert image.is_label is expected, name


# -- how it is stored --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "<i4", ">f4", "float64", "int64", "float16"])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"chunks": (2, 20, 20)},
        {"compression": "lzf", "chunks": (2, 20, 20)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (2, 20, 20)},
        {"compression": 32015, "chunks": (2, 20, 20)},
    ],
    ids=str,
)
def test_every_kind_of_number_and_filter(dtype: str, filters: dict[str, Any], tmp_path: Path) -> None:
    import hdf5plugin  # noqa: F401 - its filters

    pixels = pixels_along("zyx", dtype)
    path = write(tmp_path / "in.h5", pixels, axes="zyx", **filters)
    image, read, _ = only_image(path)
    assert read.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(read[0, 0], pixels)
    with ngff_convert.open(str(path)) as source:
        again = source.images[0].pixels.read_by_library(ngff_convert.model.Box((0,) * 5, image.pixels.shape))
    np.testing.assert_array_equal(again, read)


@pytest.mark.parametrize("filters", [{}, {"chunks": (20, 20), "compression": "gzip"}], ids=str)
def test_true_and_false_and_names_of_numbers(filters: dict[str, Any], tmp_path: Path) -> None:
    mask = coded_pixels((37, 41)) % 3 == 0
    image, read, _ = only_image(write(tmp_path / "mask.h5", mask, **filters))
    assert read.dtype == np.uint8
    assert image.is_label
    assert image.pixels.library == "h5py"
    np.testing.assert_array_equal(read[0, 0, 0], mask)
    named = h5py.enum_dtype({"RED": 0, "GREEN": 1, "BLUE": 42}, "i2")
    path = write(tmp_path / "enum.h5", (mask * 42).astype(named), dtype=named, **filters)
    image, read, _ = only_image(path)
    assert read.dtype == np.int16
    assert image.pixels.library == "h5py"
    np.testing.assert_array_equal(read[0, 0, 0], mask * 42)
    check_reader(PlainHdf5Reader(), str(tmp_path / "mask.h5"))
    check_reader(PlainHdf5Reader(), str(path))


def test_chunks_that_were_never_written_are_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, chunks in (("chunked", (10, 10)), ("whole", None)):
            file.create_dataset(name, (25, 25), "u2", chunks=chunks, fillvalue=7)
        file["chunked"][11:13, 5] = 3
    with ngff_convert.open(str(tmp_path / "in.h5")) as source:
        chunked, whole = (image.pixels[0, 0, 0] for image in source.images)
    assert (whole == 7).all()
    assert (chunked[11:13, 5] == 3).all()
    assert (chunked == 7).sum() == 25 * 25 - 2


def test_virtual_compact_and_external_datasets(tmp_path: Path) -> None:
    pixels = coded_pixels((4, 20, 30))
    for z in range(4):
        write(tmp_path / f"part{z}.h5", pixels[z])
    layout = h5py.VirtualLayout((4, 20, 30), "u2")
    for z in range(4):
        layout[z] = h5py.VirtualSource(str(tmp_path / f"part{z}.h5"), "data", (20, 30))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        external = [(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("external", pixels.shape, "u2", external=external)[...] = pixels
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4, 20, 30))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.NATIVE_UINT16, space, compact)
        file["compact"][...] = pixels
    with ngff_convert.open(str(tmp_path / "in.h5")) as source:
        assert [image.name for image in source.images] == ["compact", "external", "virtual"]
        for image in source.images:
            np.testing.assert_array_equal(image.pixels[0, 0], pixels)
            assert not image.pixels.library
    (tmp_path / "part2.h5").unlink()
    with pytest.raises(ReadError, match=r"part2\.h5, which is missing"):
        ngff_convert.open(str(tmp_path / "in.h5"))


# -- which datasets ----------------------------------------------------------------------------------------


def several(path: Path) -> Path:
    write(path, coded_pixels((4, 20, 30)), "b/volume", axes="zyx")
    write(path, coded_pixels((20, 30)), "a")
    write(path, np.arange(100.0), "b/curve")
    with h5py.File(path, "r+") as file:
        file["again"] = file["a"]
        file["soft"] = h5py.SoftLink("/b/volume")
        file["empty"] = h5py.Empty("f4")
        file["none"] = np.zeros((0, 3))
        file["complex"] = np.zeros((4, 4), complex)
        file["text"] = np.array([[b"a"]])
        file["records"] = np.zeros((3, 3), [("a", "i4"), ("b", "f4")])
        file["six"] = np.zeros((2,) * 6)
        file["b/itself"] = file["b"]
    return path


def test_every_dataset_is_an_image(tmp_path: Path) -> None:
    path = several(tmp_path / "in.h5")
    with ngff_convert.open(str(path)) as source:
        assert [image.name for image in source.images] == ["a", "b/volume"]
    check_reader(PlainHdf5Reader(), str(path))
    assert main(["convert", str(path), str(tmp_path / "out"), "--layout", "bioformats2raw", "-q"]) == 0
    np.testing.assert_array_equal(levels(tmp_path / "out/1", "0.5")[0][0], coded_pixels((4, 20, 30)))


def test_one_that_is_named(tmp_path: Path) -> None:
    path = several(tmp_path / "in.h5")
    for name in ("b/volume", "/b/volume", "soft"):
        image, read, _ = only_image(path, dataset=[name])
        assert image.name == name.strip("/")
        np.testing.assert_array_equal(read[0, 0], coded_pixels((4, 20, 30)))
    with ngff_convert.open(str(path), dataset=("b/volume", "a")) as source:
        assert [image.name for image in source.images] == ["b/volume", "a"]
    with pytest.raises(OptionError, match=r"--dataset c: .* has no such dataset"):
        only_image(path, dataset=("c",))
    for name, what in (
        ("b", "a group"),
        ("b/curve", "100 float64"),
        ("complex", "4 x 4 complex128"),
        ("empty", "empty"),
        ("none", "0 x 3 float64"),
    ):
        with pytest.raises(UnsupportedInput, match=f"{name}: is {what}; an image is"):
            only_image(path, dataset=(name,))
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 4, 20, 30)))
    assert main(["inspect", str(tmp_path / "in.ims"), "--dataset", "a"]) == 2


def test_a_file_without_an_image(tmp_path: Path) -> None:
    path = write(tmp_path / "in.h5", np.arange(10))
    with pytest.raises(
        UnsupportedInput, match="no dataset of numbers of 2 to 5 dimensions; it holds data, 10 int64"
    ):
        only_image(path)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(UnsupportedInput, match="it holds nothing"):
        only_image(tmp_path / "empty.h5")


def test_links_to_other_files(tmp_path: Path) -> None:
    pixels = coded_pixels((20, 30))
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/other.h5", pixels, "deep/data")
    write(tmp_path / "outside.h5", pixels)
    with h5py.File(tmp_path / "in/in.h5", "w") as file:
        file["one"] = h5py.ExternalLink("other.h5", "/deep/data")
        file["group"] = h5py.ExternalLink("other.h5", "/deep")
    with h5py.File(tmp_path / "in/other.h5", "r+") as file:
        file["deep/back"] = h5py.ExternalLink("in.h5", "/")
    image, read, _ = only_image(tmp_path / "in/in.h5")
    np.testing.assert_array_equal(read[0, 0, 0], pixels)
    assert image.name == "one"
    with ngff_convert.open(str(tmp_path / "in/in.h5")) as source:
        assert [Path(path).name for path in source.paths] == ["in.h5", "other.h5"]
    with h5py.File(tmp_path / "in/in.h5", "r+") as file:
        file["secret"] = h5py.ExternalLink("../outside.h5", "/data")
    with pytest.raises(ReadError, match="outside the input's folder"):
        only_image(tmp_path / "in/in.h5")
    assert only_image(tmp_path / "in/in.h5", dataset=("one",))[0].name == "one"


def test_other_readers_come_first(tmp_path: Path) -> None:
    write_ims(tmp_path / "imaris.h5", coded_pixels((1, 1, 4, 20, 30)))
    assert registry.pick(str(tmp_path / "imaris.h5")).name == "imaris"
    write(tmp_path / "plain.h5", coded_pixels((20, 30)))
    assert registry.pick(str(tmp_path / "plain.h5")).name == "hdf5"
    write(tmp_path / "plain", coded_pixels((20, 30)))
    assert registry.pick(str(tmp_path / "plain")).name == "hdf5"
    (tmp_path / "no.h5").write_bytes(b"no HDF5")
    with pytest.raises(UnsupportedInput, match="no reader recognises"):
        registry.pick(str(tmp_path / "no.h5"))
    with pytest.raises(UnsupportedInput, match="not an HDF5 file"):
        ngff_convert.open(str(tmp_path / "no.h5"), reader="hdf5")


# -- through everything ------------------------------------------------------------------------------------


def test_conversion_and_verification(tmp_path: Path) -> None:
    pixels = pixels_along("tzyxc")
    path = write(
        tmp_path / "in.h5",
        pixels,
        "exported_data",
        axistags=axistags("tzyxc"),
        chunks=(2, 2, 20, 20, 2),
        compression="gzip",
    )
    words = ["convert", str(path), str(tmp_path / "out"), "--verify", "full", "-q"]
    assert main(words) == 0
    np.testing.assert_array_equal(levels(tmp_path / "out", "0.5")[0], as_tczyx(pixels, "tzyxc"))
    assert main(["verify", str(path), str(tmp_path / "out")]) == 0
    with h5py.File(path, "r+") as file:
        file["exported_data"][1, 2, 3, 4, 1] += 1
    assert main(["verify", str(path), str(tmp_path / "out")]) == 8


def test_where_chunks_lie_time_point_by_time_point(tmp_path: Path) -> None:
    pixels = pixels_along("tczyx")
    path = write(tmp_path / "in.h5", pixels, axes="tczyx", chunks=(1, 1, 2, 20, 20))
    with ngff_convert.open(str(path)) as source, path.open("rb") as file:
        level: Any = source.images[0].pixels
        box = ngff_convert.model.Box((1, 0, 0, 0, 0), (3, 2, 5, 37, 41))
        found = list(level.stored_chunks(box))
        assert [(one.t, one.c, one.told, one.number.tolist()) for one in found] == [
            (t, c, 18, list(range(18))) for t in (1, 2) for c in (0, 1)
        ]
        for one in found:
            file.seek(int(one.offset[7]))  # z 2:4, y :20, x 20:40
            stored = np.frombuffer(file.read(int(one.size[7])), "u2").reshape(2, 20, 20)
            np.testing.assert_array_equal(stored, pixels[one.t, one.c, 2:4, :20, 20:40])
    path = write(tmp_path / "two.h5", pixels, axes="tczyx", chunks=(2, 1, 2, 20, 20))
    with ngff_convert.open(str(path)) as source:
        level = source.images[0].pixels
        with pytest.raises(UnsupportedInput, match="of 2 time points"):
            list(level.stored_chunks(box))


def test_on_a_server(tmp_path: Path) -> None:
    pixels = pixels_along("zyxc")
    write(tmp_path / "in.h5", pixels, axes="zyxc", chunks=(2, 20, 20, 1), compression="gzip")
    with http_files(tmp_path) as server:
        _, read, _ = only_image(f"{server.url}/in.h5")
        np.testing.assert_array_equal(read, as_tczyx(pixels, "zyxc"))


def test_damage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "in.h5",
        pixels_along("zyx"),
        axes="zyx",
        chunks=(2, 20, 20),
        compression="gzip",
        shuffle=True,
    )
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info_by_coord((0, 20, 20))
    whole = path.read_bytes()
    path.write_bytes(whole[: chunk.byte_offset] + b"\xff" * 10 + whole[chunk.byte_offset + 10 :])
    assert main(["convert", str(path), str(tmp_path / "out"), "-q"]) == 3
    assert "data: chunk (0, 1, 1)" in capsys.readouterr().err
    path.write_bytes(whole[: len(whole) // 2])
    assert main(["convert", str(path), str(tmp_path / "out"), "-q"]) == 3
    assert "truncated" in capsys.readouterr().err


def test_damage_anywhere_is_a_line(tmp_path: Path) -> None:
    """A byte changed at a time: opened or refused, but never a traceback."""
    path = write(tmp_path / "in.h5", pixels_along("zyx", "uint8"), axistags=axistags("zyx"), axes="zyx")
    write(path, coded_pixels((5, 6)), "group/other", chunks=(2, 3), compression="gzip")
    with h5py.File(path, "r+") as file:
        file["group/scale"] = np.arange(6.0)
        file["group/scale"].make_scale("x")
        file["group/other"].dims[1].attach_scale(file["group/scale"])
    whole = bytearray(path.read_bytes())
    places = np.flatnonzero(np.frombuffer(whole, np.uint8))
    outcomes = set()
    for at in np.random.default_rng(1).choice(places, 150, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            with ngff_convert.open(str(path), reader="hdf5") as source:
                for image in source.images:
                    if np.prod(image.pixels.shape) < 10**7:
                        _ = image.pixels[...]
            outcomes.add("read")
        except (ReadError, UnsupportedInput) as error:
            outcomes.add(f"refused in {str(error).count(chr(10)) + 1} line")
    assert outcomes == {"read", "refused in 1 line"}


def test_a_pipe_and_a_folder_of_tiffs_do_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("pipe.h5", "/a")
    with pytest.raises(ReadError, match="pipe"):
        only_image(tmp_path / "in.h5")


# -- real files --------------------------------------------------------------------------------------------

REAL = {
    "2d3c.h5": "yxc",
    "2d_Probabilities.h5": "yxc",
    "3cRGB.h5": "xyc",
    "3d2c.h5": "zyxc",
    "5t2d2c.h5": "tyxc",
    "5t3d2c.h5": "tzyxc",
    "from-fiji.h5": "tzyxc",
    "hdf5.h5": "yx",
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str) -> None:
    path = data_file(f"hdf5/{name}")
    image, read, _ = only_image(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(read, as_tczyx(file[image.name][...], REAL[name]))
    check_reader(PlainHdf5Reader(), str(path))


def test_a_real_file_without_an_image() -> None:
    with pytest.raises(UnsupportedInput, match="it holds data, 10 float64"):
        only_image(data_file("hdf5/1d.h5"))


@pytest.mark.parametrize(
    "name", ["hdf5/mri-stack.h5", "bdv/npy2bdv_views/views.h5", "bdv/pybdv-example/example.h5"]
)
def test_files_of_bigdataviewer_are_refused_by_name(name: str) -> None:
    path = data_file(name)
    with pytest.raises(UnsupportedInput, match=r"BigDataViewer, .* --dataset, such as t00000/s00/0/cells"):
        only_image(path, reader="hdf5")
    image, read, _ = only_image(path, reader="hdf5", dataset=("t00000/s00/0/cells",), axes="ZYX")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(read[0, 0], file[image.name][...])


# -- the README --------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n### HDF5 datasets\n")[2].partition("\n### ")[0]
    commands = [
        shlex.split(line, comments=True)[1:]
        for line in section.partition("\n```\n")[2].partition("\n```\n")[0].splitlines()
    ]
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.h5", coded_pixels((4, 20, 30)), "volume")
    write(tmp_path / "in.h5", coded_pixels((20, 30, 6)), "group/colors")
    for words in commands:
        assert main(words) == 0, words
    np.testing.assert_array_equal(
        levels(tmp_path / "colors.ome.zarr", "0.5")[0], as_tczyx(coded_pixels((20, 30, 6)), "yxc")[0]
    )


def test_options_reach_the_reader() -> None:
    assert Options(dataset=["a", "b"]).reading.dataset == ("a", "b")  # type: ignore[arg-type]
