"""Coordinate systems and transformations of OME-NGFF 0.6: multiscales and scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngff_convert.validation.findings import shown
from ngff_convert.validation.transformations import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ngff_convert.validation.findings import Findings
    from ngff_convert.validation.nodes import Json, Node

MAX_ITEMS = 1000
"""Systems, levels and transformations that are looked at."""

_LEVEL = (["identity"], ["scale"], ["scale", "translation"], ["translation", "scale"])
_ORDER = {"time": 0, "space": 2}
"""Types of axes by where they stand; a channel, or a type of one's own, is between these."""


# -- what other modules ask --------------------------------------------------------------------------------


def axes_of(multiscales: Json) -> Any:  # noqa: ANN401 - from foreign metadata
    """Return the axes of an image of any version; in 0.6 those of the system that its levels lead to."""
    systems = _objects(multiscales.get("coordinateSystems"))
    if not systems:
        return multiscales.get("axes")
    for dataset in _objects(multiscales.get("datasets")):
        for step in _objects(dataset.get("coordinateTransformations")):
            output = _object(step.get("output")).get("name")
            for system in systems:
                if system.get("name") == output:
                    return system.get("axes")
    return systems[-1].get("axes")


def as_before(ome: Json) -> Json:
    """Return what a group of 0.6 says in the form of 0.5, as far as it can be."""
    items = ome.get("multiscales")
    if not isinstance(items, list):
        return ome
    return {**ome, "multiscales": [_before(item) if isinstance(item, dict) else item for item in items]}


def _before(item: Json) -> Json:
    left = ("coordinateSystems", "coordinateTransformations")
    found = {key: value for key, value in item.items() if key not in left}
    axes = axes_of(item)
    if axes is not None:
        found["axes"] = [_without_array(axis) for axis in axes] if isinstance(axes, list) else axes
    datasets = found.get("datasets")
    if isinstance(datasets, list):
        n_axes = len(axes) if isinstance(axes, list) else 0
        found["datasets"] = [_level_before(dataset, n_axes) for dataset in datasets]
    return found


def _without_array(axis: Any) -> Any:  # noqa: ANN401 - from foreign metadata
    """Return an axis; one of type array, which 0.5 has not, as one of space."""
    return {**axis, "type": "space"} if isinstance(axis, dict) and axis.get("type") == "array" else axis


def _level_before(dataset: Any, n_axes: int) -> Any:  # noqa: ANN401 - from foreign metadata
    if not isinstance(dataset, dict) or not isinstance(dataset.get("coordinateTransformations"), list):
        return dataset
    steps: list[Json] = []
    for step in _objects(dataset["coordinateTransformations"]):
        steps += _objects(step.get("transformations")) if step.get("type") == "sequence" else [step]
    by_type = {step["type"]: step for step in steps if isinstance(step.get("type"), str)}
    scale = by_type.get("scale", {"type": "scale", "scale": [1.0] * n_axes})
    found = [scale, by_type["translation"]] if "translation" in by_type else [scale]
    return {**dataset, "coordinateTransformations": found}


# -- multiscales -------------------------------------------------------------------------------------------


def check_multiscales(node: Node, findings: Findings) -> None:
    """Check the coordinate systems of an image, and what leads into them."""
    items = node.ome.get("multiscales")
    for item in _objects(items):
        systems = _systems(node.path, item.get("coordinateSystems"), findings, image=True)
        if "axes" in item:
            message = "multiscales has `axes`: in 0.6 they belong to a coordinate system"
            findings.error(node.path, "coordinate-systems", message)
        if not systems:
            findings.error(node.path, "coordinate-systems", "multiscales has no coordinateSystems")
        outputs = {
            _level(node.path, dataset, systems, findings) for dataset in _objects(item.get("datasets"))
        }
        if len(outputs - {None}) > 1:
            message = f"levels are mapped to different systems: {shown(sorted(map(str, outputs)))}"
            findings.error(node.path, "transformations", message)
        if "coordinateTransformations" in item:
            _links(node.path, item["coordinateTransformations"], systems, "transformations", findings)


def _systems(where: str, stated: Any, findings: Findings, *, image: bool) -> dict[str, int]:  # noqa: ANN401
    """Return the number of axes of each coordinate system, and check them."""
    found: dict[str, int] = {}
    if stated is not None and not isinstance(stated, list):
        findings.error(where, "coordinate-systems", f"coordinateSystems is {shown(stated)}, not a list")
    for system in stated[:MAX_ITEMS] if isinstance(stated, list) else []:
        name = system.get("name") if isinstance(system, dict) else None
        if not isinstance(name, str) or not name:
            message = f"the name of a coordinate system is {shown(name)}, not a text"
            findings.error(where, "coordinate-systems", message)
            continue
        if name in found:
            findings.error(where, "coordinate-systems", f"two coordinate systems are called {shown(name)}")
        for fault in _axes_faults(system.get("axes"), image=image):
            findings.error(where, "axes", f"coordinate system {shown(name)}: {fault}")
        found[name] = len(_objects(system.get("axes")))
    return found


