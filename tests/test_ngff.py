"""The metadata documents: values against what was put in, and whole stores against two validators."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_zarr_models
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from images import NoPixels

from ngff_convert import plan as planning
from ngff_convert.display import Estimate, Window, window_limits
from ngff_convert.model import Calibration, Channel, Image, NativeLevel
from ngff_convert.ngff import (
    DESCRIPTIONS,
    PALETTE,
    Attributes,
    collection_attributes,
    group_documents,
    image_attributes,
    ome_group_attributes,
)
from ngff_convert.options import METHODS, Options
from ngff_convert.units import SPACE_UNITS
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ngff_convert.model import Shape
    from ngff_convert.write_plan import WritePlan

VERSIONS = ("0.4", "0.5")
INTEGERS = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("u", "")]
DTYPES = [*INTEGERS, "float16", "float32", "float64", "bool"]
START = datetime(2024, 3, 5, 11, 0, 30, 250_000)
CALIBRATED = Calibration(zyx=(1.0, 0.25, 0.25), unit="micrometer", t_s=2.5, origin_zyx=(0.5, -10.0, 0.125))


def an_image(shape: Shape = (1, 2, 5, 40, 33), dtype: str = "uint16", **fields: Any) -> Image:
    fields = {"name": "kidney", "channels": (Channel(),) * shape[1], **fields}
    return Image(pixels=NoPixels(shape, dtype, (1, 1, 4, 16, 16)), **fields)


def a_plan(image: Image, **options: Any) -> WritePlan:
    given = Options(**{"chunks": (4, 16, 16), **options})
    return planning.build(image, given, planning.Resources(workers=1, memory=2**30))


def windows_of(image: Image, plan: WritePlan) -> list[Window]:
    return [window_limits(plan.dtype, channel.window) for channel in image.channels]


def attributes_of(image: Image, **options: Any) -> Attributes:
    plan = a_plan(image, **options)
    return image_attributes(image, plan, windows_of(image, plan))


def ome_of(image: Image, **options: Any) -> Any:
    return attributes_of(image, **options)["ome"]


def write_group(folder: Path, version: str, attributes: Attributes) -> None:
    folder.mkdir(parents=True)
    for name, document in group_documents(version, attributes).items():
        (folder / name).write_text(json.dumps(document, allow_nan=False))


def write_image(folder: Path, image: Image, plan: WritePlan) -> None:
    write_group(folder, plan.ngff_version, image_attributes(image, plan, windows_of(image, plan)))
    stored = ["tczyx".index(axis) for axis in plan.axes]
    for index, level in enumerate(plan.levels):
        v2 = plan.ngff_version == "0.4"
        zarr.create_array(
            folder / str(index),
            shape=[level.shape[axis] for axis in stored],
            chunks=tuple(level.chunks[axis] for axis in stored),
            dtype=plan.dtype,
            zarr_format=2 if v2 else 3,
            dimension_names=None if v2 else list(plan.axes),
            chunk_key_encoding={"name": "v2" if v2 else "default", "separator": "/"},
        )


def validate(store: Path, version: Any) -> None:
    with warnings.catch_warnings(action="error"):
        yaozarrs.validate_zarr_store(str(store))
        ome_zarr_models.open_ome_zarr(str(store), version=version)


def leaves(document: Any) -> Iterator[Any]:
    if isinstance(document, dict | list):
        for value in document.values() if isinstance(document, dict) else document:
            yield from leaves(value)
    else:
        yield document


# -- whole stores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_validators_accept_a_store_of_every_dtype(version: str, dtype: str, tmp_path: Path) -> None:
    image = an_image(dtype=dtype, calibration=CALIBRATED)
    plan = a_plan(image, ngff_version=version)
    write_image(tmp_path / "image.zarr", image, plan)
    assert len(plan.levels) > 1
    validate(tmp_path / "image.zarr", version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("output_axes", ["auto", "tczyx"])
@pytest.mark.parametrize("n_times", [1, 3])
@pytest.mark.parametrize("calibration", [CALIBRATED, Calibration()], ids=["calibrated", "unknown"])
def test_validators_accept_a_store_of_every_shape(
    version: str, output_axes: str, n_times: int, calibration: Calibration, tmp_path: Path
) -> None:
    image = an_image((n_times, 9, 3, 40, 33), calibration=calibration)
    write_image(tmp_path / "image.zarr", image, a_plan(image, ngff_version=version, output_axes=output_axes))
    validate(tmp_path / "image.zarr", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_single_image_may_have_an_ome_group_beside_its_levels(version: str, tmp_path: Path) -> None:
    image = an_image()
    write_image(tmp_path / "image.zarr", image, a_plan(image, ngff_version=version))
    write_group(tmp_path / "image.zarr" / "OME", version, ome_group_attributes(version, []))
    validate(tmp_path / "image.zarr", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_collection_names_its_images_in_order(version: str, tmp_path: Path) -> None:
    store = tmp_path / "collection.zarr"
    write_group(store, version, collection_attributes(version))
    write_group(store / "OME", version, ome_group_attributes(version, ["0", "1"]))
    for series in "01":
        image = an_image()
        write_image(store / series, image, a_plan(image, ngff_version=version))
        validate(store / series, version)
    with warnings.catch_warnings(action="error"):  # ome-zarr-models has no such layout in 0.5
        yaozarrs.validate_zarr_store(str(store))
    group = zarr.open_group(store / "OME", mode="r")
    assert (group.attrs["series"] if version == "0.4" else group.attrs["ome"]["series"]) == ["0", "1"]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_validators_see_a_fault(version: str, tmp_path: Path) -> None:
    image = an_image()
    plan = a_plan(image, ngff_version=version)
    write_image(tmp_path / "image.zarr", image, replace(plan, levels=plan.levels[::-1]))
    with pytest.raises(Exception, match=r"(?i)order|lower resolution"):
        validate(tmp_path / "image.zarr", version)


# -- one document, word for word -----------------------------------------------------------------------------

MULTISCALES = {
    "name": "kidney",
    "axes": [
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ],
    "datasets": [
        {
            "path": "0",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 0.25, 0.25]},
                {"type": "translation", "translation": [0.0, 0.5, -10.0, 0.125]},
            ],
        },
        {
            "path": "1",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 0.5, 0.5]},
                {"type": "translation", "translation": [0.0, 0.5, -9.875, 0.25]},
            ],
        },
    ],
    "type": "mean",
    "metadata": {
        "description": DESCRIPTIONS["mean"],
        "method": "ngff-convert",
        "version": __version__,
        "kwargs": {"method": "mean", "factors": [[1, 1, 1, 1], [1, 1, 2, 2]]},
    },
}
OMERO = {
    "name": "kidney",
    "channels": [
        {
            "label": "ß-tubulin",
            "color": "00FF80",
            "window": {"min": 0, "max": 65535, "start": 12.5, "end": 6789},
            "active": True,
            "coefficient": 1,
            "family": "linear",
            "inverted": False,
        },
        {
            "label": "Channel 1",
            "color": "00FF00",
            "window": {"min": 0, "max": 65535, "start": 0, "end": 65535},
            "active": True,
            "coefficient": 1,
            "family": "linear",
            "inverted": False,
        },
    ],
    "rdefs": {"defaultT": 0, "defaultZ": 2, "model": "color"},
}


WITH_SYSTEMS = {
    "name": "kidney",
    "coordinateSystems": [{"name": "physical", "axes": MULTISCALES["axes"]}],
    "datasets": [
        {
            "path": path,
            "coordinateTransformations": [
                {
                    "type": "sequence",
                    "transformations": [
                        {"type": "scale", "scale": scale},
                        {"type": "translation", "translation": translation},
                    ],
                    "input": {"path": path},
                    "output": {"name": "physical"},
                }
            ],
        }
        for path, scale, translation in (
            ("0", [1.0, 1.0, 0.25, 0.25], [0.0, 0.5, -10.0, 0.125]),
            ("1", [1.0, 1.0, 0.5, 0.5], [0.0, 0.5, -9.875, 0.25]),
        )
    ],
    "type": "mean",
    "metadata": MULTISCALES["metadata"],
}


@pytest.mark.parametrize(
    ("version", "document"),
    [
        ("0.4", {"multiscales": [{"version": "0.4", **MULTISCALES}], "omero": OMERO}),
        ("0.5", {"ome": {"version": "0.5", "multiscales": [MULTISCALES], "omero": OMERO}}),
        ("0.6", {"ome": {"version": "0.6", "multiscales": [WITH_SYSTEMS], "omero": OMERO}}),
    ],
)
def test_the_whole_document(version: str, document: Attributes) -> None:
    image = an_image(
        (1, 2, 5, 32, 30),
        channels=(Channel("ß-tubulin", "00FF80", window=(12.5, 6789.0)), Channel()),
        calibration=CALIBRATED,
    )
    assert attributes_of(image, ngff_version=version) == document


# -- axes and transformations --------------------------------------------------------------------------------


def test_the_axes_that_are_stored_are_described() -> None:
    image = an_image((3, 2, 5, 40, 33), calibration=CALIBRATED)
    axes = ome_of(image)["multiscales"][0]["axes"]
    assert "".join(axis["name"] for axis in axes) == "tczyx"
    assert axes[0] == {"name": "t", "type": "time", "unit": "second"}
    one_time = ome_of(an_image())["multiscales"][0]
    assert "".join(axis["name"] for axis in one_time["axes"]) == "czyx"
    assert {len(d["coordinateTransformations"][0]["scale"]) for d in one_time["datasets"]} == {4}


def test_what_is_unknown_has_a_scale_of_its_factor_and_no_unit() -> None:
    multiscales = ome_of(an_image((3, 1, 1, 40, 33)))["multiscales"][0]
    assert not any("unit" in axis for axis in multiscales["axes"])
    first, second, *_ = (d["coordinateTransformations"] for d in multiscales["datasets"])
    assert first == [{"type": "scale", "scale": [1.0, 1.0, 1.0, 1.0, 1.0]}]
    assert second[0] == {"type": "scale", "scale": [1.0, 1.0, 1.0, 2.0, 2.0]}
    assert second[1] == {"type": "translation", "translation": [0.0, 0.0, 0.0, 0.5, 0.5]}


def test_a_unit_is_stated_only_for_the_axes_whose_step_is_known() -> None:
    image = an_image(calibration=Calibration(zyx=(None, 0.25, 0.5), unit="nanometer"))
    axes = ome_of(image)["multiscales"][0]["axes"]
    assert [axis.get("unit") for axis in axes] == [None, None, "nanometer", "nanometer"]
    no_unit = an_image(calibration=Calibration(zyx=(1.0, 0.25, 0.5)))
    assert not any("unit" in axis for axis in ome_of(no_unit)["multiscales"][0]["axes"])


@pytest.mark.parametrize("unit", SPACE_UNITS)
@pytest.mark.parametrize("version", VERSIONS)
def test_validators_know_every_unit(unit: str, version: str) -> None:
    image = an_image(calibration=replace(CALIBRATED, unit=unit))
    attributes = attributes_of(image, ngff_version=version)
    with warnings.catch_warnings(action="error"):
        yaozarrs.validate_ome_object(attributes if version == "0.4" else attributes["ome"])


def test_time_points_are_listed_and_uneven_ones_not_passed_off_as_a_step() -> None:
    stamps = tuple(START + timedelta(seconds=s) for s in (0, 1, 5))
    uneven = ome_of(an_image((3, 1, 1, 8, 8), time_stamps=stamps))["multiscales"][0]
    assert uneven["metadata"]["time_stamps"] == [
        "2024-03-05T11:00:30.250000",
        "2024-03-05T11:00:31.250000",
        "2024-03-05T11:00:35.250000",
    ]
    assert uneven["axes"][0] == {"name": "t", "type": "time"}
    even = an_image((3, 1, 1, 8, 8), time_stamps=stamps, calibration=Calibration(t_s=2.5))
    multiscales = ome_of(even)["multiscales"][0]
    assert len(multiscales["metadata"]["time_stamps"]) == 3, "a constant step hides the jitter"
    assert multiscales["axes"][0]["unit"] == "second"
    assert multiscales["datasets"][0]["coordinateTransformations"][0]["scale"][0] == 2.5


def test_copied_levels_keep_the_geometry_of_the_source() -> None:
    native = NativeLevel(
        NoPixels((1, 2, 5, 20, 16), "uint16"), factor=(1.0, 2.0, 2.0625), shift=(0.0, 0.5, 0.5)
    )
    image = an_image(calibration=CALIBRATED, native_levels=(native,))
    multiscales = ome_of(image, pyramid="native")["multiscales"][0]
    assert multiscales["type"] == "native"
    assert multiscales["metadata"]["kwargs"]["factors"] == [[1, 1, 1, 1], [1, 1.0, 2.0, 2.0625]]
    scale, translation = multiscales["datasets"][1]["coordinateTransformations"]
    assert scale["scale"] == [1.0, 1.0, 0.5, 0.515625]
    assert translation["translation"] == [0.0, 0.5, -9.875, 0.25]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_named_and_described(method: str) -> None:
    multiscales = ome_of(an_image(), method=method)["multiscales"][0]
    assert multiscales["type"] == multiscales["metadata"]["kwargs"]["method"] == method
    assert set(DESCRIPTIONS) == {*METHODS, "native", "referenced"}


# -- channels ------------------------------------------------------------------------------------------------


def test_at_most_six_channels_are_active() -> None:
    channels = ome_of(an_image((1, 9, 1, 8, 8)))["omero"]["channels"]
    assert [channel["active"] for channel in channels] == [True] * 6 + [False] * 3
    assert [channel["label"] for channel in channels] == [f"Channel {index}" for index in range(9)]


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ([None], ["FFFFFF"]),
        (["FF8000"], ["FF8000"]),
        ([None, None], ["00FF00", "FF00FF"]),
        (["00FF00", None, None], ["00FF00", "FF00FF", "00FFFF"]),
        ([None] * 8, [*PALETTE, *PALETTE[:2]]),
        ([*PALETTE, None], [*PALETTE, PALETTE[0]]),
    ],
)
def test_unknown_colors_are_chosen_apart_from_the_known(known: list[str | None], shown: list[str]) -> None:
    image = an_image((1, len(known), 1, 8, 8), channels=tuple(Channel(color=color) for color in known))
    assert [channel["color"] for channel in ome_of(image)["omero"]["channels"]] == shown


@pytest.mark.parametrize(
    ("colors", "model"),
    [([None], "greyscale"), (["FFFFFF"], "greyscale"), (["00FF00"], "color"), ([None, None], "color")],
)
def test_one_white_channel_is_shown_in_grey(colors: list[str | None], model: str) -> None:
    image = an_image((1, len(colors), 1, 8, 8), channels=tuple(Channel(color=color) for color in colors))
    assert ome_of(image)["omero"]["rdefs"]["model"] == model


def test_the_middle_plane_of_what_is_written_is_shown_first() -> None:
    assert [ome_of(an_image((1, 1, z, 8, 8)))["omero"]["rdefs"]["defaultZ"] for z in (1, 2, 7)] == [0, 1, 3]


def test_each_channel_needs_its_window() -> None:
    image = an_image()
    with pytest.raises(ValueError, match="shorter"):
        image_attributes(image, a_plan(image), [window_limits("uint16", None)])


# -- windows -------------------------------------------------------------------------------------------------

LIKELY = Estimate(low=103.5, high=900.0, smallest=100, largest=4000)
CONSTANT = Estimate(7, 7, 7, 7)
SPARSE = Estimate(low=0, high=0, smallest=0, largest=250)
DAMAGED = Estimate(nan, 3.0, -inf, inf)


@pytest.mark.parametrize(
    ("dtype", "window", "estimate", "expected"),
    [
        ("uint8", None, None, (0, 255, 0, 255)),
        ("int8", None, None, (-128, 127, -128, 127)),
        ("uint16", None, LIKELY, (0, 65535, 103.5, 900)),
        ("int16", (-5.0, 5.5), LIKELY, (-32768, 32767, -5, 5.5)),
        ("uint8", (10.0, 4000.0), None, (0, 255, 10, 255)),
        ("uint8", (300.0, 4000.0), LIKELY, (0, 255, 103.5, 255)),
        ("uint8", (300.0, 4000.0), None, (0, 255, 0, 255)),
        ("uint16", None, CONSTANT, (0, 65535, 0, 65535)),
        ("uint16", None, SPARSE, (0, 65535, 0, 250)),
        ("bool", None, None, (0, 1, 0, 1)),
        ("uint32", None, LIKELY, (100, 4000, 103.5, 900)),
        ("uint32", (-10.0, 5000.0), LIKELY, (0, 5000, 0, 5000)),
        ("int32", None, None, (-(2**31), 2**31 - 1, -(2**31), 2**31 - 1)),
        ("uint64", None, None, (0, 2**64 - 1, 0, 2**64 - 1)),
        ("float32", None, LIKELY, (100, 4000, 103.5, 900)),
        ("float32", (-1.0, 0.25), LIKELY, (-1, 4000, -1, 0.25)),
        ("float32", (0.25, 0.75), None, (0.25, 0.75, 0.25, 0.75)),
        ("float64", None, CONSTANT, (0, 1, 0, 1)),
        ("float32", None, DAMAGED, (0, 1, 0, 1)),
        ("float32", None, None, (0, 1, 0, 1)),
    ],
)
def test_window_limits(
    dtype: str,
    window: tuple[float, float] | None,
    estimate: Estimate | None,
    expected: tuple[float, float, float, float],
) -> None:
    assert window_limits(dtype, window, estimate) == Window(*expected)


def test_whole_numbers_are_written_as_such() -> None:
    window = window_limits("float32", (np.float64(1.0), np.float64(2.5)))
    assert json.dumps(asdict(window)) == '{"min": 1, "max": 2.5, "start": 1, "end": 2.5}'
    assert isinstance(window_limits("float64", (0.0, 1e300)).end, float)


finite = st.floats(allow_nan=False, allow_infinity=False)
spans = st.tuples(finite, finite).filter(lambda span: span[0] < span[1])


@given(
    dtype=st.sampled_from(DTYPES),
    window=st.none() | spans,
    estimate=st.none() | st.builds(Estimate, st.floats(), st.floats(), st.floats(), st.floats()),
)
def test_a_window_is_finite_and_in_order(
    dtype: str, window: tuple[float, float] | None, estimate: Estimate | None
) -> None:
    limits = window_limits(dtype, window, estimate)
    assert limits.min <= limits.start < limits.end <= limits.max
    assert all(isfinite(value) for value in asdict(limits).values())
    if dtype.endswith("int8"):
        assert limits.max - limits.min == 255


# -- text and numbers of any kind ----------------------------------------------------------------------------

texts = st.text(st.characters(codec=None))  # lone surrogates and control characters too
colors = st.none() | st.text("0123456789ABCDEF", min_size=6, max_size=6)


@given(
    name=texts,
    channels=st.lists(st.builds(Channel, st.none() | texts, colors, window=st.none() | spans), min_size=1),
    version=st.sampled_from(VERSIONS),
)
def test_any_words_make_valid_documents(name: str, channels: list[Channel], version: str) -> None:
    image = an_image((1, len(channels), 1, 8, 8), name=name, channels=tuple(channels))
    attributes = attributes_of(image, ngff_version=version)
    assert not any(leaf is None for leaf in leaves(attributes))
    again = json.loads(json.dumps(attributes, allow_nan=False, ensure_ascii=False).encode("utf-8"))
    assert again == attributes
    yaozarrs.validate_ome_object(again if version == "0.4" else again["ome"])
    ome = again if version == "0.4" else again["ome"]
    labels = [channel["label"] for channel in ome["omero"]["channels"]]
    for channel, label in zip(channels, labels, strict=True):
        if channel.name and channel.name.isascii():
            assert label == channel.name


def test_half_a_surrogate_pair_in_a_name_becomes_a_question_mark() -> None:
    assert ome_of(an_image(name="caf\udce9"))["multiscales"][0]["name"] == "caf?"
