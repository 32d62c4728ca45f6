"""References to a source's own chunks: read back through fsspec and Zarr they are what the reader reads."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import h5py
import numpy as np
import ome_tiffs
import ome_zarr_models.v04.image
import pytest
import tifffile
import yaozarrs
import zarr
from data_folder import DATA, data_file, data_names
from peaks import needs_proc, peak_bytes
from servers import http_files
from test_bigdataviewer import write as write_views
from test_faults import small_disk

import ngff_convert
from ngff_convert import Options, file_system, reference_files
from ngff_convert.cli import main
from ngff_convert.convert import open_source
from ngff_convert.errors import ConversionError, OptionError, ReadError, UnsupportedInput
from ngff_convert.testing import coded_pixels, write_ims
from ngff_convert.virtual import write_references

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TOP = Path(__file__).parent.parent
SAMPLE = TOP / "sample_data" / "cells_c2_t3.ims"

try:
    import pyarrow  # noqa: F401

    TABLES = True
except ImportError:
    TABLES = False

needs_tables = pytest.mark.skipif(not TABLES, reason="pyarrow is not installed")
NAMES = ["out.json", pytest.param("out.parquet", marks=needs_tables)]


def opened(path: Path, engine: str = "pyarrow", **options: Any) -> zarr.Group:
    """Open references as the README does; of tables, with an engine for Parquet."""
    fo: Any = str(path)
    if path.suffix != ".json":
        from fsspec.implementations.reference import LazyReferenceMapper

        pytest.importorskip("pandas")
        pytest.importorskip(engine)
        fo = LazyReferenceMapper(str(path), engine=engine)
    storage_options = {"fo": fo, **options}
    return zarr.open_group("reference://", storage_options=storage_options, mode="r", zarr_format=2)


def assert_equal_pixels(
    source: Path | str, group: zarr.Group, number: int = 0, folder: str = "", levels: int | None = None
) -> None:
    """Hold every level of an image against what the reader reads."""
    with open_source(str(source)) as one:
        image = one.images[number]
        every = [image.pixels, *(level.pixels for level in image.native_levels)]
        assert levels is None or len(every) == levels
        for n, pixels in enumerate(every):
            array: Any = group[f"{folder}/{n}".lstrip("/")]
            assert array.shape == pixels.shape
            assert array.dtype.newbyteorder("=") == pixels.dtype
            np.testing.assert_array_equal(array[...], pixels[...])
        assert f"{folder}/{len(every)}".lstrip("/") not in group


def refers(source: Path, target: Path, **settings: Any) -> zarr.Group:
    options = Options(**settings.pop("options", {}))
    write_references(str(source), target, options, **settings)
    return opened(target)


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def datasets(path: Path, change: Callable[[Any, str, Any], None], level: int = 0) -> None:
    """Change the datasets of a level: `change` is given their group, its name, and the pixels."""
    with h5py.File(path, "r+") as file:
        times = file[f"DataSet/ResolutionLevel {level}"]
        for time_point in times:
            for channel in times[time_point]:
                group = times[f"{time_point}/{channel}"]
                change(group, f"{time_point}/{channel}", group["Data"][...])


def stored_as(**settings: Any) -> Callable[[Any, str, Any], None]:
    def change(group: Any, name: str, pixels: NDArray[Any]) -> None:
        del group["Data"]
        group.create_dataset("Data", data=pixels, **settings)

    return change


# -- pixels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_is_an_ome_zarr(name: str, tmp_path: Path) -> None:
    assert_equal_pixels(SAMPLE, refers(SAMPLE, tmp_path / name), levels=2)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"compression": "gzip", "compression_opts": 4},
        {"compression": "gzip", "shuffle": True},
        {"shuffle": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int64"])
@pytest.mark.parametrize("name", NAMES)
def test_every_time_point_channel_and_level(
    name: str, dtype: str, filters: dict[str, Any], tmp_path: Path
) -> None:
    source = tmp_path / "in.ims"
    pixels = coded_pixels((3, 2, 9, 150, 170)).astype(dtype)
    write_ims(source, pixels, levels=3, filters=filters)
    group = refers(source, tmp_path / name)
    array: Any = group["0"]
    np.testing.assert_array_equal(array[...], pixels)
    assert_equal_pixels(source, group, levels=3)
    document = json.loads(documents(tmp_path / name)["0/.zarray"])
    assert document["shape"] == [3, 2, 9, 150, 170]
    assert document["chunks"] == [1, 1, 8, 64, 64]


@pytest.mark.parametrize("name", NAMES)
def test_numbers_in_the_other_byte_order(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 2, 9, 70, 70)))
    datasets(source, stored_as(chunks=(8, 64, 64), compression="gzip", shuffle=True, dtype=">u2"))
    group = refers(source, tmp_path / name)
    assert json.loads(documents(tmp_path / name)["0/.zarray"])["dtype"] == ">u2"
    assert_equal_pixels(source, group)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_in_one_piece(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ngff_convert.readers import hdf5_references

    monkeypatch.setattr(hdf5_references, "PIECE_BYTES", 3 * 128 * 128 * 2)
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 2, 9, 70, 70)))  # padded to 16, 128, 128
    datasets(source, stored_as())
    group = refers(source, tmp_path / name)
    document = json.loads(documents(tmp_path / name)["0/.zarray"])
    assert document["chunks"] == [1, 1, 2, 128, 128]
    assert document["compressor"] is None
    assert_equal_pixels(source, group)


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("name", NAMES)
def test_chunks_that_were_never_written_are_the_fill_value(name: str, fill: int, tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((2, 2, 9, 70, 70)))

    def holes(group: Any, where: str, pixels: NDArray[Any]) -> None:
        del group["Data"]
        made = group.create_dataset(
            "Data", pixels.shape, pixels.dtype, chunks=(8, 64, 64), compression="gzip", fillvalue=fill
        )
        if where != "TimePoint 0/Channel 1":
            made[8:, :64, :64] = pixels[8:, :64, :64]

    datasets(source, holes)
    group = refers(source, tmp_path / name, record_size=3)  # some tables are of nothing but holes
    array: Any = group["0"]
    assert array.fill_value == fill
    assert (array[0, 1] == fill).all()
    assert array[1, 0, 8, 5, 5] == coded_pixels((2, 2, 9, 70, 70))[1, 0, 8, 5, 5]
    assert_equal_pixels(source, group)
    if name == "out.json":
        assert len([key for key in documents(tmp_path / name) if key.startswith("0/0/1/")]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_groups_that_are_missing_are_zero(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((3, 2, 9, 70, 70)))
    with h5py.File(source, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0"]
    group = refers(source, tmp_path / name)
    array: Any = group["0"]
    assert not array[1, 0].any()
    assert array[1, 1].all()
    assert_equal_pixels(source, group)


@pytest.mark.parametrize("name", NAMES)
def test_noise_that_deflate_left_as_it_was(name: str, tmp_path: Path) -> None:
    """HDF5 stores a chunk without the filters that failed on it, here all of them."""
    source = tmp_path / "in.ims"
    pixels = np.random.default_rng(1).integers(0, 2**16, (1, 1, 8, 64, 64), np.uint16)
    write_ims(source, pixels)

    def unfiltered(group: Any, where: str, stored: NDArray[Any]) -> None:
        del group["Data"]
        made = group.create_dataset(
            "Data", stored.shape, stored.dtype, chunks=(8, 64, 64), compression="gzip"
        )
        made.id.write_direct_chunk((0, 0, 0), pixels[0, 0].tobytes(), filter_mask=1)

    datasets(source, unfiltered)
    group = refers(source, tmp_path / name)
    assert json.loads(documents(tmp_path / name)["0/.zarray"])["compressor"] is None
    assert_equal_pixels(source, group)


IMS = [*data_names("ims/*.ims"), *data_names("ims/quirks/*.ims"), *data_names("ims/thirdparty/**/*.ims")]


@pytest.mark.parametrize("sample", IMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_imaris_file_is_equal_or_refused(sample: str, name: str, tmp_path: Path) -> None:
    source = data_file(sample)
    try:
        write_references(str(source), tmp_path / name, Options(images=(0,)))
    except UnsupportedInput:
        with open_source(str(source)) as one:
            assert "lz4" in one.images[0].pixels.compression
        return
    except ReadError:
        assert source.name in ("truncated.ims", "image-binned-8bit-crop.ims")
        return
    assert_equal_pixels(source, opened(tmp_path / name))


def test_some_imaris_files_are_there_to_be_tried() -> None:
    if not DATA.exists():
        pytest.skip("no test data")
    assert len(IMS) > 30


@needs_tables
def test_tables_are_the_same_through_fastparquet(tmp_path: Path) -> None:
    pytest.importorskip("fastparquet")
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((2, 2, 20, 130, 130)))
    with h5py.File(source, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 0"]
    write_references(str(source), tmp_path / "out.parquet", Options(), record_size=10)
    assert len(list((tmp_path / "out.parquet" / "0").iterdir())) == 11
    with warnings.catch_warnings(action="ignore"):  # newer versions of pandas warn of it
        assert_equal_pixels(source, opened(tmp_path / "out.parquet", "fastparquet"))


@pytest.mark.parametrize("name", NAMES)
def test_a_part_that_begins_on_edges_of_chunks(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    pixels = coded_pixels((3, 3, 20, 150, 170))
    write_ims(source, pixels, levels=2, voxel_zyx=(2.0, 0.5, 0.5))
    words = ["--t", "1:2", "--c", "1:", "--z", "8:19", "--y", "64:100", "--x", "64:"]
    assert main(["virtual", str(source), str(tmp_path / name), *words]) == 0
    group = opened(tmp_path / name)
    array: Any = group["0"]
    np.testing.assert_array_equal(array[...], pixels[1:2, 1:, 8:19, 64:100, 64:])
    assert list(group) == ["0"]
    steps = json.loads(documents(tmp_path / name)[".zattrs"])["multiscales"][0]["datasets"][0]
    assert steps["coordinateTransformations"][1]["translation"][2:] == [17.0, 32.25, 32.25]
    with h5py.File(source, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 2"]
    assert main(["virtual", str(source), str(tmp_path / name), *words, "--overwrite"]) == 0
    array = opened(tmp_path / name)["0"]
    assert not array[0, 1].any()
    np.testing.assert_array_equal(array[0, 0], pixels[1, 1, 8:19, 64:100, 64:])


def test_an_ome_tiff_of_a_file_a_plane_and_a_part_of_it(tmp_path: Path) -> None:
    pixels = coded_pixels((1, 1, 5, 32, 40))
    names = [f"z{z}.ome.tif" for z in range(5)]
    inner = "".join(
        ome_tiffs.data(name, ome_tiffs.uuid_of(name), FirstZ=z, IFD=0, PlaneCount=1)
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        xml = ome_tiffs.document(ome_tiffs.image(pixels, inner), uuid=ome_tiffs.uuid_of(name))
        ome_tiffs.write(tmp_path / name, [pixels[0, 0, z]], xml)
    assert_equal_pixels(tmp_path / "z0.ome.tif", refers(tmp_path / "z0.ome.tif", tmp_path / "all.json"))
    assert len(json.loads((tmp_path / "all.json").read_text())["templates"]) == 5
    assert main(["virtual", str(tmp_path / "z0.ome.tif"), str(tmp_path / "out.json"), "--z", "1:4"]) == 0
    array: Any = opened(tmp_path / "out.json")["0"]
    np.testing.assert_array_equal(array[...], pixels[:, :, 1:4])
    assert len(json.loads((tmp_path / "out.json").read_text())["templates"]) == 3


# -- plain HDF5 --------------------------------------------------------------------------------------------


def write_dataset(path: Path, axes: str, *, fill: int | None = None, **settings: Any) -> NDArray[Any]:
    """Write a dataset of such axes, and return its pixels as t, c, z, y, x."""
    sizes = {"t": 3, "c": 2, "z": 5, "y": 37, "x": 41}
    pixels = coded_pixels([sizes[axis] if axis in axes else 1 for axis in "tczyx"])
    present = [axis for axis in "tczyx" if axis in axes]
    seen = pixels.squeeze(tuple(at for at, axis in enumerate("tczyx") if axis not in axes))
    seen = seen.transpose([present.index(axis) for axis in axes])
    with h5py.File(path, "w") as file:
        made = file.create_dataset("data", seen.shape, "u2", fillvalue=fill, **settings)
        made.attrs["axes"] = axes
        if fill is None:
            made[...] = seen
        else:
            made[..., 20:37, 20:41] = seen[..., 20:37, 20:41]
            pixels[..., :20, :] = pixels[..., :20] = fill
    return pixels


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("axes", "chunks"),
    [
        ("yx", (20, 20)),
        ("zyx", (2, 20, 20)),
        ("zyx", None),
        ("tczyx", (2, 2, 2, 20, 20)),
        ("tczyx", (1, 1, 5, 20, 20)),
        ("tczyx", None),
        ("tyx", None),
        ("zyxc", (2, 20, 20, 1)),
        ("ctzyx", (1, 2, 2, 20, 20)),
        ("xyzct", (41, 1, 1, 1, 1)),
        ("xy", (1, 37)),
    ],
)
def test_a_plain_dataset(name: str, axes: str, chunks: tuple[int, ...] | None, tmp_path: Path) -> None:
    filters: dict[str, Any] = {"chunks": chunks, "compression": "gzip", "shuffle": True} if chunks else {}
    pixels = write_dataset(tmp_path / "in.h5", axes, **filters)
    group = refers(tmp_path / "in.h5", tmp_path / name, record_size=7)
    array: Any = group["0"]
    np.testing.assert_array_equal(array[...], pixels)
    assert_equal_pixels(tmp_path / "in.h5", group, levels=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_dataset_with_chunks_that_were_never_written(name: str, tmp_path: Path) -> None:
    pixels = write_dataset(tmp_path / "in.h5", "tczyx", chunks=(2, 1, 2, 20, 20), fill=9)
    array: Any = refers(tmp_path / "in.h5", tmp_path / name)["0"]
    assert array.fill_value == 9
    np.testing.assert_array_equal(array[...], pixels)


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_a_plain_dataset(name: str, tmp_path: Path) -> None:
    source = str(tmp_path / "in.h5")
    pixels = write_dataset(tmp_path / "in.h5", "tczyx", chunks=(2, 1, 2, 20, 20))
    words = ["--t", "2:3", "--c", "1:", "--z", "2:5", "--x", "20:40"]
    assert main(["virtual", source, str(tmp_path / name), *words]) == 0
    array: Any = opened(tmp_path / name)["0"]
    np.testing.assert_array_equal(array[...], pixels[2:3, 1:, 2:5, :, 20:40])
    assert main(["virtual", source, str(tmp_path / "no.json"), "--t", "1:"]) == 2


def test_true_and_false_are_numbers(tmp_path: Path) -> None:
    mask = coded_pixels((30, 40)) % 3 == 0
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("mask", data=mask, chunks=(20, 20), compression="gzip")
    array: Any = refers(tmp_path / "in.h5", tmp_path / "out.json")["0"]
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array[0, 0, 0], mask)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"axes": "yxc", "chunks": (20, 20, 2)}, r"order y,x,c, in chunks of 20,20,2; .* convert it instead"),
        ({"axes": "yxc"}, "order y,x,c"),
        ({"axes": "yx", "chunks": (20, 20), "compression": "lzf"}, "compressed with lzf"),
        ({"axes": "yx", "chunks": (20, 20), "fletcher32": True}, "compressed with fletcher32"),
    ],
)
def test_datasets_that_zarr_cannot_read_are_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "in.h5", **settings)
    with pytest.raises(UnsupportedInput, match=words):
        write_references(str(tmp_path / "in.h5"), tmp_path / "out.json", Options())
    assert listed(tmp_path) == ["in.h5"]


HDF5 = [*data_names("hdf5/*.h5"), *data_names("bdv/*/*.h5")]


@pytest.mark.parametrize("sample", HDF5)
def test_every_hdf5_file_is_equal_or_refused(sample: str, tmp_path: Path) -> None:
    source = data_file(sample)
    try:
        write_references(str(source), tmp_path / "out.json", Options(images=(0,)))
    except UnsupportedInput as error:
        reasons = [word for word in ("order", "scale-offset", "it holds data") if word in str(error)]
        assert len(reasons) == 1
        return
    assert_equal_pixels(source, opened(tmp_path / "out.json"))


# -- TIFF --------------------------------------------------------------------------------------------------


def write_tiff(path: Path, dtype: str = "uint16", **settings: Any) -> None:
    pixels = coded_pixels((2, 3, 4, 96, 80)).astype(dtype)
    tifffile.imwrite(path, pixels, metadata={"axes": "TCZYX"}, **settings)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tile": (32, 32)},
        {"compression": "zlib", "rowsperstrip": 32},
        {"compression": "zlib", "predictor": True, "tile": (32, 48)},
        {"compression": "lzw", "predictor": True, "rowsperstrip": 96, "byteorder": ">"},
        {"compression": "zstd", "byteorder": ">"},
        {"dtype": "float32", "compression": "zlib", "predictor": 3, "tile": (32, 32)},
        {"byteorder": ">"},
    ],
    ids=str,
)
def test_ome_tiff(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    from imagecodecs.numcodecs import register_codecs

    register_codecs(verbose=False)
    source = tmp_path / "in.ome.tif"
    write_tiff(source, **settings)
    assert_equal_pixels(source, refers(source, tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
def test_an_imagej_stack_of_another_order_of_axes(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in.tif"
    pixels = coded_pixels((2, 3, 4, 96, 80)).transpose(0, 2, 1, 3, 4)
    tifffile.imwrite(source, pixels, imagej=True, metadata={"axes": "TZCYX"})
    group = refers(source, tmp_path / name)
    array: Any = group["0"]
    np.testing.assert_array_equal(array[...], coded_pixels((2, 3, 4, 96, 80)))


def test_planar_samples_are_channels(tmp_path: Path) -> None:
    source = tmp_path / "in.tif"
    tifffile.imwrite(
        source, coded_pixels((1, 3, 1, 96, 80))[0, :, 0], planarconfig="separate", photometric="rgb"
    )
    group = refers(source, tmp_path / "out.json")
    array: Any = group["0"]
    assert array.shape == (1, 3, 1, 96, 80)
    assert_equal_pixels(source, group)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compression": "zlib", "rowsperstrip": 40}, "incomplete chunks"),
        ({"extratags": [(274, 3, 1, 6, True)]}, "rows and columns are turned"),
    ],
)
def test_tiffs_that_zarr_cannot_read_are_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, coded_pixels((1, 1, 1, 96, 80))[0, 0, 0], **settings)
    with pytest.raises(UnsupportedInput, match=words):
        write_references(str(source), tmp_path / "out.json", Options())
    assert listed(tmp_path) == ["in.tif"]


def test_interleaved_samples_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, np.zeros((32, 32, 3), np.uint8), photometric="rgb")
    with pytest.raises(UnsupportedInput, match="3 samples of a pixel"):
        write_references(str(source), tmp_path / "out.json", Options())


@pytest.mark.parametrize("sample", [*data_names("ometiff/*.tif*"), *data_names("tiff/*.tif*")])
def test_every_tiff_is_equal_or_refused(sample: str, tmp_path: Path) -> None:
    from imagecodecs.numcodecs import register_codecs

    register_codecs(verbose=False)
    source = data_file(sample)
    if source.suffix == ".json" or source.stat().st_size > 20 * 2**20:
        pytest.skip("no small TIFF")
    try:
        done = write_references(str(source), tmp_path / "out.json", Options())
    except ConversionError:
        assert not (tmp_path / "out.json").exists()
        return
    group = opened(tmp_path / "out.json")
    series: Any = group["OME"].attrs["series"] if done.images > 1 else [""]
    assert len(series) == done.images
    for number, folder in enumerate(series):
        assert_equal_pixels(source, group, number, folder)


# -- metadata ----------------------------------------------------------------------------------------------


def documents(path: Path) -> dict[str, Any]:
    if path.is_dir():
        found = json.loads((path / ".zmetadata").read_text())["metadata"]
        return {name: json.dumps(document) for name, document in found.items()}
    references = json.loads(path.read_text())
    assert references["version"] == 1
    refs: dict[str, Any] = references["refs"]
    return refs


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_are_those_of_a_conversion_of_native_levels(name: str, tmp_path: Path) -> None:
    ngff_convert.convert(
        SAMPLE,
        tmp_path / "converted",
        Options(ngff_version="0.4", pyramid="native", output_axes="tczyx"),
    )
    write_references(str(SAMPLE), tmp_path / name, Options())
    found = json.loads(documents(tmp_path / name)[".zattrs"])
    wanted = json.loads((tmp_path / "converted" / ".zattrs").read_text())
    for key in ("axes", "datasets", "name", "version"):
        assert found["multiscales"][0][key] == wanted["multiscales"][0][key]
    assert found["omero"] == wanted["omero"]
    assert found["multiscales"][0]["type"] == "referenced"
    yaozarrs.validate_ome_object(found)
    ome_zarr_models.v04.image.ImageAttrs.model_validate(found)


def test_validators_open_the_whole_group(tmp_path: Path) -> None:
    group = refers(SAMPLE, tmp_path / "out.json")
    ome_zarr_models.v04.image.Image.from_zarr(group)


@pytest.mark.parametrize("name", NAMES)
def test_several_images_are_a_collection(name: str, tmp_path: Path) -> None:
    source = tmp_path / "in.ome.tif"
    with tifffile.TiffWriter(source, ome=True) as tif:
        tif.write(coded_pixels((1, 2, 3, 32, 40))[0], metadata={"axes": "CZYX"})
        tif.write(coded_pixels((2, 1, 3, 24, 16))[:, 0], metadata={"axes": "TZYX"})
    done = write_references(str(source), tmp_path / name, Options())
    assert any("remote_protocol" in line for line in done.warnings) == name.endswith(".parquet")
    group = opened(tmp_path / name, remote_protocol="file")
    assert group.attrs["bioformats2raw.layout"] == 3
    assert "OME" in group
    assert group["1"].attrs["multiscales"]
    assert_equal_pixels(source, group, 0, "0")
    assert_equal_pixels(source, group, 1, "1")
    assert_equal_pixels(source, refers(source, tmp_path / "one.json", options={"images": (1,)}), 1)


# -- where the source is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_absolute_path_holds_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 9, 70, 70)))
    monkeypatch.chdir(tmp_path)
    assert main(["virtual", "in.ims", name, "-q"]) == 0
    monkeypatch.chdir("/")
    assert_equal_pixels(tmp_path / "in.ims", opened(tmp_path / name))


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_path_is_relative_to_the_references(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "made").mkdir()
    write_ims(tmp_path / "data" / "in.ims", coded_pixels((1, 1, 9, 70, 70)))
    write_references(str(tmp_path / "data" / "in.ims"), tmp_path / "made" / name, Options(), relative=True)
    moved = (tmp_path / "elsewhere").absolute()
    moved.mkdir()
    (tmp_path / "data").rename(moved / "data")
    (tmp_path / "made").rename(moved / "made")
    monkeypatch.chdir(moved / "made")
    assert_equal_pixels(moved / "data" / "in.ims", opened(Path(name)))


def test_a_template_can_be_replaced(tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 1, 9, 70, 70)))
    write_references(str(source), tmp_path / "out.json", Options())
    source.rename(tmp_path / "moved.ims")
    group = opened(tmp_path / "out.json", template_overrides={"f0": f"file://{tmp_path}/moved.ims"})
    assert_equal_pixels(tmp_path / "moved.ims", group)


@pytest.mark.parametrize("name", NAMES)
def test_a_url(name: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "data").mkdir()
    source = tmp_path / "data" / "in.ims"
    write_ims(source, coded_pixels((2, 1, 9, 70, 70)))
    with http_files(tmp_path / "data") as server:
        write_references(str(source), tmp_path / name, Options(), target_url=f"{server.url}/in.ims")
        web = fsspec.filesystem("http", asynchronous=True)
        with closing(_Session(web)):
            group = opened(tmp_path / name, fs=web)
            assert_equal_pixels(source, group)
        assert all(request.first_byte is not None for request in server.requests)


def test_a_source_on_a_server(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    pytest.importorskip("obstore")
    (tmp_path / "data").mkdir()
    write_ims(tmp_path / "data" / "in.ims", coded_pixels((2, 1, 9, 70, 70)))
    with http_files(tmp_path / "data") as server:
        source = f"{server.url}/in.ims"
        write_references(source, tmp_path / "out.json", Options())
        assert json.loads((tmp_path / "out.json").read_text())["templates"] == {"f0": source}
        web = fsspec.filesystem("http", asynchronous=True)
        with closing(_Session(web)):
            assert_equal_pixels(tmp_path / "data" / "in.ims", opened(tmp_path / "out.json", fs=web))
        signed = f"{source}?X-Amz-Signature=secret"
        with pytest.raises(OptionError, match="--target-url") as refused:
            write_references(signed, tmp_path / "signed.json", Options())
        assert "secret" not in str(refused.value).replace("has a secret", "")
    assert listed(tmp_path) == ["data", "out.json"]


class _Session:
    """The connections of a file system of the web, which nobody else closes."""

    def __init__(self, web: Any) -> None:
        self.web = web

    def close(self) -> None:
        from zarr.core.sync import _get_loop

        if self.web._session is not None:
            asyncio.run_coroutine_threadsafe(self.web._session.close(), _get_loop()).result()
            self.web._session = None


def test_files_that_are_linked_to_are_templates_of_their_own(tmp_path: Path) -> None:
    write_ims(tmp_path / "pixels.ims", coded_pixels((2, 1, 9, 70, 70)))
    write_ims(tmp_path / "in.ims", coded_pixels((2, 1, 9, 70, 70)))
    with h5py.File(tmp_path / "in.ims", "r+") as file:
        times = file["DataSet/ResolutionLevel 0"]
        del times["TimePoint 1"]
        times["TimePoint 1"] = h5py.ExternalLink("pixels.ims", "/DataSet/ResolutionLevel 0/TimePoint 1")
    group = refers(tmp_path / "in.ims", tmp_path / "out.json")
    assert_equal_pixels(tmp_path / "in.ims", group)
    templates = json.loads((tmp_path / "out.json").read_text())["templates"]
    assert sorted(templates.values()) == [f"file://{tmp_path}/{name}.ims" for name in ("in", "pixels")]
    with pytest.raises(OptionError, match="one --target-url does not name"):
        refers(tmp_path / "in.ims", tmp_path / "other.json", target_url="https://host/in.ims")


# -- refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "name"),
    [
        ({"compression": "lzf"}, "lzf"),
        ({"compression": "gzip", "fletcher32": True}, "fletcher32"),
        ({"compression": 32004}, "lz4"),
        ({"compression": 32001}, "blosc"),
        ({"compression": 32015, "shuffle": True}, "zstd"),
        ({"scaleoffset": 0}, "scale-offset"),
    ],
    ids=str,
)
def test_other_filters_are_refused_by_name(
    filters: dict[str, Any], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hdf5plugin")
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 1, 9, 70, 70)))
    datasets(source, stored_as(chunks=(8, 64, 64), **filters))
    assert main(["virtual", str(source), str(tmp_path / "out.json")]) == 4
    error = capsys.readouterr().err
    assert name in error
    assert "TimePoint 0/Channel 0/Data" in error
    assert len(error.splitlines()) == 1
    assert listed(tmp_path) == ["in.ims"]


def mixed(change: Callable[[Any, NDArray[Any]], None]) -> Callable[[Any, str, Any], None]:
    """Change only the second time point."""
    return lambda group, name, pixels: change(group, pixels) if name == "TimePoint 1/Channel 0" else None


def of_other_chunks(group: Any, pixels: NDArray[Any]) -> None:
    stored_as(chunks=(4, 64, 64), compression="gzip")(group, "", pixels)


def shuffled(group: Any, pixels: NDArray[Any]) -> None:
    stored_as(chunks=(8, 64, 64), compression="gzip", shuffle=True)(group, "", pixels)


def partly_without_filters(group: Any, pixels: NDArray[Any]) -> None:
    stored_as(chunks=(8, 64, 64), compression="gzip")(group, "", pixels)
    group["Data"].id.write_direct_chunk((0, 0, 0), bytes(8 * 64 * 64 * 2), filter_mask=1)


def of_another_fill(group: Any, pixels: NDArray[Any]) -> None:
    del group["Data"]
    group.create_dataset(
        "Data", pixels.shape, pixels.dtype, chunks=(8, 64, 64), compression="gzip", fillvalue=3
    )


def compact(group: Any, pixels: NDArray[Any]) -> None:
    del group["Data"]
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((9, 8, 8))
    h5py.h5d.create(group.id, b"Data", h5py.h5t.NATIVE_UINT16, space, layout)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_other_chunks, "an array has one way for all its chunks"),
        (shuffled, "an array has one way for all its chunks"),
        (partly_without_filters, "some of its chunks"),
        (of_another_fill, "an array has one fill value"),
    ],
)
def test_what_one_array_cannot_be_is_refused(
    change: Callable[[Any, NDArray[Any]], None], words: str, tmp_path: Path
) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((3, 1, 9, 70, 70)))
    datasets(source, mixed(change))
    with h5py.File(source, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]  # what is missing is 0
    with pytest.raises(UnsupportedInput, match=words):
        refers(source, tmp_path / "out.json")
    assert listed(tmp_path) == ["in.ims"]


def test_what_lies_in_the_header_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 1, 9, 8, 8)))
    datasets(source, lambda group, _, pixels: compact(group, pixels))
    with pytest.raises(UnsupportedInput, match="only HDF5 reads"):
        refers(source, tmp_path / "out.json")


def test_chunks_beyond_the_end_are_damage(tmp_path: Path) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 1, 9, 70, 70)))
    from ngff_convert.readers import hdf5_tables

    real = hdf5_tables._sorted
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            hdf5_tables, "_sorted", lambda number, offset, *rest: real(number, offset + 2**30, *rest)
        )
        with pytest.raises(ReadError, match="beyond the end"):
            refers(source, tmp_path / "out.json")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["in.ims", "out.zarr"], 2),
        (["in.ims", "s3://bucket/out.json"], 2),
        (["in.ims", "out.json", "--z", "1:5"], 2),
        (["in.ims", "out.json", "--x", "0:500"], 2),
        (["in.ims", "out.json", "--relative", "--target-url", "https://host/in.ims"], 2),
        (["in.ims", "out.json", "--images", "1"], 2),
        (["nothing.ims", "out.json"], 3),
        (["in.ims", "in.ims"], 2),
        (["in.ims", "nowhere/out.json"], 6),
        (["plain.h5", "out.json"], 4),
    ],
)
def test_commands_that_are_refused(
    words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 9, 70, 70)))
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["volume"] = np.zeros((20, 30, 3))  # channels last
    monkeypatch.chdir(tmp_path)
    assert main(["virtual", *words]) == code
    assert listed(tmp_path) == ["in.ims", "plain.h5"]


# -- the output --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_only_references_are_replaced_and_only_on_request(name: str, tmp_path: Path) -> None:
    first, second, target = tmp_path / "a.ims", tmp_path / "b.ims", tmp_path / name
    write_ims(first, coded_pixels((1, 1, 9, 70, 70)))
    write_ims(second, coded_pixels((2, 1, 9, 70, 70)))
    assert main(["virtual", str(first), str(target)]) == 0
    assert main(["virtual", str(second), str(target)]) == 5
    assert_equal_pixels(first, opened(target))
    assert main(["virtual", str(second), str(target), "--overwrite"]) == 0
    assert_equal_pixels(second, opened(target))
    assert listed(tmp_path) == sorted(["a.ims", "b.ims", name])


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"metadata": {".zgroup": {}}}', '{"version": 1, "text": "refs"}', "", "refs"]
)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_folder", [False, True])
def test_anything_else_is_never_replaced(name: str, is_folder: bool, text: str, tmp_path: Path) -> None:
    target = tmp_path / name
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 9, 70, 70)))
    kept = target
    if is_folder:
        target.mkdir()
        kept = target / "file"
    kept.write_text(text)
    assert main(["virtual", str(tmp_path / "in.ims"), str(target), "--overwrite"]) == 5
    assert kept.read_text() == text


@needs_tables
def test_a_folder_of_tables_with_another_file_in_it_is_not_replaced(tmp_path: Path) -> None:
    assert main(["virtual", str(SAMPLE), str(tmp_path / "out.parquet")]) == 0
    (tmp_path / "out.parquet" / "0" / "notes.txt").write_text("mine")
    assert main(["virtual", str(SAMPLE), str(tmp_path / "out.parquet"), "--overwrite"]) == 5
    assert (tmp_path / "out.parquet" / "0" / "notes.txt").read_text() == "mine"


def test_what_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"t{t}.ome.tif" for t in range(3)]
    pixels = ome_tiffs.coded(3, 1, 2, 32, 40)
    ome_tiffs.file_set(tmp_path, pixels, names)
    (tmp_path / "t1.ome.tif").unlink()
    words = ["virtual", str(tmp_path / "t0.ome.tif"), str(tmp_path / "out.json")]
    assert main(words) == 3
    assert not (tmp_path / "out.json").exists()
    assert main([*words, "--on-error", "fill"]) == 3
    assert "t1.ome.tif" in capsys.readouterr().err
    array: Any = opened(tmp_path / "out.json")["0"]
    np.testing.assert_array_equal(array[::2], pixels[::2])
    assert not array[1].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_leaves_the_old_references(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in.ims", tmp_path / name
    write_ims(source, coded_pixels((1, 1, 9, 70, 70)))
    write_references(str(source), target, Options())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["virtual", str(source), str(target), "--overwrite"]) == 6
    monkeypatch.undo()
    assert_equal_pixels(source, opened(target))
    assert listed(tmp_path) == sorted(["in.ims", name])


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_and_the_old_references_stay(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.ims"
    write_ims(source, coded_pixels((1, 2, 8, 160, 160)), chunks=(1, 8, 8))
    with small_disk(tmp_path / "disk", 2**21) as disk:
        words = ["virtual", "-q", str(source), str(disk / name), "--overwrite"]
        assert main([*words, "--c", "0"]) == 0
        room = os.statvfs(disk)
        with (disk / "other").open("wb") as other:
            other.write(bytes(room.f_bavail * room.f_frsize - 2**14))
        assert main(words) == 6
        assert capsys.readouterr().err == (
            f"ngff-convert: {disk / name}: cannot be written: No space left on device; "
            "mend that and run the same command again\n"
        )
        assert listed(disk) == sorted(["other", name])
        assert json.loads(documents(disk / name)["0/.zarray"])["shape"][1] == 1
        (disk / "other").unlink()
        assert main(words) == 0
        assert listed(disk) == [name]
        array: Any = opened(disk / name)["0"]
        np.testing.assert_array_equal(array[0, 1, 3], coded_pixels((1, 2, 8, 160, 160))[0, 1, 3])


KILLED = """
import os, signal, sys
from pathlib import Path
from ngff_convert import file_system, virtual
from ngff_convert.cli import main
from ngff_convert.readers import imaris_source
first, second, target, swaps = *sys.argv[1:4], sys.argv[4] == "swaps"
if not swaps:
    file_system.exchange = lambda one, other: False
