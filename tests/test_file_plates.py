"""Plates of TIFF files: every file at its well, field and place, by a pattern or by an instrument's names."""

from __future__ import annotations

import pickle
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from plates import SHAPE, coded, field_of, place, write_field

import ngff_convert
from ngff_convert.errors import OptionError, ReadError, UnsupportedInput
from ngff_convert.plates import Acquisition
from ngff_convert.readers import open_files
from ngff_convert.readers.file_guess import guess
from ngff_convert.readers.file_patterns import natural, parse
from ngff_convert.readers.file_plates import arrange_plate
from ngff_convert.readers.file_series import FileSeriesReader
from ngff_convert.readers.file_vendors import vendor_of
from ngff_convert.readers.wells import letters
from ngff_convert.testing import check_reader

if TYPE_CHECKING:
    from numpy.typing import NDArray

GUID = "0C13CA92-AC92-4844-8894-22022892848C"
WELLS = ((1, 1), (1, 2), (2, 10))


def write_plate(
    folder: Path, template: str, fields: int = 2, first: int = 1
) -> dict[tuple[str, str, str], NDArray[Any]]:
    """Write three wells; return the pixels of each field."""
    found = {}
    for (row, column), field in product(WELLS, range(fields)):
        pixels = coded(row, column, field)
        names: dict[str, Any] = {
            "row": letters(row),
            "col": column + 1,
            "row_number": row + 1,
            "field": field + first,
        }
        well = f"{letters(row)}{column + 1:02}"
        found[letters(row), f"{column + 1:02}", str(field + first)] = write_field(
            folder, template, pixels, well=well, guid=GUID, **names
        )
    return found


# -- patterns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("{well}_f{field}_t{t}_c{c}_z{z}.tif", "{row}{col}_f{field}_t{t}_c{c}_z{z}.tif"),
        ("{well}_f{field}_t{t}_c{c}_z{z}.tif", "{well}_f{field}_t{t}_c{c}_z{z}.tif"),
        ("x y_{well}f{field}t{t}c{c}z{z}.tif", "*_{WELL}f{field:d}t{t:d}c{c:d}z{z:d}.tif"),
        ("{row}/{col:02}/{field}/t{t}_c{c}_z{z}.tif", "{row}/{col}/{field}/t{t}_c{c}_z{z}.tif"),
        ("{well}/f{field}/{well}_t{t}_c{c}_z{z}.tif", "{row}{col}/f{field}/{row}{col}_t{t}_c{c}_z{z}.tif"),
        ("r{row_number:02}c{col:02}f{field}_{t}_{c}_{z}.tif", "r{row}c{column}f{field}_{t}_{c}_{z}.tif"),
    ],
)
def test_a_pattern_with_wells(tmp_path: Path, template: str, pattern: str) -> None:
    expected = write_plate(tmp_path, template)
    with ngff_convert.open(str(tmp_path / pattern)) as source:
        assert [place(image) for image in source.images] == list(expected)
        for image, pixels in zip(source.images, expected.values(), strict=True):
            np.testing.assert_array_equal(image.pixels[...], pixels)
        plate = field_of(source.images[0]).plate
        assert source.missing == []
    assert plate.rows == tuple("ABCDEFGH")
    assert plate.columns == tuple(f"{n:02}" for n in range(1, 13))
    assert (plate.acquisitions, plate.missing) == ((), ())
    assert "wells B02 to C11 (3) of a plate of 96, 8 x 12" in source.warnings[0]


def test_images_are_called_by_their_well(tmp_path: Path) -> None:
    write_plate(tmp_path / "run 7", "{well}_f{field}_t{t}_c{c}_z{z}.tif")
    with ngff_convert.open(str(tmp_path / "run 7" / "{well}_f{field}_t{t}_c{c}_z{z}.tif")) as source:
        assert [image.name for image in source.images][:2] == ["B02 field 1", "B02 field 2"]
        assert field_of(source.images[0]).plate.name == "run 7"


def test_missing_files_are_told_for_their_image_and_read_as_0(tmp_path: Path) -> None:
    template = "{well}_f{field}_t{t}_c{c}_z{z}.tif"
    gaps = {1: [(0, 1, 1), (1, 0, 0)], 2: [(t, 1, z) for t in range(2) for z in range(3)]}
    expected = [
        write_field(tmp_path, template, coded(0, 0, field), gaps.get(field, []), well="A1", field=field)
        for field in range(3)
    ]
    with ngff_convert.open(str(tmp_path / template)) as source:
        for image, pixels in zip(source.images, expected, strict=True):
            np.testing.assert_array_equal(image.pixels[...], pixels)
        assert source.missing == [
            "A1 field 1: 2 of 12 files are missing: t 1, c 2, z 2; t 2, c 1, z 1",
            "A1 field 2: 6 of 12 files are missing: c 2",
        ]
    with pytest.raises(ReadError, match="A1 field 2: 6 of 12 files are missing"):
        ngff_convert.convert(str(tmp_path / template), tmp_path / "out")


