"""What the attributes of plates and wells of OME-Zarr 0.1 to 0.6 mean. No file is touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ngff_convert.plates import Acquisition, Plate, PlateField, listed
from ngff_convert.readers.wells import lacking, runs_of_all
from ngff_convert.readers.zarr_nodes import list_of, object_of, shown, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ngff_convert.readers.zarr_nodes import Json

_MILLISECONDS = 10**11
"""Times from here on, which would be in the year 5138, are in milliseconds since 1970, and not in seconds."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field as a well lists it.

    Attributes
    ----------
    well
        Path of the well, as the plate states it.
    path
        Of the image, as the well states it.
    acquisition
        What the well says of it.
    """

    well: str
    path: str
    acquisition: Any


def plate_fields(stated: Json, fields: Sequence[Field], noted: list[str]) -> list[PlateField | None]:
    """Return where in its plate each field is; None for all where the metadata of the plate are damaged.

    Parameters
    ----------
    stated
        What the store says of the plate.
    fields
        In their order.
    noted
        Gets a line where something is odd.
    """
    try:
        wells = [_row_and_column(field.well) for field in fields]
        present: dict[tuple[str, str], list[str]] = {}
        for well, field in zip(wells, fields, strict=True):
            present.setdefault(well, []).append(field.path)
        if twice := [well for well, names in present.items() if len(set(names)) < len(names)]:
            raise ValueError(f"the well {'/'.join(twice[0])} lists a field twice")
        missing = lacking(present)
        runs = _acquisitions(stated)
        known = {run.id for run in runs}
        of_field = [
            f.acquisition if _is_whole(f.acquisition) and f.acquisition in known else None for f in fields
        ]
        runs, rest = runs_of_all(runs, of_field)
        plate = Plate(
            text_of(stated.get("name")), _names(stated, "rows"), _names(stated, "columns"), runs, missing
        )
        found = [
            PlateField(plate, row, column, field.path, rest if run is None else run)
            for (row, column), field, run in zip(wells, fields, of_field, strict=True)
        ]
    except ValueError as error:
        noted.append(
            f"the metadata of the plate contradict themselves: {error}; its images are taken without it"
        )
        return [None] * len(fields)
    if missing:
        are = "field is" if len(missing) == 1 else "fields are"
        noted.append(f"{len(missing)} {are} missing that most wells have: {listed(missing)}")
    return list(found)


def _row_and_column(path: str) -> tuple[str, str]:
    row, slash, column = path.strip("/").partition("/")
    if not slash:
        raise ValueError(f"the path of a well is row/column, not {shown(path)}")
    return row, column


def _names(stated: Json, key: str) -> tuple[str, ...]:
    return tuple(str(object_of(one).get("name", "")) for one in list_of(stated.get(key)))


def _is_whole(value: Any) -> bool:  # noqa: ANN401 - from foreign metadata
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _acquisitions(stated: Json) -> tuple[Acquisition, ...]:
    found: dict[int, Acquisition] = {}
    for one in map(object_of, list_of(stated.get("acquisitions"))):
        number: Any = one.get("id")
        most: Any = one.get("maximumfieldcount")
        if not _is_whole(number) or number in found:
            raise ValueError(f"the id of an acquisition is a number of its own, not {shown(number)}")
        found[number] = Acquisition(
            number,
            text_of(one.get("name")) or None,
            text_of(one.get("description")) or None,
            _time(one.get("starttime")),
            _time(one.get("endtime")),
            most if _is_whole(most) and most > 0 else None,
        )
    return tuple(found.values())


def _time(stated: Any) -> datetime | None:  # noqa: ANN401 - from foreign metadata
    """Return a time, which the specification has in whole numbers since 1970 and in no stated unit."""
    if not _is_whole(stated):
        return None
    try:
        return datetime.fromtimestamp(stated / 1000 if stated >= _MILLISECONDS else stated, UTC)
    except (OverflowError, ValueError, OSError):  # no time that a calendar has
        return None
