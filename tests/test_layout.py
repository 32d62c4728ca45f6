"""Where images are written in a store: at its root, numbered, as fields of a plate; and which of them."""

from __future__ import annotations

import json
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_tiffs
import pytest
import yaozarrs
import zarr
from data_folder import data_file
from lxml import etree
from ome_zarr_models import v04, v05
from plate_source import FIELDS, made, pixels_of, write
from stores import assert_means, assert_valid, attributes, levels

from ngff_convert import Options, convert, ngff_plate
from ngff_convert.cli import main
from ngff_convert.convert import open_source
from ngff_convert.errors import OptionError, VerificationError
from ngff_convert.ome_schema import NAMESPACE, fault
from ngff_convert.plates import Acquisition, Plate, PlateField
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["made"]
pytestmark = pytest.mark.usefixtures("made")
OME = f"{{{NAMESPACE}}}"
TOP = Path(__file__).parent.parent
SAMPLE = TOP / "sample_data/plate_2x2_f2.ome.tif"


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return write(tmp_path / "in.made", FIELDS)


def converted(source: Path, **options: Any) -> Path:
    out = source.with_name("out.ome.zarr")
    convert(source, out, Options(**options))
    return out


def described(store: Path) -> list[tuple[str, str, str]]:
    """Return row, column and image of each field in the sidecar, and hold it against the schema."""
    root = etree.parse(store / "OME/METADATA.ome.xml").getroot()
    assert fault(root) == ""
    names = {image.get("ID"): image.get("Name") for image in root.iterfind(f"{OME}Image")}
    return [
        (well.get("Row"), well.get("Column"), names[reference.get("ID")])
        for well in root.iterfind(f"{OME}Plate/{OME}Well")
        for reference in well.iterfind(f"{OME}WellSample/{OME}ImageRef")
    ]


# -- plates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_fields_of_a_plate_become_a_plate(plate: Path, version: str) -> None:
    out = converted(plate, ngff_version=version)
    found = attributes(out, version)["plate"]
    assert found == {
        "version": version,
        "name": "run 7",
        "rows": [{"name": name} for name in "ABC"],
        "columns": [{"name": name} for name in ("01", "02", "03", "04")],
        "wells": [
            {"path": "A/01", "rowIndex": 0, "columnIndex": 0},
            {"path": "B/02", "rowIndex": 1, "columnIndex": 1},
            {"path": "C/04", "rowIndex": 2, "columnIndex": 3},
        ],
        "field_count": 2,
    }
    assert attributes(out / "A", version) == {}
    assert attributes(out / "B/02", version)["well"] == {
        "version": version,
        "images": [{"path": "0"}, {"path": "1"}],
    }
    assert attributes(out / "C/04", version)["well"]["images"] == [{"path": "1"}]
    assert attributes(out / "OME", version)["series"] == ["A/01/0", "A/01/1", "B/02/0", "B/02/1", "C/04/1"]
    for number, folder in enumerate(attributes(out / "OME", version)["series"]):
        pyramid = levels(out / folder, version)
        np.testing.assert_array_equal(pyramid[0], pixels_of(number)[0])
        assert_means(pyramid)
        assert_valid(out / folder, out / folder)
    assert_valid(out, out)
    assert validate(out).findings == ()
    assert described(out) == [
        *(("0", "0", f"run 7 A/01/{n}") for n in "01"),
        *(("1", "1", f"run 7 B/02/{n}") for n in "01"),
        ("2", "3", "run 7 C/04/1"),
    ]


def test_acquisitions_are_those_that_are_written(tmp_path: Path) -> None:
    runs = [{"well": "A/01", "field": name, "run": run} for name, run in (("0", 0), ("1", 0), ("r3f0", 3))]
    source = write(tmp_path / "in.made", runs, runs=[0, 1])
    found = attributes(converted(source), "0.5")["plate"]
    assert found["acquisitions"] == [
        {"id": 0, "maximumfieldcount": 2, "name": "first"},
        {"id": 3, "maximumfieldcount": 1, "name": "second", "description": "again"},
    ]
    assert found["field_count"] == 3
    well = attributes(tmp_path / "out.ome.zarr/A/01", "0.5")["well"]["images"]
    assert well == [
        {"path": "0", "acquisition": 0},
        {"path": "1", "acquisition": 0},
        {"path": "r3f0", "acquisition": 3},
    ]
    assert_valid(tmp_path / "out.ome.zarr", tmp_path / "out.ome.zarr")
    assert validate(tmp_path / "out.ome.zarr").findings == ()
    root = etree.parse(tmp_path / "out.ome.zarr/OME/METADATA.ome.xml").getroot()
    assert fault(root) == ""
    acquisitions = root.findall(f"{OME}Plate/{OME}PlateAcquisition")
    assert [(a.get("Name"), len(a.findall(f"{OME}WellSampleRef"))) for a in acquisitions] == [
        ("first", 2),
        ("second", 1),
    ]
    only = converted(source, fields=("r3f0",), overwrite=True)
    assert [run["id"] for run in attributes(only, "0.5")["plate"]["acquisitions"]] == [3]


