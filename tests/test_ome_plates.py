"""Plates in OME-XML: which image is in which well, what is missing, and what is damaged."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ome_tiffs import attributes, coded, data, document, image, pages_of, uuid_of, write

import ngff_convert
from ngff_convert.plates import Plate, PlateField
from ngff_convert.readers.wells import STANDARD, letters, row_number, standard_plate

if TYPE_CHECKING:
    from ngff_convert.model import Image


def sample(number: int, image: int | None, **fields: Any) -> str:
    ref = "" if image is None else f'<ImageRef ID="Image:{image}"/>'
    return f"<WellSample{attributes(ID=f'WellSample:{number}', Index=number, **fields)}>{ref}</WellSample>"


def well(row: int, column: int, *samples: str) -> str:
    return f"<Well{attributes(ID=f'Well:{row}:{column}', Row=row, Column=column)}>{''.join(samples)}</Well>"


def run(number: int, *samples: int, **fields: Any) -> str:
    refs = "".join(f'<WellSampleRef ID="WellSample:{n}"/>' for n in samples)
    own = attributes(ID=f"PlateAcquisition:{number}", **fields)
    return f"<PlateAcquisition{own}>{refs}</PlateAcquisition>"


def plate(*inner: str, number: int = 0, **fields: Any) -> str:
    return f"<Plate{attributes(ID=f'Plate:{number}', **fields)}>{''.join(inner)}</Plate>"


def opened(path: Path, n_images: int, *plates: str, **pixels: Any) -> tuple[list[Image], list[str]]:
    """Write images of one page each, one file, and open it."""
    each = [coded() + 1000 * number for number in range(n_images)]
    described = [
        image(block, data(IFD=number, PlaneCount=1), number=number, **pixels)
        for number, block in enumerate(each)
    ]
    xml = document(*described, before="".join(plates))
    write(path / "plate.ome.tif", [page for block in each for page in pages_of(block)], xml)
    with ngff_convert.open(str(path / "plate.ome.tif")) as source:
        for block, found in zip(each, source.images, strict=True):
            np.testing.assert_array_equal(found.pixels[...], block)
        return list(source.images), list(source.warnings)


def places(images: list[Image]) -> list[tuple[str, str, str] | None]:
    found = [image.plate_field for image in images]
    return [(field.row, field.column, field.field) if field else None for field in found]


def field_of(image: Image) -> PlateField:
    assert image.plate_field is not None
    return image.plate_field


def test_fields_are_counted_in_their_well(tmp_path: Path) -> None:
    wells = well(1, 10, sample(0, 2), sample(1, 0)), well(0, 0, sample(2, 1))
    images, warnings = opened(tmp_path, 3, plate(*wells, Name="my plate", Rows=8, Columns=12))
    assert places(images) == [("B", "11", "1"), ("A", "1", "0"), ("B", "11", "0")]
    assert field_of(images[0]).plate == Plate(
        "my plate", tuple("ABCDEFGH"), tuple(str(n) for n in range(1, 13))
    )
    assert len({id(field_of(image).plate) for image in images}) == 1
    assert warnings == []


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [("letter", "number", ("AB", "28")), ("number", "letter", ("28", "AB")), (None, None, ("AB", "28"))],
)
def test_names_follow_the_conventions(
    tmp_path: Path, rows: str | None, columns: str | None, expected: tuple[str, str]
) -> None:
    named = {"RowNamingConvention": rows, "ColumnNamingConvention": columns}
    fields: dict[str, Any] = {key: value for key, value in named.items() if value}
    images, _ = opened(tmp_path, 1, plate(well(27, 27, sample(0, 0)), Rows=32, Columns=48, **fields))
    assert (field_of(images[0]).row, field_of(images[0]).column) == expected
    assert (len(field_of(images[0]).plate.rows), len(field_of(images[0]).plate.columns)) == (32, 48)


def test_the_size_of_a_plate_that_does_not_state_it_is_that_of_its_wells(tmp_path: Path) -> None:
    images, _ = opened(tmp_path, 1, plate(well(2, 1, sample(0, 0))))
    assert (field_of(images[0]).plate.rows, field_of(images[0]).plate.columns) == (
        ("A", "B", "C"),
        ("1", "2"),
    )


def test_acquisitions(tmp_path: Path) -> None:
    runs = (
        run(0, 0, 2, Name="first", StartTime="2020-01-02T03:04:05", EndTime="2020-01-02T04:00:00Z"),
        run(1, 1, MaximumFieldCount=2, StartTime="yesterday"),
    )
    wells = well(0, 0, sample(0, 0), sample(1, 1)), well(0, 1, sample(2, 2))
    images, _ = opened(tmp_path, 3, plate(*wells, *runs))
    first, second = field_of(images[0]).plate.acquisitions
    assert (first.name, first.start) == ("first", datetime(2020, 1, 2, 3, 4, 5))
    assert str(first.end) == "2020-01-02 04:00:00+00:00"
    assert (second.id, second.name, second.max_fields, second.start) == (1, None, 2, None)
    assert [field_of(image).acquisition for image in images] == [0, 1, 0]
    assert places(images) == [("A", "1", "0"), ("A", "1", "1"), ("A", "2", "0")]


@pytest.mark.parametrize(
    ("runs", "expected", "ids"),
    [
        ((run(0),), [0, 0], [0]),
        ((run(0, 0),), [0, 1], [0, 1]),
        ((run(0, 0), run(1)), [0, 2], [0, 1, 2]),
    ],
    ids=["named by none", "one left", "one left of two"],
)
def test_fields_without_an_acquisition_are_in_one_of_their_own(
    tmp_path: Path, runs: tuple[str, ...], expected: list[int], ids: list[int]
) -> None:
    images, _ = opened(tmp_path, 2, plate(well(0, 0, sample(0, 0), sample(1, 1)), *runs))
    assert [field_of(image).acquisition for image in images] == expected
    assert [acquisition.id for acquisition in field_of(images[0]).plate.acquisitions] == ids


def test_samples_without_an_image_are_missing(tmp_path: Path) -> None:
    wells = well(0, 0, sample(0, None), sample(1, 0)), well(1, 1, sample(2, 77))
    images, warnings = opened(tmp_path, 1, plate(*wells, Name="P"))
    assert places(images) == [("A", "1", "1")]
    assert field_of(images[0]).plate.missing == (("A", "1", "0"), ("B", "2", "0"))
    assert warnings == ["plate P: 2 fields have no image: A1 field 0, B2 field 0"]


def test_images_whose_file_is_missing_are_missing_in_the_plate(tmp_path: Path) -> None:
    names = [f"w{n}.ome.tif" for n in range(3)]
    blocks = [coded() + 1000 * n for n in range(3)]
    described = [
        image(block, data(name, uuid_of(name), IFD=0, PlaneCount=1), number=n)
        for n, (block, name) in enumerate(zip(blocks, names, strict=True))
    ]
    wells = plate(*(well(0, n, sample(n, n)) for n in range(3)), Columns=12)
    for n in (0, 2):
        xml = document(*described, before=wells, uuid=uuid_of(names[n]))
        write(tmp_path / names[n], pages_of(blocks[n]), xml)
    with ngff_convert.open(str(tmp_path / names[0])) as source:
        assert places(list(source.images)) == [("A", "1", "0"), ("A", "3", "0")]
        assert {field_of(image).plate.missing for image in source.images} == {(("A", "2", "0"),)}
        assert any("w1.ome.tif" in line for line in source.missing)
        assert source.images[1].pixels[0, 0, 0, 0, 0] == blocks[2][0, 0, 0, 0, 0]


def test_several_plates(tmp_path: Path) -> None:
    plates = [plate(well(0, n, sample(n, n)), number=n, Name=f"P{n}") for n in range(2)]
    images, warnings = opened(tmp_path, 3, *plates)
    assert places(images) == [("A", "1", "0"), ("A", "2", "0"), None]
    assert [field_of(image).plate.name for image in images[:2]] == ["P0", "P1"]
    assert warnings == []


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (plate(well(8, 0, sample(0, 0)), Rows=8), "Rows is 8, but a well is in number 8, counted from 0"),
        (plate(well(0, 12, sample(0, 0)), Columns=12), "Columns is 12, but a well is in number 12"),
        (plate(well(0, 0, sample(0, 0)), Rows=10**9), "Rows would be"),
        (plate(well(0, 10**8, sample(0, 0))), "Columns would be"),
        (plate(well(0, 0, sample(0, 0)), well(0, 0, sample(1, 1))), "row 0, column 0 is in it twice"),
        (plate(well(0, 0, sample(0, 0), sample(1, 0))), "image 0 is in it twice"),
        (plate('<Well ID="Well:0" Row="-1"><WellSample ID="W:0"/></Well>'), "in row '-1', column None"),
    ],
)
def test_a_damaged_plate_is_told_and_left_out(tmp_path: Path, damaged: str, said: str) -> None:
    images, warnings = opened(tmp_path, 2, damaged)
    assert places(images) == [None, None]
    assert [line for line in warnings if said in line and "its images are taken without it" in line]


def test_a_damaged_plate_takes_no_other_one_along(tmp_path: Path) -> None:
    good = plate(well(0, 0, sample(0, 0)), Name="good")
    again = plate(well(0, 0, sample(0, 0)), number=1, Name="again")
    images, warnings = opened(tmp_path, 1, good, again)
    assert field_of(images[0]).plate.name == "good"
    assert warnings[0].startswith("plate again: image 0 is in another plate too")


def test_positions_in_the_well_are_taken_where_no_plane_states_one(tmp_path: Path) -> None:
    position = {"PositionX": 0.5, "PositionXUnit": "mm", "PositionY": -20, "PositionYUnit": "µm"}
    wells = plate(well(0, 0, sample(0, 0, **position), sample(1, 1, PositionX=3, PositionY=4)))
    images, _ = opened(tmp_path, 2, wells, PhysicalSizeX=1, PhysicalSizeY=1)
    assert images[0].calibration.origin_zyx == (None, -20.0, 500.0)
    assert images[1].calibration.origin_zyx == (None, None, None)  # of a unit that nobody knows


def test_a_plate_that_bio_formats_wrote() -> None:
    sample = Path(__file__).parents[1] / "sample_data" / "plate_2x2_f2.ome.tif"
    with ngff_convert.open(str(sample)) as source:
        found = places(list(source.images))
        (record,) = {field_of(image).plate for image in source.images}
        assert source.warnings == []
    assert found == [(row, column, field) for row in "AB" for column in "12" for field in "01"]
    assert (record.name, record.rows, record.columns) == ("Plate Name 0", ("A", "B"), ("1", "2"))
    (acquisition,) = record.acquisitions
    assert acquisition.name == "PlateAcquisition Name 0"
    assert acquisition.start == datetime(2006, 5, 4, 18, 13, 51)


# -- names and sizes ---------------------------------------------------------------------------------------


@given(st.integers(0, 10**6))
def test_letters_and_numbers_of_rows_are_each_others_inverse(number: int) -> None:
    assert row_number(letters(number)) == number
    assert letters(number) < letters(number + 1) or len(letters(number)) < len(letters(number + 1))


@given(st.integers(1, 40), st.integers(1, 60))
def test_a_standard_plate_holds_the_wells_and_no_smaller_one_does(rows: int, columns: int) -> None:
    found = standard_plate(rows, columns)
    assert found[0] >= rows
    assert found[1] >= columns
    smaller = [size for size in STANDARD if size < found]
    assert all(r < rows or c < columns for r, c in smaller)
    assert found in STANDARD or (found == (rows, columns) and (rows > 32 or columns > 48))