def test_many_missing_files_are_told_shortly() -> None:
    names = [f"A{well}_z{z}.tif" for well in range(1, 13) for z in (1, 3)] + ["A1_z2.tif"]
    found = arrange_plate(names, parse("{well}_z{z}.tif"), "p")
    assert len(found.missing) == 11
    assert found.missing[-1] == "1 more files are missing, of 1 other fields"


def test_wells_without_a_field_are_listed_where_half_of_the_wells_have_it() -> None:
    names = [f"{row}{column:02}_f{f}.tif" for row in "AB" for column in (1, 2) for f in (1, 2)]
    names = [name for name in names if name != "B01_f2.tif"] + ["A01_f9.tif"]
    found = arrange_plate(names, parse("{row}{col}_f{field}.tif"), "p")
    assert found.fields[0].place.plate.missing == (("B", "01", "2"),)
    assert "1 field is missing that most wells have: B01 field 2" in found.notes
    assert found.missing == ()


def test_fields_may_have_fewer_time_points_and_planes(tmp_path: Path) -> None:
    template = "{well}_t{t}_z{z}.tif"
    shapes = {"A1": (2, 1, 3, 4, 5), "A2": (1, 1, 3, 4, 5), "A3": (2, 1, 2, 4, 5), "A4": (2, 1, 3, 4, 5)}
    expected = [
        write_field(tmp_path, template, coded(0, n, 0, shape), well=well)
        for n, (well, shape) in enumerate(shapes.items())
    ]
    with ngff_convert.open(str(tmp_path / template)) as source:
        for image, pixels in zip(source.images, expected, strict=True):
            np.testing.assert_array_equal(image.pixels[...], pixels)
        assert source.missing == []
        note = "2 fields are of t2 z3 in files, but A2 field 0 of t1 z3, A3 field 0 of t2 z2"
        assert note in source.warnings


def test_channels_are_those_of_the_plate(tmp_path: Path) -> None:
    for well, names in (("A1", ("GFP",)), ("A2", ("DAPI", "GFP"))):
        for name in names:
            write_field(tmp_path, "{well}_{name}.tif", coded(0, 0, 0, (1, 1, 1, 4, 5)), well=well, name=name)
    with ngff_convert.open(str(tmp_path / "{well}_{c}.tif")) as source:
        assert [[channel.name for channel in image.channels] for image in source.images] == [
            ["DAPI", "GFP"]
        ] * 2
        assert source.images[0].pixels[0, 0].max() == 0
        assert source.images[0].pixels[0, 1].min() > 0
        assert source.missing == ["A1 field 0: 1 of 2 files is missing: c DAPI"]


def test_acquisitions(tmp_path: Path) -> None:
    for day, well, field in product(("day 1", "day 2"), ("A1", "A2"), (1, 2)):
        pixels = coded(int(day[-1]), int(well[-1]), field, (1, 1, 1, 4, 5))
        write_field(tmp_path, "{day}/{well}_{field}.tif", pixels, day=day, well=well, field=field)
    with ngff_convert.open(str(tmp_path / "{acquisition}/{well}_{field}.tif")) as source:
        plate = field_of(source.images[0]).plate
        assert plate.acquisitions == (Acquisition(0, "day 1"), Acquisition(1, "day 2"))
        found = [(place(image), field_of(image).acquisition) for image in source.images]
        values = [int(image.pixels[0, 0, 0, 0, 0]) for image in source.images]
    assert found[:4] == [
        (("A", "1", "0"), 0),
        (("A", "1", "1"), 0),
        (("A", "1", "2"), 1),
        (("A", "1", "3"), 1),
    ]
    keys = product((1, 2), (1, 2), (1, 2))  # well, day, field
    assert values == [coded(day, well, field, (1, 1, 1, 4, 5)).flat[0] for well, day, field in keys]


