"""The forms of transformation that OME-NGFF 0.6 knows."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from ngff_convert.validation.findings import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from ngff_convert.validation.nodes import Json

MAX_ITEMS = 1000
"""Transformations in a sequence that are looked at."""

MAX_DEPTH = 20
"""Transformations within transformations that are looked at."""


def fault_of(step: Json, depth: int = 0) -> str | None:
    """Return what is wrong with the form of a transformation."""
    kind = step.get("type")
    if not isinstance(kind, str) or kind not in _FAULTS:
        return f"{shown(kind)} is no transformation of 0.6"
    if depth > MAX_DEPTH:
        return "transformations are nested too deep"
    fault = _FAULTS[kind](step, depth)
    return f"the {kind} {fault}" if fault else None


def _numbers(key: str, *, positive: bool = False) -> Callable[[Json, int], str | None]:
    def fault(step: Json, _depth: int) -> str | None:
        numbers = step.get(key)
        if not isinstance(numbers, list) or not numbers or not all(map(_is_number, numbers)):
            return f"is {shown(numbers)}, not a list of numbers"
        good = all(_is_finite(n) and (n > 0 or not positive) for n in numbers)
        return None if good else f"is {shown(numbers)}: not finite, or not above 0"

    return fault


def _matrix(key: str, *, square: bool) -> Callable[[Json, int], str | None]:
    def fault(step: Json, _depth: int) -> str | None:
        if isinstance(step.get("path"), str) and key not in step:
            return None
        rows = step.get(key)
        if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
            return "is neither a matrix nor the path of one"
        sizes = {len(row) for row in rows}
        if len(sizes) != 1 or not all(_is_number(n) for row in rows for n in row):
            return "is no matrix of numbers"
        return "is not square, of 2 to 5 rows" if square and sizes != {min(5, max(2, len(rows)))} else None

    return fault


def _indices(key: str, least: int, most: int) -> Callable[[Json, int], str | None]:
    def fault(step: Json, _depth: int) -> str | None:
        numbers = step.get(key)
        good = isinstance(numbers, list) and all(type(n) is int and 0 <= n <= 4 for n in numbers)
        if (
            not good
            or not least <= len(numbers or ()) <= most
            or len(set(numbers or ())) < len(numbers or ())
        ):
            return f"has {key} {shown(numbers)}: {least} to {most} numbers of axes, each once"
        return None

    return fault


def _projection(step: Json, depth: int) -> str | None:
    keys = [key for key in ("droppedInputs", "createdOutputs") if key in step]
    faults = (_indices(key, 1, 3)(step, depth) for key in keys)
    return next(filter(None, faults), None) if keys else "has neither droppedInputs nor createdOutputs"


def _within(*keys: str) -> Callable[[Json, int], str | None]:
    def fault(step: Json, depth: int) -> str | None:
        for key in keys:
            inner = step.get(key)
            if not isinstance(inner, dict):
                return f"has no {key}"
            if found := fault_of(inner, depth + 1):
                return f"has {key}: {found}"
        return None

    return fault


def _sequence(step: Json, depth: int) -> str | None:
    inner = step.get("transformations")
    if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
        return "has no list of transformations"
    return next(filter(None, (fault_of(one, depth + 1) for one in inner[:MAX_ITEMS])), None)


def _by_dimension(step: Json, depth: int) -> str | None:
    parts = step.get("transformations")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return "has no list of transformations"
    outputs: list[int] = []
    for part in parts[:MAX_ITEMS]:
        for key in ("inputAxes", "outputAxes"):
            numbers = part.get(key)
            if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
                return f"has {key} {shown(numbers)}, not numbers of axes"
        outputs += part["outputAxes"]
        if found := _within("transformation")(part, depth):
            return found
    return "gives an axis of its output twice" if len(set(outputs)) < len(outputs) else None


def _field(step: Json, _depth: int) -> str | None:
    if not isinstance(step.get("path"), str):
        return "has no path of an array"
    known = step.get("interpolation", "linear") in ("nearest", "linear", "cubic")
    return None if known else f"has the interpolation {shown(step.get('interpolation'))}"


_FAULTS: dict[str, Callable[[Json, int], str | None]] = {
    "identity": lambda _step, _depth: None,
    "scale": _numbers("scale", positive=True),
    "translation": _numbers("translation"),
    "mapAxis": _indices("mapAxis", 2, 5),
    "projectAxis": _projection,
    "affine": _matrix("affine", square=False),
    "rotation": _matrix("rotation", square=True),
    "bijection": _within("forward", "inverse"),
    "sequence": _sequence,
    "byDimension": _by_dimension,
    "displacements": _field,
    "coordinates": _field,
}
"""A type of transformation -> what is wrong with one, or None."""


def _is_number(value: Any) -> bool:  # noqa: ANN401 - from foreign metadata
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer of more than 300 digits
        return False
