"""A source's own OME-XML in the sidecar: what is kept, what is brought up to date, and what goes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import ome_types
import pytest
from data_folder import data_file
from images import NoPixels
from ome_types.model import PixelType, UnitsLength

from ngff_convert import omexml, overrides
from ngff_convert import plan as planning
from ngff_convert.model import Calibration, Channel, Image, SourceOme
from ngff_convert.options import Options
from ngff_convert.version import __version__

TAG = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
ALONE = f"ngff-convert {__version__}"
ALL = (None, None)

PLANES = "".join(
    f'<Plane TheT="{t}" TheC="{c}" TheZ="{z}" DeltaT="{100 * t + 10 * c + z}" DeltaTUnit="ms" '
    f'ExposureTime="0.5" PositionX="{z}" PositionXUnit="mm"><HashSHA1>{"0" * 40}</HashSHA1></Plane>'
    for t in range(3)
    for c in range(2)
    for z in range(4)
)
SOURCE = f"""<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" Creator="a microscope"
     UUID="urn:uuid:00000000-0000-0000-0000-000000000001">
<Rights><RightsHolder>A. Leeuwenhoek</RightsHolder></Rights>
<Project ID="Project:0" Name="water"><DatasetRef ID="Dataset:0"/></Project>
<Dataset ID="Dataset:0" Name="drops"><ExperimenterRef ID="Experimenter:0"/>
  <ImageRef ID="Image:0"/><ImageRef ID="Image:1"/><ImageRef ID="Image:2"/></Dataset>
<Folder ID="Folder:0"><ImageRef ID="Image:1"/><ROIRef ID="ROI:1"/></Folder>
<Experiment ID="Experiment:0" Type="Photobleaching"><ExperimenterRef ID="Experimenter:0"/></Experiment>
<Plate ID="Plate:0"><Well ID="Well:0" Row="0" Column="0">
  <WellSample ID="WellSample:0" Index="0"><ImageRef ID="Image:0"/></WellSample>
  <WellSample ID="WellSample:1" Index="1"><ImageRef ID="Image:1"/></WellSample>
  <WellSample ID="WellSample:2" Index="2"><ImageRef ID="Image:2"/></WellSample></Well>
  <PlateAcquisition ID="PlateAcquisition:0"><WellSampleRef ID="WellSample:2"/></PlateAcquisition></Plate>
<Screen ID="Screen:0"><PlateRef ID="Plate:0"/></Screen>
<Experimenter ID="Experimenter:0" LastName="Leeuwenhoek"/>
<ExperimenterGroup ID="ExperimenterGroup:0"><Leader ID="Experimenter:0"/></ExperimenterGroup>
<Instrument ID="Instrument:0"><Microscope Model="brass"/>
  <Laser ID="LightSource:0" Wavelength="488"/><Laser ID="LightSource:1"><Pump ID="LightSource:0"/></Laser>
  <Detector ID="Detector:0" Model="eye"/><Objective ID="Objective:0" LensNA="1.4"/>
  <Filter ID="Filter:0"/><Dichroic ID="Dichroic:0"/></Instrument>
<Instrument ID="Instrument:1"/>
<Image ID="Image:0" Name="first"><AcquisitionDate>1674-09-07T10:00:00</AcquisitionDate>
  <ExperimenterRef ID="Experimenter:0"/><Description>a drop
of water</Description><ExperimentRef ID="Experiment:0"/><InstrumentRef ID="Instrument:0"/>
  <ObjectiveSettings ID="Objective:0" Medium="Water"/><ImagingEnvironment Temperature="12.5"/>
  <StageLabel Name="left" X="1.5" XUnit="mm"/>
  <Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SignificantBits="12" Interleaved="true"
    BigEndian="true" SizeX="33" SizeY="40" SizeZ="4" SizeC="2" SizeT="3" PhysicalSizeX="0.0005"
    PhysicalSizeXUnit="mm" PhysicalSizeY="0.5" PhysicalSizeZ="2" TimeIncrement="1500" TimeIncrementUnit="ms">
    <Channel ID="Channel:0:0" Name="green" Color="16711808" Fluor="GFP" PinholeSize="50"
      EmissionWavelength="0.5" EmissionWavelengthUnit="µm" SamplesPerPixel="1">
      <LightSourceSettings ID="LightSource:0"/>
      <DetectorSettings ID="Detector:0" Gain="2"/><LightPath><ExcitationFilterRef ID="Filter:0"/>
      <DichroicRef ID="Dichroic:0"/></LightPath></Channel>
    <Channel ID="Channel:0:1" Name="red" Fluor="RFP"/><MetadataOnly/>{PLANES}</Pixels>
  <ROIRef ID="ROI:0"/><AnnotationRef ID="Annotation:0"/></Image>
