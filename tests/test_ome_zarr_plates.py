"""Plates of OME-Zarr as input: each field knows its well and acquisition, whoever wrote the store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import foreign_stores
import pytest
from foreign_stores import edit_ome
from plates import field_of, place

import ngff_convert
from ngff_convert.plates import Acquisition
from ngff_convert.readers.ome_zarr_plates import Field, plate_fields

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("0.4", "0.5", "0.6")


@pytest.fixture(params=VERSIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "plate.ome.zarr"
    foreign_stores.write_plate(path, request.param)
    return path, request.param


def test_fields_know_their_well(store: tuple[Path, str]) -> None:
    with ngff_convert.open(store[0]) as source:
        assert [(place(image), field_of(image).acquisition) for image in source.images] == [
            (("A", "1", "0"), 0),
            (("A", "1", "1"), 1),
            (("B", "2", "0"), 0),
            (("B", "2", "1"), 1),
        ]
        plate = field_of(source.images[0]).plate
        assert source.warnings == []
    assert (plate.name, plate.rows, plate.columns) == ("plate", ("A", "B"), ("1", "2"))
    assert plate.acquisitions == (Acquisition(0), Acquisition(1))


def test_acquisitions(store: tuple[Path, str]) -> None:
    stated = [
        {
            "id": 3,
            "name": "first",
            "description": "at noon",
            "starttime": 1343731272000,
            "endtime": 1343731300,
        },
        {"id": 5, "maximumfieldcount": 4, "starttime": "soon"},
    ]

    def change(ome: dict[str, Any]) -> None:
        ome["plate"]["acquisitions"] = stated

    edit_ome(store[0], store[1], change)
    for name in ("A/1", "B/2"):
        edit_ome(store[0] / name, store[1], lambda ome: ome["well"]["images"][0].update(acquisition=5))
        edit_ome(store[0] / name, store[1], lambda ome: ome["well"]["images"][1].pop("acquisition"))
    with ngff_convert.open(store[0]) as source:
        first, second, rest = field_of(source.images[0]).plate.acquisitions
        assert [field_of(image).acquisition for image in source.images] == [5, 6, 5, 6]
    assert first == Acquisition(
        3,
        "first",
        "at noon",
        datetime(2012, 7, 31, 10, 41, 12, tzinfo=UTC),
        datetime(2012, 7, 31, 10, 41, 40, tzinfo=UTC),
    )
    assert (second, rest) == (Acquisition(5, max_fields=4), Acquisition(6))


def test_a_field_that_a_well_lacks_is_missing(store: tuple[Path, str]) -> None:
    edit_ome(store[0] / "B/2", store[1], lambda ome: ome["well"]["images"].pop())
    with ngff_convert.open(store[0]) as source:
        assert field_of(source.images[0]).plate.missing == (("B", "2", "1"),)
        assert source.warnings == ["1 field is missing that most wells have: B2 field 1"]


def test_a_field_keeps_a_name_of_its_own(store: tuple[Path, str]) -> None:
    edit_ome(store[0] / "A/1/1", store[1], lambda ome: ome["multiscales"][0].update(name="the control"))
    with ngff_convert.open(store[0]) as source:
        assert [image.name for image in source.images][:3] == ["A01 field 0", "the control", "B02 field 0"]
    with ngff_convert.open(store[0] / "A/1") as source:
        assert [image.name for image in source.images] == ["field 0", "the control"]


def _twice(ome: dict[str, Any]) -> None:
    ome["plate"]["acquisitions"][1]["id"] = 0


def _no_rows(ome: dict[str, Any]) -> None:
    ome["plate"]["rows"] = []


def _other_rows(ome: dict[str, Any]) -> None:
    ome["plate"]["rows"] = [{"name": "A"}, {"name": "C"}]


def _odd_rows(ome: dict[str, Any]) -> None:
    ome["plate"]["rows"] = ["A", "B"]


@pytest.mark.parametrize("damage", [_twice, _no_rows, _other_rows, _odd_rows])
def test_a_damaged_plate_is_told_and_left_out(store: tuple[Path, str], damage: Any) -> None:
    edit_ome(store[0], store[1], damage)
    with ngff_convert.open(store[0]) as source:
        assert [image.plate_field for image in source.images] == [None] * 4
        assert source.images[0].name == "A01 field 0"
        (line,) = source.warnings
        assert line.startswith("the metadata of the plate contradict themselves: ")


def test_images_of_a_well_or_field_alone_have_no_plate(store: tuple[Path, str]) -> None:
    for folder in ("B/2", "B/2/0"):
        with ngff_convert.open(store[0] / folder) as source:
            assert source.images[0].plate_field is None


def test_the_plate_of_a_version_without_indices() -> None:
    """As 0.1 to 0.3 have it, written by hand."""
    stated = {
        "acquisitions": [{"id": 1, "maximumfieldcount": 2, "name": "Meas_01"}],
        "columns": [{"name": "1"}, {"name": "2"}, {"name": "3"}],
        "field_count": 2,
        "name": "test",
        "rows": [{"name": "A"}, {"name": "B"}],
        "version": "0.1",
        "wells": [{"path": "A/1"}, {"path": "B/3"}],
    }
    noted: list[str] = []
    fields = [Field("A/1", "0", 1), Field("B/3", "0", None)]
    first, second = plate_fields(stated, fields, noted)
    assert first is not None
    assert second is not None
    assert (second.row, second.column, second.acquisition) == ("B", "3", 2)
    assert first.plate.acquisitions[0] == Acquisition(1, "Meas_01", max_fields=2)
    assert noted == []


def test_a_field_that_a_well_lists_twice() -> None:
    noted: list[str] = []
    stated = {"rows": [{"name": "A"}], "columns": [{"name": "1"}]}
    assert plate_fields(stated, [Field("A/1", "0", None)] * 2, noted) == [None, None]
    assert "the well A/1 lists a field twice" in noted[0]


def test_a_collection_whose_ome_xml_has_a_plate(tmp_path: Path) -> None:
    foreign_stores.write_collection(tmp_path / "a.zarr", "0.5")
    xml = tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml"
    wells = "".join(
        f'<Well ID="Well:{n}" Row="0" Column="{n}"><WellSample ID="WellSample:{n}" Index="{n}">'
        f'<ImageRef ID="Image:{n}"/></WellSample></Well>'
        for n in range(2)
    )
    xml.write_text(xml.read_text().replace("</OME>", f'<Plate ID="Plate:0" Name="p">{wells}</Plate></OME>'))
    with ngff_convert.open(tmp_path / "a.zarr") as source:
        assert [place(image) for image in source.images] == [("A", "1", "0"), ("A", "2", "0")]