if target.endswith("parquet"):
    import pyarrow.parquet
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.listdir", "os.scandir"}

def run(source, *words, left=None):
    child = os.fork()
    if not child:
        events = iter(range(10**9 if left is None else left))
        def hook(event, words):
            if event in EVENTS and str(words[0]).startswith(folder) and next(events, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        sys.stderr = open(os.devnull, "w")
        os._exit(main(["virtual", "-q", source, target, *words]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def tree():
    top = Path(target)
    files = [top] if top.is_file() else sorted(top.rglob("*"))
    return {str(path): path.read_bytes() for path in files if path.is_file()}

def remove():
    for name in os.listdir(folder):
        file_system.remove(Path(folder, name))

folder = os.path.dirname(target)
trees = []
for source in (first, second):
    remove()
    assert run(source) == 0
    trees.append(tree())
old, new = trees

for n in range(1000):  # where there was nothing
    remove()
    killed = run(second, left=n)
    assert killed in (0, -9), killed
    is_there = os.path.lexists(target)
    assert not is_there or tree() == new, n
    assert run(second) == (5 if is_there else 0)
    assert tree() == new
    assert os.listdir(folder) == [os.path.basename(target)], (n, os.listdir(folder))
    if not killed:
        break
print(n, end=" ")
for n in range(1000):  # in the place of others
    remove()
    assert run(first) == 0
    killed = run(second, "--overwrite", left=n)
    assert killed in (0, -9), killed
    assert tree() in (old, new) or not (swaps or tree()), n
    assert run(first) == 5 and tree() in (old, new), n
    assert os.listdir(folder) == [os.path.basename(target)], (n, os.listdir(folder))
    assert run(second, "--overwrite") == 0 and tree() == new
    assert os.listdir(folder) == [os.path.basename(target)], (n, os.listdir(folder))
    if not killed:
        break
print(n)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs forks")
@pytest.mark.parametrize("swaps", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(name: str, swaps: bool, tmp_path: Path) -> None:
    if name == "out.json" and not swaps:
        pytest.skip("files take the place of others by themselves")
    sources = [tmp_path / "a.ims", tmp_path / "b.ims"]
    for n, source in enumerate(sources):
        write_ims(source, coded_pixels((n + 1, 1, 2, 8, 8)))
    (tmp_path / "out").mkdir()
    words = [*map(str, sources), str(tmp_path / "out" / name), "swaps" if swaps else "moves"]
    result = subprocess.run(
        [sys.executable, "-c", KILLED, *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    moments = [int(n) for n in result.stdout.split()]
    assert len(moments) == 2
    assert min(moments) >= (4 if name == "out.json" else 10)


@pytest.mark.parametrize("name", NAMES)
def test_what_killed_runs_left_is_removed_or_put_back(name: str, tmp_path: Path) -> None:
    """The states of the test above that matter, made by hand."""
    source, target = tmp_path / "in.ims", tmp_path / name
    write_ims(source, coded_pixels((1, 1, 2, 8, 8)))
    write_references(str(source), target, Options())
    half = tmp_path / f"{reference_files._hidden(target)}0123abcd.partial"
    if target.is_dir():
        shutil.copytree(target, half)
    else:
        half.write_text('{"version": 1, "refs": {')
    target.rename(half.with_suffix(".replaced"))
    assert main(["virtual", str(source), str(target)]) == 5  # it is there again
    assert listed(tmp_path) == sorted(["in.ims", name])
    assert_equal_pixels(source, opened(target))


@needs_tables
def test_tables_take_the_place_of_others_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.parquet"
    write_references(str(SAMPLE), target, Options())
    if not file_system.exchange(target, target):
        pytest.skip("no such file system")
    moved: list[Path] = []
    monkeypatch.setattr(Path, "rename", lambda path, _: moved.append(path))
    write_references(str(SAMPLE), target, Options(overwrite=True))
    assert not moved
    assert listed(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_another_run_that_is_at_work_is_left_alone(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in.ims", tmp_path / name
    write_ims(source, coded_pixels((1, 1, 2, 8, 8)))
    with reference_files.written(target, str, overwrite=True) as out:
        out.document(".zgroup", {"zarr_format": 2})
        write_references(str(source), target, Options())
        assert len(listed(tmp_path)) == 3
        assert_equal_pixels(source, opened(target))
    assert listed(tmp_path) == sorted(["in.ims", name])
    assert set(documents(target)) == {".zgroup"}


def test_a_name_may_be_as_long_as_any(tmp_path: Path) -> None:
    target = tmp_path / f"{'ä' * 125}.json"
    assert main(["virtual", str(SAMPLE), str(target)]) == 0
    assert listed(tmp_path) == [target.name]


def test_tables_without_pyarrow_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert main(["virtual", str(SAMPLE), str(tmp_path / "out.parquet")]) == 2
    assert "ngff-convert[virtual]" in capsys.readouterr().err
    assert not listed(tmp_path)


def test_json_needs_neither_zarr_nor_pyarrow(tmp_path: Path) -> None:
    code = f"""
import sys
from ngff_convert.cli import main
assert main(["virtual", {str(SAMPLE)!r}, {str(tmp_path / "out.json")!r}]) == 0
assert not {{"zarr", "pyarrow", "tifffile", "dask"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- cost --------------------------------------------------------------------------------------------------

MILLION = 1_000_000


def write_million(path: Path, n_times: int) -> None:
    """Write an Imaris file of a million chunks of one voxel each, which its structure says are all alike."""
    import zlib

    write_ims(path, coded_pixels((n_times, 1, 1, 8, 8)))
    size = (MILLION // n_times // 100, 100, 1)
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        for t in range(n_times):
            group = file[f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel 0"]
            del group["Data"]
            made = group.create_dataset("Data", size, "u2", chunks=(1, 1, 1), compression="gzip")
            for axis, n in zip("ZYX", size, strict=True):
                group.attrs[f"ImageSize{axis}"] = np.frombuffer(str(n).encode(), "S1")
            for z in range(size[0]):
                for y in range(size[1]):
                    value = (t + z + y) % 2**16
                    made.id.write_direct_chunk((z, y, 0), zlib.compress(value.to_bytes(2, "little"), 0))


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("n_times", [1, 100])
@pytest.mark.parametrize("name", NAMES)
def test_a_million_chunks(name: str, n_times: int, tmp_path: Path) -> None:
    source, target = tmp_path / "in.ims", tmp_path / name
    write_million(source, n_times)
    begun, before = time.perf_counter(), os.times()
    peak = peak_bytes("virtual", str(source), str(target))
    seconds, after = time.perf_counter() - begun, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    n_bytes = reference_files.size_of(target)
    sys.stdout.write(
        f"{name}, {n_times} datasets: {seconds:.2f} s, {cpu:.2f} CPU s, which are us a chunk; "
        f"peak {peak / 1e6:.0f} MB, {n_bytes / 1e6:.1f} MB\n"
    )
    assert peak < 400e6
    if name == "out.json":
        assert target.read_text().count('["{{f0}}"') == MILLION
    else:
        import pyarrow.parquet

        tables = [pyarrow.parquet.read_table(file) for file in (target / "0").iterdir()]
        assert sum(table.num_rows for table in tables) == MILLION
        assert all("raw" not in table.column_names for table in tables)
    array: Any = opened(target)["0"]
    last = array[-1, 0, -1, :, 0]
    expected = (n_times - 1 + array.shape[2] - 1 + np.arange(100)) % 2**16
    np.testing.assert_array_equal(last, expected)


# -- the README --------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n### Without a copy\n")[2].partition("\n### ")[0]
    shell, _, rest = section.partition("```python")
    commands = [
        shlex.split(line, comments=True)[1:]
        for line in shell.splitlines()
        if line.startswith("ngff-convert virtual")
    ]
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    write_ims(tmp_path / "in.ims", coded_pixels((1, 2, 9, 70, 70)), levels=2)
    write_views(tmp_path)
    for words in commands:
        if words[2].endswith(".json") or TABLES:
            assert main(words) == 0
    assert main(["virtual", "in.ims", "out.json", "--overwrite"]) == 0
    names: dict[str, Any] = {}
    exec(rest.partition("```")[0], names)
    np.testing.assert_array_equal(names["pixels"], coded_pixels((1, 2, 9, 70, 70))[0, 1, 4])
