"""The metadata of a group against the model of its version, which yaozarrs has."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ngff_convert.validation import systems

if TYPE_CHECKING:
    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Node

_SECTIONS = {
    "coordinateTransformations": "transformations",
    "axes": "axes",
    "datasets": "datasets",
    "omero": "omero",
    "image-label": "image-label",
    "multiscales": "multiscales",
    "plate": "plate",
    "well": "well",
    "labels": "labels",
    "series": "collection",
    "bioformats2raw.layout": "collection",
}
"""A key of the metadata -> the rule that a fault below it breaks; the first that is met counts."""

_FREE = ("metadata", "properties", "rdefs", "unit")
"""Keys below which anything is allowed, or that have a rule of their own."""

_MODELS = {
    "image-label": "LabelImage",
    "multiscales": "Image",
    "plate": "Plate",
    "bioformats2raw.layout": "Bf2Raw",
    "well": "Well",
    "labels": "LabelsGroup",
    "series": "Series",
}
"""A key that a group has -> its model; each that it has is checked, but an image once."""


def check_model(node: Node, version: str, findings: Findings) -> None:
    """Hold the metadata of a group against the models of its version.

    0.6 has no models here: what it has of its own is checked in `systems`, and the rest is that of 0.5.
    """
    import yaozarrs

    models = {"0.4": yaozarrs.v04}.get(version, yaozarrs.v05)
    ome, of_their_own = node.ome, []
    if version == "0.6":
        systems.check_multiscales(node, findings)
        ome, of_their_own = systems.as_before(ome), ["axes", "transformations"]
    keys = [key for key in _MODELS if key in node.ome]
    if "image-label" in keys and "multiscales" in keys:
        keys.remove("multiscales")  # LabelImage is an Image
    elif "omero" in node.ome and "multiscales" not in keys and "image-label" not in keys:
        keys.append("multiscales")  # says that they are missing
    _check_nulls(node, findings)
    seen: set[tuple[str, str]] = set()
    for key in keys:
        for rule, place, message in _faults(getattr(models, _MODELS.get(key, "Image")), ome):
            if (rule, place) not in seen and rule not in of_their_own:
                seen.add((rule, place))
                findings.error(node.path, rule, f"{place}: {message}")


def _check_nulls(node: Node, findings: Findings) -> None:
    """Find null, which the schemas allow nowhere, but the models in place of what may be left out."""
    waiting: list[tuple[str, Any]] = [(key, node.ome[key]) for key in (*_MODELS, "omero") if key in node.ome]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            known = ((key, inner) for key, inner in value.items() if key not in _FREE)
            waiting += [(f"{place}.{key}", inner) for key, inner in known]
        elif isinstance(value, list):
            waiting += [(f"{place}[{number}]", inner) for number, inner in enumerate(value)]
        elif value is None:
            findings.error(node.path, "null", f"{place} is null; leave it out")


def _faults(model: Any, ome: dict[str, Any]) -> list[tuple[str, str, str]]:  # noqa: ANN401 - yaozarrs is untyped
    """Return rule, place and message of each fault; versions are not its business but `nodes`'."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what yaozarrs warns of has rules of its own here
            model.model_validate(ome)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [
            (_rule(item["loc"], item["msg"]), _place(item["loc"]), _message(item["msg"]))
            for item in found
            if item["loc"][-1:] != ("version",)
        ]
    except RecursionError:
        return [("json", "metadata", "nested too deep")]
    return []


def _message(text: str) -> str:
    """Return what a model says without its tips."""
    return text.removeprefix("Value error, ").partition("\n\n")[0]


def _rule(place: tuple[int | str, ...], message: str) -> str:
    keys = [key for key in place if key in _SECTIONS]
    if keys[-1:] in (["multiscales"], ["datasets"]) and "dimension" in message:
        return "transformations"  # their lengths are compared for the whole
    if keys == ["multiscales"] and "transformation" in message:
        return "transformations"
    nearest = "omero" if "omero" in keys else keys[-1] if keys else "multiscales"
    return _SECTIONS[str(nearest)]


def _place(location: tuple[int | str, ...]) -> str:
    """Return a place as one writes it in Python, up to where a choice of models begins.

    Examples
    --------
    >>> _place(("datasets", 1, "coordinateTransformations", 0, "ScaleTransformation", "scale"))
    'datasets[1].coordinateTransformations[0]'
    """
    text = ""
    for part in location:
        if isinstance(part, str) and part.endswith("Transformation"):
            break
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
