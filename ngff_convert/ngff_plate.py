"""Images of a plate -> the metadata of OME-NGFF's plate, row and well groups. No file is touched."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ngff_convert.ngff import Attributes
    from ngff_convert.plates import Acquisition, PlateField
    from ngff_convert.write_plan import Decided

WITH_VERSION = ("0.4", "0.5")
"""Versions of OME-NGFF whose plates and wells state it themselves too."""


def path_of(field: PlateField) -> str:
    """Return where an image of a plate is in its store."""
    return f"{well_of(field)}/{field.field}"


def well_of(field: PlateField) -> str:
    """Return where a well is in the store of its plate."""
    return f"{field.row}/{field.column}"


def fields_of(decided: Sequence[Decided]) -> list[PlateField]:
    """Return where in their plate the images of a store are; none where the store is no plate."""
    decided = [item for item in decided if item.label_of is None]
    fields = [item.image.plate_field for item in decided]
    placed = zip(decided, fields, strict=True)
    found = [field for item, field in placed if field is not None and item.folder == path_of(field)]
    return found if len(found) == len(decided) else []


def groups(version: str, fields: Sequence[PlateField]) -> dict[str, Attributes]:
    """Return the groups of a plate, the images' own left out: path -> keys of OME-NGFF, the root's last.

    Parameters
    ----------
    version
        Of OME-NGFF.
    fields
        Every image that is written, all of one plate.
    """
    plate = fields[0].plate
    wells: dict[tuple[int, int], list[PlateField]] = {}
    for field in fields:
        wells.setdefault((plate.rows.index(field.row), plate.columns.index(field.column)), []).append(field)
    ordered = sorted(wells.items())
    found: dict[str, Attributes] = {plate.rows[row]: {} for (row, _), _ in ordered}
    for _, own in ordered:
        found[well_of(own[0])] = {"well": _versioned(version, {"images": [_image(field) for field in own]})}
    keys: Attributes = {"name": plate.name} if plate.name else {}
    keys |= {
        "rows": [{"name": name} for name in plate.rows],
        "columns": [{"name": name} for name in plate.columns],
        "wells": [
            {"path": well_of(own[0]), "rowIndex": row, "columnIndex": column}
            for (row, column), own in ordered
        ],
        "field_count": max(map(len, wells.values())),
    }
    if runs := _acquisitions(fields, wells.values()):
        keys["acquisitions"] = runs
    return {**found, "": {"plate": _versioned(version, keys)}}


def _image(field: PlateField) -> Attributes:
    run = {} if field.acquisition is None else {"acquisition": field.acquisition}
    return {"path": field.field, **run}


def _acquisitions(fields: Sequence[PlateField], wells: Iterable[Sequence[PlateField]]) -> list[Attributes]:
    """Describe those acquisitions of which there are images."""
    most: Counter[int | None] = Counter()
    for own in wells:
        most |= Counter(field.acquisition for field in own)
    return [_acquisition(run, most[run.id]) for run in fields[0].plate.acquisitions if most[run.id]]


def _acquisition(run: Acquisition, most: int) -> Attributes:
    known: dict[str, Any] = {
        "name": run.name,
        "description": run.description,
        "starttime": epoch(run.start),
        "endtime": epoch(run.end),
    }
    said = {key: value for key, value in known.items() if value not in (None, "")}
    return {"id": run.id, "maximumfieldcount": most, **said}


def epoch(moment: datetime | None) -> int | None:
    """Return whole seconds since 1970; None of what is unknown or before. A time without a zone is of UTC.

    Examples
    --------
    >>> from datetime import datetime
    >>> epoch(datetime(1970, 1, 2, 0, 0, 1, 700_000)), epoch(datetime(1969, 1, 1))
    (86401, None)
    """
    if moment is None:
        return None
    seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return seconds if seconds >= 0 else None


def _versioned(version: str, keys: Attributes) -> Attributes:
    return {"version": version, **keys} if version in WITH_VERSION else keys
