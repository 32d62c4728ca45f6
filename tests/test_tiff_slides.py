"""Slide scanners' metadata, in made files and one of Aperio's."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file
from tiff_tags import RATIONAL, binary, described, text, write

from ngff_convert.model import Calibration, Channel
from ngff_convert.readers.tiff_slides import parse_xml

if TYPE_CHECKING:
    from pathlib import Path

RGB = ((16, 20, 3), (1, 3, 1), 3)


def test_aperio_real_file() -> None:
    path = data_file("other/svs/cmu-1-small-region.svs")
    found, warnings = described(path, (1, 3, 1), 3)
    assert found.name == "CMU-1"
    assert found.calibration == Calibration((None, 0.499, 0.499), "micrometer")
    assert found.time_stamps == (datetime(2009, 12, 29, 9, 59, 15),)
    assert found.original_metadata["Aperio"]["AppMag"] == "20"
    assert [channel.name for channel in found.channels] == ["red", "green", "blue"]
    assert not warnings
    for number, name in enumerate(("Thumbnail", "Label", "Macro"), 1):
        found, _ = described(path, (1, 3, 1), 3, series=number)
        assert found.name == name
        assert found.calibration == Calibration()


def test_aperio_without_a_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.svs", RGB[0], description="Aperio Image|MPP = 0|Date = never|odd")
    found, _ = described(path, *RGB[1:])
    assert found.calibration == Calibration()
    assert found.original_metadata["Aperio"]["Date"] == "never"


QPI = """<?xml version="1.0" encoding="utf-8"?><PerkinElmer-QPI-ImageDescription>
<SlideID>S1</SlideID><Name>{name}</Name><Color>{color}</Color><ExposureTime>5</ExposureTime>
</PerkinElmer-QPI-ImageDescription>"""


def test_perkin_elmer(tmp_path: Path) -> None:
    path = tmp_path / "a.qptiff"
    where = [(286, RATIONAL, 1, (3, 2), True), (287, RATIONAL, 1, (1, 4), True)]
    with tifffile.TiffWriter(path) as writer:
        for name, color in (("DAPI", "0,0,255"), ("Opal 520", "0,255,0")):
            writer.write(
                np.zeros((16, 20), "uint8"),
                description=QPI.format(name=name, color=color),
                software="PerkinElmer-QPI",
                resolution=(20_000, 40_000),
                resolutionunit="CENTIMETER",
                metadata=None,
                contiguous=False,
                extratags=where,
            )
    found, warnings = described(path, (1, 2, 1))
    assert found.channels == (Channel("DAPI", "0000FF"), Channel("Opal 520", "00FF00"))
    expected = Calibration((None, 0.25, 0.5), "micrometer", None, (None, 2500.125, 15000.25))
    assert found.calibration == expected
    assert found.name == "S1"
    assert found.original_metadata["PerkinElmer page 1"]["ExposureTime"] == "5"
    assert not warnings


def test_perkin_elmer_with_damaged_xml(tmp_path: Path) -> None:
    path = write(tmp_path / "a.qptiff", software="PerkinElmer-QPI", description="<a><b></a>")
    found, warnings = described(path)
    assert found.channels == (Channel(),)
    assert warnings[0].startswith("PerkinElmer metadata cannot be read: ValueError: its XML is damaged")


def test_hamamatsu(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"  # with the suffix .ndpi, tifffile takes offsets for 64 bits wide
    with tifffile.TiffWriter(path) as writer:
        for height in (-2000, 0, 2000):
            tags = [(65420, 4, 1, 1, True), (65421, 11, 1, 40.0, True), (65424, 9, 1, height, True)]
            writer.write(
                np.zeros((16, 20, 3), "uint8"),
                photometric="rgb",
                resolution=(118.11024, 118.11024),  # what a printer has, but scanners mean it
                resolutionunit="CENTIMETER",
                metadata=None,
                contiguous=False,
                extratags=[*tags, text(271, "Hamamatsu")],
            )
    found, _ = described(path, (1, 3, 3), 3)
    assert found.calibration.zyx == pytest.approx((2.0, 84.66667, 84.66667))
    assert found.original_metadata["Hamamatsu"]["Magnification"] == "40.0"


SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">
<collection><image name="slide 1"><creationDate>2012-05-01T10:11:12.5Z</creationDate>
<pixels sizeX="20" sizeY="16"><dimension sizeX="20" sizeY="16" ifd="0" r="0"/></pixels>
<view sizeX="10000" sizeY="4000" offsetX="1000" offsetY="2000"/>
<channelSettings><channel index="0" name="405" rgb="#00ff00"/></channelSettings></image></collection></scn>"""


def test_leica(tmp_path: Path) -> None:
    found, warnings = described(write(tmp_path / "a.scn", description=SCN))
    assert found.name == "slide 1"
    assert found.calibration == Calibration((None, 0.25, 0.5), "micrometer", None, (None, 2.125, 1.25))
    assert found.channels == (Channel("405", "00FF00"),)
    assert found.time_stamps == (datetime(2012, 5, 1, 10, 11, 12),)
    assert not warnings


def test_ventana(tmp_path: Path) -> None:
    xmp = binary(700, b'<Metadata><iScan Magnification="20" ScanRes="0.465000"/></Metadata>')
    options = {"software": "Ventana 1", "extratags": [xmp]}
    path = write(tmp_path / "a.bif", RGB[0], description="level=0 mag=20", **options)
    found, _ = described(path, *RGB[1:])
    assert found.calibration == Calibration((None, 0.465, 0.465), "micrometer")
    assert found.original_metadata["Ventana iScan"] == {"Magnification": "20", "ScanRes": "0.465000"}
    path = write(tmp_path / "b.bif", RGB[0], description="Label Image", **options)
    assert described(path, *RGB[1:])[0].calibration == Calibration()


PHILIPS = """<?xml version="1.0"?><DataObject ObjectType="DPUfsImport">
<Attribute Name="DICOM_ACQUISITION_DATETIME">20130703140944.000000</Attribute>
<Attribute Name="X"><Array><DataObject ObjectType="PixelDataRepresentation">
<Attribute Name="DICOM_PIXEL_SPACING">"0.000226891" "0.000226907"</Attribute></DataObject>
<DataObject ObjectType="PixelDataRepresentation">
<Attribute Name="DICOM_PIXEL_SPACING">"0.000453782" "0.000453814"</Attribute></DataObject></Array></Attribute>
</DataObject>"""


def test_philips(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for size, note in (((32, 48, 3), PHILIPS), ((16, 24, 3), "")):
            options: dict[str, Any] = {"software": "Philips DP v1.0", "tile": (16, 16), "metadata": None}
            writer.write(np.zeros(size, "uint8"), photometric="rgb", description=note, **options)
    found, _ = described(tmp_path / "a.tif", (1, 3, 1), 3)
    assert found.calibration == Calibration((None, 0.226891, 0.226907), "micrometer")
    assert found.time_stamps == (datetime(2013, 7, 3, 14, 9, 44),)


def test_indica(tmp_path: Path) -> None:
    xml = '<indica><image><channels><channel name="A"/><channel name="B"/></channels></image></indica>'
    path = write(tmp_path / "a.tif", (2, 16, 20), software="IndicaLabsImageWriter v1", description=xml)
    assert [channel.name for channel in described(path, (1, 2, 1))[0].channels] == ["A", "B"]
    assert described(path, (1, 1, 2))[0].channels == (Channel(),)


def test_entities_are_refused() -> None:
    with pytest.raises(ValueError, match="entities"):
        parse_xml('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
