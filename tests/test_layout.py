"""Where images are written in a store: at its root, numbered, as fields of a plate; and which of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lxml import etree
from plate_source import FIELDS, made, pixels_of, write
from stores import assert_means, assert_valid, attributes, levels

from ngff_convert import Options, convert
from ngff_convert.cli import main
from ngff_convert.errors import OptionError, VerificationError
from ngff_convert.ome_schema import NAMESPACE, fault
from ngff_convert.validate import validate
from ngff_convert.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["made"]
pytestmark = pytest.mark.usefixtures("made")
OME = f"{{{NAMESPACE}}}"


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return write(tmp_path / "in.made", FIELDS, missing=[("C", "04", "0")])


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