<Image ID="Image:1" Name="second"><InstrumentRef ID="Instrument:1"/>
  <Pixels ID="Pixels:1" DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="8" SizeZ="1" SizeC="1" SizeT="1">
    <Channel ID="Channel:1:0"/><MetadataOnly/></Pixels>
  <ROIRef ID="ROI:1"/><AnnotationRef ID="Annotation:1"/></Image>
<Image ID="Image:2" Name="third">
  <Pixels ID="Pixels:2" DimensionOrder="XYCZT" Type="uint8" SizeX="8" SizeY="8" SizeZ="1" SizeC="4" SizeT="1">
    <Channel ID="Channel:2:0" Name="colour" SamplesPerPixel="3" Fluor="none"/>
    <Channel ID="Channel:2:1" Name="gray" Fluor="DAPI"/><MetadataOnly/>
    <Plane TheT="0" TheC="0" TheZ="0" ExposureTime="1"/><Plane TheT="0" TheC="1" TheZ="0" ExposureTime="2"/>
  </Pixels></Image>
<StructuredAnnotations>
  <XMLAnnotation ID="Annotation:0" Annotator="Experimenter:0"><Value><a:any xmlns:a="urn:a" ID="Image:0">text
    <bare xmlns=""> x </bare><ImageRef ID="Image:9"/>&#13;tail</a:any></Value></XMLAnnotation>
  <FileAnnotation ID="Annotation:5"><BinaryFile FileName="f" Size="3"><External href="h" SHA1="{"0" * 40}"/>
    </BinaryFile></FileAnnotation>
  <ListAnnotation ID="Annotation:1"><AnnotationRef ID="Annotation:2"/></ListAnnotation>
  <CommentAnnotation ID="Annotation:2"><Value>of the second alone</Value></CommentAnnotation>
  <LongAnnotation ID="Annotation:3"><Value>7</Value></LongAnnotation>
  <DoubleAnnotation ID="Annotation:6"><Value>1.5</Value></DoubleAnnotation>
  <BooleanAnnotation ID="Annotation:7"><Value>true</Value></BooleanAnnotation>
  <TimestampAnnotation ID="Annotation:8"><Value>1674-09-07T10:00:00</Value></TimestampAnnotation>
  <TagAnnotation ID="Annotation:9"><Value>tag</Value></TagAnnotation>
  <TermAnnotation ID="Annotation:10"><Value>term</Value></TermAnnotation>
  <MapAnnotation ID="Annotation:4"><Value><M K="ms">v</M></Value></MapAnnotation></StructuredAnnotations>
<ROI ID="ROI:0"><Union><Rectangle ID="Shape:0" X="10" Y="20" Width="3" Height="4" TheT="1" TheZ="2"/>
  <Point ID="Shape:1" X="1" Y="2" TheC="1"><Transform A00="0" A10="1" A01="1" A11="0" A02="5" A12="6"/>
  </Point>
  <Point ID="Shape:2" X="1" Y="2" TheT="0"/></Union></ROI>