def test_times_of_acquisitions_are_seconds_since_1970() -> None:
    start, end = datetime(2012, 7, 31, 10, 41, 12, tzinfo=UTC), datetime(2012, 7, 31, 12)
    run = Acquisition(2, None, None, start, end)
    field = PlateField(Plate("p", ("A",), ("1",), (run, Acquisition(4))), "A", "1", "0", 2)
    assert ngff_plate.groups("0.5", [field])[""]["plate"]["acquisitions"] == [
        {"id": 2, "maximumfieldcount": 1, "starttime": 1343731272, "endtime": 1343736000}
    ]


def test_plates_and_wells_of_06_state_no_version() -> None:
    field = PlateField(Plate("", ("A",), ("1",)), "A", "1", "0")
    groups = ngff_plate.groups("0.6", [field])
    assert "version" not in groups[""]["plate"]
    assert groups["A/1"] == {"well": {"images": [{"path": "0"}]}}
    assert list(groups) == ["A", "A/1", ""]


@pytest.mark.parametrize(
    ("chosen", "series", "numbers"),
    [
        ({"wells": ("B02", "C04")}, ["B/02/0", "B/02/1", "C/04/1"], [2, 3, 4]),
        ({"wells": ("b2",), "fields": ("1",)}, ["B/02/1"], [3]),
        ({"wells": ("B/2",), "fields": ("01",)}, ["B/02/1"], [3]),
        ({"fields": ("0:1",)}, ["A/01/0", "B/02/0"], [0, 2]),
        ({"fields": (":",), "images": (4, 1)}, ["C/04/1", "A/01/1"], [4, 1]),
        ({"wells": ("A01", "B02"), "fields": ("0", "1"), "images": (3, 0)}, ["B/02/1", "A/01/0"], [3, 0]),
    ],
)
def test_wells_and_fields_are_chosen(
    plate: Path, chosen: dict[str, Any], series: list[str], numbers: list[int]
) -> None:
    out = converted(plate, **chosen)
    assert attributes(out / "OME", "0.5")["series"] == series
    for folder, number in zip(series, numbers, strict=True):
        np.testing.assert_array_equal(levels(out / folder, "0.5")[0], pixels_of(number)[0])
    found = attributes(out, "0.5")["plate"]
    assert [len(found[key]) for key in ("rows", "columns")] == [3, 4]
    assert {well["path"] for well in found["wells"]} == {folder.rpartition("/")[0] for folder in series}
    assert validate(out).findings == ()
    assert [name for _, _, name in sorted(described(out))] == [f"run 7 {folder}" for folder in sorted(series)]
    verified = verify(plate, out)
    assert verified.passed
    assert [image.source_image for image in verified.images] == [
        numbers[series.index(folder)] for folder in sorted(series, key=lambda f: f.rpartition("/")[0])
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"wells": ("D02",)}, "--wells D02: there is no such well: the plate has rows A to C and columns 01"),
        ({"wells": ("A02",)}, "--wells A02: this well has no image; those that have are A01, B02, C04"),
        ({"fields": ("7",)}, "--fields 7: there is no such field; there are 0, 1"),
        ({"fields": ("1:9",)}, "--fields 1:9: there are 2 fields, 0:2"),
        ({"wells": ("C04",), "fields": ("0",)}, "--wells C04 --fields 0: there is no such field in any of"),
        (
            {"wells": ("C04",), "images": (0, 1)},
            "--wells C04: this well has no image; those that have are A01",
        ),
        ({"wells": ()}, "--wells takes names with commas between, such as B02,C03"),
        ({"layout": "single"}, "--layout single takes one image, but 5 are to be written"),
        ({"layout": "separate"}, "--layout separate makes 5 stores"),
        ({"images": (1, 1)}, "the images 1, 1 are all the field A/01/1 of the plate"),
    ],
)
def test_what_is_not_in_the_plate_is_refused(plate: Path, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as refused:
        converted(plate, **chosen)
    assert message in str(refused.value)
    assert not plate.with_name("out.ome.zarr").exists()


def test_a_well_that_can_be_two_is_refused(tmp_path: Path) -> None:
    said = {"name": "", "rows": ["1", "11"], "columns": ["1", "11"], "runs": []}
    wells = ["1/11", "11/1"]
    source = write(tmp_path / "in.made", [{"well": well, "field": "0"} for well in wells], plates=[said])
    with pytest.raises(OptionError, match="--wells 111: can be 1/11 or 11/1: write it with the slash"):
        converted(source, wells=("111",))
    assert attributes(converted(source, wells=("11/1",)), "0.5")["plate"]["name"] == "in"


@pytest.mark.parametrize("option", ["wells", "fields"])
def test_what_is_no_plate_has_no_wells(tmp_path: Path, option: str) -> None:
    source = write(tmp_path / "in.made", [{"name": "a"}, {"name": "b"}])
    with pytest.raises(OptionError, match=f"--{option}: none of the images is a field of a plate"):
        converted(source, **{option: ("A01",)})
    with pytest.raises(OptionError, match="--layout plate: none of the images is a field of a plate"):
        converted(source, layout="plate")


def test_one_field_of_a_plate_that_is_chosen_as_an_image_is_at_the_root(plate: Path) -> None:
    assert "plate" in attributes(converted(plate, images=(3,), layout="plate"), "0.5")
    out = converted(plate, images=(3,), overwrite=True)
    np.testing.assert_array_equal(levels(out, "0.5")[0], pixels_of(3)[0])
    assert described(out) == [("1", "1", "in")]
    assert validate(out).findings == ()


def test_a_plate_can_be_a_collection(plate: Path) -> None:
    out = converted(plate, layout="bioformats2raw", wells=("B02",))
    assert attributes(out, "0.5")["bioformats2raw.layout"] == 3
    assert attributes(out / "OME", "0.5")["series"] == ["0", "1"]
    assert validate(out).findings == ()
    assert verify(plate, out).passed


def test_images_of_two_plates_and_of_none_are_a_collection(tmp_path: Path) -> None:
    plates = [{"name": name, "rows": ["A"], "columns": ["1"], "runs": []} for name in ("p", "q")]
    fields = [{"well": "A/1", "field": "0", "plate": number, "name": "x"} for number in (0, 1)]
    source = write(tmp_path / "in.made", [*fields, {"name": "overview"}], plates=plates)
    out = converted(source)
    assert attributes(out / "OME", "0.5")["series"] == ["0", "1", "2"]
    root = etree.parse(out / "OME/METADATA.ome.xml").getroot()
    assert fault(root) == ""
    assert [p.get("Name") for p in root.iterfind(f"{OME}Plate")] == ["p", "q"]
    with pytest.raises(OptionError, match="--layout plate: these images are not of the plate: 2; choose"):
        converted(source, layout="plate", overwrite=True)
    with pytest.raises(OptionError, match="--layout plate: the images are of 2 plates, p, q; choose"):
        converted(source, layout="plate", images=(0, 1), overwrite=True)
    one = converted(source, layout="plate", images=(1,), overwrite=True)
    assert attributes(one, "0.5")["plate"]["name"] == "q"


def test_a_name_that_is_given_is_the_plates(plate: Path) -> None:
    out = converted(plate, name="screen", wells=("A1",))
    assert attributes(out, "0.5")["plate"]["name"] == "screen"
    assert attributes(out / "A/01/1", "0.5")["multiscales"][0]["name"] == "screen A/01/1"


SCHEMA = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def own_xml() -> str:
    """Return what a microscope says of `FIELDS`, and of a second plate with an image of its own."""
    places = [(0, 0), (0, 0), (1, 1), (1, 1), (2, 3)]
    samples = [
        f'<WellSample ID="WellSample:{n}" Index="{n}"><ImageRef ID="Image:{n}"/></WellSample>'
        for n in range(5)
    ]
    wells = "".join(
        f'<Well ID="Well:{row}:{column}" Row="{row}" Column="{column}" ExternalDescription="w{row}">'
        + "".join(sample for sample, place in zip(samples, places, strict=True) if place == (row, column))
        + "</Well>"
        for row, column in sorted({*places, (2, 2)})
    )
    refs = "".join(f'<WellSampleRef ID="WellSample:{n}"/>' for n in range(5))
    pixels = (
        '<Pixels ID="Pixels:{0}" DimensionOrder="XYZCT" Type="uint16" SizeX="50" SizeY="40" SizeZ="1" '
        'SizeC="2" SizeT="1"><MetadataOnly/></Pixels>'
    )
    images = "".join(f'<Image ID="Image:{n}" Name="own {n}">{pixels.format(n)}</Image>' for n in range(6))
    return (
        f'<OME {SCHEMA}><Plate ID="Plate:1" Name="own plate" Rows="3" Columns="4">{wells}'
        f'<PlateAcquisition ID="PlateAcquisition:9">{refs}</PlateAcquisition></Plate>'
        '<Plate ID="Plate:2"><Well ID="Well:x" Row="0" Column="0"><WellSample ID="WellSample:9" Index="9">'
        f'<ImageRef ID="Image:5"/></WellSample></Well></Plate>{images}</OME>'
    )


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("wells", [None, ("C04", "B02")])
def test_the_sidecar_has_the_wells_of_the_images_that_are_there(
    tmp_path: Path, wells: tuple[str, ...] | None, kept: bool
) -> None:
    source = write(
        tmp_path / "in.made", [{**f, "name": f"n{n}"} for n, f in enumerate(FIELDS)], xml=own_xml()
    )
    out = converted(source, wells=wells, original_metadata=kept)
    expected = [("0", "0", "n0"), ("0", "0", "n1"), ("1", "1", "n2"), ("1", "1", "n3"), ("2", "3", "n4")]
    assert described(out) == expected[2 if wells else 0 :]
    root = etree.parse(out / "OME/METADATA.ome.xml").getroot()
    plates = root.findall(f"{OME}Plate")
    assert [p.get("Name") for p in plates] == ["own plate" if kept else "run 7"]
    samples = {sample.get("ID") for sample in root.iterfind(f".//{OME}WellSample")}
    assert len(samples) == len(described(out))
    if kept:
        assert {ref.get("ID") for ref in root.iterfind(f".//{OME}WellSampleRef")} == samples
        assert {well.get("ExternalDescription") for well in root.iterfind(f".//{OME}Well")} == {
            "w0",
            "w1",
            "w2",
        }


# -- collections -------------------------------------------------------------------------------------------


def test_names_and_order_of_images_are_kept(tmp_path: Path) -> None:
    names = ["z", "a", "", "a"]
    out = converted(write(tmp_path / "in.made", [{"name": name} for name in names]), images=(0, 2, 1, 3))
    series = attributes(out / "OME", "0.5")["series"]
    assert series == ["0", "1", "2", "3"]
    found = [attributes(out / folder, "0.5")["multiscales"][0]["name"] for folder in series]
    assert found == ["z", "in 1", "a", "a"]
    for folder, number in zip(series, (0, 2, 1, 3), strict=True):
        np.testing.assert_array_equal(levels(out / folder, "0.5")[0], pixels_of(number)[0])
    root = etree.parse(out / "OME/METADATA.ome.xml").getroot()
    assert [image.get("Name") for image in root.iterfind(f"{OME}Image")] == found
    assert validate(out).findings == ()


def placed(store: Path, folders: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return unit, scale and translation of level 0 along x of each image."""
    found = []
    for folder in folders:
        multiscales = attributes(store / folder, "0.5")["multiscales"][0]
        scale, shift = multiscales["datasets"][0]["coordinateTransformations"]
        found.append((multiscales["axes"][-1].get("unit"), scale["scale"][-1], shift["translation"][-1]))
    return found


def test_positions_are_in_one_unit(tmp_path: Path) -> None:
    images: list[dict[str, Any]] = [
        {"name": "a", "origin": (None, 0, 100)},
        {"name": "b", "unit": "millimeter", "origin": (None, 0, 0.1234)},
        {"name": "c", "unit": None, "origin": (None, 0, 7)},
    ]
    source = write(tmp_path / "in.made", images)
    out = converted(source)
    assert placed(out, "012") == [
        ("micrometer", 0.5, 100.0),
        ("micrometer", 500.0, 123.4),
        (None, 0.5, 7.0),
    ]
    alone = converted(source, images=(1,), overwrite=True)
    assert placed(alone, [""]) == [("millimeter", 0.5, 0.1234)]
    assert verify(source, alone).passed


def test_an_origin_that_is_given_is_that_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.made", [{"name": "a"}, {"name": "b"}])
    assert main([str(source), str(tmp_path / "out.ome.zarr"), "--origin", "0,3,4"]) == 0
    assert "note: --origin puts the first voxel of all 2 images at one place" in capsys.readouterr().err
    assert [shift for *_, shift in placed(tmp_path / "out.ome.zarr", "01")] == [4.0, 4.0]


def test_many_images_say_only_twice_what_they_were_chosen_of(tmp_path: Path) -> None:
    source = write(tmp_path / "in.made", [{"name": "a"}] * 102)
    out = converted(source)
    kwargs = [attributes(out / str(n), "0.5")["multiscales"][0]["metadata"]["kwargs"] for n in range(102)]
    assert [n for n, said in enumerate(kwargs) if "images" in said] == [0, 101]
    assert kwargs[101]["images"] == list(range(102))


# -- verification ------------------------------------------------------------------------------------------


def change(store: Path, group: str, key: str, edit: Any) -> None:
    path = store / group / "zarr.json"
    document = json.loads(path.read_text())
    edit(document["attributes"]["ome"][key])
    path.write_text(json.dumps(document))


def test_verify_finds_what_a_plate_lacks(plate: Path) -> None:
    out = converted(plate)
    assert verify(plate, out).passed
    change(out, "", "plate", lambda keys: keys["wells"].pop(1))
    found = verify(plate, out)
    assert not found.passed
    assert found.lost == (2, 3)
    change(out, "C/04", "well", lambda keys: keys["images"].append({"path": "1"}))
    with pytest.raises(VerificationError, match="the plate lists 'C/04/1' twice"):
        verify(plate, out)
    change(out, "C/04", "well", lambda keys: keys.update(images=[{"field": "1"}]))
    with pytest.raises(VerificationError, match=r"C/04: its images are not as OME-NGFF 0\.5 has them"):
        verify(plate, out)


@pytest.mark.parametrize(
    ("group", "key", "edit", "finding"),
    [
        ("", "plate", lambda k: k.update(field_count=1), ("error", "", "plate-fields")),
        ("", "plate", lambda k: k["wells"].pop(0), ("warning", "A/01", "plate-unlisted")),
        ("", "plate", lambda k: k["wells"][0].update(rowIndex=1), ("error", "", "plate-well")),
        ("", "plate", lambda k: k["wells"][0].update(path="A/1"), ("error", "A/1", "node-missing")),
        ("", "plate", lambda k: k.update(version="0.4"), ("error", "", "version-mixed")),
        ("A/01", "well", lambda k: k.update(version="0.4"), ("error", "A/01", "version-mixed")),
        ("A/01", "well", lambda k: k["images"].append({"path": "9"}), ("error", "A/01/9", "node-missing")),
        ("OME", "series", lambda k: k.append("A/01/7"), ("error", "OME", "series")),
        ("OME", "series", lambda k: k.pop(), ("warning", "OME", "series")),
    ],
)
def test_validate_finds_faults_of_plates(
    plate: Path, group: str, key: str, edit: Any, finding: tuple[str, str, str]
) -> None:
    out = converted(plate)
    change(out, group, key, edit)
    assert finding in {(f.grade, f.path, f.rule) for f in validate(out).findings}


def test_validate_counts_fields_of_acquisitions(tmp_path: Path) -> None:
    runs = [{"well": "A/01", "field": str(n), "run": n // 2 * 3} for n in range(4)]
    out = converted(write(tmp_path / "in.made", runs, runs=[0, 1]))
    change(out, "", "plate", lambda keys: keys.update(field_count=2))  # as some count them, of each run
    assert validate(out).findings == ()
    change(out, "", "plate", lambda keys: keys["acquisitions"][1].update(maximumfieldcount=1))
    (found,) = validate(out).findings
    assert found.message == "maximumfieldcount of the acquisition 3 is 1, but a well has 2"


@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_plates_of_other_versions_are_sound(plate: Path, version: str) -> None:
    out = converted(plate, ngff_version=version)
    assert ("version" in attributes(out, version)["plate"]) is (version == "0.5")
    assert validate(out).findings == ()
    assert verify(plate, out).passed


# -- files -------------------------------------------------------------------------------------------------


def test_stage_positions_of_a_file_are_translations(tmp_path: Path) -> None:
    images, pages = [], []
    for number, (unit, size, position) in enumerate((("µm", 0.5, "120.5"), ("nm", 500, "0.13"))):
        pixels = ome_tiffs.coded() + np.uint16(number)
        pages += ome_tiffs.pages_of(pixels)
        stated: dict[str, Any] = {f"PhysicalSize{axis}": size for axis in "XY"}
        stated |= {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
        place = {f"Position{axis}": position for axis in "XY"}
        place |= {f"Position{axis}Unit": "µm" if number == 0 else "mm" for axis in "XY"}
        plane = f"<Plane{ome_tiffs.attributes(TheZ=0, TheC=0, TheT=0, **place)}/>"
        inner = ome_tiffs.channel(number) + ome_tiffs.data(IFD=number, PlaneCount=1) + plane
        images.append(ome_tiffs.image(pixels, inner, number=number, **stated))
    source = ome_tiffs.write(tmp_path / "in.ome.tif", pages, ome_tiffs.document(*images))
    out = converted(source)
    assert placed(out, "01") == [("micrometer", 0.5, 120.5), ("micrometer", 0.5, 130.0)]
    assert validate(out).findings == ()
    assert verify(source, out).passed


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_series_of_a_file_keep_names_and_order(tmp_path: Path, version: str) -> None:
    source = data_file("ometiff/tf_two_series.ome.tif")
    out = tmp_path / "out.ome.zarr"
    convert(source, out, Options(ngff_version=version))
    assert attributes(out / "OME", version)["series"] == ["0", "1"]
    found = [attributes(out / folder, version)["multiscales"][0] for folder in ("0", "1")]
    assert [item["name"] for item in found] == ["first", "second"]
    assert [levels(out / folder, version)[0].sum() for folder in ("0", "1")] == [2476929, 47291]
    yaozarrs.validate_zarr_store(str(out))
    group = zarr.open_group(out, mode="r")  # `open_ome_zarr` does not try the model of 0.5
    if version == "0.4":
        v04.BioFormats2Raw.from_zarr(group)
    else:
        v05.BioFormats2Raw.from_zarr(group)
    assert validate(out).findings == ()
    assert verify(source, out).passed


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_that_bio_formats_wrote(tmp_path: Path, version: str) -> None:
    source = SAMPLE
    out = tmp_path / "out.ome.zarr"
    convert(source, out, Options(ngff_version=version, wells=("B02", "A1")))
    folders = ["A/1/0", "A/1/1", "B/2/0", "B/2/1"]
    assert attributes(out / "OME", version)["series"] == folders
    assert attributes(out, version)["plate"]["acquisitions"][0]["starttime"] == 1146766431
    names = ["plate", "plate 2", "plate 7", "plate 8"]
    assert described(out) == [(n, n, name) for n, name in zip(list("0011"), names, strict=True)]
    assert_valid(out, out)
    assert validate(out).findings == ()
    assert verify(source, out).passed


# -- the README --------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TOP / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n### Collections and plates\n")[2].partition("\n### ")[0]
    block = section.partition("```\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, "plate.ome.tif")
    blocks = [ome_tiffs.coded() + np.uint16(number) for number in (0, 1)]
    images = [
        ome_tiffs.image(pixels, ome_tiffs.data(IFD=number, PlaneCount=1), number=number)
        for number, pixels in enumerate(blocks)
    ]
    pages = [page for pixels in blocks for page in ome_tiffs.pages_of(pixels)]
    ome_tiffs.write(tmp_path / "series.ome.tif", pages, ome_tiffs.document(*images))
    for line in block.splitlines():
        command, *words = shlex.split(line, comments=True)
        assert command == "ngff-convert"
        assert main(words) == 0, line
    made = sorted(path.name for path in tmp_path.glob("*.ome.zarr"))
    assert made == [
        *("all.ome.zarr", "field.ome.zarr", "one.ome.zarr", "out_image_0.ome.zarr", "out_image_1.ome.zarr"),
        *("plate.ome.zarr", "some.ome.zarr"),
    ]
    assert all(validate(tmp_path / name).findings == () for name in made)
    assert attributes(tmp_path / "some.ome.zarr/OME", "0.5")["series"] == ["A/1/0", "B/2/0"]
    np.testing.assert_array_equal(levels(tmp_path / "one.ome.zarr", "0.5")[0], blocks[1][0])
    with open_source(SAMPLE) as source:
        expected = source.images[7].pixels[...][0]
    np.testing.assert_array_equal(levels(tmp_path / "field.ome.zarr", "0.5")[0], expected)