def _axes_faults(axes: Any, *, image: bool) -> Iterator[str]:  # noqa: ANN401 - from foreign metadata
    if not isinstance(axes, list) or not axes or not all(isinstance(axis, dict) for axis in axes):
        yield "its axes are no list of objects"
        return
    names = [axis.get("name") for axis in axes[:MAX_ITEMS]]
    if not all(isinstance(name, str) and name for name in names):
        yield "an axis has no name"
    elif len(set(names)) < len(names):
        yield f"its axes {shown(names)} are not each there once"
    for key, kind in (("type", str), ("unit", str), ("longName", str), ("discrete", bool)):
        if wrong := [axis[key] for axis in axes if key in axis and not isinstance(axis[key], kind)]:
            yield f"the {key} of an axis is {shown(wrong[0])}"
    if not image:
        return
    types = [str(axis.get("type")) for axis in axes]
    n_space, n_time = types.count("space"), types.count("time")
    if not 2 <= len(axes) <= 5:
        yield f"has {len(axes)} axes, not 2 to 5"
    elif set(types) == {"array"}:
        return
    elif n_space not in (2, 3) or n_time > 1 or len(types) - n_space - n_time > 1:
        yield f"has axes {shown(types)}: 2 or 3 of space, at most one of time, at most one of another type"
    elif (places := [_ORDER.get(kind, 1) for kind in types]) != sorted(places):
        yield f"has axes {shown(types)}: time is first, a channel before space"


def _level(where: str, dataset: Json, systems: dict[str, int], findings: Findings) -> str | None:
    """Check the transformation of a level; return the system that it leads to."""
    path, stated = dataset.get("path"), dataset.get("coordinateTransformations")
    steps = _objects(stated)
    level = f"level {shown(path)}"

    def wrong(message: str) -> None:
        findings.error(where, "transformations", f"{level}: {message}")

    if not isinstance(stated, list) or len(stated) != 1 or len(steps) != 1:
        wrong("its coordinateTransformations are not one transformation")
        return None
    step = steps[0]
    inner = _objects(step.get("transformations")) if step.get("type") == "sequence" else [step]
    kinds = [one.get("type") for one in inner]
    if kinds not in _LEVEL or (step.get("type") == "sequence") != (len(kinds) == 2):
        wrong(f"has {shown(kinds)}: one scale, one identity, or a sequence of a scale and a translation")
    elif kinds == ["translation", "scale"]:
        findings.warning(where, "transformations", f"{level}: the translation is before the scale")
    for one in inner:
        if fault := fault_of(one):
            wrong(fault)
    if _object(step.get("input")).get("path") != path:
        wrong(f"its input is {shown(_end(step.get('input')))}, not its own path")
    output = _object(step.get("output")).get("name")
    if not isinstance(output, str) or output not in systems:
        wrong(f"its output {shown(output)} is no coordinate system of this image")
        return None
    for one in inner:
        numbers = one.get(str(one.get("type")))
        if isinstance(numbers, list) and len(numbers) != systems[output]:
            wrong(f"its {one['type']} has {len(numbers)} numbers for {systems[output]} axes")
    return output


def _end(value: Any) -> Any:  # noqa: ANN401 - from foreign metadata
    return value.get("path", value.get("name")) if isinstance(value, dict) else value


# -- scenes ------------------------------------------------------------------------------------------------


def check_scene(node: Node, findings: Findings) -> None:
    """Check the scene of a group, but for the images that it names."""
    scene = node.ome["scene"]
    if not isinstance(scene, dict):
        findings.error(node.path, "scene", f"scene is {shown(scene)}, not an object")
        return
    systems = _systems(node.path, scene.get("coordinateSystems"), findings, image=False)
    _links(node.path, scene.get("coordinateTransformations"), systems, "scene", findings)


def scene_paths(scene: Any) -> list[Any]:  # noqa: ANN401 - from foreign metadata
    """Return the paths of all images that a scene names, each once."""
    steps = _objects(_object(scene).get("coordinateTransformations"))
    ends = [_object(step.get(key)) for step in steps for key in ("input", "output")]
    paths = [end["path"] for end in ends if end.get("path") not in (None, "", ".")]
    return list(dict.fromkeys(path.removeprefix("./") for path in paths if isinstance(path, str)))


def _links(where: str, stated: Any, systems: dict[str, int], rule: str, findings: Findings) -> None:  # noqa: ANN401
    """Check transformations between coordinate systems that have names."""
    if not isinstance(stated, list) or not stated:
        findings.error(where, rule, f"coordinateTransformations is {shown(stated)}, not a list with an entry")
        return
    for step in stated[:MAX_ITEMS]:
        if not isinstance(step, dict):
            findings.error(where, rule, f"a transformation is {shown(step)}, not an object")
            continue
        if fault := fault_of(step):
            findings.error(where, rule, fault)
        for key in ("input", "output"):
            end = step.get(key)
            name = _object(end).get("name")
            if not isinstance(end, dict) or not isinstance(name, str):
                message = f"the {key} of a {shown(step.get('type'))} is {shown(end)}, no object with a name"
                findings.error(where, rule, message)
            elif end.get("path") in (None, "", ".") and name not in systems:
                findings.error(where, rule, f"the {key} {shown(name)} is no coordinate system of this group")
            elif rule == "scene" and set(end) - {"name", "path"}:
                findings.error(where, rule, f"the {key} {shown(name)} has other keys than name and path")


def _object(value: Any) -> Json:  # noqa: ANN401 - from foreign metadata
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Json]:  # noqa: ANN401 - from foreign metadata
    items = value[:MAX_ITEMS] if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]
