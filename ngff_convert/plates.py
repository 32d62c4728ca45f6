"""Plates of wells, as high-content screening images them: the frozen records of what a source says.

The words are those of OME-NGFF and OME-XML: a **plate** has rows and columns of **wells**; in a well one or
more **fields** of view are imaged, each an image; an **acquisition** is one run over the plate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One run over a plate.

    Attributes
    ----------
    id
        Its number, unique in the plate, at least 0.
    name, description
        What people call it; None if the source does not say.
    start, end
        When it began and ended; None if unknown.
    max_fields
        Most fields of a well in it, where the source states that; there may be fewer.
    """

    id: int
    name: str | None = None
    description: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    max_fields: int | None = None

    def __post_init__(self) -> None:
        if self.id < 0:
            raise ValueError(f"the number of an acquisition is at least 0, not {self.id}")


@dataclass(frozen=True, slots=True)
class Plate:
    """A plate; all images of it share the record.

    Attributes
    ----------
    name
        What it is called; may be empty.
    rows, columns
        Names of the rows and columns of the physical plate, in its order, those without images too; letters
        and digits only, as paths of OME-NGFF are: ``("A", "B")``, ``("01", "02")``.
    acquisitions
        The runs over it; empty if the source does not tell them apart.
    missing
        (row, column, field) of what was imaged, or was to be, and is not there.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    acquisitions: tuple[Acquisition, ...] = ()
    missing: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        for kind, names in (("row", self.rows), ("column", self.columns)):
            wrong = [name for name in names if not re.fullmatch("[A-Za-z0-9]+", name)]
            if wrong or len({name.lower() for name in names}) != len(names) or not names:
                raise ValueError(f"the {kind}s of a plate have names of letters and digits, each another")


@dataclass(frozen=True, slots=True)
class PlateField:
    """Where in a plate an image was taken.

    Attributes
    ----------
    plate
        The plate.
    row, column
        Names of the well's row and column.
    field
        Name of the field, unique in its well, letters and digits: the image's path below the well's.
    acquisition
        `Acquisition.id`; None if the plate has none.
    """

    plate: Plate
    row: str
    column: str
    field: str
    acquisition: int | None = None

    def __post_init__(self) -> None:
        if self.row not in self.plate.rows or self.column not in self.plate.columns:
            raise ValueError(f"the plate has no well {self.row}{self.column}")
        if not re.fullmatch("[A-Za-z0-9]+", self.field):
            raise ValueError(f"the name of a field is letters and digits, not {self.field!r}")
        if (self.acquisition is None) != (not self.plate.acquisitions) or (
            self.acquisition is not None
            and self.acquisition not in [run.id for run in self.plate.acquisitions]
        ):
            raise ValueError(f"the plate has no acquisition {self.acquisition}")


def listed(missing: Sequence[tuple[str, str, str]], longest: int = 10) -> str:
    """Name fields for a message.

    Examples
    --------
    >>> listed([("B", "02", "0"), ("B", "02", "1"), ("C", "3", "0")], longest=2)
    'B02 field 0, B02 field 1 and 1 more'
    """
    words = [f"{row}{column} field {field}" for row, column, field in missing[:longest]]
    return ", ".join(words) + (f" and {len(missing) - longest} more" if len(missing) > longest else "")
