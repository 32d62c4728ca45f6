"""What OME-NGFF 0.6 made of axes and transformations: coordinate systems. No file is touched.

Until 0.5 an image has `axes`, each level a scale and perhaps a translation, and some images have another
pair for all levels. In 0.6 axes belong to a named coordinate system, and each level has one transformation
from its array into that system, the intrinsic one; what leads on from there leads to other systems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Json: TypeAlias = dict[str, Any]

INTRINSIC = "physical"
"""Name of the coordinate system that levels are mapped to."""


def with_systems(multiscales: Json) -> Json:
    """Return one of `multiscales` in the form of 0.6; what it says besides stays as it is.

    Parameters
    ----------
    multiscales
        In the form of 0.4 or 0.5.

    Raises
    ------
    ValueError
        A transformation is none of scale, translation and identity, or its numbers are not in the metadata.
    KeyError, TypeError
        Something is missing, or of another form.

    Examples
    --------
    >>> steps = [{"type": "scale", "scale": [2.0, 2.0]}, {"type": "translation", "translation": [0.5, 0.5]}]
    >>> axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    >>> of_05 = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    >>> found = with_systems(of_05)
    >>> [system["name"] for system in found["coordinateSystems"]]
    ['physical']
    >>> (one,) = found["datasets"][0]["coordinateTransformations"]
    >>> one["type"], one["input"], one["output"], one["transformations"] == steps
    ('sequence', {'path': '0'}, {'name': 'physical'}, True)
    """
    found: Json = {}
    for key, value in multiscales.items():
        if key == "axes":
            found["coordinateSystems"] = [{"name": INTRINSIC, "axes": value}]
        elif key == "datasets":
            found[key] = [_dataset(item, multiscales) for item in value]
        elif key not in ("coordinateTransformations", "version"):
            found[key] = value
    return found


def _dataset(dataset: Json, multiscales: Json) -> Json:
    own = dataset["coordinateTransformations"]
    steps = placed(own, multiscales.get("coordinateTransformations") or (), len(multiscales["axes"]))
    if len(steps) > 1:
        steps = [{"type": "sequence", "transformations": steps}]
    ends = {"input": {"path": dataset["path"]}, "output": {"name": INTRINSIC}}
    return {**dataset, "coordinateTransformations": [{**steps[0], **ends}]}


def placed(own: Sequence[Json], for_all: Sequence[Json], n_axes: int) -> list[Json]:
    """Return one scale, and a translation if there is any, that do what all the transformations do together.

    Parameters
    ----------
    own
        Those of a level.
    for_all
        What comes after them, for every level.
    n_axes
        How many numbers each has.

    Examples
    --------
    >>> own = [{"type": "scale", "scale": [1, 4]}, {"type": "translation", "translation": [0, 1]}]
    >>> placed(own, [{"type": "scale", "scale": [0.5, 0.5]}], 2)
    [{'type': 'scale', 'scale': [0.5, 2.0]}, {'type': 'translation', 'translation': [0.0, 0.5]}]
    """
    steps = [*own, *for_all]
    is_plain = [step["type"] for step in steps] in (["scale"], ["scale", "translation"])
    if is_plain and all(step["type"] in step for step in steps):  # no number is changed
        return [{key: step[key] for key in ("type", step["type"])} for step in steps]
    scale, shift = [1.0] * n_axes, [0.0] * n_axes
    for step in steps:
        kind = step["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation") or kind not in step:
            raise ValueError(f"its transformation {kind!r} is no scale or translation with numbers")
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, step[kind], strict=True)]
            shift = [a * b for a, b in zip(shift, step[kind], strict=True)]
        else:
            shift = [a + b for a, b in zip(shift, step[kind], strict=True)]
    found: list[Json] = [{"type": "scale", "scale": scale}]
    return [*found, {"type": "translation", "translation": shift}] if any(shift) else found
