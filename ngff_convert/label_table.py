"""Properties of the values of a label image, from a table of comma-separated values."""

from __future__ import annotations

import csv
from math import isfinite
from typing import TYPE_CHECKING, Any

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.model import values_of
from ngff_convert.validation.findings import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

VALUE_COLUMNS = ("label-value", "label_value", "label")
"""What the column of values is called; where there is none of them, it is the first."""

DELIMITERS = ",;\t"

MOST_EXACT = 2**53
"""Larger whole numbers are kept as text: many programs that read JSON would round or refuse them."""

MAX_ROWS = 100_000
"""More would be metadata of tens of megabytes, which every viewer reads before it shows anything."""


ALL_VALUES = range(-(2**63), 2**64)
"""Values that label images of one type or another can have."""


def read(path: str, kind: np.dtype[Any] | None = None) -> dict[int, dict[str, Any]]:
    """Return the properties that a table states: value -> name -> number or text.

    Numbers are kept as numbers. A cell that is empty, or no finite number such as ``nan``, says nothing.

    Parameters
    ----------
    path
        The table.
    kind
        The type of the label image, which says what values it can have; None where that is not known yet.

    Raises
    ------
    ReadError
        It cannot be read, or is no text in UTF-8.
    OptionError
        A row or a value cannot be meant; it is named with its line and column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # noqa: PTH123
            head = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(DELIMITERS, key=head.count), strict=True)
            names = _names(path, next(rows, []))
            values = values_of(kind) if kind is not None and kind.kind in "biu" else ALL_VALUES
            return _properties(path, names, rows, values)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror}; is it the table?") from error
    except UnicodeDecodeError as error:
        raise ReadError(f"{path}: is no text in UTF-8: {error.reason}; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise OptionError(f"{path}: line {rows.line_num}: {error}; save it as CSV again") from error


def _names(path: str, row: Sequence[str]) -> list[str]:
    names = [name.strip() for name in row]
    if len(names) < 2:
        raise OptionError(
            f"{path}: line 1: names {len(names)} column{'s' * (len(names) != 1)}; that of the label values, "
            "and at least one property, are needed"
        )
    for at, name in enumerate(names):
        if not name or name in names[:at] or not name.isprintable():
            what = f"{shown(name)} is there twice" if name in names[:at] else "has no name that can be shown"
            raise OptionError(f"{path}: line 1, column {at + 1}: {what}; give each column a name of its own")
    return names


def _column_of_values(path: str, names: list[str]) -> int:
    """Return which column has the label values."""
    lower = [name.lower() for name in names]
    word = next((word for word in VALUE_COLUMNS if word in lower), lower[0])
    first, *others = (at for at, name in enumerate(lower) if name == word)
    if others and word in VALUE_COLUMNS:
        raise OptionError(
            f"{path}: line 1: {names[first]} and {names[others[0]]} are both names of the column of label "
            "values; call the one that is a property something else"
        )
    return first


def _properties(
    path: str,
    names: list[str],
    rows: Any,  # noqa: ANN401 - csv's
    values: range,
) -> dict[int, dict[str, Any]]:
    own = _column_of_values(path, names)
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}: line {rows.line_num}"
        if len(row) != len(names):
            raise OptionError(f"{where}: has {len(row)} columns, but line 1 names {len(names)}")
        value = _number(row[own])
        if not isinstance(value, int):
            if not (isinstance(value, float) and value.is_integer()):
                raise OptionError(
                    f"{where}, column {names[own]}: {shown(row[own])} is no label value; a whole number is "
                    "needed"
                )
            value = int(value)
        if value not in values:
            raise OptionError(
                f"{where}, column {names[own]}: {shown(row[own])} is no value that the label image can have, "
                f"{values[0]} to {values[-1]}; is the table that of another one?"
            )
        if value in found:
            raise OptionError(f"{where}, column {names[own]}: the value {value} is there a second time")
        if len(found) >= MAX_ROWS:
            raise OptionError(f"{where}: more than {MAX_ROWS} values; keep such a table beside the store")
        cells = {
            name: _property(cell) for at, (name, cell) in enumerate(zip(names, row, strict=True)) if at != own
        }
        found[value] = {name: cell for name, cell in cells.items() if cell is not None}
    if not found:
        raise OptionError(f"{path}: has no row below its first line, which names the columns")
    return found


def _property(cell: str) -> int | float | str | None:
    """Return what a cell says of a value."""
    number = _number(cell)
    return cell.strip() if isinstance(number, int) and abs(number) > MOST_EXACT else number


def _number(cell: str) -> int | float | str | None:
    """Return what a cell says: a whole number, a number, text, or nothing."""
    text = cell.strip()
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if "_" in text:  # Python's own way of writing numbers
            return text
        return number if isfinite(number) else None
    return text or None
