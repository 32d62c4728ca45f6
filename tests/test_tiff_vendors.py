"""Metadata of microscopes, in files made here with their tags."""

from __future__ import annotations

import json
import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from data_folder import data_file
from tiff_tags import ASCII, LONG, RATIONAL, append, binary, described, patch, text, write

from ngff_convert.model import UNKNOWN, Calibration, Channel
from ngff_convert.readers.tiff_metadata import describe
from ngff_convert.readers.tiff_scanning import lsm_channels
from ngff_convert.readers.tiff_values import Length, Sizes
from ngff_convert.readers.tiff_vendors import micromanager, stk

if TYPE_CHECKING:
    from pathlib import Path

UM = "micrometer"
FORMATS = {"i2": "h", "i4": "i", "u2": "H", "u4": "I", "f8": "d", "16i4": "16i", "9u4": "9I"}


# Micro-Manager

SUMMARY = {
    "PixelSize_um": 0.0,
    "z-step_um": -0.5,
    "Interval_ms": 1500.0,
    "ChNames": ["DAPI", "GFP"],
    "ChColors": [-16776961, -16711936],
    "ChContrastMin": [1, 2],
    "ChContrastMax": [100, 2],
    "Prefix": "run 1",
}
PLANE = {
    "PixelSizeUm": 0.25,
    "XPositionUm": -10.5,
    "YPositionUm": 3,
    "ZPositionUm": 7.25,
    "Channel": "GFP",
    "Time": "2013-05-10 14:33:30 -0400",
}


def micromanager_file(path: Path, summary: dict[str, Any], plane: dict[str, Any]) -> Path:
    """Write a file whose first bytes after the header are patched into those of a Micro-Manager stack."""
    data = json.dumps(summary).encode()
    pad = text(65200, "x" * (len(data) + 200))
    write(path, extratags=[text(51123, json.dumps(plane)), pad])
    raw = path.read_bytes()
    moved = len(data) + 40
    with tifffile.TiffFile(path) as tif:  # every offset moves with the bytes that are put after the header
        (first,) = struct.unpack("<I", raw[4:8])
        body = bytearray(raw)
        for tag in tif.pages.first.tags:
            if tag.valueoffset > tag.offset + 8:
                struct.pack_into("<I", body, tag.offset + 8, tag.valueoffset + moved)
        for tag in (tif.pages.first.tags["StripOffsets"],):
            struct.pack_into("<I", body, tag.offset + 8, tag.value[0] + moved)
    header = struct.pack("<2sHI", b"II", 42, first + moved)
    index = struct.pack("<8I", 54773648, 0, 483765892, 0, 99384722, 0, 2355492, len(data))
    path.write_bytes(header + index + data + bytes(moved - 32 - len(data)) + bytes(body[8:]))
    return path


def test_micromanager(tmp_path: Path) -> None:
    path = micromanager_file(tmp_path / "a.tif", SUMMARY, PLANE)
    with tifffile.TiffFile(path) as tif:
        series = tifffile.TiffPageSeries([tif.pages.first])
        found = micromanager(tif, series, Sizes(4, 2, 3, 1, 16, 20), [])
    assert found is not None
    assert found.name == "run 1"
    assert found.size == (Length(0.5), Length(0.25), Length(0.25))
    assert found.origin == (Length(7.25), Length(3.0), Length(-10.5))
    assert found.t_s == 1.5
    assert found.channels == (Channel("DAPI", "0000FF", window=(1.0, 100.0)), Channel("GFP", "00FF00"))
    assert found.time_stamps == ()
    assert found.sections["Micro-Manager Summary"]["PixelSize_um"] == "0.0"


