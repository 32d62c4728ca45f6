"""What TIFF files say of themselves: resolution, samples, palettes, damage, real files."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file, data_names
from tiff_tags import binary, described, patch, text, write

from ngff_convert.model import UNKNOWN, Calibration, Channel
from ngff_convert.readers import tiff_metadata
from ngff_convert.readers.tiff_metadata import describe
from ngff_convert.readers.tiff_tags import CUSTOMARY_DPI, resolution
from ngff_convert.readers.tiff_values import (
    MAX_TEXT,
    Found,
    Length,
    as_sections,
    clean,
    even_step,
    number,
    ramp_color,
    ratio,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ngff_convert.readers.tiff_values import MaybeLengths, Sizes


# Resolution tags


@pytest.mark.parametrize("dpi", CUSTOMARY_DPI)
def test_resolutions_of_screens_and_printers_say_nothing(dpi: int) -> None:
    assert resolution(dpi, 2) is None
    assert resolution(dpi / 2.54, 3) is None


@pytest.mark.parametrize(
    ("rate", "unit", "micrometers"),
    [(25_400, 2, 1.0), (40_000, 3, 0.25), (2400, 2, 25_400 / 2400), (73, 2, 25_400 / 73)],
)
def test_other_resolutions_are_sizes(rate: float, unit: int, micrometers: float) -> None:
    found = resolution(rate, unit)
    assert found is not None
    assert found.value == pytest.approx(micrometers, rel=1e-12)
    assert found.unit == "micrometer"


@pytest.mark.parametrize(("rate", "unit"), [(4, 1), (4, None), (0, 2), (-5, 3), (None, 3), (float("inf"), 3)])
def test_no_unit_or_no_rate_is_unknown(rate: float | None, unit: int | None) -> None:
    assert resolution(rate, unit) is None


def test_plain_files(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif",
        resolution=(20_000, 40_000),
        resolutionunit="CENTIMETER",
        datetime=datetime(2024, 5, 6, 7, 8, 9),
        description="a note",
        software="a program",
    )
    found, warnings = described(path)
    assert found.calibration == Calibration((None, 0.25, 0.5), "micrometer")
    assert found.time_stamps == (datetime(2024, 5, 6, 7, 8, 9),)
    assert found.channels == (Channel(),)
    assert found.name == ""
    assert found.original_metadata["TIFF"]["ImageDescription"] == "a note"
    assert found.original_metadata["TIFF"]["Software"] == "a program"
    assert not warnings


def test_one_date_is_not_that_of_many_time_points(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (3, 16, 20), datetime=datetime(2024, 5, 6))
    assert described(path, (3, 1, 1))[0].time_stamps == ()
    assert described(path, (1, 1, 3))[0].time_stamps == (datetime(2024, 5, 6),)


def test_a_rational_of_nothing_is_unknown(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", resolution=(9, 9), resolutionunit="CENTIMETER")
    patch(path, 282, 0, bytes(8))
    patch(path, 283, 0, bytes(4))
    assert described(path)[0].calibration == Calibration()


def test_shaped_files(tmp_path: Path) -> None:
    said = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 2, "spacing": 3, "unit": "um"}
    said |= {"TimeIncrement": 20, "TimeIncrementUnit": "ms", "Channel": {"Name": ["DAPI", "GFP"]}}
    path = write(tmp_path / "a.tif", (4, 2, 16, 20), metadata={"axes": "TCYX", **said})
    found, _ = described(path, (4, 2, 1))
    assert found.calibration == Calibration((3000.0, 2000.0, 0.5), "nanometer", 0.02)
    assert [channel.name for channel in found.channels] == ["DAPI", "GFP"]
    path = write(
        tmp_path / "b.tif", (4, 16, 20), metadata={"unit": "mm"}, resolution=(10, 20), resolutionunit=1
    )
    assert described(path, (1, 1, 4))[0].calibration == Calibration((None, 0.05, 0.1), "millimeter")


# Samples and colours


def test_samples_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (16, 20, 3))
    red, green, blue = Channel("red", "FF0000"), Channel("green", "00FF00"), Channel("blue", "0000FF")
    assert described(path, (1, 3, 1), 3)[0].channels == (red, green, blue)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    path = write(tmp_path / "b.tif", (4, 16, 20), extrasamples=["unassalpha"], **options)
    assert described(path, (1, 4, 1), 4)[0].channels == (red, green, blue, Channel("alpha"))
    path = write(tmp_path / "c.tif", (4, 16, 20), extrasamples=["unspecified"], **options)
    assert described(path, (1, 4, 1), 4)[0].channels == (red, green, blue, Channel())
    path = write(tmp_path / "d.tif", (16, 20, 5), planarconfig="contig", photometric="minisblack")
    assert described(path, (1, 5, 1), 5)[0].channels == (Channel(),) * 5


def test_samples_of_several_channels_carry_its_number_or_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (2, 16, 20, 3))
    names = [channel.name for channel in described(path, (1, 6, 1), 3)[0].channels]
    assert names == ["1 red", "1 green", "1 blue", "2 red", "2 green", "2 blue"]


def test_samples_that_do_not_fit_are_not_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (16, 20, 3))
    assert described(path, (1, 4, 1), 3)[0].channels == (Channel(),) * 4


def test_white_at_zero_is_said(tmp_path: Path) -> None:
    _, warnings = described(write(tmp_path / "a.tif", photometric="miniswhite"))
    assert len(warnings) == 1
    assert "MinIsWhite" in warnings[0]


def palette(path: Path, color: tuple[float, float, float], *, highest: int = 65280) -> Path:
    ramp = np.outer(color, np.linspace(0, highest, 256)).astype("uint16")
    return write(path, photometric="palette", colormap=ramp)


def test_a_palette_of_one_colour_is_the_colour(tmp_path: Path) -> None:
    found, warnings = described(palette(tmp_path / "a.tif", (0, 1, 0.5)))
    assert found.channels == (Channel(color="00FF7F"),)
    assert not warnings
    assert described(palette(tmp_path / "b.tif", (1, 0, 0), highest=255))[0].channels[0].color == "FF0000"
    found, warnings = described(palette(tmp_path / "c.tif", (1, 1, 1), highest=65535))
    assert found.channels == (Channel(),)
    assert not warnings


def test_a_palette_of_many_colours_is_said(tmp_path: Path) -> None:
    table = np.random.default_rng(1).integers(0, 65535, (3, 256)).astype("uint16")
    found, warnings = described(write(tmp_path / "a.tif", photometric="palette", colormap=table))
    assert found.channels == (Channel(),)
    assert warnings == ["pixels are indices into a colour table: it is not carried over"]


# Damage


DAMAGED = {
    "lsm": (34412, b"\x4c\x00\x00\x04garbage"),
    "sis": (33560, b"nothing"),
    "fei": (34682, b"[Scan]\nPixelWidth=-1e400\nPixelHeight=0\n"),
    "sem": (34118, b"\xff\xfe\0\0AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = nan nm\r\n"),
    "tvips": (37706, b"\2\0\0\0short"),
    "nih": (43314, b"\0" * 20),
    "fluoview": (34362, b"\0" * 64),
    "micromanager": (51123, b"{broken"),
    "stk": (33628, b"\1\0\0\0"),
    "imagej": (50839, b"IJIJ----"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_tags_never_raise(tmp_path: Path, kind: str) -> None:
    code, value = DAMAGED[kind]
    description = "ImageJ=1.54\nunit=um\nspacing=NaN\n" if kind == "imagej" else None
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for page in range(2):  # tifffile opens no LSM file of one page
            tags = [] if page else [binary(code, value)]
            options: dict[str, Any] = {"photometric": "minisblack", "metadata": None, "contiguous": False}
            writer.write(np.zeros((16, 20), "uint8"), extratags=tags, description=description, **options)
    warnings: list[str] = []
    with tifffile.TiffFile(path) as tif:
        series = tifffile.TiffPageSeries([tif.pages.first])
        found = describe(tif, series, (1, 1, 1), 1, warnings)
    assert found.calibration.zyx == ((None, 1.0, 1.0) if kind == "imagej" else UNKNOWN)
    assert found.channels in ((Channel(),), (Channel(""),))


def test_any_failure_of_a_parser_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(tif: object, series: object, sizes: Sizes, warnings: list[str]) -> None:
        raise RecursionError("too\ndeep")

    parsers = (("Broken", fails), *tiff_metadata.PARSERS)
    monkeypatch.setattr(tiff_metadata, "PARSERS", parsers)
    found, warnings = described(write(tmp_path / "a.tif", resolution=(9e4, 9e4), resolutionunit="CENTIMETER"))
    assert warnings == ["Broken metadata cannot be read: RecursionError: too deep"]
    assert found.calibration.unit == "micrometer"


INF = float("inf")


@pytest.mark.parametrize(
    ("size", "origin", "t_s", "expected"),
    [
        ((None, None, Length(INF)), (None,) * 3, 1.0, Calibration(t_s=1.0)),
        ((None, Length(0.0), Length(2.0)), (None,) * 3, INF, Calibration((None, None, 2.0), "micrometer")),
        ((None, Length(-1.0), None), (None, None, Length(INF)), 0.0, Calibration()),
        (
            (Length(1.0, "nanometer"), Length(2.0, None), Length(3.0)),
            (None, Length(5.0, "millimeter"), None),
            None,
            Calibration((0.001, None, 3.0), "micrometer", None, (None, 5000.0, None)),
        ),
        (
            (Length(3.0, None), None, Length(2.0, None)),
            (None, None, None),
            None,
            Calibration((3.0, None, 2.0)),
        ),
        (
            (None,) * 3,
            (None, None, Length(5.0)),
            None,
            Calibration(UNKNOWN, "micrometer", None, (None, None, 5.0)),
        ),
    ],
)
def test_bad_values_become_unknown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: MaybeLengths,
    origin: MaybeLengths,
    t_s: float | None,
    expected: Calibration,
) -> None:
    part = Found(size=size, origin=origin, t_s=t_s, channels=(Channel(), Channel()))
    monkeypatch.setattr(tiff_metadata, "PARSERS", (("x", lambda *_: part),))
    found, warnings = described(write(tmp_path / "a.tif"))
    assert found.calibration == expected
    assert "2 channels are described, the image has 1: their names are not used" in warnings


def test_original_metadata_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tif", extratags=[text(65111, "x" * 300_000)], description="a\x01b")
    found, _ = described(path)
    assert (
        found.original_metadata["TIFF"]["65111"] == f"{'x' * MAX_TEXT} ... (cut after {MAX_TEXT} characters)"
    )
    assert found.original_metadata["TIFF"]["ImageDescription"] == "ab"
    monkeypatch.setattr(tiff_metadata, "MAX_METADATA", 200)
    found, warnings = described(path)
    assert sum(len(k) + len(v) for k, v in found.original_metadata["TIFF"].items()) <= 200
    assert warnings == ["more than 200 characters of metadata: the rest is left out"]


def test_warnings_come_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    with tifffile.TiffFile(write(tmp_path / "a.tif", photometric="miniswhite")) as tif:
        for _ in range(2):
            describe(tif, tif.series[0], (1, 1, 1), 1, warnings)
    assert len(warnings) == 1


# Values


def test_values_are_text() -> None:
    assert clean(b"abc") == "abc"
    assert clean(bytes(300)) == "(300 bytes)"
    assert clean(datetime(2020, 1, 2)) == "2020-01-02T00:00:00"
    assert clean(float("nan")) == '"NaN"' or clean(float("nan")) == '"nan"'
    assert clean(np.arange(3)) == "[0, 1, 2]"
    assert clean(np.zeros(200_000)) == '"(200000 values of type float64)"'
    assert clean({"a": (1, b"x")}) == '{"a": [1, "x"]}'
    assert clean("\ud800\x0bok") == "ok"
    assert as_sections("A", {"b": {}, "c": 1}) == {"A": {"c": "1"}}


def test_numbers_are_careful() -> None:
    assert [number(v) for v in ("1e400", "1_0", "0x10", "inf", True, b"1", 10**400, [2], (1, 2))] == (
        [None] * 5 + [1.0, None, 2.0, None]
    )
    assert ratio((1, 0)) is None
    assert ratio((4294967295, 1)) == 4294967295.0


def test_ramps() -> None:
    even = list(range(256))
    none = [0] * 256
    assert ramp_color([even, none, even], 255) == "FF00FF"
    assert ramp_color([even[::-1], none, none], 255) is None
    assert ramp_color([[min(2 * n, 255) for n in even], none, none], 255) is None
    assert ramp_color([none, none, none], 255) is None


def test_steps_are_even_within_a_tenth() -> None:
    assert even_step([0, 1.09, 2]) == 1.0
    assert even_step([0, 1.2, 2]) is None
    assert even_step([5, 5, 5]) is None


# Real files


REAL = [
    name
    for pattern in ("tiff/*.tif", "tiff/*.tiff", "tiff/*/*.tif", "other/svs/*.svs")
    for name in data_names(pattern)
    if "seek_too_large" not in name  # has no page
]


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_described(name: str) -> None:
    warnings: list[str] = []
    with tifffile.TiffFile(data_file(name)) as tif:
        for series in tif.series:
            sizes = dict(zip(series.axes, series.shape, strict=True))
            samples = sizes.get("S", 1)
            t, c = sizes.get("T", 1), sizes.get("C", 1) * samples
            found = describe(tif, series, (t, c, sizes.get("Z", 1)), samples, warnings)
            assert len(found.channels) == c
            assert found.original_metadata["TIFF"]
    assert not [line for line in warnings if "cannot be read" in line]


def test_real_plain_files() -> None:
    found, _ = described(data_file("tiff/tf_plain_pages_f64.tif"), (1, 1, 5))
    assert found.calibration == Calibration((None, 0.5, 0.5), "micrometer")
    for name in ("yb10kx5k.zstd.tiff", "tiff_tiled_planar_lzw.tiff", "test_orient6.tif"):
        assert described(data_file(f"tiff/{name}"))[0].calibration == Calibration()
    found, warnings = described(data_file("tiff/tiff_strip_planar_16bit_RGBa.tiff"), (1, 4, 1), 4)
    assert [channel.name for channel in found.channels] == ["red", "green", "blue", "alpha"]
    assert found.time_stamps == ()  # its date has 70 seconds
    assert not warnings