def test_files_may_be_stacks_with_sizes_and_positions_in_their_tags(tmp_path: Path) -> None:
    for n, well in enumerate(("A1", "A2")):
        ome = f'<Plane TheT="0" TheC="0" TheZ="0" PositionX="{n}" PositionXUnit="mm"/>'
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
            'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint32" SizeX="5" SizeY="4" SizeZ="3" SizeC="1" '
            f'SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5"><TiffData/>{ome}</Pixels></Image></OME>'
        )
        stack = coded(0, n, 0, (1, 1, 3, 4, 5))[0, 0]
        tifffile.imwrite(
            tmp_path / f"{well}.tif", stack, description=xml, metadata=None, photometric="minisblack"
        )
    with ngff_convert.open(str(tmp_path / "{well}.tif")) as source:
        assert [image.calibration.origin_zyx[2] for image in source.images] == [0, 1000]
        assert source.images[1].calibration.zyx == (None, 0.5, 0.5)
        np.testing.assert_array_equal(source.images[1].pixels[...], coded(0, 1, 0, (1, 1, 3, 4, 5)))


def test_opening_opens_no_more_files_than_one_image_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plate(tmp_path, "{well}_f{field}_t{t}_c{c}_z{z}.tif", fields=4)
    opened: list[str] = []
    real = open_files.OpenFile.__init__

    def noting(self: open_files.OpenFile, path: str) -> None:
        opened.append(path)
        real(self, path)

    monkeypatch.setattr(open_files.OpenFile, "__init__", noting)
    with ngff_convert.open(str(tmp_path / "{well}_f{field}_t{t}_c{c}_z{z}.tif")) as source:
        assert len(source.images) == 12
        assert len(source.paths) == 144
        assert {Path(path).name[:6] for path in opened} == {"B02_f1"}


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{row}_f{field}.tif", "a well is told by {well}, or by {row} and {col}"),
        ("f{field}.tif", "a well is told by {well}"),
        ("{well}_{row}{col}.tif", "give one or the others"),
        ("{row:d}{col}.tif", "nothing tells where {row} ends and {column} begins"),
        ("{row}{field}_{col}.tif", "nothing tells where {row} ends and {field} begins"),
        ("{well}{col:d}_{row}.tif", "nothing tells where {well} ends"),
        ("{plate}_{well}.tif", "a brace holds t, c or z, of plates well, row, col, field or acquisition"),
    ],
)
def test_patterns_that_tell_no_well_are_refused(pattern: str, said: str) -> None:
    with pytest.raises(OptionError) as error:
        parse(pattern)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("names", "pattern", "said"),
    [
        (["A1.tif", "A01.tif"], "{well}.tif", "are both"),
        (["rAc1.tif", "r2c1.tif"], "r{row}c{col}.tif", "some rows are letters and some are numbers"),
        (["A1_2024.tif"], "A{well}_{t}.tif", "no file matches"),
        (["A20240101.tif"], "{row}{col}.tif", "a plate has no column 20240101"),
    ],
)
def test_names_that_tell_no_plate_are_refused(names: list[str], pattern: str, said: str) -> None:
    with pytest.raises((OptionError, ReadError), match=said):
        arrange_plate(names, parse(pattern), "p")


# -- rows, columns and plates ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wells", "size", "ends"),
    [
        (("A1", "B3"), (2, 3), ("B", "3")),
        (("A01", "B12"), (8, 12), ("H", "12")),
        (("b02", "p24"), (16, 24), ("P", "24")),
        (("A001", "AF48"), (32, 48), ("AF", "48")),
        (("A1", "AG1"), (33, 1), ("AG", "1")),
        (("A0", "A5"), (4, 6), ("D", "5")),
    ],
)
def test_the_smallest_standard_plate(
    wells: tuple[str, ...], size: tuple[int, int], ends: tuple[str, str]
) -> None:
    found = arrange_plate([f"{well}.tif" for well in wells], parse("{well}.tif"), "p")
    plate = found.fields[0].place.plate
    assert (len(plate.rows), len(plate.columns)) == size
    assert (plate.rows[-1], plate.columns[-1]) == ends


@given(
    st.sets(st.tuples(st.integers(0, 31), st.integers(1, 48), st.integers(0, 3)), min_size=1, max_size=30),
    st.sampled_from(["{row}{col}_{field}", "{row}_{col:02}_{field}", "r{number:02}c{col:02}f{field}"]),
)
def test_every_file_is_in_its_well(places: set[tuple[int, int, int]], template: str) -> None:
    names = {
        template.format(row=letters(row), number=row + 1, col=column, field=field) + ".tif": (
            row,
            column,
            field,
        )
        for row, column, field in places
    }
    text = template.replace("{number:02}", "{row}").replace(":02", "") + ".tif"
    found = arrange_plate(list(names), parse(text), "p")
    assert len(found.fields) == len(names)
    for one in found.fields:
        row, column, field = names[one.files.files[0]]
        assert one.place.row == letters(row)
        assert int(one.place.column) == column
        assert one.place.field == str(field)
        assert one.place.plate.columns.index(one.place.column) == column - 1


