"""ImageJ's description and IJMetadata tag, in made files and in those of other people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file
from tiff_tags import described

from ngff_convert.model import UNKNOWN, Calibration, Channel
from ngff_convert.readers.tiff_imagej import info_lines, label_names, origin, time_step, voxel_size
from ngff_convert.readers.tiff_values import Length, Sizes

if TYPE_CHECKING:
    from pathlib import Path


def imagej(path: Path, shape: tuple[int, ...], resolution: Any = None, **metadata: Any) -> Path:
    pixels = np.zeros(shape, "uint16")
    tifffile.imwrite(path, pixels, imagej=True, resolution=resolution, metadata=metadata)
    return path


def lut(red: float, green: float, blue: float) -> np.ndarray[Any, Any]:
    return np.outer((red, green, blue), np.arange(256)).round().astype("uint8")


def test_everything_at_once(tmp_path: Path) -> None:
    path = imagej(
        tmp_path / "a.tif",
        (2, 3, 2, 16, 20),
        (4.0, 2.0),
        axes="TZCYX",
        unit="um",
        spacing=-1.5,
        finterval=250,
        tunit="ms",
        fps=7,
        xorigin=10,
        zorigin=-2,
        mode="composite",
        Ranges=(5.0, 100.0, 7.0, 7.0),
        LUTs=[lut(0, 1, 0), lut(1, 1, 1)],
        Labels=[f"c:{c}/2 z:{z}/3 t:{t}/2 - {n}" for t in "12" for z in "123" for c, n in ("1A", "2B")],
        Info="Gain = 5\nobjective: 40x\njust text",
        Properties={"title": "a title"},
    )
    found, warnings = described(path, (2, 2, 3))
    assert found.calibration == Calibration((1.5, 0.5, 0.25), "micrometer", 0.25, (3.0, None, -2.5))
    assert found.channels == (
        Channel("A", "00FF00", window=(5.0, 100.0)),
        Channel("B", "FFFFFF"),
    )
    assert found.name == "a title"
    assert warnings == ["ImageJ's spacing of the slices is negative, -1.5: taken without the sign"]
    assert found.original_metadata["ImageJ"]["fps"] == "7"
    assert found.original_metadata["ImageJ Info"] == {"Gain": "5", "objective": "40x", "text": "just text"}
    assert "LUTs" not in found.original_metadata["ImageJ"]


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("micron", "micrometer"),
        (r"\u00B5m", "micrometer"),
        (r"\u03BCm", "micrometer"),
        ("('cm',)", "centimeter"),
        ("inch", "inch"),
        ("nm", "nanometer"),
        ("mm", "millimeter"),
    ],
)
def test_spellings_of_units(unit: str, name: str) -> None:
    size = voxel_size({"unit": unit, "spacing": 1}, (4.0, 2.0), stack=True, warnings=[])
    assert size == (Length(1.0, name), Length(0.5, name), Length(0.25, name))


def test_pixels_are_no_unit() -> None:
    warnings: list[str] = []
    for data in ({}, {"unit": "pixel", "spacing": 1}, {"unit": "", "spacing": 1.0}):
        assert voxel_size(data, (1.0, 1.0), stack=True, warnings=warnings) == (None, None, None)
    assert voxel_size({"spacing": 3}, (4.0, 4.0), stack=True, warnings=warnings) == (
        Length(3, None),
        None,
        None,
    )
    assert not warnings
    size = voxel_size({"unit": "furlong"}, (4.0, 4.0), stack=False, warnings=warnings)
    assert size == (None, Length(0.25, None), Length(0.25, None))
    assert len(warnings) == 3
    assert "unit=furlong is no unit of length" in warnings[0]


def test_odd_spacings() -> None:
    warnings: list[str] = []
    for data in ({"unit": "um"}, {"unit": "um", "spacing": 0}, {"unit": "um", "spacing": "nan"}):
        assert voxel_size(data, (1.0, 1.0), stack=True, warnings=warnings)[0] is None
    assert ["spacing" in line for line in warnings] == [True, True]
    assert voxel_size({"unit": "um"}, (None, 0.0), stack=False, warnings=warnings) == (None, None, None)
    assert "without a resolution" in warnings[-1]


def test_an_origin_is_counted_in_voxels() -> None:
    size = (Length(2.0), None, Length(0.5, None))
    assert origin({"zorigin": 3, "yorigin": 1, "xorigin": 1}, size) == (Length(-6.0), None, None)
    assert origin({}, size) == (None, None, None)


def test_time_steps() -> None:
    warnings: list[str] = []
    assert time_step({"finterval": 3, "tunit": "min"}, warnings) == 180.0
    assert time_step({"finterval": 0.1}, warnings) == 0.1
    assert not warnings
    assert time_step({"finterval": 0, "fps": 10}, warnings) is None
    assert time_step({"finterval": 2, "tunit": "frames"}, warnings) is None
    assert ["fps=10" in warnings[0], "tunit=frames" in warnings[1]] == [True, True]


def test_windows(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", (2, 16, 20), axes="CYX", min=3.0, max=9.0)
    assert [channel.window for channel in described(path, (1, 2, 1))[0].channels] == [(3.0, 9.0)] * 2
    path = imagej(tmp_path / "b.tif", (2, 16, 20), axes="CYX", Ranges=(0.0, float("nan"), 1.0, 2.0))
    assert [channel.window for channel in described(path, (1, 2, 1))[0].channels] == [None, None]


def test_colour_tables(tmp_path: Path) -> None:
    tables = [lut(1, 0, 1), lut(1, 1, 1)[:, ::-1]]
    path = imagej(tmp_path / "a.tif", (2, 16, 20), axes="CYX", LUTs=tables, mode="composite")
    found, warnings = described(path, (1, 2, 1))
    assert [channel.color for channel in found.channels] == ["FF00FF", None]
    assert warnings == ["the colour table of channel 1 is not one colour: it is not carried over"]
    path = imagej(tmp_path / "b.tif", (16, 20), LUTs=[lut(1, 1, 1)], mode="grayscale")
    assert described(path)[0].channels == (Channel(),)


def test_labels() -> None:
    sizes = Sizes(1, 2, 2, 1, 16, 20)
    assert label_names(["A", "B", "A", "B"], sizes) == ["A", "B"]
    assert label_names(["A", "B", "A", "C"], sizes) == ["A", None]
    assert label_names(["s", "s", "s", "s"], sizes) == [None, None]
    assert label_names(["A", "B"], sizes) == [None, None]
    assert label_names(["1.tif", "2.tif", "1.tif", "2.tif"], sizes) == [None, None]
    assert label_names("c:1/1 - DAPI\nmore", Sizes(1, 1, 1, 1, 16, 20)) == ["DAPI"]
    assert label_names(None, sizes) == [None, None]


def test_functions_of_pixel_values_are_said(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", (16, 20), cf=0, c0=-32768.0, c1=1.0, vunit="Gray Value")
    _, warnings = described(path)
    assert len(warnings) == 1
    assert "signed numbers" in warnings[0]


def test_long_info_is_cut() -> None:
    lines = info_lines(["x = 1"] + ["no key"] * 200_000)
    assert lines["x"] == "1"
    assert len(lines["text"]) < 110_000


# Files of other people

CM, UM = "centimeter", "micrometer"
PIX_RES = {
    "2d": ((1, 1, 1), Calibration((None, 7e-7, 2.0), CM)),
    "2d_stringified_tuple": ((1, 1, 1), Calibration((None, 6e-7, 5.0), CM)),
    "2d_t": ((5, 1, 1), Calibration((None, 3e-6, 50.0), UM, 180.0)),
    "2d_zero_division": ((1, 1, 1), Calibration()),
    "3d": ((1, 1, 5), Calibration((2e-10, 0.6, 11.0), CM)),
    "3d_c": ((1, 3, 5), Calibration((130_000.0, 0.011, 2.0), UM)),
    "3d_t": ((5, 1, 5), Calibration((7.0, 5.0, 3.0), "millimeter", 3.0)),
    "3d_t_no_meta": ((5, 1, 5), Calibration()),
    "3d_t_other_meta": ((5, 1, 5), Calibration((2e7, 100.0, 3.1415), "nanometer", 120.0)),
    "5d": ((5, 3, 5), Calibration((8e-7, 1.3e-9, 17.0), CM, 10_800.0)),
    "../Bead_Image1_crop": ((1, 1, 41), Calibration((0.125, 0.0224918, 0.0224918), UM)),
    "../mri-stack-calibrated": ((1, 1, 27), Calibration((5.0, 1.0, 1.0), UM)),
    "../xyzct-mitosis": ((3, 2, 5), Calibration((None, 0.0885, 0.0885), UM, 1 / 7)),
    "../tf_imagej_tzcyx": ((4, 2, 3), Calibration((1.5, 0.25, 0.25), UM, 30.0)),
    "../cells-gray16": ((1, 1, 1), Calibration((None, 0.25, 0.25), UM)),
    "../series/T0001": ((1, 1, 50), Calibration()),
}


@pytest.mark.parametrize("name", PIX_RES)
def test_real_calibrations(name: str) -> None:
    sizes, expected = PIX_RES[name]
    found = described(data_file(f"tiff/pix_res/{name}.tif"), sizes)[0].calibration
    for size, known in zip((*found.zyx, found.t_s), (*expected.zyx, expected.t_s), strict=True):
        assert size == (None if known is None else pytest.approx(known, rel=2e-5, abs=0))
    assert found.unit == expected.unit
    assert found.origin_zyx == UNKNOWN


def test_real_channels() -> None:
    found, _ = described(data_file("tiff/xyzct-mitosis.tif"), (3, 2, 5))
    assert found.channels == (
        Channel(color="FF0000", window=(1582.0, 6440.0)),
        Channel(color="00FF00", window=(1614.0, 15787.0)),
    )
    assert "Drosophila" in found.original_metadata["ImageJ Info"]["text"]
    found, warnings = described(data_file("tiff/Bead_Image1_crop.tif"), (1, 1, 41))
    assert found.channels == (Channel("ChS1"),)
    assert not warnings
    found, _ = described(data_file("tiff/hela-cells.tif"), (1, 3, 1), 3)
    assert [(c.name, c.color, c.window) for c in found.channels] == [
        ("red", "FF0000", (165.0, 2832.0)),
        ("green", "00FF00", (165.0, 2832.0)),
        ("blue", "0000FF", (165.0, 2832.0)),
    ]
    found, _ = described(data_file("tiff/micromanager/img_000000000_Cy3_000.tif"))
    assert found.original_metadata["ImageJ Info"]["BitsPerPixel"] == "16"
