"""OME-XML -> records, and TiffData -> where each plane is: by hand, real files, a plain reference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_types
import pytest
from data_folder import data_file, data_names
from hypothesis import given, settings
from hypothesis import strategies as st

from ngff_convert.errors import ReadError
from ngff_convert.model import UNKNOWN, Calibration, Channel
from ngff_convert.readers.gaps import _blocks, gaps_in_words
from ngff_convert.readers.ome_planes import UNCOUNTED, TiffData, place_planes
from ngff_convert.readers.ome_xml import ORDERS, OmeDocument, OmeImage, parse

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "http://www.openmicroscopy.org/Schemas/OME"
SIZES = {"T": 1, "C": 1, "Z": 1, "Y": 5, "X": 7}


def attributes(fields: dict[str, Any]) -> str:
    return "".join(f' {name}="{value}"' for name, value in fields.items())


def document(
    inner: str = "", *, image: str = "", root: str = "", schema: str = "2016-06", **fields: Any
) -> str:
    """One image; capitals of `fields` are sizes, the others attributes of Pixels."""
    sizes = {f"Size{axis}": fields.pop(axis, size) for axis, size in SIZES.items()}
    pixels = {"ID": "Pixels:0", "DimensionOrder": "XYZCT", "Type": "uint16", **sizes, **fields}
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<OME xmlns="{ROOT}/{schema}" UUID="urn:uuid:AB-1">{root}'
        f'<Image ID="Image:0" Name="kidney">{image}<Pixels{attributes(pixels)}>{inner}</Pixels></Image></OME>'
    )


def channel(index: int = 0, **fields: Any) -> str:
    return f"<Channel{attributes({'ID': f'Channel:0:{index}', **fields})}/>"


def plane(t: int = 0, c: int = 0, z: int = 0, **fields: Any) -> str:
    return f"<Plane{attributes({'TheZ': z, 'TheT': t, 'TheC': c, **fields})}/>"


def read(xml: str | bytes) -> OmeDocument:
    return parse(xml, "a.ome.tif")


def one(inner: str = "", **fields: Any) -> OmeImage:
    """Parse a document that has nothing odd."""
    parsed = read(document(inner, **fields))
    assert parsed.warnings == ()
    return parsed.images[0]


def odd(inner: str = "", **fields: Any) -> tuple[OmeImage, str]:
    parsed = read(document(inner, **fields))
    return parsed.images[0], "\n".join(parsed.warnings)


# -- real documents ------------------------------------------------------------------------------------------


def xml_of(path: Path) -> str | bytes:
    if path.suffix in (".xml", ".ome"):
        return path.read_bytes()
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(path) as tiff:
        return str(tiff.pages[0].description)


REAL = sorted(
    name
    for pattern in ("ometiff/*.tif*", "ometiff/*/*.tif*", "ometiff/*/*.ome", "ometiff/xml/*.xml")
    for name in data_names(pattern)
    if not name.endswith(".json")
)


@pytest.mark.parametrize("name", REAL)
def test_every_real_document_is_read(name: str) -> None:
    parsed = parse(xml_of(data_file(name)), name)
    assert bool(parsed.images) != bool(parsed.binary_only)
    if parsed.images:
        ome_types.validate_xml(parsed.xml)
        assert "TiffData" not in parsed.xml
        assert "BinaryOnly" not in parsed.xml
        assert len(ome_types.from_xml(parsed.xml.encode()).images) == len(parsed.images)
    for image in parsed.images:
        assert sum(image.samples) == len(image.channels) == image.shape[1]


@pytest.mark.parametrize("name", data_names("ometiff/*.ome.tif"))
def test_planes_of_a_real_file_are_its_pages(name: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = data_file(name)
    with tifffile.TiffFile(path) as tiff:
        n_pages = len(tiff.pages)
        truth = [series.get_shape(squeeze=False) for series in tiff.series]
        axes = [series.get_axes(squeeze=False) for series in tiff.series]
    parsed = parse(xml_of(path), name)
    pages: list[int] = []
    for index, image in enumerate(parsed.images):
        planes = place_planes(image, lambda *_: n_pages)
        assert planes.warnings == ()
        pages += planes.page.ravel().tolist()
        sizes = dict(zip(axes[index], truth[index], strict=True))
        assert image.shape == (
            sizes["T"],
            sizes["C"] * sizes.get("S", 1),
            *(sizes[axis] for axis in "ZYX"),
        )
    assert sorted(pages) == list(range(n_pages))


def test_a_real_document_in_an_old_schema() -> None:
    name = "ometiff/2010-06-18x24y5z1t2c8b-text.ome.tiff"
    parsed = parse(xml_of(data_file(name)), name)
    (image,) = parsed.images
    assert (image.shape, image.order, image.dtype) == ((1, 2, 5, 24, 18), "XYCTZ", "uint8")
    assert [c.color for c in image.channels] == [None, None]  # -2147483648 was the default by mistake
    assert parsed.uuid == "384f2f43-b2ba-49d5-bb59-fc8bb3b76c9d"
    assert ome_types.from_xml(parsed.xml.encode()).images[0].acquisition_date == datetime(
        2010, 3, 2, 15, 8, 59
    )
    planes = place_planes(image, lambda *_: 10)
    assert planes.page[0].T.ravel().tolist() == list(range(10))


def test_a_real_set_of_files_with_a_companion() -> None:
    folder = data_file("ometiff/bf_companion")
    member = parse(xml_of(folder / "p_t1.ome.tiff"), "p_t1.ome.tiff")
    assert member.images == ()
    assert member.xml == ""
    assert member.binary_only == ("p.companion.ome", "a02501e3-2ea7-44ef-8b63-7b0724875ec3")
    parsed = parse(xml_of(folder / "p.companion.ome"), "p.companion.ome")
    assert parsed.uuid == member.binary_only[1]
    (image,) = parsed.images
    planes = place_planes(image, lambda *_: 8)
    assert [name for name, _ in planes.files] == [f"p_t{t}.ome.tiff" for t in range(3)]
    assert planes.files[1][1] == member.uuid
    assert [set(planes.file[t].ravel().tolist()) for t in range(3)] == [{0}, {1}, {2}]
    assert planes.page[2].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_real_document_of_many_files_and_positions() -> None:
    name = "ometiff/xml/MMStack.ome.xml"
    parsed = parse(xml_of(data_file(name)), name)
    first, second = parsed.images
    assert first.calibration == Calibration((1.75, 2.0, 2.0), "micrometer", 0.001, (-4.0, -256.0, -256.0))
    assert second.calibration.origin_zyx == (-4.0, -256.0, 256.0)
    assert any("the planes are 1.224 s apart on average" in line for line in parsed.warnings)
    assert [c.name for c in first.channels] == ["Cy5", "DAPI", "FITC"]


def test_a_real_document_that_is_invalid_keeps_its_sizes() -> None:
    name = "ometiff/xml/bad.ome.xml"
    parsed = parse(xml_of(data_file(name)), name)
    assert parsed.images[0].shape == (1, 3, 1, 12464, 14799)
    assert parsed.images[0].samples == (1, 1, 1)
    assert "SizeC is 3, but 1 channels" in parsed.warnings[0]


def test_truth_of_a_rgb_file() -> None:
    name = "ometiff/bf_rgb.ome.tif"
    truth = json.loads(data_file(f"{name}.truth.json").read_text())
    (image,) = parse(xml_of(data_file(name)), name).images
    assert truth
    assert image.samples == (3,)
    assert [c.name for c in image.channels] == ["red", "green", "blue"]
    assert place_planes(image, lambda *_: 1).page.shape == (1, 1, 1)


# -- text ----------------------------------------------------------------------------------------------------

MICRO = document(PhysicalSizeX="0.5", PhysicalSizeXUnit="µm")
PREFIXED = re.sub("<(/?)(OME|Image|Pixels)", r"<\1ome:\2", MICRO).replace("xmlns=", "xmlns:ome=")


@pytest.mark.parametrize(
    "xml",
    [
        MICRO,
        MICRO.encode(),
        b"\xef\xbb\xbf" + MICRO.encode() + b"\0\0",
        "\ufeff\n " + MICRO + "\0\0rubbish",
        MICRO.encode("utf-16"),
        MICRO.replace("UTF-8", "ISO-8859-1").encode("latin-1"),
        MICRO.replace("UTF-8", "windows-1252").encode("cp1252"),
        MICRO.replace("µm", "Âµm"),
        MICRO.replace("µm", "\ufffdm"),
        MICRO.replace("µm", "?m"),
        MICRO.replace("µm", "\u03bcm").replace("\u03bcm", "\u00b5m") + "\r\n<!-- x --> trailing words",
        PREFIXED,
        MICRO.replace(f' xmlns="{ROOT}/2016-06"', ""),
    ],
)  # fmt: skip
def test_text_in_every_state_is_read(xml: str | bytes) -> None:
    parsed = read(xml)
    assert parsed.warnings == ()
    assert parsed.images[0].calibration == Calibration((None, None, 0.5), "micrometer")
    assert 'PhysicalSizeXUnit="µm"' in parsed.xml
    assert ome_types.validate_xml(parsed.xml) is not None


def test_bytes_that_are_not_what_they_declare_are_repaired() -> None:
    parsed = read(MICRO.encode("latin-1"))
    assert parsed.images[0].calibration.unit == "micrometer"
    assert parsed.warnings == ("the OME-XML is not UTF-8 as it should be: read as Latin-1",)


def test_control_characters_are_replaced() -> None:
    assert read(document().replace("kidney", "kid\x01ney")).images[0].name == "kid\ufffdney"


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ("", "no element found"),
        ("not XML", "syntax error"),
        (b"\xff\xff\xff", "syntax error|not well-formed"),
        (document()[:-20], "no element found|unclosed"),
        ("<svg/>", "not OME-XML: the root is 'svg'"),
        (document().replace("<OME", BOMB + "<OME", 1).replace("kidney", "&b;"), "DOCTYPE"),
        (document().replace("<OME", '<!DOCTYPE OME SYSTEM "file:///etc/passwd"><OME', 1), "DOCTYPE"),
        (f'<OME xmlns="{ROOT}/2016-06"/>', "describes no image"),
        (f'<OME xmlns="{ROOT}/2016-06"><Image ID="Image:0"/></OME>', "image 0 of the OME-XML has no Pixels"),
        (document(X=0), "SizeX '0'"),
        (document(T="x"), "SizeT 'x'"),
        (document(DimensionOrder="XYZ"), "DimensionOrder 'XYZ'"),
        (document(Type="uint64"), "Type 'uint64'"),
        (document(T=10**6, Z=10**6), "1000000 x 1 x 1000000 planes"),
        (document(T="9" * 5000), "planes"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_one_line(xml: str | bytes, said: str) -> None:
    with pytest.raises(ReadError, match=said) as caught:
        read(xml)
    assert str(caught.value).startswith("a.ome.tif: ")
    assert "\n" not in str(caught.value)


def test_a_doctype_in_a_comment_is_none() -> None:
    assert read(document().replace("<OME", "<!-- <!DOCTYPE x> --><OME", 1)).images


def test_importing_is_cheap() -> None:
    code = "import ngff_convert.readers.ome_xml, sys; print('ome_types' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False"]


# -- the document that is carried on -------------------------------------------------------------------------


def test_the_carried_document_has_no_pixels_and_no_places() -> None:
    inner = (
        channel()
        + '<BinData Length="4" BigEndian="false">AAAA</BinData><TiffData IFD="0"/>'
        + plane(DeltaT="1.5")
    )
    plate = (
        '<BinaryOnly MetadataFile="a" UUID="urn:uuid:00000000-0000-0000-0000-000000000000"/>'
        '<Plate ID="Plate:0"><Well ID="Well:0" Row="0" Column="0"><WellSample ID="WellSample:0" Index="0">'
        '<ImageRef ID="Image:0"/></WellSample></Well></Plate>'
    )
    note = '<CommentAnnotation ID="Annotation:0"><Value>so</Value></CommentAnnotation>'
    note = f"<StructuredAnnotations>{note}</StructuredAnnotations>"
    xml = document(inner, root=plate).replace("</OME>", note + "</OME>")
    xml = xml.replace("</Pixels>", '</Pixels><AnnotationRef ID="Annotation:0"/>')
    parsed = read(xml)
    assert parsed.warnings == ()
    assert parsed.uuid == "ab-1"
    assert parsed.binary_only == ("a", "00000000-0000-0000-0000-000000000000")
    ome_types.validate_xml(parsed.xml)
    for gone in ("BinData", "TiffData", "BinaryOnly"):
        assert gone not in parsed.xml
    carried = ome_types.from_xml(parsed.xml.encode())
    assert carried.plates[0].wells[0].well_samples[0].image_ref is not None
    pixels = carried.images[0].pixels
    assert pixels.metadata_only is not None
    assert [p.delta_t for p in pixels.planes] == [1.5]
    assert len(carried.images[0].annotation_refs) == 1


def test_an_invalid_document_is_not_carried_on_but_read() -> None:
    image, said = odd(
        channel(Name="a", Color="-16776961") + '<TiffData IFD="3"/>',
        PhysicalSizeX="2",
        Interleaved="sideways",
    )
    assert said.startswith("OME-XML is invalid: ")
    assert len(said) < 300
    assert "\n" not in said
    assert read(document(Interleaved="sideways")).xml == ""
    assert image.channels == (Channel("a", "FF0000"),)
    assert image.calibration.zyx == (None, None, 2.0)
    assert [data.ifd for data in image.tiff_data] == [3]


def test_sizes_of_zero_do_not_make_a_document_invalid() -> None:
    parsed = read(document(channel(EmissionWavelength=0), PhysicalSizeZ="0.0", PhysicalSizeX="INF"))
    assert parsed.images[0].calibration.zyx == UNKNOWN
    assert parsed.images[0].channels[0].emission_nm is None
    assert parsed.warnings == (
        "PhysicalSizeX 'INF' is no size: the voxel size is unknown there",
        "PhysicalSizeZ '0.0' is no size: the voxel size is unknown there",
    )
    ome_types.validate_xml(parsed.xml)


def test_images_with_the_same_oddity_share_a_line() -> None:
    bad, good = document(PhysicalSizeX="0"), document()
    start, stop = bad.index("<Image"), bad.index("</OME>")
    images = [bad[start:stop]] * 7 + [good[good.index("<Image") : good.index("</OME>")]]
    images = [text.replace(":0", f":{n}") for n, text in enumerate(images)]
    parsed = read(bad[:start] + "".join(images) + "</OME>")
    (line,) = parsed.warnings
    assert line.startswith("image 0, 1, 2, 3, 4 and 2 more: PhysicalSizeX '0'")


# -- channels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "dtype"),
    [
        ("int8", "int8"),
        ("uint32", "uint32"),
        ("bit", "bool"),
        ("float", "float32"),
        ("double", "float64"),
        ("complex", "complex64"),
        ("double-complex", "complex128"),
    ],
)
def test_types(stated: str, dtype: str) -> None:
    assert one(Type=stated).dtype == dtype


@pytest.mark.parametrize(
    ("stated", "color"),
    [
        ("-1", "FFFFFF"),
        ("-16776961", "FF0000"),
        ("16711935", "00FF00"),
        ("65535", "0000FF"),
        ("4278190335", "FF0000"),  # unsigned, as until 2010-04
        ("255", "000000"),
        ("0", None),
        ("-2147483648", None),
    ],
)
def test_colours(stated: str, color: str | None) -> None:
    assert read(document(channel(Color=stated))).images[0].channels[0].color == color


def test_channels_without_a_word_are_unknown() -> None:
    assert one(C=2).channels == (Channel(), Channel())
    assert one(channel(0) + channel(1, Name=""), C=2).channels == (Channel(), Channel())


def test_wavelengths_in_any_unit() -> None:
    emission: dict[str, Any] = {"EmissionWavelength": "0.525", "EmissionWavelengthUnit": "µm"}
    excitation: dict[str, Any] = {"ExcitationWavelength": "4880", "ExcitationWavelengthUnit": "Å"}
    assert one(channel(**emission, **excitation)).channels[0] == Channel(
        emission_nm=525.0, excitation_nm=488.0
    )
    assert one(channel(EmissionWavelength="509.7")).channels[0].emission_nm == 509.7


def test_samples_become_channels() -> None:
    text = channel(0, Name="camera", SamplesPerPixel=3, EmissionWavelength=500) + channel(1, Name="GFP")
    image = one(text, C=4)
    assert image.samples == (3, 1)
    assert image.channels == (
        Channel("camera red", "FF0000", 500.0),
        Channel("camera green", "00FF00", 500.0),
        Channel("camera blue", "0000FF", 500.0),
        Channel("GFP"),
    )
    alpha = one(channel(SamplesPerPixel=4), C=4).channels[3]
    assert (alpha.name, alpha.color) == ("alpha", None)
    assert [c.name for c in one(channel(SamplesPerPixel=2), C=2).channels] == ["sample 0", "sample 1"]


@pytest.mark.parametrize(
    ("size_c", "stated", "samples"),
    [
        (3, (3, 3, 3), (1, 1, 1)),
        (3, (1,), (1, 1, 1)),
        (5, (3,), (3, 1, 1)),
        (1, (3,), (1,)),
        (3, (1, 1, 1, 1), (1, 1, 1)),
        (4, (3, 3), (3, 1)),
    ],
)
def test_samples_that_contradict_the_size_are_repaired(
    size_c: int, stated: tuple[int, ...], samples: tuple[int, ...]
) -> None:
    image, said = odd("".join(channel(n, SamplesPerPixel=s) for n, s in enumerate(stated)), C=size_c)
    assert image.samples == samples
    assert len(image.channels) == size_c
    assert said


# -- space ---------------------------------------------------------------------------------------------------


def sizes(z: str | None = None, y: str | None = None, x: str | None = None) -> dict[str, str]:
    """Attributes of the sizes that are given as ``"0.5 µm"``, or without a unit."""
    fields: dict[str, str] = {}
    for axis, text in (("Z", z), ("Y", y), ("X", x)):
        if text is not None:
            value, _, unit = text.partition(" ")
            fields |= {f"PhysicalSize{axis}": value} | ({f"PhysicalSize{axis}Unit": unit} if unit else {})
    return fields


@pytest.mark.parametrize(
    ("stated", "zyx", "unit"),
    [
        (("0.3 um", "0.1 microns", "0.1"), (0.3, 0.1, 0.1), "micrometer"),
        (("1 mm", "100 nm", "0.1 µm"), (1000.0, 0.1, 0.1), "micrometer"),
        (("1 µm", "250 nm", "250 nm"), (1000.0, 250.0, 250.0), "nanometer"),
        (("3 Å", None, "2 Å"), (3.0, None, 2.0), "angstrom"),
        (("1 µm", None, None), (1.0, None, None), "micrometer"),
        ((None, None, "2 thou"), (None, None, 50.8), "micrometer"),
        ((None, None, "1 pt"), (None, None, 352.777777777778), "micrometer"),
        ((None, None, None), UNKNOWN, None),
    ],
)
def test_voxel_sizes_in_one_unit(stated: tuple[Any, ...], zyx: tuple[Any, ...], unit: str | None) -> None:
    calibration = one(**sizes(*stated)).calibration
    assert (calibration.zyx, calibration.unit) == (zyx, unit)


@pytest.mark.parametrize(
    ("stated", "zyx", "unit", "line"),
    [
        (("2 pixel", "1 pixel", "1 pixel"), (2.0, 1.0, 1.0), None, "in 'pixel', no unit of length"),
        ((None, None, "1 reference frame"), (None, None, 1.0), None, "'reference frame', no unit"),
        (
            ("1 µm", "1 pixel", "1 pixel"),
            (1.0, None, None),
            "micrometer",
            "PhysicalSizeY is 1 'pixel': unknown",
        ),
        (("-1", "0.5", "0.5"), (None, 0.5, 0.5), "micrometer", "PhysicalSizeZ '-1' is no size"),
        (("NaN", "0.5", "INF"), (None, 0.5, None), "micrometer", "PhysicalSizeX 'INF' is no size"),
    ],
)
def test_voxel_sizes_that_are_none(
    stated: tuple[Any, ...], zyx: tuple[Any, ...], unit: str | None, line: str
) -> None:
    image, said = odd(**sizes(*stated))
    assert (image.calibration.zyx, image.calibration.unit) == (zyx, unit)
    assert line in said


def position(z: str, y: str, x: str, unit: str | None = "mm") -> dict[str, Any]:
    fields: dict[str, Any] = {f"Position{axis}": value for axis, value in zip("ZYX", (z, y, x), strict=True)}
    return fields | ({f"Position{axis}Unit": unit for axis in "ZYX"} if unit else {})


LABEL = '<StageLabel Name="s" X="7" XUnit="µm" Y="8" YUnit="µm"/>'


@pytest.mark.parametrize(
    ("planes", "image", "origin"),
    [
        (plane(**position("1", "-2", "0.003")), LABEL, (1000.0, -2000.0, 3.0)),
        (
            plane(z=1, **position("9", "9", "9")) + plane(**position("1", "2", "3")),
            "",
            (1000.0, 2000.0, 3000.0),
        ),
        (
            plane(t=1, **position("9", "9", "9")) + plane(**position("1", "2", "3")),
            "",
            (1000.0, 2000.0, 3000.0),
        ),
        (plane(z=1, **position("9", "9", "9")), LABEL, (None, 8.0, 7.0)),
        (plane(**position("1", "2", "3", None)), LABEL, (None, 8.0, 7.0)),
        (plane(**position("1", "2", "3", "reference frame")), "", UNKNOWN),
        ("", '<StageLabel Name="s" X="7" Y="8"/>', UNKNOWN),
    ],
)
def test_the_origin_is_the_stage_position(planes: str, image: str, origin: tuple[Any, ...]) -> None:
    fields = {"Z": 2, "T": 2, "PhysicalSizeX": "1"}
    assert one(planes, image=image, **fields).calibration.origin_zyx == origin
    del fields["PhysicalSizeX"]
    assert one(planes, image=image, **fields).calibration.origin_zyx == UNKNOWN  # voxels have no unit


# -- time ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "t_s"),
    [("2.5", "s", 2.5), ("250", "ms", 0.25), ("2", "min", 120.0), ("1", "d", 86400.0)],
)
def test_a_stated_time_step(value: str, unit: str, t_s: float) -> None:
    assert one(T=3, TimeIncrement=value, TimeIncrementUnit=unit).calibration.t_s == t_s


def deltas(*values: str, unit: str = "s") -> str:
    return "".join(plane(t=t, DeltaT=value, DeltaTUnit=unit) for t, value in enumerate(values))


START = datetime(2020, 1, 1)
DATE = f"<AcquisitionDate>{START.isoformat()}</AcquisitionDate>"


def seconds(image: OmeImage) -> list[float]:
    """Return when each time point was taken, since `START`."""
    return [(taken - START).total_seconds() for taken in image.time_stamps]


def test_a_time_step_of_planes() -> None:
    stated = deltas("100", "200", "300.5", unit="ms") + plane(c=1, DeltaT="9")
    image = one(stated, C=2, T=3, image=DATE)
    assert seconds(image) == [0.1, 0.2, 0.3005]
    assert image.calibration.t_s == 0.10025
    assert one(deltas("0.1", "0.2", "0.3"), T=3).calibration.t_s == 0.1


def test_uneven_steps_are_no_time_step() -> None:
    image, said = odd(deltas("0", "1", "2.1"), T=3, image=DATE)
    assert seconds(image) == [0.0, 1.0, 2.1]
    assert image.calibration.t_s is None
    assert "uneven, 1 to 1.1 s" in said


@pytest.mark.parametrize("planes", [deltas("0", "1"), deltas("0", "0", "0"), deltas("0", "1", "x"), ""])
def test_times_that_are_incomplete_or_unset_are_unknown(planes: str) -> None:
    image = read(document(planes, T=3, image=DATE)).images[0]
    assert (image.time_stamps, image.calibration.t_s) == ((), None)


def test_a_time_step_of_zero_is_none() -> None:
    image, said = odd(deltas("0", "2", "4"), T=3, TimeIncrement="0.0")
    assert image.calibration.t_s == 2.0
    assert "TimeIncrement '0.0'" in said
    assert one(TimeIncrement="0.0").calibration.t_s is None  # of one time point, nobody cares


def test_a_time_step_that_the_planes_contradict() -> None:
    image, said = odd(deltas("0", "2"), T=2, TimeIncrement="1", TimeIncrementUnit="ms")
    assert image.calibration.t_s == 0.001
    assert said == "TimeIncrement is 0.001 s, but the planes are 2 s apart on average: TimeIncrement is taken"


def test_time_stamps() -> None:
    date = "<AcquisitionDate>2020-02-28T23:59:59.5Z</AcquisitionDate>"
    start = datetime(2020, 2, 28, 23, 59, 59, 500_000, tzinfo=UTC)
    image = one(deltas("0.25", "1.25"), T=2, image=date)
    assert image.time_stamps == (start + timedelta(seconds=0.25), start + timedelta(seconds=1.25))
    image, said = odd(deltas("0", "1"), T=2, image="<AcquisitionDate>yesterday</AcquisitionDate>")
    assert image.time_stamps == ()
    assert "'yesterday' is none" in said
    assert odd(deltas("0", "1e300"), T=2, image=date)[0].time_stamps == ()


# -- old schemas ---------------------------------------------------------------------------------------------

IN_2008 = f"""<OME xmlns="{ROOT}/2008-02" UUID="urn:uuid:1">
<Image ID="Image:0" Name="old" DefaultPixels="Pixels:0"><CreationDate>2008-03-04T05:06:07</CreationDate>
<LogicalChannel ID="LogicalChannel:0" Name="DAPI" EmWave="461" ExWave="358" SamplesPerPixel="1">
<ChannelComponent Index="0" Pixels="Pixels:0" ColorDomain="B"/></LogicalChannel>
<LogicalChannel ID="LogicalChannel:1" Name="GFP">
<ChannelComponent Index="1" Pixels="Pixels:0"/></LogicalChannel>
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" PixelType="float" BigEndian="true" SizeX="7" SizeY="5" SizeZ="2"
 SizeC="2" SizeT="2" PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="2" TimeIncrement="3">
