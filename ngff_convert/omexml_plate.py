"""Plates in OME-XML: those of images of which the document does not yet say where in a plate they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ngff_convert.ome_schema import NAMESPACE, legal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ngff_convert.model import Image
    from ngff_convert.plates import Plate, PlateField

Element: TypeAlias = Any
"""lxml is untyped."""

_OME = f"{{{NAMESPACE}}}"

_BEFORE = ("Rights", "Project", "Dataset", "Folder", "Experiment", "Plate")
"""What the schema of OME-XML 2016-06 has before a plate, and plates."""


def add_plates(root: Element, images: Sequence[Image]) -> None:
    """Describe the plates of images that no well of the document refers to.

    Parameters
    ----------
    root
        Of a document with an ``Image`` for each of `images`, in order; is changed.
    images
        As they are written.
    """
    way = "/".join(f"{_OME}{name}" for name in ("Plate", "Well", "WellSample", "ImageRef"))
    referred = {reference.get("ID") for reference in root.iterfind(way)}
    found: dict[int, tuple[Plate, list[tuple[str, PlateField]]]] = {}
    for element, image in zip(root.iterfind(f"{_OME}Image"), images, strict=True):
        field, identifier = image.plate_field, element.get("ID")
        if field is not None and identifier not in referred:
            found.setdefault(id(field.plate), (field.plate, []))[1].append((identifier, field))
    for plate, fields in found.values():
        number = len(root.findall(f"{_OME}Plate"))
        while any(element.get("ID") == f"Plate:{number}" for element in root.iterfind(f"{_OME}Plate")):
            number += 1
        element = _plate(root, number, plate, fields)
        root.insert(sum(other.tag in {f"{_OME}{name}" for name in _BEFORE} for other in root), element)


def _plate(root: Element, number: int, plate: Plate, fields: Sequence[tuple[str, PlateField]]) -> Element:
    element = root.makeelement(f"{_OME}Plate", _known(ID=f"Plate:{number}", Name=plate.name or None))
    element.set("RowNamingConvention", _convention(plate.rows))
    element.set("ColumnNamingConvention", _convention(plate.columns))
    element.set("Rows", str(len(plate.rows)))
    element.set("Columns", str(len(plate.columns)))
    wells: dict[tuple[int, int], Element] = {}
    samples: dict[int | None, list[str]] = {}
    for index, (identifier, field) in enumerate(fields):
        row, column = plate.rows.index(field.row), plate.columns.index(field.column)
        place = f"{number}:{field.row}:{field.column}"
        if (row, column) not in wells:
            own = {"ID": f"Well:{place}", "Row": str(row), "Column": str(column)}
            wells[row, column] = element.makeelement(f"{_OME}Well", own)
        sample = f"WellSample:{place}:{field.field}"
        samples.setdefault(field.acquisition, []).append(sample)
        _add(_add(wells[row, column], "WellSample", ID=sample, Index=str(index)), "ImageRef", ID=identifier)
    element.extend(well for _, well in sorted(wells.items()))
    for run in plate.acquisitions:
        own = _add(
            element,
            "PlateAcquisition",
            ID=f"PlateAcquisition:{number}:{run.id}",
            Name=run.name or None,
            StartTime=_time(run.start),
            EndTime=_time(run.end),
        )
        if run.description:
            _add(own, "Description").text = legal(run.description)
        for sample in samples.get(run.id, ()):
            _add(own, "WellSampleRef", ID=sample)
    return element


def _convention(names: Sequence[str]) -> str:
    return "number" if all(name.isdecimal() for name in names) else "letter"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _add(parent: Element, name: str, /, **attributes: str | None) -> Element:
    child = parent.makeelement(f"{_OME}{name}", _known(**attributes))
    parent.append(child)
    return child


def _known(**attributes: str | None) -> dict[str, str]:
    return {key: legal(value) for key, value in attributes.items() if value is not None}
