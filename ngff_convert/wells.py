"""Which wells and fields of a plate a user means, in the words of ``--wells`` and ``--fields``."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from ngff_convert.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ngff_convert.model import Image
    from ngff_convert.plates import Plate, PlateField

Well: TypeAlias = tuple[str, str]
"""Names of its row and column."""

MAX_NAMED = 12
"""Wells or fields that a message names before it only counts."""


def selected(
    images: Sequence[tuple[int, Image]], wells: Sequence[str] | None, fields: Sequence[str] | None
) -> list[tuple[int, Image]]:
    """Return those images, with their numbers, that are of the wells and fields that are wanted.

    Parameters
    ----------
    images
        To choose from, with their numbers.
    wells
        ``"B02"`` or ``"B/02"``; case and zeros before a number do not matter where that leaves no doubt.
        None is all.
    fields
        Names of fields, as `wells` tolerant; or ``"2:5"``, some of all fields by their order. None is all.

    Raises
    ------
    OptionError
        There is no such well or field, or several could be meant; the message says what there is.
    """
    if wells is None and fields is None:
        return list(images)
    option = "--wells" if wells is not None else "--fields"
    placed = [(number, image, image.plate_field) for number, image in images if image.plate_field]
    if not placed:
        raise OptionError(f"{option}: none of the images is a field of a plate; --images chooses by number")
    there = [field for _, _, field in placed]
    if wells is not None:
        meant = {well for word in wells for well in _wells(word, there)}
        placed = [found for found in placed if (found[2].row, found[2].column) in meant]
    if fields is not None:
        names = {name for word in fields for name in _fields(word, there)}
        placed = [found for found in placed if found[2].field in names]
    if not placed:
        words = f"--wells {','.join(wells or ())} --fields {','.join(fields or ())}"
        raise OptionError(f"{words}: there is no such field in any of these wells")
    return [(number, image) for number, image, _ in placed]


def _wells(word: str, there: Sequence[PlateField]) -> set[Well]:
    """Return the wells that a word means, one in each plate."""
    plates = list({id(field.plate): field.plate for field in there}.values())
    imaged = {(field.row, field.column) for field in there}
    found = {well for plate in plates for well in _meant(word, plate)}
    if found & imaged:
        return found & imaged
    if found:
        raise OptionError(
            f"--wells {word}: this well has no image; those that have are {listed(map(''.join, imaged))}"
        )
    rows, columns = plates[0].rows, plates[0].columns
    raise OptionError(
        f"--wells {word}: there is no such well: the plate has rows {rows[0]} to {rows[-1]} and columns "
        f"{columns[0]} to {columns[-1]}, as in {rows[0]}{columns[0]} or {rows[0]}/{columns[0]}"
    )


def _meant(word: str, plate: Plate) -> list[Well]:
    """Return the well of a plate that a word means, if there is one."""
    wells = [(row, column) for row in plate.rows for column in plate.columns]
    found = [well for well in wells if word in ("".join(well), "/".join(well))]
    if not found:
        meant = plain(word)
        found = [well for well in wells if meant in (plain("".join(well)), plain("/".join(well)))]
    if len(found) > 1:
        several = " or ".join("/".join(well) for well in found[:MAX_NAMED])
        raise OptionError(f"--wells {word}: can be {several}: write it with the slash, as here")
    return found


def _fields(word: str, there: Sequence[PlateField]) -> list[str]:
    """Return the names of the fields that a word means."""
    names = sorted({field.field for field in there}, key=in_order)
    if word in names:
        return [word]
    span = re.fullmatch("([0-9]*):([0-9]*)", word)
    if span:
        first, stop = int(span[1] or 0), int(span[2] or len(names))
        if not 0 <= first < stop <= len(names):
            raise OptionError(f"--fields {word}: there are {len(names)} fields, 0:{len(names)}")
        return names[first:stop]
    found = [name for name in names if plain(name) == plain(word)]
    if len(found) == 1:
        return found
    raise OptionError(
        f"--fields {word}: "
        + (f"can be {' or '.join(found)}: write it" if found else "there is no such field; there are")
        + (" as here" if found else f" {listed(names)}")
    )


def in_order(name: str) -> tuple[int, str, str]:
    """Return by what names sort as people count.

    Examples
    --------
    >>> sorted(["10", "2", "1b", "B"], key=in_order)
    ['2', '10', '1b', 'B']
    """
    return (int(name) if name.isdecimal() else 2**63, plain(name), name)


@cache
def plain(name: str) -> str:
    """Return a name without what people spell in several ways: case, and zeros before a number."""
    return re.sub("0+(?=[0-9])", lambda zeros: "" if _begins(name, zeros.start()) else zeros[0], name.lower())


def _begins(name: str, at: int) -> bool:
    return at == 0 or not name[at - 1].isdecimal()


def listed(names: Iterable[str]) -> str:
    """Return names in order, so many as a message takes, and how many more there are."""
    ordered = sorted(set(names), key=in_order)
    more = f" and {len(ordered) - MAX_NAMED} more" if len(ordered) > MAX_NAMED else ""
    return ", ".join(ordered[:MAX_NAMED]) + more
