"""Plates on a terminal and as JSON: wells, fields, what is missing; many images in few lines."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import NoPixels, image
from plates import coded, write_field

from ngff_convert.cli import main
from ngff_convert.describe import image_lines
from ngff_convert.inspection import plate_lines
from ngff_convert.model import Calibration
from ngff_convert.plates import Acquisition, Plate, PlateField
from ngff_convert.readers.wells import letters

TEMPLATE = "{well}_f{field}_c{c}.tif"


def plate(rows: int, columns: int, missing: tuple[tuple[str, str, str], ...] = (), **more: object) -> Plate:
    names = tuple(letters(n) for n in range(rows)), tuple(f"{n:02}" for n in range(1, columns + 1))
    return Plate("P", *names, missing=missing, **more)  # type: ignore[arg-type]


def fields(of: Plate, counts: dict[tuple[str, str], int]) -> dict[int, PlateField]:
    run = of.acquisitions[0].id if of.acquisitions else None
    found = [PlateField(of, *well, str(n), run) for well, count in counts.items() for n in range(count)]
    return dict(enumerate(found))


def test_a_plate_is_a_grid() -> None:
    of = plate(3, 4, (("B", "03", "1"), ("C", "04", "0"), ("C", "04", "1")))
    counts = {("A", "01"): 2, ("B", "03"): 1, ("C", "02"): 12}
    assert list(plate_lines(of, fields(of, counts))) == [
        "plate P: 3 of 12 wells (3 x 4), 15 fields: 0 to 11",
        "    01 02 03 04",
        "  A  2  .  .  .",
        "  B  .  . !1  .",
        "  C  . 12  . !0",
        "  ! fields are missing: B03 field 1; C04 field 0, 1",
    ]


def test_no_position_is_minus_0() -> None:
    placed = image(
        NoPixels((1, 1, 1, 2, 2)), calibration=Calibration(origin_zyx=(-0.0, -1.5, 0.0), unit="micrometer")
    )
    (line,) = (line for line in image_lines(placed) if line.startswith("origin"))
    assert line == "origin       0 × -1.5 × 0 µm (centre of the first voxel)"


def test_acquisitions_are_told() -> None:
    runs = Acquisition(0, "day 1", None, datetime(2020, 1, 2), datetime(2020, 1, 3), 4), Acquisition(7)
    of = plate(2, 3, acquisitions=runs)
    *_, first, second = plate_lines(of, fields(of, {("A", "01"): 1}))
    assert first == (
        "  acquisition 0: day 1, 1 field, at most 4 a well, from 2020-01-02 00:00:00, to 2020-01-03 00:00:00"
    )
    assert second == "  acquisition 7: 0 fields"


@pytest.mark.parametrize("size", [(8, 12), (16, 24)])
def test_usual_plates_fit_a_terminal(size: tuple[int, int]) -> None:
    of = plate(*size, missing=(("A", "01", "99"),))
    counts = {(row, column): 99 for row in of.rows for column in of.columns}
    counts["A", "01"] = 9
    shown = list(plate_lines(of, fields(of, counts)))[1:-1]
    assert max(map(len, shown)) <= 80
    assert len(shown) == size[0] + 1
    assert shown[1].split() == ["A", "!9", *["99"] * (size[1] - 1)]


def test_a_plate_of_1536_wells_is_one_character_a_well() -> None:
    of = plate(32, 48, (("AF", "48", "0"),))
    counts = {("A", "01"): 1, ("A", "02"): 9, ("AA", "48"): 10}
    shown = list(plate_lines(of, fields(of, counts)))
    assert shown[1] == "     000000000111111111122222222223333333333444444444"
    assert shown[2] == "     123456789012345678901234567890123456789012345678"
    assert shown[3] == f"   A 19{'.' * 46}"
    assert shown[3 + 26] == f"  AA {'.' * 47}+"
    assert shown[3 + 31] == f"  AF {'.' * 47}!"
    assert shown[-2] == "  . no field, 1 to 9 fields, + more, ! fields are missing"


@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 300))
def test_no_grid_is_wider_than_a_terminal(rows: int, columns: int, most: int) -> None:
    of = plate(rows, columns)
    counts = {(of.rows[-1], of.columns[-1]): most} if most else {}
    _, *grid = plate_lines(of, fields(of, counts))
    assert max(map(len, grid)) <= 80
    shown = [line for line in grid if "fields" not in line]
    empty = sum(line.partition(of.rows[0])[2].count(".") for line in shown) if rows == 1 else None
    assert empty in (None, columns - bool(most))


def test_many_missing_fields_are_counted() -> None:
    of = plate(8, 12, tuple(("A", f"{n:02}", "0") for n in range(1, 13)))
    line = list(plate_lines(of, fields(of, {("B", "01"): 1})))[-1]
    assert line.startswith("  ! fields are missing: A01 field 0; ")
    assert line.endswith("A10 field 0; and 2 more wells")


# -- the command -------------------------------------------------------------------------------------------


def write_plate(folder: Path) -> str:
    for well, field in product(("B02", "B03", "C02"), (1, 2)):
        if (well, field) != ("C02", 2):
            shape = (1, 2, 1, 4, 5) if well != "B03" else (1, 2, 1, 6, 5)
            write_field(folder, TEMPLATE, coded(1, int(well[2]), field, shape), well=well, field=field)
    return str(folder / "{row}{col}_f{field}_c{c}.tif")


def test_inspect_shows_the_plate_and_images_that_are_alike_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", write_plate(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert sum("C02 field 2" in line for line in shown) == 1
    start = shown.index(f"plate {tmp_path.name}: 3 of 12 wells (3 x 4), 5 fields: 1, 2")
    assert shown[start + 1 : start + 11] == [
        "    01 02 03 04",
        "  A  .  .  .  .",
        "  B  .  2  2  .",
        "  C  . !1  .  .",
        "  ! fields are missing: C02 field 2",
        "",
        "images 0-1, 4 (3 that are alike): B02 field 1 to C02 field 1",
        "  size         t1 c2 z1 y4 x5, uint32, 160 B",
        "  chunks       1×1×5 (z y x), compression none",
        "  voxel        unknown (z y x)",
    ]
    assert [line for line in shown if line.startswith("image")] == [
        "images 0-1, 4 (3 that are alike): B02 field 1 to C02 field 1",
        "images 2-3 (2 that are alike): B03 field 1 to B03 field 2",
        "images that are alike are shown once; --all shows each of the 5",
    ]
    assert main(["inspect", write_plate(tmp_path), "--all"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("image")] == [
        "image 0: B02 field 1",
        "image 1: B02 field 2",
        "image 2: B03 field 1",
        "image 3: B03 field 2",
        "image 4: C02 field 1",
    ]


def test_inspect_as_json_has_the_wells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", write_plate(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["plates"]
    assert (one["rows"], one["columns"], one["acquisitions"]) == (
        ["A", "B", "C"],
        ["01", "02", "03", "04"],
        [],
    )
    assert one["wells"] == [
        {
            "row": "B",
            "column": "02",
            "fields": [{"field": "1", "image": 0}, {"field": "2", "image": 1}],
            "missing": [],
        },
        {
            "row": "B",
            "column": "03",
            "fields": [{"field": "1", "image": 2}, {"field": "2", "image": 3}],
            "missing": [],
        },
        {"row": "C", "column": "02", "fields": [{"field": "1", "image": 4}], "missing": ["2"]},
    ]
    assert len(found["images"]) == 5
    where = {"plate": 0, "row": "C", "column": "02", "field": "1", "acquisition": None}
    assert found["images"][4]["plate_field"] == where


def test_what_differs_between_images_that_are_alike_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ome_tiffs
    from test_ome_plates import plate as element
    from test_ome_plates import sample, well

    position = {"PositionXUnit": "µm", "PositionY": 0, "PositionYUnit": "µm"}
    wells = element(well(0, 0, *(sample(n, n, PositionX=n, **position) for n in range(2))))
    blocks = [ome_tiffs.coded() for _ in range(2)]
    described = [
        ome_tiffs.image(block, ome_tiffs.data(IFD=n, PlaneCount=1), number=n, PhysicalSizeX=1)
        for n, block in enumerate(blocks)
    ]
    pages = [page for block in blocks for page in ome_tiffs.pages_of(block)]
    ome_tiffs.write(tmp_path / "p.ome.tif", pages, ome_tiffs.document(*described, before=wells))
    assert main(["inspect", str(tmp_path / "p.ome.tif")]) == 0
    shown = capsys.readouterr().out
    assert "images 0-1 (2 that are alike): image 0 to image 1" in shown
    assert "  origin       another one for each of the images" in shown


# -- the README --------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = text.partition("\n### Plates of wells\n")[2].partition("\n### ")[0].split("```\n")
    commands, grid = blocks[1].splitlines(), blocks[3]
    pixels = coded(0, 0, 0, (1, 1, 1, 4, 5))
    for well, field, channel in product(("B02", "B03", "B04", "B05", "C02", "C03"), "12", ("DAPI", "GFP")):
        if (well, field) != ("C03", "2"):
            name = f"{well}_f{field}_c{channel}.tif"
            write_field(tmp_path, "screen/{name}", pixels, name=name)
    monkeypatch.chdir(tmp_path)
    shown = []
    for command in commands[:2]:
        assert main(shlex.split(command, comments=True)[1:]) == 0
        shown.append(capsys.readouterr().out)
    assert grid in shown[0]
    assert "image 10: C03 field 1" in shown[1]
    (tmp_path / "screen").rename("patterned")
    write_field(tmp_path, "screen/p_B02_s1_w1.tif", pixels)
    assert main(shlex.split(commands[2], comments=True)[1:]) == 0
    assert json.loads(capsys.readouterr().out)["plates"][0]["name"] == "p"