def test_one_plane_of_micromanager(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", extratags=[text(51123, json.dumps(PLANE | {"PixelSizeUm": 0}))])
    found, _ = described(path)
    assert found.calibration == Calibration()
    assert found.channels == (Channel("GFP"),)
    assert found.time_stamps == (datetime(2013, 5, 10, 14, 33, 30),)


# Zeiss LSM


def lsm_info(**values: Any) -> bytes:
    fields = tifffile.TIFF.CZ_LSMINFO
    known = {"MagicNumber": 67127628, "DimensionX": 20, "DimensionY": 16, **values}
    size = struct.calcsize("<" + "".join(FORMATS[kind] for _, kind in fields))
    packed = b""
    for name, kind in fields:
        value = known.get(name, size if name == "StructureSize" else 0)
        several = int(FORMATS[kind][:-1] or 1)
        packed += struct.pack("<" + FORMATS[kind], *[value] * several)
    return packed


def lsm_offset(name: str) -> int:
    """Return where a field of the structure is, bytes from its start."""
    names = [field for field, _ in tifffile.TIFF.CZ_LSMINFO]
    kinds = "".join(FORMATS[kind] for _, kind in tifffile.TIFF.CZ_LSMINFO[: names.index(name)])
    return struct.calcsize(f"<{kinds}")


def lsm_file(path: Path, blocks: dict[str, bytes], **values: Any) -> Path:
    times = values.get("DimensionTime", 1)
    with tifffile.TiffWriter(path, byteorder="<") as writer:
        for n in range(times):
            tags = [binary(34412, lsm_info(**values))] if n == 0 else []
            options: dict[str, Any] = {"metadata": None, "contiguous": False, "photometric": "minisblack"}
            writer.write(np.zeros((16, 20), "uint8"), extratags=tags, **options)
            writer.write(np.zeros((4, 5), "uint8"), subfiletype=1, **options)
    for name, block in blocks.items():
        patch(path, 34412, lsm_offset(f"Offset{name}"), struct.pack("<I", append(path, block)))
    return path


def scan_info(days: float) -> bytes:
    def entry(code: int, kind: int, value: bytes) -> bytes:
        return struct.pack("<III", code, kind, len(value)) + value

    start = struct.pack("<III", 0x10000000, 0, 0)
    end = struct.pack("<III", 0xFFFFFFFF, 0, 0)
    number = struct.Struct("<d")
    return b"".join(
        [
            start,
            entry(0x10000001, 2, b"worm\0"),
            entry(0x10000036, 5, number.pack(days)),
            entry(0x20000000, 0, b""),
            entry(0x40000000, 0, b""),
            entry(0x40000006, 4, struct.pack("<i", 1)),
            entry(0x80000000, 0, b""),
            *(entry(0x90000000, 0, b""), entry(0x90000003, 5, number.pack(488.0)), end),
            end,
            entry(0x60000000, 0, b""),
            *(entry(0x70000000, 0, b""), entry(0x70000022, 5, number.pack(500.0))),
            *(entry(0x70000023, 5, number.pack(550.0)), end, end),
            *(end, end, end),
        ]
    )


def channel_colors(*colors: tuple[int, int, int], names: tuple[bytes, ...]) -> bytes:
    rows = b"".join(struct.pack("<4B", *color, 0) for color in colors)
    words = b"".join(struct.pack("<I", len(name) + 1) + name + b"\0" for name in names)
    size = 24 + len(rows) + len(words)
    header = struct.pack("<6I", size, len(colors), len(names), 24, 24 + len(rows), 0)
    return header + rows + words


LSM_VALUES = {
    "VoxelSizeX": 2.3e-7,
    "VoxelSizeY": 2e-7,
    "VoxelSizeZ": 1e-6,
    "TimeIntervall": 9.0,
    "DimensionZ": 1,
    "DimensionChannels": 1,
    "DimensionTime": 3,
    "ScanType": 3,
}


def test_lsm(tmp_path: Path) -> None:
    blocks = {
        "ScanInformation": scan_info(40_000.5),
        "TimeStamps": struct.pack("<ii3d", 32, 3, 100.0, 102.0, 104.1),
        "ChannelColors": channel_colors((0, 255, 0), names=(b"Ch1-T1",)),
    }
    path = lsm_file(tmp_path / "a.lsm", blocks, OriginX=1e-5, **LSM_VALUES)
    found, warnings = described(path, (3, 1, 1))
    assert found.name == "worm"
    assert found.channels == (Channel("Ch1-T1", "00FF00", 525.0, 488.0),)
    assert found.calibration.zyx == (1.0, 0.2, 0.23)
    assert found.calibration.unit == UM
    assert found.calibration.t_s == pytest.approx(2.05)
    z, y, x = found.calibration.origin_zyx
    assert z is None
    assert (y, x) == pytest.approx((-1.5, 10 - 9.5 * 0.23))
    start = datetime(2009, 7, 6, 12)
    assert found.time_stamps == tuple(start + timedelta(seconds=s) for s in (0, 2, 4.1))
    assert found.original_metadata["LSM ScanInformation"]["Name"] == "worm"
    assert not warnings
    assert described(path, (3, 1, 1), series=1)[0].calibration == Calibration()


def test_lsm_without_blocks(tmp_path: Path) -> None:
    path = lsm_file(tmp_path / "a.lsm", {}, **LSM_VALUES)
    found, _ = described(path, (3, 1, 1))
    assert found.calibration == Calibration((1.0, 0.2, 0.23), UM, 9.0)
    assert found.time_stamps == ()
    assert found.channels == (Channel(),)
    assert described(path, (1, 1, 3))[0].calibration.t_s is None


def test_lsm_with_uneven_times(tmp_path: Path) -> None:
    blocks = {"TimeStamps": struct.pack("<ii3d", 32, 3, 0.0, 1.0, 9.0)}
    found, warnings = described(lsm_file(tmp_path / "a.lsm", blocks, **LSM_VALUES), (3, 1, 1))
    assert found.calibration.t_s is None
    assert warnings == ["the time steps are uneven, 1 to 8 s: no time step is stated"]


def test_lsm_channels_that_do_not_fit() -> None:
    track = {"DataChannels": [{}, {}], "IlluminationChannels": [{"Wavelength": 488}, {"Wavelength": 561}]}
    colors = {"Colors": [[1, 2, 3, 0]], "ColorNames": ["a", "b"]}
    channels = lsm_channels({"ChannelColors": colors}, {"Tracks": [track]}, 2)
    assert channels == (Channel("a"), Channel("b"))
    bands = np.array([[5e-7, 5.2e-7], [600, 620]])
    channels = lsm_channels({"ChannelWavelength": bands}, {}, 2)
    assert [channel.emission_nm for channel in channels] == [pytest.approx(510), 610]


# MetaMorph


def stk_file(
    path: Path, distances: list[int], *, times: list[int] | None = None, units: bytes = b"um"
) -> Path:
    """Write a stack: UIC1 with a calibration, UIC2 with distances (thousandths) and times of planes, UIC3."""
    n = len(distances)
    clock = times or [1000] * n
    planes = [[d, 1000, 2_455_000, t, 0, 0] for d, t in zip(distances, clock, strict=True)]
    uic2 = struct.pack(f"<{6 * n}I", *[value for plane in planes for value in plane])
    waves = struct.pack(f"<{2 * n}I", *[525, 1] * n)
    uic1 = struct.pack("<10I", 3, 1, 4, 0, 5, 0, 6, 0, 7, 0)
    tags = [
        (33628, LONG, 5, uic1, True),
        (33629, RATIONAL, n, uic2, True),
        (33630, RATIONAL, n, waves, True),
    ]
    write(path, (16, 20), extratags=tags, byteorder="<")
    with path.open("r+b") as file:  # tifffile counts UIC1 in pairs of tag and value, UIC2 in planes
        with tifffile.TiffFile(path) as tif:
            where = {code: tif.pages.first.tags[code].offset for code in (33628, 33629, 33630)}
        for code, count in ((33628, 5), (33629, n), (33630, n)):
            file.seek(where[code] + 4)
            file.write(struct.pack("<I", count))
    blocks = {
        12: struct.pack("<2I", 1, 4),
        20: struct.pack("<2I", 1, 2),
        28: struct.pack("<I", len(units) + 1) + units + b"\0",
        36: struct.pack("<I", 4) + b"wt1\0",
    }
    for at, block in blocks.items():
        patch(path, 33628, at, struct.pack("<I", append(path, block)))
    return path


def described_stk(path: Path, sizes: Sizes) -> tuple[Any, list[str]]:
    warnings: list[str] = []
    with tifffile.TiffFile(path) as tif:
        found = stk(tif, tifffile.TiffPageSeries([tif.pages.first]), sizes, warnings)
    return found, warnings


def test_stk_stack(tmp_path: Path) -> None:
    path = stk_file(tmp_path / "a.stk", [0, 300, 300])
    found, warnings = described_stk(path, Sizes(1, 1, 3, 1, 16, 20))
    assert found.size == (Length(0.3), Length(0.5), Length(0.25))
    assert found.name == "wt1"
    assert found.channels == (Channel(emission_nm=525.0),)
    assert found.time_stamps == (datetime(2009, 6, 18, 0, 0, 1),)
    assert not warnings
    found, warnings = described_stk(stk_file(tmp_path / "b.stk", [0, 300, 600]), Sizes(1, 1, 3, 1, 16, 20))
    assert found.size[0] is None
    assert "0.3 to 0.6 um apart" in warnings[0]


def test_stk_times(tmp_path: Path) -> None:
    path = stk_file(tmp_path / "a.stk", [0, 0, 0], times=[1000, 3500, 6000], units=b"pixel")
    found, _ = described_stk(path, Sizes(3, 1, 1, 1, 16, 20))
    assert found.t_s == 2.5
    assert len(found.time_stamps) == 3
    assert found.size == (None, Length(0.5, None), Length(0.25, None))


METASERIES = """<MetaData><Version>1</Version><PlaneInfo>
<prop id="spatial-calibration-state" type="bool" value="{state}"/>
<prop id="spatial-calibration-x" type="float" value="0.325"/>
<prop id="spatial-calibration-y" type="float" value="0.65"/>
<prop id="spatial-calibration-units" type="string" value="um"/>
<prop id="stage-position-x" type="float" value="100.5"/><prop id="stage-position-y" type="float" value="-2"/>
<prop id="wavelength" type="float" value="447"/><prop id="_IllumSetting_" type="string" value="DAPI"/>
<prop id="stage-label" type="string" value="A01 : Site 1"/>
<prop id="acquisition-time-local" type="time" value="20130508 13:44:55.123"/>
</PlaneInfo></MetaData>"""


def test_metaseries(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", software="MetaSeries", description=METASERIES.format(state="on"))
    found, warnings = described(path)
    expected = Calibration((None, 0.65, 0.325), UM, None, (None, -2.0, 100.5))
    assert found.calibration == expected
    assert found.channels == (Channel("DAPI", emission_nm=447.0),)
    assert found.name == "A01 : Site 1"
    assert found.time_stamps == (datetime(2013, 5, 8, 13, 44, 55, 123000),)
    assert not warnings
    path = write(tmp_path / "b.tif", software="MetaSeries", description=METASERIES.format(state="off"))
    assert described(path)[0].calibration == Calibration()


# ScanImage

SCANIMAGE = """SI.VERSION_MAJOR = '2016'
SI.hChannels.channelLUT = {{[10 200] [0 50]}}
SI.hChannels.channelName = {{'Green' 'Red'}}
SI.hChannels.channelSave = [1;2]
SI.hFastZ.enable = {fast}
SI.hRoiManager.imagingFovUm = {fov}
SI.hRoiManager.linesPerFrame = 16
SI.hRoiManager.pixelsPerLine = 20
SI.hRoiManager.scanFrameRate = 30
SI.hRoiManager.scanVolumeRate = 4
SI.hScan2D.logAverageFactor = 3
SI.hStackManager.framesPerSlice = 1
SI.hStackManager.stackZStepSize = -2.5
SI.objectiveResolution = 15"""
FOV = "[-10 -8;10 -8;10 8;-10 8]"
ROIS = {"sizeXY": [4, 8], "pixelResolutionXY": [20, 16]}


def test_scanimage(tmp_path: Path) -> None:
    note = "epoch = [2017  3 15 12 3 27.5]\n"
    path = tmp_path / "a.tif"
    write(path, (4, 16, 20), software=SCANIMAGE.format(fast="false", fov=FOV), description=note)
    found, warnings = described(path, (2, 2, 1))
    assert found.calibration == Calibration((2.5, 1.0, 1.0), UM, 0.1)
    assert [(channel.name, channel.window) for channel in found.channels] == [
        ("Green", (10.0, 200.0)),
        ("Red", (0.0, 50.0)),
    ]
    assert not warnings
    assert described(path, (1, 2, 2))[0].time_stamps == (datetime(2017, 3, 15, 12, 3, 27, 500_000),)
    write(path, (4, 16, 20), software=SCANIMAGE.format(fast="true", fov="[]"), description=note)
    assert described(path, (2, 2, 1))[0].calibration == Calibration((2.5, None, None), UM, 0.25)


def test_scanimage_regions(tmp_path: Path) -> None:
    regions = {"RoiGroups": {"imagingRoiGroup": {"rois": {"scanfields": ROIS}}}}
    path = tmp_path / "a.tif"
    tags = [text(315, json.dumps(regions))]
    write(path, (4, 16, 20), software=SCANIMAGE.format(fast="false", fov="[]"), extratags=tags)
    assert described(path, (1, 2, 2))[0].calibration == Calibration((2.5, 7.5, 3.0), UM)


def test_old_scanimage(tmp_path: Path) -> None:
    settings = ("frameRate=2", "zStepSize=1.5", "savingChannel1=0", "savingChannel2=1")
    said = "\r".join(f"state.acq.{setting}" for setting in settings)
    found, _ = described(write(tmp_path / "a.tif", (3, 16, 20), description=said), (3, 1, 1))
    assert found.calibration == Calibration((1.5, None, None), UM, 0.5)
    assert found.channels == (Channel("Channel 2"),)


# Olympus


def test_fluoview(tmp_path: Path) -> None:
    def dimension(name: bytes, size: int, origin: float, step: float, unit: bytes) -> bytes:
        return struct.pack("<16sidd64s", name, size, origin, step, unit)

    axes = [
        dimension(b"X", 20, 0, 0.25, b"um"),
        dimension(b"Y", 16, 5.0, 0.5, b"um"),
        dimension(b"Z", 1, 0, -1.5, b"um"),
        dimension(b"T", 3, 0, 20, b"ms"),
        *[dimension(b"", 0, 0, 0, b"")] * 6,
    ]
    head = struct.pack("<hB257sIiIIiI", 0, 1, b"cells", 0, 0, 0, 0, 0, 0) + b"".join(axes)
    head += struct.pack("<IhddddIdd", 0, 0, 0, 0, 0, 0, 0, 1, 0) + dimension(b"G", 0, 0, 0, b"")
    head += struct.pack("<IiI", 0, 0, 0)
    tags = [binary(34361, head), binary(34362, bytes(64))]
    path = write(tmp_path / "a.tif", (3, 16, 20), extratags=tags)
    warnings: list[str] = []
    with tifffile.TiffFile(path) as tif:
        series = tifffile.TiffPageSeries([tif.pages.first])
        found = describe(tif, series, (3, 1, 1), 1, warnings)
    assert found.name == "cells"
    assert found.calibration == Calibration((1.5, 0.5, 0.25), UM, 0.02, (None, 5.0, None))
    assert not warnings


def test_sis(tmp_path: Path) -> None:
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 30, 12, 24, 11, 110, b"slide", 1)
    path = write(tmp_path / "a.tif", extratags=[binary(33560, head + struct.pack("<hhI", 1, 1, 0))])
    body = struct.pack("<10xhdd8xd2x34s32s", -9, 250.0, 500.0, 40.0, b"camera", b"type")
    patch(path, 33560, len(head) + 4, struct.pack("<I", append(path, body)))
    found, _ = described(path)
    assert found.calibration == Calibration((None, 0.5, 0.25), UM)
    assert found.name == "slide"
    assert found.time_stamps == (datetime(2010, 12, 24, 12, 30),)
    assert found.original_metadata["Olympus SIS"]["magnification"] == "40.0"


# Electron microscopes


def test_fei_real_file() -> None:
    found, warnings = described(data_file("tiff/fei-sem-rbc.tif"))
    assert found.calibration == Calibration((None, 0.00770833, 0.00770833), UM)
    assert found.channels == (Channel("ETD"),)
    assert found.original_metadata["FEI Scan"]["Dwelltime"] == "1e-05"
    assert not warnings


def test_fei_ion_beam(tmp_path: Path) -> None:
    said = b"[Scan]\r\nPixelWidth=\r\n[IScan]\r\nPixelWidth=2e-9\r\nPixelHeight=3e-9\r\n"
    found, _ = described(write(tmp_path / "a.tif", extratags=[(34682, ASCII, len(said), said, True)]))
    assert found.calibration == Calibration((None, 0.003, 0.002), UM)


def test_zeiss_sem(tmp_path: Path) -> None:
    said = (
        "\r\n0\r\nAP_PIXEL_SIZE\r\nPixel Size = 9.9 nm\r\n"
        "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 1.25 nm\r\n"
        "AP_DATE\r\nDate :12 Sep 2012\r\nAP_TIME\r\nTime :15:20:11\r\n"
        "DP_DETECTOR_CHANNEL\r\nDetector = InLens\r\n"
    )
    found, _ = described(write(tmp_path / "a.tif", extratags=[binary(34118, said.encode("latin-1"))]))
    assert found.calibration == Calibration((None, 1.25, 1.25), "nanometer")
    assert found.channels == (Channel("InLens"),)
    assert found.time_stamps == (datetime(2012, 9, 12, 15, 20, 11),)


def structure(fields: Any, **values: Any) -> bytes:
    record = np.zeros((), np.dtype(fields).newbyteorder("<"))
    for name, value in values.items():
        record[name] = value
    return record.tobytes()


def test_tvips(tmp_path: Path) -> None:
    first = structure(tifffile.TIFF.TVIPS_HEADER_V1, Version=2)
    name = np.void("grid".encode("utf-16-le").ljust(160, b"\0"))
    second = structure(
        tifffile.TIFF.TVIPS_HEADER_V2, PixelSizeX=0.5, PixelSizeY=0.25, Magic=0xAAAAAAAA, ImageName=name
    )
    found, _ = described(write(tmp_path / "a.tif", extratags=[binary(37706, first + second)]))
    assert found.calibration == Calibration((None, 0.25, 0.5), "nanometer")
    assert found.name == "grid"
    found, _ = described(
        write(tmp_path / "b.tif", extratags=[binary(37706, first[:4].replace(b"\2", b"\1") + first[4:])])
    )
    assert found.calibration.zyx == UNKNOWN


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"XScale": 4.0, "UnitsID": 6, "Version": 160}, Calibration((None, 0.25, 0.25), UM)),
        ({"XScale": 4.0, "UnitsID": 1, "Version": 150}, Calibration((None, 0.25, 0.25), UM)),
        (
            {
                "XScale": 2.0,
                "PixelAspectRatio": 2.0,
                "UnitsID": 15,
                "Version": 160,
                "XUnit": b"mm",
                "XUnitSize": 2,
            },
            Calibration((None, 0.25, 0.5), "millimeter"),
        ),
        ({"XScale": 0.0, "UnitsID": 6, "Version": 160}, Calibration()),
    ],
)
def test_nih_image(tmp_path: Path, values: dict[str, Any], expected: Calibration) -> None:
    header = structure(tifffile.TIFF.NIH_IMAGE_HEADER, FrameInterval=1.5, **values)
    path = write(tmp_path / "a.tif", extratags=[binary(43314, header)])
    assert described(path)[0].calibration == expected
    assert described(path, (3, 1, 1))[0].calibration.t_s == 1.5
