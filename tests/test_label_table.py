"""Tables of properties of label values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ngff_convert import label_table
from ngff_convert.errors import OptionError, ReadError

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, text: str | bytes) -> dict[int, dict[str, object]]:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return label_table.read(str(path))


def test_numbers_stay_numbers_and_empty_cells_say_nothing(tmp_path: Path) -> None:
    table = 'label,area,mean,class,note\n1,12,0.5,"a, b",\n7,-3,1e3,c,nan\n2.0,1_0,inf,4,x\n'
    assert read(tmp_path, table) == {
        1: {"area": 12, "mean": 0.5, "class": "a, b"},
        7: {"area": -3, "mean": 1000.0, "class": "c"},
        2: {"area": "1_0", "class": 4, "note": "x"},
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("area,Label\n5,1\n", {1: {"area": 5}}),
        ("area,label-value\n5,1\n", {1: {"area": 5}}),
        ("id,area\n1,5\n", {1: {"area": 5}}),
        ("id;area\n1;5,5\n", {1: {"area": "5,5"}}),
        ("\ufeffid\tarea\r\n1\t5\r\n\r\n", {1: {"area": 5}}),
    ],
)
def test_where_the_values_are(tmp_path: Path, text: str, found: dict[int, dict[str, object]]) -> None:
    assert read(tmp_path, text) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("label,area\n1,2\nx,3\n", r"line 3, column label: 'x' is no label value"),
        ("label,area\n1,2\n1.5,3\n", r"line 3, column label: '1.5' is no label value"),
        ("label,area\n1,2\n1,3\n", r"line 3, column label: the value 1 is there a second time"),
        ("label,area\n1,2,3\n", r"line 2: has 3 columns, but line 1 names 2"),
        ("label,area\n", r"no row below"),
        ("label\n1\n", r"line 1: names 1 column;"),
        ("label,a,a\n1,2,3\n", r"line 1, column 3: 'a' is there twice"),
        ("label,\n1,2\n", r"line 1, column 2: has no name"),
        ("label,a\0\n1,2\n", r"line 1, column 2: has no name that can be shown"),
        ('label,area\n1,"2" x\n', r"line 2: .*save it as CSV"),
        ("", r"line 1: names 0 columns"),
        ("Label-Value,label-value\n1,2\n", r"line 1: Label-Value and label-value are both names of the col"),
        ("area,label,Label\n1,2,3\n", r"line 1: label and Label are both names"),
        ("label,area\n1,2\n1e308,3\n", r"line 3, column label: '1e308' is no value that .* -9223372036854"),
        (f"label,area\n{'9' * 300},3\n", r"line 2, column label: '9{56}\.\.\. is no value that the label"),
        (f"label,area\n{'x' * 300},3\n", r"line 2, column label: 'x{56}\.\.\. is no label value"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OptionError, match=f"table.csv: .*{says}"):
        read(tmp_path, text)


def test_values_that_the_label_image_cannot_have(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("label,area\n-128,2\n127,3\n128,4\n")
    with pytest.raises(OptionError, match=r"line 4, column label: '128' is no value .* have, -128 to 127;"):
        label_table.read(str(tmp_path / "table.csv"), np.dtype("int8"))
    for kind in ("int16", "float32"):  # a label image of floats is refused as such
        assert list(label_table.read(str(tmp_path / "table.csv"), np.dtype(kind))) == [-128, 127, 128]


def test_names_of_properties_may_differ_in_case(tmp_path: Path) -> None:
    assert read(tmp_path, "id,Area,area\n1,2,3\n") == {1: {"Area": 2, "area": 3}}
    assert read(tmp_path, "label-value,label\n1,2\n") == {1: {"label": 2}}
    assert read(tmp_path, "Id,id,area\n1,2,3\n") == {1: {"id": 2, "area": 3}}


def test_what_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"table.csv: is no text in UTF-8.*save it as CSV in UTF-8"):
        read(tmp_path, b"label,a\n1,\xff\n")
    with pytest.raises(ReadError, match=r"cannot be read: No such file"):
        label_table.read(str(tmp_path / "none.csv"))


def test_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_table, "MAX_ROWS", 2)
    with pytest.raises(OptionError, match=r"line 4: more than 2 values"):
        read(tmp_path, "label,a\n1,1\n2,1\n3,1\n")


def test_whole_numbers_that_json_would_round_stay_text(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("label,id,n\n1,9007199254740993,9007199254740992\n")
    assert label_table.read(str(tmp_path / "table.csv")) == {
        1: {"id": "9007199254740993", "n": 9007199254740992}
    }