<TiffData IFD="1" NumPlanes="4" FirstT="1"><UUID FileName="b.tif">urn:uuid:2</UUID></TiffData>
<TiffData NumPlanes="4"/>
<Plane TheZ="0" TheC="0" TheT="0"><PlaneTiming DeltaT="0" ExposureTime="0.1"/>
<StagePosition PositionX="1"/></Plane>
<Plane TheZ="0" TheC="0" TheT="1"><PlaneTiming DeltaT="3"/></Plane>
</Pixels></Image></OME>"""


def test_the_schema_of_2008() -> None:
    parsed = read(IN_2008)
    assert parsed.warnings == ()
    (image,) = parsed.images
    assert (image.name, image.shape, image.dtype) == ("old", (2, 2, 2, 5, 7), "float32")
    assert image.channels == (Channel("DAPI", "0000FF", 461.0, 358.0), Channel("GFP"))
    assert image.calibration == Calibration((2.0, 0.5, 0.5), "micrometer", 3.0)
    assert image.time_stamps == (datetime(2008, 3, 4, 5, 6, 7), datetime(2008, 3, 4, 5, 6, 10))
    assert image.tiff_data == (TiffData(1, 4, 1, 0, 0, "b.tif", "2"), TiffData(None, 4, 0, 0, 0, None, None))
    carried = ome_types.from_xml(parsed.xml.encode()).images[0]
    assert [c.name for c in carried.pixels.channels] == ["DAPI", "GFP"]
    assert [p.delta_t for p in carried.pixels.planes] == [0.0, 3.0]
    ome_types.validate_xml(parsed.xml)


def test_samples_in_the_schema_of_2008() -> None:
    components = "".join(f'<ChannelComponent Index="{n}" Pixels="Pixels:0"/>' for n in range(3))
    start, stop = IN_2008.index("<LogicalChannel"), IN_2008.index("<Pixels")
    one_channel = f'<LogicalChannel ID="LogicalChannel:0" SamplesPerPixel="3">{components}</LogicalChannel>'
    xml = (IN_2008[:start] + one_channel + IN_2008[stop:]).replace('SizeC="2"', 'SizeC="3"')
    assert read(xml).images[0].samples == (3,)


@pytest.mark.parametrize("schema", ["2010-06", "2011-06", "2012-06", "2013-06", "2015-01", "2016-06"])
def test_schemas_with_attributes(schema: str) -> None:
    inner = channel(SamplesPerPixel=1, Name="a") + '<TiffData IFD="0"/>' + deltas("0", "1.5")
    parsed = read(document(inner, schema=schema, T=2, PhysicalSizeX="0.5"))
    assert parsed.warnings == ()
    image = parsed.images[0]
    assert image.calibration == Calibration((None, None, 0.5), "micrometer", 1.5)
    ome_types.validate_xml(parsed.xml)
    assert f"{ROOT}/2016-06" in parsed.xml


# -- places --------------------------------------------------------------------------------------------------


def image_of(n_t: int, n_c: int, n_z: int, order: str = "XYZCT", *data: TiffData) -> OmeImage:
    samples = (1,) * n_c
    shape = (n_t, n_c, n_z, 5, 7)
    return OmeImage("", shape, order, "uint8", samples, (Channel(),) * n_c, Calibration(), (), data)


def data(
    ifd: int | None = None,
    count: int | None = None,
    first: tuple[int, ...] = (0, 0, 0),
    file: str | None = None,
) -> TiffData:
    return TiffData(ifd, count, first[0], first[1], first[2], file, None)


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("elements", [(), (data(),), (data(0, 24),), (data(None, 24),)])
def test_planes_run_in_the_order_of_dimensions(order: str, elements: tuple[TiffData, ...]) -> None:
    planes = place_planes(image_of(2, 3, 4, order, *elements), lambda *_: 24)
    axes = order[:1:-1]  # slowest first
    expected = np.arange(24).reshape([{"T": 2, "C": 3, "Z": 4}[axis] for axis in axes])
    np.testing.assert_array_equal(planes.page, expected.transpose([axes.index(axis) for axis in "TCZ"]))
    assert planes.page.dtype == np.dtype(np.int64)
    assert planes.file.dtype == np.dtype(np.int32)
    assert (planes.file == 0).all()
    assert (planes.files, planes.warnings) == (((None, None),), ())


def plainly(
    image: OmeImage, pages: dict[str | None, int | None]
) -> dict[tuple[int, ...], tuple[str | None, int]]:
    """Place planes one by one, as the specification says."""
    sizes = {"T": image.shape[0], "C": len(image.samples), "Z": image.shape[2]}
    found: dict[tuple[int, ...], tuple[str | None, int]] = {}
    for e in image.tiff_data:
        n_pages = pages[e.file_name]
        count = e.plane_count
        if count is None:
            count = 1 if e.ifd is not None or n_pages is None else n_pages
        at = {"T": e.first_t, "C": e.first_c, "Z": e.first_z}
        if any(at[axis] >= sizes[axis] for axis in "TCZ"):
            continue
        for ifd in range(e.ifd or 0, (e.ifd or 0) + count):
            found[at["T"], at["C"], at["Z"]] = (e.file_name, ifd)
            for axis in image.order[2:]:
                at[axis] += 1
                if at[axis] < sizes[axis]:
                    break
                at[axis] = 0
            else:
                break
    return found


maybe = st.none() | st.integers(0, 12)
firsts = st.tuples(*[st.integers(0, 3)] * 3)


@settings(max_examples=300, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    order=st.sampled_from(sorted(ORDERS)),
    elements=st.lists(st.tuples(maybe, maybe, firsts, st.sampled_from([None, "a", "b"])), max_size=8),
    pages=st.fixed_dictionaries({None: st.integers(1, 12), "a": maybe, "b": maybe}),
)
def test_places_agree_with_a_plain_reading(
    sizes: tuple[int, ...], order: str, elements: list[Any], pages: dict[str | None, int | None]
) -> None:
    # A first plane that lies outside is left out of this test where it could mean counting from 1.
    stated = [data(*e) for e in elements if all(f < n or n > 3 for f, n in zip(e[2], sizes, strict=True))]
    image = image_of(*sizes, order, *(stated or [data()]))  # type: ignore[arg-type]
    planes = place_planes(image, lambda name, _: pages[name])
    expected = plainly(image, pages)
    for place in np.ndindex(planes.page.shape):
        name, ifd = expected.get(place, (None, -1))
        n_pages = pages[name]
        if n_pages is None:
            assert planes.page[place] == -1
            assert planes.files[planes.file[place]] == (name, None)
        elif ifd == -1 or ifd >= n_pages:
            assert planes.page[place] == planes.file[place] == -1
        else:
            assert planes.page[place] == ifd
            assert planes.files[planes.file[place]] == (name, None)
    used = dict.fromkeys(e.file_name for e in image.tiff_data)
    assert planes.files == tuple((name, None) for name in used)


def test_files_and_missing_ones() -> None:
    asked: list[Any] = []

    def pages_of(name: str | None, uuid: str | None) -> int | None:
        asked.append((name, uuid))
        return None if name == "b" else 2

    elements = [data(z % 2, None, (0, 0, z), "abc"[z // 2]) for z in range(6)]
    planes = place_planes(image_of(1, 1, 7, "XYZCT", *elements), pages_of)
    assert asked == [("a", None), ("b", None), ("c", None)]
    assert planes.page[0, 0].tolist() == [0, 1, -1, -1, 0, 1, -1]
    assert planes.file[0, 0].tolist() == [0, 0, 1, 1, 2, 2, -1]
    assert planes.warnings == ()


def test_ifds_that_do_not_exist_are_gaps() -> None:
    planes = place_planes(image_of(1, 1, 5, "XYZCT", data(1, 5, file="a.tif")), lambda *_: 3)
    assert planes.page[0, 0].tolist() == [1, 2, -1, -1, -1]
    assert planes.file[0, 0].tolist() == [0, 0, -1, -1, -1]
    assert planes.warnings == ("a.tif has 3 IFDs, but 3 planes should be in IFD 3 to 5 of it: missing",)
    assert place_planes(image_of(1, 1, 5), lambda *_: 3).warnings[0].startswith("the file has 3 IFDs")


def test_planes_beyond_the_image_and_repeated_ones() -> None:
    planes = place_planes(
        image_of(1, 1, 3, "XYZCT", data(0, 9), data(7, 1, (0, 0, 1)), data(0, 1)), lambda *_: 9
    )
    assert planes.page[0, 0].tolist() == [0, 7, 2]
    assert planes.warnings == (
        "TiffData name 6 planes beyond the image, which are left out",
        "TiffData place 1 plane more than once: the last place counts",
    )


def test_counting_from_one_is_noticed() -> None:
    planes = place_planes(
        image_of(1, 1, 3, "XYZCT", *(data(z, 1, (0, 0, z + 1)) for z in range(3))), lambda *_: 3
    )
    assert planes.page[0, 0].tolist() == [0, 1, 2]
    assert planes.warnings == ("TiffData count Z from 1; taken so",)


def test_a_file_that_nobody_counted() -> None:
    elements = [data(None, None, (0, 0, z), str(z)) for z in range(3)] + [data(90, 2, (0, 1, 0), "0")]
    planes = place_planes(image_of(1, 2, 3, "XYZCT", *elements), lambda *_: UNCOUNTED)
    assert planes.page[0].tolist() == [[0, 0, 0], [90, 91, -1]]
    assert planes.file[0].tolist() == [[0, 1, 2], [0, 0, -1]]
    assert planes.warnings == ()


def test_samples_count_as_one_plane() -> None:
    image = one(channel(0, SamplesPerPixel=3) + channel(1, SamplesPerPixel=3), C=6, Z=2)
    assert place_planes(image, lambda *_: 4).page.tolist() == [[[0, 1], [2, 3]]]


def test_planes_named_over_and_over_are_refused() -> None:
    elements = [data(0, 1000, (0, 0, 0))] * 5000
    with pytest.raises(ReadError, match="5000000 planes are named by TiffData for an image of 1000 planes"):
        place_planes(image_of(1000, 1, 1, "XYZCT", *elements), lambda *_: 1000)


def test_numbers_that_no_file_can_mean() -> None:
    text = f'<TiffData IFD="{"9" * 30}" PlaneCount="{"9" * 30}"/><TiffData FirstZ="-4" IFD="x"/>'
    image = read(document(text)).images[0]
    planes = place_planes(image, lambda *_: 1)
    assert planes.page.tolist() == [[[0]]]  # of the second, which says nothing that can be read


def test_a_hundred_thousand_planes() -> None:
    n = 100_000
    inner = "".join(
        f'<TiffData FirstT="{t}" IFD="{t % 1000}"><UUID FileName="{t // 1000}.tif"/></TiffData>'
        for t in reversed(range(n))
    )
    inner += "".join(plane(t=t, DeltaT=t * 0.5) for t in range(n))
    parsed = read(document(channel() + inner, T=n, image=DATE))
    assert parsed.warnings == ("of 100000 Plane elements, the first 10000 are carried on in OME-XML",)
    assert parsed.xml.count("Plane TheZ") == 10_000
    (image,) = parsed.images
    assert seconds(image)[-1] == 49_999.5
    assert image.calibration.t_s == 0.5
    planes = place_planes(image, lambda *_: 1000)
    assert len(planes.files) == 100
    np.testing.assert_array_equal(planes.page[:, 0, 0], np.arange(n) % 1000)
    names = np.array([int(str(name).removesuffix(".tif")) for name, _ in planes.files])
    np.testing.assert_array_equal(names[planes.file[:, 0, 0]], np.arange(n) // 1000)


# -- gaps in words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([np.s_[3, 1, 0:5]], "t 3, c 1, z 0-4"),
        ([np.s_[3], np.s_[4]], "t 3-4"),
        ([np.s_[:, 1]], "c 1"),
        ([np.s_[:]], "all"),
        ([np.s_[0, 0, 0], np.s_[0, 0, 2:], np.s_[2, :, 1]], "t 0, c 0, z 0; t 0, c 0, z 2-5; t 2, z 1"),
        ([], ""),
    ],
)
def test_gaps_in_words(places: list[Any], words: str) -> None:
    mask = np.zeros((20, 2, 6), bool)
    for place in places:
        mask[place] = True
    assert gaps_in_words(mask) == words


def test_many_gaps_are_counted() -> None:
    mask = np.zeros((30, 1, 2), bool)
    mask[::2] = True
    words = gaps_in_words(mask, ("time", "channel", "slice"))
    assert words.startswith("time 0; time 2; ")
    assert words.endswith("; time 18 and 10 more")  # planes


@given(st.lists(st.booleans(), min_size=24, max_size=24))
def test_gaps_in_words_name_each_gap_once(bits: list[bool]) -> None:
    mask = np.array(bits).reshape(2, 3, 4)
    named = np.zeros(mask.shape, int)
    for spans, count in _blocks(mask, "tcz"):
        index: list[slice] = [slice(None)] * 3
        for axis, first, last in spans:
            index["tcz".index(axis)] = slice(first, last + 1)
        named[tuple(index)] += 1
        assert named[tuple(index)].size == count
    np.testing.assert_array_equal(named, mask)


def test_one_time_point_was_taken_when_the_image_was() -> None:
    assert one(channel(), T=1, image=DATE).time_stamps == (START,)
    assert one(channel(), T=2, image=DATE).time_stamps == ()
