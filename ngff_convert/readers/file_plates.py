"""Many files, a plate: which of them is of which well and field, from the names alone. No file is touched."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ngff_convert.errors import OptionError, ReadError
from ngff_convert.plates import Acquisition, Plate, PlateField, listed
from ngff_convert.readers.contract import MAX_NAMED
from ngff_convert.readers.file_names import Places, gaps_in_words, placed, places_of, span
from ngff_convert.readers.file_patterns import natural, shown
from ngff_convert.readers.wells import (
    MOST_ROWS,
    STANDARD,
    lacking,
    letters,
    plain_name,
    row_number,
    standard_plate,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ngff_convert.readers.file_names import Arrangement
    from ngff_convert.readers.file_patterns import Pattern
    from ngff_convert.readers.wells import Missing

_WELL = re.compile("([A-Za-z]+)([0-9]+)")

Matched = list[tuple[str, "re.Match[str]"]]


@dataclass(frozen=True, slots=True, eq=False)
class FieldFiles:
    """The files of one field of a well.

    Attributes
    ----------
    place
        Where in the plate it is.
    label
        What file names call the field.
    files
        Which of them holds which t, c and z; c is that of the whole plate.
    """

    place: PlateField
    label: str
    files: Arrangement


@dataclass(frozen=True, slots=True, eq=False)
class PlateFiles:
    """The files of a plate.

    Attributes
    ----------
    fields
        In the order of wells, row by row, then of acquisitions and fields.
    of_channel
        A file of each channel; empty where names do not tell channels.
    notes, missing
        What is odd; what should be there and is not.
    """

    fields: tuple[FieldFiles, ...]
    of_channel: tuple[str, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...]


class _Key(NamedTuple):
    """Where an image is: numbers of row, column, acquisition and field."""

    row: int
    column: int
    run: int
    field: int


def arrange_plate(
    names: Sequence[str], pattern: Pattern, name: str, size: tuple[int, int] = (1, 1)
) -> PlateFiles:
    """Find the field and the place in it of every file.

    Parameters
    ----------
    names
        Paths; one given twice counts once.
    pattern
        What they look like; it tells wells.
    name
        Of the plate.
    size
        Rows and columns that it has at least.

    Raises
    ------
    ReadError
        No name matches.
    OptionError
        Two files have one place, or names tell wells that no plate has.
    """
    names = natural(dict.fromkeys(names))
    matched = _matched(names, pattern)
    wells = _Wells([_well(match, pattern) for _, match in matched], pattern, size)
    runs = _places(matched, pattern, "acquisition")
    fields = _places(matched, pattern, "field")
    keys = [
        _Key(*well, runs.position[_text(match, pattern, "acquisition")], fields.position[text])
        for well, (_, match) in zip(wells.numbers, matched, strict=True)
        for text in [_text(match, pattern, "field")]
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)  # stable: names stay in natural order
    groups = {key: [matched[n] for n in each] for key, each in groupby(order, key=keys.__getitem__)}
    axes = {axis: places_of([match[axis] for _, match in matched], axis) for axis in pattern.axes}
    field_names = _field_names(groups, runs, fields)
    acquisitions = _acquisitions(runs) if "acquisition" in pattern.wells else ()
    missing = _missing(groups, wells, field_names)
    plate = Plate(name, wells.rows, wells.columns, acquisitions, missing)
    found = tuple(
        FieldFiles(
            PlateField(
                plate,
                wells.rows[key.row],
                wells.columns[key.column],
                field_names[key.run, key.field],
                acquisitions[key.run].id if acquisitions else None,
            ),
            fields.labels[key.field],
            _arranged(group, axes, pattern),
        )
        for key, group in groups.items()
    )
    return PlateFiles(
        found,
        _of_channel(matched, axes),
        tuple(_notes(pattern, wells, axes, fields, found, len(names) - len(matched))),
        tuple(_gaps(found)),
    )


def _matched(names: Sequence[str], pattern: Pattern) -> Matched:
    matched = [(path, match) for path in names if (match := pattern.match(path))]
    if not matched:
        looked = f"{len(names)} looked at, e.g. {shown(names[0])}; " if names else ""
        raise ReadError(f"{shown(pattern.text)}: no file matches; {looked}check the folder and the pattern")
    return matched


def _text(match: re.Match[str], pattern: Pattern, part: str) -> str:
    return match[part] if part in pattern.wells else "0"


def _places(matched: Matched, pattern: Pattern, part: str) -> Places:
    return places_of([_text(match, pattern, part) for _, match in matched], part)


# -- wells ---------------------------------------------------------------------------------------------------


def _well(match: re.Match[str], pattern: Pattern) -> tuple[str, str]:
    if "well" not in pattern.wells:
        return match["row"], match["column"]
    parts = _WELL.fullmatch(match["well"])
    assert parts is not None  # the pattern has matched it
    return parts[1], parts[2]


class _Wells:
    """The wells of some files in their plate, the smallest standard one that has them.

    Attributes
    ----------
    rows, columns
        Names of those of the plate.
    numbers
        Row and column of each file, from 0.
    """

    def __init__(self, texts: Sequence[tuple[str, str]], pattern: Pattern, least: tuple[int, int]) -> None:
        distinct = set(texts)
        rows = _numbers({row for row, _ in distinct}, "row", pattern)
        columns = _numbers({column for _, column in distinct}, "column", pattern)
        n_rows, n_columns = max(rows.values()) + 1, max(columns.values()) + 1
        if max(least) < MOST_ROWS:
            n_rows, n_columns = max(n_rows, least[0]), max(n_columns, least[1])
        size = standard_plate(n_rows, n_columns)
        first, width = _numbering([column for _, column in distinct])
        self.rows = tuple(letters(n) for n in range(size[0]))
        self.columns = tuple(str(n + first).zfill(width) for n in range(size[1]))
        self.numbers = [(rows[row], columns[column]) for row, column in texts]

    def __str__(self) -> str:
        wells = sorted(set(self.numbers))
        ends = [f"{self.rows[row]}{self.columns[column]}" for row, column in (wells[0], wells[-1])]
        size = (len(self.rows), len(self.columns))
        kind = f"a plate of {size[0] * size[1]}" if size in STANDARD else "no standard plate: taken as one"
        return f"{' to '.join(dict.fromkeys(ends))} ({len(wells)}) of {kind}, {size[0]} x {size[1]}"


def _numbering(texts: Sequence[str]) -> tuple[int, int]:
    """Return from what number texts count, 0 or 1, and of how many digits each of them is."""
    return min(1, min(map(int, texts))), min(map(len, texts))


def _numbers(texts: set[str], what: str, pattern: Pattern) -> dict[str, int]:
    """Return the numbers of rows or columns, from 0."""
    digits = [text for text in texts if text.isdigit()]
    if digits and len(digits) < len(texts):
        raise OptionError(
            f"{shown(pattern.text)}: some rows are letters and some are numbers; give a pattern that tells "
            "them from other text"
        )
    if digits:
        first, _ = _numbering(digits)
        numbers = {text: int(text) - first for text in texts}
    else:
        numbers = {text: row_number(text) for text in texts}
    if max(numbers.values()) >= MOST_ROWS:
        text = max(numbers, key=numbers.__getitem__)
        raise OptionError(
            f"{shown(pattern.text)}: a plate has no {what} {shown(text)}; give a pattern that finds wells"
        )
    return numbers


# -- fields --------------------------------------------------------------------------------------------------


def _acquisitions(runs: Places) -> tuple[Acquisition, ...]:
    numbers = [int(text) if text.isdigit() and len(text) < 10 else -1 for text in runs.labels]
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        numbers = list(range(len(numbers)))
    return tuple(Acquisition(n, text) for n, text in zip(numbers, runs.labels, strict=True))


def _field_names(groups: Iterable[_Key], runs: Places, fields: Places) -> dict[tuple[int, int], str]:
    """Return the name of each field of each acquisition: as files have it, else a number over all of them."""
    pairs = sorted({(key.run, key.field) for key in groups})
    names = [plain_name(fields.labels[field]) for _, field in pairs]
    if len(runs.labels) > 1 or not all(names) or len({name.lower() for name in names}) < len(names):
        names = [str(n) for n in range(len(pairs))]
    return dict(zip(pairs, names, strict=True))


def _missing(
    groups: Iterable[_Key], wells: _Wells, names: Mapping[tuple[int, int], str]
) -> tuple[Missing, ...]:
    present: dict[tuple[str, str], list[str]] = {}
    for key in groups:
        well = wells.rows[key.row], wells.columns[key.column]
        present.setdefault(well, []).append(names[key.run, key.field])
    return lacking(present)


def _arranged(group: Matched, axes: Mapping[str, Places], pattern: Pattern) -> Arrangement:
    """Arrange the files of a field.

    Channels are those of the plate. Time points and planes may be fewer than elsewhere: they end with the
    last of the field, and one before it that has no file is a gap.
    """
    own: dict[str, Places] = {}
    for axis, places in axes.items():
        texts = [match[axis] for _, match in group]
        if axis == "c":
            own[axis] = places
        elif places.counted:
            last = max(places.position[text] for text in texts)
            own[axis] = places._replace(labels=places.labels[: last + 1])
        else:
            own[axis] = places_of(texts, axis)
    return placed(group, own, pattern)


def _of_channel(matched: Matched, axes: Mapping[str, Places]) -> tuple[str, ...]:
    if "c" not in axes:
        return ()
    first: dict[int, str] = {}
    for path, match in matched:
        first.setdefault(axes["c"].position[match["c"]], path)
    return tuple(first[n] for n in sorted(first))


# -- what to tell --------------------------------------------------------------------------------------------


def _notes(
    pattern: Pattern,
    wells: _Wells,
    axes: Mapping[str, Places],
    fields: Places,
    found: Sequence[FieldFiles],
    unmatched: int,
) -> Iterable[str]:
    labels = {"field": fields.labels} if "field" in pattern.wells else {}
    labels |= {axis: places.labels for axis, places in axes.items()}
    words = ", ".join([f"wells {wells}", *span(labels)])
    yield f"file names are read as {shown(pattern.text)}: {words}"
    if unmatched:
        yield f"{unmatched} other files do not match and are left out"
    plate = found[0].place.plate
    if plate.missing:
        are = "field is" if len(plate.missing) == 1 else "fields are"
        yield f"{len(plate.missing)} {are} missing that most wells have: {listed(plate.missing)}"
    sizes = Counter((one.files.index.shape[0], one.files.index.shape[2]) for one in found)
    if len(sizes) > 1:
        usual, count = sizes.most_common(1)[0]
        others = [one for one in found if (one.files.index.shape[0], one.files.index.shape[2]) != usual]
        said = [f"{title(one.place)} of {_size(one)}" for one in others[:MAX_NAMED]]
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        yield f"{count} fields are of t{usual[0]} z{usual[1]} in files, but {', '.join(said)}{more}"


def _size(one: FieldFiles) -> str:
    return f"t{one.files.index.shape[0]} z{one.files.index.shape[2]}"


def _gaps(found: Sequence[FieldFiles]) -> Iterable[str]:
    gaps = [(one, int((one.files.index < 0).sum())) for one in found]
    gaps = [(one, count) for one, count in gaps if count]
    for one, count in gaps[:MAX_NAMED]:
        are = "is" if count == 1 else "are"
        where = gaps_in_words(one.files)
        yield f"{title(one.place)}: {count} of {one.files.index.size} files {are} missing: {where}"
    if len(gaps) > MAX_NAMED:
        more = sum(count for _, count in gaps[MAX_NAMED:])
        yield f"{more} more files are missing, of {len(gaps) - MAX_NAMED} other fields"


def title(place: PlateField) -> str:
    """Return what the image of a field is called.

    Examples
    --------
    >>> title(PlateField(Plate("", ("A",), ("01",)), "A", "01", "3"))
    'A01 field 3'
    """
    return f"{place.row}{place.column} field {place.field}"
