"""Many images in few words: plates as grids of wells, and images that are alike together."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from ngff_convert.describe import counted, image_json, image_lines, plan_lines
from ngff_convert.plates import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ngff_convert.model import Image
    from ngff_convert.plates import Acquisition, Plate, PlateField
    from ngff_convert.write_plan import WritePlan

    Planned = tuple[Image, WritePlan | None]
    Well = tuple[str, str]

LINE = 80
"""Characters that a grid is at most wide."""

LISTED = 10
"""Wells, or fields, that are listed before they are only counted."""

_EMPTY, _LACKS, _MANY = ".", "!", "+"
_OWN = ("origin", "taken")
"""What may differ between images that are alike otherwise."""


def plates_of(images: Iterable[Image]) -> list[tuple[Plate, dict[int, PlateField]]]:
    """Return the plates that images are of, each with its fields by the number of the image."""
    found: dict[int, tuple[Plate, dict[int, PlateField]]] = {}
    for number, image in enumerate(images):
        if (field := image.plate_field) is not None:
            found.setdefault(id(field.plate), (field.plate, {}))[1][number] = field
    return list(found.values())


def _by_well(plate: Plate, fields: dict[int, PlateField]) -> dict[Well, dict[int, PlateField]]:
    """Return the fields of each well that has some, or lacks some, row by row."""
    wells: dict[Well, dict[int, PlateField]] = {(row, column): {} for row, column, _ in plate.missing}
    for number, field in fields.items():
        wells.setdefault((field.row, field.column), {})[number] = field
    return dict(
        sorted(
            wells.items(), key=lambda item: (plate.rows.index(item[0][0]), plate.columns.index(item[0][1]))
        )
    )


def _missing_of(plate: Plate) -> dict[Well, list[str]]:
    found: dict[Well, list[str]] = {}
    for row, column, field in plate.missing:
        found.setdefault((row, column), []).append(field)
    return found


def missing_lists(images: Iterable[Image]) -> list[str]:
    """Return how notes end that list what plates lack, which `plate_lines` tells as well."""
    return [f": {listed(plate.missing)}" for plate, _ in plates_of(images) if plate.missing]


# -- JSON ----------------------------------------------------------------------------------------------------


def images_json(described: Sequence[Planned]) -> dict[str, Any]:
    """Return images, their plans and their plates as JSON-ready data."""
    images = [{**image_json(image), "plan": plan and plan.to_json()} for image, plan in described]
    plates = plates_of(image for image, _ in described)
    for number, (_, fields) in enumerate(plates):
        for image, field in fields.items():
            images[image]["plate_field"] = {
                "plate": number,
                "row": field.row,
                "column": field.column,
                "field": field.field,
                "acquisition": field.acquisition,
            }
    return {"plates": [_plate_json(*plate) for plate in plates], "images": images}


def _plate_json(plate: Plate, fields: dict[int, PlateField]) -> dict[str, Any]:
    missing = _missing_of(plate)
    return {
        "name": plate.name,
        "rows": list(plate.rows),
        "columns": list(plate.columns),
        "acquisitions": [
            {
                "id": run.id,
                "name": run.name,
                "description": run.description,
                "start": run.start and run.start.isoformat(),
                "end": run.end and run.end.isoformat(),
                "max_fields": run.max_fields,
            }
            for run in plate.acquisitions
        ],
        "wells": [
            {
                "row": row,
                "column": column,
                "fields": [{"field": field.field, "image": number} for number, field in own.items()],
                "missing": missing.get((row, column), []),
            }
            for (row, column), own in _by_well(plate, fields).items()
        ],
    }


# -- plates as grids -----------------------------------------------------------------------------------------


def plate_lines(plate: Plate, fields: dict[int, PlateField]) -> Iterator[str]:
    """Yield a plate as a grid, and what it lacks, line by line.

    Parameters
    ----------
    plate
        The plate.
    fields
        What there is of it, by the number of the image.
    """
    wells = _by_well(plate, fields)
    missing = _missing_of(plate)
    n_wells = sum(bool(own) for own in wells.values())
    size = len(plate.rows) * len(plate.columns)
    names = list(dict.fromkeys(field.field for field in fields.values()))
    named = f": {', '.join(names)}" if len(names) <= LISTED else f": {names[0]} to {names[-1]}"
    yield (
        f"plate {plate.name or '(no name)'}: {n_wells} of {counted(size, 'well')} "
        f"({len(plate.rows)} x {len(plate.columns)}), {counted(len(fields), 'field')}{named}"
    )
    counts = {well: len(own) for well, own in wells.items()}
    yield from (f"  {line}".rstrip() for line in _grid(plate, counts, set(missing)))
    if missing:
        told = [f"{row}{column} field {', '.join(own)}" for (row, column), own in missing.items()]
        more = f"; and {len(told) - LISTED} more wells" if len(told) > LISTED else ""
        yield f"  {_LACKS} fields are missing: {'; '.join(told[:LISTED])}{more}"
    for run in plate.acquisitions:
        yield f"  {_run_words(run, sum(field.acquisition == run.id for field in fields.values()))}"


def _run_words(run: Acquisition, count: int) -> str:
    facts = [run.name] if run.name else []
    facts += [counted(count, "field")]
    facts += [f"at most {run.max_fields} a well"] if run.max_fields else []
    facts += [f"from {run.start.isoformat(' ')}"] if run.start else []
    facts += [f"to {run.end.isoformat(' ')}"] if run.end else []
    return f"acquisition {run.id}: {', '.join(facts)}"


def _grid(plate: Plate, counts: dict[Well, int], lacking: set[Well]) -> Iterator[str]:
    """Yield the rows of a grid: numbers of fields if they fit into a line, else one character a well."""
    left = max(map(len, plate.rows))
    texts = {well: f"{_LACKS if well in lacking else ''}{count}" for well, count in counts.items()}
    cell = 1 + max(2, *map(len, plate.columns), *map(len, texts.values()))
    if 2 + left + cell * len(plate.columns) <= LINE:
        yield " " * left + "".join(column.rjust(cell) for column in plate.columns)
        for row in plate.rows:
            wells = (texts.get((row, column), _EMPTY) for column in plate.columns)
            yield row.rjust(left) + "".join(text.rjust(cell) for text in wells)
        return
    room = LINE - left - 3
    for start in range(0, len(plate.columns), room):
        columns = plate.columns[start : start + room]
        tall = max(map(len, columns))
        for place in range(tall):
            yield " " * (left + 1) + "".join(column.rjust(tall)[place] for column in columns)
        for row in plate.rows:
            wells = (_mark((row, column), counts, lacking) for column in columns)
            yield f"{row.rjust(left)} {''.join(wells)}"
    yield f"{_EMPTY} no field, 1 to 9 fields, {_MANY} more, {_LACKS} fields are missing"


def _mark(well: Well, counts: dict[Well, int], lacking: set[Well]) -> str:
    if well in lacking:
        return _LACKS
    count = counts.get(well, 0)
    return _EMPTY if not count else str(count) if count < 10 else _MANY


# -- images --------------------------------------------------------------------------------------------------


def lines(described: Sequence[Planned], *, every: bool) -> Iterator[str]:
    """Yield plates, images and what would become of them, line by line.

    Parameters
    ----------
    described
        The images, and the plan of each where there is one.
    every
        Whether each image of a plate is shown, and not those that are alike together.
    """
    plates = plates_of(image for image, _ in described)
    for plate, fields in plates:
        yield ""
        yield from plate_lines(plate, fields)
    blocks = [(_image_block(image), _plan_block(plan)) for image, plan in described]
    keys: dict[object, list[int]] = {}
    for number, (image, _) in enumerate(described):
        shown, planned = blocks[number]
        alike = tuple(line for line in shown if not line.startswith(_OWN)), planned
        keys.setdefault(number if every or image.plate_field is None else alike, []).append(number)
    for numbers in keys.values():
        yield from ("", _heading(numbers, described))
        shown, planned = blocks[numbers[0]]
        yield from (f"  {_common(line, [blocks[number][0] for number in numbers])}" for line in shown)
        yield from planned
    if len(keys) < len(described):
        yield from ("", f"images that are alike are shown once; --all shows each of the {len(described)}")


def _image_block(image: Image) -> tuple[str, ...]:
    return tuple(image_lines(image))


def _plan_block(plan: WritePlan | None) -> tuple[str, ...]:
    return ("  would become", *(f"    {line}" for line in plan_lines(plan))) if plan else ()


def _common(line: str, blocks: Sequence[Sequence[str]]) -> str:
    """Return a line as it is in all blocks; where that differs, this is said."""
    if all(line in block for block in blocks):
        return line
    return f"{line.split()[0]:<12} another one for each of the images"


def _heading(numbers: Sequence[int], described: Sequence[Planned]) -> str:
    first, last = (described[number][0].name or "(no name)" for number in (numbers[0], numbers[-1]))
    if len(numbers) == 1:
        return f"image {numbers[0]}: {first}"
    return f"images {_ranges(numbers)} ({len(numbers)} that are alike): {first} to {last}"


def _ranges(numbers: Sequence[int]) -> str:
    """Write rising numbers shortly.

    Examples
    --------
    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    words = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    more = f" and {len(words) - LISTED} more ranges" if len(words) > LISTED else ""
    return ", ".join(words[:LISTED]) + more
