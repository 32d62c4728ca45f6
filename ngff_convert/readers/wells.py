"""What readers of plates have in common: names of rows, standard plates, fields that a well lacks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from string import ascii_uppercase
from typing import TYPE_CHECKING

from ngff_convert.plates import Acquisition, PlateField

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ngff_convert.model import Image
    from ngff_convert.plates import Plate

STANDARD = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
"""Rows and columns of plates of 6, 12, 24, 48, 96, 384 and 1536 wells."""

MOST_ROWS = 1000
"""Rows, or columns, that a plate may have; more is damage, and a list of them would fill the memory."""

Missing = tuple[str, str, str]
"""Row, column and field."""


def letters(number: int) -> str:
    """Return the letters of a row, counted from 0.

    Examples
    --------
    >>> [letters(n) for n in (0, 25, 26, 31, 701, 702)]
    ['A', 'Z', 'AA', 'AF', 'ZZ', 'AAA']
    """
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, len(ascii_uppercase))
        text = ascii_uppercase[digit] + text
    return text


def row_number(text: str) -> int:
    """Return the number of a row from its letters, counted from 0.

    Examples
    --------
    >>> [row_number(text) for text in ("A", "z", "AF")]
    [0, 25, 31]
    """
    number = 0
    for letter in text.upper():
        number = number * len(ascii_uppercase) + ascii_uppercase.index(letter) + 1
    return number - 1


def standard_plate(rows: int, columns: int) -> tuple[int, int]:
    """Return the rows and columns of the smallest standard plate that has so many, else just those.

    Examples
    --------
    >>> standard_plate(7, 11), standard_plate(3, 5), standard_plate(40, 2)
    ((8, 12), (4, 6), (40, 2))
    """
    return next(((r, c) for r, c in STANDARD if rows <= r and columns <= c), (rows, columns))


def lacking(fields: Mapping[tuple[str, str], Iterable[str]]) -> tuple[Missing, ...]:
    """Return the fields that wells lack and at least half of the wells have.

    Examples
    --------
    >>> lacking({("A", "1"): ["0", "1"], ("A", "2"): ["0"], ("B", "1"): ["0", "1", "2"]})
    (('A', '2', '1'),)
    """
    wells = {well: dict.fromkeys(names) for well, names in fields.items()}
    counts = Counter(name for names in wells.values() for name in names)
    expected = [name for name, count in counts.items() if 2 * count >= len(wells)]
    return tuple((*well, name) for well, names in wells.items() for name in expected if name not in names)


def with_missing(images: Sequence[Image], missing: Iterable[PlateField]) -> list[Image]:
    """Return images whose plates know that some fields are missing."""
    more: dict[int, list[Missing]] = {}
    plates: dict[int, Plate] = {}
    for field in missing:
        plates[id(field.plate)] = field.plate
        more.setdefault(id(field.plate), []).append((field.row, field.column, field.field))
    changed = {key: replace(plate, missing=(*plate.missing, *more[key])) for key, plate in plates.items()}
    return [
        replace(image, plate_field=replace(image.plate_field, plate=changed[id(image.plate_field.plate)]))
        if image.plate_field is not None and id(image.plate_field.plate) in changed
        else image
        for image in images
    ]


def runs_of_all(
    runs: Sequence[Acquisition], of_field: Sequence[int | None]
) -> tuple[tuple[Acquisition, ...], int | None]:
    """Return the acquisitions of a plate, and that of the fields of which none is stated.

    Parameters
    ----------
    runs
        As the source lists them.
    of_field
        `Acquisition.id` of each field, None where none is stated.

    Returns
    -------
    tuple
        The acquisitions, with one more where fields of no other are in it; and its number, None where each
        field has one or there are none. Where there is one acquisition and no field names it, it is that.
    """
    if not runs or None not in of_field:
        return tuple(runs), None
    if len(runs) == 1 and not any(number is not None for number in of_field):
        return tuple(runs), runs[0].id
    rest = max(run.id for run in runs) + 1
    return (*runs, Acquisition(rest)), rest


def plain_name(text: str) -> str:
    """Return a name of letters and digits alone, as paths of OME-NGFF are; may be empty.

    Examples
    --------
    >>> plain_name("day 2_b")
    'day2b'
    """
    return re.sub("[^A-Za-z0-9]", "", text)
