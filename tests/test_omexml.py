"""The OME-XML sidecar: held to the official schema, and every value read back through ome-types."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import ome_types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import NoPixels
from ome_types.model import OME, MapAnnotation, Pixels_DimensionOrder, PixelType, UnitsLength, UnitsTime

from ngff_convert import omexml
from ngff_convert import plan as planning
from ngff_convert.model import Calibration, Channel, Image
from ngff_convert.omexml import ORIGINAL_METADATA, PixelTypeError, build
from ngff_convert.options import Options
from ngff_convert.units import SPACE_UNITS
from ngff_convert.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ngff_convert.model import Shape

START = datetime(2024, 3, 5, 11, 0, 30, 250_000)
CALIBRATED = Calibration(zyx=(1.5, 0.25, 0.125), unit="micrometer", origin_zyx=(0.75, -10.5, 1e-7))
HAS_SCHEMA_CHECK = find_spec("lxml") is not None or find_spec("xmlschema") is not None


def an_image(shape: Shape = (1, 2, 5, 40, 33), dtype: str = "uint16", **fields: Any) -> Image:
    fields = {"name": "kidney", "channels": (Channel(),) * shape[1], **fields}
    return Image(pixels=NoPixels(shape, dtype, (1, 1, 4, 16, 16)), **fields)


def document(*images: Image, original_metadata: bool = True, **options: Any) -> str:
    resources = planning.Resources(workers=1, memory=2**30)
    plans = [planning.build(image, Options(**options), resources) for image in images]
    return build(list(zip(images, plans, strict=True)), [], original_metadata=original_metadata)


def read(xml: str) -> OME:
    if HAS_SCHEMA_CHECK:
        ome_types.validate_xml(xml)
    return ome_types.from_xml(xml)


def read_one(image: Image, **options: Any) -> Any:
    return read(document(image, **options)).images[0]


# -- the schema ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_SCHEMA_CHECK, reason="needs lxml or xmlschema; without, no document is validated")
def test_the_schema_sees_a_fault() -> None:
    xml = document(an_image())
    ome_types.validate_xml(xml)
    with pytest.raises(ValueError, match="SizeX"):
        ome_types.validate_xml(xml.replace("SizeX", "Size"))


def test_a_document_with_everything_is_valid() -> None:
    stamps = tuple(START + timedelta(seconds=s) for s in (0, 1, 5))
    channel = Channel("DAPI", "0000FF", 461.5, 358.0, (0, 1000))
    image = an_image(
        (3, 2, 5, 40, 33),
        channels=(channel, Channel()),
        calibration=CALIBRATED,
        time_stamps=stamps,
        original_metadata={"Image": {"Unit": "um"}},
    )
    assert len(read(document(image, image)).images) == 2


def test_the_schema_is_named_and_so_is_the_program() -> None:
    xml = document(an_image())
    root = ElementTree.fromstring(xml)
    assert xml.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert root.tag == "{http://www.openmicroscopy.org/Schemas/OME/2016-06}OME"
    assert read(xml).creator == f"ngff-convert {__version__}"


# -- pixels --------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_level_0() -> None:
    pixels = read_one(an_image((3, 2, 5, 40, 33))).pixels
    assert (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (3, 2, 5, 40, 33)
    assert pixels.dimension_order is Pixels_DimensionOrder.XYZCT
    assert pixels.metadata_only is not None
    assert pixels.big_endian is False
    assert len(pixels.channels) == 2


@pytest.mark.parametrize(
    "dtype",
    [f"{sign}int{bits}" for bits in (8, 16, 32) for sign in ("u", "")] + ["float32", "float64", "bool"],
)
def test_types_that_ome_has(dtype: str) -> None:
    assert read_one(an_image(dtype=dtype)).pixels.type.numpy_dtype == dtype


def test_the_type_is_that_of_the_pixels_written() -> None:
    assert read_one(an_image(dtype="float64"), dtype="uint8").pixels.type is PixelType.UINT8


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float16"])
def test_a_type_that_ome_lacks_is_said(dtype: str) -> None:
    with pytest.raises(PixelTypeError, match=rf"no pixel type for {dtype} \(image 1\)"):
        document(an_image(), an_image(dtype=dtype))


# -- calibration ---------------------------------------------------------------------------------------------


def test_voxel_sizes_and_origin() -> None:
    image = read_one(an_image(calibration=CALIBRATED))
    pixels, label = image.pixels, image.stage_label
    assert (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x) == (1.5, 0.25, 0.125)
    assert pixels.physical_size_z_unit is pixels.physical_size_x_unit is UnitsLength.MICROMETER
    assert (label.z, label.y, label.x) == (0.75, -10.5, 1e-7)
    assert label.z_unit is label.y_unit is label.x_unit is UnitsLength.MICROMETER
    assert label.name == "centre of the first voxel"


def test_what_is_unknown_is_left_out() -> None:
    xml = document(an_image(name="", original_metadata={}))
    for word in (
        "PhysicalSize",
        "Unit",
        "Time",
        "Stage",
        "Plane",
        "Annotation",
        "Name",
        "Color",
        "Wave",
        "Date",
    ):
        assert word not in xml
    read(xml)


def test_each_axis_is_known_or_not() -> None:
    calibration = Calibration(zyx=(None, 0.25, 0.5), unit="nanometer", origin_zyx=(None, 3.0, None))
    image = read_one(an_image(calibration=calibration))
    assert image.pixels.physical_size_z is None
    assert (image.pixels.physical_size_y, image.pixels.physical_size_x) == (0.25, 0.5)
    assert (image.stage_label.z, image.stage_label.y, image.stage_label.x) == (None, 3.0, None)


def test_sizes_in_an_unknown_unit_are_not_passed_off_as_micrometres() -> None:
    image = read_one(an_image(calibration=replace(CALIBRATED, unit=None)))
    assert image.pixels.physical_size_x is None
    assert image.stage_label is None


@pytest.mark.parametrize("unit", SPACE_UNITS)
def test_every_unit_of_length(unit: str) -> None:
    pixels = read_one(an_image(calibration=replace(CALIBRATED, unit=unit))).pixels
    assert pixels.physical_size_x_unit.name.lower() == unit


# -- time ----------------------------------------------------------------------------------------------------


def test_even_time_points_have_an_increment_and_no_planes() -> None:
    stamps = tuple(START + timedelta(seconds=2.5 * t) for t in range(3))
    image = read_one(an_image((3, 1, 1, 8, 8), time_stamps=stamps, calibration=Calibration(t_s=2.5)))
    assert image.acquisition_date == START
    assert image.pixels.time_increment == 2.5
    assert image.pixels.time_increment_unit is UnitsTime.SECOND
    assert image.pixels.planes == []


def test_uneven_time_points_have_planes_and_no_increment() -> None:
    stamps = tuple(START + timedelta(seconds=s) for s in (0, 1.25, 5))
    pixels = read_one(an_image((3, 2, 4, 8, 8), time_stamps=stamps)).pixels
    assert pixels.time_increment is None
    assert [(p.the_t, p.the_c, p.the_z, p.delta_t) for p in pixels.planes] == [
        (0, 0, 0, 0.0),
        (1, 0, 0, 1.25),
        (2, 0, 0, 5.0),
    ]
    assert {plane.delta_t_unit for plane in pixels.planes} == {UnitsTime.SECOND}


def test_one_time_point_has_a_date_only() -> None:
    image = read_one(an_image(time_stamps=(START,)))
    assert image.acquisition_date == START
    assert image.pixels.planes == []


def test_planes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(omexml, "MAX_PLANES", 4)
    stamps = tuple(START + timedelta(seconds=t**2) for t in range(9))
    planes = read_one(an_image((9, 1, 1, 8, 8), time_stamps=stamps)).pixels.planes
    assert [plane.delta_t for plane in planes] == [0.0, 1.0, 4.0, 9.0]


# -- channels ------------------------------------------------------------------------------------------------


def test_channels() -> None:
    known = Channel("DAPI", "0080FF", emission_nm=461.5, excitation_nm=358)
    first, second = read_one(an_image(channels=(known, Channel()))).pixels.channels
    assert first.name == "DAPI"
    assert first.color.as_rgb_tuple(alpha=True) == (0x00, 0x80, 0xFF, 1.0)
    assert (first.emission_wavelength, first.excitation_wavelength) == (461.5, 358.0)
    assert first.emission_wavelength_unit is first.excitation_wavelength_unit is UnitsLength.NANOMETER
    assert (second.name, second.emission_wavelength, second.excitation_wavelength) == (None, None, None)
    assert [first.samples_per_pixel, second.samples_per_pixel] == [1, 1]


@pytest.mark.parametrize("wavelength", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wavelength_that_no_light_has_is_left_out(wavelength: float) -> None:
    (channel,) = read_one(
        an_image((1, 1, 1, 8, 8), channels=(Channel("a", None, wavelength, 488.0),))
    ).pixels.channels
    assert (channel.emission_wavelength, channel.excitation_wavelength) == (None, 488.0)


# -- original metadata ---------------------------------------------------------------------------------------


def annotations_of(ome: OME) -> list[MapAnnotation]:
    annotations = list(ome.structured_annotations or ())
    assert all(isinstance(a, MapAnnotation) and a.namespace == ORIGINAL_METADATA for a in annotations)
    return annotations


def sections_of(ome: OME, index: int) -> dict[str | None, dict[str | None, str]]:
    referred = {ref.id for ref in ome.images[index].annotation_refs}
    return {
        a.description: {m.k: m.value for m in a.value.ms} for a in annotations_of(ome) if a.id in referred
    }


def test_original_metadata_belongs_to_its_image() -> None:
    first = {"Image": {"Unit": "um", "Empty": ""}, "Log": {}}
    second = {"Image": {"Unit": "nm"}}
    ome = read(document(an_image(original_metadata=first), an_image(original_metadata=second)))
    assert sections_of(ome, 0) == first
    assert sections_of(ome, 1) == second
    assert len({ref.id for image in ome.images for ref in image.annotation_refs}) == 3


def test_original_metadata_can_be_left_out() -> None:
    image = an_image(original_metadata={"Image": {"Unit": "um"}})
    ome = read(document(image, original_metadata=False))
    assert ome.images[0].annotation_refs == []
    assert annotations_of(ome) == []


# -- any text ------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec=None))  # lone surrogates and control characters too
colors = st.none() | st.text("0123456789ABCDEF", min_size=6, max_size=6)
wavelengths = st.none() | st.floats(min_value=1, max_value=1e5)
channels = st.lists(
    st.builds(Channel, st.none() | texts, colors, wavelengths, wavelengths), min_size=1, max_size=4
)
sizes = st.none() | st.floats(min_value=1e-12, max_value=1e12)
origins = st.none() | st.floats(min_value=-1e12, max_value=1e12)
calibrations = st.builds(
    Calibration,
    st.tuples(sizes, sizes, sizes),
    st.none() | st.sampled_from(sorted(SPACE_UNITS)),
    sizes,
    st.tuples(origins, origins, origins),
)


def as_xml_holds_it(text: str) -> str:
    """Say it another way than the module does: one character at a time, as the XML standard lists them."""
    kept = [
        char
        if char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"
        else "\ufffd"
        for char in text
    ]
    return "".join(kept)


@given(
    name=texts,
    channels=channels,
    calibration=calibrations,
    sections=st.dictionaries(texts, st.dictionaries(texts, texts, max_size=3), max_size=3),
)
def test_any_values_come_back(
    name: str, channels: list[Channel], calibration: Calibration, sections: Mapping[str, Mapping[str, str]]
) -> None:
    image = an_image(
        (1, len(channels), 2, 8, 8),
        name=name,
        channels=tuple(channels),
        calibration=calibration,
        original_metadata=sections,
    )
    xml = document(image)
    ome = read(xml)
    again = ome.images[0]
    assert (again.name or "") == as_xml_holds_it(name)
    for channel, parsed in zip(channels, again.pixels.channels, strict=True):
        assert (parsed.name or "") == as_xml_holds_it(channel.name or "")
        assert parsed.emission_wavelength == channel.emission_nm
        assert parsed.excitation_wavelength == channel.excitation_nm
        color = "".join(f"{part:02X}" for part in parsed.color.as_rgb_tuple(alpha=False))
        assert color == (channel.color or "FFFFFF")
    if calibration.unit:
        pixels = again.pixels
        assert (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x) == calibration.zyx
        if any(x is not None for x in calibration.origin_zyx):
            label = again.stage_label
            assert label is not None
            assert (label.z, label.y, label.x) == calibration.origin_zyx
    assert again.pixels.time_increment == calibration.t_s
    tag = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
    found = [
        (a.findtext(f"{tag}Description"), [(m.get("K"), m.text or "") for m in a.iter(f"{tag}M")])
        for a in ElementTree.fromstring(xml).iter(f"{tag}MapAnnotation")
    ]
    assert found == [
        (as_xml_holds_it(section), [(as_xml_holds_it(k), as_xml_holds_it(v)) for k, v in entries.items()])
        for section, entries in sections.items()
    ]


@pytest.mark.parametrize("text", ["a\r\nb", "\r", "  both ends  ", "\n", "<&>\"'", "µ ß 中 😀", "]]>"])
def test_awkward_text_comes_back_exactly(text: str) -> None:
    xml = document(an_image(name=text, original_metadata={text: {text: text}}))
    ome = read(xml)
    (annotation,) = annotations_of(ome)
    assert ome.images[0].name == text
    assert annotation.description == text
    assert [(m.k, m.value) for m in annotation.value.ms] == [(text, text)]


@pytest.mark.parametrize("character", ["\0", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_replaced(character: str) -> None:
    name = f"a{character}b"
    image = read_one(an_image(name=name, channels=(Channel(name), Channel()), original_metadata={name: {}}))
    assert image.name == image.pixels.channels[0].name == "a\ufffdb"


def test_a_document_has_a_line_for_each_element() -> None:
    assert "\n  <Image " in document(an_image())


def test_ome_types_loads_only_when_a_document_is_written() -> None:
    code = "import sys; import ngff_convert.convert, ngff_convert.ngff; print('ome_types' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
