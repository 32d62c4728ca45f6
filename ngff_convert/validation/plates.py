"""The metadata of plates and wells: what their models do not hold against each other."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ngff_convert.validation.findings import shown
from ngff_convert.validation.nodes import below

if TYPE_CHECKING:
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Json, Node


_FIELD_NAMES = {
    "": ("[A-Za-z0-9]+", "letters and digits alone"),
    "0.6": (r"(?!\.+$)(?!__)[A-Za-z0-9_.-]+", "letters, digits, -, _ and ., or has a meaning of its own"),
}


def listed_wells(node: Node, findings: Findings) -> list[str]:
    """Return the paths, from the root, of the wells of a plate; checks them against rows and columns."""
    plate = _object(node.ome.get("plate"))
    rows, columns = (_names(plate.get(key)) for key in ("rows", "columns"))
    found = []
    for well in _objects(plate.get("wells")):
        path = below(node.path, well.get("path"), findings)
        if path is None:
            continue
        found.append(path)
        row, column = _at(rows, well.get("rowIndex")), _at(columns, well.get("columnIndex"))
        if row is not None and column is not None and well["path"] != f"{row}/{column}":
            message = f"the well {shown(well['path'])} has the indices of {shown(f'{row}/{column}')}"
            findings.error(node.path, "plate-well", message)
    return list(dict.fromkeys(found))


def rows(node: Node) -> list[str]:
    """Return the names of the rows of a plate that can be paths."""
    names = _names(_object(node.ome.get("plate")).get("rows"))
    return [name for name in dict.fromkeys(names) if re.fullmatch("[A-Za-z0-9]+", name)]


def acquisitions(node: Node, findings: Findings) -> list[Any]:
    """Return the ids of the acquisitions of a plate, and check that none is there twice."""
    plate = _object(node.ome.get("plate"))
    ids = [item.get("id") for item in _objects(plate.get("acquisitions"))]
    known = [number for number in ids if type(number) is int]
    if len(set(known)) < len(known):
        findings.error(node.path, "plate-acquisitions", "two acquisitions have the same id")
    return known


def check_counts(node: Node, wells: list[list[Any]], findings: Findings) -> None:
    """Hold the numbers of fields that a plate states against those of its wells.

    Parameters
    ----------
    node
        The plate.
    wells
        For each well, the acquisition of each of its fields; None where it names none.
    findings
        Where findings go.
    """
    plate = _object(node.ome.get("plate"))
    stated: dict[int | None, Any] = {None: plate.get("field_count")}
    for item in _objects(plate.get("acquisitions")):
        if type(item.get("id")) is int:
            stated[item["id"]] = item.get("maximumfieldcount")
    for run, most in stated.items():
        # What a well has in several acquisitions together, `field_count` may mean or may not.
        seen = [max(Counter(own).values() if run is None else [own.count(run)], default=0) for own in wells]
        if type(most) is int and max(seen, default=0) > most:
            what = "field_count" if run is None else f"maximumfieldcount of the acquisition {run}"
            findings.error(node.path, "plate-fields", f"{what} is {most}, but a well has {max(seen)}")


def listed_fields(node: Node, version: str, known: list[Any], findings: Findings) -> list[str]:
    """Return the paths, from the root, of the images of a well.

    Parameters
    ----------
    node
        The well.
    version
        Of OME-Zarr.
    known
        Ids of the acquisitions of its plate; empty if the plate has none, or is not known.
    findings
        Where findings go.
    """
    well = _object(node.ome.get("well"))
    found = []
    for image in _objects(well.get("images")):
        name = image.get("path")
        path = below(node.path, name, findings)
        if path is None:
            continue
        found.append(path)
        allowed, words = _FIELD_NAMES["0.6" if version == "0.6" else ""]
        if not re.fullmatch(allowed, str(name)):
            findings.error(node.path, "well-path", f"the field {shown(name)} is not {words}")
        acquisition = image.get("acquisition")
        if acquisition is None and len(known) > 1:
            message = f"the field {shown(name)} names no acquisition, but its plate has {len(known)}"
            findings.error(node.path, "well-acquisition", message)
        elif acquisition is not None and known and acquisition not in known:
            message = f"the field {shown(name)} has acquisition {shown(acquisition)}, which its plate has not"
            findings.error(node.path, "well-acquisition", message)
    return list(dict.fromkeys(found))


def acquisitions_of(node: Node) -> list[int | None]:
    """Return the acquisition of each field of a well; None where it names none."""
    images = _objects(_object(node.ome.get("well")).get("images"))
    return [run if isinstance(run := image.get("acquisition"), int) else None for image in images]


def _object(value: Any) -> Json:  # noqa: ANN401
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:  # noqa: ANN401
    return [item for item in (value if isinstance(value, list) else []) if isinstance(item, dict)]


def _names(value: Any) -> list[str]:  # noqa: ANN401
    return [str(item.get("name"))[:100] for item in _objects(value)]


def _at(items: list[str], index: Any) -> str | None:  # noqa: ANN401
    """Return an item; None where there is none, which the model says."""
    return items[index] if type(index) is int and 0 <= index < len(items) else None