<ROI ID="ROI:1"><Union><Point ID="Shape:3" X="1" Y="2"/></Union></ROI>
<ROI ID="ROI:2"><Union><Point ID="Shape:4" X="1" Y="2"/></Union></ROI>
</OME>"""


def source_image(xml: str = SOURCE, index: int = 0, **fields: Any) -> Image:
    """Return an image as a reader of the document would, but for what it knows of the image besides."""
    pixels = list(ElementTree.fromstring(xml).iter(f"{TAG}Pixels"))[index]
    shape = tuple(int(pixels.attrib[f"Size{axis}"]) for axis in "TCZYX")
    fields = {"name": f"image {index}", "channels": (Channel(),) * shape[1], **fields}
    return Image(pixels=NoPixels(shape, pixels.attrib["Type"]), ome=SourceOme(xml, index), **fields)


def text_of(
    *images: Image, original_metadata: bool = True, noted: list[str] | None = None, **options: Any
) -> str:
    settings = Options(**options)
    images = tuple(overrides.apply(image, settings) for image in images)
    resources = planning.Resources(workers=1, memory=2**30)
    described = [(image, planning.build(image, settings, resources)) for image in images]
    return omexml.build(described, [] if noted is None else noted, original_metadata=original_metadata)


def document(*images: Image, original_metadata: bool = True, **options: Any) -> Any:
    xml = text_of(*images, original_metadata=original_metadata, **options)
    pytest.importorskip("lxml")
    ome_types.validate_xml(xml)
    return ome_types.from_xml(xml)


def first(xml: str = SOURCE, options: dict[str, Any] | None = None, **fields: Any) -> Any:
    return document(source_image(xml, **fields), **(options or {})).images[0]


def xml_of(parts: Any) -> list[str]:
    """Return what parts of a document say; compared as they are, they tell their documents apart too."""
    return [ome_types.to_xml(part) for part in (parts if isinstance(parts, list) else [parts])]


def changed(old: str, new: str) -> str:
    assert old in SOURCE
    return SOURCE.replace(old, new)


def test_the_source_is_valid() -> None:
    pytest.importorskip("lxml")
    ome_types.validate_xml(SOURCE)


# -- kept ----------------------------------------------------------------------------------------------------


def test_what_images_share_is_kept_as_it_is() -> None:
    ome = document(*(source_image(index=i) for i in range(3)))
    known: Any = ome_types.from_xml(SOURCE)
    for kind in (
        *("rights", "projects", "datasets", "folders", "experiments", "plates", "screens", "experimenters"),
        *("experimenter_groups", "instruments", "rois"),
    ):
        assert getattr(known, kind), kind
        assert xml_of(getattr(ome, kind)) == xml_of(getattr(known, kind)), kind
    assert xml_of(ome.structured_annotations) == xml_of(known.structured_annotations)
    assert len(known.structured_annotations) == len({type(a) for a in known.structured_annotations}) == 11


def test_what_is_said_of_an_image_is_kept() -> None:
    image, known = first(), ome_types.from_xml(SOURCE).images[0]
    for kind in (
        *("acquisition_date", "description", "experimenter_ref", "experiment_ref", "instrument_ref"),
        *("objective_settings", "imaging_environment", "stage_label", "roi_refs", "annotation_refs"),
    ):
        assert getattr(known, kind), kind
        held, expected = getattr(image, kind), getattr(known, kind)
        assert held == expected or xml_of(held) == xml_of(expected), kind
    assert len(image.pixels.planes) == 24
    for plane in known.pixels.planes:
        plane.hash_sha1 = None
    assert xml_of(image.pixels.planes) == xml_of(known.pixels.planes)


def test_any_xml_in_an_annotation_stays_what_it_is() -> None:
    root = ElementTree.fromstring(text_of(source_image(index=2), source_image()))
    value = root.find(f".//{TAG}XMLAnnotation/{TAG}Value")
    assert value is not None
    (held,) = value
    assert (held.tag, held.get("ID")) == ("{urn:a}any", "Image:0")
    assert [(e.tag, e.get("ID"), e.text) for e in held] == [
        ("bare", None, " x "),
        (f"{TAG}ImageRef", "Image:9", None),
    ]
    assert held[1].tail == "\rtail"


def test_the_program_is_the_creator_and_names_the_source() -> None:
    ome = document(source_image())
    assert ome.creator == f"{ALONE} (from a document by a microscope)"
    assert ome.uuid is None  # that of another document
    assert document(source_image(changed('Creator="a microscope"', ""))).creator == ALONE


def test_thousands_of_planes_keep_their_order() -> None:
    planes = "".join(f'<Plane TheT="{t}" TheC="0" TheZ="0" DeltaT="{t}"/>' for t in range(5000))
    xml = changed(PLANES, planes).replace('SizeT="3"', 'SizeT="5000"')
    assert re.findall('DeltaT="([0-9]+)"', text_of(source_image(xml))) == [str(t) for t in range(5000)]


# -- brought up to date --------------------------------------------------------------------------------------


def test_pixels_are_those_of_the_output() -> None:
    image = first(options={"dtype": "float32"})
    assert (image.id, image.name, image.pixels.id) == ("Image:0", "image 0", "Pixels:0")
    pixels = image.pixels
    assert (pixels.dimension_order.value, pixels.type, pixels.big_endian) == ("XYZCT", PixelType.FLOAT, False)
    assert (pixels.interleaved, pixels.significant_bits) == (None, None)
    assert pixels.metadata_only is not None
    assert first().pixels.significant_bits == 12
    assert first(name="").name == "first"


@pytest.mark.parametrize(
    ("calibration", "x", "time"),
    [
        (Calibration(), ("0.0005", "mm"), ("1500.0", "ms")),
        (Calibration((2.0, 0.5, 0.5), "micrometer", 1.5), ("0.0005", "mm"), ("1500.0", "ms")),
        (Calibration((2e3, 500, 500), "nanometer", 1.5), ("0.0005", "mm"), ("1500.0", "ms")),
        (Calibration((2.0, 0.5, 0.51), "micrometer", 1.6), ("0.51", "µm"), ("1.6", "s")),
        (Calibration((2.0, 0.5, 0.0005), "meter"), ("0.0005", "m"), ("1500.0", "ms")),
    ],
)
def test_sizes_are_spelt_as_in_the_source_unless_they_differ(
    calibration: Calibration, x: tuple[str, str], time: tuple[str, str]
) -> None:
    pixels = first(calibration=calibration).pixels
    assert (str(pixels.physical_size_x), pixels.physical_size_x_unit.value) == x
    assert (str(pixels.time_increment), pixels.time_increment_unit.value) == time
    z = pixels.physical_size_z * {"µm": 1, "m": 1e6}[pixels.physical_size_z_unit.value]
    assert z == (2 if calibration.unit != "meter" else 2e6)


def test_channels_keep_their_details_and_have_the_names_and_colours_written() -> None:
    channels = (Channel("new", "00FF80", emission_nm=500), Channel(None, "FF0000", excitation_nm=561))
    one, two = first(channels=channels).pixels.channels
    assert (one.name, one.fluor, one.pinhole_size) == ("new", "GFP", 50)
    assert (one.light_source_settings.id, one.detector_settings.gain) == ("LightSource:0", 2)
    assert (one.light_path.excitation_filters[0].id, one.light_path.dichroic_ref.id) == (
        "Filter:0",
        "Dichroic:0",
    )
    assert (one.emission_wavelength, one.emission_wavelength_unit) == (0.5, UnitsLength.MICROMETER)
    assert (two.name, two.fluor, two.color.as_hex()) == ("red", "RFP", "#f00")
    assert (two.excitation_wavelength, two.excitation_wavelength_unit) == (561, UnitsLength.NANOMETER)


@pytest.mark.parametrize(
    ("color", "written"), [("00FF00", "16711808"), (None, "16711808"), ("00FF01", "16712191")]
)
def test_a_colour_keeps_its_alpha_unless_it_is_another(color: str | None, written: str) -> None:
    channels = (Channel(color=color), Channel())
    assert f'Color="{written}"' in text_of(source_image(SOURCE, channels=channels))


def test_a_channel_of_three_samples_is_three() -> None:
    channels = (Channel("r", "F00000"), Channel("g", "0F0000"), Channel("b", "00F000"), Channel("k"))
    pixels = document(source_image(index=2, channels=channels)).images[0].pixels
    assert pixels.size_c == 4
    assert [(c.id, c.name, c.fluor, c.samples_per_pixel) for c in pixels.channels] == [
        ("Channel:0:0", "r", "none", 1),
        ("Channel:0:1", "g", None, 1),
        ("Channel:0:2", "b", None, 1),
        ("Channel:0:3", "k", "DAPI", 1),
    ]
    assert [(p.the_c, p.exposure_time) for p in pixels.planes] == [(0, 1), (3, 2)]


def test_a_source_that_describes_no_channels() -> None:
    xml = re.sub(
        "<Channel ID=.Channel:0.*<MetadataOnly/>(?=<Plane)", "<MetadataOnly/>", SOURCE, flags=re.DOTALL
    )
    pixels = first(xml, options={"crop": (ALL, (1, 2), ALL, ALL, ALL)}).pixels
    assert [(c.name, c.fluor) for c in pixels.channels] == [(None, None)]
    assert {(p.the_c, p.delta_t % 100 // 10) for p in pixels.planes} == {(0, 1)}


def test_a_source_that_describes_some_channels() -> None:
    xml = changed('<Channel ID="Channel:0:1" Name="red" Fluor="RFP"/>', "")
    pixels = first(xml).pixels
    assert [(c.name, c.fluor) for c in pixels.channels] == [("green", "GFP"), (None, None)]
    assert {(p.the_c, p.delta_t % 100 // 10) for p in pixels.planes} == {(0, 0), (1, 1)}


def test_times_that_the_source_does_not_tell_plane_by_plane() -> None:
    stamps = tuple(datetime(1674, 9, 7, 10) + timedelta(seconds=s) for s in (0, 1, 5))
    assert [p.delta_t for p in first(changed(PLANES, ""), time_stamps=stamps).pixels.planes] == [0, 1, 5]
    assert len(first(time_stamps=stamps).pixels.planes) == 24


# -- a part of an image --------------------------------------------------------------------------------------


def test_a_crop_renumbers_planes_and_channels() -> None:
    crop = ((1, 3), (1, 2), (2, 3), ALL, (5, 20))
    image = first(options={"crop": crop})
    pixels = image.pixels
    assert (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (2, 1, 1, 40, 15)
    assert [(c.id, c.name, c.fluor) for c in pixels.channels] == [("Channel:0:0", "red", "RFP")]
    assert [(p.the_t, p.the_c, p.the_z, p.delta_t, p.position_x) for p in pixels.planes] == [
        (0, 0, 0, 112, 2),
        (1, 0, 0, 212, 2),
    ]
    assert image.stage_label.x == 1.5


@pytest.mark.parametrize(("c", "names"), [((1, 4), ["none", None, "DAPI"]), ((3, 4), ["DAPI"])])
def test_samples_of_a_channel_can_be_left_out(c: tuple[int, int], names: list[str | None]) -> None:
    pixels = document(source_image(index=2), crop=(ALL, c, ALL, ALL, ALL)).images[0].pixels
    assert [channel.fluor for channel in pixels.channels] == names
    assert [plane.the_c for plane in pixels.planes] == [i for i, name in enumerate(names) if name]


def test_regions_of_interest_move_with_the_corner() -> None:
    ome = document(source_image(), crop=((1, 3), (1, 2), (2, 4), (7, None), (5, None)))
    own, anyones = ome.rois
    shapes = {shape.id: shape for shape in own.union}
    assert set(shapes) == {"Shape:0", "Shape:1"}
    moved, turned = shapes["Shape:0"], shapes["Shape:1"]
    assert (moved.the_t, moved.the_z, moved.the_c, moved.x, moved.y) == (0, 0, None, 10, 20)
    assert matrix(moved.transform) == (1, 0, -5, 0, 1, -7)
    assert (turned.the_c, matrix(turned.transform)) == (0, (0, 1, 0, 1, 0, -1))
    assert (anyones.id, matrix(anyones.union[0].transform)) == ("ROI:2", (1, 0, -5, 0, 1, -7))


def test_regions_of_interest_move_with_their_own_image() -> None:
    part = overrides.apply(source_image(), Options(crop=(ALL, ALL, ALL, ALL, (5, 20))))
    ome = document(source_image(index=2), part)
    moved = {roi.id: [shape.transform and shape.transform.a02 for shape in roi.union] for roi in ome.rois}
    assert moved == {"ROI:0": [0, -5, -5], "ROI:2": [None]}


def matrix(transform: Any) -> tuple[float, ...]:
    return tuple(getattr(transform, f"a{row}{column}") for row in range(2) for column in range(3))


def test_a_region_of_interest_outside_goes_with_its_references() -> None:
    xml = changed(
        '<Point ID="Shape:1" X="1" Y="2" TheC="1">', '<Point ID="Shape:1" X="1" Y="2" TheC="1" TheT="0">'
    )
    ome = document(source_image(xml), crop=((2, 3), ALL, ALL, ALL, ALL))
    assert [roi.id for roi in ome.rois] == ["ROI:2"]
    assert ome.images[0].roi_refs == []


# -- some of the images --------------------------------------------------------------------------------------


def test_only_the_images_written_in_their_order() -> None:
    ome = document(source_image(index=2), source_image(index=0))
    assert [(i.id, i.name, i.pixels.id) for i in ome.images] == [
        ("Image:0", "image 2", "Pixels:0"),
        ("Image:1", "image 0", "Pixels:1"),
    ]
    assert [c.id for i in ome.images for c in i.pixels.channels] == [
        *(f"Channel:0:{c}" for c in range(4)),
        *(f"Channel:1:{c}" for c in range(2)),
    ]
    assert [len(i.pixels.planes) for i in ome.images] == [2, 24]
    assert [reference.id for reference in ome.datasets[0].image_refs] == ["Image:1", "Image:0"]
    samples = ome.plates[0].wells[0].well_samples
    assert [sample.image_ref and sample.image_ref.id for sample in samples] == ["Image:1", "Image:0"]
    assert ome.folders[0].image_refs == ome.folders[0].roi_refs == []
    assert {roi.id for roi in ome.rois} == {"ROI:0", "ROI:2"}
    assert [reference.id for reference in ome.images[1].roi_refs] == ["ROI:0"]


def test_what_only_images_left_out_referred_to_goes() -> None:
    ome = document(source_image())
    assert [instrument.id for instrument in ome.instruments] == ["Instrument:0"]
    kept = {annotation.id for annotation in ome.structured_annotations}
    assert kept == {f"Annotation:{number}" for number in (0, *range(3, 11))}


def test_one_image_can_be_written_twice() -> None:
    ome = document(source_image(), source_image())
    assert [image.description for image in ome.images] == ["a drop\nof water"] * 2
    assert [reference.id for reference in ome.datasets[0].image_refs] == ["Image:0"]


def test_references_to_nothing_go() -> None:
    xml = changed('<InstrumentRef ID="Instrument:0"/>', '<InstrumentRef ID="Instrument:9"/>')
    xml = xml.replace('<Detector ID="Detector:0" Model="eye"/>', "")
    xml = xml.replace('Annotator="Experimenter:0"', 'Annotator="Experimenter:9"')
    xml = xml.replace('<Leader ID="Experimenter:0"/>', '<Leader ID="Experimenter:9"/>')
    xml = xml.replace('<Pump ID="LightSource:0"/>', '<Pump ID="LightSource:9"/>')
    ome = document(source_image(xml))
    assert ome.creator != ALONE
    assert ome.experimenter_groups[0].leaders == []
    assert ome.instruments[0].lasers[1].pump is None
    assert ome.images[0].instrument_ref is None
    assert ome.images[0].pixels.channels[0].detector_settings is None
    assert {annotation.annotator for annotation in ome.structured_annotations} == {None}


# -- with what is not the source's ---------------------------------------------------------------------------


def test_annotations_of_both_kinds_are_told_apart() -> None:
    sections = {"Image": {"a": "b"}, "Log": {"c": "d"}}
    ome = document(source_image(original_metadata=sections))
    known = {annotation.id: annotation for annotation in ome.structured_annotations}
    assert len(known) == len(ome.structured_annotations) == 9 + 2
    referred = [known[reference.id] for reference in ome.images[0].annotation_refs]
    assert [annotation.description for annotation in referred] == [None, "Image", "Log"]


def test_nothing_of_the_source_is_kept_where_that_is_asked_for() -> None:
    image = source_image()
    assert text_of(image, original_metadata=False) == text_of(
        replace(image, ome=None), original_metadata=False
    )


def test_images_of_several_documents() -> None:
    other = (
        changed("a drop", "another").replace("Leeuwenhoek", "Hooke").replace("a microscope", "an engraver")
    )
    ome = document(
        source_image(), source_image(other), source_image(index=2), replace(source_image(), ome=None)
    )
    assert ome.creator == f"{ALONE} (from a document by a microscope) (from a document by an engraver)"
    assert [image.id for image in ome.images] == [f"Image:{i}" for i in range(4)]
    assert [image.description for image in ome.images] == [
        "a drop\nof water",
        "another\nof water",
        None,
        None,
    ]
    people = {person.id: person.last_name for person in ome.experimenters}
    assert [people[image.experimenter_ref.id] for image in ome.images[:2]] == ["Leeuwenhoek", "Hooke"]
    assert [people[group.leaders[0].id] for group in ome.experimenter_groups] == ["Leeuwenhoek", "Hooke"]
    assert {people[a.annotator] for a in ome.structured_annotations if a.annotator} == set(people.values())
    assert [[ref.id for ref in dataset.image_refs] for dataset in ome.datasets] == [
        ["Image:0", "Image:2"],
        ["Image:1"],
    ]
    assert ome.rights.rights_holder == "A. Leeuwenhoek"


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no XML",
        SOURCE[:-20],
        SOURCE.replace("2016-06", "2003-01"),
        changed('Type="Photobleaching"', 'Type="no experiment"'),
        changed('PositionXUnit="mm"', 'PositionXUnit="no unit"'),
        changed('ID="Shape:2"', 'ID="Shape:0"'),
        changed("16711808", "green"),
    ],
    ids=["empty", "text", "cut", "schema", "word", "unit", "twice", "number"],
)
def test_a_document_that_cannot_be_read_is_left_out(xml: str) -> None:
    image = replace(source_image(), ome=SourceOme(xml, 0))
    noted: list[str] = []
    assert text_of(image, noted=noted) == text_of(replace(image, ome=None), noted=noted)
    (line,) = noted
    assert re.fullmatch(r"the source's OME-XML cannot be carried on: .{5,200}", line)


def test_an_image_that_the_document_lacks_has_nothing_of_it() -> None:
    image = replace(source_image(), ome=SourceOme(SOURCE, 3))
    assert text_of(image) == text_of(replace(image, ome=None))
    ome = document(image, source_image())
    assert [image.description for image in ome.images] == [None, "a drop\nof water"]


# -- files by other programs ---------------------------------------------------------------------------------


def real(name: str) -> str:
    path = data_file(f"ometiff/{name}")
    xml = path.read_bytes() if path.suffix == ".xml" else ome_types._conversion.tiff2xml(path)
    return re.sub(r"<(TiffData|BinData)\b[^>]*?(/>|>.*?</\1>)", "", xml.decode(), flags=re.DOTALL)


def test_a_plate_by_bioformats() -> None:
    xml = real("bf_plate.ome.tif")
    known = ome_types.from_xml(xml)
    ome = document(*(source_image(xml, i) for i in range(8)))
    assert len(known.plates[0].wells) == 4
    assert xml_of(ome.plates) == xml_of(known.plates)
    assert xml_of(ome.instruments) == xml_of(known.instruments)
    some = document(source_image(xml, 5), source_image(xml, 2))
    samples = [sample for well in some.plates[0].wells for sample in well.well_samples]
    pointers = {sample.index: sample.image_ref.id for sample in samples if sample.image_ref}
    assert pointers == {5: "Image:0", 2: "Image:1"}


@pytest.mark.filterwarnings("ignore:Casting invalid")
def test_a_document_by_micromanager() -> None:
    xml = real("xml/MMStack.ome.xml")
    known = ome_types.from_xml(xml)
    ome = document(source_image(xml, 1), crop=((1, 2), (1, 3), (0, 2), ALL, ALL))
    (image,) = ome.images
    assert xml_of(image.stage_label) == xml_of(known.images[1].stage_label)
    assert image.instrument_ref.id == ome.instruments[0].id
    assert ome.instruments[0].detectors[0].model == "DemoCamera-MultiMode"
    kept = [p for p in known.images[1].pixels.planes if p.the_t == 1 and p.the_c > 0 and p.the_z < 2]
    assert len(kept) == 4
    assert [(p.delta_t, p.position_z) for p in image.pixels.planes] == [
        (p.delta_t, p.position_z) for p in kept
    ]
    assert [channel.name for channel in image.pixels.channels] == ["DAPI", "FITC"]


def test_a_document_with_odd_ids() -> None:
    ome = document(source_image(real("xml/multi-channel-z-series-time-series.ome.xml")))
    assert ome.images[0].acquisition_date.year == 2010
    assert [channel.id for channel in ome.images[0].pixels.channels] == ["Channel:0:0", "Channel:0:1"]


def test_a_colour_photograph() -> None:
    ome = document(source_image(real("cells.ome.tif")))
    assert ome.creator == f"{ALONE} (from a document by OME Bio-Formats 6.8.0)"
    assert len(ome.images[0].pixels.channels) == 3
