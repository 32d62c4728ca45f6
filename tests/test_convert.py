"""Whole conversions: real files against their ground truth, and small ones for each option."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_types
import pytest
from data_folder import DATA, data_file, data_names
from stores import assert_means, assert_valid, attributes, levels

import ngff_convert
from ngff_convert import Channel, Options, convert
from ngff_convert.errors import OptionError, ReadError, TargetError, UnsupportedInput, WriteError
from ngff_convert.events import Event, Finished, ImageStarted, Note, RegionDone
from ngff_convert.testing import coded_pixels, write_ims

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSIONS = ["0.4", "0.5"]


def sha256(pixels: NDArray[Any]) -> str:
    little = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    return hashlib.sha256(little.tobytes()).hexdigest()


def tczyx(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.reshape((1,) * (5 - pixels.ndim) + pixels.shape)


# -- real files --------------------------------------------------------------------------------------------

MADE = [name for name in data_names("ims/*.ims") if (DATA / name).with_suffix(".json").exists()]
QUIRKS = [Path(name).stem for name in data_names("ims/quirks/*.ims")]


def converted_right(path: Path, folder: Path, version: str, level0_sha256: str) -> Path:
    """Convert a file of one image and hold pixels and structure of the store against what is known."""
    store = folder / "out.ome.zarr"
    convert(path, store, Options(ngff_version=version))
    found = levels(store, version)
    assert sha256(tczyx(found[0])) == level0_sha256
    assert_means(found)
    assert_valid(store, store)
    return store


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MADE)
def test_files_by_the_vendors_writer(tmp_path: Path, name: str, version: str) -> None:
    path = data_file(name)
    truth = json.loads(path.with_suffix(".json").read_text())
    store = converted_right(path, tmp_path, version, truth["level0_sha256"])
    assert_metadata(attributes(store, version), truth)
    assert_ome_xml(store / "OME" / "METADATA.ome.xml", truth)


def assert_metadata(found: dict[str, Any], truth: dict[str, Any]) -> None:
    case, multiscales = truth["case"], found["multiscales"][0]
    axes = [axis["name"] for axis in multiscales["axes"]]
    assert axes == list("tczyx" if case["shape"][0] > 1 else "czyx")
    scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscales["datasets"]]
    if case["name"] == "u16_unfinished":  # it says nothing of itself but its pixels
        assert scales[0] == [1] * len(axes)
        return
    if truth.get("voxel_size_xyz"):
        np.testing.assert_allclose(scales[0][-3:], truth["voxel_size_xyz"][::-1], rtol=1e-9)
        centre = np.add(truth["origin_corner_xyz"], np.divide(truth["voxel_size_xyz"], 2))[::-1]
        shift = multiscales["datasets"][0]["coordinateTransformations"][1]["translation"]
        np.testing.assert_allclose(shift[-3:], centre, rtol=1e-9)
    for number, channel in enumerate(case.get("channels", [])):
        shown = found["omero"]["channels"][number]
        if "name" in channel:
            assert shown["label"] == channel["name"]
        if "range" in channel:
            assert [shown["window"]["start"], shown["window"]["end"]] == pytest.approx(channel["range"])
        if "table" not in channel:
            expected = "".join(f"{round(part * 255):02X}" for part in channel["rgb"])
            assert shown["color"] == expected


def assert_ome_xml(path: Path, truth: dict[str, Any]) -> None:
    found = ome_types.from_xml(path.read_text(encoding="utf-8"))
    pixels = found.images[0].pixels
    shape = (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x)
    assert shape == tuple(truth["case"]["shape"])
    assert pixels.metadata_only is not None
    assert pixels.type.value in (truth["case"]["dtype"], {"float32": "float"}.get(truth["case"]["dtype"]))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("quirk", [name for name in QUIRKS if name not in ("truncated", "no_sizes_at_all")])
def test_files_with_a_quirk(tmp_path: Path, quirk: str, version: str) -> None:
    path = data_file(f"ims/quirks/{quirk}.ims")
    base = json.loads((path.parent / "quirks.json").read_text())["base"]
    store = tmp_path / "out.ome.zarr"
    convert(path, store, Options(ngff_version=version))
    images = [store / "0", store / "1"] if quirk == "two_datasets" else [store]
    pixels = levels(images[0], version)
    expected = np.float64 if quirk == "float64" else np.uint16
    assert pixels[0].dtype == expected
    assert sha256(pixels[0].astype("uint16")) == base["level0_sha256"]
    for image in images:
        assert_valid(store, image)
    if quirk == "two_datasets":
        second = levels(images[1], version)[0]
        np.testing.assert_array_equal(second.ravel(), np.arange(1800))
        assert attributes(store / "OME", version)["series"] == ["0", "1"]
        assert attributes(store, version)["bioformats2raw.layout"] == 3


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "name",
    [
        "Minimal_IMS_File.ims",
        "PtK2Cell.ims",
        "bdp1-bigendian/im16bit.ims",
        "bdp1-bigendian/im16bit.h5",
        "bdp2-16bit/volume.ims",
    ],
)
def test_files_by_other_programs(tmp_path: Path, name: str, version: str) -> None:
    path = data_file(f"ims/thirdparty/{name}")
    reference = data_file("ims/thirdparty/reference.json")
    truth = json.loads(reference.read_text())["files"][name.replace(".h5", ".ims")]
    store = converted_right(path, tmp_path, version, truth["level0_sha256"])
    multiscales = attributes(store, version)["multiscales"][0]
    scale = multiscales["datasets"][0]["coordinateTransformations"][0]["scale"]
    np.testing.assert_allclose(scale[-3:], truth["voxel_size_xyz"][::-1], rtol=1e-9)
    labels = [channel["label"] for channel in attributes(store, version)["omero"]["channels"]]
    assert labels == [name or f"Channel {c}" for c, name in enumerate(truth["channel_names"])]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("quirks/truncated.ims", ReadError, "114922 bytes of 191537"),
        ("thirdparty/bdp2-missing/image-binned-8bit-crop.ims", ReadError, "C00--T00000.h5"),
    ],
)
def test_damaged_files_leave_nothing(tmp_path: Path, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        convert(data_file(f"ims/{name}"), tmp_path / "out.ome.zarr")
    assert list(tmp_path.iterdir()) == []


def test_the_sample_file(tmp_path: Path) -> None:
    sample = Path(__file__).parents[1] / "sample_data" / "cells_c2_t3.ims"
    convert(sample, tmp_path / "out")
    found = levels(tmp_path / "out", "0.5")
    assert sha256(found[0]) == "0fd50e4048a5c629017dc45d5334003c5ce64bd433567e7cd35e731203d4330b"
    assert_means(found)
    assert_valid(tmp_path / "out", tmp_path / "out")


# -- options -----------------------------------------------------------------------------------------------

SHAPE = (3, 2, 20, 150, 140)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "cells 7.ims"
    write_ims(
        path,
        coded_pixels(SHAPE),
        chunks=(8, 64, 64),
        levels=3,
        voxel_zyx=(0.5, 0.25, 0.25),
        corner_zyx=(10.0, -5.0, 0.0),
        channels=[Channel("DAPI", "0000FF", window=(5.0, 500.0)), Channel("GFP", "00FF00")],
        time_stamps=[datetime(2024, 1, 2, 3, 4, second) for second in (0, 10, 20)],
    )
    return path


def converted(source: Path, folder: Path, **settings: Any) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    options = Options(**{"chunks": (8, 64, 64), **settings})
    store = folder / "out.ome.zarr"
    convert(source, store, options)
    assert_valid(store, store)
    return attributes(store, options.ngff_version), levels(store, options.ngff_version)


def transformations(found: dict[str, Any], level: int) -> list[list[float]]:
    dataset = found["multiscales"][0]["datasets"][level]
    return [t[t["type"]] for t in dataset["coordinateTransformations"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_defaults(source: Path, tmp_path: Path, version: str) -> None:
    found, pixels = converted(source, tmp_path, ngff_version=version)
    np.testing.assert_array_equal(pixels[0], coded_pixels(SHAPE))
    assert_means(pixels)
    assert [level.shape[2:] for level in pixels] == [(20, 150, 140), (20, 75, 70), (10, 38, 35)]
    assert transformations(found, 0) == [[10, 1, 0.5, 0.25, 0.25], [0, 0, 10.25, -4.875, 0.125]]
    assert transformations(found, 1) == [[10, 1, 0.5, 0.5, 0.5], [0, 0, 10.25, -4.75, 0.25]]
    assert found["multiscales"][0]["name"] == "cells 7"
    units = {axis["name"]: axis.get("unit") for axis in found["multiscales"][0]["axes"]}
    assert units == {"t": "second", "c": None, "z": "micrometer", "y": "micrometer", "x": "micrometer"}
    assert [c["label"] for c in found["omero"]["channels"]] == ["DAPI", "GFP"]
    assert found["omero"]["channels"][0]["window"] == {"min": 0, "max": 65535, "start": 5, "end": 500}


@pytest.mark.parametrize("method", ["nearest", "max", "min", "median", "mode"])
def test_methods_are_carried_out_and_named(source: Path, tmp_path: Path, method: str) -> None:
    found, pixels = converted(source, tmp_path, method=method, levels=2)
    assert found["multiscales"][0]["type"] == method
    # Coded pixels grow along each axis within a cell, so that the corners of a cell are its extremes.
    if method in ("nearest", "min"):
        assert pixels[1][0, 0, 0, 3, 5] == pixels[0][0, 0, 0, 6, 10]
    if method == "max":
        assert pixels[1][0, 0, 0, 3, 5] == pixels[0][0, 0, 0, 7, 11]


def test_native_levels_are_copied(source: Path, tmp_path: Path) -> None:
    found, pixels = converted(source, tmp_path, pyramid="native")
    with ngff_convert.open(source) as opened:
        native = opened.images[0].native_levels
        assert len(native) == len(pixels) - 1 > 0
        for level, copied in zip(native, pixels[1:], strict=True):
            np.testing.assert_array_equal(level.pixels[...], copied)
        np.testing.assert_allclose(
            transformations(found, 1)[0][2:], np.multiply(native[0].factor, (0.5, 0.25, 0.25))
        )


def test_levels_min_size_and_factors(source: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], list[tuple[int, ...]]]] = [
        ({"levels": 1}, [(20, 150, 140)]),
        ({"min_size": 100}, [(20, 150, 140), (20, 75, 70)]),
        ({"factors": ((2, 3, 3),), "levels": 2}, [(20, 150, 140), (10, 50, 47)]),
    ]
    for number, (settings, sizes) in enumerate(cases):
        folder = tmp_path / str(number)
        _, pixels = converted(source, folder, **settings)
        assert [level.shape[2:] for level in pixels] == sizes
        assert_means(pixels)


def test_a_crop_is_where_it_was(source: Path, tmp_path: Path) -> None:
    found, pixels = converted(
        source, tmp_path, crop=((1, 3), (1, 2), (3, 19), (None, 100), (20, None)), levels=2
    )
    np.testing.assert_array_equal(pixels[0], coded_pixels(SHAPE)[1:3, 1:2, 3:19, :100, 20:])
    assert_means(pixels)
    assert transformations(found, 0)[1] == [10, 0, 10.25 + 3 * 0.5, -4.875, 0.125 + 20 * 0.25]
    assert [c["label"] for c in found["omero"]["channels"]] == ["GFP"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": ((0, 4), *[(None, None)] * 4)}, "--t 0:4 is not within the image, which has t from 0:3"),
        ({"crop": ((2, 2), *[(None, None)] * 4)}, "--t 2:2"),
        ({"images": (1,)}, r"--images 1: the input has images 0 to 0"),
        ({"channel_names": ("a",)}, "--channel-names gives 1, but 2 channels"),
        ({"crop": ((None, None), (0, 1), *[(None, None)] * 3), "pyramid": "native"}, "native"),
    ],
)
def test_options_that_do_not_fit_the_image(
    source: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        convert(source, tmp_path / "out", Options(**settings))
    assert list(tmp_path.iterdir()) == []


def test_what_the_user_says_replaces_what_the_source_says(source: Path, tmp_path: Path) -> None:
    found, _ = converted(
        source,
        tmp_path,
        spacing=(2.0, 1.0, 1.0),
        unit="nanometer",
        origin=(0.0, 0.0, 7.0),
        channel_names=("a", "b"),
        channel_colors=("FF0000", "123456"),
        name="mine",
    )
    assert transformations(found, 0) == [[10, 1, 2, 1, 1], [0, 0, 0, 0, 7]]
    assert found["multiscales"][0]["axes"][2]["unit"] == "nanometer"
    assert found["multiscales"][0]["name"] == found["omero"]["name"] == "mine"
    assert [(c["label"], c["color"]) for c in found["omero"]["channels"]] == [
        ("a", "FF0000"),
        ("b", "123456"),
    ]


def test_all_five_axes_on_request(source: Path, tmp_path: Path) -> None:
    crop = ((0, 1), *[(None, None)] * 4)
    assert converted(source, tmp_path / "a", crop=crop)[1][0].ndim == 4
    assert converted(source, tmp_path / "b", crop=crop, output_axes="tczyx")[1][0].ndim == 5


def test_dtype_is_changed_where_every_value_fits(source: Path, tmp_path: Path) -> None:
    _, pixels = converted(source, tmp_path, dtype="float32")
    np.testing.assert_array_equal(pixels[0], coded_pixels(SHAPE).astype("float32"))
    with pytest.raises(OptionError, match="--dtype uint8: values from"):
        convert(source, tmp_path / "narrow", Options(dtype="uint8"))
    assert not list(tmp_path.glob("narrow*")), "what can never be finished is not kept"


def test_one_image_can_be_numbered_below_the_root(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", Options(layout="bioformats2raw"))
    assert attributes(tmp_path / "out", "0.5") == {"version": "0.5", "bioformats2raw.layout": 3}
    np.testing.assert_array_equal(levels(tmp_path / "out" / "0", "0.5")[0], coded_pixels(SHAPE))


def test_original_metadata_and_the_sidecar_can_be_left_out(source: Path, tmp_path: Path) -> None:
    def sidecar(**settings: Any) -> Path:
        store = tmp_path / str(len(list(tmp_path.iterdir())))
        convert(source, store, Options(**settings))
        return store / "OME" / "METADATA.ome.xml"

    assert "OriginalMetadata" in sidecar().read_text()
    assert "OriginalMetadata" not in sidecar(original_metadata=False).read_text()
    assert not sidecar(ome_xml=False).parent.exists()


def test_a_type_that_ome_xml_cannot_name_is_converted_without_the_sidecar(tmp_path: Path) -> None:
    write_ims(tmp_path / "in.ims", coded_pixels((1, 1, 4, 20, 20), "uint64"))
    report = convert(tmp_path / "in.ims", tmp_path / "out")
    assert any("METADATA.ome.xml is left out" in warning for warning in report.warnings)
    assert any("web viewers refuse" in warning for warning in report.warnings)
    assert levels(tmp_path / "out", "0.5")[0].dtype == np.uint64


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_display_window_is_made_of_the_pixels_where_the_source_has_none(tmp_path: Path, dtype: str) -> None:
    pixels = np.full((1, 1, 4, 100, 100), 100, dtype)
    pixels[..., 50:, :] = 900
    write_ims(tmp_path / "in.ims", pixels)
    convert(tmp_path / "in.ims", tmp_path / "out")
    window = attributes(tmp_path / "out", "0.5")["omero"]["channels"][0]["window"]
    assert (window["start"], window["end"]) == pytest.approx((100, 900), abs=5)


# -- complete or absent ------------------------------------------------------------------------------------


def test_an_existing_output_stays_unless_it_is_to_be_replaced(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "out"
    convert(source, store, Options(levels=1))
    before = (store / "zarr.json").read_text()
    with pytest.raises(TargetError, match="exists already"):
        convert(source, store)
    assert (store / "zarr.json").read_text() == before
    convert(source, store, Options(levels=2, chunks=(8, 64, 64), overwrite=True))
    assert len(levels(store, "0.5")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


class Killed(BaseException):
    pass


def test_an_interrupted_conversion_is_taken_up(source: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RegionDone):
            raise Killed

    options = Options(chunks=(8, 64, 64))
    store, partial = tmp_path / "out", tmp_path / "out.partial"
    with pytest.raises(Killed):
        convert(source, store, options, stop)
    assert not store.exists()
    assert not (partial / "zarr.json").exists(), "what is not whole must not open as an image"
    with pytest.raises(TargetError, match=r"--chunks is \[8, 32, 32\], was \[8, 64, 64\]; use --restart"):
        convert(source, store, Options(chunks=(8, 32, 32)))
    report = convert(source, store, options)
    assert any("unfinished conversion" in warning for warning in report.warnings)
    np.testing.assert_array_equal(levels(store, "0.5")[0], coded_pixels(SHAPE))
    assert not partial.exists()
    assert not list(store.glob(".ngff*"))


def test_a_source_that_changed_is_not_mixed_with_what_was_read_before(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RegionDone):
            raise Killed

    path = tmp_path / "in.ims"
    write_ims(path, coded_pixels((1, 1, 4, 20, 20)))
    with pytest.raises(Killed):
        convert(path, tmp_path / "out", observer=stop)
    write_ims(path, coded_pixels((1, 1, 4, 20, 20))[..., ::-1].copy())
    with pytest.raises(TargetError, match="is the work of another conversion"):
        convert(path, tmp_path / "out")


def test_a_damaged_chunk_is_named_and_nothing_looks_whole(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "in.ims"
    write_ims(path, coded_pixels((1, 1, 16, 100, 100)), chunks=(8, 64, 64))
    with h5py.File(path) as file:
        chunk = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"].id.get_chunk_info(3)
    damaged = bytearray(path.read_bytes())
    damaged[chunk.byte_offset + 2 : chunk.byte_offset + 40] = b"\xff" * 38
    path.write_bytes(damaged)
    with pytest.raises(ReadError, match=r"in\.ims.*chunk"):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="Not a directory"):
        convert(source, tmp_path / "file" / "out")


def test_unsupported_inputs(tmp_path: Path) -> None:
    (tmp_path / "notes.ims").write_text("these are notes")
    with pytest.raises(UnsupportedInput):
        convert(tmp_path / "notes.ims", tmp_path / "out")
    (tmp_path / "old.ims").write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(UnsupportedInput, match="Imaris 3"):
        convert(tmp_path / "old.ims", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- as a library ------------------------------------------------------------------------------------------


def test_images_are_lazy_dask_arrays(source: Path) -> None:
    with ngff_convert.open(source) as opened:
        data = opened.images[0].data
        assert data.shape == SHAPE
        assert data.dtype == np.uint16
        part = data[1, 1, 3:5, 10:20:3, -1]
        np.testing.assert_array_equal(part.compute(), coded_pixels(SHAPE)[1, 1, 3:5, 10:20:3, -1])
        np.testing.assert_array_equal(np.asarray(data), coded_pixels(SHAPE))


def test_events_tell_the_whole_story(source: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    report = convert(source, tmp_path / "out", Options(chunks=(8, 64, 64)), seen.append)
    started = [event for event in seen if isinstance(event, ImageStarted)]
    assert [(event.index, event.count, event.name) for event in started] == [(0, 1, "cells 7")]
    read = sum(event.read_bytes for event in seen if isinstance(event, RegionDone))
    assert read == report.read_bytes == started[0].plan.read_bytes
    written = sum(level.nbytes for level in levels(tmp_path / "out", "0.5"))
    assert report.written_bytes == written
    assert seen[-1] == Finished(report)
    assert not [event for event in seen if isinstance(event, Note)]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert report.stored_bytes[""] == sum(path.stat().st_size for path in files)
    assert list(report.stored_bytes) == ["", "0", "1", "2"]