# -- instruments -------------------------------------------------------------------------------------------

INSTRUMENTS = {
    "ImageXpress": "my_plate_{well}_s{field}_w{c}{guid}.tif",
    "ImageXpress in lower case": "my_plate_{small}_s{field}_w{c}{guid}.tif",
    "ImageXpress in time": "TimePoint_{t}/my_plate_{well}_s{field}_w{c}{guid}.TIF",
    "ImageXpress in time and space": "TimePoint_{t}/ZStep_{z}/my_plate_{well}_s{field}_w{c}.tif",
    "ImageXpress with planes": "TimePoint_{t}/my_plate_{well}_s{field}_w{c}_z{z}.tif",
    "Operetta": "Images/r{row_number:02}c{col:02}f{field:02}p{z:02}-ch{c}sk{t}fk1fl1.tiff",
    "CellVoyager": "my_plate_{well}_T{t:04}F{field:03}L01A01Z{z:02}C{c:02}.tif",
}


@pytest.mark.parametrize("template", INSTRUMENTS.values(), ids=INSTRUMENTS)
def test_folders_of_instruments(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "my_plate"
    shape = tuple(n if f"{{{a}" in template else 1 for a, n in zip("tcz", SHAPE, strict=False)) + SHAPE[3:]
    expected = []
    for (row, column), field in product(WELLS, range(2)):
        names: dict[str, Any] = {"row_number": row + 1, "col": column + 1, "field": field + 1, "guid": GUID}
        pixels = coded(row, column, field, shape)
        well = f"{letters(row)}{column + 1:02}"
        expected.append(write_field(folder, template, pixels, well=well, small=well.lower(), **names))
    thumb = folder / f"my_plate_B02_s1_w1_thumb{GUID}.tif"
    tifffile.imwrite(thumb, np.zeros((2, 2), np.uint8))
    (folder / "Images").mkdir(exist_ok=True)
    with ngff_convert.open(str(folder)) as source:
        for image, pixels in zip(source.images, expected, strict=True):
            np.testing.assert_array_equal(image.pixels[...], pixels)
        called = [image.name for image in source.images]
        plate = field_of(source.images[0]).plate
        assert source.missing == []
        assert "1 other files do not match and are left out" in source.warnings
    assert plate.name == "my_plate"
    assert [name[:3] for name in called] == ["B02", "B02", "B03", "B03", "C11", "C11"]


def test_the_folder_of_images_alone_is_called_as_the_plate(tmp_path: Path) -> None:
    folder = tmp_path / "plate 5" / "Images"
    write_field(folder, "r01c01f01p0{z}-ch1sk1fk1fl1.tiff", coded(0, 0, 0, (1, 1, 3, 4, 5)))
    with ngff_convert.open(str(folder)) as source:
        assert field_of(source.images[0]).plate.name == "plate 5"
        assert source.images[0].pixels.shape == (1, 1, 3, 4, 5)


def test_planes_are_taken_before_their_projection() -> None:
    planes = [f"TimePoint_1/ZStep_{z}/p_A01_s1_w1.tif" for z in range(1, 4)]
    pattern = vendor_of([*planes, "TimePoint_1/p_A01_s1_w1.tif"])
    assert pattern is not None
    found = arrange_plate([*planes, "TimePoint_1/p_A01_s1_w1.tif"], pattern, "p")
    assert found.fields[0].files.index.shape == (1, 1, 3)
    assert found.fields[0].files.files == tuple(planes)


@pytest.mark.parametrize(
    "names",
    [
        ["scan_t1.tif", "scan_t2.tif"],
        ["a_w1DAPI.TIF", "a_w2GFP.TIF"],
        ["scan_A01.tif", "scan_A02.tif"],
        ["scan_c01_s1.tif", "scan_c02_s1.tif"],
        ["scan_T01_w1.tif", "x.tif", "y.tif"],
        [],
    ],
)
def test_other_names_are_no_instruments(names: list[str]) -> None:
    assert vendor_of(names) is None


def test_what_only_an_instrument_counts_is_named_where_files_differ_in_it_alone(tmp_path: Path) -> None:
    for line in (1, 2):
        write_field(
            tmp_path, "p_A01_T0001F001L0{line}A01Z01C01.tif", coded(0, 0, 0, (1, 1, 1, 4, 5)), line=line
        )
    with pytest.raises(OptionError, match=r"are both t=0001 c=01 z=01, but L is 01 and 02; give a pattern"):
        ngff_convert.open(str(tmp_path))


def test_a_folder_that_has_files_of_another_kind_is_not_looked_into(tmp_path: Path) -> None:
    pixels = coded(0, 0, 0, (2, 1, 1, 4, 5))
    write_field(tmp_path, "scan_t{t}.tif", pixels)
    write_field(tmp_path, "Images/old_t{t}.tif", pixels)
    with ngff_convert.open(str(tmp_path)) as source:
        (image,) = source.images
        assert image.plate_field is None
        np.testing.assert_array_equal(image.pixels[...], pixels)


def test_a_folder_of_folders_of_no_instrument_is_refused(tmp_path: Path) -> None:
    write_field(tmp_path, "Images/old_t{t}.tif", coded(0, 0, 0, (2, 1, 1, 4, 5)))
    with pytest.raises(UnsupportedInput, match="has no TIFF files in it"):
        ngff_convert.open(str(tmp_path))


def test_a_plate_of_one_file_is_one(tmp_path: Path) -> None:
    write_field(tmp_path, "p_B02_s1_w1.tif", coded(0, 0, 0, (1, 1, 1, 4, 5)))
    with ngff_convert.open(str(tmp_path)) as source:
        assert place(source.images[0]) == ("B", "02", "1")


def test_a_list_of_an_instruments_files(tmp_path: Path) -> None:
    for field in (1, 2):
        write_field(tmp_path, "p_B02_s{field}_w1.tif", coded(0, 0, field, (1, 1, 1, 4, 5)), field=field)
    names = tmp_path / "names.txt"
    names.write_text("p_B02_s1_w1.tif\np_B02_s2_w1.tif\n")
    with ngff_convert.open(str(names), files_from=str(names)) as source:
        assert [place(image) for image in source.images] == [("B", "02", "1"), ("B", "02", "2")]


def test_names_of_wells_are_refused_with_the_pattern_of_a_plate() -> None:
    names = [f"x/scan_{well}_f{f}_c{c}.tif" for well in ("B02", "B03") for f in (1, 2) for c in (1, 2)]
    with pytest.raises(OptionError, match="look like positions, wells") as error:
        guess(natural(names))
    hint = str(error.value).rpartition("such as '")[2].rstrip("'")
    assert hint == "x/scan_{well}_f{field}_c{c}.tif"
    assert len(arrange_plate(names, parse(hint), "p").fields) == 4


# -- conversion --------------------------------------------------------------------------------------------


def test_a_plate_is_converted_and_held_against_its_files(tmp_path: Path) -> None:
    template = "{well}_f{field}_t{t}_c{c}_z{z}.tif"
    write_plate(tmp_path / "in", template)
    (tmp_path / "in" / "C11_f2_t1_c2_z2.tif").unlink()
    report = ngff_convert.convert(
        tmp_path / "in" / template,
        tmp_path / "out.ome.zarr",
        ngff_convert.Options(on_error="fill", verify="full", layout="bioformats2raw"),
    )
    assert report.verification is not None
    assert report.verification.passed
    assert [folder.rpartition("/")[2] for folder in report.folders] == [str(n) for n in range(6)]
    with ngff_convert.open(tmp_path / "out.ome.zarr") as source:
        for number, ((row, column), field) in enumerate(product(WELLS, range(2))):
            pixels = coded(row, column, field)
            if number == 5:
                pixels[0, 1, 1] = 0
            np.testing.assert_array_equal(source.images[number].pixels[...], pixels)


def test_the_contract_is_kept(tmp_path: Path) -> None:
    write_field(tmp_path, "p_A01_T{t:04}F001L01A01Z{z:02}C{c:02}.tif", coded(0, 0, 0))
    check_reader(FileSeriesReader(), str(tmp_path))


def test_pixels_of_a_plate_are_read_in_another_process(tmp_path: Path) -> None:
    template = "{well}_f{field}_t{t}_c{c}_z{z}.tif"
    write_plate(tmp_path, template)
    with ngff_convert.open(str(tmp_path / template)) as source:
        pickled = pickle.dumps(source.images[5].pixels)
        assert len(pickled) < 20_000
    np.testing.assert_array_equal(pickle.loads(pickled)[...], coded(2, 10, 1))
