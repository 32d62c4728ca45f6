"""The plates of OME-XML: which image was taken in which well. A damaged plate is told, and is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ngff_convert.plates import Acquisition, Plate, PlateField, listed
from ngff_convert.readers.ome_elements import child, children, whole
from ngff_convert.readers.wells import MOST_ROWS, letters, runs_of_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from xml.etree.ElementTree import Element

_RUNS = "PlateAcquisition", "ScreenAcquisition"  # since 2010-06, until 2010-04


@dataclass(frozen=True, slots=True)
class Sample:
    """A WellSample: a field of a well.

    Attributes
    ----------
    row, column
        Numbers of the well's, from 0.
    field
        Its number in the well, from 0.
    id
        As acquisitions name it; may be empty.
    image
        Number of its image in the document; None if it has none.
    """

    row: int
    column: int
    field: int
    id: str
    image: int | None


def plate_fields(root: Element, noted: list[str]) -> dict[int, PlateField]:
    """Return where in a plate images were taken, by their number in the document.

    Parameters
    ----------
    root
        The document.
    noted
        Gets a line for each plate that is damaged, and for fields without an image.
    """
    number_of = {image.get("ID", ""): n for n, image in enumerate(children(root, "Image"))}
    found: dict[int, PlateField] = {}
    for number, element in enumerate(children(root, "Plate")):
        name = element.get("Name") or ""
        said = f"plate {name or number}"
        try:
            fields = _fields(element, name, number_of, said, noted)
            if twice := sorted(found.keys() & fields.keys()):
                raise _DamagedError(f"image {twice[0]} is in another plate too")
        except _DamagedError as error:
            noted.append(f"{said}: {error}; its images are taken without it")
        else:
            found |= fields
    return found


def sample_positions(root: Element) -> dict[str, Mapping[str, str]]:
    """Return what WellSamples say of the position of images, by the ID of the image.

    The keys are those of a Plane: PositionX and so on.
    """
    found: dict[str, Mapping[str, str]] = {}
    wells = (well for plate in children(root, "Plate") for well in children(plate, "Well"))
    for sample in (sample for well in wells for sample in children(well, "WellSample")):
        if (ref := child(sample, "ImageRef")) is not None:
            old = {f"Position{a}": sample.attrib[f"Pos{a}"] for a in "XY" if f"Pos{a}" in sample.attrib}
            found.setdefault(ref.get("ID", ""), {**old, **sample.attrib})
    return found


class _DamagedError(Exception):
    """The metadata of a plate contradict themselves."""


def _fields(
    element: Element, name: str, number_of: Mapping[str, int], said: str, noted: list[str]
) -> dict[int, PlateField]:
    samples = list(_samples(element, number_of))
    rows, columns = _size(element, samples)
    row_names = _names(rows, element.get("RowNamingConvention"), "letter")
    column_names = _names(columns, element.get("ColumnNamingConvention"), "number")
    missing = tuple(
        (row_names[s.row], column_names[s.column], str(s.field)) for s in samples if s.image is None
    )
    there = [sample for sample in samples if sample.image is not None]
    if missing and there:
        are = "field has" if len(missing) == 1 else "fields have"
        noted.append(f"{said}: {len(missing)} {are} no image: {listed(missing)}")
    runs, run_of = _acquisitions(element, said, noted)
    stated = [run_of.get(sample.id) for sample in there]
    runs, of_rest = runs_of_all(runs, stated)
    plate = Plate(name, row_names, column_names, runs, missing)
    fields: dict[int, PlateField] = {}
    for sample, run in zip(there, stated, strict=True):
        if sample.image is None:
            continue
        if sample.image in fields:
            raise _DamagedError(f"image {sample.image} is in it twice")
        fields[sample.image] = PlateField(
            plate,
            row_names[sample.row],
            column_names[sample.column],
            str(sample.field),
            of_rest if run is None else run,
        )
    return fields


def _samples(plate: Element, number_of: Mapping[str, int]) -> Iterator[Sample]:
    seen: set[tuple[int, int]] = set()
    for well in children(plate, "Well"):
        row, column = whole(well.get("Row")), whole(well.get("Column"))
        if row is None or column is None:
            raise _DamagedError(f"a well is in row {well.get('Row')!r}, column {well.get('Column')!r}")
        if (row, column) in seen:
            raise _DamagedError(f"the well in row {row}, column {column} is in it twice")
        seen.add((row, column))
        for field, sample in enumerate(children(well, "WellSample")):
            ref = child(sample, "ImageRef")
            image = None if ref is None else number_of.get(ref.get("ID", ""))
            yield Sample(row, column, field, sample.get("ID", ""), image)


def _size(plate: Element, samples: Sequence[Sample]) -> tuple[int, int]:
    """Return the numbers of rows and columns; those that the wells need where they are not stated."""
    sizes = []
    for what, used in (("Rows", [s.row for s in samples]), ("Columns", [s.column for s in samples])):
        needed = max(used, default=0) + 1
        size = whole(plate.get(what)) or needed
        if size < needed:
            raise _DamagedError(f"{what} is {size}, but a well is in number {needed - 1}, counted from 0")
        if size > MOST_ROWS:
            raise _DamagedError(f"{what} would be {size}")
        sizes.append(size)
    return sizes[0], sizes[1]


def _names(count: int, convention: str | None, usual: str) -> tuple[str, ...]:
    by_letter = (convention or usual).strip().lower().startswith("letter")
    return tuple(letters(n) if by_letter else str(n + 1) for n in range(count))


def _acquisitions(
    plate: Element, said: str, noted: list[str]
) -> tuple[tuple[Acquisition, ...], dict[str, int]]:
    """Return the acquisitions of a plate, and that of each sample by its ID."""
    runs: list[Acquisition] = []
    run_of: dict[str, int] = {}
    twice = 0
    for number, element in enumerate(children(plate, *_RUNS)):
        description = child(element, "Description")
        text = "" if description is None else (description.text or "").strip()
        runs.append(
            Acquisition(
                number,
                element.get("Name") or None,
                text or None,
                _date(element.get("StartTime")),
                _date(element.get("EndTime")),
                whole(element.get("MaximumFieldCount")) or None,
            )
        )
        for ref in children(element, "WellSampleRef"):
            twice += run_of.setdefault(ref.get("ID", ""), number) != number
    if twice:
        noted.append(f"{said}: {twice} fields are in several acquisitions; the first of each is taken")
    return tuple(runs), run_of


def _date(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat((text or "").strip())
    except ValueError:  # nothing, or no date; nothing depends on it
        return None
